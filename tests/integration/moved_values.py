"""Runs inside an environment: sends tensors of every kind through bytes and back, and measures differences.

Prints JSON: which tensors did not arrive as they were, and the differences of pairs whose values are in FOLDER.

``python moved_values.py FOLDER``
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

from reportlib.capture.tensors import tensor_digest
from reportlib.trace.tensors import Layout, difference, from_bytes, to_bytes, view_difference, without_values

DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
          torch.float32, torch.float64, torch.complex64, torch.complex128)  # fmt: skip


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = {}
    for dtype in DTYPES:
        base = (torch.randn(6, 8, 10, generator=generator) * 50).to(dtype)
        name = str(dtype)
        found |= {
            f"{name} plain": base,
            f"{name} transposed": base.transpose(0, 2),
            f"{name} expanded": base[:, :1].expand(6, 7, 10),
            f"{name} new axis": base[0, 0].expand(3, 10),
            f"{name} gaps": base[1::2, 3:5, ::3],
            f"{name} scalar": base[2, 3, 4],
            f"{name} empty": base[:, :0],
            f"{name} windows": base.contiguous().view(-1).unfold(0, 5, 2),
            f"{name} late": base.view(-1)[131:],
        }
    odd = torch.tensor([float("nan"), -0.0, 0.0, float("inf"), -float("inf"), 1e-42])
    return {
        **found,
        "odd": odd,
        "conjugate": found["torch.complex64 plain"].conj(),
        "weight": torch.nn.Linear(3, 2).weight,
    }


def arrives(tensor: torch.Tensor) -> bool:
    layout = Layout.from_json(json.loads(json.dumps(asdict(Layout.of(tensor)))))
    data = memoryview(bytearray(b"".join([to_bytes(tensor)])))
    back = from_bytes(layout, data)
    same = data.nbytes == layout.nbytes and tensor_digest(back) == tensor_digest(tensor.resolve_conj())
    return same and (back.shape, back.stride(), back.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)


def main(folder: Path) -> None:
    lost = [name for name, tensor in tensors().items() if not arrives(tensor)]
    pairs = load_file(folder / "pairs.safetensors")
    differences = {
        name[2:]: asdict(difference([tensor], [pairs[f"b/{name[2:]}"]]))
        for name, tensor in pairs.items()
        if name.startswith("a/")
    }
    base = torch.zeros(4, 6)
    layout = Layout.of(base[1:, ::2])
    places = {
        "same": view_difference([layout], [without_values(Layout.of(base))[1:, ::2]]).different,
        "elsewhere": view_difference([layout], [without_values(Layout.of(base))[:3, ::2]]).different,
        "strides": view_difference([layout], [without_values(Layout.of(base))[1:, 3:]]).different,
    }
    kinds = {
        "dtype": asdict(difference([base], [base.double()])),
        "shape": asdict(difference([base], [base.view(6, 4)])),
        "count": asdict(difference([base], [base, base])),
        "nothing": asdict(difference([], [])),
    }
    json.dump({"lost": lost, "differences": differences, "places": places, "kinds": kinds}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
