"""Addresses of captures: folders named after everything that determines their content.

That is the arm's settings, the environment's file and lock, the hashes of collection and checkpoint (where it searches,
of the queries too, and where it is scored, of the judgements), the code that captures, the machine and the variables
around it, and, for a swapped arm, the captures that it takes values from. What is unchanged keeps its address, so it is
found and not made again. The swapped arms of one environment, precision and donor lie in one folder, the series: one
process makes them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import environ
from pathlib import Path
from typing import Any

import yaml

import reportlib
from reportlib import checkpoints
from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.capture.process import settled_variables
from reportlib.collections.folder import Collection
from reportlib.notebooks import CAPTURE_NOTEBOOK, SEARCH_NOTEBOOK, SWAPS_NOTEBOOK, parameter_names, refuse_unknown
from reportlib.store import canonical_json, digest, digest_file
from reportlib.study import INDEXING, VARIABLES, Arm, OwnSettings, Study

# What of the package, the machine and the variables around a run is part of an address.

#: What the package's own code is in an address: raised by whoever changes what it computes, so that it is computed
#: anew, and by nobody else. A test holds each number against the code that it stands for (tests/unit/test_code.py).
CODE = {"capture": 1, "search": 1, "trace": 1, "roots": 1, "probe": 1}


def code_digest(names: tuple[str, ...]) -> str:
    """Hash the package's source files under `names`.

    Parameters
    ----------
    names : tuple of str
        Files and folders inside the package: ``capture``, ``store.py``.

    Returns
    -------
    str
        A sha256 over names and contents, in hexadecimal; compiled files do not count.
    """
    package = Path(reportlib.__file__).parent
    files: list[Path] = []
    for name in names:
        path = package / name
        files += [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    lines = [f"{file.relative_to(package)} {digest_file(file)}" for file in sorted(files)]
    return digest("\n".join(lines).encode())


# The machine and the environment variables around a run, as part of an address: kernels are chosen by them.

_GPUS = Path("/proc/driver/nvidia/gpus")
_MODEL = re.compile(r"^Model:\s*(.+)$", re.MULTILINE)


def ambient(device: str) -> dict[str, Any]:
    """Return what determines a capture's bytes beside its study, environment and inputs, ready for JSON.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``; GPUs count for the latter only.

    Returns
    -------
    dict
        ``machine``: the CPU's name and instruction sets, and the names of the GPUs. ``variables``: those of
        `reportlib.study.VARIABLES` that are set here and that a capture does not set itself.
    """
    settled = settled_variables(device)
    return {
        "machine": [cpu_name(), list(instruction_sets()), _gpus() if device == "cuda" else []],
        "variables": {name: environ[name] for name in VARIABLES if name in environ and name not in settled},
    }


def _gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs, as the driver has them."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(_GPUS.glob("*/information"))]
    return [match[1].strip() for text in texts if (match := _MODEL.search(text))]


#: Where links for Snakemake go, in the project.
LINKS = Path(".snakemake") / "names"
#: Wildcards are in braces, path variables in angle brackets; spaces at an end are taken for a mistake.
_NOT_PLAIN = re.compile(r"[{}<>\n]|^\s|\s$")


@dataclass(frozen=True)
class Inputs:
    """What every arm of a study reads.

    Attributes
    ----------
    collection, checkpoint
        As they were prepared.
    asked : mapping of str to str
        Hash of the queries that are searched for, by precision; empty without search.
    notes : tuple of str
        What a user should know before anything long.
    """

    collection: Collection
    checkpoint: checkpoints.Checkpoint
    asked: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedArm:
    """A plain arm or a control, with its address.

    Attributes
    ----------
    name, environment : str
        Of the arm, and of its environment and kernel.
    capture : str
        The capture folder, named after everything that determines it.
    parameters : str
        YAML file of the notebook's parameters.
    notebook : str
        Where the executed notebook goes.
    plain : bool
        Whether it is no control.
    """

    name: str
    environment: str
    capture: str
    parameters: str
    notebook: str
    plain: bool


@dataclass(frozen=True)
class PlannedSeries:
    """The swapped arms of one environment, precision and donor.

    Attributes
    ----------
    name, environment : str
        Of the series, and of its environment and kernel.
    captures : mapping of str to str
        Capture folder by arm name.
    done : str
        File that says that all of them are there.
    parameters, notebook : str
        As in `PlannedArm`.
    needs : tuple of str
        The plain arms whose captures it takes values from: the donor's, and its own.
    """

    name: str
    environment: str
    captures: Mapping[str, str]
    done: str
    parameters: str
    notebook: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class PlannedRoots:
    """The operations of two environments in one precision, to be explained.

    Attributes
    ----------
    a, b, precision : str
        The environments, and the precision.
    folder : str
        Where `reportlib roots` writes.
    capture : str
        A's plain arm, whose embeddings both index; empty where only the forward passes are looked into.
    needs : tuple of str
        That arm's name, if it is wanted.
    """

    a: str
    b: str
    precision: str
    folder: str
    capture: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Planner:
    """Gives every arm of a study its address and its file of parameters.

    Attributes
    ----------
    study : Study
    root, home, folder : Path
        The project, the folder for captures, and that of this study's run.
    inputs : Inputs
    environments : mapping of str to str
        Name to the hash of what it is made from.
    """

    study: Study
    root: Path
    home: Path
    folder: Path
    inputs: Inputs
    environments: Mapping[str, str]

    def arm(self, arm: Arm) -> PlannedArm:
        """Plan a plain arm or a control."""
        capture = self.relative(self.capture(arm))
        parameters = self.settings(arm) | {"output": capture}
        return PlannedArm(
            name=arm.name,
            environment=arm.environment,
            capture=capture,
            parameters=self.parameters(Path(capture).name, parameters, CAPTURE_NOTEBOOK),
            notebook=self.relative(self.study.folder / "notebooks" / f"{arm.name}.ipynb"),
            plain=not arm.control,
        )

    def series(self, arms: Sequence[Arm]) -> PlannedSeries:
        """Plan the swapped arms of one environment, precision and donor."""
        first = arms[0]
        folder = self.series_folder(first)
        sets = " ".join("+".join(arm.swap) for arm in arms)
        parameters = self.swap_settings(first) | {
            "swaps": sets,
            "swap_from": self.relative(self.capture(first.given)),
            "replay_from": self.relative(self.capture(first.plain)),
            "output": self.relative(folder),
        }
        name = _series_name(first)
        return PlannedSeries(
            name=name,
            environment=first.environment,
            captures={arm.name: self.relative(self.capture(arm)) for arm in arms},
            done=self.relative(folder / f".done-{digest(sets.encode())[:16]}"),
            parameters=self.parameters(folder.name, parameters, SWAPS_NOTEBOOK),
            notebook=self.relative(self.study.folder / "notebooks" / f"{name}.ipynb"),
            needs=(first.given.name, first.plain.name),
        )

    def roots(self, a: Arm, b: Arm) -> PlannedRoots:
        """Plan the operations of two plain arms."""
        index = self.study.operations.index
        own = [self.study.own(arm.environment) for arm in (a, b)]
        content = {
            "settings": [self.study.threads, list(self.study.layers.texts), dict(self.study.variables)],
            **({"own": list(map(asdict, own))} if any(one != OwnSettings() for one in own) else {}),
            "colbert": [self.study.colbert.index_bsize, self.study.colbert.doc_maxlen],
            "environments": [self.environments[arm.environment] for arm in (a, b)],
            "inputs": [self.inputs.collection.sha256, self.inputs.checkpoint.sha256],
            "capture": self.capture(a).name if index else "",
            "code": [CODE["trace"], CODE["roots"]],
            "ambient": ambient(a.device),
        }
        name = f"{a.environment}-{b.environment}-{a.precision}"
        return PlannedRoots(
            a=a.environment,
            b=b.environment,
            precision=a.precision,
            folder=self.relative(self.home / "roots" / f"{name}-{digest(canonical_json(content).encode())[:16]}"),
            capture=self.relative(self.capture(a)) if index else "",
            needs=(a.name,) if index else (),
        )

    def parameters(self, name: str, parameters: Mapping[str, Any], notebook: Path) -> str:
        """Write a notebook's parameters to a file and return its path."""
        content = {
            **parameters,
            "collection": self.relative(self.inputs.collection.path),
            "checkpoint": self.relative(self.inputs.checkpoint.path),
        }
        refuse_unknown(content, parameter_names(self.root / notebook))
        file = self.folder / "parameters" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        write_unless_there(file, yaml.safe_dump(content, sort_keys=False))
        return self.relative(file)

    def shared(self, arm: Arm) -> dict[str, Any]:
        """Return what both notebooks are told that is no path."""
        return {
            "environment": arm.environment,
            "precision": arm.precision,
            "device": arm.device,
            "threads": self.study.threads_in(arm.environment),
            "passages": arm.passages,
            "variables": self.study.variables_in(arm.environment),
        }

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Return the capture notebook's parameters that are no paths; a control is not told what it leaves out."""
        study = self.study
        return self.shared(arm) | {
            "control": arm.control,
            "texts": [] if arm.control == "observer" else list(study.layers.texts),
            **asdict(study.colbert_in(arm.environment)),
            "k": 0 if arm.control else study.search.k,
            "queries": 0 if arm.control else study.search.queries,
        }

    def swap_settings(self, arm: Arm) -> dict[str, Any]:
        """Return the swap notebook's parameters that are no paths, the sets aside."""
        chosen = {name: getattr(self.study.colbert_in(arm.environment), name) for name in INDEXING}
        return self.shared(arm) | {"donor": arm.donor, **chosen}

    def capture(self, arm: Arm) -> Path:
        """Return the address of an arm's capture."""
        if arm.swap:
            return self.series_folder(arm) / "+".join(arm.swap)
        key = self.key(arm, self.settings(arm))
        return self.home / "captures" / f"{arm.name}-{key}"

    def series_folder(self, arm: Arm) -> Path:
        """Return the address of the series that a swapped arm belongs to: which sets it has is no part of it."""
        donors = [self.capture(donor).name for donor in (arm.given, arm.plain)]
        key = self.key(arm, self.swap_settings(arm), donors)
        return self.home / "captures" / f"{_series_name(arm)}-{key}"

    def key(self, arm: Arm, settings: Mapping[str, Any], donors: Sequence[str] = ()) -> str:
        """Return the part of an address that stands for everything that determines a capture's content.

        `donors` are the names of the captures that it takes values from.
        """
        content = {
            "settings": settings,
            "environment": self.environments[arm.environment],
            "collection": self.inputs.collection.sha256,
            "checkpoint": self.inputs.checkpoint.sha256,
            "asked": self.inputs.asked.get(arm.precision, "") if settings.get("k") else "",
            "judged": self.inputs.collection.judged_sha256 if arm.searching else "",
            "code": [CODE["capture"], CODE["search"] if arm.searching else 0],
            "donors": list(donors),
            "ambient": ambient(arm.device),
        }
        return digest(canonical_json(content).encode())[:16]

    def relative(self, path: Path) -> str:
        """Return `path` from the project's root, or whole when it lies elsewhere."""
        absolute = path.absolute()
        name = str(absolute.relative_to(self.root) if absolute.is_relative_to(self.root) else absolute)
        return str(absolute) if name.startswith("-") else name  # a program would take it for an option

    def links(self) -> dict[str, str]:
        """Return links for the folders of the plan whose names Snakemake cannot take as they are, the longest first.

        Snakemake reads a file's name as a pattern, in which nothing can be escaped, and papermill formats the names of
        notebooks. So where a folder's name means something to either, both are given a link to it.
        """
        places = (self.study.path, self.study.folder / "x", self.folder / "x", self.home / "x")
        folders = {folder for place in places if (folder := _not_plain(self.relative(place)))}
        return {
            folder: str(LINKS / digest(os.fsencode(self.root / folder))[:16])
            for folder in sorted(folders, key=len, reverse=True)
        }


