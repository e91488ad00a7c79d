"""The passes that are recorded, sent, replayed and tried: BERT's forward passes, and colbert-ai's indexing after them.

A forward pass is colbert-ai's own ``Checkpoint.doc``: BERT, the projection, the mask and the normalization.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reportlib.capture import CaptureRequest, prepare_process
from reportlib.capture.environment import require_origin
from reportlib.capture.progress import Progress
from reportlib.collections.reading import PASSAGES, read_passages
from reportlib.errors import CaptureError, CheckpointError
from reportlib.store import Capture, canonical_json, digest, digest_file
from reportlib.study import DEVICES, PRECISIONS

_ARM = ("environment", "precision", "device", "threads", "passages", "texts", "doc_maxlen")


@dataclass(frozen=True)
class Pass:
    """Something to run under a recorder.

    Attributes
    ----------
    slug, description : str
        Name of its folder, and what it is in words.
    kind : str
        ``forward`` or ``index``.
    given : mapping of str to str
        sha256 of what it reads beside the model's weights, by name.
    call : callable
        Runs it and returns its output. It enters ``no_grad``, autocast and random seeds itself.
    watch : callable
        Gets a list and an `ExitStack`. Until the stack is closed, the list's last item names the module, or the
        function of colbert-ai, that is running.
    """

    slug: str
    description: str
    kind: str
    given: Mapping[str, str]
    call: Callable[[], Any]
    watch: Callable[[list[str], ExitStack], None]


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory with the passes that run on it.

    Attributes
    ----------
    request : CaptureRequest
        What was asked for.
    checkpoint : colbert.modeling.checkpoint.Checkpoint
        In evaluation mode.
    passes : tuple of Pass
        In the order in which they run.
    inputs : mapping of str to str
        sha256 of the ``collection``, and of the ``weights``: of all weights' hashes by name.
    progress : Progress
        Writes where this process did before it was silenced.
    """

    request: CaptureRequest
    checkpoint: Any
    passes: tuple[Pass, ...]
    inputs: Mapping[str, str]
    progress: Progress

    @property
    def arm(self) -> dict[str, Any]:
        """What a manifest says of the arm."""
        settings = asdict(self.request)
        return {"name": self.request.arm, **{name: settings[name] for name in _ARM}}


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


def request_of(arguments: argparse.Namespace) -> CaptureRequest:
    """Return the arm that the options of `add_arguments` describe."""
    names = ("environment", "checkpoint", "collection", "precision", "device", "passages", "threads", "doc_maxlen")
    return CaptureRequest(texts=tuple(arguments.texts), **{name: getattr(arguments, name) for name in names})


@contextmanager
def load(arguments: argparse.Namespace, prepared: CaptureRequest | None = None) -> Iterator[Loaded]:
    """Import torch, load the checkpoint and yield it with its passes, in the arm's precision and in silence.

    `prepared` is what `prepare_process` returned, where it was called already.

    Raises
    ------
    ReportlibError
        When an input cannot be used, or this is not the environment that the options name: before torch is imported
        where that can be seen.
    """
    request = request_of(arguments)
    texts = [passage.text for passage in read_passages(request.collection_folder, request.passages)]
    capture = Capture.open(arguments.index) if arguments.index else None
    _check_chosen(arguments.only, request, capture)
    if capture is not None:
        require_origin(capture, str(capture.arm.get("environment")))
    request = prepared or prepare_process(request)
    progress = Progress(request.arm)
    with quiet():
        import torch

        from reportlib.capture.contexts import precision
        from reportlib.capture.tensors import tensor_digest

        torch.set_num_threads(request.threads)
        checkpoint = _checkpoint(request)
        weights = {name: tensor_digest(tensor) for name, tensor in checkpoint.model.state_dict().items()}
        passes = _forward_passes(request, checkpoint, texts)
        if capture is not None:
            from reportlib.trace.indexing import index_pass

            passes.append(index_pass(request, checkpoint, capture))
        inputs = {
            "collection": digest_file(request.collection_folder / PASSAGES),
            "weights": digest(canonical_json(weights).encode()),
        }
        with precision(request.precision, request.device):
            chosen = tuple(entry for entry in passes if arguments.only is None or entry.slug in arguments.only)
            if any(entry.kind == "forward" for entry in chosen):
                # At its first call the model imports torch._dynamo on a newer torch (6.6 s on torch 2.15.0), which is
                # no part of what a pass costs.
                passes[0].call()
            yield Loaded(request, checkpoint, chosen, inputs, progress)


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


def cpu_capability() -> str | None:
    """Return the instruction set of torch's own kernels; torch before 2.1.0 says it in its configuration only."""
    import torch

    found = torch.__config__.show().partition("CPU capability usage: ")[2]
    return found.split("\n")[0].strip() or None


def _checkpoint(request: CaptureRequest) -> Any:
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    from reportlib.capture.extensions import quote_paths

    quote_paths()
    folder = str(request.checkpoint_folder)
    if ColBERTConfig.load_from_checkpoint(folder) is None:
        raise CheckpointError(f"{folder} holds no ColBERT checkpoint (no artifact.metadata)", "run `reportlib prepare`")
    return Checkpoint(folder, colbert_config=ColBERTConfig(doc_maxlen=request.doc_maxlen), verbose=1)


def _forward_passes(request: CaptureRequest, checkpoint: Any, batch: list[str]) -> list[Pass]:
    from reportlib.capture.layers import layer_inputs
    from reportlib.capture.tensors import tensor_digest

    found = []
    for given in layer_inputs(request.texts, batch):
        ids, mask = checkpoint.doc_tokenizer.tensorize(list(given.texts))
        found.append(
            Pass(
                slug=given.slug,
                description=given.description,
                kind="forward",
                given={"token_ids": tensor_digest(ids), "attention_mask": tensor_digest(mask)},
                call=partial(_encode, checkpoint, ids, mask),
                watch=partial(watch_modules, checkpoint.model),
            )
        )
    return found


def _encode(checkpoint: Any, ids: Any, mask: Any) -> Any:
    embeddings, _ = checkpoint.doc(ids, mask, keep_dims="return_mask")
    return embeddings


def watch_modules(model: Any, running: list[str], stack: ExitStack) -> None:
    """Keep the names of the modules of `model` that are running in `running`, until `stack` is closed."""

    def enter(name: str) -> Callable[..., None]:
        return lambda _module, _args: running.append(name)

    def leave(_module: Any, _args: Any, _output: Any) -> None:
        running.pop()

    for name, module in model.named_modules():
        stack.callback(module.register_forward_pre_hook(enter(name)).remove)
        stack.callback(module.register_forward_hook(leave).remove)


def _check_chosen(only: list[str] | None, request: CaptureRequest, capture: Capture | None) -> None:
    known = [*(f"text{number}" for number in range(len(request.texts))), "batch", *(["index"] if capture else [])]
    if unknown := sorted(set(only or ()) - set(known)):
        raise CaptureError(f"there is no pass {unknown[0]!r}", f"use one of {', '.join(known)}")
