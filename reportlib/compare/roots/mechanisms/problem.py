"""What a family of explanations gets and gives: an operation cut into rows, and functions that try to return them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reportlib.compare.roots.cases import Case, Tensor
from reportlib.floats import Array

#: Gets the inputs' rows; returns an array for each output, or None where it does not apply to them.
Compute = Callable[..., tuple[Array, ...] | None]


@dataclass(frozen=True)
class Explanation:
    """One way in which an operation may have been computed.

    Attributes
    ----------
    name : str
        Short: ``16 lanes, times the reciprocal``.
    description : str
        The whole of it, as a phrase that can follow "computed as".
    compute : callable
        Does it.
    """

    name: str
    description: str
    compute: Compute


@dataclass(frozen=True)
class Problem:
    """An operation as rows that can be computed on their own, and the ways to try.

    Attributes
    ----------
    rows : tuple of numpy.ndarray
        The inputs, cut along their first axis, which all share.
    a, b : tuple of numpy.ndarray
        The outputs, cut in the same way; bfloat16 and float16 as float32.
    explanations : tuple of Explanation
        The plainest first.
    """

    rows: tuple[Array, ...]
    a: tuple[Array, ...]
    b: tuple[Array, ...]
    explanations: tuple[Explanation, ...]


def only_output(case: Case) -> tuple[Tensor, Tensor] | None:
    """Return A's and B's output where each has one, of one dtype and shape."""
    if len(case.a) != 1 or len(case.b) != 1:
        return None
    left, right = case.a[0], case.b[0]
    same = left.dtype == right.dtype and left.values.shape == right.values.shape
    return (left, right) if same else None


def last_axis_rows(values: Array, axis: int) -> Array:
    """Return `values` as (rows, n), with `axis` along the rows."""
    moved = np.moveaxis(values, axis, -1)
    return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))
