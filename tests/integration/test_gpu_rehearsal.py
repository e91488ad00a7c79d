"""A rehearsal: the branches for a GPU, run on a CPU that pretends to be one. They run, is all that it says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reportlib.environments.record import find_record
from reportlib.store import Capture

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
GPU = ROOT / "tests" / "gpu"
NAME = "torch210"


@pytest.fixture(scope="module")
def rehearse(home):
    """Run a program in the environment, as if it had a GPU; return what it printed."""
    prefix = Path(find_record(NAME, home).prefix)
    path = os.pathsep.join([str(prefix / "bin"), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "REPORTLIB_HOME": str(home)}

    def start(*command: object) -> str:
        done = subprocess.run(
            [str(prefix / "bin" / "python"), str(GPU / "pretend.py"), *map(str, command)],
            cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
        return done.stdout

    return start


@pytest.fixture(scope="module")
def notebook(rehearse, home, tmp_path_factory):
    """Run a notebook's cells with parameters; return what they captured."""
    folder = tmp_path_factory.mktemp("captures")
    inputs = {name: str(home / "inputs" / name) for name in ("collection", "checkpoint")}

    def start(name: str, made: str, **parameters: Any) -> Capture:
        output = folder / made
        given = {**inputs, "device": "cuda", "environment": NAME, "output": str(output), "passages": 48, "queries": 8}
        listed = output.with_suffix(".json")
        listed.write_text(json.dumps({**given, **parameters}), encoding="utf-8")
        rehearse(GPU / "cells.py", ROOT / "notebooks" / f"{name}.ipynb", listed)
        return Capture.open(output)

    return start


@pytest.fixture(scope="module")
def captures(notebook):
    return {precision: notebook("capture", precision, precision=precision) for precision in ("float32", "autocast")}


def test_the_preflight_takes_the_gpu_and_compiles_for_it(rehearse):
    measured = json.loads(rehearse("-m", "reportlib.capture.preflight", "--device", "cuda"))
    assert measured["usable"]
    assert [gpu["capability"] for gpu in measured["gpus"]] == [[8, 0]]
    rehearse("-m", "reportlib.capture.preflight", "--compile")


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_a_capture_has_as_many_artifacts_as_on_a_real_gpu_in_the_same_dtypes(captures, precision):
    capture = captures[precision]
    real = json.loads((GPU / "measured" / "nvidia-h200-torch-2.11.0.json").read_text(encoding="utf-8"))
    assert capture.provenance["machine"]["gpu"] == "a pretended GPU"
    assert len(capture.artifacts) == real[f"{precision} artifacts"]
    kept = {capture.artifacts[name].dtype for name in ("D", "batches", "embs/0", "index/centroids")}
    assert kept == {"float16"}, "as test_gpu.py found it"
    assert capture.artifacts["layers/batch/05"].dtype == "float32"


def test_float32_is_not_colbert_ais_autocast(captures):
    assert len({capture.artifacts["layers/batch/05"].sha256 for capture in captures.values()}) == 2


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_a_search_ranks_what_the_capture_ranked(captures, notebook, precision):
    capture = captures[precision]
    indexes = {NAME: str(capture.path)}
    searched = notebook("search", f"{precision}-search", precision=precision, indexes=indexes, seeds=1, k=10)
    best, again, seed = (
        [query["pids"][0] for query in made.value(name)["queries"]]
        for made, name in ((capture, "rankings"), (searched, f"rankings/{NAME}"), (searched, "rankings/seed-1"))
    )
    assert best == again
    assert len(seed) == len(best) == 8


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_operations_are_recorded(rehearse, home, tmp_path, precision):
    inputs = [part for name in ("checkpoint", "collection") for part in (f"--{name}", home / "inputs" / name)]
    options = ["--device", "cuda", "--precision", precision, "--passages", "8"]
    rehearse("-m", "reportlib.trace", "record", *inputs, *options, "--output", tmp_path / "trace")
    manifest = json.loads((tmp_path / "trace" / "manifest.json").read_text(encoding="utf-8"))
    assert all(entry["operations"] > 100 for entry in manifest["passes"])
