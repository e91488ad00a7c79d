"""The measures of search, one record each: what is computed, a report holds, a gate requires and the page draws.

An `Agreement` says how alike two lists of one query are, judgements aside; its field in a report is one of
`reportlib.shape.SearchComparison`. A `Quality` says how good a list is by judgements; a report lists those by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from reportlib.shape import Estimate, MeasureChange, SearchComparison

#: How patient the reader of a ranking is: at 0.9 the first ten ranks carry 86 % of the weight (Webber et al. 2010).
PERSISTENCE = 0.9


def rank_biased_overlap(a: Sequence[int], b: Sequence[int], p: float = PERSISTENCE) -> float:
    """Return the extrapolated rank-biased overlap of two rankings.

    Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28(4), 2010, equation 32: the
    agreement seen up to the end of each list is taken to go on behind it. For lists of one length it is equation 30.

    Parameters
    ----------
    a, b : sequence of int
        Passages, best first, each once. The lists may be of unequal length.
    p : float
        Persistence, between 0 and 1: the chance that a reader goes on to the next rank.

    Returns
    -------
    float
        0 (nothing in common) to 1 (the same list). Two empty lists have 1, an empty one and another 0.
    """
    if tuple(a) == tuple(b):
        return 1.0
    short, long = sorted((a, b), key=len)
    s, depth = len(short), len(long)
    if not s:
        return 0.0
    seen_short: set[int] = set()
    seen_long: set[int] = set()
    overlap, at_short, weight, total = 0, 0, 1.0, 0.0
    for d in range(1, depth + 1):
        weight *= p
        if d <= s:
            seen_short.add(short[d - 1])
            overlap += short[d - 1] in seen_long
        seen_long.add(long[d - 1])
        overlap += long[d - 1] in seen_short
        if d == s:
            at_short = overlap
        total += overlap / d * weight
        if d > s:
            total += at_short * (d - s) / (s * d) * weight
    return (1 - p) / p * total + ((overlap - at_short) / depth + at_short / s) * weight


def different_passages(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many passages are in one of two lists only, both together: 0 to 2 k, as post I4 counts it."""
    return len(set(a) ^ set(b))


def overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """Return the passages of both lists, of the longer one's length; 1 where both are empty."""
    longest = max(len(a), len(b))
    return len(set(a) & set(b)) / longest if longest else 1.0


@dataclass(frozen=True)
class Agreement:
    """How alike two lists of one query are.

    Attributes
    ----------
    key : str
        Its field in a report, and its name in the yardstick.
    words : str
        What a requirement calls it.
    title : str
        What the page calls it.
    of : callable
        Its value for two lists of passages, best first.
    same : float
        What it is where nothing changes.
    reach : str
        How far it could be, with what went unseen; empty where its interval has that already.
    heading : str
        Its title in the table of all comparisons, with the most that it can be; empty for the same.
    ordered : bool
        Whether it sees a change of order. Nothing can change the other ones where a list can hold all passages.
    counts_passages : bool
        Whether it goes up to 2 k; if not, it lies between 0 and 1.
    counts_queries : bool
        Whether it is the share of queries that changed, whose interval is that of a count.
    beside_seeds : bool
        Whether the upgrade is held against other seeds of k-means by it.
    """

    key: str
    words: str
    title: str
    of: Callable[[Sequence[int], Sequence[int]], float]
    same: float
    reach: str = ""
    heading: str = ""
    ordered: bool = False
    counts_passages: bool = False
    counts_queries: bool = False
    beside_seeds: bool = True

    @property
    def falls(self) -> bool:
        """Whether less of it is a greater change."""
        return self.same > 0

    def far(self, k: int) -> float:
        """Return what it is where every list changes by as much as it can."""
        return 2.0 * k if self.counts_passages else 1.0 - self.same

    def change(self, value: float) -> float:
        """Return how far a value is from no change."""
        return abs(value - self.same)

    def estimate(self, comparison: SearchComparison) -> Estimate:
        """Return its mean over a comparison's queries, with the interval."""
        known = cast(Mapping[str, Any], comparison)[self.key]
        return {"value": known["share" if self.counts_queries else "value"], "low": known["low"], "high": known["high"]}


AGREEMENTS = (
    Agreement(
        "different_passages", "different passages", "Passages come or gone", different_passages, 0.0,
        "up to {} different passages", "Different passages, 0 to {}", counts_passages=True,
    ),
    Agreement("overlap", "overlap", "Share in common", overlap, 1.0, "an overlap as low as {}", beside_seeds=False),
    Agreement("rbo", "rbo", "Rank-biased overlap", rank_biased_overlap, 1.0, "an rbo as low as {}", ordered=True),
    Agreement(
        "changed_queries", "changed queries", "Lists that move", lambda a, b: float(tuple(a) != tuple(b)), 0.0,
        ordered=True, counts_queries=True,
    ),
)  # fmt: skip


def agreement(name: str) -> Agreement | None:
    """Return an agreement by its key or its words; None for another name."""
    return next((a for a in AGREEMENTS if name in {a.key, a.words}), None)


@dataclass(frozen=True)
class Quality:
    """How good a list is by judgements.

    Attributes
    ----------
    name : str
        What a report and a requirement call it, with ``@k`` behind it.
    of : str
        What `ir_measures` calls it.
    ordered : bool
        Whether it sees a change of order.
    """

    name: str
    of: str
    ordered: bool = False

    def at(self, k: int) -> str:
        """Return its name in a report: ``Recall@10``."""
        return f"{self.name}@{k}"


#: What a sentence leads with: it sees a change of rank as well as a passage that is lost.
CHIEF = Quality("nDCG", "nDCG", ordered=True)
QUALITIES = (Quality("Recall", "R"), Quality("MRR", "RR", ordered=True), CHIEF, Quality("Success", "Success"))


def chief(measures: Sequence[MeasureChange]) -> MeasureChange | None:
    """Return the measure that stands for the others; None where none was taken."""
    return next((m for m in measures if m["measure"].startswith(CHIEF.name)), next(iter(measures), None))
