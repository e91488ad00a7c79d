"""The package's own code as part of an address: what it computes is made anew when it changes."""

from __future__ import annotations

from pathlib import Path

import reportlib
from reportlib.store import digest, digest_file


def code_digest(names: tuple[str, ...]) -> str:
    """Hash the package's source files under `names`.

    Parameters
    ----------
    names : tuple of str
        Files and folders inside the package: ``capture``, ``store.py``.

    Returns
    -------
    str
        A sha256 over names and contents, in hexadecimal; compiled files do not count.
    """
    package = Path(reportlib.__file__).parent
    files: list[Path] = []
    for name in names:
        path = package / name
        files += [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    lines = [f"{file.relative_to(package)} {digest_file(file)}" for file in sorted(files)]
    return digest("\n".join(lines).encode())
