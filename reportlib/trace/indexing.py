"""colbert-ai's passes: its forward pass over BERT, and its indexing of the embeddings.

A forward pass is colbert-ai's own ``Checkpoint.doc``: BERT, the projection, the mask and the normalization.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
import faiss
import torch
from colbert import Indexer
from colbert.data import Collection
from colbert.indexing.codecs.residual import ResidualCodec
from colbert.indexing.collection_encoder import CollectionEncoder
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.modeling.checkpoint import Checkpoint

from reportlib.capture import CaptureRequest
from reportlib.capture.instruments import computing_in, quiet_cpu_kmeans
from reportlib.capture.preflight import quote_paths
from reportlib.capture.tensors import from_store, layer_inputs, tensor_digest
from reportlib.collections.reading import PASSAGES
from reportlib.errors import CaptureError, CheckpointError, StoreError
from reportlib.store import Capture, digest_file
from reportlib.study import INDEXING
from reportlib.trace.operations import blake3_digest
from reportlib.trace.passes import Loaded, Pass, arm_of, watch_modules, weight_digests, weights_digest

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

_FUNCTIONS = (
    (CollectionIndexer, "_sample_embeddings"),
    (CollectionIndexer, "_concatenate_and_split_sample"),
    (CollectionIndexer, "_train_kmeans"),
    (CollectionIndexer, "_compute_avg_residual"),
    (ResidualCodec, "compress"),
    (ResidualCodec, "compress_into_codes"),
    (ResidualCodec, "lookup_centroids"),
    (ResidualCodec, "binarize"),
    (CollectionIndexer, "_build_ivf"),
    (collection_indexer, "optimize_ivf"),
)
#: Holds the operation below for as long as the process runs.
_LIBRARY: list[Any] = []


@contextmanager
def load_checkpoint(asked: PassRequest) -> Iterator[Loaded]:
    """Load the checkpoint and yield it with its passes, in the arm's precision."""
    request = asked.arm
    checkpoint = _checkpoint(request)
    passes = _forward_passes(request, checkpoint, list(asked.batch))
    if asked.capture is not None:
        passes.append(index_pass(request, checkpoint, asked.capture))
    inputs = {
        "collection": digest_file(request.collection_folder / PASSAGES),
        "weights": weights_digest(weight_digests(checkpoint.model)),
    }
    with computing_in(request.precision, request.device):
        chosen = tuple(entry for entry in passes if asked.only is None or entry.slug in asked.only)
        if any(entry.kind == "forward" for entry in chosen):
            # At its first call the model imports torch._dynamo on a newer torch (6.6 s on torch 2.15.0), which is
            # no part of what a pass costs.
            passes[0].call()
        yield Loaded(arm_of(request), checkpoint.model, chosen, inputs)


def _checkpoint(request: CaptureRequest) -> Checkpoint:
    quote_paths()
    folder = str(request.checkpoint_folder)
    if ColBERTConfig.load_from_checkpoint(folder) is None:
        raise CheckpointError(f"{folder} holds no ColBERT checkpoint (no artifact.metadata)", "run `reportlib prepare`")
    return Checkpoint(folder, colbert_config=ColBERTConfig(doc_maxlen=request.doc_maxlen), verbose=1)


def _forward_passes(request: CaptureRequest, checkpoint: Any, batch: list[str]) -> list[Pass]:
    found = []
    for given in layer_inputs(request.texts, batch):
        ids, mask = checkpoint.doc_tokenizer.tensorize(list(given.texts))
        found.append(
            Pass(
                slug=given.slug,
                description=given.description,
                kind="forward",
                given={"token_ids": tensor_digest(ids), "attention_mask": tensor_digest(mask)},
                call=partial(_encode, checkpoint, ids, mask),
                watch=partial(watch_modules, checkpoint.model),
            )
        )
    return found


def _encode(checkpoint: Any, ids: Any, mask: Any) -> Any:
    embeddings, _ = checkpoint.doc(ids, mask, keep_dims="return_mask")
    return embeddings


# Indexing, fed with the embeddings of one capture in every environment.


def index_pass(request: CaptureRequest, checkpoint: Checkpoint, capture: Capture) -> Pass:
    """Return the pass that indexes a capture's embeddings with the capture's settings.

    colbert-ai computes everything but the embeddings, in a temporary folder; its own launcher seeds Python's, numpy's
    and torch's random numbers. The output is the ``ivf`` tensor.

    Parameters
    ----------
    request : CaptureRequest
        For the device and the checkpoint's folder.
    checkpoint : Checkpoint
        colbert-ai's, loaded.
    capture : Capture
        A plain arm with ``local_sample_embs`` and ``embs``.

    Raises
    ------
    CaptureError
        When it is of another device.
    StoreError
        When it lacks an artifact or its bytes are not those of its manifest.
    """
    if capture.arm["device"] != request.device:
        raise CaptureError(
            f"the capture {capture.path.name} is of device {capture.arm['device']}, the pass is to run on"
            f" {request.device}",
            "give a capture of the same device",
        )
    names = ["local_sample_embs", *capture.group("embs")]
    return Pass(
        slug="index",
        description=f"indexing the embeddings of {len(capture.value('doclens')):,} passages",
        kind="index",
        given={name: _checked_digest(capture, name) for name in names},
        call=partial(_index, request, checkpoint, capture),
        watch=_watch,
    )


