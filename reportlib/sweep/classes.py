"""Classes of equal bytes, and the breaks between them: from measurements to ``sweep.json``.

Versions are compared by hashes. Only where a hash changes from one version to the next are values set beside each
other, so that of n versions at most n - 1 pairs are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from packaging.version import Version
from safetensors import safe_open
from typing_extensions import TypedDict

from reportlib.artifacts import point
from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.compare.pipeline import compare_point
from reportlib.compare.rankings import compare_rankings, ranked
from reportlib.compare.roots.causes import find_upstream
from reportlib.shape import Count, Size, Text
from reportlib.store import Capture, canonical_json
from reportlib.study import PRECISIONS
from reportlib.sweep.captures import artifacts
from reportlib.sweep.probes import Outcome
from reportlib.words.terms import beyond_torch

# ``sweep.json`` as types, and what the posts say of the same versions.

SCHEMA_VERSION: Literal[1] = 1


class Measured(TypedDict):
    """A version, in the order of versions; ``packages`` are those that its environment file pins."""

    version: Text
    build: str
    python: str
    cpu_capability: str | None
    why: str
    packages: dict[str, str]


class Row(TypedDict):
    """A probe or a layer over the measured versions.

    ``classes`` has a number for each measured version: equal numbers are equal bytes, and 0 is the oldest one's. None
    is a version that has no such operation. ``errors`` is by class: greatest and root mean square distance to float64.
    """

    id: Text
    name: Text
    dtypes: list[str]
    shapes: list[list[Count]]
    inside: list[str]
    classes: list[Count | None]
    errors: list[tuple[Size | None, Size | None]]
    same_inputs: bool
    repeats: bool
    failed: dict[str, str]


class Upstream(TypedDict):
    """A known change of PyTorch that fits a break."""

    url: str
    title: str
    text: str
    status: str


class Break(TypedDict):
    """Where a row's bytes change from one measured version to the next.

    ``different`` of ``sampled`` elements of the first output that differs, evenly spaced, differ, by ``max_abs`` at
    most; None where the shapes do.
    """

    row: Text
    older: Text
    newer: Text
    max_abs: Size | None
    different: Count | None
    sampled: Count
    closer: Literal["older", "newer", "equal"] | None
    upstream: Upstream | None


class Part(TypedDict):
    """How much of something changes."""

    changed: Count
    of: Count


class IndexChange(TypedDict):
    """What changes of an index from one measured version to the next; None where it cannot be counted or was not made.

    ``embeddings`` is the largest difference of the embeddings, ``codes`` are token embeddings with another centroid,
    ``lists`` the centroids' lists with other passages, ``rankings`` the queries with other passages among the best,
    ``orders`` those with another order.
    """

    older: Text
    newer: Text
    embeddings: Size | None
    codes: Part | None
    lists: Part | None
    rankings: Part | None
    orders: Part | None


class Precision(TypedDict):
    """One table of the atlas; ``artifacts`` and ``changes`` are of whole captures, and empty where none were made."""

    precision: Literal["float32", "autocast"]
    operations: list[Row]
    layers: list[Row]
    breaks: list[Break]
    artifacts: list[Row]
    changes: list[IndexChange]


class Captured(TypedDict):
    """What was captured: passages and queries by precision, the versions, and why another one was not.

    ``k`` is how many passages of a query count, ``unknown`` the measured versions that no capture stands for.
    """

    passages: dict[str, Count]
    queries: dict[str, Count]
    k: Count
    versions: list[str]
    unknown: list[str]
    why: dict[str, str]


class Pair(TypedDict):
    """Two consecutive measured versions beside the posts' result for them."""

    older: Text
    newer: Text
    operations: dict[str, Count]
    layers: dict[str, Count]
    posts: Literal["same", "different"] | None


class Post(TypedDict):
    """A break of the posts, in their own numbers."""

    older: Text
    newer: Text
    source: str
    text: str


class Platform(TypedDict):
    """What ran it."""

    cpu: str
    instruction_sets: list[str]
    threads: Count


class Sweep(TypedDict):
    """A sweep's result, from which its page is drawn; ``inputs`` are sha256 of what BERT read."""

    schema_version: Literal[1]
    inputs: dict[str, str]
    platform: Platform
    versions: list[Measured]
    beyond_torch: dict[str, list[str | None]]
    compared: Count
    captured: Captured | None
    precisions: list[Precision]
    pairs: list[Pair]
    posts: list[Post]


