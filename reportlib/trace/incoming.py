"""The operations that another environment sends, each run again as soon as it arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch

from reportlib.trace.calling import NotReplayedError, call, call_in_float64, copies_of_written, find
from reportlib.trace.cases import Case, case_id, reads
from reportlib.trace.differences import difference, displaced, truth
from reportlib.trace.frames import Frame, FrameReader
from reportlib.trace.keeping import Cases, Instance
from reportlib.trace.lockstep import Slot, Slots
from reportlib.trace.results import Difference, Group, ReplayedOperation
from reportlib.trace.values import Layout, from_bytes, without_values

Tensors = tuple[torch.Tensor, ...]


@dataclass
class Entry:
    """An operation of A while it is being judged.

    Attributes
    ----------
    found : ReplayedOperation
        Completed when B's own pass comes to it.
    slot : Slot
        What B's own pass knows it by.
    outputs : tuple of torch.Tensor, or None
        A's; None for a view, and for memory that nobody has written to.
    computes : bool
        Whether an output is of floating-point numbers.
    """

    found: ReplayedOperation
    slot: Slot
    outputs: Tensors | None
    computes: bool

    @property
    def worth_telling(self) -> bool:
        """Whether it belongs into the result."""
        found = self.found
        return self.computes or any(d is not None and d.different for d in (found.local, found.accumulated))


@dataclass
class Tally:
    """How often each kind of operation was run again, and how often its result was another."""

    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, found: ReplayedOperation, dtypes: Sequence[str]) -> None:
        """Count an operation that was run again."""
        known = self.groups.get(found.id) or Group(found.id, found.name, found.overload, reads(dtypes), 0, 0)
        differs = int(found.local is not None and found.local.different > 0)
        self.groups[found.id] = replace(known, replayed=known.replayed + 1, differ=known.differ + differs)


class Incoming:
    """The operations of one pass of A, each run again as soon as it arrives.

    Parameters
    ----------
    reader : FrameReader
        Stands behind the pass's first frame.
    slug : str
        Of the pass.
    cases : Cases
        Gets what differs.
    tally : Tally
        Counts over all passes.
    """

    def __init__(self, reader: FrameReader, slug: str, cases: Cases, tally: Tally) -> None:
        self.reader, self.slug, self.cases, self.tally = reader, slug, cases, tally
        self.slots = Slots()
        self.entries: list[Entry] = []
        self.left: Counter[tuple[str, str]] = Counter()
        self.replayed = self.differ = 0
        self.end: Mapping[str, Any] | None = None

    def next(self) -> Entry | None:
        """Return A's next operation, run again; None at the end of the pass."""
        if self.end is not None:
            return None
        given = self.reader.next("operation", "pass end")
        if given.header["kind"] == "pass end":
            self.end = given.header
            return None
        entry = self._judge(given)
        if entry.worth_telling or entry.outputs is not None:
            self.entries.append(entry)
        return entry

    def _judge(self, given: Frame) -> Entry:
        operation = given.header["operation"]
        layouts = [Layout.from_json(tensor) for tensor in given.header["tensors"]]
        dtypes = [layout.dtype for layout in layouts]
        name, overload, module = operation["name"], operation["overload"], operation["module"]
        slot = self.slots.next(module, name, overload)
        found = ReplayedOperation(
            operation["position"], None, name, overload, module, operation["source"], case_id(name, overload, dtypes),
            None, None,
        )  # fmt: skip
        attempt = _Attempt(operation, layouts, given)
        gave = self.reader.next("result")
        a_layouts = [Layout.from_json(tensor) for tensor in gave.header["tensors"]]
        computes = any(layout.dtype.startswith(("float", "bfloat")) for layout in a_layouts)
        outputs = None
        try:
            if gave.header["values"]:
                outputs = _tensors(a_layouts, gave)
            if attempt.why is not None:
                raise NotReplayedError(attempt.why)
            if operation["view"]:
                found = replace(found, local=displaced(a_layouts, attempt.outputs))
            elif outputs is None:
                raise NotReplayedError("returns what is not dense")
            else:
                found = self._compare(found, operation, attempt, outputs, gave.header["result"])
        except NotReplayedError as error:
            self.left[name, error.what] += 1
            return Entry(found, slot, outputs, computes)
        self.replayed += 1
        self.differ += int(found.local is not None and found.local.different > 0)
        self.tally.add(found, dtypes)
        return Entry(found, slot, outputs, computes and not operation["view"])

    def _compare(
        self, found: ReplayedOperation, operation: Mapping[str, Any], attempt: _Attempt, a: Tensors, result: Any
    ) -> ReplayedOperation:
        """Compare both results, and where they differ also with float64; keep the case."""
        b = attempt.outputs
        local = difference(a, b)
        if attempt.result != result and not local.different:
            local = Difference(max(local.elements, 1), max(local.elements, 1), None, None, None)
        if not local.different:
            return replace(found, local=local)
        exact, why = call_in_float64(attempt.func, operation["arguments"], attempt.inputs)
        errors = None
        if exact is not None:
            errors, why = truth(a, b, exact)
        case = Case(
            folder=Path(), id=found.id, name=found.name, overload=found.overload, arguments=operation["arguments"],
            inputs=(), outputs={}, result={"a": result, "b": attempt.result}, pass_slug=self.slug,
            position=found.position, module=found.module, source=found.source,
        )  # fmt: skip
        self.cases.offer(Instance(case, attempt.inputs, a, b, None if errors is None else exact))
        return replace(found, local=local, truth=errors, why_no_truth=why)


class _Attempt:
    """B's call of one operation on A's inputs; `why` says why there is none."""

    def __init__(self, operation: Mapping[str, Any], layouts: Sequence[Layout], given: Frame) -> None:
        self.why: str | None = operation["why_not"]
        self.inputs: Tensors = ()
        self.outputs: Tensors = ()
        self.result: Any = None
        if self.why is not None:
            return
        try:
            self.func = find(operation["name"], operation["overload"])
            if operation["view"]:
                self.inputs = tuple(map(without_values, layouts))
            else:
                self.inputs = _tensors(layouts, given)
            tensors = copies_of_written(self.func, operation["arguments"], self.inputs)
            outcome = call(self.func, operation["arguments"], tensors)
            self.outputs, self.result = outcome.outputs, outcome.result
        except NotReplayedError as error:
            self.why = error.what


def _tensors(layouts: Sequence[Layout], frame: Frame) -> Tensors:
    ends = [0, *accumulate(layout.nbytes for layout in layouts)]
    return tuple(
        from_bytes(layout, frame.body[start:end]) for layout, (start, end) in zip(layouts, pairwise(ends), strict=True)
    )
