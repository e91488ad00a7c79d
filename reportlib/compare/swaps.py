"""What a swapped arm shows: which artifacts come back to A's once some of A's values stand in B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.compare.pipeline import compare_artifacts
from reportlib.store import Capture

Record = dict[str, Any]
#: The posts' swap experiments, by what they replaced.
POSTS: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset({"local_sample_embs"}): ("A4", "F4"),
    frozenset({"local_sample_embs", "embs"}): ("H3",),
}


def compare_swap(
    a: Capture,
    swapped: Capture,
    plain: Sequence[Mapping[str, Any]],
    arm: str,
    points: Sequence[str],
) -> Record:
    """Compare a swapped arm of B with A's plain capture, from the first replaced point on.

    Parameters
    ----------
    a, swapped : Capture
        A's plain arm, and B's arm with some of A's values.
    plain : sequence of mapping
        The comparisons of A with B's plain arm, for what stands there without the swap.
    arm : str
        The swapped arm's name.
    points : sequence of str
        The capture points that were replaced.

    Returns
    -------
    dict
        One of ``swaps`` in ``reports/SCHEMA.md``. What the swapped arm did not capture is left out,
        unless it is a final artifact.
    """
    before = {record["artifact"]: record["verdict"] for record in plain}
    records = compare_artifacts(a, swapped)
    replaced = [number for number, r in enumerate(records) if r["artifact"] in points]
    kept = [
        _line(record, points, before)
        for record in records[min(replaced, default=0) :]
        if record["verdict"] != "missing" or record["final"]
    ]
    final = [line for line in kept if line["final"]]
    identical = sum(line["verdict"] == "identical" for line in final)
    return {
        "arm": arm,
        "points": list(points),
        "artifacts": kept,
        "final_total": len(final),
        "final_identical": identical,
        "all_final_identical": bool(final) and identical == len(final),
        "not_identical": [line["artifact"] for line in kept if line["verdict"] != "identical"],
        "posts": list(POSTS.get(frozenset(points), ())),
    }


def _line(record: Record, points: Sequence[str], before: Mapping[str, str]) -> Record:
    taken = ("name", "artifact", "final", "kind", "verdict", "tolerance", "default", "bnb")
    return {
        **{key: record[key] for key in taken},
        "replaced": record["artifact"] in points,
        "plain_verdict": before.get(record["artifact"]),
    }
