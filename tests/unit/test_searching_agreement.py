from __future__ import annotations

import math

import numpy as np
import pytest

from reportlib.compare.rankings import ListPair, Ranked
from reportlib.measures import AGREEMENTS, Agreement, rank_biased_overlap


def ranked(pids: list[int], scores: list[float] | None = None, k: int = 3) -> Ranked:
    return Ranked("q", tuple(pids), tuple(scores or [10.0 - n for n in range(len(pids))]), k)


def agreements(pair: ListPair) -> dict[str, float]:
    return {agreement.key: agreement.of(pair.left.top, pair.right.top) for agreement in AGREEMENTS}


def extrapolated(a: list[int], b: list[int], p: float, depth: int = 3000) -> float:
    """The sum that defines rank-biased overlap, with the agreement behind the lists' ends as the paper assumes it."""
    short, long = sorted((a, b), key=len)
    s, total = len(short), 0.0
    at_short = len(set(short) & set(long[:s]))
    for d in range(1, depth):
        seen = min(d, len(long))
        common = len(set(short[:seen]) & set(long[:seen]))
        found = common / d if d <= s else (common + at_short * (seen - s) / s) / seen
        total += (1 - p) * p ** (d - 1) * found
    return total


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # Agreements 1, 1/2, 1 at depths 1, 2, 3: 1/2 + 1/8 + 1/8, and 1/8 for all that follows.
        ([1, 2, 3], [1, 3, 2], 0.875),
        # Agreements 0, 1/2 (then by extrapolation 5/6 at 3 and behind): 1/8 + 5/48 + 5/48.
        ([1, 2], [2, 3, 1], 1 / 3),
        ([1], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([], [], 1.0),
        ([], [4], 0.0),
    ],
)
def test_rank_biased_overlap_by_hand(a: list[int], b: list[int], expected: float) -> None:
    assert rank_biased_overlap(a, b, 0.5) == pytest.approx(expected, abs=1e-12)
    assert rank_biased_overlap(b, a, 0.5) == pytest.approx(expected, abs=1e-12)


def test_rank_biased_overlap_is_the_sum_that_it_extrapolates() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        a, b = (rng.permutation(14)[: rng.integers(1, 11)].tolist() for _ in "ab")
        found = rank_biased_overlap(a, b)
        assert found == pytest.approx(extrapolated(a, b, 0.9), abs=1e-9)
        assert 0 <= found <= 1 + 1e-12


@pytest.mark.parametrize(
    ("a", "b", "tied"),
    [
        (ranked([1, 2, 3]), ranked([1, 2, 3]), False),
        # A scores 2 and 3 alike, so its own list could have been B's.
        (ranked([1, 2, 3], [9, 8, 8]), ranked([1, 3, 2]), True),
        (ranked([1, 2, 3]), ranked([1, 3, 2]), False),
        # The last of the best three and the one behind it.
        (ranked([1, 2, 3, 4], [9, 8, 7, 7]), ranked([1, 2, 4, 3]), True),
        (ranked([1, 2, 3, 4], [9, 8, 7, 6]), ranked([1, 2, 4, 3]), False),
        # Ties explain the second place, and not the third.
        (ranked([1, 2, 3, 4], [9, 9, 7, 6]), ranked([2, 1, 4, 3]), False),
        (ranked([1, 2]), ranked([1, 2, 3]), False),
        (ranked([]), ranked([1]), False),
    ],
)
def test_a_list_that_changed_only_among_equal_scores_is_told(a: Ranked, b: Ranked, tied: bool) -> None:
    assert ListPair(a, b).tied is ListPair(b, a).tied is tied


def test_a_change_at_the_top_weighs_more_than_one_at_the_bottom() -> None:
    whole = list(range(10))
    top, bottom = [99, *whole[1:]], [*whole[:-1], 99]
    assert rank_biased_overlap(whole, top) < rank_biased_overlap(whole, bottom) < 1


def test_two_rankings_that_are_the_same() -> None:
    found = ListPair(ranked([1, 2, 3, 8]), ranked([1, 2, 3, 9]))
    assert (found.first_rank, found.same_set, found.same_scores) == (None, True, True)
    assert agreements(found) == {agreement.key: agreement.same for agreement in AGREEMENTS}
    assert found.score_difference == 0.0


def test_what_stands_behind_the_best_k_does_not_count() -> None:
    # Passage 3 only moved from rank 3 to 4: it left the best three, though it is still found.
    found = ListPair(ranked([1, 2, 3, 4]), ranked([1, 2, 4, 3]))
    assert (found.first_rank, found.same_set) == (3, False)
    assert agreements(found)["different_passages"] == 2
    assert agreements(found)["overlap"] == pytest.approx(2 / 3)


def test_another_order_of_the_same_passages() -> None:
    found = ListPair(ranked([1, 2, 3]), ranked([1, 3, 2]))
    assert (found.first_rank, found.same_set, found.same_scores) == (2, True, False)
    assert agreements(found)["rbo"] < 1
    for agreement in AGREEMENTS:
        assert (agreements(found)[agreement.key] != agreement.same) is agreement.ordered


def test_other_scores_in_the_same_order() -> None:
    found = ListPair(ranked([1, 2, 3], [3.0, 2.0, 1.0]), ranked([1, 2, 3], [3.0, 2.25, 1.0]))
    assert (found.first_rank, found.same_scores, found.score_difference) == (None, False, 0.25)


def test_tied_passages_that_changed_places_have_no_identical_scores() -> None:
    found = ListPair(ranked([1, 2], [1.0, 1.0]), ranked([2, 1], [1.0, 1.0]))
    assert (found.same_scores, found.score_difference, found.first_rank) == (False, 0.0, 1)


def test_lists_that_end_early() -> None:
    found = ListPair(ranked([1, 2]), ranked([1]))
    assert found.first_rank == 2
    assert agreements(found) == {"different_passages": 1, "overlap": 0.5, "rbo": 1.0, "changed_queries": 1.0}
    nothing = ListPair(ranked([]), ranked([]))
    assert agreements(nothing) == {agreement.key: agreement.same for agreement in AGREEMENTS}
    assert nothing.score_difference is None
    assert agreements(ListPair(ranked([]), ranked([1])))["overlap"] == 0.0


def test_scores_that_are_no_numbers_give_no_difference() -> None:
    found = ListPair(ranked([1, 2], [math.inf, 2.0]), ranked([1, 2], [math.inf, 1.5]))
    assert found.score_difference == 0.5
    assert ListPair(ranked([1], [math.nan]), ranked([1], [1.0])).score_difference is None


@pytest.mark.parametrize("agreement", AGREEMENTS, ids=lambda agreement: agreement.key)
def test_lists_with_nothing_in_common_are_as_far_apart_as_can_be(agreement: Agreement) -> None:
    assert agreement.of([1, 2, 3], [4, 5, 6]) == agreement.far(3)
    assert agreement.change(agreement.far(3)) > agreement.change(agreement.of([1, 2, 3], [1, 2, 3])) == 0
