"""Instruments: take values at colbert-ai's capture points, or put others in their place.

colbert-ai's functions are wrapped while it runs (`unittest.mock.patch.object`), never edited. An instrument only
looks: it hands on the very object that it saw, unless the arm is a swap. The control without instruments holds the
index bytes against a run without them. In colbert-ai's way there are also its precision, and where its k-means runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
import torch
from colbert.indexing.codecs.residual import ResidualCodec
from colbert.indexing.collection_encoder import CollectionEncoder
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.indexing.index_saver import IndexSaver
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.tokenization import DocTokenizer
from colbert.utils.amp import MixedPrecisionManager
from torch.overrides import TorchFunctionMode

from reportlib.artifacts import SWAP_POINTS, point
from reportlib.capture.process import Progress
from reportlib.capture.tensors import from_store, tensor_digest, to_numpy
from reportlib.errors import CaptureError
from reportlib.store import Capture, CaptureWriter

#: What a swapped arm takes from captures: swap point to the capture that gives its value.
Sources = Mapping[str, Capture]


class Instruments:
    """All instruments of one arm, active inside the ``with`` block.

    Parameters
    ----------
    writer : CaptureWriter
        Gets each artifact as soon as it is there; nothing large is kept in memory.
    progress : Progress
        Told about every encoded batch.
    batches : int
        How many batches of passages will be encoded in all, for the progress.
    sources : mapping of str to Capture
        For each swap point whose value is not to be computed, the capture that it comes from. A swapped arm has one
        for both points of embeddings, and so does not pay for BERT.
    left_out : set of str
        Capture points that are not taken.
    """

    def __init__(
        self,
        writer: CaptureWriter,
        progress: Progress,
        batches: int,
        *,
        sources: Sources = MappingProxyType({}),
        left_out: Set[str] = frozenset(),
    ) -> None:
        self.writer = writer
        self.progress = progress
        self.batches = batches
        self.sources = sources
        self.left_out = left_out
        self.done = 0
        self.sampling = False
        self.passages_seen = 0
        self.chunk = 0
        self.doclens: list[int] = []
        self.hashes: dict[str, list[str]] = {"tokenized": [], "batch": []}
        self._stack = ExitStack()

    def __enter__(self) -> Instruments:
        wrap = self._wrap
        wrap(DocTokenizer, "tensorize", self._tensorize)
        wrap(Checkpoint, "doc", self._doc)
        wrap(Checkpoint, "docFromText", self._doc_from_text)
        wrap(CollectionIndexer, "_sample_pids", self._sample_pids)
        wrap(CollectionIndexer, "_sample_embeddings", self._sample_embeddings)
        wrap(CollectionEncoder, "encode_passages", self._encode_passages)
        wrap(CollectionIndexer, "_concatenate_and_split_sample", self._split_sample)
        wrap(collection_indexer, "compute_faiss_kmeans", self._kmeans)
        wrap(CollectionIndexer, "_train_kmeans", self._centroids)
        wrap(CollectionIndexer, "_compute_avg_residual", self._buckets)
        wrap(ResidualCodec, "compress", self._compress)
        wrap(IndexSaver, "save_chunk", self._save_chunk)
        wrap(CollectionIndexer, "_build_ivf", self._build_ivf)
        wrap(collection_indexer, "optimize_ivf", self._optimize_ivf)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if kind is None:
            if self.hashes["tokenized"]:
                self._value("tokenized_hashes", self.hashes["tokenized"])
                self._value("batch_hashes", self.hashes["batch"])
            self._value("doclens", self.doclens)

    def _wrap(self, owner: Any, name: str, instrument: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return instrument(original, *args, **kwargs)

        self._stack.enter_context(mock.patch.object(owner, name, wrapped))

    def _given(self, name: str, *artifacts: str) -> list[torch.Tensor] | None:
        """Return the stored values of the swap point `name`, or None when it is to be computed."""
        source = self.sources.get(name)
        return None if source is None else [from_store(source.tensor(artifact)) for artifact in artifacts]

    def _tensor(self, name: str, tensor: torch.Tensor) -> None:
        if name.partition("/")[0] in self.left_out:
            return
        array, dtype = to_numpy(tensor)
        self.writer.tensor(name, array, point(name).stage, dtype)

    def _first(self, name: str, tensor: torch.Tensor) -> None:
        if not self.writer.has(name):
            self._tensor(name, tensor)

    def _value(self, name: str, value: Any) -> None:
        self.writer.value(name, value, point(name).stage)

    def _tensorize(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if kwargs.get("bsize") and self.sampling:
            batches, _ = result
            self._first("token_ids", batches[0][0])
            self._first("attention_mask", batches[0][1])
            self.hashes["tokenized"] += [tensor_digest(torch.stack(batch)) for batch in batches]
        return result

    def _doc(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        self.done += 1
        self.progress.step("encoding, batch", self.done, self.batches)
        if self.sampling:
            self._first("batches", result[0])
            self.hashes["batch"].append(tensor_digest(result[0]))
        return result

    def _doc_from_text(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if self.sampling:
            self._first("D", result[0])
        return result

    def _sample_pids(self, original: Callable[..., Any], indexer: Any) -> Any:
        pids = original(indexer)
        self._value("sample_pids", sorted(pids))
        return pids

    def _sample_embeddings(self, original: Callable[..., Any], indexer: Any, pids: Any) -> Any:
        self.sampling = True
        try:
            return original(indexer, pids)
        finally:
            self.sampling = False

    def _encode_passages(self, original: Callable[..., Any], encoder: Any, passages: list[str]) -> Any:
        name = "local_sample_embs" if self.sampling else f"embs/{self.chunk}"
        given = self._given(name.partition("/")[0], name)
        if given is None:
            embs, doclens = original(encoder, passages)
        else:
            embs, doclens = given[0], self._given_doclens(len(passages))
        self._tensor(name, embs)
        if self.sampling:
            self._value("num_passages", len(passages))
            self.writer.value("sample_doclens", doclens, "sample")
        else:
            self.doclens += doclens
            self.passages_seen += len(passages)
        return embs, doclens

    def _given_doclens(self, count: int) -> list[int]:
        source = self.sources["local_sample_embs" if self.sampling else "embs"]
        if self.sampling:
            doclens = list(source.value("sample_doclens"))
        else:
            doclens = source.value("doclens")[self.passages_seen : self.passages_seen + count]
        if len(doclens) != count:
            raise CaptureError(
                f"the capture {source.path.name} has embeddings of {len(doclens)} passages, this arm needs {count}",
                "capture both arms with the same collection and number of passages",
            )
        return doclens

    def _split_sample(self, original: Callable[..., Any], indexer: Any) -> Any:
        sample, heldout = self._given("sample", "sample", "sample_heldout") or original(indexer)
        self._tensor("sample", sample)
        self._tensor("sample_heldout", heldout)
        return sample, heldout

    def _kmeans(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given = self._given("kmeans_centroids", "kmeans_centroids")
        if given is None:
            self.progress.stage(f"clustering into {args[1]:,} centroids")
        result = original(*args, **kwargs) if given is None else given[0]
        self._tensor("kmeans_centroids", result)
        return result

    def _centroids(self, original: Callable[..., Any], *args: Any) -> Any:
        given = self._given("centroids", "centroids")
        result = original(*args) if given is None else given[0]
        self._tensor("centroids", result)
        return result

    def _buckets(self, original: Callable[..., Any], *args: Any) -> Any:
        names = SWAP_POINTS["buckets"].artifacts
        result = self._given("buckets", *names) or original(*args)
        for name, tensor in zip(names, result, strict=True):
            self._tensor(name, tensor)
        return result

    def _save_chunk(self, original: Callable[..., Any], saver: Any, chunk: int, *args: Any) -> Any:
        if "codes" not in self.sources:
            self.progress.stage(f"compressing chunk {chunk}")
        result = original(saver, chunk, *args)
        self.chunk = chunk + 1
        return result

    def _compress(self, original: Callable[..., Any], codec: Any, embs: torch.Tensor) -> Any:
        with Compression(
            self._given("codes", f"compress_codes/{self.chunk}"),
            self._given("residuals", f"index/residuals/{self.chunk}"),
        ) as parts:
            result = original(codec, embs)
        for name, tensor in parts.taken():
            self._tensor(f"{name}/{self.chunk}", tensor)
        return result

    def _build_ivf(self, original: Callable[..., Any], indexer: Any) -> Any:
        if "sort_indices" not in self.sources:
            self.progress.stage("building the inverted file")
        with SortWatcher(self._tensor, self._given("sort_indices", *SWAP_POINTS["sort_indices"].artifacts)):
            return original(indexer)

    def _optimize_ivf(self, original: Callable[..., Any], indices: Any, lengths: Any, folder: str) -> Any:
        given = self._given("ivf", *SWAP_POINTS["ivf"].artifacts)
        if given is None:
            ivf, lengths = original(indices, lengths, folder)
        else:
            ivf, lengths = given
            torch.save((ivf, lengths), Path(folder, "ivf.pid.pt"))  # as the original does
        self._tensor("ivf", ivf)
        self._tensor("ivf_lengths", lengths)
        return ivf, lengths


class Compression:
    """Takes the parts of `ResidualCodec.compress` while a chunk is compressed, inside the ``with`` block.

    The codec's functions also run while the buckets are fitted, so they are wrapped for one chunk only. colbert-ai
    compresses a chunk in batches; their pieces are put together, and given values are cut into them.

    Parameters
    ----------
    codes, packed : list of one tensor, or None
        Take the place of the computed codes (one a token embedding), and of the packed residuals.
    """

    def __init__(self, codes: list[torch.Tensor] | None, packed: list[torch.Tensor] | None) -> None:
        self._pieces: dict[str, list[torch.Tensor]] = {
            "compress_codes": [], "compress_centroids": [], "compress_residuals": [], "packed": []
        }  # fmt: skip
        self._given = {"compress_codes": codes, "packed": packed}
        self._stack = ExitStack()

    def __enter__(self) -> Compression:
        self._wrap("compress_into_codes", "compress_codes")
        self._wrap("lookup_centroids", "compress_centroids")
        self._wrap("binarize", "packed")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def taken(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each part's name and values; the packed residuals are read from ColBERT's file instead."""
        for name, pieces in self._pieces.items():
            if name != "packed":
                yield name, torch.cat(pieces)

    def _wrap(self, function: str, name: str) -> None:
        original = getattr(ResidualCodec, function)

        def wrapped(codec: Any, values: torch.Tensor, **kwargs: Any) -> Any:
            if name == "packed":
                self._pieces["compress_residuals"].append(values.cpu())
            result = self._piece(name, original, codec, values, **kwargs)
            self._pieces[name].append(result.cpu())
            return result

        self._stack.enter_context(mock.patch.object(ResidualCodec, function, wrapped))

    def _piece(self, name: str, original: Callable[..., Any], codec: Any, values: torch.Tensor, **kwargs: Any) -> Any:
        given = self._given.get(name)
        if given is None:
            return original(codec, values, **kwargs)
        start = sum(map(len, self._pieces[name]))
        return given[0][start : start + len(values)].to(values.device)


