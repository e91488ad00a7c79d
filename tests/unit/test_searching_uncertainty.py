from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from reportlib.compare import uncertainty
from reportlib.compare.uncertainty import (
    LEAST_CHANGED,
    bootstrap,
    counted,
    detectable,
    few_changed,
    mean,
    one_sided_few,
    permutation_p,
    rounded,
    sign_p,
    significant,
    unchanged_bound,
)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def measured(n: int, seed: int = 1) -> np.ndarray:
    """Values as a measure gives them."""
    return np.round(np.random.default_rng(seed).choice([0, 1 / 3, 0.5, 1], n, p=[0.3, 0.2, 0.2, 0.3]), 9)[:, None]


def test_the_bootstrap_is_scipys() -> None:
    values = measured(121)
    (found,) = bootstrap(values)
    theirs = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean(), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_the_interval_of_two_queries_is_counted_by_hand() -> None:
    # Of two values both, neither or one is drawn: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    (found,) = bootstrap(column(0.0, 1.0))
    assert found.record() == {"value": 0.5, "low": 0.0, "high": 1.0}
    # Of eight with a single 1, the chance of none is (7/8)**8 = 0.34, of four or more 0.011, of three or more 0.067.
    (found,) = bootstrap(column(*[0.0] * 7, 1.0))
    assert found.record() == {"value": 0.125, "low": 0.0, "high": 0.375}


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    samples = np.random.default_rng(7).random((80, 300))
    hits = sum(each.low <= 0.5 <= each.high for each in bootstrap(samples))
    assert 0.90 <= hits / 300 <= 0.985


def test_a_constant_has_no_width_and_its_own_value() -> None:
    for value in (0.0, 0.1, 1 / 3, -0.7):
        (found,) = bootstrap(np.full((37, 1), value))
        assert found.record() == {"value": rounded(value), "low": rounded(value), "high": rounded(value)}


def test_one_query_is_its_own_interval() -> None:
    (found,) = bootstrap(column(0.25))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_columns_stay_paired_and_do_not_touch_each_other() -> None:
    left, right = measured(50), measured(50, 2)
    a, b, gap = bootstrap(np.hstack([left, right, right - left]))
    assert bootstrap(right - left)[0] == gap
    assert gap.value == pytest.approx(b.value - a.value, abs=1e-9)
    # Nothing differs between two equal columns, however wide the interval of each is.
    assert bootstrap(left - left)[0].record() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert a.high > a.low


def test_the_mean_is_the_estimates() -> None:
    values = measured(97)
    assert mean(values[:, 0]) == bootstrap(values)[0].record()["value"]


def test_the_numbers_are_these_on_every_machine() -> None:
    """Pinned: another numpy, BLAS or machine must give them too."""
    values = np.round(np.arange(40) % 7 / 7 - 0.4, 9)[:, None]
    assert bootstrap(values)[0].record() == {"value": 0.010714286, "low": -0.075, "high": 0.1}
    assert permutation_p(values) == [0.829617038]
    order = np.random.default_rng(1).permutation(5)
    many = np.hstack([values * n for n in range(1, 6)])
    assert [e.record() for e in bootstrap(many[:, order])] == [bootstrap(many)[n].record() for n in order]


def test_more_queries_than_fit_a_block_are_resampled_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "RESAMPLES", 200)
    values = np.random.default_rng(1).random((20_000, 3))
    tracemalloc.start()
    found = bootstrap(values)
    chances = permutation_p(values - 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == len(chances) == 3
    assert all(each.low < each.value < each.high for each in found)
    assert peak < 80 * 2**20


@pytest.mark.parametrize("seed", range(4))
def test_a_permutation_test_of_few_changes_is_scipys_exact_one(seed: int) -> None:
    gaps = np.round(np.random.default_rng(seed).choice([-0.5, -0.25, 0.0, 1 / 3, 0.5, 1.0], 11), 9)
    theirs = stats.permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert permutation_p(gaps[:, None])[0] == pytest.approx(theirs.pvalue, abs=1e-9)


def test_a_permutation_test_of_many_changes_is_scipys_drawn_one() -> None:
    gaps = np.round(np.random.default_rng(5).normal(0.02, 0.2, 150), 9)
    theirs = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(2)
    )
    assert permutation_p(gaps[:, None])[0] == pytest.approx(theirs.pvalue, abs=0.015)


def test_permutations_by_hand() -> None:
    # All of three one way: 2 of the 8 ways to sign them are as extreme.
    assert permutation_p(column(0.1, 0.2, 0.3, 0.0, 0.0)) == [0.25]
    assert permutation_p(column(0.5, -0.5)) == [1.0]
    assert permutation_p(column(0.0, 0.0)) == [None]


def test_sums_that_tie_but_for_their_last_decimal_are_tied() -> None:
    # In thirds 1, 1, -2, 3: of the 16 ways to sign them 10 reach 3, some only if no rounding stands between.
    assert permutation_p(np.round(column(1 / 3, 1 / 3, -2 / 3, 1.0), 9)) == [10 / 16]


def test_a_drawn_p_is_never_zero() -> None:
    (found,) = permutation_p(np.full((60, 1), 0.5))
    assert found == significant(1 / 10_001)


