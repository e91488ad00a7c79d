"""Why a decision flips: how far it was from falling the other way, beside what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportlib.render import formats
from reportlib.render.controls import inconclusive
from reportlib.render.figures_margins import Panel, paint_margins
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, heading, parts
from reportlib.render.margins_words import Record, decision, sentences, share
from reportlib.render.svg import figure


def margins(report: Mapping[str, Any]) -> Html:
    """Say, draw and list whether what flipped had smaller margins, for each precision.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    shown = [part for part in parts(report) if part.precision.get("margins")]
    if not shown:
        return fragment("note", text="This study has no margins, so it cannot say which decisions were close.")
    return join([piece for part in shown for piece in _part(part)])


def _part(part: Part) -> list[Html]:
    records = part.precision["margins"]
    measured = [record for record in records if record["left_out"] is None]
    told = [" ".join(sentences(part, record)) for record in measured]
    pieces = [heading(part.title, f"margins-{part.slug}", 4), inconclusive(part)]
    if told:
        pieces.append(fragment("sentences", sentences=told))
    panels = [_panel(record) for record in measured if record["flipped"]]
    if panels:
        pieces.append(_figure(part, panels))
    if measured:
        pieces.append(_table(part, measured))
    reasons = [
        f"{decision(record).title}: not looked at. {record['left_out']}" for record in records if record["left_out"]
    ]
    return [*pieces, *(fragment("note", text=reason) for reason in reasons)]


def _panel(record: Record) -> Panel:
    words = decision(record)
    return Panel(words.title, words.axis, record)


def _figure(part: Part, panels: list[Panel]) -> Html:
    return figure(
        f"margins-{part.slug}",
        lambda layout: paint_margins(layout, panels),
        title=f"How many decisions flipped, by their margin, {part.label}",
        description=" ".join(_described(panel) for panel in panels),
        caption=f"How often a decision of {part.a} fell otherwise in {part.b}, by how far it was from that (its "
        "margin, on a log scale). Bins hold about as many decisions each, fewer where many flips are. The intervals "
        "(Wilson's) and p take decisions for independent, which those of one passage are not.",
    )


def _described(panel: Panel) -> str:
    first, last = panel.record["bins"][0], panel.record["bins"][-1]
    if first is last:
        return f"{panel.title}: {formats.of(first['flipped'], first['items'])} flipped."
    return (
        f"{panel.title}: of those with the smallest margins (up to {formats.amount(first['high'])}) "
        f"{share(first['rate'])} flipped, of those with the largest (from {formats.amount(last['low'])}) "
        f"{share(last['rate'])}; in between, {_between(panel.record['bins'][1:-1])}."
    )


def _between(bins: list[Record]) -> str:
    shares = [each["rate"] for each in bins]
    if not shares:
        return "there are none"
    least, most = share(min(shares)), share(max(shares))
    return least if least == most else f"{least} to {most}"


def _table(part: Part, measured: list[Record]) -> Html:
    columns = (
        Column("Decision"), Column("Margin"), Column("Looked at", numeric=True), Column("Flipped", numeric=True),
        Column("Median margin", numeric=True), Column("Median margin of the flipped", numeric=True),
        Column("Median change of a margin", numeric=True), Column("Largest change", numeric=True),
        Column("What happened in the flips", numeric=True),
    )  # fmt: skip
    rows = [_row(record) for record in measured]
    return table(f"Margins in {part.a}, and what changed in {part.b}, {part.label}", columns, rows)


def _row(record: Record) -> Row:
    words, change = decision(record), record["change"] or {"median": None, "max": None}
    explained = record["explained"]
    return Row(
        (
            words.title,
            words.margin,
            formats.count(record["items"]),
            formats.count(record["flipped"]),
            formats.amount(record["margin"]["median"]),
            formats.amount(record["half"]),
            formats.amount(change["median"]),
            formats.amount(change["max"]),
            fragment("estimate", value=formats.of(explained["within"], explained["of"]), beside=words.explained)
            if explained["of"]
            else formats.ABSENT,
        )
    )
