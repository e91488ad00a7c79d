"""Find the cause of a difference: from two environments to ``roots.json``.

Both are recorded and set side by side by hashes; A's operations are sent to B, which runs each on A's inputs; those
that differ are run alone under every switch in both; then it is said what computes either side, what would undo the
difference, and a folder to hand in is made and run.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from reportlib.compare.operations import ROOTS_FILE, read_roots
from reportlib.compare.roots import Comparison, compare_traces
from reportlib.compare.roots.assemble import (
    SCHEMA_VERSION,
    find_causes,
    pass_json,
)
from reportlib.environments.record import EnvironmentRecord, load_record
from reportlib.errors import StoreError
from reportlib.store import canonical_json, digest
from reportlib.trace.results import Replay
from reportlib.workflow.code import CODE
from reportlib.workflow.explaining import Explainer
from reportlib.workflow.processes import Progress, pipe, run
from reportlib.workflow.traces import PreparedInputs, TraceOrder, trace_addresses, trace_pair

#: Verdicts after which nothing can be said of single operations.
_MUTE = ("inputs differ", "inconclusive")


@dataclass(frozen=True)
class RootsOrder:
    """What to look into.

    Attributes
    ----------
    a, b : str
        Names of environments. One name twice is the control A/A.
    trace : TraceOrder
        The passes, their precision and setting.
    inputs : PreparedInputs
        Collection and checkpoint.
    """

    a: str
    b: str
    trace: TraceOrder
    inputs: PreparedInputs


def find_roots(order: RootsOrder, home: Path, progress: Progress, output: Path | None = None) -> Path:
    """Return the folder with ``roots.json``, ``cases`` and ``reproductions``, made unless it is there.

    Parameters
    ----------
    order : RootsOrder
        What to look into.
    home : Path
        Folder for environments, inputs, traces and roots.
    progress : callable
        Gets each line of progress.
    output : Path, optional
        Where the folder goes; by default into the home, named after everything that determines it.

    Raises
    ------
    ReportlibError
        When an environment or input is missing, or a step fails; nothing half-made is left.
    """
    records = load_record(order.a, home), load_record(order.b, home)
    key = _key(order, records, home)
    name = f"{order.a}-{order.b}-{order.trace.precision}"
    folder = (output or home / "roots" / f"{name}-{key}").absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            if read_roots(folder).get("key") != key:
                raise StoreError(f"{folder} is there already, and holds something else", "remove it, or give another")
            progress(f"{name}: found {folder.name}")
            return folder
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            _Pipeline(order, records, home, partial, progress).run(key)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _key(order: RootsOrder, records: tuple[EnvironmentRecord, EnvironmentRecord], home: Path) -> str:
    traces = [path.name for path in trace_addresses(records, order.trace, order.inputs, home)]
    return digest(canonical_json([traces, CODE["roots"]]).encode())[:16]


@dataclass
class _Pipeline:
    """The steps, with what each found for the next."""

    order: RootsOrder
    records: tuple[EnvironmentRecord, EnvironmentRecord]
    home: Path
    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, key: str) -> None:
        """Do everything, and write ``roots.json``."""
        with self.step("record"):
            order = self.order
            a, b = trace_pair(order.a, order.b, order.trace, self.home, self.progress, order.inputs)
            comparison = compare_traces(a, b)
        replay = None if comparison.verdict in _MUTE else self.replay()
        causes = [] if replay is None else find_causes(comparison, replay)
        if replay is not None:
            self.truth()
        if replay is None or not causes:
            found = _nothing(comparison)
        else:
            explainer = Explainer(self.records, self.order.trace, self.order.inputs, self.home, self.folder,
                                  self.progress, self.step)  # fmt: skip
            found = explainer.explain(causes, replay, comparison, a)
        content = {
            "schema_version": SCHEMA_VERSION,
            "key": key,
            **{name: getattr(comparison, name) for name in ("a", "b")},
            "precision": self.order.trace.precision,
            "verdict": comparison.verdict,
            "passes": [pass_json(entry, a, b, replay) for entry in comparison.passes],
            **found,
            "truth": None if replay is None else {"folder": "truth", "environment": self.order.b},
            "layers_truth": None,
            "seconds": self.seconds,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (self.folder / ROOTS_FILE).write_text(text + "\n", encoding="utf-8")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say when a step begins, and keep how long it took."""
        started = time.perf_counter()
        self.progress(f"{self.order.a}, {self.order.b}: {name}")
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    def replay(self) -> Replay:
        """Send A's operations to B, which runs each on A's inputs."""
        trace, inputs = self.order.trace, self.order.inputs
        a, b = self.records
        with self.step("replay"):
            pipe(
                trace.call(a, inputs, "send", "sending"),
                trace.call(b, inputs, "replay", "replaying", output=self.folder / "replay"),
                self.home,
                self.progress,
            )
        found = Replay.open(self.folder / "replay")
        if (self.folder / "replay" / "cases").exists():
            (self.folder / "replay" / "cases").replace(self.folder / "cases")
        return found

    def truth(self) -> None:
        """Compute the forward passes in float64; in B, since both environments' float64 agree far below float32."""
        with self.step("truth"):
            call = self.order.trace.call(
                self.records[1], self.order.inputs, "truth", "computing in float64",
                precision="float32", device="cpu", index=None, output=self.folder / "truth",
            )  # fmt: skip
            run(call, self.home, self.progress)


def _nothing(comparison: Comparison) -> dict[str, Any]:
    """Return what is said where no operation differs by itself."""
    if comparison.verdict in _MUTE:
        why = "the passes cannot be compared operation by operation, so nothing was tried"
    else:
        why = "no operation of the forward passes differs by itself, so there is nothing to undo"
    return {"causes": [], "switches": [], "undo": None, "why_no_undo": why}
