"""The yardstick: the upgrade's change beside that of other seeds of k-means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part
from reportlib.render.search_words import comparison, places, shares
from reportlib.words.searches import least_changed, too_few

_Figure = Mapping[str, Any]
#: The figures of lists that the sentence names, with what they count.
_LISTS = {"changed_queries": "queries", "different_passages": "different passages per query"}
#: How much the lists change, by their verdict.
_THAN = {"smaller": "less than", "within": "as much as", "larger": "more than"}
_NAMES = {"overlap": "Share in common", "rbo": "Rank-biased overlap"}
_VERDICTS = {"smaller": "changes less", "within": "within the range", "larger": "changes more"}


def yardstick_sentence(yardstick: Mapping[str, Any] | None) -> str:
    """Say whether the upgrade changes the lists less, as much or more than another seed of k-means does.

    Parameters
    ----------
    yardstick : mapping or None
        The record's ``yardstick``.

    Returns
    -------
    str
        With the figures of the upgrade and of the seeds; of lists alone, for these change at every seed.
    """
    figures = [] if yardstick is None else [f for f in yardstick["figures"] if f["name"] in _LISTS]
    if yardstick is None or not yardstick["seeds"] or not figures:
        return "There is no yardstick: no index was made again with another seed of k-means."
    figures.sort(key=lambda f: list(_LISTS).index(f["name"]))
    seeds = f"{formats.plural(yardstick['seeds'], 'other seed')} of k-means"
    verdicts = {f["verdict"] for f in figures}
    if len(verdicts) == 1:
        return f"The lists change {_THAN[verdicts.pop()]} with {seeds}: {', '.join(map(_against, figures))}."
    each = [f"{_THAN[f['verdict']]} with the seeds by {_against(f)}" for f in figures]
    return f"Beside {seeds}, the lists change {formats.listing(each)}."


def _against(figure: _Figure) -> str:
    """Return the upgrade's number against the range of the seeds': ``3.0 % of queries against 96.2 to 98.0 %``."""
    own, low, high = _numbers(figure)
    between = low if low == high else f"{low} to {high}"
    if figure["name"] == "changed_queries":
        return f"{own} % of queries against {between} %"
    return f"{own} {_LISTS[figure['name']]} against {between}"


def _numbers(figure: _Figure) -> list[str]:
    """Return the upgrade's number and the least and the most of the seeds', all with as many decimals."""
    found = [figure["upgrade"], min(figure["seeds"]), max(figure["seeds"])]
    if figure["name"] == "changed_queries":
        return shares(found)
    digits = places(found, 2 if figure["name"] == "different_passages" else 4)
    return [formats.decimals(value, digits) for value in found]


def yardstick_table(part: Part, found: Mapping[str, Any]) -> Html:
    """List what the sentence leaves out: overlap and the measures' means, with what a verdict is worth.

    Parameters
    ----------
    part : Part
        The precision.
    found : mapping
        Its record ``search``.

    Returns
    -------
    Html
        Nothing without a yardstick.
    """
    yardstick, upgrade = found["yardstick"], comparison(found)
    if yardstick is None or not yardstick["seeds"] or upgrade is None:
        return join([])
    figures = [f for f in yardstick["figures"] if f["name"] not in _LISTS]
    if not figures:
        return join([])
    least = least_changed(found)
    few = {m["measure"] for m in upgrade["measures"] if too_few(m, least)}
    columns = (
        Column("Figure"), Column("Upgrade", numeric=True), Column("Seeds", numeric=True), Column("Verdict"),
    )  # fmt: skip
    rows = [_row(figure, few) for figure in figures]
    return join(
        [
            table(f"The upgrade beside other seeds of k-means, {part.label}", columns, rows),
            fragment("note", text=" ".join(_worth(yardstick["seeds"], figures, few, least))),
        ]
    )


def _row(figure: _Figure, few: set[str]) -> Row:
    own, low, high = _numbers(figure)
    name = str(figure["name"])
    verdict = formats.ABSENT if name in few else _VERDICTS[figure["verdict"]]
    title = _NAMES.get(name, f"Change of the mean {name}, either way")
    return Row((title, own, low if low == high else f"{low} to {high}", verdict))


def _worth(seeds: int, figures: Sequence[_Figure], few: set[str], least: int) -> Iterator[str]:
    """Say how often chance alone gives a verdict, and which figures have none."""
    # Of n + 1 draws from one distribution each is as likely the smallest, and each the largest.
    chance = 2 / (seeds + 1)
    often = {1.0: "always", 0.5: "in half of all cases"}.get(chance, f"in {100 * chance:.0f} % of all cases")
    yield (
        f"With {formats.plural(seeds, 'seed')}, a value falls outside their range by chance alone {often}; only a "
        "large distance tells something."
    )
    if any(figure["name"] in few for figure in figures):
        yield f"No verdict where the upgrade changed the measure of fewer than {formats.count(least)} queries."
