"""Write cases: for each kind of operation that differs, the instance that reads the fewest bytes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from reportlib.capture.tensors import tensor_digest
from reportlib.trace.calling import NotReplayedError, call, call_in_float64, copies_of_written, find
from reportlib.trace.cases import INPUTS_FILE, LARGE, OUTPUTS_FILE, Case, CaseTensor
from reportlib.trace.differences import difference

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Instance:
    """One operation that differs, with its values.

    Attributes
    ----------
    case : Case
        What is called and where; its tensors are filled in when it is written.
    inputs, a, b : tuple of torch.Tensor
        What it read, with A's strides, and both results.
    exact : tuple of torch.Tensor or None
        The float64 result.
    """

    case: Case
    inputs: Tensors
    a: Tensors
    b: Tensors
    exact: Tensors | None

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs, expanded axes counted as they are read."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.inputs)


class Cases:
    """The cases of a replay folder, written as they are found.

    Parameters
    ----------
    folder : Path
        Gets a folder for each kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bytes: dict[str, int] = {}

    def offer(self, instance: Instance) -> None:
        """Keep an instance, if it is the first or smallest of its kind; of equals the first."""
        known = self._bytes.get(instance.case.id)
        if known is not None and known <= instance.nbytes:
            return
        write(instance, self.folder / instance.case.id)
        self._bytes[instance.case.id] = instance.nbytes
        small = self.folder / f"{instance.case.id}-small"
        shutil.rmtree(small, ignore_errors=True)
        if instance.nbytes > LARGE and (smaller := narrowed(instance)) is not None:
            write(smaller, small)


def write(instance: Instance, folder: Path) -> None:
    """Write a case's folder, over one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _save(folder / INPUTS_FILE, {"input": instance.inputs})
    _save(folder / OUTPUTS_FILE, {"a": instance.a, "b": instance.b, "truth": instance.exact or ()})
    sides = {"a": tuple(map(_plain, instance.a)), "b": tuple(map(_plain, instance.b))}
    inputs = tuple(_plain(tensor, tensor.stride()) for tensor in instance.inputs)
    replace(instance.case, folder=folder, inputs=inputs, outputs=sides).write()


def narrowed(instance: Instance) -> Instance | None:
    """Return an instance of less along the leading axes that inputs and outputs share, or None.

    A slice stands for the whole only where B's operation on it gives the slice of B's result, and A's and B's
    slices differ. Whether A's operation gives the slice of A's is for A to say.
    """
    found = instance
    for axis in range(min(tensor.dim() for tensor in instance.b) if instance.b else 0):
        found = _narrow_axis(found, axis) or found
    return None if found is instance else found


def _narrow_axis(instance: Instance, axis: int) -> Instance | None:
    outputs = (*instance.a, *instance.b)
    sizes = {tensor.shape[axis] for tensor in outputs}
    shapes = {tensor.shape[:axis] for tensor in outputs}
    if len(sizes) != 1 or len(shapes) != 1 or (size := sizes.pop()) < 2:
        return None
    first = _first_difference(instance, axis)
    length = 1
    while length < size:
        start = min(first, size - length)
        smaller = _slice(instance, axis, start, length)
        if smaller is not None:
            return smaller
        length *= 2
    return None


def _slice(instance: Instance, axis: int, start: int, length: int) -> Instance | None:
    size, rank = instance.b[0].shape[axis], instance.b[0].dim()

    def cut(tensor: torch.Tensor) -> torch.Tensor:
        return _compact(tensor.narrow(axis, start, length))

    inputs = tuple(
        cut(tensor) if tensor.dim() == rank and tensor.shape[axis] == size else tensor for tensor in instance.inputs
    )
    a, b = (tuple(map(cut, side)) for side in (instance.a, instance.b))
    if all(x is y for x, y in zip(inputs, instance.inputs, strict=True)) or not difference(a, b).different:
        return None
    func, arguments = find(instance.case.name, instance.case.overload), instance.case.arguments
    try:
        done = call(func, arguments, copies_of_written(func, arguments, inputs))
    except NotReplayedError:
        return None
    if difference(b, done.outputs).different:
        return None
    exact = None if instance.exact is None else call_in_float64(func, arguments, inputs)[0]
    return Instance(instance.case, inputs, a, b, exact)


def _first_difference(instance: Instance, axis: int) -> int:
    """Return where along an axis the first difference lies."""
    size = instance.b[0].shape[axis]
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        parts = [[t.narrow(axis, low, middle - low) for t in side] for side in (instance.a, instance.b)]
        low, high = (low, middle) if difference(*parts).different else (middle, high)
    return low


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy with the same order of strides and no gaps; an expanded axis stays one."""
    whole = tensor
    for axis, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[axis] > 1:
            whole = whole.narrow(axis, 0, 1)
    return whole.clone().expand(tensor.shape)


def _plain(tensor: torch.Tensor, strides: Sequence[int] | None = None) -> CaseTensor:
    plain = torch.empty(tensor.shape, device="meta").stride() if strides is None else strides
    dtype = str(tensor.dtype).removeprefix("torch.")
    return CaseTensor(dtype, tuple(tensor.shape), tuple(plain), tensor_digest(tensor))


def _save(file: Path, named: Mapping[str, Tensors]) -> None:
    content: dict[str, Any] = {}
    for name, tensors in named.items():
        for index, tensor in enumerate(tensors):
            content[f"{name}{index}"] = tensor.detach().cpu().contiguous().clone()
    save_file(content, file)
