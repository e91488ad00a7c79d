"""Rank passages with colbert-ai's own searcher, many indexes after one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from colbert import Searcher
from colbert.infra import ColBERTConfig

from reportlib.capture.progress import Progress
from reportlib.collections.reading import Passage, Query


@dataclass(frozen=True)
class Ranker:
    """The same queries, searched for in any index of the same passages.

    Attributes
    ----------
    checkpoint : Path
        The checkpoint that made the indexes.
    passages : sequence of Passage
        The indexed ones, in order: colbert-ai wants them beside the index.
    queries : sequence of Query
        May be empty.
    k, depth : int
        How many passages count, and how many are asked for.
    config : ColBERTConfig
        With ncells, centroid_score_threshold and ndocs: colbert-ai would choose them by `depth` otherwise.
    progress : Progress
        Told about every query.
    """

    checkpoint: Path
    passages: Sequence[Passage]
    queries: Sequence[Query]
    k: int
    depth: int
    config: ColBERTConfig
    progress: Progress

    def open(self, index: Path) -> Searcher:
        """Return colbert-ai's searcher for the index folder `index`."""
        return Searcher(
            index=index.name,
            index_root=str(index.parent),
            checkpoint=str(self.checkpoint),
            collection=[passage.text for passage in self.passages],
            config=self.config,
            verbose=1,
        )

    def encode(self, searcher: Searcher) -> torch.Tensor:
        """Return the encoded queries: queries x tokens x dim, float32 (of half precision on a GPU)."""
        encoded: torch.Tensor = searcher.encode([query.text for query in self.queries])
        return encoded

    def rank(self, searcher: Searcher, encoded: torch.Tensor, name: str) -> dict[str, Any]:
        """Return the best passages of every query in the index that `name` stands for.

        Returns
        -------
        dict
            ``k``, ``depth`` and ``queries``: a list of ``qid``, ``pids`` (best first) and ``scores`` (float32 as Python
            floats); fewer than `depth` where colbert-ai reached fewer.
        """
        found = []
        with torch.inference_mode():
            for number, query in enumerate(self.queries):
                self.progress.step(f"searching {name}, query", number, len(self.queries))
                pids, _, scores = searcher.dense_search(encoded[number : number + 1], self.depth)
                found.append({"qid": query.id, "pids": list(pids), "scores": list(scores)})
        return {"k": self.k, "depth": self.depth, "queries": found}
