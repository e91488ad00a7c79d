"""Comparing two large tensors, beside the way of the posts' scripts: load, `equal`, `allclose` twice, differences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, Process
from reportlib.compare.verdicts import bnb_tolerance
from reportlib.environments.record import EnvironmentRecord
from reportlib.floats import is_float
from reportlib.store import CARRIERS

#: Bytes of one side, and the share of its elements that differ.
BYTES, SHARE = 384 << 20, 0.2
#: What the other way may take twelve times as long as, and the MB beyond mapped files that ours may take.
TIME, MEMORY = 1 / 12, 300
_DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64")
_OURS = """
import sys, numpy as np
from benchmarks.figure import least
from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked
from reportlib.store import Tensor
sides = [Chunked.of(Tensor(np.load(path, mmap_mode="r"), sys.argv[3])) for path in sys.argv[1:3]]
print(least(lambda: tensors.compare(*sides), 15))
"""
_SAVE = """
import sys, numpy as np, torch
kind = getattr(torch, sys.argv[3])
for path in sys.argv[1:3]:
    raw = np.load(path)
    torch.save(torch.from_numpy(raw.view(np.int16) if kind == torch.bfloat16 else raw).view(kind), path + ".pt")
"""
#: As little as tells what a script can tell: no conversion, the difference once, its mean and its maximum.
_OTHER = """
import sys, time, torch
a, b, atol, rtol = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
def way():
    x, y = torch.load(a + ".pt"), torch.load(b + ".pt")
    results = [torch.equal(x, y)]
    if x.is_floating_point():
        results += [torch.allclose(x, y), torch.allclose(x, y, atol=atol, rtol=rtol)]
    difference = (x - y).abs()
    mean = difference.mean() if x.is_floating_point() else difference.sum() / x.numel()
    return results + [mean.item(), difference.max().item()]
taken = []
for _ in range(3):
    started = time.perf_counter(); way(); taken.append(time.perf_counter() - started)
print(min(taken))
"""


def run(record: EnvironmentRecord, folder: Path, *, small: bool) -> Iterator[Figure]:
    """Yield two figures for each dtype: time and memory."""
    beside = "load, equal, allclose twice, difference, mean, max"
    for dtype in _DTYPES:
        size = (1 << 16 if small else BYTES) // CARRIERS[dtype].itemsize
        paths = [str(folder / f"{side}.npy") for side in "ab"]
        for path, values in zip(paths, _pair(dtype, size), strict=True):
            np.save(path, values)
        bnb = bnb_tolerance(dtype if is_float(dtype) else "float32")
        python = str(record.python_program)
        Process.run([python, "-c", _SAVE, *paths, dtype], record, repeats=0)
        other = Process.run([python, "-c", _OTHER, *paths, str(bnb.atol), str(bnb.rtol)], record, repeats=0)
        ours = Process.run([sys.executable, "-c", _OURS, *paths, dtype], repeats=0)
        name = f"2 x {BYTES >> 20} MiB of {dtype}, {SHARE:.0%} of elements differing"
        seconds = float(ours.output), float(other.output)
        yield Figure(f"Comparing {name}", *seconds, beside if is_float(dtype) else f"{beside}, no allclose", TIME)
        yield Figure("the same, memory", ours.memory, other.memory, "the same", MEMORY / other.memory, "MB")
        for left in folder.glob("*.npy*"):
            left.unlink()


def _pair(dtype: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    moved = random.random(size, np.float32) < SHARE
    if not is_float(dtype):
        a = random.integers(0, 250, size, CARRIERS[dtype])
        return a, a + moved.astype(a.dtype)
    a = random.standard_normal(size, np.float32)
    b = np.where(moved, a * np.float32(1.001), a).astype(np.float32)
    if dtype == "bfloat16":
        short = [(values.view(np.uint32) >> 16).astype(np.uint16) for values in (a, b * np.float32(1.01))]
        return short[0], np.where(moved, short[1], short[0])
    return a.astype(dtype), b.astype(dtype)
