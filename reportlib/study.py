"""A study: one comparison, as `study.toml` describes it, and the arms that it needs.

Environments import these records too, so only the standard library is needed here; `reportlib.study_toml` reads the
file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reportlib.artifacts import SWAPPABLE

DEVICES = ("cpu", "cuda")
PRECISIONS = ("float32", "autocast")
DIRECTIONS = ("a into b", "b into a")
CONTROLS = ("repeat", "observer")
#: Environment variables that change how torch, BLAS or OpenMP compute: recorded in every capture, and the only
#: ones that a study may set.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "KMP_AFFINITY",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_SCHEDULE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TOKENIZERS_PARALLELISM",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


@dataclass(frozen=True)
class CollectionSpec:
    """Where the passages come from: the ``[collection]`` table.

    Attributes
    ----------
    source : str
        ``numpy-docstrings`` (needs no network beyond the package registry), ``beir``, ``tsv`` or ``huggingface``.
    path : str
        Folder (``beir``), file (``tsv``) or copy of a data set (``huggingface``), relative to the
        study's own folder.
    name, config, split : str
        Of a Hugging Face data set. ``split`` also chooses the judgements of a BEIR folder.
    titles : bool
        Whether a passage's title is put before its text.
    """

    source: str = "numpy-docstrings"
    path: str = ""
    name: str = ""
    config: str = ""
    split: str = ""
    titles: bool = True


#: Width of the offline checkpoint's trained projection; and how a study can ask for it, or not.
TRAINED_DIM = 96
PROJECTIONS = ("trained", "untrained")


@dataclass(frozen=True)
class CheckpointSpec:
    """Which model encodes the passages: the ``[checkpoint]`` table.

    Attributes
    ----------
    source : str
        ``all-minilm-l6-v2`` (from a package, no hub needed), a local folder, or a hub id.
    dim : int
        Width of the token embeddings of the offline checkpoint. Others bring their own.
    projection : str
        ``trained`` or ``untrained``, of the offline checkpoint; empty for trained where there is one, at a dim of
        `TRAINED_DIM`.
    """

    source: str = "all-minilm-l6-v2"
    dim: int = 96
    projection: str = ""

    @property
    def trained(self) -> bool:
        """Whether the offline checkpoint's projection is the trained one."""
        return self.projection == "trained" or (not self.projection and self.dim == TRAINED_DIM)


@dataclass(frozen=True)
class ColbertSettings:
    """Settings handed to colbert-ai as they are: the ``[colbert]`` table."""

    nbits: int = 4
    doc_maxlen: int = 256
    query_maxlen: int = 32
    kmeans_niters: int = 20
    index_bsize: int = 32
    ncells: int = 4
    centroid_score_threshold: float = 0.45
    ndocs: int = 1024


@dataclass(frozen=True)
class SwapSpec:
    """Which values of one environment are put into the other: the ``[swaps]`` table.

    The default sets are every swap point alone, and those points together that cut the pipeline: what everything
    behind them is computed from, at four depths (the embeddings; the sample and the embeddings; the trained codec and
    the embeddings; the trained codec, the codes and the residuals), with the pairs between them.

    Attributes
    ----------
    points : tuple of tuple of str
        Each inner tuple is one arm; every swap point in it is replaced.
    precisions : tuple of str
        In which precisions.
    directions : tuple of str
        Of `DIRECTIONS`: A's values into B, B's into A.
    """

    points: tuple[tuple[str, ...], ...] = (
        *((name,) for name in SWAPPABLE),
        ("local_sample_embs", "embs"),
        ("sample", "embs"),
        ("centroids", "embs"),
        ("centroids", "buckets"),
        ("buckets", "embs"),
        ("centroids", "buckets", "embs"),
        ("codes", "residuals"),
        ("centroids", "buckets", "codes", "residuals"),
    )
    precisions: tuple[str, ...] = PRECISIONS
    directions: tuple[str, ...] = DIRECTIONS


