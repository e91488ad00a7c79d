"""What each figure draws, for a wide page and for a phone. Colours are `reportlib.render.svg`'s placeholders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reportlib.render.labels import SIGNS, Part, layer
from reportlib.render.svg import BLUE, INK, MUTED, PAGE, PURPLE, RULE, SERIES, VERMILLION, Layout
from reportlib.words import formats

#: (tile, sign) per verdict: what is identical stays quiet.
TILES: dict[str, tuple[str, str]] = {
    "identical": (RULE, INK),
    "close": (BLUE, PAGE),
    "same set": (PURPLE, INK),
    "different": (VERMILLION, PAGE),
    "shape mismatch": (INK, PAGE),
    "missing": (PAGE, INK),
}
_MARKERS = ("o", "s", "^", "D", "v", "P")


def tiles(
    layout: Layout,
    columns: Sequence[str],
    rows: Sequence[str],
    verdicts: Sequence[Sequence[str | None]],
) -> Figure:
    """Draw verdicts as a grid of tiles with signs; on a phone the grid is turned on its side.

    Parameters
    ----------
    layout : Layout
        The room there is.
    columns, rows : sequence of str
        Names along the wide figure's two axes.
    verdicts : sequence of sequence
        ``verdicts[row][column]``; ``None`` leaves the place empty.

    Returns
    -------
    Figure
    """
    across, down = (rows, columns) if layout.narrow else (columns, rows)
    cell = 0.22 if layout.narrow else 0.3
    labels = 0.055 * max((len(name) for name in across), default=0)
    drawn = Figure(figsize=(layout.width, 0.6 + labels + cell * len(down)))
    axes = drawn.add_subplot()
    for x in range(len(across)):
        for y in range(len(down)):
            verdict = verdicts[x][y] if layout.narrow else verdicts[y][x]
            if verdict is not None:
                _tile(axes, x, y, verdict)
    axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5))
    steep = not (layout.narrow and max((len(name) for name in across), default=0) < 12)
    axes.set_xticks(range(len(across)), across, rotation=90 if steep else 0)
    axes.set_yticks(range(len(down)), down)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    present = [v for v in SIGNS if any(v in row for row in verdicts)]
    handles = [Patch(facecolor=TILES[v][0], edgecolor=MUTED, linewidth=0.5, label=f"{SIGNS[v]} {v}") for v in present]
    drawn.legend(handles=handles, loc="outside lower center", ncols=2 if layout.narrow else len(handles) or 1)
    return drawn


def _tile(axes: Axes, x: int, y: int, verdict: str) -> None:
    face, sign = TILES[verdict]
    axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=face, edgecolor=MUTED, linewidth=0.4))
    axes.text(x, y, SIGNS[verdict], color=sign, ha="center", va="center_baseline", fontsize=8)


def paint_pipeline(layout: Layout, chosen: Sequence[Part]) -> Figure:
    """Draw the verdict of every capture point in pipeline order, one line per precision."""
    names: list[str] = []
    lines = []
    for part in chosen:
        points = pipeline_verdicts(part.precision)
        names = names or [name for name, _ in points]
        found = dict(points)
        lines.append([found.get(name) for name in names])
    return tiles(layout, names, [part.precision["precision"] for part in chosen], lines)


def pipeline_verdicts(precision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, verdict) of every capture point in pipeline order, BERT's layers as one."""
    points = [(("index: " if c["final"] else "") + c["name"], c["verdict"], c["stage"]) for c in precision["artifacts"]]
    found = [(name, verdict) for name, verdict, _ in points]
    if precision["layers"]:
        place = sum(stage == "tokenize" for *_, stage in points)
        same = all(entry["first_difference"] is None for entry in precision["layers"])
        found.insert(place, ("BERT layers", "identical" if same else "different"))
    return found


def paint_layers(layout: Layout, chosen: Sequence[Part]) -> Figure:
    """Draw the largest and mean difference of every layer on a log scale; what is identical stands on its own line."""
    shown = [part for part in chosen if part.precision["layers"]]
    size = (layout.width, 2.6 * len(shown) + 0.7) if layout.narrow else (layout.width, 3.5)
    drawn = Figure(figsize=size)
    grid = drawn.subplots(*((len(shown), 1) if layout.narrow else (1, len(shown))), sharey=True, squeeze=False)
    numbers = [
        row[key]
        for part in shown
        for entry in part.precision["layers"]
        for row in entry["layers"]
        for key in ("mean_abs", "max_abs")
        if row[key]
    ]
    floor = 10.0 ** (math.floor(math.log10(min(numbers))) - 1) if numbers else 1e-8
    top = max(numbers) * 3 if numbers else 1e-4
    for axes, part in zip(grid.flat, shown, strict=True):
        _layer_panel(axes, part, floor)
        axes.set_yscale("log")
        axes.set_ylim(floor / 2.2, top)
        axes.set_title(part.label, fontsize=9)
        axes.set_xlabel("BERT layer (e: embeddings)")
        _powers(axes, floor)
    for axes in grid[:, 0]:
        axes.set_ylabel("absolute difference |A − B|")
    labels = [entry["label"] for entry in shown[0].precision["layers"]] if shown else []
    handles = [
        Line2D(
            [],
            [],
            color=SERIES[i % 6],
            marker=_MARKERS[i % 6],
            markersize=5,
            label=formats.excerpt(label, 36),
        )
        for i, label in enumerate(labels)
    ]
    handles += [
        Line2D([], [], color=MUTED, label="largest"),
        Line2D([], [], color=MUTED, linestyle=":", label="mean"),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=2 if layout.narrow else len(handles))
    return drawn


