"""What a backend is, and what it is told to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reportlib.environments.installer import Progress, UvFailedError, explain, run_uv
from reportlib.environments.spec import EnvironmentSpec


@dataclass(frozen=True)
class Order:
    """What a backend is to do.

    Attributes
    ----------
    spec : EnvironmentSpec
        The environment file.
    requirements : Path
        The lock: every pip package with version and hashes.
    prefix : Path
        Empty or missing folder to fill.
    progress : callable
        Gets a line each time something moves on.
    keep_open : tuple of int
        File descriptors for child processes to inherit.
    """

    spec: EnvironmentSpec
    requirements: Path
    prefix: Path
    progress: Progress
    keep_open: tuple[int, ...] = ()


class Backend(Protocol):
    """Fills a prefix."""

    name: str

    def obstacle(self, spec: EnvironmentSpec) -> str:
        """Return why this backend cannot be used here for `spec`; empty when it can."""

    def require_compiler(self, spec: EnvironmentSpec) -> None:
        """Raise `CompilerError` when neither the prefix nor this machine will have what compiles extensions."""

    def fill(self, order: Order) -> tuple[str, ...]:
        """Fill the prefix and return what was left out, each with the reason."""


def install_pip_part(order: Order) -> None:
    """Install the locked packages into the order's prefix; hashes are checked."""
    program = order.prefix / "bin" / "python"
    if not order.spec.pip:
        return
    order.progress(f"installing the pip part of {order.spec.path.name}")
    try:
        run_uv(
            ["pip", "install", "--python", program, "--require-hashes", "-r", order.requirements],
            progress=order.progress,
            keep_open=order.keep_open,
        )
    except UvFailedError as failure:
        raise explain(failure, order.spec.path) from failure


def conda_name(text: str) -> str:
    """Return the package name of a conda match spec as a file writes it: ``conda-forge::gxx=11``."""
    bare = text.rpartition("::")[2]
    match = re.match(r"[A-Za-z0-9_.-]+", bare)
    return match[0].lower() if match else bare
