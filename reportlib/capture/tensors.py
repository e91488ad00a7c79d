"""From torch to bytes: the only place where a torch tensor becomes numpy."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reportlib.store import Tensor


def to_numpy(tensor: torch.Tensor) -> tuple[npt.NDArray[Any], str]:
    """Return a tensor's values on the CPU, in C order, with its dtype's true name.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape, dtype, device and layout in memory.

    Returns
    -------
    array : numpy.ndarray
        Same shape; raw bits as ``uint16`` for ``bfloat16``, which numpy lacks.
    dtype : str
        torch's name of the dtype, without ``torch.``.
    """
    plain = tensor.detach().cpu().contiguous()
    dtype = str(plain.dtype).removeprefix("torch.")
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(np.uint16), dtype
    return plain.numpy(), dtype


def from_store(tensor: Tensor) -> torch.Tensor:
    """Return a stored tensor as a torch tensor that owns its memory."""
    array = np.array(tensor.array)  # a memory map is read-only, and torch warns of what it could not write to
    if tensor.dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return the sha256 of a tensor's bytes, as the manifest has it."""
    array, _ = to_numpy(tensor)
    return hashlib.sha256(array.data).hexdigest()
