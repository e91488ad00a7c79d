"""``python -m reportlib.trace``: record BERT's forward passes inside an environment.

What is recorded is colbert-ai's own ``Checkpoint.doc``: BERT, the projection, the mask and the normalization.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from reportlib.capture import CaptureRequest, prepare_process
from reportlib.capture.progress import Progress
from reportlib.collections.reading import PASSAGES, read_passages
from reportlib.errors import CheckpointError, ReportlibError
from reportlib.store import canonical_json, digest, digest_file
from reportlib.study import DEVICES, PRECISIONS
from reportlib.trace.format import TraceWriter

_ARM = ("environment", "precision", "device", "threads", "passages", "texts", "doc_maxlen")


def record_passes(request: CaptureRequest) -> None:
    """Record one pass for each of the request's texts, and one for its passages as one batch.

    Parameters
    ----------
    request : CaptureRequest
        `passages` is the batch's size, and `output` the trace folder. `prepare_process` must have been called.

    Raises
    ------
    ReportlibError
        When an input cannot be used or the folder exists.
    """
    passages = [passage.text for passage in read_passages(request.collection_folder, request.passages)]
    progress = Progress(request.arm)
    with TraceWriter(request.output_folder) as writer:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # colbert-ai's and transformers' own
            _record(request, passages, writer, progress)
        progress.stage("done")


def _record(request: CaptureRequest, passages: list[str], writer: TraceWriter, progress: Progress) -> None:
    import torch
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    from reportlib.capture.instruments import precision
    from reportlib.capture.layers import layer_inputs
    from reportlib.capture.tensors import tensor_digest
    from reportlib.trace.recorder import record

    torch.set_num_threads(request.threads)
    folder = str(request.checkpoint_folder)
    if ColBERTConfig.load_from_checkpoint(folder) is None:
        raise CheckpointError(f"{folder} holds no ColBERT checkpoint (no artifact.metadata)", "run `reportlib prepare`")
    checkpoint = Checkpoint(folder, colbert_config=ColBERTConfig(doc_maxlen=request.doc_maxlen), verbose=1)
    weights = {name: tensor_digest(tensor) for name, tensor in checkpoint.model.state_dict().items()}
    with precision(request.precision, request.device):
        for given in layer_inputs(request.texts, passages):
            ids, mask = checkpoint.doc_tokenizer.tensorize(list(given.texts))
            progress.stage(f"recording {given.description!r}, {ids.shape[0]} x {ids.shape[1]} tokens")
            entry = record(
                partial(_encode, checkpoint, ids, mask),
                checkpoint.model,
                writer.file(given.slug),
                slug=given.slug,
                description=given.description,
                given={"token_ids": ids, "attention_mask": mask},
            )
            writer.add(entry)
            cost = f"{entry.seconds_traced:.2f} s, {entry.seconds_untraced:.2f} s without"
            progress.stage(f"recorded {entry.operations:,} operations ({cost})")
    settings = asdict(request)
    writer.describe(
        arm={"name": request.arm, **{name: settings[name] for name in _ARM}},
        torch={"version": torch.__version__, "cpu_capability": _cpu_capability(torch)},
        inputs={
            "collection": digest_file(request.collection_folder / PASSAGES),
            "weights": digest(canonical_json(weights).encode()),
        },
    )


def _encode(checkpoint: Any, ids: Any, mask: Any) -> Any:
    embeddings, _ = checkpoint.doc(ids, mask, keep_dims="return_mask")
    return embeddings


def _cpu_capability(torch: Any) -> str | None:
    """Return the instruction set of torch's own kernels; torch before 2.1.0 says it in its configuration only."""
    found = torch.__config__.show().partition("CPU capability usage: ")[2]
    return found.split("\n")[0].strip() or None


def main(arguments: Sequence[str] | None = None) -> None:
    """Record what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m reportlib.trace", description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", default="environment", help="name of the arm's environment")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--output", required=True, help="the trace folder; must not exist")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--passages", type=int, default=32, help="how many make the batch")
    parser.add_argument("--threads", type=int, default=2)
    request = CaptureRequest(**vars(parser.parse_args(arguments)))
    prepare_process(request)
    record_passes(request)


if __name__ == "__main__":
    try:
        main()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
