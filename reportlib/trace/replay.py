"""The verb ``replay``: run what arrives at standard input beside one's own passes, and write a replay folder."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.errors import CaptureError
from reportlib.trace.cases import Case, case_id, reads
from reportlib.trace.format import Difference, Group, NotReplayed, Replay, ReplayedOperation, ReplayedPass, unfinished
from reportlib.trace.instances import Cases, Instance
from reportlib.trace.operations import (
    NotReplayedError,
    call,
    call_in_float64,
    copies_of_written,
    find,
    mutated_tensors,
    outputs_of,
    tensor_digest,
)
from reportlib.trace.passes import Loaded, Pass, load, torch_description
from reportlib.trace.record import peak_bytes
from reportlib.trace.request import PassRequest
from reportlib.trace.send import count
from reportlib.trace.stream import Frame, FrameReader, Slot, Slots, Window, shared_slots
from reportlib.trace.tensors import Layout, difference, displaced, from_bytes, truth, without_values

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


class Replayer(TorchDispatchMode):  # type: ignore[misc]
    """Sets each operation of B's own pass beside A's of the same slot, once A's has arrived.

    Parameters
    ----------
    incoming : Incoming
        A's operations.
    window : Window
        Of those that have arrived early.
    """

    def __init__(self, incoming: Incoming, window: Window[Entry]) -> None:
        super().__init__()
        self.incoming, self.window = incoming, window
        self.modules: list[str] = []
        self.slots = Slots()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, schema = kwargs or {}, func._schema
        changed = mutated_tensors(schema, args, kwargs)
        returned = func(*args, **kwargs)
        slot = self.slots.next(self.modules[-1] if self.modules else "", schema.name, schema.overload_name)
        position, self.count = self.count, self.count + 1
        if self.window.has_counterpart(slot) and (entry := self._arrived(slot)) is not None:
            _, ours = outputs_of(returned, changed)
            apart = None if entry.outputs is None else difference(entry.outputs, ours)
            entry.found = replace(entry.found, position_b=position, accumulated=apart)
            entry.outputs = None
        return returned

    def _arrived(self, slot: Slot) -> Entry | None:
        entry = self.window.take(slot)
        while entry is None:
            entry = self.incoming.next()
            if entry is None:
                return None
            if entry.slot != slot:
                self.keep(entry)
                entry = None
        return entry

    def keep(self, entry: Entry) -> None:
        """Keep an operation that B's own pass has not come to; without its values, if it never will."""
        if self.window.has_counterpart(entry.slot):
            nbytes = sum(tensor.numel() * tensor.element_size() for tensor in entry.outputs or ())
            self.window.put(entry.slot, entry, nbytes)
        else:
            entry.outputs = None


def replay(entry: Pass, reader: FrameReader, cases: Cases, tally: Tally) -> ReplayedPass:
    """Run a pass twice, first to count its operations and then beside A's, and say what differs.

    Raises
    ------
    CaptureError
        When A sends another pass, or the same on other inputs.
    """
    before = reader.read
    counted = count(entry)
    header = reader.next("pass").header
    if (header["slug"], header["given"]) != (entry.slug, dict(entry.given)):
        raise CaptureError(
            f"the other environment sends {header['slug']!r} on other inputs than {entry.slug!r} has here",
            "give both the same options, checkpoint, collection and capture",
        )
    incoming = Incoming(reader, entry.slug, cases, tally)
    window: Window[Entry] = Window(shared_slots(counted.slots.counts, header["slots"]))
    started = time.perf_counter()
    with ExitStack() as stack:
        replayer = Replayer(incoming, window)
        entry.watch(replayer.modules, stack)
        with replayer:
            output = entry.call()
    while (late := incoming.next()) is not None:
        late.outputs = None
    end = incoming.end or {}
    digest = tensor_digest(output)
    return ReplayedPass(
        slug=entry.slug,
        description=entry.description,
        kind=entry.kind,
        same_output=digest == end["output"],
        undisturbed_a=end["undisturbed"],
        undisturbed_b=digest == counted.output,
        replayed=incoming.replayed,
        differ=incoming.differ,
        not_replayed=tuple(NotReplayed(*key, number) for key, number in incoming.left.items()),
        window_bytes=window.greatest_bytes,
        sent_bytes=reader.read - before,
        seconds=round(time.perf_counter() - started, 4),
        seconds_plain=round(counted.seconds, 4),
        peak_bytes=peak_bytes(),
        peak_bytes_plain=counted.peak_bytes,
        operations=tuple(entry.found for entry in incoming.entries if entry.worth_telling),
    )


#: What both sides must share for their operations to be comparable at all.
_SAME = ("precision", "device", "passages", "texts", "doc_maxlen")


def replay_passes(request: PassRequest, output: Path) -> None:
    """Run the passes that are asked for beside those that arrive.

    Raises
    ------
    ReportlibError
        When an input cannot be used, the folder exists, or the other side sends something else or stops.
    """
    reader, progress = FrameReader(sys.stdin.buffer), request.progress
    with unfinished(output) as partial, load(request) as loaded:
        begin = reader.next("begin").header
        _check(begin, loaded)
        cases, tally, found = Cases(partial / "cases"), Tally(), {}
        for entry in loaded.passes:
            progress.stage(f"replaying {entry.description!r}")
            found[entry.slug] = replay(entry, reader, cases, tally)
            progress.stage(f"replayed {found[entry.slug].replayed:,} operations, {found[entry.slug].differ:,} differ")
        reader.next("end")
        a = {name: begin[name] for name in ("arm", "torch", "inputs")}
        b = {"arm": loaded.arm, "torch": torch_description(), "inputs": dict(loaded.inputs)}
        Replay(partial, a, b, found, tally.groups).write()
    progress.stage("done")


def _check(begin: Any, loaded: Loaded) -> None:
    for name in _SAME:
        theirs, ours = (list(v) if isinstance(v, tuple) else v for v in (begin["arm"][name], loaded.arm[name]))
        if theirs != ours:
            raise CaptureError(f"the other environment sends {name} {theirs!r}, here it is {ours!r}",
                               "give both the same options")  # fmt: skip
    slugs = [entry.slug for entry in loaded.passes]
    if begin["passes"] != slugs:
        raise CaptureError(f"the other environment sends the passes {begin['passes']}, here are {slugs}",
                           "give both the same options")  # fmt: skip
    if begin["inputs"]["weights"] != loaded.inputs["weights"]:
        raise CaptureError("the other environment has other weights", "give both the same checkpoint")
