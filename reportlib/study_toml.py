"""Read a `study.toml`, every key checked and every message with its line, and write one, every key with what it is."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from reportlib import checkpoints
from reportlib.capture.process import settled_variables
from reportlib.checkpoints import check_dim
from reportlib.errors import CheckpointError, StudyError
from reportlib.study import (
    DEFAULT_PASSAGES,
    DEVICES,
    OFFLINE,
    PRECISIONS,
    PROJECTIONS,
    TRAINED_DIM,
    VARIABLES,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    OwnSettings,
    PrecisionSpec,
    SearchSpec,
    Study,
    key_of,
)

# The keys of a `study.toml`, table by table.

#: What stands above the first table; and the tables that are records, those of the precisions aside.
TOP = tuple(f for f in fields(Study) if "key" in f.metadata and f.default_factory is MISSING)
RECORDS: dict[str, type[Any]] = {
    f.name: cast("type[Any]", f.default_factory) for f in fields(Study) if is_dataclass(f.default_factory)
}
#: Every key of every table; "" is what stands above the first table.
KEYS: dict[str, tuple[str, ...]] = {
    "": (*(f.name for f in TOP), *RECORDS, "precision", "variables", "settings"),
    **{table: tuple(f.name for f in fields(kind)) for table, kind in RECORDS.items()},
    "precision": PRECISIONS,
    "variables": VARIABLES,
}
#: What an environment can have of its own, the variables aside.
NUMBERS = tuple(f for f in fields(OwnSettings) if f.name != "variables")
#: What only the offline checkpoint is asked for.
_OF_OFFLINE = ("dim", "projection")


def meant(key: str, names: tuple[str, ...]) -> str:
    """Return what someone may have meant who wrote a key that is not there."""
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


# Values that fit their keys and not one another, or that colbert-ai only trips over later, after long work.
#
# Each rule looks at what the file says and at nothing else; what depends on the machine, the collection or a
# checkpoint's own files is checked where those are read.

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
    if checkpoint.source == OFFLINE:
        for key in ("doc_maxlen", "query_maxlen"):
            if getattr(settings, key) > POSITIONS:
                yield Complaint(("colbert", key), f"{OFFLINE} has {POSITIONS} positions", "use at most that")


def checkpoint_complaints(spec: CheckpointSpec, nbits: int, *, dim_given: bool) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[checkpoint]`` table; `dim_given` says whether the file has a ``dim``."""
    if not spec.source:
        yield Complaint(("checkpoint", "source"), "is empty", f"use {OFFLINE!r}, a folder or a hub id")
    elif spec.source != OFFLINE:
        what = f"belongs to {OFFLINE}; {spec.source} brings its own"
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
            f"{OFFLINE} is {checkpoints.HIDDEN} wide",
            f"use at most {checkpoints.HIDDEN}",
        )
    else:
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

_Path = tuple[str, ...]

