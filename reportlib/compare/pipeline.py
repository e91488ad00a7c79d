"""Compare the artifacts of two captures along colbert-ai's pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reportlib.artifacts import CAPTURE_POINTS, SWAP_POINTS, SWAPPABLE, CapturePoint, downstream
from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked
from reportlib.compare.tensors import compare_values, type_name
from reportlib.compare.verdicts import (
    VERDICTS,
    Groups,
    Integers,
    Side,
    TensorComparison,
    ValueDifference,
    counts,
    describe,
)
from reportlib.errors import ComparisonError
from reportlib.store import Artifact, Capture
from reportlib.study import DIRECTIONS, Arm

# What the posts' tables say of three pairs of versions, to stand beside this study's own results. Their figures were
# measured on an L4 GPU under float16 autocast; they are quoted, never taken for this study's.


@dataclass(frozen=True)
class PostRow:
    """One row of the post: `equal` for integers, `default` and `bnb` for floats."""

    dtype: str
    equal: str | None = None
    default: bool | None = None
    bnb: bool | None = None

    @property
    def verdict(self) -> str:
        """The row's result in words."""
        if self.equal is not None:
            return self.equal
        return f"default {self.default}, bnb {self.bnb}"


@dataclass(frozen=True)
class Post:
    """What a post says of one pair of versions: where that stands, and its rows by artifact, in its order."""

    source: str
    rows: Mapping[str, PostRow]


_FIRST: Mapping[str, PostRow] = {
    "index/codes": PostRow("int32", equal="False"),
    "index/residuals": PostRow("uint8", equal="False"),
    "index/ivf": PostRow("int32", equal="shape mismatch"),
    "index/ivf_lengths": PostRow("int64", equal="False"),
    "index/avg_residual": PostRow("float16", default=False, bnb=True),
    "index/bucket_cutoffs": PostRow("float32", default=False, bnb=False),
    "index/bucket_weights": PostRow("float16", default=False, bnb=True),
    "index/centroids": PostRow("float16", default=False, bnb=False),
    "sample_pids": PostRow("int", equal="True"),
    "num_passages": PostRow("int", equal="True"),
    "doclens": PostRow("int", equal="True"),
    "local_sample_embs": PostRow("float16", default=False, bnb=False),
    "sample": PostRow("float16", default=False, bnb=False),
    "sample_heldout": PostRow("float16", default=False, bnb=False),
    "batches": PostRow("float16", default=False, bnb=False),
    "D": PostRow("float16", default=False, bnb=False),
}
#: Of 2.4.1 and 2.5.0 the same, but that the first batch of passages came out close.
_SECOND = {**_FIRST, **{name: PostRow("float16", default=True, bnb=True) for name in ("batches", "D")}}
#: Of 2.7.1 and 2.8.0 only residuals differ, and centroids, which pass with bnb's tolerance.
_THIRD = {
    name: PostRow(row.dtype, equal="True") if row.equal else PostRow(row.dtype, default=True, bnb=True)
    for name, row in _FIRST.items()
} | {
    "index/residuals": PostRow("uint8", equal="False"),
    "index/centroids": PostRow("float16", default=False, bnb=True),
}
#: By the versions that were compared: experiments F1, F2 and F3.
POSTS: Mapping[tuple[str, str], Post] = {
    ("2.0.1", "2.1.0"): Post("F1: post 2025-09-13, L4 GPU, float16 autocast", _FIRST),
    ("2.4.1", "2.5.0"): Post("F2: post 2025-09-14, L4 GPU, float16 autocast", _SECOND),
    ("2.7.1", "2.8.0"): Post("F3: post 2025-09-14, L4 GPU, float16 autocast", _THIRD),
}


def post_of(version_a: str, version_b: str) -> Post | None:
    """Return the post that compared these versions of torch (``+cpu`` and the like aside), if one did."""
    return POSTS.get((version_a.split("+")[0], version_b.split("+")[0]))


