"""Environment files and their locks: what is asked for, and what that resolved to on one day."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uv
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from reportlib.errors import (
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
    PinsConflictError,
    ReportlibError,
)
from reportlib.store import write_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PREFIX, _SUFFIX = "environment-", ".yml"
#: Beside the files in the project's own folder: those of further environments, and every lock.
FOLDER = "environments"
#: What conda writes for "the package python of this version": python=3.11.11, python==3.11.11, python 3.11.11.
_PYTHON = re.compile(r"python\s*(?:==?|\s)\s*(\d+\.\d+(?:\.\d+)?)(?:=\S+|\.\*)?")


@dataclass(frozen=True)
class EnvironmentSpec:
    """What an environment file asks for.

    Attributes
    ----------
    name : str
        Of the environment, of its prefix and of its kernel.
    path : Path
        The file.
    channels : tuple of str
        conda channels in order of preference.
    conda : tuple of str
        conda's match specs as written.
    pip : tuple of str
        Requirements as written.
    python : str
        The pinned version: ``3.11.11``, or ``3.11`` when the file leaves the rest open.
    """

    name: str
    path: Path
    channels: tuple[str, ...]
    conda: tuple[str, ...]
    pip: tuple[str, ...]
    python: str

    @property
    def python_minor(self) -> str:
        """Major and minor version: ``3.11``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def lock_path(self) -> Path:
        """Where the lock belongs: in `FOLDER`, wherever of the two places the file is in."""
        folder = self.path.parent
        return (folder if folder.name == FOLDER else folder / FOLDER) / f"{self.path.stem}.lock.txt"

    @property
    def digest(self) -> str:
        """Hash of everything the file asks for; comments and order of keys do not count."""
        return _digest({"channels": self.channels, "conda": self.conda, "pip": sorted(self.pip)})

    @property
    def pip_digest(self) -> str:
        """Hash of what a lock depends on: Python's minor version and the ``pip`` part."""
        return _digest({"python": self.python_minor, "pip": sorted(self.pip)})

    @property
    def pins(self) -> dict[str, str]:
        """Exactly pinned pip packages: canonical name to version."""
        found: dict[str, str] = {}
        for text in self.pip:
            requirement = Requirement(text)
            exact = [s.version for s in requirement.specifier if s.operator == "=="]
            if len(exact) == 1 and not exact[0].endswith(".*"):
                found[canonicalize_name(requirement.name)] = exact[0]
        return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def spec_names(root: Path) -> list[str]:
    """Return the names of the environment files of the project `root`, sorted."""
    files = [file for folder in (root, root / FOLDER) for file in folder.glob(f"{_PREFIX}*{_SUFFIX}")]
    return sorted({file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for file in files})


def load_spec(name: str, root: Path, *, required: tuple[str, ...] = ("torch",)) -> EnvironmentSpec:
    """Read ``environment-<name>.yml``.

    Parameters
    ----------
    name : str
        Of the environment.
    root : Path
        The project: the file lies in it, or in its `FOLDER`.
    required : tuple of str
        Packages that must be pinned exactly in the ``pip`` part.

    Returns
    -------
    EnvironmentSpec

    Raises
    ------
    EnvironmentFileError
        When the file is missing, lies in both places, is not YAML, or asks for something that makes no sense; the
        message names it.
    """
    if not _NAME.fullmatch(name):
        raise EnvironmentFileError(
            f"{name!r} cannot be the name of an environment",
            "use letters, digits, '-', '_' and '.'",
        )
    path, other = (folder / f"{_PREFIX}{name}{_SUFFIX}" for folder in (root, root / FOLDER))
    if path.is_file() and other.is_file():
        raise EnvironmentFileError(f"{path} and {other} are both there", "remove one of them")
    path = other if other.is_file() else path
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(spec_names(root)) or "none"
        raise EnvironmentFileError(
            f"there is no environment file {path}",
            f"write it, or use one that is there: {there}",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path} is not YAML: {error}") from error
    spec = _Reader(path).spec(name, content)
    for package in required:
        if canonicalize_name(package) not in spec.pins:
            raise EnvironmentFileError(
                f"{path}: dependencies: pip: {package} is not pinned to one version",
                f"write a line such as '- {package}==2.1.0' under 'pip:'",
            )
    return spec


