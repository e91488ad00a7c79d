"""Shapes: where a passage's embeddings depend on the batch that it is in, where two versions agree, and what decides.

Read from what ``python -m reportlib.trace shapes`` wrote in each environment, without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportlib.errors import ComparisonError
from reportlib.store import read_json
from reportlib.trace.format import SHAPES, SHAPES_SCHEMA

Record = Mapping[str, Any]
#: Passages that differ, by tokens of a passage and passages of a batch.
Map = dict[tuple[int, int], int]


def read_shapes(folder: Path) -> dict[str, Any]:
    """Read a folder's ``shapes.json``."""
    mend = f"remove {folder} and run again"
    return read_json(folder / SHAPES, SHAPES_SCHEMA, "encodings of many shapes", mend, dict)


def within(cells: Sequence[Record]) -> Map:
    """Return how many passages have other embeddings than in the largest batch of the same length."""
    rows = {_place(cell): cell["rows"] for cell in cells}
    largest = _largest(rows)
    return {place: _unlike(own, rows[place[0], largest[place[0]]]) for place, own in rows.items()}


def between(a: Sequence[Record], b: Sequence[Record]) -> Map:
    """Return how many passages have other embeddings in B than in A, in batches of the same shape."""
    theirs = {_place(cell): cell["rows"] for cell in b}
    return {_place(cell): _unlike(cell["rows"], theirs[_place(cell)]) for cell in a}


def _place(cell: Record) -> tuple[int, int]:
    return cell["tokens"], cell["passages"]


def _largest(places: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the passages of the largest batch of each length."""
    return dict(sorted(places))  # of one length the last, which is the largest, stays


def _unlike(rows: Sequence[str], others: Sequence[str]) -> int:
    return sum(one != other for one, other in zip(rows, others, strict=False))


def predicted(products: Mapping[str, Sequence[Record]], places: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the shapes in which a linear layer has another number of rows, and by it other bytes, than in the largest.

    Parameters
    ----------
    products : mapping of str to sequence of mapping
        For each layer ``rows`` and ``digest``: of its first rows, given so many.
    places : sequence of tuple
        Tokens and passages of each shape.
    """
    digests = {name: {row["rows"]: row["digest"] for row in rows} for name, rows in products.items()}
    largest = _largest(places)
    return {
        (tokens, passages)
        for tokens, passages in places
        if any(known[tokens * passages] != known[tokens * largest[tokens]] for known in digests.values())
    }


@dataclass(frozen=True)
class Shapes:
    """What one environment's encodings of many shapes say.

    Attributes
    ----------
    environment, torch : str
        Its name, and its version of torch.
    differing : dict of tuple to int
        See `within`.
    foreseen : int
        Of the shapes, how many the number of rows of the linear layers alone tells right: same or other.
    deciding : tuple of str
        Linear layers whose own first rows depend on how many rows there are.
    ablations : dict of str to tuple of int
        With these modules taken out of every layer: shapes that differ, of how many.
    """

    environment: str
    torch: str
    differing: Map
    foreseen: int
    deciding: tuple[str, ...]
    ablations: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, content: Record) -> Shapes:
        """Read them out of a ``shapes.json``."""
        differing = within(content["encodings"])
        other = predicted(content["products"], list(differing))
        foreseen = sum((count > 0) == (place in other) for place, count in differing.items())
        deciding = [name for name, rows in content["products"].items() if len({row["digest"] for row in rows}) > 1]
        left = {name: within(cells) for name, cells in content["ablations"].items()}
        ablations = {name: (sum(map(bool, cells.values())), len(cells)) for name, cells in left.items()}
        arm, torch = content["arm"]["environment"], content["torch"]["version"]
        return cls(arm, torch, differing, foreseen, tuple(deciding), ablations)

    def sentences(self) -> list[str]:
        """Return what they say, a sentence each."""
        unlike, total = sum(map(bool, self.differing.values())), len(self.differing)
        if not unlike:
            return [f"A passage has the same embeddings in a batch of any of the {total} shapes."]
        taken_out = [f"without {name} {left} of {of}" for name, (left, of) in self.ablations.items()]
        rows = ", ".join(self.deciding) or "none of them"
        depends = (
            f"A passage's embeddings depend on its batch: in {unlike} of {total} shapes they are others than in the"
            " largest batch of that length."
        )
        decides = (
            f"The first rows of a linear layer's result depend on how many rows there are (batch size times length) in"
            f" {rows}; that alone foretells {self.foreseen} of the {total} shapes."
        )
        return [depends, decides, f"Shapes that differ once modules are replaced by Identity: {'; '.join(taken_out)}."]


def require_alike(a: Record, b: Record) -> None:
    """Refuse two environments whose encodings cannot be set side by side."""
    for name, left, right in (
        ("inputs", a["inputs"], b["inputs"]),
        *((key, a["arm"][key], b["arm"][key]) for key in ("precision", "device", "passages")),
    ):
        if left != right:
            raise ComparisonError(f"the encodings are of different {name}", "make both with the same settings")
