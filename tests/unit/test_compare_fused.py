"""The compiled pass over large tensors gives every number that numpy's gives, whatever the chunks and the threads."""

from collections.abc import Iterator
from dataclasses import replace

import numba
import numpy as np
import pytest

from reportlib.compare import tensors
from reportlib.compare.chunks import BLOCK, Chunked
from reportlib.compare.verdicts import TensorComparison
from reportlib.floats import is_float
from reportlib.store import CARRIERS, Tensor

SIZE = 5 * BLOCK + 1_234
DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
#: Where the sides' chunks end: inside blocks, at one's end, and one block that holds several ends.
CUTS = ((), (BLOCK, BLOCK + 7, BLOCK + 90, 3 * BLOCK - 1), (2 * BLOCK + 3,))


def side(values: np.ndarray, dtype: str, cuts: tuple[int, ...]) -> Chunked:
    parts = tuple(Tensor(part, dtype) for part in np.split(values, cuts))
    return Chunked("t", tuple(f"t/{n}" for n in range(len(parts))), parts, ("",) * len(parts))


def pair(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return random values and the same with a fifth of them moved, with everything odd planted."""
    random = np.random.default_rng(7)
    if not is_float(dtype):
        a = random.integers(0, 200, SIZE).astype(CARRIERS[dtype])
        b = a.copy()
        moved = random.random(SIZE) < 0.2
        b[moved] = random.integers(0, 200, moved.sum())
        if dtype == "int64":
            a[5], b[5] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        return a, b
    a = random.standard_normal(SIZE).astype(np.float32)
    b = a.copy()
    moved = random.random(SIZE) < 0.2
    b[moved] *= 1 + random.choice([1e-2, 1e-4, 1e-6], moved.sum()).astype(np.float32)
    b[3 * BLOCK : 4 * BLOCK] = a[3 * BLOCK : 4 * BLOCK]  # a block with nothing to tell
    if dtype == "bfloat16":
        a, b = ((v.view(np.uint32) >> 16).astype(np.uint16) for v in (a, b))
        planted = {"nan": 0x7FC0, "inf": 0x7F80, "-inf": 0xFF80, "-0": 0x8000, "tiny": 0x0001, "huge": 0x7F7F}
    else:
        a, b = a.astype(dtype), b.astype(dtype)
        tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
        planted = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "-0": -0.0, "tiny": tiny, "huge": huge}
    a[10], b[10] = planted["nan"], planted["nan"]
    a[11], b[12] = planted["nan"], planted["inf"]
    a[BLOCK + 1], b[BLOCK + 1] = planted["inf"], planted["inf"]
    a[BLOCK + 2], b[BLOCK + 2] = planted["inf"], planted["-inf"]
    a[20], b[20] = 0, planted["-0"]
    a[21], b[21] = planted["tiny"], 0
    a[-1], b[-1] = planted["huge"], planted["-0"]
    return a, b


def same(compiled: TensorComparison, plain: TensorComparison) -> bool:
    """Whether all is equal but the order of summation."""
    assert compiled.mean_abs == pytest.approx(plain.mean_abs, rel=1e-12)
    return replace(compiled, mean_abs=None) == replace(plain, mean_abs=None)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, numba.config.NUMBA_NUM_THREADS))
    yield request.param
    numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_or_not_every_number_is_the_same(dtype: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    del threads
    a, b = pair(dtype)
    for left, right in ((CUTS[0], CUTS[0]), (CUTS[1], CUTS[2]), (CUTS[2], CUTS[0])):
        sides = side(a, dtype, left), side(b, dtype, right)
        monkeypatch.setattr(tensors, "WORTH", SIZE + 1)
        plain = tensors.compare(*sides)
        monkeypatch.setattr(tensors, "WORTH", 0)
        assert same(tensors.compare(*sides), plain)
        assert plain.different
        assert plain.verdict == "different"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_edge_of_a_tolerance_is_torchs(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every half-precision number beside its neighbours, where one more step is too far."""
    every = np.arange(1 << 16, dtype=np.uint16)
    a = np.concatenate([every] * 4)
    b = np.concatenate([every + np.uint16(step) for step in (1, 2, 9, 40)])
    sides = [side(v if dtype == "bfloat16" else v.view(np.float16), dtype, ()) for v in (a, b)]
    monkeypatch.setattr(tensors, "WORTH", a.size + 1)
    plain = tensors.compare(*sides)
    monkeypatch.setattr(tensors, "WORTH", 0)
    compiled = tensors.compare(*sides)
    assert same(compiled, plain)
