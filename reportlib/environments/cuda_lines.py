"""The lines of an environment file that follow the CUDA version which torch's wheels are built for.

A wheel says that version by the `nvidia-cuda-runtime` that it asks for. Which compiler of a conda channel fits it, no
package registry says; another environment file that already has one for the same version does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: The channel, the two packages, and the comment above them, as the project's files write them.
_CHANNEL = re.compile(r"^ *- nvidia/label/cuda-\S+\n", re.MULTILINE)
_PACKAGES = re.compile(r"^ *- (?:cuda-nvcc|cuda-libraries-dev)=\S+\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *# torch \S+ from PyPI is built for CUDA .*\n(?: *#.*\n)*", re.MULTILINE)
_NVCC = re.compile(r"^ *- cuda-nvcc=(\d+\.\d+)", re.MULTILINE)
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")


def wheel_cuda(pins: Mapping[str, str]) -> str:
    """Return the CUDA version of torch's wheels, major and minor, by what they brought; empty when nothing says it.

    Parameters
    ----------
    pins : mapping of str to str
        A lock's packages.
    """
    for name, version in pins.items():
        if _RUNTIME.fullmatch(name):
            return ".".join(version.split(".")[:2])
    return ""


def with_cuda(text: str, torch: str, cuda: str, others: Iterable[str]) -> str:
    """Return an environment file's text with the CUDA compiler for another version of torch.

    Parameters
    ----------
    text : str
        Of the file.
    torch : str
        The version of torch.
    cuda : str
        The CUDA version that it is built for, major and minor; empty when it is not known.
    others : iterable of str
        Texts of the project's environment files, where a compiler of that version may be found.

    Returns
    -------
    str
        Without a compiler when none is known; a comment says so.
    """
    donor = next((other for other in others if cuda and cuda in _NVCC.findall(other)), None)
    if donor is not None:
        comment = re.sub(r"# torch \S+ from", f"# torch {torch} from", _first(_COMMENT, donor))
        return _replaced(text, _first(_CHANNEL, donor), comment, "".join(_PACKAGES.findall(donor)))
    known = f"is built for CUDA {cuda}" if cuda else "is built for a CUDA version that could not be looked up"
    comment = (
        f"  # torch {torch} from PyPI {known}. For a GPU add a CUDA compiler of that version:\n"
        f"  # the channel nvidia/label/cuda-{cuda or 'X.Y'}.N, and from it cuda-nvcc and cuda-libraries-dev.\n"
    )
    return _replaced(text, "", comment, "")


def _replaced(text: str, channel: str, comment: str, packages: str) -> str:
    """Put other lines where the file has its own; a file that has none of them gets no new ones but the comment."""
    text = _CHANNEL.sub(lambda _: channel, text, count=1)
    if _PACKAGES.search(text) is None:
        return text
    text = _COMMENT.sub("", text)
    first = True

    def put(_: re.Match[str]) -> str:
        nonlocal first
        put_here, first = first, False
        return comment + packages if put_here else ""

    return _PACKAGES.sub(put, text)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""
