"""Whether search got better or worse: measures against judgements, their differences, and what would have been seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.figures_search import paint_quality
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, heading
from reportlib.render.search_words import (
    NOT_SEARCHED,
    comparison,
    direction,
    ends,
    estimate,
    in_line,
    name,
    names,
    place,
    places,
    searched,
    undetected,
)
from reportlib.render.svg import figure
from reportlib.words.searches import judging_sentence, least_changed, too_few

#: Decimals in a table: one more than in a sentence, so that both sides of a small difference are told apart.
_PLACES = 4
_SIGNS = {"better": ("identical", "▲"), "worse": ("different", "▼"), "": ("missing", "?")}


def search_quality(report: Mapping[str, Any]) -> Html:
    """Show the quality of every search, and of every comparison the differences with their intervals.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    relevance = " ".join(_relevance(report["study"]))
    for part, found in searched(report):
        pieces.append(heading(part.title, f"search-quality-{part.slug}", 4))
        if found["judged"] and found["quality"]:
            pieces += _part(part, found, " ".join(filter(None, (relevance, relevance and _judging(found)))))
            # It holds of every precision, and one telling is enough.
            relevance = ""
        else:
            pieces.append(_unjudged(found))
    return join(pieces) if pieces else fragment("note", text=NOT_SEARCHED)


def _unjudged(found: Mapping[str, Any]) -> Html:
    who = "No query was searched" if not found["queries"] else "None of the queries has relevance judgements"
    text = f"{who}, so whether search got better or worse is not known. {_judging(found)}"
    return fragment("note", text=text.strip())


def _judging(found: Mapping[str, Any]) -> str:
    """Say which judgements do not count as they were given, where the captures say so."""
    judging = found.get("judging")
    return judging_sentence(judging) if judging else ""


def _part(part: Part, found: Mapping[str, Any], relevance: str) -> list[Html]:
    made = [c for c in found["comparisons"] if c["queries"] and c["measures"]]
    upgrade = comparison(found)
    others = [c for c in made if c["id"] != "upgrade"]
    shown = [] if upgrade is None or not upgrade["measures"] else [_differences(part, found, upgrade)]
    if relevance:
        shown.append(fragment("note", text=relevance))
    if made:
        shown.append(_figure(part, made))
    if others:
        tables = join([_differences(part, found, c) for c in others])
        shown.append(fold(f"The other {formats.plural(len(others), 'comparison')}, as tables", tables))
    return [*shown, fold("The measures of every search, with their intervals", _overview(part, found))]


def _relevance(study: Mapping[str, Any]) -> Iterator[str]:
    """Say who judged what, and what a value is worth that was measured with this checkpoint."""
    yield "A passage without a judgement counts as not relevant."
    if study["collection"]["source"] == "numpy-docstrings":
        yield (
            "Here a query is the first line of a docstring, and its relevant passages are the paragraphs of that "
            "docstring: made automatically, not by people."
        )
    if study["checkpoint"]["source"] == "all-minilm-l6-v2":
        yield "The last layer of this checkpoint is untrained, so these values say nothing about a real ColBERT."


def _differences(part: Part, found: Mapping[str, Any], compared: Mapping[str, Any]) -> Html:
    """List a comparison's measures: both sides, their difference, and below them what was not detected."""
    sides = [place(part, compared[side]["torch"], compared[side]["index"]) for side in ("left", "right")]
    columns = (
        Column("Measure"), Column("Before", numeric=True), Column("After", numeric=True),
        Column("Difference, with 95 % interval", numeric=True), Column("Queries better, equal, worse", numeric=True),
        Column("p", numeric=True), Column("Smallest change to show", numeric=True), Column("Result"),
    )  # fmt: skip
    caption = f"{name(part, compared)}: {sides[0]}, then {sides[1]}; {_judged(found)}"
    least = least_changed(found)
    drawn = table(caption, columns, [_row(measure, least) for measure in compared["measures"]])
    notes = [*_hidden(compared["measures"], found["judged"], least), *_intervals(compared["measures"])]
    return join([drawn, fragment("note", text=" ".join(notes))]) if notes else drawn


