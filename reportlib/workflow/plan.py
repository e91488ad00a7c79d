"""Resolve a study: which captures it needs, where each goes, and what it is made from.

A capture's folder is named after everything that determines its content: the arm's settings, the environment's file
and lock, the hashes of collection and checkpoint, the code that captures, and, for a swapped arm, the captures that
it takes values from. What is unchanged keeps its address, so it is found and not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from reportlib import checkpoints, collections
from reportlib.environments import EnvironmentSpec, load_spec
from reportlib.environments.record import find_record
from reportlib.errors import CollectionError, StudyError
from reportlib.notebooks import CAPTURE_NOTEBOOK, find_project, parameter_names, refuse_unknown
from reportlib.store import canonical_json, digest, digest_file
from reportlib.study import Arm, Study
from reportlib.workflow.code import code_digest

COMPARE_NOTEBOOK = Path("notebooks/compare.ipynb")
#: What a capture's bytes depend on, and what a report's.
_CAPTURE_CODE = ("capture", "store.py", "artifacts.py", "collections/reading.py")
_REPORT_CODE = ("compare", "render", "store.py", "artifacts.py", "study.py")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Inputs:
    """What every arm of a study reads."""

    collection: collections.Collection
    checkpoint: checkpoints.Checkpoint


@dataclass(frozen=True)
class PlannedArm:
    """An arm with its address.

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
    needs : tuple of str
        Arms whose captures this one takes values from.
    """

    name: str
    environment: str
    capture: str
    parameters: str
    notebook: str
    needs: tuple[str, ...]


def find_root(start: Path) -> Path:
    """Return the project that a study belongs to: the nearest folder above it with the notebooks.

    Raises
    ------
    StudyError
        When there is none.
    """
    project = find_project(start.parent)
    if project is None:
        raise StudyError(
            f"no folder above {start} has {CAPTURE_NOTEBOOK}", "keep studies inside the project: reports/<name>/"
        )
    return project


def prepare_inputs(study: Study, home: Path, progress: Progress) -> Inputs:
    """Check and fetch what every arm reads, and link it as what notebooks take by default.

    Raises
    ------
    CollectionError, CheckpointError
        When an input cannot be used, or the checkpoint's width does not fit ``nbits``.
    """
    progress("preparing the checkpoint")
    checkpoint = checkpoints.prepare(study.checkpoint, base=study.folder, home=home)
    checkpoints.check_dim(checkpoint.dim, study.colbert.nbits)
    progress("preparing the collection")
    collection = collections.prepare(study.collection, base=study.folder, home=home)
    for precision, wanted in study.passages.items():
        if wanted > collection.passages:
            raise CollectionError(
                f"{study.path}: precision.{precision}.passages is {wanted:,}, but there are {collection.passages:,}",
                "ask for fewer (0 means all)",
            )
    _link(home / "inputs" / "collection", collection.path)
    _link(home / "inputs" / "checkpoint", checkpoint.path)
    return Inputs(collection, checkpoint)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.resolve() == target.resolve():
        return
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(target.resolve(), target_is_directory=True)
    partial.replace(link)


def make_plan(study: Study, root: Path, home: Path, progress: Progress) -> Path:
    """Write the plan of a study, for the Snakefile.

    Parameters
    ----------
    study : Study
        Already read and checked.
    root : Path
        The project; every path in the plan is relative to it where it can be.
    home : Path
        Folder for environments, inputs and captures.
    progress : callable
        Told what is being prepared.

    Returns
    -------
    Path
        ``<home>/runs/<slug>/plan.json``. Neither it nor a parameter file is touched when it already says the same.

    Raises
    ------
    ReportlibError
        When an environment file, the collection, the checkpoint or a notebook cannot be used.
    """
    specs = {name: load_spec(name, root) for name in study.environments}
    inputs = prepare_inputs(study, home, progress)
    folder = home / "runs" / study.slug
    folder.mkdir(parents=True, exist_ok=True)
    planner = _Planner(study, root, home, folder, inputs, {n: _environment_digest(s, home) for n, s in specs.items()})
    arms = {arm.name: planner.arm(arm) for arm in study.arms()}
    reports = study.folder / "notebooks"
    reports.mkdir(exist_ok=True)  # papermill does not make folders
    ready = {name: home / "ready" / f"{name}-{planner.environments[name][:16]}" for name in specs}
    for name, marker in ready.items():
        if find_record(name, home) is None:
            marker.unlink(missing_ok=True)  # the environment was removed since
    captures = folder / "captures.json"
    _write(captures, json.dumps({name: arm.capture for name, arm in arms.items()}, indent=1))
    plan = {
        "study": planner.relative(study.path),
        "threads": study.threads,
        "home": planner.relative(home),
        "environments": {name: planner.relative(marker) for name, marker in ready.items()},
        "arms": {name: asdict(arm) for name, arm in arms.items()},
        "captures": planner.relative(captures),
        "report": planner.relative(study.folder / "report.json"),
        "notebook": planner.relative(reports / "compare.ipynb"),
        "page": planner.relative(study.folder / "index.html"),
        "capture_notebook": str(CAPTURE_NOTEBOOK),
        "compare_notebook": str(COMPARE_NOTEBOOK),
        "report_digest": digest((code_digest(_REPORT_CODE) + digest_file(root / COMPARE_NOTEBOOK)).encode()),
    }
    path = folder / "plan.json"
    _write(path, json.dumps(plan, indent=1))
    return path


@dataclass(frozen=True)
class _Planner:
    study: Study
    root: Path
    home: Path
    folder: Path
    inputs: Inputs
    environments: Mapping[str, str]

    def arm(self, arm: Arm) -> PlannedArm:
        needs = self.donors(arm)
        capture = self.relative(self.capture(arm))
        parameters = self.settings(arm) | {
            "collection": self.relative(self.inputs.collection.path),
            "checkpoint": self.relative(self.inputs.checkpoint.path),
            "output": capture,
        }
        if needs:
            given, own = needs
            parameters |= {
                "swap_from": self.relative(self.capture(given)),
                "replay_from": self.relative(self.capture(own)),
            }
        notebook = self.root / CAPTURE_NOTEBOOK
        refuse_unknown(parameters, parameter_names(notebook))
        file = self.folder / "parameters" / f"{Path(capture).name}.yaml"
        file.parent.mkdir(exist_ok=True)
        _write(file, yaml.safe_dump(parameters, sort_keys=False))
        executed = self.study.folder / "notebooks" / f"{arm.name}.ipynb"
        return PlannedArm(
            name=arm.name,
            environment=arm.environment,
            capture=capture,
            parameters=self.relative(file),
            notebook=self.relative(executed),
            needs=tuple(need.name for need in needs),
        )

    def donors(self, arm: Arm) -> tuple[Arm, ...]:
        """Return the arms that a swapped arm takes values from: A's, and its own plain one."""
        if not arm.swap:
            return ()
        first = Arm(self.study.environments[0], arm.precision, arm.device, arm.passages)
        return first, Arm(arm.environment, arm.precision, arm.device, arm.passages)

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Return the notebook's parameters that are no paths."""
        study = self.study
        return {
            "environment": arm.environment,
            "precision": arm.precision,
            "device": arm.device,
            "threads": study.threads,
            "passages": arm.passages,
            "swap": "+".join(arm.swap),
            "texts": list(study.texts),
            **asdict(study.colbert),
            "k": study.search.k,
            "queries": study.search.queries,
            "variables": dict(study.variables),
        }

    def capture(self, arm: Arm) -> Path:
        """Return the address of an arm's capture."""
        content = {
            "settings": self.settings(arm),
            "environment": self.environments[arm.environment],
            "collection": self.inputs.collection.sha256,
            "checkpoint": self.inputs.checkpoint.sha256,
            "code": code_digest(_CAPTURE_CODE) + digest_file(self.root / CAPTURE_NOTEBOOK),
            "donors": [self.capture(donor).name for donor in self.donors(arm)],
        }
        key = digest(canonical_json(content).encode())[:16]
        return self.home / "captures" / f"{arm.name}-{key}"

    def relative(self, path: Path) -> str:
        """Return `path` from the project's root, or whole when it lies elsewhere."""
        absolute = path.absolute()
        return str(absolute.relative_to(self.root) if absolute.is_relative_to(self.root) else absolute)


def _environment_digest(spec: EnvironmentSpec, home: Path) -> str:
    """Hash what an environment is made from; for one that the user made, what is in it."""
    record = find_record(spec.name, home)
    if record is not None and record.backend == "adopted":
        return digest(canonical_json([record.python, dict(record.packages), dict(record.conda_packages)]).encode())
    lock = digest_file(spec.lock_path) if spec.lock_path.exists() else ""
    return digest((spec.digest + lock).encode())


def _write(path: Path, text: str) -> None:
    """Write `text` unless it is there already: a newer file would set the workflow going."""
    if path.is_file() and path.read_text(encoding="utf-8") == text + "\n":
        return
    path.write_text(text + "\n", encoding="utf-8")
