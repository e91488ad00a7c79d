"""Tensors on their way between two processes, and how two results of an operation differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

from reportlib.floats import FORMATS
from reportlib.trace.format import Difference, Error, TensorForm, Truth
from reportlib.trace.operations import NotReplayedError, tensor_form

_CARRIERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_UNITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
#: Memory is laid out anew from a multiple of so many elements: alignment can decide which code a kernel runs.
_ALIGNED = 64


@dataclass(frozen=True)
class Layout(TensorForm):
    """How a tensor lies in memory.

    Attributes
    ----------
    offset : int
        Of its first element in its storage.
    device : str
        ``cpu`` or ``cuda``.
    itemsize : int
        Bytes of an element.
    """

    offset: int
    device: str
    itemsize: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Layout:
        """Describe a tensor."""
        return cls(*tensor_form(tensor), int(tensor.storage_offset()), tensor.device.type, tensor.element_size())

    @property
    def core(self) -> tuple[int, ...]:
        """The shape without repetition: an expanded axis lies in memory once."""
        pairs = zip(self.shape, self.strides, strict=True)
        return tuple(1 if step == 0 and size else size for size, step in pairs)

    @property
    def nbytes(self) -> int:
        """Bytes of the core."""
        return prod(self.core) * self.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and step != expected:
                return False
            expected *= size
        return True

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's bytes in memory are all that it is."""
    return tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type != "meta"


def carrier(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's bits as integers of the same width, on the CPU and contiguous, without its expanded axes.

    Complex numbers of 16 bytes become pairs of floats.
    """
    plain = tensor.detach().resolve_conj().resolve_neg()
    for axis, (size, step) in enumerate(zip(plain.shape, plain.stride(), strict=True)):
        if step == 0 and size > 1:
            plain = plain.narrow(axis, 0, 1)
    plain = plain.cpu().contiguous()
    if plain.dtype == torch.complex128:
        return torch.view_as_real(plain).view(torch.int64)
    return plain.view(_CARRIERS[plain.element_size()])


def to_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of `carrier`."""
    return memoryview(carrier(tensor).numpy().reshape(-1).view(np.uint8))


def from_bytes(layout: Layout, data: memoryview) -> torch.Tensor:
    """Return a tensor with the values, strides and alignment that it had on the other side.

    Raises
    ------
    NotReplayedError
        When this torch lacks the dtype or the device.
    """
    dtype = dtype_of(layout)
    if layout.device == "cuda" and not torch.cuda.is_available():
        raise NotReplayedError("it ran on a GPU, and there is none here")
    lead = layout.offset % _ALIGNED
    reached = [(size - 1) * step for size, step in zip(layout.shape, layout.strides, strict=True)]
    extent = 0 if 0 in layout.shape else 1 + sum(reached)
    block = torch.zeros((lead + extent) * layout.itemsize, dtype=torch.uint8)
    if extent and layout.nbytes == extent * layout.itemsize and layout.is_contiguous:
        block.numpy()[lead * layout.itemsize :] = np.frombuffer(data, np.uint8)
    elif extent:
        # numpy writes where elements overlap in memory, which torch refuses; all that overlap are equal.
        unit = np.dtype(_UNITS[layout.itemsize])
        room = block.numpy().view(unit)[lead:]
        steps = [step * layout.itemsize for step in layout.strides]
        target = np.lib.stride_tricks.as_strided(room, layout.core, steps)
        target[...] = np.frombuffer(data, unit).reshape(layout.core)
    whole = block.view(dtype).to(layout.device)
    return whole.as_strided(layout.shape, layout.strides, lead)


def without_values(layout: Layout) -> torch.Tensor:
    """Return a tensor of a layout whose values mean nothing: enough for a view.

    Raises
    ------
    NotReplayedError
        When this torch lacks the dtype.
    """
    pairs = zip(layout.shape, layout.strides, strict=True)
    extent = 0 if 0 in layout.shape else 1 + sum((size - 1) * step for size, step in pairs)
    block = torch.empty(layout.offset + extent, dtype=dtype_of(layout))
    return block.as_strided(layout.shape, layout.strides, layout.offset)


def dtype_of(layout: Layout) -> torch.dtype:
    """Return torch's dtype.

    Raises
    ------
    NotReplayedError
        When this torch has none of that name.
    """
    dtype = getattr(torch, layout.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise NotReplayedError(f"torch {torch.__version__} has no dtype {layout.dtype}")
    return dtype


Tensors = Sequence[torch.Tensor]
_BLOCK = 1 << 16


def difference(a: Tensors, b: Tensors) -> Difference:
    """Compare the outputs of an operation, byte by byte."""
    elements = sum(tensor.numel() for tensor in a)
    if len(a) != len(b) or any(x.dtype != y.dtype or x.shape != y.shape for x, y in zip(a, b, strict=True)):
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


def view_difference(a: Sequence[Layout], b: Tensors) -> Difference:
    """Compare views by where they lie in memory: dtype, shape, strides and offset. Values and device play no part."""
    elements = sum(layout.elements for layout in a)
    alike = [replace(x, device="") for x in a] == [replace(Layout.of(tensor), device="") for tensor in b]
    return Difference(elements, 0 if alike else elements, 0.0, 0.0, None)


def float64_errors(a: Tensors, b: Tensors, exact: Tensors) -> tuple[Truth | None, str | None]:
    """Return the errors of both results against the float64 one, over floating-point outputs."""
    places = [index for index, tensor in enumerate(exact) if tensor.is_floating_point()]
    if not len(a) == len(b) == len(exact) or any(not a[i].shape == b[i].shape == exact[i].shape for i in places):
        return None, "its outputs have other shapes in float64"
    if not difference([a[i] for i in places], [b[i] for i in places]).different:
        return None, "only integers differ, which float64 says nothing of"
    return Truth(*(_error([side[i] for i in places], [exact[i] for i in places]) for side in (a, b))), None


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
