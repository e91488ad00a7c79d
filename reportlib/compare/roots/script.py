"""The script that runs one operation with torch alone, and says which version it behaves like."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.trace.cases import INPUTS_FILE

EXPECTED, README = "expected.json", "README.md"
#: What the script prints before the version that it behaves like.
VERDICT = "behaves like"
NEITHER = "neither"


def script(
    case: Mapping[str, Any], names: Sequence[str], threads: int, device: str, written: Sequence[int] = ()
) -> str:
    """Return the text of ``reproduce.py``.

    Parameters
    ----------
    case : mapping
        The content of ``case.json``.
    names : sequence of str
        What the script calls A and B.
    threads : int
        That it sets.
    device : str
        ``cpu`` or ``cuda``.
    written : sequence of int
        Inputs that the operation changes without returning them.
    """
    there = f'.to("{device}")' if device != "cpu" else ""
    returned = {0: [], 1: ["result"]}.get(_depth(case["result"]["a"]), ["*result"])
    outputs = ", ".join([*returned, *(f"x[{index}]" for index in written)])
    lines = [
        f'"""{full_name(case)}: does this torch behave like {names[0]} or like {names[1]}? See {README}."""',
        "import hashlib, json, pathlib, torch",
        "from safetensors.torch import load_file",
        "",
        "here = pathlib.Path(__file__).parent",
        f"torch.set_num_threads({threads})",
        f'stored = load_file(here / "{INPUTS_FILE}")',
        f'x = [stored[f"input{{i}}"].clone(){there} for i in range({len(case["inputs"])})]',
        *(line for index, record in enumerate(case["inputs"]) for line in _layout(index, record, device)),
        "with torch.no_grad():",
        f"    result = {call(case)}",
        f"outputs = [{outputs}]",
        "raw = [t.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in outputs]",
        "hashes = [hashlib.sha256(data).hexdigest() for data in raw]",
        f'known = json.loads((here / "{EXPECTED}").read_text())["behaviours"]',
        'print("torch", torch.__version__, *hashes)',
        f'print("{VERDICT}", next((name for name in known if known[name]["sha256"] == hashes), "{NEITHER}"))',
    ]
    return "\n".join(lines) + "\n"


def call(case: Mapping[str, Any]) -> str:
    """Return the operation's call as Python, its inputs being ``x[0]``, ``x[1]``, ..."""
    namespace, _, short = case["name"].partition("::")
    arguments = case["arguments"]
    # torch's own method has a parameter of that name, so it cannot be given by name, nor can those before it then.
    first = [*arguments].index("self") + 1 if "self" in arguments else 0
    parts = [literal(value) for value in [*arguments.values()][:first]]
    rest = {name: literal(value) for name, value in [*arguments.items()][first:]}
    parts += [f"{name}={text}" for name, text in rest.items() if not keyword.iskeyword(name)]
    if awkward := {name: text for name, text in rest.items() if keyword.iskeyword(name)}:
        parts.append("**{" + ", ".join(f'"{name}": {text}' for name, text in awkward.items()) + "}")
    return f"torch.ops.{namespace}.{short}.{case['overload'] or 'default'}({', '.join(parts)})"


def literal(value: Any) -> str:
    """Return an argument as Python writes it; tensors are ``x[n]``."""
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if not isinstance(value, dict):
        return repr(value)
    ((kind, content),) = value.items()
    if kind == "tensor":
        return f"x[{content}]"
    if kind == "float":
        return _float(content)
    if kind == "complex":
        return f"complex({', '.join(map(_float, content))})"
    return f'torch.device("{content}")' if kind == "device" else f"torch.{content}"


def _float(hexadecimal: str) -> str:
    number = float.fromhex(hexadecimal)
    return repr(number) if math.isfinite(number) else f'float("{number}")'


def _layout(index: int, record: Mapping[str, Any], device: str) -> list[str]:
    """Return the line that puts an input into memory as it lay there, where that is not in order."""
    shape, strides = tuple(record["shape"]), tuple(record["strides"])
    if strides == _in_order(shape):
        return []
    whole = tuple(1 if stride == 0 else size for size, stride in zip(shape, strides, strict=True))
    kept = ", ".join(":1" if size != part else ":" for size, part in zip(shape, whole, strict=True))
    values = f"x[{index}][{kept}]" if whole != shape else f"x[{index}]"
    there = f', device="{device}"' if device != "cpu" else ""
    memory = f"torch.empty_strided({whole}, {strides}, dtype=x[{index}].dtype{there}).copy_({values})"
    return [f"x[{index}] = {memory}" + (f".expand{shape}" if whole != shape else "")]


def _in_order(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _depth(result: Any) -> int:
    """Return 0 for nothing, 1 for a tensor, 2 for a list of them."""
    return 2 if isinstance(result, list) else int(result is not None)


def full_name(case: Mapping[str, Any]) -> str:
    """Return the operation with its overload: ``aten::div.Tensor``."""
    return f"{case['name']}.{case['overload']}" if case["overload"] else str(case["name"])
