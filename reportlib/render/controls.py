"""The controls: what differs although nothing should, without which no difference tells anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, answer, parts, torch

KINDS = {
    "repeat": ("Repeated", "the arm captured a second time, in a fresh process"),
    "observer": ("Not observed", "the arm indexed without instruments; its final files compared"),
}
_NOT_RUN = "No controls were run, so nothing here says how much the same arm differs from itself."


def controls(report: Mapping[str, Any]) -> Html:
    """Show every control, and say of each precision whether anything can be concluded.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    shown = list(parts(report))
    if not any(part.precision.get("controls") for part in shown):
        return fragment("note", text=_NOT_RUN)
    columns = (Column("Arm"), Column("Part"), Column("Control"), Column("Same bytes"), Column("Passed"))
    rows = [_row(report, part, control) for part in shown for control in part.precision.get("controls") or []]
    said = fragment("sentences", sentences=[_sentence(part) for part in shown])
    warnings = [inconclusive(part) for part in shown]
    return join([*warnings, said, table("Each arm beside itself", columns, rows)])


def _row(report: Mapping[str, Any], part: Part, control: Mapping[str, Any]) -> Row:
    title, meaning = KINDS[control["kind"]]
    kind = Markup('{}<span class="description">{}</span>').format(title, meaning)
    cells = (
        torch(report, control["environment"]),
        part.label,
        kind,
        formats.of(control["identical"], control["compared"]),
        answer(control["passed"], "passed", "failed"),
    )
    unlike = [Markup("<code>{}</code>").format(name) for name in control["not_identical"]]
    return Row(cells, _unlike(unlike))


def _unlike(names: Sequence[Markup], most: int = 12) -> Markup | str:
    if not names:
        return ""
    more = f" and {formats.count(len(names) - most)} more" if len(names) > most else ""
    return Markup("Not the same bytes: {}{}").format(Markup(", ").join(names[:most]), more)


def _sentence(part: Part) -> str:
    made = part.precision.get("controls") or []
    if not made:
        return f"{part.title}: no controls were run, so nothing says how much the same arm differs from itself."
    if part.precision.get("conclusive") is False:
        failed = formats.of(sum(not c["passed"] for c in made), len(made))
        return f"{part.title}: inconclusive, {failed} controls failed."
    compared = formats.count(sum(c["compared"] for c in made))
    held = f"{part.title}: every control holds; all {compared} artifacts that were compared have the same bytes"
    if part.precision.get("conclusive") is None:
        return f"{held}. Not every control that the study asks for was run."
    return f"{held}. So what differs below differs between {part.a} and {part.b}, and not from run to run."


def inconclusive(part: Part) -> Html:
    """Draw the warning that stands wherever something rests on a precision whose controls failed; else nothing."""
    if part.precision.get("conclusive") is not False:
        return Html(Markup(""))
    text = f"{part.title}, a control failed, so what differs may be noise. Nothing is concluded from it."
    return fragment("warning", title="Inconclusive.", text=text)
