"""The folder that `reportlib roots` leaves: read it, and fit it into a study's report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.compare.roots.causes import SCHEMA_VERSION
from reportlib.errors import ComparisonError
from reportlib.floats import widen
from reportlib.store import Capture, Tensor, read_json

Record = dict[str, Any]
ROOTS_FILE = "roots.json"
REPRODUCTIONS = "reproductions"


def read_roots(folder: Path) -> Record:
    """Read a folder's ``roots.json``.

    Raises
    ------
    StoreError
        When there is none, it is damaged, or of another schema.
    """

    def make(content: Record) -> Record:
        return {"schema_version": SCHEMA_VERSION, **content}

    mend = f"remove {folder} and run again"
    return read_json(folder / ROOTS_FILE, SCHEMA_VERSION, "roots of a difference", mend, make)


def operations(folder: Path, a: Capture, b: Capture) -> Record:
    """Return what a report says of the operations of one precision of a pair.

    Parameters
    ----------
    folder : Path
        What `reportlib roots` wrote.
    a, b : Capture
        The plain arms of both environments, whose layer outputs are held against float64.

    Returns
    -------
    dict
        ``roots.json`` with ``layers_truth`` filled in, and without what is of use to its maker only.

    Raises
    ------
    ComparisonError
        When the operations are of other environments than the captures.
    """
    content = read_roots(folder)
    _check_sides(folder, content, {"a": a, "b": b})
    for name in ("key", "truth", "seconds"):
        content.pop(name, None)
    for each in content["passes"]:
        each.pop("cost", None)
    for cause in content["causes"]:
        if made := cause["reproduction"]:
            name = reproduction_folder(content["b"]["arm"]["environment"], Path(made["folder"]).name)
            cause["reproduction"] = {**made, "folder": name}
    truth = folder / "truth"
    return {**content, "layers_truth": _layers_truth(Capture.open(truth), a, b) if truth.is_dir() else None}


def durations(folder: Path) -> Record:
    """Return how long the steps of `reportlib roots` took, and what recording and replaying each pass cost."""
    content = read_roots(folder)
    return {"steps": content["seconds"], "passes": {each["slug"]: each["cost"] for each in content["passes"]}}


def _check_sides(folder: Path, content: Mapping[str, Any], captures: Mapping[str, Capture]) -> None:
    """Refuse operations of another environment, or of another torch under its name."""
    for side, capture in captures.items():
        known = (
            (content[side]["arm"].get("environment"), capture.arm.get("environment")),
            (content[side]["torch"].get("version"), capture.provenance.get("torch", {}).get("version")),
        )
        for traced, captured in known:
            if traced and captured and traced != captured:
                raise ComparisonError(
                    f"{folder.name} has operations of {traced}, the capture {capture.path.name} is of {captured}",
                    f"remove {folder}, and run the study again",
                )


def _layers_truth(truth: Capture, a: Capture, b: Capture) -> list[Record]:
    """Hold every layer's output of A and of B against the same layer in float64."""
    found = []
    for name in sorted(truth.artifacts, key=_in_order):
        if name.startswith("layers/") and name in a.artifacts and name in b.artifacts:
            exact = truth.tensor(name).array
            left, right = (_error(capture.tensor(name), exact) for capture in (a, b))
            if left is not None and right is not None:
                found.append(_layer(name, left, right))
    return found


def _in_order(name: str) -> tuple[str, bool, str]:
    *parents, layer = name.split("/")
    return "/".join(parents), layer != "embeddings", layer


def _error(layer: Tensor, exact: npt.NDArray[np.float64]) -> Record | None:
    if layer.array.shape != exact.shape:
        return None
    distance = np.abs(widen(layer.array, layer.dtype) - exact)
    return {"max_abs": float(distance.max(initial=0)), "rms": float(np.sqrt(np.mean(np.square(distance))))}


def _layer(name: str, a: Record, b: Record) -> Record:
    _, slug, layer = name.split("/")
    return {
        "pass": slug,
        "layer": str(int(layer)) if layer.isdigit() else layer,
        "a": a,
        "b": b,
        "ratio_rms": b["rms"] / a["rms"] if a["rms"] else None,
    }


def copy_reproductions(folders: Mapping[str, Path], destination: Path) -> list[Path]:
    """Put every reproduction beside a report, in the place of those that are there.

    Parameters
    ----------
    folders : mapping of str to Path
        What `reportlib roots` wrote, by ``<environment B>/<precision>``.
    destination : Path
        The report's folder. Its ``reproductions`` are replaced whole.

    Returns
    -------
    list of Path
        The folders written, sorted.
    """
    shutil.rmtree(destination / REPRODUCTIONS, ignore_errors=True)
    written = []
    for name, folder in folders.items():
        for given in (folder / REPRODUCTIONS).glob("*"):
            target = destination / reproduction_folder(name.partition("/")[0], given.name)
            shutil.copytree(given, target)
            written.append(target)
    return sorted(written)


def reproduction_folder(b: str, name: str) -> str:
    """Return where a reproduction lies beside a report: a study can have several environments B."""
    return f"{REPRODUCTIONS}/{b}-{name}"
