"""Findings on why: controls, BERT, the operations that differ by themselves, swaps, and the sort of the codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.findings.causes import Cause, causes, closer
from reportlib.findings.finding import Finding, of_part
from reportlib.findings.parts import Part
from reportlib.shape import Report
from reportlib.words import formats

Record = Mapping[str, Any]
_KINDS = {"repeat": "again", "observer": "without instruments"}
_FORWARD = "a into b"


def controls(part: Part) -> Iterator[Finding]:
    """Yield whether the same arm, captured twice and without instruments, gave the same bytes."""
    made = part.data.get("controls") or []
    if not made:
        return
    failed = [c for c in made if not c["passed"]]
    numbers = {
        "failed": [f"{part.name(c['environment'])} captured {_KINDS[c['kind']]}" for c in failed],
        "unlike": sorted({name for c in failed for name in c["not_identical"]}),
        "kinds": [said for kind, said in _KINDS.items() if any(c["kind"] == kind for c in made)],
        "compared": sum(c["compared"] for c in made),
        "complete": part.data.get("conclusive") is True,
    }
    yield of_part(part, "controls", "why", numbers, tuple(f"{part.at}/controls/{n}" for n in range(len(made))))


def bert(part: Part) -> Iterator[Finding]:
    """Yield whether BERT's layers agree, and whether what enters them does."""
    inputs = part.data["layers"]
    if not inputs:
        yield from _first(part)
        return
    unlike = [each for each in inputs if each["first_difference"] is not None]
    firsts = {each["first_difference"] for each in unlike}
    weights = part.data["weights"]
    tokens = [r for name in ("token_ids", "attention_mask") if (r := part.artifact(name))]
    entering = [r["artifact"] for r in tokens if r["verdict"] != "identical"]
    entering += ["weights"] if weights and not weights["identical"] else []
    numbers = {
        "inputs": len(inputs),
        "unlike": len(unlike),
        "total": sum(each["total"] for each in inputs),
        "first": firsts.pop() if len(firsts) == 1 else None,
        "weights": weights["total"] if weights else None,
        "same_inputs": not entering and bool(weights) and bool(tokens),
        "entering": entering,
    }
    evidence = tuple(f"{part.at}/layers/{n}" for n in range(len(inputs)))
    yield of_part(part, "bert", "why", numbers, evidence, ("F5", "A5", "A6", "A7"))
    if not unlike:
        yield from _first(part)


def _first(part: Part) -> Iterator[Finding]:
    found = part.data["first_difference"]
    numbers = {"name": found["name"] if found else None}
    yield of_part(part, "first", "why", numbers, (f"{part.at}/first_difference",))


def operations(part: Part) -> Iterator[Finding]:
    """Yield the operations that differ by themselves, what undoes them, and which version is closer to float64."""
    data = part.data.get("operations")
    if data is None:
        return
    at, found = f"{part.at}/operations", causes(part)
    if not found:
        replayed = sum(replay["replayed"] for p in data["passes"] if (replay := p.get("replay")))
        numbers = {"verdict": data["verdict"], "replayed": replayed}
        yield of_part(part, "no_cause", "why", numbers, (f"{at}/verdict", f"{at}/passes"))
        return
    for cause in found:
        difference = cause.record["difference"] or {}
        numbers = {
            "name": cause.name,
            "reason": cause.reason,
            "share": cause.share,
            "rms": cause.size or None,
            "max_abs": difference.get("max_abs"),
            "reaches": cause.reaches,
        }
        name = str(cause.record["id"])
        yield of_part(part, "cause", "why", numbers, (cause.at,), sure=cause.sure, name=name)
    if any(cause.reaches in {"embeddings", "index"} for cause in found):
        yield of_part(part, "undo", "why", undone(part, found), (f"{at}/undo" if data.get("undo") else f"{at}/causes",))
    if any(cause.reaches == "embeddings" for cause in found):
        yield from _truth(part, found)


def undone(part: Part, found: Sequence[Cause]) -> dict[str, Any]:
    """Return what makes B compute as A does: for all causes, for some, or for both sides together."""
    undo = part.operations["undo"] if part.operations else None
    lines = {name: setting(line) for name, line in part.switches.items()}
    told: dict[str, Any] = {"lines": None, "passes": 0, "passes_equal": 0}
    told |= {"some": None, "some_what": [], "both": None, "both_what": []}
    if undo:
        told["lines"] = [setting(line) for line in undo["lines"]]
        told |= {"passes": undo["passes"] or 0, "passes_equal": undo["passes_equal"] or 0}
        return told
    helped: dict[str, list[str]] = {}
    for cause in found:
        for switch in cause.switches:
            helped.setdefault(switch, []).append(cause.name)
    if helped:
        best = max(helped, key=lambda name: len(helped[name]))
        told |= {"some": lines.get(best, best), "some_what": helped[best]}
        return told
    for switch in lines:
        agree = [cause.name for cause in found if _alike(cause, switch)]
        if len(agree) == len(found):
            return told | {"both": lines[switch], "both_what": agree}
    return told


def setting(line: str) -> str:
    """Return a shell line as the setting that it makes: ``ATEN_CPU_CAPABILITY=avx2``."""
    return " ".join(each.removeprefix("export ") for each in line.splitlines())


def _alike(cause: Cause, switch: str) -> bool:
    """Whether a switch that is set on both sides makes A give B's bytes, and leaves B's as they are."""
    gives = {t["environment"]: t["gives"] for t in cause.record.get("switches") or [] if t["switch"] == switch}
    return gives.get("a") in {"b", "both"} and gives.get("b") in {"b", "both"}


