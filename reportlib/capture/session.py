"""One capture, step by step (what the cells of ``capture.ipynb`` call), and what every capture rests on.

That is its inputs, checked before any long work, colbert-ai set up for them, and the machine. Of the machine everything
is recorded that could matter to a capture's numbers, and nothing private: no path, host name, user name or address, and
of the environment's variables only those in `reportlib.study.VARIABLES`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import string
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from colbert import Indexer, Searcher
from colbert.data import Collection
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.tokenization import DocTokenizer

from reportlib import kmeans
from reportlib.artifacts import CAPTURE_POINTS
from reportlib.capture.instruments import Instruments, computing_in, quiet_cpu_kmeans
from reportlib.capture.preflight import (
    check_compiler,
    cpu_capability,
    cpu_name,
    device_error,
    instruction_sets,
    measure,
    quote_paths,
)
from reportlib.capture.process import Progress, installed, known_environments
from reportlib.capture.request import ArmRequest, CaptureRequest
from reportlib.capture.tensors import capture_layers, capture_weights, layer_inputs, tensor_digest, to_numpy
from reportlib.collections.reading import PASSAGES, Passage, Query, queries_within, read_passages
from reportlib.errors import CaptureError, CheckpointError, CollectionError
from reportlib.store import Capture, CaptureWriter, digest, digest_file
from reportlib.study import INDEXING, VARIABLES, ColbertSettings

#: Sizes and dtypes that the sort is probed with.
SIZES = (1_024, 16_384, 32_767, 32_768, 32_769, 65_536)
DTYPES = (torch.int64, torch.int32, torch.float32)
#: The example of post 2025-09-09 (id D6).
POST_D6 = (42, 16_383, 1_146_937)
#: The seeds that colbert-ai has in its source: its launcher's, and its k-means's.
SEEDS = {"colbert-ai": 12345, "k-means": 123}
#: What a study may give each environment for itself: the numbers of `reportlib.study.OwnSettings`.
_OWN = ("threads", "index_bsize")
_LIBRARIES = re.compile(
    r"lib(?:gomp|iomp5|omp|mkl[a-z_0-9]*|openblas[a-z0-9_]*|scipy_openblas[a-z0-9_]*|faiss|torch_cpu|torch_cuda|"
    r"cublas(?:Lt)?|cudnn[a-z_]*|cudart)[-.]"
)
_KINDS = (
    ("libgomp", "OpenMP"),
    ("libiomp5", "OpenMP"),
    ("libomp", "OpenMP"),
    ("libfaiss", "faiss"),
    ("libtorch", "torch"),
    ("libcu", "CUDA"),
    ("lib", "BLAS"),
)
#: A larger library (torch's own) is known by its package's RECORD.
_HASHED_BYTES = 64 << 20


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
        if request.device == "cuda" and (error := device_error(measure(), request.device)):
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

        def kept(text: str) -> int:
            ids, _ = tokenizer.tensorize([text])
            return sum(number not in skipped for number in ids[0].tolist())

        kmeans.check(
            self.request.plain.name, texts, config.doc_maxlen, {text: kept(text) for text in texts}.__getitem__
        )

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
            computing_in(self.request.precision, self.request.device),
            Run().context(run),
        ):
            warnings.simplefilter("ignore")  # colbert-ai's and transformers' own; errors still are errors
            yield

    def index(self, writer: CaptureWriter) -> None:
        """Index the passages with colbert-ai into `writer`'s index folder, its k-means on the CPU."""
        config = self.config()
        config.configure(index_path=str(writer.index_folder))
        indexer = Indexer(str(self.request.checkpoint_folder), config=config, verbose=1)
        with quiet_cpu_kmeans():
            indexer.index("index", Collection(data=[passage.text for passage in self.passages]))

    def searcher(self, index: Path) -> Searcher:
        """Return colbert-ai's searcher for the index folder `index` of the same passages."""
        return Searcher(
            index=index.name,
            index_root=str(index.parent),
            checkpoint=str(self.request.checkpoint_folder),
            collection=[passage.text for passage in self.passages],
            config=self.config(),
            verbose=1,
        )

    def provenance(self, durations: Mapping[str, float]) -> dict[str, Any]:
        """Return what a manifest says of where its capture ran, and on what."""
        collection, checkpoint = (
            _source(folder) for folder in (self.request.collection_folder, self.request.checkpoint_folder)
        )
        environment = known_environments().get(self.request.environment)
        # What the page says of the inputs, as they were prepared; a folder made by hand says nothing.
        counted = ("source", "passages", "queries", "judgements", "judging", "licence")
        return {
            "python": platform.python_version(),
            "packages": _packages(),
            "torch": _torch(),
            "libraries": _libraries(),
            "machine": _machine(),
            "threads": {"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads()},
            "environment_variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
            "seeds": SEEDS,
            "inputs": self.inputs,
            "descriptions": {
                "collection": {key: collection[key] for key in counted if key in collection},
                "checkpoint": {"source": checkpoint.get("source"), **checkpoint.get("model", {})},
            },
            "backend": environment.backend if environment else None,
            "durations": dict(durations),
        }


def store_index(writer: CaptureWriter) -> None:
    """Read ColBERT's own files back, as artifacts: what a search would load."""
    folder = writer.index_folder
    chunks = sorted(folder.glob("*.codes.pt"), key=lambda file: int(file.name.split(".")[0]))
    tensors: dict[str, Any] = {}
    for number, file in enumerate(chunks):
        tensors[f"codes/{number}"] = torch.load(file)
        tensors[f"residuals/{number}"] = torch.load(folder / f"{number}.residuals.pt")
    tensors["ivf"], tensors["ivf_lengths"] = torch.load(folder / "ivf.pid.pt")
    tensors["avg_residual"] = torch.load(folder / "avg_residual.pt")
    tensors["bucket_cutoffs"], tensors["bucket_weights"] = torch.load(folder / "buckets.pt")
    tensors["centroids"] = torch.load(folder / "centroids.pt")
    order = [point.name for point in CAPTURE_POINTS if point.final]
    for name in sorted(tensors, key=lambda name: order.index(name.split("/")[0])):
        array, dtype = to_numpy(tensors[name])
        writer.tensor(f"index/{name}", array, "index", dtype)


def rank(
    searcher: Searcher, encoded: torch.Tensor, queries: Sequence[Query], depth: int, progress: Progress, stage: str
) -> list[dict[str, Any]]:
    """Return the best passages of every query: ``qid``, ``pids`` (best first) and ``scores``.

    Parameters
    ----------
    searcher : Searcher
        See `Setup.searcher`.
    encoded : torch.Tensor
        The queries, as the searcher encodes them: queries x tokens x dim.
    queries : sequence of Query
        At least one.
    depth : int
        How many passages to ask for; fewer come back where colbert-ai reaches fewer.
    progress : Progress
        Told about every query, as `stage`.

    Returns
    -------
    list of dict
        One a query; scores are float32 as Python floats.
    """
    rankings = []
    with torch.inference_mode():
        for number, query in enumerate(queries):
            progress.step(stage, number, len(queries))
            pids, _, scores = searcher.dense_search(encoded[number : number + 1], depth)
            rankings.append({"qid": query.id, "pids": list(pids), "scores": list(scores)})
    return rankings


def _source(folder: Path) -> dict[str, Any]:
    """Read what `reportlib prepare` wrote of an input."""
    try:
        content: dict[str, Any] = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{folder} is not a prepared input: {error}", "run `reportlib prepare STUDY`") from error
    return content


def _packages() -> dict[str, dict[str, str | None]]:
    """Return version and digest of what this process can import.

    A wheel's RECORD is hashed without what installers write for themselves: it then only tells what was in the wheel.
    """
    own = re.compile(r"(^|/)(__pycache__/|INSTALLER|REQUESTED|RECORD|direct_url\.json|uv_[a-z]+\.json)|^\.\./")
    packages: dict[str, dict[str, str | None]] = {}
    for name, package in installed().items():
        record = package.read_text("RECORD") or ""
        lines = sorted(line for line in record.splitlines() if line and not own.search(line.split(",")[0]))
        packages[name.lower()] = {
            "version": package.version,
            "record_sha256": digest("\n".join(lines).encode()) if record else None,
        }
    return dict(sorted(packages.items()))


def _torch() -> dict[str, Any]:
    backend = getattr(torch.backends, "cpu", None)  # from torch 2.1.0 on
    return {
        "version": torch.__version__,
        "git_version": torch.version.git_version,
        "cuda": torch.version.cuda,
        "config": torch.__config__.show().strip(),
        "parallel": torch.__config__.parallel_info().strip(),
        "cpu_capability": backend.get_cpu_capability() if backend else cpu_capability(torch.__config__.show()) or None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _libraries() -> list[dict[str, Any]]:
    """Return the shared libraries that compute, as loaded: a package can bring its own copy of OpenMP or BLAS."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    files = {Path(line.split(maxsplit=5)[5]) for line in maps.read_text().splitlines() if "/" in line}
    named = sorted((file for file in files if _LIBRARIES.match(file.name)), key=lambda file: (file.name, str(file)))
    return [
        {
            "name": file.name,
            "kind": next(kind for start, kind in _KINDS if file.name.startswith(start)),
            "size": file.stat().st_size,
            "sha256": digest_file(file) if file.stat().st_size <= _HASHED_BYTES else None,
        }
        for file in named
    ]


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "isa": list(instruction_sets()),
        "cores": os.cpu_count(),
        "arch": platform.machine(),
        "os": f"{platform.system()}, libc {' '.join(platform.libc_ver())}",
        **_gpu(),
    }


def _gpu() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"gpu": None, "driver": None}
    properties = torch.cuda.get_device_properties(0)
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    return {
        "gpu": properties.name,
        "driver": driver,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cudnn": torch.backends.cudnn.version(),
    }


def shared_settings(request: ArmRequest, environment: str) -> dict[str, Any]:
    """Return what the plain capture of an environment must agree in with a request that builds on it."""
    own = () if environment == request.environment else _OWN
    names = ("precision", "device", "passages", "threads", *INDEXING)
    return {"environment": environment, **{name: getattr(request, name) for name in names if name not in own}}
