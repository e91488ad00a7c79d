"""Figures as inline SVG: the same bytes every time, readable in the dark, on a phone and to a screen reader.

matplotlib draws with a handful of placeholder colours; here they become CSS variables (each with a fallback, so that
JupyterLab shows them too), the text takes the page's font, and ids get a prefix so that two figures can share a page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any
from xml.etree import ElementTree as ET  # reads only what matplotlib has just written

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from reportlib.render.html import Html, fragment
from reportlib.store import digest

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
