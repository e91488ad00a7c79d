"""See that a prefix holds what its environment file pins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import EnvironmentCreationError


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


def _same_version(found: str, pinned: str) -> bool:
    """Compare versions; a build's label (``2.0.1+cu118``) counts only where the pin has one."""
    try:
        installed, wanted = Version(found), Version(pinned)
    except InvalidVersion:
        return found == pinned
    return installed == wanted or (wanted.local is None and installed.public == wanted.public)
