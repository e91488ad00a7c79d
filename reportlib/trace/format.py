"""The trace folder: how an environment writes it and how the host reads it.

Layout of a trace folder::

    manifest.json           the arm, torch, what the pass was given, and one entry for each recorded pass
    <slug>/trace.jsonl      one dispatched operation a line, in order of execution

Only hashes of tensors are kept, never their values.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reportlib.errors import StoreError
from reportlib.store import MANIFEST, digest_file

SCHEMA_VERSION = 2
TRACE_FILE = "trace.jsonl"


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as an operation read or wrote it.

    Attributes
    ----------
    dtype : str
        torch's name, without ``torch.``.
    shape, strides : tuple of int
        In elements.
    digest : str or None
        `tensor_digest` of the logical contents in C order: a view and a copy of it have the same. None for memory that
        no operation has written to yet (``aten::empty``), whose bytes mean nothing.
    storage : int
        Number of the memory behind it, the same for all views of it. No number is used twice in a trace.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    digest: str | None
    storage: int

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TensorRecord:
        """Read what `dataclasses.asdict` and JSON made of a record."""
        lists = {name: tuple(map(int, content[name])) for name in ("shape", "strides")}
        return cls(**{**content, **lists})


@dataclass(frozen=True)
class Operation:
    """One dispatched operation.

    Attributes
    ----------
    position : int
        In the order of execution, from 0.
    name, overload : str
        As the dispatcher knows it: ``aten::add``, ``Tensor``; the default overload is empty.
    module : str
        Dotted name of the innermost module whose ``forward`` was running, or of colbert-ai's function in an index
        pass; empty outside of all.
    source : str
        The innermost line of Python that is neither torch's nor reportlib's: ``transformers/activations.py:78: return
        self.act(input)``. Starts with the package's folder.
    arguments : mapping
        By the schema's names, those left out that have the schema's default. Tensors are ``{"tensor": index into
        inputs}``, floats ``{"float": hexadecimal}``, and dtypes, devices, layouts and memory formats say what they are.
    inputs : tuple of TensorRecord
        In the order of the arguments, hashed before the operation ran.
    result : JSON value
        What it returned, tensors as ``{"tensor": index into outputs}``.
    outputs : tuple of TensorRecord
        Returned tensors, then arguments that it wrote to without returning them; hashed after it ran.
    written : tuple of int
        Storages that it wrote to: new ones, and those of arguments changed in place. A view writes to none.
    """

    position: int
    name: str
    overload: str
    module: str
    source: str
    arguments: Mapping[str, Any]
    inputs: tuple[TensorRecord, ...]
    result: Any
    outputs: tuple[TensorRecord, ...]
    written: tuple[int, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Operation:
        """Read what `to_json` made."""
        tensors = {name: tuple(map(TensorRecord.from_json, content[name])) for name in ("inputs", "outputs")}
        return cls(**{**content, **tensors, "written": tuple(content["written"])})

    def to_json(self) -> str:
        """Return the operation's line of the trace."""
        return json.dumps(self, default=vars, separators=(",", ":"), ensure_ascii=False)

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class RecordedPass:
    """One recorded pass.

    Attributes
    ----------
    slug, description : str
        Name of its folder, and what it is in words.
    kind : str
        ``forward``, or ``index``: colbert-ai's indexing of given embeddings.
    given : mapping of str to str
        sha256 of each tensor that went in, by name.
    output : TensorRecord
        What came out.
    output_untraced : str
        `tensor_digest` of what came out of the same call without a recorder: the control for the observer.
    operations : int
        How many were recorded.
    sha256 : str
        Of ``trace.jsonl``.
    seconds_untraced, seconds_traced : float
        Wall time of the plain and of the recorded call.
    peak_bytes_untraced, peak_bytes_traced : int
        Greatest resident memory of the process up to the end of each call.
    """

    slug: str
    description: str
    kind: str
    given: Mapping[str, str]
    output: TensorRecord
    output_untraced: str
    operations: int
    sha256: str
    seconds_untraced: float
    seconds_traced: float
    peak_bytes_untraced: int
    peak_bytes_traced: int

    @property
    def undisturbed(self) -> bool:
        """Whether recording left the output's bytes as they are without it."""
        return self.output.digest == self.output_untraced

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RecordedPass:
        """Read what `dataclasses.asdict` and JSON made of a recorded pass."""
        return cls(**{**content, "output": TensorRecord.from_json(content["output"])})


@dataclass(frozen=True)
class Trace:
    """A trace folder that was read.

    Attributes
    ----------
    path : Path
        The folder.
    arm : mapping
        Environment, precision, device, threads and passages.
    torch : mapping
        ``version`` and ``cpu_capability``.
    inputs : mapping of str to str
        sha256 of the ``collection``, and of the ``weights`` (of all weights' hashes by name).
    passes : mapping of str to RecordedPass
        By slug, in the order in which they were recorded.
    """

    path: Path
    arm: Mapping[str, Any]
    torch: Mapping[str, Any]
    inputs: Mapping[str, str]
    passes: Mapping[str, RecordedPass]

    @classmethod
    def open(cls, path: Path) -> Trace:
        """Read a trace folder's manifest.

        Raises
        ------
        StoreError
            When it holds no trace, one of another schema, or a damaged one.
        """
        manifest = path / MANIFEST
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            version = content["schema_version"]
            if version == SCHEMA_VERSION:
                passes = [RecordedPass.from_json(entry) for entry in content["passes"]]
                return cls(path, content["arm"], content["torch"], content["inputs"], {p.slug: p for p in passes})
        except FileNotFoundError as error:
            raise StoreError(f"{path} holds no trace (no {MANIFEST})", "record it again") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{manifest} is damaged: {error}", "record it again") from error
        raise StoreError(f"{manifest} has schema {version}; this reportlib reads {SCHEMA_VERSION}", "record it again")

    def operations(self, slug: str) -> Iterator[Operation]:
        """Yield a pass's operations in order of execution, one line in memory at a time.

        Raises
        ------
        StoreError
            When the file is missing, or is not the one that the manifest names.
        """
        file = self.path / slug / TRACE_FILE
        try:
            if digest_file(file) != self.passes[slug].sha256:
                raise StoreError(f"{file} is not the file that its manifest names", "record it again")
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    yield Operation.from_json(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file} is damaged: {error}", "record it again") from error


class TraceWriter:
    """Write a trace folder atomically: it appears under its name only when it is whole.

    Use it as a context manager, call `add` for each pass, and `describe` once.

    Parameters
    ----------
    destination : Path
        The folder to be. Must not exist.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.partial = destination.with_name(destination.name + ".partial")
        self._passes: list[RecordedPass] = []
        self._described: dict[str, Any] = {}

    def __enter__(self) -> TraceWriter:
        if self.destination.exists():
            raise StoreError(f"there is a folder {self.destination} already", "remove it, or give another")
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        content = {
            "schema_version": SCHEMA_VERSION,
            **self._described,
            "passes": [asdict(entry) for entry in self._passes],
        }
        (self.partial / MANIFEST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.partial.replace(self.destination)

    def file(self, slug: str) -> Path:
        """Return where a pass's operations go, its folder made."""
        file = self.partial / slug / TRACE_FILE
        file.parent.mkdir()
        return file

    def add(self, entry: RecordedPass) -> None:
        """Add a recorded pass to the manifest."""
        self._passes.append(entry)

    def describe(self, *, arm: Mapping[str, Any], torch: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        """Set what the manifest says of the arm, of torch and of what every pass read."""
        self._described = {"arm": dict(arm), "torch": dict(torch), "inputs": dict(inputs)}
