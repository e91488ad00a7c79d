"""Put a pair's search results together: `pairs[].precisions[].search` of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reportlib.compare.searching import uncertainty
from reportlib.compare.searching.changed import changed_queries
from reportlib.compare.searching.comparing import Comparison
from reportlib.compare.searching.controls import query_embeddings, search_control
from reportlib.compare.searching.sides import Searches, Side, read
from reportlib.compare.searching.yardstick import yardstick
from reportlib.store import Capture
from reportlib.study import Arm

Record = dict[str, Any]


def compare_search(
    first: Arm, other: Arm, captures: Mapping[str, Capture], *, k: int, ignore_identical_ids: bool = False
) -> Record | None:
    """Compare what both environments' torch find in both environments' indexes.

    Parameters
    ----------
    first, other : Arm
        The plain arms of A and B.
    captures : mapping of str to Capture
        By arm name.
    k : int
        Passages per query that count, as the study says.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out of its rankings and judgements.

    Returns
    -------
    dict or None
        ``search`` of ``docs/schema.md``; None where a side has no searching arm's capture.

    Raises
    ------
    ComparisonError
        When the captures do not fit each other; the message says how to mend it.
    StoreError
        When an artifact cannot be read.
    """
    arms = [replace(arm, searching=True) for arm in (first, other)]
    if not all(arm.name in captures for arm in arms):
        return None
    a, b = (Side(arm.name, arm.environment, captures[arm.name]) for arm in arms)
    searches = read(a, b, k=k)
    controls = [
        search_control(arm.environment, captures.get(arm.name), searches.rankings[side, side])
        for side, arm in (("a", first), ("b", other))
    ]
    identical_ids = _identical_ids(searches, ignore_identical_ids)
    if ignore_identical_ids:
        searches = searches.without_themselves()
    return {
        "k": k,
        "queries": len(searches.qids),
        "judged": len(searches.judged),
        "resamples": uncertainty.RESAMPLES,
        "confidence": uncertainty.CONFIDENCE,
        "power": uncertainty.POWER,
        "least_changed": uncertainty.LEAST_CHANGED,
        "query_embeddings": query_embeddings(a, b),
        "controls": [control for control in controls if control is not None],
        "judging": a.capture.provenance.get("descriptions", {}).get("collection", {}).get("judging"),
        "identical_ids": identical_ids,
        **_compared(searches),
    }


def _identical_ids(searches: Searches, ignored: bool) -> Record:
    """Say for how many queries A's best k hold the query itself, before any is left out."""
    themselves = searches.themselves
    found = [each for each in searches.rankings["a", "a"] if themselves.get(each.qid) in each.top]
    first = sum(each.top[0] == themselves[each.qid] for each in found)
    return {"ignored": ignored, "queries": len(found), "first": first}


def _compared(searches: Searches) -> Record:
    """Compare the searches; without a query there is nothing to compare."""
    if not searches.qids:
        return {"quality": [], "comparisons": [], "yardstick": None, "changed": [], "changed_total": 0}
    comparison = Comparison(searches)
    records = comparison.records()
    upgrade = records[0]
    nothing = np.zeros((0, 0))
    left, right = (comparison.values.get(key, nothing) for key in (("a", "a"), ("b", "b")))
    return {
        "quality": comparison.quality(),
        "comparisons": records,
        "yardstick": yardstick(upgrade, [each for each in records if each["kind"] == "seed"]),
        "changed": changed_queries(searches, comparison.agreements[upgrade["id"]], left, right),
        "changed_total": upgrade["queries"] - upgrade["same_order"],
    }
