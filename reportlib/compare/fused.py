"""The same pass over two large tensors as `reportlib.compare.tensors` makes, compiled: at the speed of memory.

numpy takes a dozen passes over temporaries for what one loop does in registers. Compiling takes seconds where it was
not done before, so that only large tensors come here. Each block of `BLOCK` elements gives one row of partial results,
whatever thread computes it, and rows are put together in order: no number depends on the threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a cache that cannot be written to is no matter
    import numba

from reportlib.compare.chunks import BLOCK, Chunked
from reportlib.compare.verdicts import DEFAULT, Tolerance, bnb_tolerance
from reportlib.floats import FORMATS, Array, bits, is_float, narrow, widen

#: What a block gives as whole numbers: counts, then positions in the block (-1 for none), then sums modulo 2**64.
COUNTS = ("different", "different_bits", "nan_a", "inf_a", "nan_b", "inf_b", "odd", "lost", "not_default", "not_bnb",
          "first", "max_at", "max_ulp", "balance")  # fmt: skip
#: And as float64.
SUMS = ("sum_abs", "max_abs", "max_rel", "atol", "factor")
_SLACK = 1 - 1e-12
#: A block of smaller distances adds up to a whole number that float64 has.
_EXACT = 2**53 // BLOCK

Row = dict[str, Any]


def rows(a: Chunked, b: Chunked) -> Iterator[tuple[int, Row]]:
    """Yield where each block starts that has anything to tell, and what it gives.

    Parameters
    ----------
    a, b : Chunked
        Of one dtype and size.
    """
    for start, left, right in _stretches(a, b):
        number = -(-left.size // BLOCK)
        counts = np.zeros((number, len(COUNTS)), np.int64)
        sums = np.zeros((number, len(SUMS)))
        if is_float(a.dtype):
            _floats(left, right, a.dtype, counts, sums)
        else:
            # 32 bits hold what a block of 8-bit numbers adds up to, and twice as many of them fit a register.
            zero = np.zeros(1, np.int32 if left.itemsize == 1 else np.uint64)
            _integer_blocks(_integers(left), _integers(right), zero, BLOCK, counts, sums)
        for block in np.flatnonzero((counts[:, 1] > 0) | (counts[:, 6] > 0)):
            told: Row = dict(zip(COUNTS, counts[block].tolist(), strict=True))
            told |= zip(SUMS, sums[block].tolist(), strict=True)
            if not is_float(a.dtype):
                told["max_abs"] = told["max_ulp"] % 2**64  # a float would round it
            yield start + int(block) * BLOCK, told


def _stretches(a: Chunked, b: Chunked) -> Iterator[tuple[int, Array, Array]]:
    """Yield whole blocks that lie in one chunk of each side as they lie there, and a block across an end by itself."""
    ends = sorted({*a.offsets(), *b.offsets()})
    start, size = 0, a.size
    for end in ends:
        whole = min((end // BLOCK) * BLOCK, size) if end < size else size
        if whole > start:
            yield start, a.flat(start, whole), b.flat(start, whole)
            start = whole
        if start < end < size:
            stop = min(start + BLOCK, size)
            yield start, a.flat(start, stop), b.flat(start, stop)
            start = stop


def _integers(array: Array) -> Array:
    return array.view(np.uint8) if array.dtype == np.bool_ else array


def _floats(
    left: Array, right: Array, dtype: str, counts: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]
) -> None:
    layout, bnb = FORMATS[dtype], bnb_tolerance(dtype)
    magnitude, infinity = (layout.bits.type(value) for value in (layout.magnitude, layout.infinity))
    a, b = bits(left, dtype), bits(right, dtype)
    if layout.bits.itemsize == 2:
        values, default, wide = _tables(dtype)
        _half_blocks(a, b, magnitude, infinity, values, default, wide, bnb.atol, bnb.rtol, BLOCK, counts, sums)
        sums[:, 3] = narrow(sums[:, 3].astype(np.float32), dtype)
        return
    number = layout.working.type
    limits = [number(limit) for tolerance in (DEFAULT, bnb) for limit in (tolerance.atol, tolerance.rtol)]
    _wide_blocks(a, b, left, right, magnitude, infinity, *limits, bnb.atol, bnb.rtol, BLOCK, counts, sums)


@cache
def _tables(dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return, by the bits of a half-precision number, its value and the largest difference within each tolerance.

    torch rounds the difference to the dtype before it compares it. Rounding keeps order, so there is a largest float32
    that rounds to no more than what is allowed.
    """
    every = np.arange(1 << 16, dtype=np.uint16)
    carried = every if dtype == "bfloat16" else every.view(np.float16)
    with np.errstate(all="ignore"):
        values = widen(carried, dtype).astype(np.float32)
        limits = [_limit(values, dtype, tolerance) for tolerance in (DEFAULT, bnb_tolerance(dtype))]
    return values, limits[0], limits[1]


