"""Findings on why: the controls, the operations that differ by themselves, and what would undo them.

Nothing is claimed of a precision whose controls failed: all its other findings on why and on whether it matters
give way to the two that say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.findings.facts import Facts, Finding
from reportlib.words.operations import in_words, names
from reportlib.words.phrases import code, count, factor, listing, times

#: How many causes a sentence names before it counts the rest.
_MOST = 3
#: Errors whose ratio is below this are about equal.
_TELLING = 1.05
_CONTROL_WORDS = {"repeat": "captured again", "observer": "captured without instruments"}


def inconclusive(part: Facts) -> Iterator[Finding]:
    """Say that a control failed, in place of everything that would rest on it."""
    failed = [(n, c) for n, c in enumerate(part.data["controls"]) if not c["passed"]]
    evidence = (f"{part.at}/conclusive", *(f"{part.at}/controls/{n}" for n, _ in failed))
    said = listing([f"{part.name(c['environment'])} {_CONTROL_WORDS[c['kind']]}" for _, c in failed])
    unlike = sorted({name for _, c in failed for name in c["not_identical"]})
    which = f": {code(unlike)}" if unlike else ""
    sentence = (
        f"{part.title}, inconclusive: {said} did not give the same bytes, so what differs between the versions may "
        f"be noise{which}."
    )
    yield Finding(f"{part.key}/inconclusive", "why", sentence, evidence)
    sentence = (
        f"{part.title}, inconclusive: what differs may be noise, so what search makes of it says nothing of the "
        "versions."
    )
    yield Finding(f"{part.key}/inconclusive-search", "matter", sentence, evidence[:1])


def controls(part: Facts) -> Iterator[Finding]:
    """Say that the controls hold, and which were run."""
    made = part.data.get("controls") or []
    if not made or not all(c["passed"] for c in made):
        return
    kinds = [_CONTROL_WORDS[kind] for kind in _CONTROL_WORDS if any(c["kind"] == kind for c in made)]
    said = listing(kinds).replace("and captured", "and").capitalize()
    hold = (
        "the controls hold" if part.data.get("conclusive") else "the controls that were run hold, though not all were"
    )
    sentence = f"{part.title}, {hold}. {said}, each side gave the same bytes."
    evidence = tuple(f"{part.at}/controls/{n}" for n in range(len(made)))
    yield Finding(f"{part.key}/controls", "why", sentence, evidence)


def causes(part: Facts) -> Iterator[Finding]:
    """Say which operations differ by themselves, how sure that is, and which version is closer to float64."""
    data = part.data.get("operations")
    if data is None:
        return
    at = f"{part.at}/operations"
    if data["verdict"] in {"inconclusive", "inputs differ"}:
        why = "recording changed a result" if data["verdict"] == "inconclusive" else "the two sides read other inputs"
        sentence = f"{part.title}, no operation can be named as a cause: {why}."
        yield Finding(f"{part.key}/cause", "why", sentence, (f"{at}/verdict",))
        return
    found = data["causes"]
    if not found:
        yield Finding(f"{part.key}/cause", "why", _none(part, data), (f"{at}/causes", f"{at}/passes"))
        return
    evidence = tuple(f"{at}/causes/{n}" for n in range(len(found)))
    yield Finding(f"{part.key}/cause", "why", f"{part.title}, {_caused(part, found)}", evidence)
    if reach := _reach(part, found):
        yield Finding(f"{part.key}/cause-reach", "why", reach, evidence)
    yield from _undo(part, data, f"{at}/undo" if data.get("undo") else f"{at}/causes")


def _none(part: Facts, data: Mapping[str, Any]) -> str:
    replayed = sum(each["replay"]["replayed"] for each in data["passes"] if each.get("replay"))
    if data["verdict"] == "replaced":
        return f"{part.title}, the two versions run other operations, and the difference enters through those."
    if replayed:
        counted = count(replayed, "replayed operation")
        return f"{part.title}, none of {counted} differs by itself: given the same bytes, both return the same."
    return f"{part.title}, no recorded operation that read the same bytes returned others."


def _caused(part: Facts, found: Sequence[Mapping[str, Any]]) -> str:
    labels = [_label(cause) for cause in found]
    shown = names(list(found))
    same = len(set(labels)) == 1
    named = shown if same else [f"{name} ({label})" for name, label in zip(shown, labels, strict=True)]
    verb = "returns" if len(found) == 1 else "return"
    sure = f" ({labels[0]})" if same else ""
    return f"{listing(named, _MOST + 1)} {verb} other bytes for the same input{sure}. {_closer(part, found)}".strip()


def _label(cause: Mapping[str, Any]) -> str:
    """Return how sure the mechanism is; *cause unknown* is not the same as an unknown operation."""
    label = (cause.get("mechanism") or {}).get("label") or "unknown"
    return {"proven": "mechanism proven", "candidate": "mechanism a candidate", "unknown": "mechanism unknown"}[label]


def _closer(part: Facts, found: Sequence[Mapping[str, Any]]) -> str:
    """Return a clause on the version that is closer to float64, where the causes agree; else one clause each."""
    known = [(name, c["truth"]) for name, c in zip(names(list(found)), found, strict=True) if c["truth"]]
    if not known:
        return ""
    sides = {_nearer(truth) for _, truth in known}
    if sides == {"equal"}:
        return "Both versions are about equally close to float64."
    if len(sides) == 1 and len(known) == len(found) <= _MOST:
        by = [times(factor(truth["ratio_rms"])) for _, truth in known]
        return f"{part.a if sides == {'a'} else part.b} is {_by(by)}closer to float64."
    shown = known[:_MOST]
    clauses = [_one(part, name, truth) for name, truth in shown if _nearer(truth) != "equal"]
    alike = [name for name, truth in shown if _nearer(truth) == "equal"]
    neither = [f"neither in {listing(alike)}"] if alike else []
    return f"Closer to float64: {', '.join([*clauses, *neither])}."


def _nearer(truth: Mapping[str, Any]) -> str:
    """Return the closer side; equal where the errors differ by less than a twentieth."""
    by = factor(truth["ratio_rms"])
    return "equal" if by is not None and by < _TELLING else str(truth["closer"])


def _by(factors: Sequence[str]) -> str:
    return f"{listing(factors)} times " if all(factors) else ""


def _one(part: Facts, name: str, truth: Mapping[str, Any]) -> str:
    by = times(factor(truth["ratio_rms"]))
    return f"{part.a if _nearer(truth) == 'a' else part.b} in {name}{f' ({by} times)' if by else ''}"


def _reach(part: Facts, found: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on how often each cause differs by itself, and what it reaches."""
    clauses = []
    for name, cause in zip(names(list(found)), found, strict=True):
        reach = " and the output" if cause["reaches_output"] else ""
        tainted = f", and reaches {count(cause['tainted'], 'later operation')}{reach}" if cause["tainted"] else ""
        clauses.append(f"{name} differs in {_share(cause)}{tainted}")
    return f"{part.title}, replayed one by one on {part.a}'s inputs: {'; '.join(clauses)}."


