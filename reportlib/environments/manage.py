"""Make, adopt and remove environments, so that nothing half-made is ever taken for one.

A prefix cannot be moved, so it is filled in place; what makes it an environment is its description, written when
everything else is done. A prefix without one is what a killed creation left, and goes before the next begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reportlib.capture.preflight import CANNOT_ENCODE
from reportlib.environments import backends
from reportlib.environments.backends import MEND_COMPILER, Backend, Order
from reportlib.environments.record import (
    EnvironmentRecord,
    find_record,
    inspect,
    load_record,
    process_environment,
    record_path,
    records,
    remove_kernel,
    share_package,
    write_kernel,
)
from reportlib.environments.spec import EnvironmentSpec, Lock, Progress, read_lock, resolve, silent
from reportlib.errors import CompilerError, EnvironmentCreationError

#: What `reportlib.trace` imports, and the oldest Python that can.
_RECORDING, _OLDEST_PYTHON = frozenset({"torch", "numpy", "safetensors", "blake3"}), (3, 11)

# One process at a time works on the environments of a project.


@contextlib.contextmanager
def only_one(home: Path, progress: Progress) -> Iterator[int]:
    """Let one process at a time work on the environments of `home`; yield the lock's file descriptor.

    Child processes that fill a prefix inherit the descriptor. So when this process is killed and its uv is not,
    the lock is held until uv ends too, and the next creation never works on a prefix beside it. That is why this is
    flock(2) itself: the package filelock does not give its descriptor away.
    """
    folder = home / "envs"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that works on the environments here")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


# See that a prefix holds what its environment file pins.


def require_fit(spec: EnvironmentSpec, prefix: Path, held: dict[str, Any]) -> None:
    """Raise when a prefix does not hold what the file pins."""
    wrong = misfits(spec, held["python"], held["packages"])
    installed = {canonicalize_name(name) for name in held["packages"]}
    wrong += [
        f"{name} is not installed, the file pins {version}"
        for name, version in spec.pins.items()
        if name not in installed
    ]
    if wrong:
        raise EnvironmentCreationError(
            f"{prefix} is not what {spec.path.name} asks for: {'; '.join(wrong)}",
            f"make the prefix with `conda env create -f {spec.path.name}`",
        )


def misfits(spec: EnvironmentSpec, python: str | None, packages: Mapping[str, str | None]) -> list[str]:
    """Return in what a Python and packages are not what the file pins; what is not known is not held against them."""
    wrong = []
    if python is not None and python.split(".")[:2] != spec.python_minor.split("."):
        wrong.append(f"python is {python}, the file pins {spec.python}")
    known: dict[str, str | None] = {canonicalize_name(name): version for name, version in packages.items()}
    for name, pinned in spec.pins.items():
        version = known.get(name)
        if version is not None and not _same_version(version, pinned):
            wrong.append(f"{name} is {version}, the file pins {pinned}")
    return wrong


def _same_version(installed_version: str, pinned: str) -> bool:
    """Compare versions; a build's label (``2.0.1+cu118``) counts only where the pin has one."""
    try:
        installed, wanted = Version(installed_version), Version(pinned)
    except InvalidVersion:
        return installed_version == pinned
    return installed == wanted or (wanted.local is None and installed.public == wanted.public)


# Compile colbert-ai's extensions once for an environment, so that no capture has to wait for it.


def compile_extensions(record: EnvironmentRecord, home: Path, threads: int, progress: Progress) -> EnvironmentRecord:
    """Compile colbert-ai's extensions inside the environment, see that it encodes, and record that it is done."""
    with only_one(home, progress) as descriptor:
        progress("compiling colbert-ai's extensions (once for each environment)")
        # A compilation that was killed leaves torch's own lock file there, on which the next would wait for ever.
        shutil.rmtree(record.extensions_folder(home), ignore_errors=True)
        done = subprocess.run(
            [record.python_program, "-m", "reportlib.capture.preflight", "--compile"],
            env=process_environment(record, home, threads=threads),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            pass_fds=(descriptor,),
        )
    if done.returncode == CANNOT_ENCODE:
        raise EnvironmentCreationError(
            f"{record.name}: {done.stderr.strip().splitlines()[-1]}",
            f"pin a version in the environment file that colbert-ai goes with, or remove {record.name} from the study",
        )
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise CompilerError(
            f"colbert-ai's extensions could not be compiled in {record.name}:\n{tail}",
            f"{MEND_COMPILER}; what is installed stays, and `reportlib env create {record.name}` goes on",
        )
    finished = replace(record, extensions=True)
    finished.write(home)
    return finished


