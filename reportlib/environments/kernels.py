"""How a process runs inside an environment, and the Jupyter kernel that starts one.

The kernel goes into a folder of the project (hosts set ``JUPYTER_PATH`` to it), never into the user's home.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import reportlib
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CompilerError, DeviceError, EnvironmentCreationError

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


def write_kernel(record: EnvironmentRecord, home: Path, *, threads: int = 2) -> Path:
    """Write an environment's kernel, and make this package importable in it.

    Returns
    -------
    Path
        The ``kernel.json``; left untouched when it already says the same.
    """
    _link_package(home / "path" / "reportlib")
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
        partial = path.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return path


def _for_jupyter(value: str) -> str:
    """Return a variable's value as a template, which Jupyter takes it for: a dollar is written twice."""
    own = value.removesuffix(_INHERITED_PATH)
    return own.replace("$", "$$") + value.removeprefix(own)


def remove_kernel(name: str, home: Path) -> None:
    """Remove an environment's kernel, if it has one."""
    shutil.rmtree(kernel_folder(home) / "kernels" / name, ignore_errors=True)


def _link_package(link: Path) -> None:
    """Point `link` at this package, so that a kernel can import it and nothing else of the host."""
    package = Path(reportlib.__file__).resolve().parent
    if link.is_symlink() and link.resolve() == package:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(package, target_is_directory=True)
    partial.replace(link)


# Ask an environment's torch what it can do on this machine.


def examine(record: EnvironmentRecord, home: Path, device: str) -> dict[str, Any]:
    """Return the report of `reportlib.capture.preflight`, run inside an environment.

    Raises
    ------
    EnvironmentCreationError
        When torch does not even start there.
    """
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