def test_p_is_even_where_nothing_is_to_be_found() -> None:
    """Under no effect, about 5 of 100 tests are below 0.05: no more, no less."""
    gaps = np.round(np.random.default_rng(11).normal(0, 1, (40, 800)), 9)
    below = np.mean([p is not None and p < 0.05 for p in permutation_p(gaps)])
    assert 0.03 <= below <= 0.07


def test_the_sign_test_by_hand() -> None:
    assert sign_p(3, 0) == 0.25
    assert sign_p(2, 1) == 1.0
    assert sign_p(0, 10) == significant(2 / 2**10)
    assert sign_p(0, 0) is None
    assert sign_p(5, 90) == pytest.approx(stats.binomtest(5, 95).pvalue, rel=1e-8)
    small = sign_p(0, 900)
    assert small is not None
    assert 0 < small < 1e-260


def test_a_change_of_the_detectable_size_is_seen_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(0, 0.2, 100)
    size = detectable(first)
    assert size is not None
    assert size == pytest.approx(
        (stats.t.ppf(0.975, 99) + stats.t.ppf(0.8, 99)) * first.std(ddof=1) / math.sqrt(100), abs=1e-9
    )
    samples = rng.normal(size, first.std(ddof=1), (2000, 100))
    seen = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert 0.77 <= seen <= 0.83


def test_more_queries_detect_less() -> None:
    gaps = np.tile([0.1, -0.1, 0.0, 0.3], 5)
    few, many = detectable(gaps), detectable(np.tile(gaps, 20))
    assert few is not None
    assert many is not None
    assert 0 < many < few / 4


def test_without_scatter_nothing_says_what_could_be_detected() -> None:
    assert detectable(np.zeros(50)) is None
    assert detectable(np.full(50, 0.1)) is None
    assert detectable(np.array([0.3])) is None


def test_the_scatter_of_a_few_changed_queries_says_nothing_of_what_could_be_detected() -> None:
    assert LEAST_CHANGED == 6
    for changed, told in ((5, False), (6, True)):
        gaps = np.zeros(400)
        gaps[:changed] = np.linspace(-0.3, -0.1, changed)
        assert (detectable(gaps) is not None) is told
        (p,) = permutation_p(gaps[:, None])
        assert p is not None
        assert (p < 0.05) is told, "fewer can never be detected"


def test_two_queries_that_got_worse_do_not_exclude_that_others_get_better() -> None:
    gaps = np.zeros(400)
    gaps[[3, 70]] = -0.2, -0.5
    (drawn,) = bootstrap(gaps[:, None])
    assert drawn.high == 0
    found = few_changed(drawn, gaps)
    bound = stats.beta.ppf(0.975, 3, 398) * 0.5
    assert (found.low, found.high) == (pytest.approx(-bound, abs=1e-8), pytest.approx(bound, abs=1e-8))
    assert found.value == drawn.value
    assert found.low < drawn.low


@pytest.mark.parametrize("changed", [0, 6, 40])
def test_the_bootstrap_stands_where_nothing_or_enough_changed(changed: int) -> None:
    gaps = np.zeros(40)
    gaps[:changed] = 0.1
    (drawn,) = bootstrap(gaps[:, None])
    assert few_changed(drawn, gaps) == drawn
    assert one_sided_few(drawn, gaps, 0.0) == drawn


@pytest.mark.parametrize(("unchanged", "sign"), [(0.0, 1), (1.0, -1)])
def test_what_moves_one_way_only_has_moved_where_a_few_queries_did(unchanged: float, sign: int) -> None:
    values = np.full(400, unchanged)
    values[[3, 70]] += sign * np.array([0.2, 0.5])
    (drawn,) = bootstrap(values[:, None])
    found = one_sided_few(drawn, values, unchanged)
    near, far = stats.beta.ppf(0.025, 2, 399) * 0.2, stats.beta.ppf(0.975, 3, 398) * 0.5
    ends = sorted([unchanged + sign * near, unchanged + sign * far])
    assert [found.low, found.high] == pytest.approx(ends, abs=1e-8)
    assert found.low < found.value < found.high
    assert unchanged not in {found.low, found.high}


def test_a_share_has_clopper_and_pearsons_interval() -> None:
    found = counted(3, 40)
    assert found["share"] == 0.075
    assert found["low"] == pytest.approx(stats.beta.ppf(0.025, 3, 38), abs=1e-8)
    assert found["high"] == pytest.approx(stats.beta.ppf(0.975, 4, 37), abs=1e-8)
    # One end cannot be wrong, so the other has all 5 %: the bound that is told where no query changed.
    assert counted(0, 10) == {"share": 0.0, "low": 0.0, "high": unchanged_bound(10)}
    assert counted(10, 10) == {"share": 1.0, "low": rounded(0.05 ** (1 / 10)), "high": 1.0}


def test_how_much_could_change_unseen() -> None:
    assert unchanged_bound(1) == 0.95
    bound = unchanged_bound(121)
    assert (1 - bound) ** 121 == pytest.approx(0.05, abs=1e-6)
    assert bound == pytest.approx(stats.binomtest(0, 121, alternative="less").proportion_ci(0.95).high, abs=1e-8)


def test_rounding() -> None:
    assert str(rounded(-1e-12)) == "0.0"
    assert rounded(1 / 3) == 0.333333333
    assert significant(1 / 3e20) == 3.33333333e-21
