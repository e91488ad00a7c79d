"""What every source of a collection offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from reportlib.errors import CollectionError


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


def entry(name: object, text: object, where: str, title: object = None) -> Entry:
    """Make an entry of a record's fields, title before text, as BEIR's own retrievers join them.

    Parameters
    ----------
    name, text, title : object
        As the record has them: text, or a number, which is taken as it is written. Only the title may be missing. A
        passage without a word is taken and counted: a published collection is not the user's to mend.
    where : str
        File and line, or data set and row.

    Raises
    ------
    CollectionError
        When the record has no id or no text, or one of them is neither text nor a number.
    """
    if name is None or name == "":
        raise CollectionError(f"{where}: no _id", "give every record an _id of its own")
    if text is None:
        raise CollectionError(f"{where}: no text", 'give every record a "text", which may be empty')
    for what, value in (("id", name), ("text", text), ("title", title)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            raise CollectionError(f"{where}: the {what} is {repr(value)[:40]}, which is no text", "write it as text")
    return Entry(str(name), str(text) if title is None else f"{title} {text}", where)


@dataclass(frozen=True)
class Judged:
    """A judgement on its way into the canonical folder.

    Attributes
    ----------
    query, passage : str
        Ids, as the source has them.
    grade : int or None
        As `reportlib.collections.judging.read_grade` reads it; None in a source that has no grades.
    where : str
        File and line, for an error message.
    """

    query: str
    passage: str
    grade: int | None
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

    def judgements(self) -> Iterator[Judged]:
        """Yield which passage is relevant to which query, and how much."""
