"""Switches: what a user can set to make torch compute in another way.

Each is tried on every differing operation in both environments; those that give the other version's bytes say what
the difference is made of, and are what a user pastes to undo it. Spellings are those of the libraries' own pages:
PyTorch ("torch.backends", "MKLDNN backend", "Reproducibility", "set_float32_matmul_precision"; ``ATEN_CPU_CAPABILITY``
in its README), oneDNN ("CPU Dispatcher Control", "floating-point math mode"; the prefix ``ONEDNN_`` since 2.5, which
torch 1.13 is newer than) and Intel MKL ("Conditional Numerical Reproducibility"). Needs the standard library only:
the host imports this too.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from reportlib.errors import CaptureError

#: Stands for no switch at all.
NONE = "none"
#: See `try_apart`.
Try = Callable[[Sequence["Switch"]], dict[str, Any]]
_X86 = ("x86_64", "AMD64")


@dataclass(frozen=True)
class Switch:
    """One way to make torch compute differently.

    Attributes
    ----------
    name : str
        Short, for tables and JSON.
    description : str
        What it does, in words.
    variables : mapping of str to str
        Environment variables, which must be set before torch first computes; a user sets them before Python starts.
    statements : tuple of str
        Python statements that need nothing but ``import torch``.
    check : str
        A Python expression that is true once the switch took effect, where torch says so: setting an attribute that a
        version of torch does not know raises nothing.
    devices : tuple of str
        Where it can matter.
    machines : tuple of str
        Of `platform.machine`; empty for all.
    parts : tuple of str
        Names of the switches that this one sets together; empty for a single one.
    """

    name: str
    description: str
    variables: Mapping[str, str] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    check: str = ""
    devices: tuple[str, ...] = ("cpu", "cuda")
    machines: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What a user pastes: into the shell before Python starts, and after ``import torch``."""
        return (*(f"export {name}={value}" for name, value in self.variables.items()), *self.statements)

    @property
    def line(self) -> str:
        """`lines` as one text."""
        return "\n".join(self.lines)


