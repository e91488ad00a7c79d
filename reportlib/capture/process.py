"""The process that runs inside an environment: which one that is, what is settled before torch, and its progress.

The environment is told by where its Python lies, never by a name alone. All of it runs before torch is imported, and
without it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from reportlib.errors import CaptureError, WrongEnvironmentError
from reportlib.store import Capture, project_home

if TYPE_CHECKING:
    from reportlib.capture.request import ArmRequest

Request = TypeVar("Request", bound="ArmRequest")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: How many contradictions a message names.
_MOST = 5


@dataclass(frozen=True)
class Environment:
    """What the project's home says of one environment: the part of `reportlib.environments.record` that is needed."""

    name: str
    prefix: str
    backend: str
    python: str
    packages: Mapping[str, str]

    @property
    def torch(self) -> str:
        """The version of torch."""
        return self.packages.get("torch", "unknown")

    def contradictions(self, python: str, packages: Mapping[str, str]) -> list[str]:
        """Return in what a Python and its packages are not those of this environment.

        Packages that were added since say nothing of those that the environment was made with. Neither does Python's
        last number, which the machine's own updates change.
        """
        wrong = []
        if _minor(python) != _minor(self.python):
            wrong.append(f"python is {python}, {self.name} has {self.python}")
        held = {canonical(name): version for name, version in packages.items()}
        # torch first: it is what an environment is for.
        for name, version in sorted(self.packages.items(), key=lambda item: (item[0] != "torch", item[0].lower())):
            if (there := held.get(canonical(name))) != version:
                wrong.append(f"{name} is {there or 'not there'}, {self.name} has {version}")
        return wrong


def canonical(name: str) -> str:
    """Return a package's name as it is compared: ``huggingface-hub`` for ``huggingface_hub``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Return what this process can import, by the name in its metadata: of two with one name the first on the path."""
    found: dict[str, metadata.Distribution] = {}
    for package in metadata.distributions():
        if name := package.metadata["Name"]:
            found.setdefault(name, package)
    return found


