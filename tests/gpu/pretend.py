"""Runs a program as if its CPU were a GPU: ``pretend.py SCRIPT.py ...`` or ``pretend.py -m MODULE ...``.

What asks torch for a GPU gets one, what goes to it stays where it is, and autocast is the CPU's. A result of it says
that the lines ran and nothing of a GPU.
"""

from __future__ import annotations

import builtins
import os
import runpy
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

GPU, BUILD = "a pretended GPU", "11.8"


def on_cpu(given: Any) -> Any:
    """Return an argument with the CPU in place of a GPU."""
    import torch

    if isinstance(given, (torch.device, str)) and str(given).startswith("cuda"):
        return torch.device("cpu")
    return given


def pretend() -> Any:
    """Give torch its GPU, and return the mode that keeps every call on the CPU."""
    import numpy as np
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils import cpp_extension
    from torch.utils._pytree import tree_map

    class OnCpu(TorchFunctionMode):  # type: ignore[misc]
        """Takes a GPU out of arguments; computes in float32 what a CPU has no float16 for."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.cuda:
                return args[0]
            args, kwargs = tree_map(on_cpu, (args, kwargs or {}))
            try:
                return func(*args, **kwargs)
            except RuntimeError as error:
                if "not implemented for 'Half'" not in str(error):
                    raise
            args, kwargs = tree_map(cast(torch.float16, torch.float32), (args, kwargs))
            return tree_map(cast(torch.float32, torch.float16), func(*args, **kwargs))

    def cast(before: Any, after: Any) -> Any:
        return lambda value: value.to(after) if torch.is_tensor(value) and value.dtype == before else value

    def decompress(packed: Any, weights: Any, order: Any, table: Any, codes: Any, centroids: Any, *_: int) -> Any:
        chosen = table[order[packed.long()].long()].reshape(len(packed), -1)
        return centroids[codes.long()] + weights[chosen.long()]

    compiled = cpp_extension.load
    kernels = {
        "packbits_cpp": SimpleNamespace(packbits_cpp=lambda bits: torch.as_tensor(np.packbits(bits.numpy()))),
        "decompress_residuals_cpp": SimpleNamespace(decompress_residuals_cpp=decompress),
    }
    cpp_extension.load = lambda name, **given: kernels[name] if name in kernels else compiled(name=name, **given)
    torch.Tensor.is_cuda = property(lambda _: True)
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
    torch.cuda.get_device_properties = lambda _: SimpleNamespace(name=GPU, major=8, minor=0, total_memory=8 << 30)
    torch.cuda.synchronize = lambda: None
    torch.cuda.amp.autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    torch.version.cuda, torch._C._cuda_getArchFlags = BUILD, lambda: "sm_80"
    return OnCpu()


def main() -> None:
    """Run what the command line names; torch is changed as soon as the program has imported it."""
    original, under_way = builtins.__import__, []

    def importing(name: str, *rest: Any, **more: Any) -> Any:
        under_way.append(name)
        try:
            return original(name, *rest, **more)
        finally:
            under_way.pop()
            if "torch" in sys.modules and not any(module.startswith("torch") for module in under_way):
                builtins.__import__ = original
                pretend().__enter__()

    builtins.__import__ = importing  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as home:
        nvcc = Path(home, "bin", "nvcc")
        nvcc.parent.mkdir()
        nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {BUILD}, V{BUILD}.0'\n", encoding="utf-8")
        nvcc.chmod(0o755)
        os.environ["CUDA_HOME"] = home
        module = sys.argv[1] == "-m"
        sys.argv = sys.argv[2:] if module else sys.argv[1:]
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
