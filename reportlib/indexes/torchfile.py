"""Files that ``torch.save`` wrote, read with numpy alone: tensors are mapped, nothing is run.

Looked at first, and why they are not used: `ptloader` 0.3.0 loads such files as numpy arrays, but copies every
tensor into memory, checks neither a view's bounds nor an archive's sizes, knows no bfloat16 and needs numpy 2;
`tinygrad` can load them, as a part of a whole framework; `fickling`, `picklescan` and `modelscan` judge a pickle
without reading its tensors; torch's own ``weights_only`` needs torch.

Read: the zip format, torch's default since 1.6 and so what every colbert-ai 0.2 wrote. Refused by name: the
format from before (colbert-ai never asks for it), compressed records, big-endian files, TorchScript, and
every type but plain tensors (no parameters, sparse, quantized or complex tensors).
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib

from reportlib.errors import IndexFileError
from reportlib.store import CARRIERS, Tensor

# The zip archive that ``torch.save`` writes: where each record lies, and nothing unpacked.
#
# torch stores its records uncompressed, so a tensor's bytes can be mapped where they are. An archive that holds
# anything torch does not write is refused: compressed or encrypted records, two records of one name, records that
# overlap or reach beyond the file, unknown names, TorchScript. Python's `zipfile` reads the directory; its size is
# checked first, because `zipfile` would read all of it into memory.

#: A directory of an index file has four or five lines of about a hundred bytes.
MOST_DIRECTORY = 1 << 20
#: Bytes of a record that is read whole: a pickle's, a version's.
MOST_READ = 1 << 16
_NAMES = re.compile(
    r"data\.pkl|data/[0-9]{1,6}|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment"
)
_END, _END64, _LOCATOR64, _LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x03\x04"
_ENCRYPTED = 0x41
#: How files begin that are often found in place of a torch file.
_OTHERS = (
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "is in torch's format from before torch 1.6 (a bare pickle)"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself"),
    (b"\x80", "is a bare pickle"),
    (b"\x93NUMPY", "is a numpy file"),
    (b"\x1f\x8b", "is compressed by gzip"),
)


@dataclass(frozen=True)
class Record:
    """Where one record's bytes lie in the file, and their CRC-32."""

    name: str
    offset: int
    size: int
    crc: int


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a link is followed, a pipe or a device refused.

    Links are common: the Hugging Face cache is made of them. What they lead to is held to the same checks.
    """
    try:
        # Opening a pipe would wait for a writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        reason = "is a link that leads nowhere" if path.is_symlink() and not path.exists() else error.strerror
        raise IndexFileError(f"{path}: {reason}", "copy the whole index again") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise IndexFileError(f"{path} is no regular file")
    with os.fdopen(number, "rb") as handle:
        yield handle


def read_records(handle: BinaryIO, path: Path) -> dict[str, Record]:
    """Return the records of a torch file by name, without the folder that torch puts before it."""
    size = os.fstat(handle.fileno()).st_size
    _check_start(handle, path, size)
    end = _check_directory(handle, path, size)
    try:
        with zipfile.ZipFile(handle) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
        raise _damaged(path, f"its directory cannot be read ({error})") from error
    found: dict[str, Record] = {}
    roots = set()
    for entry in entries:
        root, _, name = entry.filename.partition("/")
        roots.add(root)
        _check_entry(entry, name, path)
        if name in found:
            raise IndexFileError(f"{path} has two records {name!r}; torch never writes that")
        found[name] = Record(name, _data_offset(handle, entry, path), entry.file_size, entry.CRC)
    if len(roots) != 1 or "data.pkl" not in found:
        raise IndexFileError(f"{path} is a zip archive, but not one that torch.save wrote")
    _check_layout(found, end, path)
    return found


def read_small(handle: BinaryIO, record: Record, path: Path) -> bytes:
    """Return a small record's bytes, checked against its CRC-32."""
    if record.size > MOST_READ:
        raise IndexFileError(f"{path}: its record {record.name!r} has {record.size:,} bytes; at most {MOST_READ:,} fit")
    handle.seek(record.offset)
    data = handle.read(record.size)
    if len(data) != record.size or zlib.crc32(data) != record.crc:
        raise _damaged(path, f"the CRC-32 of its record {record.name!r} does not match")
    return data


def _damaged(path: Path, why: str) -> IndexFileError:
    return IndexFileError(f"{path} is damaged: {why}", "copy it again, or index again")


def _check_start(handle: BinaryIO, path: Path, size: int) -> None:
    if size == 0:
        raise _damaged(path, "it is empty")
    start = handle.read(32)
    if start.startswith(_LOCAL):
        return
    for beginning, what in _OTHERS:
        if start.startswith(beginning):
            raise IndexFileError(f"{path} {what}", "load it with a torch that you trust it to, and save it again")
    raise IndexFileError(f"{path} is no torch file: it does not begin as a zip archive does")


