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

import argparse
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reportlib.capture import CaptureRequest, prepare_process
from reportlib.capture.progress import Progress
from reportlib.errors import CaptureError, StoreError
from reportlib.trace import passes
from reportlib.trace.switches import NONE, Switch, find, groups


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    passes.add_arguments(parser, required=False)
    parser.add_argument("--cases", type=Path, help="folder of case folders; all are run")
    parser.add_argument("--switches", default=NONE, help="names of reportlib.trace.switches, separated by commas")
    parser.add_argument("--passes", action="store_true", help="also run the forward passes of --checkpoint")
    parser.add_argument("--output", type=Path, help="file to write; standard output by default")


def run(arguments: argparse.Namespace) -> None:
    """Run what the options ask for under every switch named.

    Raises
    ------
    StoreError
        When a switch is not known or a case is damaged.
    ReportlibError
        When an input of the passes cannot be used.
    """
    try:
        switches = [find(name) for name in arguments.switches.split(",")]
    except KeyError as error:
        raise StoreError(f"there is no switch {error.args[0]!r}", "see reportlib.trace.switches") from error
    if arguments.passes and not (arguments.checkpoint and arguments.collection):
        raise StoreError("--passes needs --checkpoint and --collection", "give both")
    text = json.dumps(try_all(arguments, switches))
    if arguments.output is None:
        sys.stdout.write(text + "\n")
    else:
        unfinished = arguments.output.with_name(arguments.output.name + ".partial")
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(arguments.output)


def try_all(arguments: argparse.Namespace, switches: Sequence[Switch]) -> dict[str, Any]:
    """Return the verb's answer for these switches."""
    request = prepare_process(passes.request_of(arguments))
    import torch  # noqa: F401  (so that no child has to)

    found: dict[str, Any] = {}
    for variables, members in groups(switches):
        found.update(_in_child(arguments, request, variables, members))
    return {switch.name: found[switch.name] for switch in switches}


def _in_child(
    arguments: argparse.Namespace, request: CaptureRequest, variables: Mapping[str, str], switches: Sequence[Switch]
) -> dict[str, Any]:
    """Try switches that share their variables in a process of their own; one by one, if that process dies.

    A process that dies under a switch is an answer too: that switch failed. Without a switch it is an error.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, arguments, request, variables, switches))
    with warnings.catch_warnings():
        # Python 3.12 warns where there are threads; those of numpy's BLAS survive a fork, and torch has none yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sender.close()
    try:
        answer: dict[str, Any] | str = receiver.recv()
    except EOFError:
        child.join()
        answer = f"ended by signal {-(child.exitcode or 0)}"
    child.join()
    if isinstance(answer, dict):
        return answer
    if len(switches) > 1:
        alone = [_in_child(arguments, request, variables, [switch]) for switch in switches]
        return {name: entry for found in alone for name, entry in found.items()}
    if switches[0].name == NONE:
        raise CaptureError(f"without any switch: {answer}")
    return {switches[0].name: {"failed": answer, "cases": {}, "passes": {}}}


def _answer(
    sender: Connection,
    arguments: argparse.Namespace,
    request: CaptureRequest,
    variables: Mapping[str, str],
    switches: Sequence[Switch],
) -> None:
    """Try switches in a child, and send what was found, or why it could not be."""
    os.environ.update(variables)
    try:
        sender.send(_try(arguments, request, switches))
    except Exception as error:
        sender.send(_first_line(error))


def _try(arguments: argparse.Namespace, request: CaptureRequest, switches: Sequence[Switch]) -> dict[str, Any]:
    import torch

    from reportlib.trace.rerun import CASE, read_case

    with ExitStack() as stack:
        loaded = stack.enter_context(passes.load(arguments, request)) if arguments.passes else None
        progress = Progress(request.arm) if loaded is None else loaded.progress
        torch.set_num_threads(request.threads)
        folders = sorted(path.parent for path in arguments.cases.glob(f"*/{CASE}")) if arguments.cases else []
        found: dict[str, Any] = {}
        for switch in switches:
            progress.stage(f"trying the switch {switch.name}")
            with _set(switch, torch) as why:
                entry: dict[str, Any] = {"failed": why, "cases": {}, "passes": {}}
                found[switch.name] = entry
                if why is not None:
                    continue
                for folder in folders:
                    case, inputs = read_case(folder, arguments.device)
                    entry["cases"][folder.name] = _attempt(partial(_case, case, inputs))
                for given in loaded.passes if loaded else ():
                    entry["passes"][given.slug] = _attempt(partial(_pass, given))
        return found


def _attempt(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `call` returns, or the first line of why it cannot be done under this switch."""
    try:
        return {**call(), "failed": None}
    except Exception as error:
        return {"failed": _first_line(error)}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _case(case: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    from reportlib.trace.rerun import run_case

    return asdict(run_case(case, inputs))


def _pass(given: passes.Pass) -> dict[str, Any]:
    from reportlib.trace.operations import tensor_digest

    return {"digest": tensor_digest(given.call())}


@contextmanager
def _set(switch: Switch, torch: Any) -> Iterator[str | None]:
    """Run a switch's statements and put back what they set; yield why it cannot be set, or None."""
    kept = _settings(torch)
    try:
        yield _apply(switch, torch)
    finally:
        for put_back in kept:
            put_back()


def _apply(switch: Switch, torch: Any) -> str | None:
    try:
        for statement in switch.statements:
            exec(statement, {"torch": torch})  # noqa: S102  (our own table; what a user pastes is what is tried)
        if switch.check and not eval(switch.check, {"torch": torch}):  # noqa: S307
            return f"torch {torch.__version__} does not know it"
    except Exception as error:
        return f"torch {torch.__version__} does not know it: {str(error).strip() or type(error).__name__}"
    return None


def _settings(torch: Any) -> list[Callable[[], None]]:
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
