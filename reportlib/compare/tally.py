"""The running totals of one pass over two tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked
from reportlib.compare.results import ChunkDifference
from reportlib.floats import Array

Positions = npt.NDArray[np.int64]


@dataclass
class Tally:
    """What a pass has seen so far; flat positions, sums in float64.

    `balance` is the sum of A minus the sum of B, modulo 2**64: not zero where no permutation is.
    `shape` is that of the whole, `chunks` counts the differing values along each of A's chunks.
    """

    shape: tuple[int, ...]
    different: int = 0
    different_bits: int = 0
    first: int | None = None
    nan_a: int = 0
    inf_a: int = 0
    nan_b: int = 0
    inf_b: int = 0
    finite: int = 0
    sum_abs: float = 0.0
    max_abs: float | int = -1
    max_at: int | None = None
    max_rel: float = -1.0
    max_ulp: int = 0
    not_default: int = 0
    not_bnb: int = 0
    atol: float = 0.0
    factor: float = 0.0
    hopeless: bool = False
    balance: int = 0
    chunks: list[int] = field(default_factory=list)

    def index(self, flat: int | None) -> tuple[int, ...] | None:
        """Return a flat position as an index into the whole."""
        if flat is None:
            return None
        return tuple(int(i) for i in np.unravel_index(flat, self.shape)) if self.shape else ()

    def note(self, where: Positions) -> None:
        """Count elements whose bytes differ; `where` holds their flat positions, ascending."""
        self.different_bits += where.size
        if self.first is None and where.size:
            self.first = int(where[0])

    def largest(self, distance: Array, where: Positions) -> None:
        """Keep the largest of `distance` and the first place where it stands."""
        if distance.size:
            top = int(distance.argmax())
            if distance[top] > self.max_abs:
                self.max_abs, self.max_at = distance[top].item(), int(where[top])

    def per_chunk(self, where: Positions, offsets: tuple[int, ...]) -> None:
        """Add differing values at flat positions `where` to A's chunks."""
        counts = np.diff(np.searchsorted(where, offsets))
        self.chunks = [n + int(c) for n, c in zip(self.chunks, counts, strict=True)]

    def chunk_differences(self, a: Chunked) -> tuple[ChunkDifference, ...]:
        """Return what differs along each chunk of `a`; nothing where there is only one."""
        if len(a.parts) < 2 or not self.chunks:
            return ()
        edges = (0, *np.cumsum(a.rows).tolist())
        return tuple(
            ChunkDifference(name, start, stop, count)
            for name, (start, stop), count in zip(a.names, pairwise(edges), self.chunks, strict=True)
        )
