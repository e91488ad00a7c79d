"""The first screen: what changed, why, does it matter, and on what all that was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render.html import Column, Html, Row, fold, fragment, join, prose, table
from reportlib.render.labels import arithmetic, counts, heading, parts, telling_variables, torch
from reportlib.words import formats

#: Reasons in the order in which they stand on the first screen, and those whose every word does.
_ORDER = ("inconclusive", "cause", "undo", "controls")
_UNCUT = ("cause", "undo")
QUESTIONS = (("what", "What changed?"), ("why", "Why?"), ("matter", "Does it matter?"))


def first_screen(report: Mapping[str, Any]) -> Html:
    """Answer the reader's three questions in the report's own findings, and say what they were measured on.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
        The page's header with its only ``h1``.
    """
    questions = [{"slug": key, "title": title, "sentences": _sentences(report, key)} for key, title in QUESTIONS]
    names = [torch(report, name) for name in report["study"]["environments"]]
    missing = report["missing_arms"]
    return fragment(
        "opening",
        kicker=f"{formats.listing(names, 'against')} under a ColBERT index",
        title=report["study"]["title"],
        questions=questions,
        platform=_platform(report),
        missing=f"{formats.plural(len(missing), 'arm')} without a capture." if missing else "",
    )


def _sentences(report: Mapping[str, Any], question: str) -> list[str]:
    leading = [
        f["sentence"] if _kind(f) in _UNCUT else _opening_sentence(f["sentence"], brackets=question == "matter")
        for f in _leading(report, question)
    ]
    return _merged(leading) or ["No measurement of this study answers that."]


def _opening_sentence(text: str, *, brackets: bool) -> str:
    """Return the first sentence, less the names after a colon; all of it stands below.

    Brackets stay where `brackets` says so: what search makes of the upgrade has its intervals in them.
    """
    if not brackets:
        text = re.sub(r" \([^()]*\)", "", text)
    first = re.split(r"(?<=[.!?]) (?=[A-Z`“])", text, maxsplit=1)[0]
    return re.sub(r": `.*", ".", first)


def _merged(sentences: Sequence[str]) -> list[str]:
    """Say once what holds in several precisions: sentences that differ only up to their first comma."""
    where: dict[str, list[str]] = {}
    for sentence in sentences:
        start, comma, rest = sentence.partition(", ")
        where.setdefault(comma + rest, []).append(start)
    return [
        formats.listing([starts[0], *(start[:1].lower() + start[1:] for start in starts[1:])]) + rest
        for rest, starts in where.items()
    ]


def _kind(finding: Mapping[str, Any]) -> str:
    return str(finding["id"]).rpartition("/")[2]


def _leading(report: Mapping[str, Any], question: str) -> list[Mapping[str, Any]]:
    """Return the few findings that answer a question at once, in the report's order.

    Of each pair: what differs beside PyTorch. Of each precision: what became of the final artifacts; what makes
    them differ or, where they do not, what differs on the way; and what search makes of it: its rankings, their
    quality, and what they come through. Where operations were recorded, the reasons are the operations that differ
    by themselves, what would undo that, and the controls that it rests on; where a control failed, that. Otherwise
    the swaps, and of each pair whether the two sides use other CPU kernels, without which no reason can be judged.
    Where none of these was found, the first finding.
    """
    asked = [f for f in report["findings"] if f["question"] == question]
    kinds = {
        "what": ("environments", "final", "nothing"),
        "matter": ("inconclusive-search", "rankings", "quality", "search-source"),
    }
    if question != "why":
        chosen = [f for f in asked if _kind(f) in kinds[question]]
    else:
        wanted = {
            f"{pair['b']}/{p['precision']}/{name}"
            for pair in report["pairs"]
            for p in pair["precisions"]
            for name in _reasons(p)
        } | {f"{pair['b']}/capability" for pair in report["pairs"] if not _explained(pair)}
        chosen = sorted((f for f in asked if f["id"] in wanted), key=_rank)
    return chosen or asked[:1]


def _explained(pair: Mapping[str, Any]) -> bool:
    """Whether the pair's findings on operations, or on a failed control, say more of the reason than its kernels."""
    return any(p.get("operations") or p.get("conclusive") is False for p in pair["precisions"])


def _rank(finding: Mapping[str, Any]) -> int:
    """Return a finding's place: failed controls first, then causes, what undoes them, what all that rests on."""
    kind = _kind(finding)
    return _ORDER.index(kind) if kind in _ORDER else 1


