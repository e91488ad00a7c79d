"""The verb ``replay``: run what arrives at standard input beside one's own passes, and write a replay folder.

Where an operation's results differ it is written as a case: with its values, as small as it can be made.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.capture.tensors import tensor_digest
from reportlib.errors import CaptureError
from reportlib.trace.format import (
    INPUTS_FILE,
    LARGE,
    OUTPUTS_FILE,
    Case,
    CaseTensor,
    Difference,
    Group,
    NotReplayed,
    Replay,
    ReplayedOperation,
    ReplayedPass,
    atomic_folder,
    case_id,
    determining_dtypes,
)
from reportlib.trace.operations import (
    NotReplayedError,
    blake3_digest,
    call,
    call_in_float64,
    copies_of_written,
    find_operation,
    mutated_tensors,
    outputs_of,
    tensor_form,
)
from reportlib.trace.passes import Loaded, Pass, load, torch_description
from reportlib.trace.record import peak_bytes
from reportlib.trace.send import count
from reportlib.trace.stream import Frame, FrameReader, Slot, Slots, Window, common_slots
from reportlib.trace.tensors import Layout, difference, float64_errors, from_bytes, view_difference, without_values

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

Tensors = tuple[torch.Tensor, ...]


@dataclass
class Entry:
    """An operation of A while it is being judged.

    Attributes
    ----------
    operation : ReplayedOperation
        Completed when B's own pass comes to it.
    slot : Slot
        What B's own pass knows it by.
    outputs : tuple of torch.Tensor, or None
        A's; None for a view, and for memory that nobody has written to.
    computes : bool
        Whether an output is of floating-point numbers.
    """

    operation: ReplayedOperation
    slot: Slot
    outputs: Tensors | None
    computes: bool

    @property
    def is_reported(self) -> bool:
        """Whether the result names it."""
        found = self.operation
        return self.computes or any(d is not None and d.different for d in (found.local, found.accumulated))


@dataclass
class Tally:
    """How often each kind of operation was run again, and how often its result was another."""

    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, found: ReplayedOperation, dtypes: Sequence[str]) -> None:
        """Count an operation that was run again."""
        known = self.groups.get(found.id) or Group(
            found.id, found.name, found.overload, determining_dtypes(dtypes), 0, 0
        )
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
        if entry.is_reported or entry.outputs is not None:
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
                found = replace(found, local=view_difference(a_layouts, attempt.outputs))
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
            errors, why = float64_errors(a, b, exact)
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
            self.func = find_operation(operation["name"], operation["overload"])
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
            entry.operation = replace(entry.operation, position_b=position, accumulated=apart)
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
    """Run a pass twice, first to count its operations and then beside A's, and say what differs."""
    before = reader.read
    counted = count(entry)
    header = reader.next("pass").header
    if (header["slug"], header["given"]) != (entry.slug, dict(entry.given)):
        raise CaptureError(
            f"the other environment sends {header['slug']!r} on other inputs than {entry.slug!r} has here",
            "give both the same options, checkpoint, collection and capture",
        )
    incoming = Incoming(reader, entry.slug, cases, tally)
    window: Window[Entry] = Window(common_slots(counted.slots.counts, header["slots"]))
    started = time.perf_counter()
    with ExitStack() as stack:
        replayer = Replayer(incoming, window)
        entry.watch(replayer.modules, stack)
        with replayer:
            output = entry.call()
    while (late := incoming.next()) is not None:
        late.outputs = None
    end = incoming.end or {}
    digest = blake3_digest(output)
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
        operations=tuple(entry.operation for entry in incoming.entries if entry.is_reported),
    )


#: What both sides must share for their operations to be comparable at all.
_SAME = ("precision", "device", "passages", "texts", "doc_maxlen")


def replay_passes(request: PassRequest, output: Path) -> None:
    """Run the passes that are asked for beside those that arrive."""
    reader, progress = FrameReader(sys.stdin.buffer), request.progress
    with atomic_folder(output) as partial, load(request) as loaded:
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


# Cases.


@dataclass(frozen=True)
class Instance:
    """One operation that differs, with its values.

    Attributes
    ----------
    case : Case
        What is called and where; its tensors are filled in when it is written.
    inputs, a, b : tuple of torch.Tensor
        What it read, with A's strides, and both results.
    exact : tuple of torch.Tensor or None
        The float64 result.
    """

    case: Case
    inputs: Tensors
    a: Tensors
    b: Tensors
    exact: Tensors | None

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs, expanded axes counted as they are read."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.inputs)