_TYPES = {"int": int, "float": float, "bool": bool, "str": str}
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

    def names(self, value: Any, path: _Path, allowed: tuple[str, ...]) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(path, "must be a list of strings")
        for name in value:
            if allowed and name not in allowed:
                raise self.fail(path, f"{name!r} is not known", f"use one of {list(allowed)}", name)
            if value.count(name) > 1:
                raise self.fail(path, f"names {name!r} twice", near=name)
        return tuple(value)

    def value(self, known: Field[Any], value: Any, path: _Path, allowed: tuple[str, ...]) -> Any:
        """Check the value of a key by its field: by the type that it is annotated with, and by its limits."""
        kind, key = str(known.type), key_of(known)
        if kind.startswith("tuple[tuple"):
            value = self.sets(value, path, allowed)
        elif kind.startswith("tuple"):
            value = self.names(value, path, allowed)
        else:
            fits = isinstance(value, _TYPES[kind]) and isinstance(value, bool) is (kind == "bool")
            if not fits and not (kind == "float" and _whole(value)):
                raise self.fail(path, f"must be of type {kind}", f"write {_EXAMPLES[kind]}")
            if allowed and value not in allowed:
                raise self.fail(path, f"{value!r} is not known", f"use one of {list(allowed)}")
            if _whole(value) and value < key.least:
                if not key.least:
                    raise self.fail(path, "must not be negative", key.about)
                raise self.fail(path, f"must be at least {key.least}", key.why or f"it is the number of {key.about}")
        if key.limit is not None and not key.limit.holds(value):
            raise self.fail(path, key.limit.what.format(value), key.limit.mend)
        return value

    def values(
        self, known: Iterable[Field[Any]], table: Mapping[str, Any], where: _Path, studied: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return the values that a table has for the fields that are `known`; `studied` are the study's precisions."""
        values: dict[str, Any] = {}
        for each in known:
            key, path = key_of(each), (*where, each.name)
            if each.name in table:
                values[each.name] = self.value(each, table[each.name], path, studied if key.studied else key.allowed)
            elif key.studied:
                values[each.name] = studied
            elif each.default is MISSING:
                raise self.fail(path, "is missing", f"write it above the first table: {key.about}")
        return values

    def study(self, content: dict[str, Any]) -> Study:
        self.known(content, KEYS[""], ())
        top = self.values(TOP, content, ())
        passages = self.passages(content)
        records = {
            name: kind(**self.values(fields(kind), self.table(content, name), (name,), tuple(passages)))
            for name, kind in RECORDS.items()
        }
        study = Study(
            path=self.path,
            **top,
            **records,
            passages=passages,
            variables=self.variables(content),
            settings=self.settings(content, top["environments"]),
        )
        dim_given = "dim" in self.table(content, "checkpoint")
        self.require(collection_complaints(study.collection))
        self.require(colbert_complaints(study.colbert, study.checkpoint))
        self.require(checkpoint_complaints(study.checkpoint, study.colbert.nbits, dim_given=dim_given))
        self.require(search_complaints(study.search, study.colbert))
        return study

    def passages(self, content: Mapping[str, Any]) -> dict[str, int]:
        if "precision" not in content:
            return dict(DEFAULT_PASSAGES)
        table = self.table(content, "precision")
        if not table:
            raise self.fail(("precision",), "must have at least one table", "[precision.float32]")
        counts = {}
        for precision, settings in table.items():
            path = ("precision", precision)
            if not isinstance(settings, Mapping):
                raise self.fail(path, "must be a table", f"write [precision.{precision}]")
            self.known(settings, tuple(f.name for f in fields(PrecisionSpec)), path)
            counts[precision] = PrecisionSpec(**self.values(fields(PrecisionSpec), settings, path)).passages
        return counts

    def variables(self, content: Mapping[str, Any], where: _Path = ()) -> dict[str, str]:
        table = content.get("variables", {})
        path = (*where, "variables")
        if not isinstance(table, Mapping):
            raise self.fail(path, "must be a table", f'write [{".".join(path)}], and below it NAME = "value"')
        self.known(table, VARIABLES, path)
        for name, value in table.items():
            if not isinstance(value, str):
                raise self.fail((*path, name), "must be a string", f"write {_EXAMPLES['str']}")
        return dict(table)

    def settings(self, content: Mapping[str, Any], environments: tuple[str, ...]) -> dict[str, OwnSettings]:
        table = content.get("settings", {})
        if not isinstance(table, Mapping):
            raise self.fail(("settings",), "must be a table", "write [settings.NAME], with an environment's name")
        found = {}
        for name, own in table.items():
            path = ("settings", name)
            if name not in environments:
                raise self.fail(path, "is no environment of the study", f"use one of {list(environments)}")
            if not isinstance(own, Mapping):
                raise self.fail(path, "must be a table", f"write [settings.{name}]")
            self.known(own, tuple(f.name for f in fields(OwnSettings)), path)
            numbers = self.values(NUMBERS, own, path)
            variables = self.variables(own, path)
            for variable in settled_variables("cpu") & set(variables):
                what = "every arm sets it itself, so that its value here would have no effect"
                raise self.fail((*path, "variables", variable), what, "use threads for the number of threads")
            found[name] = OwnSettings(**numbers, variables=variables)
        return {name: own for name, own in found.items() if own != OwnSettings()}

    def sets(self, points: Any, path: _Path, allowed: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        if not isinstance(points, list):
            raise self.fail(path, "must be a list of lists of swap points")
        sets = [self.names(p, path, allowed) for p in points]
        if not all(sets):
            raise self.fail(path, "has an empty list", "name at least one swap point in each")
        # In pipeline order, so that a set has one name however it is written.
        ordered = tuple(tuple(sorted(names, key=allowed.index)) for names in sets)
        if len(set(ordered)) != len(ordered):
            raise self.fail(path, "names a set twice")
        return ordered


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Write a `study.toml`: every key with its value and what it is.

_HEAD = """\
# A study, for `reportlib run`. Every key that a study can have is here, with what it is. A line `# key = ...` is off
# and leaves the key to its default. What is wrong in here is named with its line before anything runs.
"""
_PRECISIONS = {
    "float32": "What colbert-ai does on a CPU.",
    "autocast": "bfloat16 on a CPU, slow where the CPU has no instructions for it; float16 on a GPU.",
}


def study_text(study: Study) -> str:
    """Write a study down as TOML that `read` reads back."""
    parts = [_HEAD + _lines(study, study, TOP)]
    for known in fields(study):
        value = getattr(study, known.name)
        if known.name in RECORDS:
            parts.append(f"# {key_of(known).about}\n[{known.name}]\n{_lines(study, value, fields(value))}")
        elif known.name == "passages":
            parts.append(f"# {key_of(known).about}\n" + "\n".join(_precision(study, name) for name in value))
        elif known.name == "variables":
            lines = [f"{name} = {toml(value[name])}" if name in value else f'# {name} = ""' for name in VARIABLES]
            parts.append("\n".join([f"# {key_of(known).about}", "[variables]", *lines, ""]))
        elif known.name == "settings":
            parts.append(f"# {key_of(known).about}\n{_settings(study)}")
    return "\n".join(parts)


def _settings(study: Study) -> str:
    """Write the tables of what is an environment's own; where nothing is, one with every key off."""
    if not study.settings:
        off = "".join(f"# {_line(each, 0, study)}" for each in NUMBERS)
        return f"[settings.{_bare(study.environments[-1])}]\n{off}"
    parts = []
    for name, own in study.settings.items():
        given = [each for each in NUMBERS if getattr(own, each.name)]
        table = f"settings.{_bare(name)}"
        parts += [f"[{table}]\n{_lines(study, own, given)}"] if given else []
        variables = "".join(f"{variable} = {toml(value)}\n" for variable, value in own.variables.items())
        parts += [f"[{table}.variables]\n{variables}"] if variables else []
    return "".join(parts)


def _bare(name: str) -> str:
    """Write a name as a part of a table's, quoted where TOML would read something else."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def _precision(study: Study, name: str) -> str:
    record = PrecisionSpec(study.passages[name])
    return f"# {_PRECISIONS[name]}\n[precision.{name}]\n{_lines(study, record, fields(record))}"


def _lines(study: Study, record: Any, known: Iterable[Field[Any]]) -> str:
    return "".join(_line(each, getattr(record, each.name), study) for each in known)


def _line(known: Field[Any], value: Any, study: Study) -> str:
    key = key_of(known)
    off = value == "" or (known.name in _OF_OFFLINE and study.checkpoint.source != OFFLINE)
    if key.studied:
        # Open where it is all of them, so that a precision can be removed in one place.
        off = value == tuple(study.passages)
    written = f"{'# ' if off else ''}{known.name} = {toml(value)}"
    if "\n" in written or len(written) + len(key.about) > 115:
        return f"# {known.name}: {key.about}\n{written}\n"
    return f"{written}  # {key.about}\n"


def toml(value: Any) -> str:
    """Write a value as TOML; a list of lists takes a line for each."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A JSON string is a TOML one, but for the one control character that JSON lets through.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        items = [toml(each) for each in value]
        if any(isinstance(each, tuple) for each in value):
            return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
        return f"[{', '.join(items)}]"
    return repr(value)
