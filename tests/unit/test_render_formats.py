"""Numbers as a reader reads them: exact where they are exact, and never a zero that is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (1.2345e-07, "1.2e-07"),
        (5e-324, "4.9e-324"),
        (0.00123, "0.0012"),
        (0.0009996, "0.0010"),
        (0.00099, "9.9e-04"),
        (0.0123, "0.012"),
        (0.5, "0.50"),
        (1.0, "1.0"),
        (11.4, "11"),
        (263_000.0, "260,000"),
        (1_300_000.0, "1.3e+06"),
        (1.79e308, "1.8e+308"),
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
    text = formats.percent(part, whole)
    assert (text == "0 %") == (part == 0)
    assert (text == "100 %") == (part == whole)
    if not text.startswith(("<", ">")):
        assert float(text.removesuffix(" %")) == pytest.approx(100 * part / whole, abs=0.51)


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
    ("value", "kind", "text"),
    [(475, "integer", "475"), (33_776, "integer", "33,776"), (5, "integer", "5"), (0.0279, "float", "0.028"),
     (None, "integer", "–"), (2, "float", "2.0")],
)  # fmt: skip
def test_differences_of_integers_are_not_rounded(value: float | None, kind: str, text: str) -> None:
    assert formats.largest(value, kind) == text


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
    assert formats.plural(1, "query", "queries") == "1 query"
    assert formats.plural(1200, "query", "queries") == "1,200 queries"


def test_an_excerpt_is_one_line_cut_at_a_word() -> None:
    assert formats.excerpt("a\n b\tc") == "a b c"
    assert formats.excerpt("one two three four", 12) == "one two…"
    assert formats.excerpt("x" * 100, 10) == "x" * 9 + "…"
