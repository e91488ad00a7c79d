"""Read a `study.toml`: every key checked, every message with its line."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from reportlib import checkpoints
from reportlib.artifacts import SWAPPABLE
from reportlib.checkpoints import check_dim
from reportlib.collections.preparing import SOURCES
from reportlib.errors import CheckpointError, StudyError
from reportlib.study import (
    DEVICES,
    DIRECTIONS,
    PRECISIONS,
    PROJECTIONS,
    TRAINED_DIM,
    VARIABLES,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    ControlSpec,
    OperationsSpec,
    SearchSpec,
    Study,
    SwapSpec,
)

# The keys of a `study.toml`, table by table.

#: The tables that are flat records, and those.
RECORDS: dict[str, type] = {
    "collection": CollectionSpec,
    "checkpoint": CheckpointSpec,
    "colbert": ColbertSettings,
    "controls": ControlSpec,
    "swaps": SwapSpec,
    "operations": OperationsSpec,
    "search": SearchSpec,
}
#: Every key of every table; "" is what stands above the first table.
KEYS: dict[str, tuple[str, ...]] = {
    "": ("title", "environments", "device", "threads", *RECORDS, "precision", "layers", "variables"),
    **{table: tuple(f.name for f in fields(kind)) for table, kind in RECORDS.items()},
    "precision": PRECISIONS,
    "layers": ("texts",),
    "variables": VARIABLES,
}


def meant(key: str, names: tuple[str, ...]) -> str:
    """Return what someone may have meant who wrote a key that is not there.

    Parameters
    ----------
    key : str
        As written.
    names : tuple of str
        The keys that its table has.

    Returns
    -------
    str
        The table that the key belongs to, the nearest of `names`, or all of them.
    """
    places = [table for table, keys in KEYS.items() if key in keys]
    if places:
        where = " or ".join(f"under [{table}]" if table else "above the first table" for table in places)
        return f"it stands {where}"
    close = difflib.get_close_matches(key, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {sorted(names)}"


# Where in a TOML file a key stands.
#
# `tomllib` says nothing of positions. But the lines of a file up to the end of any statement are TOML themselves, so
# that its own parser finds them: the first such beginning of the file that has a key ends with the key's value, and
# the one before it ends where the key's statement starts.


class Lines:
    r"""The lines of a TOML file.

    Parameters
    ----------
    text : str
        The whole file, which must be TOML; its lines end with ``\n``.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")

    def find(self, path: Sequence[str], near: str = "") -> int | None:
        """Return the number of the line where a key's statement starts.

        Parameters
        ----------
        path : sequence of str
            The key, table by table: ``("colbert", "nbits")``.
        near : str
            A string inside the value: of a value on several lines, the first with this string is meant.

        Returns
        -------
        int or None
            From 1. For a key that is not there, that of the innermost table around it that is; None without any.
        """
        for length in range(len(path), 0, -1):
            span = self._span(path[:length])
            if span is not None:
                return self._within(span, near)
        return None

    @cached_property
    def _beginnings(self) -> list[tuple[int, dict[str, Any]]]:
        """How many lines, and what they hold, for every beginning of the file that is TOML."""
        found = []
        for count in range(1, len(self._lines) + 1):
            try:
                found.append((count, tomllib.loads("\n".join(self._lines[:count]))))
            except tomllib.TOMLDecodeError:
                continue  # inside a value of several lines
        return found

    def _span(self, path: Sequence[str]) -> tuple[int, int] | None:
        """Return the first and the last line of the statement that brings a key in."""
        before = 0
        for count, content in self._beginnings:
            if _has(content, path):
                return before + 1, count
            before = count
        return None

    def _within(self, span: tuple[int, int], near: str) -> int:
        first, last = span
        written = (json.dumps(near, ensure_ascii=False), f"'{near}'")
        for number in range(first, last + 1) if near else ():
            if any(each in self._lines[number - 1] for each in written):
                return number
        return first


