"""The first screen: what changed, why, does it matter, and on what all that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import arithmetic, counts, heading, parts, torch

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
    questions = [
        {"slug": key, "title": title, "sentences": _sentences(report, key)}
        for key, title in QUESTIONS
    ]
    names = [torch(report, name) for name in report["study"]["environments"]]
    missing = report["missing_arms"]
    return fragment(
        "opening",
        kicker=f"{formats.listing(names, 'against')} under a ColBERT index",
        title=report["study"]["title"],
        questions=questions,
        platform=_platform(report),
        missing=f"Without a capture: {formats.listing(missing)}." if missing else "",
    )


def _sentences(report: Mapping[str, Any], question: str) -> list[str]:
    found = [f["sentence"] for f in report["findings"] if f["question"] == question]
    return found or ["No measurement of this study answers that."]


def _platform(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts that a reader needs to judge whether the findings carry over, as (name, value)."""
    study, machine = report["study"], report["platform"]
    capability = {
        torch(report, name): used for name, used in machine["capability"].items() if used
    }
    kernels = [f"{name} uses {used}" for name, used in capability.items()]
    if len(capability) == len(report["environments"]) and len(set(capability.values())) == 1:
        kernels = [f"every torch uses {next(iter(capability.values()))}"]
    passages = [
        f"{formats.count(p['passages'])} in {arithmetic(report, p['name'])}"
        for p in study["precisions"]
    ]
    gpu = machine["gpu"] or "none"
    if machine["driver"]:
        gpu = f"{gpu}, driver {machine['driver']}"
    facts = [
        ("CPU", "; ".join([str(machine["cpu"] or "unknown"), *kernels])),
        ("GPU", gpu),
        ("Threads", formats.count(study["threads"])),
        ("PyTorch", formats.listing(_versions(report))),
        ("Collection", study["collection"]["sentence"]),
        ("Checkpoint", study["checkpoint"]["sentence"]),
        ("Passages", formats.listing(passages)),
    ]
    if not machine["one_machine"]:
        facts.insert(0, ("Machines", "more than one: not every capture names this CPU and GPU"))
    return facts


def _versions(report: Mapping[str, Any]) -> list[str]:
    return [
        str(e["torch"].get("version") or f"unknown in {e['name']}") for e in report["environments"]
    ]


def findings(report: Mapping[str, Any]) -> Html:
    """Show every finding with the measurements that it rests on, and the final artifacts' verdicts at a glance."""
    columns = (Column("Part"), Column("Final artifacts"), Column("Intermediate artifacts"))
    rows = []
    for part in parts(report):
        summary = part.precision["summary"]
        rows.append(Row((part.label, counts(summary["final"]), counts(summary["intermediate"]))))
    glance = table("How many artifacts have which verdict", columns, rows)
    titles = dict(QUESTIONS)
    evidence = [
        Row(
            (
                f["sentence"],
                titles[f["question"]],
                _pointers(f["evidence"]),
                formats.listing(f["posts"]) or formats.ABSENT,
            )
        )
        for f in report["findings"]
    ]
    rests = table(
        "Each finding and where its numbers stand in report.json",
        (Column("Finding"), Column("Question"), Column("Rests on"), Column("In the posts")),
        evidence,
    )
    return join(
        [
            heading("At a glance", "at-a-glance"),
            glance,
            fold("What each sentence above rests on", rests),
        ]
    )


def _pointers(pointers: list[str]) -> Markup:
    return Markup("<br>").join(Markup("<code>{}</code>").format(p) for p in pointers)
