"""Compare two plain index folders of colbert-ai or fast-plaid: final artifacts only, any number of chunks, no captures.

Chunks are compared as they lie one after another, so two indexes of other chunk counts can be identical. One
file of each side is mapped at a time, and its CRC-32 is checked just before it is compared: a comparison of
any size reads the disk once and holds a few blocks.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportlib.artifacts import CAPTURE_POINTS, CapturePoint, point
from reportlib.compare import chunks, tensors
from reportlib.compare.chunks import Chunked, SideError, StoredChunks
from reportlib.compare.pipeline import tensor_record
from reportlib.compare.verdicts import (
    VERDICTS,
    Groups,
    Integers,
    Side,
    TensorComparison,
    equal_groups,
    runs,
    sorted_within,
    zeros_from,
)
from reportlib.errors import IndexFileError
from reportlib.floats import Array, bits, is_float, not_finite, widen
from reportlib.indexes import IndexFolder, open_index
from reportlib.store import Tensor
from reportlib.words.formats import listing, plural

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

    def _load(self, name: str) -> Chunked:
        if name != "doclens":
            return StoredChunks.of_files(name, self.index.tensors(name), self.side, lambda count: self.meter.add(count))
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
    one, other = left.index, right.index
    # Hardly a value of two libraries' means the same.
    if one.library != other.library:
        raise IndexFileError(
            f"{one.path} is an index of {one.library} and {other.path} one of {other.library}: they cannot be compared",
            "give two indexes that the same library wrote",
        )
    meter = Meter(left.nbytes + right.nbytes, progress or (lambda _done, _total: None))
    left.meter = right.meter = meter
    places = [place for place in left.points if not (one.lacks(place.name) and other.lacks(place.name))]
    records = [_compare(left, right, place) for place in places]
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
        "settings": _settings(one, other),
        "problems": problems,
        "renumbering": exchanged,
    }


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
        problems = [
            {
                "side": reader.side,
                "what": f"{reader.index.path}: its files do not belong together: {text}",
                "mend": "index again",
            }
            for text in (*fatal, *values.ivf)
        ]
        examined.append(_Examined([*damage, *problems], bool(damage or fatal), [*sizes.notes, *values.notes]))
    return examined


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
    return {**asdict(found), "text": found.text, "only": found.explains and others == {"identical"}}


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
                _check_ivf_files(left, right)
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
            record = tensor_record(place, found)
            record["a"]["sha256"] = record["b"]["sha256"] = []  # only a capture's manifest has them
            return {**record, "files": list(left.index.files(place.name)), "problems": []}
    return {**_unread(place, problems), "files": list(left.index.files(place.name))}


def _problem(reader: Reader, error: IndexFileError) -> Record:
    return {"side": reader.side, "what": error.what, "mend": error.mend}


def _unread(place: CapturePoint, problems: list[Record]) -> Record:
    nothing = Side("", (), (), ())
    blank = tensor_record(place, TensorComparison("identical", nothing, nothing, elements=0))
    text = " ".join(f"Could not be read in {p['side'].upper()}: {p['what']}." for p in problems)
    return {**blank, "verdict": None, "elements": None, "a": None, "b": None, "text": text, "problems": problems}


def _check_ivf_files(left: Reader, right: Reader) -> None:
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


# What the values of one index say against one another: codes without a centroid, passages that are not there.
#
# Two indexes can be equal byte by byte and both be wrong, so this is looked for in every index, whatever it is compared
# with. All is one pass over the codes and two over the `ivf`, in bounded memory.


#: How many axes an artifact has; the average residual has none or one.
_AXES = {
    **dict.fromkeys(("doclens", "codes", "ivf", "ivf_lengths", "bucket_cutoffs", "bucket_weights"), 1),
    **dict.fromkeys(("residuals", "centroids"), 2),
}
_FLOATS = ("centroids", "avg_residual", "bucket_cutoffs", "bucket_weights", "cluster_threshold")
#: Two odd constants of SplitMix64, which spreads keys over 64 bits.
_SPREAD = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9))

Pairs = tuple[Integers, Integers]


@dataclass
class Examination:
    """What was seen in one index.

    Attributes
    ----------
    contradictions : list of str
        No comparison of these files can be relied on.
    ivf : list of str
        How the lists of the `ivf` differ from those that codes and doclens give. Whether two indexes differ can be
        told in spite of it.
    notes : list of str
        What is unusual, and harmless to a comparison.
    """

    contradictions: list[str] = field(default_factory=list)
    ivf: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(artifacts: Mapping[str, Chunked | None], *, of_tokens: bool, library: str) -> Examination:
    """Look for what the values of an index say against one another.

    Parameters
    ----------
    artifacts : mapping of str to Chunked or None
        The final artifacts and ``doclens`` by name; None for what could not be read, which contradicts nothing.
    of_tokens : bool
        Whether the `ivf` lists token ids, as older indexes do, in place of passage ids.
    library : str
        ``colbert-ai``, whose `ivf` may be padded with zeros, or ``fast-plaid``.

    Raises
    ------
    IndexFileError
        When a file turns out to be damaged.
    """
    seen = Examination()
    known = {name: artifact for name, artifact in artifacts.items() if artifact and _is_plain(name, artifact, seen)}
    for name in _FLOATS:
        if name in known:
            _check_floats(name, known[name], seen)
    codes, centroids, lengths = (known.get(name) for name in ("codes", "centroids", "ivf_lengths"))
    # Where centroids are missing their codes have none, which is one fault and not two.
    if codes and centroids and (lengths is None or lengths.rows == centroids.rows):
        _check_range(codes, codes.size, centroids.rows[0], ("code", "centroid"), seen)
    if "doclens" in known:
        _note_empty(known["doclens"], seen, library)
    if "ivf" in known and "ivf_lengths" in known:
        _check_ivf(known, seen, of_tokens=of_tokens, padded=library == "colbert-ai")
    return seen


def _is_plain(name: str, artifact: Chunked, seen: Examination) -> bool:
    """Return whether an artifact has the kind of values and the axes that it must have, having told what it has."""
    kind = "float" if is_float(artifact.dtype) else "integer"
    wanted = "float" if name in _FLOATS else "integer"
    axes = _AXES.get(name, len(artifact.shape))
    if kind == wanted and len(artifact.shape) == axes and artifact.dtype != "bool":
        return True
    must = f"they must be {wanted}s of {plural(axes, 'dimension')}"
    seen.contradictions.append(f"{name} are {artifact.dtype} of shape {list(artifact.shape)}; {must}")
    return False


def _check_floats(name: str, artifact: Chunked, seen: Examination) -> None:
    number = sum(int(not_finite(block, artifact.dtype).sum()) for _, block in artifact.blocks())
    if number:
        verb = "is" if number == 1 else "are"
        seen.contradictions.append(f"{plural(number, 'value')} of {name} {verb} NaN or infinite")
    elif name == "bucket_cutoffs" and (np.diff(widen(artifact.flat(0, artifact.size), artifact.dtype)) < 0).any():
        seen.contradictions.append("bucket_cutoffs do not ascend")


def _check_range(values: Chunked, stop: int, limit: int, nouns: tuple[str, str], seen: Examination) -> bool:
    """Return whether the integers before `stop` are numbers of `limit` things; else tell how many are not."""
    wrong, first = 0, 0
    for at in range(0, stop, chunks.BLOCK):
        block = values.flat(at, min(at + chunks.BLOCK, stop))
        if int(block.min()) < 0 or int(block.max()) >= limit:
            outside = block[(block < 0) | (block >= limit)]
            first = first if wrong else int(outside[0])
            wrong += outside.size
    if wrong:
        noun, thing = nouns
        known = f"there are {limit:,}, from 0 up, and the first such {noun} is {first:,}"
        seen.contradictions.append(f"{plural(wrong, noun)} of no {thing}: {known}")
    return not wrong


def _note_empty(doclens: Chunked, seen: Examination, library: str) -> None:
    lengths = doclens.flat(0, doclens.size)
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        passages = _counted(empty, lengths.size, "has", "have")
        by = "; so colbert-ai's IndexUpdater leaves those it removes" if library == "colbert-ai" else ""
        seen.notes.append(f"{passages} no token embeddings{by}")


def _counted(passages: Integers, total: int, one: str, several: str) -> str:
    """Return ``2 of 60 passages (4 and 7) have``."""
    first = passages if passages.size <= 8 else passages[:7]
    names = [f"{number:,}" for number in first.tolist()]
    if first.size < passages.size:
        names.append(f"{passages.size - first.size:,} more")
    return f"{passages.size:,} of {total:,} passages ({listing(names)}) {one if passages.size == 1 else several}"


def _check_ivf(known: Mapping[str, Chunked], seen: Examination, *, of_tokens: bool, padded: bool) -> None:
    ivf, many = known["ivf"], known["ivf_lengths"]
    lengths = many.flat(0, many.size).astype(np.int64)
    total = int(lengths.sum())
    # One by one first: lengths from a hostile file can overflow their sum.
    if (lengths < 0).any() or (lengths > ivf.size).any() or total > ivf.size or (total < ivf.size and not padded):
        seen.contradictions.append(f"ivf_lengths count {total:,} ids, the ivf has {ivf.size:,}")
        return
    if not zeros_from(ivf, total):
        seen.contradictions.append(
            f"ivf_lengths count {total:,} ids, the ivf has {ivf.size:,}, and what is left are not zeros, as padding is"
        )
    doclens, codes, centroids = (known.get(name) for name in ("doclens", "codes", "centroids"))
    if doclens is None:
        return
    tokens = doclens.flat(0, doclens.size)
    things, noun = (int(tokens.sum()), "token embedding") if of_tokens else (doclens.size, "passage")
    if not _check_range(ivf, total, things, ("id in the ivf", noun), seen) or codes is None or centroids is None:
        return
    # What is wrong with the parts says nothing about the lists made of them.
    if seen.contradictions or len(lengths) != centroids.rows[0] or tokens.sum() != codes.size:
        return
    _Lists(ivf, lengths, codes, tokens, of_tokens).check(seen)


@dataclass(frozen=True)
class _Lists:
    """The lists of an `ivf` beside those that codes and doclens give."""

    ivf: Chunked
    lengths: Integers
    codes: Chunked
    doclens: Integers
    of_tokens: bool

    def check(self, seen: Examination) -> None:
        """Tell which passages no list has, and how many lists differ in those that some list has."""
        listed = np.zeros(self.codes.size if self.of_tokens else self.doclens.size, np.bool_)
        for _, ids in self._stored():
            listed[ids] = True
        wanted = np.ones(listed.size, np.bool_) if self.of_tokens else self.doclens > 0
        missed = np.flatnonzero(wanted & ~listed)
        if missed.size:
            seen.notes.append(self._missing(missed))
        if _sum(self._stored()) != _sum(self._given(listed)):
            differing = int((self._sums(self._stored()) != self._sums(self._given(listed))).sum())
            seen.ivf.append(
                f"{differing:,} of {len(self.lengths):,} lists of the ivf are not those that codes and doclens give"
            )

    def _missing(self, ids: Integers) -> str:
        if not self.of_tokens:
            passages = _counted(ids, self.doclens.size, "is", "are")
            return f"{passages} in no list of the ivf, so no search reaches them"
        whose = np.unique(np.searchsorted(np.cumsum(self.doclens), ids, "right"))
        return f"{_counted(whose, self.doclens.size, 'has', 'have')} token embeddings that are in no list of the ivf"

    def _stored(self) -> Iterator[Pairs]:
        """Yield (centroid, id) of what the `ivf` lists."""
        starts = np.concatenate(([0], np.cumsum(self.lengths)))
        for first, last in runs(self.lengths, np.zeros_like(self.lengths)):
            ids = self.ivf.flat(int(starts[first]), int(starts[last])).astype(np.int64)
            yield np.repeat(np.arange(first, last), self.lengths[first:last]), ids

    def _given(self, listed: npt.NDArray[np.bool_]) -> Iterator[Pairs]:
        """Yield (centroid, id) of what codes and doclens give, without ids that are not `listed`, each pair once."""
        width = len(self.lengths).bit_length()
        starts = np.concatenate(([0], np.cumsum(self.doclens)))
        for first, last in runs(self.doclens, np.zeros_like(self.doclens)):
            start, stop = int(starts[first]), int(starts[last])
            codes = self.codes.flat(start, stop).astype(np.int64)
            if self.of_tokens:
                ids = np.arange(start, stop)
            else:
                # One sort of a combined key brings a passage's equal codes together.
                keys = np.repeat(np.arange(first, last), self.doclens[first:last]) << width | codes
                keys.sort()
                keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))[: keys.size]]
                ids, codes = keys >> width, keys & ((1 << width) - 1)
            kept = listed[ids]
            yield codes[kept], ids[kept]

    def _sums(self, pairs: Iterator[Pairs]) -> npt.NDArray[np.uint64]:
        """Return for each centroid a sum that tells sets of ids apart."""
        sums = np.zeros(len(self.lengths), np.uint64)
        for centroids, ids in pairs:
            np.add.at(sums, centroids, _spread(ids.astype(np.uint64)))
        return sums


def _sum(pairs: Iterator[Pairs]) -> int:
    """Return a sum that tells sets of pairs apart, in whatever order they come."""
    total = 0
    for centroids, ids in pairs:
        total += int(_spread((centroids.astype(np.uint64) << np.uint64(40)) + ids.astype(np.uint64)).sum())
    return total % 2**64


def _spread(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    keys = (keys + np.uint64(1)) * _SPREAD[0]
    keys ^= keys >> np.uint64(29)
    keys *= _SPREAD[1]
    keys ^= keys >> np.uint64(32)
    return keys


# Centroids that are the same under other numbers: k-means numbers them as it pleases, and codes and ivf follow.
#
# A's centroids are matched to B's, first by their bytes, then as each other's nearest; then A's codes and lists are
# compared with B's under B's numbers.


#: Centroids left after matching by bytes, of which the nearest are still looked for: their distances take the square.
MOST_NEAREST = 1 << 14
#: Distances in memory at a time.
_DISTANCES = 1 << 22


@dataclass(frozen=True)
class Renumbering:
    """How A's centroids stand among B's whatever their number, and what codes and lists are under B's numbers.

    Attributes
    ----------
    centroids : int
        How many each side has.
    by_bytes : int
        How many of A's have one in B of equal bytes.
    by_nearest : int or None
        Of those left, how many are each other's nearest; None where more than `MOST_NEAREST` are left.
    moved : int
        How many that match have another number.
    codes : int
        How many there are.
    codes_different : int
        How many of A's, under B's numbers, are not B's.
    lists, lists_equal : int or None
        How many lists the ivf has, and how many hold the same set under B's numbers; None where that cannot be said.
    """

    centroids: int
    by_bytes: int
    by_nearest: int | None
    moved: int
    codes: int
    codes_different: int
    lists: int | None = None
    lists_equal: int | None = None

    @property
    def explains(self) -> bool:
        """Whether all centroids are the same, and so are codes and lists under B's numbers."""
        return self.by_bytes == self.centroids and not self.codes_different and self.lists == self.lists_equal

    @property
    def text(self) -> str:
        """The same in words."""
        matched = f"{self.by_bytes:,} of {plural(self.centroids, 'centroid')} match by their bytes"
        if self.by_nearest is None:
            matched += f", the {self.centroids - self.by_bytes:,} left are too many to look for the nearest"
        elif self.by_bytes < self.centroids:
            matched += f" and {self.by_nearest:,} more as each other's nearest"
        lists = f", and {self.lists_equal:,} of {self.lists:,} lists of the ivf hold the same set"
        return (
            f"Whatever their number, {matched}; {self.moved:,} of them have another number in B. "
            f"Under B's numbers {self.codes_different:,} of {plural(self.codes, 'code')} differ"
            f"{lists if self.lists is not None else ''}."
        )


