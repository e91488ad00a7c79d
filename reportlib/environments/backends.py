"""Which backend makes an environment: the first of a preference string that can be used here.

``rattler`` solves and installs the conda part from the file's channels, then uv installs the pip part into it.
``uv`` makes a virtual environment on a Python of the pinned minor version, the machine's or one that it downloads, and
installs the same pip part. On which Python the host runs makes no difference.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import rattler
from rattler.exceptions import InvalidMatchSpecError, SolverError

from reportlib.environments.spec import EnvironmentSpec, Progress, UvFailedError, explain, run_uv
from reportlib.errors import (
    CompilerError,
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
    ReportlibError,
)

# What a backend is, and what it is told to do.


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


# What must be there before an environment is made: a compiler that works, and room on the disk.

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
    """Compile and link a small C++17 program with the compiler that torch would use."""
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
    """See that a Python has the headers that extensions are compiled against."""
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


# The backend ``rattler``: a real conda prefix from the file's channels, without a conda installation.

#: Seconds to wait for a channel's answer. A channel that is there answers in well under one.
CHANNEL_TIMEOUT = 5.0


class RattlerBackend:
    """A real conda prefix, without conda."""

    name = "rattler"

    def obstacle(self, spec: EnvironmentSpec) -> str:
        """Return why the file's channels cannot be used; empty when all answer."""
        for channel in channels(spec):
            reason = unreachable(channel)
            if reason:
                return f"the conda channel {channel} cannot be reached: {reason}"
        return "" if channels(spec) else f"{spec.path.name} names no conda channel"

    def require_compiler(self, spec: EnvironmentSpec) -> None:
        """Look for the machine's compiler where the file's conda part lists none; conda's Python brings its headers."""
        if not any(conda_name(text) in ("gxx", "cxx-compiler", "compilers") for text in spec.conda):
            require_compiler()

    def fill(self, order: Order) -> tuple[str, ...]:
        """Solve and install the conda part, then install the pip part into it."""
        has_gpu = any(p.into_generic().name.normalized == "__cuda" for p in rattler.VirtualPackage.detect())
        wanted = [text for text in order.spec.conda if has_gpu or not f"{conda_name(text)}-".startswith("cuda-")]
        try:
            asyncio.run(self._install(order, wanted))
        except InvalidMatchSpecError as error:
            raise EnvironmentFileError(f"{order.spec.path}: dependencies: {error}") from error
        except SolverError as error:
            raise EnvironmentFileError(
                f"{order.spec.path}: its channels cannot give what it asks for:\n{error}",
                "check names and versions, and the order of the channels",
            ) from error
        except Exception as error:  # rattler raises a type of its own for each of its parts
            raise _explain_rattler(error, order.spec) from error
        install_pip_part(order)
        return tuple(f"{text}: no GPU here" for text in order.spec.conda if text not in wanted)

    async def _install(self, order: Order, wanted: Sequence[str]) -> None:
        order.progress(f"solving {', '.join(wanted)} from {', '.join(channels(order.spec))}")
        records = await rattler.solve(
            sources=[rattler.Channel(channel) for channel in channels(order.spec)],
            specs=list(wanted),
            virtual_packages=rattler.VirtualPackage.detect(),
        )
        order.progress(f"installing {len(records)} conda packages")
        await rattler.install(
            records,
            target_prefix=order.prefix,
            show_progress=False,
            # mypy takes the empty defaults of rattler's protocol for abstract methods.
            reporter=_Reporter(order.progress, len(records)),  # type: ignore[abstract]
        )


class _Reporter(rattler.InstallerReporter):
    """Turns rattler's callbacks into lines."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.total = total
        self.linked = 0
        self.downloading: dict[int, str] = {}

    def on_populate_cache_start(self, operation: int, package_name: str) -> int:
        self.downloading[operation] = package_name
        return operation

    def on_download_start(self, cache_entry: int) -> int:
        self.progress(f"downloading {self.downloading.get(cache_entry, '')}")
        return cache_entry

    def on_link_start(self, operation: int, package_name: str) -> int:
        self.linked += 1
        self.progress(f"installing conda package {self.linked} of {self.total}: {package_name}")
        return operation


def channels(spec: EnvironmentSpec) -> list[str]:
    """Return the file's channels; ``nodefaults`` only tells conda to add none of its own."""
    return [channel for channel in spec.channels if channel != "nodefaults"]


def unreachable(channel: str, timeout: float = CHANNEL_TIMEOUT) -> str:
    """Return why a channel does not answer within `timeout` seconds; empty when it does."""
    base = rattler.Channel(channel).base_url.rstrip("/")
    # Every conda channel has noarch, even an empty one; the shorter file answers the same question.
    request = urllib.request.Request(f"{base}/noarch/repodata.json", method="HEAD")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310  (file:// is a channel too)
            return ""
    except (urllib.error.URLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error)


def _explain_rattler(error: Exception, spec: EnvironmentSpec) -> ReportlibError:
    if isinstance(error, ReportlibError):
        return error
    if "No space left on device" in str(error):
        return DiskSpaceError(
            f"the disk ran full while conda packages were installed for {spec.path.name}",
            "make room, then run it again",
        )
    return EnvironmentCreationError(
        f"the conda part of {spec.path.name} could not be installed: {error}",
        "run it again, or use --backend uv",
    )


# The backend ``uv``: a virtual environment on a Python of the pinned minor version, with the same pip part.


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
        require_compiler()
        require_headers(provide_python(spec.python_minor))

    def fill(self, order: Order) -> tuple[str, ...]:
        """Make the virtual environment and install the pip part."""
        version = order.spec.python_minor
        order.progress(f"making a virtual environment on Python {version}")
        try:
            run_uv(
                [
                    "venv",
                    "--no-project",
                    "--python",
                    provide_python(version),
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
    """Return a Python of a minor version that is there already: on PATH, uv's own, or the one that the host runs on."""
    try:
        # No virtual environment's: that one may go.
        return Path(run_uv(["python", "find", "--no-project", "--system", version]).strip())
    except UvFailedError:
        own = Path(os.path.realpath(sys.executable))
        return own if platform.python_version().startswith(f"{version}.") else None


def provide_python(version: str) -> Path:
    """Return a Python of a minor version, after uv has downloaded one where none is installed."""
    python = installed_python(version)
    if python is None:
        with tempfile.TemporaryDirectory() as folder:
            run_uv(["venv", "--no-project", "--python", version, Path(folder, "environment")])
            python = Path(run_uv(["python", "find", "--no-project", "--system", version]).strip())
    return python


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
