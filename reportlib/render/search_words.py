"""The words of the search section: what was compared with what, and what a difference of means says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.render import formats
from reportlib.render.html import Html, fragment
from reportlib.render.labels import Part, parts

NOT_SEARCHED = "Not measured: this study has no search of both indexes with both versions."


def searched(report: Mapping[str, Any]) -> list[tuple[Part, Mapping[str, Any]]]:
    """Return every precision whose indexes were searched crosswise, with its record `search`."""
    return [(part, part.precision["search"]) for part in parts(report) if part.precision.get("search")]


def comparison(search: Mapping[str, Any], wanted: str = "upgrade") -> Mapping[str, Any] | None:
    """Return the comparison of this id, or nothing where it was not made or had no query."""
    return next((c for c in search["comparisons"] if c["id"] == wanted and c["queries"]), None)


def name(part: Part, compared: Mapping[str, Any]) -> str:
    """Return what a comparison changes, in words: ``The index alone, searched with PyTorch 2.0.1``."""
    sides = {"a": part.a, "b": part.b}
    left = compared["left"]
    if compared["kind"] == "index":
        return f"The index alone, searched with {sides.get(left['torch'], left['torch'])}"
    if compared["kind"] == "torch":
        return f"The search alone, on {sides.get(left['index'], left['index'])}’s index"
    if compared["kind"] == "seed":
        return f"Another seed of k-means ({compared['id'].removeprefix('seed-')})"
    return "The upgrade, index and search"


def short(compared: Mapping[str, Any]) -> str:
    """Return the same in the few letters that a figure has room for."""
    left = compared["left"]
    if compared["kind"] == "index":
        return f"index, {left['torch'].upper()} searching"
    if compared["kind"] == "torch":
        return f"search, {left['index'].upper()}’s index"
    return str(compared["id"]).replace("-", " ")


def place(part: Part, torch: str, index: str) -> str:
    """Return who searched which index: ``PyTorch 2.1.0 on PyTorch 2.0.1's index``."""
    sides = {"a": part.a, "b": part.b}
    by = sides.get(torch, torch)
    if index not in sides:
        return f"{by} on its index with another seed ({index.removeprefix('seed-')})"
    return f"{by} on its own index" if torch == index else f"{by} on {sides[index]}’s index"


def spread(estimate: Mapping[str, float], places: int = 3, *, signed: bool = False) -> str:
    """Return the ends of an interval, ``−0.010 to +0.002``; nothing where it has no width."""
    if estimate["low"] == estimate["high"] == estimate["value"]:
        return ""
    low, high = (formats.decimals(estimate[end], places, signed=signed) for end in ("low", "high"))
    return f"{low} to {high}"


def estimate(value: Mapping[str, float], places: int = 3, *, signed: bool = False) -> Html | str:
    """Draw a mean with its interval below it; a bare number where that has no width."""
    shown = formats.decimals(value["value"], places, signed=signed)
    beside = spread(value, places, signed=signed)
    return fragment("estimate", value=shown, beside=beside) if beside else shown


def in_line(value: Mapping[str, float], places: int = 3, *, signed: bool = False) -> str:
    """Return a mean with its interval after it: ``+0.004 (−0.002 to +0.010)``."""
    beside = spread(value, places, signed=signed)
    return formats.decimals(value["value"], places, signed=signed) + (f" ({beside})" if beside else "")


def share(value: float | None) -> str:
    """Return a share of queries in per cent, 0 and 100 only where it is none or all."""
    if value is None:
        return formats.ABSENT
    return formats.percent(round(value * 1_000_000), 1_000_000) if 1e-6 <= value <= 1 - 1e-6 else f"{value * 100:.0f} %"


def direction(measure: Mapping[str, Any]) -> str:
    """Return ``better`` or ``worse`` for a detected difference (more is better for all of them), else nothing."""
    value = measure["difference"]["value"]
    if not measure["detected"] or not value:
        return ""
    return "better" if value > 0 else "worse"


def told(measure: Mapping[str, Any], queries: int) -> str:
    """Say what a measure's difference tells and, where it tells nothing, what would have been seen.

    Parameters
    ----------
    measure : mapping
        One of a comparison's ``measures``.
    queries : int
        How many queries were judged.

    Returns
    -------
    str
        Never that there is no effect: of what was not detected, how large it could have been unseen.
    """
    if said := direction(measure):
        return f"Detected: {said} by {in_line(_absolute(measure['difference']))}."
    if not measure["better"] and not measure["worse"]:
        bound = measure["unchanged_bound"]
        same = f"Not detected: no query’s value changed, of {formats.count(queries)}."
        if bound is None:
            return same
        return f"{same} Up to {share(bound)} of all such queries could change without one of these showing it."
    if measure["detectable"] is None:
        return "Not detected. How small a change would have been is not known."
    return f"Not detected; a change of {formats.decimals(measure['detectable'])} or more would have been."


def _absolute(difference: Mapping[str, float]) -> Mapping[str, float]:
    if difference["value"] >= 0:
        return difference
    return {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}


def quality_sentences(measures: Sequence[Mapping[str, Any]], queries: int) -> Iterator[str]:
    """Say of all measures together what got better or worse, and what was not detected."""
    hidden = [m for m in measures if not direction(m)]
    for measure in (m for m in measures if direction(m)):
        verb = f"{measure['measure']} got {direction(measure)}"
        counts = (
            f"{formats.plural(measure['better'], 'query', 'queries')} better, {formats.count(measure['worse'])} worse"
        )
        yield f"{verb} by {in_line(_absolute(measure['difference']))}: {counts}, of {formats.count(queries)}."
    same = [m for m in hidden if not m["better"] and not m["worse"]]
    if hidden and len(same) == len(hidden):
        rest = told(same[0], queries).removeprefix("Not detected: n")
        yield f"No difference was detected in {_names(same)}: n{rest}"
        return
    if hidden:
        known = [
            f"{formats.decimals(m['detectable'])} in {m['measure']}" for m in hidden if m["detectable"] is not None
        ]
        would = f"; a change of {formats.listing(known)} or more would have been" if known else ""
        yield f"No difference was detected in {_names(hidden)}{would}."


def _names(measures: Sequence[Mapping[str, Any]]) -> str:
    return formats.listing([str(m["measure"]) for m in measures], "or")
