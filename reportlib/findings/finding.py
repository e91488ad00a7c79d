"""A finding: data, from which a template makes its sentence; and what it is about, one precision of one pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reportlib.shape import Comparison, Operations, Pair, Precision, Report, Search
from reportlib.words import formats
from reportlib.words.formats import fill
from reportlib.words.terms import labels, precision, step, versions


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
        recorded = self.data.get("operations")
        return recorded if recorded and recorded["verdict"] not in {"inconclusive", "inputs differ"} else None

    @property
    def switches(self) -> dict[str, str]:
        """The switches that were tried on the operations: each one's name, and the lines that set it."""
        tried = self.operations.get("switches") if self.operations else None
        return {switch["name"]: str(switch["line"] or "") for switch in tried or []}

    @property
    def search(self) -> Search | None:
        """What the searches gave, if the indexes were searched crosswise and at least once."""
        searched = self.data.get("search")
        whole = searched and searched["queries"] and any(c["id"] == "upgrade" for c in searched["comparisons"])
        return searched if whole else None

    @property
    def step(self) -> str:
        """What goes from A to B: an upgrade, or the change of a setting."""
        return step(self.report["environments"])

    @property
    def by_batch(self) -> bool:
        """Whether A and B encode in batches of two sizes."""
        sizes = {e["name"]: (e.get("settings") or {}).get("index_bsize") for e in self.report["environments"]}
        return sizes.get(self.pair["a"]) != sizes.get(self.pair["b"])

    @property
    def same_tokens(self) -> bool:
        """Whether both versions read the same tokens."""
        read = [self.artifact(name) for name in ("token_ids", "attention_mask")]
        return all(r is not None and r["verdict"] == "identical" for r in read)

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


@dataclass(frozen=True)
class Finding:
    """One thing that a report says.

    Attributes
    ----------
    kind : str
        Which: ``files``, ``cause``, ``lists``; the name of its sentence in ``sentences.j2``.
    question : str
        ``what``, ``why`` or ``matter``.
    key : str
        What it is about: ``torch210/float32``, ``torch210`` for a pair, empty for the study.
    a, b : str
        The two sides for a reader.
    numbers : dict
        What the sentence says, as values.
    evidence : tuple of str
        JSON pointers into the report.
    posts : tuple of str
        Ids of the posts' experiments that it answers.
    sure : str
        ``measured``; of an explanation ``proven``, ``candidate`` or ``unknown``; ``not detected``; ``inconclusive``.
    name : str
        What tells it from others of its kind and key.
    """

    kind: str
    question: str
    key: str
    a: str
    b: str
    numbers: dict[str, Any]
    evidence: tuple[str, ...]
    posts: tuple[str, ...] = ()
    sure: str = "measured"
    name: str = ""

    @property
    def sentence(self) -> str:
        """The finding in words; numbers that decide stand between asterisks, names in code between backticks."""
        return fill("reportlib.findings", "sentences.j2", self.kind, n=self.numbers, a=self.a, b=self.b)

    def record(self) -> dict[str, Any]:
        """Return the finding as the report holds it."""
        return {
            "id": "/".join(filter(None, (self.key, self.kind, self.name))),
            "kind": self.kind,
            "question": self.question,
            "about": self.key,
            "numbers": self.numbers,
            "sure": self.sure,
            "sentence": self.sentence,
            "evidence": list(self.evidence),
            "posts": list(self.posts),
        }


def of_part(
    part: Part,
    kind: str,
    question: str,
    numbers: dict[str, Any],
    evidence: tuple[str, ...],
    posts: tuple[str, ...] = (),
    sure: str = "measured",
    name: str = "",
) -> Finding:
    """Return a finding on one precision of one pair."""
    if part.failed:
        sure = "inconclusive"
    return Finding(kind, question, part.key, part.a, part.b, numbers, evidence, posts, sure, name)
