"""One process at a time works on the environments of a project."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from reportlib.environments.installer import Progress


@contextlib.contextmanager
def only_one(home: Path, progress: Progress) -> Iterator[int]:
    """Let one process at a time work on the environments of `home`; yield the lock's file descriptor.

    Child processes that fill a prefix inherit the descriptor. So when this process is killed and its uv is not,
    the lock is held until uv ends too, and the next creation never works on a prefix beside it. That is why this is
    flock(2) itself: the package filelock does not give its descriptor away.
    """
    folder = home / "envs"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that works on the environments here")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
