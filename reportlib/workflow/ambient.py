"""The machine and the environment variables around a run, as part of an address: kernels are chosen by them."""

from __future__ import annotations

import re
from os import environ
from pathlib import Path
from typing import Any

from reportlib.capture import settled_variables
from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.study import VARIABLES

_GPUS = Path("/proc/driver/nvidia/gpus")
_MODEL = re.compile(r"^Model:\s*(.+)$", re.MULTILINE)


def ambient(device: str) -> dict[str, Any]:
    """Return what determines a capture's bytes beside its study, environment and inputs, ready for JSON.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``; GPUs count for the latter only.

    Returns
    -------
    dict
        ``machine``: the CPU's name and instruction sets, and the names of the GPUs. ``variables``: those of
        `reportlib.study.VARIABLES` that are set here and that a capture does not set itself.
    """
    settled = settled_variables(device)
    return {
        "machine": [cpu_name(), list(instruction_sets()), _gpus() if device == "cuda" else []],
        "variables": {name: environ[name] for name in VARIABLES if name in environ and name not in settled},
    }


def _gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs, as the driver has them."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(_GPUS.glob("*/information"))]
    return [match[1].strip() for text in texts if (match := _MODEL.search(text))]
