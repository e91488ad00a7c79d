"""The capture points of colbert-ai's indexing pipeline, in pipeline order, with what each holds.

Both sides import this: `capture` to name what it takes, `compare` to order and describe it. Chunk, batch and
layer numbers follow the name after a slash (``embs/0``). ``final`` points are read back from ColBERT's own files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CapturePoint:
    """A named place in colbert-ai's pipeline where a value is taken.

    Attributes
    ----------
    name : str
        The artifact's name, without chunk, batch or layer.
    stage : str
        Of the pipeline, in order: ``tokenize``, ``layers``, ``encode``, ``sample``, ``cluster``, ``quantize``,
        ``compress``, ``invert``, ``index``, ``search``. A capture reports its progress by these names.
    kind : str
        ``float``, ``integer`` or ``value``: which of the report's tables it belongs to.
    description : str
        What it holds, for a reader who has never seen colbert-ai's source.
    final : bool
        Whether it is read from ColBERT's index folder after indexing.
    file : str
        The file it has in ColBERT's index folder or, in the posts, on disk.
    by_batch : bool
        Whether it is cut into batches of `index_bsize`, so that two sizes cannot be set side by side.
    """

    name: str
    stage: str
    kind: str
    description: str
    final: bool = False
    file: str = ""
    by_batch: bool = False

    @property
    def artifact(self) -> str:
        """Name of the artifact in a capture: final ones have ``index/`` before their name."""
        return f"index/{self.name}" if self.final else self.name


def _point(name: str, stage: str, kind: str, description: str, *, by_batch: bool = False) -> CapturePoint:
    return CapturePoint(name, stage, kind, description, by_batch=by_batch)


def _final(name: str, kind: str, file: str, description: str) -> CapturePoint:
    return CapturePoint(name, "index", kind, description, final=True, file=file)


CAPTURE_POINTS: tuple[CapturePoint, ...] = (
    _point("token_ids", "tokenize", "integer", "Token ids of the first batch of passages", by_batch=True),
    _point("attention_mask", "tokenize", "integer", "Which tokens of the first batch are not padding", by_batch=True),
    _point("tokenized_hashes", "tokenize", "value", "A hash of every tokenized batch", by_batch=True),
    _point("layers", "layers", "float", "Outputs of BERT's layers"),
    _point("batches", "encode", "float", "The first batch of encoded passages, padding included", by_batch=True),
    _point("batch_hashes", "encode", "value", "A hash of every encoded batch", by_batch=True),
    _point("D", "encode", "float", "All batches put back into passage order, one row a token"),
    _point("sample_pids", "sample", "value", "Ids of the passages drawn to train the centroids"),
    _point("num_passages", "sample", "value", "How many passages were drawn"),
    _point("local_sample_embs", "sample", "float", "Token embeddings of the drawn passages"),
    _point("sample", "cluster", "float", "95 % of the drawn token embeddings, shuffled: what k-means sees"),
    _point("sample_heldout", "cluster", "float", "The other 5 %: what the residual buckets are fitted on"),
    _point("kmeans_centroids", "cluster", "float", "Centroids as k-means returns them"),
    _point("centroids", "cluster", "float", "Centroids after normalizing"),
    _point("bucket_cutoffs", "quantize", "float", "Edges of the bins that a residual's values fall into"),
    _point("bucket_weights", "quantize", "float", "The value that stands for each bin"),
    _point("avg_residual", "quantize", "float", "Mean distance between a held-out embedding and its centroid"),
    _point("embs", "compress", "float", "Token embeddings of all passages of a chunk"),
    _point("doclens", "compress", "value", "Token embeddings per passage"),
    _point("compress_codes", "compress", "integer", "Nearest centroid of each token embedding, before packing"),
    _point("compress_centroids", "compress", "float", "That centroid, looked up"),
    _point("compress_residuals", "compress", "float", "Embedding minus centroid, before packing into bits"),
    _point("presort_codes", "invert", "integer", "Codes of all chunks, before the sort"),
    _point("sorted_codes", "invert", "integer", "The codes, sorted"),
    _point("sort_indices", "invert", "integer", "Where each sorted code stood: token ids in centroid order"),
    _point("ivf", "invert", "integer", "Different passages per centroid, as computed"),
    _point("ivf_lengths", "invert", "integer", "How many passages each centroid has, as computed"),
    _final("codes", "integer", "codes.pt", "Centroid id of each token embedding"),
    _final("residuals", "integer", "residuals.pt", "Each embedding minus its centroid, packed into bits"),
    _final("ivf", "integer", "ivf.pid.pt", "Different passage ids per centroid"),
    _final("ivf_lengths", "integer", "ivf.pid.pt", "How many passage ids each centroid has"),
    _final("avg_residual", "float", "avg_residual.pt", "Mean distance between embedding and centroid"),
    _final("bucket_cutoffs", "float", "buckets.pt", "Edges of the residuals' bins"),
    _final("bucket_weights", "float", "buckets.pt", "The value that stands for each bin"),
    _final("centroids", "float", "centroids.pt", "Centroids of the clustered token embeddings"),
    _point("rankings", "search", "value", "Best passages of each query with their scores"),
)


@dataclass(frozen=True)
class SwapPoint:
    """A place where an arm can take values from another arm's capture instead of computing them.

    Attributes
    ----------
    name : str
        As a study names it.
    artifacts : tuple of str
        The artifacts that take the place of computed values, all together.
    computed_from : tuple of str
        The swap points that it is computed from.
    """

    name: str
    artifacts: tuple[str, ...]
    computed_from: tuple[str, ...] = ()


#: Every swap point in pipeline order, by name.
SWAP_POINTS: dict[str, SwapPoint] = {
    each.name: each
    for each in (
        SwapPoint("local_sample_embs", ("local_sample_embs",)),
        SwapPoint("sample", ("sample", "sample_heldout"), ("local_sample_embs",)),
        SwapPoint("kmeans_centroids", ("kmeans_centroids",), ("sample",)),
        SwapPoint("centroids", ("centroids",), ("kmeans_centroids",)),
        SwapPoint("buckets", ("bucket_cutoffs", "bucket_weights", "avg_residual"), ("sample", "centroids")),
        SwapPoint("embs", ("embs",)),
        SwapPoint("codes", ("compress_codes",), ("centroids", "embs")),
        SwapPoint("residuals", ("index/residuals",), ("codes", "centroids", "embs", "buckets")),
        SwapPoint("sort_indices", ("sorted_codes", "sort_indices"), ("codes",)),
        SwapPoint("ivf", ("ivf", "ivf_lengths"), ("sort_indices",)),
    )
}
SWAPPABLE = tuple(SWAP_POINTS)


def downstream(name: str) -> frozenset[str]:
    """Return the swap points that are computed from the swap point `name`, at once or through others."""
    found: set[str] = set()
    for each in SWAP_POINTS.values():  # in pipeline order: what a point is computed from came before it
        if not found.union({name}).isdisjoint(each.computed_from):
            found.add(each.name)
    return frozenset(found)


def point(artifact: str) -> CapturePoint:
    """Return the capture point of an artifact's name, chunk or layer numbers and all."""
    for candidate in CAPTURE_POINTS:
        if artifact == candidate.artifact or artifact.startswith(candidate.artifact + "/"):
            return candidate
    raise KeyError(artifact)
