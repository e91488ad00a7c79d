"""The GPU path on a real GPU: captures, searches and recorded operations with the torch that the machine has.

Skipped without a GPU; tests/integration/test_gpu_rehearsal.py rehearses the same on a CPU. What is measured goes to
``$REPORTLIB_GPU_OUT``; see docs/how-to/gpu.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu
ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
NAME = "torch-of-the-machine"
PASSAGES, QUERIES = 128, 40


def _gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


if not _gpu():
    pytest.skip("needs a CUDA GPU and a torch that sees it", allow_module_level=True)


@pytest.fixture(scope="module")
def out() -> Path:
    folder = Path(os.environ.get("REPORTLIB_GPU_OUT", "runs/gpu"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def inputs() -> Path:
    return Path(os.environ.get("REPORTLIB_GPU_INPUTS", ".reportlib/inputs"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home in which the Python that runs is a known environment, as `reportlib env adopt` leaves it."""
    folder = Path(os.environ.get("REPORTLIB_HOME") or tmp_path_factory.mktemp("home"))
    (folder / "envs").mkdir(parents=True, exist_ok=True)
    packages: dict[str, str] = {}
    for package in metadata.distributions():
        if package.metadata["Name"]:
            packages.setdefault(package.metadata["Name"], package.version)
    described = {"prefix": sys.prefix, "backend": "adopted", "python": platform.python_version(), "packages": packages}
    (folder / "envs" / f"{NAME}.json").write_text(json.dumps(described), encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "REPORTLIB_HOME": str(folder), "PYTHONPATH": path}


@pytest.fixture(scope="module")
def measured(out: Path) -> Iterator[dict[str, Any]]:
    """What is kept of this run: written whatever fails."""
    found: dict[str, Any] = {}
    yield found
    (out / "measured.json").write_text(json.dumps(found, indent=1, sort_keys=True), encoding="utf-8")


def run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout[-1500:] + done.stderr)[-4000:]


def capture(
    folder: Path, inputs: Path, home: dict[str, str], notebook: str = "capture", **parameters: Any
) -> dict[str, Any]:
    """Run a notebook's cells and return the manifest of what they captured."""
    shutil.rmtree(folder, ignore_errors=True)
    given = {"device": "cuda", "collection": str(inputs / "collection"), "checkpoint": str(inputs / "checkpoint")}
    given |= {"output": str(folder), "passages": PASSAGES, "queries": QUERIES, **parameters}
    listed = folder.with_suffix(".json")
    listed.write_text(json.dumps(given), encoding="utf-8")
    run([str(HERE / "cells.py"), f"notebooks/{notebook}.ipynb", str(listed)], home)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def digests(manifest: dict[str, Any]) -> dict[str, str]:
    return {a["name"]: a["sha256"] for a in manifest["artifacts"] if not a["name"].startswith("rankings")}


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory, inputs: Path, home: dict[str, str], out: Path) -> dict[str, Any]:
    """Both precisions, each twice."""
    folder = tmp_path_factory.mktemp("captures")
    found: dict[str, Any] = {"folder": folder}
    for precision in ("float32", "autocast"):
        for control in ("", "repeat"):
            name = f"{precision}{'-' + control if control else ''}"
            found[name] = capture(folder / name, inputs, home, precision=precision, control=control)
    with tarfile.open(out / "captures.tar.gz", "w:gz") as packed:
        for name in ("float32", "autocast"):
            packed.add(folder / name / "manifest.json", f"{name}/manifest.json")
    return found


