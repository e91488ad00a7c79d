"""The rule that says whether queries bear out a limit: one function, for every requirement on search.

A limit *holds* only if that many queries could have shown a breach of it. What they show of a mean is its interval.
What they cannot show are changes too rare to be among them: of `n` drawn queries, the share that changes by more than
any of them did is below ``1 - 0.05 ** (1 / n)`` in 95 of 100 samples (Wilks, "Determination of sample sizes for setting
tolerance limits", Annals of Mathematical Statistics 12, 1941; for a sample without any change it is Clopper and
Pearson's bound). At worst each of these changes by as much as a query can. So the mean is at most

    the end of its interval + ``1 - 0.05 ** (1 / n)`` times the largest change there is,

which is what is held against the limit. Auditors judge sums that are mostly free of errors in the same way (Bickel,
"Inference and auditing: the Stringer bound", International Statistical Review 60, 1992).

A limit *does not hold* where the whole interval is beyond it: a breach was shown, and needs nothing unseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reportlib.compare.unseen import unseen_share
from reportlib.gate.outcomes import FAILS, HOLDS, INCONCLUSIVE
from reportlib.gate.vocabulary import Requirement

#: More queries than anybody has: a limit that needs them is not worth a number.
_MOST = 10**9


@dataclass(frozen=True)
class Figure:
    """What queries show of a mean, or of a share.

    Attributes
    ----------
    value : float
        Over these queries.
    best, worst : float
        The ends of its interval; `best` lies on the side of the limit that is allowed.
    queries : int
        How many could have shown a change.
    confidence : float
        Of the interval, and of what is said of changes that went unseen.
    same : float
        What it is where nothing changes.
    far : float
        What it is where every query changes by as much as a query can.
    possible : float or None
        What it would be had each of these queries changed by as much as it can; None where that is `far`.
    exact : bool
        Whether its interval has the changes that went unseen already, as Clopper and Pearson's of a count has.
    """

    value: float
    best: float
    worst: float
    queries: int
    confidence: float
    same: float = 0.0
    far: float = 1.0
    possible: float | None = None
    exact: bool = False

    @property
    def better(self) -> bool:
        """Whether it was shown to move the other way: even with what went unseen it is not beyond `same`."""
        return self.reach < self.same < self.far or self.reach > self.same > self.far

    @property
    def reach(self) -> float:
        """How far it can be from `same` with what went unseen."""
        return self.reach_of(self.queries)

    def reach_of(self, queries: int) -> float:
        """Return the reach that as many queries would leave, should what was measured stay what it is.

        An interval narrows with the root of their number.
        """
        end = self.value + (self.worst - self.value) * math.sqrt(self.queries / queries)
        if not self.exact:
            end += unseen_share(queries, self.confidence) * (self.far - self.same)
        return min(end, self.far) if self.far > self.same else max(end, self.far)

    def best_of(self, queries: int) -> float:
        """Return the best end that as many queries would leave."""
        return self.value + (self.best - self.value) * math.sqrt(self.queries / queries)


@dataclass(frozen=True)
class Ruling:
    """What becomes of a limit.

    Attributes
    ----------
    outcome : str
        `HOLDS`, `FAILS` or `INCONCLUSIVE`.
    clause : str
        Where it is inconclusive, what would tell.
    needed : int
        About how many queries would; 0 where no number does, or none is needed.
    """

    outcome: str
    clause: str = ""
    needed: int = 0


def rule(requirement: Requirement, figure: Figure, breach: Requirement | None = None) -> Ruling:
    """Return what becomes of a limit on a figure.

    Parameters
    ----------
    requirement : Requirement
        What holds where it allows all that the figure can be, unseen changes included.
    figure : Figure
        What was measured.
    breach : Requirement, optional
        What does not hold where it allows nothing of the figure's interval; the same requirement where none is given.

    Returns
    -------
    Ruling
        `INCONCLUSIVE` for one query, which says nothing of how others scatter.
    """
    breach = breach or requirement
    if figure.queries > 1 and not breach.allows(figure.best):
        return Ruling(FAILS)
    possible = figure.far if figure.possible is None else figure.possible
    if requirement.allows(possible) and not figure.better:
        why = f"; no change of these could be a breach: the most that there can be is {possible:.4g}"
        return Ruling(INCONCLUSIVE, why)
    if figure.queries > 1 and requirement.allows(figure.reach):
        return Ruling(HOLDS)
    needed = _needed(requirement, figure, breach)
    if not needed:
        return Ruling(INCONCLUSIVE, "; that is so near the limit that no number of queries would tell")
    return Ruling(INCONCLUSIVE, f"; about {needed:,} queries would tell", needed)


def _needed(requirement: Requirement, figure: Figure, breach: Requirement) -> int:
    """Return about how many queries would tell: the first two digits, rounded up; 0 where no number does."""

    def tells(queries: int) -> bool:
        if requirement.allows(figure.value):
            return requirement.allows(figure.reach_of(queries))
        return not breach.allows(figure.best_of(queries))

    low = high = max(figure.queries, 1)
    while not tells(high):
        low, high = high, high * 2
        if high > _MOST:
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    high = max(high, figure.queries + 1)
    digits: int = 10 ** max(0, len(str(high)) - 2)
    return -(-high // digits) * digits
