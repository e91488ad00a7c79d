"""Compile colbert-ai's C++ extensions ahead of time: ``python -m reportlib.capture.extensions``.

colbert-ai compiles them at first use, through `torch.utils.cpp_extension`. Where no compiler works that is an error
deep inside an index run; here it is one before any work, and the time is spent once an environment.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

from reportlib.errors import CompilerError, ReportlibError

_MEND = "install a C++ compiler (Debian, Ubuntu: apt-get install g++) and make the environment again"
#: A flag of a compiler that names a folder, as torch writes it.
_FOLDER_FLAG = re.compile(r"(-I|-L|-isystem )([/'].*)", re.DOTALL)


def check_compiler() -> None:
    """Raise `CompilerError` when there is no C++ compiler, or no ninja, for torch's extensions to use."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise CompilerError(f"colbert-ai compiles C++ extensions, and there is no compiler ({compiler}) on PATH", _MEND)
    if shutil.which("ninja") is None:
        raise CompilerError(
            "colbert-ai compiles C++ extensions with ninja, and ninja is not on PATH",
            "run inside the environment's kernel, which puts the environment's bin folder on PATH",
        )


def quote_paths() -> None:
    """Have torch quote the paths in the lines that it gives ninja, and ninja a shell.

    Older versions (2.0.1, 2.1.0) write them as they are: a space in the environment's path ends a flag, and a semicolon
    begins a command. Newer ones (2.7.1, 2.8.0) quote them, and leave a dollar to ninja. A plain path stays as it is.
    """
    from torch.utils import cpp_extension

    original = cpp_extension._write_ninja_file
    if getattr(original, "quotes_paths", False):
        return

    def write(*args: Any, **kwargs: Any) -> Any:
        quoted = {name: list(map(quoted_flag, value)) if _are_flags(name, value) else value
                  for name, value in kwargs.items()}  # fmt: skip
        if "sources" in quoted:
            quoted["sources"] = [source.replace("$", "$$") for source in quoted["sources"]]
        return original(*args, **quoted)

    write.quotes_paths = True  # type: ignore[attr-defined]
    cpp_extension._write_ninja_file = write


def _are_flags(name: str, value: Any) -> bool:
    return name.endswith("flags") and isinstance(value, list)


def quoted_flag(flag: str) -> str:
    """Return a compiler's flag with the folder in it quoted for a shell, unless torch did that, and for ninja."""
    match = _FOLDER_FLAG.fullmatch(flag)
    if match is None:
        return flag
    folder = match[2] if match[2].startswith("'") else shlex.quote(match[2])
    return match[1] + folder.replace("$", "$$")


def compile_extensions() -> None:
    """Compile what indexing and searching on this machine's device need.

    Raises
    ------
    CompilerError
        When there is no compiler, or it fails; the compiler's last lines are in the message.
    """
    check_compiler()
    quote_paths()
    import torch
    from colbert.indexing.codecs.residual import ResidualCodec
    from colbert.modeling.colbert import ColBERT
    from colbert.search.index_storage import IndexScorer
    from colbert.search.strided_tensor import StridedTensor

    use_gpu = torch.cuda.is_available()
    try:
        for owner in (ColBERT, ResidualCodec, IndexScorer, StridedTensor):
            owner.try_load_torch_extensions(use_gpu)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        tail = "\n".join(str(error).strip().splitlines()[-12:])
        raise CompilerError(f"colbert-ai's extensions do not compile here:\n{tail}", _MEND) from error


if __name__ == "__main__":
    try:
        compile_extensions()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
