"""One capture, step by step: what the cells of ``capture.ipynb`` call."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from colbert.modeling.checkpoint import Checkpoint

from reportlib.capture.instruments import Instruments
from reportlib.capture.process import Progress
from reportlib.capture.request import CaptureRequest
from reportlib.capture.setup import Setup, rank, store_index
from reportlib.capture.tensors import capture_layers, capture_weights, layer_inputs, tensor_digest
from reportlib.collections.reading import queries_within
from reportlib.store import Capture, CaptureWriter

#: Sizes and dtypes that the sort is probed with.
SIZES = (1_024, 16_384, 32_767, 32_768, 32_769, 65_536)
DTYPES = (torch.int64, torch.int32, torch.float32)
#: The example of post 2025-09-09 (id D6).
POST_D6 = (42, 16_383, 1_146_937)


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
            capture_weights(checkpoint, self.writer)
            capture_layers(checkpoint, layer_inputs(self.request.texts, batch), self.writer)

    def capture_index(self) -> None:
        """Index the passages with colbert-ai and take every capture point on the way."""
        self.progress.stage(f"indexing {len(self.passages):,} passages")
        with self._step("index"):
            batches = 2 * math.ceil(len(self.passages) / self.request.index_bsize)
            observed = self.request.control != "observer"
            with Instruments(self.writer, self.progress, batches) if observed else nullcontext():
                self.setup.index(self.writer)
            store_index(self.writer)

    def capture_search(self) -> None:
        """Search the index for every query that has a relevant passage in it."""
        request = self.request
        queries = queries_within(request.collection_folder, len(self.passages))
        queries = queries[: request.queries or None]
        if not (request.k and queries) or request.control:
            return
        self.progress.stage(f"searching for {len(queries):,} queries")
        with self._step("search"):
            searcher = self.setup.searcher(self.writer.index_folder)
            encoded = searcher.encode([query.text for query in queries])
            ranked = rank(searcher, encoded, queries, request.k, self.progress, "searching, query")
            self.writer.value("rankings", {"k": request.k, "queries": ranked}, "search")

    def capture_probes(self) -> None:
        """Probe `torch.sort` on both sides of the size where its order may change: the value ``sort_probes``.

        A sort that is not asked to be stable may leave equal keys in any order. Whether it does is a matter of size,
        dtype and version, so each record has, beside ``size``, ``dtype`` and ``source``, the sha256 of the input, the
        sorted values, the indices and the indices of a stable sort; ``is_stable`` compares the last two.
        """
        if self.request.control:
            return
        self.progress.stage("probing the sort")
        with self._step("probes"):
            self.writer.value("sort_probes", [_probe_sort(*case) for case in _sort_cases()], "invert")

    def finish(self) -> Capture:
        """Write the manifest, give the capture its name and return it."""
        with self._step("finish"):
            self.writer.describe(self.request.describe(), self.setup.provenance(self.durations))
        self.writer.finish()
        self.progress.stage(f"done in {sum(self.durations.values()):.0f} s")
        return Capture.open(self.request.output_folder)


def _sort_cases() -> Iterator[tuple[str, torch.Tensor]]:
    for size in SIZES:
        # numpy's generator: the same integers whatever torch is installed. Few values, hence many ties.
        keys = np.random.Generator(np.random.PCG64(size)).integers(0, 256, size)
        for dtype in DTYPES:
            yield "ties", torch.from_numpy(keys).to(dtype)
    seed, high, size = POST_D6
    yield "post D6", torch.randint(0, high, (size,), generator=torch.Generator().manual_seed(seed))


def _probe_sort(source: str, keys: torch.Tensor) -> dict[str, Any]:
    values, indices = keys.sort()
    stable = keys.sort(stable=True).indices
    return {
        "size": keys.numel(),
        "dtype": str(keys.dtype).removeprefix("torch."),
        "source": source,
        "input_sha256": tensor_digest(keys),
        "values_sha256": tensor_digest(values),
        "indices_sha256": tensor_digest(indices),
        "stable_sha256": tensor_digest(stable),
        "is_stable": torch.equal(indices, stable),
    }
