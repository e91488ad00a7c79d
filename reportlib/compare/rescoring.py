"""Lists scored again in float64: whether they would differ if nothing were rounded while scores are added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reportlib.compare.chunks import Chunked
from reportlib.compare.rankings import ListPair, Ranked
from reportlib.floats import widen
from reportlib.store import Capture, Tensor

Doubles = npt.NDArray[np.float64]
_NEEDED = ("index/centroids", "index/bucket_weights", "index/codes", "index/residuals", "doclens")


class Scorer:
    """What a passage of an index scores for encoded queries, as ColBERT defines it, in float64 throughout.

    A token embedding is its centroid plus the weights of its residual's buckets, made of length 1 (Santhanam et al.,
    NAACL 2022). A score is, for each query token, the largest inner product with a token embedding, summed (MaxSim:
    Khattab and Zaharia, SIGIR 2020).

    Parameters
    ----------
    plain : Capture
        Of the arm that made the index: `possible` says whether it has all that is needed.
    queries : Tensor
        Encoded: queries x tokens x dim.
    """

    def __init__(self, plain: Capture, queries: Tensor) -> None:
        self._queries = _doubles(queries)
        self._codes, self._residuals = (Chunked.load(plain, f"index/{name}") for name in ("codes", "residuals"))
        self._centroids = _doubles(plain.tensor("index/centroids"))
        self._weights = _doubles(plain.tensor("index/bucket_weights"))
        self._ends = np.cumsum([0, *(n for name in plain.group("doclens") for n in plain.value(name))])

    @staticmethod
    def possible(plain: Capture | None, search: Capture) -> bool:
        """Whether an index was kept with all that its passages are made of, and the queries with it."""
        return plain is not None and all(map(plain.group, _NEEDED)) and "query_embs" in search.artifacts

    def top(self, number: int, pids: Sequence[int], k: int) -> list[int]:
        """Return the best `k` of `pids` for the query of that number; of equal scores the smaller pid first."""
        query = self._queries[number].T
        scores = {pid: float((self._tokens(pid) @ query).max(axis=0).sum()) for pid in pids}
        return sorted(pids, key=lambda pid: (-scores[pid], pid))[:k]

    def _tokens(self, pid: int) -> Doubles:
        """Return a passage's token embeddings: tokens x dim."""
        start, stop = int(self._ends[pid]), int(self._ends[pid + 1])
        width = self._residuals.shape[1]
        packed = self._residuals.flat(start * width, stop * width).reshape(-1, width)
        dim = self._centroids.shape[1]
        # colbert-ai packs each bucket's number with its lowest bit first.
        bits = np.unpackbits(packed, axis=1).reshape(len(packed), dim, -1).astype(np.int64)
        buckets = (bits << np.arange(bits.shape[2])).sum(axis=2)
        tokens: Doubles = self._centroids[self._codes.flat(start, stop)] + self._weights[buckets]
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        return tokens


def still_differ(pairs: Sequence[ListPair], left: Scorer, right: Scorer) -> int:
    """Count the pairs whose best k differ, and differ as well when each side's passages are scored in float64.

    Parameters
    ----------
    pairs : sequence of ListPair
        One for each query, in the order of the encoded queries.
    left, right : Scorer
        Each side's index with its queries. All passages that a side returned are scored on both, those behind the best
        k too.
    """
    return sum(
        pair.first_rank is not None and _top(left, number, pair, pair.left) != _top(right, number, pair, pair.right)
        for number, pair in enumerate(pairs)
    )


def _top(scorer: Scorer, number: int, pair: ListPair, ranking: Ranked) -> list[int]:
    return scorer.top(number, sorted({*pair.left.pids, *pair.right.pids}), ranking.k)


def _doubles(tensor: Tensor) -> Doubles:
    return widen(np.asarray(tensor.array), tensor.dtype).astype(np.float64)
