"""Artifacts that a capture holds in chunks, read as one tensor that never fits in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.errors import ComparisonError, IndexFileError
from reportlib.floats import Array
from reportlib.indexes import StoredArray, StoredTensor
from reportlib.store import CARRIERS, Capture, Tensor

#: Elements read at a time: few enough for a block and its temporaries to stay in the cache.
#: A constant, because the order of summation must not depend on the machine.
BLOCK = 1 << 16


@dataclass(frozen=True)
class Chunked:
    """One artifact as its chunks, in order, each a memory map.

    Attributes
    ----------
    name : str
        The artifact's name without chunk numbers.
    names : tuple of str
        Of the chunks; one that equals `name` where there are no chunks.
    parts : tuple of Tensor
        The chunks.
    sha256 : tuple of str
        From the manifest; empty strings where it is not known.
    """

    name: str
    names: tuple[str, ...]
    parts: tuple[Tensor, ...]
    sha256: tuple[str, ...]

    @classmethod
    def of(cls, tensor: Tensor, name: str = "tensor") -> Chunked:
        """Return one tensor as an artifact of a single chunk, without a hash."""
        return cls(name, (name,), (tensor,), ("",))

    @classmethod
    def load(cls, capture: Capture, name: str) -> Chunked:
        """Return the artifact `name` of `capture`, chunked or not.

        Raises
        ------
        StoreError
            When a file is missing or does not match the manifest.
        ComparisonError
            When its chunks have several dtypes.
        """
        names = tuple(capture.group(name))
        parts = tuple(capture.tensor(n) for n in names)
        if len({p.dtype for p in parts}) != 1:
            raise ComparisonError(
                f"{name} in {capture.path} has no chunks, or chunks of several dtypes",
                "run its arm again",
            )
        return cls(name, names, parts, tuple(capture.artifacts[n].sha256 for n in names))

    @property
    def dtype(self) -> str:
        """The chunks' dtype."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the chunks put together along the first axis; flat if they do not fit."""
        if len(self.parts) == 1:
            return self.parts[0].shape
        tails = {p.shape[1:] for p in self.parts}
        if len(tails) == 1 and self.parts[0].shape:
            return (sum(self.rows), *tails.pop())
        return (self.size,)

    @property
    def rows(self) -> tuple[int, ...]:
        """Length of each chunk's first axis; 1 for a scalar."""
        return tuple(p.shape[0] if p.shape else 1 for p in self.parts)

    @property
    def size(self) -> int:
        """How many elements all chunks have together."""
        return sum(p.array.size for p in self.parts)

    def offsets(self) -> tuple[int, ...]:
        """Return where each chunk starts in the flat whole, and where the last one ends."""
        ends = np.cumsum([p.array.size for p in self.parts], dtype=np.int64)
        return (0, *ends.tolist())

    def flat(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the flat whole; copied only across a chunk's end."""
        pieces = []
        for tensor, (low, high) in zip(self.parts, pairwise(self.offsets()), strict=True):
            if low < stop and start < high:
                flat = tensor.array.reshape(-1)
                pieces.append(flat[max(start - low, 0) : min(stop, high) - low])
        if not pieces:
            return np.empty(0, CARRIERS[self.dtype])
        return np.asarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, Array]]:
        """Yield (start, values) of the flat whole, `size` (or BLOCK) elements at a time."""
        size = size or BLOCK
        for start in range(0, self.size, size):
            yield start, self.flat(start, min(start + size, self.size))


def doclens(capture: Capture) -> list[int]:
    """Return how many token embeddings each passage has; nothing where the capture does not say."""
    return [length for name in capture.group("doclens") for length in capture.value(name)]


# An index's artifact in its files, read as one tensor: one file mapped at a time, each checked once.

MappedArray = npt.NDArray[Any]


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
    _mapped: dict[int, MappedArray] = field(default_factory=dict)

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

    def flat(self, start: int, stop: int) -> MappedArray:
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

    def _chunk(self, number: int) -> MappedArray:
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
