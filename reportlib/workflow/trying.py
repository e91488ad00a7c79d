"""Run cases and passes under switches: one process for each set of environment variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reportlib.compare.roots.tries import Tries
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CaptureError
from reportlib.trace.switches import NONE, Switch, groups
from reportlib.workflow.processes import Progress, run
from reportlib.workflow.traces import PreparedInputs, TraceOrder

_Answers = dict[str, Mapping[str, Any]]


def try_everywhere(
    records: Sequence[EnvironmentRecord],
    switches: Sequence[Switch],
    order: TraceOrder,
    inputs: PreparedInputs,
    options: Mapping[str, Any],
    home: Path,
    progress: Progress,
) -> tuple[Tries, Tries]:
    """Run cases under every switch in two environments, both at once.

    A process that dies under a switch is an answer too: that switch failed. Without a switch it is an error.

    Parameters
    ----------
    records : sequence of EnvironmentRecord
        A's and B's.
    switches : sequence of Switch
        `reportlib.trace.switches.NONE` included.
    order, inputs : TraceOrder, PreparedInputs
        For device, threads and variables.
    options : mapping
        Of the verb ``try``: ``cases``.

    Raises
    ------
    CaptureError
        When the cases cannot be run even without a switch.
    """

    def everything(record: EnvironmentRecord) -> Tries:
        found: _Answers = {}
        with TemporaryDirectory(prefix="reportlib-") as folder:
            for _, members in groups(switches):
                found |= _group(record, members, order, inputs, options, Path(folder), home, progress)
        return Tries({switch.name: found[switch.name] for switch in switches})

    with ThreadPoolExecutor(max_workers=len(records)) as pool:
        a, b = pool.map(everything, records)
    return a, b


def try_switch(
    record: EnvironmentRecord,
    switch: Switch,
    order: TraceOrder,
    inputs: PreparedInputs,
    options: Mapping[str, Any],
    home: Path,
    progress: Progress,
) -> Mapping[str, Any]:
    """Return what one environment gives under one switch, as the verb ``try`` prints it."""
    with TemporaryDirectory(prefix="reportlib-") as folder:
        return _group(record, [switch], order, inputs, options, Path(folder), home, progress)[switch.name]


def _group(
    record: EnvironmentRecord,
    members: Sequence[Switch],
    order: TraceOrder,
    inputs: PreparedInputs,
    options: Mapping[str, Any],
    folder: Path,
    home: Path,
    progress: Progress,
) -> _Answers:
    """Run switches that share their variables in one process, and one by one if that process dies."""
    output = folder / f"{record.name}.json"
    names = ",".join(switch.name for switch in members)
    call = order.call(
        record, inputs, "try", f"trying {names}", index=None, switches=names, output=output, **options
    ).with_variables(members[0].variables)
    try:
        run(call, home, progress)
    except CaptureError as error:
        if len(members) > 1:
            found: _Answers = {}
            for switch in members:
                found |= _group(record, [switch], order, inputs, options, folder, home, progress)
            return found
        if members[0].name == NONE:
            raise
        why = error.what.strip().splitlines()[-1]
        return {members[0].name: {"failed": why, "cases": {}, "passes": {}}}
    answers: _Answers = json.loads(output.read_text(encoding="utf-8"))["switches"]
    return answers