def _check_directory(handle: BinaryIO, path: Path, size: int) -> int:
    """Return where the archive's directory begins, having checked that it is small and at the very end."""
    handle.seek(max(0, size - 98))
    tail = handle.read(98)
    last = tail[-22:]
    if len(last) < 22 or not last.startswith(_END) or last[20:] != b"\0\0":
        raise _damaged(path, "it ends before the archive's directory does; it was probably cut off")
    length, start = struct.unpack("<12x2L2x", last)
    locator = tail[-42:-22]
    if locator.startswith(_LOCATOR64):
        record = tail[-98:-42]
        if not record.startswith(_END64) or len(record) != 56:
            raise _damaged(path, "its directory is not where torch puts it")
        length, start = struct.unpack("<40x2Q", record)
    if length > MOST_DIRECTORY or start + length > size:
        raise _damaged(path, f"it declares a directory of {length:,} bytes")
    return int(start)


def _check_entry(entry: zipfile.ZipInfo, name: str, path: Path) -> None:
    if name == "constants.pkl" or name.startswith(("code/", "constants/")):
        raise IndexFileError(f"{path} is a TorchScript archive: it holds code, and is not read")
    if not _NAMES.fullmatch(name):
        raise IndexFileError(f"{path} has a record {entry.filename[:80]!r}; torch.save writes no such name")
    if entry.flag_bits & _ENCRYPTED:
        raise IndexFileError(f"{path}: its record {name!r} is encrypted")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise IndexFileError(
            f"{path}: its record {name!r} is compressed, which torch.save never does; compressed records are not read",
            "load it with a torch that you trust it to, and save it again",
        )


def _data_offset(handle: BinaryIO, entry: zipfile.ZipInfo, path: Path) -> int:
    """Return where a record's bytes begin: the header before them has a length of its own."""
    if entry.header_offset < 0:
        # What stands before a directory that lies about its own place is counted backwards from it.
        raise _damaged(path, f"its directory puts {entry.filename!r} before the file")
    handle.seek(entry.header_offset)
    header = handle.read(30)
    if len(header) != 30 or not header.startswith(_LOCAL):
        raise _damaged(path, f"the header of its record {entry.filename!r} is not where its directory says")
    name, extra = struct.unpack("<26x2H", header)
    if handle.read(name) != entry.filename.encode():
        raise _damaged(path, f"its directory and the header of {entry.filename!r} disagree")
    return int(entry.header_offset) + 30 + int(name) + int(extra)


def _check_layout(records: dict[str, Record], end: int, path: Path) -> None:
    """Check that the records lie one after another, before the directory."""
    done = 0
    for record in sorted(records.values(), key=lambda r: (r.offset, r.size)):
        if record.offset < done or record.offset + record.size > end:
            raise _damaged(path, f"its record {record.name!r} overlaps another or reaches beyond its place")
        done = record.offset + record.size


# The pickle inside a torch file, read without giving it a chance to run anything.
#
# Two gates stand before a value. First every opcode is looked at without executing any: only those that make tensors,
# tuples, lists, numbers and strings may occur, and the memo and the number of opcodes are bounded (a single opcode
# can otherwise ask for 64 GB of memo). Then `pickle.Unpickler` runs with a `find_class` that knows the names that
# torch writes for plain tensors and looks nothing up. Dictionaries are refused: hashing a hostile key can take for
# ever, and no file of a ColBERT index has one.

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
    """Return what a pickle of tensors holds."""
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


def _check_values(content: Any) -> None:
    """Check that a pickle gave nothing but tensors and plain values, few and not deep."""
    waiting, seen = [(content, 0)], 0
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