def _reasons(precision: Mapping[str, Any]) -> list[str]:
    if precision.get("conclusive") is False:
        return ["inconclusive"]
    if precision.get("operations"):
        # That nothing undoes it can wait.
        return ["cause", *(["undo"] if precision["operations"].get("undo") else []), "controls"]
    final = precision["summary"]["final"]
    if final.get("identical", 0) < final["total"]:
        enough = [f"swap-{'+'.join(points)}" for each in precision["swap_summary"][:1] for points in each["sufficient"]]
        return ["bert", *enough[:1]]
    if precision["first_difference"] is None:
        return ["first"]
    return ["sort"] if precision["first_difference"]["name"] == "sort_indices" else ["first", "bert"]


def _platform(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts that a reader needs to judge whether the findings carry over, as (name, value)."""
    study, machine = report["study"], report["platform"]
    capability = {torch(report, name): used for name, used in machine["capability"].items() if used}
    kernels = [f"{name} uses {used}" for name, used in capability.items()]
    if len(capability) == len(report["environments"]) and len(set(capability.values())) == 1:
        kernels = [f"every torch uses {next(iter(capability.values()))}"]
    passages = [f"{formats.count(p['passages'])} in {arithmetic(report, p['name'])}" for p in study["precisions"]]
    gpu = machine["gpu"] or "none"
    if machine["driver"]:
        gpu = f"{gpu}, driver {machine['driver']}"
    facts = [
        ("CPU", "; ".join([str(machine["cpu"] or "unknown"), *kernels])),
        ("GPU", gpu),
        ("Threads", formats.count(study["threads"])),
        ("PyTorch", formats.listing(_versions(report))),
        ("Collection", study["collection"]["sentence"].removesuffix(".")),
        ("Checkpoint", study["checkpoint"]["sentence"].removesuffix(".")),
        ("Passages", formats.listing(passages)),
    ]
    if variables := _variables(report):
        facts.insert(3, ("Variables", variables))
    if not machine["one_machine"]:
        facts.insert(0, ("Machines", "more than one: not every capture names this CPU and GPU"))
    return facts


def _variables(report: Mapping[str, Any]) -> str:
    """Return the environment variables that a reader would not expect; with its environment where one is alone."""
    where: dict[str, list[str]] = {}
    for environment in report["environments"]:
        for name, value in telling_variables(environment).items():
            where.setdefault(f"{name}={value}", []).append(torch(report, environment["name"]))
    everywhere = len(report["environments"])
    return ", ".join(
        said if len(names) == everywhere else f"{said} ({formats.listing(names)})" for said, names in where.items()
    )


def _versions(report: Mapping[str, Any]) -> list[str]:
    return [str(e["torch"].get("version") or f"unknown in {e['name']}") for e in report["environments"]]


def findings(report: Mapping[str, Any]) -> Html:
    """Show the verdicts at a glance, what the first screen leaves out, and what each finding rests on."""
    columns = (Column("Part"), Column("Final artifacts"), Column("Intermediate artifacts"))
    rows = []
    for part in parts(report):
        summary = part.precision["summary"]
        rows.append(Row((part.label, counts(summary["final"]), counts(summary["intermediate"]))))
    pieces = [table("How many artifacts have which verdict", columns, rows)]
    for question, title in QUESTIONS:
        sentences = _merged(_further(report, question))
        if sentences:
            pieces += [heading(title, f"findings-{question}"), fragment("sentences", sentences=sentences)]
    every = f"Every finding in full ({formats.count(len(report['findings']))}), and what it rests on"
    return join([*pieces, fold(every, _evidence(report))])


def _further(report: Mapping[str, Any], question: str) -> list[str]:
    """Return what the first screen leaves out of a question; swaps that no post made have their own section."""
    led = {f["id"] for f in _leading(report, question)}
    return [
        f["sentence"]
        for f in report["findings"]
        if f["question"] == question and f["id"] not in led and (f["posts"] or "/swap-" not in f["id"])
    ]


def _evidence(report: Mapping[str, Any]) -> Html:
    columns = (Column("Finding"), Column("Where its numbers stand in report.json"), Column("In the posts"))
    rows = [
        Row((prose(f["sentence"]), _pointers(f["evidence"]), formats.listing(f["posts"]) or formats.ABSENT))
        for f in report["findings"]
    ]
    return table("Each finding and its evidence", columns, rows)


def _pointers(pointers: Sequence[str]) -> Markup:
    return Markup("<br>").join(Markup("<code>{}</code>").format(p) for p in pointers)
