"""Folders of traces, replays and cases: how an environment writes them and how the host reads them, without torch.

Layout of a trace folder::

    manifest.json           the arm, torch, what the pass was given, and one entry for each recorded pass
    <slug>/trace.jsonl      one dispatched operation a line, in order of execution

Only hashes of tensors are kept, never their values. Layout of a replay folder::

    replay.json       both arms, every pass, and how often each kind of operation differed
    cases/<id>/       for each kind that differed, a case: an instance with its inputs, and what A and B made of them

Layout of a case's folder::

    case.json             what is called, with which arguments, and the hashes of inputs and outputs
    inputs.safetensors    "input0", ...: contents in C order; strides are in case.json
    outputs.safetensors   "a0", ..., "b0", ..., and "truth0", ... in float64 where there is a truth
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reportlib.errors import StoreError
from reportlib.store import MANIFEST, digest_file, read_json

TRACE_SCHEMA, REPLAY_SCHEMA, CASE_SCHEMA = 2, 1, 1
TRACE_FILE = "trace.jsonl"
REPLAY_FILE = "replay.json"
CASE_FILE, INPUTS_FILE, OUTPUTS_FILE = "case.json", "inputs.safetensors", "outputs.safetensors"
#: What the verb ``probe`` leaves.
MEASURED, SAMPLES = "measured.json", "samples.safetensors"
#: The one pass of a module of the user's own.
MODULE_SLUG = "module"
#: What the verb ``shapes`` leaves.
SHAPES, SHAPES_SCHEMA = "shapes.json", 1
#: Functions of torch that are several operations, by the name that a probe gives them.
FUNCTIONS = {"torch::normalize": ("nn", "functional", "normalize")}
#: From so many bytes of a case's inputs on, a smaller one is looked for.
LARGE = 1_000_000


@dataclass(frozen=True)
class TensorForm:
    """A tensor without its values.

    Attributes
    ----------
    dtype : str
        torch's name, without ``torch.``.
    shape, strides : tuple of int
        In elements; a stride of 0 is an expanded axis.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of it."""
        return cls(**{**content, **{name: tuple(map(int, content[name])) for name in ("shape", "strides")}})


@dataclass(frozen=True)
class TensorRecord(TensorForm):
    """A tensor as an operation read or wrote it.

    Attributes
    ----------
    digest : str or None
        `blake3_digest` of the logical contents in C order: a view and a copy of it have the same. None for memory that
        no operation has written to yet (``aten::empty``), whose bytes mean nothing.
    storage : int
        Number of the memory behind it, the same for all views of it. No number is used twice in a trace.
    """

    digest: str | None
    storage: int


@dataclass(frozen=True)
class Operation:
    """One dispatched operation.

    Attributes
    ----------
    position : int
        In the order of execution, from 0.
    name, overload : str
        As the dispatcher knows it: ``aten::add``, ``Tensor``; the default overload is empty.
    module : str
        Dotted name of the innermost module whose ``forward`` was running, or of colbert-ai's function in an index
        pass; empty outside of all.
    source : str
        The innermost line of Python that is neither torch's nor reportlib's: ``transformers/activations.py:78: return
        self.act(input)``. Starts with the package's folder.
    arguments : mapping
        By the schema's names, those left out that have the schema's default. Tensors are ``{"tensor": index into
        inputs}``, floats ``{"float": hexadecimal}``, and dtypes, devices, layouts and memory formats say what they are.
    inputs : tuple of TensorRecord
        In the order of the arguments, hashed before the operation ran.
    result : JSON value
        What it returned, tensors as ``{"tensor": index into outputs}``.
    outputs : tuple of TensorRecord
        Returned tensors, then arguments that it wrote to without returning them; hashed after it ran.
    written : tuple of int
        Storages that it wrote to: new ones, and those of arguments changed in place. A view writes to none.
    """

    position: int
    name: str
    overload: str
    module: str
    source: str
    arguments: Mapping[str, Any]
    inputs: tuple[TensorRecord, ...]
    result: Any
    outputs: tuple[TensorRecord, ...]
    written: tuple[int, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Operation:
        """Read what `to_json` made."""
        tensors = {name: tuple(map(TensorRecord.from_json, content[name])) for name in ("inputs", "outputs")}
        return cls(**{**content, **tensors, "written": tuple(content["written"])})

    def to_json(self) -> str:
        """Return the operation's line of the trace."""
        return json.dumps(self, default=vars, separators=(",", ":"), ensure_ascii=False)

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class RecordedPass:
    """One recorded pass.

    Attributes
    ----------
    slug, description : str
        Name of its folder, and what it is in words.
    kind : str
        ``forward``, or ``index``: colbert-ai's indexing of given embeddings.
    given : mapping of str to str
        sha256 of each tensor that went in, by name.
    output : TensorRecord
        What came out.
    output_untraced : str
        `blake3_digest` of what came out of the same call without a recorder: the control for the observer.
    operations : int
        How many were recorded.
    sha256 : str
        Of ``trace.jsonl``.
    seconds_untraced, seconds_traced : float
        Wall time of the plain and of the recorded call.
    peak_bytes_untraced, peak_bytes_traced : int
        Greatest resident memory of the process up to the end of each call.
    """

    slug: str
    description: str
    kind: str
    given: Mapping[str, str]
    output: TensorRecord
    output_untraced: str
    operations: int
    sha256: str
    seconds_untraced: float
    seconds_traced: float
    peak_bytes_untraced: int
    peak_bytes_traced: int

    @property
    def undisturbed(self) -> bool:
        """Whether recording left the output's bytes as they are without it."""
        return self.output.digest == self.output_untraced

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RecordedPass:
        """Read what `dataclasses.asdict` and JSON made of a recorded pass."""
        return cls(**{**content, "output": TensorRecord.from_json(content["output"])})


