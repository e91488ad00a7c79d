"""Where captures come from: platform, environments, and what differs between two of them.

Everything here reads provenance, which older or foreign captures may hold only in part: what is not
said is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.environments.spec import EnvironmentSpec
from reportlib.store import Capture

Record = dict[str, Any]

#: What ``torch.__config__`` says of the libraries that torch was built with.
_BUILT_WITH = {
    "oneDNN": re.compile(r"MKL-DNN v?([\d.]+)|oneDNN v?([\d.]+)"),
    "MKL": re.compile(r"oneAPI Math Kernel Library Version ([\w.-]+)"),
    "compiler": re.compile(r"(GCC [\d.]+|clang [\d.]+)", re.IGNORECASE),
    "OpenMP": re.compile(r"OpenMP (\d+)"),
    "CUDA runtime": re.compile(r"CUDA Runtime ([\d.]+)"),
    "cuDNN": re.compile(r"CuDNN ([\d.]+)"),
}
_TORCH = ("version", "git_version", "cuda", "cpu_capability", "config", "parallel")


def environment(name: str, capture: Capture, spec: EnvironmentSpec | None = None) -> Record:
    """Return what the report says of one environment, from a capture made in it and from its file, if it has one."""
    known = capture.provenance
    torch = known.get("torch", {})
    libraries = [
        {key: each.get(key) for key in ("name", "version", "sha256", "kind", "size")}
        for each in known.get("libraries", [])
    ]
    return {
        "name": name,
        "python": known.get("python"),
        "torch": {key: torch.get(key) for key in _TORCH},
        "backend": known.get("backend"),
        "packages": versions(capture),
        "pins": None if spec is None else dict(sorted(spec.pins.items())),
        "libraries": libraries,
        "threads": dict(known.get("threads", {})),
        "environment_variables": dict(known.get("environment_variables", {})),
        "seeds": dict(known.get("seeds", {})),
    }


def versions(capture: Capture) -> dict[str, str | None]:
    """Return the version of each package that was installed where a capture was made."""
    return {name: known.get("version") for name, known in sorted(capture.provenance.get("packages", {}).items())}


def same_environment(a: Capture, b: Capture) -> bool:
    """Whether two captures were made with the same Python, torch and packages, as far as both say what they held."""
    told = all(c.provenance.get("packages") and c.provenance.get("torch") for c in (a, b))
    kinds = {"python", "package", "package build", "torch"}
    return told and not any(each["kind"] in kinds for each in differences(a, b))


def platform(device: str, threads: int, captures: Mapping[str, Capture], environments: Sequence[Record]) -> Record:
    """Return the ``platform`` of ``docs/schema.md`` from every capture's provenance."""
    machines = [dict(c.provenance.get("machine", {})) for c in captures.values()]
    first = machines[0] if machines else {}
    keys = ("cpu", "cores", "arch", "os", "gpu", "driver")
    found = {key: first.get(key) for key in keys}
    capability = {e["name"]: e["torch"]["cpu_capability"] for e in environments}
    return {
        **found,
        "isa": list(first.get("isa", [])),
        "device": device,
        "threads": environments[0]["threads"] if environments else {},
        "capability": capability,
        "one_machine": len({(m.get("cpu"), m.get("gpu")) for m in machines}) <= 1,
        "sentence": _sentence(found, device, threads, capability),
    }


def _sentence(machine: Mapping[str, Any], device: str, threads: int, capability: Mapping[str, str | None]) -> str:
    kernels = sorted({each for each in capability.values() if each})
    cpu = machine["cpu"] or "an unknown CPU"
    if kernels:
        cpu += f" ({' and '.join(kernels)} kernels)"
    if device == "cuda":
        driver = f" with driver {machine['driver']}" if machine["driver"] else ""
        return f"{machine['gpu'] or 'an unknown GPU'}{driver}; {cpu}, {threads} threads."
    return f"{cpu}, {threads} thread{'s' * (threads != 1)}, no GPU used."


def differences(a: Capture, b: Capture) -> list[Record]:
    """Return everything recorded of two environments that is not the same in both."""
    return list(_differences(a.provenance, b.provenance))


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Record]:
    yield from _mapping("python", {"python": a.get("python")}, {"python": b.get("python")})
    yield from _packages(a.get("packages", {}), b.get("packages", {}))
    torch_a, torch_b = dict(a.get("torch", {})), dict(b.get("torch", {}))
    capability = [{"cpu_capability": torch.pop("cpu_capability", None)} for torch in (torch_a, torch_b)]
    yield from _mapping("torch", _built(torch_a), _built(torch_b))
    yield from _mapping("library", _libraries(a), _libraries(b))
    yield from _mapping("threads", a.get("threads", {}), b.get("threads", {}))
    yield from _mapping("capability", *capability)
    for kind, key in (
        ("environment variable", "environment_variables"),
        ("seed", "seeds"),
        ("machine", "machine"),
    ):
        yield from _mapping(kind, a.get(key, {}), b.get(key, {}))


def _mapping(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Record]:
    for name in [*a, *(n for n in b if n not in a)]:
        if a.get(name) != b.get(name):
            yield {"kind": kind, "name": name, "a": _text(a.get(name)), "b": _text(b.get(name))}


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def _packages(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Record]:
    for name in sorted({*a, *b}):
        left, right = a.get(name, {}), b.get(name, {})
        if left.get("version") != right.get("version"):
            yield {
                "kind": "package",
                "name": name,
                "a": left.get("version"),
                "b": right.get("version"),
            }
        elif left.get("record_sha256") != right.get("record_sha256"):
            yield {
                "kind": "package build",
                "name": name,
                "a": left.get("record_sha256"),
                "b": right.get("record_sha256"),
            }


def _built(torch: Mapping[str, Any]) -> dict[str, Any]:
    """Return torch's own settings, and the libraries named in its build configuration."""
    config = str(torch.get("config") or "")
    found = {k: v for k, v in torch.items() if k not in {"config", "parallel"}}
    for name, pattern in _BUILT_WITH.items():
        match = pattern.search(config)
        if match:
            found[name] = next(group for group in match.groups() if group)
    return found


def _libraries(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return each loaded library by name; copies of one name stand side by side."""
    found: dict[str, list[str]] = {}
    for each in provenance.get("libraries", []):
        known = [each.get("version"), (each.get("sha256") or "")[:12]]
        if not any(known) and each.get("size"):
            known = [f"{each['size']} bytes"]
        found.setdefault(each["name"], []).append(" ".join(k for k in known if k) or "loaded")
    return {name: ", ".join(sorted(copies)) for name, copies in sorted(found.items())}
