"""Exactly rounded arithmetic on arrays, and the orders in which a row is added up: a CPU's results, bit for bit.

numpy's own float32 ``+ - * /`` and ``sqrt`` round once, as IEEE 754 says, so they need no emulation. What numpy lacks
is a fused multiply-add, and bfloat16. Everything here keeps bfloat16 and float16 values in float32 arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.floats import Array, narrow

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
#: ``multiply_add(a, b, c)`` returns ``a * b + c``, rounded once or twice.
MultiplyAdd = Callable[[Any, Any, Any], Float32]


def fma(a: Any, b: Any, c: Any) -> Float32:
    """Return ``a * b + c`` of float32 arrays, rounded once, as a fused multiply-add does.

    The product of two float32 numbers is exact in float64. Their sum with `c` is rounded to odd there, which keeps
    enough of what was cut off for the second rounding, to float32, to be the right one.

    References
    ----------
    S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
    odd", IEEE Transactions on Computers 57(4), 2008. The error of the sum is Knuth's TwoSum.
    """
    product = np.multiply(a, b, dtype=np.float64)
    return add_to_odd(product, np.asarray(c, dtype=np.float64)).astype(np.float32)


def add_to_odd(left: Float64, right: Float64) -> Float64:
    """Return the float64 sum, rounded to the neighbour with an odd last bit wherever it is not exact."""
    total = np.asarray(left + right)
    with np.errstate(invalid="ignore"):
        back = total - left
        error = (left - (total - back)) + (right - back)
    inexact = np.isfinite(total) & (error != 0)
    bits = np.array(total).view(np.int64)
    even = inexact & ((bits & 1) == 0)
    # One step in the direction of what was cut off; away from zero where the signs agree.
    step = np.where((error > 0) == (total > 0), 1, -1)
    return (bits + np.where(even, step, 0)).view(np.float64)


def multiply_then_add(a: Any, b: Any, c: Any) -> Float32:
    """Return ``a * b + c`` of float32 arrays, with the product rounded before it is added."""
    return np.asarray(a * b + c, dtype=np.float32)


def to_format(values: Any, dtype: str) -> Float32:
    """Round float64 or float32 values once to float32, bfloat16 or float16; the result is a float32 array.

    A float64 value is first rounded to odd at float32's precision, which the second rounding cannot see.
    """
    if values.dtype == np.float32:
        return np.asarray(narrow(values, dtype), dtype=np.float32)
    if dtype == "float32":
        return np.asarray(values.astype(np.float32))
    return np.asarray(narrow(_odd_float32(values), dtype), dtype=np.float32)


def _odd_float32(values: Float64) -> Float32:
    """Round float64 values to float32, to the neighbour with an odd last bit wherever that is not exact."""
    nearest = values.astype(np.float32)
    back = nearest.astype(np.float64)
    bits = nearest.view(np.int32)
    even = np.isfinite(nearest) & (back != values) & ((bits & 1) == 0)
    step = np.where(np.abs(values) > np.abs(back), 1, -1)
    return (bits + np.where(even, step, 0).astype(np.int32)).view(np.float32)


def power_of_two(exponent: Float32) -> Float32:
    """Return 2 to integers held as float32, within float32's range of normal numbers."""
    return np.asarray(np.ldexp(np.float32(1), exponent.astype(np.int32)), dtype=np.float32)


# Orders in which a row of numbers is added up. Each takes ``values`` of shape (rows, n), float32 unless said otherwise,
# and returns (rows,).


Sum = Callable[[Array], Array]
#: Adds a step's values to the lanes: (lanes, values) to lanes.
Step = Callable[[Any, Any], Any]


def add(lanes: Any, values: Any) -> Any:
    """Return the plain sum, rounded to the arrays' own type."""
    return lanes + values


def add_square(lanes: Any, values: Any) -> Any:
    """Add squares, each rounded before it is added."""
    return lanes + values * values


def add_square_fused(lanes: Any, values: Any) -> Any:
    """Add squares without rounding them first."""
    return fma(values, values, lanes)


def one_after_another(values: Array, step: Step = add) -> Array:
    """Add up from the first to the last."""
    total = np.zeros_like(values[:, 0])
    for column in range(values.shape[1]):
        total = step(total, values[:, column])
    return np.asarray(total)


