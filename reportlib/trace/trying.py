"""The verb ``try``: cases and forward passes under the switches that one process can have.

Environment variables are the process's own, set by whoever starts it; switches that are Python statements are run one
after another, and what they set is put back. Prints JSON::

    {"torch": "2.1.0+cu121", "cpu_capability": "AVX512", "threads": 2,
     "switches": {"none": {"failed": null,
                           "cases": {"gelu-float32": {"outputs": [...], "result": ..., "written": [], "failed": null}},
                           "passes": {"batch": {"digest": "...", "failed": null}}}}}
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from reportlib.capture import prepare_process
from reportlib.capture.progress import Progress
from reportlib.errors import StoreError
from reportlib.trace import passes
from reportlib.trace.switches import NONE, Switch, find


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
    with ExitStack() as stack:
        loaded = stack.enter_context(passes.load(arguments)) if arguments.passes else None
        progress = Progress(prepare_process(passes.request_of(arguments)).arm) if loaded is None else loaded.progress
        import torch

        from reportlib.trace.rerun import CASE, read_case

        torch.set_num_threads(arguments.threads)
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
        return {
            "torch": torch.__version__,
            "cpu_capability": passes.cpu_capability(),
            "threads": arguments.threads,
            "switches": found,
        }


def _attempt(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `call` returns, or the first line of why it cannot be done under this switch."""
    try:
        return {**call(), "failed": None}
    except Exception as error:
        lines = str(error).strip().splitlines()
        return {"failed": lines[0] if lines else type(error).__name__}


def _case(case: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    from reportlib.trace.rerun import run_case

    return asdict(run_case(case, inputs))


def _pass(given: passes.Pass) -> dict[str, Any]:
    from reportlib.trace.operations import tensor_digest

    return {"digest": tensor_digest(given.call())}


@contextmanager
def _set(switch: Switch, torch: Any) -> Iterator[str | None]:
    """Run a switch's statements and put back what they set; yield why it cannot be set, or None.

    Its variables must be this process's already.
    """
    kept = _settings(torch)
    try:
        yield _apply(switch, torch)
    finally:
        for put_back in kept:
            put_back()


def _apply(switch: Switch, torch: Any) -> str | None:
    missing = [name for name, text in switch.variables.items() if os.environ.get(name) != text]
    if missing:
        return f"this process was started without {missing[0]}"
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
