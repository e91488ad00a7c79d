"""The backend ``uv``: a virtual environment on a Python of the pinned minor version, with the same pip part."""

from __future__ import annotations

from reportlib.environments.installer import UvFailedError, explain, run_uv
from reportlib.environments.order import Order, conda_name, install_pip_part
from reportlib.environments.spec import EnvironmentSpec


class UvBackend:
    """A virtual environment. conda packages other than Python are left out, and named."""

    name = "uv"

    def obstacle(self, spec: EnvironmentSpec) -> str:
        """Return nothing: uv comes with this package."""
        del spec
        return ""

    def brings_compiler(self, spec: EnvironmentSpec) -> bool:
        """Return False: compilers are not on the package registry."""
        del spec
        return False

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
