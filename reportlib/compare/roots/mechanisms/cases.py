"""A case, one operation's recorded inputs and what A and B made of them, and what a family of explanations makes of it.

A case is a folder with ``case.json``, ``inputs.safetensors`` and ``outputs.safetensors``, written while B replayed A's
operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from reportlib.errors import StoreError
from reportlib.floats import Array, is_float, widen
from reportlib.trace.format import CASE_FILE, INPUTS_FILE, OUTPUTS_FILE, TensorForm
from reportlib.trace.format import Case as StoredCase

#: safetensors' dtypes, as torch calls them, and what numpy can hold their bytes in.
_DTYPES: Mapping[str, tuple[str, type[np.generic]]] = {
    "F64": ("float64", np.float64),
    "F32": ("float32", np.float32),
    "F16": ("float16", np.float16),
    "BF16": ("bfloat16", np.uint16),
    "I64": ("int64", np.int64),
    "I32": ("int32", np.int32),
    "I16": ("int16", np.int16),
    "I8": ("int8", np.int8),
    "U8": ("uint8", np.uint8),
    "BOOL": ("bool", np.bool_),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a case.

    Attributes
    ----------
    dtype : str
        torch's name, without ``torch.``.
    values : numpy.ndarray
        bfloat16 and float16 as float32, which holds each of their values; other dtypes as they are.
    """

    dtype: str
    values: Array


@dataclass(frozen=True)
class Case:
    """One operation with its inputs and both outputs.

    Attributes
    ----------
    id : str
        ``gelu-float32``.
    name, overload : str
        ``aten::gelu`` and an empty overload.
    arguments : mapping
        As in `reportlib.trace.format.Operation`.
    inputs, a, b : tuple of Tensor
        What was read, and what A and B returned.
    """

    id: str
    name: str
    overload: str
    arguments: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    a: tuple[Tensor, ...]
    b: tuple[Tensor, ...]

    @property
    def operation(self) -> str:
        """The bare name: ``div`` for ``aten::div_``."""
        return self.name.rpartition("::")[2].rstrip("_")

    def tensor(self, name: str) -> Tensor | None:
        """Return the tensor of the argument `name`, or None when that is no tensor."""
        given = self.arguments.get(name)
        if isinstance(given, dict) and "tensor" in given:
            return self.inputs[given["tensor"]]
        return None

    def value(self, name: str, default: Any = None) -> Any:
        """Return a plain argument: a number, a list of numbers, a text, a flag; `default` where it is not given."""
        given = self.arguments.get(name, default)
        if isinstance(given, dict) and "float" in given:
            return float.fromhex(given["float"])
        return given


def read_case(folder: Path) -> Case:
    """Read a case's folder."""
    described = StoredCase.open(folder)
    try:
        inputs, outputs = (_read_tensors(folder / name) for name in (INPUTS_FILE, OUTPUTS_FILE))
        return Case(
            id=described.id,
            name=described.name,
            overload=described.overload,
            arguments=described.arguments,
            inputs=_numbered(inputs, "input", described.inputs),
            a=_numbered(outputs, "a", described.outputs["a"]),
            b=_numbered(outputs, "b", described.outputs["b"]),
        )
    except FileNotFoundError as error:
        raise StoreError(f"{folder} holds no whole case: {error.filename} is missing", "replay again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the case in {folder} is damaged: {error}", "replay again") from error


def _numbered(tensors: Mapping[str, Tensor], prefix: str, described: Sequence[TensorForm]) -> tuple[Tensor, ...]:
    found = tuple(tensors[f"{prefix}{index}"] for index in range(len(described)))
    for index, (tensor, entry) in enumerate(zip(found, described, strict=True)):
        if (tensor.dtype, tensor.values.shape) != (entry.dtype, entry.shape):
            raise ValueError(f"{prefix}{index} is not the tensor that {CASE_FILE} describes")
    return found


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        entries = safetensors.deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file.name}: {error}") from error
    found = {}
    for name, entry in entries:
        dtype, carrier = _DTYPES[entry["dtype"]]
        raw = np.frombuffer(entry["data"], dtype=carrier, count=math.prod(entry["shape"])).reshape(entry["shape"])
        values = widen(raw, dtype) if is_float(dtype) else raw
        found[name] = Tensor(dtype, values)
    return found


# What a family of explanations makes of a case: rows, and functions that try to return them.


#: Gets the inputs' rows; returns an array for each output, or None where it does not apply to them.
Compute = Callable[..., tuple[Array, ...] | None]


@dataclass(frozen=True)
class Explanation:
    """One way in which an operation may have been computed.

    Attributes
    ----------
    name : str
        Short: ``16 lanes, times the reciprocal``.
    description : str
        The whole of it, as a phrase that can follow "computed as".
    compute : callable
        Does it.
    """

    name: str
    description: str
    compute: Compute


@dataclass(frozen=True)
class Problem:
    """An operation as rows that can be computed on their own, and the ways to try.

    Attributes
    ----------
    rows : tuple of numpy.ndarray
        The inputs, cut along their first axis, which all share.
    a, b : tuple of numpy.ndarray
        The outputs, cut in the same way; bfloat16 and float16 as float32.
    explanations : tuple of Explanation
        The plainest first.
    """

    rows: tuple[Array, ...]
    a: tuple[Array, ...]
    b: tuple[Array, ...]
    explanations: tuple[Explanation, ...]


def only_output(case: Case) -> tuple[Tensor, Tensor] | None:
    """Return A's and B's output where each has one, of one dtype and shape."""
    if len(case.a) != 1 or len(case.b) != 1:
        return None
    left, right = case.a[0], case.b[0]
    same = left.dtype == right.dtype and left.values.shape == right.values.shape
    return (left, right) if same else None


def last_axis_rows(values: Array, axis: int) -> Array:
    """Return `values` as (rows, n), with `axis` along the rows."""
    moved = np.moveaxis(values, axis, -1)
    return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))