#: The posts' sweep: 18 consecutive pairs of 19 versions between these two, on an L4 GPU under float16 autocast. Three
#: pairs differ, in these numbers of 10 final artifacts (A2) and of 12 with the pipeline's (H1); in the other 15 all are
#: equal. The summary (I1) has the same three.
POSTS_FROM, POSTS_TO = "1.13.1", "2.8.0"
POSTS: tuple[Post, ...] = (
    {"older": "2.0.1", "newer": "2.1.0", "source": "A2, H1, I1",
     "text": "shapes 9/10 and values 0/10 of the final artifacts; 0/12 close by default, 2/12 by bnb"},
    {"older": "2.4.1", "newer": "2.5.0", "source": "A2, H1, I1",
     "text": "shapes 9/10 and values 0/10 of the final artifacts; 0/12 close by default, 2/12 by bnb"},
    {"older": "2.7.1", "newer": "2.8.0", "source": "A2, H1, I1",
     "text": "shapes 10/10 and values 6/10 of the final artifacts; 8/12 close by default, 9/12 by bnb"},
)  # fmt: skip


#: Two errors closer than this to each other say nothing of a direction.
_ALIKE = 0.01


def report(outcomes: Sequence[Outcome], probes: Sequence[Mapping[str, Any]], threads: int = 1) -> Sweep:
    """Return what a sweep found.

    Parameters
    ----------
    outcomes : sequence of Outcome
        From the older version to the newer.
    probes : sequence of mapping
        As `reportlib.sweep.probes.read` returns them.
    threads : int
        How many each measurement had.
    """
    measured = [outcome for outcome in outcomes if not outcome.why]
    contents = [outcome.measured() for outcome in measured]
    names = [outcome.version for outcome in measured]
    samples = Samples([outcome.samples for outcome in measured])
    indexes = Indexes(measured)
    precisions = [_precision(name, names, contents, probes, samples, indexes) for name in PRECISIONS]
    environments = [
        {"packages": dict(o.site.packages), "pins": dict(o.site.pins), "python": o.site.python}
        for o in measured
        if o.site is not None
    ]
    builds = dict(zip(names, contents, strict=True))
    return {
        "schema_version": SCHEMA_VERSION,
        "inputs": contents[0]["inputs"] if contents else {},
        "platform": {"cpu": cpu_name(), "instruction_sets": list(instruction_sets()), "threads": threads},
        "versions": [_version(outcome, builds.get(outcome.version, {})) for outcome in outcomes],
        "beyond_torch": {name: list(held) for name, held in beyond_torch(environments).items()},
        "compared": len(samples.pairs),
        "captured": indexes.captured(),
        "precisions": precisions,
        "pairs": [_pair(index, names, precisions) for index in range(len(names) - 1)],
        "posts": list(POSTS),
    }


def _version(outcome: Outcome, content: Mapping[str, Any]) -> Measured:
    site = outcome.site
    return {
        "version": outcome.version,
        "build": content.get("torch", ""),
        "python": site.python if site else "",
        "cpu_capability": content.get("cpu_capability"),
        "why": outcome.why,
        "packages": {name: site.packages[name] for name in site.pins if name in site.packages} if site else {},
    }


def classes(digests: Sequence[str | None]) -> list[int | None]:
    """Give each digest a number, in the order in which they first come: equal numbers are equal bytes."""
    known: dict[str, int] = {}
    return [None if text is None else known.setdefault(text, len(known)) for text in digests]


def _precision(
    name: str,
    versions: Sequence[str],
    contents: Sequence[Mapping[str, Any]],
    probes: Sequence[Mapping[str, Any]],
    samples: Samples,
    indexes: Indexes,
) -> Precision:
    operations = [
        _row(probe["id"], _described(probe), [content["probes"][probe["id"]] for content in contents], versions)
        for probe in probes
        if name in probe["precisions"]
    ]
    layers = []
    for layer in contents[0]["layers"] if contents else ():
        precision, given, module = layer.split("/")
        if precision == name:
            described = {"name": module, "dtypes": [], "shapes": [], "inside": [given]}
            entries = [{**one["layers"][layer], "inputs": canonical_json(one["inputs"])} for one in contents]
            layers.append(_row(layer, described, entries, versions))
    breaks = [entry for row in (*operations, *layers) for entry in _breaks(row, versions, samples)]
    return {
        "precision": name,  # type: ignore[typeddict-item]
        "operations": operations,
        "layers": layers,
        "breaks": breaks,
        "artifacts": indexes.rows(name),
        "changes": indexes.changes(name),
    }


