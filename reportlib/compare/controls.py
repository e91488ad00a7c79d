"""Controls: what differs although nothing should. Where one fails, nothing that rests on its arm can be claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.store import Artifact, Capture
from reportlib.study import Arm

Record = dict[str, Any]
#: What a repeated capture leaves out, since no other artifact is computed from it.
_NOT_REPEATED = ("rankings", "sort_probes")


def compare_control(arm: Arm, plain: Capture, control: Capture) -> Record:
    """Compare a control with the plain arm, by the hashes of their manifests.

    Parameters
    ----------
    arm : Arm
        The control. A ``repeat`` must have every artifact of the plain arm, search and probes aside, byte for byte;
        an ``observer`` the final ones.
    plain, control : Capture
        The plain arm's capture, and the control's.

    Returns
    -------
    dict
        One of ``controls`` in ``docs/schema.md``. An artifact that one side lacks is not identical.
    """
    left, right = (_compared(arm.control, capture) for capture in (plain, control))
    names = [*left, *(name for name in right if name not in left)]
    differing = [name for name in names if _bytes(left.get(name)) != _bytes(right.get(name))]
    return {
        "kind": arm.control,
        "environment": arm.environment,
        "arm": arm.name,
        "compared": len(names),
        "identical": len(names) - len(differing),
        "not_identical": differing,
        "passed": bool(names) and not differing,
    }


def conclusive(expected: int, controls: Sequence[Record]) -> bool | None:
    """Return whether what is compared can be told from noise.

    Parameters
    ----------
    expected : int
        How many controls the study asks for.
    controls : sequence of dict
        Those that were captured.

    Returns
    -------
    bool or None
        False when one failed; True when all that were asked for passed; None when none failed, but some or all were
        not run: then nothing is known of the noise.
    """
    if not all(control["passed"] for control in controls):
        return False
    return True if controls and len(controls) == expected else None


def _compared(kind: str, capture: Capture) -> Mapping[str, Artifact]:
    if kind == "observer":
        return {name: line for name, line in capture.artifacts.items() if name.startswith("index/")}
    return {name: line for name, line in capture.artifacts.items() if name not in _NOT_REPEATED}


def _bytes(line: Artifact | None) -> tuple[Any, ...] | None:
    return None if line is None else (line.sha256, line.dtype, line.shape)
