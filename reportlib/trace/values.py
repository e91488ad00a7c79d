"""Tensors on their way between two processes: raw bytes, and the same layout in memory on arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from reportlib.trace.calling import NotReplayedError

_CARRIERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_UNITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
#: Memory is laid out anew from a multiple of so many elements: alignment can decide which code a kernel runs.
_ALIGNED = 64


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory.

    Attributes
    ----------
    dtype : str
        torch's name, without ``torch.``.
    shape, strides : tuple of int
        In elements.
    offset : int
        Of its first element in its storage.
    device : str
        ``cpu`` or ``cuda``.
    itemsize : int
        Bytes of an element.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    device: str
    itemsize: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Layout:
        """Describe a tensor."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        shape, strides = tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride()))
        return cls(dtype, shape, strides, int(tensor.storage_offset()), tensor.device.type, tensor.element_size())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Layout:
        """Read what `to_json` made."""
        return cls(**{**content, "shape": tuple(content["shape"]), "strides": tuple(content["strides"])})

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

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
