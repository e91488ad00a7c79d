"""The backend ``rattler``: a real conda prefix from the file's channels, without a conda installation."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Sequence

import rattler
from rattler.exceptions import InvalidMatchSpecError, SolverError

from reportlib.environments import machine
from reportlib.environments.installer import Progress
from reportlib.environments.order import Order, conda_name, install_pip_part
from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import (
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
    ReportlibError,
)

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
            machine.require_compiler()

    def fill(self, order: Order) -> tuple[str, ...]:
        """Solve and install the conda part, then install the pip part into it.

        Raises
        ------
        EnvironmentFileError
            When the channels have no such package or version.
        EnvironmentCreationError, DiskSpaceError
            When a channel or the disk gives way.
        """
        has_gpu = any(p.into_generic().name.normalized == "__cuda" for p in rattler.VirtualPackage.detect())
        wanted = [text for text in order.spec.conda if has_gpu or not _needs_gpu(text)]
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


def _needs_gpu(text: str) -> bool:
    return conda_name(text) == "cuda" or conda_name(text).startswith("cuda-")


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
