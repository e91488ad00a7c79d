"""``sort``, ``argsort`` and ``topk``: which of equal values comes first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from reportlib.compare.roots.mechanisms.cases import Case, Explanation, Problem, last_axis_rows
from reportlib.floats import Array

#: Rows longer than this are not sorted step by step in Python: it would take a minute and more.
LONGEST_INTROSORT = 400_000
#: Below this many elements libstdc++ leaves the rest to an insertion sort.
_THRESHOLD = 16


def sorting(case: Case) -> Problem | None:
    """Return the ways to order equal values in ``sort``, ``argsort`` and ``topk``."""
    given = case.tensor("self")
    if given is None or case.operation not in ("sort", "argsort", "topk") or given.values.ndim == 0:
        return None
    shapes = {tensor.values.shape for tensor in (*case.a, *case.b)}
    if len(shapes) != 1 or len(case.a) != len(case.b) or np.isnan(given.values.astype(np.float64)).any():
        return None
    axis = int(case.value("dim", -1))
    if case.operation == "topk":
        descending, length = bool(case.value("largest", True)), int(case.value("k"))
    else:
        descending, length = bool(case.value("descending", False)), given.values.shape[axis]
    rows = last_axis_rows(given.values, axis)
    a, b = (tuple(last_axis_rows(tensor.values, axis) for tensor in side) for side in (case.a, case.b))
    kinds = "i" if case.operation == "argsort" else "vi"
    introsort = case.operation != "topk" and rows.shape[1] <= LONGEST_INTROSORT
    return Problem((rows,), a, b, tuple(_explanations(descending, length, kinds, introsort)))


def _explanations(descending: bool, length: int, kinds: str, introsort: bool) -> Iterator[Explanation]:
    order = "descending" if descending else "ascending"
    yield Explanation(
        "stable",
        f"a stable {order} sort: equal values keep the order of their places",
        partial(_stable, descending, length, kinds, False),
    )
    yield Explanation(
        "ties backwards",
        f"a stable {order} sort of the row read backwards: of equal values the last comes first",
        partial(_stable, descending, length, kinds, True),
    )
    if introsort:
        yield Explanation(
            "std::sort of libstdc++",
            f"an unstable {order} sort by libstdc++'s std::sort: quicksort with the median of three, then insertion",
            partial(_unstable, descending, kinds),
        )


def _taken(rows: Array, order: Array, kinds: str) -> tuple[Array, ...]:
    values = np.take_along_axis(rows, order, axis=1)
    return tuple({"v": values, "i": order}[kind] for kind in kinds)


def _stable(descending: bool, length: int, kinds: str, backwards: bool, rows: Array) -> tuple[Array, ...]:
    n = rows.shape[1]
    # A stable ascending sort read backwards has ties backwards; a row read backwards turns that round once more.
    given = rows[:, ::-1] if backwards != descending else rows
    order = np.argsort(given, axis=1, kind="stable")
    if backwards != descending:
        order = n - 1 - order
    if descending:
        order = order[:, ::-1]
    return _taken(rows, np.ascontiguousarray(order[:, :length]).astype(np.int64), kinds)


def _unstable(descending: bool, kinds: str, rows: Array) -> tuple[Array, ...] | None:
    orders = []
    for row in rows:
        # Only comparisons matter, so the negated rank sorts descending without minding the dtype.
        _, ranks = np.unique(row, return_inverse=True)
        order = introsort((-ranks if descending else ranks).tolist())
        if order is None:
            return None
        orders.append(order)
    return _taken(rows, np.array(orders, dtype=np.int64).reshape(len(rows), -1), kinds)


def introsort(keys: list[int]) -> list[int] | None:
    """Return the order in which libstdc++'s ``std::sort`` leaves `keys`, ascending; `keys` is sorted in place.

    None where it would go on with a heap sort, which happens only to rows that were made for it.
    Source: libstdc++, bits/stl_algo.h (``__introsort_loop``, ``__final_insertion_sort``).
    """
    n = len(keys)
    order = list(range(n))
    waiting = [(0, n, 2 * (n.bit_length() - 1))] if n else []
    while waiting:
        first, last, depth = waiting.pop()
        while last - first > _THRESHOLD:
            if depth == 0:
                return None
            depth -= 1
            cut = _partition(keys, order, first, last)
            # The parts do not overlap, so which one is sorted first changes nothing.
            waiting.append((cut, last, depth))
            last = cut
    _insertion_sort(keys, order)
    return order


def _partition(keys: list[int], order: list[int], first: int, last: int) -> int:
    """Move the median of three to the front and split the rest around it; return where the right part begins."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    if keys[a] < keys[b]:
        median = b if keys[b] < keys[c] else (c if keys[a] < keys[c] else a)
    else:
        median = a if keys[a] < keys[c] else (c if keys[b] < keys[c] else b)
    keys[first], keys[median] = keys[median], keys[first]
    order[first], order[median] = order[median], order[first]
    pivot, left, right = keys[first], first + 1, last
    while True:
        while keys[left] < pivot:
            left += 1
        right -= 1
        while pivot < keys[right]:
            right -= 1
        if left >= right:
            return left
        keys[left], keys[right] = keys[right], keys[left]
        order[left], order[right] = order[right], order[left]
        left += 1


def _insertion_sort(keys: list[int], order: list[int]) -> None:
    for index in range(1, len(keys)):
        key, place = keys[index], index
        moved = order[index]
        while place > 0 and key < keys[place - 1]:
            keys[place], order[place] = keys[place - 1], order[place - 1]
            place -= 1
        keys[place], order[place] = key, moved
