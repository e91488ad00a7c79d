"""The verb ``probe``: operations on seeded inputs, and BERT's layers on fixed texts, in float32 and under autocast.

Writes a folder that two versions of torch can be compared by without running again::

    measured.json         what ran, and for each probe and layer the hash of what came out and its distance to float64
    samples.safetensors   up to `SAMPLE` elements of each first output, evenly spaced, as float32 or int64

Inputs are made by numpy's frozen ``RandomState`` and have a hash of their own: equal hashes are the proof that two
versions were given the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from reportlib.capture.instruments import computing_in
from reportlib.capture.process import Progress
from reportlib.capture.tensors import layer_outputs, tensor_digest
from reportlib.store import canonical_json, digest
from reportlib.trace.format import FUNCTIONS, MEASURED, SAMPLES, atomic_folder
from reportlib.trace.operations import call, call_in_float64, find_operation
from reportlib.trace.passes import Loaded, Pass, load, torch_description
from reportlib.trace.tensors import Layout, from_bytes

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

SCHEMA_VERSION = 1
#: Elements of an output that are kept: 512 kB each.
SAMPLE = 1 << 17
#: Whole numbers are below this, the number of centroids of a middling index, where nothing says what they count.
_CODES = 16384


def write_probes(request: PassRequest, probes: Path, output: Path, *, layers: bool) -> None:
    """Run every probe and every layer twice, and write what came out."""
    wanted = json.loads(probes.read_text(encoding="utf-8"))["probes"]
    with atomic_folder(output) as partial_folder, load(request) as loaded:
        samples: dict[str, torch.Tensor] = {}
        measured_probes = {}
        for number, probe in enumerate(wanted, 1):
            request.progress.stage(f"probe {number} of {len(wanted)}")
            measured_probes[probe["id"]] = _attempt(partial(_probe, probe), probe["id"], samples)
        described = torch_description()
        content = {
            "schema_version": SCHEMA_VERSION,
            "torch": described["version"],
            "cpu_capability": described["cpu_capability"],
            "threads": torch.get_num_threads(),
            "inputs": dict(loaded.inputs),
            "probes": measured_probes,
            "layers": _layers(loaded, request.progress, samples) if layers else {},
        }
        save_file(samples, str(partial_folder / SAMPLES))
        (partial_folder / MEASURED).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    request.progress.stage("done")


# A probe: an operation's name, its arguments, and of its tensors dtype, shape and strides.


def _attempt(
    call: Callable[[], tuple[dict[str, Any], Sequence[Any]]], name: str, samples: dict[str, Any]
) -> dict[str, Any]:
    """Return what `call` measured, or why this version of torch cannot do it."""
    try:
        found, outputs = call()
    except Exception as error:  # whatever another version of torch raises is what is to be told
        return {"failed": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    for index, output in enumerate(outputs):
        samples[f"{name}#{index}"] = sample(output)
    return {**found, "failed": None}


def _probe(probe: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[Any]]:
    tensors = seeded(probe)
    # Strides and values are the same whatever ran before: each call gets tensors of its own.
    given = digest(canonical_json([tensor_digest(tensor) for tensor in tensors]).encode())
    once, again = _call(probe, tensors), _call(probe, seeded(probe))
    exact = _exact(probe, seeded(probe))
    found = {**measured(once, exact), "repeats": outputs_digest(once) == outputs_digest(again), "inputs": given}
    return found, once


def _call(probe: Mapping[str, Any], tensors: Sequence[Any]) -> Sequence[Any]:
    if path := FUNCTIONS.get(probe["name"]):
        function: Any = torch
        for part in path:
            function = getattr(function, part)
        return (function(*tensors, **probe["arguments"]),)
    return call(find_operation(probe["name"], probe["overload"]), probe["arguments"], tensors).outputs


def _exact(probe: Mapping[str, Any], tensors: Sequence[Any]) -> Sequence[Any] | None:
    if probe["name"] in FUNCTIONS:
        return _call(probe, [tensor.double() for tensor in tensors])
    return call_in_float64(find_operation(probe["name"], probe["overload"]), probe["arguments"], tensors)[0]


def seeded(probe: Mapping[str, Any]) -> list[Any]:
    """Return a probe's tensors: the same bytes, strides and alignment on every version of torch."""
    roles = dict(_roles(probe["arguments"]))
    found = []
    for index, described in enumerate(probe["tensors"]):
        itemsize = 2 if described["dtype"] == "bfloat16" else np.dtype(described["dtype"]).itemsize
        shape, strides = tuple(described["shape"]), tuple(described["strides"])
        layout = Layout(described["dtype"], shape, strides, 0, "cpu", itemsize)
        seed = int.from_bytes(hashlib.sha256(f"{probe['id']}#{index}".encode()).digest()[:4], "big")
        role = (probe["name"].rpartition("::")[2].rstrip("_"), roles.get(index, ""))
        values = _values(np.random.RandomState(seed), role, described["dtype"], layout.core, probe)
        found.append(from_bytes(layout, np.ascontiguousarray(values).data.cast("B")))
    return found


