"""What every finding starts from: one precision of one pair, with its place in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportlib.words.environments import precision, sides


@dataclass(frozen=True)
class Finding:
    """A sentence of the report together with what it rests on.

    Attributes
    ----------
    name : str
        Its id.
    question : str
        ``what``, ``why`` or ``matter``.
    sentence : str
        Names of artifacts stand in backquotes.
    evidence : tuple of str
        JSON pointers into the report.
    posts : tuple of str
        Ids of the posts' experiments that it answers.
    """

    name: str
    question: str
    sentence: str
    evidence: tuple[str, ...]
    posts: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the finding as the report holds it."""
        return {
            "id": self.name,
            "question": self.question,
            "sentence": self.sentence,
            "evidence": list(self.evidence),
            "posts": list(self.posts),
        }


@dataclass(frozen=True)
class Facts:
    """One precision of one pair.

    Attributes
    ----------
    data : mapping
        The entry of ``pairs[].precisions``.
    at : str
        JSON pointer to it.
    key : str
        Start of its findings' ids: ``torch210/float32``.
    a, b : str
        The two sides for a reader: ``PyTorch 2.0.1``.
    label : str
        The precision for a reader.
    reorders_from : int or None
        The smallest probed size at which a sort of int64 keys (what codes are) gives another order.
    environments : tuple of str
        The names of A's and B's environment.
    """

    data: Mapping[str, Any]
    at: str
    key: str
    a: str
    b: str
    label: str
    reorders_from: int | None = None
    environments: tuple[str, str] = ("", "")

    @property
    def inconclusive(self) -> bool:
        """Whether a control failed, so that nothing may be concluded; False where none was run."""
        return self.data.get("conclusive") is False

    def name(self, environment: str) -> str:
        """Return what to call one of the two environments."""
        return dict(zip(self.environments, (self.a, self.b), strict=True)).get(environment, environment)

    @property
    def title(self) -> str:
        """The precision at the start of a sentence."""
        preposition = "Under" if "autocast" in self.label else "In"
        return f"{preposition} {self.label}"

    @property
    def final(self) -> list[Mapping[str, Any]]:
        """Comparisons of the final artifacts."""
        return [r for r in self.data["artifacts"] if r["final"]]

    def artifact(self, name: str) -> Mapping[str, Any] | None:
        """Return the comparison of one artifact, if it was captured."""
        return next((r for r in self.data["artifacts"] if r["artifact"] == name), None)

    def pointer(self, *artifacts: str) -> tuple[str, ...]:
        """Return JSON pointers to comparisons by artifact name."""
        names = [r["artifact"] for r in self.data["artifacts"]]
        return tuple(f"{self.at}/artifacts/{names.index(n)}" for n in artifacts if n in names)


def facts(report: Mapping[str, Any], number: int) -> Sequence[Facts]:
    """Return the precisions of pair `number`."""
    pair = report["pairs"][number]
    a, b = sides(report["environments"], pair)
    return [
        Facts(
            data,
            f"/pairs/{number}/precisions/{place}",
            f"{pair['b']}/{data['precision']}",
            a,
            b,
            precision(data["precision"], report["study"]["device"]),
            _reorders_from(pair["sort_probes"]),
            (pair["a"], pair["b"]),
        )
        for place, data in enumerate(pair["precisions"])
    ]


def _reorders_from(probes: Mapping[str, Any] | None) -> int | None:
    thresholds = probes["thresholds"] if probes else []
    found = [t["smallest_different"] for t in thresholds if t["dtype"] == "int64"]
    return found[0] if found else None
