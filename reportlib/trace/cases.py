"""A case: one operation with its inputs, and what A and B made of them. Reading needs no torch.

Layout of a case's folder::

    case.json             what is called, with which arguments, and the hashes of inputs and outputs
    inputs.safetensors    "input0", ...: contents in C order; strides are in case.json
    outputs.safetensors   "a0", ..., "b0", ..., and "truth0", ... in float64 where there is a truth
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reportlib.store import read_json
from reportlib.trace.format import TensorForm

SCHEMA_VERSION = 1
CASE_FILE = "case.json"
INPUTS_FILE = "inputs.safetensors"
OUTPUTS_FILE = "outputs.safetensors"
#: From so many bytes of inputs on, a smaller case is looked for.
LARGE = 1_000_000


def case_id(name: str, overload: str, dtypes: Sequence[str]) -> str:
    """Return the name of an operation's case: ``gelu-float32``, ``div-Tensor-bfloat16``, ``sort-int64``.

    Parameters
    ----------
    name, overload : str
        As the dispatcher has them.
    dtypes : sequence of str
        Of all inputs. The floating-point ones count, each once; without them the first.
    """
    return "-".join(
        [name.removeprefix("aten::").replace("::", "-"), *filter(None, [overload]), *determining_dtypes(dtypes)]
    )


def determining_dtypes(dtypes: Sequence[str]) -> tuple[str, ...]:
    """Return the dtypes that tell kinds of one operation apart."""
    floats = tuple(dict.fromkeys(dtype for dtype in dtypes if dtype.startswith(("float", "bfloat", "complex"))))
    return floats or tuple(dtypes[:1])


@dataclass(frozen=True)
class CaseTensor(TensorForm):
    """A tensor of a case; an output's strides are those of C order.

    Attributes
    ----------
    sha256 : str
        Of the contents in C order.
    """

    sha256: str


@dataclass(frozen=True)
class Case:
    """A case that was read.

    Attributes
    ----------
    folder : Path
        Where it lies.
    id, name, overload : str
        See `case_id`.
    arguments : mapping
        As `reportlib.trace.format.Operation.arguments`; ``{"tensor": n}`` is input n.
    inputs : tuple of CaseTensor
        What it reads.
    outputs : mapping of str to tuple of CaseTensor
        ``a`` and ``b``.
    result : mapping of str to JSON value
        ``a`` and ``b``: what was returned, tensors as ``{"tensor": index of the output}``.
    pass_slug : str
        ``pass`` in the file: the pass that it is from.
    position : int
        In A's order of execution there.
    module, source : str
        Where it ran.
    """

    folder: Path
    id: str
    name: str
    overload: str
    arguments: Mapping[str, Any]
    inputs: tuple[CaseTensor, ...]
    outputs: Mapping[str, tuple[CaseTensor, ...]]
    result: Mapping[str, Any]
    pass_slug: str
    position: int
    module: str
    source: str

    @classmethod
    def open(cls, folder: Path) -> Case:
        """Read a case's folder.

        Raises
        ------
        StoreError
            When it holds no case, one of another schema, or a damaged one.
        """

        def make(content: dict[str, Any]) -> Case:
            content["inputs"] = tuple(map(CaseTensor.from_json, content["inputs"]))
            content["outputs"] = {side: tuple(map(CaseTensor.from_json, of)) for side, of in content["outputs"].items()}
            return cls(folder=folder, pass_slug=content.pop("pass"), **content)

        return read_json(folder / CASE_FILE, SCHEMA_VERSION, "case", "send and replay again", make)

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::div.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name

    def write(self) -> None:
        """Write `case.json`."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self), "pass": self.pass_slug}
        del content["folder"], content["pass_slug"]
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (self.folder / CASE_FILE).write_text(text + "\n", encoding="utf-8")
