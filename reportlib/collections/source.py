"""What every source of a collection offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from reportlib.collections.reading import Judgement


@dataclass(frozen=True)
class Entry:
    """A passage or query on its way into the canonical folder.

    Attributes
    ----------
    id : str
        As the source has it.
    text : str
        As the source has it; white space is normalised when it is written.
    where : str
        File and line, for an error message.
    """

    id: str
    text: str
    where: str


class Source(Protocol):
    """A collection as its owner keeps it; every method streams, and may be called again."""

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""

    @property
    def licence(self) -> str:
        """Licence of the text, as far as it is known; otherwise empty."""

    def passages(self) -> Iterator[Entry]:
        """Yield every passage; its position is colbert-ai's pid."""

    def queries(self) -> Iterator[Entry]:
        """Yield every query."""

    def judgements(self) -> Iterator[Judgement]:
        """Yield which passage is relevant to which query, and how much."""
