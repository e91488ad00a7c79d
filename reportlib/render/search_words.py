"""The words of the search section: what was compared with what, and what a difference of means says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reportlib.render import formats
from reportlib.render.html import Html, fragment
from reportlib.render.labels import Part, parts
from reportlib.words.searches import too_few

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
        return f"The search alone, on {sides.get(left['index'], left['index'])}'s index"
    if compared["kind"] == "seed":
        return f"Another seed of k-means ({compared['id'].removeprefix('seed-')})"
    return "The upgrade, index and search"


def short(compared: Mapping[str, Any]) -> str:
    """Return the same in the few letters that a figure has room for."""
    left = compared["left"]
    if compared["kind"] == "index":
        return f"index, {left['torch'].upper()} searching"
    if compared["kind"] == "torch":
        return f"search, {left['index'].upper()}'s index"
    return str(compared["id"]).replace("-", " ")


def place(part: Part, torch: str, index: str) -> str:
    """Return who searched which index: ``PyTorch 2.1.0 on PyTorch 2.0.1's index``."""
    sides = {"a": part.a, "b": part.b}
    by = sides.get(torch, torch)
    if index not in sides:
        return f"{by} on its index with another seed ({index.removeprefix('seed-')})"
    return f"{by} on its own index" if torch == index else f"{by} on {sides[index]}'s index"


def places(values: Iterable[float | None], least: int = 3) -> int:
    """Return how many decimals tell numbers that stand together from whole ones, so that all of them get as many.

    Parameters
    ----------
    values : iterable of float or None
        Of a row, or a mean with the ends of its interval. Whole numbers and None need no decimals.
    least : int
        Decimals even where fewer would do.
    """
    sizes = [abs(value) for value in values if value is not None and value != round(value)]
    return next((n for n in range(least, 6) if all(round(size, n) != round(size) for size in sizes)), 6)


def ends(estimate: Mapping[str, float]) -> tuple[float, float, float]:
    """Return a mean and the ends of its interval."""
    return estimate["value"], estimate["low"], estimate["high"]


def spread(estimate: Mapping[str, float], least: int = 3, *, signed: bool = False) -> str:
    """Return the ends of an interval, ``−0.010 to +0.002``; nothing where it has no width."""
    if estimate["low"] == estimate["high"] == estimate["value"]:
        return ""
    digits = places(ends(estimate), least)
    low, high = (formats.decimals(estimate[end], digits, signed=signed) for end in ("low", "high"))
    return f"{low} to {high}"


def estimate(value: Mapping[str, float], least: int = 3, *, signed: bool = False) -> Html | str:
    """Draw a mean with its interval below it; a bare number where that has no width."""
    shown = formats.decimals(value["value"], places(ends(value), least), signed=signed)
    beside = spread(value, least, signed=signed)
    return fragment("estimate", value=shown, beside=beside) if beside else shown


def in_line(value: Mapping[str, float], least: int = 3, *, signed: bool = False) -> str:
    """Return a mean with its interval after it: ``+0.004 (−0.002 to +0.010)``."""
    beside = spread(value, least, signed=signed)
    shown = formats.decimals(value["value"], places(ends(value), least), signed=signed)
    return shown + (f" ({beside})" if beside else "")


def share(value: float | None) -> str:
    """Return a share of queries in per cent, 0 and 100 only where it is none or all."""
    if value is None:
        return formats.ABSENT
    return formats.percent(round(value * 1_000_000), 1_000_000) if 1e-6 <= value <= 1 - 1e-6 else f"{value * 100:.0f} %"


def shares(values: Sequence[float]) -> list[str]:
    """Return shares that stand together in per cent without the sign, all with one decimal or all with none.

    As with `formats.percent` 0 and 100 are only what is none or all, and what is close to them gets a decimal.
    """
    numbers = [100 * value for value in values]
    digits = 1 if any(0 < number < 10 or 90 < number < 100 for number in numbers) else 0
    return [_per_cent(number, digits) for number in numbers]


