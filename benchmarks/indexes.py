"""`reportlib compare` of two index folders, from start to verdict, and what grows with their size."""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from benchmarks.figure import Figure, Process, least
from reportlib.compare.chunks import Chunked
from reportlib.compare.order import Side, walk
from reportlib.environments.record import EnvironmentRecord
from reportlib.store import Tensor

#: Bytes of one index and its chunks: the smallest is the base of what is said of growth.
SIZES = ((1e8, 10), (1e9, 60))
SMALL = ((1e6, 2), (2e6, 3))
LARGE = (*SIZES, (1e10, 400))
#: What `reportlib compare` of small folders may take, in seconds of processor time.
PROCESSOR = 0.5
_SCRIPT = str(Path(__file__).with_name("made_index.py"))
_COMPARE = (str(Path(sys.executable).with_name("reportlib")), "compare")
#: What one would do with torch: load file by file, compare, count.
_OTHER = """
import json, sys, torch
from pathlib import Path
a, b = map(Path, sys.argv[1:])
def tensors(path):
    known = torch.load(path)
    return known if isinstance(known, tuple) else (known,)
for path in sorted(a.iterdir()):
    if path.suffix == ".json":
        print(path.name, json.loads(path.read_text()) == json.loads((b / path.name).read_text()))
        continue
    for x, y in zip(tensors(path), tensors(b / path.name)):
        same = torch.equal(x, y)
        if same or x.shape != y.shape:
            print(path.name, same)
            continue
        unlike = (x.to(torch.int16) - y).abs() if x.dtype == torch.uint8 else (x - y).abs()
        print(path.name, (unlike != 0).sum().item(), unlike.sum().item() / x.numel(), unlike.max().item())
"""


def run(record: EnvironmentRecord, folder: Path, *, small: bool, large: bool = False) -> Iterator[Figure]:
    """Yield the figures of small folders, of each size and of growth, of the order of codes, and of the CRC-32."""
    python = str(record.python_program)
    importing = Process.run([python, "-c", "import torch"], record, repeats=3)
    ours = Process.run([*_COMPARE, *_made(record, folder, 1e6, 2)], repeats=3)
    name = "Two indexes of 1 MB, processor time from start to verdict"
    yield Figure(name, ours.processor, importing.processor, "importing torch", PROCESSOR / importing.processor)
    taken: list[Process] = []
    sizes = SMALL if small else LARGE if large else SIZES
    for size, chunks in sizes:
        sides = _made(record, folder, size, chunks)
        ours = Process.run([*_COMPARE, *sides], repeats=2)
        other = Process.run([python, "-c", _OTHER, *sides], record, repeats=1)
        name = f"Two indexes of {size / 1e9:g} GB in {chunks} chunks"
        yield Figure(f"{name}, start to verdict", ours.seconds, other.seconds, "torch.load and counts, file by file")
        yield Figure("the same, memory beyond mapped files", ours.memory, other.memory, "the same", None, "MB")
        taken.append(ours)
    (first, _), (last, _) = sizes[0], sizes[-1]
    growth = f"From {first / 1e9:g} to {last / 1e9:g} GB, {last / first:g} times"
    yield Figure(f"{growth}: time", taken[-1].seconds, taken[0].seconds, "the smallest", last / first)
    yield Figure(f"{growth}: memory", taken[-1].memory, taken[0].memory, "the smallest", last / first, "MB")
    yield _order(10_000 if small else 100_000_000 if large else 10_000_000)
    data = np.random.default_rng(1).integers(0, 256, 1 << 20 if small else 384 << 20, np.uint8).data
    crc = least(lambda: isal_zlib.crc32(data)), least(lambda: zlib.crc32(data))
    yield Figure(f"CRC-32 of {data.nbytes >> 20} MiB", *crc, "Python's zlib")


def _made(record: EnvironmentRecord, folder: Path, size: float, chunks: int) -> tuple[str, str]:
    """Make two indexes, in place of those before."""
    where = folder / "indexes"
    shutil.rmtree(where, ignore_errors=True)
    Process.run([str(record.python_program), _SCRIPT, str(where), str(size), str(chunks)], record, repeats=0)
    return str(where / "a"), str(where / "b")


def _order(number: int) -> Figure:
    """Follow codes whose ties one side sorted in another order."""
    random = np.random.default_rng(1)
    doclens = random.integers(20, 101, number // 60)
    codes = random.integers(0, 2 ** int(np.log2(16 * np.sqrt(number))), doclens.sum(), np.int32)
    stable = np.argsort(codes, kind="stable")
    unstable = stable[np.lexsort((random.random(codes.size, np.float32), codes[stable]))]

    def side(indices: npt.NDArray[np.int64]) -> Side:
        before, after = (Chunked.of(Tensor(array, "int32")) for array in (codes, codes[indices]))
        return Side.of(before, after, Chunked.of(Tensor(indices, "int64")), doclens.tolist())

    sides = side(unstable), side(stable)
    ours = least(lambda: walk(*sides), 2)
    other = least(lambda: [np.argsort(codes, kind="stable") for _ in sides], 2)
    return Figure(
        f"The order of {codes.size / 1e6:.3g} million codes on two sides", ours, other, "numpy's stable sort of them"
    )
