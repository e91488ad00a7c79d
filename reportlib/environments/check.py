"""Ask an environment's torch what it can do on this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from reportlib.environments.kernels import process_environment
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CompilerError, DeviceError, EnvironmentCreationError


def examine(record: EnvironmentRecord, home: Path, device: str) -> dict[str, Any]:
    """Return the report of `reportlib.capture.preflight`, run inside an environment.

    Raises
    ------
    EnvironmentCreationError
        When torch does not even start there.
    """
    command = [str(record.python_program), "-m", "reportlib.capture.preflight", "--device", device]
    try:
        done = subprocess.run(
            command,
            env=process_environment(record, home),
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error)
        tail = "\n".join(said.strip().splitlines()[-8:])
        raise EnvironmentCreationError(
            f"torch does not start in the environment {record.name}:\n{tail}",
            f"run `reportlib env remove {record.name}` and create it again",
        ) from error
    return found


def check(record: EnvironmentRecord, home: Path, device: str) -> dict[str, Any]:
    """Return the report of an environment, and insist that it can use `device`.

    Raises
    ------
    DeviceError, CompilerError
        When it cannot, with the reason.
    """
    found = examine(record, home, device)
    if not found["usable"]:
        kind = CompilerError if found["error"] == "CompilerError" else DeviceError
        raise kind(f"{record.name} cannot use {device}: {found['what']}", found["mend"])
    return found
