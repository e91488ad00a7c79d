"""`reportlib roots`: what it says, what it refuses, and when it records again."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest
from planted import Network, at, write_trace
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.compare.roots import compare_traces
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CaptureError, CheckpointError, CollectionError, EnvironmentCreationError, StoreError
from reportlib.roots_command import answer
from reportlib.trace.format import Trace
from reportlib.workflow.traces import TraceOrder, trace_pair

#: Stands in for an environment's Python: notes that it ran, and copies a trace made beforehand to --output.
PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
echo "a library warns of something" >&2
while [ $# -gt 0 ]; do
    case "$1" in --environment) name=$2;; --output) output=$2;; esac
    shift
done
echo "$name-float32 · recording" >&2
[ -e "{broken}" ] && {{ echo "CheckpointError: no weights" >&2; exit 1; }}
cp -r "{traces}/$name" "$output"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two environments, of which B has another `addmm` in one layer."""
    home = tmp_path / "home"
    collection, checkpoint = home / "inputs" / "collection", home / "inputs" / "checkpoint"
    collection.mkdir(parents=True)
    checkpoint.mkdir()
    lines = [json.dumps({"id": str(k), "text": f"passage {k}"}) for k in range(40)]
    (collection / "collection.jsonl").write_text("\n".join(lines) + "\n")
    (checkpoint / "artifact.metadata").write_text("{}")
    fault = Network(plant=at("encoder.layer.1", "addmm", lambda x: x + x.dtype.type(1)))
    for name, network in (("ta", Network()), ("tb", fault)):
        write_trace(tmp_path / "made" / name, network, arm={"environment": name})
        program = home / "envs" / name / "bin" / "python"
        program.parent.mkdir(parents=True)
        paths = {"log": tmp_path / "log", "broken": tmp_path / "broken", "traces": tmp_path / "made"}
        program.write_text(PYTHON.format(**paths))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        EnvironmentRecord(name, str(program.parents[1]), "uv", "", packages={"torch": name}).write(home)
    monkeypatch.setenv("REPORTLIB_HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("ATEN", "ONEDNN"))]:
        monkeypatch.delenv(name)
    return home


def runs(home: Path) -> list[str]:
    log = home.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def said(lines: list[str]):
    return lambda line: lines.append(line)


@pytest.mark.usefixtures("home")
def test_it_names_the_root_operation_and_its_module():
    done = CliRunner().invoke(app, ["roots", "ta", "tb"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "operations that read the same bytes returned others" in done.stdout
    assert "aten::addmm" in done.stdout
    assert "encoder.layer.1" in done.stdout
    assert "ta-float32 · recording" in done.stderr
    assert "recording" not in done.stdout


@pytest.mark.usefixtures("home")
def test_json_is_all_that_goes_to_standard_output():
    done = CliRunner().invoke(app, ["roots", "ta", "tb", "--json"])
    found = json.loads(done.stdout)
    assert found["verdict"] == "root"
    assert [r["name"] for entry in found["passes"] for r in entry["roots"]] == ["aten::addmm"]


@pytest.mark.usefixtures("home")
def test_nothing_found_is_an_answer_and_no_error():
    done = CliRunner().invoke(app, ["roots", "ta", "ta"])
    assert done.exit_code == 0
    assert "the same operations in the same order, with the same bytes" in done.stdout
    assert "Root operations" not in done.stdout


def test_an_unknown_precision_is_refused(home):
    done = CliRunner().invoke(app, ["roots", "ta", "tb", "--precision", "float64"])
    assert done.exit_code == 2
    assert not runs(home)


def test_a_trace_is_found_again_until_something_that_determines_it_changes(home, monkeypatch):
    lines: list[str] = []
    first = trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 2
    assert trace_pair("ta", "tb", TraceOrder(), home, said(lines)) == first
    assert len(runs(home)) == 2
    assert lines[-1].startswith("tb: found the trace")
    trace_pair("ta", "tb", TraceOrder(passages=8), home, said(lines))
    assert len(runs(home)) == 4
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 6
    (home / "inputs" / "checkpoint" / "model.safetensors").write_bytes(b"other weights")
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 8
    record = EnvironmentRecord("ta", str(home / "envs" / "ta"), "uv", "", packages={"torch": "newer"})
    record.write(home)
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 9


def test_the_control_is_recorded_in_two_processes(home):
    a, b = trace_pair("ta", "ta", TraceOrder(), home, said([]))
    assert len(runs(home)) == 2
    assert a.path != b.path


def test_what_is_asked_for_reaches_the_environment(home):
    trace_pair("ta", "tb", TraceOrder("autocast", 7, "cpu", 1), home, said([]))
    for wanted in ("-m reportlib.trace", "--precision autocast", "--passages 7", "--device cpu", "--threads 1"):
        assert wanted in runs(home)[0]


def test_only_the_recorder_is_heard(home):
    lines: list[str] = []
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert lines == ["ta-float32 · recording", "tb-float32 · recording"]


def test_a_recording_that_fails_says_why(home):
    (home.parent / "broken").touch()
    with pytest.raises(CaptureError, match=r"recording in the environment ta failed(.|\n)*CheckpointError: no weights"):
        trace_pair("ta", "tb", TraceOrder(), home, said([]))


def test_a_missing_environment_is_refused_before_anything_runs(home):
    with pytest.raises(EnvironmentCreationError, match="no environment 'tc' is made"):
        trace_pair("ta", "tc", TraceOrder(), home, said([]))
    assert not runs(home)


def test_missing_inputs_are_refused_before_anything_runs(home):
    with pytest.raises(CollectionError, match="40 passages"):
        trace_pair("ta", "tb", TraceOrder(passages=41), home, said([]))
    (home / "inputs" / "checkpoint" / "artifact.metadata").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is prepared"):
        trace_pair("ta", "tb", TraceOrder(), home, said([]))
    (home / "inputs" / "collection" / "collection.jsonl").unlink()
    with pytest.raises(CollectionError, match="not a prepared collection"):
        trace_pair("ta", "tb", TraceOrder(), home, said([]))
    assert not runs(home)


def test_a_damaged_trace_says_what_to_remove(home):
    trace = trace_pair("ta", "tb", TraceOrder(), home, said([]))[0]
    (trace.path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=f"remove {trace.path}"):
        trace_pair("ta", "tb", TraceOrder(), home, said([]))


def test_different_instruction_sets_are_named_as_a_rival_explanation(tmp_path):
    traces = [Trace.open(write_trace(tmp_path / name, Network())) for name in "ab"]
    assert not any("instruction sets" in sentence for sentence in answer(compare_traces(*traces)))
    newer = dataclasses.replace(traces[1], torch={"version": "1", "cpu_capability": "AVX512"})
    told = answer(compare_traces(traces[0], newer))
    assert "different instruction sets" in told[1]
    assert "ATEN_CPU_CAPABILITY=avx2" in told[1]
