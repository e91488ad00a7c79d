"""A study: one comparison, as `study.toml` describes it, and the arms that it needs.

A key of that file is a field here, with its default, what it is and its limits: `reportlib.study_toml` reads and writes
the file by them. Environments import these records too, so only the standard library is needed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

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
class Limit:
    """What a value has to be beside being of its type: `holds` of it, or the message says `what` (``{}`` is it)."""

    holds: Callable[[Any], bool]
    what: str
    mend: str | None = None


@dataclass(frozen=True)
class Key:
    """What a key of `study.toml` is, beside its type and its default: the reader, its messages and new files follow.

    Attributes
    ----------
    about : str
        What stands behind it in a new file, or above it when it is a table.
    least : int
        The smallest whole number that does anything.
    why : str
        Why no smaller one does; where it is empty, because the key is a number of what it is about.
    allowed : tuple of str
        The texts that are known; empty for any.
    studied : bool
        Whether those are the precisions that the study has, and all of them by default.
    limit : Limit or None
        What else a value has to be.
    searching : bool
        Of a setting of colbert-ai: whether only a search goes by it, so that an index is the same without it.
    """

    about: str
    least: int = 0
    why: str = ""
    allowed: tuple[str, ...] = ()
    studied: bool = False
    limit: Limit | None = None
    searching: bool = False


_Value = TypeVar("_Value")


def key(default: _Value, about: str, **limits: Any) -> _Value:
    """Return a field that is a key of `study.toml`; `limits` are those of `Key`."""
    return field(default=default, metadata={"key": Key(about, **limits)})


def table(kind: Callable[[], _Value], about: str) -> _Value:
    """Return a field that is a table of `study.toml`; by default, what `kind` makes."""
    return field(default_factory=kind, metadata={"key": Key(about)})


def key_of(known: Field[Any]) -> Key:
    """Return what the key of a field is."""
    return cast("Key", known.metadata["key"])


SOURCES = ("numpy-docstrings", "beir", "tsv", "huggingface")


@dataclass(frozen=True)
class CollectionSpec:
    """Where the passages come from: the ``[collection]`` table."""

    #: ``numpy-docstrings`` needs no network beyond the package registry.
    source: str = key(SOURCES[0], '"numpy-docstrings", "beir", "tsv" or "huggingface"', allowed=SOURCES)
    path: str = key("", "of a BEIR folder, a TSV file or a copied data set; from this file's folder")
    name: str = key("", "of a Hugging Face data set: UKPLab/dapr")
    config: str = key("", "of a data set: ConditionalQA")
    split: str = key("", "of a data set's or a BEIR folder's queries; when empty, test or the only one")
    titles: bool = key(True, "a passage's title is put before its text")


#: The checkpoint that needs no model hub: its encoder comes from a package.
OFFLINE = "all-minilm-l6-v2"
#: Width of its trained projection; and how a study can ask for it, or not.
TRAINED_DIM = 96
PROJECTIONS = ("trained", "untrained")


@dataclass(frozen=True)
class CheckpointSpec:
    """Which model encodes the passages: the ``[checkpoint]`` table."""

    source: str = key(OFFLINE, f'"{OFFLINE}", a folder, or a hub id')
    dim: int = key(TRAINED_DIM, f"width of {OFFLINE}'s token embeddings, a multiple of 8 * nbits; others bring theirs")
    projection: str = key("", f"trained or untrained, of {OFFLINE}; trained is what dim = {TRAINED_DIM} has")

    @property
    def trained(self) -> bool:
        """Whether the offline checkpoint's projection is the trained one."""
        return self.projection == "trained" or (not self.projection and self.dim == TRAINED_DIM)


@dataclass(frozen=True, kw_only=True)
class ColbertSettings:
    """Settings handed to colbert-ai as they are: the ``[colbert]`` table.

    Each is a parameter of the notebooks too: one that only a search goes by, of those that search.
    """

    nbits: int = key(
        4,
        "bits of a residual's number: 1, 2, 4 or 8",
        # Its residual codec packs bits into bytes.
        limit=Limit((1, 2, 4, 8).__contains__, "{} bits do not pack into bytes", "use 1, 2, 4 or 8"),
    )
    doc_maxlen: int = key(256, "tokens of a passage", least=4, why="[CLS], [D] and [SEP] take three places of it")
    query_maxlen: int = key(
        32, "tokens of a query", least=4, why="[CLS], [Q] and [SEP] take three places of it", searching=True
    )
    kmeans_niters: int = key(20, "rounds of k-means", least=1, why="k-means without a round trains no centroids")
    index_bsize: int = key(32, "passages encoded at a time", least=1)
    ncells: int = key(4, "centroids looked at for each token of a query", least=1, searching=True)
    centroid_score_threshold: float = key(
        0.45,
        "a centroid below it does not count when passages are first sifted",
        limit=Limit(math.isfinite, "must be a finite number", "0.45 is colbert-ai's own"),
        searching=True,
    )
    ndocs: int = key(
        1024,
        "passages sifted; a quarter of them is scored in full",
        least=4,
        why="colbert-ai scores a quarter of them in full",
        searching=True,
    )


