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

from reportlib.collections.folder import Entry, Judged, entry
from reportlib.collections.judging import GRADES, PASSAGE_IDS, QUERY_IDS, TEXTS, is_header, read_grade
from reportlib.errors import CollectionError

#: How a file of judgements may end; TREC's are often named so.
_QRELS = (".tsv", ".txt", ".trec")


@dataclass(frozen=True)
class BeirSource:
    """A folder as BEIR lays it out.

    ``corpus.jsonl`` (``_id``, ``text``, optional ``title``), ``queries.jsonl`` (``_id``, ``text``)
    and ``qrels/<split>.tsv`` or ``qrels.tsv``, as `read_qrels` reads them. Each may end in ``.gz``;
    queries and judgements may be missing. Title and text are joined by a space, as BEIR's own
    retrievers do.

    Attributes
    ----------
    folder : Path
        The folder.
    split : str
        Which file of ``qrels/``; when empty, ``test`` or the only one.
    titles : bool
        Whether titles are put before texts.
    """

    folder: Path
    split: str = ""
    titles: bool = True

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        return f"The BEIR folder {self.folder.name}{'' if self.titles else ', without titles'}"

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
            whole = _qrels_of(self.folder, "qrels")
            if whole and self.split:
                raise CollectionError(f"{whole} has no splits", "remove the collection's split")
            return whole
        wanted = _qrels_of(folder, self.split or "test")
        found = sorted(p for p in folder.iterdir() if p.name.removesuffix(".gz").endswith(_QRELS))
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
            yield entry(record.get("_id"), record.get("text"), where, record.get("title") if self.titles else None)

    def queries(self) -> Iterator[Entry]:
        """Yield every query."""
        path = _either(self.folder / "queries.jsonl")
        for where, record in _json_lines(path) if path else ():
            yield entry(record.get("_id"), record.get("text"), where)

    def judgements(self) -> Iterator[Judged]:
        """Yield every judgement."""
        path = self._qrels()
        return read_qrels(path) if path else iter(())


@dataclass(frozen=True)
class TsvSource:
    """A TSV as colbert-ai reads it: ``pid<TAB>passage``, pids 0, 1, 2, ... in order.

    A third column is a title and is put before the passage as colbert-ai does it (``title |
    passage``), where every line has one: a tab inside a passage would make one too.
    ``queries.tsv`` (``qid<TAB>query``) and ``qrels.tsv`` beside it are read when they are there.

    Attributes
    ----------
    path : Path
        The file.
    titles : bool
        Whether titles are put before passages.
    """

    path: Path
    titles: bool = True

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        return f"The TSV file {self.path.name}{'' if self.titles else ', without titles'}"

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
        beside = (_either(self.path.with_name("queries.tsv")), _qrels_of(self.path.parent, "qrels"))
        return [self.path, *(p for p in beside if p)]

    def passages(self) -> Iterator[Entry]:
        """Yield every passage."""
        titled = untitled = ""
        for position, (where, columns) in enumerate(_tab_lines(self.files()[0])):
            if columns[0] != str(position):
                raise CollectionError(
                    f"{where}: the pid is {columns[0]!r}, not {position}",
                    "number the passages 0, 1, 2, ... in order and leave out any header",
                )
            if len(columns) < 2 or not columns[1].strip():
                raise CollectionError(f"{where}: no text", "write pid<TAB>passage, or remove the line")
            title = columns[2].strip() if len(columns) > 2 else ""
            # The first line with a title, and the first that has no place for one.
            titled, untitled = titled or (title and where), untitled or (where if len(columns) == 2 else "")
            if (titled and untitled) or any(map(str.strip, columns[3:])):
                raise CollectionError(
                    f"{where}: {len(columns)} columns, where other lines have fewer or more: a tab inside a passage?",
                    "write a space for it; a title is the third column of every line, and may be empty",
                )
            yield Entry(columns[0], f"{title} | {columns[1]}" if title and self.titles else columns[1], where)

    def queries(self) -> Iterator[Entry]:
        """Yield every query; a first line with the names of the columns is none."""
        path = _either(self.path.with_name("queries.tsv"))
        for number, (where, columns) in enumerate(_tab_lines(path) if path else ()):
            if number == 0 and is_header(columns, (*QUERY_IDS, "id"), TEXTS):
                continue
            if len(columns) < 2 or not columns[1].strip():
                raise CollectionError(f"{where}: no text", "write qid<TAB>query, or remove the line")
            if any(map(str.strip, columns[2:])):
                raise CollectionError(
                    f"{where}: {len(columns)} columns", "write qid<TAB>query, and a space for a tab inside the query"
                )
            yield Entry(columns[0], columns[1], where)

    def judgements(self) -> Iterator[Judged]:
        """Yield every judgement."""
        path = _qrels_of(self.path.parent, "qrels")
        return read_qrels(path) if path else iter(())


def read_qrels(path: Path) -> Iterator[Judged]:
    """Yield the judgements of a file.

    Three columns (query, passage, grade) with tabs between them as in BEIR, or four (query, 0, passage, grade) with
    tabs or spaces as in TREC. A first line with the names of the columns is a header.

    Raises
    ------
    CollectionError
        When a line has another form, or a grade that is no whole number.
    """
    for number, (where, tabbed) in enumerate(_tab_lines(path)):
        # Three columns need tabs: with spaces between, an id that has one would be cut.
        columns = tabbed if len(tabbed) > 2 else " ".join(tabbed).split()
        if len(columns) not in {3, 4} or (len(tabbed) < 3 and len(columns) == 3):
            raise CollectionError(
                f"{where}: not a judgement", "write query<TAB>passage<TAB>grade, or TREC's four columns: query 0 doc 1"
            )
        query, passage, grade = (columns[0], *columns[-2:])
        if number == 0 and is_header((query, passage, grade), QUERY_IDS, PASSAGE_IDS, GRADES):
            continue
        yield Judged(query, passage, read_grade(grade, where), where)


def _qrels_of(folder: Path, name: str) -> Path | None:
    found = [path for ending in _QRELS if (path := _either(folder / f"{name}{ending}"))]
    if len(found) > 1:
        raise CollectionError(f"there are {' and '.join(map(str, found))}", "leave only one of them there")
    return found[0] if found else None


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
            # Numbers stay as they are written: a title 1.10 is not 1.1.
            record = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise CollectionError(f"{where}: not JSON: {error}", "write one JSON object a line") from error
        if not isinstance(record, dict):
            raise CollectionError(f"{where}: not a JSON object", 'write {"_id": ..., "text": ...}')
        yield where, record


def _tab_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for where, text in _lines(path):
        yield where, text.strip(" ").split("\t")
