from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reportlib.compare.verdicts import DEFAULT, Tolerance, bnb_tolerance, isclose
from reportlib.floats import FORMATS, bits, nan_and_inf, narrow, ulp_distance, widen
from reportlib.store import CARRIERS

FLOATS = tuple(FORMATS)
TOLERANCE = st.builds(
    Tolerance,
    st.just("test"),
    st.sampled_from([0.0, 1e-8, 1e-6, 1e-4, 1e-3, 0.5]),
    st.sampled_from([0.0, 1e-5, 1e-3, 1e-2, 1.0]),
)


def carriers(dtype: str, size: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any bits at all."""
    return hnp.arrays(FORMATS[dtype].bits, size).map(lambda x: x.view(CARRIERS[dtype]))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray]:
    dtype = draw(st.sampled_from(FLOATS))
    size = draw(st.integers(1, 30))
    return dtype, draw(carriers(dtype, size)), draw(carriers(dtype, size))


def naive_isclose(a: float, b: float, dtype: str, tolerance: Tolerance) -> bool:
    """torch's rule for one pair, a number at a time."""
    if a == b:
        return True
    wide = FORMATS[dtype].working.type

    def rounded(x: float) -> float:
        return float(narrow(np.array([x], wide), dtype)[0])

    with np.errstate(all="ignore"):
        product = abs(rounded(wide(tolerance.rtol) * wide(b)))
        allowed = rounded(wide(rounded(tolerance.atol)) + wide(product))
        actual = abs(rounded(wide(a) - wide(b)))
    if tolerance.atol == tolerance.rtol == 0:
        return False
    return bool(np.isfinite(actual) and actual <= allowed)


@settings(deadline=None, max_examples=200)
@given(pairs(), TOLERANCE)
def test_isclose_is_torchs_rule_one_number_at_a_time(
    case: tuple[str, np.ndarray, np.ndarray], tolerance: Tolerance
) -> None:
    dtype, a, b = case
    wide_a, wide_b = widen(a, dtype), widen(b, dtype)
    expected = [naive_isclose(float(x), float(y), dtype, tolerance) for x, y in zip(wide_a, wide_b, strict=True)]
    assert isclose(a, b, dtype, tolerance).tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"),
    [
        ("float32", 1e-6, 1e-5),
        ("bfloat16", 1e-3, 1e-2),
        ("float16", 1e-4, 1e-3),
        ("float64", 1e-4, 1e-3),
    ],
)
def test_named_tolerances_are_the_posts(dtype: str, atol: float, rtol: float) -> None:
    assert bnb_tolerance(dtype) == Tolerance("bnb", atol, rtol)
    assert Tolerance("default", 1e-8, 1e-5) == DEFAULT


def test_infinities_equal_themselves_and_nan_equals_nothing() -> None:
    a = np.array([np.inf, -np.inf, np.inf, np.nan, 1.0], np.float32)
    b = np.array([np.inf, -np.inf, -np.inf, np.nan, np.inf], np.float32)
    generous = Tolerance("generous", 1e30, 1.0)
    close = isclose(a, b, "float32", generous)
    assert close.tolist() == [True, True, False, False, False]


def test_half_precision_is_judged_in_half_precision() -> None:
    # The two are 2**-10 apart. That is more than 0.0009764, which rounds to 2**-10 in float16.
    a, b = np.array([1.0 + 2**-10], np.float16), np.array([1.0], np.float16)
    tolerance = Tolerance("test", 0.0, 0.0009764)
    exact = isclose(a.astype(np.float64), b.astype(np.float64), "float64", tolerance)
    assert exact.tolist() == [False]
    assert isclose(a, b, "float16", tolerance).tolist() == [True]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half_value_survives_widening_and_narrowing(dtype: str) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(CARRIERS[dtype])
    wide = widen(every, dtype)
    again = narrow(wide, dtype)
    nan, inf = nan_and_inf(every, dtype)
    assert np.array_equal(np.isnan(wide), nan)
    assert np.array_equal(np.isinf(wide), inf)
    assert np.array_equal(again[~nan], wide[~nan])
    assert np.isnan(again[nan]).all()


@settings(deadline=None)
@given(hnp.arrays(np.float32, 50, elements=st.floats(width=32, allow_nan=False)))
def test_rounding_to_bfloat16_picks_the_nearest_even(values: np.ndarray) -> None:
    table = widen(np.arange(2**16, dtype=np.uint16), "bfloat16")
    finite = np.unique(table[np.isfinite(table)].astype(np.float64))
    for value, rounded in zip(values, narrow(values, "bfloat16"), strict=True):
        if np.isinf(value) or abs(value) > finite[-1]:
            continue
        gaps = np.abs(finite - float(value))
        nearest = finite[gaps == gaps.min()]
        even = [x for x in nearest if (np.float32(x).view(np.uint32) >> 16) % 2 == 0]
        assert float(rounded) in (nearest if len(nearest) == 1 else even)


@settings(deadline=None, max_examples=300)
@given(hnp.arrays(np.uint32, 200))
def test_rounding_to_float16_is_numpys(raw: np.ndarray) -> None:
    # Any bits, and the same significands with exponents that float16 has.
    near = (raw & np.uint32(0x807F_FFFF)) | ((raw >> np.uint32(9)) % 48 + np.uint32(96)) << np.uint32(23)
    for values in (raw.view(np.float32), near.view(np.float32)):
        with np.errstate(all="ignore"):
            expected = values.astype(np.float16).astype(np.float32)
        ours = narrow(values, "float16")
        nan = np.isnan(values)
        assert np.array_equal(ours[~nan].view(np.uint32), expected[~nan].view(np.uint32))
        assert np.isnan(ours[nan]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_ulp_distance_counts_the_values_in_between(dtype: str) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(CARRIERS[dtype])
    nan, _ = nan_and_inf(every, dtype)
    numbers = every[~nan]
    values = widen(numbers, dtype).astype(np.float64)
    place = np.searchsorted(np.unique(values), values)  # 0.0 and -0.0 share a place
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, len(numbers), (2, 20_000))
    counted = ulp_distance(numbers[a], numbers[b], dtype)
    assert np.array_equal(counted, np.abs(place[a] - place[b]).astype(np.uint64))


def test_ulp_distance_of_the_widest_float64_pair_does_not_overflow() -> None:
    a, b = np.array([np.finfo(np.float64).max]), np.array([-np.finfo(np.float64).max])
    top = int(bits(a, "float64")[0])
    assert int(ulp_distance(a, b, "float64")[0]) == 2 * top
    assert int(ulp_distance(np.array([0.0]), np.array([-0.0]), "float64")[0]) == 0
