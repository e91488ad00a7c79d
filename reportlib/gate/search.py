"""Judge a requirement on search: what was measured, and what becomes of it by the rule of `reportlib.gate.search`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reportlib.gate.requirements import FAILS, HOLDS, INCONCLUSIVE, RESEEDING, SEARCH, Requirement
from reportlib.measures import AGREEMENTS, QUALITIES
from reportlib.shape import MeasureChange, Search, SearchComparison
from reportlib.words.formats import interval, plural, unseen, unseen_share

# The rule that says whether queries bear out a limit: one function, for every requirement on search. It is
# non-inferiority by confidence interval (Piaggio and others, JAMA 308, 2012), with what goes unseen added to it.
#
# A limit *holds* only if that many queries could have shown a breach of it. What they show of a mean is its interval.
# What they cannot show are changes too rare to be among them: of `n` drawn queries, the share that changes by more
# than any of them did is below ``1 - 0.05 ** (1 / n)`` in 95 of 100 samples (Wilks, "Determination of sample sizes
# for setting tolerance limits", Annals of Mathematical Statistics 12, 1941; for a sample without any change it is
# Clopper and Pearson's bound). At worst each of these changes by as much as a query can. So the mean is at most
#
#     the end of its interval + ``1 - 0.05 ** (1 / n)`` times the largest change there is,
#
# which is what is held against the limit. Auditors judge sums that are mostly free of errors in the same way (Bickel,
# "Inference and auditing: the Stringer bound", International Statistical Review 60, 1992).
#
# A limit *does not hold* where the whole interval is beyond it: a breach was shown, and needs nothing unseen.

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


#: What looks at a list as a set of passages: nothing can change it where a list can hold them all.
_UNORDERED = {a.words for a in AGREEMENTS if not a.ordered} | {q.name.lower() for q in QUALITIES if not q.ordered}


def judge_search(requirement: Requirement, search: Search | None, passages: int | None = None) -> tuple[str, str]:
    """Return what becomes of a requirement on search, and why.

    Parameters
    ----------
    requirement : Requirement
        About no artifact.
    search : mapping or None
        ``pairs[].precisions[].search`` of ``report.json``.
    passages : int or None
        How many were indexed, where that is known.

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
    if failed := [control for control in search["controls"] if control["identical"] < control["queries"]]:
        counts = " and ".join(f"{c['environment']} for {c['queries'] - c['identical']:,}" for c in failed)
        return INCONCLUSIVE, f"a control failed: its own index searched again gave other results in {counts} queries"
    if requirement.subject == SEARCH:
        beside = [a.words for a in AGREEMENTS if a.beside_seeds]
        claims = [_Claim(replace(requirement, subject=name, claim=name), search) for name in beside]
    else:
        claims = [_Claim(requirement, search)]
    for claim in claims:
        if why := claim.empty(passages):
            return INCONCLUSIVE, why
    if requirement.claim == RESEEDING:
        return _against_seeds(claims, search)
    return _against_limit(claims[0])