def beside(record: Mapping[str, Any], post: Post | None) -> dict[str, Any] | None:
    """Return a post's row for one of our comparisons, and whether it agrees; None where it has none."""
    row = post.rows.get(record["artifact"]) if post else None
    if post is None or row is None:
        return None
    agrees: bool | None
    if record["verdict"] == "missing":
        agrees = None
    elif row.equal is not None:
        # What `torch.equal` says, which does not know `same set`.
        equal = {"identical": "True", "shape mismatch": "shape mismatch"}.get(record["verdict"], "False")
        agrees = equal == row.equal
    else:
        agrees = (record["default"], record["bnb"]) == (row.default, row.bnb)
    ours = {side["dtype"].removeprefix("list of ") for side in (record["a"], record["b"]) if side}
    return {
        "source": post.source,
        "dtype": row.dtype,
        "equal": row.equal,
        "default": row.default,
        "bnb": row.bnb,
        "verdict": row.verdict,
        "agrees": agrees,
        "dtype_agrees": ours == {row.dtype},
    }


Record = dict[str, Any]

#: Integers that lie in groups, one per centroid, and the artifact that holds the groups' lengths.
_GROUP_LENGTHS = {"ivf": "ivf_lengths", "index/ivf": "index/ivf_lengths"}


def compare_artifacts(a: Capture, b: Capture, *, post: Post | None = None) -> list[Record]:
    """Compare every artifact that either capture has, in pipeline order, BERT's layers aside.

    Parameters
    ----------
    a, b : Capture
        The two sides.
    post : Post, optional
        Whose rows to put beside ours.

    Returns
    -------
    list of dict
        The ``artifacts`` of ``docs/schema.md``.
    """
    found = []
    one_size = _same_batches(a, b)
    for point in CAPTURE_POINTS:
        if point.name == "layers" or (point.by_batch and not one_size):
            continue
        record = compare_point(a, b, point)
        if record is not None:
            record["post"] = beside(record, post)
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
        (order[r["artifact"]], {**{key: r[key] for key in ("name", "artifact", "stage")}, "index": index})
        for index, r in enumerate(records)
        if r["verdict"] != "identical"
    ]
    if any(each["first_difference"] is not None for each in layers):
        at = {"name": "layers", "artifact": "layers", "stage": "layers", "index": None}
        found.append((order["layers"], at))
    return min(found, key=lambda item: item[0])[1] if found else None


# Compare the outputs of BERT's layers, and the weights that they come from (posts A5-A7, F5).

#: What each layer's line takes over from the tensor comparison.
_NUMBERS = ("verdict", "tolerance", "elements", "different", "mean_abs", "max_abs", "max_ulp",
            "default", "bnb", "smallest_atol", "bnb_factor")  # fmt: skip


def compare_layers(a: Capture, b: Capture) -> list[Record]:
    """Compare the layer outputs of every input, layer by layer.

    Returns
    -------
    list of dict
        The ``layers`` of ``docs/schema.md``; empty where a capture has none. Batches of two sizes are no input of both.

    Raises
    ------
    ComparisonError
        When the captures ran different inputs through BERT.
    """
    if "layer_inputs" not in a.artifacts or "layer_inputs" not in b.artifacts:
        return []
    inputs, others = a.value("layer_inputs"), b.value("layer_inputs")
    if not _same_batches(a, b):
        inputs, others = ([each for each in known if each["slug"] != "batch"] for known in (inputs, others))
    # Unlike numbers of tokens are a finding (another tokenizer); unlike texts are a mistake.
    if _texts(inputs) != _texts(others):
        raise ComparisonError(
            f"{a.path} and {b.path} ran different inputs through BERT",
            "capture both arms with the same texts, collection and tokenizer",
        )
    return [_input(a, b, each) for each in inputs]


def _same_batches(a: Capture, b: Capture) -> bool:
    return bool(a.arm.get("index_bsize") == b.arm.get("index_bsize"))


def _texts(inputs: list[Record]) -> list[tuple[str, Any]]:
    return [(each["slug"], each.get("text")) for each in inputs]


