"""Which operations a sweep probes, and how each version is installed, measured with them and removed again.

They are those of recorded passes, and never a list made by hand.

``python -m reportlib.sweep.probes TRACE...`` writes ``probes.json`` anew from trace folders. Of an operation its name,
its arguments, and its tensors' dtypes, shapes and strides are taken; `reportlib.trace.probing` makes values for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any, Protocol

from reportlib.environments import EnvironmentSpec, create, load_record, load_spec, remove, spec_names
from reportlib.environments.backends import PREFERENCE
from reportlib.environments.further import environment_name, further
from reportlib.environments.record import find_record
from reportlib.environments.spec import Lock, read_lock, run_uv, silent
from reportlib.errors import DiskSpaceError, EnvironmentCreationError, ReportlibError
from reportlib.store import Capture, canonical_json, digest
from reportlib.sweep.captures import Capturing, artifacts, signature
from reportlib.trace.format import MEASURED, SAMPLES, Operation, Trace
from reportlib.workflow.addresses import CODE, ambient
from reportlib.workflow.traces import PreparedInputs, TraceOrder, run

FILE = "probes.json"
#: They move bytes, or hand out memory, numbers that count up or chance, and compute nothing.
_MOVES = frozenset(
    f"aten::{name}" for name in ("arange", "cat", "clone", "copy_", "detach_", "embedding", "fill_", "index",
                                 "randperm", "set_", "zeros", "_unique2", "bincount", "item")
)  # fmt: skip
#: Elements below which an index pass's operation is one about counters.
_LEAST = 90
#: What the posts found and a batch of 32 passages cannot show. The sort changes from 32,768 integers on (D6 sorts codes
#: of 1,146,937 embeddings; a tenth is enough), and F.normalize is several operations (G4).
_ADDED: tuple[Mapping[str, Any], ...] = (
    {"name": "aten::sort", "overload": "", "arguments": {"self": {"tensor": 0}}, "passes": ["index"],
     "tensors": [{"dtype": "int64", "shape": [114_693], "strides": [1]}], "precisions": ["float32", "autocast"]},
    {"name": "torch::normalize", "overload": "", "arguments": {"dim": 2}, "passes": ["batch"],
     "tensors": [{"dtype": "float32", "shape": [32, 74, 96], "strides": [7_104, 96, 1]}],
     "precisions": ["float32", "autocast"]},
)  # fmt: skip


def read() -> list[dict[str, Any]]:
    """Return the probes: ``id``, ``name``, ``overload``, ``arguments``, ``tensors``, ``precisions`` and ``passes``."""
    found: list[dict[str, Any]] = json.loads(path().read_text(encoding="utf-8"))["probes"]
    return found


def path() -> Path:
    """Return the file, as an environment reads it."""
    return Path(str(resources.files("reportlib.sweep").joinpath(FILE)))


def make(traces: Iterable[Trace]) -> list[dict[str, Any]]:
    """Return the probes that recorded passes give, in the order in which operations first run.

    Parameters
    ----------
    traces : iterable of Trace
        In float32 or under autocast. Of each, the first single text, the batch, and indexing where it was recorded.

    Returns
    -------
    list of dict
        One for each operation, dtypes, shapes and arguments; of an index pass only the largest of each operation and
        dtypes. What autocast leaves in float32 is of both precisions.
    """
    found: dict[str, dict[str, Any]] = {}
    for trace in traces:
        for slug in ("text0", "batch", "index"):
            if slug not in trace.passes:
                continue
            recorded = [probe for operation in trace.operations(slug) if (probe := _probe(operation)) is not None]
            for probe in _largest(recorded) if slug == "index" else recorded:
                known = found.setdefault(_key(probe), probe)
                for name, value in (("passes", slug), ("precisions", trace.arm["precision"])):
                    if value not in known[name]:
                        known[name].append(value)
    for added in _ADDED:
        found.setdefault(_key(added), dict(added))
    return [{"id": _id(probe), **probe} for probe in found.values()]


def _largest(probes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each operation and dtypes the probe that reads most."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for probe in probes:
        kind = (probe["name"], probe["overload"], *(tensor["dtype"] for tensor in probe["tensors"]))
        if _size(probe) >= max(_LEAST, _size(found.get(kind, probe))):
            found[kind] = probe
    return list(found.values())


def _probe(operation: Operation) -> dict[str, Any] | None:
    """Return an operation as a probe, or None where it computes nothing."""
    computes = operation.name.startswith("aten::") and operation.written and operation.inputs and operation.outputs
    if not computes or operation.name in _MOVES or operation.outputs[0].digest is None:
        return None
    tensors = [{"dtype": t.dtype, "shape": list(t.shape), "strides": list(t.strides)} for t in operation.inputs]
    return {"name": operation.name, "overload": operation.overload, "arguments": dict(operation.arguments),
            "tensors": tensors, "precisions": [], "passes": []}  # fmt: skip


def _key(probe: Mapping[str, Any]) -> str:
    return canonical_json([probe["name"], probe["overload"], probe["arguments"], probe["tensors"]])


def _size(probe: Mapping[str, Any]) -> int:
    return sum(prod(tensor["shape"]) for tensor in probe["tensors"])


def _id(probe: Mapping[str, Any]) -> str:
    """Name a probe after its operation and its tensors: ``addmm float32 384, 3584x384, 384x1536``."""
    name = probe["name"].rpartition("::")[2] + (f".{probe['overload']}" if probe["overload"] else "")
    dtypes = "/".join(dict.fromkeys(tensor["dtype"] for tensor in probe["tensors"]))
    into = [value["dtype"] for value in probe["arguments"].values() if isinstance(value, dict) and "dtype" in value]
    shapes = ", ".join("x".join(map(str, tensor["shape"])) or "1" for tensor in probe["tensors"])
    return " ".join([name, " to ".join([dtypes, *into]), shapes])


# Install each version, measure it, and remove it again; what was measured is kept by address and not done twice.

Progress = Callable[[str], None]
KEEP = ("none", "all")
#: What of a probe decides its result; the rest says where it was met.
_DETERMINING = ("id", "name", "overload", "arguments", "tensors")


@dataclass(frozen=True)
class Site:
    """A version that is to be measured, before anything of it is installed.

    Attributes
    ----------
    version, name : str
        Of torch, and of the environment.
    folder : Path
        Where its measurement is or goes: its name holds a hash of all that determines it.
    python : str
        The version that its environment file pins.
    pins, packages : mapping of str to str
        What the file pins, and all that its lock resolves to.
    spec : EnvironmentSpec or None
        The environment file; None in tests.
    """

    version: str
    name: str
    folder: Path
    python: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    spec: EnvironmentSpec | None = None

    @property
    def is_measured(self) -> bool:
        """Whether it was measured before."""
        return (self.folder / MEASURED).is_file()

    def measured(self) -> dict[str, Any]:
        """Return what its environment wrote."""
        content: dict[str, Any] = json.loads((self.folder / MEASURED).read_text(encoding="utf-8"))
        return content

    @cached_property
    def signature(self) -> str:
        """A hash of what it computes, once it is measured: a measurement never changes, so it is read once."""
        return signature(self.measured())


@dataclass(frozen=True)
class Outcome:
    """What came of a version.

    Attributes
    ----------
    version : str
        Of torch.
    site : Site or None
        None where not even an environment file could be written.
    why : str
        Why there is no measurement; empty when there is one.
    captures : mapping of str to Path
        By precision; empty where none are wanted, or an older version computes the same.
    uncaptured : str
        Why there are none although they are wanted.
    """

    version: str
    site: Site | None
    why: str = ""
    captures: Mapping[str, Path] = field(default_factory=dict)
    uncaptured: str = ""

    def measured(self) -> dict[str, Any]:
        """Return what the environment wrote."""
        assert self.site is not None  # noqa: S101  (asked for only where it was measured)
        return self.site.measured()

    @property
    def signature(self) -> str:
        """A hash of what it computes."""
        assert self.site is not None  # noqa: S101
        return self.site.signature

    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Return what was captured: ``float32/embs`` and so on, each with its ``digest``, ``dtype`` and ``shape``."""
        return {
            f"{precision}/{name}": entry
            for precision, folder in self.captures.items()
            for name, entry in artifacts(Capture.open(folder)).items()
        }

    @property
    def samples(self) -> Path:
        """The file with elements of each output."""
        assert self.site is not None  # noqa: S101
        return self.site.folder / SAMPLES


