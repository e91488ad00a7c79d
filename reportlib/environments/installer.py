"""Run uv, and turn what it complains about into errors that name the mend."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import uv

from reportlib.errors import (
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
    PinsConflictError,
    ReportlibError,
)

#: Called with one short line each time something moves on.
Progress = Callable[[str], None]

#: What uv says that tells nobody anything: one line a package after installing all of them, and advice on its own use.
_CHATTER = re.compile(r"\s*(\+ |Using Python|Activate with|error:|cause:|$)")
_NO_SPACE = "No space left on device"
_NO_VERSION = re.compile(r"no version of ([A-Za-z0-9._-]+)\s*==\s*([^\s,]+)")
_NO_PACKAGE = re.compile(r"([A-Za-z0-9._-]+) was not found in the package registry")
_NO_NETWORK = re.compile(r"dns error|error sending request|Failed to fetch|Connection refused|Network connectivity")


class UvFailedError(Exception):
    """uv ended with an error; its standard error output is the message."""


def silent(line: str) -> None:
    """Take no notice of progress."""
    del line


def find_uv() -> str:
    """Return the path of the uv program that comes with the package `uv`."""
    return uv.find_uv_bin()


def run_uv(
    arguments: Sequence[str | Path],
    *,
    progress: Progress = silent,
    keep_open: Sequence[int] = (),
) -> str:
    """Run uv and return its standard output.

    Parameters
    ----------
    arguments : sequence of str or Path
        After ``uv``.
    progress : callable
        Gets what uv writes to standard error, line by line.
    keep_open : sequence of int
        File descriptors that uv inherits.

    Raises
    ------
    UvFailedError
        When uv ends with an error.
    """
    command = [find_uv(), *map(str, arguments)]
    lines: list[str] = []
    # A file, not a second pipe: nobody would empty that one while this reads standard error.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=tuple(keep_open),
        ) as process,
    ):
        try:
            assert process.stderr is not None  # noqa: S101  (for the type checker)
            for line in process.stderr:
                lines.append(line.rstrip())
                if not _CHATTER.match(line):
                    progress(line.strip())
        except BaseException:
            process.terminate()
            raise
        process.wait()
        output.seek(0)
        said = output.read()
    if process.returncode != 0:
        raise UvFailedError("\n".join(lines))
    return said


def explain(failure: UvFailedError, path: Path) -> ReportlibError:
    """Return the error that tells a user why uv failed.

    Parameters
    ----------
    failure : UvFailedError
        What uv said.
    path : Path
        The environment file that it worked for.
    """
    # uv wraps its explanations at the width of a terminal, and colours them when it thinks it has one.
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(failure)).split())
    if _NO_SPACE in said:
        return DiskSpaceError(
            f"the disk ran full while packages were installed for {path.name}",
            "make room (`uv cache clean` frees what uv keeps for later), then run it again",
        )
    missing = _NO_VERSION.search(said)
    if missing:
        name, version = missing[1], missing[2].rstrip(".")
        near = _nearest(name, version)
        return EnvironmentFileError(
            f"{path}: {name} has no version {version} that fits",
            f"the nearest that exist are {near}" if near else "look up its versions",
        )
    unknown = _NO_PACKAGE.search(said)
    if unknown:
        return EnvironmentFileError(f"{path}: there is no package {unknown[1]}", "check its name")
    if "No solution found" in said:
        return PinsConflictError(f"{path} asks for versions that do not go together:\n{failure}")
    if "Hash mismatch" in said or "hash mismatch" in said:
        return EnvironmentCreationError(
            f"a package is not the file that the lock of {path.name} knows:\n{_tail(failure)}",
            "find out where it came from; `reportlib env lock` trusts what is there now",
        )
    if _NO_NETWORK.search(said):
        return EnvironmentCreationError(
            f"the package registry cannot be reached:\n{_tail(failure)}",
            "check the network, or name your mirror in UV_DEFAULT_INDEX",
        )
    return EnvironmentCreationError(f"uv could not install {path.name}:\n{_tail(failure)}")


def _tail(failure: UvFailedError, lines: int = 15) -> str:
    return "\n".join(str(failure).strip().splitlines()[-lines:])


def _nearest(name: str, version: str) -> str:
    """Return the highest version below and the lowest above, as uv's own index has them."""
    found = []
    for bound, strategy in (("<", "highest"), (">", "lowest")):
        command = [find_uv(), "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate"]
        done = subprocess.run(
            [*command, "--quiet", "--resolution", strategy],
            input=f"{name}{bound}{version}",
            capture_output=True,
            text=True,
            check=False,
        )
        pin = re.search(r"==(\S+)", done.stdout)
        if done.returncode == 0 and pin:
            found.append(pin[1])
    return " and ".join(found)
