"""The controls: what differs although nothing should, without which no difference tells anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, answer, parts, torch

#: Heading and meaning of each kind.
KINDS = {
    "repeat": ("Captured again", "in a fresh process; every artifact is compared, those of search aside"),
    "observer": ("Without instruments", "colbert-ai alone; the files of its index are compared"),
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
    columns = (Column("Arm"), *(Column(title) for title, _ in KINDS.values()))
    rows = [
        _row(report, part, environment)
        for part in shown
        for environment in dict.fromkeys(c["environment"] for c in part.precision.get("controls") or [])
    ]
    said = fragment("sentences", sentences=[_sentence(part) for part in shown])
    warnings = [inconclusive(part) for part in shown]
    told = ". ".join(f"{title}: {meaning}" for title, meaning in KINDS.values())
    drawn = table("Each arm beside itself", columns, rows)
    return join([*warnings, said, drawn, fragment("note", text=f"{told}.")])


def _row(report: Mapping[str, Any], part: Part, environment: str) -> Row:
    made = {c["kind"]: c for c in part.precision["controls"] if c["environment"] == environment}
    cells = [_cell(made.get(kind)) for kind in KINDS]
    unlike = [
        Markup("{}: {}").format(KINDS[kind][0], Markup(", ").join(_names(control["not_identical"])))
        for kind, control in made.items()
        if control["not_identical"]
    ]
    note = Markup("Not the same bytes. {}").format(Markup("; ").join(unlike)) if unlike else ""
    return Row((f"{torch(report, environment)}, {part.label}", *cells), note)


def _cell(control: Mapping[str, Any] | None) -> Html | str:
    if control is None:
        return "not run"
    same = formats.of(control["identical"], control["compared"])
    return answer(control["passed"], f"{same} the same", f"{same} the same")


def _names(names: Sequence[str], most: int = 12) -> list[Markup]:
    shown = [Markup("<code>{}</code>").format(name) for name in names[:most]]
    more = [Markup("{} more").format(formats.count(len(names) - most))] if len(names) > most else []
    return shown + more


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
