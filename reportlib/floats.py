"""The floating-point formats of captured tensors: widening, rounding and order of their bits.

numpy knows no bfloat16, so its bits arrive as ``uint16`` (see `reportlib.store.CARRIERS`).
Everything here takes the carrier array together with the dtype's true name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Format:
    """The layout of an IEEE-754-like binary format.

    Attributes
    ----------
    bits : numpy.dtype
        Unsigned integer of the same width.
    magnitude : int
        Mask of everything but the sign bit.
    infinity : int
        Bits of positive infinity; a larger magnitude is a NaN.
    working : numpy.dtype
        What arithmetic is carried out in before each result is rounded back to the format.
    """

    bits: np.dtype[Any]
    magnitude: int
    infinity: int
    working: np.dtype[Any]


FORMATS: dict[str, Format] = {
    "float16": Format(np.dtype(np.uint16), 0x7FFF, 0x7C00, np.dtype(np.float32)),
    "bfloat16": Format(np.dtype(np.uint16), 0x7FFF, 0x7F80, np.dtype(np.float32)),
    "float32": Format(np.dtype(np.uint32), 0x7FFF_FFFF, 0x7F80_0000, np.dtype(np.float32)),
    "float64": Format(np.dtype(np.uint64), 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000, np.dtype(np.float64)),
}


def is_float(dtype: str) -> bool:
    """Return whether `dtype` names a floating-point format."""
    return dtype in FORMATS


def bits(array: Array, dtype: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the bits of `array` as unsigned integers of the same shape, without copying."""
    return array.view(FORMATS[dtype].bits)


def not_finite(array: Array, dtype: str) -> npt.NDArray[np.bool_]:
    """Return a mask of `array`'s shape: where it is a NaN or an infinity."""
    layout = FORMATS[dtype]
    exponent = layout.bits.type(layout.infinity)
    return np.asarray((bits(array, dtype) & exponent) == exponent)


def nan_and_inf(array: Array, dtype: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return two masks of `array`'s shape: where it is NaN, and where it is infinite."""
    layout = FORMATS[dtype]
    magnitude = bits(array, dtype) & layout.bits.type(layout.magnitude)
    infinity = layout.bits.type(layout.infinity)
    return magnitude > infinity, magnitude == infinity


def widen(array: Array, dtype: str) -> Floats:
    """Return the values of `array` in the format's working type (float32 or float64), exactly."""
    if dtype == "bfloat16":
        # The upper half of a float32 is a bfloat16.
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    wide: Floats = array.astype(FORMATS[dtype].working, copy=False)
    return wide


def narrow(values: Floats, dtype: str) -> Floats:
    """Round working-type `values` to the nearest value of `dtype`, ties to even; the type stays.

    Parameters
    ----------
    values : numpy.ndarray
        float32 for ``float16``, ``bfloat16`` and ``float32``; float64 for ``float64``.
    dtype : str
        Key of `FORMATS`.
    """
    if dtype == "float16":
        return _narrow_to_float16(values)
    if dtype == "bfloat16":
        return _drop_bits(values, 16)
    return values


def _drop_bits(values: Floats, number: int) -> Floats:
    """Round float32 values to a significand that is `number` bits shorter, ties to even."""
    raw = np.ascontiguousarray(values).view(np.uint32)
    lowest_kept = (raw >> np.uint32(number)) & np.uint32(1)
    half = np.uint32((1 << (number - 1)) - 1)
    kept = np.uint32(0xFFFF_FFFF ^ ((1 << number) - 1))
    rounded = ((raw + half + lowest_kept) & kept).view(np.float32)
    # The carry could turn a NaN's payload into an infinity or a zero.
    return np.where(np.isnan(values), values, rounded)


def _narrow_to_float16(values: Floats) -> Floats:
    """Round float32 values to float16's, without numpy's cast: it crawls over subnormal results."""
    size = np.abs(values)
    rounded = _drop_bits(values, 13)
    # Between 0.5 and 1 a float32's last place is float16's smallest step, so the sum rounds to it.
    with np.errstate(invalid="ignore"):
        small = np.copysign((size + np.float32(0.75)) - np.float32(0.75), values)
    rounded = np.where(size < np.float32(2.0**-14), small, rounded)
    beyond = np.abs(rounded) > np.float32(65504)
    return np.where(beyond, np.copysign(np.float32(np.inf), values), rounded)


def ulp_distance(a: Array, b: Array, dtype: str) -> npt.NDArray[np.uint64]:
    """Return how many representable values lie between `a` and `b`, elementwise.

    The bits of a sign-and-magnitude number count its steps from zero, so the distance is a
    difference of magnitudes, or their sum across zero; 0.0 and -0.0 are 0 apart. The largest finite
    number is one step from infinity. Of NaNs the result means nothing.

    Parameters
    ----------
    a, b : numpy.ndarray
        Carrier arrays of one shape.
    dtype : str
        Key of `FORMATS`.

    Returns
    -------
    numpy.ndarray
        uint64, of that shape.
    """
    layout = FORMATS[dtype]
    left, right = bits(a, dtype), bits(b, dtype)
    mask = layout.bits.type(layout.magnitude)
    from_zero_a = (left & mask).astype(np.uint64)
    from_zero_b = (right & mask).astype(np.uint64)
    across_zero = (left & ~mask) != (right & ~mask)
    larger, smaller = np.maximum(from_zero_a, from_zero_b), np.minimum(from_zero_a, from_zero_b)
    return np.asarray(np.where(across_zero, larger + smaller, larger - smaller), np.uint64)