#: A tensor that does not lie in one piece is copied when it is read, up to this many bytes.
MOST_COPIED = 1 << 28
#: Bytes of a storage that are summed at a time.
_STEP = 1 << 20


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: what it is, and where its bytes lie. Nothing is read before `open`.

    Attributes
    ----------
    path : Path
        The file.
    record : Record
        Of the tensor's storage, whose bytes may be more than the tensor's.
    dtype : str
        A key of `reportlib.store.CARRIERS`.
    shape : tuple of int
        Length of each axis.
    strides : tuple of int
        In elements.
    offset : int
        Of the first element in the storage, in elements.
    device : str
        Where the tensor lay when it was saved: ``cpu``, ``cuda:0``. It changes nothing about the bytes.
    """

    path: Path
    record: Record
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    device: str

    @property
    def size(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the tensor has."""
        return self.size * CARRIERS[self.dtype].itemsize

    @property
    def in_one_piece(self) -> bool:
        """Whether the elements lie one after another in C order."""
        step = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length > 1 and stride != step:
                return False
            step *= length
        return True

    def open(self, *, check: bool = True) -> Tensor:
        """Map the tensor, having read its storage once and checked the CRC-32.

        Parameters
        ----------
        check : bool
            False where this file was checked before.

        Returns
        -------
        Tensor
            In C order; a read-only memory map, except where it does not lie in one piece (then a copy) or is empty.

        Raises
        ------
        IndexFileError
            When the bytes are not those that were saved, or a copy would be larger than `MOST_COPIED`.
        """
        storage = self._storage()
        if check:
            self._check(storage)
        carrier = CARRIERS[self.dtype]
        if self.size == 0:
            return Tensor(np.empty(self.shape, carrier), self.dtype)
        elements = storage.view(carrier)
        if self.in_one_piece:
            return Tensor(elements[self.offset : self.offset + self.size].reshape(self.shape), self.dtype)
        if self.nbytes > MOST_COPIED:
            raise IndexFileError(
                f"{self.path}: a tensor of {self.nbytes:,} bytes does not lie in one piece",
                "load it with a torch that you trust it to, and save its .contiguous()",
            )
        strides = tuple(step * carrier.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, strides, writeable=False)
        return Tensor(np.ascontiguousarray(view), self.dtype)

    def _storage(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if self.record.size == 0:
            return np.empty(0, np.uint8)
        try:
            with open_regular(self.path) as handle:
                mapped = np.memmap(handle, np.uint8, "r", self.record.offset, (self.record.size,))
        except (OSError, ValueError) as error:
            raise IndexFileError(f"{self.path} can no longer be read: {error}") from error
        # Slicing numpy's memmap class costs several times what slicing an array does.
        return np.asarray(mapped)

    def _check(self, storage: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        total = 0
        for start in range(0, storage.size, _STEP):
            total = isal_zlib.crc32(storage[start : start + _STEP].data, total)
        if total != self.record.crc:
            raise IndexFileError(
                f"{self.path} is damaged: the CRC-32 of its record {self.record.name!r} does not match",
                "copy it again, or index again (torch's set_crc32_options(False) also leaves such files)",
            )


def load(path: Path) -> Any:
    """Return what ``torch.save`` wrote to `path`, with `StoredTensor` in place of tensors.

    Only the archive's directory and its pickle are read, some hundreds of bytes; `StoredTensor.open` reads the rest.

    Returns
    -------
    StoredTensor, tuple, list, int, float, str, bool or None
        Containers hold the same.

    Raises
    ------
    IndexFileError
        When it is no such file, is damaged, or holds anything else; the message names what.
    """
    with open_regular(path) as handle:
        records = read_records(handle, path)
        _check_byteorder(handle, records, path)
        content = read_pickle(read_small(handle, records["data.pkl"], path), str(path))
    return _resolved(content, path, records)


def tensors_of(path: Path, number: int) -> tuple[StoredTensor, ...]:
    """Return the `number` tensors that a file holds: one by itself, or several in a tuple or list.

    Raises
    ------
    IndexFileError
        When it cannot be read or holds something else.
    """
    content = load(path)
    found = tuple(content) if isinstance(content, (tuple, list)) else (content,)
    if len(found) != number or not all(isinstance(item, StoredTensor) for item in found):
        wanted = "one tensor" if number == 1 else f"{number} tensors"
        raise IndexFileError(f"{path} does not hold {wanted}, as this file of an index does")
    return found


def _check_byteorder(handle: BinaryIO, records: dict[str, Record], path: Path) -> None:
    # torch 2.0 and older write no such record; they ran on little-endian machines, as all do that have wheels.
    if "byteorder" in records and read_small(handle, records["byteorder"], path) != b"little":
        raise IndexFileError(f"{path} was saved on a big-endian machine, and is not read")


def _resolved(value: Any, path: Path, records: dict[str, Record]) -> Any:
    if isinstance(value, TensorReference):
        return _stored(value, path, records)
    if isinstance(value, (tuple, list)):
        return type(value)(_resolved(item, path, records) for item in value)
    return value


def _stored(tensor: TensorReference, path: Path, records: dict[str, Record]) -> StoredTensor:
    """Return a tensor whose every element is known to lie in its storage."""
    storage = tensor.storage
    record = records.get(f"data/{storage.key}")
    if record is None:
        raise IndexFileError(f"{path} is damaged: it has no record 'data/{storage.key}' for a tensor")
    if storage.elements * CARRIERS[storage.dtype].itemsize != record.size:
        raise IndexFileError(
            f"{path} is damaged: it declares {storage.elements:,} elements of {storage.dtype} in {record.size:,} bytes"
        )
    size = math.prod(tensor.shape)
    reach = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.strides, strict=True))
    # Strides of 0 would let a few bytes stand for any number of elements.
    if size and (tensor.offset + reach >= storage.elements or size > storage.elements):
        raise IndexFileError(
            f"{path} is refused: it declares a tensor of shape {list(tensor.shape)}, strides {list(tensor.strides)} "
            f"and offset {tensor.offset:,} on a storage of {storage.elements:,} elements"
        )
    return StoredTensor(path, record, storage.dtype, tensor.shape, tensor.strides, tensor.offset, storage.device)