class Station(Protocol):
    """Where versions are installed and measured; tests put one of their own in its place."""

    def prepare(self, version: str) -> Site:
        """Say what is to be installed, and where the measurement goes."""

    def install(self, site: Site) -> None:
        """Make the environment."""

    def measure(self, site: Site) -> None:
        """Write the measurement's folder."""

    def captured(self, site: Site) -> Mapping[str, Path] | None:
        """Return its captures by precision: empty where they are not all there, None where none are wanted."""

    def capture(self, site: Site) -> None:
        """Make its captures."""

    def remove(self, site: Site, following: Site | None) -> None:
        """Free what `site` takes and `following` does not need."""


@dataclass(frozen=True)
class Environments:
    """Versions in environments of this project.

    Attributes
    ----------
    root, home : Path
        The project with its environment files, and its folder for environments and inputs.
    inputs : PreparedInputs
        What BERT reads.
    keep : str
        ``none`` removes each environment that was not there before, with what was downloaded for it; ``all`` leaves it.
    backend : str
        As `reportlib.environments.create` takes it.
    order : TraceOrder
        Threads and texts of the passes.
    capturing : Capturing or None
        What is captured where a version computes what no older one does.
    progress : callable
        Told what a capture is at.
    """

    root: Path
    home: Path
    inputs: PreparedInputs
    keep: str = "none"
    backend: str = PREFERENCE
    order: TraceOrder = field(default_factory=lambda: TraceOrder(threads=1))
    capturing: Capturing | None = None
    progress: Progress = silent
    _there: set[str] = field(default_factory=set)

    @property
    def own(self) -> Path:
        """The sweep's folder: environment files that the project lacks, downloads, measurements."""
        return self.home / "sweep"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Environments]:
        """Keep downloads in a cache of the sweep's own, which all versions use and which may be emptied."""
        before = os.environ.get("UV_CACHE_DIR")
        if self.keep == "none":
            os.environ["UV_CACHE_DIR"] = str(self.own / "cache")
        try:
            yield self
        finally:
            if self.keep == "none":
                os.environ.pop("UV_CACHE_DIR")
                shutil.rmtree(self.own / "cache", ignore_errors=True)
            if before is not None:
                os.environ["UV_CACHE_DIR"] = before

    def prepare(self, version: str) -> Site:
        """Find or write the environment file."""
        spec, lock = self._file(version)
        content = {
            "code": CODE["probe"],
            "probes": [[probe[name] for name in _DETERMINING] for probe in read()],
            "inputs": self.inputs.digest(),
            "order": self.order.content(),
            "machine": ambient("cpu")["machine"],
            "environment": [spec.digest, lock.digest],
        }
        key = digest(canonical_json(content).encode())[:16]
        folder = self.own / "measured" / f"{spec.name}-{key}"
        return Site(version, spec.name, folder, spec.python, spec.pins, lock.pins, spec)

    def _file(self, version: str) -> tuple[EnvironmentSpec, Lock]:
        name = environment_name(version)
        if name in spec_names(self.root):
            spec = load_spec(name, self.root)
            return spec, read_lock(spec)
        if name in spec_names(self.own):
            spec = load_spec(name, self.own)
            if spec.lock_path.is_file():
                return spec, read_lock(spec)
            spec.path.unlink()  # cut off between the two
        made = further(version, self.root)
        if made.lock is None:
            raise EnvironmentCreationError(made.asked, "check the network, or name your mirror in UV_DEFAULT_INDEX")
        self.own.mkdir(parents=True, exist_ok=True)
        made.write(self.own)
        spec = load_spec(name, self.own)
        return spec, read_lock(spec)

    def install(self, site: Site) -> None:
        """Make the environment, without colbert-ai's extensions: only searching needs them."""
        assert site.spec is not None  # noqa: S101
        if find_record(site.name, self.home) is not None:
            self._there.add(site.name)
        create(site.spec, self.home, backend=self.backend, extensions=False, threads=self.order.threads)

    def measure(self, site: Site) -> None:
        """Run the verb ``probe`` inside the environment."""
        site.folder.parent.mkdir(parents=True, exist_ok=True)
        record = load_record(site.name, self.home)
        call = self.order.call(record, self.inputs, "probe", "probing", probes=path(), output=site.folder)
        run(call, self.home, silent)

    def captured(self, site: Site) -> Mapping[str, Path] | None:
        """Return the captures that are there."""
        assert site.spec is not None  # noqa: S101
        return self.capturing.made(site.spec) if self.capturing else None

    def capture(self, site: Site) -> None:
        """Index, and search where the study does: for that colbert-ai's extensions are compiled."""
        assert self.capturing is not None  # noqa: S101
        assert site.spec is not None  # noqa: S101
        create(site.spec, self.home, backend=self.backend, threads=self.order.threads, progress=self.progress)
        self.capturing.capture(site.spec, self.progress)

    def remove(self, site: Site, following: Site | None) -> None:
        """Remove the environment and the downloads that the following one has in another version."""
        if self.keep == "all" or site.name in self._there or find_record(site.name, self.home) is None:
            return
        remove(site.name, self.home)
        others = following.packages if following else {}
        if names := [name for name, version in site.packages.items() if others.get(name) != version]:
            run_uv(["cache", "clean", *names])


