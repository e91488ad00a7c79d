"""The verb ``truth``: the forward passes in float64, for A's and B's layers to be held against.

Written as a capture: ``layers/<slug>/embeddings``, ``layers/<slug>/00``, ... have the names that an arm's own have, and
``doc/<slug>`` is what colbert-ai takes of the pass. It runs on the CPU whatever the arm's device is. Weights are the
checkpoint's, which float64 holds exactly.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from reportlib.capture.progress import Progress
from reportlib.store import CaptureWriter
from reportlib.trace import passes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    passes.add_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="the capture folder; must not exist")


def run(arguments: argparse.Namespace) -> None:
    """Run the forward passes in float64 and write every layer's output.

    Raises
    ------
    ReportlibError
        When an input cannot be used or the folder exists.
    """
    arguments.precision, arguments.device, arguments.index = "float32", "cpu", None
    with CaptureWriter(arguments.output) as writer, passes.load(arguments) as loaded:
        import torch

        from reportlib.capture.tensors import to_numpy

        progress = Progress(f"{loaded.request.environment}-float64", stream=loaded.progress.stream)
        loaded.checkpoint.model.double()
        seconds = {}
        for given in loaded.passes:
            progress.stage(f"computing {given.description!r} in float64")
            started = time.perf_counter()
            taken, output = layer_outputs(loaded.checkpoint, given)
            seconds[given.slug] = round(time.perf_counter() - started, 4)
            for name, tensor in taken.items():
                writer.tensor(f"layers/{given.slug}/{name}", to_numpy(tensor)[0], "layers")
            writer.tensor(f"doc/{given.slug}", to_numpy(output)[0], "encode")
        arm = {**loaded.arm, "precision": "float64"}
        writer.describe(arm, {"torch": torch.__version__, "inputs": dict(loaded.inputs), "seconds": seconds})
    progress.stage("done")


def layer_outputs(checkpoint: Any, given: passes.Pass) -> tuple[dict[str, Any], Any]:
    """Run a pass and return its layers' outputs by name, and its own."""
    from reportlib.capture.layers import modules_to_watch

    taken: dict[str, Any] = {}

    def take(name: str, _module: Any, _args: Any, output: Any) -> None:
        taken[name] = (output[0] if isinstance(output, tuple) else output).detach().clone()

    with ExitStack() as stack:
        for name, module in modules_to_watch(checkpoint.bert).items():
            stack.callback(module.register_forward_hook(partial(take, name)).remove)
        return taken, given.call()
