"""Environment files for further versions of torch, or of another package, made from one that the project has.

Two environments of a study must differ in one package and in what that brings, or every difference has a rival
explanation. So the new file has the pins of an existing one, and its lock keeps every version of that one's lock that
still fits.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reportlib.environments.spec import (
    FOLDER,
    EnvironmentSpec,
    Lock,
    Progress,
    load_spec,
    parse,
    resolve,
    save_lock,
    silent,
    spec_names,
)
from reportlib.errors import EnvironmentCreationError, EnvironmentFileError, PinsConflictError

# The lines of an environment file that follow the CUDA version which torch's wheels are built for.
#
# A wheel says that version by the `nvidia-cuda-runtime` that it asks for. Which compiler of a conda channel fits it,
# no package registry says; another environment file that already has one for the same version does.

#: The channel, the two packages, and the comment above them, as the project's files write them.
_CHANNEL = re.compile(r"^ *- nvidia/label/cuda-\S+\n", re.MULTILINE)
_PACKAGES = re.compile(r"^ *- (?:cuda-nvcc|cuda-libraries-dev)=\S+\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *# torch \S+ from PyPI is built for CUDA .*\n(?: *#.*\n)*", re.MULTILINE)
_NVCC = re.compile(r"^ *- cuda-nvcc=(\d+\.\d+)", re.MULTILINE)
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")


def wheel_cuda(pins: Mapping[str, str]) -> str:
    """Return the CUDA version of torch's wheels, major and minor, by what they brought; empty when nothing says it."""
    for name, version in pins.items():
        if _RUNTIME.fullmatch(name):
            return ".".join(version.split(".")[:2])
    return ""


def with_cuda(text: str, torch: str, cuda: str, others: Iterable[str]) -> str:
    """Return an environment file's text with the CUDA compiler for another version of torch.

    Parameters
    ----------
    text : str
        Of the file.
    torch : str
        The version of torch.
    cuda : str
        The CUDA version that it is built for, major and minor; empty when it is not known.
    others : iterable of str
        Texts of the project's environment files, where a compiler of that version may be found.

    Returns
    -------
    str
        Without a compiler when none is known; a comment says so.
    """
    donor = next((other for other in others if cuda and cuda in _NVCC.findall(other)), None)
    if donor is not None:
        comment = re.sub(r"# torch \S+ from", f"# torch {torch} from", _first(_COMMENT, donor))
        return _replaced(text, _first(_CHANNEL, donor), comment, "".join(_PACKAGES.findall(donor)))
    known = f"is built for CUDA {cuda}" if cuda else "is built for a CUDA version that could not be looked up"
    comment = (
        f"  # torch {torch} from PyPI {known}. For a GPU add a CUDA compiler of that version:\n"
        f"  # the channel nvidia/label/cuda-{cuda or 'X.Y'}.N, and from it cuda-nvcc and cuda-libraries-dev.\n"
    )
    return _replaced(text, "", comment, "")


def _replaced(text: str, channel: str, comment: str, packages: str) -> str:
    """Put other lines where the file has its own; a file that has none of them gets no new ones but the comment."""
    text = _CHANNEL.sub(lambda _: channel, text, count=1)
    if _PACKAGES.search(text) is None:
        return text
    text = _COMMENT.sub("", text)
    first = True

    def put(_: re.Match[str]) -> str:
        nonlocal first
        put_here, first = first, False
        return comment + packages if put_here else ""

    return _PACKAGES.sub(put, text)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


#: The line of a file that says in what it is unlike the others.
_APART = re.compile(r"^# Apart from torch, .*\n", re.MULTILINE)
#: What is unpinned, step by step, where a version of torch does not go with a pin. The last step leaves only what
#: computes: torch, colbert-ai, faiss and the model's own code.
_LOOSENED: tuple[tuple[str, ...], ...] = (
    (),
    ("setuptools",),
    ("setuptools", "fsspec", "datasets", "dill", "multiprocess", "huggingface-hub", "ninja", "ipykernel", "scipy"),
)


@dataclass(frozen=True)
class Further:
    """An environment file for a version of torch, or of another package.

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
    """Return the name of the environment for a version of torch: ``torch260`` for ``2.6.0`` and for ``2.6``."""
    return f"torch{full_version(version).replace('.', '')}"


def full_version(version: str) -> str:
    """Return a version of torch, or a candidate for one, with all three numbers: ``2.6.0``, ``2.6.0rc1``."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        parsed = None
    if parsed is None or len(parsed.release) > 3 or parsed.is_postrelease or parsed.local or parsed.epoch:
        raise EnvironmentFileError(f"{version!r} is not a released version of torch", "write it as in 2.6.0")
    numbers = ".".join(map(str, (*parsed.release, 0, 0)[:3]))
    return numbers + str(parsed).removeprefix(parsed.base_version)


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
    specs = [load_spec(spec, root) for spec in spec_names(root)]
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


