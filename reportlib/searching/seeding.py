"""Make an arm's index again with another seed for k-means: how far chance alone moves an index.

Only k-means draws other numbers. The sample and the embeddings come from the arm's own capture, so BERT does not run,
and with colbert-ai's own seed the same index comes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
from colbert import Indexer
from colbert.data import Collection

from reportlib.artifacts import CAPTURE_POINTS, SWAP_POINTS, downstream
from reportlib.capture import contexts
from reportlib.capture.instruments import Instruments
from reportlib.capture.progress import Progress
from reportlib.capture.setup import Setup
from reportlib.store import Capture, CaptureWriter

_KMEANS = "kmeans_centroids"
#: What k-means has no part in.
_KEPT = tuple(name for name in SWAP_POINTS if name != _KMEANS and name not in downstream(_KMEANS))
_NOTHING_TAKEN = frozenset(point.name for point in CAPTURE_POINTS)


@contextmanager
def kmeans_seed(seed: int) -> Iterator[None]:
    """Give colbert-ai's k-means the seed `seed` in place of the one in its source, inside the ``with`` block."""
    kmeans = collection_indexer.faiss.Kmeans

    def seeded(*args: Any, **kwargs: Any) -> Any:
        return kmeans(*args, **{**kwargs, "seed": seed})

    with mock.patch.object(collection_indexer.faiss, "Kmeans", seeded):
        yield


def index_again(setup: Setup, own: Capture, seed: int, folder: Path, progress: Progress) -> Path:
    """Make the index of the plain capture `own` again, k-means seeded with `seed`.

    Parameters
    ----------
    setup : Setup
        Of the arm that `own` was captured with.
    own : Capture
        Gives the sample and the embeddings.
    seed : int
        For faiss.
    folder : Path
        To make, for everything of this index; it is the caller's to remove.
    progress : Progress
        Of the searching arm.

    Returns
    -------
    Path
        ColBERT's index folder.
    """
    with CaptureWriter(folder) as writer:
        with setup.colbert(writer), contexts.quiet_cpu_kmeans(), kmeans_seed(seed):
            config = setup.config()
            config.configure(index_path=str(writer.index_folder))
            indexer = Indexer(str(setup.request.checkpoint_folder), config=config, verbose=1)
            texts = Collection(data=[passage.text for passage in setup.passages])
            with Instruments(writer, progress, 0, sources=dict.fromkeys(_KEPT, own), left_out=_NOTHING_TAKEN):
                indexer.index("index", texts)
        writer.describe({"name": f"{progress.arm}-seed-{seed}"}, {})
    return folder / writer.index_folder.name
