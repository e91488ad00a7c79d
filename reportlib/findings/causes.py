"""The operations that differ by themselves, by size: how far, what they reach, and how sure an explanation is."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from reportlib.findings.parts import Part
from reportlib.words import formats
from reportlib.words.terms import operation_names, operation_term

Record = Mapping[str, Any]
#: Errors whose ratio is below this are about equal: one rule for operations and for embeddings.
TELLING = 1.05
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
    def share(self) -> float | None:
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
    found = [
        _cause(part, number, name, record)
        for number, (name, record) in enumerate(
            zip(operation_names(operations["causes"]), operations["causes"], strict=True),
        )
    ]
    order = ("embeddings", "index", "order", "nothing")
    return sorted(found, key=lambda cause: (order.index(cause.reaches), -cause.size))


def _cause(part: Part, number: int, name: str, record: Record) -> Cause:
    sure, how_a, how_b, elements = _explained(part, record)
    return Cause(
        record,
        f"{part.at}/operations/causes/{number}",
        name,
        operation_term(record).meaning,
        _reaches(part, record),
        sure,
        how_a,
        how_b,
        elements,
    )


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
    found = record.get("mechanism") or {}
    cases = list(_same_operation(part, record))
    sides = {side: _surviving(cases, side) for side in ("a", "b")}
    elements = min((each[1] for each in sides.values() if each), default=0)
    enough = elements >= ENOUGH
    told = {side: each[0] if each else None for side, each in sides.items()}
    label = str(found.get("label") or "unknown")
    if (enough and all(sides.values())) or (label == "proven" and found.get("switch")):
        label = "proven"
    elif label == "proven":
        label = "candidate" if any(sides.values()) or record.get("upstream") else "unknown"
    return label, told["a"], told["b"], elements


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
    told: dict[str, str] = {}
    refuted: set[str] = set()
    for tried in cases:
        for each in tried:
            if each[f"equal_{side}"] < each["elements"]:
                refuted.add(each["name"])
            equal[each["name"]] = equal.get(each["name"], 0) + int(each["elements"])
            told[each["name"]] = str(each["description"])
    holds = {name: number for name, number in equal.items() if name not in refuted}
    if not holds:
        return None
    best = max(holds, key=lambda name: holds[name])
    return told[best], holds[best]
