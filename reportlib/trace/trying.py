"""The verb ``try``: cases and forward passes under switches.

Environment variables must be set before torch first looks at them, which is when it first computes; so each set of
variables gets a process of its own, forked from this one, where torch is imported and nothing was computed yet:
importing it takes most of the time that such a process would need. Switches that are Python statements are run one
after another in one process, and what they set is put back. Prints JSON::

    {"none": {"failed": null,
              "cases": {"gelu-float32": {"outputs": [...], "result": ..., "written": [], "failed": null}},
              "passes": {"batch": {"digest": "...", "failed": null}}}}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reportlib.capture.process import quiet
from reportlib.capture.tensors import tensor_digest
from reportlib.errors import StoreError
from reportlib.store import write_text
from reportlib.trace.format import CASE_FILE, INPUTS_FILE, Case
from reportlib.trace.operations import blake3_digest, call, find_operation, tensor_form
from reportlib.trace.switches import Switch, first_line, try_apart

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest
    from reportlib.trace.passes import Pass


def write_tries(
    request: PassRequest, switches: Sequence[Switch], cases: Path | None, passes: bool, output: Path | None
) -> None:
    """Run cases and passes under every switch, and write what they gave.

    Parameters
    ----------
    request : PassRequest
        For device and threads, and for the passes.
    switches : sequence of Switch
        To try.
    cases : Path, optional
        Folder of case folders; all are run.
    passes : bool
        Whether to run the forward passes too.
    output : Path, optional
        File to write; standard output by default.

    Raises
    ------
    CaptureError
        When something cannot be run even without a switch.
    """
    text = json.dumps(try_apart(partial(_try, request, cases, passes), switches))
    if output is None:
        sys.stdout.write(text + "\n")
    else:
        write_text(output, text + "\n")


def _try(request: PassRequest, cases: Path | None, passes: bool, switches: Sequence[Switch]) -> dict[str, Any]:
    """Return what cases and passes give under each of these switches, whose variables are set."""
    with ExitStack() as stack:
        passes_to_run: tuple[Pass, ...] = ()
        if passes:
            with quiet():  # colbert-ai comes with it, which takes as long to import as torch: cases do without
                from reportlib.trace.passes import load
            passes_to_run = stack.enter_context(load(request)).passes
        torch.set_num_threads(request.arm.threads)
        described = [Case.open(file.parent) for file in sorted(cases.glob(f"*/{CASE_FILE}"))] if cases else []
        found: dict[str, Any] = {}
        for switch in switches:
            request.progress.stage(f"trying the switch {switch.name}")
            with _set(switch) as why:
                entry: dict[str, Any] = {"failed": why, "cases": {}, "passes": {}}
                found[switch.name] = entry
                if why is not None:
                    continue
                for case in described:
                    inputs = read_inputs(case, request.arm.device)
                    entry["cases"][case.folder.name] = _attempt(partial(run_case, case, inputs))
                for given in passes_to_run:
                    entry["passes"][given.slug] = _attempt(partial(_output, given))
        return found


def _attempt(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `call` returns, or the first line of why it cannot be done under this switch."""
    try:
        return {**call(), "failed": None}
    except Exception as error:
        return {"failed": first_line(error)}


def _output(given: Pass) -> dict[str, Any]:
    return {"digest": blake3_digest(given.call())}


@contextmanager
def _set(switch: Switch) -> Iterator[str | None]:
    """Run a switch's statements and put back what they set; yield why it cannot be set, or None."""
    kept = _settings()
    try:
        yield _apply(switch)
    finally:
        for put_back in kept:
            put_back()


def _apply(switch: Switch) -> str | None:
    try:
        for statement in switch.statements:
            exec(statement, {"torch": torch})  # noqa: S102  (our own table; what a user pastes is what is tried)
        if switch.check and not eval(switch.check, {"torch": torch}):  # noqa: S307
            return f"torch {torch.__version__} does not know it"
    except Exception as error:
        return f"torch {torch.__version__} does not know it: {str(error).strip() or type(error).__name__}"
    return None


