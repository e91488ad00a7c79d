"""Records `search` made by hand, in the form of docs/schema.md, for tests of the page alone."""

from __future__ import annotations

from typing import Any

MEASURES = ("nDCG@10", "MRR@10", "Recall@10", "Success@10")
A_ON_A, B_ON_B = {"torch": "a", "index": "a"}, {"torch": "b", "index": "b"}
#: Changed queries from which on a permutation test can come below 5 %.
LEAST_CHANGED = 6
SIDES = {
    "upgrade": ("upgrade", A_ON_A, B_ON_B),
    "index": ("index", A_ON_A, {"torch": "a", "index": "b"}),
    "torch": ("torch", A_ON_A, {"torch": "b", "index": "a"}),
    "index-b": ("index", {"torch": "b", "index": "a"}, B_ON_B),
    "torch-b": ("torch", {"torch": "a", "index": "b"}, B_ON_B),
}


def estimate(value: float, half: float = 0.0) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def measure(
    name: str, change: float, queries: int, moved: tuple[int, int], *, detected: bool = False
) -> dict[str, Any]:
    """A measure of a comparison: `moved` queries got better and worse."""
    still, few = not any(moved), sum(moved) < LEAST_CHANGED
    return {
        "measure": name,
        "left": 0.634,
        "right": 0.634 + change,
        "difference": estimate(change, 0.0 if still else 0.006 if not detected else abs(change) / 2),
        "better": moved[0],
        "equal": queries - sum(moved),
        "worse": moved[1],
        "p_permutation": None if still else 0.012 if detected else 0.43,
        "p_sign": None if still else 0.021 if detected else 0.5,
        "detectable": None if few else 0.0042,
        "interval": "few" if few else "bootstrap",
        "detected": detected,
        "unchanged_bound": 0.0245 if still else None,
    }


def comparison(
    name: str, queries: int, changed: int, measures: list[dict[str, Any]], *, depth: float = 10.0
) -> dict[str, Any]:
    """A comparison in which `changed` queries have another list."""
    kind, left, right = SIDES.get(name) or ("seed", A_ON_A, {"torch": "a", "index": name})
    share = changed / queries if queries else 0.0
    return {
        "id": name,
        "kind": kind,
        "left": left,
        "right": right,
        "queries": queries,
        "same_order": queries - changed,
        "same_set": queries - changed // 2,
        "scores_identical": queries - changed,
        "max_score_difference": 0.0173 if changed else 0.0,
        "different_passages": estimate(share * depth / 4, share / 2),
        "overlap": estimate(1 - share / 8, share / 20),
        "rbo": estimate(1 - share / 6, share / 18),
        "changed_queries": {"share": share, "low": 0.7 * share, "high": min(1.0, 1.4 * share + 0.02)},
        "measures": measures,
    }


def passage(
    pid: int, text: str, grade: int | None, left: tuple[int, float] | None, right: tuple[int, float] | None
) -> Any:
    ranks = {"left": left, "right": right}
    return {"pid": pid, "id": f"doc-{pid}", "text": text, "grade": grade} | {
        side: None if found is None else {"rank": found[0], "score": found[1]} for side, found in ranks.items()
    }


def changed_query(number: int, verdict: str = "worse", *, judged: bool = True) -> dict[str, Any]:
    went = passage(
        17 + number,
        "Return an array with the elements of `a` where `condition` is true, and those of `b` elsewhere; both are "
        "broadcast against each other and against the condition before anything is looked up.",
        1 if judged else None,
        (10, 17.2311),
        (12, 17.1985),
    )
    rolled = "Roll the specified axis backwards, until it lies in a given position."
    came = passage(900 + number, rolled, None, (11, 17.2290), (10, 17.2302))
    ends = {"worse": (0.631, 0.5), "better": (0.5, 0.631), "equal": (0.5, 0.5)}[verdict]
    return {
        "qid": f"q{number}",
        "text": "How do I choose between the elements of two arrays by a condition?",
        "first_rank": 10,
        "measures": [{"measure": "nDCG@10", "left": ends[0], "right": ends[1]}] if judged else [],
        "verdict": verdict,
        "went": [went],
        "came": [came],
    }


