"""Traces of environments, recorded by verbs of `reportlib.trace` in each and found again by what determines them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import fcntl
from os import environ
from pathlib import Path
from queue import SimpleQueue
from signal import SIGPIPE
from threading import Thread
from typing import IO, Any

from filelock import FileLock

from reportlib.collections.reading import PASSAGES, read_passages
from reportlib.environments.record import EnvironmentRecord, load_record, process_environment
from reportlib.errors import CaptureError, CheckpointError, StoreError
from reportlib.store import MANIFEST, canonical_json, digest, digest_file
from reportlib.study import VARIABLES, OwnSettings
from reportlib.trace.format import Trace
from reportlib.workflow.addresses import CODE, ambient

# Run a verb of `reportlib.trace` inside an environment, or two of them joined by a pipe.

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

    def failed(self, output: list[str]) -> CaptureError:
        """Return the error that says why it failed."""
        text = "\n".join(output) or "it said nothing"
        return CaptureError(f"{self.what} in the environment {self.record.name} failed:\n{text}")


def run(call: Call, home: Path, progress: Progress) -> None:
    """Run a verb to its end, its lines of progress handed on."""
    process = call.start(home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    output: list[str] = []
    _listen([(call, process, output)], progress)
    if process.returncode:
        raise call.failed(_ended(process, output))


def pipe(left: Call, right: Call, home: Path, progress: Progress) -> None:
    """Run two verbs side by side, what the first writes to standard output being what the second reads."""
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
            read = lines.get()
            if read is None:
                open_streams -= 1
                continue
            number, line = read
            call, _, output = running[number]
            output[:] = [*output[-_TAIL:], line]
            if line.startswith(f"{call.record.name}-"):
                progress(line)
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


def _ended(process: subprocess.Popen[bytes], output: list[str]) -> list[str]:
    """Return what a process output, with the signal that ended it if one did."""
    return [*output, f"ended by signal {-process.returncode}"] if process.returncode < 0 else output


@dataclass(frozen=True)
class TraceOrder:
    """What to record.

    Attributes
    ----------
    precision : str
        ``float32`` or ``autocast``.
    passages : int
        How many passages from the start of the collection make the batch.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        For every library that has threads.
    texts : tuple of str
        Single inputs, each a pass of its own.
    doc_maxlen : int
        colbert-ai's setting of that name.
    variables : mapping of str to str
        Environment variables of `reportlib.study.VARIABLES`, over this process's own.
    capture : Path, optional
        A plain arm whose embeddings are indexed as one more pass.
    own : mapping of str to OwnSettings
        What an environment, by name, has in place of threads and variables.
    """

    precision: str = "float32"
    passages: int = 32
    device: str = "cpu"
    threads: int = 2
    texts: tuple[str, ...] = ("a", "test input")
    doc_maxlen: int = 256
    variables: Mapping[str, str] = field(default_factory=dict)
    capture: Path | None = None
    own: Mapping[str, OwnSettings] = field(default_factory=dict)

    def threads_in(self, environment: str) -> int:
        """Return an environment's threads."""
        return (self.own.get(environment) or OwnSettings()).threads or self.threads

    def variables_in(self, environment: str) -> dict[str, str]:
        """Return the variables that are set in an environment, over this process's own."""
        return {**self.variables, **(self.own.get(environment) or OwnSettings()).variables}

    def call(self, record: EnvironmentRecord, inputs: PassInputs, verb: str, what: str, **options: Any) -> Call:
        """Return a verb of `reportlib.trace` on these passes, ready to be run."""
        given = {"environment": record.name, **inputs.options(), "precision": self.precision,
                 "passages": self.passages, "device": self.device, "threads": self.threads_in(record.name),
                 "texts": json.dumps(list(self.texts)), "doc-maxlen": self.doc_maxlen,
                 "index": self.capture}  # fmt: skip
        threads, variables = self.threads_in(record.name), self.variables_in(record.name)
        return Call(record, verb, {**given, **options}, threads, variables, what)

    def content(self, environment: str = "") -> dict[str, Any]:
        """Return what of it determines a trace, of one environment or of all that have nothing of their own."""
        return {
            "order": [
                self.precision,
                self.passages,
                self.device,
                self.threads_in(environment),
                list(self.texts),
                self.doc_maxlen,
            ],
            "variables": {
                **{name: environ[name] for name in VARIABLES if name in environ},
                **self.variables_in(environment),
            },
            "index": None if self.capture is None else _manifest_digest(self.capture),
        }


def _manifest_digest(capture: Path) -> str:
    """Hash a capture's manifest, which names the hash of each of its artifacts."""
    manifest = capture / MANIFEST
    if not manifest.is_file():
        raise StoreError(f"{capture} holds no capture (no {MANIFEST})", "capture the arm first")
    return digest_file(manifest)


