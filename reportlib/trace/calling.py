"""Run a recorded operation again: from its name, its arguments as JSON and its tensors to a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from reportlib.errors import CaptureError
from reportlib.trace.operations import UNWRITTEN, mutated_tensors, outputs_of

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


def why_not(func: Any) -> str | None:
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


def find(name: str, overload: str) -> Any:
    """Return an operation of this torch.

    Raises
    ------
    NotReplayedError
        When this torch has none of that name.
    """
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
        See `find`.
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
    return [_copy(tensor) if index in written else tensor for index, tensor in enumerate(tensors)]


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    memory = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return memory.copy_(tensor)


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