@dataclass(frozen=True)
class ControlSpec:
    """What tells noise from difference: the ``[controls]`` table.

    Attributes
    ----------
    repeat : bool
        Capture each plain arm again, in a fresh process.
    observer : bool
        Index once more without instruments.
    """

    repeat: bool = True
    observer: bool = True

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of `CONTROLS` that are asked for."""
        return tuple(kind for kind in CONTROLS if getattr(self, kind))


@dataclass(frozen=True)
class OperationsSpec:
    """Whether every operation of a pass is recorded, run again and explained: the ``[operations]`` table.

    Attributes
    ----------
    precisions : tuple of str
        In which precisions; none leaves it out.
    index : bool
        Beside BERT's forward passes also colbert-ai's indexing of A's embeddings.
    """

    precisions: tuple[str, ...] = PRECISIONS
    index: bool = True


@dataclass(frozen=True)
class SearchSpec:
    """How the indexes are searched: the ``[search]`` table.

    Attributes
    ----------
    k : int
        Passages per query that count; 0 leaves search out.
    queries : int
        How many queries; 0 for all that have a relevant passage among those indexed.
    seeds : int
        How many indexes A makes besides, each with another seed for k-means: the yardstick that a change of version is
        held against. 0 for none.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out of its ranking and its judgements, as BEIR does it under
        this name: `reportlib.collections.judging.is_itself`.
    """

    k: int = 10
    queries: int = 0
    seeds: int = 3
    ignore_identical_ids: bool = False

    @property
    def depth(self) -> int:
        """How many passages per query are kept, so that one that left the best `k` can still be found behind them."""
        return 2 * self.k


@dataclass(frozen=True)
class Arm:
    """What one capture runs.

    Attributes
    ----------
    environment, precision, device : str
        Names; see DEVICES and PRECISIONS.
    passages : int
        How many passages from the start of the collection; 0 for all.
    swap : tuple of str
        Swap points whose values come from another environment; empty for a plain arm.
    donor : str
        That environment.
    control : str
        One of `CONTROLS`; empty for an arm that is none.
    searching : bool
        Whether it indexes nothing and searches the plain arms' indexes instead: its own, the others', and its own made
        again with other seeds.
    """

    environment: str
    precision: str
    device: str
    passages: int
    swap: tuple[str, ...] = ()
    donor: str = ""
    control: str = ""
    searching: bool = False

    @property
    def name(self) -> str:
        """The arm's name: ``a-autocast``, ``a-autocast-repeat``, ``b-autocast-swap-embs-from-a``."""
        plain = f"{self.environment}-{self.precision}"
        if self.swap:
            return f"{plain}-swap-{'+'.join(self.swap)}-from-{self.donor}"
        if self.searching:
            return f"{plain}-search"
        return f"{plain}-{self.control}" if self.control else plain

    @property
    def plain(self) -> Arm:
        """The same arm without a swap, no control, and not searching."""
        return replace(self, swap=(), donor="", control="", searching=False)

    @property
    def given(self) -> Arm:
        """The plain arm that a swapped one takes values from."""
        return replace(self.plain, environment=self.donor)


@dataclass(frozen=True)
class Study:
    """One comparison: two or more environments on one collection and checkpoint.

    Attributes
    ----------
    path : Path
        The `study.toml`.
    environments : tuple of str
        The first is A; each further one is compared with it.
    passages : mapping of str to int
        Passages per precision; the keys are the precisions studied.
    texts : tuple of str
        Single inputs whose BERT layer outputs are captured, beside a batch of the collection.
    threads : int
        Of each arm, for every library that has threads; kernels and summation order can depend on it. Arms run side by
        side as cores allow, so more threads only help where there are more cores than arms.
    variables : mapping of str to str
        Environment variables of `VARIABLES`, set in every arm before torch is imported.
    """

    path: Path
    title: str
    environments: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1
    collection: CollectionSpec = field(default_factory=CollectionSpec)
    checkpoint: CheckpointSpec = field(default_factory=CheckpointSpec)
    colbert: ColbertSettings = field(default_factory=ColbertSettings)
    passages: Mapping[str, int] = field(default_factory=lambda: {"float32": 0, "autocast": 64})
    texts: tuple[str, ...] = ("a", "test input")
    controls: ControlSpec = field(default_factory=ControlSpec)
    swaps: SwapSpec = field(default_factory=SwapSpec)
    operations: OperationsSpec = field(default_factory=OperationsSpec)
    search: SearchSpec = field(default_factory=SearchSpec)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Name of the study's folder."""
        return Path(os.path.abspath(self.path)).parent.name  # noqa: PTH100  (pathlib keeps "..")

    @property
    def folder(self) -> Path:
        """The study's folder, where its report goes."""
        return self.path.parent

    def arms(self) -> tuple[Arm, ...]:
        """Return every arm: plain ones, their controls, and the swapped and searching ones that need their captures."""
        plain = [
            Arm(environment, precision, self.device, count)
            for precision, count in self.passages.items()
            for environment in self.environments
        ]
        controls = [replace(arm, control=kind) for arm in plain for kind in self.controls.kinds]
        searching = [replace(arm, searching=True) for arm in plain] if self.search.k else []
        return (*plain, *controls, *(arm for series in self.series() for arm in series), *searching)

    def series(self) -> list[list[Arm]]:
        """Return the swapped arms in series, each of one environment, precision and direction: one process makes it."""
        first = self.environments[0]
        return [
            [Arm(into, precision, self.device, self.passages[precision], p, donor) for p in self.swaps.points]
            for precision in self.swaps.precisions
            if precision in self.passages
            for other in self.environments[1:]
            for direction in self.swaps.directions
            for into, donor in [(other, first) if direction == DIRECTIONS[0] else (first, other)]
            if self.swaps.points
        ]

    def searched(self, arm: Arm) -> tuple[Arm, ...]:
        """Return the plain arms whose indexes a searching arm searches: its own first; A's searches all, others A's."""
        first, *others = self.environments
        names = (first, *others) if arm.environment == first else (arm.environment, first)
        return tuple(replace(arm.plain, environment=name) for name in names)

    def explained(self) -> list[tuple[Arm, Arm]]:
        """Return the plain arms of A and of each other environment whose operations are to be explained."""
        first = self.environments[0]
        return [
            (Arm(first, precision, self.device, count), Arm(other, precision, self.device, count))
            for other in self.environments[1:]
            for precision, count in self.passages.items()
            if precision in self.operations.precisions
        ]


def load(path: Path, *, device: str | None = None) -> Study:
    """Read a `study.toml`, as `reportlib.study_toml.read` does.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it.
    device : str, optional
        Takes the place of the file's device.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        When the file is missing, is not TOML, or a key or value in it makes no sense; the message names its line.
    """
    # Not at the top: an environment has these records and not what the file is checked against.
    from reportlib.study_toml import read

    return read(path, device=device)
