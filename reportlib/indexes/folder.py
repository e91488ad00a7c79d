"""The files of a ColBERT index folder, as colbert-ai 0.2 and fast-plaid write them.

Those of colbert-ai::

    metadata.json      the settings and sizes, written last     plan.json       the settings, written first
    N.codes.pt         centroid ids, int32                      N.residuals.pt  packed residuals, uint8
    doclens.N.json     token embeddings per passage             N.metadata.json sizes of chunk N
    centroids.pt   avg_residual.pt   buckets.pt (cutoffs, weights)
    ivf.pid.pt         (passage ids per centroid, how many)     ivf.pt          the same of token ids: older indexes

Where both are there, ``ivf.pid.pt`` is the one that colbert-ai searches with, and the one read here. fast-plaid's are
numpy's ``.npy`` files, mapped where they lie; one that holds Python objects is a pickle, and refused.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from reportlib.errors import IndexFileError
from reportlib.indexes.torchfile import StoredTensor, open_regular, tensors_of
from reportlib.store import CARRIERS, Tensor

#: Chunks that an index may say it has: a hundred times what the largest known ones do.
MOST_CHUNKS = 100_000
#: Bytes of a JSON file: a chunk has some 25,000 passages, a few bytes each.
MOST_JSON = 1 << 28
#: Folders that are looked into for an index, and how deep, where the one that was given holds none.
MOST_FOLDERS, MOST_LEVELS = 2_000, 5
#: The centroids of colbert-ai and of fast-plaid: a file that every finished index has.
_CENTROIDS = ("centroids.pt", "centroids.npy")
_CHUNK_FILE = re.compile(r"(\d{1,6})\.(codes|residuals)\.pt")
#: Files of layouts that are not read, and what they are.
_OTHER_LAYOUTS = (
    ("*.residuals.bn", "colbert-ai's development layout of 2021 (residuals in .bn files)"),
    ("ivfpq.*.faiss", "ColBERT v1's layout (a faiss index beside uncompressed embeddings)"),
    ("ivf*.faiss", "ColBERT v1's layout (a faiss index beside uncompressed embeddings)"),
    ("*.voyager", "PyLate's layout (a voyager index)"),
)
#: Bytes of a header: those of an index have one or two hundred.
MOST_HEADER = 4096
MOST_AXES = 8
#: numpy has no bfloat16, so no file says that it holds some.
_CARRIERS = {name: carrier for name, carrier in CARRIERS.items() if name != "bfloat16"}
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class IndexFolder:
    """A ColBERT index on disk. Make one with `IndexFolder.open`; its files are read when they are asked for.

    Attributes
    ----------
    path : Path
        The folder.
    metadata : mapping
        The content of ``metadata.json``.
    chunks : int
        How many chunks ``metadata.json`` says there are.
    ivf_file : str
        ``ivf.pid.pt`` or ``ivf.pt``.
    notes : tuple of str
        What is unusual, and harmless.
    """

    path: Path
    metadata: Mapping[str, Any]
    chunks: int
    ivf_file: str
    notes: tuple[str, ...] = ()
    #: What writes such folders.
    library: ClassVar[str] = "colbert-ai"

    @classmethod
    def open(cls, path: Path) -> IndexFolder:
        """Open the index folder `path`."""
        if not path.is_dir():
            inside = path.is_file() and _looks_like_index(path.parent)
            what = f"it: {path.parent}" if inside else "an index's metadata.json"
            raise IndexFileError(f"{path} is no folder", f"give the folder that holds {what}")
        if not (path / "metadata.json").is_file():
            raise _no_index(path)
        metadata = read_json(path / "metadata.json")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("config"), dict):
            raise IndexFileError(f"{path / 'metadata.json'} is not what colbert-ai writes", _below(path))
        present = {int(m[1]) for p in path.iterdir() if (m := _CHUNK_FILE.fullmatch(p.name))}
        chunks = metadata.get("num_chunks", len(present))
        if type(chunks) is not int or not 0 < chunks <= MOST_CHUNKS:
            raise IndexFileError(f"{path / 'metadata.json'} says that there are {str(chunks)[:20]} chunks")
        ivf_file = "ivf.pt" if (path / "ivf.pt").exists() and not (path / "ivf.pid.pt").exists() else "ivf.pid.pt"
        extra = sorted(n for n in present if n >= chunks)
        left = [f"chunk {n} is not counted by metadata.json; it is left from another run" for n in extra[:1]]
        return cls(path, metadata, chunks, ivf_file, tuple(left))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings and sizes by name."""
        return {**self.metadata["config"], **{k: v for k, v in self.metadata.items() if k != "config"}}

    def setting(self, name: str) -> Any:
        """Return a setting of the index (``dim``, ``nbits``), or None."""
        return self.metadata["config"].get(name)

    def files(self, name: str) -> tuple[str, ...]:
        """Return the names of the files that hold the artifact `name`, in order."""
        if name in ("codes", "residuals"):
            return tuple(f"{chunk}.{name}.pt" for chunk in range(self.chunks))
        if name == "doclens":
            return tuple(f"doclens.{chunk}.json" for chunk in range(self.chunks))
        if name in ("ivf", "ivf_lengths"):
            return (self.ivf_file,)
        return ("buckets.pt",) if name.startswith("bucket_") else (f"{name}.pt",)

    def lacks(self, name: str) -> bool:  # noqa: ARG002
        """Return whether the index has no artifact `name`, by how it was made; colbert-ai always writes all."""
        return False

    def contradictions(self) -> list[str]:
        """Return where files that hold the same twice do not agree; colbert-ai writes nothing twice."""
        return []

    def tensors(self, name: str) -> tuple[StoredTensor | StoredArray, ...]:
        """Return the final artifact `name`: one tensor for each of its files.

        Raises
        ------
        IndexFileError
            When a file is missing, damaged or holds something else; of several, the message names the first.
        """
        names = self.files(name)
        missing = [file for file in names if not self._has(file)]
        if missing:
            raise absent(self.path, names, missing)
        place, number = {"ivf": (0, 2), "ivf_lengths": (1, 2), "bucket_cutoffs": (0, 2), "bucket_weights": (1, 2)}.get(
            name, (0, 1)
        )
        return tuple(tensors_of(self.path / file, number)[place] for file in names)

    def doclens(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Return how many token embeddings each passage has, int64, chunk by chunk.

        Raises
        ------
        IndexFileError
            When a file is missing, or is not a list of whole numbers.
        """
        names = self.files("doclens")
        missing = [file for file in names if not (self.path / file).exists()]
        if missing:
            raise absent(self.path, names, missing)
        return tuple(_numbers(self.path / file) for file in names)

    def _has(self, file: str) -> bool:
        return (self.path / file).exists() or (self.path / file).is_symlink()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of an index."""
    with open_regular(path) as handle:
        data = handle.read(MOST_JSON + 1)
    if len(data) > MOST_JSON:
        raise IndexFileError(f"{path} has more than {MOST_JSON:,} bytes")
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise IndexFileError(f"{path} is damaged: {error}", "copy it again, or index again") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _numbers(path: Path) -> npt.NDArray[np.int64]:
    values = read_json(path)
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 2**31 for v in values):
        raise IndexFileError(f"{path} is damaged: it is not a list of numbers of token embeddings")
    return np.array(values, np.int64)


