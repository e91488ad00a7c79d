"""What is taken with torch alone: a tensor's values as bytes, BERT's layer outputs, and a hash of every weight.

The only place where a torch tensor becomes numpy. The posts took the outputs of the encoder's layers for "a", for "test
input" and for batches of the collection (post 2025-09-13); the embedding output comes first here, so that "the first
layer differs" can be told from "what enters the first layer differs".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from reportlib.errors import CheckpointError
from reportlib.store import CaptureWriter, Tensor

if TYPE_CHECKING:  # colbert-ai takes longer to import than torch
    from colbert.modeling.checkpoint import Checkpoint


def to_numpy(tensor: torch.Tensor) -> tuple[npt.NDArray[Any], str]:
    """Return a tensor's values on the CPU, in C order, with its dtype's true name.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape, dtype, device and layout in memory.

    Returns
    -------
    array : numpy.ndarray
        Same shape; raw bits as ``uint16`` for ``bfloat16``, which numpy lacks.
    dtype : str
        torch's name of the dtype, without ``torch.``.
    """
    plain = tensor.detach().cpu().contiguous()
    dtype = str(plain.dtype).removeprefix("torch.")
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(np.uint16), dtype
    return plain.numpy(), dtype


def from_store(tensor: Tensor) -> torch.Tensor:
    """Return a stored tensor as a torch tensor that owns its memory."""
    array = np.array(tensor.array)  # a memory map is read-only, and torch warns of what it could not write to
    if tensor.dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return the sha256 of a tensor's bytes, as the manifest has it."""
    array, _ = to_numpy(tensor)
    return hashlib.sha256(array.data).hexdigest()


@dataclass(frozen=True)
class LayerInput:
    """Texts that go through BERT together.

    Attributes
    ----------
    slug : str
        Name in the artifacts: ``layers/<slug>/00``.
    texts : tuple of str
        One or more passages; they make one padded batch.
    description : str
        For the reader: the text itself, or what the batch is.
    """

    slug: str
    texts: tuple[str, ...]
    description: str


def layer_inputs(texts: Sequence[str], batch: Sequence[str]) -> list[LayerInput]:
    """Return each single text, and the collection's first batch, as inputs."""
    single = [LayerInput(f"text{number}", (text,), text) for number, text in enumerate(texts)]
    return [*single, LayerInput("batch", tuple(batch), f"the first {len(batch)} passages of the collection")]


def modules_to_watch(bert: torch.nn.Module) -> Mapping[str, torch.nn.Module]:
    """Return the embedding layer and each encoder layer, by the name of their artifact.

    Raises
    ------
    CheckpointError
        When the model has no list of encoder layers where BERT and its relatives have it.
    """
    layers = getattr(getattr(bert, "encoder", None), "layer", None)
    if layers is None:
        raise CheckpointError(
            f"no encoder.layer in {type(bert).__name__}: its layer outputs cannot be captured",
            "use a checkpoint on BERT, RoBERTa, XLM-RoBERTa, ELECTRA or DeBERTa",
        )
    return {"embeddings": bert.embeddings, **{f"{k:02d}": layer for k, layer in enumerate(layers)}}


def capture_layers(checkpoint: Checkpoint, inputs: Sequence[LayerInput], writer: CaptureWriter) -> None:
    """Run BERT once for each input, in the checkpoint's own precision, and take every layer's output.

    Adds ``layers/<slug>/embeddings`` and ``layers/<slug>/00``, ... (each of shape batch x tokens x hidden), and
    the value ``layer_inputs``.
    """
    described = []
    for given in inputs:
        ids, mask = checkpoint.doc_tokenizer.tensorize(list(given.texts))
        ids, mask = ids.to(checkpoint.device), mask.to(checkpoint.device)
        with torch.no_grad(), checkpoint.amp_manager.context():
            outputs, _ = layer_outputs(checkpoint.bert, partial(checkpoint.bert, ids, attention_mask=mask))
        for name, output in outputs.items():
            array, dtype = to_numpy(output)
            writer.tensor(f"layers/{given.slug}/{name}", array, "layers", dtype)
        described.append({"slug": given.slug, "text": given.description, "tokens": list(ids.shape)})
    writer.value("layer_inputs", described, "layers")


def layer_outputs(bert: torch.nn.Module, run: Callable[[], Any]) -> tuple[dict[str, torch.Tensor], Any]:
    """Return the layers' outputs by the names of `modules_to_watch` while `run` runs, and what that returns."""
    outputs: dict[str, torch.Tensor] = {}

    def take(name: str, _module: torch.nn.Module, _args: Any, output: Any) -> None:
        outputs[name] = (output[0] if isinstance(output, tuple) else output).detach().clone()

    with ExitStack() as stack:
        for name, module in modules_to_watch(bert).items():
            stack.callback(module.register_forward_hook(partial(take, name)).remove)
        return outputs, run()


def capture_weights(checkpoint: Checkpoint, writer: CaptureWriter) -> None:
    """Add the value ``weights``: the sha256 of every loaded parameter and buffer, by name (post A5)."""
    hashes = {name: tensor_digest(tensor) for name, tensor in checkpoint.model.state_dict().items()}
    writer.value("weights", hashes, "layers")
