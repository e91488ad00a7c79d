"""What changed in the index: artifacts, the order of the codes, and what swaps show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.findings.facts import Facts, Finding
from reportlib.words.environments import beyond_torch, sides
from reportlib.words.operations import names
from reportlib.words.phrases import VERDICTS, code, count, listing

# Findings along the pipeline: the final artifacts, where the difference starts, and BERT.

_WORDS = {
    "close": ("is close", "are close"),
    "same set": ("holds the same set in another order", "hold the same set in another order"),
    "different": ("is different", "are different"),
    "shape mismatch": ("has another shape", "have another shape"),
    "missing": ("was captured on one side only", "were captured on one side only"),
}


def final(part: Facts) -> Finding:
    """Say what became of the final artifacts, and of the intermediate ones where those agree."""
    records, total = part.final, len(part.final)
    unlike = [r for r in records if r["verdict"] != "identical"]
    evidence = (f"{part.at}/summary/final", *part.pointer(*(r["artifact"] for r in unlike)))
    if not records:
        sentence = f"{part.title}, no final artifact was captured."
    elif not unlike:
        identical = (
            "the one final artifact is identical" if total == 1 else f"all {total} final artifacts are identical"
        )
        sentence = f"{part.title}, {identical} in {part.a} and {part.b}{_intermediate(part)}."
        evidence += (f"{part.at}/summary/intermediate",)
    else:
        sentence = f"{part.title}, {_tally(part, unlike)}."
    return Finding(f"{part.key}/final", "what", sentence, evidence, ("F1",))


def _tally(part: Facts, unlike: list[Mapping[str, Any]]) -> str:
    groups = []
    for verdict in VERDICTS[1:]:
        names = [r["artifact"] for r in unlike if r["verdict"] == verdict]
        if names:
            groups.append(f"{code(names)} {_WORDS[verdict][len(names) > 1]}{_by(unlike, verdict)}")
    total, number = len(part.final), len(unlike)
    start = f"all {total}" if number == total else f"{number} of {total}"
    verb = "differs" if number == 1 else "differ"
    noise = ", which may be noise" if part.inconclusive else ""
    return f"{start} final artifacts {verb} between {part.a} and {part.b}{noise}: {'; '.join(groups)}"


def _by(records: list[Mapping[str, Any]], verdict: str) -> str:
    """Return which tolerances the close ones pass."""
    if verdict != "close":
        return ""
    names = {r["tolerance"] for r in records if r["verdict"] == "close"}
    if names == {"default"}:
        return " by the default tolerance"
    return " by the bnb tolerance" if names == {"bnb"} else " by the default or the bnb tolerance"


def _intermediate(part: Facts) -> str:
    known = [r for r in part.data["artifacts"] if not r["final"] and r["stage"] != "search"]
    unlike = [r["artifact"] for r in known if r["verdict"] != "identical"]
    layers = sum(each["total"] - each["identical"] for each in part.data["layers"])
    if unlike == ["sort_indices"] and not layers:
        return "; on the way there only the order of the sorted codes' indices differs"
    if unlike or layers:
        parts = [code(unlike, 4)] if unlike else []
        parts += [f"{count(layers, 'layer output')} of BERT"] if layers else []
        verb = "differ" if len(unlike) + layers > 1 else "differs"
        return f", although on the way there {listing(parts)} {verb}"
    return f", and so are the {len(known)} intermediate ones" if known else ""


def post_agreement(part: Facts) -> Iterator[Finding]:
    """Say how many rows of the post's tables have the same result here, under autocast."""
    rows = [r for r in part.data["artifacts"] if r["post"] and r["post"]["agrees"] is not None]
    if not rows or part.data["precision"] != "autocast" or part.inconclusive:
        return
    unlike = [r["artifact"] for r in rows if not r["post"]["agrees"]]
    sentence = (
        f"{part.title}, {len(rows) - len(unlike)} of the {len(rows)} artifacts in the reference "
        "post's tables have the post's result; the post measured on an L4 GPU under float16 "
        "autocast"
    )
    others = "The other is" if len(unlike) == 1 else "The others are"
    sentence += f". {others} {code(unlike)}." if unlike else "."
    evidence = part.pointer(*(r["artifact"] for r in rows))
    yield Finding(f"{part.key}/post", "what", sentence, evidence, ("F1",))


