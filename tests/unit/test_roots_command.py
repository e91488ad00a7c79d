"""`reportlib roots`: what it says, what it refuses, and what it does again."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_roots import CASE, faults, make_home, runs
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.cli.roots import answer, from_study
from reportlib.compare.roots.causes import read_roots
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CaptureError, CheckpointError, CollectionError, EnvironmentCreationError, StoreError
from reportlib.workflow import run
from reportlib.workflow.addresses import Inputs
from reportlib.workflow.roots import RootsOrder, find_roots
from reportlib.workflow.traces import PreparedInputs, TraceOrder, trace_pair


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two environments, of which B has another `addmm` in one layer."""
    home = make_home(tmp_path)
    monkeypatch.setenv("REPORTLIB_HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("ATEN", "ONEDNN"))]:
        monkeypatch.delenv(name)
    return home


def said(lines: list[str]):
    return lambda line: lines.append(line)


def roots(home: Path, a: str = "ta", b: str = "tb", **changed) -> Path:
    output = changed.pop("output", None)
    trace = TraceOrder(**changed)
    return find_roots(RootsOrder(a, b, trace, PreparedInputs.find(home, trace.passages)), home, said([]), output)


@pytest.mark.usefixtures("home")
def test_it_names_the_cause_and_what_would_undo_it():
    done = CliRunner().invoke(app, ["roots", "ta", "tb"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "operations that read the same bytes returned others" in done.stdout
    assert "1. aten::addmm on float32: proven" in done.stdout
    assert "first in planted: encoder.layer.1 at planted.py:1: addmm" in done.stdout
    assert "A is the closer one" in done.stdout
    assert "B returns A's bytes with: onednn-off" in done.stdout
    assert "in A it behaves like A, in B like B" in done.stdout
    assert "    torch.backends.mkldnn.enabled = False" in done.stdout
    assert "ta-float32 · record" in done.stderr
    assert "· record" not in done.stdout


def test_json_is_all_that_goes_to_standard_output_and_is_the_file(home):
    done = CliRunner().invoke(app, ["roots", "ta", "tb", "--json"])
    found = json.loads(done.stdout)
    assert found["verdict"] == "root"
    assert [r["name"] for entry in found["passes"] for r in entry["roots"]] == ["aten::addmm"]
    (folder,) = (home / "roots").glob("ta-tb-float32-*")
    assert json.loads((folder / "roots.json").read_text()) == found


def test_nothing_found_is_an_answer_and_no_error(tmp_path, monkeypatch):
    home = make_home(tmp_path, same=True)
    monkeypatch.setenv("REPORTLIB_HOME", str(home))
    done = CliRunner().invoke(app, ["roots", "ta", "ta"])
    assert done.exit_code == 0, done.output
    assert "the same operations in the same order, with the same bytes" in done.stdout
    assert "Nothing differs by itself." in done.stdout
    found = read_roots(roots(home, "ta", "ta"))
    assert (found["verdict"], found["causes"], found["undo"]) == ("identical", [], None)
    assert found["passes"][0]["replay"]["differ"] == 0
    assert not runs(home, "try")


def test_the_cause_holds_what_was_measured(home):
    found = read_roots(roots(home))
    (cause,) = found["causes"]
    assert (cause["id"], cause["instances"], cause["replayed"], cause["modules"]) == (CASE, 1, 3, 1)
    assert (cause["root_in"], cause["differs_in"]) == (["planted"], ["planted"])
    assert cause["first"]["module"] == "encoder.layer.1"
    assert cause["reaches_output"]
    assert (cause["truth"]["closer"], cause["truth"]["ratio_rms"]) == ("a", pytest.approx(0.2 / 1e-8))
    assert cause["alone"] == {"a": "a", "b": "b"}
    crossing = [s["switch"] for s in cause["switches"] if (s["environment"], s["gives"]) == ("b", "a")]
    assert crossing == ["onednn-off"]
    assert found["undo"]["switches"] == ["onednn-off"]
    assert set(found["passes"][0]["cost"]) == {"a", "b", "replay"}
    assert set(found["seconds"]) == {"record", "replay", "truth", "switches", "mechanisms", "undo", "reproductions"}


def test_the_folder_to_hand_in_is_made_and_was_run_in_both(home):
    folder = roots(home)
    made = read_roots(folder)["causes"][0]["reproduction"]
    assert made["folder"] == f"reproductions/float32-{CASE}"
    assert made["ran"] == {"a": "a", "b": "b"}
    names = sorted(file.name for file in (folder / made["folder"]).iterdir())
    assert names == ["README.md", "expected.json", "inputs.safetensors", "reproduce.py"]


def test_a_switch_that_failed_is_an_answer(home):
    faults(home, **{"tb_onednn-off": "ended by signal 9", "tb_aten-default": "could not create a primitive"})
    found = read_roots(roots(home))
    (cause,) = found["causes"]
    failed = {s["switch"]: s["why"] for s in cause["switches"] if s["gives"] == "failed"}
    assert failed == {"aten-default": "could not create a primitive", "onednn-off": "ended by signal 9"}
    assert found["undo"] is None
    assert found["why_no_undo"] == "no switch tried makes B return A's bytes on the operation that differs by itself"
    assert cause["alone"] == {"a": "a", "b": "b"}


def test_cases_that_do_not_run_at_all_are_an_error(home):
    faults(home, tb_none="no such operation")
    with pytest.raises(CaptureError, match="trying switches in the environment tb failed"):
        roots(home)
    assert not list((home / "roots").glob("ta-tb*"))


def test_roots_are_found_again_until_something_that_determines_them_changes(home):
    first = roots(home)
    count = len(runs(home))
    assert roots(home) == first
    assert len(runs(home)) == count
    assert roots(home, texts=("other",)) != first
    assert len(runs(home, "replay")) == 2


def test_an_output_of_ones_own_is_not_written_over(home, tmp_path):
    output = tmp_path / "mine"
    assert roots(home, output=output) == output
    assert roots(home, output=output) == output
    with pytest.raises(StoreError, match="something else"):
        roots(home, output=output, passages=3)
    (output / "roots.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        roots(home, output=output)


@pytest.mark.parametrize(
    ("place", "message"),
    [("ta_send", "sending in the environment ta"), ("tb_replay", "replaying in the environment tb")],
)
def test_either_end_of_the_pipe_that_fails_is_named_and_nothing_is_left(home, place, message):
    faults(home, **{place: "CheckpointError: no weights"})
    with pytest.raises(CaptureError, match=rf"{message} failed(.|\n)*CheckpointError: no weights"):
        roots(home)
    assert not [path for path in (home / "roots").iterdir() if path.is_dir()]


def test_an_end_of_the_pipe_that_is_killed_is_named(home):
    faults(home, tb_replay="die")
    with pytest.raises(CaptureError, match=r"replaying in the environment tb failed(.|\n)*signal 9"):
        roots(home)


def test_a_capture_that_is_none_is_refused_before_anything_runs(home, tmp_path):
    with pytest.raises(StoreError, match="holds no capture"):
        roots(home, capture=tmp_path)
    assert not runs(home)


def test_a_study_gives_what_the_command_line_does_not(home, monkeypatch, tmp_path):
    study = tmp_path / "study" / "study.toml"
    study.parent.mkdir()
    study.write_text(
        """
        title = "t"
        environments = ["ta", "tb"]
        threads = 1
        [colbert]
        index_bsize = 8
        doc_maxlen = 64
        [layers]
        texts = ["one", "two"]
        [variables]
        ATEN_CPU_CAPABILITY = "avx2"
        """
    )

    class Prepared:
        passages = 5
        path = home / "inputs" / "collection"

    prepared = Inputs(Prepared(), SimpleNamespace(path=home / "inputs" / "checkpoint"))
    monkeypatch.setattr(run, "prepare_inputs", lambda *_: prepared)
    order, inputs = from_study(study, home, "autocast", {})
    assert order == TraceOrder("autocast", 5, "cpu", 1, ("one", "two"), 64, {"ATEN_CPU_CAPABILITY": "avx2"})
    assert (inputs.collection, inputs.checkpoint) == (Prepared.path, home / "inputs" / "checkpoint")
    order, _ = from_study(study, home, "float32", {"threads": 3, "passages": 2, "device": "cuda"})
    assert (order.threads, order.passages, order.device) == (3, 2, "cuda")
    done = CliRunner().invoke(app, ["roots", "ta", "tb", "--study", str(study), "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert all('--texts ["one", "two"]' in line and "--threads 1" in line for line in runs(home))
    assert not any("aten-avx2 " in line for line in runs(home, "try"))
    assert "ATEN_CPU_CAPABILITY=avx2 python reproduce.py" in next((tmp_path / "out").rglob("README.md")).read_text()


def test_unknown_choices_are_refused(home):
    for option, value in (("--precision", "float64"), ("--device", "tpu")):
        done = CliRunner().invoke(app, ["roots", "ta", "tb", option, value])
        assert done.exit_code == 2
    assert not runs(home)


def test_a_trace_is_found_again_until_something_that_determines_it_changes(home, monkeypatch, tmp_path):
    lines: list[str] = []
    first = trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 2
    assert trace_pair("ta", "tb", TraceOrder(), home, said(lines)) == first
    assert len(runs(home)) == 2
    assert sorted(line.partition(" ")[2][:15] for line in lines[-2:]) == ["found the trace"] * 2
    capture = tmp_path / "capture"
    capture.mkdir()
    (capture / "manifest.json").write_text("{}")
    changed = [
        {"passages": 8},
        {"texts": ("b",)},
        {"doc_maxlen": 64},
        {"variables": {"ATEN_CPU_CAPABILITY": "avx2"}},
        {"capture": capture},
    ]
    for number, settings in enumerate(changed, 2):
        trace_pair("ta", "tb", TraceOrder(**settings), home, said(lines))
        assert len(runs(home)) == 2 * number
    (capture / "manifest.json").write_text("[]")
    trace_pair("ta", "tb", TraceOrder(capture=capture), home, said(lines))
    assert len(runs(home)) == 14
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 16
    (home / "inputs" / "checkpoint" / "model.safetensors").write_bytes(b"other weights")
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 18
    record = EnvironmentRecord("ta", str(home / "envs" / "ta"), "uv", "", packages={"torch": "newer"})
    record.write(home)
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert len(runs(home)) == 19


def test_the_control_is_recorded_in_two_processes(home):
    a, b = trace_pair("ta", "ta", TraceOrder(), home, said([]))
    assert len(runs(home)) == 2
    assert a.path != b.path


def test_what_is_asked_for_reaches_the_environment(home):
    order = TraceOrder("autocast", 7, "cpu", 1, texts=("x y",), doc_maxlen=99)
    trace_pair("ta", "tb", order, home, said([]))
    for wanted in ("-m reportlib.trace record", "--precision autocast", "--passages 7", "--device cpu", "--threads 1",
                   '--texts ["x y"]', "--doc-maxlen 99"):  # fmt: skip
        assert wanted in runs(home)[0]
    assert "--index" not in runs(home)[0]


def test_only_the_recorder_is_heard(home):
    lines: list[str] = []
    trace_pair("ta", "tb", TraceOrder(), home, said(lines))
    assert sorted(lines) == ["ta-float32 · record", "tb-float32 · record"]


def test_a_recording_that_fails_says_why(home):
    faults(home, ta_record="CheckpointError: no weights")
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


def test_different_instruction_sets_are_named_as_a_rival_explanation(home):
    found = read_roots(roots(home))
    assert not any("instruction sets" in sentence for sentence in answer(found))
    newer = copy.deepcopy(found)
    newer["b"]["torch"]["cpu_capability"] = "AVX512"
    told = answer(newer)
    assert "different instruction sets" in told[1]
    assert "ATEN_CPU_CAPABILITY=avx2" in told[1]
