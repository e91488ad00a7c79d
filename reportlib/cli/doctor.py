"""`reportlib doctor`: what this machine can do, and what the default study will do on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reportlib import study
from reportlib.capture.preflight import cpu_name, instruction_sets, nvcc_version
from reportlib.cli import Json, print_json
from reportlib.environments import backends
from reportlib.environments.backends import installed_python
from reportlib.environments.record import EnvironmentRecord, examine, kernel_names, records
from reportlib.environments.spec import EnvironmentSpec, find_uv, load_spec, spec_names
from reportlib.errors import CompilerError, EnvironmentCreationError, EnvironmentFileError
from reportlib.store import project_home

#: Seconds that a conda channel is waited for; making an environment waits longer.
_PATIENCE = 2.0
_STYLES = {"ok": "green", "missing": "bold red", "note": "default"}
DEFAULT_STUDY = Path("reports", "torch-2.0.1-vs-2.1.0", "study.toml")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
        What was looked at.
    state : str
        ``ok``, ``missing``, or ``note`` for what is neither good nor bad.
    text : str
        What was found, in words.
    value : object
        The same for programs, ready for JSON.
    """

    topic: str
    state: str
    text: str
    value: Any = None


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and the sentences that follow from them."""

    findings: tuple[Finding, ...]
    outlook: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the diagnosis, ready for JSON."""
        return asdict(self)

    def value(self, topic: str) -> Any:
        """Return the value of the finding on `topic`."""
        return next(finding.value for finding in self.findings if finding.topic == topic)


def diagnose(root: Path, home: Path, *, measure: bool = False) -> Diagnosis:
    """Look at this machine."""
    made = records(home)
    findings = (
        Finding("cpu", "note", f"{cpu_name()}, {os.cpu_count()} logical cores", cpu_name()),
        _instruction_sets(),
        _bfloat16(made, home, measure=measure),
        _gpus(),
        _nvcc(),
        _compiler(),
        _uv(),
        _pythons(root),
        _channels(root),
        _disk(home),
        _environments(root, made),
        _kernels(home),
    )
    return Diagnosis(findings, _outlook(root, Diagnosis(findings, ()), made))


def _instruction_sets() -> Finding:
    sets = instruction_sets()
    text = ", ".join(sets) or f"{platform.system()} does not say"
    return Finding("instruction sets", "note", text, list(sets))


def _bfloat16(made: Sequence[EnvironmentRecord], home: Path, *, measure: bool) -> Finding:
    """Measure bfloat16 in every environment made: versions of torch differ in what they make of one CPU."""
    if made and not measure:
        return Finding("bfloat16", "note", "not measured: `reportlib doctor --measure` does", None)
    speeds: dict[str, str] = {}
    parts = []
    for record in made:
        try:
            found = examine(record, home, "cpu")
        except EnvironmentCreationError as error:
            return Finding("bfloat16", "missing", error.what, None)
        speeds[record.name] = found["bfloat16"]
        parts.append(f"{found['bfloat16']} in {record.name} ({found['bfloat16_ratio']:.2f} times as long as float32)")
    text = "; ".join(parts) or "not measured: no environment is made yet"
    return Finding("bfloat16", "note", text, speeds or None)


def _gpus() -> Finding:
    command = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return Finding("gpu", "note", "none (nvidia-smi finds none); studies run on the CPU", [])
    found = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return Finding("gpu", "ok", "; ".join(found), found)


def _nvcc() -> Finding:
    version = nvcc_version()
    text = f"CUDA {version}" if version else "none; only a GPU needs it"
    return Finding("nvcc", "note", text, version)


def _compiler() -> Finding:
    try:
        backends.require_compiler()
    except CompilerError as error:
        return Finding("c++ compiler", "missing", f"{error.what}; {error.mend}", False)
    program = shutil.which(os.environ.get("CXX", "c++"))
    return Finding("c++ compiler", "ok", f"{program} works", True)


def _uv() -> Finding:
    program = find_uv()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return Finding("uv", "ok" if done.returncode == 0 else "missing", done.stdout.strip(), done.stdout.strip())


def _specs(root: Path) -> list[EnvironmentSpec]:
    found = []
    for name in spec_names(root):
        try:
            found.append(load_spec(name, root))
        except EnvironmentFileError:
            continue  # `_environments` names it
    return found


def _pythons(root: Path) -> Finding:
    """Look for the Pythons that the environment files pin, which need not be the host's."""
    wanted = sorted({spec.python_minor for spec in _specs(root)})
    there = {version: str(installed_python(version) or "") for version in wanted}
    parts = [f"{version}: {path or 'none here; conda or uv has to bring it'}" for version, path in there.items()]
    return Finding("environments' python", "note", "; ".join(parts) or "no environment file names one", there)