def bert(part: Facts) -> Iterator[Finding]:
    """Say whether BERT's layers agree, and whether what enters them does."""
    inputs = part.data["layers"]
    if not inputs:
        return
    total = sum(each["total"] for each in inputs)
    unlike = [each for each in inputs if each["first_difference"] is not None]
    evidence = tuple(f"{part.at}/layers/{n}" for n in range(len(inputs)))
    if not unlike:
        sentence = (
            f"{part.title}, all {total} captured outputs of BERT's embedding and encoder layers "
            f"are identical, for {listing([each['label'] for each in inputs])}."
        )
        yield Finding(f"{part.key}/bert", "why", sentence, evidence, ("F5",))
        return
    entering, pointers = _entering(part)
    where = _where(inputs, unlike)
    sentence = f"{part.title}, {entering}the outputs of BERT's layers differ {where}."
    yield Finding(f"{part.key}/bert", "why", sentence, evidence + pointers, ("F5", "A5", "A6", "A7"))


def _entering(part: Facts) -> tuple[str, tuple[str, ...]]:
    """Return a clause on what enters BERT, if that was captured, and pointers to it."""
    names = ("token_ids", "attention_mask")
    known = [r for r in map(part.artifact, names) if r is not None]
    weights = part.data["weights"]
    pointers = part.pointer(*names) + ((f"{part.at}/weights",) if weights else ())
    unlike = [r["artifact"] for r in known if r["verdict"] != "identical"]
    if unlike or (weights and not weights["identical"]):
        what = [code(unlike)] if unlike else []
        what += ["some weights"] if weights and not weights["identical"] else []
        return f"{listing(what)} differ before BERT runs, and ", pointers
    same = ["the tokens"] if len(known) == len(names) else []
    same += [f"all {weights['total']:,} weight tensors"] if weights else []
    return (f"{listing(same)} are identical, but " if same else ""), pointers


def _where(inputs: list[Mapping[str, Any]], unlike: list[Mapping[str, Any]]) -> str:
    firsts = {each["first_difference"] for each in unlike}
    if len(unlike) == len(inputs):
        whom = f"for every input ({listing([each['label'] for each in inputs])})"
    else:
        whom = f"for {listing([each['label'] for each in unlike])}, not for the other inputs"
    if len(firsts) > 1:
        return f"{whom}, from different layers on"
    first_layer = firsts.pop()
    start = "the embedding output" if first_layer == "embeddings" else f"encoder layer {first_layer}"
    return f"from {start} on, {whom}"


def first(part: Facts) -> Iterator[Finding]:
    """Say where along the pipeline the first difference stands."""
    found = part.data["first_difference"]
    if found is None:
        sentence = f"{part.title}, no captured artifact differs, so there is nothing to explain."
        evidence = (f"{part.at}/first_difference", f"{part.at}/summary")
        yield Finding(f"{part.key}/first", "why", sentence, evidence)
        return
    if found["name"] == "layers":
        return
    record = part.data["artifacts"][found["index"]]
    meaning = record["description"][0].lower() + record["description"][1:]
    sentence = (
        f"{part.title}, `{found['name']}` ({meaning}) is the first artifact along the pipeline "
        f"that differs; every one captured before it is identical."
    )
    evidence = (f"{part.at}/first_difference", f"{part.at}/artifacts/{found['index']}")
    yield Finding(f"{part.key}/first", "why", sentence, evidence)


def environments(report: Mapping[str, Any], number: int) -> Iterator[Finding]:
    """Say what differs between the two environments beside torch and what it brings: it may be the reason too."""
    pair = report["pairs"][number]
    known = {e["name"]: e for e in report["environments"]}
    if not {pair["a"], pair["b"]} <= set(known):
        return
    unlike = beyond_torch([known[pair["a"]], known[pair["b"]]])
    if not unlike:
        return
    a, b = sides(report["environments"], pair)
    changes = [_change(name, versions, (a, b)) for name, versions in unlike.items()]
    torch = [known[name]["torch"].get("version") for name in (pair["a"], pair["b"])]
    more = "have the same PyTorch and differ otherwise:" if torch[0] == torch[1] else "differ in more than PyTorch:"
    sentence = f"{a} and {b} {more} {listing(changes)}. So no difference is PyTorch's alone unless it is shown to be."
    evidence = (f"/pairs/{number}/environment_differences", "/environments")
    yield Finding(f"{pair['b']}/environments", "what", sentence, evidence)


