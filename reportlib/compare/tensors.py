"""Compare two tensors in one pass over blocks, in bounded memory."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import BLOCK, Chunked
from reportlib.compare.verdicts import (
    DEFAULT,
    ChunkDifference,
    Groups,
    Side,
    TensorComparison,
    ValueDifference,
    bnb_tolerance,
    error,
    is_permutation,
    same_sets,
    within,
    zeros_from,
)
from reportlib.floats import Array, bits, is_float, nan_and_inf, not_finite, ulp_distance, widen
from reportlib.store import Tensor, canonical_json

# The running totals of one pass over two tensors.

Positions = npt.NDArray[np.int64]
#: Elements from which on a compiled pass is worth the second that it takes to import and to look up.
WORTH = 1 << 25


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

    def add(self, start: int, row: Mapping[str, Any]) -> None:
        """Add a block's row of `reportlib.compare.fused`; its chunks aside."""
        for name in ("nan_a", "inf_a", "nan_b", "inf_b", "not_default", "not_bnb", "different_bits", "sum_abs"):
            setattr(self, name, getattr(self, name) + row[name])
        for name in ("max_rel", "atol", "factor"):
            setattr(self, name, max(getattr(self, name), row[name]))
        self.different += row["different"] + row["lost"]
        self.not_default += row["lost"]
        self.not_bnb += row["lost"]
        self.hopeless |= row["lost"] > 0
        self.finite -= row["odd"]
        self.max_ulp = max(self.max_ulp, row["max_ulp"] % 2**64)
        if self.first is None and row["first"] >= 0:
            self.first = start + row["first"]
        if row["max_abs"] > self.max_abs and row["max_at"] >= 0:
            self.max_abs, self.max_at = row["max_abs"], start + row["max_at"]
        self.balance = (self.balance + row["balance"]) % 2**64

    def chunk_differences(self, a: Chunked) -> tuple[ChunkDifference, ...]:
        """Return what differs along each chunk of `a`; nothing where there is only one."""
        if len(a.parts) < 2 or not self.chunks:
            return ()
        edges = (0, *np.cumsum(a.rows).tolist())
        return tuple(
            ChunkDifference(name, start, stop, count)
            for name, (start, stop), count in zip(a.names, pairwise(edges), self.chunks, strict=True)
        )


def compare(a: Chunked, b: Chunked, groups: Groups | None = None) -> TensorComparison:
    """Compare artifact `b` with artifact `a`.

    Memory stays at a few blocks of `chunks.BLOCK` elements, whatever the size; where A's chunks end
    and where B's do makes no difference to any number. Equal hashes stand for equal bytes: then
    integers are not read at all, and floats once, for the NaNs that decide what a tolerance says.

    Parameters
    ----------
    a, b : Chunked
        The two sides, in torch.allclose's order (`a` its input, `b` its other).
    groups : Groups, optional
        For integers: `same set` then means the same set per group.

    Returns
    -------
    TensorComparison
        `different` is also the verdict for unequal dtypes, whose values are still compared.
    """
    side_a, side_b = _side(a), _side(b)
    if a.shape != b.shape or (len(a.shape) == 1 and _ragged(a) != _ragged(b)):
        padded = _padded(a, b, side_a, side_b, groups)
        if padded is not None:
            return padded
        grouped = _grouped(a, b, groups)
        return TensorComparison(
            "shape mismatch",
            _counted(a, side_a),
            _counted(b, side_b),
            groups=grouped[0],
            groups_equal=grouped[1],
        )
    # A signalling NaN or a difference beyond the dtype is a result here, not an accident.
    with np.errstate(invalid="ignore", over="ignore"):
        if a.dtype != b.dtype:
            return _mixed(a, b, side_a, side_b)
        if is_float(a.dtype):
            return _floats(a, b, side_a, side_b)
    return _integers(a, b, side_a, side_b, groups)


def _side(tensor: Chunked) -> Side:
    return Side(tensor.dtype, tensor.shape, tensor.sha256, tensor.rows)


def _ragged(tensor: Chunked) -> tuple[tuple[int, ...], ...]:
    """Return the chunks' shapes where they cannot be put together, else nothing."""
    tails = {p.shape[1:] for p in tensor.parts}
    return () if len(tails) == 1 else tuple(p.shape for p in tensor.parts)


def _same_bytes(a: Chunked, b: Chunked) -> bool:
    return a.rows == b.rows and a.sha256 == b.sha256 and all(a.sha256)


