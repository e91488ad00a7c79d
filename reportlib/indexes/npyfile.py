"""Files in numpy's ``.npy`` format, mapped where they lie; one that holds Python objects is a pickle, and refused."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reportlib.errors import IndexFileError
from reportlib.indexes.torchfile import open_regular
from reportlib.store import CARRIERS, Tensor

#: Bytes of a header: those of an index have one or two hundred.
MOST_HEADER = 4096
MOST_AXES = 8
#: numpy has no bfloat16, so no file says that it holds some.
_CARRIERS = {name: carrier for name, carrier in CARRIERS.items() if name != "bfloat16"}
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, or some of its rows: what it is, and where its bytes lie. Nothing is read before `open`.

    Attributes
    ----------
    path : Path
        The file.
    dtype : str
        A key of `reportlib.store.CARRIERS`.
    shape : tuple of int
        Length of each axis.
    offset : int
        Of the first element in the file, in bytes.
    device : str
        Empty: the format does not say where an array lay when it was saved.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    device: str = ""

    @property
    def size(self) -> int:
        """How many elements the array has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the array has."""
        return self.size * CARRIERS[self.dtype].itemsize

    def rows(self, start: int, stop: int) -> StoredArray:
        """Return rows `start` to `stop` of an array that has them."""
        width = math.prod(self.shape[1:]) * CARRIERS[self.dtype].itemsize
        return replace(self, shape=(stop - start, *self.shape[1:]), offset=self.offset + start * width)

    def open(self, *, check: bool = True) -> Tensor:  # noqa: ARG002
        """Map the array.

        Parameters
        ----------
        check : bool
            Without effect: the format has no checksum.

        Returns
        -------
        Tensor
            In C order; a read-only memory map, except where it is empty.

        Raises
        ------
        IndexFileError
            When the file is no longer there, or has become shorter.
        """
        carrier = CARRIERS[self.dtype]
        if self.size == 0:
            return Tensor(np.empty(self.shape, carrier), self.dtype)
        try:
            with open_regular(self.path) as handle:
                mapped = np.memmap(handle, carrier, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise IndexFileError(f"{self.path} can no longer be read: {error}") from error
        # Slicing numpy's memmap class costs several times what slicing an array does.
        return Tensor(np.asarray(mapped), self.dtype)


def array_of(path: Path) -> StoredArray:
    """Return the array that a ``.npy`` file holds; only its header is read.

    Raises
    ------
    IndexFileError
        When it is no such file, is cut off, or holds what no index does; the message names what.
    """
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        shape, fortran, dtype = _header(handle, path)
        start = handle.tell()
    if dtype.hasobject:
        raise IndexFileError(f"{path} is refused: it holds Python objects, which are a pickle and can run anything")
    name = next((name for name, carrier in _CARRIERS.items() if carrier == dtype), None)
    if name is None:
        raise IndexFileError(
            f"{path} is refused: it holds {str(dtype)[:80]!r}, and only {', '.join(_CARRIERS)} are read"
        )
    if len(shape) > MOST_AXES or not all(type(length) is int and 0 <= length < 2**48 for length in shape):
        raise IndexFileError(f"{path} is refused: it declares an array of the impossible shape {str(shape)[:80]}")
    if fortran and len(shape) > 1:
        raise IndexFileError(f"{path} is refused: it lies in Fortran order, in which no index is written")
    array = StoredArray(path, name, shape, start)
    if array.nbytes != size - start:
        raise IndexFileError(
            f"{path} is damaged: it declares {name} of shape {list(shape)}, which are {array.nbytes:,} bytes, "
            f"and has {size - start:,}",
            "copy it again, or index again",
        )
    return array


def _header(handle: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        reader = _READERS.get(np.lib.format.read_magic(handle))
        if reader is None:
            raise ValueError("its version is unknown")
        with warnings.catch_warnings():
            # numpy warns of a header that Python 2 wrote; what it says is checked all the same.
            warnings.simplefilter("ignore")
            return reader(handle, max_header_size=MOST_HEADER)
    except Exception as error:
        # A damaged header can raise nearly anything, and what it raises may quote it at any length.
        raise IndexFileError(
            f"{path} is no .npy file, or its header is damaged ({type(error).__name__})",
            "copy it again, or index again",
        ) from error