def _change(package: str, versions: tuple[str | None, ...], sides: tuple[str, str]) -> str:
    left, right = versions
    if left and right:
        return f"{package} {left} becomes {right}"
    return f"{package} {left or right} is in {sides[0 if left else 1]} only"


def capability(report: Mapping[str, Any], number: int) -> Iterator[Finding]:
    """Say when the two torches report other CPU kernels: a possible cause, shown only where a switch shows it."""
    pair = report["pairs"][number]
    known = report["platform"]["capability"]
    a, b = known.get(pair["a"]), known.get(pair["b"])
    if not a or not b or a == b:
        return
    named = sides(report["environments"], pair)
    place = "On this machine" if report["platform"]["one_machine"] else "On their machines"
    shown = [n for n, precision in enumerate(pair["precisions"]) if _caps(precision)]
    evidence = ["/platform/capability", f"/pairs/{number}/environment_differences"]
    if shown:
        settled = listing(sorted({name for n in shown for name in _caps(pair["precisions"][n])}))
        reason = f"that is a reason: with the same kernels {settled} gives the same bytes on both sides"
        evidence += [f"/pairs/{number}/precisions/{n}/operations/causes" for n in shown]
    else:
        reason = "whether that is a reason, this study does not show"
    sentence = f"{place} {named[0]} reports {a} kernels and {named[1]} {b} kernels; {reason}."
    yield Finding(f"{pair['b']}/capability", "why", sentence, tuple(evidence))


def _caps(precision: Mapping[str, Any]) -> list[str]:
    """Return the causes that vanish in B once torch's own kernels are held to A's instruction set."""
    operations = precision.get("operations")
    if operations is None or precision.get("conclusive") is False:
        return []
    lines = {each["name"]: str(each["line"]) for each in operations.get("switches") or []}
    return [
        name
        for name, cause in zip(names(operations["causes"]), operations["causes"], strict=True)
        if any(
            (tried["environment"], tried["gives"]) == ("b", "a")
            and lines.get(tried["switch"], "").startswith("export ATEN_CPU_CAPABILITY=")
            and "\n" not in lines[tried["switch"]].strip()
            for tried in cause["switches"]
        )
    ]


# Findings on the order of the sorted codes, and on the probes of the sort.

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


# Findings on swaps: which of one version's values make the other's index the same.

_FORWARD = "a into b"


def swaps(part: Facts) -> Iterator[Finding]:
    """Say which sets of values bring the whole index back, which are necessary, and what the posts' swaps give."""
    if not part.data["swaps"] or not any(r["verdict"] != "identical" for r in part.final):
        return
    summaries = part.data.get("swap_summary") or []
    for place, summary in enumerate(summaries):
        arms = [(n, arm) for n, arm in enumerate(part.data["swaps"]) if arm["direction"] == summary["direction"]]
        if summary["direction"] == _FORWARD or len(summaries) == 1:
            for points in summary["sufficient"][:1]:  # `_sets` names the others
                yield _sufficient(part, *next((n, arm) for n, arm in arms if set(arm["points"]) == set(points)))
        yield _sets(part, place, summary, summaries[0] if place else None)
        for number, arm in arms:
            if arm["posts"] and not arm["all_final_identical"]:
                yield _insufficient(part, number, arm)
    yield from _posts(part)


def _taken(part: Facts, arm: Mapping[str, Any], only: str = "") -> str:
    return f"putting {only}{code(arm['points'])} of {part.name(arm['from'])} into {part.name(arm['into'])}"


def _sufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    it = "it" if len(arm["points"]) == 1 else "them"
    sentence = (
        f"{part.title}, {_taken(part, arm)} makes all {arm['final_total']} "
        f"final artifacts identical, so everything that differs in the index comes through {it}."
    )
    left = [n for n in arm["not_identical"] if not n.startswith("index/")]
    if left:
        verb = "differs" if len(left) == 1 else "differ"
        sentence += f" Of the intermediate artifacts {code(left)} still {verb}."
    return _finding(part, number, arm, sentence)


