from __future__ import annotations

import hashlib
import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reportlib.compare import chunks, tensors
from reportlib.compare.chunks import Chunked
from reportlib.compare.verdicts import DEFAULT, Groups, TensorComparison, Tolerance, bnb_tolerance, describe, isclose
from reportlib.floats import FORMATS, bits, widen
from reportlib.store import CARRIERS, Tensor


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Blocks of 7, so that small arrays cross their edges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "BLOCK", 7)
        yield


def whole(array: np.ndarray, dtype: str | None = None) -> Chunked:
    return split(array, (), dtype)


def split(array: np.ndarray, at: tuple[int, ...], dtype: str | None = None) -> Chunked:
    """`array` as chunks that end at rows `at`, with the hashes that a manifest would hold."""
    parts = list(np.split(array, sorted(set(at)))) if array.shape else [array]
    kept = tuple(Tensor(np.ascontiguousarray(p).reshape(p.shape), dtype or str(array.dtype)) for p in parts)
    hashes = tuple(hashlib.sha256(t.array.tobytes()).hexdigest() for t in kept)
    names = tuple(f"embs/{n}" for n in range(len(kept))) if at else ("embs",)
    return Chunked("embs", names, kept, hashes)


def compare(a: np.ndarray, b: np.ndarray, dtype: str | None = None) -> TensorComparison:
    return tensors.compare(whole(a, dtype), whole(b, dtype))


