"""Element by element: sums, differences, products and quotients of two tensors, and functions of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from reportlib.compare.roots.mechanisms.arithmetic import Float32, fma, power_of_two, to_format
from reportlib.compare.roots.mechanisms.cases import Case, Explanation, Problem, Tensor, only_output
from reportlib.floats import Array, is_float

_OPERATORS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "add": ("sum", np.add),
    "sub": ("difference", np.subtract),
    "mul": ("product", np.multiply),
    "div": ("quotient", np.divide),
}
_NARROW = ("bfloat16", "float16")


def elementwise(case: Case) -> Problem | None:
    """Return the ways to compute ``aten::add``, ``sub``, ``mul`` and ``div`` on floating tensors."""
    outputs, left = only_output(case), case.tensor("self")
    right = case.tensor("other")
    if outputs is None or left is None or case.operation not in _OPERATORS or case.value("rounding_mode"):
        return None
    dtype, shape = outputs[0].dtype, outputs[0].values.shape
    if not is_float(dtype) or dtype == "float64":
        return None
    number = _number(case, right)
    alpha = case.value("alpha", 1)
    if number is None and (right is None or not is_float(right.dtype)):
        return None
    rows = [np.broadcast_to(left.values, shape).reshape(-1)]
    if number is None and right is not None:
        rows.append(np.broadcast_to(right.values, shape).reshape(-1))
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem(tuple(rows), a, b, tuple(_explanations(case.operation, dtype, number, float(alpha))))


def _number(case: Case, right: Tensor | None) -> float | None:
    """Return the second operand where it is one number, exactly."""
    if right is None:
        given = case.value("other")
        return None if given is None or isinstance(given, (dict, list)) else float(given)
    return float(right.values.reshape(-1)[0]) if right.values.ndim == 0 else None


def _explanations(operation: str, dtype: str, number: float | None, alpha: float) -> Iterator[Explanation]:
    noun, operator = _OPERATORS[operation]
    second = "the number" if number is not None else "the second operand"
    factor = "" if alpha == 1 else f", after {second} was multiplied by alpha"

    def explanation(name: str, description: str, compute: Callable[..., Array]) -> Explanation:
        return Explanation(name, description, partial(_compute, compute, dtype, number, alpha))

    yield explanation(
        "float32, rounded once",
        f"the {noun} in float32, with {second} in float32{factor}, rounded once to {dtype}",
        lambda x, y, scale: operator(x, y if scale == 1 else y * scale),
    )
    if dtype in _NARROW:
        yield explanation(
            f"{second} rounded to {dtype} first",
            f"{second} rounded to {dtype}{factor}, then the {noun} in float32, rounded to {dtype}",
            lambda x, y, scale: operator(x, to_format(to_format(y, dtype) * scale, dtype)),
        )
    if operation == "div":
        yield explanation(
            "times the reciprocal",
            f"the product with the reciprocal of {second}, taken in float32, rounded to {dtype}",
            lambda x, y, _scale: x * (np.float32(1) / y),
        )
        if dtype in _NARROW:
            yield explanation(
                f"times the reciprocal of {second} rounded to {dtype}",
                f"{second} rounded to {dtype}, its reciprocal in float32, then the product, rounded to {dtype}",
                lambda x, y, _scale: x * (np.float32(1) / to_format(y, dtype)),
            )
    if operation in ("add", "sub") and alpha != 1:
        sign = np.float32(1 if operation == "add" else -1)
        yield explanation(
            "alpha in a fused multiply-add",
            f"a fused multiply-add of {second}, alpha and the first operand in float32, rounded to {dtype}",
            lambda x, y, scale: fma(y, sign * scale, x),
        )
    yield explanation(
        "float64, rounded once",
        f"the {noun} in float64, rounded once to {dtype}",
        lambda x, y, scale: operator(x.astype(np.float64), y.astype(np.float64) * np.float64(scale)),
    )


def _compute(
    formula: Callable[..., Array], dtype: str, number: float | None, alpha: float, left: Array, *others: Array
) -> tuple[Array, ...]:
    right = np.asarray(number, dtype=np.float64).astype(np.float32) if number is not None else others[0]
    with np.errstate(all="ignore"):
        return (to_format(np.asarray(formula(left, np.asarray(right), np.float32(alpha))), dtype),)


# Functions of one tensor: exponentials and what is made of them, ``exp``, ``erf``, ``tanh``, ``gelu`` and their like.


Function = Callable[[Array], Array]


def erf64(values: Array) -> Array:
    """Return the error function in float64."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(values), dtype=np.float64)


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
    found = tuple(_ways(case.operation, dtype))
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem((given.values.reshape(-1),), a, b, found)


def _ways(operation: str, dtype: str) -> Iterator[Explanation]:
    exact = _FLOAT64[operation]
    yield Explanation(
        "correctly rounded",
        f"the float64 result, rounded once to {dtype}",
        partial(_applied, lambda x: exact(x.astype(np.float64)), dtype),
    )
    if operation == "exp":
        yield Explanation(
            "Sleef's polynomial",
            "ln 2 in two parts and a polynomial of degree 5, in float32 with fused multiply-adds, as Sleef does",
            partial(_applied, exp_sleef, dtype),
        )
        yield Explanation(
            "oneDNN's polynomial",
            "ln 2 in one part and a polynomial of degree 5, in float32 with fused multiply-adds, as oneDNN does",
            partial(_applied, exp_onednn, dtype),
        )
    if operation == "gelu":
        yield Explanation(
            "Abramowitz and Stegun",
            "erf by formula 7.1.26 of Abramowitz and Stegun, a polynomial of degree 5 times an exponential, in float32"
            " with fused multiply-adds, as oneDNN 2.7 does",
            partial(_applied, gelu_abramowitz_stegun, dtype),
        )
        yield Explanation(
            "correctly rounded erf",
            "half of x times one plus erf, in float32, with erf rounded correctly",
            partial(_applied, gelu_aten, dtype),
        )


def _applied(function: Function, dtype: str, values: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return (to_format(function(values), dtype),)