def renumbering(a: Mapping[str, Chunked], b: Mapping[str, Chunked], groups: Groups | None) -> Renumbering | None:
    """Return how the numbering of two sides' centroids differs, None where no number differs.

    Parameters
    ----------
    a, b : mapping of str to Chunked
        ``centroids``, ``codes`` and ``ivf``; codes are known to be numbers of centroids.
    groups : Groups or None
        How long the lists of the ivf are; None where the sides' lists are not comparable.
    """
    left, right = a["centroids"], b["centroids"]
    if (left.shape, left.dtype, a["codes"].size) != (right.shape, right.dtype, b["codes"].size):
        return None
    rows_a, rows_b = (side.flat(0, side.size).reshape(side.shape) for side in (left, right))
    order = _by_bytes(bits(rows_a, left.dtype), bits(rows_b, left.dtype))
    by_bytes = int((order >= 0).sum())
    few = order.size - by_bytes <= MOST_NEAREST
    if few:
        _by_nearest(rows_a, rows_b, left.dtype, order)
    moved = int(((order >= 0) & (order != np.arange(order.size))).sum())
    if not moved:
        return None
    nearest = int((order >= 0).sum()) - by_bytes if few else None
    other = b["codes"]
    different = sum(
        int((order[block] != other.flat(start, start + block.size)).sum()) for start, block in a["codes"].blocks()
    )
    known = Renumbering(order.size, by_bytes, nearest, moved, a["codes"].size, different)
    if groups is None or len(groups.a) != order.size or len(groups.b) != order.size:
        return known
    equal = _lists_equal(a["ivf"], b["ivf"], groups, order)
    return Renumbering(**{**asdict(known), "lists": order.size, "lists_equal": equal})


