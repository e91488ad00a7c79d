"""Locks: what resolved on one day, with hashes, in the form that pip and uv both read.

A lock names no index and no local file, so that a mirror can serve it; the hashes say whether it served the same
bytes. Its header says which environment file it was made from: a lock that no longer fits is refused.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reportlib.environments.installer import Progress, UvFailedError, explain, run_uv, silent
from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import EnvironmentFileError

#: The only platform with wheels of every torch that reports are made for, in uv's words.
PLATFORM = "x86_64-unknown-linux-gnu"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.MULTILINE)
_MADE_FOR = re.compile(r"^# environment: sha256:([0-9a-f]{64})$", re.MULTILINE)
_ALLOWED = re.compile(r"\s*(#.*|--hash=sha256:[0-9a-f]{64}\s*\\?|[A-Za-z0-9][A-Za-z0-9._-]*==\S+(\s*;[^\\]+)?\s*\\?)?")


@dataclass(frozen=True)
class Lock:
    """A resolved environment.

    Attributes
    ----------
    text : str
        In requirements form, with hashes.
    pins : dict of str to str
        Canonical name to version.
    """

    text: str
    pins: dict[str, str]

    @property
    def digest(self) -> str:
        """Hash of the pins and hashes; comments do not count."""
        lines = (line.strip() for line in self.text.splitlines())
        content = "\n".join(line for line in lines if line and not line.startswith("#"))
        return hashlib.sha256(content.encode()).hexdigest()


def parse(text: str) -> Lock:
    """Return the lock that `text` holds."""
    return Lock(text, {canonicalize_name(name): version for name, version in _PIN.findall(text)})


def resolve(spec: EnvironmentSpec, *, prefer: Lock | None = None, progress: Progress = silent) -> Lock:
    """Resolve the ``pip`` part of an environment file as of now.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment file.
    prefer : Lock, optional
        Its versions are taken wherever they fit, so that two environments differ in no more than they must.
    progress : callable
        Gets a line each time something moves on.

    Returns
    -------
    Lock
        Nothing is written.

    Raises
    ------
    EnvironmentFileError
        When a version does not exist, or versions do not go together.
    EnvironmentCreationError
        When the package registry cannot be reached.
    """
    progress(f"resolving {spec.path.name}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "requirements.in")
        source.write_text("\n".join(spec.pip) + "\n", encoding="utf-8")
        found = Path(folder, "lock.txt")
        if prefer is not None:
            found.write_text(prefer.text, encoding="utf-8")  # uv keeps what the file that it writes already has
        try:
            run_uv(
                [
                    "pip", "compile", source, "--generate-hashes", "--no-header", "--no-annotate",
                    "--python-version", spec.python_minor, "--python-platform", PLATFORM,
                    "--no-emit-index-url", "--no-emit-find-links", "--output-file", found,
                ],
                progress=progress,
            )  # fmt: skip
        except UvFailedError as failure:
            raise explain(failure, spec.path) from failure
        return parse(found.read_text(encoding="utf-8"))


def write_lock(spec: EnvironmentSpec, *, like: EnvironmentSpec | None = None, progress: Progress = silent) -> Lock:
    """Resolve an environment file and write its lock beside it.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment file.
    like : EnvironmentSpec, optional
        Another one, whose lock's versions are taken wherever they fit.
    progress : callable
        Gets a line each time something moves on.

    Raises
    ------
    EnvironmentFileError, EnvironmentCreationError
        As `resolve`; a lock that is there stays as it is.
    """
    prefer = None if like is None else read_lock(like)
    return save_lock(spec, resolve(spec, prefer=prefer, progress=progress))


def save_lock(spec: EnvironmentSpec, resolved: Lock) -> Lock:
    """Write what an environment file was resolved to as the lock beside it, and return it with its header."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    header = (
        f"# What {spec.path.name} resolved to on {today},\n"
        f"# for CPython {spec.python_minor} on {PLATFORM}.\n"
        f"# Made by: reportlib env lock {spec.name}\n"
        f"# environment: sha256:{spec.pip_digest}\n"
    )
    lock = parse(header + resolved.text)
    spec.lock_path.parent.mkdir(exist_ok=True)
    partial = spec.lock_path.with_suffix(".partial")
    partial.write_text(lock.text, encoding="utf-8")
    partial.replace(spec.lock_path)
    return lock


def read_lock(spec: EnvironmentSpec) -> Lock:
    """Read the lock of an environment file and see that it fits.

    Raises
    ------
    EnvironmentFileError
        When there is none, it is for another platform, was made from something else than the file now says, or
        holds a line that no lock has.
    """
    path = spec.lock_path
    mend = f"run `reportlib env lock {spec.name}`, or leave the lock aside with --no-lock"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EnvironmentFileError(f"there is no lock {path}", mend) from error
    here = (platform.system(), platform.machine())
    if here != ("Linux", "x86_64"):
        raise EnvironmentFileError(f"{path} is for Linux on x86-64; this is {here[0]} on {here[1]}", "use --no-lock")
    for number, line in enumerate(text.splitlines(), 1):
        # A line with an address or an option could bring in packages from anywhere.
        if not _ALLOWED.fullmatch(line):
            raise EnvironmentFileError(f"{path}, line {number}: {line!r} has no place in a lock", mend)
    lock = parse(text)
    made_for = _MADE_FOR.search(text)
    if made_for is None or made_for[1] != spec.pip_digest:
        differing = "; ".join(_differences(spec, lock)) or "it was made from another environment file"
        raise EnvironmentFileError(f"{path} no longer fits {spec.path.name}: {differing}", mend)
    return lock


def _differences(spec: EnvironmentSpec, lock: Lock) -> list[str]:
    found = []
    for requirement in map(Requirement, spec.pip):
        locked = lock.pins.get(canonicalize_name(requirement.name))
        if locked is None:
            found.append(f"{requirement.name} is not in the lock")
        elif not requirement.specifier.contains(locked, prereleases=True):
            found.append(f"the file asks for {requirement}, the lock has {locked}")
    return found
