"""Pair the operations of two traces by what they read."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reportlib.store import canonical_json, digest
from reportlib.trace.format import Operation, TensorRecord

#: What makes two tensors the same to an operation: dtype, shape, digest. Strides are reported apart.
Seen = tuple[str, tuple[int, ...], str | None]


@dataclass(frozen=True)
class Matching:
    """Two streams side by side.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Positions in A and B of operations with equal keys, in B's order.
    left_a, left_b : tuple of int
        Positions of the others.
    """

    pairs: tuple[tuple[int, int], ...]
    left_a: tuple[int, ...]
    left_b: tuple[int, ...]


def seen(record: TensorRecord) -> Seen:
    """Return what an operation sees of a tensor."""
    return record.dtype, record.shape, record.digest


def key(operation: Operation) -> str:
    """Return a digest of name, overload, arguments and the bytes read."""
    what = [operation.name, operation.overload, operation.arguments, [seen(tensor) for tensor in operation.inputs]]
    return digest(canonical_json(what).encode())


def all_seen(operations: Iterable[Operation]) -> set[Seen]:
    """Return every tensor that a stream reads or writes."""
    return {seen(tensor) for operation in operations for tensor in (*operation.inputs, *operation.outputs)}


def match(a: Sequence[Operation], b: Sequence[Operation]) -> Matching:
    """Pair operations of equal keys; the first in A with the first in B, the second with the second."""
    waiting: dict[str, deque[int]] = defaultdict(deque)
    for operation in a:
        waiting[key(operation)].append(operation.position)
    pairs, left_b = [], []
    for operation in b:
        same = waiting.get(key(operation))
        if same:
            pairs.append((same.popleft(), operation.position))
        else:
            left_b.append(operation.position)
    left_a = sorted(position for positions in waiting.values() for position in positions)
    return Matching(tuple(pairs), tuple(left_a), tuple(left_b))


def moved(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the fewest pairs without which both streams have one order.

    Parameters
    ----------
    pairs : sequence of (int, int)
        In B's order.

    Notes
    -----
    All pairs but a longest increasing subsequence of A's positions, found by patience sorting in n log n steps.
    """
    tails: list[int] = []
    tail_at: list[int] = []
    before: list[int | None] = []
    for index, (position, _) in enumerate(pairs):
        place = bisect_left(tails, position)
        before.append(tail_at[place - 1] if place else None)
        tails[place : place + 1] = [position]
        tail_at[place : place + 1] = [index]
    kept = set()
    last = tail_at[-1] if tail_at else None
    while last is not None:
        kept.add(last)
        last = before[last]
    return tuple(pair for index, pair in enumerate(pairs) if index not in kept)
