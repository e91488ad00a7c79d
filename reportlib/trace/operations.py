"""From a call that torch dispatches to an `Operation`: canonical arguments, hashes, and the memory behind tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from blake3 import blake3
from torch.multiprocessing.reductions import StorageWeakRef

from reportlib.capture.tensors import to_numpy
from reportlib.errors import CaptureError
from reportlib.trace.format import TensorRecord

#: Operations that hand out memory as it is found: its bytes say nothing about the operation.
UNWRITTEN = frozenset(
    f"aten::{name}" for name in ("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty",
                                 "new_empty_strided")
)  # fmt: skip
_TORCH_VALUES = (
    (torch.dtype, "dtype"),
    (torch.device, "device"),
    (torch.layout, "layout"),
    (torch.memory_format, "memory_format"),
)


@dataclass
class Memory:
    """What is known of the memory behind tensors.

    Attributes
    ----------
    reference : StorageWeakRef
        Does not keep the memory, only the address of the storage's own record: without it a new storage could take the
        address of a freed one, and data would seem to flow between them.
    number : int
        Given to no other memory in a pass; -1 in a pass that has not met it.
    unwritten : bool
        Whether no operation has written to it yet.
    digests : dict
        What was hashed since it was written to last, by `_extent`.
    writes : int
        The greatest count of writes that a tensor in it had.
    """

    reference: StorageWeakRef
    number: int = -1
    unwritten: bool = False
    digests: dict[tuple[int, ...], str] = field(default_factory=dict)
    writes: int = 0

    def digest(self, tensor: torch.Tensor) -> str:
        """Hash a tensor in this memory, unless the same elements were hashed since they were written."""
        # In inference mode nothing is counted, and a view made below autograd counts for itself alone.
        if not tensor.is_inference() and tensor._version > self.writes:
            self.writes = tensor._version
            self.digests.clear()
        extent = _extent(tensor)
        if extent not in self.digests:
            self.digests[extent] = tensor_digest(tensor)
        return self.digests[extent]

    def write(self) -> None:
        """Forget what was hashed: an operation wrote to it."""
        self.unwritten = False
        self.digests.clear()


def _extent(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return which bytes of its memory a tensor is, in which order.

    Axes that lie in memory as one are one, so that a tensor and a view of all of it in another shape are the same.
    """
    axes: list[int] = []  # size and step of each, the last one first
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if axes and step == axes[-2] * axes[-1]:
            axes[-2] *= size
        elif size != 1:
            axes += [size, step]
    return tensor.storage_offset(), tensor.element_size(), int(tensor.is_conj()), int(tensor.is_neg()), *axes


class Storages:
    """The memory behind tensors, for as long as it lives."""

    def __init__(self) -> None:
        self._known: dict[int, Memory] = {}
        self._next = 0

    def of(self, tensor: torch.Tensor) -> Memory:
        """Return what is known of the memory behind a tensor."""
        # torch 1.13 has no untyped_storage().
        storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
        reference = StorageWeakRef(storage)
        known = self._known.get(reference.cdata)
        if known is None:
            # References to freed storages are dropped at once: the small records they keep would lie between large
            # blocks of the heap, which then grows from layer to layer.
            self._known = {a: memory for a, memory in self._known.items() if not memory.reference.expired()}
            self._known[reference.cdata] = known = Memory(reference)
        if known.number < 0:
            known.number = self._next
            self._next += 1
        return known

    def renumber(self) -> None:
        """Begin a pass: numbers start from 0 again."""
        self._next = 0
        for memory in self._known.values():
            memory.number = -1

    def forget(self) -> None:
        """Forget every hash: something ran that may have written anywhere without saying so."""
        for memory in self._known.values():
            memory.digests.clear()


class Canonical:
    """Values in a form that two versions of torch can be compared in, with the tensors set aside.

    Parameters
    ----------
    tensors : list of torch.Tensor
        Gets each tensor that is met.
    """

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.tensors = tensors

    def value(self, value: Any) -> Any:
        """Return `value` for JSON.

        Raises
        ------
        CaptureError
            For a value that has no such form: two of them could pass for the same.
        """
        if isinstance(value, torch.Tensor):
            self.tensors.append(value)
            return {"tensor": len(self.tensors) - 1}
        if "Storage" in type(value).__name__:
            return self.value(_bytes_of(value))
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, complex):
            return {"complex": [value.real.hex(), value.imag.hex()]}
        if isinstance(value, (list, tuple)):
            return [self.value(part) for part in value]
        for kind, name in _TORCH_VALUES:
            if isinstance(value, kind):
                return {name: str(value).removeprefix("torch.")}
        raise CaptureError(f"an operation has a {type(value).__name__} as argument, which cannot be compared")

    def arguments(self, schema: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by name, without those that have their default.

        Versions add arguments with defaults, and pass the same ones by position or by name.
        """
        named = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | kwargs
        found = {}
        for argument in schema.arguments:
            if argument.name not in named:
                continue
            canonical = self.value(named[argument.name])
            if not (argument.has_default_value() and canonical == Canonical([]).value(argument.default_value)):
                found[argument.name] = canonical
        return found


def _bytes_of(storage: Any) -> torch.Tensor:
    """Return raw memory as a tensor of bytes: `torch.load` hands it to ``aten::set_``."""
    untyped = storage.untyped() if hasattr(storage, "untyped") else storage
    return torch.empty(0, dtype=torch.uint8, device=untyped.device).set_(untyped)


def mutated_tensors(schema: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Return the tensors among a call's arguments that its schema says it writes to."""
    found: list[torch.Tensor] = []
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            Canonical(found).value(value)
    return found


def outputs_of(returned: Any, written: Sequence[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
    """Return what a call returned for JSON, and its outputs: tensors returned, then those only written to."""
    outputs: list[torch.Tensor] = []
    result = Canonical(outputs).value(returned)
    outputs += [tensor for tensor in written if not any(tensor is other for other in outputs)]
    return result, outputs


def tensor_digest(tensor: torch.Tensor) -> str:
    """Hash a tensor's bytes where only equality counts: BLAKE3 takes well under half the time of SHA-256.

    One thread: what is recorded is timed, and its arm has its own.
    """
    array, _ = to_numpy(tensor)
    return str(blake3(array.data.cast("B") if array.size else b"").hexdigest())


def describe(tensor: torch.Tensor, storages: Storages) -> TensorRecord:
    """Hash a tensor and say where its bytes lie.

    Raises
    ------
    CaptureError
        For a tensor without strides (sparse, quantized), whose bytes are not its contents alone.
    """
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CaptureError(f"a tensor of layout {tensor.layout} cannot be hashed", "trace a dense model")
    memory = storages.of(tensor)
    return TensorRecord(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        strides=tuple(tensor.stride()),
        digest=None if memory.unwritten else memory.digest(tensor),
        storage=memory.number,
    )