def absent(path: Path, names: tuple[str, ...], missing: list[str]) -> IndexFileError:
    """Return the error of an artifact some of whose files are `missing`."""
    if len(names) == 1:
        return IndexFileError(f"{path} has no {missing[0]}", "copy the whole index again, or index again")
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return IndexFileError(
        f"{path} has no {missing[0]}{more}; its metadata.json says that there are {len(names):,} chunks",
        "copy the whole index again, or index again",
    )


def _no_index(path: Path) -> IndexFileError:
    """Return what a folder without ``metadata.json`` is."""
    if (path / "manifest.json").is_file() and (path / "index").is_dir():
        return IndexFileError(f"{path} is a capture", f"give the index folder in it: {path / 'index'}")
    for pattern, what in _OTHER_LAYOUTS:
        if next(path.glob(pattern), None) is not None:
            return IndexFileError(f"{path} has {what}, which is not read", "index again with colbert-ai 0.2")
    if (path / "plan.json").is_file():
        return IndexFileError(
            f"{path} is an index that was not finished: it has a plan.json and no metadata.json", "index again"
        )
    return IndexFileError(
        f"{path} is no ColBERT index: it has no metadata.json", _below(path) or "give the folder that holds one"
    )


def _below(path: Path) -> str | None:
    """Return which folders below `path` to give in its place; None where none of them looks like an index.

    Libraries put indexes deep: RAGatouille in ``.ragatouille/colbert/indexes/NAME``, colbert-ai in
    ``experiments/NAME/indexes/NAME``, PyLate in ``indexes/NAME/fast_plaid_index``.
    """
    indexes: list[str] = []
    level = [path]
    seen = {path.resolve()}
    for _ in range(MOST_LEVELS):
        folders = []
        for folder in sorted(folder for parent in level for folder in _folders(parent)):
            # A link can lead back up.
            if len(seen) <= MOST_FOLDERS and (place := folder.resolve()) not in seen:
                seen.add(place)
                folders.append(folder)
        inside = {folder for folder in folders if _looks_like_index(folder)}
        indexes += [str(folder) for folder in folders if folder in inside]
        level = [folder for folder in folders if folder not in inside]
    if not indexes:
        return None
    if len(indexes) == 1:
        return f"give the index below it: {indexes[0]}"
    more = [f"{len(indexes) - 5} more"] if len(indexes) > 6 else []
    named = [*indexes[: 5 if more else 6], *more]
    return f"give one of the indexes below it: {', '.join(named[:-1])} or {named[-1]}"


