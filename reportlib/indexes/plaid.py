"""The files of an index folder as fast-plaid writes them, which PyLate keeps in ``fast_plaid_index``.

::

    metadata.json          sizes, written last                plan.json    written first
    doclens.N.json         token embeddings per passage       N.metadata.json  sizes of chunk N
    merged_codes.npy       centroid ids of all chunks, int64  merged_residuals.npy  packed residuals, uint8
    N.codes.npy            the same of one chunk: kept by releases before 1.7, and by 1.7 between two changes
    centroids.npy   avg_residual.npy   bucket_cutoffs.npy   bucket_weights.npy   cluster_threshold.npy
    ivf.npy                passage ids per centroid           ivf_lengths.npy  how many

A merged file ends in padding: as many rows as the last passage is shorter than the longest. They belong to no
passage, are whatever was there before, and are not read. Where every chunk has a file of its own, fast-plaid merges
those anew when they are newer, so they are read.

Layout and merging were read from fast-plaid 1.7.0 (``search/storage.py``, ``search/load.py``) and seen in indexes
that 1.4.6 and 1.7.0 made, updated and deleted from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from reportlib.errors import IndexFileError
from reportlib.indexes.folder import MOST_CHUNKS, IndexFolder, absent, read_json
from reportlib.indexes.npyfile import StoredArray, array_of

#: The folder that PyLate keeps an index in, and beside it the maps between its passage ids and the user's.
_PYLATE_FOLDER = "fast_plaid_index"
_PYLATE_MAPS = ("documents_ids_to_plaid_ids.sqlite", "plaid_ids_to_documents_ids.sqlite")
#: What only fast-plaid writes; the first of them before any other tensor.
_MARKS = ("centroids.npy", "merged_codes.npy", "0.codes.npy")
#: Embeddings of few passages or of the last updates, kept for the next update.
_PICKLES = ("embeddings.npy", "buffer.npy")
#: Rows of two arrays that are compared at a time.
_ROWS = 1 << 14
_CHUNK_FILE = re.compile(r"(\d{1,6})\.(codes|residuals)\.npy")


class PlaidFolder(IndexFolder):
    """An index of fast-plaid on disk. Make one with `PlaidFolder.open`; it answers as an `IndexFolder` does."""

    library: ClassVar[str] = "fast-plaid"

    @classmethod
    def open(cls, path: Path) -> PlaidFolder:
        """Open the index folder `path`.

        Raises
        ------
        IndexFileError
            When it is no finished index of fast-plaid.
        """
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

    def _has(self, file: str) -> bool:
        return (self.path / file).exists() or (self.path / file).is_symlink()

    @property
    def _is_immutable(self) -> bool:
        """Whether `freeze()` was called: fast-plaid then reads nothing but the merged files."""
        return self.metadata.get("frozen") is True and self.metadata.get("mutable") is not True


def is_plaid(path: Path) -> bool:
    """Return whether a folder holds what fast-plaid writes, finished or not."""
    return any((path / mark).exists() for mark in _MARKS) and not (path / "centroids.pt").exists()


def _notes(path: Path, chunks: int) -> list[str]:
    present = {int(m[1]) for p in path.iterdir() if (m := _CHUNK_FILE.fullmatch(p.name))}
    left = sorted(n for n in present if n >= chunks)
    notes = [f"chunk {n} is not counted by metadata.json; it is left from another run" for n in left[:1]]
    pickles = [path / name for name in _PICKLES]
    if path.name == _PYLATE_FOLDER:
        pickles += [path.parent / name for name in _PYLATE_MAPS]
    if names := [file.name for file in pickles if file.exists()]:
        notes.append(f"{', '.join(names)}: made of pickles, and so not read")
    return notes