@dataclass(frozen=True)
class Creation:
    """What `create` or `adopt` did.

    Attributes
    ----------
    record : EnvironmentRecord
        The environment.
    made : bool
        False when it was there already, just so.
    """

    record: EnvironmentRecord
    made: bool


def create(
    spec: EnvironmentSpec,
    home: Path,
    *,
    backend: str = backends.PREFERENCE,
    locked: bool = True,
    extensions: bool = True,
    threads: int = 2,
    check_space: bool = True,
    progress: Progress = silent,
) -> Creation:
    """Make an environment, or find that it is made.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment file.
    home : Path
        The project's folder for environments; the prefix is ``<home>/envs/<name>``.
    backend : str
        Preference string; the first that can be used here wins.
    locked : bool
        Install from the lock beside the file; otherwise resolve the file as of now.
    extensions : bool
        Compile colbert-ai's extensions as well.
    threads : int
        For the environment's kernel.
    check_space : bool
        Refuse to begin on a disk without room.
    progress : callable
        Gets a line each time something moves on.

    Returns
    -------
    Creation

    Raises
    ------
    EnvironmentFileError, EnvironmentCreationError
        When the file, its lock, the channels or the registry do not give an environment.
    CompilerError
        When the extensions cannot be compiled. If they fail after everything was installed, the environment stays
        and the next creation only compiles.
    DiskSpaceError
        When there is no room.
    """
    lock = read_lock(spec) if locked else None
    wanted = backends.parse_preference(backend)
    record = _reusable(spec, home, lock, wanted)
    if record is None:
        chosen, reason = backends.choose(backend, spec)
        if extensions:
            chosen.require_compiler(spec)
        if check_space:
            backends.require_space(spec, home)
        with only_one(home, progress) as descriptor:
            # Another process may have made it while this one waited.
            record = _reusable(spec, home, lock, wanted)
            made = record is None
            if record is None:
                lock = lock or resolve(spec, progress=progress)
                record = _build(spec, home, chosen, lock, progress, descriptor)
                recorded_lock = lock.digest if locked else ""
                record = replace(record, lock_digest=recorded_lock, backend_reason=reason)
                write_kernel(record, home, threads=threads)
                record.write(home)
    else:
        made = False
    write_kernel(record, home, threads=threads)
    if extensions and not record.extensions:
        record = compile_extensions(record, home, threads, progress)
    return Creation(record, made)


def _reusable(spec: EnvironmentSpec, home: Path, lock: Lock | None, wanted: list[str]) -> EnvironmentRecord | None:
    """Return the environment that is there if it is what is asked for."""
    record = find_record(spec.name, home)
    if record is None:
        return None
    same_file = record.spec_digest == spec.digest
    if record.backend == "adopted":
        if same_file:
            return record
        raise EnvironmentCreationError(
            f"{spec.path.name} has changed since {record.prefix} was adopted as {spec.name}",
            f"adopt a prefix that fits it, or run `reportlib env remove {spec.name}` and create it",
        )
    same_lock = record.lock_digest == (lock.digest if lock else "")
    return record if same_file and same_lock and record.backend in wanted else None


def _build(
    spec: EnvironmentSpec,
    home: Path,
    backend: Backend,
    lock: Lock,
    progress: Progress,
    descriptor: int,
) -> EnvironmentRecord:
    """Fill a fresh prefix; leave none behind when that fails or is interrupted."""
    prefix = home / "envs" / spec.name
    _forget(spec.name, home)
    if prefix.exists():
        progress(f"removing what is left of an earlier {spec.name}")
        shutil.rmtree(prefix)
    try:
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder, "requirements.txt")
            requirements.write_text(lock.text, encoding="utf-8")
            order = Order(spec, requirements, prefix, progress, (descriptor,))
            skipped = backend.fill(order)
        held = inspect(prefix)
        require_fit(spec, prefix, held)
    except BaseException:
        _clear(prefix)
        raise
    return _describe(spec.name, spec.digest, prefix, backend.name, held, skipped)


def _describe(
    name: str,
    spec_digest: str,
    prefix: Path,
    backend: str,
    held: dict[str, Any],
    skipped: tuple[str, ...],
) -> EnvironmentRecord:
    return EnvironmentRecord(
        name=name,
        prefix=str(prefix),
        backend=backend,
        spec_digest=spec_digest,
        python=held["python"],
        torch=held["packages"].get("torch", ""),
        packages=dict(sorted(held["packages"].items())),
        conda_packages=held["conda_packages"],
        skipped=skipped,
    )