def _per_cent(number: float, digits: int) -> str:
    if number in {0, 100}:
        return f"{number:.0f}"
    return "<0.1" if number < 0.1 else ">99.9" if number > 99.9 else f"{number:.{digits}f}"


def direction(measure: Mapping[str, Any]) -> str:
    """Return ``better`` or ``worse`` for a detected difference (more is better for all of them), else nothing."""
    value = measure["difference"]["value"]
    if not measure["detected"] or not value:
        return ""
    return "better" if value > 0 else "worse"


def undetected(
    measures: Sequence[Mapping[str, Any]], queries: int, least: int
) -> Iterator[tuple[list[Mapping[str, Any]], str]]:
    """Say why of some measures no difference was detected, and what that leaves open.

    Parameters
    ----------
    measures : sequence of mapping
        A comparison's ``measures``.
    queries : int
        How many queries were judged.
    least : int
        As `reportlib.compare.findings.searches.least_changed` returns it.

    Yields
    ------
    tuple of list and str
        Measures of which the same holds, and the words: never that there is no effect.
    """
    hidden = [m for m in measures if not direction(m)]
    few = [m for m in hidden if too_few(m, least)]
    for chosen, words in (
        ([m for m in few if not m["better"] + m["worse"]], _none_changed),
        ([m for m in few if m["better"] + m["worse"]], _few_changed),
        ([m for m in hidden if m not in few and m["detectable"] is not None], _would_have_been),
        ([m for m in hidden if m not in few and m["detectable"] is None], _unknown),
    ):
        if chosen:
            yield chosen, words(chosen, queries, least)


def _none_changed(measures: Sequence[Mapping[str, Any]], queries: int, _: int) -> str:
    known = [m["unchanged_bound"] for m in measures if m["unchanged_bound"] is not None]
    bound = f"; up to {formats.amount(100 * max(known))} % of queries could change unseen" if known else ""
    return f"no query's value changed, of {formats.count(queries)}{bound}"


def _few_changed(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> str:
    counts = [m["better"] + m["worse"] for m in measures]
    low, high = (formats.count(end(counts)) for end in (min, max))
    between = "or" if max(counts) == min(counts) + 1 else "to"
    changed = low if low == high else f"{low} {between} {high}"
    return (
        f"only {changed} of {formats.plural(queries, 'query', 'queries')} changed their value; "
        f"fewer than {formats.count(least)} are too few for the test"
    )


def _would_have_been(measures: Sequence[Mapping[str, Any]], _: int, __: int) -> str:
    digits = places([m["detectable"] for m in measures])
    known = [f"{formats.decimals(m['detectable'], digits)} in {m['measure']}" for m in measures]
    return f"a change of {formats.listing(known)} would probably have been (4 times of 5)"


def _unknown(_: Sequence[Mapping[str, Any]], __: int, ___: int) -> str:
    return "how small a change would have been is not known"


def _absolute(difference: Mapping[str, float]) -> Mapping[str, float]:
    if difference["value"] >= 0:
        return difference
    return {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}


def quality_sentences(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> Iterator[str]:
    """Say of all measures together what got better or worse, and what was not detected."""
    for measure in (m for m in measures if direction(m)):
        verb = f"{measure['measure']} got {direction(measure)}"
        counts = (
            f"{formats.plural(measure['better'], 'query', 'queries')} better, {formats.count(measure['worse'])} worse"
        )
        yield f"{verb} by {in_line(_absolute(measure['difference']))}: {counts}, of {formats.count(queries)}."
    for chosen, why in undetected(measures, queries, least):
        yield f"No difference was detected in {names(chosen)}: {why}."


def names(measures: Sequence[Mapping[str, Any]]) -> str:
    """Return the measures' names: ``MRR@10 or nDCG@10``."""
    return formats.listing([str(m["measure"]) for m in measures], "or")