def _described(probe: Mapping[str, Any]) -> dict[str, Any]:
    into = [value["dtype"] for value in probe["arguments"].values() if isinstance(value, dict) and "dtype" in value]
    dtypes = list(dict.fromkeys([*(tensor["dtype"] for tensor in probe["tensors"]), *into]))
    name = f"{probe['name']}.{probe['overload']}" if probe["overload"] else probe["name"]
    return {"name": name, "dtypes": dtypes, "shapes": [tensor["shape"] for tensor in probe["tensors"]],
            "inside": list(probe["passes"])}  # fmt: skip


def _row(
    identity: str, described: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], versions: Sequence[str]
) -> Row:
    ran = [entry for entry in entries if entry["failed"] is None]
    errors: dict[str, tuple[float | None, float | None]] = {}
    for entry in ran:
        errors.setdefault(entry["digest"], (entry["max_error"], entry["rms_error"]))
    return {
        "id": identity,
        "name": described["name"],
        "dtypes": described["dtypes"],
        "shapes": described["shapes"],
        "inside": described["inside"],
        "classes": classes([entry.get("digest") for entry in entries]),
        "errors": list(errors.values()),
        "same_inputs": len({entry.get("inputs") for entry in ran}) <= 1,
        "repeats": all(entry["repeats"] for entry in ran),
        "failed": {v: e["failed"] for v, e in zip(versions, entries, strict=True) if e["failed"] is not None},
    }


def _breaks(row: Row, versions: Sequence[str], samples: Samples) -> Iterator[Break]:
    """Yield where a row changes; a version that lacks the operation is passed over."""
    there = [(index, number) for index, number in enumerate(row["classes"]) if number is not None]
    for (before, old), (after, new) in pairwise(there):
        if old == new:
            continue
        older, newer = versions[before], versions[after]
        device, operation = "cpu", re.sub(r"^torch::normalize", "aten::linalg_vector_norm", row["name"])
        yield {
            "row": row["id"],
            "older": older,
            "newer": newer,
            **samples.difference(row["id"], before, after),  # type: ignore[typeddict-item]
            "closer": _closer(row["errors"][old][1], row["errors"][new][1]),
            "upstream": find_upstream(operation, row["dtypes"], device, older, newer),
        }


def _closer(old: float | None, new: float | None) -> str | None:
    if old is None or new is None:
        return None
    if abs(old - new) <= _ALIKE * max(old, new):
        return "equal"
    return "newer" if new < old else "older"


def _pair(index: int, versions: Sequence[str], precisions: Sequence[Precision]) -> Pair:
    older, newer = versions[index : index + 2]

    def changed(rows: Sequence[Row]) -> int:
        pairs = (row["classes"][index : index + 2] for row in rows)
        return sum(old != new for old, new in pairs if old is not None and new is not None)

    return {
        "older": older,
        "newer": newer,
        "operations": {entry["precision"]: changed(entry["operations"]) for entry in precisions},
        "layers": {entry["precision"]: changed(entry["layers"]) for entry in precisions},
        "posts": posts(older, newer),  # type: ignore[typeddict-item]
    }


def posts(older: str, newer: str) -> str | None:
    """Return what the posts' consecutive pairs between two versions say, or None where these are not all theirs."""
    low, high = Version(older), Version(newer)
    if low < Version(POSTS_FROM) or high > Version(POSTS_TO):
        return None
    inside = [post for post in POSTS if low <= Version(post["older"]) and Version(post["newer"]) <= high]
    return "different" if inside else "same"