@dataclass(frozen=True)
class Trace:
    """A trace folder that was read.

    Attributes
    ----------
    path : Path
        The folder.
    arm : mapping
        Environment, precision, device, threads and passages.
    torch : mapping
        ``version`` and ``cpu_capability``.
    inputs : mapping of str to str
        sha256 of the ``collection``, and of the ``weights`` (of all weights' hashes by name).
    passes : mapping of str to RecordedPass
        By slug, in the order in which they were recorded.
    """

    path: Path
    arm: Mapping[str, Any]
    torch: Mapping[str, Any]
    inputs: Mapping[str, str]
    passes: Mapping[str, RecordedPass]

    @classmethod
    def open(cls, path: Path) -> Trace:
        """Read a trace folder's manifest."""

        def make(content: dict[str, Any]) -> Trace:
            passes = [RecordedPass.from_json(entry) for entry in content["passes"]]
            return cls(path, content["arm"], content["torch"], content["inputs"], {p.slug: p for p in passes})

        return read_json(path / MANIFEST, TRACE_SCHEMA, "trace", "record it again", make)

    def operations(self, slug: str) -> Iterator[Operation]:
        """Yield a pass's operations in order of execution, one line in memory at a time."""
        file = self.path / slug / TRACE_FILE
        try:
            if digest_file(file) != self.passes[slug].sha256:
                raise StoreError(f"{file} is not the file that its manifest names", "record it again")
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    yield Operation.from_json(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file} is damaged: {error}", "record it again") from error


@contextmanager
def atomic_folder(destination: Path) -> Iterator[Path]:
    """Yield a folder that gets its name only when all is in it."""
    if destination.exists():
        raise StoreError(f"there is a folder {destination} already", "remove it, or give another")
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(destination)


