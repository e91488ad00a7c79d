"""Compare what two indexes return for the same queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]
#: Queries that a report lists one by one.
LISTED = 20


def compare_rankings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Record:
    """Compare two values ``rankings``: order, set and scores of each query's best passages.

    The symmetric difference is counted as post README I4 does: passages that only one side returns,
    both sides together, so a query can count up to ``2 * k``.

    Returns
    -------
    dict
        The ``rankings`` of ``docs/schema.md``.
    """
    left = {q["qid"]: q for q in a["queries"]}
    right = {q["qid"]: q for q in b["queries"]}
    both = [qid for qid in left if qid in right]
    lines = [_query(left[qid], right[qid]) for qid in both]
    gaps = [gap for qid in both for gap in _score_gaps(left[qid], right[qid])]
    changed = [line for line in lines if line["first_rank"] is not None]
    changed.sort(key=lambda line: (-len(line["only_a"]) - len(line["only_b"]), line["first_rank"]))
    moved = [len(line["only_a"]) + len(line["only_b"]) for line in lines]
    finite = [gap for gap in gaps if math.isfinite(gap)]
    return {
        "k": min(a["k"], b["k"]),
        "queries": len(both),
        "queries_missing": len(left) + len(right) - 2 * len(both),
        "same_order": len(lines) - len(changed),
        "same_set": sum(count == 0 for count in moved),
        "max_score_difference": max(finite, default=None),
        "scores_identical": all(left[qid]["scores"] == right[qid]["scores"] for qid in both),
        "symmetric_difference": sum(moved) / len(moved) if moved else None,
        "changed": changed[:LISTED],
    }


def _query(a: Mapping[str, Any], b: Mapping[str, Any]) -> Record:
    pids_a, pids_b = list(a["pids"]), list(b["pids"])
    longest = max(len(pids_a), len(pids_b))
    unlike = [rank + 1 for rank in range(longest) if pids_a[rank : rank + 1] != pids_b[rank : rank + 1]]
    return {
        "qid": a["qid"],
        "only_a": [pid for pid in pids_a if pid not in set(pids_b)],
        "only_b": [pid for pid in pids_b if pid not in set(pids_a)],
        "first_rank": unlike[0] if unlike else None,
    }


def _score_gaps(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[float]:
    """Return the score difference of every passage that both sides rank."""
    others = dict(zip(b["pids"], b["scores"], strict=True))
    return [abs(score - others[pid]) for pid, score in zip(a["pids"], a["scores"], strict=True) if pid in others]
