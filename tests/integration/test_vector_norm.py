"""The norm of 2.7.1 and of 2.8.0, each reproduced bit for bit on many rows by the explanation that the page gives.

Environments that no other test needs: they are not made for this one, which is skipped where they are not there.
"""

import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

from reportlib.capture.preflight import instruction_sets
from reportlib.compare.roots.mechanisms.reductions import explanations_of_vector_norm
from reportlib.environments.record import find_record, process_environment
from reportlib.store import project_home

pytestmark = pytest.mark.integration

ROWS, WIDTHS = 100_000, (64, 96, 128, 384)
FUSED, PLAIN = "8 lanes, fused, added one after another", "8 lanes, not fused, added one after another"
_NORM = """
import sys, numpy as np, torch
torch.set_num_threads(1)
rows = torch.from_numpy(np.load(sys.argv[1]))
np.save(sys.argv[2], torch.linalg.vector_norm(rows, dim=-1).numpy())
"""


@pytest.fixture(scope="module", params=WIDTHS)
def rows(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(request.param).standard_normal((ROWS, request.param), np.float32)


def norms(name: str, rows: np.ndarray, folder: Path, **variables: str) -> np.ndarray:
    """Return what an environment's torch computes."""
    record = find_record(name, project_home())
    if record is None:
        pytest.skip(f"the environment {name} is not made: reportlib env create {name}")
    given, made = folder / "rows.npy", folder / "norms.npy"
    np.save(given, rows)
    environment = {**process_environment(record, project_home(), threads=1), **variables}
    subprocess.run([str(record.python_program), "-c", _NORM, str(given), str(made)], env=environment, check=True)
    return np.load(made)


def same(explanation: str, rows: np.ndarray, found: np.ndarray) -> float:
    """Return on how many of the rows an explanation gives the very bits, as a share."""
    compute = next(e.compute for e in explanations_of_vector_norm() if e.name == explanation)
    (computed,) = compute(rows)
    return float((computed.view(np.uint32) == found.view(np.uint32)).mean())


@pytest.mark.skipif(
    platform.machine() != "x86_64" or "avx2" not in instruction_sets(), reason="kernels of x86-64 with AVX2"
)
def test_each_version_is_reproduced_on_every_row_and_the_other_on_most(rows: np.ndarray, tmp_path: Path) -> None:
    older, newer = (norms(name, rows, tmp_path) for name in ("torch271", "torch280"))
    assert (same(FUSED, rows, older), same(PLAIN, rows, newer)) == (1.0, 1.0)
    crossed = same(FUSED, rows, newer), same(PLAIN, rows, older)
    print(f"{rows.shape[1]} wide: crossed {crossed}")
    assert all(0.8 < share < 0.95 for share in crossed), "the two are told apart"


def test_without_vector_kernels_both_are_not_fused(rows: np.ndarray, tmp_path: Path) -> None:
    plain = {name: norms(name, rows, tmp_path, ATEN_CPU_CAPABILITY="default") for name in ("torch271", "torch280")}
    assert [same(PLAIN, rows, found) for found in plain.values()] == [1.0, 1.0]