def _by_bytes(a: Array, b: Array) -> Integers:
    """Return for each row of `a` the number of a row of `b` with the same bytes, -1 for none; none is taken twice."""
    order = np.where((a == b).all(axis=1), np.arange(len(a)), -1)
    places: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for number in np.flatnonzero(order < 0).tolist():
        places[b[number].tobytes()].append(number)
    for number in np.flatnonzero(order < 0).tolist():
        alike = places.get(a[number].tobytes())
        if alike:
            order[number] = alike.popleft()
    return order


def _by_nearest(a: Array, b: Array, dtype: str, order: Integers) -> None:
    """Complete `order` by rows that are each other's nearest among those left."""
    finite_a, finite_b = (~not_finite(side, dtype).any(axis=1) for side in (a, b))
    left = np.flatnonzero((order < 0) & finite_a)
    right = np.setdiff1d(np.flatnonzero(finite_b), order)
    if not left.size or not right.size:
        return
    rows, columns = (widen(side[kept], dtype).astype(np.float32) for side, kept in ((a, left), (b, right)))
    lengths = (columns**2).sum(axis=1)
    nearest = np.zeros(left.size, np.int64)
    closest, back = np.full(right.size, np.inf, np.float32), np.zeros(right.size, np.int64)
    step = max(_DISTANCES // right.size, 1)
    for start in range(0, left.size, step):
        block = rows[start : start + step]
        distances = (block**2).sum(axis=1)[:, None] + lengths - 2 * (block @ columns.T)
        nearest[start : start + step] = distances.argmin(axis=1)
        best = distances.argmin(axis=0)
        near = distances[best, np.arange(right.size)]
        closer = near < closest
        closest[closer], back[closer] = near[closer], best[closer] + start
    mutual = back[nearest] == np.arange(left.size)
    order[left[mutual]] = right[nearest[mutual]]


def _lists_equal(a: Chunked, b: Chunked, groups: Groups, order: Integers) -> int:
    """Return how many of B's lists hold the same set as the list of the centroid of A that they match."""
    source = np.full(order.size, -1, np.int64)
    source[order[order >= 0]] = np.flatnonzero(order >= 0)
    lengths = np.where(source >= 0, groups.a[source], 0)
    starts_a, starts_b = (np.concatenate(([0], np.cumsum(side))) for side in (groups.a, groups.b))
    # One file, mapped: nothing is read before it is asked for.
    ids = a.flat(0, int(groups.a.sum()))
    equal = 0
    for first, last in runs(lengths, groups.b):
        la, lb = lengths[first:last], groups.b[first:last]
        begin = np.repeat(starts_a[source[first:last]] - (np.cumsum(la) - la), la)
        left = sorted_within(ids[begin + np.arange(int(la.sum()))], la)
        right = sorted_within(b.flat(int(starts_b[first]), int(starts_b[last])), lb)
        same: npt.NDArray[np.bool_] = equal_groups(left, la, right, lb)
        equal += int((same & (source[first:last] >= 0)).sum())
    return equal