class _Reader:
    """Turns the file's content into a record, naming the file and key in every complaint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, key: str, what: str, mend: str | None = None) -> EnvironmentFileError:
        return EnvironmentFileError(f"{self.path}: {key}: {what}", mend)

    def strings(self, value: Any, key: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(key, "must be a list of strings")
        return tuple(" ".join(v.split()) for v in value)

    def spec(self, name: str, content: Any) -> EnvironmentSpec:
        if not isinstance(content, dict):
            raise EnvironmentFileError(f"{self.path} holds no environment", "it needs name, channels and dependencies")
        for key in content:
            if key not in ("name", "channels", "dependencies"):
                raise self.fail(str(key), "is not a key", "use name, channels and dependencies")
        if content.get("name") != name:
            raise self.fail("name", f"is {content.get('name')!r}, but the file's own name says {name!r}")
        dependencies = content.get("dependencies")
        if not isinstance(dependencies, list):
            raise self.fail("dependencies", "must be a list")
        conda = self.strings([d for d in dependencies if not isinstance(d, dict)], "dependencies")
        return EnvironmentSpec(
            name=name,
            path=self.path,
            channels=self.strings(content.get("channels", []), "channels"),
            conda=conda,
            pip=self.pip([d for d in dependencies if isinstance(d, dict)]),
            python=self.python(conda),
        )

    def pip(self, tables: list[dict[str, Any]]) -> tuple[str, ...]:
        if len(tables) > 1 or any(set(table) != {"pip"} for table in tables):
            raise self.fail("dependencies", "may hold one table, and its only key is 'pip'")
        requirements = self.strings(tables[0]["pip"], "dependencies: pip") if tables else ()
        seen = set()
        for text in requirements:
            try:
                name = canonicalize_name(Requirement(text).name)
            except InvalidRequirement as error:
                raise self.fail(
                    "dependencies: pip",
                    f"{text!r} is not a requirement",
                    "write name==version; options such as -r or --index-url do not belong here",
                ) from error
            if name in seen:
                raise self.fail("dependencies: pip", f"names {name} twice")
            seen.add(name)
        return requirements

    def python(self, conda: tuple[str, ...]) -> str:
        for text in conda:
            match = _PYTHON.fullmatch(text)
            if match:
                return match[1]
        raise self.fail("dependencies", "Python is not pinned", "write a line such as '- python=3.11.11'")


# Locks: what resolved on one day, with hashes, in the form that pip and uv both read.
#
# A lock names no index and no local file, so that a mirror can serve it; the hashes say whether it served the same
# bytes. Its header says which environment file it was made from: a lock that no longer fits is refused.

# Run uv, and turn what it complains about into errors that name the mend.

#: Called with one short line each time something moves on.
Progress = Callable[[str], None]

#: What uv says that tells nobody anything: one line a package after installing all of them, and advice on its own use.
_CHATTER = re.compile(r"\s*(\+ |Using Python|Activate with|error:|cause:|$)")
_NO_SPACE = "No space left on device"
_NO_VERSION = re.compile(r"no version of ([A-Za-z0-9._-]+)\s*==\s*([^\s,]+)")
_NO_PACKAGE = re.compile(r"([A-Za-z0-9._-]+) was not found in the package registry")
_NO_NETWORK = re.compile(r"dns error|error sending request|Failed to fetch|Connection refused|Network connectivity")


class UvFailedError(Exception):
    """uv ended with an error; its standard error output is the message."""


def silent(line: str) -> None:
    """Take no notice of progress."""
    del line


def find_uv() -> str:
    """Return the path of the uv program that comes with the package `uv`."""
    return uv.find_uv_bin()


def run_uv(
    arguments: Sequence[str | Path],
    *,
    progress: Progress = silent,
    keep_open: Sequence[int] = (),
) -> str:
    """Run uv and return its standard output.

    Parameters
    ----------
    arguments : sequence of str or Path
        After ``uv``.
    progress : callable
        Gets what uv writes to standard error, line by line.
    keep_open : sequence of int
        File descriptors that uv inherits.

    Raises
    ------
    UvFailedError
        When uv ends with an error.
    """
    command = [find_uv(), *map(str, arguments)]
    lines: list[str] = []
    # A file, not a second pipe: nobody would empty that one while this reads standard error.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=tuple(keep_open),
        ) as process,
    ):
        try:
            assert process.stderr is not None  # noqa: S101  (for the type checker)
            for line in process.stderr:
                lines.append(line.rstrip())
                if not _CHATTER.match(line):
                    progress(line.strip())
        except BaseException:
            process.terminate()
            raise
        process.wait()
        output.seek(0)
        said = output.read()
    if process.returncode != 0:
        raise UvFailedError("\n".join(lines))
    return said


def explain(failure: UvFailedError, path: Path) -> ReportlibError:
    """Return the error that tells a user why uv failed."""
    # uv wraps its explanations at the width of a terminal, and colours them when it thinks it has one.
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(failure)).split())
    if _NO_SPACE in said:
        return DiskSpaceError(
            f"the disk ran full while packages were installed for {path.name}",
            "make room (`uv cache clean` frees what uv keeps for later), then run it again",
        )
    missing = _NO_VERSION.search(said)
    if missing:
        name, version = missing[1], missing[2].rstrip(".")
        near = _nearest(name, version)
        return EnvironmentFileError(
            f"{path}: {name} has no version {version} that fits",
            f"the nearest that exist are {near}" if near else "look up its versions",
        )
    unknown = _NO_PACKAGE.search(said)
    if unknown:
        return EnvironmentFileError(f"{path}: there is no package {unknown[1]}", "check its name")
    if "No solution found" in said:
        return PinsConflictError(f"{path} asks for versions that do not go together:\n{failure}")
    if "Hash mismatch" in said or "hash mismatch" in said:
        return EnvironmentCreationError(
            f"a package is not the file that the lock of {path.name} knows:\n{_tail(failure)}",
            "find out where it came from; `reportlib env lock` trusts what is there now",
        )
    if _NO_NETWORK.search(said):
        return EnvironmentCreationError(
            f"the package registry cannot be reached:\n{_tail(failure)}",
            "check the network, or name your mirror in UV_DEFAULT_INDEX",
        )
    return EnvironmentCreationError(f"uv could not install {path.name}:\n{_tail(failure)}")


def _tail(failure: UvFailedError, lines: int = 15) -> str:
    return "\n".join(str(failure).strip().splitlines()[-lines:])


def _nearest(name: str, version: str) -> str:
    """Return the highest version below and the lowest above, as uv's own index has them."""
    found = []
    for bound, strategy in (("<", "highest"), (">", "lowest")):
        command = [find_uv(), "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate"]
        done = subprocess.run(
            [*command, "--quiet", "--resolution", strategy],
            input=f"{name}{bound}{version}",
            capture_output=True,
            text=True,
            check=False,
        )
        pin = re.search(r"==(\S+)", done.stdout)
        if done.returncode == 0 and pin:
            found.append(pin[1])
    return " and ".join(found)


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
                    "pip", "compile", source, "--no-header", "--no-annotate",
                    "--python-version", spec.python_minor, "--python-platform", PLATFORM,
                    "--no-emit-index-url", "--no-emit-find-links", "--output-file", found,
                ],
                progress=progress,
            )  # fmt: skip
            return parse(_hashed(found, spec.python_minor))
        except UvFailedError as failure:
            raise explain(failure, spec.path) from failure


