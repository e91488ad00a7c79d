"""The page's figures as inline SVG: the same bytes every time, readable in the dark, on a phone and to a screen reader.

matplotlib draws with a handful of placeholder colours; here they become CSS variables (each with a fallback, so that
JupyterLab shows them too), the text takes the page's font, and ids get a prefix so that two figures can share a page.
A colour has one meaning on the whole page: vermillion is a difference, grey is what is the same, green is A, blue is B.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any
from xml.etree import ElementTree as ET  # reads only what matplotlib has just written

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reportlib.findings.finding import Part
from reportlib.measures import AGREEMENTS, CHIEF, chief
from reportlib.render.html import Html, fragment, layer, recorded_pass
from reportlib.shape import Estimate, Margin, MarginBins, SearchComparison
from reportlib.store import digest
from reportlib.words import formats
from reportlib.words.terms import operation_term

INK, MUTED, RULE, PAGE = "#111213", "#616263", "#d8d9da", "#fdfcfb"
#: Okabe and Ito's colours, which people with any colour vision can tell apart (https://jfly.uni-koeln.de/color/).
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
_VARIABLES = {
    INK: "var(--ink, #111213)",
    MUTED: "var(--muted, #616263)",
    RULE: "var(--rule, #d8d9da)",
    PAGE: "var(--page, #fdfcfb)",
    BLUE: "var(--blue, #0072b2)",
    VERMILLION: "var(--vermillion, #d55e00)",
    GREEN: "var(--green, #009e73)",
}
_STYLE: Any = {  # matplotlib types its keys as literals from 3.11 on
    "svg.fonttype": "none",
    "svg.hashsalt": "reportlib",
    # A passage or a package may have a dollar sign in its name.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}
Record = Mapping[str, Any]
_MARKERS = ("o", "s", "^", "D", "v", "P")
_INPUTS = (MUTED, INK, VERMILLION)


@dataclass(frozen=True)
class Layout:
    """The room that a figure has.

    Attributes
    ----------
    name : str
        ``wide`` or ``narrow``.
    width : float
        In inches of matplotlib's, 72 SVG units each.
    """

    name: str
    width: float

    @property
    def narrow(self) -> bool:
        """Whether this is the phone's layout."""
        return self.name == "narrow"


WIDE, NARROW = Layout("wide", 7.6), Layout("narrow", 3.7)


def figure(name: str, paint: Callable[[Layout], Figure], *, title: str, description: str, caption: str) -> Html:
    """Draw a figure twice, for a wide page and for a phone; a style sheet shows the one that fits.

    Parameters
    ----------
    name : str
        Unique on the page; letters, digits and hyphens.
    paint : callable
        Draws it for a `Layout`, with the colours of this module.
    title, description : str
        What a screen reader says of it: what it is, and what it shows on this data.
    caption : str
        Set below the figure.

    Returns
    -------
    Html
    """
    drawn = {layout.name: _svg(name, layout, paint, title, description) for layout in (WIDE, NARROW)}
    return fragment("figure", name=name, caption=caption, **drawn)


def _svg(name: str, layout: Layout, paint: Callable[[Layout], Figure], title: str, description: str) -> Markup:
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A stranger's letters are set as text: the reader's browser has the fonts for them, not matplotlib.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        paint(layout).savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 see the import
    prefix = f"{name}-{layout.name}"
    _strip_namespaces(root)
    _tidy(root, prefix)
    _shrink(root)
    _label(root, prefix, title, description)
    root.set("class", layout.name)
    if layout.narrow:
        # Without the page's style sheet (JupyterLab) only the wide one shows.
        root.set("hidden", "")
    return Markup(_recolour(ET.tostring(root, encoding="unicode")))  # noqa: S704 ElementTree has escaped it


