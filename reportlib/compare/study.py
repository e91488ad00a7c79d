"""Compare all captures of a study: the content of its `report.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reportlib.compare import origins, posts
from reportlib.compare.checks import check, environment_files, missing_arms
from reportlib.compare.controls import compare_control, conclusive
from reportlib.compare.describing import describe
from reportlib.compare.findings import findings
from reportlib.compare.layers import compare_layers, compare_weights
from reportlib.compare.margins import compare_margins
from reportlib.compare.operations import operations
from reportlib.compare.order import compare_order
from reportlib.compare.pipeline import compare_artifacts, first_difference, summary
from reportlib.compare.rankings import compare_rankings
from reportlib.compare.searching import compare_search
from reportlib.compare.sorting import compare_probes
from reportlib.compare.swaps import compare_swap, swap_summary
from reportlib.errors import ComparisonError
from reportlib.notebooks import find_project
from reportlib.store import Capture
from reportlib.study import DIRECTIONS, Arm, Study

Record = dict[str, Any]
SCHEMA_VERSION = 1


def compare_study(
    study: Study,
    captures: Mapping[str, Capture],
    roots: Mapping[str, Path] | None = None,
    *,
    root: Path | None = None,
    allow_missing: bool = False,
    verify: bool = False,
) -> Record:
    """Compare the study's first environment with each further one.

    Parameters
    ----------
    study : Study
        Says which arms there are.
    captures : mapping of str to Capture
        By arm name.
    roots : mapping of str to Path
        Folders that `reportlib roots` wrote, by ``<environment B>/<precision>``.
    root : Path, optional
        The folder with the environment files; by default the project that the study lies in.
    allow_missing : bool
        Report what there is, and name the arms that are not there, instead of refusing.
    verify : bool
        Read every artifact and compare it with its hash first.

    Returns
    -------
    dict
        What ``docs/schema.md`` describes: plain values only, the same for the same captures.

    Raises
    ------
    ComparisonError
        When captures are missing, damaged, or of different collections, checkpoints, settings or
        devices, or not of the environments that they are named after.
    EnvironmentFileError
        When the file of one of the environments makes no sense.
    StoreError
        When an artifact cannot be read.
    """
    missing = missing_arms(study, captures)
    if missing and (not allow_missing or len(missing) == len(study.arms())):
        raise ComparisonError(
            f"no capture of {', '.join(missing)}",
            "run these arms first, or leave them out of the study",
        )
    specs = environment_files(study, root or find_project(study.folder))
    check(study, captures, specs, verify=verify)
    present = {arm.name: captures[arm.name] for arm in study.arms() if arm.name in captures}
    environments = [
        origins.environment(name, capture, specs.get(name))
        for name in study.environments
        if (capture := _any_of(study, present, name)) is not None
    ]
    report: Record = {
        "schema_version": SCHEMA_VERSION,
        "study": describe(study, present, environments),
        "platform": origins.platform(study.device, study.threads, present, environments),
        "environments": environments,
        "pairs": [_pair(study, present, other, roots or {}) for other in study.environments[1:]],
        "missing_arms": missing,
    }
    report["findings"] = findings(report)
    return report


def _any_of(study: Study, captures: Mapping[str, Capture], environment: str) -> Capture | None:
    """Return an environment's first capture, plain arms before swapped ones."""
    arms = (arm for arm in study.arms() if arm.environment == environment)
    return next((captures[arm.name] for arm in arms if arm.name in captures), None)


def _pair(study: Study, captures: Mapping[str, Capture], other: str, roots: Mapping[str, Path]) -> Record:
    first = study.environments[0]
    left, right = (_any_of(study, captures, name) for name in (first, other))
    plain = [_plain(study, precision, first, other) for precision in study.passages]
    return {
        "a": first,
        "b": other,
        "environment_differences": origins.differences(left, right) if left and right else [],
        "precisions": [
            _precision(study, captures, *arms)
            | {"operations": _operations(captures, roots.get(f"{other}/{arms[0].precision}"), *arms)}
            for arms in plain
            if all(arm.name in captures for arm in arms)
        ],
        "sort_probes": _probes(study, captures, first, other),
    }


