"""Follow a difference forward through one side's operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reportlib.compare.roots.matching import Seen, seen
from reportlib.trace.format import Operation, TensorRecord


@dataclass(frozen=True)
class Reach:
    """What a difference reaches: how many later operations, and whether the output of the pass."""

    operations: int
    output: bool


def is_new(record: TensorRecord, known: AbstractSet[Seen]) -> bool:
    """Whether the other side never has this tensor. Memory not written to yet is nothing new."""
    return record.digest is not None and seen(record) not in known


def reach(
    operations: Sequence[Operation],
    start: int,
    known: AbstractSet[Seen],
    output: TensorRecord,
    differing: AbstractSet[int],
) -> Reach:
    """Follow a difference from the operation at `start`.

    An operation is reached when it reads a tensor (dtype, shape and bytes) that the other side never has, from memory
    that `start` or an operation reached wrote to or returned a view of. So it ends where rounding, a mask or a maximum
    makes the tensor known again. Memory is followed as a whole: of two views of it, one with this difference and one
    with another, both are reached.

    Parameters
    ----------
    operations : sequence of Operation
        One side's stream.
    start : int
        Position of the operation where the difference enters.
    known : set
        Every tensor of the other side.
    output : TensorRecord
        Of the pass.
    differing : set of int
        Indices of the outputs of `start` that differ.
    """
    first = operations[start]
    carriers = {first.outputs[index].storage for index in differing}
    count = 0
    for operation in operations[start + 1 :]:
        if any(tensor.storage in carriers and is_new(tensor, known) for tensor in operation.inputs):
            count += 1
            carriers |= {tensor.storage for tensor in operation.outputs if is_new(tensor, known)}
    return Reach(count, output.storage in carriers and is_new(output, known))


def in_reach(
    operations: Sequence[Operation], starts: Mapping[int, AbstractSet[int]], known: AbstractSet[Seen]
) -> frozenset[int]:
    """Return the positions of operations that read memory which a difference is in, whatever they find there.

    A small view of such memory can hold by chance what the other side has somewhere too; that does not make it the
    same place.

    Parameters
    ----------
    operations : sequence of Operation
        One side's stream.
    starts : mapping of int to set of int
        Position of each operation where a difference enters, and the indices of its outputs that differ.
    known : set
        Every tensor of the other side.
    """
    carriers: set[int] = set()
    found = set()
    for operation in operations:
        reads = any(tensor.storage in carriers for tensor in operation.inputs)
        if reads:
            found.add(operation.position)
            carriers |= {tensor.storage for tensor in operation.outputs if is_new(tensor, known)}
        carriers |= {operation.outputs[index].storage for index in starts.get(operation.position, ())}
    return frozenset(found)
