"""One searching arm, step by step: what the cells of ``search.ipynb`` call."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
import torch

from reportlib.artifacts import CAPTURE_POINTS, SWAP_POINTS, downstream
from reportlib.capture.instruments import Instruments
from reportlib.capture.process import Progress, require_origin
from reportlib.capture.request import SearchRequest
from reportlib.capture.session import SEEDS, Setup, rank, shared_settings
from reportlib.capture.tensors import to_numpy
from reportlib.collections.reading import queries_within, read_judgements
from reportlib.errors import CaptureError
from reportlib.store import Capture, CaptureWriter

_KMEANS = "kmeans_centroids"
#: What k-means has no part in.
_KEPT = tuple(name for name in SWAP_POINTS if name != _KMEANS and name not in downstream(_KMEANS))
_NOTHING_TAKEN = frozenset(point.name for point in CAPTURE_POINTS)
#: Characters of a passage that are kept: a report shows the start of it.
_MOST_TEXT = 1_000


class SearchSession:
    """A searching arm's capture in the making.

    Everything that could fail is checked on creation. A step that fails removes the partial folder.

    Parameters
    ----------
    request : SearchRequest
        What to do.

    Raises
    ------
    CaptureError
        Or one of its kind: what `reportlib.capture.session.Setup` refuses, or plain captures that do not fit.
    """

    def __init__(self, request: SearchRequest) -> None:
        self.request = request
        self.setup = Setup(request)
        self.progress = Progress(request.arm)
        self.captures = {name: Capture.open(folder) for name, folder in request.folders.items()}
        for name, capture in self.captures.items():
            self._check(name, capture)
        queries = queries_within(request.collection_folder, len(self.setup.passages))
        self.queries = queries[: request.queries or None]
        self.durations: dict[str, float] = {}
        self._rankings: dict[str, Any] = {}
        self._encoded: torch.Tensor | None = None
        self.writer = CaptureWriter(request.output_folder)
        self.writer.begin()

    def _check(self, environment: str, capture: Capture) -> None:
        for key, value in shared_settings(self.request, environment).items():
            found = capture.arm.get(key)
            if found != value:
                raise CaptureError(
                    f"the capture {capture.path.name} has {key} = {found!r}; this search needs {value!r}",
                    "capture the plain arm with the settings of the search",
                )
        require_origin(capture, environment)
        if capture.provenance["inputs"] != self.setup.inputs:
            raise CaptureError(
                f"the capture {capture.path.name} was made from another collection or checkpoint",
                "capture both arms from the same inputs",
            )
        if not capture.index_folder.is_dir():
            raise CaptureError(f"the capture {capture.path.name} has no index", "give plain captures, not swaps")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Run a step; remove all if it fails."""
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.writer.abort(error)
            raise
        self.durations[name] = round(time.monotonic() - started, 3)

    def search(self) -> None:
        """Search every index with this environment's torch: its own first."""
        for name, capture in self.captures.items():
            self._search(name, capture.index_folder)

    def reseed(self) -> None:
        """Make this environment's index again with other seeds for k-means, and search these too."""
        seeds = {f"seed-{n}": SEEDS["k-means"] + n for n in range(1, self.request.seeds + 1)}
        own = self.captures[self.request.environment]
        for name, seed in seeds.items():
            self.progress.stage(f"indexing again, k-means seeded with {seed} in place of {SEEDS['k-means']}")
            folder = self.writer.partial / name
            with self._step(f"index {name}"):
                index = index_again(self.setup, own, seed, folder, self.progress)
            self._search(name, index)
            shutil.rmtree(folder)
        with self._step("seeds"):
            self.writer.value("seeds", {"default": SEEDS["k-means"], **seeds}, "search")

    def _search(self, name: str, index: Path) -> None:
        """Search one index and keep its rankings; the queries are encoded once, with the first."""
        self.progress.stage(f"searching {name} for {len(self.queries):,} queries")
        with self._step(f"search {name}"), self.setup.colbert(self.writer):
            ranked: list[dict[str, Any]] = []
            if self.queries:
                searcher = self.setup.searcher(index)
                if self._encoded is None:
                    self._encoded = searcher.encode([query.text for query in self.queries])
                depth, stage = self.request.depth, f"searching {name}, query"
                ranked = rank(searcher, self._encoded, self.queries, depth, self.progress, stage)
            self._rankings[name] = {"k": self.request.k, "depth": self.request.depth, "queries": ranked}
            self.writer.value(f"rankings/{name}", self._rankings[name], "search")

    def finish(self) -> Capture:
        """Add what a report says of queries and passages, write the manifest and return the capture."""
        with self._step("finish"):
            if self._encoded is not None:
                array, dtype = to_numpy(self._encoded)
                self.writer.tensor("query_embs", array, "search", dtype)
            judgements = self._judgements()
            self.writer.value("judgements", judgements, "search")
            self.writer.value("query_texts", {query.id: query.text for query in self.queries}, "search")
            self.writer.value("passage_texts", self._texts(judgements), "search")
            self.writer.describe(self.request.describe(), self.setup.provenance(self.durations))
        self.writer.finish()
        self.progress.stage(f"done in {sum(self.durations.values()):.0f} s")
        return Capture.open(self.request.output_folder)

    def _judgements(self) -> dict[str, dict[str, int]]:
        """Return the grade of each judged passage, by query and pid, for the passages that are indexed."""
        pids = {passage.id: pid for pid, passage in enumerate(self.setup.passages)}
        found: dict[str, dict[str, int]] = {query.id: {} for query in self.queries}
        for each in read_judgements(self.request.collection_folder):
            if each.query in found and each.passage in pids:
                found[each.query][str(pids[each.passage])] = each.grade
        return {query: grades for query, grades in found.items() if grades}

    def _texts(self, judgements: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, str]]:
        """Return id and text of every passage that is ranked or judged, by pid."""
        pids = {int(pid) for grades in judgements.values() for pid in grades}
        pids.update(pid for ranking in self._rankings.values() for query in ranking["queries"] for pid in query["pids"])
        passages = self.setup.passages
        return {str(pid): {"id": passages[pid].id, "text": passages[pid].text[:_MOST_TEXT]} for pid in sorted(pids)}


