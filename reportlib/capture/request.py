"""What a capture or a search is asked to do: a notebook's parameters, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from reportlib.artifacts import SWAPPABLE
from reportlib.capture.process import own_environment
from reportlib.errors import NotebookParameterError
from reportlib.notebooks import check_parameters
from reportlib.store import MANIFEST, Capture, project_home
from reportlib.study import CONTROLS, DEVICES, PRECISIONS, SEARCHING, VARIABLES, Arm, ColbertSettings, SwapSpec


@dataclass(frozen=True)
class ArmRequest(ColbertSettings):
    """What every notebook that captures is told, beside colbert-ai's settings.

    Attributes
    ----------
    environment : str
        The environment whose kernel runs the notebook; empty for whichever does (`settled`).
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
        The folder to make; empty for one in the project's home, named after the arm.
    variables : mapping of str to str
        Environment variables of `reportlib.study.VARIABLES`, set before torch is imported.
    """

    environment: str = ""
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 2
    passages: int = 0
    collection: str = ""
    checkpoint: str = ""
    output: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    #: Parameters that say where something lies: they determine no content.
    _paths: ClassVar[frozenset[str]] = frozenset({"collection", "checkpoint", "output"})
    #: Settings that it does not go by: its notebook has no parameters of these names.
    _unused: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        one_of("device", self.device, DEVICES)
        for name in self.variables:
            one_of("variables", name, VARIABLES)
        if self.threads < 1 or self.passages < 0:
            raise NotebookParameterError("threads must be positive; passages must not be negative")

    @classmethod
    def parameters(cls) -> list[Field[Any]]:
        """Return a field for each parameter of the notebook."""
        return [known for known in fields(cls) if known.name not in cls._unused]

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Make a request from a notebook's ``globals()``."""
        check_parameters(parameters, [known.name for known in cls.parameters()])
        chosen: dict[str, Any] = {}
        for known in cls.parameters():
            if known.name not in parameters:
                raise NotebookParameterError(
                    f"the notebook has no parameter {known.name!r}", "restore its parameters cell"
                )
            factory = known.default_factory
            default = factory() if factory is not MISSING else known.default
            chosen[known.name] = _fit(known.name, parameters[known.name], "" if default is MISSING else default)
        return cls(**chosen)

    def settled(self) -> Self:
        """Return it with what it leaves to the process that runs it: the environment, which is checked."""
        return replace(self, environment=own_environment(self.environment))

    @property
    def plain(self) -> Arm:
        """The plain arm of this environment and precision."""
        return Arm(self.environment, self.precision, self.device, self.passages)

    @property
    def collection_folder(self) -> Path:
        """The collection's folder."""
        return Path(self.collection) if self.collection else project_home() / "inputs" / "collection"

    @property
    def checkpoint_folder(self) -> Path:
        """The checkpoint's folder."""
        return Path(self.checkpoint) if self.checkpoint else project_home() / "inputs" / "checkpoint"

    def settings(self) -> dict[str, Any]:
        """Return what determines a capture's content, without paths, ready for JSON."""
        content = {key: value for key, value in asdict(self).items() if key not in self._paths | self._unused}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}


@dataclass(frozen=True)
class CaptureRequest(ArmRequest):
    """One plain arm or control, as the parameters of ``capture.ipynb`` describe it.

    Attributes
    ----------
    control : str
        ``repeat``: the plain arm once more, search and probes left out. ``observer``: colbert-ai untouched, of which
        only the index is taken. Empty for the plain arm itself.
    texts : list of str
        Inputs whose layer outputs are captured.
    k : int
        Passages per query; 0 leaves search out.
    queries : int
        How many queries; 0 for all.
    """

    control: str = ""
    texts: tuple[str, ...] = ("a", "test input")
    k: int = 10
    queries: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("control", self.control, ("", *CONTROLS))
        if self.k < 0 or self.queries < 0:
            raise NotebookParameterError("k and queries must not be negative")

    @property
    def arm(self) -> str:
        """The arm's name, as `reportlib.study.Arm` has it."""
        return f"{self.plain.name}-{self.control}" if self.control else self.plain.name

    @property
    def output_folder(self) -> Path:
        """The capture folder."""
        return Path(self.output) if self.output else _by_hand(self.arm)

    def describe(self) -> dict[str, Any]:
        """Return the manifest's ``arm``."""
        return {"name": self.arm, **self.settings(), "swap": [], "donor": ""}