def _insufficient(part: Facts, number: int, arm: Mapping[str, Any]) -> Finding:
    sentence = f"{part.title}, {_taken(part, arm, 'only ')} is not enough: {_left(arm)}."
    return _finding(part, number, arm, sentence)


def _left(arm: Mapping[str, Any]) -> str:
    left = arm["final_total"] - arm["final_identical"]
    left_of = f"all {left}" if left == arm["final_total"] else f"{left} of {arm['final_total']}"
    return f"{left_of} final artifacts still {'differs' if left == 1 else 'differ'}"


def _finding(part: Facts, number: int, arm: Mapping[str, Any], sentence: str) -> Finding:
    back = "" if arm["direction"] == _FORWARD else "back-"
    name = f"{part.key}/swap-{back}{'+'.join(arm['points'])}"
    evidence = (f"{part.at}/swaps/{number}", f"{part.at}/summary/final")
    return Finding(name, "why", sentence, evidence, tuple(arm["posts"]))


def _sets(part: Facts, place: int, summary: Mapping[str, Any], before: Mapping[str, Any] | None) -> Finding:
    """Say, for one direction, how many sets were tried, the smallest that are enough, and what no set can lack.

    Where the direction told before gave the same, only that is said.
    """
    way = f"{part.name(summary['from'])}'s values into {part.name(summary['into'])}"
    if before is not None and all(before[key] == summary[key] for key in ("tested", "sufficient", "necessary")):
        said = f"the same as the other way round, over {count(summary['tested'], 'set')}"
    else:
        said = _found(summary)
    back = "" if summary["direction"] == _FORWARD else "back-"
    sentence = f"{part.title}, putting {way}: {said}."
    evidence = (f"{part.at}/swap_summary/{place}",)
    return Finding(f"{part.key}/swap-{back}sets", "why", sentence, evidence)


def _found(summary: Mapping[str, Any]) -> str:
    enough = [code(points) for points in summary["sufficient"]]
    tried = count(summary["tested"], "set")
    if not enough:
        said = f"of {tried} tried, none makes the whole index identical"
    else:
        smallest = "the smallest that is enough is" if len(enough) == 1 else "the smallest that are enough are"
        said = f"of {tried} tried, {smallest} {_either(enough)}"
    needed = summary["necessary"]
    if needed:
        verb, them = ("is", "it") if len(needed) == 1 else ("are", "each of them")
        said += f"; {code(needed)} {verb} necessary: every set that is enough holds {them}, or what is computed from it"
    return said


def _either(sets: list[str]) -> str:
    """Return ``a; b and c; or d``: sets apart by semicolons, since each is a list itself."""
    return sets[0] if len(sets) == 1 else f"{'; '.join(sets[:-1])}; or {sets[-1]}"


def _posts(part: Facts) -> Iterator[Finding]:
    """Settle what the posts contradict each other on: whether `local_sample_embs` alone is enough."""
    arms = {
        frozenset(arm["points"]): (n, arm) for n, arm in enumerate(part.data["swaps"]) if arm["direction"] == _FORWARD
    }
    alone = arms.get(frozenset({"local_sample_embs"}))
    if alone is None:
        return
    number, arm = alone
    evidence = [f"{part.at}/swaps/{number}"]
    if arm["all_final_identical"]:
        said = f"here it is: all {arm['final_total']} final artifacts become identical"
    else:
        said = f"here it is not: {_left(arm)}"
    both = arms.get(frozenset({"local_sample_embs", "embs"}))
    if both is not None and not arm["all_final_identical"]:
        enough = both[1]["all_final_identical"]
        evidence.append(f"{part.at}/swaps/{both[0]}")
        said += f", and with `embs` beside it {'none does' if enough else _left(both[1])}"
    sentence = (
        f"{part.title}, whether `local_sample_embs` alone is enough, on which the posts contradict each other "
        f"(A4: no, F4: yes, H3: with `embs`): {said}."
    )
    yield Finding(f"{part.key}/posts-swap", "why", sentence, tuple(evidence), ("A4", "F4", "H3"))
