"""Comparing two large tensors, beside the way of the posts' scripts: load, `equal`, `allclose` twice, differences."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, least
from reportlib.compare import tensors, tolerances
from reportlib.compare.chunks import Chunked
from reportlib.environments.kernels import process_environment
from reportlib.environments.record import EnvironmentRecord
from reportlib.store import Tensor, project_home

#: Bytes of one side, and the share of its elements that differ.
BYTES, SHARE = 384 << 20, 0.2
_OTHER = """
import json, sys, time
import numpy as np, torch
a, b, dtype, atol, rtol = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
kind = getattr(torch, dtype)
for path in (a, b):
    raw = np.load(path)
    torch.save(torch.from_numpy(raw.view(np.int16) if dtype == "bfloat16" else raw).view(kind), path + ".pt")
def way():
    x, y = torch.load(a + ".pt"), torch.load(b + ".pt")
    found = [torch.equal(x, y)]
    if kind.is_floating_point:
        found += [torch.allclose(x, y), torch.allclose(x, y, atol=atol, rtol=rtol)]
    wide = torch.float32 if kind.is_floating_point else torch.int64
    found += [(x.to(wide) - y.to(wide)).abs().to(torch.float64).mean().item()]
    return found + [(x.to(wide) - y.to(wide)).abs().max().item(), (x != y).sum().item()]
way()
taken = []
for _ in range(3):
    started = time.perf_counter(); way(); taken.append(time.perf_counter() - started)
print(json.dumps(min(taken)))
"""


def run(record: EnvironmentRecord, folder: Path, *, small: bool) -> Iterator[Figure]:
    """Yield a figure for each dtype."""
    for dtype, limit in (("float16", 1 / 12), ("bfloat16", 1 / 12), ("float32", 1 / 12), ("int32", None)):
        size = (1 << 16 if small else BYTES) // (2 if dtype.endswith("16") else 4)
        paths = [folder / f"{side}.npy" for side in "ab"]
        for path, values in zip(paths, _pair(dtype, size), strict=True):
            np.save(path, values)
        other = _other(record, paths, dtype)
        sides = [Chunked.of(Tensor(np.load(path, mmap_mode="r"), dtype)) for path in paths]
        ours = least(lambda sides=sides: tensors.compare(*sides))  # type: ignore[misc]
        mib = size * sides[0].parts[0].array.itemsize >> 20
        name = f"Comparing 2 x {mib} MiB of {dtype}, {SHARE:.0%} of elements differing"
        yield Figure(name, ours, other, "load, equal, allclose twice, mean, max, count", limit)
        for path in folder.glob("*.npy*"):
            path.unlink()


def _pair(dtype: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    moved = random.random(size, np.float32) < SHARE
    if dtype == "int32":
        a = random.integers(0, 16_384, size, np.int32)
        return a, np.where(moved, a + 1, a).astype(np.int32)
    a = random.standard_normal(size, np.float32)
    b = np.where(moved, a * np.float32(1.001), a).astype(np.float32)
    if dtype == "bfloat16":
        short = [(values.view(np.uint32) >> 16).astype(np.uint16) for values in (a, b * np.float32(1.01))]
        return short[0], np.where(moved, short[1], short[0])
    return a.astype(dtype), b.astype(dtype)


def _other(record: EnvironmentRecord, paths: list[Path], dtype: str) -> float:
    bnb = tolerances.bnb(dtype if dtype != "int32" else "float32")
    command = [str(record.python_program), "-c", _OTHER, *map(str, paths), dtype, str(bnb.atol), str(bnb.rtol)]
    done = subprocess.run(
        command, env=process_environment(record, project_home()), capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout))
