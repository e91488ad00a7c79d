"""The yardstick: how far an index moves when only k-means draws other numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.compare.searching.rounding import rounded

Record = dict[str, Any]


def yardstick(upgrade: Mapping[str, Any], seeds: Sequence[Mapping[str, Any]]) -> Record | None:
    """Hold the change that an upgrade makes against those that other seeds make.

    Parameters
    ----------
    upgrade : mapping
        The comparison ``upgrade`` of a report.
    seeds : sequence of mapping
        Its comparisons of kind ``seed``.

    Returns
    -------
    dict or None
        The ``yardstick`` of ``docs/schema.md``; None without seeds.
    """
    if not seeds:
        return None
    figures = []
    for name, value in _figures(upgrade).items():
        others = [_figures(each)[name] for each in seeds]
        figures.append({"name": name, "upgrade": value, "seeds": others, "verdict": _verdict(name, value, others)})
    return {"seeds": len(seeds), "figures": figures}


def _figures(comparison: Mapping[str, Any]) -> dict[str, float]:
    """Return what is held against the yardstick; of measures, how far their mean moved, either way."""
    return {
        "different_passages": comparison["different_passages"]["value"],
        "rbo": comparison["rbo"]["value"],
        "changed_queries": comparison["changed_queries"]["share"],
        **{each["measure"]: abs(each["difference"]["value"]) for each in comparison["measures"]},
    }


def _verdict(name: str, value: float, seeds: Sequence[float]) -> str:
    """Say where a change lies in the range of the seeds' changes."""
    size, *others = ((rounded(1 - each) if name == "rbo" else each) for each in (value, *seeds))
    if size < min(others):
        return "smaller"
    return "larger" if size > max(others) else "within"