def _counted(tensor: Chunked, side: Side) -> Side:
    """Return `side` with its NaNs and infinities counted."""
    if not is_float(tensor.dtype):
        return side
    nan = inf = 0
    for _, block in tensor.blocks():
        is_nan, is_inf = nan_and_inf(block, tensor.dtype)
        nan, inf = nan + int(is_nan.sum()), inf + int(is_inf.sum())
    return Side(side.dtype, side.shape, side.sha256, side.rows, nan, inf)


def _floats(a: Chunked, b: Chunked, side_a: Side, side_b: Side) -> TensorComparison:
    if _same_bytes(a, b):
        counted = _counted(a, side_a)
        tally = Tally(a.shape, nan_a=counted.nan or 0, inf_a=counted.inf or 0)
        tally.nan_b, tally.inf_b = tally.nan_a, tally.inf_a
        tally.different = tally.not_default = tally.not_bnb = tally.nan_a
        tally.hopeless = tally.nan_a > 0
        tally.finite = a.size - tally.nan_a - tally.inf_a
        tally.chunks = []
    else:
        tally = Tally(a.shape, chunks=[0] * len(a.parts))
        _pass(tally, a, b)
    return _float_result(tally, a, side_a, side_b)


def _pass(tally: Tally, a: Chunked, b: Chunked) -> None:
    """Add all blocks of two tensors of one dtype: compiled where they are large."""
    offsets = a.offsets()

    def block(into: Tally, start: int, left: Array) -> None:
        right = b.flat(start, start + left.size)
        if is_float(a.dtype):
            _float_block(into, left, right, a.dtype, start, offsets)
        else:
            _integer_block(into, left, right, start, offsets)

    if a.size < WORTH:
        for start, left in a.blocks():
            block(tally, start, left)
        return
    from reportlib.compare.fused import rows  # compiling costs a second to import

    tally.finite = a.size
    for start, row in rows(a, b):
        tally.add(start, row)
        chunk = bisect_right(offsets, start) - 1
        if start + BLOCK <= offsets[chunk + 1] or chunk + 2 == len(offsets):
            tally.chunks[chunk] += row["different"] + row["lost"]
        else:
            across = Tally(a.shape, chunks=[0] * len(a.parts))
            block(across, start, a.flat(start, min(start + BLOCK, a.size)))
            tally.chunks = [n + more for n, more in zip(tally.chunks, across.chunks, strict=True)]


def _float_block(tally: Tally, left: Array, right: Array, dtype: str, start: int, offsets: tuple[int, ...]) -> None:
    odd = not_finite(left, dtype) | not_finite(right, dtype)
    unequal = bits(left, dtype) != bits(right, dtype)
    look = np.flatnonzero(unequal)
    tally.note(look + start)
    tally.finite += left.size
    if odd.any():
        look = _odd_ones(tally, left, right, dtype, np.flatnonzero(odd), look, start, offsets)
    if look.size:
        _distances(tally, left[look], right[look], dtype, look + start, offsets)


def _odd_ones(
    tally: Tally,
    left: Array,
    right: Array,
    dtype: str,
    odd: Positions,
    look: Positions,
    start: int,
    offsets: tuple[int, ...],
) -> Positions:
    """Count pairs with a NaN or an infinity, and return `look` without them."""
    a, b = left[odd], right[odd]
    (nan_a, inf_a), (nan_b, inf_b) = nan_and_inf(a, dtype), nan_and_inf(b, dtype)
    tally.nan_a, tally.inf_a = tally.nan_a + int(nan_a.sum()), tally.inf_a + int(inf_a.sum())
    tally.nan_b, tally.inf_b = tally.nan_b + int(nan_b.sum()), tally.inf_b + int(inf_b.sum())
    tally.finite -= odd.size
    # Infinities of one sign have one pattern of bits.
    differs = nan_a | nan_b | (bits(a, dtype) != bits(b, dtype))
    lost = int(differs.sum())
    tally.different += lost
    tally.not_default += lost
    tally.not_bnb += lost
    tally.hopeless |= lost > 0
    tally.per_chunk(odd[differs] + start, offsets)
    return np.setdiff1d(look, odd, assume_unique=True)


