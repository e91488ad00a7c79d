"""Progress of a long capture, in lines that read well in a notebook, a terminal and a log."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Progress:
    """Say which arm is where, at most every few seconds.

    colbert-ai redirects nothing and prints much; its output goes to a log file, so progress keeps the stream that
    was standard error when it was made.

    Parameters
    ----------
    arm : str
        Name that every line starts with.
    every : float
        Seconds between two lines of one stage.
    """

    arm: str
    every: float = 5.0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _last: float = field(default=0.0, init=False)

    def stage(self, text: str) -> None:
        """Begin a stage: always one line."""
        self._write(text)

    def step(self, text: str, done: int, total: int) -> None:
        """Say how far a stage is, if the last line is old enough."""
        if time.monotonic() - self._last >= self.every:
            self._write(f"{text}: {done:,} of {total:,} ({done / max(total, 1):.0%})")

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        self.stream.write(f"{self.arm} · {text}\n")
        self.stream.flush()
