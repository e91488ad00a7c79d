"""Where a study's collection comes from, and how it becomes one canonical folder with one hash.

A user brings a BEIR folder, colbert-ai's TSV or a Hugging Face data set; without one there are numpy's docstrings.
"""

from __future__ import annotations

import codecs
import gzip
import importlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, cast

from reportlib import inputs
from reportlib.collections.docstrings import DocstringSource
from reportlib.collections.folder import (
    GRADES,
    PASSAGE_IDS,
    QUERY_IDS,
    TEXTS,
    Collection,
    Entry,
    Judged,
    Progress,
    Source,
    entry,
    is_header,
    plain_name,
    read_grade,
    write_folder,
)
from reportlib.errors import CollectionError
from reportlib.inputs import obtain
from reportlib.store import project_home
from reportlib.study import SOURCES, CollectionSpec

#: Raised whenever the same source would give other bytes than before.
FORMAT = 3
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
        """Return the files that are read."""
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
        """Return the files that are read."""
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


# Collections from Hugging Face data sets: passages, queries and judgements as configurations.
#
# Two layouts are in use. `UKPLab/dapr` has ``<config>-corpus``, ``<config>-queries`` and
# ``<config>-qrels`` for each of its collections (its README and `loading.py`); BEIR-like data sets
# have ``corpus``, ``queries`` and ``qrels`` or ``default``.

_ID = ("_id", "id")


@dataclass(frozen=True)
class HuggingFaceSource:
    """A data set of the Hugging Face hub, or a local folder in the same layout.

    A ``title`` is put before the ``text``, as in a folder of the same set. Empty texts are kept and
    counted, as in the reference posts: a published data set is not the user's to mend, and the pids
    must stay those of its rows.

    Attributes
    ----------
    name : str
        Hub id, or a folder that `datasets.load_dataset` can read.
    config : str
        What the configurations' names begin with: ``ConditionalQA``. May be empty.
    split : str
        Split of queries and judgements; when empty, ``test`` or the only one. Passages often have
        one split of their own, which is then taken.
    titles : bool
        Whether titles are put before texts; the reference posts have them left out.
    """

    name: str
    config: str = ""
    split: str = ""
    titles: bool = True

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        name = f"The Hugging Face data set {self.name.rstrip('/').rsplit('/', 1)[-1]}"
        parts = (name, self.config, self.split and f"split {self.split}", "" if self.titles else "without titles")
        return ", ".join(filter(None, parts))

    @property
    def licence(self) -> str:
        """As the data set's card gives it, or empty."""
        return str(getattr(self._corpus.info, "license", "") or "")

    def passages(self) -> Iterator[Entry]:
        """Yield every passage, in row order."""
        yield from self._entries(self._corpus, "corpus")

    def queries(self) -> Iterator[Entry]:
        """Yield every query of the split."""
        config = self._config("queries")
        if config is not None:
            yield from self._entries(self._load(config), config)

    def judgements(self) -> Iterator[Judged]:
        """Yield every judgement of the split."""
        config = self._config("qrels") or (None if self.config else self._config("default"))
        if config is None:
            return
        rows = self._load(config, exactly=True)
        table = f"{self.name}, {config}"
        query, passage = (_known(rows.column_names, names, table) for names in (QUERY_IDS, PASSAGE_IDS))
        grade = _grade_column([name for name in rows.column_names if name not in {query, passage}], table)
        # Of a ClassLabel the rows have positions in its names, which alone say what they mean.
        labels = getattr(rows.features[grade], "names", None) if grade else None
        for number, row in enumerate(rows):
            where = f"{table}, row {number}"
            if row[query] is None or row[passage] is None:
                raise CollectionError(f"{where}: not a judgement: no id", "remove the row from a copy of the data set")
            value = row[grade] if grade else None
            named = labels[value] if labels and value is not None else value
            yield Judged(str(row[query]), str(row[passage]), read_grade(named, where) if grade else None, where)

    @cached_property
    def _corpus(self) -> Any:
        config = self._config("corpus")
        if config is None:
            raise CollectionError(
                f"the data set {self.name} has no configuration {self._name('corpus')!r}",
                f"give as config what stands before '-corpus' in one of {sorted(self._configs)}",
            )
        return self._load(config)

    @cached_property
    def _configs(self) -> list[str]:
        return list(self._call("get_dataset_config_names", self.name))

    def _name(self, part: str) -> str:
        return f"{self.config}-{part}" if self.config else part

    def _config(self, part: str) -> str | None:
        return self._name(part) if self._name(part) in self._configs else None

    def _load(self, config: str, *, exactly: bool = False) -> Any:
        """Return the rows of a configuration: a memory-mapped table, not a list.

        Passages and queries often have one split of another name; judgements are `exactly` those of the split.
        """
        splits = list(self._call("get_dataset_split_names", self.name, config))
        wanted = self.split or "test"
        if wanted not in splits and (len(splits) != 1 or (exactly and self.split)):
            raise CollectionError(
                f"{self.name}, {config} has no split {wanted!r}",
                f"name one of {splits} as the collection's split",
            )
        return self._call("load_dataset", self.name, config, split=wanted if wanted in splits else splits[0])

    def _call(self, function: str, *arguments: Any, **options: Any) -> Any:
        try:
            datasets = importlib.import_module("datasets")
        except ImportError as error:
            raise CollectionError(
                "a Hugging Face data set needs the package datasets",
                "install it: pip install 'reportlib[huggingface]'",
            ) from error
        try:
            return getattr(datasets, function)(*arguments, **options)
        except Exception as error:  # a data set's reader and its network raise whatever they like
            raise CollectionError(
                f"the Hugging Face data set {self.name} could not be read: {error}",
                "check its name and that its hub can be reached, or give a folder with a copy",
            ) from error

    def _entries(self, rows: Any, config: str) -> Iterator[Entry]:
        for number, row in enumerate(rows):
            where = f"{self.name}, {config}, row {number}"
            name = next((row[column] for column in _ID if row.get(column) is not None), None)
            if name is None:
                raise CollectionError(f"{where}: none of the columns {list(_ID)}", f"its columns are {sorted(row)}")
            yield entry(name, row.get("text"), where, row.get("title") if self.titles else None)


