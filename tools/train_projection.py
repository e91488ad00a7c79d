"""Train the offline checkpoint's projection: 384 to 96, on a frozen all-MiniLM-L6-v2.

Run it inside an environment: the packages that its lock pins, and its Python's own library, are the training text::

    reportlib env create torch210
    reportlib prepare reports/torch-2.0.1-vs-2.1.0/study.toml
    PYTHONPATH=. .reportlib/envs/torch210/bin/python tools/train_projection.py .reportlib/inputs/checkpoint

A query is the summary line of a docstring, its passage a piece of the same docstring; all other passages of a batch are
wrong ones. Texts become token embeddings as colbert-ai makes them. A fifth of the modules, and all of numpy, whose text
is the default study's, are held apart, and searched exactly with the untrained and with the trained projection. As
packages copy from each other, what shares eight words in a row with a passage held apart is not learned from.
Writes ``reportlib/data/projection-96.safetensors`` and prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import platform
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize

from reportlib.checkpoints import HIDDEN, PROJECTION, TRAINED, orthonormal
from reportlib.collections.docstrings import DocstringSource, words
from reportlib.compare.uncertainty import bootstrap
from reportlib.study import TRAINED_DIM

PACKAGES = ("scipy", "pandas")
#: Folders of Python's own library: of others, about its own testing, or generated.
LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data", "config-*")
SEED, STEPS, BATCH, RATE = 20250913, 1_500, 48, 2e-3
#: One module in so many is held apart.
HELD_APART = 5
#: So many words in a row are taken for a copy.
COPIED = 8
K = 10


@dataclass(frozen=True)
class Texts:
    """Queries with the numbers of their passages, and the passages."""

    queries: list[str]
    relevant: list[list[int]]
    passages: list[str]


@dataclass(frozen=True)
class Encoded:
    """BERT's last layer, float16 (texts, tokens, 384), and the tokens that colbert-ai keeps, bool (texts, tokens)."""

    states: torch.Tensor
    kept: torch.Tensor

    def embed(self, weight: torch.Tensor, rows: slice | npt.ArrayLike = slice(None)) -> torch.Tensor:
        """Project and normalize, as colbert-ai does."""
        return normalize((self.states[rows].float() @ weight.T) * self.kept[rows].unsqueeze(-1), dim=2)


def read(roots: list[Path], keep: Callable[[str], bool], barred: Collection[str] = frozenset()) -> Texts:
    """Read the docstrings of the modules to keep, less what has one of the `barred` runs of words."""
    texts = Texts([], [], [])
    for root in roots:
        source = DocstringSource(root, "", "")
        files = (path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py"))
        modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
        numbers = {}
        for entry in source.passages():
            if keep(module(entry.id, modules)) and not copies(entry.text, barred):
                numbers[entry.id] = len(texts.passages)
                texts.passages.append(entry.text)
        relevant: dict[str, list[int]] = {}
        for judged in source.judgements():
            if judged.passage in numbers:
                relevant.setdefault(judged.query, []).append(numbers[judged.passage])
        for entry in source.queries():
            if entry.id in relevant and entry.text not in barred:
                texts.queries.append(entry.text)
                texts.relevant.append(relevant[entry.id])
    return texts


def module(name: str, modules: Collection[str]) -> str:
    """Return the module that a passage is in: the longest beginning of its name that is one."""
    parts = name.split("#")[0].rstrip("~").split(".")
    return next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in modules)


def apart(name: str) -> bool:
    """Whether a module is held apart."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_APART == 0


def runs(text: str) -> set[str]:
    """Return every `COPIED` words in a row."""
    every = words(text.lower())
    return {" ".join(every[start : start + COPIED]) for start in range(len(every) - COPIED + 1)}


def copies(text: str, barred: Collection[str]) -> bool:
    """Whether a text has a barred run of words."""
    return any(run in barred for run in runs(text))


def copy_library(folder: Path) -> Path:
    """Copy the Python files of the library that is to be read: links may lead out of it."""
    skipped = shutil.ignore_patterns(*LEFT_OUT)

    def ignore(parent: str, names: list[str]) -> set[str]:
        kept = {name for name in names if name.endswith(".py") or (Path(parent) / name).is_dir()}
        return skipped(parent, names) | (set(names) - kept)

    return Path(shutil.copytree(sysconfig.get_paths()["stdlib"], folder / "library", ignore=ignore))


def encode(checkpoint: Checkpoint, texts: list[str], *, queries: bool) -> Encoded:
    """Run BERT on texts, as colbert-ai does: queries filled up with [MASK], of passages no punctuation kept."""
    tokenizer = checkpoint.query_tokenizer if queries else checkpoint.doc_tokenizer
    config = checkpoint.colbert_config
    width = config.query_maxlen if queries else config.doc_maxlen
    states = torch.zeros(len(texts), width, HIDDEN, dtype=torch.float16)
    kept = torch.zeros(len(texts), width, dtype=torch.bool)
    for start in range(0, len(texts), 64):
        ids, mask = tokenizer.tensorize(texts[start : start + 64])
        rows = slice(start, start + len(ids)), slice(ids.shape[1])
        states[rows] = checkpoint.bert(ids, attention_mask=mask)[0].half()
        kept[rows] = torch.tensor(checkpoint.mask(ids, skiplist=[] if queries else checkpoint.skiplist))
    return Encoded(states, kept)


def scores(queries: torch.Tensor, passages: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return the sum over a query's tokens of their greatest similarity to a passage's, for every pair."""
    similar = torch.einsum("qik,pjk->qpij", queries, passages)
    return similar.masked_fill(~kept[None, :, None, :], -2.0).max(dim=3).values.sum(dim=2)


