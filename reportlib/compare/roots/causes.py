"""Put what was found into ``roots.json``: each kind of operation that differs by itself is a cause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from reportlib.compare.roots import Comparison, PassComparison, RootOperation
from reportlib.trace.cases import Case, case_id, determining_dtypes
from reportlib.trace.format import Difference, RecordedPass, Replay, ReplayedOperation, ReplayedPass, Trace

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
        See `reportlib.compare.roots.upstream`.
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
        See `reportlib.trace.cases.case_id`.
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
