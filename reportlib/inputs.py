"""Folders of inputs: made once, named by their content, found again without reading them.

Both collections and checkpoints live in ``<home>/inputs``. A folder appears under its name only
when it is whole; a note in ``<home>/inputs/prepared`` says which folder a request gave the last
time.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Mapping
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
