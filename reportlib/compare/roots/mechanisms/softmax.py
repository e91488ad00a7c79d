"""``softmax``, and sums and means along an axis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from reportlib.compare.roots.cases import Case
from reportlib.compare.roots.mechanisms.arithmetic import Sum, cascade, exact, in_register, one_after_another
from reportlib.compare.roots.mechanisms.elementwise import exp_onednn, exp_sleef
from reportlib.compare.roots.mechanisms.problem import Explanation, Problem, last_axis_rows, only_output
from reportlib.floats import Array


def _exp_rounded(values: Array) -> Array:
    return np.exp(values.astype(np.float64)).astype(np.float32)


_EXPONENTIALS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("Sleef's exponential", exp_sleef),
    ("a correctly rounded exponential", _exp_rounded),
    ("oneDNN's exponential", exp_onednn),
)


def _orders() -> Iterator[tuple[str, str, Sum]]:
    for width in (8, 16, 4, 32):
        yield f"{width} lanes", f"added in {width} lanes, these as a tree", partial(in_register, width=width)
    yield "one after another", "added one after another", one_after_another
    yield "float64", "added in float64 and rounded", exact


def softmax(case: Case) -> Problem | None:
    """Return the ways to compute ``_softmax``, ``softmax``, ``_log_softmax`` and ``log_softmax`` of float32."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in ("_softmax", "softmax", "_log_softmax", "log_softmax"):
        return None
    if {given.dtype, outputs[0].dtype} != {"float32"} or given.values.ndim == 0:
        return None
    axis = int(case.value("dim", -1))
    a, b = ((last_axis_rows(tensor.values, axis),) for tensor in outputs)
    ways = _log_softmaxes() if "log" in case.operation else _softmaxes()
    return Problem((last_axis_rows(given.values, axis),), a, b, tuple(ways))


def _softmaxes() -> Iterator[Explanation]:
    for (exp_name, exponential), (name, words, total), reciprocal in itertools.product(
        _EXPONENTIALS, tuple(_orders()), (True, False)
    ):
        last = "times the sum's reciprocal" if reciprocal else "divided by the sum"
        yield Explanation(
            f"{exp_name}, {name}, {last}",
            f"{exp_name} of what is left after subtracting the row's maximum, {words}, {last}, all in float32",
            partial(_softmax, exponential, total, reciprocal),
        )


def _softmax(exponential: Callable[[Array], Array], total: Sum, reciprocal: bool, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        powers = exponential(rows - rows.max(axis=1, keepdims=True))
        sums = total(powers)[:, None]
        return ((powers * (np.float32(1) / sums) if reciprocal else powers / sums).astype(np.float32),)


def _log_softmaxes() -> Iterator[Explanation]:
    for (exp_name, exponential), (name, words, total) in itertools.product(_EXPONENTIALS, tuple(_orders())):
        yield Explanation(
            f"{exp_name}, {name}, a correctly rounded logarithm",
            f"{exp_name} of what is left after subtracting the row's maximum, {words}; then the maximum and the sum's"
            " correctly rounded logarithm subtracted, in float32",
            partial(_log_softmax, exponential, total),
        )


def _log_softmax(exponential: Callable[[Array], Array], total: Sum, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        left = rows - rows.max(axis=1, keepdims=True)
        logarithm = np.log(total(exponential(left)).astype(np.float64)).astype(np.float32)
        return (left - logarithm[:, None],)


def sums(case: Case) -> Problem | None:
    """Return the ways to compute ``sum`` and ``mean`` of float32 along one axis, or of everything."""
    outputs, given = only_output(case), case.tensor("self")
    if outputs is None or given is None or case.operation not in ("sum", "mean"):
        return None
    axes = case.value("dim", [])
    axes = [axes] if isinstance(axes, int) else (axes or [])
    if {given.dtype, outputs[0].dtype} != {"float32"} or len(axes) > 1 or given.values.size == 0:
        return None
    rows = last_axis_rows(given.values, axes[0]) if axes else given.values.reshape(1, -1)
    a, b = ((tensor.values.reshape(-1),) for tensor in outputs)
    return Problem((rows,), a, b, tuple(_sums(case.operation == "mean")))


def _sums(mean: bool) -> Iterator[Explanation]:
    ways: list[tuple[str, str, Sum]] = []
    for width, unrolled in itertools.product((8, 16, 4, 1), (4, 1)):
        lanes = f"{width} lanes, {unrolled} streams" if width > 1 else f"{unrolled} streams"
        ways.append(
            (
                f"cascade in {lanes}",
                f"the cascade sum of ATen (four levels) in {lanes}",
                partial(cascade, width=width, unrolled=unrolled),
            )
        )
    ways += [(name, f"the numbers {words}", total) for name, words, total in _orders()]
    for name, words, total in ways:
        yield Explanation(name, words + (", divided by their number" if mean else ""), partial(_sum, total, mean))


def _sum(total: Sum, mean: bool, rows: Array) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        found = total(rows)
        return ((found / np.float32(rows.shape[1]) if mean else found).astype(np.float32),)
