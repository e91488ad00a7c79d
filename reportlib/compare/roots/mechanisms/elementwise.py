"""Sums, differences, products and quotients of two tensors, or of a tensor and a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from reportlib.compare.roots.cases import Case, Tensor
from reportlib.compare.roots.mechanisms.arithmetic import Array, fma, to_format
from reportlib.compare.roots.mechanisms.problem import Explanation, Problem, only_output
from reportlib.floats import is_float

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
            lambda x, y, scale: operator(x, _rounded_product(to_format(y, dtype), scale, dtype)),
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


def _rounded_product(values: Array, scale: Any, dtype: str) -> Array:
    return values if scale == 1 else to_format(values * scale, dtype)


def _compute(
    formula: Callable[..., Array], dtype: str, number: float | None, alpha: float, left: Array, *others: Array
) -> tuple[Array, ...]:
    right = np.asarray(number, dtype=np.float64).astype(np.float32) if number is not None else others[0]
    with np.errstate(all="ignore"):
        return (to_format(np.asarray(formula(left, np.asarray(right), np.float32(alpha))), dtype),)
