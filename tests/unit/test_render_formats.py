"""Numbers as a reader reads them: exact where they are exact, and never a zero that is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from reportlib.floats import ulp_distance
from reportlib.words import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3_276_800, "3,276,800"), (-12_345, "−12,345"), (None, "–")],
)
def test_counts_are_exact_with_separators(value: int | None, text: str) -> None:
    assert formats.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.2345e-07, "1.2e-7"),
        (5e-324, "4.9e-324"),
        (0.00123, "0.0012"),
        (0.0009996, "0.0010"),
        (0.00099, "9.9e-4"),
        (0.0123, "0.012"),
        (0.5, "0.50"),
        (1.0, "1.0"),
        (11.4, "11"),
        (263_000.0, "260,000"),
        (1_300_000.0, "1.3e6"),
        (1.79e308, "1.8e308"),
        (-0.25, "−0.25"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (None, "–"),
    ],
)
def test_amounts_take_the_form_that_their_size_asks_for(value: float | None, text: str) -> None:
    assert formats.amount(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_amount_reads_back_within_its_two_digits(value: float) -> None:
    text = formats.amount(value)
    read = float(text.replace(",", "").replace("−", "-"))
    if value == 0:
        assert text == "0"
    elif 1e-300 <= abs(value) <= 1e308:
        assert read != 0
        assert math.isclose(read, value, rel_tol=0.051)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (3, 3_276_800, "3 of 3,276,800"),
        (0, 96, "none of 96"),
        (96, 96, "all 96"),
        (0, 0, "0 of 0"),
        (None, 96, "–"),
        (3, None, "–"),
    ],
)
def test_parts_of_a_whole(part: int | None, whole: int | None, text: str) -> None:
    assert formats.of(part, whole) == text


@given(st.integers(1, 10**12), st.data())
def test_a_share_says_none_or_all_only_when_it_is(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    text = formats.percent_of(part, whole)
    assert (text == "0\N{NO-BREAK SPACE}%") == (part == 0)
    assert (text == "100\N{NO-BREAK SPACE}%") == (part == whole)
    if not text.startswith(("<", ">")):
        assert float(text.removesuffix("\N{NO-BREAK SPACE}%")) == pytest.approx(100 * part / whole, abs=0.51)


def test_a_distance_in_ulp_is_a_whole_number() -> None:
    assert formats.distance(1_972_838_176) == "1,972,838,176"
    assert formats.distance(0) == "0"
    assert formats.distance(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("float16", "torch.float16"),
        ("bfloat16", "torch.bfloat16"),
        ("int32", "torch.int32"),
        ("uint8", "torch.uint8"),
        ("bool", "torch.bool"),
        ("int", "int"),
        ("float", "float"),
        ("list", "list"),
        ("list of int", "list of int"),
        (None, "–"),
    ],
)
def test_tensor_dtypes_are_spelled_as_in_the_post(value: str | None, text: str) -> None:
    assert formats.dtype(value) == text


@pytest.mark.parametrize(
    ("a", "b", "kind", "across"),
    [
        (np.float32(1e-9), np.float32(-1e-9), "float32", True),
        (np.float32(0.0), np.float32(0.3), "float32", False),
        (np.float32(1.0), np.float32(1.5), "float32", False),
        (np.float16(2e-3), np.float16(-1e-3), "float16", True),
        (np.float16(0.0), np.float16(0.25), "float16", False),
        (np.float16(100), np.float16(99.5), "float16", False),
    ],
)
def test_only_a_distance_across_zero_is_not_counted(a: Any, b: Any, kind: str, *, across: bool) -> None:
    distance = int(ulp_distance(np.array([a]), np.array([b]), kind)[0])
    shown = formats.distance(distance, abs(float(a) - float(b)), kind)
    assert shown == ("across zero" if across else formats.count(distance))


def test_a_distance_of_bfloat16_or_of_another_dtype() -> None:
    assert formats.distance(30_000, 0.01, "bfloat16") == "across zero"
    assert formats.distance(3, 0.01, "bfloat16") == "3"
    assert formats.distance(30_000, 1e-300, "float64") == "30,000"
    assert formats.distance(30_000, None, "float32") == "30,000"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "100"), (0.0075, "0.75"), (0.030075, "3.0"), (0.0995, "10"), (0.48, "48"), (0.907, "91"),
     (0.9951, "99.5"), (0.99999, ">99.9"), (0.000641, "0.064"), (None, "–")],
)  # fmt: skip
def test_a_share_has_two_digits_and_one_rule(value: float | None, text: str) -> None:
    assert formats.percent(value) == (text if value is None else f"{text}\N{NO-BREAK SPACE}%")


@given(st.floats(1e-12, 1e9))
def test_a_bound_of_one_digit_is_not_below_the_number(value: float) -> None:
    bound = float(formats.at_most(value).removeprefix("≤\N{NO-BREAK SPACE}").replace(",", ""))
    assert bound >= value * (1 - 1e-8)
    assert bound <= value * 2.001


def test_changes_have_a_sign_and_intervals_say_their_unit_once() -> None:
    assert [formats.signed(x) for x in (0.0, 0.0004, -0.0004, 1.5)] == ["0", "+0.00040", "−0.00040", "+1.5"]
    assert formats.between(0.016, 0.052, formats.percent) == "1.6 to 5.2\N{NO-BREAK SPACE}%"
    assert formats.between(3, 3, formats.count) == "3"
    assert formats.interval(0.1, 0.2, 0.95) == "95\N{NO-BREAK SPACE}% interval 0.10 to 0.20"


@pytest.mark.parametrize("queries", [1, 39, 399, 2243])
def test_what_goes_unseen_is_the_exact_binomial_bound(queries: int) -> None:
    assert formats.unseen_share(queries, 0.95) == pytest.approx(binomtest(0, queries).proportion_ci(0.90).high)


def test_factors_and_nouns() -> None:
    assert [formats.multiple(x) for x in (None, 1.04, 24.3, 1234.0)] == ["", "1.0", "24", "1,200"]
    assert [formats.factor(x) for x in (None, 0.0, 0.5, 2.0)] == [None, None, 2.0, 2.0]
    assert [formats.plural(n, "judged query") for n in (1, 2)] == ["1 judged query", "2 judged queries"]
    assert formats.code(["index/codes", "embs"]) == "`codes` and `embs`"
    assert formats.listing("abcd", most=3) == "a, b and 2 more"


def test_shapes_and_lists() -> None:
    assert formats.shape([34_133, 96]) == "[34,133, 96]"
    assert formats.shape([]) == "scalar"
    assert formats.shape(None) == "–"
    assert [formats.listing(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert formats.plural(1200, "query") == "1,200 queries"


def test_an_excerpt_is_one_line_cut_at_a_word() -> None:
    assert formats.excerpt("a\n b\tc") == "a b c"
    assert formats.excerpt("one two three four", 12) == "one two…"
    assert formats.excerpt("x" * 100, 10) == "x" * 9 + "…"
