"""The rules of judgements, whatever source they come from: names of columns, grades, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

from reportlib.errors import CollectionError

#: Names of columns, as `plain_name` writes them; where a table has several, the first counts.
QUERY_IDS = ("query_id", "qid", "queryid", "topic_id", "topic", "query")
PASSAGE_IDS = (
    "corpus_id", "passage_id", "doc_id", "pid", "docid", "docno", "document_id", "passage", "document", "doc",
)  # fmt: skip
GRADES = (
    "score", "relevance", "label", "grade", "rel", "rating", "judgement", "judgment", "gain",
    "relevance_score", "relevance_label", "relevance_grade",
)  # fmt: skip
TEXTS = ("text", "query", "query_text", "question")
#: trec_eval, which scores, counts up to the largest grade: at a million that takes 25 ms a query.
MOST = 1_000_000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
#: Characters of a query that are looked for in a passage: a capture keeps only the start of a passage.
_COMPARED = 200


def plain_name(column: str) -> str:
    """Return a column's name as the lists of this module have it: ``Query-ID`` is ``query_id``."""
    return re.sub(r"[\s-]+", "_", column.strip().lower()).strip("_#")


def is_header(columns: Sequence[str], *names: Sequence[str]) -> bool:
    """Say whether the first columns of a line are names of columns: one of each of `names`, and not values."""
    return len(columns) >= len(names) and all(
        plain_name(column) in known for column, known in zip(columns, names, strict=False)
    )


def read_grade(value: object, where: str) -> int:
    """Read a grade as any source gives it.

    Parameters
    ----------
    value : object
        A whole number, in whatever type: 2, 2.0, ``"2"``, ``"2.0"``.
    where : str
        File and line, or data set and row, for the message.

    Raises
    ------
    CollectionError
        When it is anything else, or too large to be scored: no grade is rounded or made up.
    """
    number, shown = _number(value), repr(value)[:40]
    if number is None or not number.is_finite() or number != number.to_integral_value():
        raise CollectionError(
            f"{where}: not a judgement: the grade is {shown}, not a whole number",
            "give whole numbers, 0 for not relevant and more for better: which one 0.5 should be only its owner knows",
        )
    if abs(number) > MOST:
        raise CollectionError(f"{where}: not a judgement: the grade is {shown}", f"use grades up to {MOST:,}")
    return int(number)


def _number(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, Real):
        return Decimal(str(int(value) if isinstance(value, bool) else value))
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


@dataclass
class Judging:
    """What became of the judgements of a collection.

    Attributes
    ----------
    read : int
        How many the source has.
    unknown_queries, unknown_passages : int
        Left out: they name a query, or else a passage, that the collection does not have.
    repeated : int
        Left out: the same pair with the same grade once more.
    ungraded : int
        Of a source without grades: each pair counts as grade 1.
    kept, relevant : int
        How many are left, and how many of these have a grade above 0.
    answered : int
        How many queries have such a one.
    """

    read: int = 0
    unknown_queries: int = 0
    unknown_passages: int = 0
    repeated: int = 0
    ungraded: int = 0
    kept: int = 0
    relevant: int = 0
    answered: int = 0


def is_itself(query: str, query_text: str, pid: int, passage: str, text: str) -> bool:
    """Say whether a passage is the query itself, as in ArguAna: both have the same id.

    An id that is only the passage's position (as in a TSV) says nothing by itself: there the passage must have the
    query's text too.

    Parameters
    ----------
    query, query_text : str
        Id and text of the query.
    pid : int
        The passage's position in the collection.
    passage, text : str
        Its id, and its text or the start of it.
    """
    return query == passage and (passage != str(pid) or query_text[:_COMPARED] in text)