@dataclass(frozen=True)
class SwapRequest(ArmRequest):
    """The swaps of one arm with the values of one donor, as the parameters of ``swaps.ipynb`` describe them.

    Attributes
    ----------
    swaps : str
        Sets of swap points (`reportlib.artifacts.SWAP_POINTS`): points joined by ``+``, sets by spaces; empty for
        those of a study that names none.
    donor : str
        The environment whose values are put in; empty for the one of `swap_from`, or the only other one that was
        captured by hand (`settled`).
    swap_from : str
        Its plain capture; empty for the one that was captured by hand.
    replay_from : str
        This arm's own plain capture, likewise.
    """

    swaps: str = ""
    donor: str = ""
    swap_from: str = ""
    replay_from: str = ""

    _paths: ClassVar[frozenset[str]] = ArmRequest._paths | {"swap_from", "replay_from", "swaps"}
    _unused: ClassVar[frozenset[str]] = frozenset(SEARCHING)

    def __post_init__(self) -> None:
        super().__post_init__()
        for points in self.sets:
            for name in points:
                one_of("swaps", name, SWAPPABLE)

    def settled(self) -> Self:
        """Return it with the environment that runs, and a donor."""
        own = super().settled()
        return own if own.donor else replace(own, donor=own._only_donor())

    def _only_donor(self) -> str:
        if self.swap_from:
            return str(Capture.open(Path(self.swap_from)).arm.get("environment"))
        ending = f"-{self.precision}"
        captured = [path.parent.name for path in sorted(_by_hand("").glob(f"*{ending}/{MANIFEST}"))]
        names = [name for each in captured if (name := each.removesuffix(ending)) != self.environment]
        if len(names) != 1:
            raise NotebookParameterError(
                f"parameter 'donor' is empty, and of the environments captured by hand in {self.precision}"
                f" {', '.join(names) if names else 'none other than this one'} could be meant",
                "give the environment whose values are put in; `capture.ipynb` captures it, in its own kernel",
            )
        return names[0]

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """The sets of points, each in pipeline order."""
        if not self.swaps.split():
            return SwapSpec().points
        order = {name: place for place, name in enumerate(SWAPPABLE)}
        found = [sorted(each.split("+"), key=lambda name: order.get(name, -1)) for each in self.swaps.split()]
        return tuple(dict.fromkeys(map(tuple, found)))

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arm of each set."""
        return tuple(
            Arm(self.environment, self.precision, self.device, self.passages, points, self.donor)
            for points in self.sets
        )

    @property
    def arm(self) -> str:
        """The series' name, for its lines of progress."""
        return f"{self.plain.name}-swaps-from-{self.donor}"

    @property
    def output_folder(self) -> Path:
        """The folder of the series: one capture folder for each set in it."""
        return Path(self.output) if self.output else _by_hand(self.arm)

    @property
    def own_folder(self) -> Path:
        """The arm's own plain capture."""
        return Path(self.replay_from) if self.replay_from else _by_hand(self.plain.name)

    @property
    def donor_folder(self) -> Path:
        """The donor's plain capture."""
        return Path(self.swap_from) if self.swap_from else _by_hand(self.arms[0].given.name)

    def describe(self, arm: Arm) -> dict[str, Any]:
        """Return the manifest's ``arm`` of one set."""
        return {"name": arm.name, **self.settings(), "swap": list(arm.swap), "control": ""}


@dataclass(frozen=True)
class SearchRequest(ArmRequest):
    """One searching arm, as the parameters of ``search.ipynb`` describe it.

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

    _paths: ClassVar[frozenset[str]] = ArmRequest._paths | {"indexes"}

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
            return {self.environment: _by_hand(self.plain.name)}
        others = {name: Path(folder) for name, folder in self.indexes.items()}
        return {self.environment: others.pop(self.environment), **others}

    @property
    def output_folder(self) -> Path:
        """The capture folder."""
        return Path(self.output) if self.output else _by_hand(self.arm)

    def describe(self) -> dict[str, Any]:
        """Return the manifest's ``arm``."""
        searched = list(self.folders)
        return {"name": self.arm, **self.settings(), "searching": True, "searched": searched, "swap": [], "control": ""}


def _by_hand(name: str) -> Path:
    return project_home() / "captures" / "by-hand" / name


def _fit(name: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`: papermill gives lists for tuples, and whole numbers for floats."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise NotebookParameterError(f"parameter {name!r} is {value!r}; it must be of type {type(default).__name__}")
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `NotebookParameterError` when a parameter's value is not one of those allowed."""
    if value not in allowed:
        raise NotebookParameterError(f"parameter {name!r} is {value!r}", f"use one of {', '.join(map(repr, allowed))}")
