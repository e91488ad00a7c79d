"""Scores in float64, against the formula written out, and whether a list would still be another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportlib.compare.rankings import ListPair, Ranked
from reportlib.compare.search import Scorer, still_differ
from reportlib.store import Capture, CaptureWriter, Tensor

DIM, LENGTHS, CHUNKS = 8, (3, 1, 4, 2), ((0, 2), (2, 4))


def packed(buckets: np.ndarray, nbits: int) -> np.ndarray:
    """As colbert-ai's residual codec packs them: the lowest bit of each number first."""
    return np.packbits((buckets[..., None] >> np.arange(nbits)) & 1, axis=-1).reshape(len(buckets), -1)


def index(folder: Path, nbits: int = 2, without: str = "") -> tuple[Capture, list[np.ndarray]]:
    """A capture of an index of four passages in two chunks, and each passage's token embeddings."""
    rng = np.random.default_rng(7)
    centroids = rng.normal(size=(5, DIM)).astype(np.float16)
    weights = np.sort(rng.normal(size=1 << nbits) / 10).astype(np.float32)
    codes = rng.integers(0, 5, sum(LENGTHS)).astype(np.int32)
    buckets = rng.integers(0, 1 << nbits, (sum(LENGTHS), DIM))
    ends = np.cumsum([0, *LENGTHS])
    with CaptureWriter(folder) as writer:
        for number, (first, last) in enumerate(CHUNKS):
            rows = slice(ends[first], ends[last])
            writer.tensor(f"index/codes/{number}", codes[rows], "index")
            writer.tensor(f"index/residuals/{number}", packed(buckets[rows], nbits), "index")
        writer.tensor("index/centroids", centroids, "index")
        if without != "index/bucket_weights":
            writer.tensor("index/bucket_weights", weights, "index")
        writer.value("doclens", list(LENGTHS), "index")
    tokens = centroids[codes].astype(np.float64) + weights[buckets].astype(np.float64)
    tokens /= np.sqrt((tokens**2).sum(axis=1, keepdims=True))
    return Capture.open(folder), np.split(tokens, ends[1:-1])


def queries(count: int = 3) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 6, DIM)).astype(np.float32)


@pytest.mark.parametrize("nbits", [1, 2, 4])
def test_the_best_passages_are_those_of_the_formula(tmp_path: Path, nbits: int) -> None:
    plain, passages = index(tmp_path / "plain", nbits)
    scorer = Scorer(plain, Tensor(queries(), "float32"))
    for number, query in enumerate(queries().astype(np.float64)):
        scores = [sum(max(float(q @ token) for token in tokens) for q in query) for tokens in passages]
        wanted = sorted(range(4), key=lambda pid: -scores[pid])
        assert scorer.top(number, [3, 1, 0, 2], 4) == wanted
        assert scorer.top(number, [3, 1, 0, 2], 2) == wanted[:2]


def test_only_what_differs_in_float64_still_differs(tmp_path: Path) -> None:
    plain, _ = index(tmp_path / "plain")
    ours = Scorer(plain, Tensor(queries(), "float32"))
    theirs = Scorer(plain, Tensor(-queries(), "float32"))
    best = [tuple(ours.top(number, range(4), 4)) for number in range(3)]
    same, swapped = ([Ranked(f"q{n}", o, (0.0,) * 4, 2) for n, o in enumerate(orders)] for orders in (best, [
        (b, a, *rest) for a, b, *rest in best
    ]))  # fmt: skip
    assert still_differ(list(map(ListPair, same, same)), ours, theirs) == 0, "lists that are the same never count"
    assert still_differ(list(map(ListPair, same, swapped)), ours, ours) == 0, "one index and one set of queries"
    apart = [ours.top(n, range(4), 2) != theirs.top(n, range(4), 2) for n in range(3)]
    assert 0 < sum(apart) < 3
    assert still_differ(list(map(ListPair, same, swapped)), ours, theirs) == sum(apart)


def test_an_index_that_was_not_kept_whole_is_not_scored(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "search") as writer:
        writer.tensor("query_embs", queries(), "search")
    search = Capture.open(tmp_path / "search")
    whole, _ = index(tmp_path / "whole")
    assert Scorer.possible(whole, search)
    assert not Scorer.possible(index(tmp_path / "part", without="index/bucket_weights")[0], search)
    assert not Scorer.possible(whole, whole)
    assert not Scorer.possible(None, search)