class TraceWriter:
    """Write a trace folder atomically: it appears under its name only when it is whole.

    Use it as a context manager, call `add` for each pass, and `describe` once.

    Parameters
    ----------
    destination : Path
        The folder to be. Must not exist.
    """

    def __init__(self, destination: Path) -> None:
        self._folder = atomic_folder(destination)
        self._passes: list[RecordedPass] = []
        self._described: dict[str, Any] = {}

    def __enter__(self) -> TraceWriter:
        self.partial = self._folder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            content = {"schema_version": TRACE_SCHEMA, **self._described, "passes": list(map(asdict, self._passes))}
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (self.partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        self._folder.__exit__(kind, error, trace)

    def file(self, slug: str) -> Path:
        """Return where a pass's operations go, its folder made."""
        file = self.partial / slug / TRACE_FILE
        file.parent.mkdir()
        return file

    def add(self, entry: RecordedPass) -> None:
        """Add a recorded pass to the manifest."""
        self._passes.append(entry)

    def describe(self, *, arm: Mapping[str, Any], torch: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        """Set what the manifest says of the arm, of torch and of what every pass read."""
        self._described = {"arm": dict(arm), "torch": dict(torch), "inputs": dict(inputs)}


@dataclass(frozen=True)
class Difference:
    """How two results of an operation differ.

    Attributes
    ----------
    elements : int
        Of A's outputs together.
    different : int
        Elements of other bytes; all of them where dtype, shape or a view's place in memory differ.
    max_abs, rms : float or None
        Greatest distance of two finite numbers, and the root of the mean square over all elements. None where nothing
        can be subtracted.
    max_ulp : int or None
        Greatest distance of two finite numbers, in representable values between them. None for integers.
    """

    elements: int
    different: int
    max_abs: float | None
    rms: float | None
    max_ulp: int | None


@dataclass(frozen=True)
class Error:
    """Distance from the float64 result: greatest, and root of the mean square, over finite numbers."""

    max_abs: float
    rms: float


@dataclass(frozen=True)
class Truth:
    """Errors of A's and of B's result of one operation on A's inputs."""

    a: Error
    b: Error


@dataclass(frozen=True)
class ReplayedOperation:
    """One operation of A, run again by B.

    Attributes
    ----------
    position : int
        In A's order of execution, from 0.
    position_b : int or None
        Of its counterpart in B's own pass; None when B has none.
    name, overload, module, source : str
        As `Operation` has them, of A.
    id : str
        Kind of operation: its name and the dtypes of what it reads; also the name of its case.
    local : Difference or None
        A's result beside B's on A's inputs; None when B did not run it again.
    accumulated : Difference or None
        A's result beside its counterpart's in B's own pass; None when there is none, or it is a view.
    truth : Truth or None
        Both results of the local comparison against float64, where they differ.
    why_no_truth : str or None
        Why there is none although they differ.
    """

    position: int
    position_b: int | None
    name: str
    overload: str
    module: str
    source: str
    id: str
    local: Difference | None
    accumulated: Difference | None
    truth: Truth | None = None
    why_no_truth: str | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReplayedOperation:
        """Read what `dataclasses.asdict` and JSON made of it."""
        found = dict(content)
        for name in ("local", "accumulated"):
            found[name] = None if found[name] is None else Difference(**found[name])
        if found["truth"] is not None:
            found["truth"] = Truth(**{side: Error(**found["truth"][side]) for side in ("a", "b")})
        return cls(**found)


@dataclass(frozen=True)
class NotReplayed:
    """Operations that were not run again: their name, why, and how many."""

    name: str
    why: str
    count: int


@dataclass(frozen=True)
class ReplayedPass:
    """One pass of A, run again by B operation by operation.

    Attributes
    ----------
    slug, description, kind : str
        Of the pass.
    same_output : bool
        Whether B's own pass gave A's output, byte for byte.
    undisturbed_a, undisturbed_b : bool
        Whether sending left A's output, and replaying left B's, as they are without it.
    replayed, differ : int
        Operations that B ran again, and those of them whose result was another.
    not_replayed : tuple of NotReplayed
        The others.
    window_bytes : int
        Greatest size of A's outputs that were kept until B's own pass came to them.
    sent_bytes : int
        That A sent.
    seconds, seconds_plain : float
        Wall time of B's pass with all replays, and of the same pass before it under a mode that only counts.
    peak_bytes, peak_bytes_plain : int
        Greatest resident memory of B's process up to the end of each.
    operations : tuple of ReplayedOperation
        In A's order: those with a floating-point output, and those with any difference.
    """

    slug: str
    description: str
    kind: str
    same_output: bool
    undisturbed_a: bool
    undisturbed_b: bool
    replayed: int
    differ: int
    not_replayed: tuple[NotReplayed, ...]
    window_bytes: int
    sent_bytes: int
    seconds: float
    seconds_plain: float
    peak_bytes: int
    peak_bytes_plain: int
    operations: tuple[ReplayedOperation, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReplayedPass:
        """Read what `dataclasses.asdict` and JSON made of it."""
        operations = tuple(map(ReplayedOperation.from_json, content["operations"]))
        left = tuple(NotReplayed(**entry) for entry in content["not_replayed"])
        return cls(**{**content, "operations": operations, "not_replayed": left})


@dataclass(frozen=True)
class Group:
    """How often one kind of operation was run again, and how often its result was another, over all passes."""

    id: str
    name: str
    overload: str
    dtypes: tuple[str, ...]
    replayed: int
    differ: int


@dataclass(frozen=True)
class Replay:
    """A replay folder that was read.

    Attributes
    ----------
    path : Path
        The folder.
    a, b : mapping
        ``arm``, ``torch`` and ``inputs`` of each side, as a trace's manifest has them.
    passes : mapping of str to ReplayedPass
        By slug, in the order in which they ran.
    groups : mapping of str to Group
        By id, in the order in which they were met first.
    """

    path: Path
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    passes: Mapping[str, ReplayedPass]
    groups: Mapping[str, Group]

    @classmethod
    def open(cls, path: Path) -> Replay:
        """Read a replay folder."""

        def make(content: dict[str, Any]) -> Replay:
            passes = [ReplayedPass.from_json(entry) for entry in content["passes"]]
            groups = [Group(**{**entry, "dtypes": tuple(entry["dtypes"])}) for entry in content["groups"]]
            return cls(path, content["a"], content["b"], {p.slug: p for p in passes}, {g.id: g for g in groups})

        return read_json(path / REPLAY_FILE, REPLAY_SCHEMA, "replay", "send and replay again", make)

    def write(self) -> None:
        """Write `replay.json` into the folder."""
        content = {
            "schema_version": REPLAY_SCHEMA,
            "a": dict(self.a),
            "b": dict(self.b),
            "passes": [asdict(entry) for entry in self.passes.values()],
            "groups": [asdict(entry) for entry in self.groups.values()],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (self.path / REPLAY_FILE).write_text(text + "\n", encoding="utf-8")


def case_id(name: str, overload: str, dtypes: Sequence[str]) -> str:
    """Return the name of an operation's case: ``gelu-float32``, ``div-Tensor-bfloat16``, ``sort-int64``."""
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
        As `Operation.arguments`; ``{"tensor": n}`` is input n.
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
        """Read a case's folder."""

        def make(content: dict[str, Any]) -> Case:
            content["inputs"] = tuple(map(CaseTensor.from_json, content["inputs"]))
            content["outputs"] = {side: tuple(map(CaseTensor.from_json, of)) for side, of in content["outputs"].items()}
            return cls(folder=folder, pass_slug=content.pop("pass"), **content)

        return read_json(folder / CASE_FILE, CASE_SCHEMA, "case", "send and replay again", make)

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::div.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name

    def write(self) -> None:
        """Write `case.json`."""
        content = {"schema_version": CASE_SCHEMA, **asdict(self), "pass": self.pass_slug}
        del content["folder"], content["pass_slug"]
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (self.folder / CASE_FILE).write_text(text + "\n", encoding="utf-8")
