"""What swapped arms show: which artifacts become one environment's once its values stand in the other.

A swap is an intervention on colbert-ai's pipeline (`reportlib.artifacts.SWAP_POINTS`): the values at its points come
from the donor, everything computed from them is computed again, and everything else is the arm's own. So where every
final artifact becomes the donor's, all that tells the two indexes apart passes through the points of that set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reportlib.artifacts import CAPTURE_POINTS, SWAP_POINTS, SWAPPABLE, downstream
from reportlib.compare.pipeline import compare_point
from reportlib.store import Capture
from reportlib.study import DIRECTIONS, Arm

Record = dict[str, Any]
#: The posts' swap experiments, by what they replaced.
POSTS: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset({"local_sample_embs"}): ("A4", "F4"),
    frozenset({"local_sample_embs", "embs"}): ("H3",),
}


def compare_swap(arm: Arm, direction: str, given: Capture, swapped: Capture, before: Mapping[str, str]) -> Record:
    """Compare a swapped arm with the plain arm that it takes values from: final artifacts, and all from the swap on.

    Parameters
    ----------
    arm : Arm
        The swapped arm.
    direction : str
        One of `reportlib.study.DIRECTIONS`.
    given, swapped : Capture
        The donor's plain arm, and the swapped arm.
    before : mapping of str to str
        Verdicts of the two plain arms by artifact: what stands there without the swap.

    Returns
    -------
    dict
        One of ``swaps`` in ``docs/schema.md``. What the swapped arm did not capture is left out,
        unless it is a final artifact.
    """
    replaced = {name for point in arm.swap for name in SWAP_POINTS[point].artifacts}
    places = [place for place, point in enumerate(CAPTURE_POINTS) if point.artifact in replaced]
    later = [point for place, point in enumerate(CAPTURE_POINTS) if place >= min(places) or point.final]
    records = [record for point in later if (record := compare_point(given, swapped, point)) is not None]
    kept = [_line(r, replaced, before) for r in records if r["verdict"] != "missing" or r["final"]]
    final = [line for line in kept if line["final"]]
    identical = sum(line["verdict"] == "identical" for line in final)
    return {
        "arm": arm.name,
        "from": arm.donor,
        "into": arm.environment,
        "direction": direction,
        "points": list(arm.swap),
        "artifacts": kept,
        "final_total": len(final),
        "final_identical": identical,
        "all_final_identical": bool(final) and identical == len(final),
        "not_identical": [line["artifact"] for line in kept if line["verdict"] != "identical"],
        "posts": list(POSTS.get(frozenset(arm.swap), ())) if direction == DIRECTIONS[0] else [],
    }


def _line(record: Record, replaced: Collection[str], before: Mapping[str, str]) -> Record:
    taken = ("name", "artifact", "final", "kind", "verdict", "tolerance", "default", "bnb")
    return {
        **{key: record[key] for key in taken},
        "replaced": record["artifact"] in replaced,
        "plain_verdict": before.get(record["artifact"]),
    }


def swap_summary(swaps: Sequence[Record], *, plain_identical: bool) -> list[Record]:
    """Return, for each direction, which tested sets are sufficient, and which points are necessary.

    A set is *sufficient* when swapping it makes every final artifact identical to the donor's. The plain arm is the
    test of the empty set. Given are the sufficient sets that hold no smaller sufficient set among those tested.

    A point is *necessary* when the tests show two things:

    1. It makes the difference: a tested set that holds it is sufficient, and the same set without it was tested and
       is not.
    2. Nothing tested does without it: every tested set that is sufficient holds the point itself or a point computed
       from it, which carries its value onward.

    Both speak of the tested sets only. A point that is not listed is not shown to be necessary, which is less than
    shown to be needless: the sets that would tell may not have been tested.

    Parameters
    ----------
    swaps : sequence of dict
        All of one pair and precision, as `compare_swap` makes them.
    plain_identical : bool
        Whether the plain arms' final artifacts are all identical: then there is nothing to make identical.

    Returns
    -------
    list of dict
        The ``swap_summary`` of ``docs/schema.md``, in the order of the directions in `swaps`.
    """
    directions = dict.fromkeys((swap["direction"], swap["from"], swap["into"]) for swap in swaps)
    return [
        {
            "direction": direction,
            "from": given,
            "into": into,
            **_sets(
                {frozenset(s["points"]): s["all_final_identical"] for s in swaps if s["direction"] == direction},
                plain_identical=plain_identical,
            ),
        }
        for direction, given, into in directions
    ]


def _sets(tested: Mapping[frozenset[str], bool], *, plain_identical: bool) -> Record:
    results = {frozenset[str](): plain_identical, **tested}
    sufficient = [points for points, enough in results.items() if enough]
    smallest = [points for points in sufficient if not any(other < points for other in sufficient)]
    insufficient = [points for points, enough in tested.items() if not enough]
    return {
        "sufficient": _listed(smallest),
        "insufficient": _listed(insufficient),
        "necessary": [name for name in SWAPPABLE if _is_necessary(name, results)],
        "tested": len(tested),
    }


def _is_necessary(name: str, results: Mapping[frozenset[str], bool]) -> bool:
    sufficient = [points for points, enough in results.items() if enough]
    decides = any(name in points and results.get(points - {name}) is False for points in sufficient)
    carries = {name} | downstream(name)
    return decides and all(points & carries for points in sufficient)


def _listed(sets: Sequence[frozenset[str]]) -> list[list[str]]:
    """Return sets as lists in pipeline order, those of few points first."""
    lists = [sorted(points, key=SWAPPABLE.index) for points in sets]
    return sorted(lists, key=lambda points: (len(points), [SWAPPABLE.index(name) for name in points]))
