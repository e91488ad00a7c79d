"""The arithmetic that everything else rests on, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportlib.compare.roots.mechanisms import arithmetic
from reportlib.compare.roots.mechanisms.arithmetic import add_to_odd, fma, multiply_then_add, to_format

_FLOATS = st.floats(min_value=2.0**-40, max_value=2.0**40, width=32) | st.floats(
    min_value=-(2.0**40), max_value=-(2.0**-40), width=32
)


def nearest(exact: Fraction, precision: int) -> Fraction:
    """Round to `precision` significant bits, ties to even, without any floating-point number."""
    if exact == 0:
        return exact
    size, exponent = abs(exact), 0
    while size >= 2**precision:
        size, exponent = size / 2, exponent + 1
    while size < 2 ** (precision - 1):
        size, exponent = size * 2, exponent - 1
    return round(size) * Fraction(2) ** exponent * (1 if exact > 0 else -1)


@given(_FLOATS, _FLOATS, _FLOATS)
def test_fused_multiply_add_rounds_the_exact_result_once(a: float, b: float, c: float) -> None:
    found = fma(*(np.float32(value) for value in (a, b, c)))
    assert Fraction(float(found)) == nearest(Fraction(a) * Fraction(b) + Fraction(c), 24)


def test_fused_multiply_add_where_rounding_twice_goes_wrong() -> None:
    # The exact sum lies just above the middle of two float32 numbers, by less than float64 can hold beside it.
    a, b = np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12)
    exact = Fraction(float(a)) * Fraction(float(b))
    c = np.float32(2.0**-60)
    twice = np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    assert Fraction(float(fma(a, b, c))) == nearest(exact + Fraction(float(c)), 24)
    assert Fraction(float(twice)) != nearest(exact + Fraction(float(c)), 24)


def test_multiply_then_add_rounds_the_product() -> None:
    a = np.float32(1 + 2.0**-12)
    product = a * a
    assert multiply_then_add(a, a, -product) == 0
    assert fma(a, a, -product) != 0


def test_fma_of_infinities_and_nan() -> None:
    a = np.array([np.inf, np.nan, 1.0], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        found = fma(a, np.float32(2), np.array([1.0, 1.0, -np.inf], dtype=np.float32))
    assert found[0] == np.inf
    assert np.isnan(found[1])
    assert found[2] == -np.inf


def test_sum_to_odd_is_exact_where_it_can_be() -> None:
    assert add_to_odd(np.float64(1), np.float64(2)) == 3
    inexact = add_to_odd(np.array([1.0]), np.array([2.0**-60]))
    assert inexact.view(np.int64)[0] & 1


@given(st.floats(min_value=2.0**-20, max_value=2.0**20), st.sampled_from([("bfloat16", 8), ("float16", 11)]))
def test_a_float64_is_rounded_once_to_a_narrow_format(value: float, layout: tuple[str, int]) -> None:
    dtype, precision = layout
    if dtype == "float16" and not 2.0**-14 <= value <= 60000:
        return
    found = to_format(np.array([value]), dtype)
    assert found.dtype == np.float32
    assert Fraction(float(found[0])) == nearest(Fraction(value), precision)


def test_a_float64_just_above_a_tie_is_not_rounded_twice() -> None:
    # Rounded to float32 first it would become the tie itself, and go to the even neighbour below.
    value = np.array([1 + 2.0**-8 + 2.0**-40])
    assert to_format(value, "bfloat16")[0] == np.float32(1 + 2.0**-7)
    assert to_format(value.astype(np.float32), "bfloat16")[0] == np.float32(1)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_orders_of_summation_agree_on_integers(width: int) -> None:
    rows = np.random.default_rng(width).integers(-50, 50, (5, 333)).astype(np.float32)
    expected = rows.sum(axis=1, dtype=np.float64).astype(np.float32)
    for found in (
        arithmetic.one_after_another(rows),
        arithmetic.in_register(rows, width),
        arithmetic.cascade(rows, width),
        arithmetic.lanes_then_rest(rows, width, arithmetic.add, arithmetic.halves),
        arithmetic.exact(rows),
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [1, 3, 7, 16, 17, 64, 1000, 20_000])
def test_a_cascade_takes_every_number_once(n: int) -> None:
    rows = np.ones((2, n), dtype=np.float32)
    np.testing.assert_array_equal(arithmetic.cascade(rows, 8), np.full(2, n, dtype=np.float32))


def test_a_tree_is_not_a_chain() -> None:
    rows = np.array([[1.0, 2.0**-24, 2.0**-24, 2.0**-24]], dtype=np.float32)
    assert arithmetic.left_to_right(rows)[0] == 1
    assert arithmetic.halves(rows)[0] != 1
