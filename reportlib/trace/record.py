"""The verbs ``record`` and ``truth``: a trace folder, and the forward passes in float64.

A recorder sees what reaches the dispatcher below autograd and autocast (`torch.utils._python_dispatch`): under
``no_grad`` composite operations such as ``linear`` appear as what they are made of, and autocast's casts as
``aten::_to_copy``. Under ``inference_mode`` composite operations appear whole.
"""

from __future__ import annotations

import linecache
import os
import resource
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import reportlib
from reportlib.capture.process import Progress
from reportlib.capture.tensors import layer_outputs, to_numpy
from reportlib.errors import CaptureError
from reportlib.store import CaptureWriter, digest_file
from reportlib.trace.format import Operation, RecordedPass, TraceWriter
from reportlib.trace.operations import (
    UNWRITTEN,
    Canonical,
    Storages,
    blake3_digest,
    mutated_tensors,
    outputs_of,
    tensor_record,
)
from reportlib.trace.passes import Pass, load, torch_description

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

_FOREIGN = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, reportlib))
_STANDARD = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))


def source_line() -> str:
    """Return the innermost line that is neither torch's, nor reportlib's, nor the standard library's.

    Returns
    -------
    str
        ``transformers/activations.py:78: return self.act(input)``; empty when there is none.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = _name(frame.f_code.co_filename)
        if name:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            return f"{name}:{frame.f_lineno}: {line}"
        frame = frame.f_back
    return ""


@cache
def _name(file: str) -> str:
    """Return a source file from its package's folder on, or nothing for one that is passed over."""
    if file.startswith("<") or file.startswith(_FOREIGN):
        return ""
    homes = [folder + os.sep for folder in sys.path if folder and file.startswith(folder + os.sep)]
    home = max(homes, key=len, default="")
    if not home:
        return "" if file.startswith(_STANDARD) else Path(file).name
    return "" if home in _STANDARD else Path(file.removeprefix(home)).as_posix()


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Hands every dispatched operation to `sink`, described; nothing is kept of it but what `Storages` knows.

    Memory is bounded by one operation: beside the call's own tensors there is at most one contiguous copy of one
    tensor, while it is hashed.

    Parameters
    ----------
    sink : callable
        Gets each `Operation` as soon as it has run.
    storages : Storages
        One for all passes of a process: weights are hashed once.
    """

    def __init__(self, sink: Callable[[Operation], object], storages: Storages) -> None:
        super().__init__()
        storages.renumber()
        self.sink, self.storages = sink, storages
        self.modules: list[str] = []
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, schema, source = kwargs or {}, func._schema, source_line()
        given: list[torch.Tensor] = []
        arguments = Canonical(given).arguments(schema, args, kwargs)
        inputs = tuple(tensor_record(tensor, self.storages) for tensor in given)
        changed = mutated_tensors(schema, args, kwargs)
        returned = func(*args, **kwargs)

        result, out = outputs_of(returned, changed)
        if not schema.name.startswith("aten::"):
            self.storages.forget()  # torch's own operations say what they write to; another library's may not
        read = {record.storage for record in inputs}
        in_place = [self.storages.of(tensor) for tensor in changed]
        written = in_place + [memory for memory in map(self.storages.of, out) if memory.number not in read]
        for memory in in_place:
            memory.write()
        if schema.name in UNWRITTEN:
            for memory in written:
                memory.unwritten = True
        operation = Operation(
            position=self.count,
            name=schema.name,
            overload=schema.overload_name,
            module=self.modules[-1] if self.modules else "",
            source=source,
            arguments=arguments,
            inputs=inputs,
            result=result,
            outputs=tuple(tensor_record(tensor, self.storages) for tensor in out),
            written=tuple(sorted({memory.number for memory in written})),
        )
        self.count += 1
        self.sink(operation)
        return returned


def record(entry: Pass, model: torch.nn.Module, file: Path, storages: Storages) -> RecordedPass:
    """Run a pass twice, first without and then with a recorder, and write its operations to `file`.

    Parameters
    ----------
    entry : Pass
        What to run.
    model : torch.nn.Module
        The model that it runs.
    file : Path
        JSON lines; written as the operations run.
    storages : Storages
        What passes before this one made known.

    Returns
    -------
    RecordedPass
        With the digest of both outputs, and with time and memory of both calls.

    Raises
    ------
    CaptureError
        When a module is in training mode: its dropout would be random.
    """
    if any(module.training for module in model.modules()):
        raise CaptureError("the model is in training mode, where dropout is random", "call model.eval() first")
    started = time.perf_counter()
    untraced = blake3_digest(entry.call())
    seconds_untraced, peak_untraced = time.perf_counter() - started, peak_bytes()
    started = time.perf_counter()
    with file.open("w", encoding="utf-8") as lines, ExitStack() as stack:
        recorder = Recorder(lambda operation: lines.write(operation.to_json() + "\n"), storages)
        entry.watch(recorder.modules, stack)
        with recorder:
            output = entry.call()
    return RecordedPass(
        slug=entry.slug,
        description=entry.description,
        kind=entry.kind,
        given=dict(entry.given),
        output=tensor_record(output, recorder.storages),
        output_untraced=untraced,
        operations=recorder.count,
        sha256=digest_file(file),
        seconds_untraced=round(seconds_untraced, 4),
        seconds_traced=round(time.perf_counter() - started, 4),
        peak_bytes_untraced=peak_untraced,
        peak_bytes_traced=peak_bytes(),
    )


def peak_bytes() -> int:
    """Return the greatest resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_trace(request: PassRequest, output: Path) -> None:
    """Record the passes that are asked for: a trace folder with the hashes of every operation's inputs and outputs."""
    storages, progress = Storages(), request.progress
    with TraceWriter(output) as writer, load(request) as loaded:
        for entry in loaded.passes:
            progress.stage(f"recording {entry.description!r}")
            recorded = record(entry, loaded.model, writer.file(entry.slug), storages)
            writer.add(recorded)
            cost = f"{recorded.seconds_traced:.2f} s, {recorded.seconds_untraced:.2f} s without"
            progress.stage(f"recorded {recorded.operations:,} operations ({cost})")
        writer.describe(arm=loaded.arm, torch=torch_description(), inputs=loaded.inputs)
    progress.stage("done")


# The forward passes in float64, for A's and B's layers to be held against.


def write_truth(request: PassRequest, output: Path) -> None:
    """Run the forward passes in float64 and write every layer's output, as a capture.

    ``layers/<slug>/embeddings``, ``layers/<slug>/00``, ... have the names that an arm's own have, and ``doc/<slug>`` is
    what colbert-ai takes of the pass. It runs on the CPU whatever the arm's device is. Weights are the checkpoint's,
    which float64 holds exactly.
    """
    progress = Progress(f"{request.arm.environment}-float64", stream=request.progress.stream)
    with CaptureWriter(output) as writer, load(request) as loaded:
        loaded.model.double()
        seconds = {}
        for entry in loaded.passes:
            progress.stage(f"computing {entry.description!r} in float64")
            started = time.perf_counter()
            taken, result = layer_outputs(loaded.model.LM, entry.call)
            seconds[entry.slug] = round(time.perf_counter() - started, 4)
            for name, tensor in taken.items():
                writer.tensor(f"layers/{entry.slug}/{name}", to_numpy(tensor)[0], "layers")
            writer.tensor(f"doc/{entry.slug}", to_numpy(result)[0], "encode")
        arm = {**loaded.arm, "precision": "float64"}
        writer.describe(arm, {"torch": torch.__version__, "inputs": dict(loaded.inputs), "seconds": seconds})
    progress.stage("done")
