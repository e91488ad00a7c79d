"""What margins and flips say together, against counts made by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportlib.compare.margins import BINS, LEAST, Items, left_out, record


def items(margins: Any, flipped: Any, drops: Any = None, of: int | None = None, alike: Any = None) -> Items:
    margin = np.asarray(margins, np.float64)
    drop = np.zeros_like(margin) if drops is None else np.asarray(drops, np.float64)
    same = None if alike is None else np.asarray(alike, np.bool_)
    return Items(margin, drop, np.asarray(flipped, np.bool_), len(margin) if of is None else of, same)


def said(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return record("centroid", items(*args, **kwargs))


def by_hand(margins: list[float], flipped: list[bool]) -> float:
    """The share of pairs of a flipped and an unflipped item in which the flipped one's margin is the smaller one."""
    below = [m for m, f in zip(margins, flipped, strict=True) if f]
    above = [m for m, f in zip(margins, flipped, strict=True) if not f]
    return sum((x < y) + (x == y) / 2 for x in below for y in above) / (len(below) * len(above))


# --- does a small margin predict a flip? -------------------------------------------------------------


def test_flips_at_the_smallest_margins_alone_are_predicted_perfectly() -> None:
    assert said([1, 2, 3, 4], [True, True, False, False])["auc"] == 1.0


def test_flips_at_the_largest_margins_alone_are_predicted_the_wrong_way_round() -> None:
    assert said([1, 2, 3, 4], [False, False, True, True])["auc"] == 0.0


def test_a_tie_counts_half() -> None:
    assert said([1, 1, 2, 3], [True, False, False, False])["auc"] == pytest.approx(2.5 / 3)


def test_margins_that_are_all_one_number_predict_nothing() -> None:
    found = said([2.0] * 40, [True] * 20 + [False] * 20)
    assert found["auc"] == 0.5
    assert found["p"] == 1.0
    assert len(found["bins"]) == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_the_share_of_pairs_in_the_right_order(drawn: list[tuple[int, bool]]) -> None:
    margins, flipped = [float(m) for m, _ in drawn], [f for _, f in drawn]
    found = said(margins, flipped)
    if 0 < sum(flipped) < len(flipped):
        assert found["auc"] == pytest.approx(by_hand(margins, flipped), abs=1e-8)
    else:
        assert (found["auc"], found["p"], found["detectable"]) == (None, None, None)


def test_many_flips_at_small_margins_are_not_chance_and_few_may_be() -> None:
    margins = np.arange(400)
    many, one = said(margins, margins < 100), said([3.0, 1.0, 2.0], [False, True, False])
    assert many["p"] < 1e-6
    assert many["detectable"] < 0.6
    assert one["auc"] == 1.0
    assert one["p"] > 0.05
    assert one["detectable"] is None


def test_the_test_of_a_few_flips_counts_their_orders() -> None:
    # One flip at the smallest of 399 margins: as far out is only the largest.
    assert said(np.arange(399), np.arange(399) < 1)["p"] == pytest.approx(2 / 399)
    # Two at the smallest of six: one of 15 pairs of places on each side.
    assert said(np.arange(6), np.arange(6) < 2)["p"] == pytest.approx(2 / 15)


def test_the_detectable_area_shrinks_as_flips_become_more() -> None:
    margins = np.arange(1000)
    areas = [said(margins, margins < count)["detectable"] for count in (20, 100, 400)]
    assert areas == sorted(areas, reverse=True)
    assert min(areas) > 0.5


# --- none, all, nothing ------------------------------------------------------------------------------


def test_without_a_flip_nothing_is_predicted_and_the_margins_are_there_all_the_same() -> None:
    found = said([0.25, 0.5, 0.75], [False] * 3, drops=[0.125, -0.25, 0.0])
    assert (found["flipped"], found["flip_rate"], found["auc"], found["half"]) == (0, 0.0, None, None)
    assert found["margin"]["quantiles"]["0"] == 0.25
    assert found["margin"]["median"] == 0.5
    assert (found["change"]["median"], found["change"]["max"]) == (0.125, 0.25)
    assert found["unseen"] is None


def test_a_sample_without_a_flip_says_how_many_it_could_have_missed() -> None:
    found = said(np.arange(1, 60), [False] * 59, of=1000)
    assert found["unseen"] == pytest.approx(1 - 0.05 ** (1 / 59))
    assert said(np.arange(1, 60), [True] + [False] * 58, of=1000)["unseen"] is None


