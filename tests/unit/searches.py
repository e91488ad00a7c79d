"""The search part of a report made by hand, in the form of docs/schema.md, for the gate and the findings."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
NAMES = ("Recall@10", "MRR@10", "nDCG@10", "Success@10")


def plain(text: str) -> str:
    """The same with plain spaces before percent signs, as a test can be read."""
    return text.replace("\N{NO-BREAK SPACE}%", " %")


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def measure(name: str, **changed: Any) -> Record:
    """A measure that moved a little, without that being detected."""
    return {
        "measure": name,
        "left": 0.842,
        "right": 0.8424,
        "difference": estimate(0.0004, -0.0004, 0.0012),
        "interval": "bootstrap",
        "better": 4,
        "equal": 114,
        "worse": 3,
        "p_permutation": 0.74,
        "p_sign": 1.0,
        "detectable": 0.0011,
        "detected": False,
        "unchanged_bound": None,
        **changed,
    }


def still(name: str, queries: int = 121) -> Record:
    """A measure that is the same for every query."""
    return measure(
        name,
        right=0.842,
        difference=estimate(0.0, 0.0, 0.0),
        better=0,
        equal=queries,
        worse=0,
        p_permutation=None,
        p_sign=None,
        detectable=None,
        unchanged_bound=0.024455,
    )


def hardly(name: str, **changed: Any) -> Record:
    """A measure that too few queries changed for the permutation test."""
    few = {"better": 2, "equal": 118, "worse": 1, "interval": "few", "detectable": None}
    return measure(name, **{**few, "difference": estimate(0.0004, -0.0071, 0.0071), **changed})


def comparison(name: str, changed: int, **others: Any) -> Record:
    """`changed` of 121 queries got another top 10, half of them other passages."""
    sides = {
        "upgrade": (("a", "a"), ("b", "b")),
        "index": (("a", "a"), ("a", "b")),
        "torch": (("a", "a"), ("b", "a")),
        "index-b": (("b", "a"), ("b", "b")),
        "torch-b": (("a", "b"), ("b", "b")),
    }.get(name, (("a", "a"), ("a", name)))
    share, moved = changed / 121, changed // 2
    return {
        "id": name,
        "kind": name.split("-")[0],
        "left": dict(zip(("torch", "index"), sides[0], strict=True)),
        "right": dict(zip(("torch", "index"), sides[1], strict=True)),
        "queries": 121,
        "same_order": 121 - changed,
        "same_set": 121 - moved,
        "scores_identical": 60 if changed else 121,
        "max_score_difference": 0.0297 if changed else 0.0,
        "different_passages": estimate(2 * moved / 121, moved / 121, 3 * moved / 121),
        "overlap": estimate(1 - moved / 1210, 1 - 2 * moved / 1210, 1 - moved / 2420),
        "rbo": estimate(1 - share / 40, 1 - share / 20, 1 - share / 80),
        "changed_queries": {"share": share, "low": share / 2, "high": 2 * share or 0.024455},
        "measures": [measure(each) if changed else still(each) for each in NAMES],
        **others,
    }


def figure(name: str, upgrade: float, seeds: list[float], verdict: str = "smaller") -> Record:
    return {"name": name, "upgrade": upgrade, "seeds": seeds, "verdict": verdict}


def search(changed: int = 6, index: int | None = None, torch: int = 0, **others: Any) -> Record:
    """A search that is scored and held against three seeds; the upgrade changes `changed` queries' top 10."""
    path = {"upgrade": changed, "index": changed if index is None else index, "torch": torch}
    path |= {"index-b": path["index"], "torch-b": torch, **{f"seed-{n}": 30 + n for n in (1, 2, 3)}}
    comparisons = [comparison(name, count) for name, count in path.items()]
    upgrade = comparisons[0]
    return {
        "k": 10,
        "queries": 121,
        "judged": 121,
        "resamples": 10_000,
        "least_changed": 6,
        "confidence": 0.95,
        "power": 0.8,
        "query_embeddings": {"identical": 3872, "total": 3872, "max_abs": 0.0},
        "controls": [{"environment": e, "queries": 121, "identical": 121} for e in ("torch201", "torch210")],
        "quality": [{"torch": "a", "index": "a", "measures": {n: estimate(0.842, 0.8, 0.88) for n in NAMES}}],
        "comparisons": comparisons,
        "yardstick": {
            "seeds": 3,
            "figures": [
                figure("different_passages", upgrade["different_passages"]["value"], [1.21, 1.4, 1.3]),
                figure("rbo", upgrade["rbo"]["value"], [0.93, 0.95, 0.94]),
                figure("changed_queries", upgrade["changed_queries"]["share"], [0.256, 0.264, 0.273]),
                figure("nDCG@10", 0.0004, [0.0002, 0.0031, 0.0012], "within"),
            ],
        },
        "changed": [],
        "changed_total": changed,
        **others,
    }


def upgraded(record: Record, **changed: Any) -> Record:
    """The same with parts of the comparison of the upgrade replaced."""
    record["comparisons"][0] |= changed
    return record


def with_measure(record: Record, name: str, **changed: Any) -> Record:
    """The same with parts of one measure of the upgrade replaced."""
    measures = record["comparisons"][0]["measures"]
    measures[NAMES.index(name)] |= changed
    return record