def _roles(arguments: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return which argument each tensor is."""
    found = []
    for name, value in arguments.items():
        given = value if isinstance(value, list) else [value]
        found += [(one["tensor"], name) for one in given if isinstance(one, dict) and "tensor" in one]
    return found


def _values(
    random: np.random.RandomState, role: tuple[str, str], dtype: str, shape: tuple[int, ...], probe: Mapping[str, Any]
) -> np.ndarray:
    """Return values of the size that an operation meets in BERT and in colbert-ai's indexing."""
    if dtype == "bool":
        return random.randint(0, 2, shape).astype(np.bool_)
    if not dtype.startswith(("float", "bfloat")):
        bound = probe.get("bound", 256 if dtype == "uint8" else _CODES)
        return random.randint(0, bound, shape).astype(dtype)
    values = random.standard_normal(shape)
    if role in {("addmm", "mat2"), ("mm", "mat2")}:
        values /= np.sqrt(shape[0])  # a layer's weights keep the size of what goes through
    elif role[1] in {"bias", "weight"} or role == ("addmm", "self"):
        values = values / 10 + (role[1] == "weight")
    elif role == ("div", "other"):
        values = np.abs(values) + 0.5
    elif role[1] == "boundaries":
        values = np.sort(values)
    elif role[1] == "q":
        values = np.linspace(0, 1, prod(shape) + 2)[1:-1].reshape(shape)
    return _bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest, ties to even, and return the bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


# What is kept of an output.


def outputs_digest(outputs: Sequence[Any]) -> str:
    """Hash outputs, dtype and shape included."""
    content = [[str(tensor.dtype), list(tensor.shape), tensor_digest(tensor)] for tensor in outputs]
    return digest(canonical_json(content).encode())


def measured(outputs: Sequence[Any], exact: Sequence[Any] | None) -> dict[str, Any]:
    """Return the hash of outputs, and how far the finite values of the first are from the same in float64.

    ``max_error`` and ``rms_error`` are None where float64 is no truth: integers, copies.
    """
    found: dict[str, Any] = {"digest": outputs_digest(outputs), "max_error": None, "rms_error": None}
    if exact is not None and outputs[0].is_floating_point() and exact[0].is_floating_point():
        distance = (outputs[0].double() - exact[0].double()).abs()
        distance = distance[distance.isfinite()]
        if distance.numel():
            found["max_error"] = float(distance.max())
            found["rms_error"] = float(distance.square().mean().sqrt())
    return found


def sample(tensor: Any) -> Any:
    """Return up to `SAMPLE` elements, evenly spaced, in a dtype that holds each exactly."""
    flat = tensor.detach().reshape(-1)
    step = max(1, -(-flat.numel() // SAMPLE)) | 1  # odd: an even step would see only some columns of a matrix
    kept = flat[::step]
    return kept.to(torch.float32 if tensor.is_floating_point() else torch.int64).contiguous().clone()


# BERT's layers.


def _layers(loaded: Loaded, progress: Progress, samples: dict[str, Any]) -> dict[str, Any]:
    def outputs(given: Pass) -> dict[str, Any]:
        taken, output = layer_outputs(loaded.model.LM, given.call)
        return {**taken, "output": output.detach().clone()}

    taken: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    for name in ("float32", "autocast"):
        with computing_in(name, "cpu"):
            for given in loaded.passes:
                progress.stage(f"BERT on {given.description!r}, {name}")
                taken[name, given.slug] = outputs(given), outputs(given)
    loaded.model.double()
    exact = {given.slug: outputs(given) for given in loaded.passes}
    found = {}
    for (name, slug), (once, again) in taken.items():
        for layer, output in once.items():
            key = f"{name}/{slug}/{layer}"
            repeats = outputs_digest([output]) == outputs_digest([again[layer]])
            found[key] = {**measured([output], [exact[slug][layer]]), "repeats": repeats, "failed": None}
            samples[key + "#0"] = sample(output)
    return found
