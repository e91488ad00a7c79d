"""Values that a study may hold by their type and that colbert-ai only trips over later, after long work.

Each rule looks at what the file says and at nothing else; what depends on the machine, the collection or a checkpoint's
own files is checked where those are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from reportlib.checkpoints import check_dim, offline
from reportlib.collections.preparing import SOURCES
from reportlib.errors import CheckpointError
from reportlib.study import CheckpointSpec, ColbertSettings, CollectionSpec, SearchSpec

#: colbert-ai's residual codec packs bits into bytes.
NBITS = (1, 2, 4, 8)
#: The smallest number that each setting can do anything with, and why.
LEAST = {
    "doc_maxlen": (4, "[CLS], [D] and [SEP] take three places of it"),
    "query_maxlen": (4, "[CLS], [Q] and [SEP] take three places of it"),
    "kmeans_niters": (1, "k-means without a round trains no centroids"),
    "index_bsize": (1, "it is how many passages are encoded at a time"),
    "ncells": (1, "it is how many centroids are looked at for each token of a query"),
    "ndocs": (4, "colbert-ai scores a quarter of them in full"),
}
#: Positions that all-MiniLM-L6-v2 has embeddings for (``max_position_embeddings`` of its config.json).
POSITIONS = 512


@dataclass(frozen=True)
class Complaint:
    """A value that cannot be used.

    Attributes
    ----------
    path : tuple of str
        The key, table by table.
    what, mend : str
        As in `reportlib.errors.ReportlibError`.
    """

    path: tuple[str, ...]
    what: str
    mend: str


def collection_complaints(spec: CollectionSpec) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[collection]`` table."""
    if spec.source not in SOURCES:
        yield Complaint(
            ("collection", "source"), f"there is no collection source {spec.source!r}", f"use one of {list(SOURCES)}"
        )
    if spec.source in ("beir", "tsv") and not spec.path:
        kind = "folder" if spec.source == "beir" else "file"
        yield Complaint(
            ("collection", "path"), f"is missing; the source is {spec.source!r}", f"give the path of the {kind}"
        )
    if spec.source == "huggingface" and not (spec.name or spec.path):
        yield Complaint(
            ("collection", "name"), "is missing; the source is 'huggingface'", 'write name = "UKPLab/dapr", or a path'
        )


def colbert_complaints(settings: ColbertSettings, checkpoint: CheckpointSpec) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[colbert]`` table."""
    if settings.nbits not in NBITS:
        yield Complaint(("colbert", "nbits"), f"{settings.nbits} bits do not pack into bytes", "use 1, 2, 4 or 8")
    for key, (least, why) in LEAST.items():
        if getattr(settings, key) < least:
            yield Complaint(("colbert", key), f"must be at least {least}", why)
    if not math.isfinite(settings.centroid_score_threshold):
        yield Complaint(("colbert", "centroid_score_threshold"), "must be a finite number", "0.45 is colbert-ai's own")
    if checkpoint.source == offline.NAME:
        for key in ("doc_maxlen", "query_maxlen"):
            if getattr(settings, key) > POSITIONS:
                yield Complaint(("colbert", key), f"{offline.NAME} has {POSITIONS} positions", "use at most that")


def checkpoint_complaints(spec: CheckpointSpec, nbits: int, *, dim_given: bool) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[checkpoint]`` table; `dim_given` says whether the file has a ``dim``."""
    if not spec.source:
        yield Complaint(("checkpoint", "source"), "is empty", f"use {offline.NAME!r}, a folder or a hub id")
    elif spec.source != offline.NAME:
        if dim_given:
            yield Complaint(
                ("checkpoint", "dim"), f"belongs to {offline.NAME}; {spec.source} brings its own", "remove the line"
            )
    elif spec.dim > offline.HIDDEN:
        yield Complaint(
            ("checkpoint", "dim"), f"{offline.NAME} is {offline.HIDDEN} wide", f"use at most {offline.HIDDEN}"
        )
    elif nbits in NBITS:
        try:
            check_dim(spec.dim, nbits)
        except CheckpointError as error:
            # Of two values that do not fit each other, the one that the file has.
            path = ("checkpoint", "dim") if dim_given else ("colbert", "nbits")
            yield Complaint(path, error.what, error.mend or "")


def search_complaints(spec: SearchSpec, settings: ColbertSettings) -> Iterator[Complaint]:
    """Yield what is wrong with a ``[search]`` table; a `k` of 0 means no search."""
    # One more is needed where one may be left out.
    needed, most = spec.k + spec.ignore_identical_ids, settings.ndocs // 4
    if spec.k and most < needed:
        one_more = ", one more with ignore_identical_ids" if spec.ignore_identical_ids else ""
        yield Complaint(
            ("search", "k"),
            f"colbert-ai returns at most a quarter of ndocs, {most} passages, and k is {spec.k}{one_more}",
            f"use a smaller k, or at least {4 * needed} as colbert.ndocs",
        )