def _hashed(pins: Path, python: str) -> str:
    """Return pinned requirements with the hashes of the files that fit here: those of other platforms are no use."""
    files = pins.with_name("pylock.toml")
    run_uv(["pip", "compile", pins, "--no-deps", "--no-header", "--python-version", python,
            "--python-platform", PLATFORM, "--output-file", files])  # fmt: skip
    fits = _tags(python)
    lines = []
    for package in sorted(tomllib.loads(files.read_text(encoding="utf-8"))["packages"], key=itemgetter("name")):
        wheels = [
            file for file in package.get("wheels", []) if not fits.isdisjoint(parse_wheel_filename(_name(file))[3])
        ]
        hashes = sorted(file["hashes"]["sha256"] for file in wheels or [package["sdist"]])
        lines += [" \\\n    --hash=sha256:".join([f"{package['name']}=={package['version']}", *hashes])]
    return "\n".join(lines) + "\n"


def _name(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or unquote(str(file["url"]).rpartition("/")[2]))


def _tags(python: str) -> frozenset[Tag]:
    """Return the tags of wheels that CPython `python` takes on `PLATFORM`, whatever its C library."""
    version = [int(number) for number in python.split(".")]
    glibc = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 60)]
    platforms = [*glibc, *(f"manylinux{year}_x86_64" for year in (1, 2010, 2014)), "linux_x86_64"]
    interpreter = f"cp{''.join(map(str, version))}"
    return frozenset([*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)])


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
    write_text(spec.lock_path, lock.text)
    return lock


def read_lock(spec: EnvironmentSpec) -> Lock:
    """Read the lock of an environment file and see that it fits."""
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
