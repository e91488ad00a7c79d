"""``python -m reportlib.trace VERB``: record, send, replay and try the operations of passes inside an environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reportlib.errors import ReportlibError, StoreError
from reportlib.trace.request import PassRequest, add_arguments, quiet
from reportlib.trace.switches import NONE, Switch, find

VERBS = {
    "record": "write the hashes of every operation's inputs and outputs",
    "send": "write every operation with its values to a pipe",
    "replay": "run the operations that another environment sends, on its inputs",
    "truth": "run the forward passes in float64",
    "probe": "run operations on seeded inputs, and BERT's layers, and hash what comes out",
    "try": "run cases, or the forward passes, under switches",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m reportlib.trace", description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, purpose in VERBS.items():
        options = verbs.add_parser(verb, help=purpose, description=purpose)
        add_arguments(options, required=verb != "try")
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
    """Check what was asked for and only then import torch: its devices and threads are settled when it comes in.

    Raises
    ------
    ReportlibError
        When an input cannot be used, a switch is not known, the folder exists, or nobody reads or writes.
    """
    if chosen.verb in {"truth", "probe"}:
        chosen.precision, chosen.device, chosen.index = "float32", "cpu", None
    if chosen.verb == "try":
        switches = _switches(chosen.switches)
        if chosen.passes and not (chosen.checkpoint and chosen.collection):
            raise StoreError("--passes needs --checkpoint and --collection", "give both")
        request = PassRequest.settle(chosen, passes=chosen.passes)
        with quiet():
            from reportlib.trace.trying import write_tries
        write_tries(request, switches, chosen.cases, chosen.passes, chosen.output)
        return
    request = PassRequest.settle(chosen)
    if chosen.verb == "record":
        with quiet():
            from reportlib.trace.record import write_trace
        write_trace(request, chosen.output)
    elif chosen.verb == "truth":
        with quiet():
            from reportlib.trace.record import write_truth
        write_truth(request, chosen.output)
    elif chosen.verb == "probe":
        with quiet():
            from reportlib.trace.probing import write_probes
        write_probes(request, chosen.probes, chosen.output, layers=not chosen.no_layers)
    elif chosen.verb == "send":
        with quiet():
            from reportlib.trace.send import send_passes
        send_passes(request)
    else:
        with quiet():
            from reportlib.trace.replay import replay_passes
        replay_passes(request, chosen.output)


def _switches(names: str) -> list[Switch]:
    try:
        return [find(name) for name in names.split(",")]
    except KeyError as error:
        raise StoreError(f"there is no switch {error.args[0]!r}", "see reportlib.trace.switches") from error


if __name__ == "__main__":
    try:
        main()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