def search(
    *, queries: int = 121, judged: int | None = None, seeds: int = 3, changed: int = 12, detected: bool = False
) -> dict[str, Any]:
    """A record `search`: `changed` queries of the upgrade have another list, a third of each seed's."""
    judged = queries if judged is None else judged
    names = [*SIDES, *(f"seed-{n + 1}" for n in range(seeds))]
    moved = {name: queries // 3 if name.startswith("seed") else changed for name in names}
    moved |= {"torch": 0, "torch-b": 0}
    made = [comparison(name, queries, moved[name], _measures(name, judged, moved[name], detected)) for name in names]
    searches = [("a", "a"), ("b", "b"), ("a", "b"), ("b", "a"), *(("a", f"seed-{n + 1}") for n in range(seeds))]
    listed = min(changed, 20)
    verdicts = ["worse", "better", "equal"] if judged else ["equal"]
    return {
        "k": 10,
        "queries": queries,
        "judged": judged,
        "resamples": 10_000,
        "confidence": 0.95,
        "power": 0.8,
        "least_changed": LEAST_CHANGED,
        "query_embeddings": {"identical": queries * 32, "total": queries * 32, "max_abs": 0.0},
        "controls": [
            {"environment": name, "queries": queries, "identical": queries} for name in ("torch201", "torch210")
        ],
        "quality": [
            {"torch": t, "index": i, "measures": {m: estimate(0.634 - 0.05 * n, 0.07) for n, m in enumerate(MEASURES)}}
            for t, i in searches
            if judged
        ],
        "comparisons": made,
        "yardstick": yardstick(made, seeds),
        "changed": [changed_query(n, verdicts[n % len(verdicts)], judged=bool(judged)) for n in range(listed)],
        "changed_total": changed,
    }


def _measures(name: str, judged: int, changed: int, detected: bool) -> list[dict[str, Any]]:
    if not judged:
        return []
    if not changed:
        return [measure(each, 0.0, judged, (0, 0)) for each in MEASURES]
    moved = (2, 6) if changed >= 8 else (1, changed - 1)
    scale = 4 if name.startswith("seed") else 1
    found = []
    for number, each in enumerate(MEASURES):
        sure = detected and name == "upgrade" and number == 0
        found.append(measure(each, -0.012 if sure else scale * (0.001 - 0.0007 * number), judged, moved, detected=sure))
    return found


def yardstick(made: list[dict[str, Any]], seeds: int) -> dict[str, Any] | None:
    """The upgrade beside the seeds, as far as the lists go and by the first measure."""
    if not seeds:
        return None
    upgrade, others = made[0], [c for c in made if c["kind"] == "seed"]
    figures = [_figure(name, upgrade[name]["value"], [c[name]["value"] for c in others]) for name in
               ("different_passages", "rbo")]  # fmt: skip
    figures.append(_figure("changed_queries", upgrade["changed_queries"]["share"],
                           [c["changed_queries"]["share"] for c in others]))  # fmt: skip
    if upgrade["measures"]:
        ends = [abs(c["measures"][0]["difference"]["value"]) for c in (upgrade, *others)]
        figures.append(_figure(upgrade["measures"][0]["measure"], ends[0], ends[1:]))
    return {"seeds": seeds, "figures": figures}


def _figure(name: str, own: float, others: list[float]) -> dict[str, Any]:
    moved, reach = (1 - own, [1 - n for n in others]) if name == "rbo" else (own, others)
    verdict = "smaller" if moved < min(reach) else "larger" if moved > max(reach) else "within"
    return {"name": name, "upgrade": own, "seeds": others, "verdict": verdict}


#: What collections hold: a word without an end, two scripts that run the other way, emoji, code, and nothing.
STRANGE = (
    "Donaudampfschifffahrtsgesellschaftskapitän" * 8,
    "كيف أختار بين عناصر مصفوفتين حسب شرط معين؟ هذا نص طويل يجري من اليمين إلى اليسار (numpy.where).",
    "איך בוחרים בין איברים של שני מערכים \u202e לפי תנאי?",
    "👩‍👩‍👧‍👦🏳️‍🌈" * 40,
    "https://example.org/" + "a/" * 120,
    "z" + "\u0335\u0334\u0321" * 30 + "algo",
    "",
    "half a pair \ud83d and a \x00",
)


def strange() -> dict[str, Any]:
    """Texts as strangers' collections have them, in queries, passages and ids."""
    found = search(changed=len(STRANGE))
    for query, text in zip(found["changed"], STRANGE, strict=True):
        query |= {"qid": text[:90], "text": text}
        query["went"] = [p | {"id": text[:90], "text": text[:300]} for p in query["went"] * 5]
        query["came"] = [p | {"text": text[:300]} for p in query["came"]]
    return found


def hostile(found: dict[str, Any], markup: str) -> dict[str, Any]:
    """Put a stranger's markup wherever a record of search can hold a text of the collection's."""
    for control in found["controls"]:
        control["environment"] = markup
    for query in found["changed"]:
        query |= {"qid": markup, "text": markup}
        for each in (*query["went"], *query["came"]):
            each |= {"id": markup, "text": markup}
    return found
