"""Runs inside an environment: sends a small module's operations, or replays them with faults planted in B.

``python replayed_module.py send | python replayed_module.py replay FOLDER``; every variant is a pass of its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from traced_module import Net, flip_one_ulp, negative_zero, permute_ties, put_nan

from reportlib.capture.process import quiet
from reportlib.capture.tensors import tensor_digest
from reportlib.errors import ReportlibError
from reportlib.trace.format import Replay, atomic_folder
from reportlib.trace.stream import FrameReader, FrameWriter

with quiet():  # colbert-ai comes with them, and warns
    from reportlib.trace.passes import Pass, watch_modules
    from reportlib.trace.replay import Cases, Tally, replay
    from reportlib.trace.send import _pipe, send

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
Condition = Callable[[Any], bool]


class Kernel(TorchDispatchMode):  # type: ignore[misc]
    """Another kernel for the operation `name`, wherever `when` holds of its arguments: in B's pass and in replays."""

    def __init__(self, *faults: tuple[str, Condition, Callable[[Any], None]]) -> None:
        super().__init__()
        self.faults = faults

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for name, when, change in self.faults:
            if func._schema.name == name and when(args):
                change(result)
        return result


def always(_args: Any) -> bool:
    return True


def of_layer(net: Net, layer: int) -> Condition:
    """Whether a linear layer is this one: it is known by its bias, which a replay has too."""
    bias = net.blocks[layer].linear.bias.detach().clone()
    return lambda args: torch.equal(args[0], bias)


def shift_one(result: torch.Tensor) -> None:
    """Change one element by so much that it cannot be rounded away before the last layer."""
    result[2, 3] += 0.01


def flip_anywhere(result: torch.Tensor) -> None:
    """As `flip_one_ulp`, for a result of any strides."""
    first = result[0, 0]
    first.copy_(torch.nextafter(first, torch.tensor(9.0)))


def fail(_result: Any) -> None:
    raise RuntimeError("planted")


class Odd(torch.nn.Module):
    """One step that is rare in models."""

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x)


def into(x: torch.Tensor) -> torch.Tensor:
    """Write through ``out=`` and into a part of a tensor."""
    room = torch.zeros(6, 8)
    torch.add(x, 1.0, out=room)
    room[:, 2:4].mul_(3.0)
    return room


def random_and_empty(x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    room = torch.empty(6, 8)
    room.copy_(x + torch.rand(6, 8))
    return room


def turned(x: torch.Tensor) -> torch.Tensor:
    return x.t().square().t() + x[:1].expand(6, 8).exp()


def square_of_zero(x: torch.Tensor) -> torch.Tensor:
    return (x * 0).square() + x


def wide(x: torch.Tensor) -> torch.Tensor:
    """A SiLU of more than a megabyte: it differs in one place."""
    return torch.nn.functional.silu(x.repeat(16, 400).view(2, 48, 3200))


def die(x: torch.Tensor) -> torch.Tensor:
    for _ in range(100):
        x = x + 1
    os.kill(os.getpid(), signal.SIGKILL)
    return x


class FromTheFuture(FrameWriter):
    """Sends one operation under a name that no torch knows."""

    def write(self, kind: str, header: Any, *body: Any) -> None:
        if kind == "operation" and header["operation"]["name"] == "aten::elu":
            header = {**header, "operation": {**header["operation"], "name": "aten::of_the_future"}}
        super().write(kind, header, *body)


#: What A and B run, and B's faults.
Variant = tuple[torch.nn.Module, torch.nn.Module, Kernel]


def variants() -> dict[str, Variant]:
    net = Net()
    plain = {
        "nothing": Kernel(),
        "gelu": Kernel(("aten::gelu", always, flip_one_ulp)),
        "two": Kernel(("aten::addmm", of_layer(net, 0), shift_one), ("aten::addmm", of_layer(net, 2), flip_one_ulp)),
        "in-place": Kernel(("aten::mul_", always, flip_one_ulp)),
        "nan": Kernel(("aten::pow", always, put_nan)),
        "ties": Kernel(("aten::sort", always, permute_ties)),
    }
    found: dict[str, Variant] = {name: (net, net, kernel) for name, kernel in plain.items()}
    relu = Odd(torch.relu)
    transposed = Kernel(("aten::pow", lambda args: args[0].stride() == (1, 8), flip_anywhere),
                        ("aten::exp", lambda args: args[0].stride() == (0, 1), flip_anywhere))  # fmt: skip
    return {
        **found,
        "reordered": (net, Net(1, bias_first=True), Kernel()),
        "inserted": (net, Net(1, extra=True), Kernel()),
        "scalar": (net, Net(1, scale=0.25), Kernel()),
        "shape": (net, Net(1, columns=12), Kernel()),
        "negative-zero": (Odd(square_of_zero), Odd(square_of_zero), Kernel(("aten::pow", always, negative_zero))),
        "large": (Odd(wide), Odd(wide), Kernel(("aten::silu", always, flip_one_ulp))),
        "strided": (Odd(turned), Odd(turned), transposed),
        "into": (Odd(into), Odd(into), Kernel(("aten::add", always, flip_one_ulp))),
        "random": (Odd(random_and_empty), Odd(random_and_empty), Kernel()),
        "missing": (Odd(torch.nn.functional.elu), relu, Kernel()),
        "failing": (Odd(torch.nn.functional.softplus), relu, Kernel(("aten::softplus", always, fail))),
    }


def run(side: str, slug: str, variant: Variant) -> tuple[Pass, Kernel]:
    net = variant[0] if side == "send" else variant[1]
    net.eval()

    def call() -> torch.Tensor:
        with torch.inference_mode() if slug == "random" else torch.no_grad():
            result: torch.Tensor = net(X)
            return result

    kernel = Kernel() if side == "send" else variant[2]
    return Pass(slug, slug, "forward", {"x": tensor_digest(X)}, call, partial(watch_modules, net)), kernel


def main(side: str, *rest: str) -> None:
    torch.set_num_threads(2)
    known = variants()
    if "dying" in rest:
        known = {"dying": (Odd(die), Odd(torch.relu), Kernel())}
    if "leaving" in rest:
        known = {f"{n}": (Odd(lambda x: x.repeat(1000, 100)), Odd(torch.relu), Kernel()) for n in range(9)}
    if side == "send":
        with _pipe() as stream:
            writer = FromTheFuture(stream)
            for slug, variant in known.items():
                entry, _ = run(side, slug, variant)
                send(entry, writer)
        return
    with atomic_folder(Path(rest[0])) as folder:
        reader, cases, tally, found = FrameReader(sys.stdin.buffer), Cases(folder / "cases"), Tally(), {}
        for slug, variant in known.items():
            entry, kernel = run(side, slug, variant)
            with kernel:
                found[slug] = replay(entry, reader, cases, tally)
        Replay(folder, {}, {}, found, tally.groups).write()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