def _distances(tally: Tally, a: Array, b: Array, dtype: str, where: Positions, offsets: tuple[int, ...]) -> None:
    """Add pairs of finite numbers of unequal bytes."""
    bnb = bnb_tolerance(dtype)
    left, right = widen(a, dtype), widen(b, dtype)
    differs = np.asarray(left != right)
    tally.different += int(differs.sum())
    tally.per_chunk(where[differs], offsets)
    steps = error(left, right, dtype)
    tally.not_default += steps.size - int(within(steps, right, dtype, DEFAULT).sum())
    tally.not_bnb += steps.size - int(within(steps, right, dtype, bnb).sum())
    tally.atol = max(tally.atol, float(steps.max()))
    tally.max_ulp = max(tally.max_ulp, int(ulp_distance(a, b, dtype).max()))
    size = np.abs(right.astype(np.float64))
    distance = np.abs(left.astype(np.float64) - right)
    tally.sum_abs += float(distance.sum())
    tally.largest(distance, where)
    tally.factor = max(tally.factor, float((distance / (bnb.atol + bnb.rtol * size)).max()))
    with np.errstate(divide="ignore"):
        relative = np.where(size > 0, distance / size, 0.0)
    tally.max_rel = max(tally.max_rel, float(relative.max()))


def _float_result(tally: Tally, a: Chunked, side_a: Side, side_b: Side) -> TensorComparison:
    elements = a.size
    default, bnb = tally.not_default == 0, tally.not_bnb == 0
    if tally.different_bits == 0:
        verdict, tolerance = "identical", None
    elif default or bnb:
        verdict, tolerance = "close", "default" if default else "bnb"
    else:
        verdict, tolerance = "different", None
    hopeless = tally.hopeless or not math.isfinite(tally.atol)
    return TensorComparison(
        verdict,
        Side(side_a.dtype, side_a.shape, side_a.sha256, side_a.rows, tally.nan_a, tally.inf_a),
        Side(side_b.dtype, side_b.shape, side_b.sha256, side_b.rows, tally.nan_b, tally.inf_b),
        tolerance,
        elements,
        tally.different,
        tally.different_bits,
        tally.index(tally.first),
        _finite(tally.sum_abs / tally.finite) if tally.finite else None,
        _finite(max(float(tally.max_abs), 0.0)) if tally.finite else None,
        tally.index(tally.max_at),
        _finite(max(tally.max_rel, 0.0)) if tally.finite else None,
        tally.max_ulp if tally.finite else None,
        default,
        bnb,
        elements - tally.not_default,
        elements - tally.not_bnb,
        None if hopeless else tally.atol,
        None if hopeless else _finite(tally.factor),
        hopeless,
        chunks=tally.chunk_differences(a),
    )


def _integers(a: Chunked, b: Chunked, side_a: Side, side_b: Side, groups: Groups | None) -> TensorComparison:
    tally = Tally(a.shape, chunks=[0] * len(a.parts))
    if not _same_bytes(a, b):
        _pass(tally, a, b)
    same: str | None = None
    number: int | None = None
    equal: int | None = None
    if tally.different == 0:
        verdict = "identical"
        number = equal = None if groups is None else len(groups.a)
    else:
        number, equal = _grouped(a, b, groups)
        if groups is None:
            same = "whole" if tally.balance == 0 and is_permutation(a, b) else None
        elif number == equal and number is not None and _same_rest(a, b, groups):
            same = "per group"
        verdict = "different" if same is None else "same set"
    return TensorComparison(
        verdict,
        side_a,
        side_b,
        elements=a.size,
        different=tally.different,
        different_bits=tally.different_bits,
        first_index=tally.index(tally.first),
        mean_abs=tally.sum_abs / a.size if a.size else None,
        max_abs=max(tally.max_abs, 0) if a.size else None,
        max_abs_index=tally.index(tally.max_at),
        max_ulp=int(max(tally.max_abs, 0)) if a.size else None,
        same_set=same,
        groups=number,
        groups_equal=equal,
        chunks=tally.chunk_differences(a),
    )


def _integer_block(tally: Tally, left: Array, right: Array, start: int, offsets: tuple[int, ...]) -> None:
    look = np.flatnonzero(left != right)
    if not look.size:
        return
    where = look + start
    tally.different += look.size
    tally.note(where)
    tally.per_chunk(where, offsets)
    # The difference of two int64 may need 64 bits and no sign; modular arithmetic gives just that.
    a, b = left[look].astype(np.int64), right[look].astype(np.int64)
    tally.balance = (tally.balance + int((a - b).sum())) % 2**64
    distance = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
    tally.sum_abs += float(distance.astype(np.float64).sum())
    tally.largest(distance, where)


def _grouped(a: Chunked, b: Chunked, groups: Groups | None) -> tuple[int | None, int | None]:
    """Return how many groups there are and how many hold the same set, where that can be said."""
    if groups is None or len(groups.a) != len(groups.b):
        return None, None
    if groups.a.sum() > a.size or groups.b.sum() > b.size or is_float(a.dtype) or is_float(b.dtype):
        return None, None
    return len(groups.a), int(same_sets(a, groups.a, b, groups.b).sum())


