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
from typing import Any

import torch

from reportlib.store import write_text
from reportlib.trace.cases import CASE_FILE, Case
from reportlib.trace.instances import read_inputs, run_case
from reportlib.trace.operations import tensor_digest
from reportlib.trace.passes import Pass, load
from reportlib.trace.request import PassRequest
from reportlib.trace.switches import Switch, first_line, try_apart


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
        loaded = stack.enter_context(load(request)) if passes else None
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
                for given in loaded.passes if loaded else ():
                    entry["passes"][given.slug] = _attempt(partial(_pass, given))
        return found


def _attempt(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `call` returns, or the first line of why it cannot be done under this switch."""
    try:
        return {**call(), "failed": None}
    except Exception as error:
        return {"failed": first_line(error)}


def _pass(given: Pass) -> dict[str, Any]:
    return {"digest": tensor_digest(given.call())}


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
