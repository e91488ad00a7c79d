"""Compare two searches: how much they agree, what that does to the measures, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.searching import uncertainty
from reportlib.compare.searching.agreement import Agreement, agreement
from reportlib.compare.searching.measures import measure, measure_names
from reportlib.compare.searching.rounding import DECIMALS
from reportlib.compare.searching.sides import Key, Searches

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
