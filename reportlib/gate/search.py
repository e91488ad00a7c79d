"""Judge a requirement on search: by the interval of what was measured, never by its mean alone.

A limit holds where the whole interval is inside it and does not hold where the whole interval is beyond it. Where the
limit lies within the interval, the queries were too few to tell, and the reason says about how many would be enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportlib.compare.findings.searches import least_changed
from reportlib.compare.phrases import count, interval, unseen
from reportlib.gate.outcomes import FAILS, HOLDS, INCONCLUSIVE
from reportlib.gate.vocabulary import AGREEMENTS, RESEEDING, SEARCH, Requirement

_Record = Mapping[str, Any]
#: Where a comparison says how much two sides agree, by claim; the yardstick has the same names.
FIELDS = {
    "overlap": "overlap",
    "rbo": "rbo",
    "different passages": "different_passages",
    "changed queries": "changed_queries",
}
#: What of search is held against re-seeding where no measure is named.
YARDSTICK = ("different_passages", "rbo", "changed_queries")


@dataclass(frozen=True)
class _Measured:
    """A value with the ends of its interval: `best` lies on the side of the limit that is allowed."""

    value: float
    best: float
    worst: float
    queries: int
    confidence: float

    def said(self, *details: str) -> str:
        """Return what was measured; in brackets its interval and further `details`, where there are any."""
        low, high = sorted((self.best, self.worst))
        ends = interval(low, high, self.confidence, _digits)
        return f"measured {_digits(self.value)} ({'; '.join([ends, *filter(None, details)])})"


def judge_search(requirement: Requirement, search: _Record | None) -> tuple[str, str]:
    """Return what becomes of a requirement on search, and why.

    Parameters
    ----------
    requirement : Requirement
        About no artifact.
    search : mapping or None
        ``pairs[].precisions[].search`` of ``report.json``.

    Returns
    -------
    tuple of str
        `HOLDS`, `FAILS` or `INCONCLUSIVE`; what was measured, or why it cannot be told.

    Raises
    ------
    KeyError, TypeError
        When the record is damaged.
    """
    if search is None or not search["queries"]:
        return (
            INCONCLUSIVE,
            "the study's report has no searches of both sides' indexes; give it k in [search] and run it",
        )
    if requirement.k not in (None, search["k"]):
        return INCONCLUSIVE, f"the study searched with k = {search['k']}; its [search] table says which k"
    if failed := [each for each in search["controls"] if each["identical"] < each["queries"]]:
        said = " and ".join(f"{c['environment']} for {c['queries'] - c['identical']:,}" for c in failed)
        return INCONCLUSIVE, f"a control failed: its own index searched again gave other results in {said} queries"
    upgrade = {each["id"]: each for each in search["comparisons"]}["upgrade"]
    if requirement.claim == RESEEDING:
        return _against_seeds(requirement, search, upgrade)
    if requirement.claim == "drop":
        return _drop(requirement, search, upgrade)
    return _agreement(requirement, search, upgrade)


def _drop(requirement: Requirement, search: _Record, upgrade: _Record) -> tuple[str, str]:
    found = _measure(requirement, upgrade)
    if found is None:
        return INCONCLUSIVE, _unmeasured(search, upgrade)
    if not found["better"] and not found["worse"]:
        return HOLDS, _unchanged(f"{found['measure']} is {found['left']:.4g} on both sides", found["equal"], search)
    difference = found["difference"]
    queries = found["better"] + found["equal"] + found["worse"]
    # Taken from zero, so that no change is 0 and not -0.
    value, best, worst = (0.0 - difference[end] for end in ("value", "high", "low"))
    measured = _Measured(value, best, worst, queries, search["confidence"])
    outcome, opening = _within(requirement, measured)
    means = f"{found['left']:.4g} becomes {found['right']:.4g} over {count(queries, 'query')}"
    said = measured.said(means, _few(found["better"] + found["worse"], queries, search))
    return outcome, f"{opening}{said}{_more(requirement, outcome, measured)}"


def _measure(requirement: Requirement, upgrade: _Record) -> _Record | None:
    for each in upgrade["measures"]:
        if str(each["measure"]).lower() == requirement.subject.lower():
            return dict(each)
    return None


def _unmeasured(search: _Record, upgrade: _Record) -> str:
    if not search["judged"]:
        return "quality could not be measured, as no query has judgements"
    return f"the study measured only {', '.join(each['measure'] for each in upgrade['measures']) or 'no quality'}"


def _agreement(requirement: Requirement, search: _Record, upgrade: _Record) -> tuple[str, str]:
    queries, found = upgrade["queries"], upgrade[FIELDS[requirement.claim]]
    whole = upgrade["same_order" if requirement.claim == "rbo" else "same_set"] == queries
    # The interval of a share says what could have gone unseen; that of a mean over equal values cannot.
    shared = requirement.claim == "changed queries"
    if whole and not shared:
        same = f"{requirement.claim} {1 if requirement.claim in AGREEMENTS else 0}"
        return HOLDS, _unchanged(same, queries, search)
    ends = (found["high"], found["low"]) if requirement.claim in AGREEMENTS else (found["low"], found["high"])
    measured = _Measured(found["share" if shared else "value"], *ends, queries, search["confidence"])
    outcome, opening = _within(requirement, measured)
    over, moved = count(queries, "query"), queries - upgrade["same_order"]
    details = [f"{moved:,} of {over}"] if shared else [f"over {over}", _few(moved, queries, search)]
    return outcome, f"{opening}{measured.said(*details)}{_more(requirement, outcome, measured)}"


def _unchanged(same: str, queries: int, search: _Record) -> str:
    """Return what was seen where no query changed, and how many could change without one of these showing it."""
    bound = unseen(queries, search["confidence"])
    return f"no query of {queries:,} changed: {same}; up to {bound} of such queries could change unseen"


def _few(changed: int, queries: int, search: _Record) -> str:
    """Return a warning where few queries changed: their interval rests on these alone."""
    if not 0 < changed < least_changed(search):
        return ""
    return f"only {changed:,} of {count(queries, 'query')} changed"


def _digits(number: float) -> str:
    return f"{number:.4g}"


def _within(requirement: Requirement, measured: _Measured) -> tuple[str, str]:
    """Return what becomes of a requirement, and how its reason begins."""
    if measured.queries < 2:
        return INCONCLUSIVE, "one query says nothing of others: "
    if requirement.allows(measured.worst):
        return HOLDS, ""
    return (INCONCLUSIVE if requirement.allows(measured.best) else FAILS), ""


def _more(requirement: Requirement, outcome: str, measured: _Measured) -> str:
    """Return a clause on how many queries would tell, where these do not."""
    if outcome != INCONCLUSIVE or measured.queries < 2:
        return ""
    needed = _needed(requirement, measured)
    return f"; about {needed:,} queries would tell" if needed else "; that is the limit itself"


def _needed(requirement: Requirement, measured: _Measured) -> int | None:
    """Return about how many queries make an interval that leaves the limit out, should what was measured stay.

    An interval's width goes with one over the root of the number of queries; above a share of which nothing was
    seen, with one over the number itself.
    """
    limit = requirement.limit or 0.0
    distance = abs(limit - measured.value)
    if not distance:
        return None
    end = measured.worst if requirement.allows(measured.value) else measured.best
    times = abs(end - measured.value) / distance
    power = 1 if requirement.claim == "changed queries" and not measured.value else 2
    needed = max(measured.queries + 1, math.ceil(measured.queries * times**power))
    digits: int = 10 ** max(0, len(str(needed)) - 2)
    return -(-needed // digits) * digits


def _against_seeds(requirement: Requirement, search: _Record, upgrade: _Record) -> tuple[str, str]:
    """Hold what the upgrade changed against what other seeds of k-means change; its range is what they reach."""
    yardstick = search["yardstick"]
    if yardstick is None:
        return INCONCLUSIVE, "the study made no index with another seed; give it seeds in [search] and run it again"
    if requirement.subject == SEARCH:
        figures = [each for each in yardstick["figures"] if each["name"] in YARDSTICK]
        moved, queries = upgrade["queries"] - upgrade["same_order"], upgrade["queries"]
    else:
        found = _measure(requirement, upgrade)
        if found is None:
            return INCONCLUSIVE, _unmeasured(search, upgrade)
        figures = [each for each in yardstick["figures"] if each["name"].lower() == requirement.subject.lower()]
        moved = found["better"] + found["worse"]
        queries = moved + found["equal"]
    if not figures:
        return INCONCLUSIVE, "the report does not hold it against other seeds"
    said = _figures(figures, yardstick["seeds"])
    # What did not change needs no seed that changes more.
    if not moved:
        return HOLDS, _unchanged(said, queries, search)
    warning = f"; {few}" if (few := _few(moved, queries, search)) else ""
    verdicts = {each["verdict"] for each in figures}
    if "larger" in verdicts:
        larger = [each for each in figures if each["verdict"] == "larger"]
        return FAILS, f"{_figures(larger, yardstick['seeds'])}{warning}"
    if verdicts == {"smaller"}:
        return HOLDS, f"{said}{warning}"
    within = [each for each in figures if each["verdict"] != "smaller"]
    return INCONCLUSIVE, f"within the range of the seeds: {_figures(within, yardstick['seeds'])}{warning}"


def _figures(figures: Sequence[_Record], seeds: int) -> str:
    clauses = [
        f"{each['name'].replace('_', ' ')} {each['upgrade']:.4g} against {_range(each['seeds'])}" for each in figures
    ]
    return f"{', '.join(clauses)} with {seeds} other seed{'' if seeds == 1 else 's'} of k-means"


def _range(seeds: Sequence[float]) -> str:
    low, high = f"{min(seeds):.4g}", f"{max(seeds):.4g}"
    return low if low == high else f"{low} to {high}"
