"""The swaps: which of one side's values, put into the other, make its index the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from reportlib.render.controls import inconclusive
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, badge, heading, identical, parts
from reportlib.render.svg import BLUE, INK, MUTED, PAGE, RULE, VERMILLION, Layout, figure
from reportlib.words import formats

# The swap matrix as a figure: rows are what was replaced, columns the artifacts in pipeline order.

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


def swaps(report: Mapping[str, Any]) -> Html:
    """Say, draw and list what each swap makes identical, in both directions.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for part in parts(report):
        ways = _ways(part)
        if not ways:
            continue
        pieces += [heading(part.title, f"swaps-{part.slug}"), inconclusive(part)]
        pieces.append(fragment("sentences", sentences=_sentences(report, part)))
        for way in ways:
            pieces += _drawn(part, way)
    return join(pieces) if pieces else fragment("note", text="This study has no swaps.")


def _ways(part: Part) -> list[Way]:
    sides = {part.pair["a"]: part.a, part.pair["b"]: part.b}
    found: dict[str, Way] = {}
    for swap in part.precision["swaps"]:
        given, into = (sides.get(swap[key], swap[key]) for key in ("from", "into"))
        way = found.setdefault(swap["direction"], Way(swap["direction"], given, into, ()))
        found[swap["direction"]] = Way(way.direction, given, into, (*way.swaps, swap))
    return list(found.values())


def _sentences(report: Mapping[str, Any], part: Part) -> list[str]:
    """Return what the swaps show together, in the findings' own words; less where a control failed."""
    said = [_plain(part)]
    key = f"{part.pair['b']}/{part.precision['precision']}"
    told = {f["id"]: f["sentence"] for f in report["findings"]}
    wanted = ("swap-sets", "swap-back-sets", "posts-swap")
    return said + [told[name] for each in wanted if (name := f"{key}/{each}") in told]


def _plain(part: Part) -> str:
    summary = part.precision["summary"]["final"]
    return f"Without a swap, {identical(summary.get('identical', 0), summary['total'])}."


def _drawn(part: Part, way: Way) -> list[Html]:
    slug = f"swaps-{part.slug}{'' if way.forward else '-back'}"
    told = [_sentence(way, swap) for swap in way.swaps]
    count = formats.plural(len(told), "swap")
    return [
        figure(
            slug,
            lambda layout: paint_swaps(layout, part, way),
            title=f"What becomes identical with {way.given}'s values in {way.into}",
            description=" ".join([_plain(part), *told]).replace("`", ""),
            caption=f"{way.given}'s values put into {way.into}: one row for each set (on a phone, one column), and "
            "every artifact in the order of the pipeline. Blank: computed before, so as without the swap.",
        ),
        fold(f"{count} of {way.given} into {way.into}, in words", fragment("sentences", sentences=told)),
        fold(f"{way.given} into {way.into}, as a table", _matrix(part, way)),
        _left(way),
    ]


def _sentence(way: Way, swap: Mapping[str, Any]) -> str:
    replaced = formats.listing([f"`{name}`" for name in swap["points"]])
    posts = f" (the posts' {formats.listing(swap['posts'])})" if swap["posts"] else ""
    same = identical(swap["final_identical"], swap["final_total"])
    said = f"With {replaced} of {way.given} in {way.into}, {same}{posts}."
    if not swap["not_identical"]:
        return f"{said} So is every artifact along the way."
    if swap["all_final_identical"]:
        return f"{said} Along the way these are not: {formats.listing(swap['not_identical'])}."
    return said


def _matrix(part: Part, way: Way) -> Html:
    """Draw the final artifacts of each swap: one row for each, so that many swaps need no wider page."""
    finals = [c for c in part.precision["artifacts"] if c["final"]]
    columns = (Column("Swapped in"), *(Column(c["artifact"].removeprefix("index/")) for c in finals))
    rows = [Row(("nothing", *(badge(c["verdict"]) for c in finals)))]
    for swap in way.swaps:
        found = {a["artifact"]: a["verdict"] for a in swap["artifacts"]}
        cells = [badge(found[c["artifact"]]) if c["artifact"] in found else formats.ABSENT for c in finals]
        rows.append(Row((" + ".join(swap["points"]), *cells)))
    return table(f"Final artifacts of {way.into} against {way.given}'s, by what was swapped in", columns, rows)


def _left(way: Way) -> Html:
    rows = [
        Row((" + ".join(swap["points"]), Markup("<code>{}</code>").format(a["artifact"]), badge(a["verdict"]),
             _flag(a["default"]), _flag(a["bnb"]), badge(a["plain_verdict"]) if a["plain_verdict"] else formats.ABSENT))
        for swap in way.swaps
        if swap["all_final_identical"]
        for a in swap["artifacts"]
        if a["verdict"] != "identical"
    ]  # fmt: skip
    if not rows:
        return Html(Markup(""))
    columns = (
        Column("Swapped in"), Column("Artifact"), Column("Verdict"), Column("Default"), Column("bnb"),
        Column("Without the swap"),
    )  # fmt: skip
    inner = table("Artifacts that are not identical although the index is", columns, rows)
    return fold(f"What still differs along the way where the index is identical ({formats.count(len(rows))})", inner)


def _flag(value: bool | None) -> str:
    return formats.ABSENT if value is None else str(value)