def _limit(values: npt.NDArray[Any], dtype: str, tolerance: Tolerance) -> npt.NDArray[Any]:
    scaled = np.abs(narrow(np.float32(tolerance.rtol) * values, dtype))
    allowed = narrow(narrow(np.array([tolerance.atol], np.float32), dtype) + scaled, dtype)
    low, high = np.float32(0), np.finfo(np.float32).max
    # Halve the interval of float32 bits, in which order is that of the numbers.
    lower = np.full(values.shape, low).view(np.uint32).copy()
    upper = np.full(values.shape, high).view(np.uint32).copy()
    for _ in range(33):
        middle = lower + (upper - lower + np.uint32(1)) // np.uint32(2)
        rounded = narrow(middle.view(np.float32), dtype)
        fits = np.isfinite(rounded) & (rounded <= allowed)
        lower = np.where(fits, middle, lower)
        upper = np.where(fits, upper, np.maximum(middle, np.uint32(1)) - np.uint32(1))
    return lower.view(np.float32)


def _compiled(function: Any, **options: Any) -> Any:
    try:
        return numba.njit(function, cache=True, error_model="numpy", nogil=True, **options)
    except RuntimeError:  # no place to keep it in: compiled in every process that needs it
        return numba.njit(function, error_model="numpy", nogil=True, **options)


_parallel = partial(_compiled, parallel=True)


@_compiled
def _alike(a: Any, b: Any) -> Any:
    """Return whether two blocks have the same bits; without a branch, so by wide words."""
    unlike = False
    for i in range(a.size):
        unlike |= a[i] != b[i]
    return not unlike


@_compiled
def _finite(a: Any, magnitude: Any, infinity: Any) -> Any:
    """Return whether all of a block is finite, in the same way."""
    odd = False
    for i in range(a.size):
        odd |= (a[i] & magnitude) >= infinity
    return not odd


@_compiled
def _unequal(a: Any, b: Any, where: Any) -> Any:
    """Fill `where` with the places of unequal bits, and return how many there are; without a branch to mispredict."""
    count = 0
    for i in range(a.size):
        where[count] = i
        count += a[i] != b[i]
    return count


@_compiled
def _without_odd(a: Any, b: Any, magnitude: Any, infinity: Any, where: Any, count: Any, row: Any) -> Any:
    """Count what is not finite into a block's `row`, and return how many places are left of `where` without it."""
    for i in range(a.size):
        x, y = a[i] & magnitude, b[i] & magnitude
        if x >= infinity or y >= infinity:
            row[2] += x > infinity
            row[3] += x == infinity
            row[4] += y > infinity
            row[5] += y == infinity
            row[6] += 1
            row[7] += a[i] != b[i] or x > infinity
    left = 0
    for k in range(count):
        i = where[k]
        where[left] = i
        left += (a[i] & magnitude) < infinity and (b[i] & magnitude) < infinity
    return left


@_compiled
def _places(a: Any, b: Any, magnitude: Any, infinity: Any, where: Any, row: Any) -> Any:
    """Return how many places of `where` hold finite numbers of unequal bits; what else a block has goes into `row`."""
    finite = _finite(a, magnitude, infinity) and _finite(b, magnitude, infinity)
    if finite and _alike(a, b):
        return 0
    count = _unequal(a, b, where)
    row[1], row[10] = count, where[0] if count else -1
    return count if finite else _without_odd(a, b, magnitude, infinity, where, count, row)


@_parallel
def _half_blocks(
    a: Any, b: Any, magnitude: Any, infinity: Any, values: Any, default: Any, bnb: Any, atol: Any, rtol: Any,
    size: Any, counts: Any, sums: Any,
) -> None:  # fmt: skip
    """Fill a row for each block of two half-precision tensors, given as their bits."""
    for block in numba.prange(counts.shape[0]):
        left, right = a[block * size : block * size + size], b[block * size : block * size + size]
        where = np.empty(left.size, np.int32)
        count = _places(left, right, magnitude, infinity, where, counts[block])
        ulp: Any = 0
        top, different, beyond_default, beyond_bnb = -1, 0, 0, 0
        total, most, relative, step, factor = 0.0, -1.0, 0.0, 0.0, 0.0
        for k in range(count):
            x, y = left[where[k]], right[where[k]]
            actual = abs(values[x] - values[y])
            different += values[x] != values[y]
            beyond_default += actual > default[y]
            beyond_bnb += actual > bnb[y]
            step = max(step, np.float64(actual))
            distance, magnitude_b = abs(np.float64(values[x]) - np.float64(values[y])), abs(np.float64(values[y]))
            total += distance
            if distance > most:
                most, top = distance, where[k]
            here, there = np.int64(x & magnitude), np.int64(y & magnitude)
            ulp = max(ulp, here + there if (x ^ y) > magnitude else abs(here - there))
            if magnitude_b > 0 and distance >= relative * magnitude_b * _SLACK:
                relative = max(relative, distance / magnitude_b)
            allowed = atol + rtol * magnitude_b
            if distance >= factor * allowed * _SLACK:
                factor = max(factor, distance / allowed)
        counts[block, 0], counts[block, 8], counts[block, 9] = different, beyond_default, beyond_bnb
        counts[block, 11], counts[block, 12] = top, ulp
        sums[block, 0], sums[block, 1], sums[block, 2] = total, most, relative
        sums[block, 3], sums[block, 4] = step, factor


