"""What a capture rests on: its inputs, checked before any long work, and colbert-ai set up for them."""

from __future__ import annotations

import json
import string
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import faiss
import torch
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.modeling.tokenization import DocTokenizer

from reportlib import kmeans
from reportlib.artifacts import CAPTURE_POINTS
from reportlib.capture import contexts, provenance
from reportlib.capture.extensions import check_compiler, quote_paths
from reportlib.capture.preflight import complaint, measure
from reportlib.capture.request import ArmRequest
from reportlib.capture.tensors import to_numpy
from reportlib.collections.reading import PASSAGES, Passage, read_passages
from reportlib.errors import CaptureError, CheckpointError, CollectionError
from reportlib.store import CaptureWriter, digest_file, project_home
from reportlib.study import ColbertSettings

#: The seeds that colbert-ai has in its source: its launcher's, and its k-means's.
SEEDS = {"colbert-ai": 12345, "k-means": 123}


class Setup:
    """The inputs and settings of one request.

    Parameters
    ----------
    request : ArmRequest
        What to do.

    Raises
    ------
    CaptureError
        Or one of its kind: no such device, no compiler, an input that is not there or does not fit.
    """

    def __init__(self, request: ArmRequest) -> None:
        self.request = request
        if request.device == "cuda" and (error := complaint(measure(), request.device)):
            raise error
        check_compiler()
        quote_paths()
        self.passages = self._read_passages()
        self.dim = self._check_checkpoint()
        self._check_amount()
        # The hashes of what is read: the collection's computed, the checkpoint's as prepared.
        self.inputs = {
            "collection": digest_file(request.collection_folder / PASSAGES),
            "checkpoint": str(_source(request.checkpoint_folder)["sha256"]),
        }
        torch.set_num_threads(request.threads)
        faiss.omp_set_num_threads(request.threads)

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

    def _check_amount(self) -> None:
        """Refuse passages that are too few for k-means, by the tokens that colbert-ai makes of them."""
        texts = [passage.text for passage in self.passages]
        if kmeans.always_enough(len(texts)):
            return
        settings = ColBERTConfig.load_from_checkpoint(str(self.request.checkpoint_folder))
        config = ColBERTConfig.from_existing(settings, self.config())
        config.configure(checkpoint=str(self.request.checkpoint_folder))
        tokenizer = DocTokenizer(config)
        skipped = {tokenizer.tok.encode(sign, add_special_tokens=False)[0] for sign in string.punctuation}
        kept = {text: self._kept(tokenizer, text, skipped) for text in texts}
        kmeans.check(self.request.plain.name, texts, config.doc_maxlen, kept.__getitem__)

    @staticmethod
    def _kept(tokenizer: Any, text: str, skipped: set[int]) -> int:
        ids, _ = tokenizer.tensorize([text])
        return sum(number not in skipped for number in ids[0].tolist())

    def config(self) -> ColBERTConfig:
        """Return the request's settings for colbert-ai."""
        given = self.request.settings()
        return ColBERTConfig(**{f.name: given[f.name] for f in fields(ColbertSettings) if f.name in given})

    @contextmanager
    def colbert(self, writer: CaptureWriter) -> Iterator[None]:
        """Run colbert-ai in the arm's precision, what it prints in a log beside what `writer` writes."""
        run = RunConfig(nranks=1, avoid_fork_if_possible=True, root=str(writer.partial), experiment="run")
        with (
            (writer.partial / "colbert.log").open("a", encoding="utf-8") as log,
            redirect_stdout(log),
            redirect_stderr(log),
            warnings.catch_warnings(),
            contexts.precision(self.request.precision, self.request.device),
            Run().context(run),
        ):
            warnings.simplefilter("ignore")  # colbert-ai's and transformers' own; errors still are errors
            yield

    def provenance(self, durations: Mapping[str, float]) -> dict[str, Any]:
        """Return what a manifest says of where its capture ran, and on what."""
        record = provenance.collect(seeds=SEEDS, inputs=self.inputs)
        return {**record, "descriptions": self._descriptions(), "backend": self._backend(), "durations": {**durations}}

    def _descriptions(self) -> dict[str, dict[str, Any]]:
        """Return what the page says of the inputs, as they were prepared; a folder made by hand says nothing."""
        collection, checkpoint = (
            _source(folder) for folder in (self.request.collection_folder, self.request.checkpoint_folder)
        )
        counted = ("source", "passages", "queries", "judgements", "judging", "licence")
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


def take_final(writer: CaptureWriter) -> None:
    """Read ColBERT's own files back, as artifacts: what a search would load."""
    folder = writer.index_folder
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
        writer.tensor(f"index/{name}", array, "index", dtype)


def _source(folder: Path) -> dict[str, Any]:
    """Read what `reportlib prepare` wrote of an input."""
    try:
        content: dict[str, Any] = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{folder} is not a prepared input: {error}", "run `reportlib prepare STUDY`") from error
    return content
