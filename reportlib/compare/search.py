"""Whether it matters: what the two sides' searches return, how good it is, and how sure that can be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import ir_measures
import numpy as np

from reportlib.compare import uncertainty
from reportlib.compare.chunks import Chunked, doclens
from reportlib.compare.rankings import (
    LISTED,
    Key,
    ListPair,
    Ranked,
    Searches,
    SearchingArm,
    query_embeddings,
    read,
    search_control,
)
from reportlib.compare.uncertainty import DECIMALS, Floats, Mean, rounded
from reportlib.floats import widen
from reportlib.measures import AGREEMENTS, CHIEF, QUALITIES, different_passages
from reportlib.shape import (
    ChangedQuery,
    ChangedQueryMeasures,
    ListedPassage,
    MeasureChange,
    Search,
    SearchComparison,
    SearchIdenticalIds,
    SearchQuality,
    SearchYardstick,
    SearchYardstickFigures,
)
from reportlib.store import Capture, Tensor
from reportlib.study import Arm

# How good a ranking is, query by query: Recall, MRR, nDCG and Success by `ir_measures`.


def measure(ranking: Sequence[Ranked], judgements: Mapping[str, Mapping[int, int]], k: int) -> Floats:
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
        float64 (queries, measures), columns as `reportlib.measures.QUALITIES`, each from 0 to 1.
    """
    # Not by their names: the library reads those with parts of `ast` that are deprecated from Python 3.12 on.
    columns = {getattr(ir_measures, quality.of) @ k: column for column, quality in enumerate(QUALITIES)}
    rows = {query.qid: row for row, query in enumerate(ranking)}
    grades = {qid: {str(pid): grade for pid, grade in judgements[qid].items()} for qid in rows}
    # A query that nothing was found for is left out: the library gives it 0.
    run = {q.qid: {str(pid): -float(rank) for rank, pid in enumerate(q.top)} for q in ranking if q.top}
    values = np.zeros((len(rows), len(columns)))
    for metric in ir_measures.iter_calc(list(columns), grades, run) if rows else ():
        values[rows[metric.query_id], columns[metric.measure]] = rounded(metric.value)
    return values


# Compare two searches: how much they agree, what that does to the measures, and how sure that is.


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
    kind: Literal["upgrade", "index", "torch", "seed"]
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


class SearchStudy:
    """All comparisons of a pair's searches: the resamples are drawn once for all of them.

    Parameters
    ----------
    searches : Searches
        With at least one query.
    scorers : mapping of (str, str) to Scorer
        What scores an index's passages in float64 for a torch's queries, of the searches where that can be done.
    """

    def __init__(self, searches: Searches, scorers: Mapping[Key, Scorer] | None = None) -> None:
        self.searches = searches
        self.scorers = scorers or {}
        self.names = [quality.at(searches.k) for quality in QUALITIES] if searches.judged else []
        self.values: dict[Key, Floats] = {
            key: measure([ranking[row] for row in searches.judged], searches.judgements, searches.k)
            for key, ranking in searches.rankings.items()
            if self.names
        }
        self.questions = questions(searches.seeds)
        self.pairs: dict[str, list[ListPair]] = {
            q.name: list(map(ListPair, searches.rankings[q.left], searches.rankings[q.right])) for q in self.questions
        }

    def quality(self) -> list[SearchQuality]:
        """Return each search's measures: ``quality`` of ``docs/schema.md``; empty without judgements."""
        if not self.names:
            return []
        means = iter(uncertainty.bootstrap(np.hstack(list(self.values.values()))))
        return [
            {"torch": torch, "index": index, "measures": {name: next(means).record() for name in self.names}}
            for torch, index in self.values
        ]

    def records(self) -> list[SearchComparison]:
        """Return ``comparisons`` of ``docs/schema.md``."""
        taken = [agreement for agreement in AGREEMENTS if not agreement.counts_queries]
        columns = [
            np.array([rounded(agreement.of(pair.left.top, pair.right.top)) for pair in self.pairs[q.name]])
            for q in self.questions
            for agreement in taken
        ]
        means = zip(uncertainty.bootstrap(np.array(columns).T), columns, strict=True)
        measured = self._measures()
        return [self._record(q, means, measured[q.name]) for q in self.questions]

    def _record(
        self, question: Question, means: Iterator[tuple[Mean, Floats]], measures: list[MeasureChange]
    ) -> SearchComparison:
        pairs = self.pairs[question.name]
        moved = sum(pair.first_rank is not None for pair in pairs)
        gaps = [gap for pair in pairs if (gap := pair.score_difference) is not None]
        agreements: dict[str, Any] = {
            agreement.key: uncertainty.counted(moved, len(pairs))
            if agreement.counts_queries
            else uncertainty.one_sided_few(*next(means), agreement.same).record()
            for agreement in AGREEMENTS
        }
        record = {
            "id": question.name,
            "kind": question.kind,
            "left": dict(zip(("torch", "index"), question.left, strict=True)),
            "right": dict(zip(("torch", "index"), question.right, strict=True)),
            "queries": len(pairs),
            "same_order": len(pairs) - moved,
            "same_set": sum(pair.same_set for pair in pairs),
            "scores_identical": sum(pair.same_scores for pair in pairs),
            "tied": sum(pair.tied for pair in pairs),
            "in_float64": self._in_float64(question),
            "max_score_difference": max(gaps, default=None),
            **agreements,
            "measures": measures,
        }
        return cast(SearchComparison, record)

    def _in_float64(self, question: Question) -> int | None:
        sides = [self.scorers[side] for side in (question.left, question.right) if side in self.scorers]
        return still_differ(self.pairs[question.name], *sides) if len(sides) == 2 else None

    def _measures(self) -> dict[str, list[MeasureChange]]:
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


