"""The stream between two environments: what is written arrives, and what is broken is refused."""

from __future__ import annotations

import io
import os
import struct
import threading

import pytest

from reportlib.errors import CaptureError
from reportlib.trace.stream import FrameReader, FrameWriter


def written(*frames: tuple[str, dict, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = FrameWriter(stream)
    for kind, header, body in frames:
        writer.write(kind, header, len(body), [memoryview(body)] if body else [])
    assert writer.written == len(stream.getvalue())
    return stream.getvalue()


def test_headers_and_bodies_arrive_in_order():
    data = written(("operation", {"name": "aten::añadir"}, b"\0\1\2\xff"), ("result", {"result": None}, b""))
    reader = FrameReader(io.BytesIO(data))
    first = reader.next("operation", "pass end")
    assert (first.header, bytes(first.body)) == ({"kind": "operation", "name": "aten::añadir"}, b"\0\1\2\xff")
    assert first.nbytes == 4
    second = reader.next("result")
    assert (second.header["result"], second.nbytes) == (None, 0)
    assert reader.read == len(data)


def test_a_body_is_written_part_by_part():
    stream = io.BytesIO()
    parts = (memoryview(bytes([value]) * 3) for value in range(3))
    FrameWriter(stream).write("operation", {}, 9, parts)
    frame = FrameReader(io.BytesIO(stream.getvalue())).next("operation")
    assert bytes(frame.body) == b"\0\0\0\1\1\1\2\2\2"


def test_a_body_of_another_length_than_was_said_is_an_error():
    with pytest.raises(CaptureError, match="3 bytes instead of 4"):
        FrameWriter(io.BytesIO()).write("operation", {}, 4, [memoryview(b"abc")])


@pytest.mark.parametrize("end", [0, 1, 15, 16, 20, -1])
def test_a_stream_that_ends_anywhere_is_an_error(end):
    data = written(("operation", {"name": "aten::add"}, b"values"))
    with pytest.raises(CaptureError, match="stopped in the middle") as caught:
        FrameReader(io.BytesIO(data[:end])).next("operation")
    assert caught.value.mend is not None


def test_something_else_is_no_stream():
    with pytest.raises(CaptureError, match="no stream of operations"):
        FrameReader(io.BytesIO(b"Traceback (most recent call last): ...")).next("begin")
    absurd = struct.pack("<4sIQ", b"RLF1", 2**32 - 1, 0)
    with pytest.raises(CaptureError, match="no stream of operations"):
        FrameReader(io.BytesIO(absurd)).next("begin")


@pytest.mark.parametrize("text", [b"{", b"[1]", b"{}", b"\xff\xfe"])
def test_a_damaged_header_is_an_error(text):
    data = struct.pack("<4sIQ", b"RLF1", len(text), 0) + text
    with pytest.raises(CaptureError, match="damaged"):
        FrameReader(io.BytesIO(data)).next("begin")


def test_a_frame_that_is_not_due_is_an_error():
    with pytest.raises(CaptureError, match=r"'result' arrives where operation or pass end is due"):
        FrameReader(io.BytesIO(written(("result", {}, b"")))).next("operation", "pass end")


def test_a_reader_that_left_is_an_error_with_its_reason():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream:
        writer = FrameWriter(stream)
        with pytest.raises(CaptureError, match="stopped reading"):
            writer.write("operation", {}, 0)
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "wb", buffering=1 << 16)
    writer = FrameWriter(stream)
    writer.write("operation", {}, 0)
    with pytest.raises(CaptureError, match="stopped reading"):
        writer.flush()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_frames_larger_than_a_pipe_arrive_in_pieces():
    reading, writing = os.pipe()
    body = os.urandom(300_000)

    def send() -> None:
        with os.fdopen(writing, "wb") as stream:
            FrameWriter(stream).write("operation", {}, len(body), [memoryview(body)])

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(reading, "rb") as stream:
        assert bytes(FrameReader(stream).next("operation").body) == body
    thread.join()
