"""What a searching arm is asked to do: the parameters of ``search.ipynb``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reportlib.capture.request import ArmRequest, CaptureRequest
from reportlib.errors import NotebookParameterError


@dataclass(frozen=True)
class SearchRequest(ArmRequest):
    """One searching arm.

    Attributes
    ----------
    k : int
        Passages per query that count.
    depth : int
        Passages per query that are kept.
    queries : int
        How many queries; 0 for all that have a relevant passage among those indexed.
    seeds : int
        How many indexes to make besides, each with another seed for k-means.
    indexes : mapping of str to str
        Environment to its plain capture, whose index is searched; empty for this environment's own, captured by hand.
    """

    k: int = 10
    depth: int = 20
    queries: int = 0
    seeds: int = 0
    indexes: Mapping[str, str] = field(default_factory=dict)

    _paths = ArmRequest._paths | {"indexes"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1 or self.depth < self.k:
            raise NotebookParameterError(
                f"k is {self.k} and depth is {self.depth}", "k must be positive, and depth not below it"
            )
        if self.queries < 0 or self.seeds < 0:
            raise NotebookParameterError("queries and seeds must not be negative")
        if self.indexes and self.environment and self.environment not in self.indexes:
            raise NotebookParameterError(
                f"parameter 'indexes' has no index of {self.environment!r} itself", "give its own plain capture too"
            )

    @property
    def arm(self) -> str:
        """The arm's name, as `reportlib.study.Arm` has it."""
        return replace(self.plain, searching=True).name

    @property
    def folders(self) -> dict[str, Path]:
        """The plain capture of each environment whose index is searched, this environment's own first."""
        if not self.indexes:
            return {self.environment: self._by_hand(self.plain.name)}
        others = {name: Path(folder) for name, folder in self.indexes.items()}
        return {self.environment: others.pop(self.environment), **others}

    @property
    def output_folder(self) -> Path:
        """The capture folder."""
        return Path(self.output) if self.output else self._by_hand(self.arm)

    def describe(self) -> dict[str, Any]:
        """Return the manifest's ``arm``."""
        searched = list(self.folders)
        return {"name": self.arm, **self.settings(), "searching": True, "searched": searched, "swap": [], "control": ""}

    def _by_hand(self, name: str) -> Path:
        """Return where `capture.ipynb` puts what no path was given for."""
        own = CaptureRequest(self.environment, self.precision, self.device, passages=self.passages)
        return own.output_folder.with_name(name)