@dataclass(frozen=True)
class _Claim:
    """A requirement on one figure of a search, and what was measured of it."""

    requirement: Requirement
    search: Search

    @property
    def upgrade(self) -> SearchComparison:
        return {record["id"]: record for record in self.search["comparisons"]}["upgrade"]

    @property
    def measure(self) -> MeasureChange | None:
        """The measure that it is about; None where it is about none, or none was measured."""
        wanted = self.requirement.subject.lower()
        return next((record for record in self.upgrade["measures"] if record["measure"].lower() == wanted), None)

    @property
    def changed(self) -> int:
        """How many queries changed what it is about."""
        if self.measure:
            return self.measure["better"] + self.measure["worse"]
        return self.upgrade["queries"] - self.upgrade["same_set" if self._unordered else "same_order"]

    @property
    def _unordered(self) -> bool:
        return (self.requirement.measure or self.requirement.claim) in _UNORDERED

    def empty(self, passages: int | None) -> str:
        """Return why this figure judges nothing, whatever was returned; empty where it does."""
        queries = plural(self.upgrade["queries"], "query")
        if self.requirement.measure:
            if self.measure is None:
                return self._unmeasured()
            if not (self.measure["left"] or self.measure["right"] or self.changed):
                judged = plural(self.measure["equal"], "query")
                return (
                    f"{self.measure['measure']} is 0 on both sides for all of {judged}, which judges nothing; look "
                    "whether the judgements name passages that were indexed"
                )
        elif self.upgrade["max_score_difference"] is None and self.upgrade["same_set"] == self.upgrade["queries"]:
            return f"no list of {queries} has a passage, which judges nothing"
        if passages is not None and passages <= self.search["k"] and self._unordered:
            return f"a list of {self.search['k']} can hold all {plural(passages, 'passage')}, so it can show no change"
        return ""

    def _unmeasured(self) -> str:
        if not self.search["judged"]:
            return "quality could not be measured, as no query has judgements"
        known = ", ".join(record["measure"] for record in self.upgrade["measures"])
        return f"the study measured only {known or 'no quality'}"

    def figure(self) -> Figure:
        """Return what was measured, in the direction of its limit."""
        name, queries, confidence = self.requirement.claim, self.upgrade["queries"], self.search["confidence"]
        if measure := self.measure:
            judged = measure["better"] + measure["equal"] + measure["worse"]
            # Taken from zero, so that no change is 0 and not -0.
            difference = measure["difference"]
            value, best, worst = 0.0 - difference["value"], 0.0 - difference["high"], 0.0 - difference["low"]
            if name == "drop":
                return Figure(value, best, worst, judged, confidence, possible=measure["left"])
            # Against other seeds it counts how far the mean moved, either way.
            near = 0.0 if best <= 0 <= worst else min(abs(best), abs(worst))
            return Figure(abs(value), near, max(abs(best), abs(worst)), judged, confidence)
        agreement = self.requirement.agreement
        if agreement is None:
            raise KeyError(name)
        if agreement.counts_queries and not self.changed:
            return Figure(0.0, 0.0, 0.0, queries, confidence)
        known = agreement.estimate(self.upgrade)
        best, worst = (known["high"], known["low"]) if agreement.falls else (known["low"], known["high"])
        return Figure(
            known["value"], best, worst, queries, confidence,
            same=agreement.same, far=agreement.far(self.search["k"]), exact=agreement.counts_queries,
        )  # fmt: skip

    def measured(self, figure: Figure) -> str:
        """Return what was measured, with its interval, and what could have gone unseen."""
        over, name = plural(figure.queries, "query"), self.requirement.claim
        if not self.changed:
            if self.measure:
                same = f"{self.measure['measure']} is {self.measure['left']:.4g} on both sides"
            else:
                same = f"{name} {figure.same:g}"
            return f"no query of {figure.queries:,} {self.verb}: {same}"
        details = [f"over {over}", self.few(figure)]
        if self.measure:
            details[0] = f"{self.measure['left']:.4g} becomes {self.measure['right']:.4g} over {over}"
        elif figure.exact:
            details = [f"{self.changed:,} of {over}"]
        low, high = sorted((figure.best, figure.worst))
        ends = interval(low, high, figure.confidence, _digits)
        return f"measured {_digits(figure.value)} ({'; '.join([ends, *filter(None, details)])})"

    def few(self, figure: Figure) -> str:
        """Return a warning where few queries changed: their interval rests on these alone."""
        if not 0 < self.changed < self.search["least_changed"]:
            return ""
        return f"only {self.changed:,} of {plural(figure.queries, 'query')} {self.verb}"

    @property
    def verb(self) -> str:
        """What a query does that counts as changed here."""
        return "changed" if self.measure or not self._unordered else "got other passages"