def test_the_gpu_and_a_compiler_are_found(home: dict[str, str], measured: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reportlib.capture.preflight", "--device", "cuda"],
        cwd=ROOT, env=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    measured["preflight"] = done.stdout + done.stderr
    assert done.returncode == 0, measured["preflight"]


def test_colbert_ais_cuda_extensions_compile(home: dict[str, str]) -> None:
    run(["-m", "reportlib.capture.preflight", "--compile"], home)


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_a_capture_on_a_gpu_has_every_capture_point(
    captures: dict[str, Any], measured: dict[str, Any], precision: str
) -> None:
    from reportlib.artifacts import CAPTURE_POINTS

    manifest = captures[precision]
    names = [a["name"] for a in manifest["artifacts"]]
    wanted = [p.artifact for p in CAPTURE_POINTS]
    measured[f"{precision} artifacts"] = sorted((a["name"], a["dtype"], a["shape"]) for a in manifest["artifacts"])
    measured["machine"] = manifest["provenance"]["machine"]
    measured["torch"] = manifest["provenance"]["torch"]["version"]
    assert not [w for w in wanted if not any(n == w or n.startswith(f"{w}/") for n in names)]
    assert measured["machine"]["gpu"]


def test_colbert_ai_keeps_embeddings_in_float16_on_a_gpu_whatever_it_computes_in(captures: dict[str, Any]) -> None:
    for name in ("float32", "autocast"):
        kinds = {a["name"]: a["dtype"] for a in captures[name]["artifacts"]}
        assert kinds["D"] == kinds["batches"] == kinds["index/centroids"] == "float16"
        assert kinds["layers/batch/05"] == "float32"


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_the_same_capture_twice(captures: dict[str, Any], measured: dict[str, Any], precision: str) -> None:
    once, again = digests(captures[precision]), digests(captures[f"{precision}-repeat"])
    shared = sorted(set(once) & set(again))
    measured[f"{precision} twice: not identical"] = [name for name in shared if once[name] != again[name]]
    assert len(shared) > 40


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_batches_of_eight_beside_batches_of_32(
    captures: dict[str, Any], inputs: Path, home: dict[str, str], measured: dict[str, Any], precision: str
) -> None:
    small = capture(
        captures["folder"] / f"{precision}-8", inputs, home, precision=precision, index_bsize=8, control="repeat"
    )
    once, again = digests(captures[precision]), digests(small)
    same = ("sample_pids", "doclens", "index/codes/0", "index/residuals/0", "index/centroids", "index/ivf", "embs/0")
    measured[f"{precision} in batches of 8: not identical"] = [n for n in same if once.get(n) != again.get(n)]


def test_rows_of_a_product_beside_the_number_of_rows(
    inputs: Path, home: dict[str, str], out: Path, measured: dict[str, Any]
) -> None:
    run([str(HERE / "rows.py"), str(inputs / "checkpoint"), str(inputs / "collection"), str(out / "rows.json")], home)
    measured["rows"] = json.loads((out / "rows.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_a_gpu_searches_its_own_index_and_gets_the_same_twice(
    captures: dict[str, Any], inputs: Path, home: dict[str, str], measured: dict[str, Any], precision: str
) -> None:
    indexes = {NAME: str(captures["folder"] / precision)}
    folders = [captures["folder"] / f"{precision}-search-{n}" for n in (1, 2)]
    made = [
        capture(f, inputs, home, "search", precision=precision, environment=NAME, indexes=indexes, seeds=0)
        for f in folders
    ]
    hashes = [{a["name"]: a["sha256"] for a in manifest["artifacts"]} for manifest in made]
    measured[f"{precision} search twice: not identical"] = [n for n in hashes[0] if hashes[0][n] != hashes[1].get(n)]
    assert hashes[0]


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_operations_are_recorded_on_a_gpu(
    captures: dict[str, Any], inputs: Path, home: dict[str, str], measured: dict[str, Any], precision: str
) -> None:
    options = [
        "--checkpoint",
        str(inputs / "checkpoint"),
        "--collection",
        str(inputs / "collection"),
        "--device",
        "cuda",
    ]
    options += ["--precision", precision, "--passages", "32"]
    folders = [captures["folder"] / f"{precision}-trace-{n}" for n in (1, 2)]
    for folder in folders:
        run(["-m", "reportlib.trace", "record", *options, "--output", str(folder)], home)
    manifests = [json.loads((folder / "manifest.json").read_text(encoding="utf-8")) for folder in folders]
    measured[f"{precision} trace"] = [
        {key: entry[key] for key in ("slug", "operations", "seconds_traced", "seconds_untraced") if key in entry}
        for entry in manifests[0]["passes"]
    ]
    streams = [
        {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json"}
        for folder in folders
    ]
    measured[f"{precision} trace twice: not identical"] = [n for n in streams[0] if streams[0][n] != streams[1].get(n)]
    assert all(entry["operations"] > 100 for entry in manifests[0]["passes"])
