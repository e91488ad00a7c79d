"""Compare two plain ColBERT index folders: final artifacts only, any number of chunks, no captures.

Chunks are compared as they lie one after another, so two indexes of other chunk counts can be identical. One
file of each side is mapped at a time, and its CRC-32 is checked just before it is compared: a comparison of
any size reads the disk once and holds a few blocks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.artifacts import CAPTURE_POINTS, CapturePoint, point
from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked
from reportlib.compare.pipeline import tensor_record
from reportlib.compare.results import VERDICTS, Groups, Side, TensorComparison
from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder, StoredTensor
from reportlib.store import CARRIERS, Tensor

Record = dict[str, Any]
Array = npt.NDArray[Any]
#: Called with how many bytes of both sides have been read, and how many there are.
Progress = Callable[[int, int], None]

SCHEMA_VERSION = 1
#: Settings that say where, when or by how many processes an index was made: shown, but no difference of indexes.
PLACES = {
    *("index_path", "index_root", "index_name", "root", "experiment", "name", "checkpoint", "collection", "queries"),
    *("triples", "rank", "nranks", "gpus", "resume", "overwrite", "avoid_fork_if_possible", "load_index_with_mmap"),
}
_DOCLENS = replace(point("doclens"), stage="index", kind="integer", final=True, file="doclens.json")
#: What is compared: ColBERT's final artifacts, and the passages' lengths that they are of.
POINTS: tuple[CapturePoint, ...] = (_DOCLENS, *(p for p in CAPTURE_POINTS if p.final))


class _SideError(IndexFileError):
    """What is wrong with one side's file."""

    def __init__(self, side: str, what: str, mend: str | None = None) -> None:
        super().__init__(what, mend)
        self.side = side


