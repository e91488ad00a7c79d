"""Search a fresh index with colbert-ai itself, in the arm's own torch and precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from colbert import Searcher
from colbert.infra import ColBERTConfig

from reportlib.capture.progress import Progress
from reportlib.collections.reading import Passage, Query


def search(
    index: Path,
    checkpoint: Path,
    passages: Sequence[Passage],
    queries: Sequence[Query],
    *,
    k: int,
    config: ColBERTConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Return the `k` best passages of every query.

    Parameters
    ----------
    index : Path
        ColBERT's index folder.
    checkpoint : Path
        The checkpoint that made it.
    passages : sequence of Passage
        The indexed ones, in order: colbert-ai wants them beside the index.
    queries : sequence of Query
        At least one.
    k : int
        How many passages to ask for; fewer come back when fewer are reached.
    config : ColBERTConfig
        With ncells, centroid_score_threshold and ndocs.
    progress : Progress
        Told about every query.

    Returns
    -------
    dict
        ``k`` and ``queries``: a list of ``qid``, ``pids`` (best first) and ``scores`` (float32 as Python floats).
    """
    searcher = Searcher(
        index=index.name,
        index_root=str(index.parent),
        checkpoint=str(checkpoint),
        collection=[passage.text for passage in passages],
        config=config,
        verbose=1,
    )
    encoded = searcher.encode([query.text for query in queries])
    found = []
    with torch.inference_mode():
        for number, query in enumerate(queries):
            progress.step("searching, query", number, len(queries))
            pids, _, scores = searcher.dense_search(encoded[number : number + 1], k)
            found.append({"qid": query.id, "pids": list(pids), "scores": list(scores)})
    return {"k": k, "queries": found}
