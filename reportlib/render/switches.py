"""Switches: what each does to a root operation, and the lines that undo the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.compare.findings.words import in_words
from reportlib.compare.phrases import times
from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, heading


def switch_matrix(part: Part, data: Mapping[str, Any], cause: Mapping[str, Any]) -> Html:
    """Draw what every switch gives in each environment, for one root operation, in a fold."""
    tried = cause.get("switches") or []
    if not tried:
        return Html(Markup(""))
    known = {each["name"]: each for each in data.get("switches") or []}
    cells = {(each["switch"], each["environment"]): each for each in tried}
    columns = (Column("Switch"), Column(f"Set in {part.a}"), Column(f"Set in {part.b}"))
    rows = []
    for name in dict.fromkeys(each["switch"] for each in tried):
        sides = (_gives(part, side, cells.get((name, side))) for side in ("a", "b"))
        rows.append(Row((_switch(known.get(name, {"name": name})), *sides)))
    inner = table("Whose bytes the operation gives with each switch", columns, rows)
    return fold(f"Switches ({formats.count(len(rows))} tried)", inner)


def _switch(switch: Mapping[str, Any]) -> Html:
    line = Markup("<br>").join(Markup("<code>{}</code>").format(x) for x in _lines(switch)) or switch["name"]
    said = switch.get("description")
    return Html(Markup("{}{}").format(line, Markup('<span class="description">{}</span>').format(said) if said else ""))


def _lines(switch: Mapping[str, Any]) -> list[str]:
    return str(switch.get("line") or "").splitlines()


def _gives(part: Part, side: str, tried: Mapping[str, Any] | None) -> Html | str:
    """Draw whose bytes a switch gives on one side; what changes that side stands out."""
    if tried is None:
        return formats.ABSENT
    words = {"a": f"{part.a}'s", "b": f"{part.b}'s", "both": "both agree", "neither": "neither's", "failed": "failed"}
    gives = tried["gives"]
    kind = "identical" if gives not in {side, "neither", "failed"} else "plain"
    sign = {"neither": "≠", "failed": "?"}.get(gives, "=")
    drawn = fragment("badge", kind=kind, sign=sign, text=words[gives])
    return join([drawn, Markup('<span class="description">{}</span>').format(tried["why"])]) if tried["why"] else drawn


def undo(part: Part, data: Mapping[str, Any]) -> Html:
    """Give the lines that make B compute as A does, with what they cost; or say why there are none."""
    if not data["causes"]:
        return Html(Markup(""))
    title = heading("What would undo it", f"undo-{part.slug}", 4)
    found = data.get("undo")
    if found is None:
        why = in_words(str(data.get("why_no_undo") or ""), data, part.a, part.b).rstrip(".")
        text = f"What would undo it is not known: {why}." if why else "No switches were tried."
        return join([title, fragment("note", text=text)])
    return join([
        title,
        fragment("paragraph", text=f"With these lines {part.b} gives {part.a}'s bytes. {_reach(found)} {_cost(found)}"),
        fragment("commands", lines=_pasteable(found["lines"])),
    ])  # fmt: skip


def _reach(found: Mapping[str, Any]) -> str:
    said = f"They were tried on {formats.plural(found['cases'], 'recorded operation')}, of which "
    said += f"{formats.of(found['cases_equal'], found['cases'])} came out the same"
    if found["passes"] is None:
        return f"{said}."
    return f"{said}; so did the output of {formats.of(found['passes_equal'], found['passes'])} forward passes."


def _cost(found: Mapping[str, Any]) -> str:
    without, with_them = found.get("rounds_without") or [], found.get("rounds_with") or []
    if not found.get("ratio") and without and with_them:
        return (
            f"In {len(with_them)} processes each, in turns, the batch took {_range(with_them)} s with them and "
            f"{_range(without)} s without, so no cost can be told from the noise."
        )
    if not found.get("ratio"):
        return "What they cost was not measured."
    return (
        f"The batch then takes {times(found['ratio'])} times as long: {formats.amount(found['seconds_with'])} s "
        f"instead of {formats.amount(found['seconds_without'])} s."
    )


def _range(seconds: list[float]) -> str:
    return f"{formats.amount(min(seconds))} to {formats.amount(max(seconds))}"


def _pasteable(lines: list[str]) -> list[str]:
    """Return the lines with a word on where they go: the shell, or after torch is imported."""
    every = [line for each in lines for line in each.splitlines()]
    shell = [line for line in every if line.startswith("export ")]
    python = [line for line in every if line not in shell]
    told = ["# in the shell, before Python starts", *shell] if shell else []
    return [*told, *(["# in Python, after import torch", *python] if python else [])]
