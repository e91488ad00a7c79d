"""Train the offline checkpoint's projection: 384 to 96, on a frozen all-MiniLM-L6-v2.

Run it inside an environment, on its one thread; the environment's pins and Python's own library are the training text::

    reportlib env create torch210
    reportlib prepare reports/torch-2.0.1-vs-2.1.0/study.toml
    PYTHONPATH=. .reportlib/envs/torch210/bin/python tools/train_projection.py .reportlib/inputs/checkpoint

A query is the summary line of a docstring, its passage a paragraph of the same docstring; all other passages of a batch
are wrong ones. Texts become token embeddings as colbert-ai makes them. A fifth of the modules, and all of numpy, whose
text is the default study's, are held apart, and searched exactly with the trained and with the untrained projection.
Writes ``reportlib/data/projection-96.safetensors`` and prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize

from reportlib.collections.docstrings import DocstringSource

OUTPUT = Path("reportlib/data/projection-96.safetensors")
TEXTS = ("scipy", "pandas")
SEED, STEPS, BATCH, RATE = 20250913, 1_500, 48, 2e-3
#: One module in so many is held apart.
HELD_APART = 5
K = 10


@dataclass(frozen=True)
class Texts:
    """Queries with the numbers of their passages, and the passages."""

    queries: list[str]
    relevant: list[list[int]]
    passages: list[str]


def read(roots: list[Path], keep: object) -> Texts:
    """Read the docstrings under `roots` of which the module's name is kept."""
    queries, relevant, passages = [], [], []
    for root in roots:
        source = DocstringSource(root, "", "")
        numbers = {}
        for entry in source.passages():
            if keep(entry.id):  # type: ignore[operator]
                numbers[entry.id] = len(passages)
                passages.append(entry.text)
        found: dict[str, list[int]] = {}
        for judged in source.judgements():
            if judged.passage in numbers:
                found.setdefault(judged.query, []).append(numbers[judged.passage])
        texts = {entry.id: entry.text for entry in source.queries()}
        for name, places in found.items():
            queries.append(texts[name])
            relevant.append(places)
    return Texts(queries, relevant, passages)


def module(name: str) -> str:
    """Return the module that a docstring is in, as far as its lower-case name tells."""
    parts = name.split("#")[0].split(".")
    return ".".join(parts[:3])


def apart(name: str) -> bool:
    """Whether a docstring is held apart."""
    return int(hashlib.sha256(module(name).encode()).hexdigest(), 16) % HELD_APART == 0


