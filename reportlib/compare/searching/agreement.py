"""How much of two rankings of one query is the same, judgements aside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reportlib.compare.searching.rounding import rounded
from reportlib.compare.searching.sides import Ranked

#: How patient the reader of a ranking is: at 0.9 the first ten ranks carry 86 % of the weight (Webber et al. 2010).
PERSISTENCE = 0.9


@dataclass(frozen=True)
class Agreement:
    """Two rankings of one query.

    Attributes
    ----------
    first_rank : int or None
        The first rank, from 1, that another passage has; None where the best k are the same in the same order.
    same_set : bool
        The best k are the same in some order.
    same_scores : bool
        The same passages in the same order with the same scores.
    moved : int
        Passages among only one side's best k, both sides together: 0 to 2 k.
    overlap : float
        Passages that both have among their best k, of the longer list's length; 1 where both found nothing.
    rbo : float
        Rank-biased overlap of the best k.
    score_difference : float or None
        Largest difference of a passage's scores, among those in both best k; None where there are none.
    """

    first_rank: int | None
    same_set: bool
    same_scores: bool
    moved: int
    overlap: float
    rbo: float
    score_difference: float | None


def agreement(left: Ranked, right: Ranked) -> Agreement:
    """Compare the best k of two rankings of one query.

    Parameters
    ----------
    left, right : Ranked
        Of one query; either may have fewer than k passages, or none.

    Returns
    -------
    Agreement
    """
    a, b = left.top, right.top
    common = set(a) & set(b)
    longest = max(len(a), len(b))
    unlike = (rank + 1 for rank in range(longest) if a[rank : rank + 1] != b[rank : rank + 1])
    first = next(unlike, None)
    scores = dict(zip(b, right.top_scores, strict=True))
    gaps = (abs(score - scores[pid]) for pid, score in zip(a, left.top_scores, strict=True) if pid in common)
    return Agreement(
        first_rank=first,
        same_set=set(a) == set(b),
        same_scores=first is None and left.top_scores == right.top_scores,
        moved=len(a) + len(b) - 2 * len(common),
        overlap=rounded(len(common) / longest) if longest else 1.0,
        rbo=rounded(rank_biased_overlap(a, b)),
        score_difference=max((gap for gap in gaps if math.isfinite(gap)), default=None),
    )


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
