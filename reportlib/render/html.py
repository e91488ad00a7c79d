"""Pieces of the page: markup that also shows itself in JupyterLab, its templates, and how verdicts are drawn.

Everything a capture, a collection or an environment says is text from a stranger. It reaches markup only through
Jinja's autoescaping or `markupsafe`, never by joining strings.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bs4
import jinja2
from markupsafe import Markup, escape

from reportlib.words import formats
from reportlib.words.formats import jinja_environment

#: How many characters may hang on one before them. Long conjuncts of Sanskrit and families of emoji take half of it.
_HANGING = 16
#: What a sentence marks: names in code, and numbers that decide.
_MARKED = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*)")
#: The combining class of the signs that join two consonants into one.
_VIRAMA = 9


@dataclass(frozen=True)
class Html:
    """A piece of the page.

    Attributes
    ----------
    markup : Markup
        Safe HTML: everything in it that came from outside is escaped.
    """

    markup: Markup

    def _repr_html_(self) -> str:
        return str(self.markup)

    def __html__(self) -> str:
        return str(self.markup)

    def __repr__(self) -> str:
        # JupyterLab keeps this beside the HTML; an address in memory would differ from run to run.
        return f"Html({len(self.markup)} characters)"


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja_environment(jinja2.PackageLoader("reportlib.render", "fragments"), html=True)
    made.filters |= {"is_nothing": _is_nothing, "prose": prose}
    return made


def _is_nothing(cell: Any) -> bool:
    """Whether a number says only what the verdict beside it says; a phone leaves it out."""
    return str(cell) in {"0", formats.ABSENT} or str(cell).startswith("none of")


def fragment(template: str, **values: Any) -> Html:
    """Fill the template ``fragments/<template>.html.j2``."""
    return Html(Markup(_environment().get_template(f"{template}.html.j2").render(**values)))  # noqa: S704 autoescaped


def join(pieces: Sequence[Html | Markup | str]) -> Html:
    """Put pieces one after the other; plain strings are escaped."""
    return Html(Markup("\n").join(pieces))


def let_break(soup: bs4.BeautifulSoup) -> None:
    """Let a line break inside what a browser takes for one character but no screen can hold: a letter under 90 marks.

    A font that lacks the marks draws each beside the last, and no style sheet can break them.
    """
    for text in soup.select_one("body").find_all(string=True):  # type: ignore[union-attr]
        pieces = _breakable(text)
        if len(pieces) > 1 and text.find_parent("svg") is None:
            broken = [part for piece in pieces for part in (soup.new_tag("wbr"), piece)]
            text.replace_with(*broken[1:])


def _breakable(text: str) -> list[str]:
    """Cut a text wherever more than `_HANGING` characters in a row hang on one before them."""
    if text.isascii():
        return [text]
    cuts, hanging, before = [0], 0, ""
    for place, character in enumerate(text):
        joined = before == "\u200d" or (before != "" and unicodedata.combining(before) == _VIRAMA)
        hanging = hanging + 1 if joined or character == "\u200d" or unicodedata.category(character)[0] == "M" else 0
        if hanging > _HANGING:
            cuts.append(place)
            hanging = 0
        before = character
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def anchor(text: str) -> str:
    """Return an id for a heading: lower-case letters, digits and hyphens, safe in an attribute and in a URL."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "section"


def prose(text: str) -> Markup:
    """Return a sentence as markup: escaped, `names` between backticks as code, **numbers** between asterisks strong."""
    marked = [
        Markup("<code>{}</code>").format(piece[1:-1])
        if piece[:1] == "`"
        else Markup("<strong>{}</strong>").format(piece[2:-2])
        if piece[:2] == "**"
        else escape(piece)
        for piece in _MARKED.split(text)
        if piece
    ]
    return Markup("").join(marked)


def link(url: str, text: str) -> Markup:
    """Return a link to `url`, or only the escaped text when `url` is not plain http(s)."""
    if not re.fullmatch(r"https?://[^\s\"'<>]+", url):
        return Markup("{}").format(text)
    return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(url, text)


