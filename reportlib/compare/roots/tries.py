"""What cases gave under switches, as the verb ``try`` printed it, and what that says of each kind of operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportlib.trace.cases import Case
from reportlib.trace.switches import NONE


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
