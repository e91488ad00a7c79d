"""A run of a study: the plan of what it needs, which Snakemake follows, and how far it is.

The plan names environments, captures and reports; `reportlib.workflow.addresses` says where each capture goes.
Snakemake does the work: order, resuming, arms side by side. Beside the plan there is only what a user sees of it, and
the lock that tells a living run from the remains of a killed one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from reportlib import checkpoints, kmeans
from reportlib.collections import sources
from reportlib.collections.folder import Collection
from reportlib.collections.reading import queries_within, read_passages
from reportlib.environments import EnvironmentSpec, load_spec
from reportlib.environments.backends import free_bytes
from reportlib.environments.record import check, find_record, kernel_folder
from reportlib.errors import CollectionError, DeviceError, DiskSpaceError, RunError, StudyError
from reportlib.kmeans import counter
from reportlib.notebooks import CAPTURE_NOTEBOOK, SEARCH_NOTEBOOK, SWAPS_NOTEBOOK, find_project
from reportlib.store import MANIFEST, canonical_json, digest, digest_file, link_folder
from reportlib.study import Study
from reportlib.workflow.addresses import Inputs, Planner, code_digest, plan_search, write_unless_there

COMPARE_NOTEBOOK = Path("notebooks/compare.ipynb")
#: What a report's bytes depend on.
_REPORT_CODE = ("compare", "findings", "words", "render", "store.py", "artifacts.py", "floats.py", "study.py")
SNAKEFILE = Path(__file__).with_name("Snakefile")
#: Lines of the jobs that a user wants to see: an arm's or environment's progress, but not its hundred packages, and
#: how many steps are done.
_ARM = re.compile(r"^\S+ · (?!\+ )")
_STEPS = re.compile(r"^(\d+) of (\d+) steps \((\d+)%\) done")
_FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)")
#: How long the steps of a study take beside each other, roughly: what is left is told from those that are done.
_WEIGHTS = {"capture": 1.0, "swaps": 1.0, "search": 0.7, "roots": 2.0, "report": 0.5, "early": 0.4, "page": 0.1}
#: The room that a capture and a series of swaps are given: the default study's largest take less.
_CAPTURE_BYTES, _SERIES_BYTES = 200_000_000, 150_000_000
#: The room in memory that an arm is given before another one is started beside it.
_ARM_BYTES = 3 << 30
#: Snakemake's table of what there is to do, and its word that it did none of it.
_TODO = re.compile(r"^(page|report|early|capture|swaps|search|roots|environment) +(\d+)$")
_DRY = "This was a dry-run"
#: Options with which it makes nothing, and gives what is there a new time.
_TOUCH = frozenset({"-t", "--touch"})
#: An error of ours, as a traceback ends in it.
_OURS = re.compile(r"(?:reportlib\.errors\.)?([A-Z]\w*Error): (.+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Progress = Callable[[str], None]


def find_root(start: Path) -> Path:
    """Return the project that a study belongs to: the nearest folder above it with the notebooks."""
    project = find_project(start.parent)
    if project is None:
        raise StudyError(
            f"no folder above {start} has {CAPTURE_NOTEBOOK}", "keep studies inside the project: reports/<name>/"
        )
    return project


def prepare_inputs(study: Study, home: Path, progress: Progress) -> Inputs:
    """Check and fetch what every arm reads, and link it as what notebooks take by default.

    Raises
    ------
    CollectionError, CheckpointError
        When an input cannot be used, the checkpoint's width does not fit ``nbits``, or the passages are too few.
    """
    progress("preparing the checkpoint")
    checkpoint = checkpoints.prepare(study.checkpoint, base=study.folder, home=home)
    checkpoints.check_dim(checkpoint.dim, study.colbert.nbits)
    progress("preparing the collection")
    collection = sources.prepare(study.collection, base=study.folder, home=home)
    for precision, wanted in study.passages.items():
        if wanted > collection.passages:
            raise CollectionError(
                f"{study.path}: precision.{precision}.passages is {wanted:,}, but there are {collection.passages:,}",
                "ask for fewer (0 means all)",
            )
    _check_amount(study, collection, checkpoint, progress)
    asked, notes = _asked(study, collection)
    link_folder(home / "inputs" / "collection", collection.path)
    link_folder(home / "inputs" / "checkpoint", checkpoint.path)
    return Inputs(collection, checkpoint, asked, (*collection.notes, *notes))


def _asked(study: Study, collection: Collection) -> tuple[dict[str, str], list[str]]:
    """Return a hash of the queries that each precision is searched for, and what to say of where there are none."""
    asked: dict[str, str] = {}
    notes = []
    for precision, limit in study.passages.items() if study.search.k and collection.queries else ():
        queries = queries_within(collection.path, limit)[: study.search.queries or None]
        asked[precision] = digest(canonical_json([[query.id, query.text] for query in queries]).encode())
        if limit and not queries:
            notes.append(
                f"precision.{precision}: no query has a relevant passage among the first {limit:,}, so nothing is "
                "searched for there: take more passages."
            )
    return asked, notes


def _check_amount(study: Study, collection: Collection, checkpoint: checkpoints.Checkpoint, progress: Progress) -> None:
    """Refuse a precision whose passages are too few for k-means, which would show only after all the long work."""
    longest = study.colbert.doc_maxlen
    count = counter(checkpoint.path, longest)
    for precision, wanted in study.passages.items():
        number = wanted or collection.passages
        if kmeans.always_enough(number):
            continue
        texts = [passage.text for passage in read_passages(collection.path, number)]
        if unknown := kmeans.check(f"{study.path}: precision.{precision}", texts, longest, count):
            progress(unknown)


def make_plan(study: Study, root: Path, home: Path, progress: Progress) -> Path:
    """Write the plan of a study, for the Snakefile.

    Parameters
    ----------
    study : Study
        Already read and checked.
    root : Path
        The project; every path in the plan is relative to it where it can be.
    home : Path
        Folder for environments, inputs and captures.
    progress : callable
        Told what is being prepared.

    Returns
    -------
    Path
        ``<home>/runs/<slug>/plan.json``. Neither it nor a parameter file is touched when it already says the same.

    Raises
    ------
    ReportlibError
        When an environment file, the collection, the checkpoint or a notebook cannot be used.
    """
    specs = {name: load_spec(name, root) for name in study.environments}
    inputs = prepare_inputs(study, home, progress)
    for note in inputs.notes:
        progress(note)
    folder = home / "runs" / study.slug
    folder.mkdir(parents=True, exist_ok=True)
    environments = {name: environment_digest(spec, home) for name, spec in specs.items()}
    planner = Planner(study, root, home, folder, inputs, environments)
    arms = {arm.name: planner.arm(arm) for arm in study.arms() if not (arm.swap or arm.searching)}
    searches = {arm.name: plan_search(planner, arm) for arm in study.arms() if arm.searching}
    series = [planner.series(swapped) for swapped in study.series()]
    roots = {f"{b.environment}/{b.precision}": planner.roots(a, b) for a, b in study.explained()}
    reports = study.folder / "notebooks"
    reports.mkdir(exist_ok=True)  # papermill does not make folders
    ready = {name: home / "ready" / f"{name}-{planner.environments[name][:16]}" for name in specs}
    for name, marker in ready.items():
        if find_record(name, home) is None:
            marker.unlink(missing_ok=True)  # the environment was removed since
    listed = {name: arm.capture for name, arm in arms.items()}
    for one in series:
        listed |= one.captures
        if not all((root / capture / MANIFEST).is_file() for capture in one.captures.values()):
            (root / one.done).unlink(missing_ok=True)  # a capture was removed since
    listed |= {name: search.capture for name, search in searches.items()}
    captures = folder / "captures.json"
    write_unless_there(captures, json.dumps(listed, indent=1))
    # A file, and no parameter of a rule: what two studies share would be made again for each of them.
    code = folder / "code"
    write_unless_there(code, digest((code_digest(_REPORT_CODE) + digest_file(root / COMPARE_NOTEBOOK)).encode()))
    explained = folder / "roots.json"
    write_unless_there(explained, json.dumps({name: pair.folder for name, pair in roots.items()}, indent=1))
    pending = [*listed.values(), *(pair.folder for pair in roots.values())]
    plain = [arm.capture for arm in arms.values() if arm.plain]
    # Where only a step or two is left, the whole page is there as soon as an early one would be.
    waits = sum(not (root / path).exists() for path in pending if path not in plain)
    early = planner.relative(folder / "early.ipynb") if waits > len(plain) else ""
    links = planner.links()
    for target, link in links.items():
        link_folder(root / link, root / target)
    plan = {
        "study": planner.relative(study.path),
        "threads": study.most_threads,
        "home": planner.relative(home),
        "environments": {name: planner.relative(marker) for name, marker in ready.items()},
        "arms": {name: asdict(arm) for name, arm in arms.items()},
        "swaps": {one.name: asdict(one) for one in series},
        "searches": {name: asdict(search) for name, search in searches.items()},
        "roots": {name: asdict(pair) for name, pair in roots.items()},
        "captures": planner.relative(captures),
        "explained": planner.relative(explained),
        "report": planner.relative(study.folder / "report.json"),
        "notebook": planner.relative(reports / "compare.ipynb"),
        "page": planner.relative(study.folder / "index.html"),
        "early": early,
        "capture_notebook": str(CAPTURE_NOTEBOOK),
        "swaps_notebook": str(SWAPS_NOTEBOOK),
        "search_notebook": str(SEARCH_NOTEBOOK),
        "compare_notebook": str(COMPARE_NOTEBOOK),
        "code": planner.relative(code),
        "links": links,
    }
    path = folder / "plan.json"
    write_unless_there(path, json.dumps(plan, indent=1))
    return path


def environment_digest(spec: EnvironmentSpec, home: Path) -> str:
    """Hash what an environment is made from; for one that the user made, what is in it."""
    record = find_record(spec.name, home)
    if record is not None and record.backend == "adopted":
        return digest(canonical_json([record.python, dict(record.packages), dict(record.conda_packages)]).encode())
    lock = digest_file(spec.lock_path) if spec.lock_path.exists() else ""
    return digest((spec.digest + lock).encode())


@dataclass(frozen=True)
class Outcome:
    """What a run made.

    Attributes
    ----------
    page, report : Path or None
        The study's `index.html` and `report.json`; None for one that is not there, or is not of what the study's
        captures are now.
    steps : int
        How many steps of the workflow were done; 0 when everything was there.
    dry : bool
        Whether Snakemake was only asked what it would do.
    left : mapping of str to int
        The steps that are still to be done, by rule: options for Snakemake can leave some out.
    made : mapping of str to int
        Those that need not be done, likewise.
    log : Path
        Everything that Snakemake said.
    """

    page: Path | None
    report: Path | None
    steps: int
    dry: bool
    left: Mapping[str, int]
    made: Mapping[str, int]
    log: Path


def run_study(
    study: Study, root: Path, home: Path, *, cores: int | None = None, options: Sequence[str] = (), progress: Progress
) -> Outcome:
    """Bring a study's page up to date.

    Parameters
    ----------
    study : Study
        Already read and checked.
    root : Path
        The project.
    home : Path
        Folder for environments, inputs and captures.
    cores : int, optional
        How many cores to use: as many arms run side by side as their threads fit. By default all that this process may
        use, and that there is memory for; one arm at a time on a GPU.
    options : sequence of str
        Further options for Snakemake (``--executor``, ``--profile``, ``--dry-run``).
    progress : callable
        Told one line at a time.

    Returns
    -------
    Outcome

    Raises
    ------
    RunError
        When another run of this project is under way, or a step failed; the message has the step's own error.
    ReportlibError
        When something that the study needs cannot be used: before any long work.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError("another run of this project is under way", "wait for it, or stop it") from error
    with lock:
        plan_path = make_plan(study, root, home, progress)
        plan = json.loads(plan_path.read_text(encoding="utf-8"))
        check_machine(study, home, plan)
        early = _known_as(plan["early"], plan["links"])
        snakemake = _Snakemake(root, home, plan_path, cores or _cores(study), progress, early, plan["page"])
        snakemake.unlock()
        done = snakemake.run(options)
        # With options of the user's a run can end well and leave the page as it was: what is there is looked at.
        waiting = snakemake.left() if options else {}
        left = {rule: waiting[rule] for rule in _steps(plan) if rule in waiting}
        folder = study.folder.absolute()
        files = {"page": folder / "index.html", "report": folder / "report.json"}
        current = {rule: path for rule, path in files.items() if path.is_file() and rule not in left}
        if not _TOUCH.isdisjoint(options):
            current = {}  # Snakemake now takes anything for up to date
        elif not options and len(current) < len(files):
            raise RunError(f"the run ended well, and {study.folder} has no page", f"the whole log is {snakemake.log}")
        made = {rule: count - left.get(rule, 0) for rule, count in _steps(plan).items() if count > left.get(rule, 0)}
        return Outcome(current.get("page"), current.get("report"), done.steps, done.dry, left, made, snakemake.log)