def _strip_namespaces(root: ET.Element) -> None:
    """Drop XML namespaces: inside HTML an svg element needs none, and no address then stands in the page."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [k for k in element.attrib if "}" in k]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))


def _tidy(root: ET.Element, prefix: str) -> None:
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in {"metadata", "style"}]:
            parent.remove(child)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    whole = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w.-]+)", whole))
    own = [name for element in root.iter() if (name := element.get("id")) in used and name is not None]
    # A mark's id stands once for each point: a few characters that no other figure of the page has.
    short = {name: f"f{digest(prefix.encode())[:8]}{number}" for number, name in enumerate(own)}
    for element in root.iter():
        if (name := element.attrib.pop("id", None)) in short:
            element.set("id", short[str(name)])
        for key, value in element.attrib.items():
            if key == "href" or "url(#" in value:
                element.set(key, re.sub(r"#([\w.-]+)", lambda match: f"#{short.get(match[1], match[1])}", value))


def _shrink(root: ET.Element) -> None:
    """Say in a few bytes what matplotlib says in many: a page can have thousands of marks.

    Groups that group nothing go, neighbours of one style share it through a group, and coordinates keep two decimals
    of a unit of which a figure is several hundred wide.
    """
    for element in root.iter():
        if element.tag not in _WITH_TEXT:
            element.text = None
        element.tail = None
        for key in _COORDINATES & element.attrib.keys():
            element.set(key, " ".join(_DECIMALS.sub(r"\1", element.attrib[key]).split()))
        if "d" in element.attrib:
            element.set("d", _STRAIGHT.sub(_straight, element.attrib["d"]))
        if "style" in element.attrib:
            element.set("style", element.attrib["style"].removesuffix("; stroke-linejoin: miter"))  # SVG's default
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    _ungroup(root)
    for name in ("clip-path", "style"):
        for parent in list(root.iter()):
            _group(parent, name)


_WITH_TEXT = {"text", "tspan", "title", "desc"}
_COORDINATES = {"d", "x", "y", "x1", "x2", "y1", "y2", "transform", "points", "width", "height", "viewBox"}
_DECIMALS = re.compile(r"(\d+\.\d\d)\d+")
#: A path of straight lines: matplotlib's rectangles, ticks, rules and steps.
_STRAIGHT = re.compile(r"^M [-\d. ]+(?: L [-\d. ]+)+(?: z)?$")
#: What an element does not take over from the group that it is in.
_NOT_INHERITED = re.compile(r"(?<![\w-])(opacity|clip-path|mask|filter|display|stop-\w+):")


def _straight(path: re.Match[str]) -> str:
    """Write a path of straight lines with H and V where a line runs along an axis."""
    steps = [step.split() for step in re.split(r"[ML]", path[0].removesuffix(" z")) if step]
    if any(len(step) != 2 for step in steps):
        return path[0]
    written = [f"M{steps[0][0]} {steps[0][1]}"]
    for (x, y), (to_x, to_y) in pairwise(steps):
        written.append(f"H{to_x}" if y == to_y else f"V{to_y}" if x == to_x else f"L{to_x} {to_y}")
    return "".join(written) + ("z" if path[0].endswith("z") else "")


def _ungroup(parent: ET.Element) -> None:
    children: list[ET.Element] = []
    for child in parent:
        _ungroup(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif child.tag != "g" or len(child):
            children.append(child)
    parent[:] = children


def _group(parent: ET.Element, name: str) -> None:
    """Put neighbours with one value of an attribute into a group that has it."""
    children: list[ET.Element] = []
    for value, run in groupby(list(parent), key=lambda child: child.get(name)):
        alike = list(run)
        # A clip is in the coordinates of what it is on.
        moved = name == "clip-path" and any("transform" in child.attrib for child in alike)
        if value is None or len(alike) == 1 or moved or (name == "style" and _NOT_INHERITED.search(value)):
            children += alike
            continue
        group = ET.Element("g", {name: value})
        for child in alike:
            del child.attrib[name]
        group[:] = alike
        children.append(group)
    parent[:] = children


def _label(root: ET.Element, prefix: str, title: str, description: str) -> None:
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(position, element)


def _recolour(svg: str) -> str:
    for placeholder, variable in _VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans, sans-serif)", svg)


def _empty(layout: Layout, wide: float, narrow: float) -> tuple[Figure, Axes]:
    drawn = Figure(figsize=(layout.width, narrow if layout.narrow else wide))
    return drawn, drawn.add_subplot()


def _legend(drawn: Figure, handles: Sequence[Any], columns: int) -> None:
    drawn.legend(handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)) or 1)


def paint_layers(layout: Layout, part: Part) -> Figure:
    """Draw the largest and mean difference of every layer on a log scale; what is identical stands on its own line."""
    drawn, axes = _empty(layout, 2.9, 3.1)
    entries: Sequence[Record] = part.data["layers"]
    numbers = [n for e in entries for r in e["layers"] for n in (r["mean_abs"], r["max_abs"]) if n]
    floor, top = _limits(numbers)
    handles = []
    for n, entry in enumerate(entries):
        colour, marker = _INPUTS[n % 3], _MARKERS[n % 6]
        rows = entry["layers"]
        names = ["e" if row["layer"] == "embeddings" else layer(row["layer"]) for row in rows]
        for key, style in (("max_abs", "-"), ("mean_abs", ":")):
            frame = pd.DataFrame({"layer": names, "difference": [row[key] or floor for row in rows]})
            sns.lineplot(
                frame, x="layer", y="difference", ax=axes, color=colour, marker=marker, markersize=4.5, linestyle=style,
                linewidth=1.4, markeredgecolor=PAGE, markeredgewidth=0.4, legend=False, errorbar=None, sort=False,
            )  # fmt: skip
        handles.append(
            Line2D([], [], color=colour, marker=marker, markersize=5, label=formats.excerpt(entry["label"], 44))
        )
    _log(axes, floor, top, bottom="identical")
    axes.set(xlabel="BERT layer (e: embeddings)", ylabel="|A − B|")
    _legend(drawn, handles, 1 if layout.narrow else 3)
    return drawn


def _limits(numbers: Sequence[float]) -> tuple[float, float]:
    """Return where nought stands on a log scale, a decade below the smallest number, and the top."""
    positive = [n for n in numbers if n > 0 and math.isfinite(n)]
    if not positive:
        return 1e-8, 1e-4
    return 10.0 ** (math.floor(math.log10(min(positive))) - 1), max(positive) * 4


def _log(axes: Axes, floor: float, top: float, *, bottom: str) -> None:
    """Set a log scale whose lowest tick is called `bottom`; nothing stands below it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(floor / 2.2, top)
    axes.set_yticks([floor, *(tick for tick in axes.get_yticks() if floor * 3 < tick < top)])
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: bottom if value <= floor * 1.01 else formats.amount(value, 1))
    )
    axes.set_ylim(floor / 2.2, top)


