"""``python -m reportlib.trace VERB``: record, send, replay and try the operations of passes inside an environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from reportlib.errors import ReportlibError

#: What each verb does, and the module that does it. A module has ``add_arguments(parser)`` and ``run(arguments)``, and
#: does not import torch before `run`: devices and threads are settled when torch is imported.
VERBS = {
    "record": ("reportlib.trace.recording", "write the hashes of every operation's inputs and outputs"),
    "send": ("reportlib.trace.sending", "write every operation with its values to a pipe"),
    "replay": ("reportlib.trace.replaying", "run the operations that another environment sends, on its inputs"),
    "truth": ("reportlib.trace.truth", "run the forward passes in float64"),
    "probe": ("reportlib.trace.probing", "run operations on seeded inputs, and BERT's layers, and hash what comes out"),
    "try": ("reportlib.trace.trying", "run cases under this process's switches"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m reportlib.trace", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (module, purpose) in VERBS.items():
        options = verbs.add_parser(verb, help=purpose, description=purpose)
        if given[:1] == [verb]:
            import_module(module).add_arguments(options)
    chosen = parser.parse_args(given)
    import_module(VERBS[chosen.verb][0]).run(chosen)


if __name__ == "__main__":
    try:
        main()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
