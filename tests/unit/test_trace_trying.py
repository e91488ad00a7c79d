"""Switches that are tried in processes of their own: what becomes of one that dies, and of its neighbours."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from typing import Any

import pytest

from reportlib.capture import CaptureRequest
from reportlib.errors import CaptureError
from reportlib.trace import trying
from reportlib.trace.switches import NONE, find

REQUEST = CaptureRequest(environment="x", checkpoint="", collection="")


@pytest.fixture
def planted(monkeypatch) -> dict[str, Any]:
    """What happens under a switch, by its name: a signal, or an error."""
    faults: dict[str, Any] = {}

    def attempt(_arguments, _request, switches):
        for switch in switches:
            fault = faults.get(switch.name)
            if isinstance(fault, Exception):
                raise fault
            if fault:
                os.kill(os.getpid(), fault)
        variable = os.environ.get("ATEN_CPU_CAPABILITY")
        return {s.name: {"failed": None, "cases": {"c": variable}, "passes": {}} for s in switches}

    monkeypatch.setattr(trying, "_try", attempt)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    return faults


def tried(*names: str) -> dict[str, Any]:
    switches = [find(name) for name in names]
    return trying._in_child(Namespace(), REQUEST, switches[0].variables, switches)


@pytest.mark.usefixtures("planted")
def test_variables_are_set_in_the_child_alone():
    assert tried("aten-avx2")["aten-avx2"]["cases"] == {"c": "avx2"}
    assert "ATEN_CPU_CAPABILITY" not in os.environ
    assert tried(NONE)[NONE]["cases"] == {"c": None}


def test_a_switch_that_kills_its_process_failed_and_its_neighbours_did_not(planted):
    planted["onednn-off"] = signal.SIGKILL
    found = tried(NONE, "onednn-off", "one-thread")
    assert list(found) == [NONE, "onednn-off", "one-thread"]
    assert [entry["failed"] for entry in found.values()] == [None, "ended by signal 9", None]
    assert found["onednn-off"]["cases"] == {}


def test_an_error_under_a_switch_is_its_first_line(planted):
    planted["deterministic"] = RuntimeError("could not create a primitive\nmore")
    assert tried(NONE, "deterministic")["deterministic"]["failed"] == "could not create a primitive"


@pytest.mark.parametrize(("fault", "message"), [(signal.SIGKILL, "signal 9"), (CaptureError("no input"), "no input")])
def test_what_fails_without_a_switch_is_an_error(planted, fault, message):
    planted[NONE] = fault
    with pytest.raises(CaptureError, match=message):
        tried(NONE, "one-thread")
