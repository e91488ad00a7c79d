"""A small network in numpy whose operations are recorded as torch's would be, with faults planted on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reportlib.store import digest, digest_file
from reportlib.trace.format import Operation, RecordedPass, TensorRecord, TraceWriter

#: Changes what an operation returns: given its module, its name and its output.
Plant = Callable[[str, str, np.ndarray], np.ndarray]
LAYERS = 3


@dataclass
class Value:
    """An array with the number of the memory that it lies in."""

    array: np.ndarray
    storage: int

    def record(self) -> TensorRecord:
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        sha256 = digest(np.ascontiguousarray(self.array).tobytes())
        return TensorRecord(str(self.array.dtype), self.array.shape, strides, sha256, self.storage)


@dataclass
class Machine:
    """Runs operations on values and writes down what they read and returned."""

    plant: Plant | None = None
    operations: list[Operation] = field(default_factory=list)
    storages: int = 0
    module: str = ""

    def value(self, array: np.ndarray) -> Value:
        self.storages += 1
        return Value(array, self.storages)

    def run(self, name: str, compute: Callable[..., Any], *inputs: Value, **arguments: Any) -> Value:
        """Run an operation; a trailing underscore changes its first input, and numpy's views stay views."""
        before = tuple(value.record() for value in inputs)
        array = np.asarray(compute(*(value.array for value in inputs)))
        if self.plant is not None:
            array = self.plant(self.module, name, array)
        if name.endswith("_"):
            inputs[0].array[...] = array
            output, written = inputs[0], (inputs[0].storage,)
        elif any(np.shares_memory(array, value.array) for value in inputs):
            shared = next(value for value in inputs if np.shares_memory(array, value.array))
            output, written = Value(array, shared.storage), ()
        else:
            output = self.value(array)
            written = (output.storage,)
        tensors = {f"in{index}": {"tensor": index} for index in range(len(inputs))}
        outputs, position = (output.record(),), len(self.operations)
        self.operations.append(
            Operation(position, f"aten::{name}", "", self.module, "", {**tensors, **arguments}, before, {"tensor": 0},
                      outputs, written)
        )  # fmt: skip
        return output


@dataclass(frozen=True)
class Network:
    """Which of its variants runs; the default is the one without a fault."""

    plant: Plant | None = None
    bias_first: bool = False
    insert_in: int | None = None
    scale: Mapping[int, float] = field(default_factory=dict)
    reshape_in: int | None = None
    decomposed: bool = False
    seed: int = 7

    def run(self) -> tuple[list[Operation], TensorRecord]:
        machine = Machine(self.plant)
        rng = np.random.default_rng(20250913)
        weights = [machine.value(rng.standard_normal((6, 6)).astype(np.float32)) for _ in range(LAYERS)]
        biases = [machine.value(rng.standard_normal(6).astype(np.float32)) for _ in range(LAYERS)]
        hidden = machine.value(np.random.default_rng(self.seed).standard_normal((4, 6)).astype(np.float32))
        for layer in range(LAYERS):
            machine.module = f"encoder.layer.{layer}"
            hidden = self._layer(machine, hidden, weights[layer], biases[layer], layer)
        machine.module = "head"
        ranked = machine.run("argsort", lambda x: np.argsort(np.round(x), axis=-1, kind="stable"), hidden)
        taken = machine.run("gather", lambda x, order: np.take_along_axis(x, order, -1), hidden, ranked)
        return machine.operations, taken.record()

    def _layer(self, machine: Machine, hidden: Value, weight: Value, bias: Value, layer: int) -> Value:
        def turn() -> Value:
            return machine.run("t", lambda w: w.T, weight)

        def double() -> Value:
            return machine.run("mul", lambda b: b * np.float32(2), bias, other=2)

        if self.bias_first:
            doubled, turned = double(), turn()
        else:
            turned, doubled = turn(), double()
        if self.insert_in == layer:
            machine.run("detach", lambda x: x[:], hidden)
        if self.decomposed:
            product = machine.run("mm", np.matmul, hidden, turned)
            summed = machine.run("add", np.add, product, doubled)
        else:
            summed = machine.run("addmm", lambda b, x, w: x @ w + b, doubled, hidden, turned)
        scale = self.scale.get(layer, 0.5)
        scaled = machine.run("scale_", lambda x: x * np.float32(scale), summed, factor={"float": scale.hex()})
        shape = (3, 8) if self.reshape_in == layer else (2, 12)
        viewed = machine.run("view", lambda x: x.reshape(shape), scaled, size=list(shape))
        active = machine.run("relu", lambda x: np.maximum(x, np.float32(0)), viewed)
        return machine.run("view", lambda x: x.reshape(4, 6), active, size=[4, 6])


def entry(operations: list[Operation], output: TensorRecord, **changed: Any) -> RecordedPass:
    """A manifest's entry for a recorded pass."""
    known: dict[str, Any] = {
        "slug": "planted", "description": "planted", "kind": "forward", "given": {"token_ids": "0"}, "output": output,
        "output_untraced": output.digest, "operations": len(operations), "sha256": "", "seconds_untraced": 1.0,
        "seconds_traced": 2.0, "peak_bytes_untraced": 1, "peak_bytes_traced": 2,
    }  # fmt: skip
    return RecordedPass(**{**known, **changed})


def at(module: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """Plant a change in the output of one operation of one module."""

    def plant(running: str, operation: str, array: np.ndarray) -> np.ndarray:
        return change(array.copy()) if (running, operation) == (module, name) else array

    return plant


def write_trace(folder: Path, network: Network, *, weights: str = "w", arm: Mapping[str, Any] | None = None,
                **changed: Any) -> Path:  # fmt: skip
    """Write a network's trace as a folder."""
    operations, output = network.run()
    settings = {"environment": "planted", "precision": "float32", "device": "cpu", "passages": 4, **(arm or {})}
    with TraceWriter(folder) as writer:
        file = writer.file("planted")
        file.write_text("".join(operation.to_json() + "\n" for operation in operations), encoding="utf-8")
        writer.add(entry(operations, output, **{"sha256": digest_file(file), **changed}))
        writer.describe(arm=settings, torch={"version": "0", "cpu_capability": "none"}, inputs={"weights": weights})
    return folder
