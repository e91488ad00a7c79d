"""Causes: each kind of operation that differs by itself, as ``roots.json`` and a study's report have it."""

from __future__ import annotations

import math
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packaging.version import InvalidVersion, Version

from reportlib.compare.roots import Comparison, PassComparison, RootOperation
from reportlib.errors import ComparisonError
from reportlib.floats import widen
from reportlib.store import Capture, Tensor, read_json
from reportlib.trace.format import (
    Case,
    Difference,
    RecordedPass,
    Replay,
    ReplayedOperation,
    ReplayedPass,
    Trace,
    case_id,
    determining_dtypes,
)

SCHEMA_VERSION = 1
_SAME_ERROR = 1e-3


@dataclass(frozen=True)
class CauseFacts:
    """What was found of a kind of operation beside where it differs.

    Attributes
    ----------
    mechanism : mapping or None
        `reportlib.compare.roots.mechanisms.Mechanism.to_json`.
    switches : sequence of mapping
        See `reportlib.compare.roots.undo.switch_table`.
    alone : mapping or None
        What the case gives when it is run alone in ``a`` and in ``b``.
    upstream : mapping or None
        See `find_upstream`.
    reproduction : mapping or None
        ``folder``, ``bytes`` and ``ran``.
    why_no_reproduction : str or None
        Why there is none.
    """

    mechanism: Mapping[str, Any]
    switches: Sequence[Mapping[str, Any]] = ()
    alone: Mapping[str, str] | None = None
    upstream: Mapping[str, Any] | None = None
    reproduction: Mapping[str, Any] | None = None
    why_no_reproduction: str | None = None


#: For an operation that was not run again, so that there is no case to explain.
NO_MECHANISM: Mapping[str, Any] = {
    "label": "unknown",
    "sentence": "The operation was not run again, so nothing was tried on it.",
    "a": None,
    "b": None,
    "tried": [],
    "switch": None,
}


@dataclass(frozen=True)
class Cause:
    """A kind of operation that differs by itself, as the replay and the traces show it.

    Attributes
    ----------
    id, name, overload : str
        See `reportlib.trace.format.case_id`.
    dtypes : tuple of str
        Of what it reads.
    instances, replayed : int
        How many differ by themselves, and of how many.
    differing : tuple of (str, ReplayedOperation)
        With the slugs of their passes; in order of execution.
    roots : tuple of (str, RootOperation)
        The same from the traces' hashes: those that read the same bytes in both runs.
    """

    id: str
    name: str
    overload: str
    dtypes: tuple[str, ...]
    instances: int
    replayed: int
    differing: tuple[tuple[str, ReplayedOperation], ...] = ()
    roots: tuple[tuple[str, RootOperation], ...] = field(default=())

    def first(self) -> dict[str, Any]:
        """Return where its first instance ran."""
        if self.differing:
            slug, operation = self.differing[0]
            where = {"position": operation.position, "module": operation.module, "source": operation.source}
        else:
            slug, root = self.roots[0]
            where = {"position": root.position_a, "module": root.module_a, "source": root.source}
        return {"pass": slug, **where}

    def modules(self) -> int:
        """Return in how many modules it differs."""
        replayed = {(slug, operation.module) for slug, operation in self.differing}
        return len({module for _, module in replayed} | {root.module_b for _, root in self.roots})


def find_causes(comparison: Comparison, replay: Replay) -> list[Cause]:
    """Return every kind of operation that differs by itself, in execution order of the first instance."""
    roots: dict[str, list[tuple[str, RootOperation]]] = {}
    for entry in comparison.passes:
        for root in entry.roots:
            dtypes = [tensor.dtype for tensor in root.inputs_b]
            roots.setdefault(case_id(root.name, root.overload, dtypes), []).append((entry.slug, root))
    causes = []
    for identity, group in replay.groups.items():
        if group.differ:
            found = tuple(_differing(replay, identity))
            same = tuple(roots.pop(identity, ()))
            causes.append(
                Cause(identity, group.name, group.overload, group.dtypes, group.differ, group.replayed, found, same)
            )
    for identity, same_read in roots.items():  # those that cannot be run again: k-means
        root = same_read[0][1]
        kinds = determining_dtypes([tensor.dtype for tensor in root.inputs_b])
        causes.append(Cause(identity, root.name, root.overload, kinds, len(same_read), 0, (), tuple(same_read)))
    order = list(replay.passes)
    return sorted(causes, key=lambda c: (order.index(c.first()["pass"]), c.first()["position"]))