class SortWatcher(TorchFunctionMode):  # type: ignore[misc]
    """Takes what `_build_ivf` sorts: a tensor method called there is in no function that could be wrapped.

    With `given` values and indices it hands these on, and what it sorted stays unused.
    """

    def __init__(self, take: Callable[[str, torch.Tensor], None], given: list[torch.Tensor] | None) -> None:
        super().__init__()
        self.take = take
        self.given = given
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.sort and not self.seen:
            self.seen = True
            if self.given is not None:
                result = torch.return_types.sort(self.given)
            self.take("presort_codes", args[0])
            self.take("sorted_codes", result.values)
            self.take("sort_indices", result.indices)
        return result


def computing_in(precision: str, device: str) -> Any:
    """Return a context in which colbert-ai computes in `precision` on `device`.

    On a GPU colbert-ai runs float16 autocast; on a CPU the same line is without effect, and it runs float32.
    So float32 on a GPU and (bfloat16) autocast on a CPU have to be put in its place.
    """

    def own(_manager: Any) -> Any:
        return nullcontext() if precision == "float32" else torch.autocast("cpu", dtype=torch.bfloat16)

    if (precision, device) not in {("autocast", "cpu"), ("float32", "cuda")}:
        return nullcontext()
    return mock.patch.object(MixedPrecisionManager, "context", own)


def quiet_cpu_kmeans() -> Any:
    """Return a context in which colbert-ai's k-means runs on the CPU, even where torch sees a GPU, and in silence.

    Only torch is to vary between arms, and faiss-cpu has no GPU k-means to offer. faiss prints from C++, where no
    Python stream can be put in the way.
    """
    kmeans = collection_indexer.faiss.Kmeans

    def on_cpu(*args: Any, **kwargs: Any) -> Any:
        return kmeans(*args, **{**kwargs, "gpu": False, "verbose": False})

    return mock.patch.object(collection_indexer.faiss, "Kmeans", on_cpu)
