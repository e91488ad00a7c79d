"""Rankings that were searched: what a capture holds of them, read and checked, and two of one query side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from reportlib.collections.folder import is_itself
from reportlib.errors import ComparisonError
from reportlib.floats import bits, widen
from reportlib.shape import ListedPassageRank, Rankings, RankingsChanged, SearchControls, SearchQueryEmbeddings
from reportlib.store import Capture

# Read what the searching arms of A and B captured, and refuse what cannot be set side by side.

_AGAIN = "remove that capture and run its arm again"
_TOGETHER = "remove both captures and run both arms again, with one study.toml"


@dataclass(frozen=True)
class Ranked:
    """What one search returned for one query.

    Attributes
    ----------
    qid : str
        The query.
    pids : tuple of int
        Passages, best first: the best `k`, and some behind them.
    scores : tuple of float
        One for each.
    k : int
        How many count.
    """

    qid: str
    pids: tuple[int, ...]
    scores: tuple[float, ...]
    k: int

    @property
    def top(self) -> tuple[int, ...]:
        """The best `k`."""
        return self.pids[: self.k]

    @property
    def top_scores(self) -> tuple[float, ...]:
        """Their scores."""
        return self.scores[: self.k]

    def find(self, pid: int) -> ListedPassageRank | None:
        """Return a passage's rank, from 1, and its score; None where it was not returned."""
        if pid not in self.pids:
            return None
        score = self.scores[self.pids.index(pid)]
        return {"rank": self.pids.index(pid) + 1, "score": score if math.isfinite(score) else None}

    def without(self, pid: int | None) -> Ranked:
        """Return the ranking with a passage left out, and what stands behind it moved up."""
        if pid not in self.pids:
            return self
        at = self.pids.index(pid)
        return replace(self, pids=self.pids[:at] + self.pids[at + 1 :], scores=self.scores[:at] + self.scores[at + 1 :])


@dataclass(frozen=True)
class ListPair:
    """The best k of two rankings of one query; either may have fewer than k passages, or none."""

    left: Ranked
    right: Ranked

    @property
    def first_rank(self) -> int | None:
        """The first rank, from 1, that another passage has; None where they are the same in the same order."""
        a, b = self.left.top, self.right.top
        ranks = range(max(len(a), len(b)))
        return next((rank + 1 for rank in ranks if a[rank : rank + 1] != b[rank : rank + 1]), None)

    @property
    def same_set(self) -> bool:
        """Whether they are the same in some order."""
        return set(self.left.top) == set(self.right.top)

    @property
    def same_scores(self) -> bool:
        """Whether they are the same passages in the same order with the same scores."""
        return (self.left.top, self.left.top_scores) == (self.right.top, self.right.top_scores)

    @property
    def tied(self) -> bool:
        """Whether one is another list, but one that a side's own scores allow: only ties change places."""
        return self.first_rank is not None and (
            _allows(self.left, self.right.top) or _allows(self.right, self.left.top)
        )

    @property
    def score_difference(self) -> float | None:
        """Largest difference of a passage's scores, among those in both; None where there are none."""
        scores = dict(zip(self.right.top, self.right.top_scores, strict=True))
        both = [(pid, score) for pid, score in zip(self.left.top, self.left.top_scores, strict=True) if pid in scores]
        gaps = (abs(score - scores[pid]) for pid, score in both)
        return max((gap for gap in gaps if math.isfinite(gap)), default=None)

    def gone(self) -> list[int]:
        """Return the passages of the left one only."""
        return [pid for pid in self.left.top if pid not in self.right.top]

    def come(self) -> list[int]:
        """Return the passages of the right one only."""
        return [pid for pid in self.right.top if pid not in self.left.top]


def _allows(ranking: Ranked, top: Sequence[int]) -> bool:
    """Whether a ranking's scores allow another list: at each rank a passage with the very score that it has there."""
    scores = dict(zip(ranking.pids, ranking.scores, strict=True))
    return len(top) == len(ranking.top) and all(
        scores.get(pid) == score for pid, score in zip(top, ranking.top_scores, strict=True)
    )