#: The settings that only a search goes by, and those that determine an index.
SEARCHING = tuple(f.name for f in fields(ColbertSettings) if key_of(f).searching)
INDEXING = tuple(f.name for f in fields(ColbertSettings) if f.name not in SEARCHING)


#: The precisions of a study that names none, and how many passages in each.
DEFAULT_PASSAGES = MappingProxyType({"float32": 0, "autocast": 64})


@dataclass(frozen=True)
class PrecisionSpec:
    """One precision: a ``[precision.float32]`` table."""

    passages: int = key(0, "from the start of the collection; 0 for all")


@dataclass(frozen=True)
class LayersSpec:
    """The single inputs whose BERT layer outputs are captured: the ``[layers]`` table."""

    texts: tuple[str, ...] = key(("a", "test input"), "each by itself")


@dataclass(frozen=True)
class ControlSpec:
    """What tells noise from difference: the ``[controls]`` table."""

    repeat: bool = key(True, "in a fresh process")
    observer: bool = key(True, "indexed without instruments")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of `CONTROLS` that are asked for."""
        return tuple(kind for kind in CONTROLS if getattr(self, kind))


@dataclass(frozen=True)
class SwapSpec:
    """Which values of one environment are put into the other: the ``[swaps]`` table.

    The default sets are every swap point alone, and those points together that cut the pipeline: what everything
    behind them is computed from, at four depths (the embeddings; the sample and the embeddings; the trained codec and
    the embeddings; the trained codec, the codes and the residuals), with the pairs between them.
    """

    points: tuple[tuple[str, ...], ...] = key(
        (
            *((name,) for name in SWAPPABLE),
            ("local_sample_embs", "embs"),
            ("sample", "embs"),
            ("centroids", "embs"),
            ("centroids", "buckets"),
            ("buckets", "embs"),
            ("centroids", "buckets", "embs"),
            ("codes", "residuals"),
            ("centroids", "buckets", "codes", "residuals"),
        ),
        "each list is one arm; [] leaves swaps out",
        allowed=SWAPPABLE,
    )
    precisions: tuple[str, ...] = key(PRECISIONS, "all of those above, unless some are named", studied=True)
    directions: tuple[str, ...] = key(DIRECTIONS, "whose values go where", allowed=DIRECTIONS)


@dataclass(frozen=True)
class OperationsSpec:
    """Whether every operation of a pass is recorded, run again and explained: the ``[operations]`` table."""

    precisions: tuple[str, ...] = key(
        PRECISIONS, "all of those above, unless some are named; [] leaves it out", studied=True
    )
    index: bool = key(True, "of indexing too, and not only of BERT")


@dataclass(frozen=True)
class SearchSpec:
    """How the indexes are searched: the ``[search]`` table."""

    k: int = key(10, "passages of a query that count; 0 leaves search out")
    queries: int = key(0, "how many; 0 for all that have a relevant passage among those indexed")
    #: What a change of version is held against.
    seeds: int = key(3, "indexes of A made with another seed of k-means: the yardstick; 0 for none")
    #: As BEIR does it under this name: `reportlib.collections.folder.is_itself`.
    ignore_identical_ids: bool = key(False, "leave a passage that is the query itself (same id) out of its ranking")

    @property
    def depth(self) -> int:
        """How many passages per query are kept, so that one that left the best `k` can still be found behind them."""
        return 2 * self.k


@dataclass(frozen=True)
class OwnSettings:
    """What one environment has in place of the study's: a ``[settings.NAME]`` table."""

    threads: int = key(0, "of its arms; 0 for the study's")
    index_bsize: int = key(0, "passages that it encodes at a time; 0 for the study's")
    variables: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, str]:
        """Return what is set, by name."""
        numbers = {name: getattr(self, name) for name in ("threads", "index_bsize")}
        return {name: str(number) for name, number in numbers.items() if number} | dict(self.variables)


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

    Each field is a key or a table of the `study.toml`, in its order, except `path`: the file itself. `passages` has the
    passages of each precision studied, the tables ``[precision.*]``.
    """

    path: Path
    title: str = field(
        metadata={"key": Key("the page's first line", limit=Limit(bool, "must be a sentence that names the study"))}
    )
    environments: tuple[str, ...] = field(
        metadata={
            "key": Key(
                "the first is A; the others are compared with it",
                limit=Limit(lambda names: len(names) > 1, "a comparison needs at least two"),
            )
        }
    )
    device: str = key("cpu", '"cpu" or "cuda"', allowed=DEVICES)
    #: For every library that has threads; kernels and summation order can depend on it.
    threads: int = key(
        1,
        "of each arm; as many arms run side by side as there are cores",
        least=1,
        why="an arm computes with one thread at least",
    )
    collection: CollectionSpec = table(CollectionSpec, "What is indexed and searched.")
    checkpoint: CheckpointSpec = table(CheckpointSpec, "The model that encodes it.")
    colbert: ColbertSettings = table(ColbertSettings, "Settings that colbert-ai is given as they are.")
    passages: Mapping[str, int] = table(
        lambda: dict(DEFAULT_PASSAGES), "What is computed with. Leave a table out to leave that precision out."
    )
    layers: LayersSpec = table(
        LayersSpec, "Inputs whose output of every BERT layer is compared, beside a batch of the collection."
    )
    controls: ControlSpec = table(
        ControlSpec, "Each plain arm once more: what differs there is noise, and no difference between versions."
    )
    swaps: SwapSpec = table(
        SwapSpec, "Values of one environment put into the other, which shows what a difference comes from."
    )
    operations: OperationsSpec = table(
        OperationsSpec,
        "Every operation of BERT's forward pass recorded, run again on the other's inputs, and explained.",
    )
    search: SearchSpec = table(SearchSpec, "Every index searched with its own torch and with the other's.")
    variables: Mapping[str, str] = table(
        dict, "Environment variables that are set before torch is imported; the only ones that a study may set."
    )
    settings: Mapping[str, OwnSettings] = table(
        dict, "What one environment has in place of the above; variables of its own in [settings.NAME.variables]."
    )

    @property
    def slug(self) -> str:
        """Name of the study's folder."""
        return Path(os.path.abspath(self.path)).parent.name  # noqa: PTH100  (pathlib keeps "..")

    @property
    def folder(self) -> Path:
        """The study's folder, where its report goes."""
        return self.path.parent

    def own(self, environment: str) -> OwnSettings:
        """Return what an environment has in place of the study's."""
        return self.settings.get(environment, OwnSettings())

    def threads_in(self, environment: str) -> int:
        """Return the threads of an environment's arms."""
        return self.own(environment).threads or self.threads

    @property
    def most_threads(self) -> int:
        """The threads of the arm that has most."""
        return max(map(self.threads_in, self.environments))

    def variables_in(self, environment: str) -> dict[str, str]:
        """Return the environment variables of an environment's arms."""
        return {**self.variables, **self.own(environment).variables}

    def colbert_in(self, environment: str) -> ColbertSettings:
        """Return colbert-ai's settings in an environment."""
        return replace(self.colbert, index_bsize=self.own(environment).index_bsize or self.colbert.index_bsize)

    def varied(self, environment: str) -> dict[str, str]:
        """Return, of the settings that are not the same in all environments, those that one has."""
        names = dict.fromkeys(name for other in self.environments for name in self.own(other).told())
        given = {name: [self._setting(other, name) for other in self.environments] for name in names}
        return {name: self._setting(environment, name) for name, values in given.items() if len({*values}) > 1}

    def _setting(self, environment: str, name: str) -> str:
        if name == "threads":
            return str(self.threads_in(environment))
        if name == "index_bsize":
            return str(self.colbert_in(environment).index_bsize)
        return self.variables_in(environment).get(name, "not set")

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
        """Return the plain arms of A and of each other environment whose operations are to be explained.

        Batches of two sizes have no operation in common: each reads other shapes.
        """
        first = self.environments[0]
        return [
            (Arm(first, precision, self.device, count), Arm(other, precision, self.device, count))
            for other in self.environments[1:]
            for precision, count in self.passages.items()
            if precision in self.operations.precisions
            if self.colbert_in(first).index_bsize == self.colbert_in(other).index_bsize
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
