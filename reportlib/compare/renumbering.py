"""Centroids that are the same under other numbers: k-means numbers them as it pleases, and codes and ivf follow.

A's centroids are matched to B's, first by their bytes, then as each other's nearest; then A's codes and lists are
compared with B's under B's numbers.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked
from reportlib.compare.verdicts import Groups, Integers, equal_groups, runs, sorted_within
from reportlib.floats import Array, bits, not_finite, widen
from reportlib.words.formats import plural

#: Centroids left after matching by bytes, of which the nearest are still looked for: their distances take the square.
MOST_NEAREST = 1 << 14
#: Distances in memory at a time.
_DISTANCES = 1 << 22


@dataclass(frozen=True)
class Renumbering:
    """How A's centroids stand among B's whatever their number, and what codes and lists are under B's numbers.

    Attributes
    ----------
    centroids : int
        How many each side has.
    by_bytes : int
        How many of A's have one in B of equal bytes.
    by_nearest : int or None
        Of those left, how many are each other's nearest; None where more than `MOST_NEAREST` are left.
    moved : int
        How many that match have another number.
    codes : int
        How many there are.
    codes_different : int
        How many of A's, under B's numbers, are not B's.
    lists, lists_equal : int or None
        How many lists the ivf has, and how many hold the same set under B's numbers; None where that cannot be said.
    """

    centroids: int
    by_bytes: int
    by_nearest: int | None
    moved: int
    codes: int
    codes_different: int
    lists: int | None = None
    lists_equal: int | None = None

    @property
    def explains(self) -> bool:
        """Whether all centroids are the same, and so are codes and lists under B's numbers."""
        return self.by_bytes == self.centroids and not self.codes_different and self.lists == self.lists_equal

    @property
    def text(self) -> str:
        """The same in words."""
        matched = f"{self.by_bytes:,} of {plural(self.centroids, 'centroid')} match by their bytes"
        if self.by_nearest is None:
            matched += f", the {self.centroids - self.by_bytes:,} left are too many to look for the nearest"
        elif self.by_bytes < self.centroids:
            matched += f" and {self.by_nearest:,} more as each other's nearest"
        lists = f", and {self.lists_equal:,} of {self.lists:,} lists of the ivf hold the same set"
        return (
            f"Whatever their number, {matched}; {self.moved:,} of them have another number in B. "
            f"Under B's numbers {self.codes_different:,} of {plural(self.codes, 'code')} differ"
            f"{lists if self.lists is not None else ''}."
        )

    def record(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {**asdict(self), "text": self.text}


def renumbering(a: Mapping[str, Chunked], b: Mapping[str, Chunked], groups: Groups | None) -> Renumbering | None:
    """Return how the numbering of two sides' centroids differs, None where no number differs.

    Parameters
    ----------
    a, b : mapping of str to Chunked
        ``centroids``, ``codes`` and ``ivf``; codes are known to be numbers of centroids.
    groups : Groups or None
        How long the lists of the ivf are; None where the sides' lists are not comparable.
    """
    left, right = a["centroids"], b["centroids"]
    if (left.shape, left.dtype, a["codes"].size) != (right.shape, right.dtype, b["codes"].size):
        return None
    rows_a, rows_b = (side.flat(0, side.size).reshape(side.shape) for side in (left, right))
    order = _by_bytes(bits(rows_a, left.dtype), bits(rows_b, left.dtype))
    by_bytes = int((order >= 0).sum())
    few = order.size - by_bytes <= MOST_NEAREST
    if few:
        _by_nearest(rows_a, rows_b, left.dtype, order)
    moved = int(((order >= 0) & (order != np.arange(order.size))).sum())
    if not moved:
        return None
    nearest = int((order >= 0).sum()) - by_bytes if few else None
    different = _codes_different(a["codes"], b["codes"], order)
    known = Renumbering(order.size, by_bytes, nearest, moved, a["codes"].size, different)
    if groups is None or len(groups.a) != order.size or len(groups.b) != order.size:
        return known
    equal = _lists_equal(a["ivf"], b["ivf"], groups, order)
    return Renumbering(**{**asdict(known), "lists": order.size, "lists_equal": equal})


def _by_bytes(a: Array, b: Array) -> Integers:
    """Return for each row of `a` the number of a row of `b` with the same bytes, -1 for none; none is taken twice."""
    order = np.where((a == b).all(axis=1), np.arange(len(a)), -1)
    places: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for number in np.flatnonzero(order < 0).tolist():
        places[b[number].tobytes()].append(number)
    for number in np.flatnonzero(order < 0).tolist():
        alike = places.get(a[number].tobytes())
        if alike:
            order[number] = alike.popleft()
    return order


def _by_nearest(a: Array, b: Array, dtype: str, order: Integers) -> None:
    """Complete `order` by rows that are each other's nearest among those left."""
    finite_a, finite_b = (~not_finite(side, dtype).any(axis=1) for side in (a, b))
    left = np.flatnonzero((order < 0) & finite_a)
    right = np.setdiff1d(np.flatnonzero(finite_b), order)
    if not left.size or not right.size:
        return
    rows, columns = (widen(side[kept], dtype).astype(np.float32) for side, kept in ((a, left), (b, right)))
    lengths = (columns**2).sum(axis=1)
    nearest = np.zeros(left.size, np.int64)
    closest, back = np.full(right.size, np.inf, np.float32), np.zeros(right.size, np.int64)
    step = max(_DISTANCES // right.size, 1)
    for start in range(0, left.size, step):
        block = rows[start : start + step]
        distances = (block**2).sum(axis=1)[:, None] + lengths - 2 * (block @ columns.T)
        nearest[start : start + step] = distances.argmin(axis=1)
        best = distances.argmin(axis=0)
        near = distances[best, np.arange(right.size)]
        closer = near < closest
        closest[closer], back[closer] = near[closer], best[closer] + start
    mutual = back[nearest] == np.arange(left.size)
    order[left[mutual]] = right[nearest[mutual]]


def _codes_different(a: Chunked, b: Chunked, order: Integers) -> int:
    return sum(int((order[block] != b.flat(start, start + block.size)).sum()) for start, block in a.blocks())


def _lists_equal(a: Chunked, b: Chunked, groups: Groups, order: Integers) -> int:
    """Return how many of B's lists hold the same set as the list of the centroid of A that they match."""
    source = np.full(order.size, -1, np.int64)
    source[order[order >= 0]] = np.flatnonzero(order >= 0)
    lengths = np.where(source >= 0, groups.a[source], 0)
    starts_a, starts_b = (np.concatenate(([0], np.cumsum(side))) for side in (groups.a, groups.b))
    # One file, mapped: nothing is read before it is asked for.
    ids = a.flat(0, int(groups.a.sum()))
    equal = 0
    for first, last in runs(lengths, groups.b):
        la, lb = lengths[first:last], groups.b[first:last]
        begin = np.repeat(starts_a[source[first:last]] - (np.cumsum(la) - la), la)
        left = sorted_within(ids[begin + np.arange(int(la.sum()))], la)
        right = sorted_within(b.flat(int(starts_b[first]), int(starts_b[last])), lb)
        same: npt.NDArray[np.bool_] = equal_groups(left, la, right, lb)
        equal += int((same & (source[first:last] >= 0)).sum())
    return equal