def _same_rest(a: Chunked, b: Chunked, groups: Groups) -> bool:
    """Return whether what follows the last group (colbert-ai pads `ivf` with zeros) is equal."""
    start = int(groups.a.sum())
    return all(np.array_equal(a.flat(at, at + BLOCK), b.flat(at, at + BLOCK)) for at in range(start, a.size, BLOCK))


def _padded(a: Chunked, b: Chunked, side_a: Side, side_b: Side, groups: Groups | None) -> TensorComparison | None:
    """Return ``same set`` for groups that differ in the zeros after the last one at most, else None.

    colbert-ai pads the `ivf` since 0.2.20; what its older releases and its `IndexUpdater` write has no padding.
    """
    if groups is None or a.dtype != b.dtype or is_float(a.dtype) or not np.array_equal(groups.a, groups.b):
        return None
    size = int(groups.a.sum())
    if size > min(a.size, b.size) or not (zeros_from(a, size) and zeros_from(b, size)):
        return None
    left, right = (Chunked.of(Tensor(side.flat(0, size), side.dtype), side.name) for side in (a, b))
    found = _integers(left, right, side_a, side_b, groups)
    if found.verdict == "different":
        return None
    return replace(found, verdict="same set", same_set="per group", groups=len(groups.a), groups_equal=len(groups.a))


def _mixed(a: Chunked, b: Chunked, side_a: Side, side_b: Side) -> TensorComparison:
    """Compare tensors of unequal dtypes: in float64 as soon as one is floating-point."""
    tally = Tally(a.shape, chunks=[0] * len(a.parts))
    for start, left in a.blocks():
        x, y = _values(left, a.dtype), _values(b.flat(start, start + left.size), b.dtype)
        finite = np.isfinite(x) & np.isfinite(y)
        tally.finite += int(finite.sum())
        look = np.flatnonzero(np.asarray(x != y))
        tally.different += look.size
        tally.per_chunk(look + start, a.offsets())
        if tally.first is None and look.size:
            tally.first = int(look[0]) + start
        where = look[finite[look]]
        distance = np.abs(x[where].astype(np.float64) - y[where].astype(np.float64))
        tally.sum_abs += float(distance.sum())
        tally.largest(distance, where + start)
    return TensorComparison(
        "different",
        _counted(a, side_a),
        _counted(b, side_b),
        elements=a.size,
        different=tally.different,
        first_index=tally.index(tally.first),
        mean_abs=_finite(tally.sum_abs / tally.finite) if tally.finite else None,
        max_abs=_finite(max(float(tally.max_abs), 0.0)) if tally.finite else None,
        max_abs_index=tally.index(tally.max_at),
        chunks=tally.chunk_differences(a),
    )


def _values(array: Array, dtype: str) -> Array:
    if is_float(dtype):
        return widen(array, dtype).astype(np.float64)
    return array.astype(np.int64)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


# Compare plain values: numbers, strings, lists and mappings that JSON holds.

#: Characters of a value that a report quotes.
QUOTED = 60


def compare_values(a: Any, b: Any) -> tuple[str, ValueDifference | None]:
    """Compare two plain values.

    Returns
    -------
    verdict : str
        ``identical`` (the same canonical JSON), ``same set`` (lists of whole numbers, one a
        permutation of the other) or ``different``.
    difference : ValueDifference or None
        None when identical.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    paths = [*left, *(path for path in right if path not in left)]
    unlike = [path for path in paths if left.get(path) != right.get(path)]
    if not unlike:
        return "identical", None
    first = unlike[0]
    difference = ValueDifference(first, _quote(left.get(first)), _quote(right.get(first)), len(unlike), len(paths))
    same_set = is_integer_list(a) and is_integer_list(b) and Counter(a) == Counter(b)
    return "same set" if same_set else "different", difference


def type_name(value: Any) -> str:
    """Return a value's type for a reader: ``int``, ``list of int``, ``dict``."""
    if isinstance(value, list) and value and len({type(item) for item in value}) == 1:
        return f"list of {type(value[0]).__name__}"
    return type(value).__name__


def is_integer_list(value: Any) -> bool:
    """Return whether `value` is a list of whole numbers (true and false are none)."""
    return isinstance(value, list) and all(type(item) is int for item in value)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (JSON pointer, canonical JSON) of every number, string, null and empty container."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            yield from _leaves(value[key], f"{path}/{escaped}")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}/{number}")
    else:
        yield path, canonical_json(value)


def _quote(text: str | None) -> str | None:
    return text if text is None or len(text) <= QUOTED else text[: QUOTED - 1] + "…"
