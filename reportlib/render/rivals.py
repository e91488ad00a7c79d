"""Rival explanations: what differs between two environments beside torch, and what the data rule out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.compare.findings.words import names
from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, heading, parts, torch
from reportlib.words.environments import brought_by_torch

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
