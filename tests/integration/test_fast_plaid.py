"""Two real fast-plaid environments that differ in torch index the same tokens; the comparison finds what differs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportlib.compare.indexes import compare_indexes

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).parents[2] / "docs" / "fast-plaid"
#: As many random tokens as show the difference; the docs index 79,000.
FEW = ("--tokens", "15800")
#: Runs in an environment: makes an index, adds passages far from its centroids, and removes some.
CHANGE = """
import sys
sys.path.insert(0, sys.argv[1])
from index import FastPlaid, random_passages
passages = random_passages(7900)
index = FastPlaid(sys.argv[2], device="cpu")
index.create(passages[:80])
index.update(passages[80:], start_from_scratch=0, buffer_size=1)
index.delete([3, 50, 99])
"""
Index = Callable[..., Path]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def pythons(run: Run, home: Path) -> dict[str, Path]:
    """The Pythons of both environments, made from the lock files of the docs."""
    made = {}
    for name in ("torch271", "torch280"):
        environment = home / "fast-plaid" / name
        python = environment / "bin" / "python"
        # The marker comes last, so a cut-off installation is done again.
        if not (environment / ".ready").exists():
            run("uv", "venv", "-q", "--clear", "--python", sys.executable, str(environment))
            lock = str(FOLDER / f"{name}.txt")
            run("uv", "pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", lock)
            (environment / ".ready").touch()
        made[name] = python
    return made


@pytest.fixture(scope="module")
def index(run: Run, pythons: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Index random tokens in an environment."""
    folder = tmp_path_factory.mktemp("fast-plaid")

    def make(environment: str, name: str, *options: str) -> Path:
        run(str(pythons[environment]), "-W", "ignore", str(FOLDER / "index.py"), str(folder / name), *options)
        return folder / name

    return make


def records(found: dict[str, Any]) -> dict[str, Any]:
    return {record["name"]: record for record in found["artifacts"]}


def test_torch_alone_changes_centroids_and_average_residual_and_the_comparison_finds_it(index, run):
    a, b = index("torch271", "a", *FEW), index("torch280", "b", *FEW)
    found = compare_indexes(a, b)
    assert not found["problems"]
    unlike = {name: record for name, record in records(found).items() if record["verdict"] != "identical"}
    assert set(unlike) == {"centroids", "avg_residual"}
    assert {record["verdict"] for record in unlike.values()} == {"close"}
    centroids, residual = unlike["centroids"], unlike["avg_residual"]
    assert (centroids["elements"], residual["elements"]) == (1024 * 96, 96)
    assert (centroids["a"]["dtype"], residual["a"]["dtype"]) == ("float16", "float32")
    # How many rounded values tip over depends on the CPU; on an AVX2-only one it was 3 and 1.
    assert 0 < centroids["different"] < 50
    assert centroids["max_ulp"] == 1
    assert found["a"]["embeddings"] == 15_800
    before, after = ([np.load(path.with_suffix(".npz"))[key] for path in (a, b)] for key in ("before", "after"))
    np.testing.assert_array_equal(*before)
    assert (after[0] != after[1]).any()
    halves = [values.astype(np.float16) for values in after]
    assert int((halves[0] != halves[1]).sum()) == centroids["different"]
    gate = "integers identical, centroids close bnb, cluster_threshold identical"
    done = run("reportlib", "compare", str(a), str(b), "--require", gate, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_same_torch_makes_the_same_index_again(index):
    a, b = (index("torch280", name, *FEW) for name in ("once", "again"))
    found = compare_indexes(a, b)
    assert found["verdict"] == "identical"
    assert found["summary"]["total"] == 10


def test_normalizing_in_float64_undoes_it(index):
    a, b = (index(name, f"double-{name}", *FEW, "--double") for name in ("torch271", "torch280"))
    assert compare_indexes(a, b)["verdict"] == "identical"


def test_an_index_after_an_update_and_a_removal_is_read_and_has_no_contradictions(index, pythons, run, tmp_path):
    whole, changed = index("torch271", "whole", "--tokens", "7900"), tmp_path / "changed"
    run(str(pythons["torch271"]), "-W", "ignore", "-c", CHANGE, str(FOLDER), str(changed))
    found = compare_indexes(whole, changed)
    assert not found["problems"]
    assert found["verdict"] == "different"
    assert (found["a"]["passages"], found["b"]["passages"]) == (100, 97)
    assert found["b"]["embeddings"] == 7900 - (60 + 98 + 60)
    dtypes = {name: (record["a"]["dtype"], record["b"]["dtype"]) for name, record in records(found).items()}
    assert dtypes["centroids"] == ("float16", "float32")
    assert dtypes["ivf_lengths"] == ("int32", "int64")
    assert compare_indexes(changed, changed)["verdict"] == "identical"
