"""What must be there before an environment is made: a compiler that works, and room on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import CompilerError, DiskSpaceError

GIB = 1024**3
#: Bytes of a finished environment with a CUDA build of torch: `du` says 4.8 GiB for torch 2.0.1 and 4.5 GiB
#: for 2.1.0. What is downloaded is shared with uv's cache where one disk holds both.
TORCH_ENVIRONMENT = 5 * GIB
#: For an environment file without torch.
SMALL_ENVIRONMENT = GIB // 2
MEND_COMPILER = "install one (Debian, Ubuntu: apt-get install g++), or use --no-extensions"

# Of the C++ standard that torch's headers need, with a header that only a complete installation has.
_PROGRAM = "#include <optional>\nint main() { std::optional<int> one{1}; return *one - 1; }\n"


def require_compiler() -> None:
    """Compile and link a small C++17 program with the compiler that torch would use.

    Raises
    ------
    CompilerError
        When there is none, or it does not work.
    """
    compiler = os.environ.get("CXX", "c++")
    what = "colbert-ai compiles C++ extensions when it searches"
    if shutil.which(compiler) is None:
        raise CompilerError(f"{what}, and there is no C++ compiler ({compiler}) on PATH", MEND_COMPILER)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "one.cpp")
        source.write_text(_PROGRAM, encoding="utf-8")
        done = subprocess.run(
            [compiler, "-std=c++17", "-o", Path(folder, "one"), source],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise CompilerError(f"{what}, and {compiler} does not work:\n{tail}", MEND_COMPILER)


def require_headers(python: Path) -> None:
    """See that a Python has the headers that extensions are compiled against.

    Raises
    ------
    CompilerError
        When it has none.
    """
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('include'))"]
    folder = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not Path(folder, "Python.h").is_file():
        raise CompilerError(
            f"colbert-ai compiles C++ extensions when it searches, and {python} has no Python.h in {folder or '?'}",
            "install its headers (Debian, Ubuntu: apt-get install python3-dev), or use --no-extensions",
        )


def needed_bytes(spec: EnvironmentSpec) -> int:
    """Return how much room an environment needs, in bytes."""
    return TORCH_ENVIRONMENT if "torch" in spec.pins else SMALL_ENVIRONMENT


def require_space(spec: EnvironmentSpec, home: Path) -> None:
    """Raise `DiskSpaceError` when the disk that holds `home` has no room for the environment."""
    needed, free = needed_bytes(spec), free_bytes(home)
    if free < needed:
        raise DiskSpaceError(
            f"an environment such as {spec.name} needs about {needed / GIB:.1f} GiB, and the disk of {home} has"
            f" {free / GIB:.1f} GiB free",
            "make room (`reportlib env list` shows what is made), or set REPORTLIB_HOME to a folder on another disk",
        )


def free_bytes(folder: Path) -> int:
    """Return the free room, in bytes, of the disk that holds `folder` or will hold it."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free
