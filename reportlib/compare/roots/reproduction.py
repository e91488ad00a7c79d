"""A folder to hand in: one operation that two versions of torch compute differently, runnable with torch alone.

``reproduce.py`` needs only torch and safetensors, runs the operation on ``inputs.safetensors`` and says by the hashes
of ``expected.json`` which version it behaves like; ``README.md`` says the same to a person.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reportlib.compare.roots.script import EXPECTED, NEITHER, README, VERDICT, call, full_name, script
from reportlib.errors import StoreError
from reportlib.trace.cases import CASE_FILE, INPUTS_FILE

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
    case = _read(case_folder)
    if not all(_only_tensors(result) for result in case["result"].values()):
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
    case = _read(case_folder)
    names = labels(a, b)
    folder.mkdir(parents=True)
    shutil.copyfile(case_folder / INPUTS_FILE, folder / INPUTS_FILE)
    behaviours = {
        name: {"torch": side.torch, "sha256": [output["sha256"] for output in case["outputs"][key]]}
        for name, side, key in zip(names, (a, b), "ab", strict=True)
    }
    expected = {"operation": full_name(case), "behaviours": behaviours, "threads": setting.threads}
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


def _read(case_folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((case_folder / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{case_folder} holds no case: {error}", "run `reportlib roots` again") from error
    return dict(content)


def readme(case: Mapping[str, Any], names: Sequence[str], sides: Sequence[Side], setting: Setting, found: str) -> str:
    """Return the text of ``README.md``."""
    inputs = [
        f"- input {index}: {record['dtype']}, shape {tuple(record['shape'])}, strides {tuple(record['strides'])}"
        for index, record in enumerate(case["inputs"])
    ]
    rows = [
        f"| {name} ({side.torch}) | " + ", ".join(f"`{output['sha256']}`" for output in case["outputs"][key]) + " |"
        for name, side, key in zip(names, sides, "ab", strict=True)
    ]
    where = " ".join(part for part in (f"in `{case['module']}`" if case["module"] else "", _source(case)) if part)
    return "\n".join(
        [
            f"# `{full_name(case)}` returns other bytes in {names[1]} than in {names[0]}",
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


def _source(case: Mapping[str, Any]) -> str:
    return f"called at `{case['source']}`" if case.get("source") else ""