def paint_swaps(layout: Layout, part: Part, rows: Sequence[Record | None]) -> Figure:
    """Draw, for each set of values put in, which tensors of the index become identical."""
    finals = [c["artifact"] for c in part.final]
    plain = {c["artifact"]: c["verdict"] for c in part.final}
    cells = [plain if swap is None else {a["artifact"]: a["verdict"] for a in swap["artifacts"]} for swap in rows]
    same = pd.DataFrame(
        [[row.get(name, plain[name]) == "identical" for name in finals] for row in cells],
        index=["nothing" if swap is None else " + ".join(swap["points"]) for swap in rows],
        columns=[name.removeprefix("index/") for name in finals],
    )
    if layout.narrow:
        same = same.T
    drawn, axes = _empty(layout, 1.3 + 0.3 * len(same), 2.2 + 0.26 * len(same))
    sns.heatmap(
        same.astype(int), ax=axes, cmap=ListedColormap([VERMILLION, RULE]), vmin=0, vmax=1, cbar=False,
        linewidths=1.5, linecolor=PAGE, annot=same.replace({True: "=", False: "≠"}), fmt="", annot_kws={"fontsize": 9},
    )  # fmt: skip
    for text in axes.texts:
        text.set_color(INK if text.get_text() == "=" else PAGE)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    axes.set_xticklabels(
        axes.get_xticklabels(), rotation=90 if layout.narrow else 35, ha="center" if layout.narrow else "left"
    )
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
    return drawn


def forward_passes(part: Part) -> list[Record]:
    """Return the forward passes of a precision that were replayed and have something to draw."""
    passes: Sequence[Record] = part.operations["passes"] if part.operations else []
    return [p for p in passes if p["kind"] == "forward" and p.get("replay") and p["replay"]["operations"]]