class Cases:
    """The cases of a replay folder, written as they are found.

    Parameters
    ----------
    folder : Path
        Gets a folder for each kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bytes: dict[str, int] = {}

    def offer(self, instance: Instance) -> None:
        """Keep an instance, if it is the first or smallest of its kind; of equals the first."""
        known = self._bytes.get(instance.case.id)
        if known is not None and known <= instance.nbytes:
            return
        write(instance, self.folder / instance.case.id)
        self._bytes[instance.case.id] = instance.nbytes
        small = self.folder / f"{instance.case.id}-small"
        shutil.rmtree(small, ignore_errors=True)
        if instance.nbytes > LARGE and (smaller := narrowed(instance)) is not None:
            write(smaller, small)


def write(instance: Instance, folder: Path) -> None:
    """Write a case's folder, over one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _save(folder / INPUTS_FILE, {"input": instance.inputs})
    _save(folder / OUTPUTS_FILE, {"a": instance.a, "b": instance.b, "truth": instance.exact or ()})
    sides = {"a": tuple(map(_plain, instance.a)), "b": tuple(map(_plain, instance.b))}
    inputs = tuple(_plain(tensor, tensor.stride()) for tensor in instance.inputs)
    replace(instance.case, folder=folder, inputs=inputs, outputs=sides).write()


def narrowed(instance: Instance) -> Instance | None:
    """Return an instance of less along the leading axes that inputs and outputs share, or None.

    A slice stands for the whole only where B's operation on it gives the slice of B's result, and A's and B's
    slices differ. Whether A's operation gives the slice of A's is for A to say.
    """
    found = instance
    for axis in range(min(tensor.dim() for tensor in instance.b) if instance.b else 0):
        found = _narrow_axis(found, axis) or found
    return None if found is instance else found


def _narrow_axis(instance: Instance, axis: int) -> Instance | None:
    outputs = (*instance.a, *instance.b)
    sizes = {tensor.shape[axis] for tensor in outputs}
    shapes = {tensor.shape[:axis] for tensor in outputs}
    if len(sizes) != 1 or len(shapes) != 1 or (size := sizes.pop()) < 2:
        return None
    first = _first_difference(instance, axis)
    length = 1
    while length < size:
        start = min(first, size - length)
        smaller = _slice(instance, axis, start, length)
        if smaller is not None:
            return smaller
        length *= 2
    return None


def _slice(instance: Instance, axis: int, start: int, length: int) -> Instance | None:
    size, rank = instance.b[0].shape[axis], instance.b[0].dim()

    def cut(tensor: torch.Tensor) -> torch.Tensor:
        return _compact(tensor.narrow(axis, start, length))

    inputs = tuple(
        cut(tensor) if tensor.dim() == rank and tensor.shape[axis] == size else tensor for tensor in instance.inputs
    )
    a, b = (tuple(map(cut, side)) for side in (instance.a, instance.b))
    if all(x is y for x, y in zip(inputs, instance.inputs, strict=True)) or not difference(a, b).different:
        return None
    func, arguments = find_operation(instance.case.name, instance.case.overload), instance.case.arguments
    try:
        done = call(func, arguments, copies_of_written(func, arguments, inputs))
    except NotReplayedError:
        return None
    if difference(b, done.outputs).different:
        return None
    exact = None if instance.exact is None else call_in_float64(func, arguments, inputs)[0]
    return Instance(instance.case, inputs, a, b, exact)


def _first_difference(instance: Instance, axis: int) -> int:
    """Return where along an axis the first difference lies."""
    size = instance.b[0].shape[axis]
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        parts = [[t.narrow(axis, low, middle - low) for t in side] for side in (instance.a, instance.b)]
        low, high = (low, middle) if difference(*parts).different else (middle, high)
    return low


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy with the same order of strides and no gaps; an expanded axis stays one."""
    whole = tensor
    for axis, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[axis] > 1:
            whole = whole.narrow(axis, 0, 1)
    return whole.clone().expand(tensor.shape)


def _plain(tensor: torch.Tensor, strides: Sequence[int] | None = None) -> CaseTensor:
    dtype, shape, _ = tensor_form(tensor)
    plain = torch.empty(tensor.shape, device="meta").stride() if strides is None else strides
    return CaseTensor(dtype, shape, tuple(plain), tensor_digest(tensor))


def _save(file: Path, named: Mapping[str, Tensors]) -> None:
    content: dict[str, Any] = {}
    for name, tensors in named.items():
        for index, tensor in enumerate(tensors):
            content[f"{name}{index}"] = tensor.detach().cpu().contiguous().clone()
    save_file(content, file)
