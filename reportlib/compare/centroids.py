"""One pass over all centroids of two sides: token ids, passages, order; in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked
from reportlib.compare.sets import Integers, counts, equal_groups, runs, sorted_within

Flags = npt.NDArray[np.bool_]
#: Token ids of a figure's centroid: enough to see a permutation, few enough to read.
FIGURE_SIZE, FIGURE_LEAST, FIGURE_MOST = 20, 4, 48


@dataclass(frozen=True)
class Side:
    """The sort of one capture's codes, and what it needs to be understood.

    Attributes
    ----------
    presort, codes, indices : Chunked
        Codes before the sort, sorted codes, and where each sorted code stood (the token ids).
    lengths : numpy.ndarray
        int64, token embeddings per centroid.
    passage_ends : numpy.ndarray
        int64, the token id after each passage's last one.
    ivf : Chunked or None
        The captured passage ids per centroid, lying one after another.
    ivf_lengths : numpy.ndarray or None
        int64, how many passages the capture says each centroid has.
    """

    presort: Chunked
    codes: Chunked
    indices: Chunked
    lengths: Integers
    passage_ends: Integers
    ivf: Chunked | None = None
    ivf_lengths: Integers | None = None

    @classmethod
    def of(cls, presort: Chunked, codes: Chunked, indices: Chunked, doclens: Sequence[int]) -> Side:
        """Count the centroids' embeddings and the passages' ends."""
        ends = np.cumsum(np.asarray(doclens, np.int64))
        return cls(presort, codes, indices, counts(codes), ends)

    def with_centroids(self, number: int) -> Side:
        """Return this side with at least `number` centroids, the added ones empty."""
        return replace(self, lengths=np.pad(self.lengths, (0, max(0, number - len(self.lengths)))))

    def passages_of(self, token_ids: Integers) -> Integers:
        """Return the passage id that each token id belongs to."""
        return np.asarray(np.searchsorted(self.passage_ends, token_ids, "right"), np.int64)


@dataclass(frozen=True)
class Reordered:
    """A centroid whose token ids come in two orders."""

    centroid: int
    a: Integers
    b: Integers


@dataclass(frozen=True)
class CentroidPass:
    """What the pass found; the flags have one element per centroid.

    Attributes
    ----------
    reordered : numpy.ndarray
        Whether the token ids differ at any place.
    same_tokens, same_passages : numpy.ndarray
        Whether both sides have the same set of token ids, of passages.
    stable_a, stable_b : bool
        Whether a side's indices are what a stable sort of its codes gives.
    gives_ivf_a, gives_ivf_b : bool or None
        Whether the different passages per centroid are the captured `ivf` and `ivf_lengths`; None
        without them.
    example : Reordered or None
        A centroid for the figure.
    """

    reordered: Flags
    same_tokens: Flags
    same_passages: Flags
    stable_a: bool
    stable_b: bool
    gives_ivf_a: bool | None
    gives_ivf_b: bool | None
    example: Reordered | None


def walk(a: Side, b: Side) -> CentroidPass:
    """Go through all centroids of two sides that have as many of them.

    Each run of centroids is read once; what is in memory at a time is bounded by `sets.runs`.
    """
    total = len(a.lengths)
    reordered, tokens, passages = (np.zeros(total, np.bool_) for _ in range(3))
    walkers = _Walker(a), _Walker(b)
    example: Reordered | None = None
    for first, last in runs(a.lengths, b.lengths):
        run = slice(first, last)
        la, lb = a.lengths[run], b.lengths[run]
        (ids_a, sorted_a, pids_a, many_a), (ids_b, sorted_b, pids_b, many_b) = (
            walker.step(first, last) for walker in walkers
        )
        reordered[run] = ~equal_groups(ids_a, la, ids_b, lb)
        tokens[run] = equal_groups(sorted_a, la, sorted_b, lb)
        passages[run] = equal_groups(pids_a, many_a, pids_b, many_b)
        example = _better(example, _example(first, reordered[run] & tokens[run], (la, lb), (ids_a, ids_b)))
    return CentroidPass(
        reordered,
        tokens,
        passages,
        walkers[0].stable,
        walkers[1].stable,
        walkers[0].gives_ivf(),
        walkers[1].gives_ivf(),
        example,
    )


class _Walker:
    """Reads one side's centroids in order, and keeps account of its order and its `ivf`."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.starts = np.concatenate(([0], np.cumsum(side.lengths)))
        self.stable = True
        self._agrees = True
        self._ivf_at = 0

    def step(self, first: int, last: int) -> tuple[Integers, Integers, Integers, Integers]:
        """Return a run's token ids, the same sorted, its different passages, and how many."""
        lengths = self.side.lengths[first:last]
        start, stop = int(self.starts[first]), int(self.starts[last])
        ids = self.side.indices.flat(start, stop).astype(np.int64)
        ordered = sorted_within(ids, lengths)
        self.stable = self.stable and np.array_equal(ids, ordered) and self._sorts(start, ids)
        group = np.repeat(np.arange(last - first), lengths)
        pids = self.side.passages_of(ordered)
        # Token ids ascend within a centroid, so equal passages lie together.
        fresh = np.ones(len(pids), np.bool_)
        fresh[1:] = (pids[1:] != pids[:-1]) | (group[1:] != group[:-1])
        unique = pids[fresh]
        many = np.bincount(group[fresh], minlength=last - first)
        self._check_ivf(unique, many, first, last)
        return ids, ordered, unique, many

    def _sorts(self, start: int, ids: Integers) -> bool:
        """Return whether the codes at `ids` are the sorted codes that stand there."""
        presort = self.side.presort
        if ids.size and (ids.min() < 0 or ids.max() >= presort.size):
            return False
        wanted = self.side.codes.flat(start, start + ids.size)
        return bool(np.array_equal(presort.flat(0, presort.size)[ids], wanted))

    def _check_ivf(self, unique: Integers, many: Integers, first: int, last: int) -> None:
        ivf, lengths = self.side.ivf, self.side.ivf_lengths
        if ivf is None or lengths is None or not self._agrees:
            return
        end = self._ivf_at + unique.size
        self._agrees = np.array_equal(lengths[first:last], many) and np.array_equal(ivf.flat(self._ivf_at, end), unique)
        self._ivf_at = end

    def gives_ivf(self) -> bool | None:
        """Return whether every centroid's passages were those of the `ivf`; None without one."""
        if self.side.ivf is None or self.side.ivf_lengths is None:
            return None
        return self._agrees


def _example(
    first: int, wanted: Flags, sizes: tuple[Integers, Integers], ids: tuple[Integers, Integers]
) -> Reordered | None:
    """Return the wanted centroid whose size suits a figure best, the first of equals."""
    lengths = sizes[0]
    fitting = np.flatnonzero(wanted & (lengths >= FIGURE_LEAST) & (lengths <= FIGURE_MOST))
    if not fitting.size:
        fitting = np.flatnonzero(wanted & (lengths <= FIGURE_MOST))
    if not fitting.size:
        return None
    chosen = int(fitting[np.argmin(np.abs(lengths[fitting] - FIGURE_SIZE))])
    # A centroid before it can have other numbers of token ids on the two sides.
    starts = [int(side[:chosen].sum()) for side in sizes]
    a, b = (side[at : at + int(lengths[chosen])] for side, at in zip(ids, starts, strict=True))
    return Reordered(first + chosen, a, b)


def _better(old: Reordered | None, new: Reordered | None) -> Reordered | None:
    if old is None or new is None:
        return old or new
    closer = abs(new.a.size - FIGURE_SIZE) < abs(old.a.size - FIGURE_SIZE)
    return new if closer else old
