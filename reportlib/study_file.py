"""Read a `study.toml`: into records when it makes sense, and otherwise into a message that names the line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from reportlib.artifacts import SWAPPABLE
from reportlib.errors import StudyError
from reportlib.study import (
    DEVICES,
    DIRECTIONS,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    ControlSpec,
    OperationsSpec,
    SearchSpec,
    Study,
    SwapSpec,
)
from reportlib.study_keys import KEYS, meant
from reportlib.study_limits import (
    Complaint,
    checkpoint_complaints,
    colbert_complaints,
    collection_complaints,
    search_complaints,
)
from reportlib.study_lines import Lines

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