def _has(content: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(content, Mapping) or key not in content:
            return False
        content = content[key]
    return True


# Values that a study may hold by their type and that colbert-ai only trips over later, after long work.
#
# Each rule looks at what the file says and at nothing else; what depends on the machine, the collection or a
# checkpoint's own files is checked where those are read.

#: colbert-ai's residual codec packs bits into bytes.
NBITS = (1, 2, 4, 8)
#: The smallest number that each setting can do anything with, and why.
LEAST = {
    "doc_maxlen": (4, "[CLS], [D] and [SEP] take three places of it"),
    "query_maxlen": (4, "[CLS], [Q] and [SEP] take three places of it"),
    "kmeans_niters": (1, "k-means without a round trains no centroids"),
    "index_bsize": (1, "it is how many passages are encoded at a time"),
    "ncells": (1, "it is how many centroids are looked at for each token of a query"),
    "ndocs": (4, "colbert-ai scores a quarter of them in full"),
}
#: Positions that all-MiniLM-L6-v2 has embeddings for (``max_position_embeddings`` of its config.json).
POSITIONS = 512


@dataclass(frozen=True)
class Complaint:
    """A value that cannot be used.

    Attributes
    ----------
    path : tuple of str
        The key, table by table.
    what, mend : str
        As in `reportlib.errors.ReportlibError`.
    """

    path: tuple[str, ...]
    what: str
    mend: str


def collection_complaints(spec: CollectionSpec) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[collection]`` table."""
    if spec.source not in SOURCES:
        yield Complaint(
            ("collection", "source"), f"there is no collection source {spec.source!r}", f"use one of {list(SOURCES)}"
        )
    if spec.source in ("beir", "tsv") and not spec.path:
        kind = "folder" if spec.source == "beir" else "file"
        yield Complaint(
            ("collection", "path"), f"is missing; the source is {spec.source!r}", f"give the path of the {kind}"
        )
    if spec.source == "huggingface" and not (spec.name or spec.path):
        yield Complaint(
            ("collection", "name"), "is missing; the source is 'huggingface'", 'write name = "UKPLab/dapr", or a path'
        )


def colbert_complaints(settings: ColbertSettings, checkpoint: CheckpointSpec) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[colbert]`` table."""
    if settings.nbits not in NBITS:
        yield Complaint(("colbert", "nbits"), f"{settings.nbits} bits do not pack into bytes", "use 1, 2, 4 or 8")
    for key, (least, why) in LEAST.items():
        if getattr(settings, key) < least:
            yield Complaint(("colbert", key), f"must be at least {least}", why)
    if not math.isfinite(settings.centroid_score_threshold):
        yield Complaint(("colbert", "centroid_score_threshold"), "must be a finite number", "0.45 is colbert-ai's own")
    if checkpoint.source == checkpoints.NAME:
        for key in ("doc_maxlen", "query_maxlen"):
            if getattr(settings, key) > POSITIONS:
                yield Complaint(("colbert", key), f"{checkpoints.NAME} has {POSITIONS} positions", "use at most that")


def checkpoint_complaints(spec: CheckpointSpec, nbits: int, *, dim_given: bool) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[checkpoint]`` table; `dim_given` says whether the file has a ``dim``."""
    if not spec.source:
        yield Complaint(("checkpoint", "source"), "is empty", f"use {checkpoints.NAME!r}, a folder or a hub id")
    elif spec.source != checkpoints.NAME:
        what = f"belongs to {checkpoints.NAME}; {spec.source} brings its own"
        for key, given in (("dim", dim_given), ("projection", bool(spec.projection))):
            if given:
                yield Complaint(("checkpoint", key), what, "remove the line")
    elif spec.projection not in ("", *PROJECTIONS):
        yield Complaint(("checkpoint", "projection"), f"is {spec.projection!r}", f"use {' or '.join(PROJECTIONS)}")
    elif spec.projection == "trained" and spec.dim != TRAINED_DIM:
        path = ("checkpoint", "dim") if dim_given else ("checkpoint", "projection")
        mend = f'use dim = {TRAINED_DIM}, or projection = "untrained"'
        yield Complaint(path, f"a trained projection has {TRAINED_DIM} numbers, and dim is {spec.dim}", mend)
    elif spec.dim > checkpoints.HIDDEN:
        yield Complaint(
            ("checkpoint", "dim"),
            f"{checkpoints.NAME} is {checkpoints.HIDDEN} wide",
            f"use at most {checkpoints.HIDDEN}",
        )
    elif nbits in NBITS:
        try:
            check_dim(spec.dim, nbits)
        except CheckpointError as error:
            # Of two values that do not fit each other, the one that the file has.
            path = ("checkpoint", "dim") if dim_given else ("colbert", "nbits")
            yield Complaint(path, error.what, error.mend or "")


def search_complaints(spec: SearchSpec, settings: ColbertSettings) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[search]`` table; a `k` of 0 means no search."""
    # One more is needed where one may be left out.
    needed, most = spec.k + spec.ignore_identical_ids, settings.ndocs // 4
    if spec.k and most < needed:
        one_more = ", one more with ignore_identical_ids" if spec.ignore_identical_ids else ""
        yield Complaint(
            ("search", "k"),
            f"colbert-ai returns at most a quarter of ndocs, {most} passages, and k is {spec.k}{one_more}",
            f"use a smaller k, or at least {4 * needed} as colbert.ndocs",
        )


# Read a `study.toml`: into records when it makes sense, and otherwise into a message that names the line.

_Record = TypeVar("_Record")
_Path = tuple[str, ...]

_EXAMPLES = {"int": "a whole number: 4", "float": "a number: 0.45", "bool": "true or false", "str": 'text: "like this"'}


def read(path: Path, *, device: str | None = None) -> Study:
    """Read a `study.toml`.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it.
    device : str, optional
        Takes the place of the file's device.

    Raises
    ------
    StudyError
        When the file is missing, is not TOML, or a key or value in it makes no sense; the message names its line.
    """
    path = path / "study.toml" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except FileNotFoundError as error:
        raise StudyError(f"there is no study at {path}", "give the path of a study.toml") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from error
    return parse(text, path, device=device)


def parse(text: str, path: Path, *, device: str | None = None) -> Study:
    """Read a study from its text, as `read` does from the file at `path`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from error
    if device is not None:
        if device not in DEVICES:
            raise StudyError(f"there is no device {device!r}", f"use one of {list(DEVICES)}")
        content["device"] = device
    return _Reader(path, Lines(text)).study(content)


class _Reader:
    """Turns TOML tables into records, naming the file, line and key in every complaint."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self.path = path
        self.lines = lines

    def fail(self, path: _Path, what: str, mend: str | None = None, near: str = "") -> StudyError:
        number = self.lines.find(path, near)
        where = f"{self.path}, line {number}" if number else str(self.path)
        return StudyError(f"{where}: {'.'.join(path)}: {what}", mend)

    def require(self, complaints: Iterable[Complaint]) -> None:
        for complaint in complaints:
            raise self.fail(complaint.path, complaint.what, complaint.mend)

    def table(self, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Return a table of the file, empty when it has none, after a look at its keys."""
        table = content.get(name, {})
        if not isinstance(table, Mapping):
            raise self.fail((name,), "must be a table", f"write [{name}] on a line of its own, and its keys below it")
        self.known(table, KEYS[name], (name,))
        return table

    def known(self, table: Mapping[str, Any], names: tuple[str, ...], where: _Path) -> None:
        for key in table:
            if key not in names:
                raise self.fail((*where, key), "is not a key", meant(key, names))

    def names(self, value: Any, path: _Path, allowed: tuple[str, ...] | None = None) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(path, "must be a list of strings")
        for name in value:
            if allowed is not None and name not in allowed:
                raise self.fail(path, f"{name!r} is not known", f"use one of {list(allowed)}", name)
            if value.count(name) > 1:
                raise self.fail(path, f"names {name!r} twice", near=name)
        return tuple(value)

    def record(self, kind: type[_Record], content: Mapping[str, Any], where: str) -> _Record:
        """Make a flat dataclass from a table; every field has the type of its default."""
        table = self.table(content, where)
        defaults = {f.name: f.default for f in fields(kind)}  # type: ignore[arg-type]
        for key, value in table.items():
            default = defaults[key]
            fits = isinstance(value, type(default)) and isinstance(value, bool) is isinstance(default, bool)
            if not fits and not (isinstance(default, float) and _whole(value)):
                name = type(default).__name__
                raise self.fail((where, key), f"must be of type {name}", f"write {_EXAMPLES[name]}")
            if _whole(value) and value < 0:
                raise self.fail((where, key), "must not be negative")
        return kind(**table)

    def study(self, content: dict[str, Any]) -> Study:
        self.known(content, KEYS[""], ())
        title, device = content.get("title"), content.get("device", "cpu")
        if not isinstance(title, str) or not title:
            raise self.fail(("title",), "must be a sentence that names the study")
        if device not in DEVICES:
            raise self.fail(("device",), f"{device!r} is not known", f"use one of {list(DEVICES)}")
        environments = self.names(content.get("environments"), ("environments",))
        if len(environments) < 2:
            raise self.fail(("environments",), "a comparison needs at least two")
        threads = content.get("threads", 2)
        if not _whole(threads) or threads < 1:
            raise self.fail(("threads",), "must be a positive whole number")
        passages = self.passages(content)
        collection, checkpoint, colbert, search = self.search(content)
        return Study(
            path=self.path,
            title=title,
            environments=environments,
            device=device,
            threads=threads,
            collection=collection,
            checkpoint=checkpoint,
            colbert=colbert,
            passages=passages,
            texts=self.names(self.table(content, "layers").get("texts", ["a", "test input"]), ("layers", "texts")),
            controls=self.record(ControlSpec, content, "controls"),
            swaps=self.swaps(content, tuple(passages)),
            operations=self.operations(content, tuple(passages)),
            search=search,
            variables=self.variables(content),
        )

    def search(self, content: Mapping[str, Any]) -> tuple[CollectionSpec, CheckpointSpec, ColbertSettings, SearchSpec]:
        """Return the records that have to fit one another: what is indexed, with what, and how it is searched."""
        collection = self.record(CollectionSpec, content, "collection")
        checkpoint = self.record(CheckpointSpec, content, "checkpoint")
        colbert = self.record(ColbertSettings, content, "colbert")
        search = self.record(SearchSpec, content, "search")
        dim_given = "dim" in self.table(content, "checkpoint")
        self.require(collection_complaints(collection))
        self.require(colbert_complaints(colbert, checkpoint))
        self.require(checkpoint_complaints(checkpoint, colbert.nbits, dim_given=dim_given))
        self.require(search_complaints(search, colbert))
        return collection, checkpoint, colbert, search

    def passages(self, content: Mapping[str, Any]) -> dict[str, int]:
        if "precision" not in content:
            return {"float32": 0, "autocast": 64}
        table = self.table(content, "precision")
        if not table:
            raise self.fail(("precision",), "must have at least one table", "[precision.float32]")
        counts = {}
        for precision, settings in table.items():
            if not isinstance(settings, Mapping):
                raise self.fail(("precision", precision), "must be a table", f"write [precision.{precision}]")
            self.known(settings, ("passages",), ("precision", precision))
            count = settings.get("passages", 0)
            if not _whole(count) or count < 0:
                raise self.fail(("precision", precision, "passages"), "must be a whole number; 0 means all")
            counts[precision] = count
        return counts

    def operations(self, content: Mapping[str, Any], precisions: tuple[str, ...]) -> OperationsSpec:
        table = self.table(content, "operations")
        index = table.get("index", True)
        if not isinstance(index, bool):
            raise self.fail(("operations", "index"), "must be true or false")
        path = ("operations", "precisions")
        return OperationsSpec(self.names(table.get("precisions", list(precisions)), path, precisions), index)

    def variables(self, content: Mapping[str, Any]) -> dict[str, str]:
        table = self.table(content, "variables")
        for name, value in table.items():
            if not isinstance(value, str):
                raise self.fail(("variables", name), "must be a string", f"write {_EXAMPLES['str']}")
        return dict(table)

    def swaps(self, content: Mapping[str, Any], precisions: tuple[str, ...]) -> SwapSpec:
        table = self.table(content, "swaps")
        chosen = self.names(table.get("precisions", list(precisions)), ("swaps", "precisions"), precisions)
        directions = self.names(table.get("directions", list(DIRECTIONS)), ("swaps", "directions"), DIRECTIONS)
        points, path = table.get("points"), ("swaps", "points")
        if points is None:
            return SwapSpec(precisions=chosen, directions=directions)
        if not isinstance(points, list):
            raise self.fail(path, "must be a list of lists of swap points")
        sets = [self.names(p, path, SWAPPABLE) for p in points]
        if not all(sets):
            raise self.fail(path, "has an empty list", "name at least one swap point in each")
        # In pipeline order, so that a set has one name however it is written.
        ordered = tuple(tuple(sorted(each, key=SWAPPABLE.index)) for each in sets)
        if len(set(ordered)) != len(ordered):
            raise self.fail(path, "names a set twice")
        return SwapSpec(ordered, chosen, directions)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