def sweep(versions: Sequence[str], station: Station, progress: Progress, known: Sequence[str] = ()) -> list[Outcome]:
    """Measure every version that was not measured before; while one is measured, the next is installed.

    Where a station captures, it does so for each version that computes something else than every older one.

    Parameters
    ----------
    versions : sequence of str
        From the older to the newer.
    station : Station
        Where that is done. At most two environments are there at a time, beside those that were there before.
    progress : callable
        Gets a line each time something moves on.
    known : sequence of str
        Versions that were measured and captured before: what computes the same as one of them is not captured.

    Returns
    -------
    list of Outcome
        One for each version, those that are `known` first. One that cannot be installed, measured or captured says why.

    Raises
    ------
    DiskSpaceError
        When there is no room: that is no fact about a version.
    """
    outcomes: dict[str, Outcome] = {}
    for version in (*known, *versions):
        try:
            outcomes[version] = Outcome(version, station.prepare(version))
        except ReportlibError as error:
            outcomes[version] = Outcome(version, None, error.what)
            progress(f"torch {version}: {error.what}")
    work = _Work(outcomes, station)
    waiting = [outcome.site for outcome in outcomes.values() if outcome.site and work.is_due(outcome.site)]
    started = time.monotonic()
    if len(waiting) < len(versions) > 1:
        progress(f"{len(versions) - len(waiting)} of {len(versions)} versions need no measuring")
    with ThreadPoolExecutor(max_workers=1) as pool:
        installing: Future[None] | None = pool.submit(station.install, waiting[0]) if waiting else None
        for number, site in enumerate(waiting):
            progress(f"version {number + 1} of {len(waiting)}, torch {site.version}{_clock(started, number, waiting)}")
            following = waiting[number + 1] if number + 1 < len(waiting) else None
            outcome, installing = work.do(site, following, pool, installing)
            outcomes[site.version] = outcome
            if why := outcome.why or outcome.uncaptured:
                progress(f"torch {site.version}: {why}")
    return [work.with_captures(outcome) for outcome in outcomes.values()]


