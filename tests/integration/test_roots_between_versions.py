"""`reportlib roots` in real environments: switches, float64, reproductions, and the whole command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportlib.compare.roots import reproduction
from reportlib.compare.roots.reproduction import Setting, Side
from reportlib.compare.roots.undo import Tries, verified
from reportlib.environments import load_record, process_environment
from reportlib.store import Capture
from reportlib.trace.format import Case
from reportlib.trace.switches import NONE, applicable, find_switch
from reportlib.workflow.traces import PreparedInputs, TraceOrder
from reportlib.workflow.traces import run as run_verb

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).with_name("made_cases.py")
SIDES = {"a": "torch201", "b": "torch210"}
Try = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def cases(home: Path, tmp_path_factory) -> dict[str, Case]:
    """Operations with what each environment made of them."""
    folder = tmp_path_factory.mktemp("cases")
    for side, name in SIDES.items():
        record = load_record(name, home)
        command = [str(record.python_program), "-W", "error", str(SCRIPT), str(folder), side]
        done = subprocess.run(
            command, env=process_environment(record, home), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return {path.name: Case.open(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def attempt(home: Path, cases: dict[str, Case], tmp_path_factory) -> Try:
    """Run all cases in an environment under switches."""
    folder = tmp_path_factory.mktemp("tries")
    inputs = PreparedInputs.find(home, 2)

    def attempt(name: str, *switches: str, **variables: str) -> dict[str, Any]:
        output = folder / f"{name}-{'-'.join((*switches, *variables.values()))[:60]}.json"
        if not output.exists():
            options = {"cases": next(iter(cases.values())).folder.parent, "switches": ",".join(switches)}
            order = TraceOrder(variables=variables)
            run_verb(
                order.call(load_record(name, home), inputs, "try", "trying", **options, output=output), home, print
            )
        found: dict[str, Any] = json.loads(output.read_text())
        return found

    return attempt


def test_a_case_run_alone_gives_the_recorded_bytes(attempt, cases):
    """With its strides: an expanded input, a transposed one, one changed in place, two outputs."""
    a, b = (Tries(attempt(name, NONE)) for name in SIDES.values())
    assert verified(list(cases.values()), a, b) == [
        case for case in cases.values() if case.outputs["a"] != case.outputs["b"]
    ]
    for case in cases.values():
        assert a.gives(NONE, case) in ("a", "both"), case.id
        assert b.gives(NONE, case) in ("b", "both"), case.id
        assert a.written(case) == ()


def test_the_sort_differs_and_no_switch_undoes_it(attempt, cases):
    """pytorch/pytorch#100081, on every CPU."""
    case = cases["sort-int64"]
    tries = Tries(attempt("torch210", *(switch.name for switch in [find_switch(NONE), *applicable("cpu", {})])))
    assert {tries.gives(switch, case) for switch in tries.switches} == {"b"}


def test_with_both_instruction_sets_capped_both_versions_give_the_same_gelu_and_softmax(attempt, cases):
    both = "aten-avx2+onednn-avx2"
    a, b = (Tries(attempt(name, both)) for name in SIDES.values())
    for name in ("gelu-float32", "_softmax-float32"):
        assert a.outputs(both, cases[name]) is not None
        assert a.outputs(both, cases[name]) == b.outputs(both, cases[name])


@pytest.mark.parametrize("name", SIDES.values())
def test_what_a_switch_sets_is_put_back(attempt, cases, name):
    """What ran after all in-process switches has the bytes of a fresh process."""
    fresh = Tries(attempt(name, NONE))
    after = Tries(attempt(name, "onednn-off", "one-thread", "deterministic", "matmul-high", NONE))
    assert all(fresh.outputs(NONE, case) == after.outputs(NONE, case) for case in cases.values())
    assert after.outputs("onednn-off", cases["gelu-float32"]) != fresh.outputs(NONE, cases["gelu-float32"])


@pytest.mark.parametrize("name", SIDES.values())
def test_a_variable_does_what_it_does_in_a_process_that_was_started_with_it(attempt, cases, name):
    """Set in a fork in which torch is imported and has computed nothing yet."""
    found = attempt(name, *(switch.name for switch in [find_switch(NONE), *applicable("cpu", {})]))
    changed = set()
    for switch in ("aten-default", "onednn-sse41", "mkl-compatible"):
        started = attempt(name, NONE, **find_switch(switch).variables)
        assert found[switch] == started[NONE]
        changed |= {case for case in cases if found[switch]["cases"][case] != found[NONE]["cases"][case]}
    assert changed >= {"_softmax-float32", "gelu-float32", "mm-float32"}


