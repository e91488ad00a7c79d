"""What ``replay`` found, as the host reads it: `replay.json`. Needs the standard library only.

Layout of a replay folder::

    replay.json       both arms, every pass, and how often each kind of operation differed
    cases/<id>/       for each kind that differed, an instance with its inputs and both outputs; see `cases`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reportlib.errors import StoreError

SCHEMA_VERSION = 1
REPLAY_FILE = "replay.json"
_AGAIN = "send and replay again"


@dataclass(frozen=True)
class Difference:
    """How two results of an operation differ.

    Attributes
    ----------
    elements : int
        Of A's outputs together.
    different : int
        Elements of other bytes; all of them where dtype, shape or a view's place in memory differ.
    max_abs, rms : float or None
        Greatest distance of two finite numbers, and the root of the mean square over all elements. None where nothing
        can be subtracted.
    max_ulp : int or None
        Greatest distance of two finite numbers, in representable values between them. None for integers.
    """

    elements: int
    different: int
    max_abs: float | None
    rms: float | None
    max_ulp: int | None


@dataclass(frozen=True)
class Error:
    """Distance from the float64 result: greatest, and root of the mean square, over finite numbers."""

    max_abs: float
    rms: float


@dataclass(frozen=True)
class Truth:
    """Errors of A's and of B's result of one operation on A's inputs."""

    a: Error
    b: Error


@dataclass(frozen=True)
class ReplayedOperation:
    """One operation of A, run again by B.

    Attributes
    ----------
    position : int
        In A's order of execution, from 0.
    position_b : int or None
        Of its counterpart in B's own pass; None when B has none.
    name, overload, module, source : str
        As `reportlib.trace.format.Operation` has them, of A.
    id : str
        Kind of operation: its name and the dtypes of what it reads; also the name of its case.
    local : Difference or None
        A's result beside B's on A's inputs; None when B did not run it again.
    accumulated : Difference or None
        A's result beside its counterpart's in B's own pass; None when there is none, or it is a view.
    truth : Truth or None
        Both results of the local comparison against float64, where they differ.
    why_no_truth : str or None
        Why there is none although they differ.
    """

    position: int
    position_b: int | None
    name: str
    overload: str
    module: str
    source: str
    id: str
    local: Difference | None
    accumulated: Difference | None
    truth: Truth | None = None
    why_no_truth: str | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReplayedOperation:
        """Read what `dataclasses.asdict` and JSON made of it."""
        found = dict(content)
        for name in ("local", "accumulated"):
            found[name] = None if found[name] is None else Difference(**found[name])
        if found["truth"] is not None:
            found["truth"] = Truth(**{side: Error(**found["truth"][side]) for side in ("a", "b")})
        return cls(**found)


@dataclass(frozen=True)
class NotReplayed:
    """Operations that were not run again: their name, why, and how many."""

    name: str
    why: str
    count: int


@dataclass(frozen=True)
class ReplayedPass:
    """One pass of A, run again by B operation by operation.

    Attributes
    ----------
    slug, description, kind : str
        Of the pass.
    same_output : bool
        Whether B's own pass gave A's output, byte for byte.
    undisturbed_a, undisturbed_b : bool
        Whether sending left A's output, and replaying left B's, as they are without it.
    replayed, differ : int
        Operations that B ran again, and those of them whose result was another.
    not_replayed : tuple of NotReplayed
        The others.
    window_bytes : int
        Greatest size of A's outputs that were kept until B's own pass came to them.
    sent_bytes : int
        That A sent.
    seconds, seconds_plain : float
        Wall time of B's pass with all replays, and of the same pass before it under a mode that only counts.
    peak_bytes, peak_bytes_plain : int
        Greatest resident memory of B's process up to the end of each.
    operations : tuple of ReplayedOperation
        In A's order: those with a floating-point output, and those with any difference.
    """

    slug: str
    description: str
    kind: str
    same_output: bool
    undisturbed_a: bool
    undisturbed_b: bool
    replayed: int
    differ: int
    not_replayed: tuple[NotReplayed, ...]
    window_bytes: int
    sent_bytes: int
    seconds: float
    seconds_plain: float
    peak_bytes: int
    peak_bytes_plain: int
    operations: tuple[ReplayedOperation, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReplayedPass:
        """Read what `dataclasses.asdict` and JSON made of it."""
        operations = tuple(map(ReplayedOperation.from_json, content["operations"]))
        left = tuple(NotReplayed(**entry) for entry in content["not_replayed"])
        return cls(**{**content, "operations": operations, "not_replayed": left})


@dataclass(frozen=True)
class Group:
    """How often one kind of operation was run again, and how often its result was another, over all passes."""

    id: str
    name: str
    overload: str
    dtypes: tuple[str, ...]
    replayed: int
    differ: int


@dataclass(frozen=True)
class Replay:
    """A replay folder that was read.

    Attributes
    ----------
    path : Path
        The folder.
    a, b : mapping
        ``arm``, ``torch`` and ``inputs`` of each side, as a trace's manifest has them.
    passes : mapping of str to ReplayedPass
        By slug, in the order in which they ran.
    groups : mapping of str to Group
        By id, in the order in which they were met first.
    """

    path: Path
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    passes: Mapping[str, ReplayedPass]
    groups: Mapping[str, Group]

    @classmethod
    def open(cls, path: Path) -> Replay:
        """Read a replay folder.

        Raises
        ------
        StoreError
            When it holds no replay, one of another schema, or a damaged one.
        """
        file = path / REPLAY_FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version = content["schema_version"]
            if version == SCHEMA_VERSION:
                passes = [ReplayedPass.from_json(entry) for entry in content["passes"]]
                groups = [Group(**{**entry, "dtypes": tuple(entry["dtypes"])}) for entry in content["groups"]]
                return cls(path, content["a"], content["b"], {p.slug: p for p in passes}, {g.id: g for g in groups})
        except FileNotFoundError as error:
            raise StoreError(f"{path} holds no replay (no {REPLAY_FILE})", _AGAIN) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file} is damaged: {error}", _AGAIN) from error
        raise StoreError(f"{file} has schema {version}; this reportlib reads {SCHEMA_VERSION}", _AGAIN)

    def write(self) -> None:
        """Write `replay.json` into the folder."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "a": dict(self.a),
            "b": dict(self.b),
            "passes": [asdict(entry) for entry in self.passes.values()],
            "groups": [asdict(entry) for entry in self.groups.values()],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (self.path / REPLAY_FILE).write_text(text + "\n", encoding="utf-8")
