"""The result of comparing one artifact: its verdict, whether integers are the same set, and which floats are close."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportlib.compare import chunks
from reportlib.compare.chunks import Chunked
from reportlib.floats import Array, Floats, narrow, widen

# Whether two runs of integers hold the same set, whole or group by group, in bounded memory.

#: Counters held at a time when counting values: 64 MiB of int64.
WINDOW = 1 << 23
#: Passes over the data before sorting in memory is the better way.
MOST_PASSES = 32

Integers = npt.NDArray[np.int64]
#: From best to worst.
VERDICTS = ("identical", "close", "same set", "different", "shape mismatch", "missing")


def is_permutation(a: Chunked, b: Chunked) -> bool:
    """Return whether integers `a` and `b` hold every value equally often.

    Values are counted, a window of them at a time, so memory does not grow with the tensors. Only
    where the values spread over more than ``WINDOW * MOST_PASSES`` are both sides sorted in memory.
    """
    if a.size != b.size:
        return False
    if a.size == 0:
        return True
    low, high = _range(a)
    if (low, high) != _range(b):
        return False
    if high - low >= WINDOW * MOST_PASSES:
        return bool(np.array_equal(np.sort(a.flat(0, a.size)), np.sort(b.flat(0, b.size))))
    for start in range(low, high + 1, WINDOW):
        stop = min(start + WINDOW, high + 1)
        counts = np.zeros(stop - start, np.int64)
        everything = stop - start > high - low
        for side, sign in ((a, 1), (b, -1)):
            _count(side, start, counts, sign, everything=everything)
        if counts.any():
            return False
    return True


def _range(values: Chunked) -> tuple[int, int]:
    extremes = [(int(block.min()), int(block.max())) for _, block in values.blocks()]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _count(values: Chunked, start: int, counts: Integers, sign: int, *, everything: bool) -> None:
    """Add to `counts` how often each number from `start` on occurs."""
    for _, block in values.blocks(max(chunks.BLOCK, counts.size)):
        whole = block.astype(np.int64) - start
        if not everything:
            whole = whole[(whole >= 0) & (whole < counts.size)]
        counts += sign * np.bincount(whole, minlength=counts.size)


def runs(lengths_a: Integers, lengths_b: Integers, limit: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of groups of at most `limit` elements, both sides together.

    A group larger than `limit` comes alone.
    """
    limit = limit or 2 * chunks.BLOCK
    ends = np.cumsum(lengths_a + lengths_b)
    first, done = 0, 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, done + limit, "right")), first + 1)
        yield first, last
        first, done = last, int(ends[last - 1])


def sorted_within(values: Array, lengths: Integers) -> Integers:
    """Return `values` with every group sorted; groups lie one after another, `lengths` long."""
    group = np.repeat(np.arange(len(lengths)), lengths)
    whole = values.astype(np.int64)
    if whole.size == 0:
        return whole
    low = int(whole.min())
    span = int(whole.max()) - low + 1
    if span * len(lengths) < 2**62:
        # One sort of a combined key is several times faster than lexsort.
        return np.asarray(np.sort(group * span + (whole - low)) - group * span + low)
    return np.asarray(whole[np.lexsort((whole, group))])


def equal_groups(a: Array, lengths_a: Integers, b: Array, lengths_b: Integers) -> npt.NDArray[np.bool_]:
    """Return for each group whether it has the same length and, place by place, the same values.

    Parameters
    ----------
    a, b : numpy.ndarray
        Integers; groups lie one after another.
    lengths_a, lengths_b : numpy.ndarray
        int64, as many on both sides.

    Returns
    -------
    numpy.ndarray
        bool, one per group.
    """
    same = np.asarray(lengths_a == lengths_b)
    keep_a, keep_b = np.repeat(same, lengths_a), np.repeat(same, lengths_b)
    group = np.repeat(np.arange(len(lengths_a)), lengths_a)[keep_a]
    same[group[a[keep_a] != b[keep_b]]] = False
    return same


def same_sets(a: Chunked, lengths_a: Integers, b: Chunked, lengths_b: Integers) -> npt.NDArray[np.bool_]:
    """Return for each group whether both sides hold the same integers in it, in whatever order.

    Parameters
    ----------
    a, b : Chunked
        Integers; groups lie one after another from the first element on.
    lengths_a, lengths_b : numpy.ndarray
        int64, one per group, as many on both sides; their sums at most the sizes of `a` and `b`.

    Returns
    -------
    numpy.ndarray
        bool, one per group.
    """
    starts_a = np.concatenate(([0], np.cumsum(lengths_a)))
    starts_b = np.concatenate(([0], np.cumsum(lengths_b)))
    result = np.zeros(len(lengths_a), np.bool_)
    for first, last in runs(lengths_a, lengths_b):
        la, lb = lengths_a[first:last], lengths_b[first:last]
        left = sorted_within(a.flat(int(starts_a[first]), int(starts_a[last])), la)
        right = sorted_within(b.flat(int(starts_b[first]), int(starts_b[last])), lb)
        result[first:last] = equal_groups(left, la, right, lb)
    return result


