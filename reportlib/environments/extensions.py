"""Compile colbert-ai's extensions once for an environment, so that no capture has to wait for it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from reportlib.environments.exclusive import only_one
from reportlib.environments.installer import Progress
from reportlib.environments.kernels import process_environment
from reportlib.environments.machine import MEND_COMPILER
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CompilerError


def compile_extensions(record: EnvironmentRecord, home: Path, threads: int, progress: Progress) -> EnvironmentRecord:
    """Compile colbert-ai's extensions inside the environment, and record that it is done.

    Raises
    ------
    CompilerError
        When that fails; the environment stays as it was.
    """
    with only_one(home, progress) as descriptor:
        progress("compiling colbert-ai's extensions (once for each environment)")
        # A compilation that was killed leaves torch's own lock file there, on which the next would wait for ever.
        shutil.rmtree(record.extensions_folder(home), ignore_errors=True)
        done = subprocess.run(
            [record.python_program, "-m", "reportlib.capture.extensions"],
            env=process_environment(record, home, threads=threads),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            pass_fds=(descriptor,),
        )
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise CompilerError(
            f"colbert-ai's extensions could not be compiled in {record.name}:\n{tail}",
            f"{MEND_COMPILER}; what is installed stays, and `reportlib env create {record.name}` goes on",
        )
    finished = replace(record, extensions=True)
    finished.write(home)
    return finished
