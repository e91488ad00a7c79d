"""Exactly rounded arithmetic on arrays: what a CPU's float32 and bfloat16 instructions return, bit for bit.

numpy's own float32 ``+ - * /`` and ``sqrt`` round once, as IEEE 754 says, so they need no emulation. What numpy lacks
is a fused multiply-add, and bfloat16. Everything here keeps bfloat16 and float16 values in float32 arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.floats import narrow

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
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
