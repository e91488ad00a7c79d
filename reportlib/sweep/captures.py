"""Whole captures in a sweep: what colbert-ai makes of a collection, by the versions whose bytes no older one has.

They are the plain arms of a study, at the addresses that they have in it: what a sweep captured, a study of the same
versions finds made, and the other way round.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from reportlib.artifacts import CAPTURE_POINTS
from reportlib.environments import EnvironmentSpec
from reportlib.errors import CaptureError, StudyError
from reportlib.notebooks import CAPTURE_NOTEBOOK
from reportlib.store import MANIFEST, Capture, canonical_json, digest
from reportlib.study import PRECISIONS, Study, load
from reportlib.workflow.addresses import Inputs, PlannedArm, Planner
from reportlib.workflow.run import Progress, environment_digest, explain, host_variables, prepare_inputs

#: BERT's layers are measured without a capture.
POINTS = tuple(point for point in CAPTURE_POINTS if point.name != "layers")
#: What layers are called: a pattern that fits them is about them.
_LAYERS = tuple(f"{precision}/{text}/{layer}" for precision in PRECISIONS for text in ("text0", "batch")
                for layer in ("embeddings", "00", "output"))  # fmt: skip


def artifact_names(of: str) -> list[str]:
    """Return what `of` means of a capture, as in ``autocast/index/codes``: nothing where it means something else.

    A name alone (``codes``, ``ivf``, ``rankings``) is what the index holds in the end, where it holds it, in each
    precision; names with ``index/`` or a precision, and patterns of them, are taken as they are. ``embs`` is measured
    without a capture.
    """
    known = [f"{precision}/{point.artifact}" for precision in PRECISIONS for point in POINTS]
    if of == "embs" or any(fnmatchcase(layer, of) for layer in _LAYERS):
        return []
    final = [point.artifact for point in reversed(POINTS) if of in (point.name, point.artifact)]
    if final:
        return [f"{precision}/{final[0]}" for precision in PRECISIONS]
    return [name for name in known if fnmatchcase(name, of) or fnmatchcase(name.partition("/")[2], of)]


@dataclass(frozen=True)
class Capturing:
    """What is captured of a version, in each precision: the collection, checkpoint and settings of a study.

    Attributes
    ----------
    study : Study
        Its environments, and what is their own, do not matter.
    root, home : Path
        The project, and its folder for environments, inputs and captures.
    inputs : Inputs
        As they were prepared.
    """

    study: Study
    root: Path
    home: Path
    inputs: Inputs

    @classmethod
    def of(cls, path: Path, root: Path, home: Path, progress: Progress) -> Capturing:
        """Read a study and prepare its inputs."""
        study = load(path, device="cpu")
        if study.variables:
            raise StudyError(
                f"{path} sets {', '.join(study.variables)}, and what is probed is computed without",
                "give a study without [variables]; set them around the whole command",
            )
        return cls(study, root, home, prepare_inputs(study, home, progress))

    def arms(self, spec: EnvironmentSpec) -> dict[str, PlannedArm]:
        """Return a version's arms by precision."""
        study = replace(self.study, environments=(spec.name,), settings={})
        folder = self.home / "sweep"
        (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        planner = Planner(
            study, self.root, self.home, folder, self.inputs, {spec.name: environment_digest(spec, self.home)}
        )
        return {arm.precision: planner.arm(arm) for arm in study.arms() if arm == arm.plain}

    def made(self, spec: EnvironmentSpec) -> dict[str, Path]:
        """Return the folders of a version's captures by precision; empty unless all of them are there."""
        folders = {precision: self.root / arm.capture for precision, arm in self.arms(spec).items()}
        return folders if all((folder / MANIFEST).is_file() for folder in folders.values()) else {}

    def capture(self, spec: EnvironmentSpec, progress: Progress) -> None:
        """Make those of a version that are not there; its environment is."""
        for precision, arm in self.arms(spec).items():
            if (self.root / arm.capture / MANIFEST).is_file():
                continue
            progress(f"{spec.name}: indexing and searching, {precision}")
            executed = self.home / "sweep" / "notebooks" / f"{arm.name}.ipynb"
            command = [
                sys.executable, "-m", "papermill", str(CAPTURE_NOTEBOOK), str(executed), "-k", spec.name,
                "-f", arm.parameters, "--no-progress-bar", "--log-output",
            ]  # fmt: skip
            done = subprocess.run(
                command, cwd=self.root, env=host_variables(self.home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", check=False,
            )  # fmt: skip
            if done.returncode:
                what, mend = explain(done.stdout.splitlines(), executed)
                raise CaptureError(f"{spec.name}, {precision}: {what}", mend)


def artifacts(capture: Capture) -> dict[str, dict[str, Any]]:
    """Return ``digest``, ``dtype`` and ``shape`` of each artifact, chunks together: in pipeline order, by its name."""
    found = {}
    for point in POINTS:
        lines = [capture.artifacts[name] for name in capture.group(point.artifact)]
        if lines:
            content = [[line.dtype, line.shape, line.sha256] for line in lines]
            found[point.artifact] = {
                "digest": digest(canonical_json(content).encode()),
                "dtype": lines[0].dtype,
                "shape": list(lines[0].shape),
            }
    return found


def signature(measured: Mapping[str, Any]) -> str:
    """Hash what a version computes: all its probes and layers."""
    entries = {**measured["probes"], **measured["layers"]}
    return digest(canonical_json({name: entry.get("digest") for name, entry in entries.items()}).encode())
