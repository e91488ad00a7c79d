"""One figure: how long ours takes, how long the other way, and what the ratio may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Two times of one run.

    Attributes
    ----------
    name : str
        What was timed.
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
