"""Findings on search where each side only searched its own index, without judgements: what was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.findings.searches import searched
from reportlib.compare.phrases import count


def rankings(part: Facts) -> Iterator[Finding]:
    """Say how many queries get the same passages, in the same order, with the same scores."""
    data = part.data["rankings"]
    if data is None or not data["queries"]:
        sentence = f"{part.title}, the two indexes were not searched."
        yield Finding(f"{part.key}/rankings", "matter", sentence, (f"{part.at}/rankings",))
        return
    k, queries = data["k"], count(data["queries"], "query")
    if _identical(data):
        sentence = (
            f"{part.title}, searching both indexes gives the same top {k} in the same order for "
            f"all {queries}{_scores(data)}."
        )
    else:
        sentence = (
            f"{part.title}, {data['same_order']:,} of {queries} get the same top {k} in the same order "
            f"from both indexes, and {data['same_set']:,} the same {k} in any order. On average "
            f"{data['symmetric_difference']:.2f} passages of a query are on one side only "
            f"(0 to {2 * k} are possible)."
        )
    if data["queries_missing"]:
        sentence += f" Only one side answered {count(data['queries_missing'], 'further query')}."
    yield Finding(f"{part.key}/rankings", "matter", sentence, (f"{part.at}/rankings",), ("I2", "I4"))


def _identical(data: Mapping[str, Any]) -> bool:
    return bool(data["same_order"] == data["queries"])


def _complete(data: Mapping[str, Any]) -> bool:
    return _identical(data) and data["queries_missing"] == 0


def _scores(data: Mapping[str, Any]) -> str:
    if data["scores_identical"]:
        return ", with identical scores"
    largest = data["max_score_difference"]
    return "" if largest is None else f"; scores differ by {largest:.2g} at most"


def quality(report: Mapping[str, Any], number: int, parts: Sequence[Facts]) -> Iterator[Finding]:
    """Say what this study cannot say about quality; where some precisions were searched, of each that was not."""
    if any(map(searched, parts)):
        for part in parts:
            if not searched(part) and not part.inconclusive:
                sentence = f"{part.title}, quality was not measured: no ranking was scored with relevance judgements."
                yield Finding(f"{part.key}/quality", "matter", sentence, (f"{part.at}/rankings",), ("I2",))
        return
    pair = report["pairs"][number]
    known = [p for p in parts if p.data["rankings"] and p.data["rankings"]["queries"]]
    sure = not any(p.inconclusive for p in parts)
    evidence = tuple(f"{p.at}/rankings" for p in parts)
    if sure and known and len(known) == len(parts) and all(_complete(p.data["rankings"]) for p in known):
        sentence = (
            "Every ranking that was made is the same on both sides, so any measure of retrieval "
            "quality that looks at these passages and their order is the same too."
        )
    elif known:
        sentence = (
            "Whether the change makes retrieval better or worse is not measured here. This study did not "
            "score its rankings with relevance judgements."
        )
    else:
        sentence = "This study did not search, so nothing is measured of the effect on retrieval."
    yield Finding(f"{pair['b']}/quality", "matter", sentence, evidence, ("I2",))
