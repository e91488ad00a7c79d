"""Run a case again: one operation with the inputs that it had, from a folder that the verb ``replay`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from reportlib.capture.tensors import tensor_digest
from reportlib.errors import StoreError
from reportlib.trace.calling import call, find

CASE, INPUTS = "case.json", "inputs.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What an operation gave.

    Attributes
    ----------
    outputs : tuple of mapping
        ``dtype``, ``shape`` and ``sha256`` of each tensor: those returned, then those written to and not returned.
    result : JSON value
        What it returned, tensors as ``{"tensor": index into outputs}``.
    written : tuple of int
        The inputs that are the last of `outputs`, in their order.
    """

    outputs: tuple[Mapping[str, Any], ...]
    result: Any
    written: tuple[int, ...]


def read_case(folder: Path, device: str) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Return a case's description and its inputs, as they lay in memory.

    Raises
    ------
    StoreError
        When the folder is damaged, or an input does not have the bytes that its description names.
    """
    try:
        case = json.loads((folder / CASE).read_text(encoding="utf-8"))
        stored = load_file(folder / INPUTS)
        inputs = []
        for index, record in enumerate(case["inputs"]):
            tensor = stored[f"input{index}"]
            if tensor_digest(tensor) != record["sha256"]:
                raise StoreError(f"input {index} of {folder} is not the one that {CASE} names", "replay again")
            inputs.append(strided(tensor, record["strides"], device))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} holds no case that can be read: {error}", "replay again") from error
    return case, inputs


def strided(tensor: torch.Tensor, strides: Sequence[int], device: str = "cpu") -> torch.Tensor:
    """Return the values of `tensor` in new memory of `device`, with the given strides in elements.

    The memory is torch's own, because that of a file need not be aligned, and kernels of BLAS can depend on it.
    """
    whole = [1 if stride == 0 else size for size, stride in zip(tensor.shape, strides, strict=True)]
    kept = tensor[tuple(slice(0, size) for size in whole)] if whole else tensor
    memory = torch.empty_strided(whole, list(strides), dtype=tensor.dtype, device=device)
    return memory.copy_(kept).expand(tensor.shape)


def run_case(case: Mapping[str, Any], inputs: Sequence[torch.Tensor]) -> Outcome:
    """Run a case's operation on `inputs`, which an operation in place changes.

    Raises
    ------
    NotReplayedError
        When this torch has no such operation, or it fails.
    """
    done = call(find(case["name"], case["overload"]), case["arguments"], inputs)
    returned = _tensors(done.result)
    place = {id(tensor): index for index, tensor in enumerate(inputs)}
    return Outcome(
        outputs=tuple(map(_describe, done.outputs)),
        result=done.result,
        written=tuple(place[id(tensor)] for tensor in done.outputs[returned:]),
    )


def _tensors(result: Any) -> int:
    """Return how many tensors a result names."""
    if isinstance(result, list):
        return sum(map(_tensors, result))
    return int(isinstance(result, dict) and "tensor" in result)


def _describe(tensor: torch.Tensor) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(tensor.shape), "sha256": tensor_digest(tensor)}