def adopt(
    spec: EnvironmentSpec,
    prefix: Path,
    home: Path,
    *,
    threads: int = 2,
    progress: Progress = silent,
) -> Creation:
    """Take a prefix that the user made, with conda or otherwise, for an environment.

    Nothing is ever written into it or removed from it.

    Raises
    ------
    EnvironmentCreationError
        When it has no working Python, does not hold what the file pins, or is another environment already; nothing
        is changed then.
    """
    prefix = prefix.absolute()
    progress(f"looking at {prefix}")
    held = inspect(prefix)
    require_fit(spec, prefix, held)
    with only_one(home, progress):
        there = find_record(spec.name, home)
        if there is not None and there.backend != "adopted":
            raise EnvironmentCreationError(
                f"there is already an environment {spec.name}, made by {there.backend}",
                f"run `reportlib env remove {spec.name}` first",
            )
        if other := next(
            (r.name for r in records(home) if r.name != spec.name and Path(r.prefix).resolve() == prefix.resolve()),
            None,
        ):
            raise EnvironmentCreationError(
                f"{prefix} is the environment {other} already",
                "an environment has one name; adopt a prefix of its own",
            )
        record = _describe(spec.name, spec.digest, prefix, "adopted", held, ())
        if there is not None:
            record = replace(record, extensions=there.extensions and there.prefix == record.prefix)
        write_kernel(record, home, threads=threads)
        record.write(home)
    return Creation(record, there != record)


def by_prefix(prefix: Path, home: Path) -> EnvironmentRecord:
    """Return the environment that a prefix is; one without an environment file is described as it is now.

    It is called after its folder, gets no kernel, and holds whatever the user put there: torch alone is enough to
    record a module's operations.
    """
    prefix = prefix.absolute()
    there = next((r for r in records(home) if Path(r.prefix).resolve() == prefix.resolve()), None)
    if there is not None and there.spec_digest:
        return there
    held = inspect(prefix)
    if tuple(map(int, held["python"].split(".")[:2])) < _OLDEST_PYTHON:
        raise EnvironmentCreationError(
            f"{prefix} has Python {held['python']}",
            f"make it with Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer",
        )
    lacking = sorted(_RECORDING - {canonicalize_name(name) for name in held["packages"]})
    if lacking:
        raise EnvironmentCreationError(
            f"{prefix} lacks {', '.join(lacking)}", f"run `{prefix}/bin/python -m pip install {' '.join(lacking)}`"
        )
    own = prefix.parent if prefix.name.strip(".") in {"venv", "env"} else prefix
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", own.name.strip("."))
    taken = {record.name for record in records(home) if record != there}
    name = next(each for n in itertools.count(1) if (each := name if n == 1 else f"{name}-{n}") not in taken)
    record = _describe(there.name if there else name, "", prefix, "adopted", held, ())
    share_package(home)
    record.write(home)
    return record


def remove(name: str, home: Path, *, progress: Progress = silent) -> EnvironmentRecord:
    """Remove an environment with its prefix, extensions and kernel; of an adopted one, all but its prefix.

    Raises
    ------
    EnvironmentCreationError
        When no environment of that name is made, or its prefix cannot be removed.
    """
    record = load_record(name, home)
    with only_one(home, progress):
        _forget(name, home)
        if record.backend != "adopted":
            progress(f"removing {record.prefix}")
            shutil.rmtree(record.prefix, ignore_errors=True)
            if Path(record.prefix).exists():
                raise EnvironmentCreationError(
                    f"{name} is no environment any more, but not all of {record.prefix} could be removed",
                    f"remove the rest by hand: rm -rf {shlex.quote(record.prefix)}",
                )
    return record


def _clear(prefix: Path, seconds: float = 10) -> None:
    """Remove a half-made prefix for good: when py-rattler raises, its threads may still be linking another package."""
    deadline = time.monotonic() + seconds
    while prefix.exists() and time.monotonic() < deadline:
        shutil.rmtree(prefix, ignore_errors=True)
        time.sleep(0.2)


def _forget(name: str, home: Path) -> None:
    """Remove all that says the environment is there, the description first."""
    record_path(name, home).unlink(missing_ok=True)
    remove_kernel(name, home)
    shutil.rmtree(home / "extensions" / name, ignore_errors=True)
