"""An environment's own description: written last, so that an environment without one was never finished."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reportlib.errors import EnvironmentCreationError

_FORMAT = 1
_INSPECT = """
import json, platform, sys
from importlib.metadata import distributions
packages = {}
for d in distributions():  # of two with one name the first on the path, which is imported
    if d.metadata["Name"]:
        packages.setdefault(d.metadata["Name"], d.version)
print(json.dumps({"python": platform.python_version(), "packages": packages}))
"""


@dataclass(frozen=True)
class EnvironmentRecord:
    """What is on disk under an environment's name.

    Attributes
    ----------
    name : str
        Of the environment.
    prefix : str
        Absolute path of its folder.
    backend : str
        ``rattler``, ``uv``, or ``adopted`` for a prefix that the user made.
    backend_reason : str
        Why a preferred backend was passed over; empty when it was not.
    spec_digest, lock_digest : str
        What it was made from; no lock digest when it was made without one.
    python : str
        The interpreter's full version.
    torch : str
        torch's version as its metadata has it.
    packages : mapping of str to str
        Python packages really installed.
    conda_packages : mapping of str to str
        conda packages really installed: name to ``version build channel``.
    skipped : tuple of str
        conda specs of the file that the backend left out, each with the reason.
    extensions : bool
        Whether colbert-ai's extensions are compiled.
    """

    name: str
    prefix: str
    backend: str
    spec_digest: str
    lock_digest: str = ""
    backend_reason: str = ""
    python: str = ""
    torch: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    conda_packages: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    extensions: bool = False

    @property
    def python_program(self) -> Path:
        """The environment's interpreter."""
        return Path(self.prefix, "bin", "python")

    def extensions_folder(self, home: Path) -> Path:
        """Where colbert-ai's compiled extensions go; never into a prefix that is not ours."""
        if self.backend == "adopted":
            return home / "extensions" / self.name
        return Path(self.prefix, "var", "torch_extensions")

    def write(self, home: Path) -> None:
        """Write the description, all or nothing."""
        path = record_path(self.name, home)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        content = {"format": _FORMAT, **asdict(self)}
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(path)


def record_path(name: str, home: Path) -> Path:
    """Return the path of an environment's description."""
    return home / "envs" / f"{name}.json"


def find_record(name: str, home: Path) -> EnvironmentRecord | None:
    """Return the description of a finished environment, or None when there is none that can be used."""
    try:
        content = json.loads(record_path(name, home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {f.name for f in fields(EnvironmentRecord)}
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT or set(content) != known:
        return None
    record = EnvironmentRecord(**{**content, "skipped": tuple(content["skipped"])})
    return record if record.python_program.exists() else None


def load_record(name: str, home: Path) -> EnvironmentRecord:
    """Return the description of a finished environment.

    Raises
    ------
    EnvironmentCreationError
        When no environment of that name is made.
    """
    record = find_record(name, home)
    if record is None:
        made = ", ".join(r.name for r in records(home)) or "none"
        raise EnvironmentCreationError(
            f"no environment {name!r} is made (made: {made})", f"run `reportlib env create {name}`"
        )
    return record


def records(home: Path) -> list[EnvironmentRecord]:
    """Return the descriptions of all finished environments, by name."""
    found = (find_record(path.stem, home) for path in sorted((home / "envs").glob("*.json")))
    return [record for record in found if record is not None]


def inspect(prefix: Path) -> dict[str, Any]:
    """Ask a prefix what it holds.

    Returns
    -------
    dict
        ``python`` (its version), ``packages`` (Python packages, name to version) and ``conda_packages``.

    Raises
    ------
    EnvironmentCreationError
        When there is no working interpreter in it.
    """
    program = prefix / "bin" / "python"
    try:
        # -I: neither PYTHONPATH nor the user's own site-packages may pass for packages of the prefix.
        done = subprocess.run([program, "-I", "-c", _INSPECT], capture_output=True, text=True, check=True, timeout=120)
        content: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise EnvironmentCreationError(f"{program} is not a working Python: {said}") from error
    content["conda_packages"] = _conda_packages(prefix)
    return content


def _conda_packages(prefix: Path) -> dict[str, str]:
    found = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = (content["version"], content.get("build", ""), content.get("channel", ""))
        found[content["name"]] = " ".join(str(part) for part in parts if part)
    return found