@torch.no_grad()
def encode(checkpoint: Checkpoint, texts: list[str], kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return BERT's last layer (float16) for each token, and which tokens colbert-ai keeps."""
    tokenizer = checkpoint.query_tokenizer if kind == "query" else checkpoint.doc_tokenizer
    states, masks = [], []
    for start in range(0, len(texts), 64):
        ids, mask = tokenizer.tensorize(texts[start : start + 64])
        skipped = [] if kind == "query" else checkpoint.skiplist
        kept = torch.tensor(checkpoint.mask(ids, skiplist=skipped))
        state = checkpoint.bert(ids, attention_mask=mask)[0]
        wide = state.new_zeros(len(state), 96 if kind == "passage" else 32, state.shape[2])
        wide[:, : state.shape[1]] = state[:, :96]
        keep = torch.zeros(wide.shape[:2], dtype=torch.bool)
        keep[:, : state.shape[1]] = kept[:, :96]
        states.append(wide.half())
        masks.append(keep)
        print(f"{kind} {start + len(ids):,} of {len(texts):,}", file=sys.stderr)
    return torch.cat(states), torch.cat(masks)


def embed(weight: torch.Tensor, states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Project and normalize, as colbert-ai does."""
    return normalize((states.float() @ weight.T) * kept.unsqueeze(-1), dim=2)


def scores(queries: torch.Tensor, passages: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return the sum over a query's tokens of their greatest similarity to a passage's, for every pair."""
    similar = torch.einsum("qik,pjk->qpij", queries, passages)
    return similar.masked_fill(~kept[None, :, None, :], -2.0).max(dim=3).values.sum(dim=2)


@torch.no_grad()
def measure(weight: torch.Tensor, texts: Texts, queries: tuple, passages: tuple) -> np.ndarray:
    """Return the reciprocal rank (up to `K`) and the recall at `K` of each query, searched exactly."""
    known = embed(weight, *passages)
    rows = []
    for start in range(0, len(texts.queries), 16):
        asked = embed(weight, *(part[start : start + 16] for part in queries))
        blocks = [scores(asked, known[p : p + 256], passages[1][p : p + 256]) for p in range(0, len(known), 256)]
        for number, row in enumerate(torch.cat(blocks, dim=1)):
            right = set(texts.relevant[start + number])
            ranked = row.topk(K).indices.tolist()
            hits = [place for place, pid in enumerate(ranked, 1) if pid in right]
            rows.append((1 / hits[0] if hits else 0.0, len(hits) / min(len(right), K)))
    return np.array(rows)


def train(weight: torch.Tensor, texts: Texts, queries: tuple, passages: tuple) -> torch.Tensor:
    """Return the projection after `STEPS` batches."""
    random = np.random.default_rng(SEED)
    own = weight.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([own], lr=RATE)
    started = time.monotonic()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        chosen = random.choice(len(texts.queries), BATCH, replace=False)
        places = [int(random.choice(texts.relevant[q])) for q in chosen]
        asked = embed(own, *(part[chosen] for part in queries))
        known, kept = embed(own, *(part[places] for part in passages)), passages[1][places]
        loss = cross_entropy(scores(asked, known, kept), torch.arange(BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: {loss.item():.4f}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return own.detach()


def compare(before: np.ndarray, after: np.ndarray) -> dict[str, object]:
    """Return both means, and the paired bootstrap interval (95 %) of their difference."""
    random = np.random.default_rng(SEED)
    found: dict[str, object] = {"queries": len(before)}
    for place, name in enumerate((f"RR@{K}", f"R@{K}")):
        gain = after[:, place] - before[:, place]
        means = [random.choice(gain, len(gain)).mean() for _ in range(10_000)]
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = {
            "untrained": round(float(before[:, place].mean()), 4), "trained": round(float(after[:, place].mean()), 4),
            "gain": round(float(gain.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4),
        }  # fmt: skip
    return found


def main() -> None:
    """Encode, train, measure, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path, help="prepared, with the untrained projection")
    chosen = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    checkpoint = Checkpoint(str(chosen.checkpoint), colbert_config=ColBERTConfig(doc_maxlen=96))
    packages = [Path(str(importlib.util.find_spec(name).origin)).parent for name in TEXTS]  # type: ignore[union-attr]
    library = Path(sysconfig.get_paths()["stdlib"])
    standard = [p for p in sorted(library.iterdir()) if p.is_dir() and (p / "__init__.py").is_file()]
    roots = [*packages, *(p for p in standard if p.name not in {"test", "idlelib", "lib2to3", "site-packages"})]
    learned = read(roots, lambda name: not apart(name))
    held = read(roots, apart)
    own = read([Path(np.__file__).parent], lambda name: True)
    encoded = {}
    for name, texts in (("learned", learned), ("held", held), ("own", own)):
        print(f"{name}: {len(texts.queries):,} queries, {len(texts.passages):,} passages", file=sys.stderr)
        encoded[name] = encode(checkpoint, texts.queries, "query"), encode(checkpoint, texts.passages, "passage")
    untrained = checkpoint.linear.weight.detach().clone()
    trained = train(untrained, learned, *encoded["learned"])
    told = {
        name: compare(*(measure(weight, texts, *encoded[name]) for weight in (untrained, trained)))
        for name, texts in (("held", held), ("own", own))
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    save_file({"linear.weight": trained.contiguous()}, str(OUTPUT))
    OUTPUT.chmod(0o644)
    sha256 = hashlib.sha256(OUTPUT.read_bytes()).hexdigest()
    print(json.dumps({"torch": torch.__version__, "pairs": len(learned.queries), "sha256": sha256, **told}, indent=1))


if __name__ == "__main__":
    main()
