"""Read an environment file, and say what is wrong with one that cannot be used."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from reportlib.errors import EnvironmentFileError

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
