"""A study from its file to its page: done once, not again, redone where it must be, resumed when killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from filelock import FileLock
from privacy import private_words

from reportlib.compare.study import SCHEMA
from reportlib.workflow.run import host_variables

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
STUDY = """
title = "A study of its own for one test"
environments = ["torch201", "torch210"]
[precision.float32]
passages = 16
[colbert]
ndocs = {unique}
[controls]
repeat = false
observer = false
[swaps]
points = []
[operations]
precisions = []
[search]
k = 0
"""


@pytest.fixture
def study() -> Iterator[Path]:
    """A study that was never run before, inside the project."""
    unique = time.time_ns()
    folder = ROOT / "runs" / f"test-{unique}"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY.format(unique=unique))
    yield folder / "study.toml"
    shutil.rmtree(folder)


def steps(said: str) -> int:
    return json.loads(said)["steps"]


def test_the_small_study_and_what_has_to_be_done_again(run, home, study):
    first = json.loads(run("reportlib", "run", str(study), "--json").stdout)
    page, report = Path(first["page"]), Path(first["report"])
    jsonschema.validate(json.loads(report.read_text()), json.loads(SCHEMA.read_text()))
    assert "<title>" in page.read_text()
    assert private_words(page.read_text() + report.read_text()) == []

    began = time.monotonic()
    assert steps(run("reportlib", "run", str(study), "--json").stdout) == 0
    assert time.monotonic() - began < 10, "nothing had changed"

    made = {file: file.stat().st_mtime_ns for file in (home / "captures").glob("*/manifest.json")}
    text = study.read_text()
    study.write_text(text.replace("A study of its own", "The same study, renamed"))
    assert steps(run("reportlib", "run", str(study), "--json").stdout) == 2, "the report and its page"
    assert "The same study, renamed" in page.read_text()
    assert {file: file.stat().st_mtime_ns for file in made} == made

    before = page.read_bytes(), report.read_bytes()
    page.unlink()
    report.unlink()
    run("reportlib", "run", str(study))
    assert (page.read_bytes(), report.read_bytes()) == before, "the same captures give the same bytes"

    twin = study.parent / "twin" / "study.toml"
    twin.parent.mkdir()
    twin.write_text(study.read_text())
    assert steps(run("reportlib", "run", str(twin), "--json").stdout) == 2, "another study has the same captures"
    assert steps(run("reportlib", "run", str(study), "--json").stdout) == 0, "and takes none away"


def test_a_killed_run_goes_on_where_it_stopped(run, home, study):
    log = study.with_name("log")
    plan = home / "runs" / study.parent.name / "plan.json"

    def captures() -> list[Path]:
        arms = json.loads(plan.read_text())["arms"].values() if plan.exists() else ()
        return [Path(ROOT, arm["capture"]) for arm in arms]

    def made() -> dict[Path, int]:
        """Return when each capture that is there was made."""
        files = [folder / "manifest.json" for folder in captures()]
        return {file: file.stat().st_mtime_ns for file in files if file.exists()}

    def captured() -> bool:
        """Whether Snakemake knows that one is there: before, it would make it again."""
        said = plan.with_name("run.log")
        return said.exists() and bool(re.search(r"Finished jobid: \d+ \(Rule: capture\)", said.read_text()))

    with log.open("w") as stream:
        process = subprocess.Popen(
            ["reportlib", "run", str(study), "--cores", "1"],  # one arm after the other
            cwd=ROOT,
            env=host_variables(home),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    deadline = time.monotonic() + 600
    while not captured() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, log.read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list((ROOT / ".snakemake" / "locks").iterdir()), "Snakemake left its lock behind"

    before = made()
    assert 0 < len(before) < len(captures()), "one is there, and one is still to be made"

    again = run("reportlib", "run", str(study))
    assert "taking over from a run that was killed" in again.stderr
    assert before.items() <= made().items()
    assert study.with_name("index.html").exists()


def test_two_runs_at_once_are_refused(run, home, study):
    with FileLock(home / "run.lock"):
        done = run("reportlib", "run", str(study), check=False)
    assert done.returncode == 2
    assert "another run of this project is under way" in done.stderr


def test_a_failing_step_says_why(run, study):
    done = run("reportlib", "run", str(study), check=False, CXX="no-such-compiler")
    assert done.returncode == 2
    assert "there is no compiler (no-such-compiler)" in done.stderr
    assert "apt-get install g++" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("torch210", "torch999"), "torch999"),
        (('"torch201", "torch210"', '"torch201"'), "at least two"),
        (("passages = 16", "passages = 10000000"), "passages"),
        (("[swaps]", '[collection]\nsource = "beir"\npath = "nowhere"\n[swaps]'), "nowhere"),
        (("[swaps]", "[checkpoint]\ndim = 40\n[swaps]"), "40"),
        (("[swaps]", '[checkpoint]\nsource = "./nowhere"\n[swaps]'), "nowhere"),
        (('title = "A study', 'device = "cuda"\ntitle = "A study'), "no GPU"),
    ],
)
def test_bad_input_is_refused_before_any_work(run, study, change, says):
    if says == "no GPU" and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    text = study.read_text()
    assert change[0] in text
    study.write_text(text.replace(*change))
    done = run("reportlib", "run", str(study), check=False)
    assert done.returncode == 2
    assert re.search(says, done.stderr)
    assert "Traceback" not in done.stderr
    assert "steps done" not in done.stderr