class Samples:
    """Elements of every version's outputs, read where a hash says that they differ.

    Attributes
    ----------
    pairs : set of tuple of int
        Which versions were set beside each other.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.pairs: set[tuple[int, int]] = set()

    def difference(self, row: str, before: int, after: int) -> dict[str, Any]:
        """Return ``max_abs``, ``different`` and ``sampled`` of the first output whose sample differs."""
        self.pairs.add((before, after))
        found: dict[str, Any] = {"max_abs": None, "different": None, "sampled": 0}
        with safe_open(self.files[before], "np") as old, safe_open(self.files[after], "np") as new:
            names = sorted(name for name in old.keys() if name.rpartition("#")[0] == row)  # noqa: SIM118 not a dict
            for name in names:
                a, b = old.get_tensor(name), new.get_tensor(name)
                if a.shape != b.shape:
                    return {**found, "sampled": int(a.size)}
                unlike = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
                distance = np.abs(a[unlike].astype(np.float64) - b[unlike])
                distance = distance[np.isfinite(distance)]
                found = {"max_abs": float(distance.max(initial=0.0)), "different": int(unlike.sum()),
                         "sampled": int(a.size)}  # fmt: skip
                if found["different"]:
                    break
        return found


class Indexes:
    """The captures of a sweep: a version that has none has those of the one that computes the same.

    Attributes
    ----------
    held : list of Outcome or None
        For each measured version, whose captures it has; None where these could not be made.
    """

    def __init__(self, measured: Sequence[Outcome]) -> None:
        self.measured = measured
        computes = [outcome.signature for outcome in measured]
        made = {key: outcome for key, outcome in zip(computes, measured, strict=True) if outcome.captures}
        self.held = [made.get(key) for key in computes]

    def captured(self) -> Captured | None:
        """Return what was captured; None where nothing was, and nothing was to be."""
        made = [outcome for outcome in self.measured if outcome.captures]
        why = {outcome.version: outcome.uncaptured for outcome in self.measured if outcome.uncaptured}
        if not made and not why:
            return None
        opened = {name: Capture.open(folder) for name, folder in made[0].captures.items()} if made else {}
        searched = {
            name: ranked(capture, "rankings", name) if "rankings" in capture.artifacts else ()
            for name, capture in opened.items()
        }
        return {
            "passages": {name: len(_doclens(capture)) for name, capture in opened.items()},
            "queries": {name: len(queries) for name, queries in searched.items()},
            "k": max((query.k for queries in searched.values() for query in queries), default=0),
            "versions": [outcome.version for outcome in made],
            "unknown": [o.version for o, held in zip(self.measured, self.held, strict=True) if held is None],
            "why": why,
        }

    def rows(self, precision: str) -> list[Row]:
        """Return a row for each artifact that a capture in this precision has, in pipeline order."""
        found = [outcome and self._artifacts(outcome, precision) for outcome in self.held]
        names = dict.fromkeys(name for entries in found if entries for name in entries)
        rows = []
        for name in names:
            entries = [entries.get(name) if entries else None for entries in found]
            some = next(entry for entry in entries if entry)
            rows.append(
                Row(
                    id=f"{precision}/{name}",
                    name=name,
                    dtypes=[some["dtype"]],
                    shapes=[some["shape"]],
                    inside=["index"],
                    classes=classes([entry["digest"] if entry else None for entry in entries]),
                    errors=[],
                    same_inputs=True,
                    repeats=True,
                    failed={},
                )
            )
        return rows

    def _artifacts(self, outcome: Outcome, precision: str) -> dict[str, dict[str, Any]]:
        folder = outcome.captures.get(precision)
        return artifacts(Capture.open(folder)) if folder else {}

    def changes(self, precision: str) -> list[IndexChange]:
        """Return what changes from one measured version to the next."""
        there = [
            (outcome.version, held.captures[precision])
            for outcome, held in zip(self.measured, self.held, strict=True)
            if held and precision in held.captures
        ]
        found = []
        for (older, before), (newer, after) in pairwise(there):
            if before == after:
                continue
            a, b = Capture.open(before), Capture.open(after)
            if artifacts(a) != artifacts(b):
                found.append(_index_change(older, newer, a, b))
        return found


def _index_change(older: str, newer: str, a: Capture, b: Capture) -> IndexChange:
    embs, codes, lists = (compare_point(a, b, point(name)) or {} for name in ("embs", "index/codes", "index/ivf"))
    found = compare_rankings(a, b)
    groups, equal = lists.get("groups"), lists.get("groups_equal")
    if lists.get("verdict") == "identical":
        groups = equal = b.artifacts["index/ivf_lengths"].shape[0]
    return {
        "older": older,
        "newer": newer,
        "embeddings": embs.get("max_abs"),
        "codes": _part(codes.get("different"), codes.get("elements")),
        "lists": _part(None if groups is None or equal is None else groups - equal, groups),
        "rankings": _part(found["queries"] - found["same_set"], found["queries"]) if found else None,
        "orders": _part(found["queries"] - found["same_order"], found["queries"]) if found else None,
    }


def _part(changed: int | None, of: int | None) -> Part | None:
    return None if changed is None or of is None else {"changed": changed, "of": of}


def _doclens(capture: Capture) -> list[int]:
    return [length for name in capture.group("doclens") for length in capture.value(name)]
