"""What a process of `reportlib.trace` is asked to run: read and checked before torch is imported."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from reportlib.capture import CaptureRequest, prepare_process
from reportlib.capture.process import Progress, require_origin
from reportlib.collections.reading import read_passages
from reportlib.errors import CaptureError
from reportlib.store import Capture
from reportlib.study import DEVICES, PRECISIONS


def add_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that say which passes run, and how; `required` is whether there must be inputs."""
    parser.add_argument("--environment", default="", help="the environment that this is; by default whichever it is")
    parser.add_argument("--checkpoint", required=required, default="")
    parser.add_argument("--collection", required=required, default="")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--passages", type=int, default=32, help="how many make the batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=json.loads, default=["a", "test input"], help="single inputs, as a JSON list")
    parser.add_argument("--doc-maxlen", type=int, default=256)
    parser.add_argument("--index", type=Path, metavar="CAPTURE", help="also index this capture's embeddings")
    parser.add_argument("--only", nargs="+", metavar="PASS", help="run these alone: text0, text1, batch, index")


@dataclass(frozen=True)
class PassRequest:
    """Which passes to run, and how.

    Attributes
    ----------
    arm : CaptureRequest
        Environment, precision, device, threads, checkpoint and inputs; the environment is the one that runs.
    batch : tuple of str
        The passages that make the batch; none where no pass is to run.
    capture : Capture or None
        Whose embeddings are indexed as one more pass.
    only : tuple of str or None
        The passes to run alone.
    progress : Progress
        Writes to what is standard error now, whatever is silenced later.
    """

    arm: CaptureRequest
    batch: tuple[str, ...]
    capture: Capture | None
    only: tuple[str, ...] | None
    progress: Progress

    @classmethod
    def settle(cls, arguments: argparse.Namespace, *, passes: bool = True) -> PassRequest:
        """Return what the options of `add_arguments` ask for, this process made ready for torch.

        Raises
        ------
        ReportlibError
            When an input cannot be used, or this is not the environment that the options name.
        """
        names = ("environment", "checkpoint", "collection", "precision", "device", "passages", "threads", "doc_maxlen")
        arm = CaptureRequest(texts=tuple(arguments.texts), **{name: getattr(arguments, name) for name in names})
        batch = tuple(p.text for p in read_passages(arm.collection_folder, arm.passages)) if passes else ()
        capture = Capture.open(arguments.index) if passes and arguments.index else None
        only = None if arguments.only is None else tuple(arguments.only)
        known = [*(f"text{number}" for number in range(len(arm.texts))), "batch", *(["index"] if capture else [])]
        if unknown := sorted(set(only or ()) - set(known)):
            raise CaptureError(f"there is no pass {unknown[0]!r}", f"use one of {', '.join(known)}")
        if capture is not None:
            require_origin(capture, str(capture.arm.get("environment")))
        arm = prepare_process(arm)
        return cls(arm, batch, capture, only, Progress(arm.arm))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep colbert-ai's and transformers' own output and warnings away; errors still are errors."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
