"""The backend ``uv``: a virtual environment on a Python of the pinned minor version, with the same pip part."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from reportlib.environments import machine
from reportlib.environments.installer import UvFailedError, explain, run_uv
from reportlib.environments.order import Order, conda_name, install_pip_part
from reportlib.environments.spec import EnvironmentSpec


class UvBackend:
    """A virtual environment. conda packages other than Python are left out, and named."""

    name = "uv"

    def obstacle(self, spec: EnvironmentSpec) -> str:
        """Return why there is no Python of the pinned minor version; empty when the machine has one or uv brings it."""
        try:
            provide_python(spec.python_minor)
        except UvFailedError as failure:
            lines = [re.sub(r"^\s*\w+: ", "", line) for line in str(failure).splitlines() if line.strip()]
            version = spec.python_minor
            return (
                f"{spec.path.name} pins Python {version}, none is on this machine, and uv could not download one"
                f" ({': '.join(dict.fromkeys([*lines[:1], *lines[-1:]]))})"
            )
        return ""

    def require_compiler(self, spec: EnvironmentSpec) -> None:
        """Look for the machine's compiler, and for Python's headers: neither is on the package registry."""
        machine.require_compiler()
        machine.require_headers(provide_python(spec.python_minor))

    def fill(self, order: Order) -> tuple[str, ...]:
        """Make the virtual environment and install the pip part.

        Raises
        ------
        EnvironmentCreationError, EnvironmentFileError, DiskSpaceError
            As uv says.
        """
        version = order.spec.python_minor
        order.progress(f"making a virtual environment on Python {version}")
        try:
            run_uv(
                [
                    "venv",
                    "--no-project",
                    "--python",
                    version,
                    "--prompt",
                    order.spec.name,
                    order.prefix,
                ],
                progress=order.progress,
                keep_open=order.keep_open,
            )
        except UvFailedError as failure:
            raise explain(failure, order.spec.path) from failure
        install_pip_part(order)
        left_out = [text for text in order.spec.conda if conda_name(text) not in ("python", "pip")]
        return tuple(f"{text}: a conda package, and this backend has no conda" for text in left_out)


def installed_python(version: str) -> Path | None:
    """Return a Python of a minor version that uv can use and the machine, or uv itself, has already."""
    try:
        # Not the host's own virtual environment, whose Python may be another.
        return Path(run_uv(["python", "find", "--no-project", "--system", version]).strip())
    except UvFailedError:
        return None


def provide_python(version: str) -> Path:
    """Return a Python of a minor version, after uv has downloaded one where none is installed.

    Raises
    ------
    UvFailedError
        When uv cannot.
    """
    python = installed_python(version)
    if python is None:
        with tempfile.TemporaryDirectory() as folder:
            run_uv(["venv", "--no-project", "--python", version, Path(folder, "environment")])
            python = Path(run_uv(["python", "find", "--no-project", "--system", version]).strip())
    return python
