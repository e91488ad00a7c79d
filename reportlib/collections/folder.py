"""A collection's folder: what a source gives, written once and checked whenever it is opened."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Protocol

import numpy as np

from reportlib.collections.reading import JUDGEMENTS, PASSAGES, QUERIES
from reportlib.errors import CollectionError
from reportlib.inputs import ANEW, SOURCE
from reportlib.store import canonical_json, digest, digest_file
from reportlib.words.terms import remarks

# What every source of a collection offers.


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
        As `reportlib.collections.folder.read_grade` reads it; None in a source that has no grades.
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


# Writing the canonical folder: one stream in, four files out, all of them or none.

#: Called now and then with what is being read and how many there were so far.
Progress = Callable[[str, int], None]
_STEP = 10_000


class Ids:
    """Which ids there are, in eight bytes each: tens of millions fit into memory.

    Two different ids share their eight bytes by chance about once in 2**64 / n**2 collections of n
    ids, so a double is only taken for one after looking at the ids themselves.
    """

    def __init__(self) -> None:
        self._digests = array("Q")
        self._sorted = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, name: str) -> None:
        """Add an id."""
        self._digests.append(_short(name))

    def doubles(self) -> set[int]:
        """Sort what was added, and return the digests that occur more than once."""
        self._sorted = np.sort(np.frombuffer(self._digests, np.uint64))
        return {int(d) for d in self._sorted[:-1][self._sorted[1:] == self._sorted[:-1]]}

    def __contains__(self, name: str) -> bool:
        """Say whether an id was added; `doubles` must have been called."""
        digest = np.uint64(_short(name))
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)


def _short(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def write_folder(source: Source, folder: Path, progress: Progress) -> None:
    """Write a source as a canonical folder.

    Parameters
    ----------
    source : Source
        Where it comes from.
    folder : Path
        There, and empty.
    progress : callable
        Gets ``passages``, ``queries`` or ``judgements`` and how many of them were read so far.

    Raises
    ------
    CollectionError
        When the collection is empty, an id occurs twice, a text cannot be written, a pair is judged
        twice with different grades, or no judgement names a passage and a query that exist.
    """
    passages, empty = _write_entries(source.passages, folder / PASSAGES, "passages", progress)
    if not len(passages):
        raise CollectionError(f"the collection is empty: {source.sentence}", "give one with at least one passage")
    queries, empty_queries = _write_entries(source.queries, folder / QUERIES, "queries", progress)
    judging = _write_judgements(source, folder / JUDGEMENTS, passages, queries, progress)
    unknown = judging.unknown_queries + judging.unknown_passages
    if unknown and not judging.kept:
        raise CollectionError(
            f"{source.sentence}: none of the {unknown} judgements names what exists",
            "give the judgements that belong to this collection and these queries",
        )
    content = {
        "source": source.sentence,
        "licence": source.licence,
        "passages": len(passages),
        "empty_passages": empty,
        "queries": len(queries),
        "empty_queries": empty_queries,
        "queries_that_are_passages": _themselves(folder, passages),
        "judgements": judging.kept,
        "unknown_judgements": unknown,
        "judging": asdict(judging),
        "files": {
            name: {"sha256": digest_file(folder / name), "bytes": (folder / name).stat().st_size}
            for name in (PASSAGES, QUERIES, JUDGEMENTS)
        },
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / SOURCE).write_text(text, encoding="utf-8", newline="\n")


def _write_entries(
    entries: Callable[[], Iterable[Entry]], path: Path, what: str, progress: Progress
) -> tuple[Ids, int]:
    """Write one JSON object a line; return the ids and how many texts were empty."""
    ids, empty = Ids(), 0
    with path.open("wb") as out:
        for entry in entries():
            text = " ".join(entry.text.split())
            empty += not text
            out.write(_line(entry, text))
            ids.add(entry.id)
            if len(ids) % _STEP == 0:
                progress(what, len(ids))
    progress(what, len(ids))
    if doubles := ids.doubles():
        _complain_of_double(entries(), doubles, what)
    return ids, empty


def _line(entry: Entry, text: str) -> bytes:
    if not entry.id or any(character in entry.id for character in "\t\n\r"):
        raise CollectionError(f"{entry.where}: {entry.id!r} cannot be an id", "give it a name without tabs")
    try:
        return (json.dumps({"id": entry.id, "text": text}, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError as error:
        raise CollectionError(
            f"{entry.where}: the text has half of a surrogate pair, which is no character",
            "write the file again as UTF-8",
        ) from error


def _complain_of_double(entries: Iterable[Entry], doubles: set[int], what: str) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        if _short(entry.id) not in doubles:
            continue
        if entry.id in first:
            raise CollectionError(
                f"two {what} have the id {entry.id!r}: {first[entry.id]} and {entry.where}",
                "give each an id of its own, or remove one",
            )
        first[entry.id] = entry.where


def _themselves(folder: Path, passages: Ids) -> int:
    """Return how many queries are a passage: as a rule none share an id, and the passages are not read again."""
    shared = {name: text for name, text in _written(folder / QUERIES) if name in passages}
    if not shared:
        return 0
    return sum(
        is_itself(name, shared[name], pid, name, text)
        for pid, (name, text) in enumerate(_written(folder / PASSAGES))
        if name in shared
    )


def _written(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as lines:
        for line in lines:
            record = json.loads(line)
            yield record["id"], record["text"]


def _write_judgements(source: Source, path: Path, passages: Ids, queries: Ids, progress: Progress) -> Judging:
    """Write the judgements of what exists, each pair once; return what became of all of them."""
    pairs = Ids()
    for judged in source.judgements():
        pairs.add(f"{judged.query}\t{judged.passage}")
    doubles = pairs.doubles()
    judging, answered = Judging(), set()
    first: dict[str, Judged] = {}
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.write("query-id\tpassage-id\tgrade\n")
        for judged in source.judgements():
            judging.read += 1
            judging.ungraded += judged.grade is None
            grade = 1 if judged.grade is None else judged.grade
            if _repeats(judged, doubles, first):
                judging.repeated += 1
            elif judged.query not in queries:
                judging.unknown_queries += 1
            elif judged.passage not in passages:
                judging.unknown_passages += 1
            else:
                judging.kept += 1
                out.write(f"{judged.query}\t{judged.passage}\t{grade}\n")
                if grade > 0:
                    judging.relevant += 1
                    answered.add(judged.query)
            if judging.read % _STEP == 0:
                progress("judgements", judging.read)
    progress("judgements", judging.read)
    return replace(judging, answered=len(answered))


def _repeats(judged: Judged, doubles: set[int], first: dict[str, Judged]) -> bool:
    """Say whether a pair was judged before, with the same grade; with another one it is refused."""
    pair = f"{judged.query}\t{judged.passage}"
    if _short(pair) not in doubles:
        return False
    before = first.setdefault(pair, judged)
    if before.grade != judged.grade:
        raise CollectionError(
            f"query {judged.query!r} and passage {judged.passage!r} are judged {before.grade} and {judged.grade}: "
            f"{before.where} and {judged.where}",
            "leave one judgement of each pair",
        )
    return before is not judged


# The rules of judgements, whatever source they come from: names of columns, grades, and what became of them.

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
    """
    return query == passage and (passage != str(pid) or query_text[:_COMPARED] in text)


