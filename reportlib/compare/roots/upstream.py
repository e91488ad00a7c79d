"""Which known change upstream fits an operation that differs between two versions of PyTorch.

The table is ``upstream.toml``: curated by hand, each entry with its source. Nothing is inferred from it but that.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

from packaging.version import InvalidVersion, Version

STATUSES = ("named", "candidate")


@dataclass(frozen=True)
class Change:
    """An entry of the table; see the head of ``upstream.toml`` for the fields."""

    operations: tuple[str, ...]
    dtypes: tuple[str, ...]
    devices: tuple[str, ...]
    changed_in: Version
    url: str
    title: str
    status: str
    text: str

    def fits(self, operation: str, dtypes: Sequence[str], device: str, older: Version, newer: Version) -> bool:
        """Return whether it changed this operation on this device between two versions."""
        return (
            older < self.changed_in <= newer
            and device in self.devices
            and any(dtype in self.dtypes for dtype in dtypes)
            and any(fnmatchcase(operation, pattern) for pattern in self.operations)
        )


@cache
def changes() -> tuple[Change, ...]:
    """Return the table, in its own order."""
    source = resources.files("reportlib.compare.roots").joinpath("upstream.toml")
    content = tomllib.loads(source.read_text(encoding="utf-8"))
    return tuple(
        Change(
            operations=tuple(entry["operations"]),
            dtypes=tuple(entry["dtypes"]),
            devices=tuple(entry["devices"]),
            changed_in=Version(entry["changed_in"]),
            url=entry["url"],
            title=entry["title"],
            status=entry["status"],
            text=entry["text"],
        )
        for entry in content["change"]
    )


def find(name: str, dtypes: Sequence[str], device: str, version_a: str, version_b: str) -> dict[str, str] | None:
    """Return the change upstream that fits an operation, or None where none is known.

    A ``named`` one goes before a ``candidate``; otherwise the table's order decides.

    Parameters
    ----------
    name : str
        ``aten::div``, with or without an overload; an operation in place is the same one.
    dtypes : sequence of str
        torch's names of the inputs' dtypes.
    device : str
        ``cpu`` or ``cuda``.
    version_a, version_b : str
        Of PyTorch, in either order. What follows a ``+`` is left aside.

    Returns
    -------
    dict or None
        ``url``, ``title``, ``text``, ``status``. None also for versions that are no versions.
    """
    try:
        older, newer = sorted(Version(Version(text).public) for text in (version_a, version_b))
    except InvalidVersion:
        return None
    operation = name.rpartition("::")[2].partition(".")[0].rstrip("_")
    fitting = [change for change in changes() if change.fits(operation, dtypes, device, older, newer)]
    if not fitting:
        return None
    best = min(fitting, key=lambda change: STATUSES.index(change.status))
    return {"url": best.url, "title": best.title, "text": best.text, "status": best.status}
