"""Findings on swaps: the only ones that may name a cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.phrases import code


def swaps(part: Facts) -> Iterator[Finding]:
    """Say which of A's values, put into B, bring the whole index back, and which do not."""
    arms = list(enumerate(part.data["swaps"]))
    if not arms or not any(r["verdict"] != "identical" for r in part.final):
        return
    enough = [(n, arm) for n, arm in arms if arm["all_final_identical"]]
    smallest = [
        (n, arm) for n, arm in enough if not any(set(other["points"]) < set(arm["points"]) for _, other in enough)
    ]
    for number, arm in smallest:
        yield _sufficient(part, number, arm)
    for number, arm in arms:
        if not arm["all_final_identical"]:
            yield _insufficient(part, number, arm)


def _sufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    taken = code(arm["points"])
    it = "it" if len(arm["points"]) == 1 else "them"
    sentence = (
        f"{part.title}, putting {taken} of {part.a} into {part.b} makes all {arm['final_total']} "
        f"final artifacts identical, so everything that differs in the index comes through {it}."
    )
    left = [n for n in arm["not_identical"] if not n.startswith("index/")]
    if left:
        verb = "differs" if len(left) == 1 else "differ"
        sentence += f" Of the intermediate artifacts {code(left)} still {verb}."
    return _finding(part, number, arm, sentence)


def _insufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    left = arm["final_total"] - arm["final_identical"]
    verb = "differs" if left == 1 else "differ"
    left_of = f"all {left}" if left == arm["final_total"] else f"{left} of {arm['final_total']}"
    sentence = (
        f"{part.title}, putting only {code(arm['points'])} of {part.a} into {part.b} is not "
        f"enough: {left_of} final artifacts still {verb}."
    )
    if {"A4", "F4"} <= set(arm["posts"]):
        sentence += (
            " The post of 13 September (F4) found the index identical after this swap; that of 18 August (A4), "
            "on another pair of versions, did not."
        )
    return _finding(part, number, arm, sentence)


def _finding(part: Facts, number: int, arm: Mapping[str, Any], sentence: str) -> Finding:
    name = f"{part.key}/swap-{'+'.join(arm['points'])}"
    evidence = (f"{part.at}/swaps/{number}", f"{part.at}/summary/final")
    return Finding(name, "why", sentence, evidence, tuple(arm["posts"]))
