"""Run a verb of `reportlib.trace` inside an environment, or two of them joined by a pipe."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fcntl import fcntl
from pathlib import Path
from queue import SimpleQueue
from signal import SIGPIPE
from threading import Thread
from typing import IO, Any

from reportlib.environments.kernels import process_environment
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CaptureError

Progress = Callable[[str], None]
#: Lines of a process's standard error that are kept for the message of an error.
_TAIL = 20
#: Linux's, which Python 3.11 has not under this name on every system; gigabytes go through the pipe.
_F_SETPIPE_SZ, _PIPE_BYTES = 1031, 1 << 20


@dataclass(frozen=True)
class Call:
    """A verb to run inside an environment.

    Attributes
    ----------
    record : EnvironmentRecord
        The environment.
    verb : str
        Of ``python -m reportlib.trace``.
    options : mapping of str to object
        By name, without dashes; True stands for a flag, None and False for nothing.
    threads : int
        For every library that has threads.
    variables : mapping of str to str
        Environment variables over the process's own.
    what : str
        What it does, for the message of an error: ``recording``.
    """

    record: EnvironmentRecord
    verb: str
    options: Mapping[str, Any]
    threads: int
    variables: Mapping[str, str]
    what: str

    def command(self) -> list[str]:
        """Return the command line."""
        parts = [str(self.record.python_program), "-m", "reportlib.trace", self.verb]
        for name, value in self.options.items():
            if value is True:
                parts.append(f"--{name}")
            elif value is not None and value is not False:
                parts += [f"--{name}", str(value)]
        return parts

    def start(self, home: Path, **streams: Any) -> subprocess.Popen[bytes]:
        """Start it; standard error is a pipe."""
        variables = {**process_environment(self.record, home, threads=self.threads), **self.variables}
        return subprocess.Popen(self.command(), env=variables, stderr=subprocess.PIPE, **streams)

    def failed(self, said: list[str]) -> CaptureError:
        """Return the error that says why it failed."""
        text = "\n".join(said) or "it said nothing"
        return CaptureError(f"{self.what} in the environment {self.record.name} failed:\n{text}")


def run(call: Call, home: Path, progress: Progress) -> None:
    """Run a verb to its end, its lines of progress handed on.

    Raises
    ------
    CaptureError
        When it fails, with what it said.
    """
    process = call.start(home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    said: list[str] = []
    _listen([(call, process, said)], progress)
    if process.returncode:
        raise call.failed(_ended(process, said))


def pipe(left: Call, right: Call, home: Path, progress: Progress) -> None:
    """Run two verbs side by side, what the first writes to standard output being what the second reads.

    Raises
    ------
    CaptureError
        When either fails, with what the one that is to blame said. Neither is left running.
    """
    sender = left.start(home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    sent: list[str] = []
    received: list[str] = []
    try:
        receiver = right.start(home, stdin=sender.stdout, stdout=subprocess.DEVNULL)
    except BaseException:
        _stop(sender)
        if sender.stderr is not None:
            sender.stderr.close()
        raise
    # Only the receiver is to hold the reading end: when it ends, the sender must notice.
    if sender.stdout is not None:
        with suppress(OSError):  # a small pipe only costs time
            fcntl(sender.stdout, _F_SETPIPE_SZ, _PIPE_BYTES)
        sender.stdout.close()
    _listen([(left, sender, sent), (right, receiver, received)], progress)
    broken = sender.returncode == -SIGPIPE or any("BrokenPipe" in line or "Broken pipe" in line for line in sent)
    if sender.returncode and not (broken and receiver.returncode):
        raise left.failed(_ended(sender, sent))
    if receiver.returncode:
        raise right.failed(_ended(receiver, received))


def _listen(running: list[tuple[Call, subprocess.Popen[bytes], list[str]]], progress: Progress) -> None:
    """Hand on every process's lines of progress until all have ended; stop them all when that is interrupted."""
    lines: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
    readers = []
    try:
        for index, (_, process, _) in enumerate(running):
            reader = Thread(target=_read, args=(index, process.stderr, lines), daemon=True)
            reader.start()
            readers.append(reader)
        open_streams = len(running)
        while open_streams:
            found = lines.get()
            if found is None:
                open_streams -= 1
                continue
            call, _, said = running[found[0]]
            said[:] = [*said[-_TAIL:], found[1]]
            if found[1].startswith(f"{call.record.name}-"):
                progress(found[1])
        for _, process, _ in running:
            process.wait()
    except BaseException:
        for _, process, _ in running:
            _stop(process)
        raise


def _read(index: int, stream: IO[bytes] | None, lines: SimpleQueue[tuple[int, str] | None]) -> None:
    assert stream is not None  # noqa: S101  (Popen was given a pipe)
    with stream:
        for line in stream:
            lines.put((index, line.decode(errors="replace").rstrip()))
    lines.put(None)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and close what it was read from, unless a thread still reads it."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _ended(process: subprocess.Popen[bytes], said: list[str]) -> list[str]:
    """Return what a process said, with the signal that ended it if one did."""
    return [*said, f"ended by signal {-process.returncode}"] if process.returncode < 0 else said
