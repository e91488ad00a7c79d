"""Which backend makes an environment: the first of a preference string that can be used here.

``rattler`` solves and installs the conda part from the file's channels, then uv installs the pip part into it.
``uv`` makes a virtual environment on a Python of the pinned minor version, the machine's or one that it downloads, and
installs the same pip part. On which Python the host runs makes no difference.
"""

from __future__ import annotations

from reportlib.environments.conda import RattlerBackend
from reportlib.environments.order import Backend
from reportlib.environments.spec import EnvironmentSpec
from reportlib.environments.venv import UvBackend
from reportlib.errors import EnvironmentCreationError

PREFERENCE = "rattler|uv"
BACKENDS: dict[str, Backend] = {"rattler": RattlerBackend(), "uv": UvBackend()}


def choose(preference: str, spec: EnvironmentSpec) -> tuple[Backend, str]:
    """Return the first backend of a preference string that can be used here.

    Parameters
    ----------
    preference : str
        Names separated by ``|``: ``rattler|uv``.
    spec : EnvironmentSpec
        What it is for.

    Returns
    -------
    Backend
    str
        Why the ones before it were passed over; empty when none was.

    Raises
    ------
    EnvironmentCreationError
        When a name is unknown, or none can be used.
    """
    reasons: list[str] = []
    for name in parse_preference(preference):
        obstacle = BACKENDS[name].obstacle(spec)
        if not obstacle:
            return BACKENDS[name], "; ".join(reasons)
        reasons.append(obstacle)
    version = spec.python_minor
    mend = (
        f"install a Python {version} (as a package, or with pyenv), name a mirror of uv's in UV_PYTHON_INSTALL_MIRROR,"
        f" or make the prefix with conda and run `reportlib env adopt {spec.name} PREFIX`"
    )
    if "uv" not in parse_preference(preference):
        mend = "use --backend uv, which needs no conda channel"
    raise EnvironmentCreationError("; ".join(reasons), mend)


def parse_preference(preference: str) -> list[str]:
    """Split a preference string and check its names."""
    names = [name.strip() for name in preference.split("|")]
    for name in names:
        if name not in BACKENDS:
            raise EnvironmentCreationError(
                f"there is no backend {name!r}", f"use {', '.join(BACKENDS)} or '{PREFERENCE}'"
            )
    return names