@st.composite
def float_pairs(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray]:
    """Two arrays of one dtype and shape: any bits, few or many of them unlike."""
    dtype = draw(st.sampled_from(tuple(FORMATS)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
    any_bits = hnp.arrays(FORMATS[dtype].bits, shape)
    a, b = draw(any_bits), draw(any_bits)
    same = draw(hnp.arrays(np.bool_, shape))
    near = draw(hnp.arrays(np.bool_, shape))
    b = np.where(same, a, np.where(near, a ^ np.ones_like(a), b))
    return dtype, a.view(CARRIERS[dtype]), b.view(CARRIERS[dtype])


def naive(a: np.ndarray, b: np.ndarray, dtype: str) -> dict[str, Any]:
    """The same numbers, one pair of Python floats at a time."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide_a, wide_b = (widen(x, dtype).astype(np.float64).ravel() for x in (a, b))
    raw = list(zip(bits(a, dtype).ravel().tolist(), bits(b, dtype).ravel().tolist(), strict=True))
    values = list(zip(wide_a.tolist(), wide_b.tolist(), strict=True))
    finite = [(n, x, y) for n, (x, y) in enumerate(values) if math.isfinite(x) and math.isfinite(y)]
    gaps = [(abs(x - y), n) for n, x, y in finite]
    nonzero = [abs(x - y) / abs(y) for _, x, y in finite if y != 0]
    return {
        "different_bits": sum(x != y for x, y in raw),
        "different": sum(x != y for x, y in values),
        "nan": (sum(math.isnan(x) for x, _ in values), sum(math.isnan(y) for _, y in values)),
        "inf": (sum(math.isinf(x) for x, _ in values), sum(math.isinf(y) for _, y in values)),
        "mean": math.fsum(g for g, _ in gaps) / len(gaps) if gaps else None,
        "max": max((g for g, _ in gaps), default=None),
        "max_rel": max([0.0, *nonzero]) if gaps else None,
        "first": next((n for n, (x, y) in enumerate(raw) if x != y), None),
    }


def finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@settings(deadline=None, max_examples=300)
@given(float_pairs())
def test_every_number_is_what_a_plain_loop_finds(case: tuple[str, np.ndarray, np.ndarray]) -> None:
    dtype, a, b = case
    found, expected = compare(a, b, dtype), naive(a, b, dtype)
    assert found.different_bits == expected["different_bits"]
    assert found.different == expected["different"]
    assert (found.a.nan, found.b.nan) == expected["nan"]
    assert (found.a.inf, found.b.inf) == expected["inf"]
    assert found.elements == a.size
    mean = finite_or_none(expected["mean"])
    if found.mean_abs is not None and mean is not None:
        assert found.mean_abs == pytest.approx(mean, rel=1e-12)
    assert found.max_abs == finite_or_none(expected["max"])
    assert found.max_rel == finite_or_none(expected["max_rel"])
    if expected["first"] is None:
        assert found.first_index is None
    else:
        assert found.first_index == tuple(np.unravel_index(expected["first"], a.shape))
    if found.max_abs_index is not None and found.max_abs is not None:
        x, y = (float(widen(t[found.max_abs_index].reshape(1), dtype)[0]) for t in (a, b))
        assert abs(x - y) == found.max_abs
    close = [isclose(a, b, dtype, each) for each in (DEFAULT, bnb_tolerance(dtype))]
    assert (found.default, found.bnb) == tuple(bool(c.all()) for c in close)
    assert (found.default_close, found.bnb_close) == tuple(int(c.sum()) for c in close)
    same = expected["different_bits"] == 0
    passing = found.default or found.bnb
    assert found.verdict == ("identical" if same else "close" if passing else "different")


@settings(deadline=None, max_examples=200)
@given(float_pairs())
def test_smallest_atol_passes_and_the_next_smaller_does_not(
    case: tuple[str, np.ndarray, np.ndarray],
) -> None:
    dtype, a, b = case
    found = compare(a, b, dtype)
    if found.no_tolerance_passes:
        assert found.smallest_atol is None
        assert found.bnb_factor is None
        huge = Tolerance("huge", float(np.finfo(FORMATS[dtype].working).max), 1.0)
        assert not isclose(a, b, dtype, huge).all()
        return
    assert found.smallest_atol is not None
    assert isclose(a, b, dtype, Tolerance("found", found.smallest_atol, 0.0)).all()
    if found.smallest_atol > 0:
        carrier = np.dtype(np.float64) if dtype == "float64" else np.dtype(np.float32)
        if dtype == "float16":
            carrier = np.dtype(np.float16)
        if dtype == "bfloat16":
            raw = np.float32(found.smallest_atol).view(np.uint32) - np.uint32(1 << 16)
            smaller = float(raw.view(np.float32))
        else:
            smaller = float(np.nextafter(carrier.type(found.smallest_atol), carrier.type(0)))
        assert not isclose(a, b, dtype, Tolerance("less", smaller, 0.0)).all()


@settings(deadline=None, max_examples=100)
@given(
    hnp.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)),
    hnp.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)),
)
def test_bnb_factor_is_where_the_bnb_tolerance_begins_to_pass(a: np.ndarray, b: np.ndarray) -> None:
    found = compare(a, b)
    factor, named = found.bnb_factor, bnb_tolerance("float64")
    assert factor is not None
    for scale, passes in ((1 + 1e-9, True), (1 - 1e-9, factor == 0)):
        scaled = Tolerance("scaled", named.atol * factor * scale, named.rtol * factor * scale)
        if factor > 0 or passes:
            close = bool(isclose(a, b, "float64", scaled).all())
            # Near the smallest numbers of all, a factor cannot be made smaller by a part in a billion.
            assert close is passes or factor < 1e-290


CUTS = st.lists(st.integers(1, 29), max_size=4).map(tuple)


@settings(deadline=None, max_examples=150)
@given(CUTS, CUTS, st.integers(0, 2**32 - 1), st.sampled_from([*FORMATS, "int64", "uint8"]))
def test_where_chunks_end_makes_no_difference(
    cuts_a: tuple[int, ...], cuts_b: tuple[int, ...], seed: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    carrier = CARRIERS[dtype]
    raw = rng.integers(0, 256, 30 * 3 * carrier.itemsize, np.uint8).view(carrier).reshape(30, 3)
    other = np.where(rng.random((30, 3)) < 0.3, np.roll(raw, 1, 0), raw)
    plain = tensors.compare(whole(raw, dtype), whole(other, dtype))
    cut = tensors.compare(split(raw, cuts_a, dtype), split(other, cuts_b, dtype))
    assert replace(cut, a=plain.a, b=plain.b, chunks=()) == plain
    assert cut.a.shape == cut.b.shape == (30, 3)
    assert (cut.a.nan, cut.b.inf) == (plain.a.nan, plain.b.inf)
    if cut.chunks:
        assert [c.stop for c in cut.chunks] == [*sorted(set(cuts_a)), 30]
        wide = np.array(widen(raw, dtype) != widen(other, dtype) if dtype in FORMATS else raw != other)
        for chunk in cut.chunks:
            assert chunk.different == int(wide[chunk.start : chunk.stop].sum())
        assert sum(c.different for c in cut.chunks) == plain.different


def test_nothing_planted_is_identical_with_or_without_hashes() -> None:
    a = np.linspace(-1, 1, 40, dtype=np.float32)
    hashed = compare(a, a.copy())
    unhashed = tensors.compare(
        Chunked.of(Tensor(a, "float32"), "embs"), Chunked.of(Tensor(a.copy(), "float32"), "embs")
    )
    assert hashed.verdict == unhashed.verdict == "identical"
    assert (hashed.max_abs, hashed.max_ulp, hashed.smallest_atol, hashed.bnb_factor) == (0, 0, 0, 0)
    assert replace(unhashed, a=hashed.a, b=hashed.b) == hashed
    assert describe(hashed) == "Identical: all 40 elements have the same bytes."


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_ulp_in_one_place_is_found_and_measured(dtype: str) -> None:
    a = np.full((5, 8), 1.0, dtype)
    b = a.copy()
    b[3, 2] = np.nextafter(b[3, 2], CARRIERS[dtype].type(2))
    found = compare(a, b)
    assert (found.different, found.max_ulp) == (1, 1)
    assert found.first_index == found.max_abs_index == (3, 2)
    assert found.max_abs == float(np.finfo(dtype).eps)
    assert found.verdict == "close"
    # In float16 one step is 1e-3, far more than 1e-5 of it.
    assert found.tolerance == {"float16": "bnb"}.get(dtype, "default")


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1.0], [1.5], "The one value differs, by 0.5 at most"),
        ([1.0, 2.0], [1.5, 2.5], "All 2 values differ, by 0.5 at most"),
        ([1.0, 2.0], [1.0, 2.5], "1 of 2 values differs, by 0.5 at most"),
        ([1.0, 2.0, 3.0], [1.0, 2.5, 3.5], "2 of 3 values differ, by 0.5 at most"),
        ([0.0], [-0.0], "The one element differs in its bytes, no value does."),
    ],
)
def test_a_sentence_counts_as_a_person_would(a: list[float], b: list[float], said: str) -> None:
    assert describe(compare(np.array(a, np.float32), np.array(b, np.float32))).startswith(said)


def test_a_factor_is_no_power_of_ten_where_a_person_would_write_it_out() -> None:
    found = compare(np.array([1.0], np.float32), np.array([1.1], np.float32))
    assert found.bnb_factor is not None
    assert found.bnb_factor > 1000
    assert f"or {float(f'{found.bnb_factor:.3g}'):,.0f} times the bnb tolerance" in describe(found)


def test_negative_zero_is_other_bytes_and_the_same_value() -> None:
    a, b = np.zeros(10, np.float32), np.zeros(10, np.float32)
    b[4] = -0.0
    found = compare(a, b)
    assert (found.different_bits, found.different, found.max_ulp) == (1, 0, 0)
    assert (found.verdict, found.tolerance, found.first_index) == ("close", "default", (4,))
    assert "no value does" in describe(found)


def test_nans_equal_nothing_even_when_all_bytes_agree() -> None:
    a = np.array([1.0, np.nan, np.inf], np.float32)
    found = compare(a, a.copy())
    assert found.verdict == "identical"
    assert (found.default, found.bnb, found.no_tolerance_passes) == (False, False, True)
    assert (found.a.nan, found.b.nan, found.a.inf) == (1, 1, 1)
    assert (found.smallest_atol, found.default_close) == (None, 2)
    assert "NaN" in describe(found)


def test_another_nan_payload_is_other_bytes() -> None:
    a = np.array([0x7FC00000, 0], np.uint32).view(np.float32)
    b = np.array([0x7FC00001, 0], np.uint32).view(np.float32)
    found = compare(a, b)
    assert (found.verdict, found.different_bits, found.different) == ("different", 1, 1)


def test_a_planted_nan_makes_every_tolerance_fail() -> None:
    a = np.zeros(20, np.float32)
    b = a.copy()
    b[11] = np.nan
    found = compare(a, b)
    assert (found.verdict, found.b.nan, found.a.nan) == ("different", 1, 0)
    assert found.no_tolerance_passes
    assert found.max_abs == 0.0  # over the pairs of finite numbers
    assert "no tolerance passes" in describe(found)


def test_one_byte_of_packed_residuals() -> None:
    a = np.arange(60, dtype=np.uint8).reshape(10, 6)
    b = a.copy()
    b[9, 5] ^= 0x80
    found = compare(a, b)
    assert (found.verdict, found.different, found.max_abs) == ("different", 1, 128)
    assert found.first_index == (9, 5)
    assert (found.default, found.bnb, found.bnb_factor) == (None, None, None)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64"])
def test_integer_differences_of_every_dtype(dtype: str) -> None:
    rng = np.random.default_rng(1)
    info = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    a = rng.integers(info[0], info[1], 50, np.int64, endpoint=True).astype(dtype)
    b = rng.integers(info[0], info[1], 50, np.int64, endpoint=True).astype(dtype)
    a[0], b[0] = info
    found = compare(a, b)
    gaps = [abs(int(x) - int(y)) for x, y in zip(a, b, strict=True)]
    assert found.max_abs == found.max_ulp == max(gaps) == info[1] - info[0]
    assert found.mean_abs == pytest.approx(sum(gaps) / 50)


def test_a_permutation_of_integers_is_the_same_set() -> None:
    a = np.array([5, 3, 3, 9, 1, 0, 7, 7, 7, 2], np.int64)
    b = np.random.default_rng(0).permutation(a)
    found = compare(a, b)
    assert (found.verdict, found.same_set) == ("same set", "whole")
    b[b == 9] = 8
    assert compare(a, b).verdict == "different"


def test_swapped_ties_are_the_same_set_per_group_and_a_move_is_not() -> None:
    ids = np.array([4, 7, 1, 0, 9, 8, 2, 3, 5, 6], np.int64)
    lengths = np.array([3, 0, 5, 2])
    groups = Groups(lengths, lengths)
    swapped = ids[[1, 0, 2, 3, 4, 7, 6, 5, 8, 9]]
    found = tensors.compare(whole(ids), whole(swapped), groups)
    assert (found.verdict, found.same_set) == ("same set", "per group")
    assert (found.groups, found.groups_equal) == (4, 4)
    moved = ids[[3, 1, 2, 0, 4, 5, 6, 7, 8, 9]]  # token ids 4 and 0 change groups
    found = tensors.compare(whole(ids), whole(moved), groups)
    assert (found.verdict, found.groups_equal) == ("different", 2)


def test_padding_after_the_last_group_counts() -> None:
    a = np.array([1, 2, 3, 0, 0], np.int32)
    groups = Groups(np.array([2, 1]), np.array([2, 1]))
    swapped, padded = a[[1, 0, 2, 3, 4]], np.array([2, 1, 3, 0, 9], np.int32)
    assert tensors.compare(whole(a), whole(swapped), groups).verdict == "same set"
    assert tensors.compare(whole(a), whole(padded), groups).verdict == "different"


def test_another_shape_still_says_how_many_groups_agree() -> None:
    a, b = np.array([1, 2, 3, 4], np.int32), np.array([2, 1, 4], np.int32)
    found = tensors.compare(whole(a), whole(b), Groups(np.array([2, 2]), np.array([2, 1])))
    assert (found.verdict, found.groups, found.groups_equal) == ("shape mismatch", 2, 1)
    assert found.different is None
    assert "int32 [4] in A, int32 [3] in B" in describe(found)
    assert "1 of 2 groups" in describe(found)


@pytest.mark.parametrize(
    ("a", "b", "verdict", "different"),
    [
        ([4, 5, 6], [4, 5, 6, 0, 0, 0], "same set", 0),
        ([4, 5, 6, *[0] * 20], [5, 4, 6, 0], "same set", 2),
        ([4, 5, 6], [4, 5, 6, 0, 1], "shape mismatch", None),
        ([4, 5, 6], [4, 6, 5, 0], "shape mismatch", None),
    ],
)
def test_zeros_after_the_last_group_are_padding(a, b, verdict, different):
    lengths = np.array([2, 1])
    found = tensors.compare(whole(np.array(a)), whole(np.array(b)), Groups(lengths, lengths))
    assert (found.verdict, found.different) == (verdict, different)
    assert (found.a.shape, found.b.shape) == ((len(a),), (len(b),))
    padding = f"{len(a) - 3} zeros in A, {len(b) - 3} zeros in B."
    assert describe(found).endswith(padding) == (verdict == "same set")


@pytest.mark.parametrize(("a", "b"), [((3, 4), (4, 3)), ((12,), (3, 4)), ((), (1,)), ((0,), (1,))])
def test_shapes_that_differ_are_a_shape_mismatch(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    left, right = np.full(a, np.nan, np.float32), np.zeros(b, np.float32)
    found = compare(left, right)
    assert found.verdict == "shape mismatch"
    assert found.a.nan == left.size


def test_other_dtypes_are_different_and_their_values_still_compared() -> None:
    a = np.array([1.0, 2.0, 1e-4, np.inf], np.float32)
    b = a.astype(np.float16)
    b[1] = 2.5
    found = compare(a, b)
    assert (found.verdict, found.different, found.max_abs, found.max_abs_index) == (
        "different",
        2,
        0.5,
        (1,),
    )
    assert (found.default, found.max_ulp, found.different_bits) == (None, None, None)
    assert "float32 in A, float16 in B" in describe(found)
    signalling = np.array([0x7F800001, 0, 0, 0], np.uint32).view(np.float32)
    assert compare(signalling, b).different == 4
    integers = compare(np.arange(4, dtype=np.int32), np.arange(4, dtype=np.int64))
    assert (integers.verdict, integers.different) == ("different", 0)


def test_chunks_of_unlike_width_are_compared_flat_and_only_with_their_like() -> None:
    def ragged(*shapes: tuple[int, int]) -> Chunked:
        parts = tuple(Tensor(np.zeros(s, np.float32), "float32") for s in shapes)
        return Chunked("batches", tuple(f"batches/{n}" for n in range(len(parts))), parts, ("",) * len(parts))

    assert tensors.compare(ragged((2, 3), (2, 4)), ragged((2, 3), (2, 4))).verdict == "identical"
    assert tensors.compare(ragged((2, 3), (2, 4)), ragged((2, 4), (2, 3))).verdict == "shape mismatch"


def test_scalars_and_empty_tensors() -> None:
    found = compare(np.array(1.5, np.float32), np.array(1.25, np.float32))
    assert (found.max_abs, found.max_abs_index, found.verdict) == (0.25, (), "different")
    empty = np.zeros((0, 4), np.float32)
    found = compare(empty, empty)
    assert (found.verdict, found.mean_abs, found.elements) == ("identical", None, 0)
    assert compare(np.zeros(0, np.int64), np.zeros(0, np.int64)).verdict == "identical"


def test_the_factor_and_the_index_survive_numbers_that_overflow() -> None:
    top = np.finfo(np.float64).max
    found = compare(np.array([top, 0.0]), np.array([-top, 0.0]))
    assert found.max_abs is None  # their difference is no float64
    assert found.no_tolerance_passes
    half = compare(np.array([65504.0], np.float16), np.array([-65504.0], np.float16))
    assert half.max_abs == 131008.0
    assert half.no_tolerance_passes  # torch's own difference is infinite in float16


def test_memory_does_not_grow_with_the_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "BLOCK", 1 << 16)
    peaks = []
    for size in (1 << 19, 1 << 22):
        sides = []
        for name, seed in (("a", 1), ("b", 2)):
            path = tmp_path / f"{name}{size}"
            np.random.default_rng(seed).standard_normal(size, np.float32).tofile(path)
            sides.append(Chunked.of(Tensor(np.memmap(path, np.float32, "r"), "float32")))
        tracemalloc.start()
        tensors.compare(*sides)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2
