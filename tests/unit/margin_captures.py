"""Captures that hold what margins need and nothing else, with every decision planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from captures import Typed, write

from reportlib.store import Capture
from reportlib.study import Arm

#: Two centroids at a right angle: an embedding (0.5 + m, 0.5) is nearer to the first one, by a margin of m.
AXES = np.eye(2, dtype=np.float16)
CUTOFFS = (-0.25, 0.0, 0.25)


def by_margin(margins: Sequence[float]) -> np.ndarray:
    """Embeddings with the given margins before `AXES`."""
    first = 0.5 + np.asarray(margins, np.float32)
    return np.stack([first, np.full_like(first, 0.5)], axis=1)


def indexed(
    embs: np.ndarray, centroids: np.ndarray = AXES, cutoffs: Sequence[float] = CUTOFFS, cuts: Sequence[int] = ()
) -> dict[str, Any]:
    """What colbert-ai makes of embeddings: float16 in, the best centroid, and what is left, in chunks cut at `cuts`."""
    half = embs.astype(np.float16).astype(np.float32)
    codes = np.argmax(half @ centroids.astype(np.float32).T, axis=1)
    residuals = half - centroids.astype(np.float32)[codes]
    values: dict[str, Any] = {
        "index/centroids": centroids,
        "bucket_cutoffs": np.asarray(cutoffs, np.float32),
        "doclens": [len(embs)],
    }
    for name, whole in (("embs", embs), ("compress_codes", codes), ("compress_residuals", residuals)):
        values |= {f"{name}/{number}": part for number, part in enumerate(np.split(whole, list(cuts)))}
    return values


def capture(folder: Path, environment: str, values: dict[str, Any]) -> Capture:
    """Write a plain capture of an environment."""
    return write(folder, Arm(environment, "float32", "cpu", 0), values)


def pair(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> tuple[Capture, Capture]:
    """Write both sides' captures."""
    return capture(folder, "torch201", a), capture(folder, "torch210", b)


def bfloat16(values: np.ndarray) -> Typed:
    """Float32 values that a bfloat16 holds, as its bits."""
    return Typed((np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16), "bfloat16")


def ranking(qid: str, pids: Sequence[int], scores: Sequence[float]) -> dict[str, Any]:
    """One query of a searching arm's ranking."""
    return {"qid": qid, "pids": list(pids), "scores": list(scores)}


def searching(folder: Path, environment: str, **rankings: list[dict[str, Any]]) -> Capture:
    """Write a searching arm's capture with rankings by the environment whose index was searched."""
    values = {f"rankings/{name}": {"k": 2, "depth": 4, "queries": found} for name, found in rankings.items()}
    return write(folder, Arm(environment, "float32", "cpu", 0, searching=True), values)