def measure(weight: torch.Tensor, texts: Texts, queries: Encoded, passages: Encoded) -> npt.NDArray[np.float64]:
    """Return each query's reciprocal rank (up to `K`) and recall at `K`, searched exactly: float64 (queries, 2)."""
    known = passages.embed(weight)
    rows = []
    for start in range(0, len(texts.queries), 16):
        asked = queries.embed(weight, slice(start, start + 16))
        blocks = [scores(asked, known[p : p + 256], passages.kept[p : p + 256]) for p in range(0, len(known), 256)]
        for row, relevant in zip(torch.cat(blocks, dim=1), texts.relevant[start : start + 16], strict=True):
            hits = [rank for rank, number in enumerate(row.topk(K).indices.tolist(), 1) if number in relevant]
            rows.append((1 / hits[0] if hits else 0.0, len(hits) / len(relevant)))
    return np.array(rows)


def train(weight: torch.Tensor, texts: Texts, queries: Encoded, passages: Encoded) -> torch.Tensor:
    """Return the projection after `STEPS` batches."""
    random = np.random.default_rng(SEED)
    own = weight.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([own], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    started = time.monotonic()
    for step in range(STEPS):
        chosen = random.choice(len(texts.queries), BATCH, replace=False)
        right = [int(random.choice(texts.relevant[query])) for query in chosen]
        similar = scores(queries.embed(own, chosen), passages.embed(own, right), passages.kept[right])
        loss = cross_entropy(similar, torch.arange(BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return own.detach()


def compare(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> dict[str, object]:
    """Return both means and their difference with its paired bootstrap interval (95 %)."""
    gains = bootstrap(after - before)
    return {
        name: {"untrained": round(old, 4), "trained": round(new, 4), "gain": gain.record()}
        for name, old, new, gain in zip((f"RR@{K}", f"R@{K}"), before.mean(0), after.mean(0), gains, strict=True)
    }


def main() -> None:
    """Encode, train, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a prepared folder, with whatever projection")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = ColBERTConfig(query_maxlen=32, doc_maxlen=96, mask_punctuation=True)
    checkpoint = Checkpoint(str(chosen.checkpoint), colbert_config=config)
    packages = [Path(str(importlib.util.find_spec(name).origin)).parent for name in PACKAGES]  # type: ignore[union-attr]
    own = read([Path(np.__file__).parent], lambda _: True)
    with tempfile.TemporaryDirectory() as folder:
        roots = [*packages, copy_library(Path(folder))]
        held = read(roots, apart)
        known = [*own.passages, *held.passages]
        barred = {*own.queries, *held.queries}.union(*(runs(text) for text in known))
        learned = read(roots, lambda name: not apart(name), barred)
    untrained = torch.from_numpy(orthonormal(TRAINED_DIM, HIDDEN))
    encoded = {}
    with torch.no_grad():
        for name, texts in (("learned", learned), ("held", held), ("own", own)):
            print(f"{name}: {len(texts.queries):,} queries, {len(texts.passages):,} passages", file=sys.stderr)
            queries = encode(checkpoint, texts.queries, queries=True)
            encoded[name] = queries, encode(checkpoint, texts.passages, queries=False)
    trained = train(untrained, learned, *encoded["learned"])
    TRAINED.parent.mkdir(exist_ok=True)
    save_file({PROJECTION: trained.contiguous()}, str(TRAINED))
    # safetensors makes a file that its owner alone may read.
    TRAINED.chmod(0o644)
    report: dict[str, object] = {name: version(name) for name in ("torch", "numpy", *PACKAGES)}
    report |= {"python": platform.python_version(), "sha256": hashlib.sha256(TRAINED.read_bytes()).hexdigest()}
    with torch.no_grad():
        for name, texts in (("learned", learned), ("held", held), ("own", own)):
            sizes: dict[str, object] = {"queries": len(texts.queries), "passages": len(texts.passages)}
            if texts is not learned:
                sizes |= compare(*(measure(weight, texts, *encoded[name]) for weight in (untrained, trained)))
            report[name] = sizes
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
