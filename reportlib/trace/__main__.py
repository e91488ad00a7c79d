"""``python -m reportlib.trace VERB``: record, send, replay and try the operations of passes inside an environment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reportlib.capture import CaptureRequest, prepare_process
from reportlib.capture.process import Progress, quiet, require_origin
from reportlib.collections.reading import read_passages
from reportlib.errors import CaptureError, ReportlibError, StoreError
from reportlib.store import Capture
from reportlib.study import DEVICES, PRECISIONS
from reportlib.trace.format import MODULE_SLUG
from reportlib.trace.switches import NONE, find_switch

VERBS = {
    "record": "write the hashes of every operation's inputs and outputs",
    "send": "write every operation with its values to a pipe",
    "replay": "run the operations that another environment sends, on its inputs",
    "truth": "run the forward passes in float64",
    "probe": "run operations on seeded inputs, and BERT's layers, and hash what comes out",
    "shapes": "encode the batch's passages in batches of many shapes, and hash what comes out",
    "try": "run cases, or the forward passes, under switches",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which passes run, and how."""
    parser.add_argument("--environment", default="", help="the environment that this is; by default whichever it is")
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--collection", default="")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a Python file's module, and no checkpoint")
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
    model : Path or None
        The Python file whose module is run in place of a checkpoint.
    only : tuple of str or None
        The passes to run alone.
    progress : Progress
        Writes to what is standard error now, whatever is silenced later.
    """

    arm: CaptureRequest
    batch: tuple[str, ...]
    capture: Capture | None
    model: Path | None
    only: tuple[str, ...] | None
    progress: Progress

    @classmethod
    def settle(cls, arguments: argparse.Namespace, *, passes: bool = True) -> PassRequest:
        """Return what the options of `add_arguments` ask for, this process made ready for torch."""
        names = ("environment", "checkpoint", "collection", "precision", "device", "passages", "threads", "doc_maxlen")
        arm = CaptureRequest(texts=tuple(arguments.texts), **{name: getattr(arguments, name) for name in names})
        model, passes = arguments.model, passes and arguments.model is None
        if passes and not (arm.checkpoint and arm.collection):
            raise CaptureError("there is nothing to run", "give --model, or both --checkpoint and --collection")
        batch = tuple(p.text for p in read_passages(arm.collection_folder, arm.passages)) if passes else ()
        capture = Capture.open(arguments.index) if passes and arguments.index else None
        only = None if arguments.only is None else tuple(arguments.only)
        known = [*(f"text{number}" for number in range(len(arm.texts))), "batch", *(["index"] if capture else [])]
        known = known if model is None else [MODULE_SLUG]
        if unknown := sorted(set(only or ()) - set(known)):
            raise CaptureError(f"there is no pass {unknown[0]!r}", f"use one of {', '.join(known)}")
        if capture is not None:
            require_origin(capture, str(capture.arm.get("environment")))
        arm = prepare_process(arm)
        return cls(arm, batch, capture, model, only, Progress(arm.arm))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m reportlib.trace", description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, purpose in VERBS.items():
        options = verbs.add_parser(verb, help=purpose, description=purpose)
        add_arguments(options)
        if verb == "try":
            options.add_argument("--cases", type=Path, help="folder of case folders; all are run")
            options.add_argument("--switches", default=NONE, help="names of reportlib.trace.switches, with commas")
            options.add_argument("--passes", action="store_true", help="also run the passes of --checkpoint")
            options.add_argument("--output", type=Path, help="file to write; standard output by default")
        if verb == "probe":
            options.add_argument("--probes", type=Path, required=True, help="JSON file of the operations to run")
            options.add_argument("--no-layers", action="store_true", help="leave BERT's layers out")
        if verb not in {"send", "try"}:
            options.add_argument("--output", type=Path, required=True, help="the folder to make; must not exist")
    run(parser.parse_args(arguments))


def run(chosen: argparse.Namespace) -> None:
    """Check what was asked for and only then import torch: its devices and threads are settled when it comes in."""
    if chosen.verb in {"truth", "probe"}:
        chosen.precision, chosen.device, chosen.index = "float32", "cpu", None
    if chosen.verb == "try":
        try:
            switches = [find_switch(name) for name in chosen.switches.split(",")]
        except KeyError as error:
            raise StoreError(f"there is no switch {error.args[0]!r}", "see reportlib.trace.switches") from error
        request = PassRequest.settle(chosen, passes=chosen.passes)
        with quiet():
            from reportlib.trace import trying
        trying.write_tries(request, switches, chosen.cases, chosen.passes, chosen.output)
        return
    request = PassRequest.settle(chosen)
    if chosen.verb == "probe":
        with quiet():
            from reportlib.trace import probing
        probing.write_probes(request, chosen.probes, chosen.output, layers=not chosen.no_layers)
        return
    with quiet():
        from reportlib.trace import record, replay, send, shapes
    if chosen.verb == "record":
        record.write_trace(request, chosen.output)
    elif chosen.verb == "truth":
        record.write_truth(request, chosen.output)
    elif chosen.verb == "shapes":
        shapes.write_shapes(request, chosen.output)
    elif chosen.verb == "send":
        send.send_passes(request)
    else:
        replay.replay_passes(request, chosen.output)


if __name__ == "__main__":
    try:
        main()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