def truth_passes(part: Part) -> list[tuple[str, list[Record]]]:
    """Return the layers' errors against float64 by pass, under the pass's name for a reader."""
    if part.operations is None:
        return []
    called = {p["slug"]: recorded_pass(p) for p in part.operations["passes"]}
    rows_by_pass: dict[str, list[Record]] = {}
    for row in part.operations["layers_truth"] or []:
        if row["a"]["rms"] is not None and row["b"]["rms"] is not None:
            rows_by_pass.setdefault(called.get(row["pass"], row["pass"]), []).append(row)
    return list(rows_by_pass.items())


def paint_growth(layout: Layout, passes: Sequence[Record]) -> Figure:
    """Draw, for each forward pass, the accumulated difference as a line and the local ones as marks."""
    drawn = Figure(figsize=(layout.width, (2.9 if layout.narrow else 2.5) * len(passes)))
    grid = drawn.subplots(len(passes), 1, sharey=True, squeeze=False)
    replayed = [o for p in passes for o in p["replay"]["operations"]]
    floor, top = _limits([n for o in replayed for n in (_local(o), _rms(o["accumulated"])) if n])
    kinds = list(dict.fromkeys(operation_term(o).short for o in replayed if _differs(o)))
    for axes, entry in zip(grid.flat, passes, strict=True):
        _growth(axes, entry["replay"]["operations"], kinds, floor)
        _log(axes, floor, top, bottom="0")
        axes.set(ylabel="difference (rms)", xlabel="BERT layer (e: embeddings, o: output)")
    handles = [Line2D([], [], color=INK, label="the two runs")]
    handles += [
        Line2D([], [], linestyle="", color=VERMILLION, marker=_MARKERS[n % 6], markersize=5, label=f"{kind} by itself")
        for n, kind in enumerate(kinds)
    ]
    _legend(drawn, handles, 2 if layout.narrow else 4)
    return drawn


def _growth(axes: Axes, operations: Sequence[Record], kinds: Sequence[str], floor: float) -> None:
    known = [(x, rms) for x, o in enumerate(operations) if (rms := _rms(o["accumulated"])) is not None]
    begun = next((x for x, rms in known if rms), len(operations))
    # An operation that reads only weights has no difference, whatever came before it: no dip of the line.
    line = [(x, rms or floor) for x, rms in known if rms or x < begun]
    axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=1.3, zorder=2, drawstyle="steps-mid")
    own = pd.DataFrame(
        [(x, _local(o) or floor, operation_term(o).short) for x, o in enumerate(operations) if _differs(o)],
        columns=["place", "difference", "kind"],
    )
    sns.scatterplot(
        own, x="place", y="difference", style="kind", style_order=kinds, color=VERMILLION,
        markers=dict(zip(kinds, _MARKERS, strict=False)), s=26, edgecolor=PAGE, linewidth=0.4, legend=False, ax=axes,
        zorder=3,
    )  # fmt: skip
    starts = group_starts([str(o["module"]) for o in operations])
    for x, _ in starts[1:]:
        axes.axvline(x - 0.5, color=RULE, linewidth=0.7, zorder=1)
    ends = [x for x, _ in starts[1:]] + [len(operations)]
    # Of many layers every second, or third, is named: as many as fit side by side.
    every = -(-len(starts) // 14)
    middles = [((x + end - 1) / 2, name) for (x, name), end in zip(starts, ends, strict=True)][::every]
    axes.set_xticks([x for x, _ in middles], [name for _, name in middles])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-1, len(operations))


def group_starts(modules: Sequence[str]) -> list[tuple[int, str]]:
    """Return where each encoder layer begins along the operations, with its number; e before them, o after."""
    starts: list[tuple[int, str]] = []
    for place, module in enumerate(modules):
        number = re.search(r"\.(\d+)(?:\.|$)", module)
        inside = any(name.isdigit() for _, name in starts)
        name = number[1] if number else "o" if inside else "e"
        # An operation outside any module may stand between two of one layer: it stays with that layer.
        again = not number and module == "" and place + 1 < len(modules) and re.search(r"\.\d+\.", modules[place + 1])
        if not starts or (name != starts[-1][1] and not again):
            starts.append((place, name))
    return starts


