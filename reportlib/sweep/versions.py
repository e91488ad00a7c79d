"""Which versions of PyTorch a sweep goes over: given one by one, by a file, or by what the package index has."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from reportlib.environments.further import full_version
from reportlib.environments.spec import PLATFORM, find_uv
from reportlib.errors import EnvironmentFileError, StudyError

NEWEST = "newest"
#: The index is asked for one version after the other, from the newest down; PyTorch has had fewer than this.
_MOST = 300


def releases(lowest: str, highest: str = NEWEST, python: str = "3.11") -> list[str]:
    """Return the releases of torch that the package index has a wheel of, from the older to the newer.

    uv lists no versions, but says the highest that fits a bound: asked again below each answer, it tells all.

    Parameters
    ----------
    lowest, highest : str
        Released versions, both included; `highest` may be `NEWEST`.
    python : str
        Minor version of Python that the wheels are for.

    Raises
    ------
    EnvironmentFileError
        When the index cannot be asked, has neither end, or the ends are in the wrong order.
    """
    bottom = Version(full_version(lowest))
    bound = "torch" if highest == NEWEST else f"torch<={full_version(highest)}"
    found: list[str] = []
    for _ in range(_MOST):
        version = _highest(bound, python)
        if version is None or version < bottom:
            break
        found.append(version.base_version)
        bound = f"torch<{version.public}"
    if not found:
        raise EnvironmentFileError(
            f"the package index has no torch from {lowest} to {highest} for Python {python}",
            "give the older version first; name a mirror of the index in UV_DEFAULT_INDEX",
        )
    return found[::-1]


def _highest(bound: str, python: str) -> Version | None:
    command = [find_uv(), "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate", "--quiet",
               "--only-binary", "torch", "--python-version", python, "--python-platform", PLATFORM]  # fmt: skip
    done = subprocess.run(command, input=bound, capture_output=True, text=True, check=False)
    _, _, version = done.stdout.strip().partition("==")
    return Version(version.split()[0]) if done.returncode == 0 and version else None


@dataclass(frozen=True)
class Wish:
    """What a sweep is asked to go over.

    Attributes
    ----------
    versions : tuple of str
        One by one, in any order.
    lowest, highest : str
        Ends of a range of releases; empty for none.
    """

    versions: tuple[str, ...] = ()
    lowest: str = ""
    highest: str = ""

    @classmethod
    def read(cls, path: Path) -> Wish:
        """Read a ``sweep.toml``: ``versions``, or ``from`` and ``to``, or all three.

        Raises
        ------
        StudyError
            When it cannot be read, or has another key.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise StudyError(f"{path} cannot be read: {error}", "write versions = ['2.0.1', '2.1.0']") from error
        if unknown := sorted(set(content) - {"versions", "from", "to"}):
            raise StudyError(f"{path}: {unknown[0]} is not a key", "use versions, from and to")
        versions = content.get("versions", [])
        if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
            raise StudyError(f"{path}: versions must be a list of strings", "write versions = ['2.0.1', '2.1.0']")
        return cls(tuple(versions), str(content.get("from", "")), str(content.get("to", "")))

    def resolve(self) -> list[str]:
        """Return the versions from the older to the newer, each once.

        Raises
        ------
        EnvironmentFileError
            When one is not a released version, or the index cannot be asked.
        StudyError
            When there are fewer than two.
        """
        found = {full_version(version) for version in self.versions}
        if self.lowest:
            found |= set(map(full_version, releases(self.lowest, self.highest or NEWEST)))
        if len(found) < 2:
            raise StudyError("a sweep goes over two versions of torch or more", "give versions, or --from and --to")
        return ordered(found)


def ordered(versions: Sequence[str] | set[str]) -> list[str]:
    """Return versions from the older to the newer."""
    return sorted(versions, key=Version)
