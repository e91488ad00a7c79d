"""Index seeded random tokens, or the embeddings of one of reportlib's captures, with fast-plaid on a CPU.

Runs in an environment made from ``torch271.txt`` or ``torch280.txt``::

    python index.py OUT                     79,000 random tokens of width 96 in 1,000 passages
    python index.py OUT --capture FOLDER    the capture's embeddings, passage by passage
    python index.py OUT --double            centroids normalized in float64 and rounded once

What k-means returned and what was made of it by normalizing is kept in ``OUT.npz``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from fast_plaid.search import FastPlaid
from safetensors.numpy import load_file

TOKENS, WIDTH, SEED = 79_000, 96, 0


def random_passages(tokens: int) -> list[torch.Tensor]:
    """Return passages of 98 and 60 tokens in turn; drawn by numpy, so that every torch gets the same bytes."""
    drawn = np.random.default_rng(SEED).standard_normal((tokens, WIDTH), np.float32)
    drawn /= np.sqrt(np.square(drawn, dtype=np.float64).sum(1, keepdims=True)).astype(np.float32)
    lengths = [98, 60] * (tokens // 158)
    return split(drawn, lengths)


def captured_passages(capture: Path) -> list[torch.Tensor]:
    """Return the token embeddings of each passage of a capture."""
    artifacts = capture / "artifacts"
    chunks = sorted((artifacts / "embs").glob("*.safetensors"), key=lambda path: int(path.stem))
    rows = np.concatenate([load_file(chunk)["tensor"] for chunk in chunks])
    return split(rows, json.loads((artifacts / "doclens.json").read_text()))


def split(rows: np.ndarray, lengths: list[int]) -> list[torch.Tensor]:
    """Return rows as passages of the given lengths, which must be all of them."""
    if sum(lengths) != len(rows):
        raise SystemExit(f"{sum(lengths)} tokens in the passages, {len(rows)} rows")
    return [torch.from_numpy(part) for part in np.split(rows, np.cumsum(lengths)[:-1])]


def keep_normalizing(file: Path, *, double: bool) -> None:
    """Keep the centroids before and after fast-plaid normalizes them; in float64 where `double` says so."""
    plain = torch.nn.functional.normalize

    def normalize(input: torch.Tensor, dim: int) -> torch.Tensor:  # noqa: A002
        result = plain(input.double(), dim=dim).float() if double else plain(input, dim=dim)
        np.savez(file, before=input.numpy(), after=result.numpy())
        return result

    torch.nn.functional.normalize = normalize


def main() -> None:
    """Index, and print what was indexed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--capture", type=Path, help="a capture folder of reportlib; its embs and doclens are read")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="how many random tokens: a multiple of 158")
    parser.add_argument("--seed", type=int, default=42, help="of k-means, and of what the buckets are fitted on")
    parser.add_argument("--double", action="store_true", help="normalize the centroids in float64")
    options = parser.parse_args()
    torch.set_num_threads(2)
    keep_normalizing(options.out.with_suffix(".npz"), double=options.double)
    passages = captured_passages(options.capture) if options.capture else random_passages(options.tokens)
    start = time.monotonic()
    FastPlaid(str(options.out), device="cpu").create(passages, seed=options.seed)
    tokens = sum(map(len, passages))
    seconds = time.monotonic() - start
    print(f"torch {torch.__version__}: {tokens:,} tokens in {len(passages):,} passages, {seconds:.0f} s")


if __name__ == "__main__":
    main()