@dataclass(frozen=True)
class PreparedInputs:
    """The collection and checkpoint that `reportlib prepare` made last, checked."""

    collection: Path
    checkpoint: Path

    @classmethod
    def find(cls, home: Path, passages: int) -> PreparedInputs:
        """Return them."""
        found = cls(home / "inputs" / "collection", home / "inputs" / "checkpoint")
        read_passages(found.collection, passages)
        if not (found.checkpoint / "artifact.metadata").is_file():
            raise CheckpointError(f"no checkpoint is prepared in {home}", "run `reportlib prepare STUDY`")
        return found

    def options(self) -> dict[str, Path]:
        """Return the options of `reportlib.trace` that name them."""
        return {"checkpoint": self.checkpoint, "collection": self.collection}

    def digest(self) -> str:
        """Return a hash of what a pass reads of them."""
        files = [self.collection / PASSAGES, *sorted(self.checkpoint.iterdir())]
        return digest(canonical_json([[file.name, digest_file(file)] for file in files if file.is_file()]).encode())


@dataclass(frozen=True)
class ModuleFile:
    """A Python file with a function ``model`` that returns a module of torch and its inputs.

    Its own weights and inputs are hashed where it runs; files that it reads are not known.
    """

    path: Path

    @classmethod
    def find(cls, path: Path) -> ModuleFile:
        """Return it."""
        if not path.is_file():
            raise StoreError(f"there is no file {path}", "give a Python file with a function model()")
        return cls(path.absolute())

    def options(self) -> dict[str, Path]:
        """Return the option of `reportlib.trace` that names it."""
        return {"model": self.path}

    def digest(self) -> str:
        """Return a hash of its text and name."""
        return digest(canonical_json([self.path.name, digest_file(self.path)]).encode())


PassInputs = PreparedInputs | ModuleFile


def trace_pair(
    a: str, b: str, order: TraceOrder, home: Path, progress: Progress, inputs: PassInputs | None = None
) -> tuple[Trace, Trace]:
    """Record both environments, unless that was done with all the same.

    Parameters
    ----------
    a, b : str
        Names of environments. One name twice records it in two processes: the control A/A.
    order : TraceOrder
        What to record.
    home : Path
        Folder for environments, inputs and traces.
    progress : callable
        Gets each line of progress.
    inputs : PreparedInputs or ModuleFile, optional
        Those prepared last by default.

    Raises
    ------
    EnvironmentCreationError
        When an environment is not made.
    CollectionError, CheckpointError
        When an input is missing or has too few passages.
    StoreError
        When the order's capture is none.
    CaptureError
        When a recording fails, with what it said.
    """
    records = load_record(a, home), load_record(b, home)
    inputs = inputs or PreparedInputs.find(home, order.passages)
    first, second = trace_addresses(records, order, inputs, home)
    folder = home / "traces"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"), ThreadPoolExecutor(max_workers=2) as pool:
        found = [
            pool.submit(_find_or_record, record, address, order, inputs, home, progress)
            for record, address in zip(records, (first, second), strict=True)
        ]
        return found[0].result(), found[1].result()


def trace_addresses(
    records: tuple[EnvironmentRecord, EnvironmentRecord], order: TraceOrder, inputs: PassInputs, home: Path
) -> tuple[Path, Path]:
    """Return two folders, each named after everything that determines a trace: what ran, on what, on which machine."""
    first, second = (home / "traces" / name for name in _addressed(records, order, inputs))
    return first, second.with_name(f"{second.name}-again") if first == second else second


def _addressed(records: Sequence[EnvironmentRecord], order: TraceOrder, inputs: PassInputs) -> list[str]:
    """Return for each environment the name of what is measured in it on these passes."""
    shared = {
        "inputs": inputs.digest(),
        "code": CODE["trace"],
        "machine": ambient(order.device)["machine"],
    }
    names = []
    for record in records:
        environment = [record.backend, record.python, dict(record.packages), dict(record.conda_packages)]
        content = {**order.content(record.name), **shared, "environment": environment}
        key = digest(canonical_json(content).encode())[:16]
        names.append(f"{record.name}-{order.precision}-{key}")
    return names


def _find_or_record(
    record: EnvironmentRecord, folder: Path, order: TraceOrder, inputs: PassInputs, home: Path, progress: Progress
) -> Trace:
    if folder.exists():
        try:
            trace = Trace.open(folder)
        except StoreError as error:
            raise StoreError(error.what, f"remove {folder} and run again") from error
        progress(f"{record.name}: found the trace {folder.name}")
        return trace
    run(order.call(record, inputs, "record", "recording", output=folder), home, progress)
    return Trace.open(folder)


def find_shapes(
    record: EnvironmentRecord, order: TraceOrder, inputs: PassInputs, home: Path, progress: Progress
) -> Path:
    """Return the folder that the verb ``shapes`` leaves, made unless it is there."""
    folder = home.joinpath("shapes", *_addressed([record], order, inputs))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            run(order.call(record, inputs, "shapes", "encoding many shapes", output=folder), home, progress)
    return folder