def _not_plain(path: str) -> str:
    """Return `path` up to the last part of it that a pattern could not hold; empty where there is none."""
    parts = path.split("/")
    last = max((number for number, part in enumerate(parts, 1) if _NOT_PLAIN.search(part)), default=0)
    return "/".join(parts[:last])


def _series_name(arm: Arm) -> str:
    return f"{arm.plain.name}-swaps-from-{arm.donor}"


def write_unless_there(path: Path, text: str) -> None:
    """Write `text` unless it is there already: a newer file would set the workflow going."""
    if path.is_file() and path.read_text(encoding="utf-8") == text + "\n":
        return
    path.write_text(text + "\n", encoding="utf-8")


# Addresses of searching arms: named after the indexes that they search and everything else that determines them.


@dataclass(frozen=True)
class PlannedSearch:
    """A searching arm, with its address.

    Attributes
    ----------
    name, environment, capture, parameters, notebook : str
        As in `reportlib.workflow.addresses.PlannedArm`.
    needs : tuple of str
        The plain arms whose indexes it searches.
    """

    name: str
    environment: str
    capture: str
    parameters: str
    notebook: str
    needs: tuple[str, ...]


def plan_search(planner: Planner, arm: Arm) -> PlannedSearch:
    """Plan a searching arm."""
    searched = planner.study.searched(arm)
    settings = _settings(planner, arm)
    key = planner.key(arm, settings, [planner.capture(plain).name for plain in searched])
    capture = planner.relative(planner.home / "captures" / f"{arm.name}-{key}")
    indexes = {plain.environment: planner.relative(planner.capture(plain)) for plain in searched}
    parameters = settings | {"indexes": indexes, "output": capture}
    return PlannedSearch(
        name=arm.name,
        environment=arm.environment,
        capture=capture,
        parameters=planner.parameters(Path(capture).name, parameters, SEARCH_NOTEBOOK),
        notebook=planner.relative(planner.study.folder / "notebooks" / f"{arm.name}.ipynb"),
        needs=tuple(plain.name for plain in searched),
    )


def _settings(planner: Planner, arm: Arm) -> dict[str, Any]:
    """Return the search notebook's parameters that are no paths; only A makes its index again."""
    study = planner.study
    return planner.shared(arm) | {
        **asdict(study.colbert_in(arm.environment)),
        "k": study.search.k,
        "depth": study.search.depth,
        "queries": study.search.queries,
        "seeds": study.search.seeds if arm.environment == study.environments[0] else 0,
    }
