"""Findings along the pipeline: the final artifacts, where the difference starts, and BERT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.compare.findings import words
from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.phrases import code, count, listing
from reportlib.compare.results import VERDICTS
from reportlib.words.environments import beyond_torch, sides

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
        for name, cause in zip(words.names(operations["causes"]), operations["causes"], strict=True)
        if any(
            (tried["environment"], tried["gives"]) == ("b", "a")
            and lines.get(tried["switch"], "").startswith("export ATEN_CPU_CAPABILITY=")
            and "\n" not in lines[tried["switch"]].strip()
            for tried in cause["switches"]
        )
    ]
