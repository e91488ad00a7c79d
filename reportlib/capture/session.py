"""One capture, step by step: what the cells of ``capture.ipynb`` call."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import faiss
import torch
from colbert import Indexer
from colbert.data import Collection
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.modeling.checkpoint import Checkpoint

from reportlib.artifacts import CAPTURE_POINTS
from reportlib.capture import instruments, layers, probes, provenance, search
from reportlib.capture.extensions import check_compiler
from reportlib.capture.preflight import complaint, measure
from reportlib.capture.progress import Progress
from reportlib.capture.request import CaptureRequest
from reportlib.capture.tensors import to_numpy
from reportlib.collections.reading import Passage, queries_within, read_passages
from reportlib.errors import CaptureError, CheckpointError, CollectionError
from reportlib.store import Capture, CaptureWriter, digest_file, project_home

#: The seeds that colbert-ai has in its source: its launcher's, and its k-means's.
SEEDS = {"colbert-ai": 12345, "k-means": 123}


class Session:
    """One arm's capture in the making.

    Everything that could fail is checked on creation, before any long work. Each step adds artifacts to a partial
    folder, which gets its name in `finish`; a step that fails removes it.

    Parameters
    ----------
    request : CaptureRequest
        What to do.

    Raises
    ------
    CaptureError
        Or one of its kind: no such device, no compiler, an input that is not there or does not fit.
    """

    def __init__(self, request: CaptureRequest) -> None:
        self.request = request
        if request.device == "cuda" and (error := complaint(measure(), request.device)):
            raise error
        check_compiler()
        self.passages = self._read_passages()
        self.dim = self._check_checkpoint()
        self.donors = self._open_donors()
        self.progress = Progress(request.arm)
        self.durations: dict[str, float] = {}
        torch.set_num_threads(request.threads)
        faiss.omp_set_num_threads(request.threads)
        self.writer = CaptureWriter(request.output_folder)
        self.writer.begin()

    def _read_passages(self) -> list[Passage]:
        folder, wanted = self.request.collection_folder, self.request.passages
        passages = read_passages(folder, wanted)
        if len(passages) < max(wanted, 1):
            raise CollectionError(
                f"{folder.name} has {len(passages):,} passages, {wanted:,} were asked for",
                "ask for fewer (0 means all)",
            )
        return passages

    def _check_checkpoint(self) -> int:
        """Return the checkpoint's width, having checked that residuals of `nbits` bits fill whole bytes.

        colbert-ai asserts it only once centroids are trained: `ResidualCodec.binarize`.
        """
        folder, nbits = self.request.checkpoint_folder, self.request.nbits
        config = ColBERTConfig.load_from_checkpoint(str(folder))
        if config is None:
            raise CheckpointError(
                f"{folder} holds no ColBERT checkpoint (no artifact.metadata)", "run `reportlib prepare`"
            )
        if config.dim % (nbits * 8):
            raise CheckpointError(
                f"dim {config.dim} does not fit nbits {nbits}: dim must be a multiple of {nbits * 8}",
                "choose another nbits (1, 2, 4, 8) or checkpoint",
            )
        return int(config.dim)

    def _open_donors(self) -> dict[str, Capture]:
        request = self.request
        if not request.swap:
            return {}
        given, own = Capture.open(Path(request.swap_from)), Capture.open(Path(request.replay_from))
        for capture in (given, own):
            if capture.provenance["inputs"] != self._inputs():
                raise CaptureError(
                    f"the capture {capture.path.name} was made from another collection or checkpoint",
                    "capture both arms from the same inputs",
                )
        # Embeddings that are not swapped come from this arm's own capture: BERT need not run again.
        return {"local_sample_embs": own, "embs": own, **dict.fromkeys(request.points, given)}

    def _inputs(self) -> dict[str, str]:
        """Return the hashes of what this arm reads: the collection's computed, the checkpoint's as prepared."""
        collection = digest_file(self.request.collection_folder / "collection.jsonl")
        return {"collection": collection, "checkpoint": _source(self.request.checkpoint_folder)["sha256"]}

    def _descriptions(self) -> dict[str, dict[str, Any]]:
        """Return what the page says of the inputs, as they were prepared; a folder made by hand says nothing."""
        collection, checkpoint = (
            _source(folder) for folder in (self.request.collection_folder, self.request.checkpoint_folder)
        )
        counted = ("source", "passages", "queries", "judgements", "licence")
        return {
            "collection": {key: collection[key] for key in counted if key in collection},
            "checkpoint": {"source": checkpoint.get("source"), **checkpoint.get("model", {})},
        }

    def _backend(self) -> str | None:
        """Return how this environment was made, where reportlib made or adopted it."""
        file = project_home() / "envs" / f"{self.request.environment}.json"
        try:
            backend: str | None = json.loads(file.read_text(encoding="utf-8")).get("backend")
        except (OSError, ValueError):
            return None
        return backend

    def _config(self) -> ColBERTConfig:
        request = self.request
        return ColBERTConfig(
            nbits=request.nbits,
            doc_maxlen=request.doc_maxlen,
            query_maxlen=request.query_maxlen,
            kmeans_niters=request.kmeans_niters,
            index_bsize=request.index_bsize,
            ncells=request.ncells,
            centroid_score_threshold=request.centroid_score_threshold,
            ndocs=request.ndocs,
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Run a step in the arm's precision, colbert-ai's own output in a log; remove all if it fails."""
        started = time.monotonic()
        run = RunConfig(nranks=1, avoid_fork_if_possible=True, root=str(self.writer.partial), experiment="run")
        try:
            with (
                (self.writer.partial / "colbert.log").open("a", encoding="utf-8") as log,
                redirect_stdout(log),
                redirect_stderr(log),
                warnings.catch_warnings(),
                instruments.precision(self.request.precision, self.request.device),
                Run().context(run),
            ):
                warnings.simplefilter("ignore")  # colbert-ai's and transformers' own; errors still are errors
                yield
        except BaseException as error:
            self.writer.abort(error)
            raise
        self.durations[name] = round(time.monotonic() - started, 3)

    def capture_layers(self) -> None:
        """Take BERT's layer outputs for each text and the first batch, and a hash of every weight."""
        if self.request.swap:
            return
        self.progress.stage("BERT's layer outputs and weights")
        with self._step("layers"):
            checkpoint = Checkpoint(str(self.request.checkpoint_folder), colbert_config=self._config(), verbose=1)
            batch = [passage.text for passage in self.passages[: self.request.index_bsize]]
            layers.capture_weights(checkpoint, self.writer)
            layers.capture_layers(checkpoint, layers.layer_inputs(self.request.texts, batch), self.writer)

    def capture_index(self) -> None:
        """Index the passages with colbert-ai and take every capture point on the way."""
        self.progress.stage(f"indexing {len(self.passages):,} passages")
        with self._step("index"), instruments.quiet_cpu_kmeans():
            config = self._config()
            config.configure(index_path=str(self.writer.index_folder))
            indexer = Indexer(str(self.request.checkpoint_folder), config=config, verbose=1)
            texts = Collection(data=[passage.text for passage in self.passages])
            if self.request.instruments:
                batches = 2 * math.ceil(len(self.passages) / self.request.index_bsize)
                with instruments.Instruments(self.writer, self.donors, self.progress, batches):
                    indexer.index("index", texts)
            else:
                indexer.index("index", texts)
            self._take_final()

    def _take_final(self) -> None:
        """Read ColBERT's own files back: what a search would load."""
        folder = self.writer.index_folder
        chunks = sorted(folder.glob("*.codes.pt"), key=lambda file: int(file.name.split(".")[0]))
        found: dict[str, Any] = {}
        for number, file in enumerate(chunks):
            found[f"codes/{number}"] = torch.load(file)
            found[f"residuals/{number}"] = torch.load(folder / f"{number}.residuals.pt")
        found["ivf"], found["ivf_lengths"] = torch.load(folder / "ivf.pid.pt")
        found["avg_residual"] = torch.load(folder / "avg_residual.pt")
        found["bucket_cutoffs"], found["bucket_weights"] = torch.load(folder / "buckets.pt")
        found["centroids"] = torch.load(folder / "centroids.pt")
        order = [point.name for point in CAPTURE_POINTS if point.final]
        for name in sorted(found, key=lambda name: order.index(name.split("/")[0])):
            array, dtype = to_numpy(found[name])
            self.writer.tensor(f"index/{name}", array, "index", dtype)

    def capture_search(self) -> None:
        """Search the index for every query that has a relevant passage in it."""
        request = self.request
        queries = queries_within(request.collection_folder, len(self.passages))
        queries = queries[: request.queries or None]
        if not (request.k and queries) or request.swap:
            return
        self.progress.stage(f"searching for {len(queries):,} queries")
        with self._step("search"):
            found = search.search(
                self.writer.index_folder,
                request.checkpoint_folder,
                self.passages,
                queries,
                k=request.k,
                config=self._config(),
                progress=self.progress,
            )
            self.writer.value("rankings", found, "search")

    def capture_probes(self) -> None:
        """Probe the sort on both sides of the size where its order may change."""
        if self.request.swap:
            return
        self.progress.stage("probing the sort")
        with self._step("probes"):
            probes.capture_sort_probes(self.writer)

    def finish(self) -> Capture:
        """Write the manifest, give the capture its name and return it."""
        with self._step("finish"):
            record = provenance.collect(seeds=SEEDS, inputs=self._inputs())
            record |= {"descriptions": self._descriptions(), "backend": self._backend(), "durations": self.durations}
            self.writer.describe(self.request.describe(), record)
        self.writer.finish()
        self.progress.stage(f"done in {sum(self.durations.values()):.0f} s")
        return Capture.open(self.request.output_folder)


def _source(folder: Path) -> dict[str, Any]:
    """Read what `reportlib prepare` wrote of an input."""
    try:
        content: dict[str, Any] = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{folder} is not a prepared input: {error}", "run `reportlib prepare STUDY`") from error
    return content