def _measure(name: str, left: Floats, right: Floats, gap: Mean, chance: float | None) -> MeasureChange:
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

#: Characters of a passage that a report shows.
SHOWN = 300


def changed_queries(study: SearchStudy) -> list[ChangedQuery]:
    """Return the queries whose best k changed from A's torch on A's index to B's on B's, those that matter most first.

    First those whose measures changed, then those with the most different passages, then those that differ at the
    earliest rank. At most `LISTED`.
    """
    searches, pairs = study.searches, study.pairs["upgrade"]
    rows = {place: row for row, place in enumerate(searches.judged)}
    listed: list[tuple[tuple[bool, int, int, int], list[ChangedQueryMeasures]]] = []
    for place, pair in enumerate(pairs):
        if (first := pair.first_rank) is None:
            continue
        row = rows.get(place)
        left, right = ([] if row is None else study.values[side, side][row].tolist() for side in ("a", "b"))
        measures: list[ChangedQueryMeasures] = [
            {"measure": name, "left": a, "right": b} for name, a, b in zip(study.names, left, right, strict=False)
        ]
        moved = different_passages(pair.left.top, pair.right.top)
        listed.append(((left == right, -moved, first, place), measures))
    listed.sort(key=lambda line: line[0])
    return [_query(searches, pairs[place], first, measures) for (_, _, first, place), measures in listed[:LISTED]]


def _query(
    searches: Searches, pair: ListPair, first_rank: int, measures: Sequence[ChangedQueryMeasures]
) -> ChangedQuery:
    return {
        "qid": pair.left.qid,
        "text": searches.query_texts[pair.left.qid],
        "first_rank": first_rank,
        "measures": list(measures),
        "verdict": _verdict(searches.k, measures),
        "went": [_passage(searches, pid, pair) for pid in pair.gone()],
        "came": [_passage(searches, pid, pair) for pid in pair.come()],
    }


def _verdict(k: int, measures: Sequence[ChangedQueryMeasures]) -> Literal["better", "equal", "worse"]:
    for m in measures:
        if m["measure"] == CHIEF.at(k) and m["left"] != m["right"]:
            return "better" if m["right"] > m["left"] else "worse"
    return "equal"


