"""Two index folders as colbert-ai writes them, of any size; run by an environment's Python, whose torch saves them.

``python made_index.py FOLDER BYTES CHUNKS`` makes FOLDER/a and FOLDER/b. They differ in 1 % of the codes and 20 % of
the residuals' bytes, and each has the ivf that its codes give.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

DIM, NBITS = 96, 4
#: Of an embedding: its code, and its residual.
_BYTES = 4 + DIM * NBITS // 8
Integers = npt.NDArray[Any]


def main(folder: Path, size: float, chunks: int) -> None:
    """Make both."""
    random = np.random.default_rng(1)
    doclens = random.integers(20, 101, int(size) // _BYTES // 60)
    centroids = 2 ** int(np.log2(16 * np.sqrt(doclens.sum())))
    codes = random.integers(0, centroids, doclens.sum(), np.int32)
    _write(folder / "a", codes, doclens, chunks, centroids, changed=False)
    moved = random.random(codes.size, np.float32) < 0.01
    codes[moved] = random.integers(0, centroids, int(moved.sum()), np.int32)
    _write(folder / "b", codes, doclens, chunks, centroids, changed=True)


def _write(path: Path, codes: Integers, doclens: Integers, chunks: int, centroids: int, *, changed: bool) -> None:
    path.mkdir(parents=True)
    ends = np.concatenate(([0], np.cumsum(doclens)))
    for chunk, passages in enumerate(np.array_split(np.arange(len(doclens)), chunks)):
        first, last = int(passages[0]), int(passages[-1]) + 1
        of_chunk = codes[ends[first] : ends[last]].copy()
        _save(path / f"{chunk}.codes.pt", of_chunk)
        _save(path / f"{chunk}.residuals.pt", _residuals(chunk, of_chunk.size, changed=changed))
        (path / f"doclens.{chunk}.json").write_text(json.dumps(doclens[first:last].tolist()))
    random = np.random.default_rng(2)
    _save(path / "centroids.pt", random.standard_normal((centroids, DIM)).astype(np.float16))
    _save(path / "avg_residual.pt", np.array(0.5, np.float32))
    _save(path / "buckets.pt", *(np.linspace(-1, 1, number, dtype=np.float32) for number in (2**NBITS - 1, 2**NBITS)))
    _save(path / "ivf.pid.pt", *_lists(codes, doclens, centroids))
    config = {"dim": DIM, "nbits": NBITS, "index_path": str(path)}
    (path / "plan.json").write_text(json.dumps({"config": config}))
    metadata = {"config": config, "num_chunks": chunks, "num_embeddings": int(ends[-1])}
    (path / "metadata.json").write_text(json.dumps(metadata))


def _save(path: Path, *arrays: Integers) -> None:
    values = tuple(map(torch.from_numpy, arrays))
    torch.save(values if len(values) > 1 else values[0], path)


def _residuals(chunk: int, rows: int, *, changed: bool) -> Integers:
    random = np.random.default_rng(100 + chunk)
    residuals = random.integers(0, 256, (rows, DIM * NBITS // 8), np.uint8)
    if changed:
        residuals += random.random(residuals.shape, np.float32) < 0.2
    return residuals


def _lists(codes: Integers, doclens: Integers, centroids: int) -> tuple[Integers, Integers]:
    keys = (codes.astype(np.int64) << 32) | np.repeat(np.arange(len(doclens)), doclens)
    keys.sort()
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
    return (keys & 0xFFFF_FFFF).astype(np.int32), np.bincount(keys >> 32, minlength=centroids)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
