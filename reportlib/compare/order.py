"""The order of the sorted codes: the argument of post 2025-09-09 (ids D1-D6), step by step.

colbert-ai sorts the codes (one centroid id per token embedding) to list each centroid's token ids.
A sort may leave equal codes in any order, so two versions can disagree in the indices and in
nothing that follows. Each step here says what would have to hold, whether it does, and on which
numbers; no step needs the one before it to hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked, doclens
from reportlib.compare.verdicts import Integers, counts, equal_groups, runs, sorted_within
from reportlib.errors import ComparisonError
from reportlib.store import Capture

# One pass over all centroids of two sides: token ids, passages, order; in bounded memory.

Flags = npt.NDArray[np.bool_]
#: Token ids of a figure's centroid: enough to see a permutation, few enough to read.
FIGURE_SIZE, FIGURE_LEAST, FIGURE_MOST = 20, 4, 48
#: Token ids of which the first passage is known, as a power of two: about a passage's.
_STRETCH = 6


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
        ends, first = self._steps
        # A binary search mispredicts at each of its twenty steps; from the right stretch on, two or three are left.
        passages: Integers = first[np.clip(token_ids >> _STRETCH, 0, first.size - 1)]
        while (behind := ends[passages] <= token_ids).any():
            passages += behind
        return passages

    @cached_property
    def _steps(self) -> tuple[Integers, Integers]:
        """Return the passages' ends with one that no token id reaches, and each stretch of token ids' first passage."""
        ends = np.append(self.passage_ends, np.iinfo(np.int64).max)
        stretches = np.arange(0, int(self.passage_ends[-1:].sum()) + 1, 1 << _STRETCH)
        return ends, np.searchsorted(ends, stretches, "right")


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

    Each run of centroids is read once; what is in memory at a time is bounded by `runs`.
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


Record = dict[str, Any]
_NEEDED = ("presort_codes", "sorted_codes", "sort_indices")
#: Which sides sort as a stable sort does, by whether A and B do.
_STABLE = {(True, True): "both", (True, False): "a", (False, True): "b", (False, False): "neither"}
#: Positions that a step quotes from the start of a list.
SHOWN = 5


@dataclass(frozen=True)
class _Facts:
    """Everything that the steps draw on."""

    a: Capture
    b: Capture
    left: Side
    right: Side
    passed: CentroidPass
    presort: int | None
    values: int | None
    indices: int | None


def compare_order(a: Capture, b: Capture) -> Record | None:
    """Follow the codes from before the sort to the `ivf`.

    Returns
    -------
    dict or None
        The ``order`` of ``docs/schema.md``; None where a capture lacks the codes, their sort or
        `doclens`.

    Raises
    ------
    ComparisonError
        When a capture's sorted codes, indices and doclens do not belong together.
    """
    if not all(capture.group(name) for capture in (a, b) for name in (*_NEEDED, "doclens")):
        return None
    left, right = _side(a), _side(b)
    centroids = max(len(side.lengths) for side in (left, right))
    left, right = left.with_centroids(centroids), right.with_centroids(centroids)
    facts = _Facts(
        a,
        b,
        left,
        right,
        walk(left, right),
        _unequal(left.presort, right.presort),
        _unequal(left.codes, right.codes),
        _unequal(left.indices, right.indices),
    )
    return {
        "embeddings": left.codes.size,
        "passages": len(left.passage_ends),
        "centroids": len(left.lengths),
        "ties": int(left.lengths[left.lengths > 1].sum()),
        "centroids_reordered": int(facts.passed.reordered.sum()),
        "positions_different": facts.indices,
        "stable": _STABLE[facts.passed.stable_a, facts.passed.stable_b],
        "steps": [*_sorting(facts), *_sets(facts), *_outcome(facts)],
        "figure": _figure(facts),
    }


def _side(capture: Capture) -> Side:
    presort, codes, indices = (Chunked.load(capture, name) for name in _NEEDED)
    lengths = doclens(capture)
    side = Side.of(presort, codes, indices, lengths)
    if capture.group("ivf") and capture.group("ivf_lengths"):
        ivf, listed = Chunked.load(capture, "ivf"), Chunked.load(capture, "ivf_lengths")
        many = listed.flat(0, listed.size).astype(np.int64)
        # The last centroids can be without any embedding; `ivf_lengths` still counts them.
        side = replace(side.with_centroids(len(many)), ivf=ivf, ivf_lengths=many)
    embeddings = sum(lengths)
    if len({presort.size, codes.size, indices.size, embeddings}) != 1:
        raise ComparisonError(
            f"{capture.path}: {presort.size} codes, {codes.size} sorted, {indices.size} indices "
            f"and {embeddings} embeddings in doclens do not belong together",
            "run its arm again",
        )
    return side


def _unequal(a: Chunked, b: Chunked) -> int | None:
    """Return at how many positions two lists differ; None where their lengths do."""
    if a.size != b.size:
        return None
    return sum(int(np.count_nonzero(block != b.flat(start, start + block.size))) for start, block in a.blocks())


def _step(name: str, post: tuple[str, ...], claim: str, holds: bool | None, **evidence: Any) -> Record:
    return {"id": name, "post": list(post), "claim": claim, "holds": holds, "evidence": evidence}


def _sorting(facts: _Facts) -> list[Record]:
    left, right = facts.left, facts.right
    sizes = {"elements_a": left.codes.size, "elements_b": right.codes.size}
    first_a, first_b = (side.indices.flat(0, SHOWN).tolist() for side in (left, right))
    return [
        _step(
            "presort-equal",
            ("D5",),
            "Before the sort, both sides have the same codes in the same order.",
            facts.presort == 0,
            different=facts.presort,
            **sizes,
        ),
        _step(
            "values-equal",
            ("D1",),
            "The sorted codes are equal.",
            facts.values == 0,
            different=facts.values,
            **sizes,
        ),
        _step(
            "indices-equal",
            ("D1", "D3", "D5"),
            "The sort's indices are equal: both sides list the token ids in the same order.",
            facts.indices == 0,
            different=facts.indices,
            **sizes,
            first_a=first_a,
            first_b=first_b,
            pids_a=left.passages_of(np.array(first_a, np.int64)).tolist(),
            pids_b=right.passages_of(np.array(first_b, np.int64)).tolist(),
        ),
    ]


def _sets(facts: _Facts) -> list[Record]:
    passed, total = facts.passed, len(facts.left.lengths)
    unequal_counts = int(np.count_nonzero(facts.left.lengths != facts.right.lengths))
    return [
        _step(
            "bincount-equal",
            ("D2",),
            "Every centroid has as many token embeddings on both sides.",
            unequal_counts == 0,
            centroids=total,
            different=unequal_counts,
            first_a=facts.left.lengths[:SHOWN].tolist(),
            first_b=facts.right.lengths[:SHOWN].tolist(),
        ),
        _step(
            "token-sets-equal",
            ("D4",),
            "Every centroid has the same set of token ids on both sides.",
            bool(passed.same_tokens.all()),
            centroids=total,
            equal=int(passed.same_tokens.sum()),
            reordered=int((passed.reordered & passed.same_tokens).sum()),
        ),
        _step(
            "passage-sets-equal",
            ("D4",),
            "Every centroid has the same set of passages on both sides.",
            bool(passed.same_passages.all()),
            centroids=total,
            equal=int(passed.same_passages.sum()),
        ),
    ]


def _outcome(facts: _Facts) -> list[Record]:
    gives = {"a": facts.passed.gives_ivf_a, "b": facts.passed.gives_ivf_b}
    equal = {
        name: _same_manifest_line(facts.a, facts.b, name)
        for name in ("ivf", "ivf_lengths", "index/ivf", "index/ivf_lengths")
    }
    return [
        _step(
            "unique-gives-ivf",
            ("D4",),
            "On both sides, each centroid's different passages, sorted by id, are the ivf.",
            None if None in gives.values() else all(gives.values()),
            **gives,
        ),
        _step(
            "ivf-equal",
            ("D1",),
            "ivf and ivf_lengths are equal, so the order of the indices is not in the index.",
            None if None in equal.values() else all(equal.values()),
            **equal,
        ),
        _step(
            "stable-side",
            ("D6",),
            "Both sides list each centroid's token ids in ascending order, as a stable sort does.",
            facts.passed.stable_a and facts.passed.stable_b,
            a=facts.passed.stable_a,
            b=facts.passed.stable_b,
        ),
    ]


def _same_manifest_line(a: Capture, b: Capture, name: str) -> bool | None:
    if name not in a.artifacts or name not in b.artifacts:
        return None
    left, right = a.artifacts[name], b.artifacts[name]
    return (left.sha256, left.dtype, left.shape) == (right.sha256, right.dtype, right.shape)


def _figure(facts: _Facts) -> Record | None:
    example = facts.passed.example
    if example is None:
        return None
    return {
        "centroid": example.centroid,
        "size": example.a.size,
        "a": example.a.tolist(),
        "b": example.b.tolist(),
        "pids_a": facts.left.passages_of(example.a).tolist(),
        "pids_b": facts.right.passages_of(example.b).tolist(),
    }


# Compare both sides' probes of `torch.sort`: from which size on equal keys differ in order.


def compare_probes(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> Record:
    """Set two lists of sort probes side by side; probes that one side lacks are left out.

    Parameters
    ----------
    a, b : sequence of mapping
        The value ``sort_probes`` of two captures.

    Returns
    -------
    dict
        ``probes`` and ``thresholds`` of ``docs/schema.md``.
    """
    others = {_key(probe): probe for probe in b}
    pairs = [(probe, others[_key(probe)]) for probe in a if _key(probe) in others]
    probes = [_probe(left, right) for left, right in pairs]
    probes.sort(key=lambda p: (p["source"] != "ties", p["dtype"], p["size"]))
    dtypes = list(dict.fromkeys(p["dtype"] for p in probes if p["source"] == "ties"))
    return {"probes": probes, "thresholds": [_threshold(probes, dtype) for dtype in dtypes]}


def _key(probe: Mapping[str, Any]) -> tuple[str, str, int]:
    return probe["source"], probe["dtype"], probe["size"]


def _probe(a: Mapping[str, Any], b: Mapping[str, Any]) -> Record:
    return {
        "size": a["size"],
        "dtype": a["dtype"],
        "source": a["source"],
        "same_input": a["input_sha256"] == b["input_sha256"],
        "same_values": a["values_sha256"] == b["values_sha256"],
        "same_order": a["indices_sha256"] == b["indices_sha256"],
        "stable": _STABLE[a["is_stable"], b["is_stable"]],
    }


def _threshold(probes: Sequence[Record], dtype: str) -> Record:
    """Derive one dtype's threshold; probes of unequal input say nothing about the sort."""
    known = [p for p in probes if p["source"] == "ties" and p["dtype"] == dtype and p["same_input"]]
    different = [p["size"] for p in known if not p["same_order"]]
    smallest = min(different, default=None)
    same = [p["size"] for p in known if p["same_order"]]
    below = [size for size in same if smallest is not None and size < smallest]
    return {
        "dtype": dtype,
        "smallest_different": smallest,
        "largest_same_below": max(below, default=None),
        "same_at_or_above": [s for s in same if smallest is not None and s >= smallest],
        "sizes": [p["size"] for p in known],
    }
