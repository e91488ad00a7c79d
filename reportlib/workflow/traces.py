"""Traces of environments: recorded in a process of each, and found again by what determines them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any

from filelock import FileLock

from reportlib.collections.reading import PASSAGES, read_passages
from reportlib.environments.record import EnvironmentRecord, load_record
from reportlib.errors import CheckpointError, StoreError
from reportlib.store import MANIFEST, canonical_json, digest, digest_file
from reportlib.study import VARIABLES
from reportlib.trace.format import Trace
from reportlib.workflow.code import CODE, ambient
from reportlib.workflow.processes import Call, Progress, run


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
    """

    precision: str = "float32"
    passages: int = 32
    device: str = "cpu"
    threads: int = 2
    texts: tuple[str, ...] = ("a", "test input")
    doc_maxlen: int = 256
    variables: Mapping[str, str] = field(default_factory=dict)
    capture: Path | None = None

    def call(self, record: EnvironmentRecord, inputs: PreparedInputs, verb: str, what: str, **options: Any) -> Call:
        """Return a verb of `reportlib.trace` on these passes, ready to be run."""
        given = {"environment": record.name, "checkpoint": inputs.checkpoint, "collection": inputs.collection,
                 "precision": self.precision, "passages": self.passages, "device": self.device,
                 "threads": self.threads, "texts": json.dumps(list(self.texts)), "doc-maxlen": self.doc_maxlen,
                 "index": self.capture}  # fmt: skip
        return Call(record, verb, {**given, **options}, self.threads, self.variables, what)

    def content(self) -> dict[str, Any]:
        """Return what of it determines a trace.

        Raises
        ------
        StoreError
            When the capture cannot be read.
        """
        return {
            "order": [self.precision, self.passages, self.device, self.threads, list(self.texts), self.doc_maxlen],
            "variables": {**{name: environ[name] for name in VARIABLES if name in environ}, **self.variables},
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


def trace_pair(
    a: str, b: str, order: TraceOrder, home: Path, progress: Progress, inputs: PreparedInputs | None = None
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
    inputs : PreparedInputs, optional
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
    records: tuple[EnvironmentRecord, EnvironmentRecord], order: TraceOrder, inputs: PreparedInputs, home: Path
) -> tuple[Path, Path]:
    """Return two folders, each named after everything that determines a trace: what ran, on what, on which machine."""
    shared = {
        **order.content(),
        "inputs": inputs.digest(),
        "code": CODE["trace"],
        "machine": ambient(order.device)["machine"],
    }
    first, second = (_address(record, shared, order, home) for record in records)
    return first, second.with_name(f"{second.name}-again") if first == second else second


def _address(record: EnvironmentRecord, shared: Mapping[str, Any], order: TraceOrder, home: Path) -> Path:
    environment = [record.backend, record.python, dict(record.packages), dict(record.conda_packages)]
    key = digest(canonical_json({**shared, "environment": environment}).encode())[:16]
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
    run(order.call(record, inputs, "record", "recording", output=folder), home, progress)
    return Trace.open(folder)
