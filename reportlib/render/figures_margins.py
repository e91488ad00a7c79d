"""Flips by margin: how often a decision fell otherwise, by how far it was from that."""

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

from reportlib.render import formats
from reportlib.render.svg import BLUE, MUTED, SKY, VERMILLION, Layout

Record = Mapping[str, Any]


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
        _panel(axes, panel)
        axes.set_ylabel("share that flipped" if axes in grid[:, 0] else "")
    handles = [
        Line2D([], [], color=BLUE, label="share that flipped"),
        Patch(facecolor=SKY, alpha=0.45, label="its 95 % interval"),
        Line2D([], [], color=VERMILLION, linestyle="--", linewidth=1.2, label="99 % of margins changed by less"),
        Line2D([], [], color=MUTED, linestyle=":", linewidth=1.4, label="largest change of a margin"),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=1 if layout.narrow else 2)
    return drawn


def _panel(axes: Axes, panel: Panel) -> None:
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
