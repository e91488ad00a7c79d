"""Compare the artifacts of two captures along colbert-ai's pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from reportlib.artifacts import CAPTURE_POINTS, CapturePoint
from reportlib.compare import posts, tensors
from reportlib.compare.chunks import Chunked
from reportlib.compare.results import (
    VERDICTS,
    Groups,
    Side,
    TensorComparison,
    ValueDifference,
    describe,
)
from reportlib.compare.sets import Integers, counts
from reportlib.compare.values import compare_values, type_name
from reportlib.store import Artifact, Capture

Record = dict[str, Any]

#: Integers that lie in groups, one per centroid, and the artifact that holds the groups' lengths.
_GROUP_LENGTHS = {"ivf": "ivf_lengths", "index/ivf": "index/ivf_lengths"}


def compare_artifacts(a: Capture, b: Capture, *, with_post: bool = False) -> list[Record]:
    """Compare every artifact that either capture has, in pipeline order, BERT's layers aside.

    Parameters
    ----------
    a, b : Capture
        The two sides.
    with_post : bool
        Put the reference post's row beside ours.

    Returns
    -------
    list of dict
        The ``artifacts`` of ``docs/schema.md``.
    """
    found = []
    for point in CAPTURE_POINTS:
        if point.name == "layers":
            continue
        record = compare_point(a, b, point)
        if record is not None:
            record["post"] = posts.beside(record) if with_post else None
            found.append(record)
    return found


def compare_point(a: Capture, b: Capture, point: CapturePoint) -> Record | None:
    """Compare one capture point's artifact; None where neither side has it."""
    names_a, names_b = a.group(point.artifact), b.group(point.artifact)
    if not names_a and not names_b:
        return None
    if not names_a or not names_b:
        return _record(point, _missing(a, names_a), _missing(b, names_b), verdict="missing")
    lines = [a.artifacts[n] for n in names_a] + [b.artifacts[n] for n in names_b]
    if all(line.kind == "tensor" for line in lines):
        found = tensors.compare(
            Chunked.load(a, point.artifact),
            Chunked.load(b, point.artifact),
            _groups(a, b, point.artifact),
        )
        return tensor_record(point, found)
    return _values(a, b, point, names_a, names_b)


def tensor_record(point: CapturePoint, found: TensorComparison) -> Record:
    """Return a tensor comparison as a record of the report."""
    content = asdict(found)
    return _record(point, content.pop("a"), content.pop("b"), text=describe(found), **content)


def _record(point: CapturePoint, a: Record | None, b: Record | None, **content: Any) -> Record:
    blank = asdict(TensorComparison("", Side("", (), (), ()), Side("", (), (), ())))
    record: Record = {
        "name": point.name,
        "artifact": point.artifact,
        "stage": point.stage,
        "kind": point.kind,
        "description": point.description,
        "final": point.final,
        "file": point.file,
        **blank,
        "value_difference": None,
        "text": "",
        **content,
        "a": a,
        "b": b,
    }
    if record["verdict"] == "missing":
        record["text"] = f"Captured only on side {'A' if b is None else 'B'}."
    return record


def _missing(capture: Capture, names: Sequence[str]) -> Record | None:
    """Return what the manifest says of the side that is there; None for the other."""
    if not names:
        return None
    lines = [capture.artifacts[n] for n in names]
    if lines[0].kind == "tensor":
        whole = Chunked.load(capture, names[0] if len(names) == 1 else names[0].rsplit("/", 1)[0])
        return asdict(Side(whole.dtype, whole.shape, whole.sha256, whole.rows))
    return _value_side(lines, lines[0].dtype, lines[0].shape)


def _value_side(lines: Iterable[Artifact], dtype: str, shape: tuple[int, ...]) -> Record:
    known = list(lines)
    rows = tuple(line.shape[0] if line.shape else 1 for line in known)
    return asdict(Side(dtype, shape, tuple(line.sha256 for line in known), rows))


