"""Does a row of a matrix product depend on how many rows there are? Experiments B3, B6 and B7, and lengths beside them.

``rows.py CHECKPOINT COLLECTION OUT.json`` encodes one batch of 32 passages and asks, for BERT's first intermediate and
output layer, whether the first rows come out with the same bytes when fewer passages are given, or shorter ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint

LENGTHS = (16, 32, 61, 64, 68, 70, 71, 77, 83, 96, 115, 128)


def main() -> None:
    """Measure, and write what was found."""
    checkpoint_folder, collection, out = sys.argv[1:4]
    lines = (Path(collection) / "collection.jsonl").read_text(encoding="utf-8").splitlines()
    texts = sorted((json.loads(line)["text"] for line in lines), key=len)[-32:]
    checkpoint = Checkpoint(checkpoint_folder, colbert_config=ColBERTConfig(doc_maxlen=256), verbose=0)
    ids, mask = checkpoint.doc_tokenizer.tensorize(texts)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = torch.float16 if device == "cuda" else torch.bfloat16
    found: dict[str, Any] = {"torch": torch.__version__, "tokens": list(ids.shape), "device": device}
    for precision in ("autocast", "float32"):
        with torch.inference_mode(), torch.autocast(device, half, enabled=precision == "autocast"):
            found[precision] = measure(checkpoint, ids.to(device), mask.to(device))
    Path(out).write_text(json.dumps(found, indent=1), encoding="utf-8")


def measure(checkpoint: Any, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    """Return for whole encodings and for the two linear layers on which row counts the first rows differ."""
    whole = checkpoint.bert(ids, attention_mask=mask)[0]
    encodings = [
        n for n in range(1, 33) if not torch.equal(checkpoint.bert(ids[:n], attention_mask=mask[:n])[0], whole[:n])
    ]
    layer = checkpoint.bert.encoder.layer[0]
    hidden = checkpoint.bert.embeddings(ids)
    inner = torch.nn.functional.gelu(layer.intermediate.dense(hidden))
    result: dict[str, Any] = {"batch sizes whose encodings differ from those in 32": encodings}
    for name, linear, given in (
        ("intermediate 384 to 1536", layer.intermediate.dense, hidden),
        ("output 1536 to 384", layer.output.dense, inner),
    ):
        differing = {}
        for length in (n for n in LENGTHS if n <= ids.shape[1]):
            cut = given[:, :length].contiguous()
            full = linear(cut)
            differing[length] = [n for n in range(1, 32) if not torch.equal(linear(cut[:n].contiguous()), full[:n])]
        result[name] = differing
    return result


if __name__ == "__main__":
    main()