#: Which torch searched which index: ``a``, ``b``, or for an index also ``seed-1``.
Key = tuple[Literal["a", "b"], str]


@dataclass(frozen=True)
class Searches:
    """All searches of a pair of environments in one precision.

    Attributes
    ----------
    k : int
        Passages per query that count.
    qids : tuple of str
        The queries, in the collection's order; every ranking has them in this order.
    rankings : mapping of (str, str) to tuple of Ranked
        By torch and index: A's and B's torch on A's and B's index, then A's torch on the reseeded ones.
    seeds : tuple of str
        The reseeded indexes.
    judgements : mapping of str to mapping of int to int
        Grades by passage, by query.
    query_texts : mapping of str to str
        By query.
    passages : mapping of int to tuple of str
        The owner's id and the text of each passage that is ranked.
    """

    k: int
    qids: tuple[str, ...]
    rankings: Mapping[Key, tuple[Ranked, ...]]
    seeds: tuple[str, ...]
    judgements: Mapping[str, Mapping[int, int]]
    query_texts: Mapping[str, str]
    passages: Mapping[int, tuple[str, str]]

    @property
    def judged(self) -> tuple[int, ...]:
        """Positions of the queries that have a relevant passage: of grade 1 or more."""
        return tuple(
            place
            for place, qid in enumerate(self.qids)
            if any(grade > 0 for grade in self.judgements.get(qid, {}).values())
        )

    @property
    def themselves(self) -> dict[str, int]:
        """The passage that is the query itself, by query, of those that have one."""
        return _themselves(self.query_texts, self.passages)

    def without_themselves(self) -> Searches:
        """Return the same with every passage that is the query itself left out of its rankings and judgements."""
        left_out = self.themselves
        return replace(
            self,
            rankings={
                key: tuple(each.without(left_out.get(each.qid)) for each in ranking)
                for key, ranking in self.rankings.items()
            },
            judgements={
                qid: {pid: grade for pid, grade in grades.items() if pid != left_out.get(qid)}
                for qid, grades in self.judgements.items()
            },
        )


@dataclass(frozen=True)
class SearchingArm:
    """One searching arm's capture: the arm's name, its environment, and what was captured."""

    name: str
    environment: str
    capture: Capture


def read(a: SearchingArm, b: SearchingArm, *, k: int) -> Searches:
    """Read both sides.

    Parameters
    ----------
    a, b : SearchingArm
        The searching arms.
    k : int
        What the study says.

    Raises
    ------
    ComparisonError
        When rankings are missing, of another `k`, of other queries or make no sense, when the sides have other texts of
        queries or other judgements, or when a passage that is ranked has no text.
    StoreError
        When an artifact cannot be read.
    """
    seeds = _seeds(a.capture)
    wanted: dict[Key, tuple[SearchingArm, str]] = {
        ("a", "a"): (a, a.environment),
        ("a", "b"): (a, b.environment),
        ("b", "a"): (b, a.environment),
        ("b", "b"): (b, b.environment),
        **{("a", seed): (a, seed) for seed in seeds},
    }
    rankings = {key: _ranking(side, name, k) for key, (side, name) in wanted.items()}
    qids = tuple(each.qid for each in rankings["a", "a"])
    for key, ranking in rankings.items():
        side, name = wanted[key]
        if tuple(each.qid for each in ranking) != qids:
            raise ComparisonError(
                f"rankings/{name} of {side.name} answer other queries than rankings/{a.environment} of {a.name}",
                _TOGETHER,
            )
    searches = Searches(
        k, qids, rankings, seeds, _judgements(a, b), _value(a, "query_texts"), {**_passages(b), **_passages(a)}
    )
    _check_texts(searches, a)
    if searches.query_texts != _value(b, "query_texts"):
        raise ComparisonError(f"{a.name} and {b.name} searched for queries with other texts", _TOGETHER)
    return searches


def themselves(capture: Capture) -> dict[str, int]:
    """Return the passage that is the query itself, by query, of what a searching arm's capture ranks or judges."""
    side = SearchingArm(str(capture.arm.get("name")), str(capture.arm.get("environment")), capture)
    return _themselves(_value(side, "query_texts"), _passages(side))


