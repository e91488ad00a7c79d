"""Matrix products: what is accumulated in which format, in which order, and when a bias joins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from reportlib.compare.roots.mechanisms.arithmetic import (
    Float32,
    MultiplyAdd,
    fma,
    halves,
    left_to_right,
    multiply_then_add,
    to_format,
)
from reportlib.compare.roots.mechanisms.cases import Case, Explanation, Problem, only_output
from reportlib.floats import Array

#: Returns the product (r, m, n) of (r, m, k) and (r, k, n), starting from (r, m, n).
Accumulate = Callable[[Array, Array, Array], Array]
_FLOATS = ("float32", "bfloat16", "float16")
#: Sizes of the blocks of k that libraries sum on their own.
_BLOCKS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def products(case: Case) -> Problem | None:
    """Return the ways to compute ``mm``, ``bmm``, ``addmm``, ``baddbmm``, ``linear`` and ``matmul``."""
    outputs, operands = only_output(case), _operands(case)
    if outputs is None or operands is None or outputs[0].dtype not in _FLOATS:
        return None
    dtype = outputs[0].dtype
    left, right, bias = operands
    shape = outputs[0].values.shape
    whole = (-1, shape[-2], shape[-1]) if left.ndim == 3 else (shape[0], 1, shape[-1])
    a, b = ((tensor.values.reshape(whole),) for tensor in outputs)
    if left.ndim == 3:
        rows: tuple[Array, ...] = (left, right)
        shared = None
    else:
        rows, shared = (left[:, None, :],), right[None]
    if bias is not None:
        rows += (np.broadcast_to(bias, shape).reshape(whole),)
    found = tuple(_explanations(dtype, shared, bias is not None, left.shape[-1]))
    return Problem(rows, a, b, found)


def _operands(case: Case) -> tuple[Array, Array, Array | None] | None:
    """Return the two factors, (r, m, k) and (r, k, n) or (m, k) and (k, n), and the bias."""
    if case.value("alpha", 1) != 1 or case.value("beta", 1) != 1:
        return None
    names = {
        "mm": ("self", "mat2", None),
        "bmm": ("self", "mat2", None),
        "matmul": ("self", "other", None),
        "addmm": ("mat1", "mat2", "self"),
        "baddbmm": ("batch1", "batch2", "self"),
        "linear": ("input", "weight", "bias"),
    }.get(case.operation)
    if names is None:
        return None
    left, right, bias = (case.tensor(name) if name else None for name in names)
    if left is None or right is None or left.dtype != right.dtype or left.dtype not in _FLOATS:
        return None
    first, second = left.values, right.values
    if case.operation == "linear":
        first, second = first.reshape(-1, first.shape[-1]), second.T
    if first.ndim != second.ndim or first.ndim not in (2, 3) or first.shape[-1] == 0:
        return None
    return first, second, bias.values if bias is not None else None


def _explanations(dtype: str, shared: Array | None, has_bias: bool, k: int) -> Iterator[Explanation]:
    narrow = dtype in ("bfloat16", "float16")
    joins = ("before rounding", "first", "after rounding") if has_bias else ("",)
    for name, description, accumulate in _orders(dtype, k):
        for join in joins:
            if join == "after rounding" and not narrow:
                continue
            words = {
                "": "",
                "before rounding": ", the bias added to the sum",
                "first": ", beginning with the bias",
                "after rounding": f", rounded to {dtype}, then the bias added and rounded again",
            }[join]
            yield Explanation(
                name + (f", bias {join}" if join else ""),
                description + words + (f", rounded to {dtype}" if narrow else ""),
                partial(_compute, accumulate, join, dtype, shared),
            )


def _orders(dtype: str, k: int) -> Iterator[tuple[str, str, Accumulate]]:
    """Yield name, description and function of each way to accumulate, the likeliest first."""
    narrow = dtype in ("bfloat16", "float16")
    # A product of two bfloat16 or float16 numbers is exact in float32, so fused or not is the same.
    step = multiply_then_add if narrow else fma
    if narrow:
        yield "float32, one after another", "a float32 sum over k, one after another", partial(_steps, step)
        for round_product, word in ((True, ""), (False, " sums")):
            products_too = "each product and " if round_product else ""
            yield (
                f"{dtype}{word}, one after another",
                f"{products_too}each partial sum over k rounded to {dtype}, one after another",
                partial(_steps, partial(_narrow_step, dtype, round_product)),
            )
        yield "float32, pairs of k", "a float32 sum over k, the second of each pair first", partial(_pairs, step)
    else:
        yield "fused, one after another", "fused multiply-adds over k, one after another", partial(_steps, step)
        yield (
            "not fused, one after another",
            "products rounded, then added over k one after another",
            partial(_steps, multiply_then_add),
        )
    sums = "float32 sums" if narrow else "fused multiply-adds"
    for size in (size for size in _BLOCKS if size < k):
        yield (
            f"blocks of {size}",
            f"{sums} over blocks of {size} of k, the blocks' sums added one after another",
            partial(_blocks, size, partial(_steps, step)),
        )
        if narrow:
            yield (
                f"blocks of {size}, pairs of k",
                f"{sums} over blocks of {size} of k, in each the second of every pair first, the blocks' sums added",
                partial(_blocks, size, partial(_pairs, step)),
            )
    for lanes, (word, fold) in itertools.product(
        (2, 4, 8, 16, 32), (("as a tree", halves), ("in turn", left_to_right))
    ):
        if lanes <= k:
            yield (
                f"{lanes} lanes over k, added {word}",
                f"{sums} in {lanes} lanes over k, the lanes added {word}",
                partial(_lanes, lanes, fold, step),
            )
    yield "float64, rounded once", "a float64 sum", _float64


def _compute(
    accumulate: Accumulate, join: str, dtype: str, shared: Array | None, left: Array, *others: Array
) -> tuple[Array, ...]:
    right = others[0] if shared is None else shared
    bias = others[-1] if join else None
    start = np.zeros((*left.shape[:2], right.shape[-1]), dtype=np.float32)
    with np.errstate(all="ignore"):
        if join == "first" and bias is not None:
            start = start + bias
        total = accumulate(left, right, start)
        if bias is not None and join != "first":
            total = (to_format(total, dtype) if join == "after rounding" else total) + bias
        return (to_format(np.asarray(total), dtype),)


def _float64(left: Array, right: Array, start: Array) -> Array:
    return np.asarray(left.astype(np.float64) @ right.astype(np.float64) + start)


def _steps(step: MultiplyAdd, left: Array, right: Array, start: Array) -> Array:
    total = start
    for index in range(left.shape[-1]):
        total = step(left[:, :, index, None], right[:, None, index, :], total)
    return total


def _narrow_step(dtype: str, round_product: bool, a: Array, b: Array, c: Array) -> Float32:
    product = a * b
    return to_format((to_format(product, dtype) if round_product else product) + c, dtype)


def _pairs(step: MultiplyAdd, left: Array, right: Array, start: Array) -> Array:
    """Sum as AVX-512's ``vdpbf16ps`` may: the odd one of each pair of k before the even one."""
    total = start
    for index in range(0, left.shape[-1], 2):
        for at in (index + 1, index):
            if at < left.shape[-1]:
                total = step(left[:, :, at, None], right[:, None, at, :], total)
    return total


def _blocks(size: int, inner: Accumulate, left: Array, right: Array, start: Array) -> Array:
    total = start
    for begin in range(0, left.shape[-1], size):
        end = begin + size
        total = total + inner(left[:, :, begin:end], right[:, begin:end], np.zeros_like(start))
    return total


def _lanes(
    lanes: int, fold: Callable[[Array], Array], step: MultiplyAdd, left: Array, right: Array, start: Array
) -> Array:
    rows, m, k = left.shape
    n = right.shape[-1]
    sums = np.zeros((lanes, rows, m, n), dtype=np.float32)
    whole = k - k % lanes
    for begin in range(0, whole, lanes):
        a = np.moveaxis(left[:, :, begin : begin + lanes], 2, 0)[..., None]
        b = np.moveaxis(right[:, begin : begin + lanes], 1, 0)[:, :, None, :]
        sums = step(a, b, sums)
    total = fold(sums.reshape(lanes, -1).T).reshape(rows, m, n)
    return start + _steps(step, left[:, :, whole:], right[:, whole:], total)
