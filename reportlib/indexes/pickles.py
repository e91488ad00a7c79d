"""The pickle inside a torch file, read without giving it a chance to run anything.

Two gates stand before a value. First every opcode is looked at without executing any: only those that make
tensors, tuples, lists, numbers and strings may occur, and the memo and the number of opcodes are bounded (a single
opcode can otherwise ask for 64 GB of memo). Then `pickle.Unpickler` runs with a `find_class` that knows the names
that torch writes for plain tensors and looks nothing up. Dictionaries are refused: hashing a hostile key can take
for ever, and no file of a ColBERT index has one.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reportlib.errors import IndexFileError

#: ColBERT's own files have about sixty.
MOST_OPCODES = 20_000
#: Tensors, containers, numbers and strings that a file may hold, and how deep.
MOST_VALUES, MOST_DEPTH = 2_000, 8

#: torch's storage classes, to the dtype's name as `reportlib.store.CARRIERS` has it.
STORAGES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
}
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "GLOBAL", "STACK_GLOBAL", "BINPERSID", "REDUCE", "MARK"),
    *("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BINPUT", "BINGET", "LONG_BINPUT", "LONG_BINGET", "MEMOIZE"),
}
_DICTIONARIES = {"DICT", "EMPTY_DICT", "SETITEM", "SETITEMS"}


@dataclass(frozen=True)
class StorageType:
    """A storage class that a pickle names; `dtype` is a key of `reportlib.store.CARRIERS`."""

    dtype: str


@dataclass(frozen=True)
class StorageReference:
    """A storage that a pickle refers to: `key` names a record, `device` where it lay when it was saved."""

    dtype: str
    key: str
    device: str
    elements: int


@dataclass(frozen=True)
class TensorReference:
    """A tensor as a pickle describes it, unchecked against its storage."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RefusedError(Exception):
    """What a pickle holds that is not read; the message names it."""


def read_pickle(data: bytes, what: str) -> Any:
    """Return what a pickle of tensors holds.

    Parameters
    ----------
    data : bytes
        The pickle.
    what : str
        The file, for messages.

    Returns
    -------
    TensorReference, tuple, list, int, float, str, bool or None
        Containers hold the same.

    Raises
    ------
    IndexFileError
        When it is damaged, or names anything but a plain tensor. Nothing it names has been looked up or run.
    """
    try:
        _check_opcodes(data)
        found = _TensorUnpickler(io.BytesIO(data)).load()
        _check_values(found)
    except _RefusedError as refusal:
        raise IndexFileError(
            f"{what} is refused: it holds {refusal}, and only tensors, tuples, lists, numbers and strings are read",
            "ask whoever made it for an index that colbert-ai wrote",
        ) from None
    except Exception as error:
        # A damaged pickle can raise nearly anything, and what it raises may quote it at any length.
        raise IndexFileError(f"{what} is damaged: its pickle cannot be read ({type(error).__name__})") from error
    return found


def _check_opcodes(data: bytes) -> None:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in _DICTIONARIES:
            raise _RefusedError("a dictionary")
        if opcode.name in ("GLOBAL", "INST"):
            _known(*str(argument).split(" ", 1))
        if opcode.name not in _OPCODES:
            raise _RefusedError(f"the pickle opcode {opcode.name}")
        if number >= MOST_OPCODES or (opcode.name == "LONG_BINPUT" and int(argument or 0) > MOST_OPCODES):
            raise _RefusedError(f"more than {MOST_OPCODES:,} pickle opcodes")


def _known(module: str, name: str = "") -> Callable[..., Any] | StorageType:
    """Return what stands for a name here."""
    if module == "torch" and name in STORAGES:
        return StorageType(STORAGES[name])
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _tensor
    if (module, name) == ("collections", "OrderedDict"):
        return _no_hooks
    raise _RefusedError(f"the name {f'{module}.{name}'[:120]!r}")


class _TensorUnpickler(pickle.Unpickler):
    """Makes `TensorReference` where torch would make tensors; knows no other name."""

    def find_class(self, module: str, name: str) -> Any:
        return _known(module, name)

    def persistent_load(self, identifier: Any) -> StorageReference:
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise _RefusedError("a reference to something other than a storage")
        _, kind, key, device, elements = identifier
        if not isinstance(kind, StorageType) or not isinstance(key, str) or not isinstance(device, str):
            raise _RefusedError("a storage without a known type, key or device")
        if not key.isdecimal() or not key.isascii() or not _is_size(elements):
            raise _RefusedError("a storage with an impossible key or number of elements")
        return StorageReference(kind.dtype, key, device[:40], elements)


def _tensor(*arguments: Any) -> TensorReference:
    """Stand in for ``torch._utils._rebuild_tensor_v2``."""
    if len(arguments) not in (6, 7):
        raise _RefusedError("a tensor with other arguments than torch writes")
    storage, offset, shape, strides, _, hooks = arguments[:6]
    if not isinstance(storage, StorageReference) or hooks is not None:
        raise _RefusedError("a tensor without a storage, or with hooks")
    if len(arguments) == 7 and arguments[6] is not None:
        raise _RefusedError("a tensor with metadata (conjugate or negative bits)")
    if not _is_sizes(shape) or not _is_sizes(strides) or not _is_size(offset) or len(shape) != len(strides):
        raise _RefusedError("a tensor with an impossible shape, stride or offset")
    return TensorReference(storage, offset, shape, strides)


def _no_hooks(*arguments: Any) -> None:
    """Stand in for the empty ``OrderedDict`` of backward hooks that torch writes with every tensor."""
    if arguments:
        raise _RefusedError("an OrderedDict that is not empty")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _is_sizes(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= MOST_DEPTH and all(map(_is_size, values))


def _check_values(found: Any) -> None:
    """Check that a pickle gave nothing but tensors and plain values, few and not deep."""
    waiting, seen = [(found, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or depth > MOST_DEPTH:
            raise _RefusedError("more values, or more containers in one another, than an index has")
        if isinstance(value, (tuple, list)):
            if len(value) > MOST_VALUES:
                raise _RefusedError("more values than an index has")
            waiting.extend((item, depth + 1) for item in value)
        elif not (value is None or isinstance(value, (TensorReference, bool, int, float, str))):
            raise _RefusedError("a name in place of a value")
