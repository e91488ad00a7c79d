"""Addresses of searching arms: named after the indexes that they search and everything else that determines them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reportlib.notebooks import SEARCH_NOTEBOOK
from reportlib.study import Arm
from reportlib.workflow.addresses import Planner

#: What the bytes of a searching arm's capture depend on, beside what a plain one's do.
SEARCH_CODE = ("searching",)


@dataclass(frozen=True)
class PlannedSearch:
    """A searching arm, with its address.

    Attributes
    ----------
    name, environment, capture, parameters, notebook : str
        As in `reportlib.workflow.addresses.PlannedArm`.
    needs : tuple of str
        The plain arms whose indexes it searches.
    """

    name: str
    environment: str
    capture: str
    parameters: str
    notebook: str
    needs: tuple[str, ...]


def plan_search(planner: Planner, arm: Arm, code: str) -> PlannedSearch:
    """Plan a searching arm; `code` is the digest of `SEARCH_CODE`."""
    searched = planner.study.searched(arm)
    settings = _settings(planner, arm)
    key = planner.key(arm, settings, SEARCH_NOTEBOOK, [planner.capture(each).name for each in searched], code)
    capture = planner.relative(planner.home / "captures" / f"{arm.name}-{key}")
    indexes = {each.environment: planner.relative(planner.capture(each)) for each in searched}
    parameters = settings | {"indexes": indexes, "output": capture}
    return PlannedSearch(
        name=arm.name,
        environment=arm.environment,
        capture=capture,
        parameters=planner.parameters(Path(capture).name, parameters, SEARCH_NOTEBOOK),
        notebook=planner.relative(planner.study.folder / "notebooks" / f"{arm.name}.ipynb"),
        needs=tuple(each.name for each in searched),
    )


def _settings(planner: Planner, arm: Arm) -> dict[str, Any]:
    """Return the search notebook's parameters that are no paths; only A makes its index again."""
    study = planner.study
    return planner.shared(arm) | {
        **asdict(study.colbert),
        "k": study.search.k,
        "depth": study.search.depth,
        "queries": study.search.queries,
        "seeds": study.search.seeds if arm.environment == study.environments[0] else 0,
    }
