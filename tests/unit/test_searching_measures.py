from __future__ import annotations

import math

import numpy as np
import pytest

from reportlib.compare.rankings import Ranked
from reportlib.compare.search import measure
from reportlib.measures import QUALITIES


def ranked(qid: str, pids: list[int], k: int = 10, score: float | None = None) -> Ranked:
    scores = [score if score is not None else 20.0 - n for n in range(len(pids))]
    return Ranked(qid, tuple(pids), tuple(scores), k)


def of(pids: list[int], grades: dict[int, int], k: int = 10, score: float | None = None) -> list[float]:
    found: list[float] = measure([ranked("q", pids, k, score)], {"q": grades}, k)[0].tolist()
    return found


def test_the_names_are_the_reports() -> None:
    assert [quality.at(5) for quality in QUALITIES] == ["Recall@5", "MRR@5", "nDCG@5", "Success@5"]


def test_measures_by_hand() -> None:
    # Relevant: 7 (grade 2) at rank 2, 9 (grade 1) at rank 4, 5 (grade 1) not found.
    gained = 2 / math.log2(3) + 1 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    expected = [2 / 3, 1 / 2, gained / ideal, 1.0]
    assert of([1, 7, 3, 9], {7: 2, 9: 1, 5: 1, 3: 0}) == pytest.approx(expected, abs=1e-9)


def test_tied_scores_keep_the_order_in_which_they_were_returned() -> None:
    # By name, either way, trec_eval would put "10" and "9" beside another rank.
    for pids in ([9, 10, 100], [100, 10, 9], [10, 9, 100]):
        found = of(pids, {10: 1}, score=1.0)
        assert found[1] == pytest.approx(1 / (pids.index(10) + 1), abs=1e-9)
        assert found[2] == pytest.approx(1 / math.log2(pids.index(10) + 2), abs=1e-9)


def test_only_the_best_k_count() -> None:
    assert of([1, 2, 3, 4], {3: 1}, k=2) == [0, 0, 0, 0]
    assert of([1, 2, 3, 4], {2: 1}, k=2)[0] == 1.0


def test_a_query_that_nothing_was_found_for_counts_as_zero() -> None:
    found = measure([ranked("q0", []), ranked("q1", [4])], {"q0": {4: 1}, "q1": {4: 1}}, 10)
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [1, 1, 1, 1]])


def test_rows_follow_the_queries_whatever_they_are_called() -> None:
    names = ["10", "9", "b c", "ä"]
    grades = {name: {1: 1} for name in names}
    found = measure([ranked(name, [5, 6, 1][2 - n % 3 :]) for n, name in enumerate(names)], grades, 10)
    np.testing.assert_allclose(found[:, 1], [1, 1 / 2, 1 / 3, 1], atol=1e-9)


def test_no_queries_no_rows() -> None:
    assert measure([], {}, 10).shape == (0, 4)