@contextmanager
def kmeans_seed(seed: int) -> Iterator[None]:
    """Give colbert-ai's k-means the seed `seed` in place of the one in its source, inside the ``with`` block."""
    kmeans = collection_indexer.faiss.Kmeans

    def seeded(*args: Any, **kwargs: Any) -> Any:
        return kmeans(*args, **{**kwargs, "seed": seed})

    with mock.patch.object(collection_indexer.faiss, "Kmeans", seeded):
        yield


def index_again(setup: Setup, own: Capture, seed: int, folder: Path, progress: Progress) -> Path:
    """Make the index of the plain capture `own` again, k-means seeded with `seed`: how far chance alone moves an index.

    Only k-means draws other numbers. The sample and the embeddings come from the arm's own capture, so BERT does not
    run, and with colbert-ai's own seed the same index comes out.

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
        with (
            setup.colbert(writer),
            kmeans_seed(seed),
            Instruments(writer, progress, 0, sources=dict.fromkeys(_KEPT, own), left_out=_NOTHING_TAKEN),
        ):
            setup.index(writer)
        writer.describe({"name": f"{progress.arm}-seed-{seed}"}, {})
    return folder / writer.index_folder.name


def overview(capture: Capture) -> list[dict[str, Any]]:
    """Return one line for each index searched: how many queries, and how long searching took in seconds."""
    durations = capture.provenance["durations"]
    names = [name for name in capture.artifacts if name.startswith("rankings/")]
    return [
        {
            "index": name.partition("/")[2],
            "queries": len(capture.value(name)["queries"]),
            "seconds": durations.get(f"search {name.partition('/')[2]}"),
        }
        for name in names
    ]
