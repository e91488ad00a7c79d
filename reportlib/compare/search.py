"""Whether it matters: what the two sides' searches return, how good it is, and how sure that can be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ir_measures
import numpy as np
import numpy.typing as npt

from reportlib.compare import uncertainty
from reportlib.compare.rankings import Key, Ranked, Searches, Side, query_embeddings, read, search_control
from reportlib.compare.uncertainty import DECIMALS, rounded
from reportlib.store import Capture
from reportlib.study import Arm

# How much of two rankings of one query is the same, judgements aside.

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
    tied : bool
        Another list, but one that a side's own scores allow: only passages that it scores alike change places.
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
    tied: bool
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
        tied=first is not None and (_allows(left, b) or _allows(right, a)),
        moved=len(a) + len(b) - 2 * len(common),
        overlap=rounded(len(common) / longest) if longest else 1.0,
        rbo=rounded(rank_biased_overlap(a, b)),
        score_difference=max((gap for gap in gaps if math.isfinite(gap)), default=None),
    )


def _allows(ranking: Ranked, top: Sequence[int]) -> bool:
    """Whether a ranking's scores allow another list: at each rank a passage with the very score that it has there."""
    scores = dict(zip(ranking.pids, ranking.scores, strict=True))
    return len(top) == len(ranking.top) and all(
        scores.get(pid) == score for pid, score in zip(top, ranking.top_scores, strict=True)
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


# How good a ranking is, query by query: Recall, MRR, nDCG and Success by `ir_measures`.

#: What the report calls a measure, and the measure.
_MEASURES = (
    ("Recall", ir_measures.R),
    ("MRR", ir_measures.RR),
    ("nDCG", ir_measures.nDCG),
    ("Success", ir_measures.Success),
)


def measure_names(k: int) -> tuple[str, ...]:
    """Return the measures' names in a report, such as ``Recall@10``."""
    return tuple(f"{name}@{k}" for name, _ in _MEASURES)


def measure(ranking: Sequence[Ranked], judgements: Mapping[str, Mapping[int, int]], k: int) -> npt.NDArray[np.float64]:
    """Measure a ranking.

    A passage of grade 1 or more is relevant; nDCG takes the grade as gain and discounts it by log2 of rank + 1, as
    trec_eval does. A passage without a judgement counts as not relevant. What is scored is the order in which the
    passages were returned: their own scores tie, and trec_eval breaks ties by name.

    Parameters
    ----------
    ranking : sequence of Ranked
        Only queries with a relevant passage: the measures mean nothing for others.
    judgements : mapping of str to mapping of int to int
        Grades by passage, by query.
    k : int
        The cutoff.

    Returns
    -------
    numpy.ndarray
        float64 (queries, measures), columns as `measure_names`, each from 0 to 1.
    """
    # Not by their names: the library reads those with parts of `ast` that are deprecated from Python 3.12 on.
    columns = {kind @ k: column for column, (_, kind) in enumerate(_MEASURES)}
    rows = {each.qid: row for row, each in enumerate(ranking)}
    grades = {qid: {str(pid): grade for pid, grade in judgements[qid].items()} for qid in rows}
    # A query that nothing was found for is left out: the library gives it 0.
    run = {e.qid: {str(pid): -float(rank) for rank, pid in enumerate(e.top)} for e in ranking if e.top}
    values = np.zeros((len(rows), len(columns)))
    for found in ir_measures.iter_calc(list(columns), grades, run) if rows else ():
        values[rows[found.query_id], columns[found.measure]] = rounded(found.value)
    return values


# Compare two searches: how much they agree, what that does to the measures, and how sure that is.

Record = dict[str, Any]
Floats = npt.NDArray[np.float64]
#: What is said of each query's two lists, and its value where they are the same.
_AGREEMENTS = {"moved": 0.0, "overlap": 1.0, "rbo": 1.0}


@dataclass(frozen=True)
class Question:
    """Two searches to be compared.

    Attributes
    ----------
    name : str
        Its ``id`` in the report.
    kind : str
        ``upgrade``, ``index``, ``torch`` or ``seed``.
    left, right : tuple of str
        Which torch searched which index.
    """

    name: str
    kind: str
    left: Key
    right: Key


def questions(seeds: Sequence[str]) -> tuple[Question, ...]:
    """Return what is asked: both changed, only the index, only the torch that searches, and only the seed."""
    return (
        Question("upgrade", "upgrade", ("a", "a"), ("b", "b")),
        Question("index", "index", ("a", "a"), ("a", "b")),
        Question("torch", "torch", ("a", "a"), ("b", "a")),
        Question("index-b", "index", ("b", "a"), ("b", "b")),
        Question("torch-b", "torch", ("a", "b"), ("b", "b")),
        *(Question(seed, "seed", ("a", "a"), ("a", seed)) for seed in seeds),
    )


class Comparison:
    """All comparisons of a pair's searches: the resamples are drawn once for all of them.

    Parameters
    ----------
    searches : Searches
        With at least one query.
    """

    def __init__(self, searches: Searches) -> None:
        self.searches = searches
        self.names = measure_names(searches.k) if searches.judged else ()
        self.values: dict[Key, Floats] = {
            key: measure([ranking[place] for place in searches.judged], searches.judgements, searches.k)
            for key, ranking in searches.rankings.items()
            if self.names
        }
        self.questions = questions(searches.seeds)
        self.agreements: dict[str, list[Agreement]] = {
            q.name: list(map(agreement, searches.rankings[q.left], searches.rankings[q.right])) for q in self.questions
        }

    def quality(self) -> list[Record]:
        """Return each search's measures: ``quality`` of ``docs/schema.md``; empty without judgements."""
        if not self.names:
            return []
        found = iter(uncertainty.bootstrap(np.hstack(list(self.values.values()))))
        return [
            {"torch": torch, "index": index, "measures": {name: next(found).record() for name in self.names}}
            for torch, index in self.values
        ]

    def records(self) -> list[Record]:
        """Return ``comparisons`` of ``docs/schema.md``."""
        columns = [
            [float(getattr(each, name)) for each in self.agreements[q.name]]
            for q in self.questions
            for name in _AGREEMENTS
        ]
        means = iter(uncertainty.bootstrap(np.array(columns).T))
        measured = self._measures()
        return [self._record(q) | self._means(q, means) | {"measures": measured[q.name]} for q in self.questions]

    def _record(self, question: Question) -> Record:
        lines = self.agreements[question.name]
        gaps = [each.score_difference for each in lines if each.score_difference is not None]
        return {
            "id": question.name,
            "kind": question.kind,
            "left": dict(zip(("torch", "index"), question.left, strict=True)),
            "right": dict(zip(("torch", "index"), question.right, strict=True)),
            "queries": len(lines),
            "same_order": sum(each.first_rank is None for each in lines),
            "same_set": sum(each.same_set for each in lines),
            "scores_identical": sum(each.same_scores for each in lines),
            "tied": sum(each.tied for each in lines),
            "max_score_difference": max(gaps, default=None),
        }

    def _means(self, question: Question, means: Any) -> Record:
        lines = self.agreements[question.name]
        moved, overlap, rbo = (
            uncertainty.one_sided_few(next(means), np.array([float(getattr(each, name)) for each in lines]), same)
            for name, same in _AGREEMENTS.items()
        )
        other = sum(each.first_rank is not None for each in lines)
        return {
            "different_passages": moved.record(),
            "overlap": overlap.record(),
            "rbo": rbo.record(),
            "changed_queries": uncertainty.share(other, len(lines)),
        }

    def _measures(self) -> dict[str, list[Record]]:
        """Return ``measures`` of every comparison, by its name."""
        if not self.names:
            return {q.name: [] for q in self.questions}
        # Rounded again: 0.3 - 0.1 and 0.2 are one difference.
        gaps = {q.name: np.round(self.values[q.right] - self.values[q.left], DECIMALS) for q in self.questions}
        together = np.hstack(list(gaps.values()))
        means, chances = iter(uncertainty.bootstrap(together)), iter(uncertainty.permutation_p(together))
        return {
            q.name: [
                _measure(
                    name,
                    self.values[q.left][:, column],
                    self.values[q.right][:, column],
                    next(means),
                    next(chances),
                )
                for column, name in enumerate(self.names)
            ]
            for q in self.questions
        }


def _measure(name: str, left: Floats, right: Floats, gap: uncertainty.Estimate, chance: float | None) -> Record:
    gaps = np.round(right - left, DECIMALS)
    better, worse = int((gaps > 0).sum()), int((gaps < 0).sum())
    few = 0 < better + worse < uncertainty.LEAST_CHANGED
    return {
        "measure": name,
        "left": uncertainty.mean(left),
        "right": uncertainty.mean(right),
        "difference": uncertainty.few_changed(gap, gaps).record(),
        "interval": "few" if few else "bootstrap",
        "better": better,
        "equal": len(gaps) - better - worse,
        "worse": worse,
        "p_permutation": chance,
        "p_sign": uncertainty.sign_p(better, worse),
        "detectable": uncertainty.detectable(gaps),
        "detected": chance is not None and chance < 1 - uncertainty.CONFIDENCE,
        "unchanged_bound": None if better + worse else uncertainty.unchanged_bound(len(gaps)),
    }


# The queries that an upgrade changed: which passages came and went, and what that did to the measures.

#: Queries that a report lists one by one, and characters of a passage that it shows.
LISTED = 20
SHOWN = 300


def changed_queries(
    searches: Searches, agreements: Sequence[Agreement], left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> list[Record]:
    """Return the queries whose best k changed from A's torch on A's index to B's on B's, those that matter most first.

    First those whose measures changed, then those with the most different passages, then those that differ at the
    earliest rank.

    Parameters
    ----------
    searches : Searches
        All of them.
    agreements : sequence of Agreement
        Of each query.
    left, right : numpy.ndarray
        float64 (judged queries, measures), of both sides.

    Returns
    -------
    list of dict
        At most `LISTED`: ``changed`` of ``docs/schema.md``.
    """
    rows = {place: row for row, place in enumerate(searches.judged)}
    found = []
    for place, each in enumerate(agreements):
        if each.first_rank is None:
            continue
        row = rows.get(place)
        values = [] if row is None else _values(searches.k, left[row], right[row])
        same = all(value["left"] == value["right"] for value in values)
        found.append(((same, -each.moved, each.first_rank, place), place, values))
    found.sort(key=lambda one: one[0])
    return [_query(searches, place, agreements[place], values) for _, place, values in found[:LISTED]]


def _values(k: int, left: Sequence[float], right: Sequence[float]) -> list[Record]:
    pairs = zip(measure_names(k), left, right, strict=True)
    return [{"measure": name, "left": float(a), "right": float(b)} for name, a, b in pairs]


def _query(searches: Searches, place: int, each: Agreement, values: list[Record]) -> Record:
    left, right = searches.rankings["a", "a"][place], searches.rankings["b", "b"][place]
    grades = searches.judgements.get(left.qid, {})
    return {
        "qid": left.qid,
        "text": searches.query_texts[left.qid],
        "first_rank": each.first_rank,
        "measures": values,
        "verdict": _verdict(searches.k, values),
        "went": [_passage(searches, pid, grades, left, right) for pid in left.top if pid not in right.top],
        "came": [_passage(searches, pid, grades, left, right) for pid in right.top if pid not in left.top],
    }


def _verdict(k: int, values: Sequence[Mapping[str, Any]]) -> str:
    for value in values:
        if value["measure"] == f"nDCG@{k}" and value["left"] != value["right"]:
            return "better" if value["right"] > value["left"] else "worse"
    return "equal"


def _passage(searches: Searches, pid: int, grades: Mapping[int, int], left: Ranked, right: Ranked) -> Record:
    name, text = searches.passages[pid]
    return {
        "pid": pid,
        "id": name,
        "text": shortened(text),
        "grade": grades.get(pid),
        "left": _place(left.find(pid)),
        "right": _place(right.find(pid)),
    }


def _place(found: tuple[int, float] | None) -> Record | None:
    if found is None:
        return None
    rank, score = found
    return {"rank": rank, "score": score if math.isfinite(score) else None}


def shortened(text: str) -> str:
    """Return a text of `SHOWN` characters at most, cut after a word."""
    text = " ".join(text.split())
    if len(text) <= SHOWN:
        return text
    cut = text[:SHOWN].rpartition(" ")[0] or text[: SHOWN - 1]
    return cut.rstrip() + "…"


# The yardstick: how far an index moves when only k-means draws other numbers.


def yardstick(upgrade: Mapping[str, Any], seeds: Sequence[Mapping[str, Any]]) -> Record | None:
    """Hold the change that an upgrade makes against those that other seeds make.

    Parameters
    ----------
    upgrade : mapping
        The comparison ``upgrade`` of a report.
    seeds : sequence of mapping
        Its comparisons of kind ``seed``.

    Returns
    -------
    dict or None
        The ``yardstick`` of ``docs/schema.md``; None without seeds.
    """
    if not seeds:
        return None
    figures = []
    for name, value in _figures(upgrade).items():
        others = [_figures(each)[name] for each in seeds]
        figures.append(
            {"name": name, "upgrade": value, "seeds": others, "verdict": _against_seeds(name, value, others)}
        )
    return {"seeds": len(seeds), "figures": figures}


def _figures(comparison: Mapping[str, Any]) -> dict[str, float]:
    """Return what is held against the yardstick; of measures, how far their mean moved, either way."""
    return {
        "different_passages": comparison["different_passages"]["value"],
        "rbo": comparison["rbo"]["value"],
        "changed_queries": comparison["changed_queries"]["share"],
        **{each["measure"]: abs(each["difference"]["value"]) for each in comparison["measures"]},
    }


def _against_seeds(name: str, value: float, seeds: Sequence[float]) -> str:
    """Say where a change lies in the range of the seeds' changes."""
    size, *others = ((rounded(1 - each) if name == "rbo" else each) for each in (value, *seeds))
    if size < min(others):
        return "smaller"
    return "larger" if size > max(others) else "within"


# Put a pair's search results together: `pairs[].precisions[].search` of a report.


def compare_search(
    first: Arm, other: Arm, captures: Mapping[str, Capture], *, k: int, ignore_identical_ids: bool = False
) -> Record | None:
    """Compare what both environments' torch find in both environments' indexes.

    Parameters
    ----------
    first, other : Arm
        The plain arms of A and B.
    captures : mapping of str to Capture
        By arm name.
    k : int
        Passages per query that count, as the study says.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out of its rankings and judgements.

    Returns
    -------
    dict or None
        ``search`` of ``docs/schema.md``; None where a side has no searching arm's capture.

    Raises
    ------
    ComparisonError
        When the captures do not fit each other; the message says how to mend it.
    StoreError
        When an artifact cannot be read.
    """
    arms = [replace(arm, searching=True) for arm in (first, other)]
    if not all(arm.name in captures for arm in arms):
        return None
    a, b = (Side(arm.name, arm.environment, captures[arm.name]) for arm in arms)
    searches = read(a, b, k=k)
    controls = [
        search_control(arm.environment, captures.get(arm.name), searches.rankings[side, side])
        for side, arm in (("a", first), ("b", other))
    ]
    identical_ids = _identical_ids(searches, ignore_identical_ids)
    if ignore_identical_ids:
        searches = searches.without_themselves()
    return {
        "k": k,
        "queries": len(searches.qids),
        "judged": len(searches.judged),
        "resamples": uncertainty.RESAMPLES,
        "confidence": uncertainty.CONFIDENCE,
        "power": uncertainty.POWER,
        "least_changed": uncertainty.LEAST_CHANGED,
        "query_embeddings": query_embeddings(a, b),
        "controls": [control for control in controls if control is not None],
        "judging": a.capture.provenance.get("descriptions", {}).get("collection", {}).get("judging"),
        "identical_ids": identical_ids,
        **_compared(searches),
    }


def _identical_ids(searches: Searches, ignored: bool) -> Record:
    """Say for how many queries A's best k hold the query itself, before any is left out."""
    themselves = searches.themselves
    found = [each for each in searches.rankings["a", "a"] if themselves.get(each.qid) in each.top]
    first = sum(each.top[0] == themselves[each.qid] for each in found)
    return {"ignored": ignored, "queries": len(found), "first": first}


def _compared(searches: Searches) -> Record:
    """Compare the searches; without a query there is nothing to compare."""
    if not searches.qids:
        return {"quality": [], "comparisons": [], "yardstick": None, "changed": [], "changed_total": 0}
    comparison = Comparison(searches)
    records = comparison.records()
    upgrade = records[0]
    nothing = np.zeros((0, 0))
    left, right = (comparison.values.get(key, nothing) for key in (("a", "a"), ("b", "b")))
    return {
        "quality": comparison.quality(),
        "comparisons": records,
        "yardstick": yardstick(upgrade, [each for each in records if each["kind"] == "seed"]),
        "changed": changed_queries(searches, comparison.agreements[upgrade["id"]], left, right),
        "changed_total": upgrade["queries"] - upgrade["same_order"],
    }