def _truth(part: Part, found: Sequence[Cause]) -> Iterator[Finding]:
    layers = (part.operations["layers_truth"] if part.operations else None) or []
    # A ratio of exactly one is that of the same bytes.
    if not layers or layers[-1]["ratio_rms"] in {None, 1.0}:
        return
    end = closer(layers[-1]["ratio_rms"])
    own = [{"name": cause.name, "closer": cause.closer} for cause in found if cause.closer]
    numbers = {
        "embeddings": end,
        "by": formats.factor(layers[-1]["ratio_rms"]),
        "operations": own,
        "disagree": any(each["closer"] != end for each in own),
    }
    evidence = (f"{part.at}/operations/layers_truth/{len(layers) - 1}", *(cause.at for cause in found))
    yield of_part(part, "truth", "why", numbers, evidence)


def swaps(part: Part) -> Iterator[Finding]:
    """Yield which of A's values make B build A's index, and what the posts contradict each other on."""
    summaries = {s["direction"]: (n, s) for n, s in enumerate(part.data.get("swap_summary") or [])}
    if _FORWARD not in summaries or all(r["verdict"] == "identical" for r in part.final):
        return
    number, there = summaries[_FORWARD]
    back = summaries.get("b into a", (0, None))[1]
    alone = next(
        (s for s in part.data["swaps"] if s["direction"] == _FORWARD and s["points"] == ["local_sample_embs"]), None
    )
    numbers = {
        "tested": there["tested"],
        "sufficient": there["sufficient"],
        "necessary": there["necessary"],
        "alone_left": alone["final_total"] - alone["final_identical"] if alone else None,
        "total": len(part.final),
        "back": None if back is None else back["sufficient"][:1] == there["sufficient"][:1],
        "back_sufficient": back["sufficient"][0] if back and back["sufficient"] else None,
    }
    evidence = (f"{part.at}/swap_summary/{number}", f"{part.at}/swaps")
    yield of_part(part, "swaps", "why", numbers, evidence, ("A4", "F4", "H3"))


def sort(part: Part) -> Iterator[Finding]:
    """Yield whether the sort leaves equal codes in another order, and whether the index notices."""
    data = part.data["order"]
    if data is None:
        return
    holds = {step["id"]: step["holds"] for step in data["steps"]}
    probes = part.pair["sort_probes"]
    thresholds = [t["smallest_different"] for t in probes["thresholds"] if t["dtype"] == "int64"] if probes else []
    numbers = {
        "comparable": bool(holds["presort-equal"]),
        "embeddings": data["embeddings"],
        "positions": data["positions_different"] if holds["indices-equal"] is False else 0,
        "centroids": data["centroids"],
        "stable": data["stable"],
        "reorders_from": thresholds[0] if thresholds else None,
        "reaches": None if holds["ivf-equal"] is None else not (holds["token-sets-equal"] and holds["ivf-equal"]),
    }
    evidence = (f"{part.at}/order", *part.pointer("index/ivf", "index/ivf_lengths"))
    yield of_part(part, "sort", "why", numbers, evidence, ("D1", "D3", "D4", "D5"))


def probes(pair: Record, number: int, a: str, b: str) -> Iterator[Finding]:
    """Yield from which size on the sort alone gives another order."""
    data = pair["sort_probes"]
    if data is None or not data["thresholds"]:
        return
    different: dict[tuple[int, bool], list[str]] = {}
    for t in data["thresholds"]:
        if t["smallest_different"] is not None:
            different.setdefault((t["smallest_different"], bool(t["same_at_or_above"])), []).append(t["dtype"])
    sizes = sorted({size for t in data["thresholds"] for size in t["sizes"]})
    example = next((p for p in data["probes"] if p["source"] == "post D6" and p["same_input"]), None)
    numbers = {
        "different": [{"smallest": n, "again": again, "dtypes": d} for (n, again), d in different.items()],
        "same": [t["dtype"] for t in data["thresholds"] if t["smallest_different"] is None and t["sizes"]],
        "smallest": min(sizes, default=0),
        "largest": max(sizes, default=0),
        "example": example["size"] if example else None,
        "example_same": example["same_order"] if example else None,
    }
    evidence = tuple(f"/pairs/{number}/sort_probes/{key}" for key in ("thresholds", "probes"))
    yield Finding("probes", "why", pair["b"], a, b, numbers, evidence, ("D6",))


def kernels(report: Report, number: int, mine: Sequence[Part]) -> Iterator[Finding]:
    """Yield when the two torches report other CPU kernels: a possible cause, shown only where a switch shows it."""
    pair, known = report["pairs"][number], report["platform"]["capability"]
    a, b = known.get(pair["a"]), known.get(pair["b"])
    if not a or not b or a == b or not mine:
        return
    settled = sorted({name for part in mine if not part.failed for name in _by_kernels(part)})
    evidence = ("/platform/capability", f"/pairs/{number}/environment_differences")
    numbers = {"a": a, "b": b, "settled": settled}
    yield Finding("kernels", "why", pair["b"], mine[0].a, mine[0].b, numbers, evidence)


def _by_kernels(part: Part) -> list[str]:
    """Return the causes that vanish in B once torch's own kernels are held to another instruction set."""
    lines = {name: setting(line).split() for name, line in part.switches.items()}
    caps = {name for name, line in lines.items() if len(line) == 1 and line[0].startswith("ATEN_CPU_CAPABILITY=")}
    return [cause.name for cause in causes(part) if caps & set(cause.switches)]
