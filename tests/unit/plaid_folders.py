"""Index folders as fast-plaid writes them, made without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import index_folders
import numpy as np

Values = index_folders.Values


def values(seed: int = 7) -> Values:
    """What an index of some passages holds: that of colbert-ai in fast-plaid's dtypes and shapes."""
    known, rng = index_folders.values(seed), np.random.default_rng(seed)
    return {
        **known,
        "codes": known["codes"].astype(np.int64),
        "ivf": known["ivf"].astype(np.int64),
        "ivf_lengths": known["ivf_lengths"].astype(np.int32),
        "avg_residual": rng.random(index_folders.DIM, np.float32),
        "cluster_threshold": np.array([0.75], np.float32),
    }


def save(path: Path, array: np.ndarray[Any, Any], *, header: int = 0) -> Path:
    """Write an array with the header that fast-plaid's Rust half gives it, or a longer one of `header` bytes."""
    shape = "".join(f"{length}," for length in array.shape)
    body = f"{{'descr': '<{array.dtype.str[1:]}', 'fortran_order': False, 'shape': ({shape}), }}"
    return write(path, body, array.tobytes(), header=header)


def write(path: Path, body: str, data: bytes, *, header: int = 0) -> Path:
    """Write a ``.npy`` file whose header says `body`."""
    size = header or -(-(11 + len(body)) // 16) * 16
    text = body.encode().ljust(size - 11) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
    return path


def write_plaid(path: Path, known: Values, *, chunks: int = 1, files: str = "merged", **metadata: Any) -> Path:
    """Write an index folder: ``merged`` as 1.7.0 leaves it, ``both`` as 1.4.6 does, ``own`` before the first merge."""
    path.mkdir(parents=True)
    ends = np.concatenate(([0], np.cumsum(known["doclens"])))
    parts = np.array_split(np.arange(len(known["doclens"])), chunks)
    for chunk, part in enumerate(parts):
        lengths = known["doclens"][part]
        rows = slice(int(ends[part[0]]), int(ends[part[-1] + 1]))
        (path / f"doclens.{chunk}.json").write_text(json.dumps(lengths.tolist()))
        for name in ("codes", "residuals") if files != "merged" else ():
            save(path / f"{chunk}.{name}.npy", known[name][rows])
    if files != "own":
        padding = int(known["doclens"].max() - known["doclens"][-1])
        for name in ("codes", "residuals"):
            rows = np.full((padding, *known[name].shape[1:]), 99, known[name].dtype)
            save(path / f"merged_{name}.npy", np.concatenate([known[name], rows]), header=192)
    names = ("ivf", "ivf_lengths", "avg_residual", "bucket_cutoffs", "bucket_weights", "centroids", "cluster_threshold")
    for name in names:
        if name in known:
            save(path / f"{name}.npy", known[name])
    sizes = {"num_chunks": chunks, "nbits": index_folders.NBITS, "num_partitions": len(known["centroids"])}
    counted = {"num_documents": len(known["doclens"]), "num_embeddings": int(ends[-1])}
    (path / "plan.json").write_text(json.dumps({"nbits": index_folders.NBITS, "num_chunks": chunks}))
    (path / "metadata.json").write_text(json.dumps({**sizes, **counted, "frozen": True, "mutable": True, **metadata}))
    return path
