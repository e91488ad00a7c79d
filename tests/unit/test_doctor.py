"""The doctor: what it finds, and what it says the default study will do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reportlib.cli import doctor
from reportlib.environments import backends
from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CompilerError, EnvironmentCreationError

STUDY = """
title = "A study"
environments = ["torch8", "torch9"]
[precision.float32]
passages = 0
[precision.autocast]
passages = 64
"""
SPEC = """
name: {name}
channels: [some-channel, nodefaults]
dependencies: [python=3.11, pip: [torch==2.0.1]]
"""
Diagnose = Callable[[], doctor.Diagnosis]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    path = root / doctor.DEFAULT_STUDY
    path.parent.mkdir(parents=True)
    path.write_text(STUDY)
    for name in ("torch8", "torch9"):
        (root / f"environment-{name}.yml").write_text(SPEC.format(name=name))
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def diagnose(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Diagnose:
    """A machine without GPU or channel, with a compiler and room."""
    monkeypatch.setattr(backends, "unreachable", lambda _channel, **_options: "timed out")
    monkeypatch.setattr(backends, "require_compiler", lambda: None)
    monkeypatch.setattr(backends, "free_bytes", lambda _: 50 * backends.GIB)
    monkeypatch.setattr(doctor, "installed_python", lambda version: Path(f"/usr/bin/python{version}"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    return lambda: doctor.diagnose(root, home, measure=True)


def make(home: Path, name: str) -> None:
    prefix = home / "envs" / name
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").touch()
    EnvironmentRecord(name, str(prefix), "uv", "digest", torch="2.0.1").write(home)


def measured(speeds: dict[str, str]) -> Callable[..., dict[str, Any]]:
    ratios = {"native": 0.25, "emulated": 30.0}
    return lambda record, *_: {
        "bfloat16": speeds[record.name],
        "bfloat16_ratio": ratios[speeds[record.name]],
    }


def test_a_fresh_machine_is_told_what_comes_first(diagnose: Diagnose) -> None:
    found = diagnose()
    first = "The default study compares torch8 with torch9 on the CPU: "
    assert found.outlook == (
        f"{first}float32 over all passages and autocast over 64 passages.",
        "It first makes torch8 and torch9 with uv.",
        "Whether bfloat16 is fast on this CPU shows `reportlib doctor --measure`, once an environment is made.",
    )
    assert found.value("bfloat16") is None
    assert found.value("kernels") == []
    assert found.value("conda channels") == {"some-channel": False}


def test_a_channel_that_answers_is_where_environments_come_from(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "unreachable", lambda _channel, **_options: "")
    found = diagnose()
    assert found.value("conda channels") == {"some-channel": True}
    assert "It first makes torch8 and torch9 from conda channels." in found.outlook


def test_bfloat16_is_measured_in_each_environment_made(
    diagnose: Diagnose, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home, "torch8")
    make(home, "torch9")
    monkeypatch.setattr(doctor, "examine", measured({"torch8": "emulated", "torch9": "native"}))
    found = diagnose()
    assert found.value("bfloat16") == {"torch8": "emulated", "torch9": "native"}
    assert found.value("environments") == ["torch8", "torch9"]
    assert found.outlook[1:] == ("bfloat16 is emulated in torch8: the autocast arms there take longest.",)

    monkeypatch.setattr(doctor, "examine", measured({"torch8": "native", "torch9": "native"}))
    assert found.outlook[0] == diagnose().outlook[0]
    assert "bfloat16 is native" in diagnose().outlook[1]


def test_an_environment_whose_torch_does_not_start_is_no_reason_to_stop(
    diagnose: Diagnose, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home, "torch8")

    def broken(*_: object) -> None:
        raise EnvironmentCreationError("torch does not start in the environment torch8")

    monkeypatch.setattr(doctor, "examine", broken)
    found = next(f for f in diagnose().findings if f.topic == "bfloat16")
    assert (found.state, found.text) == (
        "missing",
        "torch does not start in the environment torch8",
    )


def test_what_is_missing_is_marked(diagnose: Diagnose, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler() -> None:
        raise CompilerError("there is no C++ compiler", "apt-get install g++")

    monkeypatch.setattr(backends, "require_compiler", no_compiler)
    monkeypatch.setattr(backends, "free_bytes", lambda _: 2 * backends.GIB)
    (root / "environment-torch9.yml").write_text("nothing: here")
    found = diagnose()
    missing = {f.topic: f.text for f in found.findings if f.state == "missing"}
    assert set(missing) == {"c++ compiler", "disk", "environments"}
    assert "apt-get install g++" in missing["c++ compiler"]
    assert "environment-torch9.yml" in missing["environments"]
    assert "The disk has no room for that: about 10 GiB are needed." in found.outlook[1]


def test_gpus_are_those_that_nvidia_smi_lists(
    diagnose: Diagnose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert diagnose().value("gpu") == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4, 8.9, 550.54'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert diagnose().value("gpu") == ["NVIDIA L4, 8.9, 550.54"]


def test_outside_a_project_it_still_looks_at_the_machine(diagnose: Diagnose, root: Path, home: Path) -> None:
    del diagnose
    found = doctor.diagnose(root / "elsewhere", home)
    assert "There is no default study here" in found.outlook[0]
    assert found.value("uv").startswith("uv ")


def test_the_diagnosis_is_json(diagnose: Diagnose) -> None:
    content = json.loads(json.dumps(diagnose().as_json()))
    assert {f["topic"] for f in content["findings"]} >= {
        "instruction sets",
        "bfloat16",
        "gpu",
        "disk",
        "uv",
    }
    assert content["outlook"]


def test_the_environments_python_is_looked_for_and_may_have_to_be_downloaded(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "installed_python", lambda _: None)
    found = diagnose()
    assert found.value("environments' python") == {"3.11": ""}
    assert found.outlook[1] == (
        "It first makes torch8 and torch9 with uv. For that uv has to download Python 3.11: this machine has none."
    )
    monkeypatch.setattr(doctor, "installed_python", lambda version: Path(f"/usr/bin/python{version}"))
    assert diagnose().value("environments' python") == {"3.11": "/usr/bin/python3.11"}
    assert "download" not in diagnose().outlook[1]


def test_unless_asked_for_nothing_is_measured(
    diagnose: Diagnose, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del diagnose
    make(home, "torch8")
    monkeypatch.setattr(doctor, "examine", None)
    found = next(f for f in doctor.diagnose(root, home).findings if f.topic == "bfloat16")
    assert found.value is None
    assert "--measure" in found.text
