"""Run one's own pass beside the operations that another environment sends."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.errors import CaptureError
from reportlib.trace.differences import difference
from reportlib.trace.frames import FrameReader
from reportlib.trace.incoming import Entry, Incoming, Tally
from reportlib.trace.keeping import Cases
from reportlib.trace.lockstep import Slot, Slots, Window, shared_slots
from reportlib.trace.operations import mutated_tensors, outputs_of, tensor_digest
from reportlib.trace.passes import Pass
from reportlib.trace.recorder import peak_bytes
from reportlib.trace.results import NotReplayed, ReplayedPass
from reportlib.trace.sender import count


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