def _themselves(query_texts: Mapping[str, str], passages: Mapping[int, tuple[str, str]]) -> dict[str, int]:
    return {
        name: pid
        for pid, (name, text) in passages.items()
        if name in query_texts and is_itself(name, query_texts[name], pid, name, text)
    }


def _seeds(capture: Capture) -> tuple[str, ...]:
    names = (name.removeprefix("rankings/") for name in capture.artifacts if name.startswith("rankings/seed-"))
    return tuple(sorted(names, key=lambda name: (len(name), name)))


def _ranking(side: SearchingArm, name: str, k: int) -> tuple[Ranked, ...]:
    _value(side, f"rankings/{name}")
    found = ranked(side.capture, f"rankings/{name}", side.name)
    for each in found[:1]:
        if each.k != k:
            raise ComparisonError(
                f"rankings/{name} of {side.name} are the best {each.k} passages; the study says {k}",
                f"run {side.name} again",
            )
    return found


def ranked(capture: Capture, name: str, arm: str) -> tuple[Ranked, ...]:
    """Return the rankings `name` of a capture, checked."""
    data, where = capture.value(name), f"{name} of {arm}"
    try:
        k = int(data["k"])
        found = tuple(
            Ranked(str(q["qid"]), tuple(map(int, q["pids"])), tuple(map(float, q["scores"])), k)
            for q in data["queries"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ComparisonError(f"{where} make no sense: {error!r}", _AGAIN) from error
    for each in found:
        if len(each.pids) != len(each.scores) or len(set(each.pids)) != len(each.pids):
            raise ComparisonError(
                f"{where} make no sense: query {each.qid} has {len(each.pids)} passages "
                f"({len(set(each.pids))} of them different) and {len(each.scores)} scores",
                _AGAIN,
            )
    if len({each.qid for each in found}) != len(found):
        raise ComparisonError(f"{where} have a query twice", _AGAIN)
    return found


def _value(side: SearchingArm, name: str) -> Any:
    if name not in side.capture.artifacts:
        raise ComparisonError(f"the capture of {side.name} has no {name}", _AGAIN)
    return side.capture.value(name)


def _judgements(a: SearchingArm, b: SearchingArm) -> dict[str, dict[int, int]]:
    left, right = (_value(side, "judgements") for side in (a, b))
    if left != right:
        raise ComparisonError(f"{a.name} and {b.name} have other relevance judgements", _TOGETHER)
    return {qid: {int(pid): int(grade) for pid, grade in grades.items()} for qid, grades in left.items()}


def _passages(side: SearchingArm) -> dict[int, tuple[str, str]]:
    try:
        return {int(p): (str(each["id"]), str(each["text"])) for p, each in _value(side, "passage_texts").items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ComparisonError(f"passage_texts of {side.name} make no sense: {error!r}", _AGAIN) from error


def _check_texts(searches: Searches, a: SearchingArm) -> None:
    for qid in searches.qids:
        if qid not in searches.query_texts:
            raise ComparisonError(f"query_texts of {a.name} lack query {qid}", _AGAIN)
    for ranking in searches.rankings.values():
        for each in ranking:
            for pid in each.pids:
                if pid not in searches.passages:
                    raise ComparisonError(f"passage_texts of {a.name} lack passage {pid}, which is ranked", _AGAIN)


# What must not change when a search is made again, and whether both sides asked the same question.


def search_control(environment: str, plain: Capture | None, ranking: tuple[Ranked, ...]) -> SearchControls | None:
    """Compare the search that the plain arm made of its own index with the searching arm's, made in another process.

    Parameters
    ----------
    environment : str
        Whose index it is.
    plain : Capture or None
        The plain arm's.
    ranking : tuple of Ranked
        What the searching arm found in that index.

    Returns
    -------
    dict or None
        One of ``controls``: of the queries that both answered, how many have the same passages in the same order with
        the same scores. None where the plain arm did not search.

    Raises
    ------
    ComparisonError
        When the plain arm's rankings make no sense.
    StoreError
        When they cannot be read.
    """
    if plain is None or "rankings" not in plain.artifacts:
        return None
    before, again = ({each.qid: each for each in found} for found in (ranked(plain, "rankings", environment), ranking))
    both = [qid for qid in before if qid in again]
    same = sum(_alike(before[qid], again[qid]) for qid in both)
    return {"environment": environment, "queries": len(both), "identical": same}


def _alike(before: Ranked, again: Ranked) -> bool:
    # The plain arm may have kept more or fewer passages: what both kept counts.
    kept = min(before.k, again.k)
    return (before.pids[:kept], before.scores[:kept]) == (again.pids[:kept], again.scores[:kept])


def query_embeddings(a: SearchingArm, b: SearchingArm) -> SearchQueryEmbeddings | None:
    """Compare what A's and B's torch make of the same queries, vector by vector.

    Parameters
    ----------
    a, b : SearchingArm
        The searching arms.

    Returns
    -------
    dict or None
        ``identical`` vectors (bytes) of ``total`` (queries times tokens), and ``max_abs``, the largest difference of an
        element (None where nothing finite can be compared); None where a side did not capture them.

    Raises
    ------
    ComparisonError
        When they are not of one shape and dtype.
    """
    if not all("query_embs" in side.capture.artifacts for side in (a, b)):
        return None
    left, right = (side.capture.tensor("query_embs") for side in (a, b))
    if (left.shape, left.dtype) != (right.shape, right.dtype) or not left.shape:
        kinds = f"{left.dtype} {left.shape} and {right.dtype} {right.shape}"
        raise ComparisonError(f"the encoded queries of {a.name} and {b.name} are {kinds}", _TOGETHER)
    unlike = (bits(left.array, left.dtype) != bits(right.array, right.dtype)).any(axis=-1)
    gaps = np.abs(widen(left.array, left.dtype).astype(np.float64) - widen(right.array, right.dtype))
    finite = gaps[np.isfinite(gaps)]
    return {
        "identical": int(unlike.size - np.count_nonzero(unlike)),
        "total": int(unlike.size),
        "max_abs": float(finite.max()) if finite.size else None,
    }


# Compare what each version returned from its own index, where nothing else was searched.

#: Queries that a report lists one by one.
LISTED = 20


def compare_rankings(a: Capture, b: Capture) -> Rankings | None:
    """Compare what two plain arms returned: order, set and scores of each query's best passages.

    The symmetric difference is counted as post README I4 does: passages that only one side returns, both sides
    together, so a query can count up to ``2 * k``.

    Returns
    -------
    dict or None
        The ``rankings`` of ``docs/schema.md``; None where a side did not search.

    Raises
    ------
    ComparisonError
        When they make no sense.
    StoreError
        When they cannot be read.
    """
    if not all("rankings" in capture.artifacts for capture in (a, b)):
        return None
    left, right = ({query.qid: query for query in ranked(capture, "rankings", capture.path.name)} for capture in (a, b))
    pairs = [ListPair(left[qid], right[qid]) for qid in left if qid in right]
    changed: list[RankingsChanged] = [
        {"qid": pair.left.qid, "only_a": pair.gone(), "only_b": pair.come(), "first_rank": pair.first_rank}
        for pair in pairs
        if pair.first_rank is not None
    ]
    changed.sort(key=lambda line: (-len(line["only_a"]) - len(line["only_b"]), line["first_rank"]))
    gaps = [gap for pair in pairs if (gap := pair.score_difference) is not None]
    moved = sum(len(line["only_a"]) + len(line["only_b"]) for line in changed)
    return {
        "k": min((query.k for query in (*left.values(), *right.values())), default=0),
        "queries": len(pairs),
        "queries_missing": len(left) + len(right) - 2 * len(pairs),
        "same_order": len(pairs) - len(changed),
        "same_set": sum(pair.same_set for pair in pairs),
        "max_score_difference": max(gaps, default=None),
        "scores_identical": all(pair.left.top_scores == pair.right.top_scores for pair in pairs),
        "symmetric_difference": moved / len(pairs) if pairs else None,
        "changed": changed[:LISTED],
    }
