"""The sentences of a report's first screen, each drawn from the measurements that it points to.

A sentence claims what was measured and no more: a cause only where a swap or a replay shows it and
the controls hold, an effect only where a search does. Nothing here reads a capture; the rest of the report is
all there is to go by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.findings import causes, index, search
from reportlib.findings.facts import Facts, Finding, facts
from reportlib.findings.search import effect, searched
from reportlib.words.phrases import count, listing

Record = dict[str, Any]


def findings(report: Mapping[str, Any]) -> list[Record]:
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
    found = [*_missing(report), *_all(report)]
    questions = ("what", "why", "matter")
    return [f.record() for question in questions for f in found if f.question == question]


def _all(report: Mapping[str, Any]) -> Iterator[Finding]:
    for number, pair in enumerate(report["pairs"]):
        parts = facts(report, number)
        yield from index.environments(report, number)
        for part in parts:
            yield from _precision(part)
        yield from index.capability(report, number)
        yield from index.probes(report, number)
        if parts:
            yield from search.quality(report, number, parts)
        else:
            yield Finding(
                f"{pair['b']}/nothing",
                "what",
                f"Nothing was compared of {pair['a']} and {pair['b']}: their captures are missing.",
                ("/missing_arms",),
            )


def _precision(part: Facts) -> Iterator[Finding]:
    yield index.final(part)
    if part.inconclusive:
        yield from causes.inconclusive(part)
        return
    yield from causes.controls(part)
    yield from causes.causes(part)
    yield from index.post_agreement(part)
    yield from index.bert(part)
    yield from index.first(part)
    yield from index.sort(part)
    yield from index.swaps(part)
    yield from index.reaches_index(part)
    yield from effect(part) if searched(part) else search.rankings(part)


def _missing(report: Mapping[str, Any]) -> Iterator[Finding]:
    arms = report["missing_arms"]
    if arms:
        have = "has" if len(arms) == 1 else "have"
        yield Finding(
            "missing-arms",
            "what",
            f"{count(len(arms), 'arm')} of this study {have} no capture ({listing(arms)}), so nothing is said of them.",
            ("/missing_arms",),
        )
