"""Whether two runs of integers hold the same set, whole or group by group, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from reportlib.compare import chunks
from reportlib.compare.chunks import Chunked
from reportlib.floats import Array

#: Counters held at a time when counting values: 64 MiB of int64.
WINDOW = 1 << 23
#: Passes over the data before sorting in memory is the better way.
MOST_PASSES = 32

Integers = npt.NDArray[np.int64]


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