def _differs(operation: Record) -> bool:
    return bool(operation["local"] and operation["local"]["different"])


def _rms(difference: Record | None) -> float | None:
    return None if difference is None else difference["rms"]


def _local(operation: Record) -> float | None:
    return _rms(operation["local"]) if _differs(operation) else None


def paint_truth(layout: Layout, part: Part) -> Figure:
    """Draw the error of every layer's output against float64, A's and B's, one panel for each pass."""
    passes = truth_passes(part)
    drawn = Figure(figsize=(layout.width, 2.2 * len(passes) + 0.6 if layout.narrow else 3.0))
    grid = drawn.subplots(*((len(passes), 1) if layout.narrow else (1, len(passes))), sharey=True, squeeze=False)
    floor, top = _limits([row[side]["rms"] for _, rows in passes for row in rows for side in ("a", "b")])
    for axes, (name, rows) in zip(grid.flat, passes, strict=True):
        frame = pd.DataFrame(
            [
                ("e" if r["layer"] == "embeddings" else layer(r["layer"]), r[side]["rms"] or floor, side)
                for r in rows
                for side in ("a", "b")
            ],
            columns=["layer", "error", "side"],
        )
        sns.lineplot(
            frame, x="layer", y="error", hue="side", style="side", palette={"a": GREEN, "b": BLUE},
            markers={"a": "o", "b": "s"}, dashes={"a": "", "b": (3, 2)}, markersize=5, markeredgecolor=PAGE,
            markeredgewidth=0.4, legend=False, errorbar=None, sort=False, ax=axes,
        )  # fmt: skip
        _log(axes, floor, top, bottom="0")
        axes.set(title=formats.excerpt(name, 26), xlabel="BERT layer", ylabel="error (rms)")
    handles = [
        Line2D([], [], color=GREEN, marker="o", markersize=4.5, label=part.a),
        Line2D([], [], color=BLUE, marker="s", markersize=4.5, linestyle="--", label=part.b),
    ]
    _legend(drawn, handles, 1 if layout.narrow else 2)
    return drawn


def _panels(
    made: Sequence[SearchComparison],
) -> Iterator[tuple[str, Callable[[float, int | None], str], list[Estimate | None]]]:
    """Yield what each panel of search draws: its title, how its axis is written, and each comparison's number."""
    # How many lists move comes before how much; what falls with a change has no common nought with these.
    for agreement in sorted((a for a in AGREEMENTS if not a.falls), key=lambda a: not a.counts_queries):
        title = f"{agreement.title[:1].lower()}{agreement.title[1:]}"
        yield title, _percent if agreement.counts_queries else _tick, [agreement.estimate(c) for c in made]
    chiefs = [chief(c["measures"]) for c in made]
    yield f"change of mean {CHIEF.name}", _tick, [m["difference"] if m else None for m in chiefs]


def paint_search(layout: Layout, made: Sequence[SearchComparison], step: str) -> Figure:
    """Draw what each comparison changes, with intervals: the whole step, its halves, and other seeds in grey."""
    panels = [panel for panel in _panels(made) if any(panel[2])]
    height = 0.75 + 0.24 * len(made)
    drawn = Figure(figsize=(layout.width, height * len(panels) if layout.narrow else height))
    grid = drawn.subplots(*((len(panels), 1) if layout.narrow else (1, len(panels))), sharey=True, squeeze=False)
    names = [_comparison(c, step) for c in made]
    for axes, (title, write, estimates) in zip(grid.flat, panels, strict=True):
        for row, (c, estimate) in enumerate(zip(made, estimates, strict=True)):
            if estimate is not None:
                colour = MUTED if c["kind"] == "seed" else VERMILLION
                value = estimate["value"]
                ends = [[max(0.0, value - estimate["low"])], [max(0.0, estimate["high"] - value)]]
                axes.errorbar(
                    value, row, xerr=ends, color=colour, marker="D" if c["kind"] == "upgrade" else "o", markersize=4.5,
                    elinewidth=1.4, capsize=2, clip_on=False,
                )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":", zorder=1)
        axes.set_yticks(range(len(made)), names)
        axes.set_ylim(len(made) - 0.5, -0.5)
        axes.set_title(title)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
        axes.xaxis.set_major_formatter(FuncFormatter(write))
    return drawn


