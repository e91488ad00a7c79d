"""What cases gave under switches, and the fewest with which B computes what A does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from reportlib.trace.format import Case
from reportlib.trace.switches import NONE, combine, compatible, find_switch


@dataclass(frozen=True)
class Tries:
    """Every switch that was tried in one environment.

    Attributes
    ----------
    switches : mapping of str to mapping
        By the switch's name (`reportlib.trace.switches.NONE` for none): ``failed``, why it could not be set, and
        ``cases`` by the name of the case's folder: ``outputs``, ``result``, ``written`` and ``failed``.
    """

    switches: Mapping[str, Mapping[str, Any]]

    def gives(self, switch: str, case: Case) -> str:
        """Return whose bytes a case gave under a switch: ``a``, ``b``, ``both``, ``neither`` or ``failed``."""
        found = self._case(switch, case)
        if found is None or found["failed"] is not None:
            return "failed"
        seen = _seen(found["outputs"]), found["result"]
        sides = [side for side in "ab" if (_recorded(case, side), case.result[side]) == seen]
        return "both" if len(sides) == 2 else (sides or ["neither"])[0]

    def why(self, switch: str, case: Case) -> str | None:
        """Return why a case failed under a switch, or None when it did not."""
        entry = self.switches[switch]
        if entry["failed"] is not None:
            return str(entry["failed"])
        found = entry["cases"].get(case.folder.name)
        return "it was not run" if found is None else found["failed"]

    def written(self, case: Case) -> Sequence[int]:
        """Return the inputs that a case's operation changed without returning them."""
        found = self._case(NONE, case)
        return () if found is None or found["failed"] is not None else tuple(found["written"])

    def outputs(self, switch: str, case: Case) -> Any:
        """Return what a case gave under a switch, to be compared with what it gave elsewhere; None where it failed."""
        found = self._case(switch, case)
        return None if found is None or found["failed"] is not None else [_seen(found["outputs"]), found["result"]]

    def _case(self, switch: str, case: Case) -> Mapping[str, Any] | None:
        entry = self.switches.get(switch)
        if entry is None or entry["failed"] is not None:
            return None
        found: Mapping[str, Any] | None = entry["cases"].get(case.folder.name)
        return found


