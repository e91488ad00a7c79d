"""The capture folder: how `capture` writes it and `compare` reads it.

Layout of a capture::

    manifest.json            every artifact with dtype, shape, sha256 and stage; the arm; provenance
    artifacts/<name>.safetensors    one tensor a file, under the key "tensor"
    artifacts/<name>.json           one plain value a file
    index/                   ColBERT's own index folder, untouched

An artifact's name may have one or more slashes (``embs/0``, ``layers/a/3``); they become folders. One tensor
a file keeps every artifact memory-mappable: its bytes are the tail of the file, so comparing two indexes of
tens of gigabytes needs no more memory than one block of each. Both sides import this module; it needs numpy and
safetensors only, and reading never unpickles anything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from reportlib.errors import DiskSpaceError, StoreError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

#: dtype names as torch prints them without "torch.", to the numpy dtype that holds their bytes. numpy has no
#: bfloat16: its bits travel as uint16 and `Tensor.dtype` keeps the true name.
CARRIERS: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "uint8": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
Made = TypeVar("Made")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*")


@dataclass(frozen=True)
class Tensor:
    """A tensor outside torch: its bytes, with the dtype's true name.

    Attributes
    ----------
    array : numpy.ndarray
        The values, of any shape; for ``bfloat16`` the raw bits as ``uint16``. May be a read-only memory map.
    dtype : str
        A key of `CARRIERS`.
    """

    array: npt.NDArray[Any]
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self.array.shape)


@dataclass(frozen=True)
class Artifact:
    """One line of the manifest.

    Attributes
    ----------
    name : str
        The capture point, with chunk, batch or layer after a slash.
    stage : str
        The pipeline stage that it comes from.
    kind : str
        ``tensor`` or ``value``.
    dtype : str
        Key of `CARRIERS` for a tensor; the Python type's name for a value.
    shape : tuple of int
        A tensor's shape; ``(len,)`` for a list; ``()`` otherwise.
    sha256 : str
        Of the tensor's bytes (C order, without header) or of the value's canonical JSON.
    nbytes : int
        Of what was hashed.
    """

    name: str
    stage: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    nbytes: int


def digest(data: bytes) -> str:
    """Return the sha256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: the form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_json(file: Path, version: int, what: str, mend: str, make: Callable[[dict[str, Any]], Made]) -> Made:
    """Read a JSON file that names its schema, and return what `make` makes of the rest of it.

    Parameters
    ----------
    file : Path
        The file.
    version : int
        Of the schema that is read.
    what : str
        What the file's folder holds: ``capture``.
    mend : str
        What the user can do where it cannot be read.
    make : callable
        May raise what wrong content raises: `KeyError`, `TypeError`, `ValueError`.

    Raises
    ------
    StoreError
        When there is no such file, it is damaged, or of another schema.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = content.pop("schema_version")
        if found == version:
            return make(content)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{file.parent} holds no {what} (no {file.name})", mend) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} is damaged: {error}", mend) from error
    raise StoreError(f"{file} has schema {found}; this reportlib reads {version}", mend)


def write_text(path: Path, text: str) -> None:
    """Write a file at once: a reader sees the old one or the whole new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def link_folder(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to the folder `target`, at once; one that leads there already stays."""
    target = target.resolve()
    if link.is_symlink() and link.resolve() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(target, target_is_directory=True)
    partial.replace(link)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or any(part in {".", ".."} for part in name.split("/")):
        raise StoreError(
            f"{name!r} cannot name an artifact",
            "use letters, digits, '_', '.', '+', '-' and '/' between parts",
        )


class CaptureWriter:
    """Write a capture atomically: the folder appears under its name only when it is whole.

    Use it as a context manager. Artifacts go to ``<destination>.partial`` as they are added, so a long capture
    never holds more than one artifact in memory; leaving the block without an error renames the folder, leaving
    it with one removes it. A partial folder that a killed process left is removed on entry.

    Parameters
    ----------
    destination : Path
        The capture folder to be. Must not exist.
    pool : iterable of Capture
        Finished captures on the same disk: a tensor that one of them has already is linked, not stored again.

    Raises
    ------
    StoreError
        When `destination` exists, or a name is used twice.
    DiskSpaceError
        When the disk fills up while writing.
    """

    def __init__(self, destination: Path, pool: Iterable[Capture] = ()) -> None:
        self.destination = destination
        self._pool = {
            _content(line): capture.file(name) for capture in pool for name, line in capture.artifacts.items()
        }
        self.partial = destination.with_name(destination.name + ".partial")
        self._artifacts: dict[str, Artifact] = {}
        self._arm: dict[str, Any] = {}
        self._provenance: dict[str, Any] = {}

    def __enter__(self) -> CaptureWriter:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.abort(error)

    def begin(self) -> None:
        """Make the partial folder, in place of one that a killed process left."""
        if self.destination.exists():
            raise StoreError(
                f"there is a capture at {self.destination} already",
                "remove it, or give another output folder",
            )
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)

    def finish(self) -> None:
        """Write the manifest and give the folder its name."""
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "arm": self._arm,
            "artifacts": [asdict(a) for a in self._artifacts.values()],
            "provenance": self._provenance,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (self.partial / MANIFEST).write_text(text, encoding="utf-8")
        self.partial.replace(self.destination)

    def abort(self, error: BaseException) -> None:
        """Remove the partial folder; raise `DiskSpaceError` where `error` says that the disk is full."""
        shutil.rmtree(self.partial, ignore_errors=True)
        if _is_disk_full(error):
            raise self._disk_full() from error

    def _disk_full(self) -> DiskSpaceError:
        return DiskSpaceError(
            f"the disk that holds {self.destination.parent} is full; the unfinished capture was removed",
            "free some room, or point REPORTLIB_HOME at another disk, and run again",
        )

    @property
    def index_folder(self) -> Path:
        """Where ColBERT is to put its own index folder."""
        return self.partial / "index"

    def tensor(self, name: str, array: npt.NDArray[Any], stage: str, dtype: str | None = None) -> None:
        """Add a tensor.

        Parameters
        ----------
        name : str
            Name of the artifact.
        array : numpy.ndarray
            Values of any shape; raw bits as ``uint16`` for ``bfloat16``.
        stage : str
            The pipeline stage.
        dtype : str, optional
            The true dtype, where numpy cannot say it.
        """
        dtype = dtype or str(array.dtype)
        if CARRIERS.get(dtype) != array.dtype:
            raise StoreError(f"artifact {name!r}: dtype {dtype} in a numpy array of {array.dtype}")
        # ascontiguousarray turns a scalar into one element: keep the shape.
        whole = np.ascontiguousarray(array).reshape(array.shape)
        path = self._path(name, ".safetensors")
        sha256 = hashlib.sha256(whole.data).hexdigest()
        line = Artifact(name, stage, "tensor", dtype, whole.shape, sha256, whole.nbytes)
        if not _linked(self._pool.get(_content(line)), path):
            safetensors.numpy.save_file({"tensor": whole}, path, metadata={"dtype": dtype})
        self._add(line)

    def value(self, name: str, value: Any, stage: str) -> None:
        """Add a plain value: a number, string, list or mapping that JSON can hold."""
        data = canonical_json(value).encode()
        self._path(name, ".json").write_bytes(data)
        shape = (len(value),) if isinstance(value, list) else ()
        dtype = type(value).__name__
        self._add(Artifact(name, stage, "value", dtype, shape, digest(data), len(data)))

    def has(self, name: str) -> bool:
        """Whether the artifact `name` is there already."""
        return name in self._artifacts

    def describe(self, arm: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Set what the manifest says of the arm and of where it ran."""
        self._arm = dict(arm)
        self._provenance = dict(provenance)

    def _add(self, artifact: Artifact) -> None:
        self._artifacts[artifact.name] = artifact

    def _path(self, name: str, suffix: str) -> Path:
        _check_name(name)
        if name in self._artifacts:
            raise StoreError(f"artifact {name!r} is captured twice")
        path = self.partial / "artifacts" / (name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Capture:
    """A finished capture, for reading.

    Make one with `Capture.open`. Tensors are read-only memory maps; nothing is read until it is asked for.
    """

    path: Path
    arm: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]
    provenance: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Capture:
        """Open the capture at `path`.

        Raises
        ------
        StoreError
            When there is none, its manifest is damaged, or its schema is not this version's.
        """

        def make(content: dict[str, Any]) -> Capture:
            lines = [Artifact(**{**a, "shape": tuple(a["shape"])}) for a in content["artifacts"]]
            for line in lines:
                _check_name(line.name)
            return cls(path, content["arm"], {a.name: a for a in lines}, content["provenance"])

        mend = "run its arm again, or use the reportlib that wrote it"
        return read_json(path / MANIFEST, SCHEMA_VERSION, "capture", mend, make)

    def _repr_html_(self) -> str:
        """Return its name and a line for each artifact, as JupyterLab shows it."""
        lines = (
            (a.name, a.stage, a.dtype, " × ".join(map(str, a.shape)), f"{a.nbytes:,}", a.sha256[:12])
            for a in self.artifacts.values()
        )
        head = ("artifact", "stage", "dtype", "shape", "bytes", "sha256")
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
        return (
            f"<p><code>{escape(self.path.name)}</code></p>"
            f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{rows}</table>"
        )

    @property
    def index_folder(self) -> Path:
        """ColBERT's own index folder."""
        return self.path / "index"

    def group(self, name: str) -> list[str]:
        """Return the artifact `name`, or ``name/0``, ``name/1``, ... in numerical order."""
        if name in self.artifacts:
            return [name]
        found = [n for n in self.artifacts if n.startswith(name + "/") and n[len(name) + 1 :].isdigit()]
        return sorted(found, key=lambda n: int(n.rsplit("/", 1)[1]))

    def tensor(self, name: str) -> Tensor:
        """Memory-map the tensor `name`.

        Returns
        -------
        Tensor
            With the shape and dtype of the manifest.

        Raises
        ------
        StoreError
            When it is not there, or its file does not match the manifest.
        """
        artifact = self._find(name, "tensor")
        path = self.file(name)
        try:
            with safetensors.safe_open(str(path), framework="numpy") as handle:
                part = handle.get_slice("tensor")
                shape = tuple(part.get_shape())
                dtype = (handle.metadata() or {}).get("dtype", "")
        except (OSError, safetensors.SafetensorError) as error:
            raise StoreError(f"{path} is damaged: {error}", "run its arm again") from error
        if (dtype, shape) != (artifact.dtype, artifact.shape) or dtype not in CARRIERS:
            raise StoreError(
                f"{path} holds {dtype} {shape}; its manifest says {artifact.dtype} {artifact.shape}",
                "run its arm again",
            )
        carrier = CARRIERS[dtype]
        if artifact.nbytes == 0:
            return Tensor(np.empty(shape, carrier), dtype)
        # safetensors puts the data last, and there is one tensor a file.
        offset = path.stat().st_size - artifact.nbytes
        return Tensor(np.memmap(path, carrier, "r", offset, shape), dtype)

    def value(self, name: str) -> Any:
        """Return the plain value `name`."""
        self._find(name, "value")
        path = self.file(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged: {error}", "run its arm again") from error

    def damaged(self) -> Iterator[str]:
        """Yield the names of the artifacts whose bytes no longer have the manifest's hash."""
        for name, artifact in self.artifacts.items():
            try:
                if artifact.kind == "tensor":
                    found = hashlib.sha256(self.tensor(name).array.data).hexdigest()
                else:
                    found = digest(self.file(name).read_bytes())
            except (StoreError, OSError):
                found = ""
            if found != artifact.sha256:
                yield name

    def _find(self, name: str, kind: str) -> Artifact:
        artifact = self.artifacts.get(name)
        if artifact is None:
            raise StoreError(f"the capture {self.path} has no artifact {name!r}")
        if artifact.kind != kind:
            raise StoreError(f"artifact {name!r} of {self.path} is a {artifact.kind}, not a {kind}")
        return artifact

    def file(self, name: str) -> Path:
        """Return where the artifact `name` lies."""
        suffix = ".safetensors" if self.artifacts[name].kind == "tensor" else ".json"
        return self.path / "artifacts" / (name + suffix)


def _content(line: Artifact) -> tuple[Any, ...]:
    """Return what makes two artifacts' files the same."""
    return line.kind, line.dtype, line.shape, line.sha256


def _linked(there: Path | None, path: Path) -> bool:
    """Give the file `there` the further name `path`, if there is one and the disk can do it."""
    if there is None:
        return False
    try:
        os.link(there, path)
    except OSError:
        return False
    return True


def _is_disk_full(error: BaseException) -> bool:
    """Whether `error` comes from a full disk: torch and safetensors turn the system's error into their own."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    text = str(error).lower()
    return "no space left" in text or "os error 28" in text or "file write failed" in text


def project_home() -> Path:
    """Return the folder for environments, inputs and captures: ``$REPORTLIB_HOME`` or ``.reportlib`` here.

    Raises
    ------
    StoreError
        When its path cannot stand in a list of paths, as ``PATH`` and ``PYTHONPATH`` are.
    """
    home = Path(os.environ.get("REPORTLIB_HOME") or ".reportlib").absolute()
    if any(sign in str(home) for sign in ":\n"):
        raise StoreError(
            f"{str(home)!r} cannot be the home: in a list of paths such as PATH, ':' ends a path",
            "set REPORTLIB_HOME to a folder whose path has no ':' and no line break",
        )
    return home
