"""Runs inside an environment: traces a small module with and without planted faults, one trace folder each.

``python traced_module.py FOLDER``
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.capture.process import quiet
from reportlib.capture.tensors import tensor_digest
from reportlib.trace.format import TraceWriter
from reportlib.trace.operations import Memory, Storages, blake3_digest

with quiet():  # colbert-ai comes with them, and warns
    from reportlib.trace.passes import Pass, watch_modules
    from reportlib.trace.record import record

LAYERS = 3


class Block(torch.nn.Module):
    """A linear layer, an in-place product, a view, a GELU; each with a variant."""

    def __init__(self, *, scale: float = 0.5, columns: int = 24, bias_first: bool = False, extra: bool = False) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.scale, self.columns, self.bias_first, self.extra = scale, columns, bias_first, extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.bias_first:
            doubled, square = self.linear.bias * 2, x.square()
        else:
            square, doubled = x.square(), self.linear.bias * 2
        if self.extra:
            x.clone()
        hidden = self.linear(x) + square + doubled
        hidden.mul_(self.scale)
        return torch.nn.functional.gelu(hidden.view(-1, self.columns)).view(-1, 8)


class Net(torch.nn.Module):
    """Blocks, then a sort with ties."""

    def __init__(self, layer: int = -1, **variant: Any) -> None:
        super().__init__()
        torch.manual_seed(20250913)
        self.blocks = torch.nn.ModuleList(Block(**(variant if k == layer else {})) for k in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        order = x.round().sort(dim=-1, stable=True).indices
        return x.gather(-1, order)


class Writer(torch.nn.Module):
    """Writes to memory that was hashed before: through a view, through ``data``, by another library's operation."""

    def __init__(self) -> None:
        super().__init__()
        self.library = torch.library.Library("planted", "DEF")
        self.library.define("write(Tensor x) -> Tensor")  # and does not say that it writes to x
        self.library.impl("write", self.write, "CompositeExplicitAutograd")

    def write(self, x: torch.Tensor) -> torch.Tensor:
        np.asarray(x)[:] = 7.0
        return x.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x * 2
        total = kept.sum()
        for change in (lambda: kept[1:, ::2].mul_(3), lambda: kept.data.add_(1), lambda: torch.ops.planted.write(kept)):
            change()
            # Temporaries of one size: the second often lies where the first was freed.
            total = total + kept.t().exp().sum() + kept.view(-1).cos().sum()
        return total


class Plant(TorchDispatchMode):  # type: ignore[misc]
    """Changes the result of the operation `name` that runs as number `which`: a stand-in for another kernel."""

    def __init__(self, name: str, which: int, change: Any) -> None:
        super().__init__()
        self.name, self.which, self.change, self.seen = name, which, change, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.name == self.name:
            self.seen += 1
            if self.seen == self.which + 1:
                self.change(result)
        return result


def flip_one_ulp(result: torch.Tensor) -> None:
    result.view(-1)[:1] = torch.nextafter(result.view(-1)[:1], torch.full((1,), 9.0))


def put_nan(result: torch.Tensor) -> None:
    result.view(-1)[:1] = float("nan")


def zero(result: torch.Tensor) -> None:
    result.view(-1)[:1] = 0.0


def negative_zero(result: torch.Tensor) -> None:
    result.view(-1)[:1] = -0.0


def permute_ties(result: tuple[torch.Tensor, torch.Tensor]) -> None:
    values, indices = result
    row, column = torch.nonzero(values[:, 1:] == values[:, :-1])[0].tolist()
    indices[row, column : column + 2] = indices[row, column : column + 2].flip(0)


def trace(
    folder: Path, net: torch.nn.Module, plant: Plant, call_mode: Any = torch.no_grad, storages: Storages | None = None
) -> None:
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))

    def call() -> torch.Tensor:
        plant.seen = 0
        with call_mode():
            result: torch.Tensor = net(x)
            return result

    with TraceWriter(folder) as writer, plant:
        net.eval()
        entry = Pass("net", "net", "forward", {"x": tensor_digest(x)}, call, partial(watch_modules, net))
        writer.add(record(entry, net, writer.file("net"), storages or Storages()))
        writer.describe(arm={}, torch={"version": torch.__version__, "cpu_capability": ""}, inputs={})


def main(folder: Path) -> None:
    torch.set_num_threads(2)
    nothing = Plant("", 0, None)
    plain = {
        "nothing": nothing,
        "again": nothing,
        "ulp-0": Plant("aten::addmm", 0, flip_one_ulp),
        "ulp-2": Plant("aten::addmm", 2, flip_one_ulp),
        "in-place": Plant("aten::mul_", 1, flip_one_ulp),
        "nan": Plant("aten::gelu", 1, put_nan),
        "zero": Plant("aten::gelu", 1, zero),
        "negative-zero": Plant("aten::gelu", 1, negative_zero),
        "ties": Plant("aten::sort", 0, permute_ties),
    }
    for name, plant in plain.items():
        trace(folder / name, Net(), plant)
    variants = {
        "reordered": {"bias_first": True},
        "inserted": {"extra": True},
        "scalar": {"scale": 0.25},
        "shape": {"columns": 12},
    }
    for name, variant in variants.items():
        trace(folder / name, Net(1, **variant), nothing)
    trace(folder / "inference", Net(), nothing, torch.inference_mode)
    writer, net, storages = Writer(), Net(), Storages()
    trace(folder / "writer", writer, nothing)
    trace(folder / "before", net, nothing, storages=storages)
    with torch.no_grad():
        net.blocks[0].linear.weight.mul_(2)
    trace(folder / "changed", net, nothing, storages=storages)
    with mock.patch.object(Memory, "digest", lambda _memory, tensor: blake3_digest(tensor)):
        trace(folder / "writer-anew", writer, nothing)
        trace(folder / "changed-anew", net, nothing)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