def test_a_variable_that_comes_too_late_is_a_failure(home):
    """torch's kernels are chosen once, when it first computes."""
    record = load_record("torch210", home)
    script = (
        "import os, torch; from reportlib.trace import switches, trying; torch.ones(99).sum();"
        "os.environ.update(switches.find_switch('aten-default').variables);"
        "print(trying._apply(switches.find_switch('aten-default')))"
    )
    done = subprocess.run([str(record.python_program), "-c", script], env=process_environment(record, home),
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "torch 2.1.0+cu121 does not know it"


def test_the_folder_to_hand_in_names_the_version_that_runs_it(home, cases, tmp_path):
    sides = Side("torch201", "2.0.1"), Side("torch210", "2.1.0")
    reproduction.write(tmp_path / "sort", cases["sort-int64"].folder, *sides, Setting(2, platform="this machine"))
    for name, version in (("torch201", "2.0.1"), ("torch210", "2.1.0")):
        variables = process_environment(load_record(name, home), home)
        del variables["PYTHONPATH"]
        program = str(load_record(name, home).python_program)
        done = subprocess.run([program, "reproduce.py"], cwd=tmp_path / "sort", env=variables, capture_output=True,
                              text=True, check=True)  # fmt: skip
        assert done.stdout.splitlines()[-1] == f"behaves like torch {version}"
        assert done.stderr == ""


def test_both_environments_agree_in_float64(home, tmp_path):
    inputs = PreparedInputs.find(home, 2)
    found = []
    for name in SIDES.values():
        call = TraceOrder(passages=2).call(
            load_record(name, home), inputs, "truth", "computing", output=tmp_path / name
        )
        run_verb(call, home, lambda _: None)
        found.append(Capture.open(tmp_path / name))
    a, b = found
    assert list(a.artifacts) == list(b.artifacts)
    assert {"layers/text0/embeddings", "layers/batch/05", "doc/batch"} <= set(a.artifacts)
    for name in a.artifacts:
        assert a.tensor(name).dtype == "float64"
        assert np.abs(a.tensor(name).array - b.tensor(name).array).max() < 1e-12, name


@pytest.fixture(scope="module")
def found(run) -> dict[str, Any]:
    arguments = ("roots", "torch201", "torch210", "--passages", "2", "--json")
    content: dict[str, Any] = json.loads(run("reportlib", *arguments).stdout)
    return content


def test_every_cause_is_explained_as_far_as_it_was_measured(found):
    for cause in found["causes"]:
        assert cause["alone"] == {"a": "a", "b": "b"}
        assert cause["reproduction"]["ran"] == {"a": "a", "b": "b"}
        assert 0 < cause["instances"] <= cause["replayed"]
        assert cause["difference"]["different"] > 0
        tried = {(line["switch"], line["environment"]) for line in cause["switches"]}
        assert tried == {(switch["name"], side) for switch in found["switches"] for side in "ab"}
        if cause["mechanism"]["switch"]:
            assert cause["mechanism"]["label"] == "proven"


def test_a_pass_has_another_output_only_where_something_differs_by_itself(found):
    assert [entry["slug"] for entry in found["passes"]] == ["text0", "text1", "batch"]
    for entry in found["passes"]:
        assert entry["same_output"] or entry["replay"]["differ"]
        assert entry["replay"]["undisturbed"] == {"a": True, "b": True}
        assert entry["replay"]["replayed"] > 300


def test_what_is_said_to_undo_it_does(found, home, tmp_path):
    """Asked again, in a fresh process."""
    undo = found["undo"]
    if undo is None:
        assert found["why_no_undo"]
        return
    assert undo["passes_equal"] == undo["passes"] == 3
    switch = find_switch("+".join(undo["switches"]))
    inputs = PreparedInputs.find(home, 2)
    order = TraceOrder(passages=2)
    hashes = {}
    for side, name in (("a", NONE), ("b", switch.name)):
        output = tmp_path / f"{side}.json"
        call = order.call(load_record(SIDES[side], home), inputs, "try", "trying", only="text0", passes=True,
                          switches=name, output=output)  # fmt: skip
        run_verb(call, home, lambda _: None)
        passes = json.loads(output.read_text())[name]["passes"]
        hashes[side] = {slug: of["digest"] for slug, of in passes.items()}
    assert list(hashes["a"]) == ["text0"]
    assert hashes["a"] == hashes["b"]


def test_the_control_says_that_nothing_differs(run):
    said = run("reportlib", "roots", "torch210", "torch210", "--passages", "2").stdout
    assert "the same operations in the same order, with the same bytes" in said
    assert "Nothing differs by itself." in said
    assert "0 of these differ" in said