def halves(lanes: Array) -> Array:
    """Fold lanes by adding their second half to their first, until one is left: a tree in a register."""
    while lanes.shape[1] > 1:
        middle = lanes.shape[1] // 2
        lanes = lanes[:, :middle] + lanes[:, middle:]
    return np.asarray(lanes[:, 0])


def left_to_right(lanes: Array) -> Array:
    """Add lanes to the first one, one after another."""
    total = lanes[:, 0]
    for column in range(1, lanes.shape[1]):
        total = total + lanes[:, column]
    return np.asarray(total)


def in_register(values: Array, width: int) -> Array:
    """Add up as ATen's ``vec::reduce_all`` does: `width` lanes, the rest into the first lanes, then a tree.

    The first vector starts the lanes. A row shorter than a vector is added one after another.
    Source: pytorch, aten/src/ATen/cpu/vec/functional_base.h.
    """
    n = values.shape[1]
    if n < width:
        return left_to_right(values)
    whole = n - n % width
    lanes = values[:, :width].copy()
    for start in range(width, whole, width):
        lanes += values[:, start : start + width]
    if rest := n - whole:
        lanes[:, :rest] += values[:, whole:]
    return halves(lanes)


def lanes_then_rest(
    values: Array, width: int, step: Step, fold: Callable[[Array], Array], rest: Step | None = None
) -> Array:
    """Add up in `width` lanes that start at zero, fold them, then add what did not fill a vector one by one.

    Source: pytorch, aten/src/ATen/native/cpu/ReduceOpsKernel.cpp (the norm of contiguous rows).
    """
    n = values.shape[1]
    whole = n - n % width
    lanes = np.zeros((len(values), width), dtype=values.dtype)
    for start in range(0, whole, width):
        lanes = step(lanes, values[:, start : start + width])
    total = fold(lanes)
    for column in range(whole, n):
        total = (rest or step)(total, values[:, column])
    return np.asarray(total)


def cascade(values: Array, width: int, unrolled: int = 4) -> Array:
    """Add up as ATen's ``sum`` of contiguous rows: `unrolled` vectors of `width` lanes, in four levels.

    Source: pytorch, aten/src/ATen/native/cpu/SumKernel.cpp (``cascade_sum``, ``vectorized_inner_sum``).
    """
    rows, n = values.shape
    if n < width:
        return np.asarray(_row_sum(values[:, :, None], unrolled)[:, 0])
    vectors = n // width
    whole = values[:, : vectors * width].reshape(rows, vectors, width)
    lanes = _row_sum(whole, unrolled)
    total = one_after_another(values[:, vectors * width :]) if n % width else np.zeros(rows, dtype=values.dtype)
    for lane in range(width):
        total = total + lanes[:, lane]
    return np.asarray(total)


def _row_sum(values: Array, unrolled: int) -> Array:
    """Sum (rows, n, width) over n in `unrolled` streams; returns (rows, width)."""
    rows, n, width = values.shape
    steps = n // unrolled
    streams = _multi_row_sum(values[:, : steps * unrolled].reshape(rows, steps, unrolled * width))
    parts = streams.reshape(rows, unrolled, width).copy()
    for index in range(steps * unrolled, n):
        parts[:, 0] += values[:, index]
    for stream in range(1, unrolled):
        parts[:, 0] += parts[:, stream]
    return np.asarray(parts[:, 0])


def _multi_row_sum(values: Array) -> Array:
    """Sum (rows, n, lanes) over n in four levels: a level is emptied into the next when it has taken its steps."""
    rows, n, lanes = values.shape
    levels = 4
    power = max(4, -(-max(n - 1, 1).bit_length() // levels))
    size, mask = 1 << power, (1 << power) - 1
    sums = np.zeros((levels, rows, lanes), dtype=values.dtype)
    done = 0
    while done + size <= n:
        for _ in range(size):
            sums[0] += values[:, done]
            done += 1
        for level in range(1, levels):
            sums[level] += sums[level - 1]
            sums[level - 1] = 0
            if done & (mask << (level * power)):
                break
    for index in range(done, n):
        sums[0] += values[:, index]
    for level in range(1, levels):
        sums[0] += sums[level]
    return np.asarray(sums[0])


def exact(values: Array) -> Float32:
    """Return the float64 sum rounded once to float32."""
    return np.asarray(values.astype(np.float64).sum(axis=1).astype(np.float32))