def _known(columns: Sequence[str], names: Sequence[str], table: str) -> str:
    """Return the column whose name comes first in `names`."""
    plain = {plain_name(column): column for column in reversed(columns)}
    for name in names:
        if name in plain:
            return plain[name]
    raise CollectionError(f"{table}: none of the columns {list(names)}", f"its columns are {list(columns)}")


def _grade_column(columns: Sequence[str], table: str) -> str | None:
    """Return the column that has the grades, of those that are no ids; None where there is no other at all."""
    found = [column for column in columns if plain_name(column) in GRADES]
    if len(found) == 1 or not columns:
        return found[0] if found else None
    raise CollectionError(
        f"{table}: which column has the grades cannot be told: {list(found or columns)}",
        f"keep one of {list(GRADES)} in a copy of the data set; with ids alone each pair counts as grade 1",
    )


# From a study's `[collection]` table to the folder.


def prepare(
    spec: CollectionSpec, *, base: Path, home: Path | None = None, progress: Progress | None = None
) -> Collection:
    """Bring a collection into the one form that every arm reads.

    The folder is ``<home>/inputs/collection-<16 digits>``, named by the hash of its `source.json`
    (which has the hashes of the others), and appears only when it is whole. What was prepared
    before is found again by its description and the size and time of its files, without reading
    them; a data set of a hub is read once.

    Parameters
    ----------
    spec : CollectionSpec
        The study's ``[collection]`` table.
    base : Path
        The study's folder: relative paths start here.
    home : Path, optional
        The project's home; `reportlib.store.project_home` by default.
    progress : callable, optional
        Called with what is being read (``passages``, ``queries``, ``judgements``) and how many were
        read so far.

    Returns
    -------
    Collection

    Raises
    ------
    CollectionError
        When the source is missing, unreadable, empty or contradicts itself; nothing is left behind.
    DiskSpaceError
        When the disk is full.
    """
    home = project_home() if home is None else home
    source = _source(spec, base, home)

    make = partial(write_folder, source, progress=progress or (lambda _what, _count: None))
    return obtain("collection", _fingerprint(spec, source), home, make, Collection.open)


def _source(spec: CollectionSpec, base: Path, home: Path) -> Source:
    """Return the source, after everything that can be checked without reading it through."""
    if spec.source in {"beir", "tsv"} and not spec.path:
        raise CollectionError(f"the collection's source is {spec.source!r} without a path", "set collection.path")
    path = base / Path(spec.path).expanduser()
    match spec.source:
        case "numpy-docstrings":
            unpacked = inputs.unpack(inputs.NUMPY, home, CollectionError)
            sentence = f"The prose of numpy {inputs.NUMPY.version}'s docstrings"
            return DocstringSource(unpacked / "numpy", sentence, "BSD-3-Clause")
        case "beir":
            return BeirSource(path, spec.split, spec.titles)
        case "tsv":
            return TsvSource(path, spec.titles)
        case "huggingface":
            name = spec.name or (str(path) if spec.path else "")
            if not name:
                raise CollectionError("the collection is of Hugging Face, without a name", "set collection.name")
            return HuggingFaceSource(name, spec.config, spec.split, spec.titles)
    raise CollectionError(f"there is no collection source {spec.source!r}", f"use one of {list(SOURCES)}")


def _fingerprint(spec: CollectionSpec, source: Source) -> dict[str, Any]:
    """Describe what determines the folder, cheaply."""
    files: list[Path] = []
    if isinstance(source, BeirSource | TsvSource):
        files = source.files()
    elif isinstance(source, HuggingFaceSource) and spec.path:
        files = sorted(p for p in Path(source.name).rglob("*") if p.is_file())
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return {"format": FORMAT, "spec": asdict(spec), "files": stats, "wheel": inputs.NUMPY.sha256}