@dataclass(frozen=True)
class _Work:
    """A sweep on its way."""

    outcomes: Mapping[str, Outcome]
    station: Station

    def alike(self, site: Site) -> list[Site]:
        """Return the older measured versions that compute what a version does."""
        older = [o.site for o in self.outcomes.values() if o.site and o.site.is_measured and not o.why]
        return [one for one in older[: older.index(site)] if one.signature == site.signature]

    def is_due(self, site: Site) -> bool:
        """Whether there is something to be done with a version installed."""
        return not site.is_measured or (self.station.captured(site) == {} and not self.alike(site))

    def do(
        self, site: Site, following: Site | None, pool: ThreadPoolExecutor, installing: Future[None] | None
    ) -> tuple[Outcome, Future[None] | None]:
        """Measure a version once it is installed; return what came of it, and the installation of the following one."""
        outcome = Outcome(site.version, site)
        try:
            if installing is not None:
                installing.result()
        except DiskSpaceError:
            raise
        except ReportlibError as error:
            measured = site.is_measured
            outcome = replace(outcome, why="" if measured else error.what, uncaptured=error.what if measured else "")
        coming = pool.submit(self.station.install, following) if following else None
        try:
            if not outcome.why and not outcome.uncaptured:
                outcome = self._measured(outcome, site)
        finally:
            if coming is not None:
                coming.exception()  # its own turn tells it; what both need must be there before anything is cleaned
            self.station.remove(site, following)
        return outcome, coming

    def _measured(self, outcome: Outcome, site: Site) -> Outcome:
        try:
            if not site.is_measured:
                self.station.measure(site)
        except ReportlibError as error:
            return replace(outcome, why=error.what)
        try:
            # Where it failed with an older one, it is tried again.
            if self.station.captured(site) == {} and not any(map(self.station.captured, self.alike(site))):
                self.station.capture(site)
        except DiskSpaceError:
            raise
        except ReportlibError as error:
            return replace(outcome, uncaptured=error.what)
        return outcome

    def with_captures(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the captures that are there, unless an older version stands for it."""
        if outcome.site is None or outcome.why or any(map(self.station.captured, self.alike(outcome.site))):
            return outcome
        return replace(outcome, captures=self.station.captured(outcome.site) or {})


def _clock(started: float, done: int, waiting: Sequence[Site]) -> str:
    if not done:
        return ""
    elapsed = time.monotonic() - started
    return f": {elapsed / 60:.0f} min so far, about {elapsed / done * (len(waiting) - done) / 60:.0f} min to go"


def main(arguments: list[str]) -> None:
    """Write the probes of trace folders."""
    probes = make(map(Trace.open, map(Path, arguments)))
    path().write_text(json.dumps({"probes": probes}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(probes)} probes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
