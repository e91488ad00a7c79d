"""Files that both real torches wrote, and indexes that real colbert-ai made in them, compared as plain folders."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportlib.compare.indexes import compare_indexes
from reportlib.compare.pipeline import compare_artifacts
from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder, StoredTensor, load
from reportlib.store import Capture, project_home

pytestmark = pytest.mark.integration

ENVIRONMENTS = ("torch201", "torch210")
#: Runs in an environment: saves tensors of every kind, and the bits that they must have.
SAVE = """
import sys, pathlib, numpy as np, torch
out = pathlib.Path(sys.argv[1])
t = torch.arange(-6, 6).reshape(3, 4)
plain = {f"{d}".split(".")[-1]: t.to(d) for d in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32,
         torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)}
read = {**plain, "transposed": t.t(), "view": t[1:, 2:], "step": t.flatten()[1::3], "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 5), "grad": t.float().requires_grad_(), "large": torch.arange(1 << 16)}
bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
wanted = {}
for name, x in read.items():
    torch.save(x, out / f"{name}.pt")
    whole = x.detach().clone(memory_format=torch.contiguous_format)
    wanted[name] = whole.view(bits[whole.element_size()]).numpy()
torch.save(t, out / "protocol5.pt", pickle_protocol=5)
torch.save((t, t[1]), out / "pair.pt")
torch.save([1, 2.5, "x", None], out / "values.pt")
np.savez(out / "wanted.npz", **wanted, protocol5=t.numpy())
refused = {"dict": {"a": t}, "parameter": torch.nn.Parameter(t.float()), "module": torch.nn.Linear(2, 2),
           "sparse": t.to_sparse(), "complex": torch.complex(t.float(), t.float()),
           "quantized": torch.quantize_per_tensor(t.float(), .1, 0, torch.quint8), "device": torch.device("cpu"),
           "size": t.shape, "class": dict, "expanded": torch.zeros(1).expand(10**12)}
for name, x in refused.items():
    torch.save(x, out / f"refused-{name}.pt")
torch.save(t, out / "refused-legacy.pt", _use_new_zipfile_serialization=False)
torch.jit.script(torch.nn.Linear(2, 2)).save(str(out / "refused-script.pt"))
# What a file from a GPU differs in is this one word.
torch.serialization.location_tag = lambda storage: "cuda:0"
torch.save((t, t.half()), out / "cuda.pt")
"""
NAMED = {
    "dict": "dictionary",
    "parameter": "torch._utils._rebuild_parameter",
    "module": "torch.nn.modules.linear.Linear",
    "sparse": "torch._utils._rebuild_sparse_tensor",
    "complex": "torch.ComplexFloatStorage",
    "quantized": "torch._utils._rebuild_qtensor",
    "device": "torch.device",
    "size": "torch.Size",
    "class": "__builtin__.dict",
    "expanded": "1000000000000",
    "legacy": "before torch 1.6",
    "script": "TorchScript",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of files, by the environment whose torch saved them."""
    folders = {}
    for name in ENVIRONMENTS:
        folders[name] = tmp_path_factory.mktemp(name)
        python = project_home() / "envs" / name / "bin" / "python"
        subprocess.run([str(python), "-W", "ignore", "-c", SAVE, str(folders[name])], check=True, capture_output=True)
    return folders


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_tensor_has_the_bits_that_torch_saved(saved, environment):
    with np.load(saved[environment] / "wanted.npz") as wanted:
        assert len(wanted.files) == 18
        for name in wanted.files:
            found = load(saved[environment] / f"{name}.pt").open()
            assert found.shape == wanted[name].shape, name
            np.testing.assert_array_equal(found.array.reshape(-1).view(wanted[name].dtype), wanted[name].reshape(-1))
            if name in ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32"):
                assert found.dtype == name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_plain_containers_are_read(saved, environment):
    whole, row = load(saved[environment] / "pair.pt")
    assert isinstance(whole, StoredTensor)
    np.testing.assert_array_equal(whole.open().array[1], row.open().array)
    assert load(saved[environment] / "values.pt") == [1, 2.5, "x", None]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_file_from_a_gpu_is_read_as_any_other(saved, environment):
    whole, half = load(saved[environment] / "cuda.pt")
    assert {whole.device, half.device} == {"cuda:0"}
    np.testing.assert_array_equal(whole.open().array, np.arange(-6, 6).reshape(3, 4))
    assert half.open().dtype == "float16"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("kind", sorted(NAMED))
def test_anything_else_that_torch_saves_is_refused_by_name(saved, environment, kind):
    with pytest.raises(IndexFileError) as caught:
        load(saved[environment] / f"refused-{kind}.pt")
    assert NAMED[kind] in str(caught.value)


@pytest.fixture(scope="module")
def captures(capture: Callable[..., Capture]) -> tuple[Capture, Capture]:
    a, b = (capture(name, precision="autocast") for name in ENVIRONMENTS)
    return a, b


def test_an_index_read_without_torch_is_the_one_that_was_captured(captures):
    for found in captures:
        folder = IndexFolder.open(found.index_folder)
        for name in ("codes", "residuals", "ivf", "ivf_lengths", "centroids", "bucket_cutoffs", "bucket_weights"):
            whole = np.concatenate([stored.open().array for stored in folder.tensors(name)])
            kept = np.concatenate([found.tensor(n).array for n in found.group(f"index/{name}")])
            np.testing.assert_array_equal(whole, kept)


def test_two_folders_get_the_verdicts_that_their_captures_get(captures):
    a, b = captures
    kept = {r["name"]: r for r in compare_artifacts(a, b) if r["final"]}
    found = compare_indexes(a.index_folder, b.index_folder)
    assert found["verdict"] == "different"
    records = {r["name"]: r for r in found["artifacts"]}
    assert set(kept) == set(records) - {"doclens"}
    for name, record in kept.items():
        for key in (
            "verdict",
            "tolerance",
            "elements",
            "different",
            "different_bits",
            "max_abs",
            "first_index",
            "text",
        ):
            assert records[name][key] == record[key], (name, key)
    assert not found["problems"]


def test_a_copy_is_identical_and_a_copy_with_a_changed_byte_is_damaged(captures, tmp_path, run):
    index = captures[0].index_folder
    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    assert run("reportlib", "compare", str(index), str(copy)).returncode == 0
    raw = bytearray((copy / "0.residuals.pt").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / "0.residuals.pt").write_bytes(raw)
    done = run("reportlib", "compare", str(index), str(copy), "--json", check=False)
    assert done.returncode == 2
    found: dict[str, Any] = json.loads(done.stdout)
    assert [r["name"] for r in found["artifacts"] if r["verdict"] is None] == ["residuals"]
    assert "CRC-32" in next(r["text"] for r in found["artifacts"] if r["name"] == "residuals")
