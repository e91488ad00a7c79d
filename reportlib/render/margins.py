"""Why a decision flips: how far it was from falling the other way, beside what changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reportlib.render.controls import inconclusive
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, heading, parts
from reportlib.render.svg import BLUE, MUTED, SKY, VERMILLION, Layout, figure
from reportlib.words import formats

# What the page says of margins, in sentences: how many flipped, whether these had smaller margins, what moved.

Record = Mapping[str, Any]
#: Above this a difference of margins counts as not detected.
_LEVEL = 0.05


@dataclass(frozen=True)
class Decision:
    """How the page speaks of one kind of decision; ``{k}`` and ``{next}`` stand for ranks.

    Attributes
    ----------
    title : str
        What is decided.
    item, items : str
        What it is decided about, one and many.
    flips, flip : str
        What many of them do when they flip, and one.
    margin, axis : str
        What the margin is, and the same in as few words as a figure has room for.
    explained, otherwise : str
        What a change of the margin by at least its own size is, and what happened where it changed by less.
    moved : str
        What else moved, where the thing decided about is the same on both sides.
    """

    title: str
    item: str
    items: str
    flips: str
    flip: str
    margin: str
    axis: str
    explained: str
    otherwise: str
    moved: str = ""


DECISIONS: dict[str, Decision] = {
    "centroid": Decision(
        "A token's centroid", "token embedding", "token embeddings", "have another centroid", "has another centroid",
        "score of the first centroid minus the second's", "first score − second",
        "the two candidates themselves swapped", "a third one came in",
        "the embedding is the same, so a centroid moved",
    ),
    "bucket": Decision(
        "A residual's bucket", "coordinate of a residual", "coordinates of residuals", "are in another bucket",
        "is in another bucket", "distance to the bucket's nearer edge", "distance to the edge",
        "the value (or the edge) moved by at least the margin", "the value crossed the farther edge",
        "the value is the same, so the bucket's edge moved",
    ),
    "rank": Decision(
        "A query's top {k}", "query", "queries", "have other passages in the top {k}",
        "has other passages in the top {k}", "score of rank {k} minus that of rank {next}",
        "score {k} − score {next}",
        "the two candidates themselves swapped", "a third one came in",
    ),
}  # fmt: skip


def decision(record: Record) -> Decision:
    """Return the words of a decision with its ranks in place."""
    k = record["k"] or 0
    chosen = DECISIONS[record["id"]]
    ranks = {"k": formats.count(k), "next": formats.count(k + 1)}
    return Decision(**{name: text.format(**ranks) for name, text in vars(chosen).items()})


def sentences(part: Part, record: Record) -> list[str]:
    """Return what a record says: how many flipped, whether these had smaller margins, and what moved."""
    words = decision(record)
    flipped, items = record["flipped"], record["items"]
    if flipped == 0:
        return [f"{words.title}: no flip was seen among {_looked(words, record)}.", *_none_flipped(record)]
    verb = words.flip if flipped == 1 else words.flips
    counted = f"{formats.count(flipped)} of {_looked(words, record)} {verb} in {part.b}"
    told = [f"{words.title}: {counted} ({formats.percent(flipped, items)})."]
    return [*told, _smaller(record), *_explained(words, record), *_ids(part, record)]


def _looked(words: Decision, record: Record) -> str:
    """Return how many were looked at, and of how many where that was not all."""
    number = formats.plural(record["items"], words.item, words.items)
    if record["items"] == record["of"]:
        return number
    why = "with a passage below" if record["id"] == "rank" else "evenly spaced"
    return f"{number} ({why}; there are {formats.count(record['of'])})"


def _none_flipped(record: Record) -> list[str]:
    """Return how near it came, since without a flip nothing can be predicted."""
    change = record["change"]
    smallest = formats.amount(record["margin"]["quantiles"]["0"])
    told = [f"So whether those that flip have smaller margins cannot be told; the smallest margin is {smallest}."]
    if change is not None:
        most, nearly = (formats.amount(change[key]) for key in ("max", "0.99"))
        told.append(f"Margins changed by {most} at most, and 99 % of them by no more than {nearly}.")
    if record["unseen"] is not None:
        told.append(f"Of all, up to {share(record['unseen'])} could have flipped unseen.")
    return told


def _smaller(record: Record) -> str:
    """Return the answer: whether flipped items had the smaller margins, and whether that could be chance."""
    area = record["auc"]
    if area is None:
        return "All of them did, so a margin cannot tell which ones do."
    pairs = f"in {share(area)} of pairs ({formats.plural(record['flipped'], 'flip')}, p {_chance(record['p'])})"
    least = record["detectable"]
    seen = (
        f"{share(least)} or more would probably have shown"
        if least is not None
        else "with so few, nothing would have shown"
    )
    if record["p"] > _LEVEL:
        return f"Not detected: those that flipped had smaller margins {pairs}; {seen}."
    if area < 0.5:
        return f"Those that flipped had larger margins: smaller ones only {pairs}."
    told = f"Those that flipped had smaller margins: {pairs}."
    if least is None or area <= least:
        return f"{told} With so few flips that could be chance; {seen}."
    median, half = formats.amount(record["margin"]["median"]), formats.amount(record["half"])
    return f"{told} Half of the flips have a margin of at most {half}, half of all {median}."


def _chance(probability: float) -> str:
    return "< 0.001" if probability < 0.001 else f"= {formats.decimals(probability, 3 if probability < 0.1 else 2)}"


def _explained(words: Decision, record: Record) -> list[str]:
    found = record["explained"]
    rest = found["of"] - found["within"] - found["unknown"]
    told = []
    if found["within"]:
        first = f"{_flips(found['within'], found['of'])} {words.explained}"
        told.append(f"{first}; otherwise {words.otherwise}." if rest else f"{first}.")
    elif rest:
        told.append(f"{_flips(rest, found['of'])} {words.otherwise}.")
    if found["unknown"]:
        told.append(f"For {formats.count(found['unknown'])} the change is not known: a passage is no longer ranked.")
    if found["alike"]:
        told.append(f"{_flips(found['alike'], found['of'])} {words.moved}.")
    return told


def _flips(part: int, whole: int) -> str:
    """Return how a sentence begins that holds in some of the flips: ``In 3 of 4 flips``, ``In the one flip``."""
    return "In the one flip" if whole == 1 else f"In {formats.of(part, whole)} flips"


def _ids(part: Part, record: Record) -> list[str]:
    """Return for how many centroids an id does not stand for the same place on both sides."""
    found = record["same_ids"]
    if found is None or found["nearest"] == found["of"]:
        return []
    same = formats.of(found["nearest"], found["of"])
    nearest = f"For {same} centroids of {part.a} the nearest one of {part.b} has the same id"
    return [f"{nearest}; for the others a flip may be another id for the same place."]


def share(value: float) -> str:
    """Return a share as a percentage that says 0 % only when it is none and 100 % only when it is all."""
    return formats.percent(round(value * 10**9), 10**9)


# Flips by margin: how often a decision fell otherwise, by how far it was from that.


@dataclass(frozen=True)
class Panel:
    """One kind of decision, as a figure names it.

    Attributes
    ----------
    title : str
        What is decided.
    margin : str
        What its margin is, short enough for an axis.
    record : mapping
        An entry of ``margins`` with at least one flip.
    """

    title: str
    margin: str
    record: Record


def paint_margins(layout: Layout, panels: Sequence[Panel]) -> Figure:
    """Draw the share of flips in every bin of margins, with its interval, and how far margins moved."""
    many = len(panels)
    size = (layout.width, 2.5 * many + 0.8) if layout.narrow or many == 1 else (layout.width, 3.3)
    drawn = Figure(figsize=size)
    grid = drawn.subplots(*((many, 1) if layout.narrow else (1, many)), squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        _margin_panel(axes, panel)
        axes.set_ylabel("share that flipped" if axes in grid[:, 0] else "")
    handles = [
        Line2D([], [], color=BLUE, label="share that flipped"),
        Patch(facecolor=SKY, alpha=0.45, label="its 95 % interval"),
        Line2D([], [], color=VERMILLION, linestyle="--", linewidth=1.2, label="99 % of margins changed by less"),
        Line2D([], [], color=MUTED, linestyle=":", linewidth=1.4, label="largest change of a margin"),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=1 if layout.narrow else 2)
    return drawn


def _margin_panel(axes: Axes, panel: Panel) -> None:
    bins = panel.record["bins"]
    edges = bin_edges(bins)
    lows, highs = ([each[key] for each in bins] for key in ("rate_low", "rate_high"))
    axes.stairs(highs, edges, baseline=lows, fill=True, color=SKY, alpha=0.45, linewidth=0)
    axes.stairs([each["rate"] for each in bins], edges, baseline=None, color=BLUE, linewidth=1.8)
    change = panel.record["change"] or {"0.99": 0, "max": 0}
    for value, colour, style, width in ((change["0.99"], VERMILLION, "--", 1.2), (change["max"], MUTED, ":", 1.4)):
        if value > 0:
            axes.axvline(value, color=colour, linestyle=style, linewidth=width)
    axes.set_xscale("log")
    axes.set_ylim(0, min(1.04, 1.08 * max(highs)))
    axes.set_title(panel.title)
    axes.set_xlabel(f"margin: {panel.margin}")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formats.amount(value, 1)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def bin_edges(bins: Sequence[Record]) -> list[float]:
    """Return where the bins start and end on a log axis, each next to the other.

    What is not above zero stands at the left end, a tenth below the smallest margin that is.
    """
    positive = [value for each in bins for value in (each["low"], each["high"]) if value > 0]
    floor = min(positive, default=1.0) / 10
    inner = [math.sqrt(max(left["high"], floor) * max(right["low"], floor)) for left, right in pairwise(bins)]
    first, last = max(bins[0]["low"], floor), max(bins[-1]["high"], floor)
    # One bin of one margin would have no width.
    return [first, *inner, last if last > first else first * 10]


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
