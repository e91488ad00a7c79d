"""One figure: how long ours takes, or how much memory, beside the other way, and what the ratio may be."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from reportlib.environments.record import EnvironmentRecord, process_environment
from reportlib.store import project_home


@dataclass(frozen=True)
class Figure:
    """Two measurements of one run.

    Attributes
    ----------
    name : str
        What was measured.
    ours, other : float
        In `unit`, each the least of several.
    beside : str
        What the other way is.
    limit : float or None
        What `ours` over `other` may be at most.
    unit : str
        Of both.
    """

    name: str
    ours: float
    other: float
    beside: str
    limit: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Ours over the other."""
        return self.ours / self.other

    @property
    def holds(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit

    def line(self) -> str:
        """Return the row of the table."""
        limit = "" if self.limit is None else f"{self.limit:.3g}"
        return (
            f"| {self.name} | {self.ours:.3g} {self.unit} | {self.other:.3g} {self.unit} ({self.beside})"
            f" | {self.ratio:.3g} | {limit} |"
        )


def least(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the least time of several calls, in seconds, after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)


@dataclass(frozen=True)
class Process:
    """What a process took: seconds, seconds of processor time, MB of memory beyond mapped files at most."""

    seconds: float
    processor: float
    memory: float
    output: str

    @classmethod
    def run(cls, command: Sequence[str], record: EnvironmentRecord | None = None, repeats: int = 1) -> Process:
        """Run a command, of an environment where one is given, once and then `repeats` times, whose least counts."""
        taken = [cls._once(command, record) for _ in range(repeats + 1)][-repeats:]
        seconds, processor, memory = (
            min(getattr(one, name) for one in taken) for name in ("seconds", "processor", "memory")
        )
        return cls(seconds, processor, memory, taken[-1].output)

    @classmethod
    def _once(cls, command: Sequence[str], record: EnvironmentRecord | None) -> Process:
        home = None if record is None else process_environment(record, project_home())
        before, started, memory = _processor(), time.perf_counter(), 0
        with subprocess.Popen(command, env=home, stdout=subprocess.PIPE, text=True) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                try:
                    known = watched.memory_info()
                except psutil.NoSuchProcess:
                    break
                memory = max(memory, known.rss - known.shared)
                time.sleep(0.002)
            assert process.stdout is not None  # noqa: S101  a pipe was asked for
            output = process.stdout.read()
        # `reportlib compare`, which is no environment's, exits with 1 where indexes differ.
        if process.returncode > (record is None):
            sys.exit(f"{' '.join(command)[:200]} exited with {process.returncode}")
        return cls(time.perf_counter() - started, _processor() - before, memory / 1e6, output)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
