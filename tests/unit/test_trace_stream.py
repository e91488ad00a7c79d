"""Between two environments: what is written arrives, what is broken is refused, and what waits for its counterpart."""

from __future__ import annotations

import io
import os
import struct
import threading

import pytest

from reportlib.errors import CaptureError
from reportlib.trace.stream import FrameReader, FrameWriter, Slot, Slots, Window, common_slots


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


SIZE = 10


def slots(*names: str) -> tuple[Slots, list[Slot]]:
    found = Slots()
    return found, [found.next("layer", name, "") for name in names]


def align(a: str, b: str) -> tuple[dict[Slot, int], Window[int], int]:
    """Read A's letters as B's come, as a replay does; return what was paired, the window, and what was read."""
    (counted_a, stream_a), (counted_b, stream_b) = slots(*a), slots(*b)
    window: Window[int] = Window(common_slots(counted_b.counts, counted_a.to_json()))
    paired: dict[Slot, int] = {}
    read = 0
    for slot in stream_b:
        if not window.has_counterpart(slot):
            continue
        found = window.take(slot)
        while found is None:
            if stream_a[read] == slot:
                found = read
            else:
                window.put(stream_a[read], read, SIZE)
            read += 1
        paired[slot] = found
    return paired, window, read


def test_the_same_order_needs_no_window():
    paired, window, _ = align("abcabc", "abcabc")
    assert list(paired.values()) == list(range(6))
    assert window.greatest_bytes == 0


def test_equal_operations_are_told_apart_by_their_number():
    assert slots("a", "b", "a")[1] == [("layer", "a", "", 0), ("layer", "b", "", 0), ("layer", "a", "", 1)]


def test_modules_and_overloads_are_counted_apart():
    found = Slots()
    assert found.next("x", "add", "Tensor")[3] == found.next("y", "add", "Tensor")[3] == 0
    assert found.next("x", "add", "Scalar")[3] == 0
    assert found.next("x", "add", "Tensor")[3] == 1


@pytest.mark.parametrize(("a", "b", "waiting"), [("ab", "ba", 1), ("abcd", "dabc", 3), ("abab", "baba", 1)])
def test_what_was_reordered_waits_and_no_more(a, b, waiting):
    paired, window, read = align(a, b)
    assert len(paired) == len(a) == read
    assert window.greatest_bytes == waiting * SIZE
    order = [a.index(slot[1], 0) if slot[3] == 0 else a.rindex(slot[1]) for slot in paired]
    assert order == list(paired.values())


def test_what_b_lacks_is_not_kept_however_much_it_is():
    paired, window, _ = align("a" + "x" * 1000 + "b", "ab")
    assert list(paired.values()) == [0, 1001]
    assert window.greatest_bytes == 0


def test_what_a_lacks_reads_nothing():
    paired, window, read = align("ab", "a" + "x" * 1000 + "b")
    assert (len(paired), read, window.greatest_bytes) == (2, 2, 0)


def test_of_more_of_a_kind_the_first_are_paired():
    paired, window, _ = align("aab", "aaaab")
    assert {slot[1:]: at for slot, at in paired.items()} == {("a", "", 0): 0, ("a", "", 1): 1, ("b", "", 0): 2}
    assert window.greatest_bytes == 0


def test_the_window_s_greatest_size_is_kept_when_it_empties():
    (counted, (first, second, third)) = slots("a", "b", "c")
    window: Window[str] = Window(common_slots(counted.counts, counted.to_json()))
    window.put(first, "A", 100)
    window.put(second, "B", 50)
    assert window.take(first) == "A"
    assert window.take(first) is None
    window.put(third, "C", 60)
    assert (window.take(second), window.take(third)) == ("B", "C")
    assert window.greatest_bytes == 150
