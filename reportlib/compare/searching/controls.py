"""What must not change when a search is made again, and whether both sides asked the same question."""

from __future__ import annotations

from typing import Any

import numpy as np

from reportlib.compare.searching.sides import Ranked, Side, ranked
from reportlib.errors import ComparisonError
from reportlib.floats import bits, widen
from reportlib.store import Capture

Record = dict[str, Any]


def search_control(environment: str, plain: Capture | None, ranking: tuple[Ranked, ...]) -> Record | None:
    """Compare the search that the plain arm made of its own index with the searching arm's, made in another process.

    Parameters
    ----------
    environment : str
        Whose index it is.
    plain : Capture or None
        The plain arm's.
    ranking : tuple of Ranked
        What the searching arm found in that index.

    Returns
    -------
    dict or None
        One of ``controls``: of the queries that both answered, how many have the same passages in the same order with
        the same scores. None where the plain arm did not search.

    Raises
    ------
    ComparisonError
        When the plain arm's rankings make no sense.
    StoreError
        When they cannot be read.
    """
    if plain is None or "rankings" not in plain.artifacts:
        return None
    before, again = ({each.qid: each for each in found} for found in (ranked(plain, "rankings", environment), ranking))
    both = [qid for qid in before if qid in again]
    same = sum(_alike(before[qid], again[qid]) for qid in both)
    return {"environment": environment, "queries": len(both), "identical": same}


def _alike(before: Ranked, again: Ranked) -> bool:
    # The plain arm may have kept more or fewer passages: what both kept counts.
    kept = min(before.k, again.k)
    return (before.pids[:kept], before.scores[:kept]) == (again.pids[:kept], again.scores[:kept])


def query_embeddings(a: Side, b: Side) -> Record | None:
    """Compare what A's and B's torch make of the same queries, vector by vector.

    Parameters
    ----------
    a, b : Side
        The searching arms.

    Returns
    -------
    dict or None
        ``identical`` vectors (bytes) of ``total`` (queries times tokens), and ``max_abs``, the largest difference of an
        element (None where nothing finite can be compared); None where a side did not capture them.

    Raises
    ------
    ComparisonError
        When they are not of one shape and dtype.
    """
    if not all("query_embs" in side.capture.artifacts for side in (a, b)):
        return None
    left, right = (side.capture.tensor("query_embs") for side in (a, b))
    if (left.shape, left.dtype) != (right.shape, right.dtype) or not left.shape:
        kinds = f"{left.dtype} {left.shape} and {right.dtype} {right.shape}"
        raise ComparisonError(
            f"the encoded queries of {a.name} and {b.name} are {kinds}",
            "remove both captures and run both arms again, with one study.toml",
        )
    unlike = (bits(left.array, left.dtype) != bits(right.array, right.dtype)).any(axis=-1)
    gaps = np.abs(widen(left.array, left.dtype).astype(np.float64) - widen(right.array, right.dtype))
    finite = gaps[np.isfinite(gaps)]
    return {
        "identical": int(unlike.size - np.count_nonzero(unlike)),
        "total": int(unlike.size),
        "max_abs": float(finite.max()) if finite.size else None,
    }