@dataclass(frozen=True)
class StoredChunks(Chunked):
    """One artifact of an index, chunk by chunk in its files; `parts` stand in for their shapes alone.

    Attributes
    ----------
    stored : tuple of StoredTensor
        The chunks.
    side : str
        ``a`` or ``b``: whom an error is about.
    read : callable
        Called with a chunk's bytes when it is read for the first time.
    """

    stored: tuple[StoredTensor, ...] = ()
    side: str = "a"
    read: Callable[[int], None] = lambda _: None
    _edges: list[int] = field(default_factory=list)
    _checked: set[int] = field(default_factory=set)
    _mapped: dict[int, Array] = field(default_factory=dict)

    @classmethod
    def of_files(
        cls, name: str, stored: Sequence[StoredTensor], side: str, read: Callable[[int], None]
    ) -> StoredChunks:
        """Return the artifact whose chunks are `stored`.

        Raises
        ------
        IndexFileError
            When its chunks have several dtypes or widths.
        """
        if len({(s.dtype, s.shape[1:], len(s.shape)) for s in stored}) != 1:
            raise IndexFileError(f"the chunks of {name} in {stored[0].path.parent} have several dtypes or widths")
        # Arrays of the right shape without memory: what is read is mapped in `flat`.
        parts = tuple(Tensor(np.broadcast_to(np.empty((), CARRIERS[s.dtype]), s.shape), s.dtype) for s in stored)
        names = tuple(s.path.name for s in stored)
        made = cls(name, names, parts, ("",) * len(names), tuple(stored), side, read)
        made._edges.extend(Chunked.offsets(made))
        return made

    def offsets(self) -> tuple[int, ...]:
        """Return where each chunk starts in the flat whole, and where the last one ends."""
        return tuple(self._edges)

    def flat(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the flat whole; copied only across a chunk's end.

        Raises
        ------
        IndexFileError
            When a chunk's bytes are not those that were saved.
        """
        first = max(bisect_right(self._edges, start) - 1, 0)
        pieces = []
        for number, (low, high) in enumerate(pairwise(self._edges[first:]), first):
            if low >= stop:
                break
            if start < high:
                pieces.append(self._chunk(number)[max(start - low, 0) : min(stop, high) - low])
        if not pieces:
            return np.empty(0, CARRIERS[self.dtype])
        return np.asarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))

    def check(self) -> None:
        """Read the chunks that nobody has read, for their CRC-32."""
        for number in range(len(self.stored)):
            if number not in self._checked:
                self._chunk(number)

    def _chunk(self, number: int) -> Array:
        if number not in self._mapped:
            # A map keeps its file open, and a process may open a thousand or so.
            self._mapped.clear()
            fresh = number not in self._checked
            try:
                self._mapped[number] = self.stored[number].open(check=fresh).array.reshape(-1)
            except IndexFileError as error:
                raise _SideError(self.side, error.what, error.mend) from error
            if fresh:
                self._checked.add(number)
                self.read(self.stored[number].nbytes)
        return self._mapped[number]


def compare_indexes(a: Path, b: Path, progress: Progress | None = None) -> Record:
    """Compare the index folder `b` with the index folder `a`.

    A file that is missing, damaged or refused leaves its artifact's question open; the others are compared.

    Parameters
    ----------
    a, b : Path
        Index folders of colbert-ai 0.2.
    progress : callable, optional
        Called after every chunk.

    Returns
    -------
    dict
        What ``reports/COMPARE.md`` describes.

    Raises
    ------
    IndexFileError
        When a folder holds no index.
    """
    left, right = _Reader(IndexFolder.open(a), "a"), _Reader(IndexFolder.open(b), "b")
    meter = _Meter(sum(_sizes(left.index)) + sum(_sizes(right.index)), progress or (lambda _done, _total: None))
    left.meter = right.meter = meter
    records = [_compare(left, right, each) for each in POINTS]
    problems = [*_inconsistent(left), *_inconsistent(right)]
    seen = Counter(r["verdict"] for r in records if r["verdict"])
    open_questions = [r for r in records if r["problems"]]
    if open_questions or problems:
        verdict = "inconclusive"
    else:
        verdict = "identical" if seen["identical"] == len(records) else "different"
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "a": _described(left),
        "b": _described(right),
        "summary": {**{v: seen[v] for v in VERDICTS}, "unread": len(open_questions), "total": len(records)},
        "artifacts": records,
        "settings": _settings(left.index.metadata, right.index.metadata),
        "problems": problems,
    }


@dataclass
class _Meter:
    """How much has been read."""

    total: int
    progress: Progress
    done: int = 0

    def add(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        self.progress(self.done, self.total)


class _Reader:
    """One side's artifacts, each looked up once; what could not be read stays so."""

    def __init__(self, index: IndexFolder, side: str) -> None:
        self.index = index
        self.side = side
        self.meter = _Meter(0, lambda _done, _total: None)
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

    def _load(self, name: str) -> Chunked:
        if name != "doclens":
            return StoredChunks.of_files(name, self.index.tensors(name), self.side, self.meter.add)
        lists = self.index.doclens()
        return Chunked(name, self.index.files(name), tuple(Tensor(x, "int64") for x in lists), ("",) * len(lists))


def _sizes(index: IndexFolder) -> list[int]:
    found: list[int] = []
    for name in (p.name for p in POINTS if p.name != "doclens"):
        try:
            found.extend(s.nbytes for s in index.tensors(name))
        except IndexFileError:
            continue
    return found


def _compare(left: _Reader, right: _Reader, place: CapturePoint) -> Record:
    """Compare one artifact, or say why it cannot be."""
    sides: list[Chunked] = []
    problems: list[Record] = []
    for reader in (left, right):
        try:
            sides.append(reader.artifact(place.name))
        except IndexFileError as error:
            problems.append(_problem(reader, error))
    if not problems:
        try:
            if place.name in ("ivf", "ivf_lengths"):
                _check_ivf(left, right)
            found = tensors.compare(sides[0], sides[1], _groups(left, right) if place.name == "ivf" else None)
            for side in sides:
                if isinstance(side, StoredChunks):
                    side.check()
        except _SideError as error:
            reader = left if error.side == "a" else right
            reader.damaged(place.name, error)
            problems.append(_problem(reader, error))
        else:
            record = _plain(tensor_record(place, found))
            return {**record, "files": list(left.index.files(place.name)), "problems": []}
    return {**_unread(place, problems), "files": list(left.index.files(place.name))}


def _problem(reader: _Reader, error: IndexFileError) -> Record:
    return {"side": reader.side, "what": error.what, "mend": error.mend}


def _plain(record: Record) -> Record:
    """Return a record without the hashes that only a capture's manifest has."""
    return {**record, **{s: {**record[s], "sha256": []} for s in ("a", "b")}}


def _unread(place: CapturePoint, problems: list[Record]) -> Record:
    nothing = Side("", (), (), ())
    blank = tensor_record(place, TensorComparison("identical", nothing, nothing, elements=0))
    text = " ".join(f"Could not be read in {p['side'].upper()}: {p['what']}." for p in problems)
    return {**blank, "verdict": None, "elements": None, "a": None, "b": None, "text": text, "problems": problems}


def _check_ivf(left: _Reader, right: _Reader) -> None:
    """Raise when the sides list different things for each centroid."""
    if left.index.ivf_file != right.index.ivf_file:
        old = left if left.index.ivf_file == "ivf.pt" else right
        raise _SideError(
            old.side,
            f"{old.index.path} has an older ivf.pt (token ids per centroid), the other an ivf.pid.pt (passage ids)",
            "load it once with colbert-ai 0.2, which writes its ivf.pid.pt",
        )


def _groups(left: _Reader, right: _Reader) -> Groups:
    """Return how long each centroid's list is on both sides; raise where that does not fit the lists."""
    sides = []
    for reader in (left, right):
        try:
            many = reader.artifact("ivf_lengths")
        except IndexFileError as error:
            raise _SideError(reader.side, error.what, error.mend) from error
        values = many.flat(0, many.size)
        if values.dtype.kind != "i" or (values < 0).any() or values.sum(dtype=np.int64) > reader.artifact("ivf").size:
            path = reader.index.path / reader.index.ivf_file
            raise _SideError(reader.side, f"{path} is damaged: its lengths do not fit its lists", "index again")
        sides.append(values.astype(np.int64))
    return Groups(sides[0], sides[1])


def _inconsistent(reader: _Reader) -> list[Record]:
    """Return where one side's files contradict one another; what could not be read contradicts nothing."""
    found: list[str] = []
    codes, residuals, doclens = (reader.known(n) for n in ("codes", "residuals", "doclens"))
    if codes and residuals and codes.rows != residuals.rows:
        found.append("codes and residuals are of different numbers of token embeddings")
    if codes and doclens:
        sums = tuple(int(part.array.sum()) for part in doclens.parts)
        if sums != codes.rows:
            found.append(f"doclens count {sum(sums):,} token embeddings, codes {sum(codes.rows):,}")
    dim, nbits = reader.index.setting("dim"), reader.index.setting("nbits")
    if residuals and type(dim) is int and type(nbits) is int and residuals.shape[1:] != (dim * nbits // 8,):
        found.append(f"residuals of shape {list(residuals.shape)} do not have dim {dim} at nbits {nbits}")
    centroids, lengths = reader.known("centroids"), reader.known("ivf_lengths")
    if centroids and lengths and centroids.rows != lengths.rows:
        found.append(f"there are {centroids.rows[0]:,} centroids, and lists for {lengths.rows[0]:,}")
    what = "its files do not belong together:"
    return [
        {"side": reader.side, "what": f"{reader.index.path}: {what} {text}", "mend": "index again"} for text in found
    ]


def _described(reader: _Reader) -> Record:
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
        "bytes": sum(_sizes(index)),
        "devices": sorted({s.device for s in stored}),
        "notes": list(index.notes),
    }


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Record]:
    """Return the settings and sizes in ``metadata.json`` that differ, those of place last."""
    left, right = ({**m["config"], **{k: v for k, v in m.items() if k != "config"}} for m in (a, b))
    unlike = [k for k in dict.fromkeys([*left, *right]) if (k in left, left.get(k)) != (k in right, right.get(k))]
    found = [{"name": k, "a": left.get(k), "b": right.get(k), "place": k in PLACES} for k in unlike]
    return sorted(found, key=lambda each: bool(each["place"]))