def _cores(study: Study) -> int:
    """Return how many cores to use: those there are, as far as memory goes; a GPU has one arm at a time."""
    if study.device == "cuda":
        return study.most_threads
    side_by_side = max(1, psutil.virtual_memory().available // _ARM_BYTES)
    return max(study.most_threads, min(len(os.sched_getaffinity(0)), side_by_side * study.most_threads))


def _steps(plan: Mapping[str, Any]) -> dict[str, int]:
    """Return how many steps a study has, by rule."""
    several = {
        "environment": "environments",
        "capture": "arms",
        "swaps": "swaps",
        "search": "searches",
        "roots": "roots",
    }
    early = {"early": 1} if plan["early"] else {}
    return {**{rule: len(plan[key]) for rule, key in several.items()}, **early, "report": 1, "page": 1}


def check_machine(study: Study, home: Path, plan: dict[str, Any]) -> None:
    """Check the device and the disk for what is still to be captured.

    Raises
    ------
    DeviceError
        When the study's device is not there, or an environment that is made cannot use it. One that is not made yet
        is checked as soon as it is.
    DiskSpaceError
        When there is clearly not enough room.
    """
    arms = [*plan["arms"].values(), *plan["searches"].values()]
    captures = home / "captures"
    missing = [arm for arm in arms if not (captures / Path(arm["capture"]).name / MANIFEST).is_file()]
    swaps = [
        series for series in plan["swaps"].values() if not captures.joinpath(*Path(series["done"]).parts[-2:]).is_file()
    ]
    if study.device == "cuda" and (missing or swaps):
        if not _has_gpu():
            raise DeviceError("the study asks for device cuda, and this machine has no GPU", "use --device cpu")
        for name in study.environments:
            record = find_record(name, home)
            if record is not None:
                check(record, home, study.device)
    free = free_bytes(home)
    needed = _CAPTURE_BYTES * len(missing) + _SERIES_BYTES * len(swaps)
    if free < needed:
        raise DiskSpaceError(
            f"{free / 1e9:.1f} GB are free; {len(missing)} captures and {len(swaps)} series of swaps may need"
            f" {needed / 1e9:.1f} GB",
            "free some room, or point REPORTLIB_HOME at another disk",
        )


def _has_gpu() -> bool:
    """Whether NVIDIA's driver sees a GPU: asked before an environment is made, so without torch."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*")) or Path("/dev/nvidia0").exists()


def host_variables(home: Path) -> dict[str, str]:
    """Return the environment variables of every step of a study.

    The host's programs and the project's kernels are found first, and kernels speak over sockets of their own
    (`reportlib.environments.sockets`); `os.environ` is kept otherwise.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    jupyter = [str(kernel_folder(home)), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {
        **os.environ,
        "PATH": path,
        "JUPYTER_PATH": os.pathsep.join(jupyter),
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "reportlib-sockets",
        "REPORTLIB_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(frozen=True)
class _Done:
    """How many steps Snakemake did, and whether it was only asked for them."""

    steps: int
    dry: bool


@dataclass(frozen=True)
class _Snakemake:
    root: Path
    home: Path
    plan: Path
    cores: int
    progress: Progress
    early: str = ""
    page: str = ""

    @property
    def log(self) -> Path:
        return self.plan.with_name("run.log")

    def command(self, options: Sequence[str]) -> list[str]:
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--configfile", str(self.plan),
            "--cores", str(self.cores), "--rerun-incomplete", "--rerun-triggers", "mtime", "--nocolor", *options,
        ]  # fmt: skip

    def unlock(self) -> None:
        """Remove a lock that a killed run left. Ours is held, so no run of `reportlib` is alive."""
        if any((self.root / ".snakemake" / "locks").glob("*")):
            self.progress("taking over from a run that was killed")
            self._ask(["--unlock", "--quiet", "all"])

    def left(self) -> dict[str, int]:
        """Return how many steps are still to be done for the page, by rule."""
        rows = map(_TODO.match, self._ask(["--dry-run"]).splitlines())
        return {row[1]: int(row[2]) for row in rows if row}

    def _ask(self, options: Sequence[str]) -> str:
        done = subprocess.run(
            self.command(options),
            cwd=self.root,
            env=host_variables(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise RunError(*explain(done.stdout.splitlines(), self.log))
        return done.stdout

    def run(self, options: Sequence[str]) -> _Done:
        """Run Snakemake, its whole output in a log; what it would do is shown where that is all that was asked for."""
        done = 0
        tail: list[str] = []
        # Whatever a first page needs comes before anything else.
        first = ["--prioritize", self.early] if self.early else []
        clock = _Clock()
        with (
            self.log.open("w", encoding="utf-8", buffering=1) as copy,  # so that `tail -f` shows it
            subprocess.Popen(
                self.command([*options, *first]),
                cwd=self.root,
                env=host_variables(self.home),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            try:
                assert process.stdout is not None  # noqa: S101  (Popen was given a pipe)
                for shown in process.stdout:
                    line = _COLOUR.sub("", shown.rstrip())
                    copy.write(line + "\n")
                    tail = [*tail[-400:], line]
                    if _ARM.match(line):
                        self.progress(line)
                    elif todo := _TODO.match(line):
                        clock.left[todo[1]] = int(todo[2])
                    elif finished := _FINISHED.match(line):
                        clock.finished(finished[1])
                        if finished[1] == "early":
                            self.progress(f"a first page is there; what is pending is named on it: {self.page}")
                    elif steps := _STEPS.match(line):
                        done = int(steps.group(1))
                        self.progress(f"{steps.group(1)} of {steps.group(2)} steps done, {clock}")
            except BaseException:
                process.terminate()
                process.wait()
                raise
            if process.wait():
                raise RunError(*explain(tail, self.log))
        dry = any(line.startswith(_DRY) for line in tail)
        for line in self.log.read_text(encoding="utf-8").splitlines() if dry else ():
            self.progress(line)
        return _Done(done, dry)


def _known_as(path: str, links: Mapping[str, str]) -> str:
    """Return the name by which Snakemake knows a path, as the Snakefile does."""
    folder = next((target for target in links if path.startswith(target + "/")), "")
    return links[folder] + path[len(folder) :] if folder else path


class _Clock:
    """How long a run has taken, and about how long it will."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self._started = time.monotonic()
        self._working, self._done = 0.0, 0.0

    def finished(self, rule: str) -> None:
        """Take note of a finished step."""
        if rule not in _WEIGHTS:
            if not self._done:
                self._working = time.monotonic()  # environments say nothing of what the other steps take
            return
        self.left[rule] = self.left.get(rule, 1) - 1
        self._done += _WEIGHTS[rule]

    def __str__(self) -> str:
        now = time.monotonic()
        text = f"{_minutes(now - self._started)} so far"
        left = sum(_WEIGHTS[rule] * count for rule, count in self.left.items() if rule in _WEIGHTS)
        if not self._done or left <= 0:
            return text
        return f"{text}, about {_minutes((now - (self._working or self._started)) * left / self._done)} to go"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def explain(tail: list[str], log: Path) -> tuple[str, str]:
    """Return what went wrong and how to mend it, from a failed run's last lines."""
    for number in range(len(tail) - 1, -1, -1):
        if found := _OURS.search(tail[number]):
            following = tail[number + 1] if number + 1 < len(tail) else ""
            mend = following.split("To mend it: ", 1)[1] if "To mend it: " in following else ""
            return f"a step failed: {found.group(2)}", mend or f"the whole log is {log}"
    shown = "\n".join(line for line in tail[-15:] if line)
    return f"a step failed:\n{shown}", f"the whole log is {log}"