@_parallel
def _wide_blocks(
    a: Any, b: Any, left_values: Any, right_values: Any, magnitude: Any, infinity: Any, atol_d: Any, rtol_d: Any,
    atol_b: Any, rtol_b: Any, atol: Any, rtol: Any, size: Any, counts: Any, sums: Any,
) -> None:  # fmt: skip
    """Fill a row for each block of two tensors of float32 or float64, given as their bits and their values."""
    for block in numba.prange(counts.shape[0]):
        start = block * size
        left, right = a[start : start + size], b[start : start + size]
        where = np.empty(left.size, np.int32)
        count = _places(left, right, magnitude, infinity, where, counts[block])
        top, different, beyond_default, beyond_bnb = -1, 0, 0, 0
        ulp, total, most, relative, step, factor = np.uint64(0), 0.0, -1.0, 0.0, 0.0, 0.0
        for k in range(count):
            x, y = left[where[k]], right[where[k]]
            value_a, value_b = left_values[start + where[k]], right_values[start + where[k]]
            actual = abs(value_a - value_b)
            different += value_a != value_b
            finite = np.isfinite(actual)
            beyond_default += not (finite and actual <= atol_d + abs(rtol_d * value_b))
            beyond_bnb += not (finite and actual <= atol_b + abs(rtol_b * value_b))
            step = max(step, np.float64(actual))
            distance, magnitude_b = abs(np.float64(value_a) - np.float64(value_b)), abs(np.float64(value_b))
            total += distance
            if distance > most:
                most, top = distance, where[k]
            here, there = np.uint64(x & magnitude), np.uint64(y & magnitude)
            ulp = max(ulp, here + there if (x ^ y) > magnitude else max(here, there) - min(here, there))
            if magnitude_b > 0 and distance >= relative * magnitude_b * _SLACK:
                relative = max(relative, distance / magnitude_b)
            allowed = atol + rtol * magnitude_b
            if distance >= factor * allowed * _SLACK:
                factor = max(factor, distance / allowed)
        counts[block, 0], counts[block, 8], counts[block, 9] = different, beyond_default, beyond_bnb
        counts[block, 11], counts[block, 12] = top, np.int64(ulp)
        sums[block, 0], sums[block, 1], sums[block, 2] = total, most, relative
        sums[block, 3], sums[block, 4] = step, factor


@_compiled
def _distance(x: Any, y: Any) -> Any:
    return np.uint64(max(x, y)) - np.uint64(min(x, y))


@_parallel
def _integer_blocks(a: Any, b: Any, zero: Any, size: Any, counts: Any, sums: Any) -> None:
    """Fill a row for each block of two tensors of whole numbers, which are added up in the type of the array `zero`."""
    kind = zero.dtype.type
    for block in numba.prange(counts.shape[0]):
        left, right = a[block * size : block * size + size], b[block * size : block * size + size]
        if _alike(left, right):
            continue
        different, balance, total, most = kind(0), kind(0), kind(0), kind(0)
        for i in range(left.size):
            distance = kind(_distance(left[i], right[i]))
            different = kind(different + kind(left[i] != right[i]))
            balance = kind(balance + kind(kind(left[i]) - kind(right[i])))
            total = kind(total + distance)
            most = max(most, distance)
        first = top = 0
        while left[first] == right[first]:
            first += 1
        while kind(_distance(left[top], right[top])) != most:
            top += 1
        sum_abs: Any = np.float64(total)
        if np.uint64(most) >= _EXACT:
            sum_abs = 0.0
            for i in range(left.size):
                sum_abs += np.float64(_distance(left[i], right[i]))
        counts[block, 0], counts[block, 1], counts[block, 12] = different, different, np.int64(most)
        counts[block, 10], counts[block, 11], counts[block, 13] = first, top, np.int64(balance)
        sums[block, 0] = sum_abs
