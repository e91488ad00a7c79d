"""The stream between two environments: frames of a JSON header and raw bytes.

A frame is ``RLF1``, the header's length (4 bytes), the body's length (8 bytes), both little-endian, then the header in
UTF-8 and the body. Only the standard library is needed. ``docs/trace.md`` lists the kinds of frames.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

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
        """Write a frame whose body is taken part by part, so that it need never be in memory as a whole.

        Parameters
        ----------
        kind : str
            Of the frame.
        header : mapping
            For JSON.
        nbytes : int
            Of all parts together.
        parts : iterable of memoryview
            Contiguous bytes.

        Raises
        ------
        CaptureError
            When nobody reads any more, or the parts are not as long as was said.
        """
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
        """Return the next frame, which must be of one of `kinds`.

        Raises
        ------
        CaptureError
            When the stream ends, or is no such stream.
        """
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
