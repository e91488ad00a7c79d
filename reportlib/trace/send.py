"""The verb ``send``: every operation of the passes with its values, to standard output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.trace.operations import (
    UNWRITTEN,
    Canonical,
    blake3_digest,
    mutated_tensors,
    outputs_of,
    why_not_replayed,
)
from reportlib.trace.passes import Pass, load, torch_description
from reportlib.trace.record import peak_bytes, source_line
from reportlib.trace.stream import FrameWriter, Slots
from reportlib.trace.tensors import Layout, is_dense, to_bytes

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

#: These may return a view or a copy; their values have to be sent.
_MAYBE_COPIES = frozenset(
    f"aten::{name}" for name in ("contiguous", "flatten", "ravel", "reshape", "reshape_as", "resolve_conj",
                                 "resolve_neg", "to", "type_as", "_autocast_to_full_precision",
                                 "_autocast_to_reduced_precision")
)  # fmt: skip


def is_view(func: Any) -> bool:
    """Whether an operation only says where in the memory of its inputs its outputs lie."""
    schema = func._schema
    if schema.name in _MAYBE_COPIES or not schema.returns:
        return False
    return all(part.alias_info is not None and not part.alias_info.is_write for part in schema.returns)


class _Counter(TorchDispatchMode):  # type: ignore[misc]
    """Counts the operations of a pass and looks at nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.modules: list[str] = []
        self.slots = Slots()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.slots.next(self.modules[-1] if self.modules else "", func._schema.name, func._schema.overload_name)
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Counted:
    """A pass that ran once while its operations were counted.

    Attributes
    ----------
    slots : Slots
        Its operations.
    output : str
        `blake3_digest` of its output.
    seconds : float
        That it took.
    peak_bytes : int
        Greatest resident memory until then.
    """

    slots: Slots
    output: str
    seconds: float
    peak_bytes: int


def count(entry: Pass) -> Counted:
    """Run a pass and count its operations."""
    started = time.perf_counter()
    with ExitStack() as stack:
        counter = _Counter()
        entry.watch(counter.modules, stack)
        with counter:
            output = entry.call()
    return Counted(counter.slots, blake3_digest(output), time.perf_counter() - started, peak_bytes())


class Sender(TorchDispatchMode):  # type: ignore[misc]
    """Writes two frames for every operation: what it reads, before it runs, and what it gave.

    Beside the call's own tensors there is at most one contiguous copy of one tensor in memory.

    Parameters
    ----------
    writer : FrameWriter
        Blocks while the other side is busy.
    """

    def __init__(self, writer: FrameWriter) -> None:
        super().__init__()
        self.writer = writer
        self.modules: list[str] = []
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, schema, source = kwargs or {}, func._schema, source_line()
        given: list[torch.Tensor] = []
        arguments = Canonical(given).arguments(schema, args, kwargs)
        changed = mutated_tensors(schema, args, kwargs)
        why, view = why_not_replayed(func), is_view(func)
        if why is None and not all(map(is_dense, given)):
            why = "reads a tensor that is not dense"
        described = {
            "position": self.count,
            "name": schema.name,
            "overload": schema.overload_name,
            "module": self.modules[-1] if self.modules else "",
            "source": source,
            "arguments": arguments,
            "view": view,
            "why_not": why,
        }
        self.count += 1
        self._tensors("operation", {"operation": described}, given, values=why is None and not view)

        returned = func(*args, **kwargs)

        result, out = outputs_of(returned, changed)
        self._tensors("result", {"result": result}, out, values=not view and schema.name not in UNWRITTEN)
        return returned

    def _tensors(self, kind: str, header: dict[str, Any], tensors: list[torch.Tensor], *, values: bool) -> None:
        dense = all(map(is_dense, tensors))
        layouts = [Layout.of(tensor) for tensor in tensors] if dense else []
        values = values and dense
        self.writer.write(
            kind,
            {**header, "tensors": list(map(asdict, layouts)), "values": values},
            sum(layout.nbytes for layout in layouts) if values else 0,
            map(to_bytes, tensors) if values else (),
        )


def send(entry: Pass, writer: FrameWriter) -> int:
    """Run a pass twice, first to count its operations and then to send them; return how many there were."""
    counted = count(entry)
    writer.write(
        "pass",
        {"slug": entry.slug, "description": entry.description, "pass_kind": entry.kind, "given": dict(entry.given),
         "slots": counted.slots.to_json()},
    )  # fmt: skip
    with ExitStack() as stack:
        sender = Sender(writer)
        entry.watch(sender.modules, stack)
        with sender:
            output = entry.call()
    digest = blake3_digest(output)
    # Nothing here is measured: how much is sent is in the report, and must be the same each time.
    writer.write("pass end", {"output": digest, "undisturbed": digest == counted.output, "operations": sender.count})
    writer.flush()
    return sender.count


#: Small frames are put together to blocks of this size on their way.
_BUFFER = 1 << 20


def send_passes(request: PassRequest) -> None:
    """Send the passes that are asked for."""
    progress = request.progress
    with _pipe() as stream, load(request) as loaded:
        writer = FrameWriter(stream)
        slugs = [entry.slug for entry in loaded.passes]
        about = {"arm": loaded.arm, "torch": torch_description(), "inputs": dict(loaded.inputs), "passes": slugs}
        writer.write("begin", about)
        for entry in loaded.passes:
            progress.stage(f"sending {entry.description!r}")
            number = send(entry, writer)
            progress.stage(f"sent {number:,} operations, {writer.written / 1e6:,.0f} MB in all")
        writer.write("end", {})
        writer.flush()


@contextmanager
def _pipe() -> Iterator[BinaryIO]:
    """Yield standard output for frames alone: what C code prints goes to standard error instead."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(kept, "wb", buffering=_BUFFER)
    try:
        yield stream
    finally:
        # What nobody reads cannot be flushed, and what went wrong has been said.
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.close()