def _seen(outputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [[output["dtype"], list(output["shape"]), output["sha256"]] for output in outputs]


def _recorded(case: Case, side: str) -> list[Any]:
    return [[output.dtype, list(output.shape), output.sha256] for output in case.outputs[side]]


def verified(cases: Sequence[Case], a: Tries, b: Tries) -> list[Case]:
    """Return the cases that give A's bytes in A and B's in B when they are run alone, without a switch."""
    return [case for case in cases if (a.gives(NONE, case), b.gives(NONE, case)) == ("a", "b")]


def together(given: Sequence[str]) -> str:
    """Return what several cases gave: one word when they agree, ``failed`` when one failed, else ``neither``."""
    different = set(given)
    if len(different) == 1:
        return given[0]
    return "failed" if "failed" in different else "neither"


def switch_table(cases: Sequence[Case], a: Tries, b: Tries) -> list[dict[str, Any]]:
    """Return what each switch makes each environment return, over all cases of one kind of operation."""
    return [
        {
            "switch": switch,
            "environment": side,
            "gives": (gives := together([tries.gives(switch, case) for case in cases])),
            "why": next(filter(None, (tries.why(switch, case) for case in cases)), None) if gives == "failed" else None,
        }
        for side, tries in (("a", a), ("b", b))
        for switch in tries.switches
        if switch != NONE
    ]


def levels(cases: Sequence[Case], a: Tries, b: Tries) -> list[str]:
    """Return the switches that, set in both environments, make them give the same bytes on every case."""
    shared = [switch for switch in a.switches if switch in b.switches and switch != NONE]
    return [
        switch
        for switch in shared
        if cases and all((of_a := a.outputs(switch, c)) is not None and of_a == b.outputs(switch, c) for c in cases)
    ]


#: So many switches together are tried at most.
MAX_SWITCHES = 3


@dataclass(frozen=True)
class Confirmation:
    """Whole forward passes of B under switches, beside A's without.

    Attributes
    ----------
    passes_equal, passes : int
        How many have A's output, byte for byte, and how many there are.
    """

    passes_equal: int
    passes: int


@dataclass(frozen=True)
class Search:
    """What was looked for, and found or not.

    Attributes
    ----------
    undo : mapping or None
        As ``roots.json`` has it.
    why_no_undo : str or None
        Why there is none, in words.
    """

    undo: Mapping[str, Any] | None
    why_no_undo: str | None


def search(
    cases: AbstractSet[str],
    undone_by: Mapping[str, AbstractSet[str]],
    try_together: Callable[[tuple[str, ...]], AbstractSet[str]],
    confirm: Callable[[tuple[str, ...]], Confirmation],
) -> Search:
    """Look for the fewest switches that undo every difference of the forward passes.

    Sets of switches that each undo something are tried in order of size; one whose members together do not account
    for every case is passed over. One that gives A's bytes on every case must also give A's output on every pass.

    Parameters
    ----------
    cases : set of str
        Ids of the operations to undo.
    undone_by : mapping of str to set of str
        For each switch that was tried in B, the ids on which it gave A's bytes. A name of several joined by ``+`` is
        what they gave together.
    try_together : callable
        Runs the cases in B under several switches; returns the ids on which they gave A's bytes.
    confirm : callable
        Runs the forward passes in B under these switches.
    """
    if not cases:
        return Search(None, "no operation of the forward passes differs by itself, so there is nothing to undo")
    known = {frozenset(find_switch(name).parts or (name,)): undone & cases for name, undone in undone_by.items()}
    singles = {next(iter(names)): undone for names, undone in known.items() if len(names) == 1 and undone}
    nearest: Mapping[tuple[str, ...], AbstractSet[str]] = {(name,): undone for name, undone in singles.items()}
    unconfirmed: tuple[tuple[str, ...], Confirmation] | None = None
    for names in _sets(cases, singles, known):
        undone = known.get(frozenset(names))
        undone = try_together(names) & cases if undone is None else undone
        nearest = {**nearest, names: undone}
        if undone != cases:
            continue
        confirmed = confirm(names)
        if confirmed.passes_equal == confirmed.passes:
            return Search(_undo(names, len(cases), confirmed), None)
        if unconfirmed is None or confirmed.passes_equal > unconfirmed[1].passes_equal:
            unconfirmed = (names, confirmed)
    return Search(None, _why(cases, nearest, unconfirmed))


def _sets(
    cases: AbstractSet[str],
    singles: Mapping[str, AbstractSet[str]],
    known: Mapping[frozenset[str], AbstractSet[str]],
) -> Iterator[tuple[str, ...]]:
    """Yield sets of switches worth trying, small ones first; those already known to undo all come with their size."""
    names = list(singles)
    for size in range(1, MAX_SWITCHES + 1):
        tried = [tuple(sorted(group)) for group, undone in known.items() if len(group) == size and undone == cases]
        yield from tried
        for group in combinations(names, size):
            covered = frozenset().union(*(singles[name] for name in group))
            if covered == cases and compatible(group) and tuple(sorted(group)) not in tried:
                yield group


def _undo(names: Sequence[str], cases: int, confirmed: Confirmation) -> dict[str, Any]:
    return {
        "switches": list(names),
        "lines": list(combine(names).lines),
        "cases_equal": cases,
        "cases": cases,
        "passes_equal": confirmed.passes_equal,
        "passes": confirmed.passes,
    }


def _why(
    cases: AbstractSet[str],
    nearest: Mapping[tuple[str, ...], AbstractSet[str]],
    unconfirmed: tuple[tuple[str, ...], Confirmation] | None,
) -> str:
    many = f"of the {len(cases):,} operations that differ by themselves"
    one = "the operation that differs by itself" if len(cases) == 1 else ""
    if unconfirmed is not None:
        names, found = unconfirmed
        verb = "makes" if len(names) == 1 else "make"
        return (
            f"{' and '.join(names)} {verb} B return A's bytes on {one or f'every one {many}'}, but only"
            f" {found.passes_equal} of {found.passes} forward passes have A's output then"
        )
    best = max(nearest, key=lambda names: (len(nearest[names]), -len(names)), default=None)
    if best is None or not nearest[best]:
        return f"no switch tried makes B return A's bytes on {one or f'any {many}'}"
    undone = len(nearest[best])
    verb = "makes" if len(best) == 1 else "make"
    left = sorted(cases - nearest[best])
    return (
        f"no switches tried undo all {many}; {' and '.join(best)} {verb} B return A's bytes on {undone:,},"
        f" not on {', '.join(left)}"
    )