def _passage(searches: Searches, pid: int, pair: ListPair) -> ListedPassage:
    name, text = searches.passages[pid]
    return {
        "pid": pid,
        "id": name,
        "text": shortened(text),
        "grade": searches.judgements.get(pair.left.qid, {}).get(pid),
        "left": pair.left.find(pid),
        "right": pair.right.find(pid),
    }


def shortened(text: str) -> str:
    """Return a text of `SHOWN` characters at most, cut after a word."""
    text = " ".join(text.split())
    if len(text) <= SHOWN:
        return text
    cut = text[:SHOWN].rpartition(" ")[0] or text[: SHOWN - 1]
    return cut.rstrip() + "…"


# The yardstick: how far an index moves when only k-means draws other numbers.


def yardstick(upgrade: SearchComparison, seeds: Sequence[SearchComparison]) -> SearchYardstick | None:
    """Hold the change that an upgrade makes against those that other seeds make.

    Parameters
    ----------
    upgrade : dict
        The comparison ``upgrade`` of a report.
    seeds : sequence of dict
        Its comparisons of kind ``seed``.

    Returns
    -------
    dict or None
        The ``yardstick`` of ``docs/schema.md``; None without seeds.
    """
    if not seeds:
        return None
    own, others = _figures(upgrade), [_figures(comparison) for comparison in seeds]
    figures: list[SearchYardstickFigures] = [
        {
            "name": name,
            "upgrade": value,
            "seeds": [figures[name][0] for figures in others],
            "verdict": _against_seeds(change, [figures[name][1] for figures in others]),
        }
        for name, (value, change) in own.items()
    ]
    return {"seeds": len(seeds), "figures": figures}


def _figures(comparison: SearchComparison) -> dict[str, tuple[float, float]]:
    """Return what is held against the yardstick, and how much change that is; of measures how far their mean moved."""
    values = {a.key: (a, a.estimate(comparison)["value"]) for a in AGREEMENTS if a.beside_seeds}
    moved = {m["measure"]: abs(m["difference"]["value"]) for m in comparison["measures"]}
    return {key: (value, rounded(a.change(value))) for key, (a, value) in values.items()} | {
        name: (value, value) for name, value in moved.items()
    }


def _against_seeds(change: float, seeds: Sequence[float]) -> Literal["smaller", "within", "larger"]:
    """Say where a change lies in the range of the seeds' changes."""
    if change < min(seeds):
        return "smaller"
    return "larger" if change > max(seeds) else "within"


# Put a pair's search results together: `pairs[].precisions[].search` of a report.


def compare_search(
    first: Arm, other: Arm, captures: Mapping[str, Capture], *, k: int, ignore_identical_ids: bool = False
) -> Search | None:
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
    a, b = (SearchingArm(arm.name, arm.environment, captures[arm.name]) for arm in arms)
    searches = read(a, b, k=k)
    controls = [
        search_control(first.environment, captures.get(first.name), searches.rankings["a", "a"]),
        search_control(other.environment, captures.get(other.name), searches.rankings["b", "b"]),
    ]
    identical_ids = _identical_ids(searches, ignore_identical_ids)
    if ignore_identical_ids:
        searches = searches.without_themselves()
    # Without a query there is nothing to compare.
    plain = {"a": captures.get(first.name), "b": captures.get(other.name)}
    study = SearchStudy(searches, _scorers(a, b, plain)) if searches.qids else None
    comparisons = study.records() if study else []
    upgrade = comparisons[0] if comparisons else None
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
        "quality": study.quality() if study else [],
        "comparisons": comparisons,
        "yardstick": yardstick(upgrade, [c for c in comparisons if c["kind"] == "seed"]) if upgrade else None,
        "changed": changed_queries(study) if study else [],
        "changed_total": upgrade["queries"] - upgrade["same_order"] if upgrade else 0,
    }


def _scorers(a: SearchingArm, b: SearchingArm, plain: Mapping[str, Capture | None]) -> dict[Key, Scorer]:
    sides: tuple[tuple[Literal["a", "b"], Capture], ...] = (("a", a.capture), ("b", b.capture))
    return {
        (torch, index): Scorer(made, search.tensor("query_embs"))
        for torch, search in sides
        for index, made in plain.items()
        if made is not None and Scorer.possible(made, search)
    }


