"""Which operations a sweep probes: those of recorded passes, and never a list made by hand.

``python -m reportlib.sweep.probes TRACE...`` writes ``probes.json`` anew from trace folders. Of an operation its name,
its arguments, and its tensors' dtypes, shapes and strides are taken; `reportlib.trace.probing` makes values for them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any

from reportlib.store import canonical_json
from reportlib.trace.format import Operation, Trace

FILE = "probes.json"
#: They move bytes, or hand out memory, numbers that count up or chance, and compute nothing.
_MOVES = frozenset(
    f"aten::{name}" for name in ("arange", "cat", "clone", "copy_", "detach_", "embedding", "fill_", "index",
                                 "randperm", "set_", "zeros", "_unique2", "bincount", "item")
)  # fmt: skip
#: Elements below which an index pass's operation is one about counters.
_LEAST = 90
#: What the posts found and a batch of 32 passages cannot show. The sort changes from 32,768 integers on (D6 sorts codes
#: of 1,146,937 embeddings; a tenth is enough), and F.normalize is several operations (G4).
_ADDED: tuple[Mapping[str, Any], ...] = (
    {"name": "aten::sort", "overload": "", "arguments": {"self": {"tensor": 0}}, "passes": ["index"],
     "tensors": [{"dtype": "int64", "shape": [114_693], "strides": [1]}], "precisions": ["float32", "autocast"]},
    {"name": "torch::normalize", "overload": "", "arguments": {"dim": 2}, "passes": ["batch"],
     "tensors": [{"dtype": "float32", "shape": [32, 74, 96], "strides": [7_104, 96, 1]}],
     "precisions": ["float32", "autocast"]},
)  # fmt: skip


def read() -> list[dict[str, Any]]:
    """Return the probes: ``id``, ``name``, ``overload``, ``arguments``, ``tensors``, ``precisions`` and ``passes``."""
    found: list[dict[str, Any]] = json.loads(path().read_text(encoding="utf-8"))["probes"]
    return found


def path() -> Path:
    """Return the file, as an environment reads it."""
    return Path(str(resources.files("reportlib.sweep").joinpath(FILE)))


def make(traces: Iterable[Trace]) -> list[dict[str, Any]]:
    """Return the probes that recorded passes give, in the order in which operations first run.

    Parameters
    ----------
    traces : iterable of Trace
        In float32 or under autocast. Of each, the first single text, the batch, and indexing where it was recorded.

    Returns
    -------
    list of dict
        One for each operation, dtypes, shapes and arguments; of an index pass only the largest of each operation and
        dtypes. What autocast leaves in float32 is of both precisions.
    """
    found: dict[str, dict[str, Any]] = {}
    for trace in traces:
        for slug in ("text0", "batch", "index"):
            if slug not in trace.passes:
                continue
            recorded = [probe for operation in trace.operations(slug) if (probe := _probe(operation)) is not None]
            for probe in _largest(recorded) if slug == "index" else recorded:
                known = found.setdefault(_key(probe), probe)
                for name, value in (("passes", slug), ("precisions", trace.arm["precision"])):
                    if value not in known[name]:
                        known[name].append(value)
    for added in _ADDED:
        found.setdefault(_key(added), dict(added))
    return [{"id": _id(probe), **probe} for probe in found.values()]


def _largest(probes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each operation and dtypes the probe that reads most."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for probe in probes:
        kind = (probe["name"], probe["overload"], *(tensor["dtype"] for tensor in probe["tensors"]))
        if _size(probe) >= max(_LEAST, _size(found.get(kind, probe))):
            found[kind] = probe
    return list(found.values())


def _probe(operation: Operation) -> dict[str, Any] | None:
    """Return an operation as a probe, or None where it computes nothing."""
    computes = operation.name.startswith("aten::") and operation.written and operation.inputs and operation.outputs
    if not computes or operation.name in _MOVES or operation.outputs[0].digest is None:
        return None
    tensors = [{"dtype": t.dtype, "shape": list(t.shape), "strides": list(t.strides)} for t in operation.inputs]
    return {"name": operation.name, "overload": operation.overload, "arguments": dict(operation.arguments),
            "tensors": tensors, "precisions": [], "passes": []}  # fmt: skip


def _key(probe: Mapping[str, Any]) -> str:
    return canonical_json([probe["name"], probe["overload"], probe["arguments"], probe["tensors"]])


def _size(probe: Mapping[str, Any]) -> int:
    return sum(prod(tensor["shape"]) for tensor in probe["tensors"])


def _id(probe: Mapping[str, Any]) -> str:
    """Name a probe after its operation and its tensors: ``addmm float32 384, 3584x384, 384x1536``."""
    name = probe["name"].rpartition("::")[2] + (f".{probe['overload']}" if probe["overload"] else "")
    dtypes = "/".join(dict.fromkeys(tensor["dtype"] for tensor in probe["tensors"]))
    into = [value["dtype"] for value in probe["arguments"].values() if isinstance(value, dict) and "dtype" in value]
    shapes = ", ".join("x".join(map(str, tensor["shape"])) or "1" for tensor in probe["tensors"])
    return " ".join([name, " to ".join([dtypes, *into]), shapes])


def main(arguments: list[str]) -> None:
    """Write the probes of trace folders."""
    probes = make(map(Trace.open, map(Path, arguments)))
    path().write_text(json.dumps({"probes": probes}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(probes)} probes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
