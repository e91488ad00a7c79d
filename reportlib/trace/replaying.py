"""The verb ``replay``: run what arrives at standard input, and write a replay folder."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reportlib.errors import CaptureError, StoreError
from reportlib.trace import passes
from reportlib.trace.frames import FrameReader
from reportlib.trace.results import Replay

#: What both sides must share for their operations to be comparable at all.
_SAME = ("precision", "device", "passages", "texts", "doc_maxlen")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    passes.add_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="the replay folder; must not exist")


def run(arguments: argparse.Namespace) -> None:
    """Run the passes that the options ask for beside those that arrive.

    Raises
    ------
    ReportlibError
        When an input cannot be used, the folder exists, or the other side sends something else or stops.
    """
    reader = FrameReader(sys.stdin.buffer)
    with _folder(arguments.output) as partial, passes.load(arguments) as loaded:
        import torch

        from reportlib.trace.incoming import Tally
        from reportlib.trace.keeping import Cases
        from reportlib.trace.replayer import replay

        progress = loaded.progress
        begin = reader.next("begin").header
        _check(begin, loaded)
        cases, tally, found = Cases(partial / "cases"), Tally(), {}
        for entry in loaded.passes:
            progress.stage(f"replaying {entry.description!r}")
            found[entry.slug] = replay(entry, reader, cases, tally)
            progress.stage(f"replayed {found[entry.slug].replayed:,} operations, {found[entry.slug].differ:,} differ")
        reader.next("end")
        told = {"version": torch.__version__, "cpu_capability": passes.cpu_capability()}
        a = {name: begin[name] for name in ("arm", "torch", "inputs")}
        b = {"arm": loaded.arm, "torch": told, "inputs": dict(loaded.inputs)}
        Replay(partial, a, b, found, tally.groups).write()
    progress.stage("done")


def _check(begin: Any, loaded: passes.Loaded) -> None:
    for name in _SAME:
        theirs, ours = (list(v) if isinstance(v, tuple) else v for v in (begin["arm"][name], loaded.arm[name]))
        if theirs != ours:
            raise CaptureError(f"the other environment sends {name} {theirs!r}, here it is {ours!r}",
                               "give both the same options")  # fmt: skip
    slugs = [entry.slug for entry in loaded.passes]
    if begin["passes"] != slugs:
        raise CaptureError(f"the other environment sends the passes {begin['passes']}, here are {slugs}",
                           "give both the same options")  # fmt: skip
    if begin["inputs"]["weights"] != loaded.inputs["weights"]:
        raise CaptureError("the other environment has other weights", "give both the same checkpoint")


@contextmanager
def _folder(destination: Path) -> Iterator[Path]:
    """Yield a folder that gets its name only when all is in it."""
    if destination.exists():
        raise StoreError(f"there is a folder {destination} already", "remove it, or give another")
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(destination)
