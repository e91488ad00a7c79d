"""Recording every operation of a forward pass with hashes, beside the pass without a recorder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure
from reportlib.environments.record import EnvironmentRecord
from reportlib.store import project_home
from reportlib.trace.format import Trace
from reportlib.workflow.traces import PreparedInputs, TraceOrder
from reportlib.workflow.traces import run as run_call


def run(record: EnvironmentRecord, folder: Path, *, small: bool) -> Iterator[Figure]:
    """Yield a figure for each precision: a batch of 32 passages of the collection that was prepared last."""
    passages = 2 if small else 32
    inputs = PreparedInputs.find(project_home(), passages)
    for precision, limit in (("float32", 2.5), ("autocast", None)):
        order = TraceOrder(precision=precision, passages=passages, threads=1)
        output = folder / precision
        run_call(order.call(record, inputs, "record", "recording", output=output), project_home(), lambda _line: None)
        batch = Trace.open(output).passes["batch"]
        name = f"Recording a forward pass of {passages} passages, {precision}"
        yield Figure(name, batch.seconds_traced, batch.seconds_untraced, "the pass alone", limit)
