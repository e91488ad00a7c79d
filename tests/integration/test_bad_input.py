"""What goes wrong says so before any long work, and loses nothing: the capture notebook, run by papermill."""

import json
import shutil
from pathlib import Path

import pytest

from reportlib.store import project_home

pytestmark = pytest.mark.integration


def refuse(run, tmp_path: Path, *options: str, kernel: str = "torch210", **extra: str) -> str:
    """Run the capture notebook, which must fail, and return what it says."""
    output = tmp_path / "out"
    done = run(
        "papermill", "notebooks/capture.ipynb", str(tmp_path / "x.ipynb"), "-k", kernel,
        "-p", "environment", "torch210", "-p", "passages", "8", "-p", "output", str(output), *options,
        check=False, **extra,
    )  # fmt: skip
    assert done.returncode != 0
    assert not output.exists()
    assert not list(tmp_path.glob("*.partial"))
    return done.stdout + done.stderr


def test_an_unknown_parameter(run, tmp_path):
    said = refuse(run, tmp_path, "-p", "passagse", "8")
    assert "no parameter 'passagse'" in said
    assert "did you mean 'passages'?" in said


def test_an_unknown_kernel(run, tmp_path):
    assert "torch999" in refuse(run, tmp_path, kernel="torch999")


def test_no_gpu(run, tmp_path):
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    said = refuse(run, tmp_path, "-p", "device", "cuda")
    assert "DeviceError" in said


def test_no_compiler(run, tmp_path):
    said = refuse(run, tmp_path, CXX="no-such-compiler")
    assert "CompilerError" in said
    assert "apt-get install g++" in said


def test_more_passages_than_there_are(run, tmp_path):
    said = refuse(run, tmp_path, "-p", "passages", "1000000")
    assert "CollectionError" in said


def test_a_dim_that_does_not_fit_nbits(run, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(project_home() / "inputs" / "checkpoint", folder, symlinks=False)
    config = json.loads((folder / "artifact.metadata").read_text())
    (folder / "artifact.metadata").write_text(json.dumps({**config, "dim": 40}))
    said = refuse(run, tmp_path, "-p", "checkpoint", str(folder))
    assert "multiple of 32" in said


def test_a_capture_that_is_there_is_kept(run, tmp_path):
    output = tmp_path / "there"
    output.mkdir()
    (output / "precious").touch()
    said = refuse(run, tmp_path, "-p", "output", str(output))
    assert "already" in said
    assert (output / "precious").exists()
