"""Find the cause of a difference: from two environments to ``roots.json``.

Both are recorded and set side by side by hashes; A's operations are sent to B, which runs each on A's inputs; those
that differ are run alone under every switch in both; then it is said what computes either side, what would undo the
difference, and a folder to hand in is made and run.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from reportlib.capture.preflight import cpu_name
from reportlib.compare.roots import Comparison, compare_traces, reproduction
from reportlib.compare.roots.causes import (
    NO_MECHANISM,
    ROOTS_FILE,
    SCHEMA_VERSION,
    Cause,
    CauseFacts,
    cause_json,
    find_causes,
    find_upstream,
    forward,
    pass_json,
    read_roots,
)
from reportlib.compare.roots.mechanisms import explain, label, on_every_case
from reportlib.compare.roots.undo import Confirmation, Search, Tries, levels, search, switch_table, together, verified
from reportlib.environments.record import EnvironmentRecord, load_record, process_environment
from reportlib.errors import CaptureError, StoreError
from reportlib.store import canonical_json, digest
from reportlib.trace.format import CASE_FILE, Case, Replay, Trace, atomic_folder
from reportlib.trace.switches import NONE, Switch, applicable, combine, find_switch
from reportlib.workflow.addresses import CODE
from reportlib.workflow.traces import (
    ModuleFile,
    PassInputs,
    Progress,
    TraceOrder,
    pipe,
    run,
    trace_addresses,
    trace_pair,
)


def try_everywhere(
    records: Sequence[EnvironmentRecord],
    switches: Sequence[Switch],
    order: TraceOrder,
    inputs: PassInputs,
    options: Mapping[str, Any],
    home: Path,
    progress: Progress,
) -> tuple[Tries, Tries]:
    """Run cases under every switch in two environments, both at once.

    Parameters
    ----------
    records : sequence of EnvironmentRecord
        A's and B's.
    switches : sequence of Switch
        `reportlib.trace.switches.NONE` included.
    order, inputs : TraceOrder, PassInputs
        For device, threads and variables.
    options : mapping
        Of the verb ``try``: ``cases``.

    Raises
    ------
    CaptureError
        When the cases cannot be run even without a switch.
    """

    def everything(record: EnvironmentRecord) -> Tries:
        return Tries(try_switches(record, switches, order, inputs, options, home, progress))

    with ThreadPoolExecutor(max_workers=len(records)) as pool:
        a, b = pool.map(everything, records)
    return a, b


def try_switches(
    record: EnvironmentRecord,
    switches: Sequence[Switch],
    order: TraceOrder,
    inputs: PassInputs,
    options: Mapping[str, Any],
    home: Path,
    progress: Progress,
) -> dict[str, Mapping[str, Any]]:
    """Return what one environment gives under each switch, as the verb ``try`` prints it."""
    names = ",".join(switch.name for switch in switches)
    with TemporaryDirectory(prefix="reportlib-") as folder:
        output = Path(folder) / "tries.json"
        call = order.call(
            record, inputs, "try", "trying switches", index=None, switches=names, output=output, **options
        )
        run(call, home, progress)
        found: dict[str, Mapping[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
    return found


_REPRODUCTION_SECONDS = 300
#: Variables that every process of an environment gets, or that choose no kernels.
_SET_ANYWAY = frozenset(
    {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES"}
)


@dataclass
class Explainer:
    """Explains the causes of one replay.

    Attributes
    ----------
    records : pair of EnvironmentRecord
        A's and B's.
    trace, inputs : TraceOrder, PassInputs
        What was replayed.
    home, folder : Path
        The project's home, and the roots folder; its cases are in ``cases``.
    progress : callable
        Gets each line of progress.
    step : callable
        Enters a step by its name.
    """

    records: tuple[EnvironmentRecord, EnvironmentRecord]
    trace: TraceOrder
    inputs: PassInputs
    home: Path
    folder: Path
    progress: Progress
    step: Callable[[str], AbstractContextManager[None]]

    @cached_property
    def in_force(self) -> dict[str, str]:
        """The environment variables that are set beside every switch, in both environments."""
        return dict(self.trace.content()["variables"])

    def cases(self, causes: Sequence[Cause]) -> dict[str, list[Case]]:
        """Return each cause's cases, the smaller one last."""
        folders = {c.id: [self.folder / "cases" / c.id, self.folder / "cases" / f"{c.id}-small"] for c in causes}
        return {
            identity: [Case.open(folder) for folder in pair if (folder / CASE_FILE).is_file()]
            for identity, pair in folders.items()
        }

    def explain(
        self, causes: Sequence[Cause], replay: Replay, comparison: Comparison, trace_a: Trace
    ) -> dict[str, Any]:
        """Return what ``roots.json`` says of causes, switches and undo."""
        cases = self.cases(causes)
        switches = applicable(self.trace.device, self.in_force)
        with self.step("switches"):
            a, b = self.tries(switches) if any(cases.values()) else (Tries({}), Tries({}))
        sound = {i: verified(of, a, b) or of[:1] for i, of in cases.items()}
        with self.step("mechanisms"):
            facts = {c.id: self.facts(c, sound[c.id], a, b) for c in causes if sound[c.id]}
        with self.step("undo"):
            wanted = {c.id: sound[c.id] for c in forward(causes, replay)}
            undo = self.undo(wanted, switches, a, b, trace_a, replay)
        with self.step("reproductions"):
            described = []
            for cause in causes:
                own = facts.get(cause.id, CauseFacts(NO_MECHANISM, why_no_reproduction="it was not run again"))
                case = cases[cause.id][0] if cases[cause.id] else None
                content = cause_json(cause, case, own)
                if sound[cause.id]:
                    content |= self.reproduce(cause, sound[cause.id][-1], a, comparison, content["difference"])
                described.append(content)
        tried = [s for s in switches if s.name in b.switches]
        return {
            "causes": described,
            "switches": [{"name": s.name, "line": s.line, "description": s.description} for s in tried],
            "undo": undo.undo,
            "why_no_undo": undo.why_no_undo,
        }

    def tries(self, switches: Sequence[Switch]) -> tuple[Tries, Tries]:
        """Run every case under every switch in both environments."""
        call = {"cases": self.folder / "cases"}
        return try_everywhere(self.records, [find_switch(NONE), *switches], self.trace, self.inputs, call,
                              self.home, self.progress)  # fmt: skip

    def facts(self, cause: Cause, cases: Sequence[Case], a: Tries, b: Tries) -> CauseFacts:
        """Look for what computes either side of a cause."""
        table = switch_table(cases, a, b)
        versions = [self.version(record) for record in self.records]
        upstream = find_upstream(cause.name, cause.dtypes, self.trace.device, *versions)
        mechanism = label(on_every_case([explain(case.folder) for case in cases]), table, upstream)
        self.progress(f"{self.records[0].name}, {self.records[1].name}: {cause.id}: {mechanism.label}")
        alone = {side: together([t.gives(NONE, case) for case in cases]) for side, t in (("a", a), ("b", b))}
        return CauseFacts(mechanism.to_json(), table, alone, upstream)

    def undo(
        self,
        wanted: Mapping[str, Sequence[Case]],
        switches: Sequence[Switch],
        a: Tries,
        b: Tries,
        trace: Trace,
        replay: Replay,
    ) -> Search:
        """Look for the fewest switches with which B gives A's bytes."""
        record = self.records[1]
        outputs = {slug: trace.passes[slug].output_untraced for slug, p in replay.passes.items() if p.kind == "forward"}

        def undone(tries: Tries, switch: str) -> set[str]:
            return {i for i, of in wanted.items() if of and all(tries.gives(switch, case) == "a" for case in of)}

        def tried(switch: Switch, **options: Any) -> Mapping[str, Any]:
            found = try_switches(record, [switch], self.trace, self.inputs, options, self.home, self.progress)
            return found[switch.name]

        def try_together(names: tuple[str, ...]) -> set[str]:
            switch = combine(names)
            return undone(Tries({switch.name: tried(switch, cases=self.folder / "cases")}), switch.name)

        def confirm(names: tuple[str, ...]) -> Confirmation:
            found = tried(combine(names), passes=True)["passes"]
            equal = sum(found.get(slug, {}).get("digest") == digest for slug, digest in outputs.items())
            return Confirmation(equal, len(outputs))

        by = {s.name: undone(b, s.name) for s in switches if s.name in b.switches}
        found = search(set(wanted), by, try_together, confirm)
        level = levels([case for of in wanted.values() for case in of], a, b)
        if found.undo is None and level:
            extra = f"; set in both environments, {level[0]} makes these operations return the same bytes in both"
            return Search(None, f"{found.why_no_undo}{extra}")
        return found

    def version(self, record: EnvironmentRecord) -> str:
        """Return an environment's version of torch."""
        return record.torch or record.packages.get("torch", "")

    def reproduce(
        self, cause: Cause, case: Case, a: Tries, comparison: Comparison, difference: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Write a cause's folder to hand in, and run it in both environments."""
        why = reproduction.why_not(case.folder)
        names = [record.name for record in self.records]
        settings = [(self.trace.threads_in(name), self.trace.variables_in(name)) for name in names]
        if why is None and settings[0] != settings[1]:
            why = "the study gives the two environments other settings, which a script on its own does not have"
        if why is not None:
            return {"reproduction": None, "why_no_reproduction": why}
        first, second = (
            reproduction.Side(record.name, side["torch"]["version"])
            for record, side in zip(self.records, (comparison.a, comparison.b), strict=True)
        )
        kernels = ", ".join(f"torch {s['torch']['version']} uses {s['torch']['cpu_capability']} kernels"
                            for s in (comparison.a, comparison.b))  # fmt: skip
        trace = self.trace
        variables = {k: v for k, v in self.in_force.items() if k not in _SET_ANYWAY}
        machine = f"{cpu_name()}, {platform.system()} {platform.machine()}; {kernels}"
        setting = reproduction.Setting(trace.threads, trace.device, variables, machine)
        name = f"reproductions/{trace.precision}-{cause.id}"
        found = _difference_sentence(difference)
        size = reproduction.write(self.folder / name, case.folder, first, second, setting, a.written(case), found)
        run = partial(self.run_reproduction, folder=self.folder / name, variables=variables, a=first, b=second)
        with ThreadPoolExecutor(max_workers=2) as pool:
            ran = dict(zip("ab", pool.map(run, self.records), strict=True))
        for key, record in zip("ab", self.records, strict=True):
            self.progress(f"{record.name}: {name} behaves like {ran[key]}")
        return {"reproduction": {"folder": name, "bytes": size, "ran": ran}, "why_no_reproduction": None}

    def run_reproduction(
        self,
        record: EnvironmentRecord,
        folder: Path,
        variables: Mapping[str, str],
        a: reproduction.Side,
        b: reproduction.Side,
    ) -> str:
        """Run a reproduction as its reader would: nothing of ours can be imported."""
        environment = {**process_environment(record, self.home, threads=self.trace.threads), **variables}
        del environment["PYTHONPATH"]
        done = subprocess.run(
            [str(record.python_program), reproduction.SCRIPT],
            cwd=folder,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=_REPRODUCTION_SECONDS,
            check=False,
        )
        return reproduction.verdict(done.stdout, a, b) if done.returncode == 0 else "failed"


def _difference_sentence(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    said = f"Over all instances of the run, {difference['different']:,} of {difference['elements']:,} elements differ"
    if difference["max_abs"] is not None:
        said += f", by {difference['max_abs']:.3g} at most"
    return f"{said}."


#: Verdicts after which nothing can be said of single operations.
_MUTE = ("inputs differ", "inconclusive")


@dataclass(frozen=True)
class RootsOrder:
    """What to look into.

    Attributes
    ----------
    a, b : str
        Names of environments. One name twice is the control A/A.
    trace : TraceOrder
        The passes, their precision and setting.
    inputs : PreparedInputs
        Collection and checkpoint.
    """

    a: str
    b: str
    trace: TraceOrder
    inputs: PassInputs


def find_roots(order: RootsOrder, home: Path, progress: Progress, output: Path | None = None) -> Path:
    """Return the folder with ``roots.json``, ``cases`` and ``reproductions``, made unless it is there.

    Parameters
    ----------
    order : RootsOrder
        What to look into.
    home : Path
        Folder for environments, inputs, traces and roots.
    progress : callable
        Gets each line of progress.
    output : Path, optional
        Where the folder goes; by default into the home, named after everything that determines it.

    Raises
    ------
    ReportlibError
        When an environment or input is missing, or a step fails; nothing half-made is left.
    """
    records = load_record(order.a, home), load_record(order.b, home)
    traces = [path.name for path in trace_addresses(records, order.trace, order.inputs, home)]
    key = digest(canonical_json([traces, CODE["roots"]]).encode())[:16]
    name = f"{order.a}-{order.b}-{order.trace.precision}"
    folder = (output or home / "roots" / f"{name}-{key}").absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            if read_roots(folder).get("key") != key:
                raise StoreError(f"{folder} is there already, and holds something else", "remove it, or give another")
            progress(f"{name}: found {folder.name}")
            return folder
        with atomic_folder(folder) as partial:
            _Pipeline(order, records, home, partial, progress).run(key)
    return folder


@dataclass
class _Pipeline:
    """The steps, with what each found for the next."""

    order: RootsOrder
    records: tuple[EnvironmentRecord, EnvironmentRecord]
    home: Path
    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, key: str) -> None:
        """Do everything, and write ``roots.json``."""
        with self.step("record"):
            order = self.order
            a, b = trace_pair(order.a, order.b, order.trace, self.home, self.progress, order.inputs)
            if isinstance(order.inputs, ModuleFile):
                _require_same_module(a, b)
            comparison = compare_traces(a, b)
        replay = None if comparison.verdict in _MUTE else self.replay()
        causes = [] if replay is None else find_causes(comparison, replay)
        exact = replay is not None and not isinstance(self.order.inputs, ModuleFile)
        if exact:
            self.truth()
        if replay is None or not causes:
            found = _nothing(comparison)
        else:
            explainer = Explainer(self.records, self.order.trace, self.order.inputs, self.home, self.folder,
                                  self.progress, self.step)  # fmt: skip
            found = explainer.explain(causes, replay, comparison, a)
        content = {
            "schema_version": SCHEMA_VERSION,
            "key": key,
            **{name: getattr(comparison, name) for name in ("a", "b")},
            "precision": self.order.trace.precision,
            "verdict": comparison.verdict,
            "passes": [pass_json(entry, a, b, replay) for entry in comparison.passes],
            **found,
            "truth": {"folder": "truth", "environment": self.order.b} if exact else None,
            "layers_truth": None,
            "seconds": self.seconds,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (self.folder / ROOTS_FILE).write_text(text + "\n", encoding="utf-8")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say when a step begins, and keep how long it took."""
        started = time.perf_counter()
        self.progress(f"{self.order.a}, {self.order.b}: {name}")
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    def replay(self) -> Replay:
        """Send A's operations to B, which runs each on A's inputs."""
        trace, inputs = self.order.trace, self.order.inputs
        a, b = self.records
        with self.step("replay"):
            pipe(
                trace.call(a, inputs, "send", "sending"),
                trace.call(b, inputs, "replay", "replaying", output=self.folder / "replay"),
                self.home,
                self.progress,
            )
        found = Replay.open(self.folder / "replay")
        if (self.folder / "replay" / "cases").exists():
            (self.folder / "replay" / "cases").replace(self.folder / "cases")
        return found

    def truth(self) -> None:
        """Compute the forward passes in float64; in B, since both environments' float64 agree far below float32."""
        with self.step("truth"):
            call = self.order.trace.call(
                self.records[1], self.order.inputs, "truth", "computing in float64",
                precision="float32", device="cpu", index=None, output=self.folder / "truth",
            )  # fmt: skip
            run(call, self.home, self.progress)


def _require_same_module(a: Trace, b: Trace) -> None:
    """Raise when a file's module got other inputs or weights in one environment than in the other."""
    for slug, entry in a.passes.items():
        other = b.passes[slug].given
        differing = sorted(
            name for name in entry.given.keys() | other.keys() if entry.given.get(name) != other.get(name)
        )
        if differing:
            more = f" (and {len(differing) - 1:,} more)" if differing[1:] else ""
            raise CaptureError(
                f"both environments must run the same module, and {differing[0]} is not the same bytes in both{more}",
                "take weights and inputs from a file, or from numpy's random numbers: torch's may change",
            )


def _nothing(comparison: Comparison) -> dict[str, Any]:
    """Return what is said where no operation differs by itself."""
    if comparison.verdict in _MUTE:
        why = "the passes cannot be compared operation by operation, so nothing was tried"
    else:
        why = "no operation of the forward passes differs by itself, so there is nothing to undo"
    return {"causes": [], "switches": [], "undo": None, "why_no_undo": why}