def counts(codes: Chunked) -> Integers:
    """Return how often each number from 0 up occurs in non-negative integers."""
    total = np.zeros(0, np.int64)
    for _, block in codes.blocks():
        found = np.bincount(block, minlength=total.size)
        found[: total.size] += total
        total = found
    return total


def zeros_from(values: Chunked, start: int) -> bool:
    """Return whether integers are all 0 from the flat position `start` on, as colbert-ai pads an `ivf`."""
    size, step = values.size, chunks.BLOCK
    return not any(values.flat(at, min(at + step, size)).any() for at in range(start, size, step))


# What a comparison of two tensors says: records of numbers, and one sentence drawn from them.

#: Between small numbers of unlike sign lie millions of others: a distance that tells nothing.
TELLING_ULP = 65_536


@dataclass(frozen=True)
class Side:
    """What is known of one side's artifact by itself.

    Attributes
    ----------
    dtype : str
        As torch prints it.
    shape : tuple of int
        Of the chunks together.
    sha256 : tuple of str
        Of each chunk, from the manifest.
    rows : tuple of int
        Length of each chunk's first axis.
    nan, inf : int or None
        How many; None where the dtype has neither.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: tuple[str, ...]
    rows: tuple[int, ...]
    nan: int | None = None
    inf: int | None = None


@dataclass(frozen=True)
class ChunkDifference:
    """How many values differ along one of A's chunks (`start` to `stop` in rows)."""

    name: str
    start: int
    stop: int
    different: int


@dataclass(frozen=True)
class TensorComparison:
    """How artifact B differs from artifact A. ``docs/schema.md`` describes every field.

    Distances are over pairs of finite numbers, in float64; None where there is no such pair or they
    make no sense (unequal shapes). `max_ulp` and the tolerances need equal dtypes.
    """

    verdict: str
    a: Side
    b: Side
    tolerance: str | None = None
    elements: int | None = None
    different: int | None = None
    different_bits: int | None = None
    first_index: tuple[int, ...] | None = None
    mean_abs: float | None = None
    max_abs: float | int | None = None
    max_abs_index: tuple[int, ...] | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    default: bool | None = None
    bnb: bool | None = None
    default_close: int | None = None
    bnb_close: int | None = None
    smallest_atol: float | None = None
    bnb_factor: float | None = None
    no_tolerance_passes: bool = False
    same_set: str | None = None
    groups: int | None = None
    groups_equal: int | None = None
    chunks: tuple[ChunkDifference, ...] = ()


@dataclass(frozen=True)
class Groups:
    """How long each group is on each side (int64): within one, order means nothing."""

    a: Integers
    b: Integers


@dataclass(frozen=True)
class ValueDifference:
    """The first place where two plain values differ, and how many places do.

    Attributes
    ----------
    path : str
        JSON pointer into the value.
    a, b : str or None
        What stands there, shortened; None where nothing does.
    different, total : int
        Of the numbers, strings and nulls that a value is made of, counting those on one side only.
    """

    path: str
    a: str | None
    b: str | None
    different: int
    total: int


def describe(found: TensorComparison) -> str:
    """Return the comparison in a sentence or two."""
    if found.verdict == "shape mismatch":
        text = f"Shapes differ: {_typed(found.a)} in A, {_typed(found.b)} in B."
        if found.groups:
            text += f" {found.groups_equal:,} of {found.groups:,} groups hold the same set."
        return text
    if found.verdict == "same set" and found.a.shape != found.b.shape:
        return _padding(found)
    if found.verdict == "identical":
        text = f"Identical: all {found.elements:,} elements have the same bytes."
        return text + _nans(found)
    if found.a.dtype != found.b.dtype:
        return (
            f"The dtypes differ: {found.a.dtype} in A, {found.b.dtype} in B. "
            f"{_differ(found.different, found.elements, 'value')}{_by_at_most(found)}."
        )
    if found.default is None:
        return _integers(found)
    return _floats(found)


def _differ(part: int | None, whole: int | None, noun: str) -> str:
    """Return ``The one value differs``, ``All 96 values differ``, ``1 of 96 values differs``."""
    part, whole = part or 0, whole or 0
    verb = "differs" if part == 1 else "differ"
    if part == whole > 0:
        return f"The one {noun} differs" if whole == 1 else f"All {whole:,} {noun}s differ"
    return f"{part:,} of {whole:,} {noun}{'s' * (whole != 1)} {verb}"


def _times(factor: float) -> str:
    """Return a factor as a reader says it: ``11.4``, ``4,390``; powers of ten only from a million on."""
    rounded = float(f"{factor:.3g}")
    return f"{rounded:,.0f}" if 100 <= rounded < 1e6 else f"{rounded:.3g}"


def _typed(side: Side) -> str:
    return f"{side.dtype} {list(side.shape)}"


def _by_at_most(found: TensorComparison) -> str:
    return "" if found.max_abs is None else f", by {found.max_abs:.3g} at most"


