"""The fewest switches with which B computes what A does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from reportlib.trace.switches import combine, compatible, find

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
    known = {frozenset(find(name).parts or (name,)): undone & cases for name, undone in undone_by.items()}
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