def _layer_panel(axes: Axes, part: Part, floor: float) -> None:
    for i, entry in enumerate(part.precision["layers"]):
        frame = pd.DataFrame(
            {
                "layer": ["e" if row["layer"] == "embeddings" else layer(row["layer"]) for row in entry["layers"]],
                "largest": [row["max_abs"] or floor for row in entry["layers"]],
                "mean": [row["mean_abs"] or floor for row in entry["layers"]],
            }
        )
        colour, marker = SERIES[i % 6], _MARKERS[i % 6]
        sns.lineplot(
            frame, x="layer", y="largest", ax=axes, color=colour, marker=marker, markersize=5,
            markeredgecolor=PAGE, markeredgewidth=0.5, legend=False, errorbar=None, sort=False,
        )  # fmt: skip
        sns.lineplot(
            frame, x="layer", y="mean", ax=axes, color=colour, linestyle=":", linewidth=1.2, legend=False,
            errorbar=None, sort=False,
        )  # fmt: skip
    axes.set_ylabel("")


def _powers(axes: Axes, floor: float) -> None:
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "identical" if value <= floor * 1.01 else f"{value:.0e}".replace("-", "−"))
    )


def paint_permutation(layout: Layout, part: Part) -> Figure:
    """Draw the token ids of one centroid in the order that each side lists them."""
    figure = part.precision["order"]["figure"]
    size = (layout.width, 4.6) if layout.narrow else (layout.width, 3.0)
    drawn = Figure(figsize=size)
    panels = drawn.subplots(*((2, 1) if layout.narrow else (1, 2)), sharex=True, sharey=True)
    for axes, side, name, colour in zip(panels, ("a", "b"), (part.a, part.b), (VERMILLION, BLUE), strict=True):
        ids = figure[side]
        axes.plot(range(1, len(ids) + 1), ids, color=colour, linewidth=0.9, alpha=0.55)
        sns.scatterplot(
            x=range(1, len(ids) + 1),
            y=ids,
            ax=axes,
            color=colour,
            s=22,
            edgecolor=PAGE,
            linewidth=0.4,
            legend=False,
        )
        axes.set_title(f"{'A' if side == 'a' else 'B'}: {name}")
        axes.set_ylabel("token id")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if axes is panels[-1] or not layout.narrow:
            axes.set_xlabel(f"place in the list of centroid {formats.count(figure['centroid'])}")
    return drawn


def paint_probes(layout: Layout, probes: Mapping[str, Any]) -> Figure:
    """Draw, for every dtype and size, whether the two sides sort ties in the same order."""
    rows = [p for p in probes["probes"] if p["source"] == "ties"] or probes["probes"]
    kinds = list(dict.fromkeys(p["dtype"] for p in rows))
    drawn = Figure(figsize=(layout.width, 1.2 + 0.5 * len(kinds)))
    axes = drawn.add_subplot()
    for same, marker, colour, label in (
        (True, "o", BLUE, "same order"),
        (False, "X", VERMILLION, "another order"),
    ):
        chosen = [p for p in rows if p["same_order"] is same]
        axes.scatter(
            [p["size"] for p in chosen], [kinds.index(p["dtype"]) for p in chosen], marker=marker, s=42,
            color=colour, edgecolor=PAGE, linewidth=0.5, label=label, zorder=3,
        )  # fmt: skip
    for threshold in probes["thresholds"]:
        if threshold["smallest_different"] and threshold["dtype"] in kinds:
            at, y = threshold["smallest_different"], kinds.index(threshold["dtype"])
            axes.plot([at, at], [y - 0.36, y + 0.36], color=MUTED, linewidth=1.0, zorder=2)
            axes.annotate(
                f"{at:,}",
                (at, y - 0.36),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )
    axes.set_xscale("log", base=2)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(ylim=(len(kinds) - 0.5, -0.65), xlabel="elements sorted (log scale)")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if layout.narrow:
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=4))
    axes.grid(visible=True, axis="both")
    drawn.legend(loc="outside lower center", ncols=2)
    return drawn
