"""What must not change when a search is made again, and whether both sides asked the same question."""

from __future__ import annotations

from typing import Any

import numpy as np

from reportlib.compare.searching.sides import Ranked, Side
from reportlib.errors import ComparisonError
from reportlib.floats import bits, widen
from reportlib.store import Capture

Record = dict[str, Any]


def search_control(environment: str, plain: Capture | None, ranking: tuple[Ranked, ...]) -> Record | None:
    """Compare the search that the plain arm made of its own index with the searching arm's, made in another process.

    Returns
    -------
    dict or None
        One of ``controls``: of the queries that both answered, how many have the same passages in the same order with
        the same scores. None where the plain arm did not search.
    """
    if plain is None or "rankings" not in plain.artifacts:
        return None
    data = plain.value("rankings")
    again = {each.qid: each for each in ranking}
    both = [query for query in data["queries"] if query["qid"] in again]
    # The plain arm may have kept more or fewer passages: what both kept counts.
    same = 0
    for query in both:
        each = again[query["qid"]]
        kept = min(each.k, data["k"])
        same += (tuple(query["pids"][:kept]), tuple(query["scores"][:kept])) == (each.pids[:kept], each.scores[:kept])
    return {"environment": environment, "queries": len(both), "identical": same}


def query_embeddings(a: Side, b: Side) -> Record | None:
    """Compare what A's and B's torch make of the same queries, vector by vector.

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
