"""A folder to hand in: one operation that two versions of torch compute differently, runnable with torch alone.

``reproduce.py`` needs only torch and safetensors, runs the operation on ``inputs.safetensors`` and says by the hashes
of ``expected.json`` which version it behaves like; ``README.md`` says the same to a person.
"""

from __future__ import annotations

import json
import keyword
import math
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reportlib.trace.format import INPUTS_FILE, Case, TensorForm

EXPECTED, README = "expected.json", "README.md"
#: What the script prints before the version that it behaves like.
VERDICT = "behaves like"
NEITHER = "neither"


def script(case: Case, names: Sequence[str], threads: int, device: str, written: Sequence[int] = ()) -> str:
    """Return the text of ``reproduce.py``.

    Parameters
    ----------
    case : Case
        The operation.
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
    # Nothing, a tensor, or a list of them.
    given = case.result["a"]
    returned = ["*result"] if isinstance(given, list) else ["result"] if given is not None else []
    outputs = ", ".join([*returned, *(f"x[{index}]" for index in written)])
    lines = [
        f'"""{case.full_name}: does this torch behave like {names[0]} or like {names[1]}? See {README}."""',
        "import hashlib, json, pathlib, torch",
        "from safetensors.torch import load_file",
        "",
        "here = pathlib.Path(__file__).parent",
        f"torch.set_num_threads({threads})",
        f'stored = load_file(here / "{INPUTS_FILE}")',
        f'x = [stored[f"input{{i}}"].clone(){there} for i in range({len(case.inputs)})]',
        *(line for index, record in enumerate(case.inputs) for line in _layout(index, record, device)),
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


def call(case: Case) -> str:
    """Return the operation's call as Python, its inputs being ``x[0]``, ``x[1]``, ..."""
    namespace, _, short = case.name.partition("::")
    arguments = case.arguments
    # torch's own method has a parameter of that name, so it cannot be given by name, nor can those before it then.
    first = [*arguments].index("self") + 1 if "self" in arguments else 0
    parts = [literal(value) for value in [*arguments.values()][:first]]
    rest = {name: literal(value) for name, value in [*arguments.items()][first:]}
    parts += [f"{name}={text}" for name, text in rest.items() if not keyword.iskeyword(name)]
    if awkward := {name: text for name, text in rest.items() if keyword.iskeyword(name)}:
        parts.append("**{" + ", ".join(f'"{name}": {text}' for name, text in awkward.items()) + "}")
    return f"torch.ops.{namespace}.{short}.{case.overload or 'default'}({', '.join(parts)})"


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


def _layout(index: int, record: TensorForm, device: str) -> list[str]:
    """Return the line that puts an input into memory as it lay there, where that is not in order."""
    shape, strides = record.shape, record.strides
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


SCRIPT = "reproduce.py"
#: Larger inputs are not written: nobody attaches them to an issue.
MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Side:
    """An environment as a reader of the folder knows it: its name, and its torch's version."""

    environment: str
    torch: str