def _plain(study: Study, precision: str, *environments: str) -> tuple[Arm, ...]:
    return tuple(Arm(name, precision, study.device, study.passages[precision]) for name in environments)


def _precision(study: Study, captures: Mapping[str, Capture], first: Arm, other: Arm) -> Record:
    a, b = captures[first.name], captures[other.name]
    versions = [str(c.provenance.get("torch", {}).get("version", "")) for c in (a, b)]
    artifacts = compare_artifacts(a, b, with_post=posts.applies(*versions))
    layers = compare_layers(a, b)
    doclens = [n for name in a.group("doclens") for n in a.value(name)]
    has_rankings = "rankings" in a.artifacts and "rankings" in b.artifacts
    controls = _controls(study, captures, first, other)
    searched: Record = {"k": study.search.k, "ignore_identical_ids": study.search.ignore_identical_ids}
    return {
        "precision": first.precision,
        "passages": len(doclens) or None,
        "embeddings": sum(doclens) or None,
        "controls": controls,
        "conclusive": conclusive(2 * len(study.controls.kinds), controls),
        "artifacts": artifacts,
        "summary": (counts := summary(artifacts)),
        "first_difference": first_difference(artifacts, layers),
        "layers": layers,
        "weights": compare_weights(a, b),
        "order": compare_order(a, b),
        "swaps": (swaps := _swaps(study, captures, first, other, artifacts)),
        "swap_summary": swap_summary(swaps, plain_identical=_all_identical(counts["final"])),
        "rankings": compare_rankings(a.value("rankings"), b.value("rankings")) if has_rankings else None,
        "search": compare_search(first, other, captures, **searched),
        "margins": compare_margins(a, b, *_searching(captures, first, other), **searched),
    }


def _searching(captures: Mapping[str, Capture], *plain: Arm) -> list[Capture | None]:
    """Return the captures of the searching arms of these plain ones."""
    return [captures.get(replace(arm, searching=True).name) for arm in plain]


def _operations(captures: Mapping[str, Capture], folder: Path | None, first: Arm, other: Arm) -> Record | None:
    return None if folder is None else operations(folder, captures[first.name], captures[other.name])


def _all_identical(counts: Mapping[str, int]) -> bool:
    return 0 < counts["identical"] == counts["total"]


def _controls(study: Study, captures: Mapping[str, Capture], *plain: Arm) -> list[Record]:
    return [
        compare_control(arm, captures[arm.plain.name], captures[arm.name])
        for arm in study.arms()
        if arm.control and arm.plain in plain and arm.name in captures
    ]


def _swaps(
    study: Study, captures: Mapping[str, Capture], first: Arm, other: Arm, artifacts: Sequence[Record]
) -> list[Record]:
    before = {record["artifact"]: record["verdict"] for record in artifacts}
    # A into B stands first, whatever order the study gives the directions.
    ways = [(DIRECTIONS[0], first, other), (DIRECTIONS[1], other, first)]
    return [
        compare_swap(arm, direction, captures[given.name], captures[arm.name], before)
        for direction, given, into in ways
        for arm in study.arms()
        if arm.swap and (arm.given, arm.plain) == (given, into) and arm.name in captures
    ]


def _probes(study: Study, captures: Mapping[str, Capture], first: str, other: str) -> Record | None:
    """Compare the sort probes of the first precision in which both environments have them."""
    for precision in study.passages:
        names = [arm.name for arm in _plain(study, precision, first, other)]
        sides = [captures.get(name) for name in names]
        if all(side is not None and "sort_probes" in side.artifacts for side in sides):
            lists = [side.value("sort_probes") for side in sides if side is not None]
            return {"arm_a": names[0], "arm_b": names[1], **compare_probes(*lists)}
    return None
