"""See that a prefix holds what its environment file pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import EnvironmentCreationError


def require_fit(spec: EnvironmentSpec, prefix: Path, held: dict[str, Any]) -> None:
    """Raise when a prefix does not hold what the file pins."""
    wrong = []
    if held["python"].split(".")[:2] != spec.python_minor.split("."):
        wrong.append(f"python is {held['python']}, the file pins {spec.python}")
    found: dict[str, str] = {canonicalize_name(name): version for name, version in held["packages"].items()}
    for name, version in spec.pins.items():
        if name not in found:
            wrong.append(f"{name} is not installed, the file pins {version}")
        elif not _same_version(found[name], version):
            wrong.append(f"{name} is {found[name]}, the file pins {version}")
    if wrong:
        raise EnvironmentCreationError(
            f"{prefix} is not what {spec.path.name} asks for: {'; '.join(wrong)}",
            f"make the prefix with `conda env create -f {spec.path.name}`",
        )


def _same_version(found: str, pinned: str) -> bool:
    """Compare versions; a build's label (``2.0.1+cu118``) counts only where the pin has one."""
    try:
        installed, wanted = Version(found), Version(pinned)
    except InvalidVersion:
        return found == pinned
    return installed == wanted or (wanted.local is None and installed.public == wanted.public)
