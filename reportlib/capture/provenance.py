"""What a capture ran on: everything that could matter to its numbers, and nothing private.

No path, host name, user name or address is recorded; of the environment's variables only those in
`reportlib.study.VARIABLES`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import torch

from reportlib.capture.environment import installed
from reportlib.capture.preflight import cpu_name, instruction_sets
from reportlib.store import digest_file
from reportlib.study import VARIABLES

_LIBRARIES = re.compile(
    r"lib(?:gomp|iomp5|omp|mkl[a-z_0-9]*|openblas[a-z0-9_]*|scipy_openblas[a-z0-9_]*|faiss|torch_cpu|torch_cuda|"
    r"cublas(?:Lt)?|cudnn[a-z_]*|cudart)[-.]"
)
_KINDS = (
    ("libgomp", "OpenMP"),
    ("libiomp5", "OpenMP"),
    ("libomp", "OpenMP"),
    ("libfaiss", "faiss"),
    ("libtorch", "torch"),
    ("libcu", "CUDA"),
    ("lib", "BLAS"),
)
#: A larger library (torch's own) is known by its package's RECORD.
_HASHED_BYTES = 64 << 20


def collect(*, seeds: Mapping[str, int], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the provenance of this process.

    Parameters
    ----------
    seeds : mapping
        Name to seed.
    inputs : mapping
        ``collection`` and ``checkpoint`` to their sha256.
    """
    return {
        "python": platform.python_version(),
        "packages": _packages(),
        "torch": _torch(),
        "libraries": _libraries(),
        "machine": _machine(),
        "threads": {"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads()},
        "environment_variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "seeds": dict(seeds),
        "inputs": dict(inputs),
    }


def _packages() -> dict[str, dict[str, str | None]]:
    found = {}
    for name, package in installed().items():
        record = package.read_text("RECORD")
        found[name.lower()] = {
            "version": package.version,
            "record_sha256": _record_digest(record) if record else None,
        }
    return dict(sorted(found.items()))


def _record_digest(record: str) -> str:
    """Hash a RECORD without what installers write for themselves: it then only tells what was in the wheel."""
    own = re.compile(r"(^|/)(__pycache__/|INSTALLER|REQUESTED|RECORD|direct_url\.json|uv_[a-z]+\.json)|^\.\./")
    lines = sorted(line for line in record.splitlines() if line and not own.search(line.split(",")[0]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _torch() -> dict[str, Any]:
    capability = getattr(torch.backends, "cpu", None)  # from torch 2.1.0 on
    return {
        "version": torch.__version__,
        "git_version": torch.version.git_version,
        "cuda": torch.version.cuda,
        "config": torch.__config__.show().strip(),
        "parallel": torch.__config__.parallel_info().strip(),
        "cpu_capability": capability.get_cpu_capability() if capability else _capability_from_config(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _capability_from_config() -> str | None:
    match = re.search(r"CPU capability usage: (\S+)", torch.__config__.show())
    return match.group(1) if match else None


def _libraries() -> list[dict[str, Any]]:
    """Return the shared libraries that compute, as loaded: a package can bring its own copy of OpenMP or BLAS."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    files = {Path(line.split(maxsplit=5)[5]) for line in maps.read_text().splitlines() if "/" in line}
    named = sorted((file for file in files if _LIBRARIES.match(file.name)), key=lambda file: (file.name, str(file)))
    return [
        {
            "name": file.name,
            "kind": next(kind for start, kind in _KINDS if file.name.startswith(start)),
            "size": file.stat().st_size,
            "sha256": digest_file(file) if file.stat().st_size <= _HASHED_BYTES else None,
        }
        for file in named
    ]


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "isa": list(instruction_sets()),
        "cores": os.cpu_count(),
        "arch": platform.machine(),
        "os": f"{platform.system()}, libc {' '.join(platform.libc_ver())}",
        **_gpu(),
    }


def _gpu() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"gpu": None, "driver": None}
    properties = torch.cuda.get_device_properties(0)
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    return {
        "gpu": properties.name,
        "driver": driver,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cudnn": torch.backends.cudnn.version(),
    }
