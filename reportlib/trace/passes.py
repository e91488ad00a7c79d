"""The passes that are recorded, sent, replayed and tried: BERT's forward passes, and colbert-ai's indexing after them.

A forward pass is colbert-ai's own ``Checkpoint.doc``: BERT, the projection, the mask and the normalization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from reportlib.capture import CaptureRequest
from reportlib.capture.tensors import layer_inputs, tensor_digest
from reportlib.collections.reading import PASSAGES
from reportlib.errors import CheckpointError
from reportlib.store import canonical_json, digest, digest_file
from reportlib.trace.request import PassRequest, quiet

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
    """

    request: CaptureRequest
    checkpoint: Any
    passes: tuple[Pass, ...]
    inputs: Mapping[str, str]

    @property
    def arm(self) -> dict[str, Any]:
        """What a manifest says of the arm."""
        settings = asdict(self.request)
        return {"name": self.request.arm, **{name: settings[name] for name in _ARM}}


@contextmanager
def load(asked: PassRequest) -> Iterator[Loaded]:
    """Load the checkpoint and yield it with its passes, in the arm's precision and in silence.

    Raises
    ------
    ReportlibError
        When the checkpoint or the capture cannot be used.
    """
    request = asked.arm
    with quiet():
        # colbert-ai comes with it, which takes longer to import than torch: who only tries cases has no need of it.
        from reportlib.capture.instruments import computing_in

        torch.set_num_threads(request.threads)
        checkpoint = _checkpoint(request)
        weights = {name: tensor_digest(tensor) for name, tensor in checkpoint.model.state_dict().items()}
        passes = _forward_passes(request, checkpoint, list(asked.batch))
        if asked.capture is not None:
            # With colbert-ai's indexer comes faiss, which no other pass needs.
            from reportlib.trace.indexing import index_pass

            passes.append(index_pass(request, checkpoint, asked.capture))
        inputs = {
            "collection": digest_file(request.collection_folder / PASSAGES),
            "weights": digest(canonical_json(weights).encode()),
        }
        with computing_in(request.precision, request.device):
            chosen = tuple(entry for entry in passes if asked.only is None or entry.slug in asked.only)
            if any(entry.kind == "forward" for entry in chosen):
                # At its first call the model imports torch._dynamo on a newer torch (6.6 s on torch 2.15.0), which is
                # no part of what a pass costs.
                passes[0].call()
            yield Loaded(request, checkpoint, chosen, inputs)


def torch_description() -> dict[str, str | None]:
    """Return what a manifest says of torch: its version, and the instruction set of its own kernels."""
    # torch before 2.1.0 says it in its configuration only.
    capability = torch.__config__.show().partition("CPU capability usage: ")[2].partition("\n")[0].strip()
    return {"version": torch.__version__, "cpu_capability": capability or None}


def _checkpoint(request: CaptureRequest) -> Any:
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    from reportlib.capture.preflight import quote_paths

    quote_paths()
    folder = str(request.checkpoint_folder)
    if ColBERTConfig.load_from_checkpoint(folder) is None:
        raise CheckpointError(f"{folder} holds no ColBERT checkpoint (no artifact.metadata)", "run `reportlib prepare`")
    return Checkpoint(folder, colbert_config=ColBERTConfig(doc_maxlen=request.doc_maxlen), verbose=1)


def _forward_passes(request: CaptureRequest, checkpoint: Any, batch: list[str]) -> list[Pass]:
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