def _channels(root: Path) -> Finding:
    wanted = sorted({channel for spec in _specs(root) for channel in backends.channels(spec)})
    if not wanted:
        return Finding("conda channels", "note", "no environment file names one", {})
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        answers = pool.map(partial(backends.unreachable, timeout=_PATIENCE), wanted)
        reasons = dict(zip(wanted, answers, strict=True))
    bad = [f"{channel} ({reason})" for channel, reason in reasons.items() if reason]
    reached = {channel: not reason for channel, reason in reasons.items()}
    if bad:
        text = f"cannot be reached: {', '.join(bad)}; environments are made with uv"
        return Finding("conda channels", "note", text, reached)
    return Finding("conda channels", "ok", f"reached: {', '.join(wanted)}", reached)


def _disk(home: Path) -> Finding:
    free = backends.free_bytes(home)
    text = f"{free / backends.GIB:.1f} GiB free for {home}; an environment takes about 5 GiB"
    return Finding("disk", "ok" if free > backends.TORCH_ENVIRONMENT else "missing", text, free)


def _environments(root: Path, made: Sequence[EnvironmentRecord]) -> Finding:
    there = {record.name: record for record in made}
    parts, bad = [], []
    for name in spec_names(root):
        try:
            spec = load_spec(name, root)
        except EnvironmentFileError as error:
            bad.append(error.what)
            continue
        record = there.get(name)
        if record is None:
            parts.append(f"{name} not made")
        else:
            fits = "made" if record.spec_digest == spec.digest else "made from an older file"
            parts.append(f"{name} {fits} with {record.backend}")
    text = "; ".join([*parts, *bad]) or "there is no environment file here"
    return Finding("environments", "missing" if bad else "note", text, sorted(there))


def _kernels(home: Path) -> Finding:
    names = kernel_names(home)
    return Finding("kernels", "note", ", ".join(names) or "none yet", names)


def _outlook(root: Path, diagnosis: Diagnosis, made: Sequence[EnvironmentRecord]) -> tuple[str, ...]:
    """Say in plain sentences what the default study will do here."""
    path = root / DEFAULT_STUDY
    if not path.exists():
        return (f"There is no default study here ({DEFAULT_STUDY}); run this in the project's folder.",)
    chosen = study.load(path)
    counts = [
        f"{precision} over {'all' if count == 0 else count} passages" for precision, count in chosen.passages.items()
    ]
    device = "CPU" if chosen.device == "cpu" else "GPU"
    first = f"The default study compares {' with '.join(chosen.environments)} on the {device}: {' and '.join(counts)}."
    return (first, *_preparation(chosen, diagnosis, made), *_speed(chosen, diagnosis))


def _preparation(chosen: study.Study, diagnosis: Diagnosis, made: Sequence[EnvironmentRecord]) -> tuple[str, ...]:
    there = {record.name for record in made}
    missing = [name for name in chosen.environments if name not in there]
    if not missing:
        return ()
    channels = diagnosis.value("conda channels")
    backend = "from conda channels" if channels and all(channels.values()) else "with uv"
    sentence = f"It first makes {' and '.join(missing)} {backend}."
    absent = [version for version, path in diagnosis.value("environments' python").items() if not path]
    if backend == "with uv" and absent:
        sentence += f" For that uv has to download Python {' and '.join(absent)}: this machine has none."
    needed = len(missing) * backends.TORCH_ENVIRONMENT
    if diagnosis.value("disk") < needed:
        sentence += f" The disk has no room for that: about {needed / backends.GIB:.0f} GiB are needed."
    return (sentence,)


def _speed(chosen: study.Study, diagnosis: Diagnosis) -> tuple[str, ...]:
    if chosen.device != "cpu" or "autocast" not in chosen.passages:
        return ()
    speeds = diagnosis.value("bfloat16")
    if not speeds:
        return (
            "Whether bfloat16 is fast on this CPU shows `reportlib doctor --measure`, once an environment is made.",
        )
    slow = [name for name, speed in speeds.items() if speed == "emulated"]
    if slow:
        return (f"bfloat16 is emulated in {' and '.join(slow)}: the autocast arms there take longest.",)
    return ("bfloat16 is native on this CPU: the autocast arms are not slowed down by it.",)


def doctor(
    measure: Annotated[bool, typer.Option("--measure", help="Also time bfloat16 in every environment.")] = False,
    as_json: Json = False,
) -> None:
    """Say what this machine can do, and what the default study will do on it."""
    diagnosis = diagnose(Path.cwd(), project_home(), measure=measure)
    if as_json:
        print_json(diagnosis.as_json())
        return
    table = Table("what", "found")
    for finding in diagnosis.findings:
        table.add_row(finding.topic, escape(finding.text), style=_STYLES[finding.state])
    console = Console()
    console.print(table)
    for sentence in diagnosis.outlook:
        console.print(escape(sentence))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(doctor)
