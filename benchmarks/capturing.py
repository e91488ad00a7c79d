"""Indexing with every value taken on the way, beside indexing with colbert-ai left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure
from reportlib.environments.record import EnvironmentRecord
from reportlib.store import Capture, project_home
from reportlib.workflow.run import host_variables

NOTEBOOK = Path("notebooks/capture.ipynb")
#: The controls that differ in nothing else.
WITH, WITHOUT = "repeat", "observer"


def run(record: EnvironmentRecord, folder: Path, *, small: bool) -> Iterator[Figure]:
    """Yield the figure, with passages of the collection that was prepared last."""
    passages = 16 if small else 200
    seconds: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for number in range(1 if small else 3):
        for control, taken in seconds.items():
            output = folder / f"{control}-{number}"
            parameters = {"control": control, "passages": passages, "threads": 1, "output": output}
            given = [part for name, value in parameters.items() for part in ("-p", name, str(value))]
            subprocess.run(
                ["papermill", str(NOTEBOOK), f"{output}.ipynb", "-k", record.name, "--no-progress-bar", *given],
                env=host_variables(project_home()),
                capture_output=True,
                check=True,
            )
            taken.append(Capture.open(output).provenance["durations"]["index"])
    name = f"Indexing {passages} passages in float32, with every value on the way"
    yield Figure(name, min(seconds[WITH]), min(seconds[WITHOUT]), "the same without instruments", 1.05)
