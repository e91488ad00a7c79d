"""One precision of one pair of environments: what findings and sections repeat, and how it is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reportlib.shape import Comparison, Operations, Pair, Precision, Report, Search
from reportlib.words import formats
from reportlib.words.terms import labels, precision, versions


@dataclass(frozen=True)
class Part:
    """One precision of one pair of environments.

    Attributes
    ----------
    report, pair, data : mapping
        The report, and entries of its ``pairs`` and of the pair's ``precisions``.
    at : str
        JSON pointer to `data`.
    a, b : str
        The two environments for a reader: ``PyTorch 2.0.1``.
    short_a, short_b : str
        The same where there is little room: ``2.0.1``.
    label : str
        The precision for a reader, with the pair before it where there are several: ``bfloat16 autocast``.
    where : str
        The same at the start of a sentence: ``Under bfloat16 autocast``.
    slug : str
        For ids: ``float32``, or ``torch210-float32`` where there are several pairs.
    """

    report: Report
    pair: Pair
    data: Precision
    at: str
    a: str
    b: str
    short_a: str
    short_b: str
    label: str
    where: str
    slug: str

    @property
    def key(self) -> str:
        """The start of its findings' ids: ``torch210/float32``."""
        return f"{self.pair['b']}/{self.data['precision']}"

    @property
    def failed(self) -> bool:
        """Whether a control failed, so that nothing may be concluded; False where none was run."""
        return self.data.get("conclusive") is False

    @property
    def passages(self) -> str:
        """How many passages were indexed: ``640 passages``."""
        return formats.plural(self.data["passages"] or 0, "passage")

    @property
    def final(self) -> list[Comparison]:
        """Comparisons of the index's own tensors."""
        return [r for r in self.data["artifacts"] if r["final"]]

    @property
    def operations(self) -> Operations | None:
        """What was recorded of the operations, if anything that can be relied on."""
        found = self.data.get("operations")
        return found if found and found["verdict"] not in {"inconclusive", "inputs differ"} else None

    @property
    def switches(self) -> dict[str, str]:
        """The switches that were tried on the operations: each one's name, and the lines that set it."""
        tried = self.operations.get("switches") if self.operations else None
        return {switch["name"]: str(switch["line"] or "") for switch in tried or []}

    @property
    def search(self) -> Search | None:
        """What the searches gave, if the indexes were searched crosswise and at least once."""
        found = self.data.get("search")
        return found if found and found["queries"] and any(c["id"] == "upgrade" for c in found["comparisons"]) else None

    def name(self, environment: str) -> str:
        """Return what to call one of the two environments."""
        return {self.pair["a"]: self.a, self.pair["b"]: self.b}.get(environment, environment)

    def artifact(self, name: str) -> Comparison | None:
        """Return the comparison of one artifact, if it was captured."""
        return next((r for r in self.data["artifacts"] if r["artifact"] == name), None)

    def pointer(self, *artifacts: str) -> tuple[str, ...]:
        """Return JSON pointers to comparisons by artifact name."""
        names = [r["artifact"] for r in self.data["artifacts"]]
        return tuple(f"{self.at}/artifacts/{names.index(n)}" for n in artifacts if n in names)


def parts(report: Report) -> Iterator[Part]:
    """Yield every precision of every pair: pairs in the report's order, the precision of the posts first in each."""
    device = report["study"]["device"]
    called, short = labels(report["environments"]), versions(report["environments"])
    several = len(report["pairs"]) > 1
    for number, pair in enumerate(report["pairs"]):
        a, b = (called.get(pair[side], pair[side]) for side in ("a", "b"))
        numbered = sorted(enumerate(pair["precisions"]), key=lambda item: item[1]["precision"] != "autocast")
        for place, data in numbered:
            label = precision(data["precision"], device)
            where = f"{'Under' if data['precision'] == 'autocast' else 'In'} {label}"
            slug: str = data["precision"]
            if several:
                label, where, slug = f"{a} to {b}, {label}", f"From {a} to {b}, {where.lower()}", f"{pair['b']}-{slug}"
            yield Part(
                report,
                pair,
                data,
                f"/pairs/{number}/precisions/{place}",
                a,
                b,
                short.get(pair["a"], pair["a"]),
                short.get(pair["b"], pair["b"]),
                label,
                where,
                slug,
            )
