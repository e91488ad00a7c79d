"""Sweeps made of numbers: a station that installs nothing, and counts what it was asked to install."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from captures import PASSAGES, pipeline_values, write
from packaging.version import Version
from safetensors.numpy import save_file

from reportlib.errors import CaptureError, EnvironmentCreationError, EnvironmentFileError
from reportlib.store import MANIFEST
from reportlib.study import PRECISIONS, Arm
from reportlib.sweep.probes import Site
from reportlib.trace.format import MEASURED, SAMPLES

NORM = "native_layer_norm float32 2x4, 4"
SORT = "sort int64 32768"
PROBES: list[dict[str, Any]] = [
    {"id": NORM, "name": "aten::native_layer_norm", "overload": "", "precisions": ["float32", "autocast"],
     "passes": ["batch"], "arguments": {"input": {"tensor": 0}},
     "tensors": [{"dtype": "float32", "shape": [2, 4], "strides": [4, 1]}]},
    {"id": SORT, "name": "aten::sort", "overload": "", "precisions": ["float32"], "passes": ["index"],
     "arguments": {"self": {"tensor": 0}}, "tensors": [{"dtype": "int64", "shape": [32768], "strides": [1]}]},
]  # fmt: skip
LAYERS = ("float32/text0/00", "float32/text0/output", "autocast/text0/00", "autocast/text0/output")


class FakeStation:
    """Measures what it is told.

    Parameters
    ----------
    folder : Path
        For measurements.
    steps : mapping of str to sequence of str
        By the name of a probe or layer, the versions from which on it has other values.
    failing : mapping of str to str
        By version, where it fails: ``prepare``, ``install``, ``measure``, ``capture``, or ``lacks NAME``, an operation.
    full : bool
        Whether it captures too: indexes that are others where the step of ``index`` is, and only there.
    """

    def __init__(
        self,
        folder: Path,
        steps: Mapping[str, Sequence[str]],
        failing: Mapping[str, str] = {},
        *,
        full: bool = False,
    ) -> None:
        self.folder, self.steps, self.failing, self.full = folder, steps, failing, full
        self.installed: list[str] = []
        self.captures: list[str] = []
        self.here: set[str] = set()
        self.most = 0
        self._lock = threading.Lock()

    def prepare(self, version: str) -> Site:
        if self.failing.get(version) == "prepare":
            raise EnvironmentFileError(f"torch has no version {version} that fits")
        return Site(version, f"torch{version.replace('.', '')}", self.folder / version, "3.11", {"numpy": "1.26.4"},
                    {"torch": version, "numpy": "1.26.4"})  # fmt: skip

    def install(self, site: Site) -> None:
        with self._lock:
            self.installed.append(site.version)
            if self.failing.get(site.version) == "install":
                raise EnvironmentCreationError("a package is not the file that the lock knows")
            self.here.add(site.version)
            self.most = max(self.most, len(self.here))

    def measure(self, site: Site) -> None:
        assert site.version in self.here
        if self.failing.get(site.version) == "measure":
            raise CaptureError("torch does not start")
        site.folder.mkdir(parents=True)
        samples: dict[str, np.ndarray] = {}
        content: dict[str, Any] = {"torch": f"{site.version}+cpu", "cpu_capability": "AVX2", "inputs": {"weights": "w"},
                                   "probes": {}, "layers": {}}  # fmt: skip
        for kind, names in (("probes", [probe["id"] for probe in PROBES]), ("layers", LAYERS)):
            for name in names:
                content[kind][name] = self._entry(name, site.version, samples)
        save_file(samples, site.folder / SAMPLES)
        (site.folder / MEASURED).write_text(json.dumps(content))

    def _entry(self, name: str, version: str, samples: dict[str, np.ndarray]) -> dict[str, Any]:
        if self.failing.get(version) == f"lacks {name}":
            return {"failed": "NotReplayedError: torch has none"}
        step = sum(Version(version) >= Version(start) for start in self.steps.get(name, ()))
        whole = name == SORT
        values = np.arange(8, dtype=np.int64 if whole else np.float32)
        values[0] += step
        samples[f"{name}#0"] = values
        error = None if whole else 1 / (1 + step)
        return {"failed": None, "digest": hashlib.sha256(values.tobytes()).hexdigest(), "repeats": True,
                "inputs": "same", "max_error": error, "rms_error": error}  # fmt: skip

    def captured(self, site: Site) -> Mapping[str, Path] | None:
        if not self.full:
            return None
        folders = {precision: self.folder / "captures" / f"{site.name}-{precision}" for precision in PRECISIONS}
        return folders if all((folder / MANIFEST).is_file() for folder in folders.values()) else {}

    def capture(self, site: Site) -> None:
        assert site.version in self.here
        self.captures.append(site.version)
        if self.failing.get(site.version) == "capture":
            raise CaptureError("a compiler is missing")
        step = sum(Version(site.version) >= Version(start) for start in self.steps.get("index", ()))
        for precision in PRECISIONS:
            arm = Arm(site.name, precision, "cpu", PASSAGES)
            values = pipeline_values(arm, seed=12345 + step * (precision == "autocast"))
            write(self.folder / "captures", arm, values)

    def remove(self, site: Site, following: Site | None) -> None:
        assert following is None or following.version in self.here or self.failing.get(following.version) == "install"
        self.here.discard(site.version)