def _differing(replay: Replay, identity: str) -> Iterator[tuple[str, ReplayedOperation]]:
    for slug, entry in replay.passes.items():
        for operation in entry.operations:
            if operation.id == identity and operation.local is not None and operation.local.different:
                yield slug, operation


def forward(causes: Sequence[Cause], replay: Replay) -> list[Cause]:
    """Return the causes that differ in a forward pass."""
    kinds = {slug: entry.kind for slug, entry in replay.passes.items()}
    return [cause for cause in causes if any(kinds[slug] == "forward" for slug in _slugs(cause))]


def _slugs(cause: Cause) -> list[str]:
    return list(dict.fromkeys([slug for slug, _ in cause.differing] + [slug for slug, _ in cause.roots]))


def cause_json(cause: Cause, case: Case | None, facts: CauseFacts) -> dict[str, Any]:
    """Return a cause as ``roots.json`` has it."""
    truth = pooled_truth([operation for _, operation in cause.differing])
    whys = [operation.why_no_truth for _, operation in cause.differing if operation.why_no_truth is not None]
    if case is not None:
        inputs = [{"dtype": tensor.dtype, "shape": list(tensor.shape)} for tensor in case.inputs]
        arguments = dict(case.arguments)
    else:
        root = cause.roots[0][1]
        inputs = [{"dtype": tensor.dtype, "shape": list(tensor.shape)} for tensor in root.inputs_b]
        arguments = dict(root.arguments)
    return {
        "id": cause.id,
        "name": cause.name,
        "overload": cause.overload,
        "dtypes": list(cause.dtypes),
        "instances": cause.instances,
        "replayed": cause.replayed,
        "root_in": list(dict.fromkeys(slug for slug, _ in cause.roots)),
        "differs_in": _slugs(cause),
        "first": cause.first(),
        "modules": cause.modules(),
        "tainted": max((root.tainted for _, root in cause.roots), default=0),
        "reaches_output": any(root.reaches_output for _, root in cause.roots),
        "inputs": inputs,
        "arguments": arguments,
        "difference": pooled_difference([o.local for _, o in cause.differing if o.local is not None]),
        "truth": truth,
        "why_no_truth": None if truth else next(iter(whys), "the operation was not run again"),
        "mechanism": dict(facts.mechanism),
        "switches": [dict(entry) for entry in facts.switches],
        "alone": facts.alone,
        "upstream": facts.upstream,
        "reproduction": facts.reproduction,
        "why_no_reproduction": facts.why_no_reproduction,
    }


def pooled_difference(found: Sequence[Difference]) -> dict[str, Any] | None:
    """Return the difference over all instances together: greatest distances, and one root of the mean square."""
    if not found:
        return None
    greatest = [entry.max_abs for entry in found if entry.max_abs is not None]
    ulps = [entry.max_ulp for entry in found if entry.max_ulp is not None]
    squares = [(entry.rms, entry.elements) for entry in found if entry.rms is not None]
    return {
        "elements": sum(entry.elements for entry in found),
        "different": sum(entry.different for entry in found),
        "max_abs": max(greatest, default=None),
        "rms": _rms(squares) if squares else None,
        "max_ulp": max(ulps, default=None),
    }


def pooled_truth(operations: Sequence[ReplayedOperation]) -> dict[str, Any] | None:
    """Return A's and B's errors against float64 over all instances together, B's over A's, and who is closer.

    Neither is closer where the two root mean squares are within a thousandth of each other.
    """
    known = [(o.truth, o.local.elements) for o in operations if o.truth is not None and o.local is not None]
    if not known:
        return None
    errors = {"a": [(truth.a, weight) for truth, weight in known], "b": [(truth.b, weight) for truth, weight in known]}
    sides = {
        side: {
            "max_abs": max(error.max_abs for error, _ in found),
            "rms": _rms([(error.rms, weight) for error, weight in found]),
        }
        for side, found in errors.items()
    }
    a, b = sides["a"], sides["b"]
    alike = math.isclose(a["rms"], b["rms"], rel_tol=_SAME_ERROR)
    closer = "equal" if alike else min(sides, key=lambda side: sides[side]["rms"])
    return {**sides, "ratio_max": _ratio(b, a, "max_abs"), "ratio_rms": _ratio(b, a, "rms"), "closer": closer}


def _rms(parts: Sequence[tuple[float, int]]) -> float:
    total = sum(weight for _, weight in parts)
    return math.sqrt(math.fsum(rms * rms * weight for rms, weight in parts) / total) if total else 0.0


def _ratio(b: Mapping[str, float], a: Mapping[str, float], name: str) -> float | None:
    return b[name] / a[name] if a[name] else None


