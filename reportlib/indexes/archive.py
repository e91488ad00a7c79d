"""The zip archive that ``torch.save`` writes: where each record lies, and nothing unpacked.

torch stores its records uncompressed, so a tensor's bytes can be mapped where they are. An archive that holds
anything torch does not write is refused: compressed or encrypted records, two records of one name, records that
overlap or reach beyond the file, unknown names, TorchScript. Python's `zipfile` reads the directory; its size is
checked first, because `zipfile` would read all of it into memory.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reportlib.errors import IndexFileError

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

    Raises
    ------
    IndexFileError
        When it is not there, cannot be read, or is no regular file.
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
    """Return the records of a torch file by name, without the folder that torch puts before it.

    Parameters
    ----------
    handle : binary file
        Of a regular file.
    path : Path
        For messages.

    Raises
    ------
    IndexFileError
        When it is no torch file, is cut off, or holds what torch does not write.
    """
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
    _check_places(found, end, path)
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


def _check_places(found: dict[str, Record], end: int, path: Path) -> None:
    """Check that the records lie one after another, before the directory."""
    done = 0
    for record in sorted(found.values(), key=lambda r: (r.offset, r.size)):
        if record.offset < done or record.offset + record.size > end:
            raise _damaged(path, f"its record {record.name!r} overlaps another or reaches beyond its place")
        done = record.offset + record.size