def _nans(found: TensorComparison) -> str:
    if not (found.a.nan or found.b.nan):
        return ""
    return f" NaNs: {found.a.nan or 0:,} in A, {found.b.nan or 0:,} in B; a NaN is close to nothing."


def _integers(found: TensorComparison) -> str:
    text = _differ(found.different, found.elements, "element")
    if found.same_set == "whole":
        return f"{text}; both sides hold the same numbers in another order."
    if found.same_set == "per group":
        return f"{text}; every one of {found.groups:,} groups holds the same set in another order."
    if found.groups is not None:
        return f"{text}; {found.groups_equal:,} of {found.groups:,} groups hold the same set."
    return f"{text}{_by_at_most(found)}."


def _padding(found: TensorComparison) -> str:
    order = " in another order" if found.different else ""
    zeros_a, zeros_b = (side.shape[0] - (found.elements or 0) for side in (found.a, found.b))
    return (
        f"Every one of {found.groups:,} groups holds the same set{order}; "
        f"what differs is the padding after the last: {zeros_a:,} zeros in A, {zeros_b:,} zeros in B."
    )


def _floats(found: TensorComparison) -> str:
    if found.different == 0:
        whose = "its" if found.different_bits == 1 else "their"
        return f"{_differ(found.different_bits, found.elements, 'element')} in {whose} bytes, no value does."
    text = f"{_differ(found.different, found.elements, 'value')}{_by_at_most(found)}"
    if found.max_ulp and found.max_ulp <= TELLING_ULP:
        text += f" ({found.max_ulp:,} ULP)"
    if found.tolerance:
        return f"{text}; they are close by the {found.tolerance} tolerance."
    if found.no_tolerance_passes:
        return f"{text}; no tolerance passes." + _nans(found)
    return (
        f"{text}; neither tolerance passes: it would take atol = {found.smallest_atol:.3g} with "
        f"rtol = 0, or {_times(found.bnb_factor or 0)} times the bnb tolerance."
    )


# The posts' two tolerances, as `torch.allclose` applies them, without torch and to the last bit.
#
# The formula is ``|a - b| <= atol + rtol * |b|``. torch evaluates it in the tensors' own dtype: every step is rounded
# to float16 or bfloat16 where those are compared, so near the edge the answer differs from what the same numbers give
# in float32. `isclose` rounds where torch rounds (``isclose`` in ATen/native/TensorCompare.cpp: the product, the sum,
# the difference), which ``tests/integration/test_allclose.py`` checks against a real torch.
#
# torch itself changed here: 2.0.1 also rounds rtol to float16 or bfloat16 before the product, 2.1.0 does not. So
# `torch.allclose` of one pair of half-precision tensors can answer differently in the two versions. Followed is 2.1.0,
# whatever the versions compared: a report judges all its artifacts by one rule.


@dataclass(frozen=True)
class Tolerance:
    """A named pair of an absolute and a relative tolerance."""

    name: str
    atol: float
    rtol: float


#: torch.allclose's own.
DEFAULT = Tolerance("default", 1e-8, 1e-5)

#: What bitsandbytes' tests allow for each dtype, as the posts used it.
_BNB = {
    "float32": Tolerance("bnb", 1e-6, 1e-5),
    "bfloat16": Tolerance("bnb", 1e-3, 1e-2),
}


def bnb_tolerance(dtype: str) -> Tolerance:
    """Return the bitsandbytes tolerance for a floating-point `dtype`."""
    return _BNB.get(dtype, Tolerance("bnb", 1e-4, 1e-3))


def isclose(a: Array, b: Array, dtype: str, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Return elementwise what ``torch.isclose(a, b, rtol, atol)`` returns for tensors of `dtype`.

    Parameters
    ----------
    a, b : numpy.ndarray
        Carrier arrays of one shape: `a` is torch's input, `b` its other.
    dtype : str
        A floating-point dtype.
    tolerance : Tolerance
        Neither number negative.

    Returns
    -------
    numpy.ndarray
        bool, of that shape. Equal infinities are close; a NaN is close to nothing.
    """
    left, right = widen(a, dtype), widen(b, dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        equal = np.asarray(left == right)
        if tolerance.atol == 0 and tolerance.rtol == 0:
            return equal
        return equal | within(error(left, right, dtype), right, dtype, tolerance)


def error(left: Floats, right: Floats, dtype: str) -> Floats:
    """Return torch's "actual error": ``|left - right|`` of widened values, rounded to `dtype`."""
    return np.asarray(np.abs(narrow(left - right, dtype)))


def within(actual: Floats, right: Floats, dtype: str, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Return where an error is finite and within torch's "allowed error" for widened `right`."""
    number = right.dtype.type
    scaled = np.abs(narrow(number(tolerance.rtol) * right, dtype))
    # torch 2.1 keeps rtol in float32 for the product but rounds atol before the sum.
    atol = narrow(np.array([tolerance.atol], number), dtype)
    allowed = narrow(atol + scaled, dtype)
    return np.asarray(np.isfinite(actual) & (actual <= allowed))
