"""Our `isclose` against a real torch's, element by element, in every dtype and near every edge."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from reportlib.compare.verdicts import Tolerance, isclose
from reportlib.floats import FORMATS, bits, narrow, widen
from reportlib.store import CARRIERS, project_home

pytestmark = pytest.mark.integration

#: Runs in the environment: reads bits, writes torch.isclose and torch.allclose of each case.
IN_TORCH = """
import sys, numpy as np, torch
print(torch.__version__)
cases = np.load(sys.argv[1])
signed = {"float16": np.int16, "bfloat16": np.int16, "float32": np.int32, "float64": np.int64}
results = {}
for dtype, carrier in signed.items():
    raw = [torch.from_numpy(cases[f"{dtype}_{s}"].view(carrier)) for s in "ab"]
    a, b = (x.view(getattr(torch, dtype)) for x in raw)
    for i, (atol, rtol) in enumerate(cases["tolerances"].tolist()):
        close = torch.isclose(a, b, rtol=rtol, atol=atol)
        results[f"{dtype}_{i}"] = close.numpy()
        parts = zip(a.split(64), b.split(64))
        whole = [torch.allclose(x, y, rtol=rtol, atol=atol) for x, y in parts]
        results[f"{dtype}_{i}_all"] = np.array(whole)
np.savez(sys.argv[2], **results)
"""

TOLERANCES = [
    (1e-8, 1e-5),
    (1e-6, 1e-5),
    (1e-3, 1e-2),
    (1e-4, 1e-3),
    (0.0, 0.0),
    (0.0, 1e-3),
    (1e-4, 0.0),
    (3e-8, 0.0),  # half of float16's smallest step
    (0.1, 0.3),
    (1e30, 0.0),  # more than float16 holds
    (0.0, 1e9),
]
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 65504.0, -65504.0, 6e-8, 1e-4, 1e-8, 3.3e38]


@pytest.fixture(scope="module")
def python() -> Path:
    given = os.environ.get("REPORTLIB_TEST_PREFIX")
    prefix = Path(given) if given else project_home() / "envs" / "torch210"
    found = prefix / "bin" / "python"
    if not found.exists():
        pytest.skip(f"no environment at {prefix}; set REPORTLIB_TEST_PREFIX or create torch210")
    return found


def _pairs(dtype: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of carriers: edges, any bits, neighbours, and pairs around each tolerance's edge."""
    carrier = FORMATS[dtype].bits
    wide = FORMATS[dtype].working
    edges = _narrowed(np.array(EDGES, np.float64), dtype)
    grid = np.meshgrid(edges, edges)
    any_bits = rng.integers(0, 2 ** (carrier.itemsize * 8), (2, 4000), np.uint64).astype(carrier)
    base = _narrowed(rng.standard_normal(6000) * 10.0 ** rng.integers(-6, 5, 6000), dtype)
    steps = rng.integers(0, 40, base.size).astype(carrier)
    left, right = [grid[0].ravel(), any_bits[0], base + steps], [grid[1].ravel(), any_bits[1], base]
    values = widen(base.view(CARRIERS[dtype]), dtype).astype(np.float64)
    for atol, rtol in TOLERANCES:
        edge = atol + rtol * np.abs(values)
        wobble = 1 + rng.integers(-3, 4, values.size) * np.finfo(wide).eps * 2
        left.append(_narrowed(values + edge * wobble, dtype))
        right.append(base)
    return np.concatenate(left).view(CARRIERS[dtype]), np.concatenate(right).view(CARRIERS[dtype])


def _narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    """The bits of float64 values rounded to dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "bfloat16":
            rounded = narrow(values.astype(np.float32), dtype)
            return (rounded.view(np.uint32) >> 16).astype(np.uint16)
        return bits(values.astype(CARRIERS[dtype]), dtype)


def test_isclose_and_allclose_agree_with_torch_in_every_element(python: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(20250913)
    pairs = {dtype: _pairs(dtype, rng) for dtype in FORMATS}
    arrays = {f"{d}_{s}": bits(x, d) for d, ab in pairs.items() for s, x in zip("ab", ab, strict=True)}
    np.savez(tmp_path / "cases.npz", tolerances=np.array(TOLERANCES), **arrays)
    command = [
        str(python),
        "-c",
        IN_TORCH,
        str(tmp_path / "cases.npz"),
        str(tmp_path / "torch.npz"),
    ]
    limited = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=limited, capture_output=True, text=True)
    if tuple(int(n) for n in done.stdout.split(".")[:2]) < (2, 1):
        # Before 2.1 torch rounded rtol to the dtype: `reportlib.compare.verdicts` says why it follows 2.1.
        pairs = {dtype: pairs[dtype] for dtype in ("float32", "float64")}
    with np.load(tmp_path / "torch.npz") as archive:
        answers = dict(archive)
    wrong: dict[str, int] = {}
    seen = 0
    for dtype, (a, b) in pairs.items():
        for i, (atol, rtol) in enumerate(TOLERANCES):
            tolerance = Tolerance("test", atol, rtol)
            ours = isclose(a, b, dtype, tolerance)
            seen += ours.size
            disagree = ours != answers[f"{dtype}_{i}"]
            if disagree.any():
                wrong[f"{dtype} {tolerance}"] = int(disagree.sum())
            assert [bool(ours[j : j + 64].all()) for j in range(0, len(a), 64)] == answers[f"{dtype}_{i}_all"].tolist()
            if atol or rtol:
                assert ours.any()
                assert not ours.all()
    assert not wrong, json.dumps(wrong, indent=1)
    assert seen > 1_500_000


def test_torch_has_no_tolerance_for_mixed_dtypes_either(python: Path) -> None:
    code = "import torch; torch.allclose(torch.zeros(2), torch.zeros(2, dtype=torch.float16))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "did not match" in done.stderr
