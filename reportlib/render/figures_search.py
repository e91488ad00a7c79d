"""Figures of search: what each comparison changed, with intervals, and the reseeded indexes in grey beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reportlib.render import formats
from reportlib.render.search_words import short
from reportlib.render.svg import BLUE, GREEN, INK, MUTED, RULE, VERMILLION, Layout

#: Colour and marker by what a comparison changes: no row is told by its colour alone.
_STYLES = {"upgrade": (VERMILLION, "D"), "index": (BLUE, "s"), "torch": (GREEN, "^"), "seed": (MUTED, "o")}
_ROW, _HEAD = 0.24, 0.62
#: Half the width of a panel in which nothing differs, so that it has a scale.
_NOTHING = 0.01
_Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class _Panel:
    """One quantity of every comparison: its title, where no change stands, and how to read it."""

    title: str
    same: float
    read: Callable[[_Comparison], Mapping[str, float] | None]
    percent: bool = False


def paint_quality(layout: Layout, made: Sequence[_Comparison]) -> Figure:
    """Draw the mean difference of each measure in each comparison, each measure on its own scale.

    Parameters
    ----------
    layout : Layout
        The room there is.
    made : sequence of mapping
        The record's ``comparisons`` that have measures.

    Returns
    -------
    Figure
    """
    names = list(dict.fromkeys(m["measure"] for c in made for m in c["measures"]))
    panels = [_Panel(str(measure), 0.0, _reader(measure)) for measure in names]
    drawn, grid = _grid(layout, panels, made)
    for axes, panel in zip(grid, panels, strict=True):
        ends = [abs(e[end]) for c in made if (e := panel.read(c)) for end in ("low", "high", "value")]
        reach = 1.12 * max(ends, default=0) or _NOTHING
        seeds = [abs(e["value"]) for c in made if c["kind"] == "seed" and (e := panel.read(c))]
        if seeds:
            axes.axvspan(-max(seeds), max(seeds), facecolor=RULE, edgecolor="none", zorder=0)
        axes.set_xlim(-reach, reach)
    return drawn


def _reader(measure: str) -> Callable[[_Comparison], Mapping[str, float] | None]:
    return lambda c: next((m["difference"] for m in c["measures"] if m["measure"] == measure), None)


def paint_lists(layout: Layout, made: Sequence[_Comparison]) -> Figure:
    """Draw how many lists changed, how many passages differ, and how much the lists overlap, in each comparison.

    Parameters
    ----------
    layout : Layout
        The room there is.
    made : sequence of mapping
        The record's ``comparisons`` that have queries.

    Returns
    -------
    Figure
    """
    panels = [
        _Panel(
            "lists that changed", 0.0, lambda c: {**c["changed_queries"], "value": c["changed_queries"]["share"]}, True
        ),
        _Panel("different passages", 0.0, lambda c: c["different_passages"]),
        _Panel("share in common", 1.0, lambda c: c["overlap"]),
        _Panel("rank-biased overlap", 1.0, lambda c: c["rbo"]),
    ]
    drawn, grid = _grid(layout, panels, made)
    for axes, panel in zip(grid, panels, strict=True):
        ends = [e[end] for c in made if (e := panel.read(c)) for end in ("low", "high", "value")]
        far = max((abs(end - panel.same) for end in ends), default=0) or _NOTHING
        near, beyond = panel.same - 0.06 * far, panel.same + 1.08 * far
        axes.set_xlim((near, beyond) if panel.same == 0 else (2 * panel.same - beyond, 2 * panel.same - near))
        _mark(axes, panel.same)
    return drawn


def _mark(axes: Axes, same: float) -> None:
    """Put a tick where no change stands: round steps from elsewhere may leave it out."""
    low, high = axes.get_xlim()
    room = 0.25 * (high - low)
    steps = MaxNLocator(3, min_n_ticks=2).tick_values(low, high)
    axes.set_xticks([same, *(float(at) for at in steps if low <= at <= high and abs(at - same) > room)])


def _grid(layout: Layout, panels: Sequence[_Panel], made: Sequence[_Comparison]) -> tuple[Figure, list[Axes]]:
    """Set the panels side by side, or below one another on a phone, each with a row for every comparison."""
    height = _HEAD + _ROW * len(made)
    size = (layout.width, height * len(panels)) if layout.narrow else (layout.width, height + 0.1)
    drawn = Figure(figsize=size)
    shape = (len(panels), 1) if layout.narrow else (1, len(panels))
    grid = list(drawn.subplots(*shape, sharey=True, squeeze=False).flat)
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, made)
    return drawn, grid


def _draw(axes: Axes, panel: _Panel, made: Sequence[_Comparison]) -> None:
    for row, compared in enumerate(made):
        found = panel.read(compared)
        if found is None:
            continue
        colour, marker = _STYLES[compared["kind"]]
        value = found["value"]
        ends = [[max(0.0, value - found["low"])], [max(0.0, found["high"] - value)]]
        axes.errorbar(
            value, row, xerr=ends, color=colour, marker=marker, markersize=4.5, elinewidth=1.4, capsize=2, clip_on=False
        )
    axes.axvline(panel.same, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(made)), [short(c) for c in made])
    axes.set_ylim(len(made) - 0.5, -0.5)
    axes.set_title(panel.title, fontsize=9)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent if panel.percent else _tick))


def _percent(value: float, _: int | None = None) -> str:
    return f"{formats.decimals(100 * value, 0 if value >= 0.03 or not value else 1)} %"


def _tick(value: float, _: int | None = None) -> str:
    # A tick is round, so its zeros tell nothing; what stands for nought may be 1e-17.
    if abs(value) < 1e-9:
        return "0"
    text = formats.decimals(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text
