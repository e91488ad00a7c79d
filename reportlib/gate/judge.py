"""Judge requirements on a comparison of two indexes: each holds, does not hold, or cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reportlib.gate.outcomes import FAILS, HOLDS, INCONCLUSIVE, Judgement
from reportlib.gate.requirements import Requirement
from reportlib.gate.search import judge_search

_Record = Mapping[str, Any]
#: What a folder cannot answer.
_NO_SEARCH = "two index folders hold no search results; `reportlib check` judges them on a study"


def judge(requirements: Sequence[Requirement], comparison: _Record) -> tuple[Judgement, ...]:
    """Judge `requirements` on what `reportlib.compare.indexes.compare_indexes` returned, or on a study's comparison.

    Only the latter has ``search``, as a report has it.

    Files of equal bytes satisfy every requirement. A shape mismatch or an unequal dtype satisfies none but what is
    counted in spite of it (``differing`` for dtypes, ``groups_differing`` for shapes).
    """
    records = {record["name"]: record for record in comparison["artifacts"]}
    return tuple(_judge(each, records, comparison) for each in requirements)


def exit_code(judgements: Sequence[Judgement], comparison: _Record) -> int:
    """Return 0 where all requirements hold, 1 where one does not, 2 where it cannot be told.

    One that certainly does not hold decides, whatever else is unknown; and a comparison with an unreadable file is
    inconclusive even where no requirement asks for that file.
    """
    outcomes = {j.outcome for j in judgements}
    if FAILS in outcomes:
        return 1
    return 2 if INCONCLUSIVE in outcomes or comparison["verdict"] == INCONCLUSIVE else 0


def _judge(requirement: Requirement, records: Mapping[str, _Record], comparison: _Record) -> Judgement:
    if not requirement.artifacts:
        if "search" not in comparison:
            return Judgement(requirement, INCONCLUSIVE, _NO_SEARCH)
        return Judgement(requirement, *judge_search(requirement, comparison["search"], comparison.get("passages")))
    found = [_one(requirement, records[name]) for name in requirement.artifacts if name in records]
    if not found:
        return Judgement(requirement, INCONCLUSIVE, f"there is no {requirement.subject} on either side")
    # The worst decides: what fails before what is unknown before what holds.
    for outcome in (FAILS, INCONCLUSIVE):
        worst = [judgement for judgement in found if judgement.outcome == outcome]
        if len(worst) > 1:
            more = "1 more artifact" if len(worst) == 2 else f"{len(worst) - 1} more artifacts"
            return replace(worst[0], reason=f"{worst[0].reason} (and {more})")
        if worst:
            return worst[0]
    if len(found) == 1:
        return found[0]
    return Judgement(requirement, HOLDS, f"for all {len(found)} artifacts")


def _one(requirement: Requirement, record: _Record) -> Judgement:
    """Judge a requirement on one artifact."""
    name = record["name"] if requirement.subject != record["name"] else ""
    before = f"{name}: " if name else ""
    if record["verdict"] is None:
        outcome, reason = INCONCLUSIVE, record["text"]
    elif record["elements"] == 0:
        outcome, reason = INCONCLUSIVE, "it is empty on both sides, which judges nothing"
    elif record["verdict"] == "identical":
        outcome, reason = HOLDS, "identical"
    elif requirement.limit is not None:
        outcome, reason = _limited(requirement, requirement.limit, record)
    else:
        outcome = HOLDS if _satisfied(requirement, record) else FAILS
        reason = f"{record['verdict']}: {_sentence(record['text'])}"
    return Judgement(requirement, outcome, before + reason, record["name"], _file(record))


def _file(record: _Record) -> str:
    """Return the file to look at: of several chunks the first that differs."""
    if record["files"] and record["chunks"]:
        return next((str(c["name"]) for c in record["chunks"] if c["different"]), record["files"][0])
    return record["files"][0] if record["files"] else ""


def _satisfied(requirement: Requirement, record: _Record) -> bool:
    if requirement.claim == "same set":
        return bool(record["verdict"] == "same set")
    if requirement.claim == "close":
        known = TOLERANCE_FIELDS if requirement.tolerance is None else (requirement.tolerance,)
        return any(record[field] is True for field in known)
    return False


#: Where a record says whether each tolerance passes.
TOLERANCE_FIELDS = ("default", "bnb")


def _limited(requirement: Requirement, limit: float, record: _Record) -> tuple[str, str]:
    """Judge a limit on a quantity; what cannot be measured because the artifacts are too unlike does not hold."""
    value, counted = _quantity(requirement.claim, record)
    if value is None:
        return FAILS, f"it cannot be measured: {_sentence(record['text'])}"
    if requirement.claim not in ("differing", "groups_differing") and _unlike(record):
        return FAILS, "a NaN or an infinity stands against something else"
    within = value <= limit if requirement.inclusive else value < limit
    return (HOLDS if within else FAILS), f"measured {value:.6g}{counted}"


def _unlike(record: _Record) -> bool:
    """Return whether a value that is no number stands against something else, which no distance counts."""
    if record["no_tolerance_passes"]:
        return True
    # Of two dtypes no tolerance was tried: that one side has NaNs or infinities is enough.
    sides = (record["a"], record["b"])
    return sides[0]["dtype"] != sides[1]["dtype"] and any(side["nan"] or side["inf"] for side in sides)


def _quantity(claim: str, record: _Record) -> tuple[float | None, str]:
    """Return a quantity's value, or None where there is none, and what it was counted from."""
    if claim == "differing":
        part, whole, noun = record["different"], record["elements"], "elements differ"
    elif claim == "groups_differing":
        whole, noun = record["groups"], "groups differ"
        part = None if whole is None else whole - record["groups_equal"]
    else:
        value = record[claim]
        return (None if value is None else float(value)), ""
    if part is None or not whole:
        return None, ""
    return part / whole, f" ({part:,} of {whole:,} {noun})"


def _sentence(text: str) -> str:
    return text.removesuffix(".")