def _input(a: Capture, b: Capture, given: Record) -> Record:
    layers = [_layer(a, b, name) for name in _names(a, b, given["slug"])]
    unlike = [each["layer"] for each in layers if each["verdict"] != "identical"]
    single = given["tokens"][0] == 1
    return {
        "slug": given["slug"],
        "text": given.get("text") if single else None,
        "passages": None if single else given["tokens"][0],
        "label": _label(given, single),
        "tokens": list(given["tokens"]),
        "first_difference": unlike[0] if unlike else None,
        "identical": len(layers) - len(unlike),
        "total": len(layers),
        "layers": layers,
    }


def _label(given: Record, single: bool) -> str:
    if single:
        return f"“{given.get('text', given['slug'])}”"
    return str(given.get("text") or f"{given['tokens'][0]} passages")


def _names(a: Capture, b: Capture, slug: str) -> list[str]:
    """Return the artifacts of one input: the embedding output, then the layers by number."""
    prefix = f"layers/{slug}/"
    found = {n for capture in (a, b) for n in capture.artifacts if n.startswith(prefix)}
    return sorted(found, key=lambda n: (n != f"{prefix}embeddings", n))


def _layer(a: Capture, b: Capture, artifact: str) -> Record:
    name = artifact.rsplit("/", 1)[1]
    line: Record = {
        "layer": str(int(name)) if name.isdigit() else name,
        "artifact": artifact,
        **dict.fromkeys(_NUMBERS),
        "dtype_a": a.artifacts[artifact].dtype if artifact in a.artifacts else None,
        "dtype_b": b.artifacts[artifact].dtype if artifact in b.artifacts else None,
    }
    if line["dtype_a"] is None or line["dtype_b"] is None:
        return {**line, "verdict": "missing"}
    found = asdict(tensors.compare(Chunked.load(a, artifact), Chunked.load(b, artifact)))
    return line | {key: found[key] for key in _NUMBERS}


def compare_weights(a: Capture, b: Capture) -> Record | None:
    """Compare the hashes of all loaded weights by name (post A5); None where a side has none."""
    if "weights" not in a.artifacts or "weights" not in b.artifacts:
        return None
    left, right = a.value("weights"), b.value("weights")
    if not left or not right:
        return None
    unlike = sorted(n for n in left.keys() & right.keys() if left[n] != right[n])
    missing = sorted(left.keys() ^ right.keys())
    return {
        "total": len(left.keys() | right.keys()),
        "different": len(unlike),
        "missing": missing,
        "names": unlike,
        "identical": not unlike and not missing,
    }


# What swapped arms show: which artifacts become one environment's once its values stand in the other.
#
# A swap is an intervention on colbert-ai's pipeline (`reportlib.artifacts.SWAP_POINTS`): the values at its points come
# from the donor, everything computed from them is computed again, and everything else is the arm's own. So where every
# final artifact becomes the donor's, all that tells the two indexes apart passes through the points of that set.


#: The posts' swap experiments, by what they replaced.
SWAPPED_IN_POSTS: Mapping[frozenset[str], tuple[str, ...]] = {
    frozenset({"local_sample_embs"}): ("A4", "F4"),
    frozenset({"local_sample_embs", "embs"}): ("H3",),
}


