"""One operation with its values: written as a case where two versions differ, read, and run again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from reportlib.capture.tensors import tensor_digest
from reportlib.errors import StoreError
from reportlib.trace.cases import CASE_FILE, INPUTS_FILE, LARGE, OUTPUTS_FILE, Case, CaseTensor
from reportlib.trace.operations import NotReplayedError, call, call_in_float64, copies_of_written, find, form
from reportlib.trace.tensors import difference

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
    dtype, shape, _ = form(tensor)
    plain = torch.empty(tensor.shape, device="meta").stride() if strides is None else strides
    return CaseTensor(dtype, shape, tuple(plain), tensor_digest(tensor))


def _save(file: Path, named: Mapping[str, Tensors]) -> None:
    content: dict[str, Any] = {}
    for name, tensors in named.items():
        for index, tensor in enumerate(tensors):
            content[f"{name}{index}"] = tensor.detach().cpu().contiguous().clone()
    save_file(content, file)


def read_inputs(case: Case, device: str) -> list[torch.Tensor]:
    """Return a case's inputs, as they lay in memory.

    Raises
    ------
    StoreError
        When they cannot be read, or one does not have the bytes that the case names.
    """
    try:
        stored = load_file(case.folder / INPUTS_FILE)
        tensors = [stored[f"input{index}"] for index in range(len(case.inputs))]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise StoreError(f"{case.folder} holds no inputs that can be read: {error}", "replay again") from error
    for index, (tensor, known) in enumerate(zip(tensors, case.inputs, strict=True)):
        if tensor_digest(tensor) != known.sha256:
            raise StoreError(f"input {index} of {case.folder} is not the one that {CASE_FILE} names", "replay again")
    return [strided(tensor, known.strides, device) for tensor, known in zip(tensors, case.inputs, strict=True)]


def strided(tensor: torch.Tensor, strides: Sequence[int], device: str = "cpu") -> torch.Tensor:
    """Return the values of `tensor` in new memory of `device`, with the given strides in elements.

    The memory is torch's own, because that of a file need not be aligned, and kernels of BLAS can depend on it.
    """
    whole = [1 if stride == 0 else size for size, stride in zip(tensor.shape, strides, strict=True)]
    kept = tensor[tuple(slice(0, size) for size in whole)] if whole else tensor
    memory = torch.empty_strided(whole, list(strides), dtype=tensor.dtype, device=device)
    return memory.copy_(kept).expand(tensor.shape)


def run_case(case: Case, inputs: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Run a case's operation on `inputs`, which an operation in place changes.

    Returns
    -------
    dict
        ``outputs``: ``dtype``, ``shape`` and ``sha256`` of each tensor, those returned, then those written to and not
        returned. ``result``: what it returned, tensors as ``{"tensor": index into outputs}``. ``written``: the inputs
        that are the last of the outputs, in their order.

    Raises
    ------
    NotReplayedError
        When this torch has no such operation, or it fails.
    """
    done = call(find(case.name, case.overload), case.arguments, inputs)
    place = {id(tensor): index for index, tensor in enumerate(inputs)}
    outputs = []
    for tensor in done.outputs:
        dtype, shape, _ = form(tensor)
        outputs.append({"dtype": dtype, "shape": list(shape), "sha256": tensor_digest(tensor)})
    written = [place[id(tensor)] for tensor in done.outputs[_count(done.result) :]]
    return {"outputs": outputs, "result": done.result, "written": written}


def _count(result: Any) -> int:
    """Return how many tensors a result names."""
    if isinstance(result, list):
        return sum(map(_count, result))
    return int(isinstance(result, dict) and "tensor" in result)
