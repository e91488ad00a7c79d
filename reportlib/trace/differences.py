"""Measure how two results of an operation differ, and how far each is from float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from reportlib.floats import FORMATS, ulp_distance
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
    # Blocks that stay in the cache: whole tensors of temporary values take most of the time to be made.
    for start in range(0, left.numel(), _BLOCK):
        x, y = left[start : start + _BLOCK], right[start : start + _BLOCK]
        unequal = x != y
        number = int(unequal.sum())
        if not number:
            continue
        count += number
        x, y = x[unequal], y[unequal]
        kind = torch.float64 if dtype == torch.complex128 else dtype
        values = [_doubles(side.view(kind)) for side in (x, y)]
        finite = torch.isfinite(values[0]) & torch.isfinite(values[1])
        distance = (values[0][finite] - values[1][finite]).abs()
        if not distance.numel():
            continue
        largest = max(largest, float(distance.max()))
        squares += float((distance * distance).sum())
        if ulps is not None:
            name = str(dtype).removeprefix("torch.")
            bits = [side[finite].numpy().view(FORMATS[name].bits) for side in (x, y)]
            ulps = max(ulps, int(ulp_distance(bits[0], bits[1], name).max()))
    return count, largest, squares, ulps


def _doubles(values: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(values).double() if values.is_complex() else values.double()


def _error(found: Tensors, exact: Tensors) -> Error:
    largest = squares = 0.0
    count = 0
    for tensor, right in zip(found, exact, strict=True):
        apart = tensor.detach().double() - right
        apart = apart[torch.isfinite(apart)].abs()
        if apart.numel():
            largest = max(largest, float(apart.max()))
            squares += float((apart * apart).sum())
        count += apart.numel()
    return Error(largest, float(np.sqrt(squares / max(count, 1))))
