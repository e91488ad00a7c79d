"""What a checkpoint's folder holds, and whether colbert-ai can load it; nothing is unpickled."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from reportlib.errors import CheckpointError

CONFIG, METADATA, PROJECTION = "config.json", "artifact.metadata", "linear.weight"
#: Files that transformers and colbert-ai read; anything else in the folder changes nothing.
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")
TOKENIZER = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(txt|json)|merges\.txt|spiece\.model|spm\.model|sentencepiece\.bpe\.model"
)
_VOCABULARY = {
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model",
    "sentencepiece.bpe.model",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What was found in a checkpoint's folder.

    Attributes
    ----------
    files : tuple of str
        Names of the files that are read when it is loaded, sorted.
    layers, hidden : int
        BERT's depth and width.
    dim : int
        Width of the token embeddings.
    parameters : int
        Numbers in all weights; 0 when the weights are pickled and so were not opened.
    pickled : bool
        Whether the only weights are pickled: colbert-ai will unpickle them inside the environment.
    """

    files: tuple[str, ...]
    layers: int
    hidden: int
    dim: int
    parameters: int
    pickled: bool


def inspect(folder: Path) -> Layout:
    """Check that a folder is a ColBERT checkpoint.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    Layout

    Raises
    ------
    CheckpointError
        When a file is missing or damaged, the weights have no projection, `artifact.metadata`
        contradicts them, or the checkpoint brings code of its own.
    """
    config = read_json(folder / CONFIG)
    if "auto_map" in config:
        raise CheckpointError(
            f"{folder / CONFIG} has an 'auto_map': colbert-ai would run code of the checkpoint's",
            "use a checkpoint of a model that transformers has built in",
        )
    names = {p.name for p in folder.iterdir() if p.is_file()}
    weights = {n for n in names if WEIGHTS.fullmatch(n)}
    pickled = set() if weights else {n for n in names if PICKLED.fullmatch(n)}
    tokenizer = {n for n in names if TOKENIZER.fullmatch(n)}
    if not weights and not pickled:
        raise CheckpointError(f"{folder} has no weights", "it needs a model.safetensors")
    if not tokenizer.intersection(_VOCABULARY):
        raise CheckpointError(f"{folder} has no tokenizer", "it needs a tokenizer.json or a vocab.txt")
    shapes = _shapes(folder, weights)
    hidden = _number(folder, config, "hidden_size", "dim")
    metadata = read_json(folder / METADATA) if METADATA in names else {}
    if weights and PROJECTION not in shapes:
        raise CheckpointError(
            f"the weights in {folder} have no {PROJECTION}, so this is not a ColBERT checkpoint",
            "give one that was trained with colbert-ai; a plain BERT would get a random projection",
        )
    return Layout(
        files=tuple(sorted(weights | pickled | tokenizer | ({CONFIG, METADATA} & names))),
        layers=_number(folder, config, "num_hidden_layers", "n_layers"),
        hidden=hidden,
        dim=_dim(folder, shapes.get(PROJECTION), hidden, metadata.get("dim")),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        pickled=bool(pickled),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CheckpointError
        When it is missing or is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}", "give the folder of a ColBERT checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "get the checkpoint again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object", "get the checkpoint again")
    return content


def _shapes(folder: Path, weights: set[str]) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all tensors from the files' headers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in sorted(n for n in weights if n.endswith(".safetensors")):
        try:
            with safetensors.safe_open(str(folder / name), framework="numpy") as handle:
                names = handle.keys()
                for key in names:
                    shapes[key] = tuple(handle.get_slice(key).get_shape())
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{folder / name} is damaged: {error}", "get the checkpoint again") from error
    return shapes


def _number(folder: Path, config: Mapping[str, Any], *keys: str) -> int:
    """Return the first of the keys that is there: model families have their own names."""
    for key in keys:
        if isinstance(config.get(key), int):
            return int(config[key])
    raise CheckpointError(f"{folder / CONFIG} has no {keys[0]!r}", "get the checkpoint again")


def _dim(folder: Path, shape: tuple[int, ...] | None, hidden: int, stated: Any) -> int:
    if shape is not None and (len(shape) != 2 or shape[1] != hidden):
        raise CheckpointError(
            f"{PROJECTION} in {folder} has the shape {shape}; its BERT is {hidden} wide",
            "get the checkpoint again: its files do not belong together",
        )
    if stated is not None and not isinstance(stated, int):
        raise CheckpointError(f"{folder / METADATA}: dim is {stated!r}", "it must be a whole number")
    if shape is not None and stated is not None and shape[0] != stated:
        raise CheckpointError(
            f"{folder / METADATA} says dim {stated}; {PROJECTION} gives {shape[0]}",
            "get the checkpoint again: its files do not belong together",
        )
    dim = shape[0] if shape is not None else stated
    if dim is None:
        raise CheckpointError(
            f"{folder} has pickled weights and no {METADATA}, so its dim cannot be told",
            "convert its weights to safetensors",
        )
    return int(dim)
