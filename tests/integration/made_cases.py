"""Runs inside an environment: what it computes for a few operations, as one side of cases.

``python made_cases.py FOLDER a|b``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from reportlib.capture.tensors import tensor_digest


def described(tensor: torch.Tensor) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(tensor.shape), "sha256": tensor_digest(tensor)}


def operations() -> dict[str, tuple[str, str, list[torch.Tensor], dict[str, Any], Any]]:
    seeded = torch.Generator().manual_seed(20250913)
    wide = torch.randn(7, 1536, generator=seeded)
    codes = torch.randint(0, 1000, (40_000,), generator=seeded)
    view = torch.randn(2, 6, 1, 40, generator=seeded).expand(2, 6, 4, 40)
    turned = torch.randn(64, 48, generator=seeded).t()
    one, two = {"self": {"tensor": 0}}, {"self": {"tensor": 0}, "mat2": {"tensor": 1}}
    ops = torch.ops.aten
    return {
        "gelu-float32": ("aten::gelu", "", [wide], one, lambda: ops.gelu.default(wide)),
        "sort-int64": ("aten::sort", "", [codes], one, lambda: ops.sort.default(codes)),
        "_softmax-float32": ("aten::_softmax", "", [view], {**one, "dim": -1, "half_to_float": False},
                             lambda: ops._softmax.default(view, -1, False)),
        "mm-float32": ("aten::mm", "", [turned, turned.t()], two, lambda: ops.mm.default(turned, turned.t())),
        "add_-Tensor-float32": ("aten::add_", "Tensor", [wide.clone(), wide], {**one, "other": {"tensor": 1}},
                                lambda: ops.add_.Tensor(wide.clone(), wide)),
    }  # fmt: skip


def main(folder: Path, side: str) -> None:
    torch.set_num_threads(2)
    for identity, (name, overload, inputs, arguments, call) in operations().items():
        returned = call()
        several = isinstance(returned, tuple)
        outputs = list(returned) if several else [returned]
        file = folder / identity / "case.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        case = json.loads(file.read_text()) if file.exists() else {
            "schema_version": 1, "id": identity, "name": name, "overload": overload, "arguments": arguments,
            "inputs": [{**described(t), "strides": list(t.stride())} for t in inputs], "outputs": {}, "result": {},
            "pass": "made", "position": 0, "module": "", "source": "",
        }  # fmt: skip
        case["outputs"][side] = [{**described(t), "strides": list(t.stride())} for t in outputs]
        case["result"][side] = [{"tensor": i} for i in range(len(outputs))] if several else {"tensor": 0}
        file.write_text(json.dumps(case))
        save_file({f"input{i}": t.contiguous().clone() for i, t in enumerate(inputs)},
                  file.with_name("inputs.safetensors"))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