SWITCHES: tuple[Switch, ...] = (
    Switch(
        "aten-avx2",
        "torch's own kernels use AVX2 at most",
        {"ATEN_CPU_CAPABILITY": "avx2"},
        check='"usage: AVX512" not in torch.__config__.show()',
        devices=("cpu",),
        machines=_X86,
    ),
    Switch(
        "aten-default",
        "torch's own kernels use no vector instructions beyond the CPU's basic ones",
        {"ATEN_CPU_CAPABILITY": "default"},
        check='"usage: AVX" not in torch.__config__.show()',
        devices=("cpu",),
    ),
    Switch(
        "onednn-avx2",
        "oneDNN's kernels use AVX2 at most",
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        devices=("cpu",),
        machines=_X86,
    ),
    Switch(
        "onednn-sse41",
        "oneDNN's kernels use SSE4.1 at most",
        {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        devices=("cpu",),
        machines=_X86,
    ),
    Switch(
        "aten-avx2+onednn-avx2",
        "torch's own and oneDNN's kernels use AVX2 at most",
        {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check='"usage: AVX512" not in torch.__config__.show()',
        devices=("cpu",),
        machines=_X86,
        parts=("aten-avx2", "onednn-avx2"),
    ),
    Switch(
        "onednn-strict",
        "oneDNN never computes float32 in a shorter type",
        {"ONEDNN_DEFAULT_FPMATH_MODE": "STRICT"},
        devices=("cpu",),
    ),
    Switch(
        "mkl-compatible",
        "MKL uses the same code path on every CPU",
        {"MKL_CBWR": "COMPATIBLE"},
        devices=("cpu",),
        machines=_X86,
    ),
    Switch(
        "mkl-avx2",
        "MKL uses its AVX2 code path; on a CPU that is not Intel's, the one that it chooses itself",
        {"MKL_CBWR": "AVX2"},
        devices=("cpu",),
        machines=_X86,
    ),
    Switch(
        "onednn-off",
        "torch does not use oneDNN",
        statements=("torch.backends.mkldnn.enabled = False",),
        check="not torch._C._get_mkldnn_enabled()",
        devices=("cpu",),
    ),
    Switch(
        "one-thread",
        "one thread for each operation",
        statements=("torch.set_num_threads(1)",),
        check="torch.get_num_threads() == 1",
        devices=("cpu",),
    ),
    Switch(
        "deterministic",
        "only algorithms that always give the same result on the same machine",
        statements=("torch.use_deterministic_algorithms(True)",),
        check="torch.are_deterministic_algorithms_enabled()",
        devices=("cpu",),
    ),
    Switch(
        "deterministic-cuda",
        "only algorithms that always give the same result on the same GPU",
        {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        ("torch.use_deterministic_algorithms(True)",),
        "torch.are_deterministic_algorithms_enabled()",
        ("cuda",),
    ),
    Switch(
        "matmul-highest",
        "float32 matrix products are computed in float32",
        statements=('torch.set_float32_matmul_precision("highest")',),
        check='torch.get_float32_matmul_precision() == "highest"',
    ),
    Switch(
        "matmul-high",
        "float32 matrix products may be computed in TensorFloat32 or in pairs of bfloat16",
        statements=('torch.set_float32_matmul_precision("high")',),
        check='torch.get_float32_matmul_precision() == "high"',
    ),
    Switch(
        "tf32-off",
        "no TensorFloat32, neither in matrix products nor in cuDNN",
        statements=("torch.backends.cuda.matmul.allow_tf32 = False", "torch.backends.cudnn.allow_tf32 = False"),
        check="not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)",
        devices=("cuda",),
    ),
    Switch(
        "fp16-full-sums",
        "float16 matrix products are summed in float32 throughout",
        statements=("torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False",),
        check="not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
        devices=("cuda",),
    ),
    Switch(
        "bf16-full-sums",
        "bfloat16 matrix products are summed in float32 throughout",
        statements=("torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False",),
        check="not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
        devices=("cuda",),
    ),
    Switch(
        "cudnn-off",
        "torch does not use cuDNN",
        statements=("torch.backends.cudnn.enabled = False",),
        check="not torch.backends.cudnn.enabled",
        devices=("cuda",),
    ),
    Switch(
        "cudnn-deterministic",
        "cuDNN uses deterministic algorithms, chosen without timing them",
        statements=("torch.backends.cudnn.deterministic = True", "torch.backends.cudnn.benchmark = False"),
        check="torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark",
        devices=("cuda",),
    ),
)
_BY_NAME = {switch.name: switch for switch in SWITCHES}


def find_switch(name: str) -> Switch:
    """Return the switch `name`, or several joined by ``+`` as one."""
    if name == NONE:
        return Switch(NONE, "nothing set")
    return _BY_NAME[name] if name in _BY_NAME else combine(name.split("+"))


def combine(names: Iterable[str]) -> Switch:
    """Return several switches as one, its name theirs joined by ``+``."""
    chosen = [_BY_NAME[name] for name in names]
    variables: dict[str, str] = {}
    for switch in chosen:
        for name, value in switch.variables.items():
            if variables.setdefault(name, value) != value:
                raise KeyError(name)
    return Switch(
        name="+".join(switch.name for switch in chosen),
        description="; ".join(switch.description for switch in chosen),
        variables=variables,
        statements=tuple(line for switch in chosen for line in switch.statements),
        check=" and ".join(f"({switch.check})" for switch in chosen if switch.check),
        parts=tuple(switch.name for switch in chosen),
    )


def compatible(names: Iterable[str]) -> bool:
    """Whether the switches can be set together: no two of them set the same thing."""
    touched = [what for name in names for what in (*_BY_NAME[name].variables, *map(_target, _BY_NAME[name].statements))]
    return len(set(touched)) == len(touched)


def _target(statement: str) -> str:
    """Return what a statement sets: ``torch.set_num_threads(1)`` and ``(2)`` set the same."""
    return statement.partition("=")[0].partition("(")[0].strip()


def applicable(device: str, in_force: Mapping[str, str], machine: str | None = None) -> tuple[Switch, ...]:
    """Return the switches that can change anything, in order.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``.
    in_force : mapping of str to str
        Environment variables that are set anyway; a switch that only says the same is left out.
    machine : str, optional
        As `platform.machine` has it; this machine's by default.
    """
    machine = machine or platform.machine()
    return tuple(
        switch
        for switch in SWITCHES
        if device in switch.devices
        and (not switch.machines or machine in switch.machines)
        and (switch.statements or any(in_force.get(name) != value for name, value in switch.variables.items()))
    )


def groups(switches: Iterable[Switch]) -> list[tuple[Mapping[str, str], tuple[Switch, ...]]]:
    """Return the processes that are needed: environment variables, and the switches that run under them in turn."""
    found: dict[tuple[tuple[str, str], ...], list[Switch]] = {}
    for switch in switches:
        found.setdefault(tuple(sorted(switch.variables.items())), []).append(switch)
    return [(dict(variables), tuple(members)) for variables, members in found.items()]


def try_apart(attempt: Try, switches: Sequence[Switch]) -> dict[str, Any]:
    """Return what `attempt` returns of every switch: their variables set, in a process for each set of variables.

    Parameters
    ----------
    attempt : callable
        Gets switches that share their variables; returns by name an entry with ``failed``, ``cases`` and ``passes``.
    switches : sequence of Switch
        To try.

    Raises
    ------
    CaptureError
        When it cannot be done even without a switch.
    """
    found: dict[str, Any] = {}
    for variables, members in groups(switches):
        found.update(_in_child(attempt, variables, members))
    return {switch.name: found[switch.name] for switch in switches}


def _in_child(attempt: Try, variables: Mapping[str, str], switches: Sequence[Switch]) -> dict[str, Any]:
    """Try switches that share their variables in a process of their own; one by one, if that process dies.

    A process that dies under a switch is an answer too: that switch failed. Without a switch it is an error.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, attempt, variables, switches))
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
        alone = [_in_child(attempt, variables, [switch]) for switch in switches]
        return {name: entry for found in alone for name, entry in found.items()}
    if switches[0].name == NONE:
        raise CaptureError(f"without any switch: {answer}")
    return {switches[0].name: {"failed": answer, "cases": {}, "passes": {}}}


def _answer(sender: Connection, attempt: Try, variables: Mapping[str, str], switches: Sequence[Switch]) -> None:
    """Try switches in a child, and send what was found, or why it could not be."""
    os.environ.update(variables)
    try:
        sender.send(attempt(switches))
    except Exception as error:
        sender.send(first_line(error))


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
