"""The offline checkpoint's projection: seeded, orthonormal, and the same bits on every machine."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

#: Recorded in the checkpoint's `source.json`.
SEED = 20250913
# The sum of twelve uniform numbers is close to normal (Irwin-Hall), and in integers it is exact.
_SUMMANDS = 12


def orthonormal(rows: int, columns: int, seed: int = SEED) -> npt.NDArray[np.float32]:
    """Return a matrix with orthonormal rows that depends on nothing but its arguments.

    A library's QR or normal generator may differ in the last bit between versions and processors.
    Here every step is exact or correctly rounded: raw 64-bit output of PCG64, sums of integers,
    products and differences of float64 one at a time, `math.fsum` for dot products, `math.sqrt`.
    The method is modified Gram-Schmidt, each row made orthogonal twice (Giraud, Langou and
    Rozloznik 2005: twice is enough).

    Parameters
    ----------
    rows, columns : int
        Shape; no more rows than columns.
    seed : int
        Of PCG64.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)``, float32.

    Raises
    ------
    ValueError
        When there are more rows than columns.
    """
    if rows > columns:
        raise ValueError(f"{rows} vectors of {columns} numbers cannot be orthonormal")
    raw = np.random.PCG64(seed).random_raw(_SUMMANDS * rows * columns)
    # 32 bits each: the sum of twelve stays far below 2**53, so float64 holds it exactly.
    summed = (raw >> np.uint64(32)).reshape(_SUMMANDS, rows, columns).sum(axis=0).astype(np.int64)
    basis: list[npt.NDArray[np.float64]] = []
    for start in (summed - _SUMMANDS // 2 * 2**32).astype(np.float64):
        row = start
        for _ in range(2):
            for unit in basis:
                row = row - _dot(row, unit) * unit
        basis.append(row / math.sqrt(_dot(row, row)))
    return np.stack(basis).astype(np.float32)


def _dot(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return math.fsum((a * b).tolist())
