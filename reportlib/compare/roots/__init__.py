"""Root operations: which operation, given the same bytes, returned others.

Two traces of the same pass are set side by side by what their operations read, not by where they stand: versions run
the same operations in another order. `match` pairs them, `reach` follows a difference forward, and `compare_passes`
says what was found.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from typing import Any

from reportlib.errors import ComparisonError
from reportlib.store import canonical_json, digest
from reportlib.trace.format import Operation, RecordedPass, TensorRecord, Trace

#: Verdicts of a pass, from the least to the most that can be wrong; a comparison has its worst pass's.
VERDICTS = {
    "identical": "the same operations in the same order, with the same bytes",
    "reordered": "the same operations with the same bytes, in another order",
    "inserted": "operations were inserted or removed, without effect on the output",
    "root": "operations that read the same bytes returned others",
    "replaced": "the output differs, and every difference enters through inserted, removed or replaced operations",
    "inputs differ": "the pass was given other tokens or weights, so nothing can be said of its operations",
    "inconclusive": "recording changed the output of a pass, so nothing can be said",
}


@dataclass(frozen=True)
class RootOperation:
    """An operation whose inputs have the same bytes in A and B and whose outputs do not.

    Attributes
    ----------
    position_a, position_b : int
        In each trace's order of execution.
    name, overload : str
        ``aten::bmm`` and an empty overload.
    module_a, module_b : str
        The module that it ran in.
    arguments : mapping
        Those that are not tensors count as equal; see `reportlib.trace.format.Operation`.
    inputs_a, inputs_b : tuple of TensorRecord
        Same dtype, shape and digest. Strides may differ.
    outputs_a, outputs_b : tuple of TensorRecord
        What was returned or written.
    differs : tuple of str
        What differs in the outputs: ``count``, ``dtype``, ``shape``, ``bytes``, ``result`` (a plain number).
    same_strides : bool
        Whether the inputs also lie in memory alike. Where they do not, that alone can be the reason.
    tainted : int
        How many later operations of B the difference reaches: those that read a tensor (dtype, shape and bytes)
        which A never has, from memory that the root, or an operation so reached, wrote to or returned a view of.
    reaches_output : bool
        Whether it reaches the output of the pass in that way.
    source : str
        The line of Python that called it in B.
    """

    position_a: int
    position_b: int
    name: str
    overload: str
    module_a: str
    module_b: str
    arguments: Mapping[str, Any]
    inputs_a: tuple[TensorRecord, ...]
    inputs_b: tuple[TensorRecord, ...]
    outputs_a: tuple[TensorRecord, ...]
    outputs_b: tuple[TensorRecord, ...]
    differs: tuple[str, ...]
    same_strides: bool
    tainted: int
    reaches_output: bool
    source: str = ""

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class Unmatched:
    """An operation that only one side has, although the other side has every tensor that it reads.

    Attributes
    ----------
    side : str
        ``A`` or ``B``.
    position : int
        In that side's order of execution.
    name, overload, module : str
        As for `RootOperation`.
    arguments : mapping
        As for `RootOperation`.
    new_tensor : bool
        Whether an output (dtype, shape and bytes) is one that the other side never has.
    tainted : int
        How many later operations of its own side that difference reaches, counted as for `RootOperation`.
    reaches_output : bool
        Whether it reaches the output.
    counterpart : int or None
        Position on the other side of an unmatched operation of the same name that reads the same tensors: the
        arguments that are no tensors were changed.
    """

    side: str
    position: int
    name: str
    overload: str
    module: str
    arguments: Mapping[str, Any]
    new_tensor: bool
    tainted: int
    reaches_output: bool
    counterpart: int | None

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class PassComparison:
    """One recorded pass in A and B.

    Attributes
    ----------
    slug, description : str
        Of the pass.
    verdict : str
        A key of `VERDICTS`.
    same_output : bool
        Whether the output has the same dtype, shape and bytes.
    operations_a, operations_b : int
        How many were recorded.
    matched : int
        How many were paired: same name, arguments and bytes read.
    roots : tuple of RootOperation
        In B's order of execution.
    unmatched : tuple of Unmatched
        A's, then B's, in order of execution.
    out_of_reach_a, out_of_reach_b : int
        Operations that read a tensor which the other side never has. Whether they differ by themselves cannot be seen
        from hashes: they would have to be run again on the other side's inputs.
    moved : tuple of (int, int)
        Positions in A and B of the fewest operations that have to move to give A's order in B.
    """

    slug: str
    description: str
    verdict: str
    same_output: bool
    operations_a: int
    operations_b: int
    matched: int = 0
    roots: tuple[RootOperation, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    out_of_reach_a: int = 0
    out_of_reach_b: int = 0
    moved: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All passes of two traces.

    Attributes
    ----------
    a, b : mapping
        Arm and torch of each side, as in its manifest.
    passes : tuple of PassComparison
        In the order in which A recorded them.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    passes: tuple[PassComparison, ...]

    @property
    def verdict(self) -> str:
        """The worst pass's verdict."""
        return max((entry.verdict for entry in self.passes), key=list(VERDICTS).index)

    def to_json(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {**asdict(self), "verdict": self.verdict}


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


#: What two arms must share for their operations to be comparable at all.
_SAME = ("precision", "device", "passages", "texts", "doc_maxlen")


def compare_traces(a: Trace, b: Trace) -> Comparison:
    """Compare every pass of two trace folders."""
    for name in _SAME:
        if a.arm.get(name) != b.arm.get(name):
            raise ComparisonError(
                f"the traces are of different {name}: {a.arm.get(name)!r} and {b.arm.get(name)!r}",
                "record both with the same settings",
            )
    if not a.passes or set(a.passes) != set(b.passes):
        raise ComparisonError(
            f"the traces are of different passes: {sorted(a.passes)} and {sorted(b.passes)}",
            "record both with the same settings",
        )
    same_weights = a.inputs.get("weights") == b.inputs.get("weights")
    side_a, side_b = ({"arm": dict(trace.arm), "torch": dict(trace.torch)} for trace in (a, b))
    return Comparison(side_a, side_b, tuple(_pass(a, b, slug, same_weights) for slug in a.passes))


def _pass(a: Trace, b: Trace, slug: str, same_weights: bool) -> PassComparison:
    left, right = a.passes[slug], b.passes[slug]
    verdict = ""
    if not (left.undisturbed and right.undisturbed):
        verdict = "inconclusive"
    elif not same_weights or left.given != right.given:
        verdict = "inputs differ"
    if verdict:
        same = seen(left.output) == seen(right.output)
        return PassComparison(slug, left.description, verdict, same, left.operations, right.operations)
    found = compare_passes(list(a.operations(slug)), list(b.operations(slug)), left, right)
    return replace(found, slug=slug, description=left.description)


def compare_passes(
    a: Sequence[Operation], b: Sequence[Operation], entry_a: RecordedPass, entry_b: RecordedPass
) -> PassComparison:
    """Compare two streams of operations that were given the same bytes."""
    matching = match(a, b)
    known_a, known_b = all_seen(a), all_seen(b)
    changed = {(i, j): found for i, j in matching.pairs if (found := _changed(a[i], b[j])) is not None}
    roots = [_root(a[i], b[j], reach(b, j, known_a, entry_b.output, found)) for (i, j), found in changed.items()]
    beyond_a = in_reach(a, {i: found & set(range(len(a[i].outputs))) for (i, _), found in changed.items()}, known_b)
    beyond_b = in_reach(b, {j: found for (_, j), found in changed.items()}, known_a)
    apart = [i for i in matching.left_a if i not in beyond_a], [j for j in matching.left_b if j not in beyond_b]
    unmatched = _unmatched(a, b, apart, (known_a, known_b), (entry_a.output, entry_b.output))
    same_output = seen(entry_a.output) == seen(entry_b.output)
    out_a = len(matching.left_a) - sum(entry.side == "A" for entry in unmatched)
    out_b = len(matching.left_b) - sum(entry.side == "B" for entry in unmatched)
    shifted = moved(matching.pairs)
    if roots:
        verdict = "root"
    elif not same_output:
        verdict = "replaced"
    elif matching.left_a or matching.left_b:
        verdict = "inserted"
    else:
        verdict = "reordered" if shifted else "identical"
    return PassComparison(
        slug=entry_a.slug,
        description=entry_a.description,
        verdict=verdict,
        same_output=same_output,
        operations_a=len(a),
        operations_b=len(b),
        matched=len(matching.pairs),
        roots=tuple(roots),
        unmatched=unmatched,
        out_of_reach_a=out_a,
        out_of_reach_b=out_b,
        moved=shifted,
    )


def _changed(a: Operation, b: Operation) -> set[int] | None:
    """Return which outputs of B's operation differ from A's, or None when nothing differs, not even a number."""
    if len(a.outputs) != len(b.outputs) or a.result != b.result:
        return {index for index, tensor in enumerate(b.outputs) if tensor.digest is not None}
    pairs = zip(a.outputs, b.outputs, strict=True)
    found = {index for index, (left, right) in enumerate(pairs) if seen(left) != seen(right)}
    return found or None


def _root(a: Operation, b: Operation, reached: Reach) -> RootOperation:
    aspects = {"count": len(a.outputs) != len(b.outputs), "result": a.result != b.result}
    pairs = list(zip(a.outputs, b.outputs, strict=False))
    aspects["dtype"] = any(left.dtype != right.dtype for left, right in pairs)
    aspects["shape"] = any(left.shape != right.shape for left, right in pairs)
    aspects["bytes"] = any(left.digest != right.digest for left, right in pairs)
    return RootOperation(
        position_a=a.position,
        position_b=b.position,
        name=b.name,
        overload=b.overload,
        module_a=a.module,
        module_b=b.module,
        arguments=b.arguments,
        inputs_a=a.inputs,
        inputs_b=b.inputs,
        outputs_a=a.outputs,
        outputs_b=b.outputs,
        differs=tuple(name for name, differs in aspects.items() if differs),
        same_strides=[x.strides for x in a.inputs] == [x.strides for x in b.inputs],
        tainted=reached.operations,
        reaches_output=reached.output,
        source=b.source,
    )


def _unmatched(
    a: Sequence[Operation],
    b: Sequence[Operation],
    apart: tuple[Sequence[int], Sequence[int]],
    known: tuple[AbstractSet[Seen], AbstractSet[Seen]],
    outputs: tuple[TensorRecord, TensorRecord],
) -> tuple[Unmatched, ...]:
    """Return the operations that one side lacks although it has everything that they read."""
    known_a, known_b = known
    left_a, left_b = apart
    only_a = [a[i] for i in left_a if not any(is_new(tensor, known_b) for tensor in a[i].inputs)]
    only_b = [b[j] for j in left_b if not any(is_new(tensor, known_a) for tensor in b[j].inputs)]
    twins = dict(_twins(only_a, only_b))
    back = {j: i for i, j in twins.items()}
    found = []
    for side, stream, operations, other, output, twin in (
        ("A", a, only_a, known_b, outputs[0], twins),
        ("B", b, only_b, known_a, outputs[1], back),
    ):
        for operation in operations:
            new = {index for index, tensor in enumerate(operation.outputs) if is_new(tensor, other)}
            reached = reach(stream, operation.position, other, output, new)
            found.append(
                Unmatched(
                    side=side,
                    position=operation.position,
                    name=operation.name,
                    overload=operation.overload,
                    module=operation.module,
                    arguments=operation.arguments,
                    new_tensor=bool(new),
                    tainted=reached.operations,
                    reaches_output=reached.output,
                    counterpart=twin.get(operation.position),
                )
            )
    return tuple(found)


def _twins(only_a: Sequence[Operation], only_b: Sequence[Operation]) -> list[tuple[int, int]]:
    """Pair unmatched operations of one name that read the same tensors: only other arguments were changed."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for operation in only_a:
        waiting[_reads(operation)].append(operation.position)
    pairs = []
    for operation in only_b:
        same = waiting[_reads(operation)]
        if same:
            pairs.append((same.pop(0), operation.position))
    return pairs


def _reads(operation: Operation) -> str:
    return canonical_json([operation.name, operation.overload, [seen(tensor) for tensor in operation.inputs]])
