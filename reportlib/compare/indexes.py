"""Compare two plain index folders of colbert-ai or fast-plaid: final artifacts only, any number of chunks, no captures.

Chunks are compared as they lie one after another, so two indexes of other chunk counts can be identical. One
file of each side is mapped at a time, and its CRC-32 is checked just before it is compared: a comparison of
any size reads the disk once and holds a few blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reportlib.artifacts import CAPTURE_POINTS, CapturePoint, point
from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked, SideError, StoredChunks
from reportlib.compare.contradictions import Examination, examine
from reportlib.compare.pipeline import tensor_record
from reportlib.compare.renumbering import renumbering
from reportlib.compare.verdicts import VERDICTS, Groups, Side, TensorComparison
from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder, open_index
from reportlib.store import Tensor

# One side of a comparison of index folders: its artifacts, what is wrong with it, and what it is.

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


SCHEMA_VERSION = 1
#: Settings that say where, when or by how many processes an index was made: shown, but no difference of indexes.
PLACES = {
    *("index_path", "index_root", "index_name", "root", "experiment", "name", "checkpoint", "collection", "queries"),
    *("triples", "rank", "nranks", "gpus", "resume", "overwrite", "avoid_fork_if_possible", "load_index_with_mmap"),
    *("frozen", "mutable"),
}


def compare_indexes(a: Path, b: Path, progress: Progress | None = None) -> Record:
    """Compare the index folder `b` with the index folder `a`.

    A file that is missing, damaged or refused leaves its artifact's question open; the others are compared.

    Parameters
    ----------
    a, b : Path
        Index folders of colbert-ai 0.2, or of fast-plaid.
    progress : callable, optional
        Called after every chunk.

    Returns
    -------
    dict
        What ``docs/compare.md`` describes.

    Raises
    ------
    IndexFileError
        When a folder holds no index, or they are of two libraries.
    """
    left, right = Reader(open_index(a), "a"), Reader(open_index(b), "b")
    _check_libraries(left.index, right.index)
    meter = Meter(left.nbytes + right.nbytes, progress or (lambda _done, _total: None))
    left.meter = right.meter = meter
    records = [_compare(left, right, each) for each in _points(left, right)]
    seen = Counter(r["verdict"] for r in records if r["verdict"])
    open_questions = [r for r in records if r["problems"]]
    same = seen["identical"] == len(records)
    examined = _examine(left, right, same=same)
    problems = [problem for one in examined for problem in one.problems]
    certain = not open_questions and not any(one.uncertain for one in examined)
    verdict = "identical" if same else "different"
    if not certain or (same and problems):
        verdict = "inconclusive"
    exchanged = _renumbering(left, right, records) if certain else None
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "a": described(left, examined[0].notes),
        "b": described(right, examined[1].notes),
        "summary": {**{v: seen[v] for v in VERDICTS}, "unread": len(open_questions), "total": len(records)},
        "artifacts": records,
        "settings": _settings(left.index, right.index),
        "problems": problems,
        "renumbering": exchanged,
    }


def _check_libraries(a: IndexFolder, b: IndexFolder) -> None:
    """Raise where the sides were written by two libraries: hardly a value of theirs means the same."""
    if a.library != b.library:
        raise IndexFileError(
            f"{a.path} is an index of {a.library} and {b.path} one of {b.library}: they cannot be compared",
            "give two indexes that the same library wrote",
        )


def _points(left: Reader, right: Reader) -> list[CapturePoint]:
    """Return what is compared: all but what neither side has, by how it was made."""
    sides = (left.index, right.index)
    return [place for place in left.points if not all(index.lacks(place.name) for index in sides)]


@dataclass(frozen=True)
class _Examined:
    """What is wrong with one side by itself; `uncertain` where nothing can be told because of it."""

    problems: list[Record]
    uncertain: bool
    notes: list[str]


def _examine(left: Reader, right: Reader, *, same: bool) -> list[_Examined]:
    """Look for what each side says against itself; where all bytes are the `same`, their values are looked at once."""
    examined: list[_Examined] = []
    values = Examination()
    for reader in (left, right):
        sizes, damage = inconsistent(reader), []
        try:
            if reader is left or not same:
                known = {place.name: reader.known(place.name) for place in reader.points}
                values = examine(known, of_tokens=reader.index.ivf_file == "ivf.pt", library=reader.index.library)
        except IndexFileError as error:
            values, damage = Examination(), [_problem(reader, error)]
        fatal = [*sizes.contradictions, *values.contradictions]
        problems = [_contradiction(reader, text) for text in (*fatal, *values.ivf)]
        examined.append(_Examined([*damage, *problems], bool(damage or fatal), [*sizes.notes, *values.notes]))
    return examined


def _contradiction(reader: Reader, text: str) -> Record:
    what = f"{reader.index.path}: its files do not belong together: {text}"
    return {"side": reader.side, "what": what, "mend": "index again"}


def _renumbering(left: Reader, right: Reader, records: list[Record]) -> Record | None:
    """Return how the numbering of the centroids differs, where they differ by more than a tolerance."""
    verdicts = {record["name"]: record["verdict"] for record in records}
    if verdicts["centroids"] != "different" or "ivf" not in verdicts:
        return None
    a, b = ({name: reader.artifact(name) for name in ("centroids", "codes", "ivf")} for reader in (left, right))
    found = renumbering(a, b, _groups(left, right))
    if found is None:
        return None
    others = {verdict for name, verdict in verdicts.items() if name not in ("centroids", "codes", "ivf", "ivf_lengths")}
    return {**found.record(), "only": found.explains and others == {"identical"}}


def _compare(left: Reader, right: Reader, place: CapturePoint) -> Record:
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
                    side.release()
        except SideError as error:
            reader = left if error.side == "a" else right
            reader.damaged(place.name, error)
            problems.append(_problem(reader, error))
        else:
            record = _plain(tensor_record(place, found))
            return {**record, "files": list(left.index.files(place.name)), "problems": []}
    return {**_unread(place, problems), "files": list(left.index.files(place.name))}


def _problem(reader: Reader, error: IndexFileError) -> Record:
    return {"side": reader.side, "what": error.what, "mend": error.mend}


def _plain(record: Record) -> Record:
    """Return a record without the hashes that only a capture's manifest has."""
    return {**record, **{s: {**record[s], "sha256": []} for s in ("a", "b")}}


