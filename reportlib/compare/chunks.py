"""Artifacts that a capture holds in chunks, read as one tensor that never fits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reportlib.errors import ComparisonError
from reportlib.floats import Array
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
