"""Keep two streams of operations side by side that need not have the same order.

An operation is known by its slot: module, name, overload, and the how-manieth of these it is in its pass. Both sides
know beforehand which slots the other one has, so only what was reordered has to be kept, whatever was inserted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

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


def shared_slots(ours: Counter[Kind], theirs: Iterable[Sequence[str | int]]) -> Counter[Kind]:
    """Return how many operations of each kind both sides have."""
    others: Counter[Kind] = Counter({(str(m), str(n), str(o)): int(count) for m, n, o, count in theirs})
    return ours & others


class Window(Generic[_Item]):
    """What has arrived from the other side before this side came to it.

    Parameters
    ----------
    shared : Counter
        See `shared_slots`. Nothing else is kept.
    """

    def __init__(self, shared: Counter[Kind]) -> None:
        self.shared = shared
        self.greatest_bytes = 0
        self._waiting: dict[Slot, tuple[_Item, int]] = {}
        self._bytes = 0

    def has_counterpart(self, slot: Slot) -> bool:
        """Whether both sides have this slot."""
        return slot[3] < self.shared[slot[:3]]

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
