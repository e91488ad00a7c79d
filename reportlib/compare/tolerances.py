"""The posts' two tolerances, and `torch.allclose` without torch, to the last bit.

The formula is ``|a - b| <= atol + rtol * |b|``. torch evaluates it in the tensors' own dtype: every
step is rounded to float16 or bfloat16 where those are compared, so near the edge the answer differs
from what the same numbers give in float32. `isclose` rounds where torch rounds (``isclose`` in
ATen/native/TensorCompare.cpp: the product, the sum, the difference), which
``tests/integration/test_allclose.py`` checks against a real torch.

torch itself changed here: 2.0.1 also rounds rtol to float16 or bfloat16 before the product, 2.1.0
does not. So `torch.allclose` of one pair of half-precision tensors can answer differently in the
two versions. This module follows 2.1.0, whatever the versions compared: a report judges all its
artifacts by one rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportlib.errors import ComparisonError
from reportlib.floats import Array, Floats, is_float, narrow, widen
from reportlib.store import Tensor


@dataclass(frozen=True)
class Tolerance:
    """A named pair of an absolute and a relative tolerance."""

    name: str
    atol: float
    rtol: float


#: torch.allclose's own.
DEFAULT = Tolerance("default", 1e-8, 1e-5)

#: What bitsandbytes' tests allow for each dtype, as the posts used it.
_BNB = {
    "float32": Tolerance("bnb", 1e-6, 1e-5),
    "bfloat16": Tolerance("bnb", 1e-3, 1e-2),
}
_BNB_OTHERWISE = Tolerance("bnb", 1e-4, 1e-3)


def default(dtype: str) -> Tolerance:
    """Return torch.allclose's default tolerance; the same for every floating-point `dtype`."""
    _check_float(dtype)
    return DEFAULT


def bnb(dtype: str) -> Tolerance:
    """Return the bitsandbytes tolerance for a floating-point `dtype`."""
    _check_float(dtype)
    return _BNB.get(dtype, _BNB_OTHERWISE)


def isclose(a: Array, b: Array, dtype: str, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Return elementwise what ``torch.isclose(a, b, rtol, atol)`` returns for tensors of `dtype`.

    Parameters
    ----------
    a, b : numpy.ndarray
        Carrier arrays of one shape: `a` is torch's input, `b` its other.
    dtype : str
        A floating-point dtype.
    tolerance : Tolerance
        Neither number negative.

    Returns
    -------
    numpy.ndarray
        bool, of that shape. Equal infinities are close; a NaN is close to nothing.
    """
    _check_float(dtype)
    if tolerance.atol < 0 or tolerance.rtol < 0:
        raise ComparisonError(f"the tolerance {tolerance} is negative", "use numbers from 0 up")
    left, right = widen(a, dtype), widen(b, dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        equal = np.asarray(left == right)
        if tolerance.atol == 0 and tolerance.rtol == 0:
            return equal
        return equal | within(error(left, right, dtype), right, dtype, tolerance)


def error(left: Floats, right: Floats, dtype: str) -> Floats:
    """Return torch's "actual error": ``|left - right|`` of widened values, rounded to `dtype`."""
    return np.asarray(np.abs(narrow(left - right, dtype)))


def within(actual: Floats, right: Floats, dtype: str, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Return where an error is finite and within torch's "allowed error" for widened `right`."""
    number = right.dtype.type
    scaled = np.abs(narrow(number(tolerance.rtol) * right, dtype))
    # torch 2.1 keeps rtol in float32 for the product but rounds atol before the sum.
    atol = narrow(np.array([tolerance.atol], number), dtype)
    allowed = narrow(atol + scaled, dtype)
    return np.asarray(np.isfinite(actual) & (actual <= allowed))


def allclose(a: Tensor, b: Tensor, tolerance: Tolerance) -> bool:
    """Return what ``torch.allclose(a, b, rtol, atol)`` returns, for tensors of one shape.

    Torch would also stretch unequal shapes to fit; artifacts of unequal shape are never close here.

    Raises
    ------
    ComparisonError
        When the dtypes differ (torch raises too), are not floating-point, or the shapes differ.
    """
    if a.dtype != b.dtype:
        raise ComparisonError(f"{a.dtype} and {b.dtype} have no tolerance in common")
    if a.shape != b.shape:
        raise ComparisonError(f"the shapes {a.shape} and {b.shape} differ")
    return bool(isclose(a.array, b.array, a.dtype, tolerance).all())


def _check_float(dtype: str) -> None:
    if not is_float(dtype):
        raise ComparisonError(f"{dtype} is never given a tolerance", "compare it for equality")
