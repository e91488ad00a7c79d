"""One side of a comparison of index folders: its artifacts, what is wrong with it, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reportlib.artifacts import CAPTURE_POINTS, CapturePoint, point
from reportlib.compare.chunks import Chunked
from reportlib.compare.contradictions import Examination
from reportlib.compare.stored import StoredChunks
from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder
from reportlib.store import Tensor

Record = dict[str, Any]
#: Called with how many bytes of both sides have been read, and how many there are.
Progress = Callable[[int, int], None]

_DOCLENS = replace(point("doclens"), stage="index", kind="integer", final=True, file="doclens.json")
#: What is compared: ColBERT's final artifacts, and the passages' lengths that they are of.
POINTS: tuple[CapturePoint, ...] = (_DOCLENS, *(p for p in CAPTURE_POINTS if p.final))
#: What fast-plaid stores beside those, in files of numpy's format.
THRESHOLD = CapturePoint(
    name="cluster_threshold",
    stage="index",
    kind="float",
    description="Distance from its centroid beyond which an update gives an embedding a new one",
    final=True,
    file="cluster_threshold.npy",
)
_OF_LIBRARY = {
    "colbert-ai": POINTS,
    "fast-plaid": (_DOCLENS, *(replace(p, file=f"{p.name}.npy") for p in POINTS[1:]), THRESHOLD),
}


@dataclass
class Meter:
    """How much has been read."""

    total: int
    progress: Progress
    done: int = 0

    def add(self, count: int) -> None:
        """Take note of `count` bytes more."""
        self.done = min(self.done + count, self.total)
        self.progress(self.done, self.total)


class Reader:
    """One side's artifacts, each looked up once; what could not be read stays so."""

    def __init__(self, index: IndexFolder, side: str) -> None:
        self.index = index
        self.side = side
        self.meter = Meter(0, lambda _done, _total: None)
        self._known: dict[str, Chunked | IndexFileError] = {}

    def artifact(self, name: str) -> Chunked:
        """Return an artifact, or raise what was found wrong with it, now or before."""
        if name not in self._known:
            try:
                self._known[name] = self._load(name)
            except IndexFileError as error:
                self._known[name] = error
        found = self._known[name]
        if isinstance(found, IndexFileError):
            raise found
        return found

    def damaged(self, name: str, error: IndexFileError) -> None:
        """Remember that an artifact turned out to be damaged."""
        self._known[name] = error

    def known(self, name: str) -> Chunked | None:
        """Return an artifact that could be read, else None."""
        try:
            return self.artifact(name)
        except IndexFileError:
            return None

    @property
    def points(self) -> tuple[CapturePoint, ...]:
        """What is compared of an index of this library."""
        return _OF_LIBRARY[self.index.library]

    @property
    def nbytes(self) -> int:
        """How many bytes the tensors have that could be found."""
        found = (self.known(place.name) for place in self.points)
        return sum(s.nbytes for chunks in found if isinstance(chunks, StoredChunks) for s in chunks.stored)

    def _read(self, count: int) -> None:
        self.meter.add(count)

    def _load(self, name: str) -> Chunked:
        if name != "doclens":
            return StoredChunks.of_files(name, self.index.tensors(name), self.side, self._read)
        lists = self.index.doclens()
        return Chunked(name, self.index.files(name), tuple(Tensor(x, "int64") for x in lists), ("",) * len(lists))


def inconsistent(reader: Reader) -> Examination:
    """Return where the sizes of one side's files contradict one another; what could not be read contradicts nothing."""
    seen = Examination()
    codes, residuals, doclens = (reader.known(n) for n in ("codes", "residuals", "doclens"))
    if codes and residuals and codes.rows != residuals.rows:
        seen.contradictions.append("codes and residuals are of different numbers of token embeddings")
    if codes and doclens:
        sums = tuple(int(part.array.sum()) for part in doclens.parts)
        if sums != codes.rows:
            seen.contradictions.append(f"doclens count {sum(sums):,} token embeddings, codes {sum(codes.rows):,}")
    if codes:
        _note_count(reader, "num_embeddings", "token embeddings", sum(codes.rows), seen)
    centroids, lengths = reader.known("centroids"), reader.known("ivf_lengths")
    if centroids and lengths and centroids.rows != lengths.rows:
        seen.contradictions.append(f"there are {centroids.rows[0]:,} centroids, and lists for {lengths.rows[0]:,}")
    if centroids:
        _note_count(reader, "num_partitions", "centroids", centroids.rows[0], seen)
    if doclens:
        _note_count(reader, "num_documents", "passages", doclens.size, seen)
    _check_settings(reader, seen)
    seen.contradictions.extend(reader.index.contradictions())
    return seen


def _check_settings(reader: Reader, seen: Examination) -> None:
    """Tell which shapes are not those that dim and nbits in ``metadata.json`` give."""
    dim, nbits = (_number(reader.index.setting(name)) for name in ("dim", "nbits"))
    residuals, centroids = reader.known("residuals"), reader.known("centroids")
    if residuals and dim is not None and nbits is not None and residuals.shape[1:] != (dim * nbits // 8,):
        seen.contradictions.append(f"residuals of shape {list(residuals.shape)} do not have dim {dim} at nbits {nbits}")
    if centroids and dim is not None and centroids.shape[1:] != (dim,):
        seen.contradictions.append(f"centroids of shape {list(centroids.shape)} do not have dim {dim}")
    if nbits is None or not 0 < nbits <= 8:
        return
    for name, number in (("bucket_cutoffs", 2**nbits - 1), ("bucket_weights", 2**nbits)):
        buckets = reader.known(name)
        if buckets and buckets.size != number:
            seen.contradictions.append(f"there are {buckets.size:,} {name}, where nbits {nbits} takes {number:,}")


def _note_count(reader: Reader, key: str, noun: str, number: int, seen: Examination) -> None:
    """Note what ``metadata.json`` counts, where the tensors have another number."""
    counted = reader.index.metadata.get(key)
    if type(counted) is int and counted != number:
        updater = key == "num_embeddings" and reader.index.library == "colbert-ai"
        by = "; colbert-ai's IndexUpdater leaves such a count" if updater else ""
        seen.notes.append(f"metadata.json counts {counted:,} {noun}, the tensors have {number:,}{by}")


def described(reader: Reader, notes: Sequence[str] = ()) -> Record:
    """Return what is known of one side's index as a whole; None where a file could not be read."""
    index = reader.index
    codes, doclens, centroids = (reader.known(n) for n in ("codes", "doclens", "centroids"))
    stored = [s for c in (codes, centroids) if isinstance(c, StoredChunks) for s in c.stored]
    return {
        "path": str(index.path),
        "chunks": index.chunks,
        "passages": doclens.size if doclens else None,
        "embeddings": codes.size if codes else None,
        "centroids": centroids.rows[0] if centroids else None,
        "dim": _number(index.setting("dim")),
        "nbits": _number(index.setting("nbits")),
        "ivf_file": index.ivf_file,
        "bytes": reader.nbytes,
        "devices": sorted({s.device for s in stored} - {""}),
        "notes": [*index.notes, *notes],
    }


def _number(value: Any) -> int | None:
    return value if type(value) is int else None