def local_link(path: str, text: str) -> Markup:
    """Return a link to a folder beside the page, or only the escaped text when `path` could lead elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)*", path, re.ASCII):
        return Markup("{}").format(text)
    return Markup('<a href="{}/">{}</a>').format(path, text)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title : str
        Its heading; on a phone, the label before each of its cells.
    numeric : bool
        Whether its cells are numbers, set to the right in figures of one width.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes
    ----------
    cells : tuple
        One per column: text (escaped), `Html` or `Markup`. The first names the row.
    note : Html, Markup or str
        Set below the row over its whole width; empty for none.
    passing : bool
        Whether the row says that all is well, so that a long table may fold it and a phone may leave out its zeros.
    """

    cells: tuple[Any, ...]
    note: Any = ""
    passing: bool = field(default=False, kw_only=True)


def table(caption: str, columns: Sequence[Column], rows: Sequence[Row], *, fold_passing: str = "") -> Html:
    """Draw a table that becomes a list of cards on a phone; nothing where it has no rows.

    Parameters
    ----------
    caption : str
        What the table shows, in words.
    columns : sequence of Column
        Headings.
    rows : sequence of Row
        Each with as many cells as there are columns.
    fold_passing : str, optional
        When given, passing rows go into a closed fold whose summary is this text with their number before it.

    Returns
    -------
    Html
    """
    _checked(caption, columns, rows)
    failing = [row for row in rows if not (fold_passing and row.passing)]
    passing = [row for row in rows if fold_passing and row.passing]
    pieces = [fragment("table", caption=caption, columns=columns, rows=failing)] if failing else []
    if passing:
        title = f"{caption}: {formats.count(len(passing))} {fold_passing}"
        pieces.append(fold(title, fragment("table", caption=title, columns=columns, rows=passing)))
    return join(pieces)


def dense(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Html:
    """Draw a table of many rows and columns in small type, in a box that scrolls; nothing where it has no rows."""
    _checked(caption, columns, rows)
    return fragment("dense", caption=caption, columns=columns, rows=rows) if rows else Html(Markup(""))


def _checked(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"table {caption!r}: a row of {len(row.cells)} cells under {len(columns)} columns")


def fold(summary: str, inner: Html) -> Html:
    """Put `inner` into a closed fold that says `summary`; nothing where there is nothing to fold."""
    return fragment("fold", summary=summary, inner=inner) if inner.markup else inner


#: Every verdict with a sign of its own, so that nothing is told by colour alone; from best to worst.
SIGNS: dict[str, str] = {
    "identical": "=",
    "close": "≈",
    "same set": "⇄",
    "different": "≠",
    "shape mismatch": "⊠",
    "missing": "?",
}
#: Environment variables of every run, so that they tell a reader nothing; threads have a line of their own.
_ORDINARY = {
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
}
#: Descriptions of passes of at most this many characters are texts that were encoded; others say what was run.
_SHORT_TEXT = 12


def telling_variables(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of an environment's runs that a reader would not expect."""
    recorded = environment["environment_variables"] or {}
    return {name: value for name, value in recorded.items() if name not in _ORDINARY}


def badge(verdict: str, text: str = "") -> Html:
    """Draw a verdict: its sign, its word and, last, its colour."""
    return fragment("badge", kind=anchor(verdict), sign=SIGNS.get(verdict, "?"), text=text or verdict)


def answer(holds: bool | None, yes: str, no: str, unknown: str = formats.ABSENT, *, plain: bool = False) -> Html:
    """Draw the answer to a yes-or-no question as a verdict is drawn; plainly where neither is the better one."""
    kind, sign = {True: ("identical", "✓"), False: ("different", "✗"), None: ("missing", "?")}[holds]
    if plain:
        kind = "plain"
    return fragment("badge", kind=kind, sign=sign, text={True: yes, False: no, None: unknown}[holds])


def sure(word: str) -> Html:
    """Draw how sure an explanation is: *proven*, *candidate* or *unknown*."""
    kind, sign = {"proven": ("plain", "✓"), "candidate": ("plain", "≈")}.get(word, ("plain", "?"))
    return fragment("badge", kind=kind, sign=sign, text=word)


def recorded_pass(entry: Mapping[str, Any]) -> str:
    """Return what to call a recorded pass: ``“a”`` for a text that is one, otherwise its description."""
    called = str(entry["description"])
    return f"“{called}”" if len(called) <= _SHORT_TEXT else called


def layer(name: str) -> str:
    """Return a layer's name without leading zeros: ``3`` for ``03``."""
    return str(int(name)) if name.isdigit() else name