# The folder as it was prepared.


@dataclass(frozen=True)
class Collection:
    """A prepared collection.

    Attributes
    ----------
    path : Path
        Its folder.
    sha256 : str
        Of `collection.jsonl`: the collection's hash.
    passages, queries, judgements : int
        How many there are.
    source : str
        A sentence that says what it is.
    judged_sha256 : str
        Of the judgements, and of what became of those that do not count as they were given.
    notes : tuple of str
        What a user should know before searching it: `reportlib.words.terms.remarks`.
    """

    path: Path
    sha256: str
    passages: int
    queries: int
    judgements: int
    source: str
    judged_sha256: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Collection:
        """Open a prepared folder without reading its texts."""
        try:
            content = json.loads((path / SOURCE).read_text(encoding="utf-8"))
            files = {name: content["files"][name] for name in (PASSAGES, QUERIES, JUDGEMENTS)}
            for name, file in files.items():
                if (path / name).stat().st_size != file["bytes"]:
                    raise CollectionError(f"{path / name} was changed", ANEW)
            return cls(
                path=path,
                sha256=files[PASSAGES]["sha256"],
                passages=int(content["passages"]),
                queries=int(content["queries"]),
                judgements=int(content["judgements"]),
                source=str(content["source"]),
                judged_sha256=digest(canonical_json([files[JUDGEMENTS]["sha256"], content["judging"]]).encode()),
                notes=tuple(remarks(content)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CollectionError(f"{path} is not a prepared collection: {error}", ANEW) from error

    def verify(self) -> None:
        """Hash every file again."""
        content = json.loads((self.path / SOURCE).read_text(encoding="utf-8"))
        for name, file in content["files"].items():
            if digest_file(self.path / name) != file["sha256"]:
                raise CollectionError(f"{self.path / name} was changed", ANEW)
