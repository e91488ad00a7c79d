"""What every section of the page is made of: one block for each precision, which the page's switch shows or hides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from reportlib.findings.parts import Part, parts
from reportlib.render.html import Html, fragment, join
from reportlib.shape import Report
from reportlib.words import formats

Record = Mapping[str, Any]
Piece = Html | Markup | str
Section = Callable[[Report], Html]


def by_part(draw: Callable[[Part], Iterable[Piece]]) -> Section:
    """Make a section of the page from a function that draws one precision of one pair.

    Parameters
    ----------
    draw : callable
        Takes a `Part` and yields pieces: nothing where there is nothing to show.

    Returns
    -------
    callable
        Takes a report (as `reportlib.compare.study.compare_study` makes it) and returns an `Html`, which JupyterLab
        shows too; an empty one where no precision has anything to show.
    """

    @functools.wraps(draw)
    def section(report: Report) -> Html:
        blocks, shown = [], list(parts(report))
        for part in shown:
            pieces = [piece for piece in draw(part) if not isinstance(piece, Html) or piece.markup]
            if pieces:
                inner = join([inconclusive(part), *pieces])
                title = f"{part.label}, {part.passages}" if len(shown) > 1 else ""
                blocks.append(fragment("part", slug=part.slug, title=title, inner=inner))
        return join(blocks)

    return section


def inconclusive(part: Part) -> Html:
    """Draw the warning that stands wherever something rests on a precision whose controls failed; else nothing."""
    if not part.failed:
        return Html(Markup(""))
    text = f"{part.where} a control failed, so what differs may be noise. Nothing is concluded from it."
    return fragment("warning", title="Inconclusive.", text=text)


def switch(report: Report) -> Html:
    """Draw the choice of what the page shows, where there is more than one precision; it works without a script."""
    shown = list(parts(report))
    if len(shown) < 2:
        return Html(Markup(""))
    return fragment(
        "switch", parts=[{"slug": part.slug, "label": part.label, "passages": part.passages} for part in shown]
    )


def told(part: Part, *kinds: str) -> list[str]:
    """Return the sentences of a precision's findings of these kinds, in this order."""
    return [
        f["sentence"]
        for kind in kinds
        for f in part.report["findings"]
        if f["kind"] == kind and f["about"] in {part.key, part.pair["b"]}
    ]


def said(sentences: Iterable[str]) -> Html:
    """Draw sentences as one paragraph; nothing where there are none."""
    text = " ".join(sentences)
    return fragment("paragraph", text=text) if text else Html(Markup(""))


def sides(part: Part) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return each side of a record with what to call it."""
    return ("a", part.a), ("b", part.b)


def whose(part: Part, side: str | None) -> str:
    """Return what to call a side that a record names: a version, ``both`` or ``neither``."""
    return {**dict(sides(part)), "both": "both", "neither": "neither"}.get(side or "", formats.ABSENT)