def _folders(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        # A folder that may not be looked into holds no index that could be read.
        return []


def _looks_like_index(path: Path) -> bool:
    try:
        return (path / "metadata.json").is_file() and any((path / name).is_file() for name in _CENTROIDS)
    except OSError:
        return False


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


# The files of an index folder as fast-plaid writes them, which PyLate keeps in ``fast_plaid_index``:
#
#     metadata.json          sizes, written last                plan.json    written first
#     doclens.N.json         token embeddings per passage       N.metadata.json  sizes of chunk N
#     merged_codes.npy       centroid ids of all chunks, int64  merged_residuals.npy  packed residuals, uint8
#     N.codes.npy            the same of one chunk: kept by releases before 1.7, and by 1.7 between two changes
#     centroids.npy   avg_residual.npy   bucket_cutoffs.npy   bucket_weights.npy   cluster_threshold.npy
#     ivf.npy                passage ids per centroid           ivf_lengths.npy  how many
#
# A merged file ends in padding: as many rows as the last passage is shorter than the longest. They belong to no
# passage, are whatever was there before, and are not read. Where every chunk has a file of its own, fast-plaid merges
# those anew when they are newer, so they are read.
#
# Layout and merging were read from fast-plaid 1.7.0 (``search/storage.py``, ``search/load.py``) and seen in indexes
# that 1.4.6 and 1.7.0 made, updated and deleted from.

#: The folder that PyLate keeps an index in, and beside it the maps between its passage ids and the user's.
_PYLATE_FOLDER = "fast_plaid_index"
_PYLATE_MAPS = ("documents_ids_to_plaid_ids.sqlite", "plaid_ids_to_documents_ids.sqlite")
#: What only fast-plaid writes; the first of them before any other tensor.
_MARKS = ("centroids.npy", "merged_codes.npy", "0.codes.npy")
#: Embeddings of few passages or of the last updates, kept for the next update.
_PICKLES = ("embeddings.npy", "buffer.npy")
#: Rows of two arrays that are compared at a time.
_ROWS = 1 << 14
_PLAID_CHUNK_FILE = re.compile(r"(\d{1,6})\.(codes|residuals)\.npy")


class PlaidFolder(IndexFolder):
    """An index of fast-plaid on disk. Make one with `PlaidFolder.open`; it answers as an `IndexFolder` does."""

    library: ClassVar[str] = "fast-plaid"

    @classmethod
    def open(cls, path: Path) -> PlaidFolder:
        """Open the index folder `path`."""
        if not (path / "metadata.json").is_file():
            raise IndexFileError(f"{path} is an index that was not finished: it has no metadata.json", "index again")
        metadata = read_json(path / "metadata.json")
        if not isinstance(metadata, dict):
            raise IndexFileError(f"{path / 'metadata.json'} is not what fast-plaid writes")
        chunks = metadata.get("num_chunks")
        if type(chunks) is not int or not 0 < chunks <= MOST_CHUNKS:
            raise IndexFileError(f"{path / 'metadata.json'} says that there are {str(chunks)[:20]} chunks")
        return cls(path, metadata, chunks, "ivf.npy", tuple(_notes(path, chunks)))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings and sizes by name."""
        return self.metadata

    def setting(self, name: str) -> Any:
        """Return a setting of the index (``dim``, ``nbits``), or None."""
        if name != "dim":
            return self.metadata.get(name)
        try:
            shape = array_of(self.path / "centroids.npy").shape
        except IndexFileError:
            # Its own artifact says what is wrong with it.
            return None
        return shape[1] if len(shape) == 2 else None

    def files(self, name: str) -> tuple[str, ...]:
        """Return the names of the files that hold the artifact `name`, in order."""
        if name == "doclens":
            return super().files(name)
        if name not in ("codes", "residuals"):
            return (f"{name}.npy",)
        merged, chunks = self.path / f"merged_{name}.npy", self._chunk_files(name)
        if merged.exists() and not (all(self._has(file) for file in chunks) and self._is_outdated(merged)):
            return (merged.name,)
        return chunks if any(self._has(file) for file in chunks) else (merged.name,)

    def tensors(self, name: str) -> tuple[StoredArray, ...]:
        """Return the final artifact `name`: one array for each of its chunks.

        Raises
        ------
        IndexFileError
            When a file is missing, damaged or holds something else.
        """
        names = self.files(name)
        missing = [file for file in names if not self._has(file)]
        if self.lacks(name) and name != "cluster_threshold":
            raise IndexFileError(
                f"{self.path} has no {missing[0]}: it was made with compress_only, and cannot be searched",
                "index again without compress_only",
            )
        if missing:
            raise absent(self.path, names, missing)
        if name not in ("codes", "residuals") or names == self._chunk_files(name):
            return tuple(array_of(self.path / file) for file in names)
        whole = array_of(self.path / names[0])
        ends, padding = self._ends
        if not whole.shape or whole.shape[0] == ends[-1] + padding:
            return tuple(whole.rows(start, stop) for start, stop in pairwise(ends)) if whole.shape else (whole,)
        return (whole.rows(0, max(whole.shape[0] - padding, 0)),)

    def lacks(self, name: str) -> bool:
        """Return whether the index has no artifact `name`, by how it was made.

        Early releases write no threshold, and ``compress_only`` leaves the `ivf` out.
        """
        left_out = name in ("ivf", "ivf_lengths") and self.metadata.get("compress_only") is True
        return (left_out or name == "cluster_threshold") and not self._has(f"{name}.npy")

    def contradictions(self) -> list[str]:
        """Return which of the chunks' own files do not hold what the merged file does: either may be searched with."""
        return [
            f"{file} does not hold what merged_{name}.npy does"
            for name in ("codes", "residuals")
            if self.files(name) == (f"merged_{name}.npy",) and not self._is_immutable
            for file in self._unlike(name)
        ]

    def _unlike(self, name: str) -> list[str]:
        files = self._chunk_files(name)
        try:
            chunks = self.tensors(name) if any(map(self._has, files)) else ()
        except IndexFileError:
            # Told where the artifact is compared.
            return []
        if len(chunks) != len(files):
            return []
        return [
            file for file, part in zip(files, chunks, strict=True) if self._has(file) and not self._equal(file, part)
        ]

    def _equal(self, file: str, part: StoredArray) -> bool:
        try:
            other = array_of(self.path / file)
            if (other.dtype, other.shape) != (part.dtype, part.shape):
                return False
            left, right = other.open().array, part.open().array
        except IndexFileError:
            return False
        return all(np.array_equal(left[at : at + _ROWS], right[at : at + _ROWS]) for at in range(0, len(left), _ROWS))

    @cached_property
    def _ends(self) -> tuple[list[int], int]:
        """Return where each chunk's rows begin and the last ends, and how many rows of padding follow."""
        doclens = self.doclens()
        lengths = np.concatenate(doclens)
        padding = int(lengths.max() - lengths[-1]) if lengths.size else 0
        return list(accumulate((int(part.sum()) for part in doclens), initial=0)), padding

    def _is_outdated(self, merged: Path) -> bool:
        """Whether a merged file has other rows than the chunks: fast-plaid then merges their own files anew."""
        try:
            ends, padding = self._ends
            return not self._is_immutable and array_of(merged).shape[:1] != (ends[-1] + padding,)
        except IndexFileError:
            return False

    def _chunk_files(self, name: str) -> tuple[str, ...]:
        return tuple(f"{chunk}.{name}.npy" for chunk in range(self.chunks))

    @property
    def _is_immutable(self) -> bool:
        """Whether `freeze()` was called: fast-plaid then reads nothing but the merged files."""
        return self.metadata.get("frozen") is True and self.metadata.get("mutable") is not True


def is_plaid(path: Path) -> bool:
    """Return whether a folder holds what fast-plaid writes, finished or not."""
    return any((path / mark).exists() for mark in _MARKS) and not (path / "centroids.pt").exists()


def _notes(path: Path, chunks: int) -> list[str]:
    present = {int(m[1]) for p in path.iterdir() if (m := _PLAID_CHUNK_FILE.fullmatch(p.name))}
    left = sorted(n for n in present if n >= chunks)
    notes = [f"chunk {n} is not counted by metadata.json; it is left from another run" for n in left[:1]]
    pickles = [path / name for name in _PICKLES]
    if path.name == _PYLATE_FOLDER:
        pickles += [path.parent / name for name in _PYLATE_MAPS]
    if names := [file.name for file in pickles if file.exists()]:
        notes.append(f"{', '.join(names)}: made of pickles, and so not read")
    return notes
