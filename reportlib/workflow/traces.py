"""Traces of environments: recorded in a process of each, and found again by what determines them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from os import environ
from pathlib import Path

from filelock import FileLock

from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.collections.reading import PASSAGES, read_passages
from reportlib.environments.kernels import process_environment
from reportlib.environments.record import EnvironmentRecord, load_record
from reportlib.errors import CaptureError, CheckpointError, StoreError
from reportlib.store import canonical_json, digest, digest_file
from reportlib.study import VARIABLES
from reportlib.trace.format import Trace
from reportlib.workflow.code import code_digest

#: What a trace's content depends on. `reportlib.trace` takes its inputs and precisions from `reportlib.capture`.
_TRACE_CODE = ("trace", "capture", "collections/reading.py", "store.py")

Progress = Callable[[str], None]


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
    """

    precision: str = "float32"
    passages: int = 32
    device: str = "cpu"
    threads: int = 2


@dataclass(frozen=True)
class PreparedInputs:
    """The collection and checkpoint that `reportlib prepare` made last, checked."""

    collection: Path
    checkpoint: Path

    @classmethod
    def find(cls, home: Path, passages: int) -> PreparedInputs:
        """Return them.

        Raises
        ------
        CollectionError, CheckpointError
            When one is missing or cannot be used, or there are fewer passages.
        """
        found = cls(home / "inputs" / "collection", home / "inputs" / "checkpoint")
        read_passages(found.collection, passages)
        if not (found.checkpoint / "artifact.metadata").is_file():
            raise CheckpointError(f"no checkpoint is prepared in {home}", "run `reportlib prepare STUDY`")
        return found

    def digest(self) -> str:
        """Return a hash of what a pass reads of them."""
        files = [self.collection / PASSAGES, *sorted(self.checkpoint.iterdir())]
        return digest(canonical_json([[file.name, digest_file(file)] for file in files if file.is_file()]).encode())


def trace_pair(a: str, b: str, order: TraceOrder, home: Path, progress: Progress) -> tuple[Trace, Trace]:
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

    Raises
    ------
    EnvironmentCreationError
        When an environment is not made.
    CollectionError, CheckpointError
        When an input is missing or has too few passages.
    CaptureError
        When a recording fails, with what it said.
    """
    records = load_record(a, home), load_record(b, home)
    inputs = PreparedInputs.find(home, order.passages)
    first, second = (_address(record, order, inputs, home) for record in records)
    if first == second:
        second = first.with_name(f"{first.name}-again")
    folder = home / "traces"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        return (
            _find_or_record(records[0], first, order, inputs, home, progress),
            _find_or_record(records[1], second, order, inputs, home, progress),
        )


def _address(record: EnvironmentRecord, order: TraceOrder, inputs: PreparedInputs, home: Path) -> Path:
    """Return a folder named after everything that determines a trace: what ran, on what, and on which machine."""
    content = {
        "environment": [record.backend, record.python, dict(record.packages), dict(record.conda_packages)],
        "order": [order.precision, order.passages, order.device, order.threads],
        "inputs": inputs.digest(),
        "code": code_digest(_TRACE_CODE),
        "variables": {name: environ[name] for name in VARIABLES if name in environ},
        "machine": [cpu_name(), instruction_sets()],
    }
    key = digest(canonical_json(content).encode())[:16]
    return home / "traces" / f"{record.name}-{order.precision}-{key}"


def _find_or_record(
    record: EnvironmentRecord, folder: Path, order: TraceOrder, inputs: PreparedInputs, home: Path, progress: Progress
) -> Trace:
    if folder.exists():
        try:
            trace = Trace.open(folder)
        except StoreError as error:
            raise StoreError(error.what, f"remove {folder} and run again") from error
        progress(f"{record.name}: found the trace {folder.name}")
        return trace
    options = {"environment": record.name, "checkpoint": inputs.checkpoint, "collection": inputs.collection,
               "output": folder, "precision": order.precision, "passages": order.passages, "device": order.device,
               "threads": order.threads}  # fmt: skip
    command = [str(record.python_program), "-m", "reportlib.trace", "record"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    variables = process_environment(record, home, threads=order.threads)
    tail: list[str] = []
    nowhere, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdout=nowhere, stderr=pipe, text=True) as process:
        for line in process.stderr or ():
            tail = [*tail[-20:], line.rstrip()]
            if line.startswith(f"{record.name}-"):
                progress(line.rstrip())
    if process.returncode:
        said = "\n".join(tail)
        raise CaptureError(f"recording in the environment {record.name} failed:\n{said}")
    return Trace.open(folder)
