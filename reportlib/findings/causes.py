"""Findings on why: the operations that differ by themselves, by size, and what else tells: controls, BERT, swaps.

Of an operation: how far, what it reaches, and how sure an explanation is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from reportlib.findings.finding import Finding, Part, of_part
from reportlib.shape import Report
from reportlib.words import formats
from reportlib.words.terms import operation_names, operation_term

Record = Mapping[str, Any]
#: Errors whose ratio is below this are about equal: one rule for operations and for embeddings.
TELLING = 1.05
#: Operations that say where values lie, or copy them, and compute nothing.
_MOVES = frozenset(
    f"aten::{name}" for name in ("_to_copy", "_unsafe_view", "alias", "as_strided", "cat", "clone", "contiguous",
                                 "copy_", "detach", "expand", "permute", "reshape", "select", "slice", "split",
                                 "squeeze", "t", "transpose", "unsqueeze", "view")
)  # fmt: skip
#: An explanation that was tried on fewer elements than this proves nothing.
ENOUGH = 64


@dataclass(frozen=True)
class Cause:
    """An operation that returns other bytes for the same input.

    Attributes
    ----------
    record : mapping
        Its entry of ``operations.causes``.
    at : str
        JSON pointer to it.
    name, meaning : str
        What to call it, and what it does: ``GELU``.
    reaches : str
        ``embeddings``, ``index``, ``order`` (of a list that the index does not keep) or ``nothing``: what the
        difference was seen to reach.
    sure : str
        Of its explanation: ``proven`` (both versions' bytes are reproduced, or a switch makes one compute as the
        other), ``candidate`` (one side's are, or a known change fits) or ``unknown``.
    how_a, how_b : str or None
        How each version computes it, where that reproduces every element that was tried anywhere in this pair.
    elements : int
        On how many elements that rests.
    """

    record: Record
    at: str
    name: str
    meaning: str
    reaches: str
    sure: str
    how_a: str | None
    how_b: str | None
    elements: int

    @property
    def fraction(self) -> float | None:
        """The share of the operation's values that differ, if it was measured."""
        difference = self.record["difference"]
        return difference["different"] / difference["elements"] if difference and difference["elements"] else None

    @property
    def size(self) -> float:
        """The root mean square of its own difference; of integers nothing, since their distance means nothing."""
        if not any("float" in kind for kind in self.record["dtypes"]):
            return 0.0
        return float((self.record["difference"] or {}).get("rms") or 0.0)

    @property
    def closer(self) -> str | None:
        """The side closer to float64, or ``equal``; None where there is no truth."""
        return closer(self.record["truth"]["ratio_rms"]) if self.record["truth"] else None

    @property
    def reason(self) -> str | None:
        """What changed, in a few words: ``a new formula in oneDNN 3``; None where no change upstream is known."""
        upstream = self.record.get("upstream")
        return reasons().get(upstream["url"]) if upstream else None

    @property
    def switches(self) -> list[str]:
        """Names of the switches with which B alone returns A's bytes."""
        tried = self.record.get("switches") or []
        return [t["switch"] for t in tried if t["environment"] == "b" and t["gives"] in {"a", "both"}]


def closer(ratio: float | None) -> str:
    """Return which side's error is smaller, from B's error divided by A's: ``a``, ``b`` or ``equal``."""
    by = formats.factor(ratio)
    if by is None or by < TELLING:
        return "equal"
    return "a" if ratio is not None and ratio > 1 else "b"


@cache
def reasons() -> dict[str, str]:
    """Return what changed in a few words, by the address of the change upstream."""
    text = resources.files("reportlib.findings").joinpath("reasons.toml").read_text(encoding="utf-8")
    return {entry["url"]: entry["short"] for entry in tomllib.loads(text)["reason"]}


def causes(part: Part) -> list[Cause]:
    """Return a precision's causes: what reaches the index before what does not, the largest first."""
    operations = part.operations
    if operations is None:
        return []
    made = []
    for number, (name, record) in enumerate(
        zip(operation_names(operations["causes"]), operations["causes"], strict=True)
    ):
        sure, how_a, how_b, elements = _explained(part, record)
        at, meaning = f"{part.at}/operations/causes/{number}", operation_term(record).meaning
        made.append(Cause(record, at, name, meaning, _reaches(part, record), sure, how_a, how_b, elements))
    order = ("embeddings", "index", "order", "nothing")
    return sorted(made, key=lambda cause: (order.index(cause.reaches), -cause.size))


def _reaches(part: Part, record: Record) -> str:
    if record["reaches_output"]:
        return "embeddings"
    if "index" not in record["differs_in"]:
        return "nothing"
    order = part.data["order"]
    if record["name"].rpartition("::")[2] == "sort" and order is not None:
        steps = {step["id"]: step["holds"] for step in order["steps"]}
        return "order" if steps["ivf-equal"] or not steps["presort-equal"] else "index"
    return "index" if any(r["verdict"] != "identical" for r in part.final) else "nothing"


def _explained(part: Part, record: Record) -> tuple[str, str | None, str | None, int]:
    """Return how sure the explanation is, with those of A and B that no case of this pair refutes."""
    mechanism = record.get("mechanism") or {}
    cases = list(_same_operation(part, record))
    sides = {side: _surviving(cases, side) for side in ("a", "b")}
    elements = min((explanation[1] for explanation in sides.values() if explanation), default=0)
    enough = elements >= ENOUGH
    descriptions = {side: explanation[0] if explanation else None for side, explanation in sides.items()}
    label = str(mechanism.get("label") or "unknown")
    if (enough and all(sides.values())) or (label == "proven" and mechanism.get("switch")):
        label = "proven"
    elif label == "proven":
        label = "candidate" if any(sides.values()) or record.get("upstream") else "unknown"
    return label, descriptions["a"], descriptions["b"], elements


def _same_operation(part: Part, record: Record) -> Iterator[Sequence[Record]]:
    """Yield what was tried on every case of this operation, with these dtypes, in either precision of the pair."""
    key = (record["name"], record["overload"], tuple(record["dtypes"]))
    recorded = [operations["causes"] for data in part.pair["precisions"] if (operations := data.get("operations"))]
    for other in (cause for causes_ in recorded for cause in causes_):
        mechanism = other["mechanism"]
        if mechanism and (other["name"], other["overload"], tuple(other["dtypes"])) == key:
            yield mechanism["tried"]


def _surviving(cases: Sequence[Sequence[Record]], side: str) -> tuple[str, int] | None:
    """Return the explanation that gives a side's bytes wherever it was tried, and on how many elements."""
    equal: dict[str, int] = {}
    descriptions: dict[str, str] = {}
    refuted: set[str] = set()
    for tried in cases:
        for trial in tried:
            if trial[f"equal_{side}"] < trial["elements"]:
                refuted.add(trial["name"])
            equal[trial["name"]] = equal.get(trial["name"], 0) + int(trial["elements"])
            descriptions[trial["name"]] = str(trial["description"])
    holds = {name: number for name, number in equal.items() if name not in refuted}
    if not holds:
        return None
    best = max(holds, key=lambda name: holds[name])
    return descriptions[best], holds[best]


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
        "kinds": [words for kind, words in _KINDS.items() if any(c["kind"] == kind for c in made)],
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
    unlike = [entry for entry in inputs if entry["first_difference"] is not None]
    firsts = {entry["first_difference"] for entry in unlike}
    weights = part.data["weights"]
    tokens = [r for name in ("token_ids", "attention_mask") if (r := part.artifact(name))]
    entering = [r["artifact"] for r in tokens if r["verdict"] != "identical"]
    entering += ["weights"] if weights and not weights["identical"] else []
    numbers: dict[str, Any] = {
        "inputs": len(inputs),
        "unlike": len(unlike),
        "total": sum(entry["total"] for entry in inputs),
        "first": firsts.pop() if len(firsts) == 1 else None,
        "weights": weights["total"] if weights else None,
        "same_inputs": not entering and bool(weights) and bool(tokens),
        "entering": entering,
    }
    if part.by_batch:
        numbers["batches"] = False
    evidence = tuple(f"{part.at}/layers/{n}" for n in range(len(inputs)))
    yield of_part(part, "bert", "why", numbers, evidence, ("F5", "A5", "A6", "A7"))
    if not unlike:
        yield from _first(part)


def _first(part: Part) -> Iterator[Finding]:
    first = part.data["first_difference"]
    saved = part.artifact(f"index/{first['name']}") if first else None
    numbers = {
        "name": first["name"] if first else None,
        "saved": saved["a"]["dtype"] if saved and saved["a"] and saved["verdict"] == "identical" else None,
    }
    yield of_part(part, "first", "why", numbers, (f"{part.at}/first_difference",))


def operations(part: Part) -> Iterator[Finding]:
    """Yield the operations that differ by themselves, what undoes them, and which version is closer to float64."""
    data = part.data.get("operations")
    if data is None:
        if part.by_batch and any(record["verdict"] != "identical" for record in part.data["artifacts"]):
            yield of_part(part, "no_cause", "why", {"verdict": "batches"}, ("/environments",), sure="unknown")
        return
    at, roots = f"{part.at}/operations", causes(part)
    if not roots:
        replayed = sum(replay["replayed"] for p in data["passes"] if (replay := p.get("replay")))
        numbers = {"verdict": data["verdict"], "replayed": replayed, **_only_one_computes(data)}
        yield of_part(part, "no_cause", "why", numbers, (f"{at}/verdict", f"{at}/passes"))
        return
    for cause in roots:
        difference = cause.record["difference"] or {}
        numbers = {
            "name": cause.name,
            "reason": cause.reason,
            "share": cause.fraction,
            "rms": cause.size or None,
            "max_abs": difference.get("max_abs"),
            "reaches": cause.reaches,
        }
        name = str(cause.record["id"])
        yield of_part(part, "cause", "why", numbers, (cause.at,), sure=cause.sure, name=name)
    undo = [setting(line) for line in (data.get("undo") or {"lines": []})["lines"]]
    if any(cause.reaches in {"embeddings", "index"} for cause in roots) and not is_varied(part, undo):
        yield of_part(part, "undo", "why", undone(part, roots), (f"{at}/undo" if data.get("undo") else f"{at}/causes",))
    if any(cause.reaches == "embeddings" for cause in roots):
        yield from _truth(part, roots)


def _only_one_computes(data: Record) -> dict[str, Any]:
    """Return what one side alone computes on the way to the output, and the first module in which it does."""
    reaching = [u for p in data["passes"] for u in p["unmatched"] if u["reaches_output"] and u["name"] not in _MOVES]
    names = {
        side: list(dict.fromkeys(u["name"].rpartition("::")[2] for u in reaching if u["side"] == side)) for side in "AB"
    }
    return {"only_a": names["A"], "only_b": names["B"], "module": reaching[0]["module"] if reaching else None}


def undone(part: Part, roots: Sequence[Cause]) -> dict[str, Any]:
    """Return what makes B compute as A does: for all causes, for some, or for both sides together."""
    undo = part.operations["undo"] if part.operations else None
    lines = {name: setting(line) for name, line in part.switches.items()}
    numbers: dict[str, Any] = {"lines": None, "passes": 0, "passes_equal": 0}
    numbers |= {"some": None, "some_what": [], "both": None, "both_what": []}
    if undo:
        made = [setting(line) for line in undo["lines"]]
        if is_varied(part, made):
            return numbers
        numbers["lines"] = made
        numbers |= {"passes": undo["passes"] or 0, "passes_equal": undo["passes_equal"] or 0}
        return numbers
    helped: dict[str, list[str]] = {}
    for cause in roots:
        for switch in cause.switches:
            helped.setdefault(switch, []).append(cause.name)
    if helped:
        best = max(helped, key=lambda name: len(helped[name]))
        numbers |= {"some": lines.get(best, best), "some_what": helped[best]}
        return numbers
    for switch in lines:
        agree = [cause.name for cause in roots if _alike(cause, switch)]
        if len(agree) == len(roots):
            return numbers | {"both": lines[switch], "both_what": agree}
    return numbers


def is_varied(part: Part, lines: Sequence[str]) -> bool:
    """Whether settings are but those that the study gives A, and not B: with them B is A."""
    own = {e["name"]: e.get("settings") or {} for e in part.report["environments"]}.get(part.pair["a"], {})
    return bool(lines) and set(lines) <= {f"{name}={value}" for name, value in own.items()}


def setting(line: str) -> str:
    """Return a shell line as the setting that it makes: ``ATEN_CPU_CAPABILITY=avx2``."""
    return " ".join(word.removeprefix("export ") for word in line.splitlines())


def _alike(cause: Cause, switch: str) -> bool:
    """Whether a switch that is set on both sides makes A give B's bytes, and leaves B's as they are."""
    gives = {t["environment"]: t["gives"] for t in cause.record.get("switches") or [] if t["switch"] == switch}
    return gives.get("a") in {"b", "both"} and gives.get("b") in {"b", "both"}


def _truth(part: Part, roots: Sequence[Cause]) -> Iterator[Finding]:
    layers = (part.operations["layers_truth"] if part.operations else None) or []
    # A ratio of exactly one is that of the same bytes.
    if not layers or layers[-1]["ratio_rms"] in {None, 1.0}:
        return
    end = closer(layers[-1]["ratio_rms"])
    own = [{"name": cause.name, "closer": cause.closer} for cause in roots if cause.closer]
    numbers = {
        "embeddings": end,
        "by": formats.factor(layers[-1]["ratio_rms"]),
        "operations": own,
        "disagree": any(operation["closer"] != end for operation in own),
    }
    evidence = (f"{part.at}/operations/layers_truth/{len(layers) - 1}", *(cause.at for cause in roots))
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
    same = part.artifact("local_sample_embs")
    unlike = same is None or same["verdict"] != "identical"
    numbers = {
        "tested": there["tested"],
        "sufficient": there["sufficient"],
        "necessary": there["necessary"],
        # Putting in what is the same already says nothing.
        "alone_left": alone["final_total"] - alone["final_identical"] if alone and unlike else None,
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
    if not a or not b or a == b or not mine or is_varied(mine[0], [f"ATEN_CPU_CAPABILITY={a.lower()}"]):
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
