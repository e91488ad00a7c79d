"""Margins of a query's top k: the gap between the last passage that counts and the first that does not."""

from __future__ import annotations

import numpy as np

from reportlib.compare.margins.items import Items
from reportlib.compare.searching.sides import Ranked, ranked, themselves
from reportlib.store import Capture


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
