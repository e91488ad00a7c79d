"""Measure how two results of an operation differ, and how far each is from float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from reportlib.floats import FORMATS
from reportlib.trace.results import Difference, Error, Truth
from reportlib.trace.values import Layout, carrier

Tensors = Sequence[torch.Tensor]
_BLOCK = 1 << 16


def difference(a: Tensors, b: Tensors) -> Difference:
    """Compare the outputs of an operation, byte by byte.

    Parameters
    ----------
    a, b : sequence of torch.Tensor
        What was returned and written. NaNs of equal bytes are equal, 0.0 and -0.0 are not.
    """
    elements = sum(tensor.numel() for tensor in a)
    if len(a) != len(b) or any(not _alike(x, y) for x, y in zip(a, b, strict=True)):
        return Difference(elements, elements, None, None, None)
    parts = [_pair(x, y) for x, y in zip(a, b, strict=True)]
    ulps = [part[3] for part in parts if part[3] is not None]
    return Difference(
        elements=elements,
        different=sum(part[0] for part in parts),
        max_abs=max((part[1] for part in parts), default=0.0),
        rms=float(np.sqrt(sum(part[2] for part in parts) / max(elements, 1))),
        max_ulp=max(ulps) if ulps else None,
    )


def same_place(a: Sequence[Layout], b: Tensors) -> bool:
    """Whether views lie in their memory alike: dtype, shape, strides and offset. The device plays no part."""
    return [replace(layout, device="") for layout in a] == [replace(Layout.of(tensor), device="") for tensor in b]


def displaced(a: Sequence[Layout], b: Tensors) -> Difference:
    """Compare views by where they lie; values play no part."""
    elements = sum(layout.elements for layout in a)
    return Difference(elements, 0 if same_place(a, b) else elements, 0.0, 0.0, None)


def truth(a: Tensors, b: Tensors, exact: Tensors) -> tuple[Truth | None, str | None]:
    """Return the errors of both results against the float64 one, over floating-point outputs.

    Returns
    -------
    Truth or None
        None when they cannot be compared.
    str or None
        Why they cannot.
    """
    places = [index for index, tensor in enumerate(exact) if tensor.is_floating_point()]
    if not len(a) == len(b) == len(exact) or any(not a[i].shape == b[i].shape == exact[i].shape for i in places):
        return None, "its outputs have other shapes in float64"
    if not difference([a[i] for i in places], [b[i] for i in places]).different:
        return None, "only integers differ, which float64 says nothing of"
    return Truth(*(_error([side[i] for i in places], [exact[i] for i in places]) for side in (a, b))), None


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape)


def _pair(a: torch.Tensor, b: torch.Tensor) -> tuple[int, float, float, int | None]:
    """Return the number of different elements, greatest distance, sum of squares, and greatest distance in ULP."""
    left, right = (carrier(side.detach().contiguous()).reshape(-1) for side in (a, b))
    dtype = a.dtype
    ulps = 0 if str(dtype).removeprefix("torch.") in FORMATS else None
    if torch.equal(left, right):
        return 0, 0.0, 0.0, ulps
    count, largest, squares = 0, 0.0, 0.0
    kind = torch.float64 if dtype == torch.complex128 else dtype
    # Blocks that stay in the cache: whole tensors of temporary values take most of the time to be made.
    for start in range(0, left.numel(), _BLOCK):
        x, y = left[start : start + _BLOCK], right[start : start + _BLOCK]
        unequal = x != y
        number = int(unequal.sum())
        if not number:
            continue
        count += number
        distance = _distance(x.view(kind), y.view(kind))
        top = float(distance.max())
        if not math.isfinite(top):
            x, y = x[unequal], y[unequal]
            finite = torch.isfinite(_doubles(x.view(kind))) & torch.isfinite(_doubles(y.view(kind)))
            if ulps is not None:
                x, y = x[finite], y[finite]
            distance = _distance(x.view(kind), y.view(kind)) if ulps is not None else distance[torch.isfinite(distance)]
            if not distance.numel():
                continue
            top = float(distance.max())
        largest = max(largest, top)
        squares += float(distance.mul_(distance).sum())
        if ulps is not None:
            ulps = max(ulps, int((_steps(x) - _steps(y)).abs_().max()))
    return count, largest, squares, ulps


def _distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _doubles(x).sub(_doubles(y)).abs_()


def _steps(carried: torch.Tensor) -> torch.Tensor:
    """Return how many representable numbers lie between zero and each number, given as its bits; negative below it."""
    wide = carried.to(torch.int64)
    negative = wide >> 63  # all ones, or none
    # Below zero the magnitude is what is left without the sign: lowest - wide, which is ~wide + lowest + 1.
    return wide.bitwise_xor_(negative).add_(negative.bitwise_and_(torch.iinfo(carried.dtype).min + 1))


def _doubles(values: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(values).double() if values.is_complex() else values.double()


def _error(found: Tensors, exact: Tensors) -> Error:
    largest = squares = 0.0
    count = 0
    for tensor, right in zip(found, exact, strict=True):
        apart = tensor.detach().double().sub_(right).abs_()
        if apart.numel() and not math.isfinite(float(apart.max())):
            apart = apart[torch.isfinite(apart)]
        if apart.numel():
            largest = max(largest, float(apart.max()))
            squares += float(apart.mul_(apart).sum())
        count += apart.numel()
    return Error(largest, float(np.sqrt(squares / max(count, 1))))