def _identical_ids(searches: Searches, ignored: bool) -> SearchIdenticalIds:
    """Say for how many queries A's best k hold the query itself, before any is left out."""
    themselves = searches.themselves
    lists = [query for query in searches.rankings["a", "a"] if themselves.get(query.qid) in query.top]
    first = sum(query.top[0] == themselves[query.qid] for query in lists)
    return {"ignored": ignored, "queries": len(lists), "first": first}


# Lists scored again in float64: whether they would differ if nothing were rounded while scores are added.


_NEEDED = ("index/centroids", "index/bucket_weights", "index/codes", "index/residuals", "doclens")


class Scorer:
    """What a passage of an index scores for encoded queries, as ColBERT defines it, in float64 throughout.

    A token embedding is its centroid plus the weights of its residual's buckets, made of length 1 (Santhanam et al.,
    NAACL 2022). A score is, for each query token, the largest inner product with a token embedding, summed (MaxSim:
    Khattab and Zaharia, SIGIR 2020).

    Parameters
    ----------
    plain : Capture
        Of the arm that made the index: `possible` says whether it has all that is needed.
    queries : Tensor
        Encoded: queries x tokens x dim.
    """

    def __init__(self, plain: Capture, queries: Tensor) -> None:
        self._queries = _doubles(queries)
        self._codes, self._residuals = (Chunked.load(plain, f"index/{name}") for name in ("codes", "residuals"))
        self._centroids = _doubles(plain.tensor("index/centroids"))
        self._weights = _doubles(plain.tensor("index/bucket_weights"))
        self._ends = np.cumsum([0, *doclens(plain)])

    @staticmethod
    def possible(plain: Capture | None, search: Capture) -> bool:
        """Whether an index was kept with all that its passages are made of, and the queries with it."""
        return plain is not None and all(map(plain.group, _NEEDED)) and "query_embs" in search.artifacts

    def top(self, number: int, pids: Sequence[int], k: int) -> list[int]:
        """Return the best `k` of `pids` for the query of that number; of equal scores the smaller pid first."""
        query = self._queries[number].T
        scores = {pid: float((self._tokens(pid) @ query).max(axis=0).sum()) for pid in pids}
        return sorted(pids, key=lambda pid: (-scores[pid], pid))[:k]

    def _tokens(self, pid: int) -> Floats:
        """Return a passage's token embeddings: tokens x dim."""
        start, stop = int(self._ends[pid]), int(self._ends[pid + 1])
        width = self._residuals.shape[1]
        packed = self._residuals.flat(start * width, stop * width).reshape(-1, width)
        dim = self._centroids.shape[1]
        # colbert-ai packs each bucket's number with its lowest bit first.
        bits = np.unpackbits(packed, axis=1).reshape(len(packed), dim, -1).astype(np.int64)
        buckets = (bits << np.arange(bits.shape[2])).sum(axis=2)
        tokens: Floats = self._centroids[self._codes.flat(start, stop)] + self._weights[buckets]
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        return tokens


def still_differ(pairs: Sequence[ListPair], left: Scorer, right: Scorer) -> int:
    """Count the pairs whose best k differ, and differ as well when each side's passages are scored in float64.

    Parameters
    ----------
    pairs : sequence of ListPair
        One for each query, in the order of the encoded queries.
    left, right : Scorer
        Each side's index with its queries. All passages that a side returned are scored on both, those behind the best
        k too.
    """
    return sum(
        pair.first_rank is not None and _top(left, number, pair, pair.left) != _top(right, number, pair, pair.right)
        for number, pair in enumerate(pairs)
    )


def _top(scorer: Scorer, number: int, pair: ListPair, ranking: Ranked) -> list[int]:
    return scorer.top(number, sorted({*pair.left.pids, *pair.right.pids}), ranking.k)


def _doubles(tensor: Tensor) -> Floats:
    return widen(np.asarray(tensor.array), tensor.dtype).astype(np.float64)