def _comparison(c: SearchComparison, step: str) -> str:
    if c["kind"] == "upgrade":
        return step
    if c["kind"] == "index":
        return "index alone"
    if c["kind"] == "torch":
        return "search alone"
    return c["id"].replace("-", " ")


def _percent(value: float, _: int | None = None) -> str:
    return f"{100 * value:.3g} %"


def _tick(value: float, _: int | None = None) -> str:
    # What stands for nought may be 1e-17.
    return "0" if abs(value) < 1e-9 else f"{value:.3g}".replace("-", "−")


def paint_permutation(layout: Layout, part: Part, shown: Record) -> Figure:
    """Draw the token ids of one centroid in the order in which each version lists them."""
    drawn = Figure(figsize=(layout.width, 4.2 if layout.narrow else 2.6))
    panels = drawn.subplots(*((2, 1) if layout.narrow else (1, 2)), sharex=True, sharey=True)
    for axes, side, name, colour in zip(panels, ("a", "b"), (part.a, part.b), (GREEN, BLUE), strict=True):
        frame = pd.DataFrame({"place": range(1, len(shown[side]) + 1), "token id": shown[side]})
        sns.lineplot(frame, x="place", y="token id", ax=axes, color=colour, linewidth=0.8, alpha=0.5, errorbar=None)
        sns.scatterplot(frame, x="place", y="token id", ax=axes, color=colour, s=22, edgecolor=PAGE, linewidth=0.4)
        axes.set(title=name, xlabel="place in the list")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return drawn


_DECISIONS = {"centroid": "a token's centroid", "bucket": "a residual's bucket", "rank": "a query's last passage"}


def paint_margins(layout: Layout, records: Sequence[Margin]) -> Figure:
    """Draw the share of flips in every bin of margins, with its interval, and how far margins moved."""
    many = len(records)
    drawn = Figure(figsize=(layout.width, 2.4 * many + 0.8 if layout.narrow or many == 1 else 3.1))
    grid = drawn.subplots(*((many, 1) if layout.narrow else (1, many)), squeeze=False)
    for axes, record in zip(grid.flat, records, strict=True):
        bins = record["bins"]
        edges = bin_edges(bins)
        lows, highs = [b["rate_low"] for b in bins], [b["rate_high"] for b in bins]
        axes.stairs(highs, edges, baseline=lows, fill=True, color=VERMILLION, alpha=0.25, linewidth=0)
        axes.stairs([b["rate"] for b in bins], edges, baseline=None, color=VERMILLION, linewidth=1.8)
        change = record["change"]["max"] if record["change"] else 0
        if change > 0:
            axes.axvline(change, color=INK, linestyle=":", linewidth=1.4)
        axes.set_xscale("log")
        axes.set_ylim(0, min(1.04, 1.08 * max(highs)))
        axes.set(title=_DECISIONS[record["id"]], xlabel="margin")
        axes.set_ylabel("share that flipped" if axes in grid[:, 0] else "")
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formats.amount(value, 1)))
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    handles = [
        Line2D([], [], color=VERMILLION, label="share that flipped"),
        Patch(facecolor=VERMILLION, alpha=0.25, label="95 % interval"),
        Line2D([], [], color=INK, linestyle=":", linewidth=1.4, label="largest change of a margin"),
    ]
    _legend(drawn, handles, 1 if layout.narrow else 3)
    return drawn


def bin_edges(bins: Sequence[MarginBins]) -> list[float]:
    """Return where the bins start and end on a log axis, each next to the other.

    What is not above zero stands at the left end, a tenth below the smallest margin that is.
    """
    positive = [value for b in bins for value in (b["low"], b["high"]) if value > 0]
    floor = min(positive, default=1.0) / 10
    inner = [math.sqrt(max(left["high"], floor) * max(right["low"], floor)) for left, right in pairwise(bins)]
    first, last = max(bins[0]["low"], floor), max(bins[-1]["high"], floor)
    # One bin of one margin would have no width.
    return [first, *inner, last if last > first else first * 10]
