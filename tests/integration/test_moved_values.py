"""Tensors on their way between two processes, and what is said of two that differ: in both real environments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from reportlib.compare.chunks import Chunked
from reportlib.compare.tensors import compare
from reportlib.environments import load_record, process_environment
from reportlib.store import Tensor

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).with_name("moved_values.py")


def pairs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    found = {}
    for dtype in (np.float16, np.float32, np.float64):
        a = rng.standard_normal(4_000).astype(dtype)
        b = a.copy()
        b[::7] = np.nextafter(b[::7], dtype(9))
        b[5] = -b[5]
        a[11], b[11] = dtype(0), -dtype(0)
        b[13], b[14] = dtype(np.nan), dtype(np.inf)
        found[f"a/{np.dtype(dtype).name}"], found[f"b/{np.dtype(dtype).name}"] = a, b
        found[f"a/same {np.dtype(dtype).name}"] = found[f"b/same {np.dtype(dtype).name}"] = b
    integers = rng.integers(-5, 5, 1_000)
    return {**found, "a/int64": integers, "b/int64": np.where(integers == 3, 1, integers)}


@pytest.fixture(scope="module", params=["torch201", "torch210"])
def told(request, home, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("pairs")
    save_file(pairs(), folder / "pairs.safetensors")
    environment = load_record(request.param, home)
    command = [str(environment.python_program), "-W", "error", str(SCRIPT), str(folder)]
    variables = process_environment(environment, home)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_tensor_arrives_with_its_bytes_and_strides(told):
    assert told["lost"] == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_differences_are_those_that_the_comparison_of_captures_finds(told, dtype):
    """Two implementations that share no more than the definition of a ULP."""
    values = pairs()
    sides = [Chunked.of(Tensor(values[f"{side}/{dtype}"], dtype)) for side in ("a", "b")]
    expected, found = compare(*sides), told["differences"][dtype]
    assert found["elements"] == values[f"a/{dtype}"].size
    assert found["max_abs"] == expected.max_abs
    if dtype == "int64":
        assert (found["different"], found["max_ulp"]) == (expected.different, None)
    else:
        assert (found["different"], found["max_ulp"]) == (expected.different_bits, expected.max_ulp)
        a, b = (values[f"{side}/{dtype}"].astype(np.float64) for side in ("a", "b"))
        finite = np.isfinite(a) & np.isfinite(b)
        expected_rms = np.sqrt(((a[finite] - b[finite]) ** 2).sum() / a.size)
        assert found["rms"] == pytest.approx(expected_rms, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_equal_bytes_are_no_difference_nans_included(told, dtype):
    expected = {"elements": 4_000, "different": 0, "max_abs": 0.0, "rms": 0.0, "max_ulp": 0}
    assert told["differences"][f"same {dtype}"] == expected


@pytest.mark.parametrize("kind", ["dtype", "shape", "count"])
def test_what_cannot_be_subtracted_differs_as_a_whole(told, kind):
    expected = {"elements": 24, "different": 24, "max_abs": None, "rms": None, "max_ulp": None}
    assert told["kinds"][kind] == expected


def test_no_outputs_are_no_difference(told):
    assert told["kinds"]["nothing"]["different"] == 0


def test_views_are_compared_by_the_place_that_they_have_in_memory(told):
    assert told["places"] == {"same": 0, "elsewhere": 9, "strides": 9}
