"""Margins: how near a token, a value or a rank was to its next, and whether those with small margins changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from reportlib import floats
from reportlib.compare.chunks import Chunked, doclens
from reportlib.compare.rankings import Ranked, ranked, themselves
from reportlib.compare.uncertainty import CONFIDENCE, POWER, significant
from reportlib.floats import Array
from reportlib.store import Capture
from reportlib.words.formats import unseen_share

# Items with a margin each, and what they say together about whether flips go with small margins.

Record = dict[str, Any]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9)
#: Bins of equal counts, and the fewest items in one.
BINS, LEAST = 12, 10
#: Pairs of a flipped and an unflipped item up to which a test may count all their orders: a moment's work.
EXACT_PAIRS = 20_000
#: A bin is halved while it holds more than a quarter of all flips, and more flips than this.
_MANY_FLIPS = 20


@dataclass(frozen=True)
class Items:
    """Decisions of one kind: how far each was from falling the other way, and whether it did.

    Attributes
    ----------
    margin : numpy.ndarray
        float64, one an item: A's. Negative where A's own rounding decided.
    drop : numpy.ndarray
        float64: A's margin minus B's margin for the same two candidates; NaN where B's is not known.
    flipped : numpy.ndarray
        bool: whether B decided otherwise.
    of : int
        How many items there are in all, looked at or not.
    alike : numpy.ndarray or None
        bool: whether what was decided upon has the same value on both sides, so that only the other part of the
        decision moved; None where that is not asked.
    """

    margin: Doubles
    drop: Doubles
    flipped: Flags
    of: int
    alike: Flags | None = None

    def finite(self) -> Items:
        """Return the items that have a margin: that of an embedding with a NaN is none."""
        kept = np.isfinite(self.margin)
        if kept.all():
            return self
        alike = None if self.alike is None else self.alike[kept]
        return Items(self.margin[kept], self.drop[kept], self.flipped[kept], self.of, alike)


def left_out(name: str, why: str) -> Record:
    """Return the record of a kind of decision that could not be looked at, and why."""
    numbers = dict.fromkeys(("flip_rate", "unseen", "margin", "change", "auc", "p", "detectable", "half"))
    return {
        "id": name,
        "left_out": why,
        "items": 0,
        "of": 0,
        "flipped": 0,
        **numbers,
        "explained": {"within": 0, "of": 0, "unknown": 0, "alike": None},
        "bins": [],
        "same_ids": None,
        "k": None,
    }


def record(name: str, found: Items) -> Record:
    """Return what the items say, as ``docs/schema.md`` describes it.

    Parameters
    ----------
    name : str
        ``centroid``, ``bucket`` or ``rank``.
    found : Items
        Of any number; without one that has a margin the record says that it was left out.

    Returns
    -------
    dict
        Plain values, floats rounded to nine significant digits.
    """
    items = found.finite()
    if not items.margin.size:
        return left_out(name, "There is nothing with a margin to look at.")
    number, flips = items.margin.size, int(items.flipped.sum())
    known = np.abs(items.drop[np.isfinite(items.drop)])
    flipped_margins, flipped_drops = items.margin[items.flipped], items.drop[items.flipped]
    return left_out(name, "") | {
        "left_out": None,
        "items": number,
        "of": items.of,
        "flipped": flips,
        "flip_rate": significant(flips / number),
        "unseen": significant(unseen_share(number, CONFIDENCE)) if flips == 0 and number < items.of else None,
        "margin": {"median": significant(np.median(items.margin)), "quantiles": _quantiles(items.margin, QUANTILES)},
        "change": _quantiles(known, (0.99,))
        | {"median": significant(np.median(known)), "max": significant(known.max()), "known": known.size}
        if known.size
        else None,
        **area(items),
        "explained": {
            # Not known is NaN, which nothing is within.
            "within": int((flipped_margins <= flipped_drops).sum()),
            "of": flips,
            "unknown": int(np.isnan(flipped_drops).sum()),
            "alike": None if items.alike is None else int((items.flipped & items.alike).sum()),
        },
        "bins": list(_bins(items)),
        "half": significant(np.median(flipped_margins)) if flips else None,
    }


def _quantiles(values: Doubles, shares: tuple[float, ...]) -> dict[str, float]:
    return {f"{share:g}": significant(found) for share, found in zip(shares, np.quantile(values, shares), strict=True)}


def area(items: Items) -> Record:
    """Return how well a small margin tells flipped items from the others.

    Returns
    -------
    dict
        ``auc``: the area under the ROC curve, the probability that a flipped item's margin is below an unflipped one's,
        ties counting half (Mann and Whitney's statistic over its largest value). ``p``: of its two-sided test against
        0.5. ``detectable``: the smallest area above 0.5 that these many items show at 5 % with a power of 80 %
        (Noether, "Sample size determination for some common nonparametric tests", JASA 82, 1987). All None where no
        item or every item flipped.
    """
    below, above = items.margin[items.flipped], items.margin[~items.flipped]
    if not (below.size and above.size):
        return {"auc": None, "p": None, "detectable": None}
    pairs = below.size * above.size
    # Of a few flips the normal approximation is far off; scipy's "auto" counts them out where there are no ties.
    method = "auto" if pairs <= EXACT_PAIRS else "asymptotic"
    tested = stats.mannwhitneyu(below, above, alternative="two-sided", method=method)
    needed = stats.norm.ppf(1 - (1 - CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    smallest = 0.5 + needed / np.sqrt(12 * pairs / items.margin.size)
    return {
        "auc": significant(1 - tested.statistic / pairs),
        # scipy 1.18 has no p, and 1.17 has 1, where every margin is the same number: such margins have no order.
        "p": 1.0 if items.margin.min() == items.margin.max() else significant(tested.pvalue),
        "detectable": significant(smallest) if smallest <= 1 else None,
    }


def _bins(items: Items) -> Iterator[Record]:
    order = np.argsort(items.margin, kind="stable")
    margins = items.margin[order]
    flips = np.concatenate(([0], np.cumsum(items.flipped[order])))
    edges = _edges(margins, flips)
    for start, stop in pairwise(edges):
        number, flipped = stop - start, int(flips[stop] - flips[start])
        sure = stats.binomtest(flipped, number).proportion_ci(CONFIDENCE, "wilson")
        yield {
            "low": significant(margins[start]),
            "high": significant(margins[stop - 1]),
            "items": number,
            "flipped": flipped,
            "rate": significant(flipped / number),
            "rate_low": significant(sure.low),
            "rate_high": significant(sure.high),
        }


def _edges(margins: Doubles, flips: npt.NDArray[np.int64]) -> list[int]:
    """Return where bins of the sorted `margins` start and end; equal margins are never parted."""
    total = len(margins)
    count = min(BINS, max(1, total // LEAST))
    edges = [0, total]
    for number in range(count - 1, 0, -1):
        edges[1:1] = _cut(margins, 0, total * number // count, edges[1])
    many = max(int(flips[-1]) // 4, _MANY_FLIPS)
    # Flips are rare and lie at the smallest margins: bins of equal counts alone would put all of them into one.
    place = 0
    while place < len(edges) - 1:
        start, stop = edges[place : place + 2]
        middle = _cut(margins, start, (start + stop) // 2, stop) if flips[stop] - flips[start] > many else []
        edges[place + 1 : place + 1] = middle
        place += not middle
    return edges


def _cut(margins: Doubles, start: int, place: int, stop: int) -> list[int]:
    """Return the cut nearest to `place` that parts no equal margins and leaves enough items on both sides, or none."""
    ends = [int(np.searchsorted(margins, margins[place], side)) for side in ("left", "right")]
    fitting = [end for end in ends if end - start >= LEAST and stop - end >= LEAST]
    return sorted(fitting, key=lambda end: abs(end - place))[:1]


# Margins of colbert-ai's two decisions about a token embedding: its centroid, and each coordinate's bucket.
#
# On a CPU as on a GPU colbert-ai rounds embeddings to float16 before it compresses them, and compresses with the
# centroids as it has stored them, in float16 (`collection_indexer.py` and `codecs/residual.py` of 0.2.22; autocast
# ended with the encoder). So scores are taken here from ``embs`` rounded to float16 and ``index/centroids``. Products
# of two float16 numbers, and sums of them below 32, are exact in float64: these scores are the same on every machine,
# in any order of summation, and what differs between A and B is in what went in.

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
        if all(side.group("doclens") for side in (self.a, self.b)) and doclens(self.a) != doclens(self.b):
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
    same = sum(int((block == codes_b.flat(at, at + block.size)).sum()) for at, block in codes_a.blocks())
    return Items(margin, drop, flipped, same * dim, alike)


def evenly_spaced(total: int, most: int) -> Ids:
    """Return at most `most` of the places 0 to `total`, evenly spaced from 0 on: the same in every run."""
    return np.arange(total) if total <= most else np.arange(most) * total // most


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


# Margins of a query's top k: the gap between the last passage that counts and the first that does not.


def rank_items(a: Capture | None, b: Capture | None, k: int, *, ignore_identical_ids: bool = False) -> Items | str:
    """Return the gap of each query's scores after rank `k`, and whether B's top `k` holds other passages.

    Parameters
    ----------
    a, b : Capture or None
        The searching arms' captures. Each version's search of its own index is looked at: A's torch on A's index, and
        B's on B's.
    k : int
        How many passages count.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out first.

    Returns
    -------
    Items or str
        Queries for which A found more than `k` passages; or why there are none. B's margin is between the same two
        passages, and not known where B's longer list lacks one of them.
    """
    sides: list[dict[str, Ranked]] = []
    left_out: dict[str, int] = {}
    for name, capture in (("A", a), ("B", b)):
        own = "" if capture is None else f"rankings/{capture.arm.get('environment', '')}"
        if capture is None or own not in capture.artifacts:
            return f"No search of {name}'s own index was captured."
        sides.append({query.qid: query for query in ranked(capture, own, str(capture.arm.get("name")))})
        left_out |= themselves(capture) if ignore_identical_ids else {}
    both = [tuple(side[qid].without(left_out.get(qid)) for side in sides) for qid in sides[0] if qid in sides[1]]
    looked = [pair for pair in both if len(pair[0].pids) > k]
    if not looked:
        return f"No query of both sides found more than {k} passages."
    margins = [query.scores[k - 1] - query.scores[k] for query, _ in looked]
    others = [_between(other, *query.pids[k - 1 : k + 1]) for query, other in looked]
    flipped = [set(query.pids[:k]) != set(other.pids[:k]) for query, other in looked]
    margin = np.asarray(margins, np.float64)
    return Items(margin, margin - np.asarray(others, np.float64), np.asarray(flipped, np.bool_), len(both))


def _between(query: Ranked, last: int, following: int) -> float:
    """Return the score of passage `last` minus that of `following`; NaN where one is not ranked."""
    scores = dict(zip(query.pids, query.scores, strict=True))
    return scores.get(last, np.nan) - scores.get(following, np.nan)


# Whether a small margin goes with a flip: how far each decision was from falling the other way, and whether it did.


def compare_margins(
    a: Capture,
    b: Capture,
    search_a: Capture | None,
    search_b: Capture | None,
    *,
    k: int,
    ignore_identical_ids: bool = False,
) -> list[Record]:
    """Return the margins of three decisions beside their flips: a token's centroid, a bucket, a query's top `k`.

    Parameters
    ----------
    a, b : Capture
        The plain captures of the two sides.
    search_a, search_b : Capture or None
        Their searching arms'.
    k : int
        How many passages of a query count.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out of its ranking.

    Returns
    -------
    list of dict
        The ``margins`` of ``docs/schema.md``: always ``centroid``, ``bucket`` and ``rank``, in this order. What
        could not be looked at says why in ``left_out``.

    Raises
    ------
    StoreError
        When an artifact cannot be read.
    """
    sides = Sides(a, b)
    return [_centroid(sides), _bucket(sides), _rank(search_a, search_b, k, ignore_identical_ids)]


def _centroid(sides: Sides) -> Record:
    why = sides.unlike("embs")
    if why is None and sides.chunked("index/centroids")[0].shape[0] < 2:
        why = "There is one centroid only."
    if why is not None:
        return left_out("centroid", why)
    return record("centroid", centroid_items(sides)) | {"same_ids": same_ids(sides)}


def _bucket(sides: Sides) -> Record:
    why = sides.unlike("compress_residuals", "bucket_cutoffs")
    return left_out("bucket", why) if why is not None else record("bucket", bucket_items(sides))


def _rank(a: Capture | None, b: Capture | None, k: int, ignore_identical_ids: bool) -> Record:
    found = rank_items(a, b, k, ignore_identical_ids=ignore_identical_ids)
    return (record("rank", found) if isinstance(found, Items) else left_out("rank", found)) | {"k": k}
