"""A finding: data, from which a template makes its sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reportlib.findings.parts import Part
from reportlib.words.formats import fill


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
