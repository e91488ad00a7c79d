"""Exponentials and what is made of them: ``exp``, ``erf``, ``tanh``, ``gelu`` and their like, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from reportlib.compare.roots.cases import Case
from reportlib.compare.roots.mechanisms.arithmetic import Array, Float32, fma, power_of_two, to_format
from reportlib.compare.roots.mechanisms.problem import Explanation, Problem, only_output

Function = Callable[[Array], Array]


def _vector(function: Callable[[float], float]) -> Function:
    elementwise = np.frompyfunc(function, 1, 1)
    return lambda values: np.asarray(elementwise(values), dtype=np.float64)


erf64 = _vector(math.erf)

_FLOAT64: dict[str, Function] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": erf64,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "cos": np.cos,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "gelu": lambda x: 0.5 * x * (1 + erf64(x / math.sqrt(2))),
}


def exp_sleef(values: Array) -> Float32:
    """Return the exponential as the library Sleef does with fused multiply-adds, within 1.0 ULP.

    The argument is reduced by multiples of ln 2 in two parts; a polynomial of degree 5 gives the rest. ATen's vectors
    use it, in every width alike.
    Source: Sleef, ``expf`` of 1.0 ULP (sleefsimdsp.c), Boost Software License.
    """
    x = np.asarray(values, dtype=np.float32)
    n = np.rint(x * np.float32(1.44269504088896341)).astype(np.float32)
    rest = fma(n, np.float32(-0.693145751953125), x)
    rest = fma(n, np.float32(-1.428606765330187045e-06), rest)
    series = np.full_like(x, 0.000198527617612853646278381)
    for coefficient in (0.0013930435525253415, 0.008333360776305199, 0.041666485369205475, 0.16666667163372040, 0.5):
        series = fma(series, rest, np.float32(coefficient))
    mantissa = np.float32(1) + fma(rest * rest, series, rest)
    result = np.ldexp(mantissa, n.astype(np.int32)).astype(np.float32)
    return np.where(x < -104, np.float32(0), np.where(x > 104, np.float32(np.inf), result))


def exp_onednn(values: Array) -> Float32:
    """Return the exponential as oneDNN's vector code does: one part of ln 2, and a polynomial of degree 5.

    Source: oneDNN v3.1, jit_uni_eltwise_injector.cpp (``exp_compute_vector_fwd``), Apache License 2.0.
    """
    # log(FLT_MIN), below which it returns zero, and log(FLT_MAX).
    lowest, highest = np.float32(-87.33655), np.float32(88.72284)
    x = np.clip(np.asarray(values, dtype=np.float32), lowest, highest)
    n = np.floor(x * np.float32(1.44269502) + np.float32(0.5)).astype(np.float32)
    rest = fma(-n, np.float32(0.693147182), x)
    series = np.full_like(x, 0.00828929059)
    for coefficient in (0.0418978221, 0.166676521, 0.499991506, 0.999999701, 1.0):
        series = fma(series, rest, np.float32(coefficient))
    result = series * power_of_two(n - np.float32(1)) * np.float32(2)
    return np.where(values < lowest, np.float32(0), result).astype(np.float32)


def gelu_abramowitz_stegun(values: Array) -> Float32:
    """Return gelu by the formula 7.1.26 of Abramowitz and Stegun for erf, in float32 with fused multiply-adds.

    Source: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", 1964, as evaluated in oneDNN v2.7,
    jit_uni_eltwise_injector.cpp (``gelu_erf_compute_vector_fwd``), Apache License 2.0.
    """
    x = np.asarray(values, dtype=np.float32)
    one = np.float32(1)
    scaled = x * np.float32(0.707106769)
    t = one / fma(np.float32(0.3275911), np.abs(scaled), one)
    decay = -exp_onednn(-(scaled * scaled)) * t
    series = np.full_like(x, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = fma(series, t, np.float32(coefficient))
    error_function = np.copysign(one, x) * fma(decay, series, one)
    half = x * np.float32(0.5)
    return fma(error_function, half, half)


def gelu_aten(values: Array) -> Float32:
    """Return ``x * 0.5 * (1 + erf(x * sqrt(1/2)))`` in float32, with erf itself rounded correctly."""
    x = np.asarray(values, dtype=np.float32)
    inner = (x * np.float32(math.sqrt(0.5))).astype(np.float64)
    return np.asarray(x * np.float32(0.5) * (np.float32(1) + erf64(inner).astype(np.float32)), dtype=np.float32)


def functions(case: Case) -> Problem | None:
    """Return the ways to compute a function of one tensor, element by element."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in _FLOAT64:
        return None
    if case.value("approximate", "none") != "none" or given.dtype != outputs[0].dtype or given.dtype == "float64":
        return None
    if given.values.dtype != np.float32:
        return None
    dtype = given.dtype
    found = tuple(_explanations(case.operation, dtype))
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem((given.values.reshape(-1),), a, b, found)


def _explanations(operation: str, dtype: str) -> Iterator[Explanation]:
    exact = _FLOAT64[operation]
    yield Explanation(
        "correctly rounded",
        f"the float64 result, rounded once to {dtype}",
        partial(_compute, lambda x: exact(x.astype(np.float64)), dtype),
    )
    if operation == "exp":
        yield Explanation(
            "Sleef's polynomial",
            "ln 2 in two parts and a polynomial of degree 5, in float32 with fused multiply-adds, as Sleef does",
            partial(_compute, exp_sleef, dtype),
        )
        yield Explanation(
            "oneDNN's polynomial",
            "ln 2 in one part and a polynomial of degree 5, in float32 with fused multiply-adds, as oneDNN does",
            partial(_compute, exp_onednn, dtype),
        )
    if operation == "gelu":
        yield Explanation(
            "Abramowitz and Stegun",
            "erf by formula 7.1.26 of Abramowitz and Stegun, a polynomial of degree 5 times an exponential, in float32"
            " with fused multiply-adds, as oneDNN 2.7 does",
            partial(_compute, gelu_abramowitz_stegun, dtype),
        )
        yield Explanation(
            "correctly rounded erf",
            "half of x times one plus erf, in float32, with erf rounded correctly",
            partial(_compute, gelu_aten, dtype),
        )


def _compute(function: Function, dtype: str, values: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return (to_format(function(values), dtype),)
