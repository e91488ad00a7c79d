"""A finished environment: its own description, how a process runs inside it, and its Jupyter kernel.

The description is written last, so that an environment without one was never finished.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import reportlib
from reportlib.errors import CompilerError, DeviceError, EnvironmentCreationError
from reportlib.store import link_folder, write_text

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
        content = {"format": _FORMAT, **asdict(self)}
        write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


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
    """Return the description of a finished environment."""
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


# How a process runs inside an environment, and the Jupyter kernel that starts one.
#
# The kernel goes into a folder of the project (hosts set ``JUPYTER_PATH`` to it), never into the user's home.

#: At the end of a variable: what it is where the process starts, filled in by Jupyter and by `process_environment`.
_INHERITED_PATH = "${PATH}"


def variables(record: EnvironmentRecord, home: Path, *, threads: int = 2) -> dict[str, str]:
    """Return the environment variables that a process inside an environment gets.

    Parameters
    ----------
    record : EnvironmentRecord
        The environment.
    home : Path
        The project's folder for environments.
    threads : int
        For every library that has threads: summation order, and with it bits, can depend on their number.

    Returns
    -------
    dict of str to str
        ``PATH`` ends in ``${PATH}``, which stands for the one where the process starts.
    """
    prefix = Path(record.prefix)
    found = {
        # colbert-ai compiles its extensions with the environment's own ninja, and nvcc and g++ if it has them.
        "PATH": f"{prefix / 'bin'}{os.pathsep}{_INHERITED_PATH}",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # colbert-ai tokenizes in the process that also forks; more threads there only raise warnings.
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONNOUSERSITE": "1",
        # Empty means unset: without byte code each kernel would compile torch's sources again, which takes seconds.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": str(home / "path"),
        "TORCH_EXTENSIONS_DIR": str(record.extensions_folder(home)),
    }
    if (prefix / "bin" / "nvcc").exists():
        # Without it torch prefers a CUDA_HOME of the user's, which may be of another CUDA version.
        found["CUDA_HOME"] = str(prefix)
    return found


def process_environment(record: EnvironmentRecord, home: Path, *, threads: int = 2) -> dict[str, str]:
    """Return the whole environment for a process that runs ``record.python_program``.

    It is this process's environment with `variables` put over it, for `subprocess`'s ``env``.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "VIRTUAL_ENV")}
    own = variables(record, home, threads=threads)
    own["REPORTLIB_HOME"] = str(home.absolute())
    own["PATH"] = own["PATH"].removesuffix(_INHERITED_PATH) + os.environ.get("PATH", os.defpath)
    return {**inherited, **own}


def kernel_folder(home: Path) -> Path:
    """Return the folder to put on ``JUPYTER_PATH``."""
    return home / "jupyter"


def kernel_names(home: Path) -> list[str]:
    """Return the names of the kernels that environments made, sorted."""
    return sorted(p.parent.name for p in kernel_folder(home).glob("kernels/*/kernel.json"))


def share_package(home: Path) -> None:
    """Make this package importable inside environments, and nothing else of the host."""
    link_folder(home / "path" / "reportlib", Path(reportlib.__file__).parent)


def write_kernel(record: EnvironmentRecord, home: Path, *, threads: int = 2) -> Path:
    """Write an environment's kernel, and make this package importable in it.

    Returns
    -------
    Path
        The ``kernel.json``; left untouched when it already says the same.
    """
    share_package(home)
    program = str(record.python_program)
    content = {
        "argv": [program, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"{record.name} (torch {record.torch})",
        "language": "python",
        "env": {name: _for_jupyter(value) for name, value in variables(record, home, threads=threads).items()},
    }
    path = kernel_folder(home) / "kernels" / record.name / "kernel.json"
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def _for_jupyter(value: str) -> str:
    """Return a variable's value as a template, which Jupyter takes it for: a dollar is written twice."""
    own = value.removesuffix(_INHERITED_PATH)
    return own.replace("$", "$$") + value.removeprefix(own)


def remove_kernel(name: str, home: Path) -> None:
    """Remove an environment's kernel, if it has one."""
    shutil.rmtree(kernel_folder(home) / "kernels" / name, ignore_errors=True)


# Ask an environment's torch what it can do on this machine.


def examine(record: EnvironmentRecord, home: Path, device: str) -> dict[str, Any]:
    """Return the report of `reportlib.capture.preflight`, run inside an environment."""
    command = [str(record.python_program), "-m", "reportlib.capture.preflight", "--device", device]
    try:
        done = subprocess.run(
            command,
            env=process_environment(record, home),
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error)
        tail = "\n".join(said.strip().splitlines()[-8:])
        raise EnvironmentCreationError(
            f"torch does not start in the environment {record.name}:\n{tail}",
            f"run `reportlib env remove {record.name}` and create it again",
        ) from error
    return found


def check(record: EnvironmentRecord, home: Path, device: str) -> dict[str, Any]:
    """Return the report of an environment, and insist that it can use `device`.

    Raises
    ------
    DeviceError, CompilerError
        When it cannot, with the reason.
    """
    found = examine(record, home, device)
    if not found["usable"]:
        kind = CompilerError if found["error"] == "CompilerError" else DeviceError
        raise kind(f"{record.name} cannot use {device}: {found['what']}", found["mend"])
    return found
