"""The kernel that runs is the environment that a capture names, or nothing is captured: real kernels, by papermill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reportlib.environments import load_record
from reportlib.store import Capture

pytestmark = pytest.mark.integration
SAID = "WrongEnvironmentError: what runs is the environment torch210 (torch 2.1.0), not torch201"


def refused(run, notebook: str, tmp_path: Path, *options: str, kernel: str = "torch210") -> str:
    output = tmp_path / "out"
    done = run("papermill", f"notebooks/{notebook}.ipynb", str(tmp_path / "x.ipynb"), "-k", kernel,
               "-p", "passages", "16", "-p", "output", str(output), *options, check=False)  # fmt: skip
    assert done.returncode != 0
    assert not output.exists()
    assert not list(tmp_path.glob("*.partial"))
    return done.stdout + done.stderr


@pytest.mark.parametrize("notebook", ["capture", "swaps", "search"])
def test_another_environments_name_is_refused_before_torch(run, tmp_path, notebook):
    said = refused(run, notebook, tmp_path, "-p", "environment", "torch201")
    assert SAID in said
    assert "pick the kernel torch201 (papermill: -k torch201" in said
    executed = json.loads((tmp_path / "x.ipynb").read_text())["cells"]
    counts = [cell["execution_count"] for cell in executed if cell["cell_type"] == "code"]
    assert counts[-1] is None, "the cells that need torch did not run"


def test_the_hosts_own_kernel_is_none_of_the_environments(run, tmp_path):
    said = refused(run, "capture", tmp_path, kernel="python3")
    assert "is none of the environments in" in said
    assert "torch201, torch210" in said


@pytest.mark.parametrize("verb", ["record", "send", "replay", "truth", "try"])
def test_the_trace_programs_are_refused(run, tmp_path, home, verb):
    python = str(load_record("torch210", home).python_program)
    inputs = [f"--{name}={home / 'inputs' / name}" for name in ("checkpoint", "collection")]
    output = [] if verb == "send" else ["--output", str(tmp_path / "out")]
    done = run(python, "-m", "reportlib.trace", verb, "--environment", "torch201", *inputs, *output, check=False,
               PYTHONPATH=str(home / "path"))  # fmt: skip
    assert done.returncode != 0
    assert SAID in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_capture_is_named_after_its_kernel(run, tmp_path):
    output = tmp_path / "out"
    run("papermill", "notebooks/capture.ipynb", str(tmp_path / "x.ipynb"), "-k", "torch210", "-p", "passages", "16",
        "-p", "k", "0", "-p", "output", str(output))  # fmt: skip
    made = Capture.open(output)
    assert (made.arm["environment"], made.arm["name"]) == ("torch210", "torch210-float32")
    assert made.provenance["torch"]["version"].partition("+")[0] == "2.1.0"


def named(capture: Capture, environment: str, folder: Path) -> str:
    """Copy a capture and have it say that it is of another environment."""
    shutil.copytree(capture.path, folder)
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    content["arm"]["environment"] = environment
    file.write_text(json.dumps(content))
    return str(folder)


def test_a_donor_that_another_environment_made_is_refused(run, tmp_path, capture):
    own = capture("torch210", precision="float32")
    given = named(own, "torch201", tmp_path / "given")
    said = refused(run, "swaps", tmp_path, "-p", "swap_from", given, "-p", "replay_from", str(own.path))
    assert "the capture given was not made in the environment torch201: torch is 2.1.0, torch201 has 2.0.1" in said


def test_an_index_that_another_environment_made_is_refused(run, tmp_path, capture):
    own = capture("torch210", precision="float32")
    other = named(own, "torch201", tmp_path / "other")
    indexes = json.dumps({"torch210": str(own.path), "torch201": other})
    said = refused(run, "search", tmp_path, "-y", f"indexes: {indexes}")
    assert "the capture other was not made in the environment torch201: torch is 2.1.0, torch201 has 2.0.1" in said