def _hidden(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> Iterator[str]:
    """Say what the columns do not: why a measure has no smallest change to show."""
    for chosen, why in undetected(measures, queries, least):
        if any(too_few(measure, least) or measure["detectable"] is None for measure in chosen):
            which = "" if len(chosen) == len(measures) else f" in {names(chosen)}"
            yield f"Not detected{which}: {why}."


def _intervals(measures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how an interval was made that a bootstrap would have made too narrow."""
    if any(measure.get("interval") == "few" and measure["better"] + measure["worse"] for measure in measures):
        yield (
            "Where so few changed, the interval is a wide one: the largest share of queries that could change, times "
            "the largest change that was seen."
        )


def _judged(found: Mapping[str, Any]) -> str:
    return f"{formats.count(found['judged'])} judged {'query' if found['judged'] == 1 else 'queries'}"


def _row(measure: Mapping[str, Any], least: int) -> Row:
    said = direction(measure)
    kind, sign = _SIGNS[said]
    visible = None if too_few(measure, least) else measure["detectable"]
    digits = places([measure["left"], measure["right"], *ends(measure["difference"]), visible], _PLACES)
    return Row(
        (
            str(measure["measure"]),
            formats.decimals(measure["left"], digits),
            formats.decimals(measure["right"], digits),
            estimate(measure["difference"], digits, signed=True),
            Markup(" · ").join(formats.count(measure[key]) for key in ("better", "equal", "worse")),
            _chance(measure),
            formats.decimals(visible, digits),
            fragment("badge", kind=kind, sign=sign, text=said or "not detected"),
        ),
        passing=not measure["better"] and not measure["worse"],
    )


def _chance(measure: Mapping[str, Any]) -> Html | str:
    """Draw the probability of such a difference by chance, and below it that of the sign test."""
    shown, signs = _probability(measure["p_permutation"]), measure["p_sign"]
    return shown if signs is None else fragment("estimate", value=shown, beside=f"sign test {_probability(signs)}")


def _probability(value: float | None) -> str:
    if value is None:
        return formats.ABSENT
    return "<0.001" if value < 0.001 else formats.decimals(value, 3 if value < 0.1 else 2)


def _overview(part: Part, found: Mapping[str, Any]) -> Html:
    """List the measures of every combination of torch and index."""
    names = list(dict.fromkeys(measure for each in found["quality"] for measure in each["measures"]))
    columns = (Column("Searched"), *(Column(measure, numeric=True) for measure in names))
    rows = [
        Row(
            (
                place(part, each["torch"], each["index"]),
                *(estimate(each["measures"][m]) if m in each["measures"] else formats.ABSENT for m in names),
            )
        )
        for each in found["quality"]
    ]
    return table(f"Means over {_judged(found)}, with 95 % intervals", columns, rows)


def _figure(part: Part, made: Sequence[Mapping[str, Any]]) -> Html:
    seeds = [c for c in made if c["kind"] == "seed"]
    said = [
        f"{name(part, compared)}: "
        + formats.listing([f"{m['measure']} {in_line(m['difference'], signed=True)}" for m in compared["measures"]])
        + "."
        for compared in made
    ]
    band = (
        " The grey rows are the same index made with another seed of k-means; the grey band reaches as far as they do, "
        "either way."
        if seeds
        else ""
    )
    return figure(
        f"search-quality-{part.slug}",
        lambda layout: paint_quality(layout, made),
        title="Differences of the quality measures, with 95 % intervals",
        description=" ".join(said),
        caption="Each mark is a mean difference over the judged queries, each line its 95 % interval: right of the "
        f"dotted line is better, left is worse. Each panel has its own scale. A is {part.a}, B is {part.b}.{band}",
    )
