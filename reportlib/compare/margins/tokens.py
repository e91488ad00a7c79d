"""Margins of colbert-ai's two decisions about a token embedding: its centroid, and each coordinate's bucket.

On a CPU as on a GPU colbert-ai rounds embeddings to float16 before it compresses them, and compresses with the
centroids as it has stored them, in float16 (`collection_indexer.py` and `codecs/residual.py` of 0.2.22; autocast ended
with the encoder). So scores are taken here from ``embs`` rounded to float16 and ``index/centroids``. Products of two
float16 numbers, and sums of them below 32, are exact in float64: these scores are the same on every machine, in any
order of summation, and what differs between A and B is in what went in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportlib import floats
from reportlib.compare.chunks import Chunked
from reportlib.compare.margins.items import Doubles, Flags, Items
from reportlib.floats import Array
from reportlib.store import Capture

Ids = npt.NDArray[np.int64]

#: Embeddings that are looked at, at most; and fewer where there are many centroids or a wide embedding.
EMBEDDINGS = 200_000
#: Scores of an embedding with a centroid, and coordinates, that are computed in all.
SCORES, COORDINATES = 1 << 27, 1 << 22
#: Scores, or coordinates, in memory at a time.
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Sides:
    """Two captures whose token embeddings are of the same tokens, one by one."""

    a: Capture
    b: Capture

    def unlike(self, *names: str) -> str | None:
        """Return why decisions that need the artifacts `names` cannot be compared; None where they can."""
        for name in ("compress_codes", "index/centroids", *names):
            for side, capture in (("A", self.a), ("B", self.b)):
                if not capture.group(name):
                    return f"`{name}` was not captured for {side}."
        return self._unlike_tokens() or self._unlike_centroids() or self._unlike_shapes(names)

    def _unlike_tokens(self) -> str | None:
        codes_a, codes_b = self.chunked("compress_codes")
        if codes_a.size != codes_b.size:
            return f"A has {codes_a.size:,} token embeddings and B {codes_b.size:,}."
        if all(side.group("doclens") for side in (self.a, self.b)):
            lengths = [[n for name in side.group("doclens") for n in side.value(name)] for side in (self.a, self.b)]
            if lengths[0] != lengths[1]:
                return "Passages have other numbers of token embeddings in A than in B."
        return None

    def _unlike_centroids(self) -> str | None:
        many_a, many_b = (side.shape[0] for side in self.chunked("index/centroids"))
        if many_a != many_b:
            return f"A has {many_a:,} centroids and B {many_b:,}, so one id stands for other centroids."
        for codes in self.chunked("compress_codes"):
            largest = max((int(block.max()) for _, block in codes.blocks()), default=0)
            if largest >= many_a:
                return f"A code is {largest:,}, and there are {many_a:,} centroids."
        return None

    def _unlike_shapes(self, names: tuple[str, ...]) -> str | None:
        for name in names:
            shapes = [side.shape for side in self.chunked(name)]
            if shapes[0] != shapes[1]:
                return f"`{name}` is {list(shapes[0])} in A and {list(shapes[1])} in B."
        return None

    def chunked(self, name: str) -> tuple[Chunked, Chunked]:
        """Return the artifact `name` of both."""
        return Chunked.load(self.a, name), Chunked.load(self.b, name)


def centroid_items(sides: Sides) -> Items:
    """Return how far each token embedding was from its second centroid in A, and whether B gave another code.

    The margin is the score of the centroid that A's code names, minus the best score of any other, with A's
    embeddings and centroids. B's margin is of the same two ids, with B's embeddings and centroids: it is below zero
    where B prefers the other one.

    An id stands for the same place on both sides only as far as k-means went the same way. Where it did not, B's two
    scores are of other places, the change is that of a centroid and not of rounding, and a flip may be no more than
    another number for the same place; `same_ids` says for how many centroids that is so.
    """
    embs_a, embs_b = sides.chunked("embs")
    codes_a, codes_b = sides.chunked("compress_codes")
    centroids_a, centroids_b = (_half(part.parts[0].array, part.dtype) for part in sides.chunked("index/centroids"))
    most = min(EMBEDDINGS, max(1, SCORES // len(centroids_a)))
    ids = evenly_spaced(codes_a.size, most)
    margin, drop, flipped, alike = _empty(len(ids))
    for block in _blocks(len(ids), len(centroids_a)):
        rows = ids[block]
        a, b = (_half(_rows(embs, rows), embs.dtype) for embs in (embs_a, embs_b))
        first = _rows(codes_a, rows).astype(np.int64)
        scores = a @ centroids_a.T
        each = np.arange(len(rows))
        best = scores[each, first]
        scores[each, first] = -np.inf
        second = scores.argmax(axis=1)
        margin[block] = best - scores[each, second]
        other = np.einsum("ij,ij->i", b, centroids_b[first]) - np.einsum("ij,ij->i", b, centroids_b[second])
        drop[block] = margin[block] - other
        flipped[block] = first != _rows(codes_b, rows)
        alike[block] = (a == b).all(axis=1)
    return Items(margin, drop, flipped, codes_a.size, alike)


def same_ids(sides: Sides) -> dict[str, int]:
    """Return for how many of A's centroids the nearest one of B's has the same id, among evenly spaced ones."""
    a, b = (_half(part.parts[0].array, part.dtype) for part in sides.chunked("index/centroids"))
    ids = evenly_spaced(len(a), max(1, SCORES // len(a)))
    same = sum(int((np.argmax(a[ids[block]] @ b.T, axis=1) == ids[block]).sum()) for block in _blocks(len(ids), len(a)))
    return {"nearest": same, "of": len(ids)}


def bucket_items(sides: Sides) -> Items:
    """Return how far each residual's coordinate was from the nearest edge of a bucket in A, and whether B's is another.

    A value on an edge belongs to the lower bucket, as `torch.bucketize` has it. Only embeddings with the same code on
    both sides count: with another centroid every coordinate of the residual is another. B's margin is the distance
    from the same edge of B's, below zero on the other side of it.
    """
    codes_a, codes_b = sides.chunked("compress_codes")
    residuals_a, residuals_b = sides.chunked("compress_residuals")
    cutoffs_a, cutoffs_b = (_wide(part.parts[0].array, part.dtype) for part in sides.chunked("bucket_cutoffs"))
    dim = residuals_a.shape[1]
    ids = evenly_spaced(codes_a.size, min(EMBEDDINGS, max(1, COORDINATES // dim)))
    ids = ids[_rows(codes_a, ids) == _rows(codes_b, ids)]
    margin, drop, flipped, alike = _empty(len(ids) * dim)
    outer = np.concatenate(([-np.inf], cutoffs_a, [np.inf]))
    for block in _blocks(len(ids), dim):
        a, b = (_wide(_rows(part, ids[block]), part.dtype).reshape(-1) for part in (residuals_a, residuals_b))
        place = slice(block.start * dim, block.stop * dim)
        bucket = np.searchsorted(cutoffs_a, a, "left")
        down, up = a - outer[bucket], outer[bucket + 1] - a
        lower = down <= up
        edge = np.where(lower, bucket - 1, bucket)
        margin[place] = np.minimum(down, up)
        drop[place] = margin[place] - np.where(lower, b - cutoffs_b[edge], cutoffs_b[edge] - b)
        flipped[place] = bucket != np.searchsorted(cutoffs_b, b, "left")
        alike[place] = a == b
    return Items(margin, drop, flipped, _same_codes(codes_a, codes_b) * dim, alike)


def evenly_spaced(total: int, most: int) -> Ids:
    """Return at most `most` of the places 0 to `total`, evenly spaced from 0 on: the same in every run."""
    return np.arange(total) if total <= most else np.arange(most) * total // most


def _same_codes(a: Chunked, b: Chunked) -> int:
    return sum(int((codes == b.flat(start, start + len(codes))).sum()) for start, codes in a.blocks())


def _empty(number: int) -> tuple[Doubles, Doubles, Flags, Flags]:
    return np.empty(number), np.empty(number), np.empty(number, np.bool_), np.empty(number, np.bool_)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of `rows` rows so that each holds about `_BLOCK` numbers."""
    step = max(1, _BLOCK // max(width, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _rows(whole: Chunked, ids: Ids) -> Array:
    """Return the rows `ids`, ascending, of an artifact in chunks."""
    ends = np.cumsum(whole.rows)
    cuts = np.searchsorted(ids, ends)
    pieces = []
    for part, start, first, last in zip(whole.parts, ends - whole.rows, [0, *cuts[:-1]], cuts, strict=True):
        if first < last:
            pieces.append(part.array[ids[first:last] - start])
    return np.concatenate(pieces) if pieces else whole.parts[0].array[:0]


def _wide(array: Array, dtype: str) -> Doubles:
    return floats.widen(np.asarray(array), dtype).astype(np.float64)


def _half(array: Array, dtype: str) -> Doubles:
    """Return the values rounded to float16, as float64."""
    return floats.narrow(floats.widen(np.asarray(array), dtype).astype(np.float32), "float16").astype(np.float64)