def varied(package: str, version: str, base: str, root: Path, *, progress: Progress = silent) -> Further:
    """Find or make up the environment file that has another version of one package; nothing is written.

    Parameters
    ----------
    package, version : str
        ``transformers`` and ``4.57.6``.
    base : str
        The environment that it is to be like in everything else.
    root : Path
        The project, with its environment files.
    progress : callable
        Gets a line each time something moves on.

    Returns
    -------
    Further
        Without a text where `base`, or a file made before, has that version.

    Raises
    ------
    EnvironmentFileError
        When there is no such version, `base` does not pin the package, its file is there and is for another version, or
        it does not go with `base`'s torch and colbert-ai.
    EnvironmentCreationError
        When the package registry cannot be reached.
    """
    package, like = canonicalize_name(package), load_spec(base, root)
    if package == "torch":
        raise EnvironmentFileError("torch is varied by its own option", "use --torch 2.1.0 --torch 2.6.0")
    if package not in like.pins:
        raise EnvironmentFileError(
            f"{like.path.name} does not pin {package}", f"vary one of {', '.join(sorted(set(like.pins) - {'torch'}))}"
        )
    try:
        wanted = Version(version)
    except InvalidVersion as error:
        raise EnvironmentFileError(f"{version!r} is no version of {package}", "write it as in 4.57.6") from error
    if Version(like.pins[package]) == wanted:
        return Further(base)
    name = f"{base}-{package}{version.replace('.', '')}"
    if name in spec_names(root):
        held = load_spec(name, root).pins.get(package, "")
        if held and Version(held) == wanted:
            return Further(name)
        raise EnvironmentFileError(
            f"environment-{name}.yml is there, and is for {package} {held or 'of no one version'}, not {version}",
            "give your own file another name, and that name with --environment",
        )
    text = _renamed(like.path.read_text(encoding="utf-8"), like, like.pins["torch"], name)
    text = _APART.sub(f"# It is {base} with another {package}, and with what that brings.\n", text, count=1)
    text = _repinned(text, package, version, f"{base} has {like.pins[package]}.")
    others = tuple(set(like.pins) - {package, "torch", "colbert-ai"})
    lock, loosened = _resolved(text, name, like, ((), others), progress)
    changes = []
    for other in sorted(loosened):
        before, now = like.pins[other], lock.pins.get(other)
        if now and now != before:
            text = _repinned(text, other, now, f"{package} {version} does not go with {before}, which {base} has.")
            changes.append(f"{other} {before} -> {now}")
    return Further(name, text, lock, base, tuple(changes))


def twin(base: str, name: str, root: Path) -> Further:
    """Find or make up the environment file that is another one under a second name; nothing is written.

    Two environments that a study gives other settings, and that hold the same to the byte.
    """
    like = load_spec(base, root)
    if name == base:
        return Further(base)
    if not like.lock_path.is_file():
        raise EnvironmentFileError(
            f"{base} has no lock, so that a twin of it could come to hold other packages",
            f"run `reportlib env lock {base}`",
        )
    lock = parse(like.lock_path.read_text(encoding="utf-8"))
    if name in spec_names(root):
        there = load_spec(name, root)
        held = parse(there.lock_path.read_text(encoding="utf-8")) if there.lock_path.is_file() else None
        if there.digest == like.digest and held is not None and held.pins == lock.pins:
            return Further(name)
        raise EnvironmentFileError(
            f"environment-{name}.yml is there with its lock, and does not hold what {base} does",
            "remove both, or give your own file another name, and that name with --environment",
        )
    text = _renamed(like.path.read_text(encoding="utf-8"), like, like.pins["torch"], name)
    text = _APART.sub(f"# It holds what {base} does, for a study that gives the two other settings.\n", text, count=1)
    return Further(name, text, lock, base)


def _made_up(
    version: str, name: str, base: EnvironmentSpec, specs: Sequence[EnvironmentSpec], progress: Progress
) -> Further:
    text = _renamed(base.path.read_text(encoding="utf-8"), base, version, name)
    others = [spec.path.read_text(encoding="utf-8") for spec in (base, *specs)]
    try:
        lock, loosened = _resolved(text, name, base, _LOOSENED, progress)
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


def _resolved(
    text: str, name: str, base: EnvironmentSpec, steps: Sequence[tuple[str, ...]], progress: Progress
) -> tuple[Lock, tuple[str, ...]]:
    """Resolve the new file, with fewer pins where it must be; return what was left unpinned too."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"environment-{name}.yml").write_text(text, encoding="utf-8")
        spec = load_spec(name, Path(folder))
    spec = replace(spec, path=base.path.with_name(spec.path.name))
    prefer = parse(base.lock_path.read_text(encoding="utf-8")) if base.lock_path.is_file() else None
    for loosened in steps:
        tried = replace(spec, pip=tuple(_loose(text, loosened) for text in spec.pip))
        try:
            return resolve(tried, prefer=prefer, progress=progress), loosened
        except PinsConflictError:
            if loosened == steps[-1]:
                raise
    raise AssertionError  # the last step returns or raises


def _loose(text: str, loosened: tuple[str, ...]) -> str:
    requirement = Requirement(text)
    return requirement.name if canonicalize_name(requirement.name) in loosened else text