def _checked_digest(capture: Capture, name: str) -> str:
    found = hashlib.sha256(capture.tensor(name).array.data).hexdigest()
    if found != capture.artifacts[name].sha256:
        raise StoreError(f"the artifact {name!r} of {capture.path} is damaged", "run its arm again")
    return found


def _index(request: CaptureRequest, checkpoint: Checkpoint, capture: Capture) -> torch.Tensor:
    _define_kmeans()
    embeddings, taken = _Embeddings(capture), []

    def optimize_ivf(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        ivf, lengths = original(*args, **kwargs)
        taken.append(ivf)
        return ivf, lengths

    def load_nothing(*_args: Any, **_kwargs: Any) -> Any:
        return checkpoint

    faiss.omp_set_num_threads(request.threads)
    with TemporaryDirectory(prefix="reportlib-") as folder, ExitStack() as stack:
        for owner, name, replacement in (
            (collection_indexer, "Checkpoint", load_nothing),
            (CollectionIndexer, "_sample_embeddings", embeddings.sampling(CollectionIndexer._sample_embeddings)),
            (CollectionEncoder, "encode_passages", embeddings.encode_passages),
            (collection_indexer, "compute_faiss_kmeans", _kmeans),
            (collection_indexer, "optimize_ivf", partial(optimize_ivf, collection_indexer.optimize_ivf)),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        stack.enter_context(quiet_cpu_kmeans())
        run = RunConfig(nranks=1, avoid_fork_if_possible=True, root=folder, experiment="run")
        stack.enter_context(Run().context(run))
        config = ColBERTConfig(**{name: capture.arm[name] for name in INDEXING})
        config.configure(index_path=str(Path(folder) / "index"))
        # The texts are not looked at; their number is.
        texts = Collection(data=[""] * len(capture.value("doclens")))
        Indexer(str(request.checkpoint_folder), config=config, verbose=1).index("index", texts)
    ivf: torch.Tensor = taken[0]
    return ivf


class _Embeddings:
    """Gives colbert-ai a capture's embeddings where it would run BERT."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.in_sample = False
        self.chunk = 0
        self.passages = 0

    def sampling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def sample(indexer: Any, pids: Any) -> Any:
            self.in_sample = True
            try:
                return original(indexer, pids)
            finally:
                self.in_sample = False

        return sample

    def encode_passages(self, passages: list[str]) -> tuple[torch.Tensor, list[int]]:
        if self.in_sample:
            return from_store(self.capture.tensor("local_sample_embs")), list(self.capture.value("sample_doclens"))
        name = "embs" if "embs" in self.capture.artifacts else f"embs/{self.chunk}"
        start, self.passages = self.passages, self.passages + len(passages)
        self.chunk += 1
        return from_store(self.capture.tensor(name)), self.capture.value("doclens")[start : self.passages]


def _define_kmeans() -> None:
    """Make faiss's k-means an operation of torch's dispatcher, so that a recorder sees it like any other."""
    if _LIBRARY:
        return
    library = torch.library.Library("faiss", "DEF")
    library.define("kmeans(Tensor sample, int dim, int partitions, int iterations) -> Tensor")
    compute = collection_indexer.compute_faiss_kmeans
    known: dict[tuple[str, int, int, int], torch.Tensor] = {}

    def kmeans(sample: torch.Tensor, dim: int, partitions: int, iterations: int) -> torch.Tensor:
        # No part of it is torch's, and it takes most of the pass: a process computes it once for the same sample.
        key = blake3_digest(sample), dim, partitions, iterations
        if key not in known:
            known[key] = compute(dim, partitions, iterations, [[sample]])
        return known[key].clone()

    library.impl("kmeans", kmeans, "CompositeExplicitAutograd")
    _LIBRARY.append(library)


def _kmeans(dim: int, partitions: int, iterations: int, shared: Any, *_queue: Any) -> torch.Tensor:
    centroids: torch.Tensor = torch.ops.faiss.kmeans(shared[0][0], dim, partitions, iterations)
    return centroids


def _watch(running: list[str], stack: ExitStack) -> None:
    """Keep the name of colbert-ai's function that is running in `running`, until `stack` is closed."""

    def named(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            running.append(name)
            try:
                return original(*args, **kwargs)
            finally:
                running.pop()

        return wrapped

    for owner, name in _FUNCTIONS:
        full = f"{owner.__name__}.{name}" if isinstance(owner, type) else name
        stack.enter_context(mock.patch.object(owner, name, named(full, getattr(owner, name))))
