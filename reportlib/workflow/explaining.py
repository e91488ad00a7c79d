"""Say what the operations that differ are made of, what would undo them, and make folders to hand in."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from reportlib.capture.preflight import cpu_name
from reportlib.compare.roots import Comparison, reproduction
from reportlib.compare.roots.assemble import NO_MECHANISM, Cause, CauseFacts, cause_json, forward
from reportlib.compare.roots.mechanisms import explain, label, on_every_case
from reportlib.compare.roots.tries import Tries, levels, switch_table, together, verified
from reportlib.compare.roots.undo import Confirmation, Search, search
from reportlib.compare.roots.upstream import find as find_upstream
from reportlib.environments.kernels import process_environment
from reportlib.environments.record import EnvironmentRecord
from reportlib.trace.cases import CASE_FILE, Case
from reportlib.trace.format import Trace
from reportlib.trace.results import Replay
from reportlib.trace.switches import NONE, Switch, applicable, combine, find
from reportlib.workflow.processes import Progress
from reportlib.workflow.traces import PreparedInputs, TraceOrder
from reportlib.workflow.trying import try_everywhere, try_switches

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
    trace, inputs : TraceOrder, PreparedInputs
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
    inputs: PreparedInputs
    home: Path
    folder: Path
    progress: Progress
    step: Callable[[str], AbstractContextManager[None]]

    @cached_property
    def in_force(self) -> dict[str, str]:
        """The environment variables that are set beside every switch."""
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
        return try_everywhere(self.records, [find(NONE), *switches], self.trace, self.inputs, call,
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
