"""The swap matrix as a figure: rows are what was replaced, columns the artifacts in pipeline order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from reportlib.render.labels import Part
from reportlib.render.svg import BLUE, INK, MUTED, PAGE, RULE, VERMILLION, Layout

#: Cells: (tile, sign's colour, sign), by what the swap did to the artifact.
CELLS: dict[str, tuple[str, str, str]] = {
    "put in": (PAGE, INK, "↓"),
    "became identical": (BLUE, PAGE, "✓"),
    "identical anyway": (RULE, INK, "="),
    "still differs": (VERMILLION, PAGE, "≠"),
    "differs only now": (INK, PAGE, "!"),
}
#: A phone's figure is split where it would hold more columns than this.
_MOST_ACROSS = 11


@dataclass(frozen=True)
class Way:
    """The swaps of one direction.

    Attributes
    ----------
    direction : str
        ``a into b`` or ``b into a``.
    given, into : str
        Whose values, and in which version they were put, as the page names them.
    swaps : tuple of mapping
        Entries of the report.
    """

    direction: str
    given: str
    into: str
    swaps: tuple[Mapping[str, Any], ...]

    @property
    def forward(self) -> bool:
        """Whether A's values go into B."""
        return self.direction == "a into b"


def effect(artifact: Mapping[str, Any]) -> str:
    """Return what a swap did to an artifact: a key of `CELLS`."""
    if artifact["replaced"]:
        return "put in"
    before, now = artifact["plain_verdict"] == "identical", artifact["verdict"] == "identical"
    if now:
        return "identical anyway" if before else "became identical"
    return "differs only now" if before else "still differs"


def paint_swaps(layout: Layout, part: Part, way: Way) -> Figure:
    """Draw what every swap of one direction did to every artifact, and how the plain arm stands above."""
    swapped = [{a["artifact"]: effect(a) for a in swap["artifacts"]} for swap in way.swaps]
    order = [c["artifact"] for c in part.precision["artifacts"] if any(c["artifact"] in cells for cells in swapped)]
    plain = {
        c["artifact"]: "identical anyway" if c["verdict"] == "identical" else "still differs"
        for c in part.precision["artifacts"]
    }
    names = ["no swap", *(" + ".join(swap["points"]) for swap in way.swaps)]
    rows = [plain, *swapped]
    labels = [name.replace("index/", "index: ") for name in order]
    cells = [[row.get(name) for name in order] for row in rows]
    return _narrow(layout, labels, names, cells) if layout.narrow else _wide(layout, labels, names, cells)


def _wide(layout: Layout, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[str | None]]) -> Figure:
    height = 0.9 + 0.055 * max(map(len, columns)) + 0.22 * len(rows)
    drawn = Figure(figsize=(layout.width, height))
    _grid(drawn.add_subplot(), columns, rows, cells)
    _legend(drawn, cells, 5)
    return drawn


def _narrow(
    layout: Layout, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[str | None]]
) -> Figure:
    """Turn the grid on its side, in as many pieces as keep its columns apart."""
    pieces = -(-len(rows) // _MOST_ACROSS)
    size = -(-len(rows) // pieces)
    starts = range(0, len(rows), size)
    heads = [max(len(name) for name in rows[s : s + size]) * 0.062 for s in starts]
    body = 0.2 * len(columns)
    drawn = Figure(figsize=(layout.width, 0.9 + sum(heads) + len(heads) * (body + 0.1)))
    grid = drawn.subplots(len(heads), 1, squeeze=False)
    for axes, start in zip(grid.flat, starts, strict=True):
        chosen = cells[start : start + size]
        turned = [[row[n] for row in chosen] for n in range(len(columns))]
        _grid(axes, rows[start : start + size], columns, turned)
        axes.set_xlim(-0.5, size - 0.5)
    _legend(drawn, cells, 2)
    return drawn


def _grid(axes: Axes, across: Sequence[str], down: Sequence[str], cells: Sequence[Sequence[str | None]]) -> None:
    for y, row in enumerate(cells):
        for x, kind in enumerate(row):
            if kind is not None:
                face, ink, sign = CELLS[kind]
                axes.add_patch(
                    Rectangle((x - 0.45, y - 0.43), 0.9, 0.86, facecolor=face, edgecolor=MUTED, linewidth=0.4)
                )
                axes.text(x, y, sign, color=ink, ha="center", va="center_baseline", fontsize=7.5)
    axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5))
    axes.set_xticks(range(len(across)), across, rotation=90)
    axes.set_yticks(range(len(down)), down)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)


def _legend(drawn: Figure, cells: Sequence[Sequence[str | None]], columns: int) -> None:
    present = [kind for kind in CELLS if any(kind in row for row in cells)]
    handles = [
        Patch(facecolor=CELLS[kind][0], edgecolor=MUTED, linewidth=0.5, label=f"{CELLS[kind][2]} {kind}")
        for kind in present
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)) or 1)