def _unread(place: CapturePoint, problems: list[Record]) -> Record:
    nothing = Side("", (), (), ())
    blank = tensor_record(place, TensorComparison("identical", nothing, nothing, elements=0))
    text = " ".join(f"Could not be read in {p['side'].upper()}: {p['what']}." for p in problems)
    return {**blank, "verdict": None, "elements": None, "a": None, "b": None, "text": text, "problems": problems}


def _check_ivf(left: Reader, right: Reader) -> None:
    """Raise when the sides list different things for each centroid."""
    if left.index.ivf_file != right.index.ivf_file:
        old = left if left.index.ivf_file == "ivf.pt" else right
        raise SideError(
            old.side,
            f"{old.index.path} has an older ivf.pt (token ids per centroid), the other an ivf.pid.pt (passage ids)",
            "load it once with colbert-ai 0.2, which writes its ivf.pid.pt",
        )


def _groups(left: Reader, right: Reader) -> Groups:
    """Return how long each centroid's list is on both sides; raise where that does not fit the lists."""
    sides = []
    for reader in (left, right):
        try:
            many = reader.artifact("ivf_lengths")
        except IndexFileError as error:
            raise SideError(reader.side, error.what, error.mend) from error
        values = many.flat(0, many.size)
        size = reader.artifact("ivf").size
        # One by one first: lengths from a hostile file can overflow their sum.
        fit = values.dtype.kind == "i" and not ((values < 0) | (values > size)).any()
        if not fit or values.sum(dtype=np.int64) > size:
            path = reader.index.path / reader.index.ivf_file
            raise SideError(reader.side, f"{path} is damaged: its lengths do not fit its lists", "index again")
        sides.append(values.astype(np.int64))
    return Groups(sides[0], sides[1])


def _settings(a: IndexFolder, b: IndexFolder) -> list[Record]:
    """Return the settings and sizes in ``metadata.json`` that differ, those of place last."""
    left, right = a.settings, b.settings
    unlike = [k for k in dict.fromkeys([*left, *right]) if (k in left, left.get(k)) != (k in right, right.get(k))]
    found = [{"name": k, "a": left.get(k), "b": right.get(k), "place": k in PLACES} for k in unlike]
    return sorted(found, key=lambda each: bool(each["place"]))
