"""What of the package, the machine and the variables around a run is part of an address."""

from __future__ import annotations

import re
from os import environ
from pathlib import Path
from typing import Any

import reportlib
from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.capture.process import settled_variables
from reportlib.store import digest, digest_file
from reportlib.study import VARIABLES

#: What the package's own code is in an address: raised by whoever changes what it computes, so that it is computed
#: anew, and by nobody else. A test holds each number against the code that it stands for (tests/unit/test_code.py).
CODE = {"capture": 1, "search": 1, "trace": 1, "roots": 1, "probe": 1}


def code_digest(names: tuple[str, ...]) -> str:
    """Hash the package's source files under `names`.

    Parameters
    ----------
    names : tuple of str
        Files and folders inside the package: ``capture``, ``store.py``.

    Returns
    -------
    str
        A sha256 over names and contents, in hexadecimal; compiled files do not count.
    """
    package = Path(reportlib.__file__).parent
    files: list[Path] = []
    for name in names:
        path = package / name
        files += [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    lines = [f"{file.relative_to(package)} {digest_file(file)}" for file in sorted(files)]
    return digest("\n".join(lines).encode())


# The machine and the environment variables around a run, as part of an address: kernels are chosen by them.

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
