"""Findings on the order of the sorted codes, and on the probes of the sort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.phrases import count, listing
from reportlib.words.environments import sides

_POSTS = ("D1", "D3", "D4", "D5")


def _holds(part: Facts) -> dict[str, bool | None]:
    return {step["id"]: step["holds"] for step in part.data["order"]["steps"]}


def sort(part: Facts) -> Iterator[Finding]:
    """Say whether the sort leaves another order, where its input is the same."""
    data = part.data["order"]
    if data is None:
        return
    holds, evidence = _holds(part), (f"{part.at}/order",)
    codes = count(data["embeddings"], "code")
    if not holds["presort-equal"]:
        sentence = (
            f"{part.title}, the codes differ before they are sorted, so the order of the sorted "
            "codes says nothing about the sort itself."
        )
    elif holds["indices-equal"]:
        sentence = f"{part.title}, sorting the same {codes} gives the same order on both sides."
        if part.reorders_from is not None and data["embeddings"] < part.reorders_from:
            sentence += (
                f" The probes see another order only from {part.reorders_from:,} elements on, "
                "more than there are codes here."
            )
    else:
        sentence = (
            f"{part.title}, sorting the same {codes} gives {_values(holds)} another order of equal "
            f"codes: {data['positions_different']:,} of {data['embeddings']:,} indices differ, in "
            f"{count(data['centroids_reordered'], 'centroid')}. {_stable(part, data['stable'])}"
        )
    yield Finding(f"{part.key}/sort", "why", sentence, evidence, _POSTS)


def _values(holds: Mapping[str, bool | None]) -> str:
    return "the same sorted codes but" if holds["values-equal"] else "other sorted codes and"


def _stable(part: Facts, stable: str | None) -> str:
    if stable == "both":
        return "Both sides list equal codes in the order in which they stood."
    if stable in {"a", "b"}:
        return f"{part.a if stable == 'a' else part.b}'s order is the one that a stable sort gives."
    return "Neither side's order is the one that a stable sort gives."


def reaches_index(part: Facts) -> Iterator[Finding]:
    """Say whether another order of the indices reaches the index."""
    data = part.data["order"]
    if data is None:
        return
    holds = _holds(part)
    if not holds["presort-equal"] or holds["indices-equal"]:
        return
    evidence = (f"{part.at}/order", *part.pointer("index/ivf", "index/ivf_lengths"))
    if holds["token-sets-equal"] and holds["ivf-equal"]:
        sentence = (
            f"{part.title}, the other order of the indices does not reach the index: each of "
            f"{count(data['centroids'], 'centroid')} has the same set of token ids, and "
            "`ivf` and `ivf_lengths` are identical."
        )
    elif holds["ivf-equal"] is None:
        sentence = (
            f"{part.title}, whether the other order of the indices reaches the index is not known: "
            "`ivf` was not captured on both sides."
        )
    else:
        sentence = (
            f"{part.title}, the difference is more than an order: the centroids' token ids or "
            "`ivf` and `ivf_lengths` differ although the codes were equal before the sort."
        )
    yield Finding(f"{part.key}/order-in-index", "matter", sentence, evidence, ("D1", "D4"))


def probes(report: Mapping[str, Any], number: int) -> Iterator[Finding]:
    """Say from which size on the sort alone gives another order."""
    pair = report["pairs"][number]
    data = pair["sort_probes"]
    if data is None or not data["thresholds"]:
        return
    different = [t for t in data["thresholds"] if t["smallest_different"] is not None]
    same = [t for t in data["thresholds"] if t["smallest_different"] is None and t["sizes"]]
    clauses = [
        f"{listing(dtypes)} keys come out in another order {where}" for where, dtypes in _together(different).items()
    ]
    if same:
        sizes = sorted({size for t in same for size in t["sizes"]})
        clauses.append(
            f"{listing([t['dtype'] for t in same])} keys come out in the same order at every "
            f"probed size ({sizes[0]:,} to {sizes[-1]:,})"
        )
    if not clauses:
        return
    sentence = f"The sort by itself, at the sizes probed: {'; '.join(clauses)}."
    a, b = sides(report["environments"], pair)
    sentence += _post_example(data["probes"]) + _which(data["probes"], a, b)
    evidence = tuple(f"/pairs/{number}/sort_probes/{key}" for key in ("thresholds", "probes"))
    yield Finding(f"{pair['b']}/sort-probes", "why", sentence, evidence, ("D6",))


def _together(thresholds: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the dtypes that share a threshold, by its description."""
    found: dict[str, list[str]] = {}
    for threshold in thresholds:
        found.setdefault(_threshold(threshold), []).append(threshold["dtype"])
    return found


def _threshold(threshold: Mapping[str, Any]) -> str:
    smallest = f"{threshold['smallest_different']:,}"
    again = [f"{size:,}" for size in threshold["same_at_or_above"]]
    text = f"at {smallest} elements, though not at {listing(again)}" if again else f"from {smallest} elements on"
    below = threshold["largest_same_below"]
    return text if below is None else f"{text}, and in the same at {below:,}"


def _post_example(probes: list[Mapping[str, Any]]) -> str:
    """Return a sentence on the example of post 2025-09-09, if it was probed with one input."""
    found = [p for p in probes if p["source"] == "post D6" and p["same_input"]]
    if not found:
        return ""
    order = "the same order" if found[0]["same_order"] else "another order"
    return f" The post's own example of {found[0]['size']:,} integers comes out in {order}."


def _which(probes: list[Mapping[str, Any]], a: str, b: str) -> str:
    sides = {p["stable"] for p in probes if not p["same_order"] and p["same_input"]}
    if sides == {"a"} or sides == {"b"}:
        side = a if sides == {"a"} else b
        return f" Wherever the order differs, {side}'s is the one that a stable sort gives."
    return ""
