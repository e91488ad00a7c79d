"""What one capture is asked to do: the capture notebook's parameters, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reportlib.artifacts import SWAPPABLE
from reportlib.errors import NotebookParameterError
from reportlib.notebooks import check_parameters
from reportlib.store import project_home
from reportlib.study import DEVICES, PRECISIONS, VARIABLES


@dataclass(frozen=True)
class CaptureRequest:
    """One arm, as the notebook's parameters describe it.

    Attributes
    ----------
    environment : str
        Name of the environment whose kernel runs the notebook.
    precision : str
        ``float32``, or ``autocast``: bfloat16 on a CPU, float16 on a GPU.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        For every library that has threads.
    passages : int
        How many passages from the start of the collection; 0 for all.
    collection, checkpoint : str
        Folders made by ``reportlib prepare``; empty for the ones that it prepared last.
    output : str
        The capture folder; empty for one in the project's home, named after the arm.
    swap : str
        Capture points to replace, joined by ``+``; empty for a plain arm.
    swap_from, replay_from : str
        A swapped arm's donors: A's capture for the points in `swap`, this arm's own plain capture for the
        embeddings that are not swapped (so BERT need not run).
    texts : list of str
        Inputs whose layer outputs are captured.
    nbits, doc_maxlen, query_maxlen, kmeans_niters, index_bsize : int
        colbert-ai's settings of these names.
    ncells, centroid_score_threshold, ndocs
        colbert-ai's search settings.
    k : int
        Passages per query; 0 leaves search out.
    queries : int
        How many queries; 0 for all.
    instruments : bool
        False runs colbert-ai untouched: the control for the instruments.
    variables : mapping of str to str
        Environment variables of `reportlib.study.VARIABLES`, set before torch is imported.
    """

    environment: str
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 2
    passages: int = 0
    collection: str = ""
    checkpoint: str = ""
    output: str = ""
    swap: str = ""
    swap_from: str = ""
    replay_from: str = ""
    texts: tuple[str, ...] = ("a", "test input")
    nbits: int = 4
    doc_maxlen: int = 256
    query_maxlen: int = 32
    kmeans_niters: int = 20
    index_bsize: int = 32
    ncells: int = 4
    centroid_score_threshold: float = 0.45
    ndocs: int = 1024
    k: int = 10
    queries: int = 0
    instruments: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("device", self.device, DEVICES)
        for name in self.points:
            _one_of("swap", name, SWAPPABLE)
        for name in self.variables:
            _one_of("variables", name, VARIABLES)
        if self.swap and not (self.swap_from and self.replay_from):
            raise NotebookParameterError(
                "a swapped arm needs swap_from and replay_from",
                "give A's capture and this arm's own plain capture",
            )
        if self.threads < 1 or self.passages < 0 or self.k < 0 or self.queries < 0:
            raise NotebookParameterError("threads must be positive; passages, k and queries must not be negative")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> CaptureRequest:
        """Make a request from a notebook's ``globals()``.

        Raises
        ------
        NotebookParameterError
            When a parameter is unknown or missing, or has another type than its default.
        """
        check_parameters(parameters, [known.name for known in fields(cls)])
        defaults = cls(environment="")
        chosen: dict[str, Any] = {}
        for known in fields(cls):
            if known.name not in parameters:
                raise NotebookParameterError(
                    f"the notebook has no parameter {known.name!r}", "restore its parameters cell"
                )
            chosen[known.name] = _fit(known.name, parameters[known.name], getattr(defaults, known.name))
        return cls(**chosen)

    @property
    def points(self) -> tuple[str, ...]:
        """The capture points to replace."""
        return tuple(self.swap.split("+")) if self.swap else ()

    @property
    def arm(self) -> str:
        """The arm's name, as `reportlib.study.Arm` has it."""
        plain = f"{self.environment}-{self.precision}"
        return f"{plain}-swap-{self.swap}" if self.swap else plain

    @property
    def collection_folder(self) -> Path:
        """The collection's folder."""
        return Path(self.collection) if self.collection else project_home() / "inputs" / "collection"

    @property
    def checkpoint_folder(self) -> Path:
        """The checkpoint's folder."""
        return Path(self.checkpoint) if self.checkpoint else project_home() / "inputs" / "checkpoint"

    @property
    def output_folder(self) -> Path:
        """The capture folder."""
        return Path(self.output) if self.output else project_home() / "captures" / "by-hand" / self.arm

    def describe(self) -> dict[str, Any]:
        """Return what determines the capture's content, without paths: the manifest's ``arm``."""
        left_out = {"collection", "checkpoint", "output", "swap_from", "replay_from"}
        content = {key: value for key, value in asdict(self).items() if key not in left_out}
        return {"name": self.arm, **content, "texts": list(self.texts)}


def _fit(name: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`: papermill gives lists for tuples, and whole numbers for floats."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise NotebookParameterError(f"parameter {name!r} is {value!r}; it must be of type {type(default).__name__}")
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise NotebookParameterError(f"parameter {name!r} is {value!r}", f"use one of {', '.join(map(repr, allowed))}")