def pass_json(entry: PassComparison, a: Trace, b: Trace, replay: Replay | None) -> dict[str, Any]:
    """Return a pass as ``roots.json`` has it: the comparison by hashes, the replay, and what both cost."""
    cost: dict[str, Any] = {side: _cost(trace.passes[entry.slug]) for side, trace in (("a", a), ("b", b))}
    content = {**asdict(entry), "kind": a.passes[entry.slug].kind, "cost": cost}
    if replay is None:
        return {**content, "replay": None}
    replayed = replay.passes[entry.slug]
    cost["replay"] = {"seconds": replayed.seconds, "peak_bytes": replayed.peak_bytes}
    return {**content, "replay": _replay_json(replayed)}


def _cost(recorded: RecordedPass) -> dict[str, Any]:
    return {
        "seconds_plain": recorded.seconds_untraced,
        "seconds_recorded": recorded.seconds_traced,
        "peak_bytes_plain": recorded.peak_bytes_untraced,
        "peak_bytes_recorded": recorded.peak_bytes_traced,
    }


def _replay_json(replayed: ReplayedPass) -> dict[str, Any]:
    return {
        "replayed": replayed.replayed,
        "differ": replayed.differ,
        "not_replayed": [asdict(entry) for entry in replayed.not_replayed],
        "window_bytes": replayed.window_bytes,
        "sent_bytes": replayed.sent_bytes,
        "undisturbed": {"a": replayed.undisturbed_a, "b": replayed.undisturbed_b},
        "operations": [_operation_json(operation) for operation in replayed.operations],
    }


def _operation_json(operation: ReplayedOperation) -> dict[str, Any]:
    content = asdict(operation)
    del content["truth"], content["why_no_truth"]
    return content


# Which known change upstream fits an operation that differs between two versions of PyTorch. The table is
# ``upstream.toml``: curated by hand, each entry with its source. Nothing is inferred from it but that.

STATUSES = ("named", "candidate")


@dataclass(frozen=True)
class Change:
    """An entry of the table; see the head of ``upstream.toml`` for the fields."""

    operations: tuple[str, ...]
    dtypes: tuple[str, ...]
    devices: tuple[str, ...]
    changed_in: Version
    url: str
    title: str
    status: str
    text: str

    def fits(self, operation: str, dtypes: Sequence[str], device: str, older: Version, newer: Version) -> bool:
        """Return whether it changed this operation on this device between two versions."""
        return (
            older < self.changed_in <= newer
            and device in self.devices
            and any(dtype in self.dtypes for dtype in dtypes)
            and any(fnmatchcase(operation, pattern) for pattern in self.operations)
        )


@cache
def changes() -> tuple[Change, ...]:
    """Return the table, in its own order."""
    source = resources.files("reportlib.compare.roots").joinpath("upstream.toml")
    content = tomllib.loads(source.read_text(encoding="utf-8"))
    tables: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
        for entry in content["change"]
    ]
    return tuple(Change(**{**table, "changed_in": Version(table["changed_in"])}) for table in tables)


def find_upstream(
    name: str, dtypes: Sequence[str], device: str, version_a: str, version_b: str
) -> dict[str, str] | None:
    """Return the change upstream that fits an operation, or None where none is known.

    A ``named`` one goes before a ``candidate``; otherwise the table's order decides.

    Parameters
    ----------
    name : str
        ``aten::div``, with or without an overload; an operation in place is the same one.
    dtypes : sequence of str
        torch's names of the inputs' dtypes.
    device : str
        ``cpu`` or ``cuda``.
    version_a, version_b : str
        Of PyTorch, in either order. What follows a ``+`` is left aside.

    Returns
    -------
    dict or None
        ``url``, ``title``, ``text``, ``status``. None also for versions that are no versions.
    """
    try:
        older, newer = sorted(Version(Version(text).public) for text in (version_a, version_b))
    except InvalidVersion:
        return None
    operation = name.rpartition("::")[2].partition(".")[0].rstrip("_")
    fitting = [change for change in changes() if change.fits(operation, dtypes, device, older, newer)]
    if not fitting:
        return None
    best = min(fitting, key=lambda change: STATUSES.index(change.status))
    return {"url": best.url, "title": best.title, "text": best.text, "status": best.status}


# The folder that `reportlib roots` leaves: read it, and fit it into a study's report.


Record = dict[str, Any]
ROOTS_FILE = "roots.json"
REPRODUCTIONS = "reproductions"