def _values(a: Capture, b: Capture, point: CapturePoint, names_a: Sequence[str], names_b: Sequence[str]) -> Record:
    """Compare plain values; chunks of lists are put together."""
    left, right = _value(a, names_a), _value(b, names_b)
    verdict, difference = compare_values(left, right)
    sides = [
        _value_side([c.artifacts[n] for n in names], type_name(value), _value_shape(value))
        for c, names, value in ((a, names_a, left), (b, names_b, right))
    ]
    return _record(
        point,
        *sides,
        verdict=verdict,
        same_set="whole" if verdict == "same set" else None,
        elements=len(left) if isinstance(left, list) and _value_shape(left) == _value_shape(right) else None,
        different=0 if difference is None else difference.different,
        value_difference=None if difference is None else asdict(difference),
        text=_value_text(verdict, difference),
    )


def _value(capture: Capture, names: Sequence[str]) -> Any:
    """Return a value; a capture that has it as a tensor gives a list."""
    parts = [
        capture.value(n) if capture.artifacts[n].kind == "value" else capture.tensor(n).array.tolist() for n in names
    ]
    if len(parts) == 1:
        return parts[0]
    return [item for part in parts for item in part]


def _value_shape(value: Any) -> tuple[int, ...]:
    return (len(value),) if isinstance(value, list) else ()


def _value_text(verdict: str, difference: ValueDifference | None) -> str:
    if difference is None:
        return "Identical."
    where = f" at {difference.path}" if difference.path else ""
    text = (
        f"{difference.different:,} of {difference.total:,} items differ; the first{where}: "
        f"{difference.a or 'nothing'} in A, {difference.b or 'nothing'} in B."
    )
    return f"{text} Both hold the same numbers." if verdict == "same set" else text


def _groups(a: Capture, b: Capture, artifact: str) -> Groups | None:
    if artifact == "sort_indices":
        return sorted_groups(a, b)
    lengths = _GROUP_LENGTHS.get(artifact, "")
    if not (a.group(lengths) and b.group(lengths)):
        return None
    left, right = Chunked.load(a, lengths), Chunked.load(b, lengths)
    return Groups(left.flat(0, left.size).astype(np.int64), right.flat(0, right.size).astype(np.int64))


def sorted_groups(a: Capture, b: Capture) -> Groups | None:
    """Return how many token embeddings each centroid has on each side, from the sorted codes."""
    if not (a.group("sorted_codes") and b.group("sorted_codes")):
        return None
    sides: list[Integers] = [counts(Chunked.load(c, "sorted_codes")) for c in (a, b)]
    # A centroid without any embedding at the end of one side is still a group.
    longest = max(len(side) for side in sides)
    return Groups(*(np.pad(side, (0, longest - len(side))) for side in sides))


def summary(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the verdicts of final and of intermediate artifacts; rankings are neither."""
    known = [r for r in records if r["stage"] != "search"]
    result = {}
    for name, final in (("final", True), ("intermediate", False)):
        seen = Counter(r["verdict"] for r in known if r["final"] is final)
        result[name] = {**{v: seen[v] for v in VERDICTS}, "total": seen.total()}
    return result


def first_difference(records: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]) -> Record | None:
    """Return the first capture point that is not identical, BERT's layers included."""
    order = {point.artifact: place for place, point in enumerate(CAPTURE_POINTS)}
    found = [
        (order[r["artifact"]], {**_named(r), "index": index})
        for index, r in enumerate(records)
        if r["verdict"] != "identical"
    ]
    if any(each["first_difference"] is not None for each in layers):
        at = {"name": "layers", "artifact": "layers", "stage": "layers", "index": None}
        found.append((order["layers"], at))
    return min(found, key=lambda item: item[0])[1] if found else None


def _named(record: Mapping[str, Any]) -> Record:
    return {key: record[key] for key in ("name", "artifact", "stage")}