def known_environments() -> dict[str, Environment]:
    """Return the environments of the project's home, by name; a description that cannot be read is none."""
    known = {}
    for path in sorted((project_home() / "envs").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known[path.stem] = Environment(
                path.stem, content["prefix"], content["backend"], content["python"], content["packages"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return known


def own_environment(name: str = "") -> str:
    """Return the name of the environment that this process runs in, having checked that it is as it was made.

    Parameters
    ----------
    name : str
        What it is said to be; empty where that is for the process to say.

    Raises
    ------
    WrongEnvironmentError
        When it is another environment or none of the project's, or when other packages are installed in it than
        when it was made or adopted.
    """
    known = known_environments()
    prefix = os.path.realpath(sys.prefix)
    here = [environment for environment in known.values() if os.path.realpath(environment.prefix) == prefix]
    if not here:
        raise WrongEnvironmentError(
            f"the Python that runs ({sys.prefix}) is none of the environments in {project_home()}"
            f" (made there: {', '.join(known) or 'none'})",
            _start(name or next(iter(known), "torch201"), known) + ", or set REPORTLIB_HOME to the home that has it",
        )
    own = next((environment for environment in here if environment.name == name), here[0])
    if name not in ("", own.name):
        raise WrongEnvironmentError(
            f"what runs is the environment {own.name} (torch {own.torch}), not {name}",
            f"{_start(name, known)}, or leave `environment` empty, which stands for the one that runs: {own.name}",
        )
    if not name and len(here) > 1:
        names = ", ".join(environment.name for environment in here)
        raise WrongEnvironmentError(
            f"the Python that runs ({sys.prefix}) has several names: {names}",
            "give `environment`, or remove all but one with `reportlib env remove`",
        )
    packages = {name: package.version for name, package in installed().items()}
    if wrong := own.contradictions(platform.python_version(), packages):
        again = f"run `reportlib env adopt {own.name} {own.prefix}`"
        if own.backend != "adopted":
            again = f"run `reportlib env remove {own.name}`, then `reportlib env create {own.name}`"
        raise WrongEnvironmentError(f"the environment {own.name} is not as it was made: {_listed(wrong)}", again)
    return own.name


def require_origin(capture: Capture, name: str) -> None:
    """Refuse a capture that was not made in the environment that it is said to be of.

    Parameters
    ----------
    capture : Capture
        Its provenance says what it was made with.
    name : str
        The environment. One that is not there any more can still not be another one that is.

    Raises
    ------
    CaptureError
        Naming the capture and what contradicts its name.
    """
    known = known_environments()
    python = str(capture.provenance.get("python"))
    packages = {key: str(value["version"]) for key, value in capture.provenance.get("packages", {}).items()}
    if name in known:
        wrong = known[name].contradictions(python, packages)
    else:
        same = [other for other in known.values() if not other.contradictions(python, packages)]
        wrong = [f"it holds what {other.name} holds (torch {other.torch})" for other in same]
    if wrong:
        raise CaptureError(
            f"the capture {capture.path.name} was not made in the environment {name}: {_listed(wrong)}",
            f"remove it, and capture with the kernel {name}",
        )


def _start(name: str, known: Mapping[str, Environment]) -> str:
    if name not in known:
        return f"run `reportlib env create {name}` and pick its kernel (papermill: -k {name})"
    return f"pick the kernel {name} (papermill: -k {name}; its Python is {known[name].prefix}/bin/python)"


def _listed(wrong: list[str]) -> str:
    more = [f"{len(wrong) - _MOST} more"] if len(wrong) > _MOST else []
    return "; ".join([*wrong[:_MOST], *more])


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def settled_variables(device: str) -> frozenset[str]:
    """Return the environment variables that `prepare_process` sets itself, whatever they were."""
    hidden = {"CUDA_VISIBLE_DEVICES"} if device == "cpu" else set()
    return frozenset({*_THREADS, "TOKENIZERS_PARALLELISM", *hidden})


def prepare_process(request: Request) -> Request:
    """Settle, before torch is imported, which environment, device, threads and variables this process has.

    Parameters
    ----------
    request : ArmRequest
        Device ``cpu`` hides every GPU: colbert-ai takes one wherever torch sees it. `threads` is for OpenMP, MKL
        and OpenBLAS; `reportlib.capture.session.Setup` sets torch's and faiss's own.

    Returns
    -------
    ArmRequest
        The same, what it left to this process filled in: the environment that runs.

    Raises
    ------
    WrongEnvironmentError
        When this process is not the environment that the request names.
    CaptureError
        When torch is imported already.
    """
    request = request.settled()
    if "torch" in sys.modules:
        raise CaptureError("torch is imported already in this kernel", "restart the kernel and run all cells")
    for name in _THREADS:
        os.environ[name] = str(request.threads)
    # colbert-ai tokenizes in this process; more threads there only raise warnings after a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if request.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.update(request.variables)
    return request


@contextmanager
def quiet() -> Iterator[None]:
    """Keep colbert-ai's and transformers' own output and warnings away; errors still are errors."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@dataclass
class Progress:
    """Say which arm is where, at most every few seconds.

    colbert-ai redirects nothing and prints much; its output goes to a log file, so progress keeps the stream that
    was standard error when it was made.

    Parameters
    ----------
    arm : str
        Name that every line starts with.
    every : float
        Seconds between two lines of one stage.
    """

    arm: str
    every: float = 5.0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _last: float = field(default=0.0, init=False)

    def stage(self, text: str) -> None:
        """Begin a stage: always one line."""
        self._write(text)

    def step(self, text: str, done: int, total: int) -> None:
        """Say how far a stage is, if the last line is old enough."""
        if time.monotonic() - self._last >= self.every:
            self._write(f"{text}: {done:,} of {total:,} ({done / max(total, 1):.0%})")

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        self.stream.write(f"{self.arm} · {text}\n")
        self.stream.flush()
