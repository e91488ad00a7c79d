"""Two streams of operations side by side: what waits for its counterpart, and for how long."""

from __future__ import annotations

import pytest

from reportlib.trace.stream import Slot, Slots, Window, common_slots

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
