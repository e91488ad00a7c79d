"""Which line of Python an operation comes from."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

import torch

import reportlib

_FOREIGN = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, reportlib))
_STANDARD = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))


def source_line() -> str:
    """Return the innermost line that is neither torch's, nor reportlib's, nor the standard library's.

    Returns
    -------
    str
        ``transformers/activations.py:78: return self.act(input)``; empty when there is none.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = _name(frame.f_code.co_filename)
        if name:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            return f"{name}:{frame.f_lineno}: {line}"
        frame = frame.f_back
    return ""


@cache
def _name(file: str) -> str:
    """Return a source file from its package's folder on, or nothing for one that is passed over."""
    if file.startswith("<") or file.startswith(_FOREIGN):
        return ""
    homes = [folder + os.sep for folder in sys.path if folder and file.startswith(folder + os.sep)]
    home = max(homes, key=len, default="")
    if not home:
        return "" if file.startswith(_STANDARD) else Path(file).name
    return "" if home in _STANDARD else Path(file.removeprefix(home)).as_posix()
