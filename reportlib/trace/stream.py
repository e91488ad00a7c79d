"""What passes between two environments: frames, and which operation of one side stands for which of the other.

A frame is ``RLF1``, the header's length (4 bytes), the body's length (8 bytes), both little-endian, then the header in
UTF-8 and the body. Only the standard library is needed. ``docs/trace.md`` lists the kinds of frames.

An operation is known by its slot: module, name, overload, and the how-manieth of these it is in its pass. Both sides
know beforehand which slots the other one has, so only what was reordered has to be kept, whatever was inserted.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

from reportlib.errors import CaptureError

MAGIC = b"RLF1"
_HEAD = struct.Struct("<4sIQ")
#: A longer header than this is no header: what is read is not such a stream.
_MOST = 1 << 28


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    header : mapping
        With ``kind``.
    body : memoryview
        Raw bytes, one tensor after the other.
    """

    header: Mapping[str, Any]
    body: memoryview

    @property
    def nbytes(self) -> int:
        """Size of the body."""
        return self.body.nbytes


class FrameWriter:
    """Write frames to a stream.

    Parameters
    ----------
    stream : binary file
        Buffered, or every small frame is a system call.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.written = 0

    def write(self, kind: str, header: Mapping[str, Any], nbytes: int = 0, parts: Iterable[memoryview] = ()) -> None:
        """Write a frame whose body is taken part by part, so that it need never be in memory as a whole."""
        text = json.dumps({"kind": kind, **header}, separators=(",", ":"), ensure_ascii=False).encode()
        left = nbytes
        try:
            self.stream.write(_HEAD.pack(MAGIC, len(text), nbytes))
            self.stream.write(text)
            for part in parts:
                self.stream.write(part)
                left -= part.nbytes
        except (BrokenPipeError, ConnectionResetError) as error:
            raise CaptureError(
                "the environment that replays has stopped reading (Broken pipe)", "see what it said"
            ) from error
        if left:
            raise CaptureError(f"a frame of kind {kind!r} has {nbytes - left:,} bytes instead of {nbytes:,}")
        self.written += _HEAD.size + len(text) + nbytes

    def flush(self) -> None:
        """Hand over what is buffered."""
        try:
            self.stream.flush()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise CaptureError(
                "the environment that replays has stopped reading (Broken pipe)", "see what it said"
            ) from error


class FrameReader:
    """Read frames from a stream.

    Parameters
    ----------
    stream : binary file
        Buffered.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.read = 0

    def next(self, *kinds: str) -> Frame:
        """Return the next frame, which must be of one of `kinds`."""
        magic, header_length, body_length = _HEAD.unpack(self._exactly(_HEAD.size))
        if magic != MAGIC or header_length > _MOST:
            raise CaptureError("what arrives is no stream of operations", "pipe `send` of the same reportlib into it")
        try:
            header = json.loads(bytes(self._exactly(header_length)))
            kind = header["kind"]
        except (ValueError, KeyError, TypeError) as error:
            raise CaptureError(f"a frame of the stream is damaged: {error}", "run both sides again") from error
        if kind not in kinds:
            raise CaptureError(f"a frame of kind {kind!r} arrives where {' or '.join(kinds)} is due", "run both again")
        frame = Frame(header, self._exactly(body_length))
        self.read += _HEAD.size + header_length + body_length
        return frame

    def _exactly(self, count: int) -> memoryview:
        block = memoryview(bytearray(count))
        done = 0
        while done < count:
            got = self.stream.readinto(block[done:])  # type: ignore[attr-defined]  # every binary file has it
            if not got:
                raise CaptureError(
                    "the environment that sends has stopped in the middle", "see what it said, and run both again"
                )
            done += got
        return block


#: Module, name and overload.
Kind = tuple[str, str, str]
#: A kind of operation and its number among these, from 0.
Slot = tuple[str, str, str, int]

_Item = TypeVar("_Item")


class Slots:
    """Numbers the operations of a pass as they run."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()

    def next(self, module: str, name: str, overload: str) -> Slot:
        """Return the slot of the operation that comes next."""
        number = self.counts[module, name, overload]
        self.counts[module, name, overload] += 1
        return module, name, overload, number

    def to_json(self) -> list[list[str | int]]:
        """Return how many of each kind there were."""
        return [[*kind, count] for kind, count in self.counts.items()]


def common_slots(ours: Counter[Kind], theirs: Iterable[Sequence[str | int]]) -> Counter[Kind]:
    """Return how many operations of each kind both sides have."""
    others: Counter[Kind] = Counter({(str(m), str(n), str(o)): int(count) for m, n, o, count in theirs})
    return ours & others


class Window(Generic[_Item]):
    """What has arrived from the other side before this side came to it.

    Parameters
    ----------
    common : Counter
        See `common_slots`. Nothing else is kept.
    """

    def __init__(self, common: Counter[Kind]) -> None:
        self.common = common
        self.greatest_bytes = 0
        self._waiting: dict[Slot, tuple[_Item, int]] = {}
        self._bytes = 0

    def has_counterpart(self, slot: Slot) -> bool:
        """Whether both sides have this slot."""
        return slot[3] < self.common[slot[:3]]

    def put(self, slot: Slot, item: _Item, nbytes: int) -> None:
        """Keep an item that has a counterpart until `take` asks for it."""
        if self.has_counterpart(slot):
            self._waiting[slot] = (item, nbytes)
            self._bytes += nbytes
            self.greatest_bytes = max(self.greatest_bytes, self._bytes)

    def take(self, slot: Slot) -> _Item | None:
        """Return an item that was kept, or None when it has not arrived."""
        found = self._waiting.pop(slot, None)
        if found is None:
            return None
        self._bytes -= found[1]
        return found[0]
