"""What a report says: each finding is data (a question, numbers, how sure, evidence), and its sentence a template.

A finding claims what was measured and no more: a cause only where a replay shows it and the controls hold, an effect
only where a search does. Nothing here reads a capture; the rest of the report is all there is to go by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reportlib.findings import causes, effects
from reportlib.findings.finding import Finding, Part, parts
from reportlib.shape import Report
from reportlib.words.terms import labels

Record = dict[str, Any]


def findings(report: Report) -> list[Record]:
    """Return the findings of a report that has everything else.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.study.compare_study` builds it, without ``findings``.

    Returns
    -------
    list of dict
        In page order: what, why, matter; within these by pair and precision.
    """
    made = list(_all(report))
    questions = ("what", "why", "matter")
    return [f.record() for question in questions for f in made if f.question == question]


def _all(report: Report) -> Iterator[Finding]:
    if report["missing_arms"] or report.get("pending"):
        numbers = {"arms": report["missing_arms"], "pending": report.get("pending", [])}
        yield Finding("missing", "what", "", "", "", numbers, ("/missing_arms",))
    called = labels(report["environments"])
    for number, pair in enumerate(report["pairs"]):
        a, b = (called.get(pair[side], pair[side]) for side in ("a", "b"))
        yield from effects.environments(report, number, a, b)
        mine = [part for part in parts(report) if part.pair is pair]
        if not mine:
            yield Finding("nothing", "what", pair["b"], a, b, {}, ("/missing_arms",))
        for part in mine:
            yield from _precision(part)
        yield from causes.kernels(report, number, mine)
        yield from causes.probes(pair, number, a, b)


def _precision(part: Part) -> Iterator[Finding]:
    yield effects.files(part)
    yield from causes.controls(part)
    # Of a precision whose controls failed nothing else is claimed.
    if part.failed:
        return
    yield from effects.post(part)
    yield from causes.bert(part)
    yield from causes.operations(part)
    yield from causes.swaps(part)
    yield from causes.sort(part)
    yield from effects.searches(part)
