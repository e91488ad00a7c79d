"""One capture, step by step: what the cells of ``capture.ipynb`` call."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from colbert import Indexer
from colbert.data import Collection
from colbert.modeling.checkpoint import Checkpoint

from reportlib.capture import contexts, instruments, layers, probes, search
from reportlib.capture.progress import Progress
from reportlib.capture.request import CaptureRequest
from reportlib.capture.setup import Setup, take_final
from reportlib.collections.reading import queries_within
from reportlib.store import Capture, CaptureWriter


class Session:
    """One arm's capture in the making.

    Everything that could fail is checked on creation, before any long work. Each step adds artifacts to a partial
    folder, which gets its name in `finish`; a step that fails removes it. A control leaves out the steps that it does
    not need.

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
        self.setup = Setup(request)
        self.passages = self.setup.passages
        self.progress = Progress(request.arm)
        self.durations: dict[str, float] = {}
        self.writer = CaptureWriter(request.output_folder)
        self.writer.begin()

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Run a step of colbert-ai; remove all if it fails."""
        started = time.monotonic()
        try:
            with self.setup.colbert(self.writer):
                yield
        except BaseException as error:
            self.writer.abort(error)
            raise
        self.durations[name] = round(time.monotonic() - started, 3)

    def capture_layers(self) -> None:
        """Take BERT's layer outputs for each text and the first batch, and a hash of every weight."""
        if self.request.control == "observer":
            return
        self.progress.stage("BERT's layer outputs and weights")
        with self._step("layers"):
            folder = str(self.request.checkpoint_folder)
            checkpoint = Checkpoint(folder, colbert_config=self.setup.config(), verbose=1)
            batch = [passage.text for passage in self.passages[: self.request.index_bsize]]
            layers.capture_weights(checkpoint, self.writer)
            layers.capture_layers(checkpoint, layers.layer_inputs(self.request.texts, batch), self.writer)

    def capture_index(self) -> None:
        """Index the passages with colbert-ai and take every capture point on the way."""
        self.progress.stage(f"indexing {len(self.passages):,} passages")
        with self._step("index"), contexts.quiet_cpu_kmeans():
            config = self.setup.config()
            config.configure(index_path=str(self.writer.index_folder))
            indexer = Indexer(str(self.request.checkpoint_folder), config=config, verbose=1)
            texts = Collection(data=[passage.text for passage in self.passages])
            batches = 2 * math.ceil(len(self.passages) / self.request.index_bsize)
            observed = self.request.control != "observer"
            with instruments.Instruments(self.writer, self.progress, batches) if observed else nullcontext():
                indexer.index("index", texts)
            take_final(self.writer)

    def capture_search(self) -> None:
        """Search the index for every query that has a relevant passage in it."""
        request = self.request
        queries = queries_within(request.collection_folder, len(self.passages))
        queries = queries[: request.queries or None]
        if not (request.k and queries) or request.control:
            return
        self.progress.stage(f"searching for {len(queries):,} queries")
        with self._step("search"):
            found = search.search(
                self.writer.index_folder,
                request.checkpoint_folder,
                self.passages,
                queries,
                k=request.k,
                config=self.setup.config(),
                progress=self.progress,
            )
            self.writer.value("rankings", found, "search")

    def capture_probes(self) -> None:
        """Probe the sort on both sides of the size where its order may change."""
        if self.request.control:
            return
        self.progress.stage("probing the sort")
        with self._step("probes"):
            probes.capture_sort_probes(self.writer)

    def finish(self) -> Capture:
        """Write the manifest, give the capture its name and return it."""
        with self._step("finish"):
            self.writer.describe(self.request.describe(), self.setup.provenance(self.durations))
        self.writer.finish()
        self.progress.stage(f"done in {sum(self.durations.values()):.0f} s")
        return Capture.open(self.request.output_folder)