def _settings() -> list[Callable[[], None]]:
    """Return calls that put every setting of `SWITCHES` back to what it is now; unknown ones are passed over."""
    threads = torch.get_num_threads()
    onednn = torch._C._get_mkldnn_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    kept: list[Callable[[], None]] = [
        lambda: torch.set_num_threads(threads),
        lambda: torch._C._set_mkldnn_enabled(onednn),
        lambda: torch.use_deterministic_algorithms(deterministic),
    ]
    if hasattr(torch, "get_float32_matmul_precision"):
        precision = torch.get_float32_matmul_precision()
        kept.append(lambda: torch.set_float32_matmul_precision(precision))
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    names = ("allow_tf32", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    for owner, name in [*((matmul, n) for n in names), *((cudnn, n) for n in _CUDNN)]:
        try:
            now = getattr(owner, name)
        except Exception:  # noqa: S112  (AssertionError, AttributeError or RuntimeError, by version)
            continue
        kept.append(partial(setattr, owner, name, now))
    return kept


_CUDNN = ("enabled", "allow_tf32", "deterministic", "benchmark")


# A case: its inputs as they lay in memory, and its operation run again.


def read_inputs(case: Case, device: str) -> list[torch.Tensor]:
    """Return a case's inputs, as they lay in memory.

    Raises
    ------
    StoreError
        When they cannot be read, or one does not have the bytes that the case names.
    """
    try:
        stored = load_file(case.folder / INPUTS_FILE)
        tensors = [stored[f"input{index}"] for index in range(len(case.inputs))]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise StoreError(f"{case.folder} holds no inputs that can be read: {error}", "replay again") from error
    for index, (tensor, known) in enumerate(zip(tensors, case.inputs, strict=True)):
        if tensor_digest(tensor) != known.sha256:
            raise StoreError(f"input {index} of {case.folder} is not the one that {CASE_FILE} names", "replay again")
    return [strided(tensor, known.strides, device) for tensor, known in zip(tensors, case.inputs, strict=True)]


def strided(tensor: torch.Tensor, strides: Sequence[int], device: str = "cpu") -> torch.Tensor:
    """Return the values of `tensor` in new memory of `device`, with the given strides in elements.

    The memory is torch's own, because that of a file need not be aligned, and kernels of BLAS can depend on it.
    """
    whole = [1 if stride == 0 else size for size, stride in zip(tensor.shape, strides, strict=True)]
    kept = tensor[tuple(slice(0, size) for size in whole)] if whole else tensor
    memory = torch.empty_strided(whole, list(strides), dtype=tensor.dtype, device=device)
    return memory.copy_(kept).expand(tensor.shape)


def run_case(case: Case, inputs: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Run a case's operation on `inputs`, which an operation in place changes.

    Returns
    -------
    dict
        ``outputs``: ``dtype``, ``shape`` and ``sha256`` of each tensor, those returned, then those written to and not
        returned. ``result``: what it returned, tensors as ``{"tensor": index into outputs}``. ``written``: the inputs
        that are the last of the outputs, in their order.

    Raises
    ------
    NotReplayedError
        When this torch has no such operation, or it fails.
    """
    done = call(find_operation(case.name, case.overload), case.arguments, inputs)
    place = {id(tensor): index for index, tensor in enumerate(inputs)}
    outputs = []
    for tensor in done.outputs:
        dtype, shape, _ = tensor_form(tensor)
        outputs.append({"dtype": dtype, "shape": list(shape), "sha256": tensor_digest(tensor)})
    written = [place[id(tensor)] for tensor in done.outputs[_count(done.result) :]]
    return {"outputs": outputs, "result": done.result, "written": written}


def _count(result: Any) -> int:
    """Return how many tensors a result names."""
    if isinstance(result, list):
        return sum(map(_count, result))
    return int(isinstance(result, dict) and "tensor" in result)
