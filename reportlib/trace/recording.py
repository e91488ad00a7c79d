"""The verb ``record``: a trace folder with the hashes of every operation's inputs and outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from reportlib.trace import passes
from reportlib.trace.format import TraceWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    passes.add_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="the trace folder; must not exist")


def run(arguments: argparse.Namespace) -> None:
    """Record the passes that the options ask for.

    Raises
    ------
    ReportlibError
        When an input cannot be used or the folder exists.
    """
    with TraceWriter(arguments.output) as writer, passes.load(arguments) as loaded:
        import torch

        from reportlib.trace.operations import Storages
        from reportlib.trace.recorder import record

        progress, storages = loaded.progress, Storages()
        for entry in loaded.passes:
            progress.stage(f"recording {entry.description!r}")
            recorded = record(entry, loaded.checkpoint.model, writer.file(entry.slug), storages)
            writer.add(recorded)
            cost = f"{recorded.seconds_traced:.2f} s, {recorded.seconds_untraced:.2f} s without"
            progress.stage(f"recorded {recorded.operations:,} operations ({cost})")
        writer.describe(
            arm=loaded.arm,
            torch={"version": torch.__version__, "cpu_capability": passes.cpu_capability()},
            inputs=loaded.inputs,
        )
    progress.stage("done")
