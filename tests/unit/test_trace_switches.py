"""The switches: what a user pastes is what is tried, each in a process that may die, and only what can matter is."""

from __future__ import annotations

import ast
import os
import signal
from typing import Any

import pytest

from reportlib.errors import CaptureError
from reportlib.study import VARIABLES
from reportlib.trace.switches import NONE, SWITCHES, applicable, combine, compatible, find_switch, groups, try_apart


def names(switches) -> list[str]:
    return [switch.name for switch in switches]


def test_names_are_unique_and_no_switch_is_empty():
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES)
    for switch in SWITCHES:
        assert switch.lines, switch.name
        assert switch.description
        assert set(switch.devices) <= {"cpu", "cuda"}


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_can_be_pasted_and_a_statement_is_checked(switch):
    for line in switch.lines:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            assert switch.variables[name] == value
        else:
            ast.parse(line)
            assert line.startswith("torch.")
    assert switch.check or not switch.statements
    ast.parse(switch.check or "True", mode="eval")


def test_a_study_can_keep_what_undoes_a_difference():
    """Every variable of a switch is one that a study.toml may set, and that a capture records."""
    assert {name for switch in SWITCHES for name in switch.variables} <= set(VARIABLES)


def test_a_joint_switch_is_exactly_its_parts():
    for switch in SWITCHES:
        if switch.parts:
            together = combine(switch.parts)
            assert (together.variables, together.statements) == (switch.variables, switch.statements)
            assert together.name == switch.name


def test_a_cpu_and_a_gpu_have_their_own():
    cpu, cuda = names(applicable("cpu", {}, "x86_64")), names(applicable("cuda", {}, "x86_64"))
    assert {"aten-avx2", "onednn-avx2", "onednn-off", "mkl-compatible", "one-thread"} <= set(cpu)
    assert {"tf32-off", "cudnn-off", "deterministic-cuda", "fp16-full-sums", "bf16-full-sums"} <= set(cuda)
    assert set(cpu) & set(cuda) == {"matmul-highest", "matmul-high"}


def test_another_machine_has_no_x86_switches():
    found = names(applicable("cpu", {}, "aarch64"))
    assert not {"aten-avx2", "onednn-avx2", "onednn-sse41", "mkl-avx2"} & set(found)
    assert "onednn-off" in found


def test_what_is_in_force_anyway_is_not_tried():
    in_force = {"ATEN_CPU_CAPABILITY": "avx2"}
    found = names(applicable("cpu", in_force, "x86_64"))
    assert "aten-avx2" not in found
    assert {"aten-default", "onednn-avx2", "aten-avx2+onednn-avx2"} <= set(found)
    assert "aten-avx2+onednn-avx2" not in names(applicable("cpu", {**in_force, "ONEDNN_MAX_CPU_ISA": "AVX2"}, "x86_64"))


def test_one_process_for_each_set_of_variables():
    found = groups([find_switch(NONE), *applicable("cpu", {}, "x86_64")])
    variables = [tuple(sorted(of.items())) for of, _ in found]
    assert len(set(variables)) == len(variables)
    assert variables[0] == ()
    assert {"none", "onednn-off", "one-thread"} <= set(names(found[0][1]))
    assert sorted(n for _, members in found for n in names(members)) == sorted(
        [NONE, *names(applicable("cpu", {}, "x86_64"))]
    )


def test_switches_that_set_the_same_thing_do_not_go_together():
    assert compatible(("aten-avx2", "onednn-avx2", "onednn-off"))
    assert not compatible(("aten-avx2", "aten-default"))
    assert not compatible(("matmul-high", "matmul-highest"))
    with pytest.raises(KeyError):
        combine(("aten-avx2", "aten-default"))


def test_several_are_found_by_their_joined_name():
    found = find_switch("onednn-avx2+one-thread")
    assert found.lines == ("export ONEDNN_MAX_CPU_ISA=AVX2", "torch.set_num_threads(1)")
    assert found.parts == ("onednn-avx2", "one-thread")
    with pytest.raises(KeyError):
        find_switch("no-such-switch")


@pytest.fixture(autouse=True)
def unset(monkeypatch) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)


def tried(*names: str, **faults: Any) -> dict[str, Any]:
    """Try switches of which some end their process by a signal, or raise an error."""

    def attempt(switches):
        for switch in switches:
            fault = faults.get(switch.name.replace("-", "_"))
            if isinstance(fault, Exception):
                raise fault
            if fault:
                os.kill(os.getpid(), fault)
        variable = os.environ.get("ATEN_CPU_CAPABILITY")
        return {s.name: {"failed": None, "cases": {"c": variable}, "passes": {}} for s in switches}

    return try_apart(attempt, [find_switch(name) for name in names])


def test_variables_are_set_in_the_child_alone():
    found = tried("aten-avx2", NONE, "aten-default")
    assert {name: entry["cases"]["c"] for name, entry in found.items()} == {
        "aten-avx2": "avx2", NONE: None, "aten-default": "default",
    }  # fmt: skip
    assert "ATEN_CPU_CAPABILITY" not in os.environ


def test_a_switch_that_kills_its_process_failed_and_its_neighbours_did_not():
    found = tried(NONE, "onednn-off", "one-thread", onednn_off=signal.SIGKILL)
    assert list(found) == [NONE, "onednn-off", "one-thread"]
    assert [entry["failed"] for entry in found.values()] == [None, "ended by signal 9", None]
    assert found["onednn-off"]["cases"] == {}


def test_an_error_under_a_switch_is_its_first_line():
    found = tried(NONE, "deterministic", deterministic=RuntimeError("could not create a primitive\nmore"))
    assert found["deterministic"]["failed"] == "could not create a primitive"


@pytest.mark.parametrize(("fault", "message"), [(signal.SIGKILL, "signal 9"), (CaptureError("no input"), "no input")])
def test_what_fails_without_a_switch_is_an_error(fault, message):
    with pytest.raises(CaptureError, match=message):
        tried(NONE, "one-thread", none=fault)
