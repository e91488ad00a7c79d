"""Read what the searching arms of A and B captured, and refuse what cannot be set side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from reportlib.collections.judging import is_itself
from reportlib.errors import ComparisonError
from reportlib.store import Capture

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

    def find(self, pid: int) -> tuple[int, float] | None:
        """Return a passage's rank, from 1, and its score; None where it was not returned."""
        return (self.pids.index(pid) + 1, self.scores[self.pids.index(pid)]) if pid in self.pids else None

    def without(self, pid: int | None) -> Ranked:
        """Return the ranking with a passage left out, and what stands behind it moved up."""
        if pid not in self.pids:
            return self
        at = self.pids.index(pid)
        return replace(self, pids=self.pids[:at] + self.pids[at + 1 :], scores=self.scores[:at] + self.scores[at + 1 :])


#: Which torch searched which index: ``a``, ``b``, or for an index also ``seed-1``.
Key = tuple[str, str]


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
class Side:
    """One searching arm's capture: the arm's name, its environment, and what was captured."""

    name: str
    environment: str
    capture: Capture


def read(a: Side, b: Side, *, k: int) -> Searches:
    """Read both sides.

    Parameters
    ----------
    a, b : Side
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
    wanted: dict[Key, tuple[Side, str]] = {
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
    side = Side(str(capture.arm.get("name")), str(capture.arm.get("environment")), capture)
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


def _ranking(side: Side, name: str, k: int) -> tuple[Ranked, ...]:
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
    """Return the rankings `name` of a capture, checked.

    Parameters
    ----------
    capture : Capture
        That has them.
    name : str
        Of the artifact.
    arm : str
        What messages call the capture.

    Raises
    ------
    ComparisonError
        When they make no sense: what is there is not what was captured.
    StoreError
        When they cannot be read.
    """
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


def _value(side: Side, name: str) -> Any:
    if name not in side.capture.artifacts:
        raise ComparisonError(f"the capture of {side.name} has no {name}", _AGAIN)
    return side.capture.value(name)


def _judgements(a: Side, b: Side) -> dict[str, dict[int, int]]:
    left, right = (_value(side, "judgements") for side in (a, b))
    if left != right:
        raise ComparisonError(f"{a.name} and {b.name} have other relevance judgements", _TOGETHER)
    return {qid: {int(pid): int(grade) for pid, grade in grades.items()} for qid, grades in left.items()}


def _passages(side: Side) -> dict[int, tuple[str, str]]:
    try:
        return {int(p): (str(each["id"]), str(each["text"])) for p, each in _value(side, "passage_texts").items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ComparisonError(f"passage_texts of {side.name} make no sense: {error!r}", _AGAIN) from error


def _check_texts(searches: Searches, a: Side) -> None:
    for qid in searches.qids:
        if qid not in searches.query_texts:
            raise ComparisonError(f"query_texts of {a.name} lack query {qid}", _AGAIN)
    for ranking in searches.rankings.values():
        for each in ranking:
            for pid in each.pids:
                if pid not in searches.passages:
                    raise ComparisonError(f"passage_texts of {a.name} lack passage {pid}, which is ranked", _AGAIN)
