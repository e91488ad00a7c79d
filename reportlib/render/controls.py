"""Can it be trusted? The controls, and the rival explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, answer, heading, parts, torch
from reportlib.words import formats
from reportlib.words.environments import brought_by_torch
from reportlib.words.operations import names

# The controls: what differs although nothing should, without which no difference tells anything.

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


# Rival explanations: what differs between two environments beside torch, and what the data rule out.

_TORCH = "torch, and what it brings"
#: Kinds of `environment_differences` by what a reader calls them, in page order.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Python", ("python",)),
    ("other packages", ("package", "package build")),
    ("loaded libraries", ("library",)),
    ("the instruction set of torch's own kernels", ("capability",)),
    ("threads", ("threads",)),
    ("environment variables", ("environment variable",)),
    ("seeds", ("seed",)),
    ("the machine", ("machine",)),
)
_MOST = 6
_OPEN = "not ruled out"


def rivals(report: Mapping[str, Any]) -> Html:
    """List, for each pair, what differs beside torch itself, by kind, and what the swaps and replays say of it.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for place, pair in enumerate(report["pairs"]):
        a, b = torch(report, pair["a"]), torch(report, pair["b"])
        if len(report["pairs"]) > 1:
            pieces.append(heading(f"{a} and {b}", f"rivals-{place}", 4))
        mine = [part for part in parts(report) if part.pair is pair]
        rows = [Row((kind, _listed(found), _ruling(kind, mine))) for kind, found in _grouped(pair) if kind != _TORCH]
        pieces.append(fragment("sentences", sentences=[_torch(pair), *_inputs(mine)]))
        columns = (Column("What differs too"), Column("Which"), Column("Ruled out?"))
        empty = "Nothing else that was recorded differs between the two environments."
        pieces.append(table("Rival explanations", columns, rows, empty=empty))
    return join(pieces)


def _grouped(pair: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for difference in pair["environment_differences"]:
        found.setdefault(_group(difference), []).append(difference)
    order = [_TORCH, *(title for title, _ in _GROUPS)]
    return sorted(found.items(), key=lambda item: order.index(item[0]))


def _group(difference: Mapping[str, Any]) -> str:
    if difference["kind"] == "torch":
        return _TORCH
    if difference["kind"] in {"package", "package build"} and brought_by_torch(difference["name"]):
        return _TORCH
    return next((title for title, kinds in _GROUPS if difference["kind"] in kinds), "other packages")


def _listed(found: Sequence[Mapping[str, Any]]) -> str:
    shown = [str(d["name"]) for d in found[:_MOST]]
    more = [f"{formats.count(len(found) - _MOST)} more"] if len(found) > _MOST else []
    return formats.listing([*shown, *more])


def _torch(pair: Mapping[str, Any]) -> str:
    brought = [d for kind, found in _grouped(pair) if kind == _TORCH for d in found if d["kind"] != "torch"]
    if not brought:
        return "Of the packages, none that torch brings differs."
    packages = formats.plural(len(brought), "package")
    return f"torch differs, and {packages} that it brings; these stand under one name here, since they come together."


def _inputs(mine: Sequence[Part]) -> list[str]:
    """Return what the hashes of what enters BERT rule out."""
    same = [part for part in mine if _same_inputs(part)]
    if not same:
        return []
    where = formats.listing([part.label for part in same])
    return [
        f"Tokens and weights have the same bytes on both sides ({where}): tokenizer, text and checkpoint are ruled out."
    ]


def _same_inputs(part: Part) -> bool:
    verdicts = {c["name"]: c["verdict"] for c in part.precision["artifacts"]}
    weights = part.precision["weights"]
    tokens = [verdicts.get(name) for name in ("token_ids", "attention_mask")]
    return bool(weights and weights["identical"]) and set(tokens) == {"identical"}


def _ruling(kind: str, mine: Sequence[Part]) -> str:
    """Return what the data say of a kind of difference; that it is open where they say nothing."""
    sure = [part for part in mine if part.precision.get("conclusive") is not False]
    if kind in {"Python", "other packages"}:
        said = [clause for part in sure if (clause := _reproduced(part))]
    elif kind == "the instruction set of torch's own kernels":
        said = [clause for part in sure if (clause := _switched(part, "ATEN_CPU_CAPABILITY"))]
    elif kind == "threads":
        said = [clause for part in sure if (clause := _switched(part, "torch.set_num_threads"))]
    else:
        said = []
    return " ".join(f"{clause}." for clause in said) or _OPEN


def _causes(part: Part) -> list[Mapping[str, Any]]:
    operations = part.precision.get("operations")
    return list(operations["causes"]) if operations else []


def _reproduced(part: Part) -> str:
    """Return the causes that a script with only torch and safetensors shows on both sides."""
    found = _causes(part)
    shown = [
        name
        for name, cause in zip(names(found), found, strict=True)
        if (cause.get("reproduction") or {}).get("ran") == {"a": "a", "b": "b"}
    ]
    if not shown:
        return ""
    whom = formats.listing(shown)
    return f"In {part.label}, ruled out for {whom}: a script that needs only torch and safetensors shows the same bytes"


def _switched(part: Part, setting: str) -> str:
    """Return what a switch of `setting` does to the causes: undo them, or leave them as they are."""
    found = _causes(part)
    tried = _settings(part, setting)
    undone, left = [], []
    for name, cause in zip(names(found), found, strict=True):
        gives = {s["gives"] for s in cause["switches"] if s["switch"] in tried and s["environment"] == "b"}
        if gives & {"a", "both"}:
            undone.append(name)
        elif gives and gives <= {"b"}:
            left.append(name)
    said = [f"the reason for {formats.listing(undone)}: with the same setting both sides agree"] if undone else []
    if left:
        said.append(f"ruled out for {formats.listing(left)}: the setting leaves it as it is")
    return f"In {part.label}, {', and '.join(said)}" if said else ""


def _settings(part: Part, setting: str) -> set[str]:
    """Return the names of the switches that set this and nothing else."""
    operations = part.precision.get("operations") or {}
    lines = {s["name"]: str(s["line"]).strip() for s in operations.get("switches") or []}
    return {n for n, line in lines.items() if line.removeprefix("export ").startswith(setting) and "\n" not in line}
