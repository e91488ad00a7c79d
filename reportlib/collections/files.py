"""Collections that a user brings as files: a BEIR folder, or colbert-ai's TSV."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from reportlib.collections.reading import Judgement
from reportlib.collections.source import Entry
from reportlib.errors import CollectionError


@dataclass(frozen=True)
class BeirSource:
    """A folder as BEIR lays it out.

    ``corpus.jsonl`` (``_id``, ``text``, optional ``title``), ``queries.jsonl`` (``_id``, ``text``)
    and ``qrels/<split>.tsv`` or ``qrels.tsv`` (query, passage, score; with or without a header).
    Each may end in ``.gz``; queries and judgements may be missing. Title and text are joined by a
    space, as BEIR's own retrievers do.

    Attributes
    ----------
    folder : Path
        The folder.
    split : str
        Which file of ``qrels/``; when empty, ``test`` or the only one.
    """

    folder: Path
    split: str = ""

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        return f"The BEIR folder {self.folder.name}"

    @property
    def licence(self) -> str:
        """Not known: BEIR folders do not say."""
        return ""

    def files(self) -> list[Path]:
        """Return the files that are read.

        Raises
        ------
        CollectionError
            When the folder or its corpus is missing, or it cannot be told which judgements are
            meant.
        """
        if not self.folder.is_dir():
            raise CollectionError(f"there is no folder {self.folder}", "give the path of a BEIR folder")
        corpus = _either(self.folder / "corpus.jsonl")
        if corpus is None:
            raise CollectionError(f"{self.folder} has no corpus.jsonl", "give the path of a BEIR folder")
        return [p for p in (corpus, _either(self.folder / "queries.jsonl"), self._qrels()) if p]

    def _qrels(self) -> Path | None:
        folder = self.folder / "qrels"
        if not folder.is_dir():
            return _either(self.folder / "qrels.tsv")
        wanted = _either(folder / f"{self.split or 'test'}.tsv")
        found = sorted(p for p in folder.iterdir() if p.name.removesuffix(".gz").endswith(".tsv"))
        if wanted is None and not self.split and len(found) <= 1:
            return found[0] if found else None
        if wanted is None:
            raise CollectionError(
                f"{folder} has no {self.split or 'test'}.tsv",
                f"name one of {[p.name.split('.')[0] for p in found]} as the collection's split",
            )
        return wanted

    def passages(self) -> Iterator[Entry]:
        """Yield every passage, title before text."""
        path = self.files()[0]
        for where, record in _json_lines(path):
            title = record.get("title") or ""
            yield _entry(where, record, title if isinstance(title, str) else "")

    def queries(self) -> Iterator[Entry]:
        """Yield every query."""
        path = _either(self.folder / "queries.jsonl")
        for where, record in _json_lines(path) if path else ():
            yield _entry(where, record)

    def judgements(self) -> Iterator[Judgement]:
        """Yield every judgement."""
        path = self._qrels()
        return read_qrels(path) if path else iter(())


@dataclass(frozen=True)
class TsvSource:
    """A TSV as colbert-ai reads it: ``pid<TAB>passage``, pids 0, 1, 2, ... in order.

    A third column is a title and is put before the passage as colbert-ai does it (``title |
    passage``). ``queries.tsv`` (``qid<TAB>query``) and ``qrels.tsv`` beside it are read when they
    are there.
    """

    path: Path

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        return f"The TSV file {self.path.name}"

    @property
    def licence(self) -> str:
        """Not known: a TSV does not say."""
        return ""

    def files(self) -> list[Path]:
        """Return the files that are read.

        Raises
        ------
        CollectionError
            When the file is missing.
        """
        if not self.path.is_file():
            raise CollectionError(f"there is no file {self.path}", "give the path of a TSV: pid<TAB>passage")
        beside = (_either(self.path.with_name(name)) for name in ("queries.tsv", "qrels.tsv"))
        return [self.path, *(p for p in beside if p)]

    def passages(self) -> Iterator[Entry]:
        """Yield every passage."""
        for position, (where, columns) in enumerate(_tab_lines(self.files()[0])):
            if columns[0] != str(position):
                raise CollectionError(
                    f"{where}: the pid is {columns[0]!r}, not {position}",
                    "number the passages 0, 1, 2, ... in order and leave out any header",
                )
            if len(columns) < 2 or not columns[1].strip():
                raise CollectionError(f"{where}: no text", "write pid<TAB>passage, or remove the line")
            title = f"{columns[2]} | " if len(columns) > 2 else ""
            yield Entry(columns[0], title + columns[1], where)

    def queries(self) -> Iterator[Entry]:
        """Yield every query."""
        path = _either(self.path.with_name("queries.tsv"))
        for where, columns in _tab_lines(path) if path else ():
            if len(columns) < 2 or not columns[1].strip():
                raise CollectionError(f"{where}: no text", "write qid<TAB>query, or remove the line")
            yield Entry(columns[0], columns[1], where)

    def judgements(self) -> Iterator[Judgement]:
        """Yield every judgement."""
        path = _either(self.path.with_name("qrels.tsv"))
        return read_qrels(path) if path else iter(())


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a file.

    Three columns (query, passage, grade) as in BEIR, or four (query, 0, passage, grade) as in TREC;
    a first line whose grade is not a number is a header.

    Raises
    ------
    CollectionError
        When a line has another form.
    """
    for number, (where, columns) in enumerate(_tab_lines(path)):
        try:
            query, passage, grade = columns if len(columns) == 3 else (columns[0], *columns[2:])
            yield Judgement(query, passage, _grade(grade))
        except ValueError as error:
            if number == 0 and len(columns) in {3, 4}:
                continue
            raise CollectionError(
                f"{where}: not a judgement",
                "write query<TAB>passage<TAB>grade, the grade a whole number",
            ) from error


def _grade(text: str) -> int:
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def _entry(where: str, record: dict[str, Any], title: str = "") -> Entry:
    name, text = record.get("_id"), record.get("text")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise CollectionError(f"{where}: no _id", "give every line an _id of its own")
    if not isinstance(text, str) or not (title + text).strip():
        raise CollectionError(f"{where}: no text", "give it a text, or remove the line")
    return Entry(str(name), f"{title} {text}", where)


def _either(path: Path) -> Path | None:
    """Return the file or its gzipped form, whichever is there."""
    zipped = path.with_name(path.name + ".gz")
    return path if path.is_file() else zipped if zipped.is_file() else None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield where it stands and text of every line that is not blank."""
    try:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as lines:
            for number, line in enumerate(lines, 1):
                text = _decoded(line, f"{path}, line {number}").rstrip("\r\n")
                if text.strip():
                    yield f"{path}, line {number}", text
    except (OSError, EOFError, zlib.error) as error:
        raise CollectionError(f"{path} cannot be read: {error}", "give a file that is whole") from error


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CollectionError(f"{where}: not UTF-8", "write the file again as UTF-8") from error


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, text in _lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CollectionError(f"{where}: not JSON: {error}", "write one JSON object a line") from error
        if not isinstance(record, dict):
            raise CollectionError(f"{where}: not a JSON object", 'write {"_id": ..., "text": ...}')
        yield where, record


def _tab_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for where, text in _lines(path):
        yield where, text.strip(" ").split("\t")
