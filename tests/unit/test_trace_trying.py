"""Switches that are tried in processes of their own: what becomes of one that dies, and of its neighbours."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from reportlib.errors import CaptureError
from reportlib.trace.switches import NONE, find_switch, try_apart


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