def test_all_flipped_gives_a_rate_of_one_and_no_prediction() -> None:
    found = said([1, 2, 3], [True] * 3, drops=[2, 1, 3])
    assert (found["flip_rate"], found["auc"], found["half"]) == (1.0, None, 2.0)
    assert found["explained"] == {"within": 2, "of": 3, "unknown": 0, "alike": None}


def test_no_items_are_left_out_with_a_reason() -> None:
    assert said([], [])["left_out"]
    assert said([np.nan, np.inf], [True, False])["left_out"]


def test_items_without_a_margin_do_not_count() -> None:
    found = said([np.nan, 1.0, 2.0], [True, True, False], drops=[0, 1, 0], alike=[True, True, False])
    assert (found["items"], found["of"], found["flipped"]) == (2, 3, 1)
    assert found["explained"]["alike"] == 1


def test_both_kinds_of_record_have_the_same_keys() -> None:
    assert left_out("rank", "why").keys() == said([1.0], [True]).keys()
    assert left_out("rank", "why")["left_out"] == "why"


# --- what explains a flip ----------------------------------------------------------------------------


def test_a_flip_is_explained_where_the_margin_shrank_by_its_own_size() -> None:
    # Shrank by its size exactly; by less; by more; grew; not known.
    found = said([1, 1, 1, 1, 1, 9], [True] * 5 + [False], drops=[1, 0.5, 2, -3, np.nan, 0])
    assert found["explained"] == {"within": 2, "of": 5, "unknown": 1, "alike": None}
    assert found["change"]["known"] == 5
    assert found["change"]["max"] == 3.0


def test_without_any_known_change_there_is_none() -> None:
    assert said([1, 2], [True, False], drops=[np.nan, np.nan])["change"] is None


def test_flips_of_what_did_not_move_itself_are_counted() -> None:
    found = said([1, 2, 3, 4], [True, True, False, False], alike=[True, False, True, False])
    assert found["explained"]["alike"] == 1


def test_half_of_the_flips_lie_at_or_below_their_median_margin() -> None:
    assert said([5, 1, 2, 3, 9, 9], [True, True, True, False, False, False])["half"] == 2.0


# --- bins --------------------------------------------------------------------------------------------


def check(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the bins, which hold every item once, in order, without parting equals."""
    bins = found["bins"]
    assert sum(b["items"] for b in bins) == found["items"]
    assert sum(b["flipped"] for b in bins) == found["flipped"]
    assert all(b["low"] <= b["high"] and b["rate_low"] <= b["rate"] <= b["rate_high"] for b in bins)
    assert all(left["high"] < right["low"] for left, right in pairwise(bins))
    return list(bins)


def test_bins_have_equal_counts_where_flips_are_few() -> None:
    margins = np.random.default_rng(1).random(1200)
    bins = check(said(margins, margins > 0.995))
    assert [b["items"] for b in bins] == [1200 // BINS] * BINS


def test_few_items_make_few_bins() -> None:
    assert len(check(said(np.arange(9), np.arange(9) < 2))) == 1
    assert len(check(said(np.arange(25), np.arange(25) < 2))) == 2


def test_bins_are_finer_where_rare_flips_lie() -> None:
    margins = np.arange(120_000)
    bins = check(said(margins, margins < 100))
    assert bins[0]["items"] < 100
    assert bins[0]["rate"] == 1.0
    assert bins[-1] | {"rate_high": 0} == bins[-1] | {"items": 10_000, "flipped": 0, "rate_high": 0}
    assert len(bins) < 3 * BINS


def test_an_interval_of_a_bin_is_wilsons() -> None:
    only = check(said(np.arange(10), [False] * 10))[0]
    assert (only["rate_low"], only["rate_high"]) == (0.0, pytest.approx(0.2775, abs=5e-5))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=400), st.integers(0, 12))
def test_bins_hold_every_item_once_whatever_the_ties(margins: list[int], below: int) -> None:
    bins = check(said(margins, [m < below for m in margins]))
    assert len(bins) == 1 or min(b["items"] for b in bins) >= LEAST


# --- bytes -------------------------------------------------------------------------------------------


def test_the_order_of_items_changes_no_byte() -> None:
    rng = np.random.default_rng(7)
    margins, drops = rng.random(500), rng.standard_normal(500)
    order = rng.permutation(500)
    flipped = margins < drops
    one, other = said(margins, flipped, drops), said(margins[order], flipped[order], drops[order])
    assert json.dumps(one) == json.dumps(other)
