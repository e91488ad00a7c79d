"""Record the operations of a call while it runs, by `torch.utils._python_dispatch.TorchDispatchMode`.

The recorder sees what reaches the dispatcher below autograd and autocast: under ``no_grad`` composite operations
such as ``linear`` appear as what they are made of, and autocast's casts as ``aten::_to_copy``. Under
``inference_mode`` composite operations appear whole.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reportlib.errors import CaptureError
from reportlib.store import digest_file
from reportlib.trace.format import Operation, RecordedPass
from reportlib.trace.operations import (
    UNWRITTEN,
    Canonical,
    Storages,
    describe,
    mutated_tensors,
    outputs_of,
    tensor_digest,
)
from reportlib.trace.passes import Pass
from reportlib.trace.source import source_line


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

    def __init__(self, sink: Callable[[Operation], None], storages: Storages) -> None:
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
        inputs = tuple(describe(tensor, self.storages) for tensor in given)
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
            outputs=tuple(describe(tensor, self.storages) for tensor in out),
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
    untraced = tensor_digest(entry.call())
    seconds_untraced, peak_untraced = time.perf_counter() - started, peak_bytes()
    started = time.perf_counter()
    with file.open("w", encoding="utf-8") as lines, ExitStack() as stack:
        recorder = Recorder(lambda operation: _write(lines, operation), storages)
        entry.watch(recorder.modules, stack)
        with recorder:
            output = entry.call()
    return RecordedPass(
        slug=entry.slug,
        description=entry.description,
        kind=entry.kind,
        given=dict(entry.given),
        output=describe(output, recorder.storages),
        output_untraced=untraced,
        operations=recorder.count,
        sha256=digest_file(file),
        seconds_untraced=round(seconds_untraced, 4),
        seconds_traced=round(time.perf_counter() - started, 4),
        peak_bytes_untraced=peak_untraced,
        peak_bytes_traced=peak_bytes(),
    )


def _write(lines: Any, operation: Operation) -> None:
    lines.write(operation.to_json() + "\n")


def peak_bytes() -> int:
    """Return the greatest resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
