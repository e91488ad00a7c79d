"""The reading half: passages, queries and judgements of a prepared folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from reportlib.errors import CollectionError
from reportlib.inputs import ANEW

PASSAGES, QUERIES, JUDGEMENTS = "collection.jsonl", "queries.jsonl", "qrels.tsv"


@dataclass(frozen=True)
class Passage:
    """A passage. Its position in the collection is colbert-ai's pid; `id` is its owner's."""

    id: str
    text: str


@dataclass(frozen=True)
class Query:
    """A query with its owner's id."""

    id: str
    text: str


@dataclass(frozen=True)
class Judgement:
    """How relevant a passage is to a query: 0 is not at all, and more is better."""

    query: str
    passage: str
    grade: int


def read_passages(folder: Path, limit: int = 0) -> list[Passage]:
    """Read passages of a prepared collection."""
    found = [Passage(*fields) for fields in islice(_records(folder / PASSAGES), limit or None)]
    if len(found) < limit:
        raise CollectionError(
            f"the collection {folder} has {len(found)} passages; the study asks for {limit}",
            "ask for fewer passages, or for 0, which means all",
        )
    return found


def read_queries(folder: Path, limit: int = 0) -> list[Query]:
    """Read the first `limit` queries of a prepared collection; 0 or more than there are gives all."""
    return [Query(*fields) for fields in islice(_records(folder / QUERIES), limit or None)]


def read_judgements(folder: Path) -> list[Judgement]:
    """Read every judgement of a prepared collection."""
    found = []
    with _open(folder / JUDGEMENTS) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                continue
            try:
                query, passage, grade = line.decode("utf-8").rstrip("\n").split("\t")
                found.append(Judgement(query, passage, int(grade)))
            except ValueError as error:
                raise _damaged(folder / JUDGEMENTS, number) from error
    return found


def queries_within(folder: Path, limit: int) -> list[Query]:
    """Return the queries that a slice of the collection can answer.

    Parameters
    ----------
    folder : Path
        The collection's folder.
    limit : int
        How many passages from the start; 0 for all.

    Returns
    -------
    list of Query
        Those with at least one relevant passage (grade above 0) among the passages, in the file's
        order; every query when the collection has no judgements.
    """
    judgements = read_judgements(folder)
    if not judgements:
        return read_queries(folder)
    # A prepared collection has judgements of its own passages only: for all of them none need be read.
    passages = {passage.id for passage in read_passages(folder, limit)} if limit else None
    answered = {j.query for j in judgements if j.grade > 0 and (passages is None or j.passage in passages)}
    return [query for query in read_queries(folder) if query.id in answered]


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise CollectionError(
            f"{path.parent} is not a prepared collection: {path.name} cannot be read",
            ANEW,
        ) from error


def _records(path: Path) -> Iterator[tuple[str, str]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                yield str(record["id"]), str(record["text"])
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(path, number) from error


def _damaged(path: Path, number: int) -> CollectionError:
    return CollectionError(f"{path}, line {number} is damaged", ANEW)
