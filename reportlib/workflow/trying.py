"""Run cases and passes under switches in the environments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reportlib.compare.roots.tries import Tries
from reportlib.environments.record import EnvironmentRecord
from reportlib.trace.switches import Switch
from reportlib.workflow.processes import Progress, run
from reportlib.workflow.traces import PreparedInputs, TraceOrder


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
        return Tries(try_switches(record, switches, order, inputs, options, home, progress))

    with ThreadPoolExecutor(max_workers=len(records)) as pool:
        a, b = pool.map(everything, records)
    return a, b


def try_switches(
    record: EnvironmentRecord,
    switches: Sequence[Switch],
    order: TraceOrder,
    inputs: PreparedInputs,
    options: Mapping[str, Any],
    home: Path,
    progress: Progress,
) -> dict[str, Mapping[str, Any]]:
    """Return what one environment gives under each switch, as the verb ``try`` prints it."""
    names = ",".join(switch.name for switch in switches)
    with TemporaryDirectory(prefix="reportlib-") as folder:
        output = Path(folder) / "tries.json"
        call = order.call(
            record, inputs, "try", "trying switches", index=None, switches=names, output=output, **options
        )
        run(call, home, progress)
        found: dict[str, Mapping[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
    return found
