"""Set two traces side by side and say what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from reportlib.compare.roots.matching import Seen, all_seen, match, moved, seen
from reportlib.compare.roots.results import Comparison, PassComparison, RootOperation, Unmatched
from reportlib.compare.roots.taint import Reach, in_reach, is_new, reach
from reportlib.errors import ComparisonError
from reportlib.store import canonical_json
from reportlib.trace.format import Operation, RecordedPass, TensorRecord, Trace

#: What two arms must share for their operations to be comparable at all.
_SAME = ("precision", "device", "passages", "texts", "doc_maxlen")


def compare_traces(a: Trace, b: Trace) -> Comparison:
    """Compare every pass of two trace folders.

    Raises
    ------
    ComparisonError
        When they are of different precisions, devices, texts or numbers of passages, or have no pass in common.
    StoreError
        When a trace is damaged.
    """
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
    """Compare two streams of operations that were given the same bytes.

    Parameters
    ----------
    a, b : sequence of Operation
        In order of execution; `Operation.position` is the index.
    entry_a, entry_b : RecordedPass
        For their outputs.
    """
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