def _share(cause: Mapping[str, Any]) -> str:
    if cause["instances"] == cause["replayed"] == 1:
        return "the one replayed"
    some = "all" if cause["instances"] == cause["replayed"] else f"{cause['instances']:,} of"
    return f"{some} {cause['replayed']:,} replayed"


def _undo(part: Facts, data: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    undo = data.get("undo")
    if undo is None:
        if data.get("why_no_undo"):
            why = in_words(str(data["why_no_undo"]), data, part.a, part.b).rstrip(".")
            sentence = f"{part.title}, what would undo it is not known: {why}."
            yield Finding(f"{part.key}/undo", "why", sentence, (pointer,))
        return
    lines = [f"`{line.removeprefix('export ')}`" for each in undo["lines"] for line in each.splitlines()]
    told = undo.get("rounds_with") and undo.get("rounds_without")
    cost = ", at no cost that could be told from noise" if told else ""
    cost = f", taking {times(undo['ratio'])} times as long" if undo.get("ratio") else cost
    whole = "" if undo["passes"] is None or undo["passes_equal"] == undo["passes"] else _but(undo)
    sentence = f"{part.title}, with {listing(lines)} {part.b} gives {part.a}'s bytes in BERT again{cost}{whole}."
    yield Finding(f"{part.key}/undo", "why", sentence, (pointer,))


def _but(undo: Mapping[str, Any]) -> str:
    return (
        f" for every operation that differs, though the output of only {undo['passes_equal'] or 0} of "
        f"{count(undo['passes'], 'pass')} becomes the same"
    )
