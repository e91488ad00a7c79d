"""The verb ``send``: every operation of the passes with its values, to standard output."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from reportlib.trace import passes
from reportlib.trace.frames import FrameWriter

#: Small frames are put together to blocks of this size on their way.
_BUFFER = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    passes.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Send the passes that the options ask for.

    Raises
    ------
    ReportlibError
        When an input cannot be used, or nobody reads.
    """
    with _pipe() as stream, passes.load(arguments) as loaded:
        import torch

        from reportlib.trace.sender import send

        progress = loaded.progress
        writer = FrameWriter(stream)
        told = {"version": torch.__version__, "cpu_capability": passes.cpu_capability()}
        slugs = [entry.slug for entry in loaded.passes]
        writer.write("begin", {"arm": loaded.arm, "torch": told, "inputs": dict(loaded.inputs), "passes": slugs})
        for entry in loaded.passes:
            progress.stage(f"sending {entry.description!r}")
            count = send(entry, writer)
            progress.stage(f"sent {count:,} operations, {writer.written / 1e6:,.0f} MB in all")
        writer.write("end", {})
        writer.flush()


@contextmanager
def _pipe() -> Iterator[BinaryIO]:
    """Yield standard output for frames alone: what C code prints goes to standard error instead."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(kept, "wb", buffering=_BUFFER)
    try:
        yield stream
    finally:
        # What nobody reads cannot be flushed, and what went wrong has been said.
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.close()
