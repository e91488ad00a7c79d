"""An index's artifact in its files, read as one tensor: one file mapped at a time, each checked once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked
from reportlib.errors import IndexFileError
from reportlib.indexes import StoredArray, StoredTensor
from reportlib.store import CARRIERS, Tensor

Array = npt.NDArray[Any]


class SideError(IndexFileError):
    """What is wrong with one side's file."""

    def __init__(self, side: str, what: str, mend: str | None = None) -> None:
        super().__init__(what, mend)
        self.side = side


@dataclass(frozen=True)
class StoredChunks(Chunked):
    """One artifact of an index, chunk by chunk in its files; `parts` stand in for their shapes alone.

    Attributes
    ----------
    stored : tuple of StoredTensor or StoredArray
        The chunks.
    side : str
        ``a`` or ``b``: whom an error is about.
    read : callable
        Called with a chunk's bytes when it is read for the first time.
    """

    stored: tuple[StoredTensor | StoredArray, ...] = ()
    side: str = "a"
    read: Callable[[int], None] = lambda _: None
    _edges: list[int] = field(default_factory=list)
    _checked: set[int] = field(default_factory=set)
    _mapped: dict[int, Array] = field(default_factory=dict)

    @classmethod
    def of_files(
        cls, name: str, stored: Sequence[StoredTensor | StoredArray], side: str, read: Callable[[int], None]
    ) -> StoredChunks:
        """Return the artifact whose chunks are `stored`.

        Raises
        ------
        IndexFileError
            When its chunks have several dtypes or widths.
        """
        if len({(s.dtype, s.shape[1:], len(s.shape)) for s in stored}) != 1:
            raise IndexFileError(f"the chunks of {name} in {stored[0].path.parent} have several dtypes or widths")
        # Arrays of the right shape without memory: what is read is mapped in `flat`.
        parts = tuple(Tensor(np.broadcast_to(np.empty((), CARRIERS[s.dtype]), s.shape), s.dtype) for s in stored)
        names = tuple(s.path.name for s in stored)
        made = cls(name, names, parts, ("",) * len(names), tuple(stored), side, read)
        made._edges.extend(Chunked.offsets(made))
        return made

    def offsets(self) -> tuple[int, ...]:
        """Return where each chunk starts in the flat whole, and where the last one ends."""
        return tuple(self._edges)

    def flat(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the flat whole; copied only across a chunk's end.

        Raises
        ------
        IndexFileError
            When a chunk's bytes are not those that were saved.
        """
        stop = min(stop, self._edges[-1])
        first = max(bisect_right(self._edges, start) - 1, 0)
        if start < stop <= self._edges[first + 1]:
            return np.asarray(self._chunk(first)[start - self._edges[first] : stop - self._edges[first]])
        # Filled piece by piece: a list of pieces would keep the file of every chunk open.
        whole = np.empty(max(stop - start, 0), CARRIERS[self.dtype])
        for number, (low, high) in enumerate(pairwise(self._edges[first:]), first):
            if low >= stop:
                break
            piece = slice(max(start, low), min(stop, high))
            whole[piece.start - start : piece.stop - start] = self._chunk(number)[piece.start - low : piece.stop - low]
        return whole

    def check(self) -> None:
        """Read the chunks that nobody has read, for their CRC-32."""
        for number in range(len(self.stored)):
            if number not in self._checked:
                self._chunk(number)

    def release(self) -> None:
        """Close the file that is open."""
        self._mapped.clear()

    def _chunk(self, number: int) -> Array:
        if number not in self._mapped:
            # A map keeps its file open, and a process may open a thousand or so.
            self._mapped.clear()
            fresh = number not in self._checked
            try:
                self._mapped[number] = self.stored[number].open(check=fresh).array.reshape(-1)
            except IndexFileError as error:
                raise SideError(self.side, error.what, error.mend) from error
            if fresh:
                self._checked.add(number)
                self.read(self.stored[number].nbytes)
        return self._mapped[number]
