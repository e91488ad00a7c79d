"""What a user sees of a run: progress in plain lines, and a failed step's own error with its mend."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reportlib.capture.process import Progress
from reportlib.errors import DeviceError, DiskSpaceError
from reportlib.study import load
from reportlib.workflow import run

DEFAULT = Path(__file__).parents[2] / "reports" / "torch-2.0.1-vs-2.1.0"


def test_a_step_is_reported_at_once_and_then_every_few_seconds():
    stream = io.StringIO()
    progress = Progress("torch201-float32", every=3600, stream=stream)
    progress.stage("indexing")
    for done in range(3):
        progress.step("encoding", done, 3)
    assert stream.getvalue() == "torch201-float32 · indexing\n"


def test_how_far_a_step_is():
    stream = io.StringIO()
    Progress("arm", every=0, stream=stream).step("encoding, batch", 1_500, 3_000)
    assert stream.getvalue() == "arm · encoding, batch: 1,500 of 3,000 (50%)\n"
    assert run._ARM.match(stream.getvalue())


def test_a_failed_step_is_explained_by_its_own_error():
    tail = [
        'Exception encountered at "In [3]":',
        "CollectionError: the collection has 5 passages, 8 were asked for",
        "  To mend it: ask for fewer (0 means all)",
        "",
        "RuleException:",
        "CalledProcessError in file Snakefile",
    ]
    what, mend = run.explain(tail, Path("run.log"))
    assert what == "a step failed: the collection has 5 passages, 8 were asked for"
    assert mend == "ask for fewer (0 means all)"


def test_a_failure_that_is_not_ours_shows_its_last_lines_and_the_log():
    what, mend = run.explain(["Segmentation fault (core dumped)"], Path("run.log"))
    assert "Segmentation fault" in what
    assert "run.log" in mend


def test_steps_find_the_host_and_the_projects_kernels_first(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/users/own")
    found = run.host_variables(tmp_path)
    assert found["JUPYTER_PATH"].split(os.pathsep) == [str(tmp_path / "jupyter"), "/users/own"]
    assert found["REPORTLIB_HOME"] == str(tmp_path)


def plan(folder: Path) -> dict:
    series = str(folder / "captures" / "swaps-1" / ".done-1")
    arms = {"x": {"capture": str(folder / "captures" / "x-1")}}
    return {"arms": arms, "swaps": {"s": {"done": series}}, "searches": {}}


def test_a_gpu_that_is_not_there_is_missed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_has_gpu", lambda: False)
    with pytest.raises(DeviceError, match="no GPU"):
        run.check_machine(load(DEFAULT, device="cuda"), tmp_path, plan(tmp_path))


def test_a_finished_study_needs_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_has_gpu", lambda: False)
    done = tmp_path / "captures" / "x-1"
    done.mkdir(parents=True)
    (done / "manifest.json").touch()
    with pytest.raises(DeviceError, match="no GPU"):
        run.check_machine(load(DEFAULT, device="cuda"), tmp_path, plan(tmp_path))
    swaps = tmp_path / "captures" / "swaps-1" / ".done-1"
    swaps.parent.mkdir()
    swaps.touch()
    run.check_machine(load(DEFAULT, device="cuda"), tmp_path, plan(tmp_path))


def test_a_full_disk_is_noticed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "free_bytes", lambda _: 1_000)
    with pytest.raises(DiskSpaceError, match="REPORTLIB_HOME"):
        run.check_machine(load(DEFAULT), tmp_path, plan(tmp_path))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("torch201 · compiling colbert-ai's extensions (once for each environment)", True),
        ("torch201 · + aiohttp==3.14.5", False),
        ("Building DAG of jobs...", False),
    ],
)
def test_which_lines_of_a_step_are_shown(line, shown):
    assert bool(run._ARM.match(line)) is shown


def fake_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> Path:
    """A Snakemake that only prints `lines`; return its plan."""
    script = "import sys; sys.stdout.write(" + repr("\n".join(lines) + "\n") + ")"
    monkeypatch.setattr(run._Snakemake, "command", lambda *_: [sys.executable, "-c", script])
    return tmp_path / "plan.json"


@pytest.mark.parametrize("option", ["-np", "--dry-run", "--profile=dry"])
def test_a_dry_run_shows_all_that_snakemake_would_do(tmp_path, monkeypatch, option):
    said: list[str] = []
    lines = [
        "Building DAG of jobs...",
        "rule capture:",
        "    output: x",
        "This was a dry-run (flag -n). The order is not",
    ]
    plan_path = fake_snakemake(tmp_path, monkeypatch, lines)
    assert run._Snakemake(tmp_path, tmp_path, plan_path, 1, said.append).run([option]) == run._Done(0, dry=True)
    assert said == lines


def test_a_real_run_shows_arms_and_steps_only(tmp_path, monkeypatch):
    said: list[str] = []
    lines = ["Building DAG of jobs...", "torch201-float32 · indexing", "2 of 7 steps (29%) done"]
    plan_path = fake_snakemake(tmp_path, monkeypatch, lines)
    assert run._Snakemake(tmp_path, tmp_path, plan_path, 1, said.append).run(["-n"]) == run._Done(2, dry=False)
    assert said == ["torch201-float32 · indexing", "2 of 7 steps done, 0 s so far"]


def test_a_first_page_comes_first_and_is_announced(tmp_path, monkeypatch):
    said: list[str] = []
    asked: list[list[str]] = []
    lines = [
        "capture    3",
        "Finished jobid: 4 (Rule: capture)",
        "Finished jobid: 2 (Rule: early)",
        "2 of 4 steps (50%) done",
    ]
    plan_path = fake_snakemake(tmp_path, monkeypatch, lines)
    command = run._Snakemake.command
    monkeypatch.setattr(
        run._Snakemake, "command", lambda self, options: asked.append(options) or command(self, options)
    )
    run._Snakemake(tmp_path, tmp_path, plan_path, 1, said.append, "early.ipynb", "index.html").run([])
    assert asked == [["--prioritize", "early.ipynb"]]
    assert "index.html" in said[0]
    assert said[1].startswith("2 of 4 steps done, 0 s so far, about ")


def test_what_is_left_follows_from_what_is_done(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    clock = run._Clock()
    clock.left |= {"environment": 1, "capture": 4}
    now[0] = 400.0
    clock.finished("environment")
    assert str(clock) == "5 min so far"
    now[0] = 430.0
    clock.finished("capture")
    assert str(clock) == "6 min so far, about 2 min to go", "an environment says nothing of a capture"


def test_arms_run_side_by_side_as_cores_and_memory_allow(monkeypatch):
    def cores(threads: int, there: int, memory: int, device: str = "cpu") -> int:
        monkeypatch.setattr(run.os, "sched_getaffinity", lambda _: set(range(there)))
        monkeypatch.setattr(run.psutil, "virtual_memory", lambda: SimpleNamespace(available=memory << 30))
        return run._cores(replace(load(DEFAULT), threads=threads, device=device))

    assert (cores(1, 8, 64), cores(2, 8, 64), cores(1, 8, 7), cores(1, 1, 1)) == (8, 8, 2, 1)
    assert cores(4, 2, 64) == 4, "an arm has its threads, whatever the machine"
    assert cores(1, 8, 64, "cuda") == 1
