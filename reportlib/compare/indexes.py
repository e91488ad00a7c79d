"""Compare two plain index folders of colbert-ai or fast-plaid: final artifacts only, any number of chunks, no captures.

Chunks are compared as they lie one after another, so two indexes of other chunk counts can be identical. One
file of each side is mapped at a time, and its CRC-32 is checked just before it is compared: a comparison of
any size reads the disk once and holds a few blocks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from reportlib.artifacts import CapturePoint
from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked
from reportlib.compare.index_side import Meter, Progress, Reader, described, inconsistent
from reportlib.compare.pipeline import tensor_record
from reportlib.compare.results import VERDICTS, Groups, Side, TensorComparison
from reportlib.compare.stored import SideError, StoredChunks
from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder, open_index

Record = dict[str, Any]
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
        What ``reports/COMPARE.md`` describes.

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
    problems = [*inconsistent(left), *inconsistent(right)]
    seen = Counter(r["verdict"] for r in records if r["verdict"])
    open_questions = [r for r in records if r["problems"]]
    if open_questions or problems:
        verdict = "inconclusive"
    else:
        verdict = "identical" if seen["identical"] == len(records) else "different"
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "a": described(left),
        "b": described(right),
        "summary": {**{v: seen[v] for v in VERDICTS}, "unread": len(open_questions), "total": len(records)},
        "artifacts": records,
        "settings": _settings(left.index, right.index),
        "problems": problems,
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
        if values.dtype.kind != "i" or (values < 0).any() or values.sum(dtype=np.int64) > reader.artifact("ivf").size:
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
