"""From a call that torch dispatches to an `Operation` and back: arguments, hashes, memory, and to run it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
            self.digests[extent] = blake3_digest(tensor)
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
        """Return `value` for JSON."""
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


def tensor_form(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Return a tensor's dtype by torch's name without ``torch.``, its shape and its strides: a `TensorForm`."""
    return str(tensor.dtype).removeprefix("torch."), tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride()))


def blake3_digest(tensor: torch.Tensor) -> str:
    """Hash a tensor's bytes where only equality counts: BLAKE3 takes well under half the time of SHA-256.

    One thread: what is recorded is timed, and its arm has its own.
    """
    array, _ = to_numpy(tensor)
    return str(blake3(array.data.cast("B") if array.size else b"").hexdigest())


def tensor_record(tensor: torch.Tensor, storages: Storages) -> TensorRecord:
    """Hash a tensor and say where its bytes lie.

    Raises
    ------
    CaptureError
        For a tensor without strides (sparse, quantized), whose bytes are not its contents alone.
    """
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CaptureError(f"a tensor of layout {tensor.layout} cannot be hashed", "trace a dense model")
    memory = storages.of(tensor)
    return TensorRecord(*tensor_form(tensor), None if memory.unwritten else memory.digest(tensor), memory.number)


_RANDOM = frozenset(
    f"aten::{name}" for name in (
        "bernoulli", "bernoulli_", "dropout", "exponential_", "multinomial", "native_dropout", "normal", "normal_",
        "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "random_", "randperm",
        "uniform_",
    )
)  # fmt: skip
#: Arguments that need a floating-point input of their own kind, and what they become in float64.
_IN_FLOAT64 = {"half_to_float": False}
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
_COPIES = frozenset(
    f"aten::{name}" for name in ("_to_copy", "to", "copy_", "_copy_from", "type_as",
                                 "_autocast_to_reduced_precision", "_autocast_to_full_precision")
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a call returned.

    Attributes
    ----------
    result : JSON value
        As `reportlib.trace.format.Operation.result`.
    outputs : tuple of torch.Tensor
        Tensors returned, then arguments written to without being returned.
    """

    result: Any
    outputs: tuple[torch.Tensor, ...]


class NotReplayedError(CaptureError):
    """An operation that cannot be run again here; the message says why."""


def why_not_replayed(func: Any) -> str | None:
    """Return why running an operation again says nothing, or None when it does."""
    name = func._schema.name
    if not name.startswith("aten::"):
        return "an operation that is not torch's"
    if name in UNWRITTEN:
        return "hands out memory as it is found"
    seeded = getattr(torch.Tag, "nondeterministic_seeded", None) if hasattr(torch, "Tag") else None
    if name in _RANDOM or (seeded is not None and seeded in getattr(func, "tags", ())):
        return "draws random numbers"
    if any("Storage" in str(argument.type) for argument in func._schema.arguments):
        return "takes raw memory"
    return None


def find_operation(name: str, overload: str) -> Any:
    """Return an operation of this torch."""
    space, _, short = name.partition("::")
    try:
        return getattr(getattr(getattr(torch.ops, space), short), overload or "default")
    except (AttributeError, RuntimeError) as error:
        full = f"{name}.{overload}" if overload else name
        raise NotReplayedError(f"torch {torch.__version__} has no {full}") from error


def call(func: Any, arguments: Mapping[str, Any], tensors: Sequence[torch.Tensor]) -> Outcome:
    """Run an operation on given tensors. Those that it writes to are changed: give it copies.

    Parameters
    ----------
    func : torch.ops overload
        See `find_operation`.
    arguments : mapping
        As `reportlib.trace.format.Operation.arguments`.
    tensors : sequence of torch.Tensor
        What ``{"tensor": n}`` stands for.

    Raises
    ------
    NotReplayedError
        When this torch's operation takes other arguments, or fails; the message says how.
    """
    schema = func._schema
    known = {argument.name for argument in schema.arguments}
    if missing := sorted(set(arguments) - known):
        raise NotReplayedError(f"{schema.name} has no argument {missing[0]!r} here")
    args, kwargs = _bind(schema, {name: _value(value, tensors) for name, value in arguments.items()})
    written = mutated_tensors(schema, args, kwargs)
    try:
        with undisturbed():
            returned = func(*args, **kwargs)
    except Exception as error:
        # Whatever another version of torch raises here is what is to be told, and no reason to stop.
        raise NotReplayedError(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    result, outputs = outputs_of(returned, written)
    return Outcome(result, tuple(outputs))


def call_in_float64(
    func: Any, arguments: Mapping[str, Any], tensors: Sequence[torch.Tensor]
) -> tuple[tuple[torch.Tensor, ...] | None, str | None]:
    """Run an operation on the same values in float64.

    Returns
    -------
    outputs : tuple of torch.Tensor, or None
        In float64 where the operation computes; None when float64 is no truth for it.
    why : str or None
        Why there is none.
    """
    if func._schema.name in _COPIES:
        return None, "it rounds to a dtype and computes nothing"
    if not any(tensor.is_floating_point() for tensor in tensors):
        return None, "it reads no floating-point numbers"
    doubles = [
        tensor.to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True) for tensor in tensors
    ]
    try:
        outcome = call(func, {name: _double(name, value) for name, value in arguments.items()}, doubles)
    except NotReplayedError as error:
        return None, f"it does not run in float64: {error.what}"
    if not any(tensor.is_floating_point() for tensor in outcome.outputs):
        return None, "it returns no floating-point numbers"
    if any(tensor.is_floating_point() and tensor.dtype != torch.float64 for tensor in outcome.outputs):
        return None, "it returns another dtype than float64 even then"
    return outcome.outputs, None


def copies_of_written(func: Any, arguments: Mapping[str, Any], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return `tensors` with those that the operation writes to copied, strides and all."""
    written: set[int] = set()
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = arguments.get(argument.name)
            parts = value if isinstance(value, list) else [value]
            written |= {part["tensor"] for part in parts if isinstance(part, dict) and "tensor" in part}
    copies = list(tensors)
    for index in written:
        tensor = tensors[index]
        memory = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        copies[index] = memory.copy_(tensor)
    return copies


@contextmanager
def undisturbed() -> Iterator[None]:
    """Neither autocast nor autograd around what runs inside, whatever is on outside."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _bind(schema: Any, named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments by position where that is possible: one called ``self`` cannot be given by name."""
    positional = [argument for argument in schema.arguments if not argument.kwarg_only]
    last = max((index for index, argument in enumerate(positional) if argument.name in named), default=-1)
    args = [named.get(argument.name, _default(argument)) for argument in positional[: last + 1]]
    return args, {a.name: named[a.name] for a in schema.arguments if a.kwarg_only and a.name in named}


def _default(argument: Any) -> Any:
    return argument.default_value if argument.has_default_value() else None


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "float": float.fromhex,
    "complex": lambda parts: complex(*map(float.fromhex, parts)),
    "device": torch.device,
}


def _value(value: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_value(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind in _MAKERS:
        return _MAKERS[kind](content)
    found = getattr(torch, content, None)
    if found is None:
        raise NotReplayedError(f"torch {torch.__version__} has no torch.{content}")
    return found


def _double(name: str, value: Any) -> Any:
    if name in _IN_FLOAT64:
        return _IN_FLOAT64[name]
    if isinstance(value, dict) and value.get("dtype") in _FLOATS:
        return {"dtype": "float64"}
    return value