def _against_limit(claim: _Claim) -> tuple[str, str]:
    """Return what becomes of a limit that is written in the requirement."""
    figure = claim.figure()
    ruling = rule(claim.requirement, figure)
    reason = claim.measured(figure)
    if ruling.outcome != FAILS and not figure.exact:
        agreement = claim.requirement.agreement
        could = (agreement.reach if agreement else "a drop of up to {}").format(_digits(figure.reach))
        reason += f"; {_unseen(figure, claim.changed)}{', in all ' if could else ''}{could}"
    return ruling.outcome, f"{_alone(figure)}{reason}{ruling.clause}"


def _against_seeds(claims: Sequence[_Claim], search: Search) -> tuple[str, str]:
    """Hold what the upgrade changed against what other seeds of k-means change.

    The seed that changes least is the limit. Beyond the one that changes most it does not hold; between them, more
    queries tell nothing.
    """
    yardstick = search["yardstick"]
    if yardstick is None:
        return INCONCLUSIVE, "the study made no index with another seed; give it seeds in [search] and run it again"
    known = {record["name"].lower(): record["seeds"] for record in yardstick["figures"]}
    names = [a.key if (a := claim.requirement.agreement) else claim.requirement.subject.lower() for claim in claims]
    if not all(known.get(name) for name in names):
        return INCONCLUSIVE, "the report does not hold it against other seeds"
    beside = [_beside(claim, known[name]) for claim, name in zip(claims, names, strict=True)]
    outcomes = {figure.ruling.outcome for figure in beside}
    outcome = next(worst for worst in (FAILS, INCONCLUSIVE, HOLDS) if worst in outcomes)
    deciding = [figure for figure in beside if figure.ruling.outcome == outcome]
    within = [figure for figure in deciding if figure.within] if outcome == INCONCLUSIVE else []
    texts = ", ".join(figure.text for figure in within or deciding)
    number, widest = yardstick["seeds"], max(beside, key=lambda figure: figure.claim.changed)
    reason = f"{texts} with {number} other seed{'' if number == 1 else 's'} of k-means"
    if outcome != FAILS:
        reason += f"; {_unseen(widest.figure, widest.claim.changed)}"
    if few := widest.claim.few(widest.figure):
        reason += f"; {few}"
    if within:
        reason = f"within the range of the seeds: {reason}"
    elif outcome == INCONCLUSIVE:
        reason += max(deciding, key=lambda figure: (not figure.ruling.needed, figure.ruling.needed)).ruling.clause
    return outcome, f"{_alone(widest.figure)}{reason}"


@dataclass(frozen=True)
class _Beside:
    """One figure beside the same of other seeds."""

    claim: _Claim
    figure: Figure
    seeds: Sequence[float]
    ruling: Ruling

    @property
    def within(self) -> bool:
        return min(self.seeds) <= self.figure.value <= max(self.seeds)

    @property
    def text(self) -> str:
        """The figure, how far it could be, and the range of the seeds."""
        failed = self.ruling.outcome == FAILS
        requirement = self.claim.requirement
        side = "least" if requirement.falls != failed else "most"
        end = _digits(self.figure.best if failed else self.figure.reach)
        low, high = _digits(min(self.seeds)), _digits(max(self.seeds))
        seeds = low if low == high else f"{low} to {high}"
        return f"{requirement.subject} {_digits(self.figure.value)} (at {side} {end}) against {seeds}"


def _beside(claim: _Claim, seeds: Sequence[float]) -> _Beside:
    near, far = (max, min) if claim.requirement.falls else (min, max)
    limit = replace(claim.requirement, limit=near(seeds), inclusive=False)
    figure = claim.figure()
    return _Beside(claim, figure, seeds, rule(limit, figure, replace(limit, limit=far(seeds), inclusive=True)))


def _alone(figure: Figure) -> str:
    return "one query says nothing of others: " if figure.queries < 2 else ""


def _unseen(figure: Figure, changed: int) -> str:
    """Return how many queries could change, or by more than was seen, without one of these showing it."""
    more = " by more" if changed else ""
    return f"up to {unseen(figure.queries, figure.confidence)} of such queries could change{more} unseen"


def _digits(number: float) -> str:
    return f"{number:.4g}"