@dataclass(frozen=True)
class Setting:
    """What besides the inputs decides what an operation computes.

    Attributes
    ----------
    threads : int
        The script sets them.
    device : str
        ``cpu`` or ``cuda``.
    variables : mapping of str to str
        Environment variables that were set.
    platform : str
        The machine, in one line.
    """

    threads: int
    device: str = "cpu"
    variables: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""

    @property
    def command(self) -> str:
        """The line that runs the script."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.variables.items()), "python", SCRIPT])


def labels(a: Side, b: Side) -> tuple[str, str]:
    """Return what the script calls A and B: the shortest names of the two torches that differ."""
    short = [f"torch {side.torch.partition('+')[0]}" for side in (a, b)]
    full = [f"torch {side.torch}" for side in (a, b)]
    named = [f"torch {side.torch} of {side.environment}" for side in (a, b)]
    first, second = next((pair for pair in (short, full, named) if pair[0] != pair[1]), ["A", "B"])
    return first, second


def why_not(case_folder: Path) -> str | None:
    """Return why no folder can be made of a case, or None when one can."""
    size = (case_folder / INPUTS_FILE).stat().st_size
    if size > MAX_BYTES:
        return f"its inputs are {size / 1e6:.0f} MB; folders of more than {MAX_BYTES / 1e6:.0f} MB are not written"
    case = Case.open(case_folder)
    if not all(_only_tensors(result) for result in case.result.values()):
        return "it returns more than tensors"
    return None


def write(
    folder: Path, case_folder: Path, a: Side, b: Side, setting: Setting, written: Sequence[int] = (), found: str = ""
) -> int:
    """Write a reproduction; the same case and settings give the same bytes.

    Parameters
    ----------
    folder : Path
        To be made.
    case_folder : Path
        The case; `why_not` must have returned None.
    a, b : Side
        The two environments.
    setting : Setting
        Threads, device, variables and the machine.
    written : sequence of int
        Inputs that the operation changes without returning them: they are among the outputs, last.
    found : str
        A sentence on how much the two differ.

    Returns
    -------
    int
        Bytes of the whole folder.
    """
    case = Case.open(case_folder)
    names = labels(a, b)
    folder.mkdir(parents=True)
    shutil.copyfile(case_folder / INPUTS_FILE, folder / INPUTS_FILE)
    behaviours = {
        name: {"torch": side.torch, "sha256": [output.sha256 for output in case.outputs[key]]}
        for name, side, key in zip(names, (a, b), "ab", strict=True)
    }
    expected = {"operation": case.full_name, "behaviours": behaviours, "threads": setting.threads}
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    (folder / SCRIPT).write_text(script(case, names, setting.threads, setting.device, written), encoding="utf-8")
    (folder / README).write_text(readme(case, names, (a, b), setting, found), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def verdict(printed: str, a: Side, b: Side) -> str:
    """Return ``a``, ``b`` or ``neither`` from what the script printed."""
    said = [line.removeprefix(VERDICT).strip() for line in printed.splitlines() if line.startswith(VERDICT)]
    return dict(zip(labels(a, b), "ab", strict=True)).get(said[-1] if said else "", NEITHER)


def _only_tensors(result: Any) -> bool:
    if isinstance(result, list):
        return all(isinstance(part, dict) and "tensor" in part for part in result)
    return result is None or (isinstance(result, dict) and "tensor" in result)


def readme(case: Case, names: Sequence[str], sides: Sequence[Side], setting: Setting, found: str) -> str:
    """Return the text of ``README.md``."""
    inputs = [
        f"- input {index}: {record.dtype}, shape {record.shape}, strides {record.strides}"
        for index, record in enumerate(case.inputs)
    ]
    rows = [
        f"| {name} ({side.torch}) | " + ", ".join(f"`{output.sha256}`" for output in case.outputs[key]) + " |"
        for name, side, key in zip(names, sides, "ab", strict=True)
    ]
    where = " ".join(
        part
        for part in (f"in `{case.module}`" if case.module else "", f"called at `{case.source}`" if case.source else "")
        if part
    )
    return "\n".join(
        [
            f"# `{case.full_name}` returns other bytes in {names[1]} than in {names[0]}",
            "",
            f"The same operation was given the same bytes in both{', ' + where if where else ''}. {found}".rstrip(),
            "",
            "```python",
            call(case),
            "```",
            "",
            *inputs,
            "",
            "| version | sha256 of each output |",
            "|---|---|",
            *rows,
            "",
            f"Measured on: {setting.platform}; {setting.threads} threads; device {setting.device}.",
            "",
            f"To run it, with torch and safetensors installed and nothing else of ours:\n\n    {setting.command}\n",
            f"It prints the hash of each output, and `{VERDICT} {names[0]}`, `{VERDICT} {names[1]}` or `{NEITHER}`.",
            "Another CPU or GPU may choose other kernels, and behave like neither.",
            "",
        ]
    )
