"""The verb ``shapes``: the same passages in batches of many sizes and lengths, and a hash of each one's embeddings.

What a kernel adds up in which order can depend on the shape that it is given, so that a passage's embeddings depend on
its batch. Passages are the batch's own tokens without padding, repeated to the length that is asked for; ColBERT's
projection and normalization follow BERT. Experiments B3 to B7, E2 and E3 of the posts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reportlib.errors import CheckpointError
from reportlib.trace.format import SHAPES, SHAPES_SCHEMA, atomic_folder
from reportlib.trace.operations import blake3_digest
from reportlib.trace.passes import computing, load, torch_description

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

#: Tokens of a passage and passages of a batch: powers of two, so that many products agree, and the posts' own.
TOKENS = (4, 8, 16, 32, 61, 64, 70, 71, 77, 83, 96, 115, 128, 194, 256)
PASSAGES = (1, 2, 4, 7, 8, 9, 10, 16, 24, 31, 32)
#: The fewer ones on which modules are taken out.
FEW_TOKENS, FEW_PASSAGES = (8, 16, 32, 64, 71, 96), (1, 2, 4, 8, 16, 32)
_FEED_FORWARD = ("intermediate.dense", "output.dense")
_ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value")
#: Modules of a layer that can be replaced by what leaves their input as it is, those together that change its width.
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "feed-forward": _FEED_FORWARD,
    "activation": ("intermediate.intermediate_act_fn",),
    "query, key, value": _ATTENTION,
    "attention output": ("attention.output.dense",),
    "layer norm": ("attention.output.LayerNorm", "output.LayerNorm"),
    "every linear layer": (*_FEED_FORWARD, *_ATTENTION, "attention.output.dense"),
}
#: Linear layers of the first layer that are measured by themselves: 384 to 384, 384 to 1,536 and back in MiniLM.
PRODUCTS = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
_DIGITS = 16


def write_shapes(request: PassRequest, output: Path) -> None:
    """Encode every shape and write the hashes."""
    with atomic_folder(output) as folder, load(request) as loaded:
        tokens = _tokens(loaded.model, loaded.passes[-1].call)
        layers = getattr(getattr(loaded.model.LM, "encoder", None), "layer", None)
        if layers is None:
            raise CheckpointError(f"no encoder.layer in {type(loaded.model.LM).__name__}", "use a checkpoint on BERT")
        how = request.arm.precision, request.arm.device
        encode, stage = partial(_encode, loaded.model, *how), request.progress.stage

        def shaped(passages: int, length: int) -> Any:
            return encode(_shaped(tokens, passages, length))

        encodings = _cells(shaped, TOKENS, PASSAGES, stage)
        products, ablations = {}, {}
        for name in PRODUCTS:
            stage(f"rows of {name}")
            products[name] = _product(encode, layers[0].get_submodule(name), tokens, *how)
        for name, modules in ABLATIONS.items():
            stage(f"without {name}")
            with _without(layers, modules) as there:
                if there:
                    ablations[name] = _cells(shaped, FEW_TOKENS, FEW_PASSAGES)
        content = {
            "schema_version": SHAPES_SCHEMA,
            "arm": loaded.arm,
            "torch": torch_description(),
            "inputs": dict(loaded.inputs),
            "encodings": encodings,
            "products": products,
            "ablations": ablations,
        }
        (folder / SHAPES).write_text(json.dumps(content) + "\n", encoding="utf-8")
    request.progress.stage("done")


def _given(module: Any, run: Callable[[], Any]) -> Any:
    """Return the first tensor that a module is given while `run` runs."""
    seen: list[Any] = []
    hook = module.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach().clone()))
    try:
        run()
    finally:
        hook.remove()
    return seen[0]


def _tokens(model: Any, run: Callable[[], Any]) -> Any:
    """Return the token ids that the batch's pass reads, without padding, one after the other."""
    ids = _given(model.LM, run).reshape(-1)
    return ids[ids != (model.LM.config.pad_token_id or 0)]


def _shaped(tokens: Any, passages: int, length: int) -> Any:
    """Return ids, passages x length: a passage's own do not depend on how many there are."""
    starts = torch.arange(passages, device=tokens.device)[:, None] * 37
    return tokens[(starts + torch.arange(length, device=tokens.device)) % len(tokens)]


def _encode(model: Any, precision: str, device: str, ids: Any) -> Any:
    with computing(precision, device):
        hidden = model.LM(ids, attention_mask=torch.ones_like(ids))[0]
        return torch.nn.functional.normalize(model.linear(hidden), p=2, dim=2)


def _cells(
    run: Callable[[int, int], Any],
    lengths: tuple[int, ...],
    sizes: tuple[int, ...],
    stage: Callable[[str], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return for each shape the hash of every passage's result."""
    cells = []
    for length in lengths:
        stage(f"encoding passages of {length} tokens")
        for passages in sizes:
            rows = [blake3_digest(row)[:_DIGITS] for row in run(passages, length)]
            cells.append({"tokens": length, "passages": passages, "rows": rows})
    return cells


def _product(
    encode: Callable[[Any], Any], module: Any, tokens: Any, precision: str, device: str
) -> list[dict[str, Any]]:
    """Return for each number of rows that a shape has the hash of a linear layer's first rows.

    It is given the first rows of what reaches it in the largest batch.
    """
    reached = _given(module, lambda: encode(_shaped(tokens, PASSAGES[-1], TOKENS[-1])))
    given = reached.reshape(-1, reached.shape[-1])
    found = []
    for rows in sorted({passages * length for passages in PASSAGES for length in TOKENS}):
        with computing(precision, device):
            first = module(given[:rows].contiguous())[: TOKENS[0]]
        found.append({"rows": rows, "digest": blake3_digest(first.contiguous())[:_DIGITS]})
    return found


@contextmanager
def _without(layers: Any, names: tuple[str, ...]) -> Iterator[bool]:
    """Put Identity in the place of modules of every layer; yield whether all are there."""
    parts = [name.rpartition(".")[::2] for name in names]
    try:
        owners = [(layer.get_submodule(parent), own) for layer in layers for parent, own in parts]
        kept = [(owner, own, owner.get_submodule(own)) for owner, own in owners]
    except AttributeError:
        kept = []
    for owner, own, _ in kept:
        setattr(owner, own, torch.nn.Identity())
    try:
        yield bool(kept)
    finally:
        for owner, own, module in kept:
            setattr(owner, own, module)
