"""Findings on swaps: which of one version's values make the other's index the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.phrases import code, count

_FORWARD = "a into b"


def swaps(part: Facts) -> Iterator[Finding]:
    """Say which sets of values bring the whole index back, which are necessary, and what the posts' swaps give."""
    if not part.data["swaps"] or not any(r["verdict"] != "identical" for r in part.final):
        return
    summaries = part.data.get("swap_summary") or []
    for place, summary in enumerate(summaries):
        arms = [(n, arm) for n, arm in enumerate(part.data["swaps"]) if arm["direction"] == summary["direction"]]
        if summary["direction"] == _FORWARD or len(summaries) == 1:
            for points in summary["sufficient"][:1]:  # `_sets` names the others
                yield _sufficient(part, *next((n, arm) for n, arm in arms if set(arm["points"]) == set(points)))
        yield _sets(part, place, summary, summaries[0] if place else None)
        for number, arm in arms:
            if arm["posts"] and not arm["all_final_identical"]:
                yield _insufficient(part, number, arm)
    yield from _posts(part)


def _taken(part: Facts, arm: Mapping[str, Any], only: str = "") -> str:
    return f"putting {only}{code(arm['points'])} of {part.name(arm['from'])} into {part.name(arm['into'])}"


def _sufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    it = "it" if len(arm["points"]) == 1 else "them"
    sentence = (
        f"{part.title}, {_taken(part, arm)} makes all {arm['final_total']} "
        f"final artifacts identical, so everything that differs in the index comes through {it}."
    )
    left = [n for n in arm["not_identical"] if not n.startswith("index/")]
    if left:
        verb = "differs" if len(left) == 1 else "differ"
        sentence += f" Of the intermediate artifacts {code(left)} still {verb}."
    return _finding(part, number, arm, sentence)


def _insufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    sentence = f"{part.title}, {_taken(part, arm, 'only ')} is not enough: {_left(arm)}."
    return _finding(part, number, arm, sentence)


def _left(arm: Mapping[str, Any]) -> str:
    left = arm["final_total"] - arm["final_identical"]
    left_of = f"all {left}" if left == arm["final_total"] else f"{left} of {arm['final_total']}"
    return f"{left_of} final artifacts still {'differs' if left == 1 else 'differ'}"


def _finding(part: Facts, number: int, arm: Mapping[str, Any], sentence: str) -> Finding:
    back = "" if arm["direction"] == _FORWARD else "back-"
    name = f"{part.key}/swap-{back}{'+'.join(arm['points'])}"
    evidence = (f"{part.at}/swaps/{number}", f"{part.at}/summary/final")
    return Finding(name, "why", sentence, evidence, tuple(arm["posts"]))


def _sets(part: Facts, place: int, summary: Mapping[str, Any], before: Mapping[str, Any] | None) -> Finding:
    """Say, for one direction, how many sets were tried, the smallest that are enough, and what no set can lack.

    Where the direction told before gave the same, only that is said.
    """
    way = f"{part.name(summary['from'])}'s values into {part.name(summary['into'])}"
    if before is not None and all(before[key] == summary[key] for key in ("tested", "sufficient", "necessary")):
        said = f"the same as the other way round, over {count(summary['tested'], 'set')}"
    else:
        said = _found(summary)
    back = "" if summary["direction"] == _FORWARD else "back-"
    sentence = f"{part.title}, putting {way}: {said}."
    evidence = (f"{part.at}/swap_summary/{place}",)
    return Finding(f"{part.key}/swap-{back}sets", "why", sentence, evidence)


def _found(summary: Mapping[str, Any]) -> str:
    enough = [code(points) for points in summary["sufficient"]]
    tried = count(summary["tested"], "set")
    if not enough:
        said = f"of {tried} tried, none makes the whole index identical"
    else:
        smallest = "the smallest that is enough is" if len(enough) == 1 else "the smallest that are enough are"
        said = f"of {tried} tried, {smallest} {_either(enough)}"
    needed = summary["necessary"]
    if needed:
        verb, them = ("is", "it") if len(needed) == 1 else ("are", "each of them")
        said += f"; {code(needed)} {verb} necessary: every set that is enough holds {them}, or what is computed from it"
    return said


def _either(sets: list[str]) -> str:
    """Return ``a; b and c; or d``: sets apart by semicolons, since each is a list itself."""
    return sets[0] if len(sets) == 1 else f"{'; '.join(sets[:-1])}; or {sets[-1]}"


def _posts(part: Facts) -> Iterator[Finding]:
    """Settle what the posts contradict each other on: whether `local_sample_embs` alone is enough."""
    arms = {
        frozenset(arm["points"]): (n, arm) for n, arm in enumerate(part.data["swaps"]) if arm["direction"] == _FORWARD
    }
    alone = arms.get(frozenset({"local_sample_embs"}))
    if alone is None:
        return
    number, arm = alone
    evidence = [f"{part.at}/swaps/{number}"]
    if arm["all_final_identical"]:
        said = f"here it is: all {arm['final_total']} final artifacts become identical"
    else:
        said = f"here it is not: {_left(arm)}"
    both = arms.get(frozenset({"local_sample_embs", "embs"}))
    if both is not None and not arm["all_final_identical"]:
        enough = both[1]["all_final_identical"]
        evidence.append(f"{part.at}/swaps/{both[0]}")
        said += f", and with `embs` beside it {'none does' if enough else _left(both[1])}"
    sentence = (
        f"{part.title}, whether `local_sample_embs` alone is enough, on which the posts contradict each other "
        f"(A4: no, F4: yes, H3: with `embs`): {said}."
    )
    yield Finding(f"{part.key}/posts-swap", "why", sentence, tuple(evidence), ("A4", "F4", "H3"))
