"""Environment files for further versions of torch, made from the nearest one that the project has.

Two environments of a study must differ in torch and in what torch brings, or every difference has a rival explanation.
So the new file has the pins of an existing one, and its lock keeps every version of that one's lock that still fits.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reportlib.environments.cuda_lines import wheel_cuda, with_cuda
from reportlib.environments.installer import Progress, silent
from reportlib.environments.lock import Lock, parse, resolve, save_lock
from reportlib.environments.spec import FOLDER, EnvironmentSpec, load_spec, spec_names
from reportlib.errors import EnvironmentCreationError, EnvironmentFileError, PinsConflictError

#: What is unpinned, step by step, where a version of torch does not go with a pin. The last step leaves only what
#: computes: torch, colbert-ai, faiss and the model's own code.
_LOOSENED: tuple[tuple[str, ...], ...] = (
    (),
    ("setuptools",),
    ("setuptools", "fsspec", "datasets", "dill", "multiprocess", "huggingface-hub", "ninja", "ipykernel", "scipy"),
)


@dataclass(frozen=True)
class Further:
    """An environment file for a version of torch.

    Attributes
    ----------
    name : str
        Of the environment.
    text : str
        The file; empty when the project has it already.
    lock : Lock or None
        What it resolves to; None when the package registry could not be asked, or the file is there already.
    base : str
        The environment whose pins it has.
    other_pins : tuple of str
        Pins that could not be kept: ``setuptools 69.5.1 -> 80.1``. Each is a rival explanation beside torch.
    asked : str
        Why the package registry could not be asked; otherwise empty.
    """

    name: str
    text: str = ""
    lock: Lock | None = None
    base: str = ""
    other_pins: tuple[str, ...] = ()
    asked: str = ""

    def write(self, root: Path) -> list[Path]:
        """Write the file, and its lock if there is one, into the project; return what was written."""
        if not self.text:
            return []
        path = root / FOLDER / f"environment-{self.name}.yml"
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(self.text)
        if self.lock is None:
            return [path]
        spec = load_spec(self.name, root)
        save_lock(spec, self.lock)
        return [path, spec.lock_path]


def environment_name(version: str) -> str:
    """Return the name of the environment for a version of torch: ``2.6.0`` and ``2.6`` give ``torch260``.

    Raises
    ------
    EnvironmentFileError
        When it is not a released version.
    """
    return f"torch{full_version(version).replace('.', '')}"


def full_version(version: str) -> str:
    """Return a version of torch with all three numbers.

    Raises
    ------
    EnvironmentFileError
        When it is not a released version.
    """
    try:
        parsed = Version(version)
    except InvalidVersion:
        parsed = None
    if parsed is None or len(parsed.release) > 3 or str(parsed) != parsed.base_version or parsed.epoch:
        raise EnvironmentFileError(f"{version!r} is not a released version of torch", "write it as in 2.6.0")
    return ".".join(map(str, (*parsed.release, 0, 0)[:3]))


def further(version: str, root: Path, *, progress: Progress = silent) -> Further:
    """Find or make up the environment file for a version of torch; nothing is written.

    Parameters
    ----------
    version : str
        A released version: ``2.6.0``.
    root : Path
        The project, with its environment files.
    progress : callable
        Gets a line each time something moves on.

    Raises
    ------
    EnvironmentFileError
        When there is no such version, its file is there and is for another one, no environment file is there to start
        from, or the version goes with none of its pins.
    """
    version, name = full_version(version), environment_name(version)
    specs = [load_spec(each, root) for each in spec_names(root)]
    for spec in specs:
        if spec.name == name:
            if Version(spec.pins["torch"]) == Version(version):
                return Further(name)
            raise EnvironmentFileError(
                f"{spec.path.name} is there, and is for torch {spec.pins['torch']}, not {version}",
                "give your own file another name, and that name with --environment",
            )
    if not specs:
        raise EnvironmentFileError(f"{root} has no environment file to start from", "run this in the whole project")
    base = min(specs, key=lambda spec: _distance(spec.pins["torch"], version))
    return _made_up(version, name, base, specs, progress)


def _distance(one: str, other: str) -> tuple[int, int]:
    """Return how far apart two versions are, minor ones first: 1.13 is next to 2.0."""
    places = []
    for version in (one, other):
        major, minor, micro = (*Version(version).release, 0, 0)[:3]
        places.append((100 * major + minor, micro))
    (minors, micros), (other_minors, other_micros) = places
    return abs(minors - other_minors), abs(micros - other_micros)


def _made_up(
    version: str, name: str, base: EnvironmentSpec, specs: Sequence[EnvironmentSpec], progress: Progress
) -> Further:
    text = _renamed(base.path.read_text(encoding="utf-8"), base, version, name)
    others = [spec.path.read_text(encoding="utf-8") for spec in (base, *specs)]
    try:
        lock, loosened = _resolved(text, name, base, progress)
    except EnvironmentCreationError as error:
        return Further(name, with_cuda(text, version, "", others), base=base.name, asked=error.what)
    changes = []
    for package in loosened:
        before, now = base.pins.get(package), lock.pins.get(package)
        if before and now and before != now:
            text = _repinned(text, package, now, f"torch {version} does not go with {before}, which {base.name} has.")
            changes.append(f"{package} {before} -> {now}")
    return Further(name, with_cuda(text, version, wheel_cuda(lock.pins), others), lock, base.name, tuple(changes))


def _renamed(text: str, base: EnvironmentSpec, version: str, name: str) -> str:
    """Put another torch and another name into an environment file, and leave all else in it as it is written."""
    old = re.escape(base.pins["torch"])
    text = re.sub(rf"^(# torch ){old}( with everything)", rf"\g<1>{version}\g<2>", text)
    text = re.sub(rf"(?<!\w){re.escape(base.name)}(?![\w-])", name, text)
    text = text.replace(f"-f environment-{name}", f"-f {FOLDER}/environment-{name}")
    return re.sub(rf"^( *- torch *== *){old}(?=\s|$)", rf"\g<1>{version}", text, flags=re.MULTILINE)


def _repinned(text: str, package: str, version: str, why: str) -> str:
    pattern = re.compile(rf"^( *)- {re.escape(package)} *==.*$", re.MULTILINE)
    return pattern.sub(rf"\g<1># {why}\n\g<1>- {package}=={version}", text, count=1)


def _resolved(text: str, name: str, base: EnvironmentSpec, progress: Progress) -> tuple[Lock, tuple[str, ...]]:
    """Resolve the new file, with fewer pins where it must be; return what was left unpinned too."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"environment-{name}.yml").write_text(text, encoding="utf-8")
        spec = load_spec(name, Path(folder))
    spec = replace(spec, path=base.path.with_name(spec.path.name))
    prefer = parse(base.lock_path.read_text(encoding="utf-8")) if base.lock_path.is_file() else None
    for loosened in _LOOSENED:
        tried = replace(spec, pip=tuple(_loose(each, loosened) for each in spec.pip))
        try:
            return resolve(tried, prefer=prefer, progress=progress), loosened
        except PinsConflictError:
            if loosened == _LOOSENED[-1]:
                raise
    raise AssertionError  # the last step returns or raises


def _loose(text: str, loosened: tuple[str, ...]) -> str:
    requirement = Requirement(text)
    return requirement.name if canonicalize_name(requirement.name) in loosened else text
