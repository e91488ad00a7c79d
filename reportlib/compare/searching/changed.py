"""The queries that an upgrade changed: which passages came and went, and what that did to the measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.searching.agreement import Agreement
from reportlib.compare.searching.measures import measure_names
from reportlib.compare.searching.sides import Ranked, Searches

Record = dict[str, Any]
#: Queries that a report lists one by one, and characters of a passage that it shows.
LISTED = 20
SHOWN = 300


def changed_queries(
    searches: Searches, agreements: Sequence[Agreement], left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> list[Record]:
    """Return the queries whose best k changed from A's torch on A's index to B's on B's, those that matter most first.

    First those whose measures changed, then those with the most different passages, then those that differ at the
    earliest rank.

    Parameters
    ----------
    searches : Searches
        All of them.
    agreements : sequence of Agreement
        Of each query.
    left, right : numpy.ndarray
        float64 (judged queries, measures), of both sides.

    Returns
    -------
    list of dict
        At most `LISTED`: ``changed`` of ``docs/schema.md``.
    """
    rows = {place: row for row, place in enumerate(searches.judged)}
    found = []
    for place, each in enumerate(agreements):
        if each.first_rank is None:
            continue
        row = rows.get(place)
        values = [] if row is None else _values(searches.k, left[row], right[row])
        same = all(value["left"] == value["right"] for value in values)
        found.append(((same, -each.moved, each.first_rank, place), place, values))
    found.sort(key=lambda one: one[0])
    return [_query(searches, place, agreements[place], values) for _, place, values in found[:LISTED]]


def _values(k: int, left: Sequence[float], right: Sequence[float]) -> list[Record]:
    pairs = zip(measure_names(k), left, right, strict=True)
    return [{"measure": name, "left": float(a), "right": float(b)} for name, a, b in pairs]


def _query(searches: Searches, place: int, each: Agreement, values: list[Record]) -> Record:
    left, right = searches.rankings["a", "a"][place], searches.rankings["b", "b"][place]
    grades = searches.judgements.get(left.qid, {})
    return {
        "qid": left.qid,
        "text": searches.query_texts[left.qid],
        "first_rank": each.first_rank,
        "measures": values,
        "verdict": _verdict(searches.k, values),
        "went": [_passage(searches, pid, grades, left, right) for pid in left.top if pid not in right.top],
        "came": [_passage(searches, pid, grades, left, right) for pid in right.top if pid not in left.top],
    }


def _verdict(k: int, values: Sequence[Mapping[str, Any]]) -> str:
    for value in values:
        if value["measure"] == f"nDCG@{k}" and value["left"] != value["right"]:
            return "better" if value["right"] > value["left"] else "worse"
    return "equal"


def _passage(searches: Searches, pid: int, grades: Mapping[int, int], left: Ranked, right: Ranked) -> Record:
    name, text = searches.passages[pid]
    return {
        "pid": pid,
        "id": name,
        "text": shortened(text),
        "grade": grades.get(pid),
        "left": _place(left.find(pid)),
        "right": _place(right.find(pid)),
    }


def _place(found: tuple[int, float] | None) -> Record | None:
    if found is None:
        return None
    rank, score = found
    return {"rank": rank, "score": score if math.isfinite(score) else None}


def shortened(text: str) -> str:
    """Return a text of `SHOWN` characters at most, cut after a word."""
    text = " ".join(text.split())
    if len(text) <= SHOWN:
        return text
    cut = text[:SHOWN].rpartition(" ")[0] or text[: SHOWN - 1]
    return cut.rstrip() + "…"