def compare_swap(arm: Arm, direction: str, given: Capture, swapped: Capture, before: Mapping[str, str]) -> Record:
    """Compare a swapped arm with the plain arm that it takes values from: final artifacts, and all from the swap on.

    Parameters
    ----------
    arm : Arm
        The swapped arm.
    direction : str
        One of `reportlib.study.DIRECTIONS`.
    given, swapped : Capture
        The donor's plain arm, and the swapped arm.
    before : mapping of str to str
        Verdicts of the two plain arms by artifact: what stands there without the swap.

    Returns
    -------
    dict
        One of ``swaps`` in ``docs/schema.md``. What the swapped arm did not capture is left out,
        unless it is a final artifact.
    """
    replaced = {name for point in arm.swap for name in SWAP_POINTS[point].artifacts}
    places = [place for place, point in enumerate(CAPTURE_POINTS) if point.artifact in replaced]
    later = [point for place, point in enumerate(CAPTURE_POINTS) if place >= min(places) or point.final]
    records = [record for point in later if (record := compare_point(given, swapped, point)) is not None]
    kept = [_line(r, replaced, before) for r in records if r["verdict"] != "missing" or r["final"]]
    final = [line for line in kept if line["final"]]
    identical = sum(line["verdict"] == "identical" for line in final)
    return {
        "arm": arm.name,
        "from": arm.donor,
        "into": arm.environment,
        "direction": direction,
        "points": list(arm.swap),
        "artifacts": kept,
        "final_total": len(final),
        "final_identical": identical,
        "all_final_identical": bool(final) and identical == len(final),
        "not_identical": [line["artifact"] for line in kept if line["verdict"] != "identical"],
        "posts": list(SWAPPED_IN_POSTS.get(frozenset(arm.swap), ())) if direction == DIRECTIONS[0] else [],
    }


def _line(record: Record, replaced: Collection[str], before: Mapping[str, str]) -> Record:
    taken = ("name", "artifact", "final", "kind", "verdict", "tolerance", "default", "bnb")
    return {
        **{key: record[key] for key in taken},
        "replaced": record["artifact"] in replaced,
        "plain_verdict": before.get(record["artifact"]),
    }


def swap_summary(swaps: Sequence[Record], *, plain_identical: bool) -> list[Record]:
    """Return, for each direction, which tested sets are sufficient, and which points are necessary.

    A set is *sufficient* when swapping it makes every final artifact identical to the donor's. The plain arm is the
    test of the empty set. Given are the sufficient sets that hold no smaller sufficient set among those tested.

    A point is *necessary* when the tests show two things:

    1. It makes the difference: a tested set that holds it is sufficient, and the same set without it was tested and
       is not.
    2. Nothing tested does without it: every tested set that is sufficient holds the point itself or a point computed
       from it, which carries its value onward.

    Both speak of the tested sets only. A point that is not listed is not shown to be necessary, which is less than
    shown to be needless: the sets that would tell may not have been tested.

    Parameters
    ----------
    swaps : sequence of dict
        All of one pair and precision, as `compare_swap` makes them.
    plain_identical : bool
        Whether the plain arms' final artifacts are all identical: then there is nothing to make identical.

    Returns
    -------
    list of dict
        The ``swap_summary`` of ``docs/schema.md``, in the order of the directions in `swaps`.
    """
    directions = dict.fromkeys((swap["direction"], swap["from"], swap["into"]) for swap in swaps)
    return [
        {
            "direction": direction,
            "from": given,
            "into": into,
            **_tested(
                {frozenset(s["points"]): s["all_final_identical"] for s in swaps if s["direction"] == direction},
                plain_identical=plain_identical,
            ),
        }
        for direction, given, into in directions
    ]


def _tested(tested: Mapping[frozenset[str], bool], *, plain_identical: bool) -> Record:
    results = {frozenset[str](): plain_identical, **tested}
    sufficient = [points for points, enough in results.items() if enough]
    smallest = [points for points in sufficient if not any(other < points for other in sufficient)]
    insufficient = [points for points, enough in tested.items() if not enough]
    return {
        "sufficient": _listed(smallest),
        "insufficient": _listed(insufficient),
        "necessary": [name for name in SWAPPABLE if _is_necessary(name, results)],
        "tested": len(tested),
    }


def _is_necessary(name: str, results: Mapping[frozenset[str], bool]) -> bool:
    sufficient = [points for points, enough in results.items() if enough]
    decides = any(name in points and results.get(points - {name}) is False for points in sufficient)
    carries = {name} | downstream(name)
    return decides and all(points & carries for points in sufficient)


def _listed(sets: Sequence[frozenset[str]]) -> list[list[str]]:
    """Return sets as lists in pipeline order, those of few points first."""
    lists = [sorted(points, key=SWAPPABLE.index) for points in sets]
    return sorted(lists, key=lambda points: (len(points), [SWAPPABLE.index(name) for name in points]))