def read_roots(folder: Path) -> Record:
    """Read a folder's ``roots.json``."""

    def make(content: Record) -> Record:
        return {"schema_version": SCHEMA_VERSION, **content}

    mend = f"remove {folder} and run again"
    return read_json(folder / ROOTS_FILE, SCHEMA_VERSION, "roots of a difference", mend, make)


def operations(folder: Path, a: Capture, b: Capture) -> Record:
    """Return what a report says of the operations of one precision of a pair.

    Parameters
    ----------
    folder : Path
        What `reportlib roots` wrote.
    a, b : Capture
        The plain arms of both environments, whose layer outputs are held against float64.

    Returns
    -------
    dict
        ``roots.json`` with ``layers_truth`` filled in, and without what is of use to its maker only.

    Raises
    ------
    ComparisonError
        When the operations are of other environments than the captures.
    """
    content = read_roots(folder)
    _check_sides(folder, content, {"a": a, "b": b})
    for name in ("key", "truth", "seconds"):
        content.pop(name, None)
    for each in content["passes"]:
        each.pop("cost", None)
    for cause in content["causes"]:
        if made := cause["reproduction"]:
            name = reproduction_folder(content["b"]["arm"]["environment"], Path(made["folder"]).name)
            cause["reproduction"] = {**made, "folder": name}
    truth = folder / "truth"
    return {**content, "layers_truth": _layers_truth(Capture.open(truth), a, b) if truth.is_dir() else None}


def durations(folder: Path) -> Record:
    """Return how long the steps of `reportlib roots` took, and what recording and replaying each pass cost."""
    content = read_roots(folder)
    return {"steps": content["seconds"], "passes": {each["slug"]: each["cost"] for each in content["passes"]}}


def _check_sides(folder: Path, content: Mapping[str, Any], captures: Mapping[str, Capture]) -> None:
    """Refuse operations of another environment, or of another torch under its name."""
    for side, capture in captures.items():
        known = (
            (content[side]["arm"].get("environment"), capture.arm.get("environment")),
            (content[side]["torch"].get("version"), capture.provenance.get("torch", {}).get("version")),
        )
        for traced, captured in known:
            if traced and captured and traced != captured:
                raise ComparisonError(
                    f"{folder.name} has operations of {traced}, the capture {capture.path.name} is of {captured}",
                    f"remove {folder}, and run the study again",
                )


def _layers_truth(truth: Capture, a: Capture, b: Capture) -> list[Record]:
    """Hold every layer's output of A and of B against the same layer in float64."""
    found = []
    for name in sorted(truth.artifacts, key=_in_order):
        if name.startswith("layers/") and name in a.artifacts and name in b.artifacts:
            exact = truth.tensor(name).array
            left, right = (_error(capture.tensor(name), exact) for capture in (a, b))
            if left is not None and right is not None:
                _, slug, layer = name.split("/")
                number = str(int(layer)) if layer.isdigit() else layer
                ratio = right["rms"] / left["rms"] if left["rms"] else None
                found.append({"pass": slug, "layer": number, "a": left, "b": right, "ratio_rms": ratio})
    return found


def _in_order(name: str) -> tuple[str, bool, str]:
    *parents, layer = name.split("/")
    return "/".join(parents), layer != "embeddings", layer


def _error(layer: Tensor, exact: npt.NDArray[np.float64]) -> Record | None:
    if layer.array.shape != exact.shape:
        return None
    distance = np.abs(widen(layer.array, layer.dtype) - exact)
    return {"max_abs": float(distance.max(initial=0)), "rms": float(np.sqrt(np.mean(np.square(distance))))}


def copy_reproductions(folders: Mapping[str, Path], destination: Path) -> list[Path]:
    """Put every reproduction beside a report, in the place of those that are there.

    Parameters
    ----------
    folders : mapping of str to Path
        What `reportlib roots` wrote, by ``<environment B>/<precision>``.
    destination : Path
        The report's folder. Its ``reproductions`` are replaced whole.

    Returns
    -------
    list of Path
        The folders written, sorted.
    """
    shutil.rmtree(destination / REPRODUCTIONS, ignore_errors=True)
    written = []
    for name, folder in folders.items():
        for given in (folder / REPRODUCTIONS).glob("*"):
            target = destination / reproduction_folder(name.partition("/")[0], given.name)
            shutil.copytree(given, target)
            written.append(target)
    return sorted(written)


def reproduction_folder(b: str, name: str) -> str:
    """Return where a reproduction lies beside a report: a study can have several environments B."""
    return f"{REPRODUCTIONS}/{b}-{name}"
