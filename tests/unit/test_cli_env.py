"""The command line: what it prints for people and for programs, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from reportlib import environments
from reportlib.cli import COMMANDS, OnDemand, app, doctor
from reportlib.environments.manage import Creation
from reportlib.environments.record import EnvironmentRecord
from reportlib.environments.spec import load_spec
from reportlib.errors import EnvironmentCreationError

SPEC = "name: {0}\nchannels: []\ndependencies: [python=3.11, pip: [torch==2.0.1]]\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPORTLIB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("torch8", "torch9"):
        (tmp_path / f"environment-{name}.yml").write_text(SPEC.format(name))
    return tmp_path


@pytest.fixture
def made(project: Path) -> EnvironmentRecord:
    prefix = project / "home" / "envs" / "torch9"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").touch()
    record = EnvironmentRecord(
        "torch9",
        str(prefix),
        "uv",
        load_spec("torch9", project).digest,
        python="3.11.7",
        torch="2.0.1",
    )
    record.write(project / "home")
    return record


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_the_list_shows_what_is_made_and_what_is_not(made: EnvironmentRecord) -> None:
    lines = {line.split()[1]: line for line in run("env", "list").splitlines() if "torch" in line}
    assert "not made" in lines["torch8"]
    assert "3.11.7" in lines["torch9"]
    assert "not compiled" in lines["torch9"]
    content = json.loads(run("env", "list", "--json"))
    assert [(e["name"], e["backend"]) for e in content] == [("torch8", ""), ("torch9", "uv")]
    assert content[1]["prefix"] == made.prefix


def test_create_hands_over_every_choice_and_tells_what_was_left_out(
    made: EnvironmentRecord, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def create(spec: Any, home: Path, **options: Any) -> Creation:
        seen.update(options, name=spec.name, home=home)
        record = EnvironmentRecord(
            "torch9",
            made.prefix,
            "uv",
            "d",
            backend_reason="no channel",
            torch="2.0.1",
            skipped=("gxx: no conda",),
        )
        return Creation(record, made=True)

    monkeypatch.setattr(environments, "create", create)
    said = run("env", "create", "torch9", "--backend", "uv", "--no-lock", "--no-extensions")
    seen.pop("progress")
    assert seen == {
        "name": "torch9", "home": project / "home", "backend": "uv", "locked": False, "extensions": False,
        "check_space": True,
    }  # fmt: skip
    assert "Used uv, because no channel." in said
    assert "Left out gxx: no conda." in said
    assert "torch9 is made" in said

    content = json.loads(run("env", "create", "torch9", "--json"))
    assert (content["made"], content["torch"], content["skipped"]) == (
        True,
        "2.0.1",
        ["gxx: no conda"],
    )
    assert (seen["backend"], seen["locked"], seen["extensions"]) == ("rattler|uv", True, True)


def test_progress_goes_where_it_does_not_mix_with_json(
    made: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: Any, progress: Any, **__: Any) -> Creation:
        progress("downloading [bold]torch[/bold]")
        return Creation(made, made=False)

    monkeypatch.setattr(environments, "create", create)
    result = CliRunner().invoke(app, ["env", "create", "torch9", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["made"] is False
    assert "downloading [bold]torch[/bold]" in result.stderr


def test_check_prints_what_was_found(made: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"torch": "2.0.1", "gpus": [], "architectures": ["sm_80"], "usable": True, "what": ""}
    monkeypatch.setattr(environments, "check", lambda *_: found)
    assert json.loads(run("env", "check", made.name, "--json")) == found
    said = run("env", "check", made.name)
    assert "sm_80" in said
    assert "usable" not in said


def test_remove_takes_the_environment_away(made: EnvironmentRecord) -> None:
    assert "torch9 is removed." in run("env", "remove", "torch9")
    assert not Path(made.prefix).exists()


def test_a_prefix_that_cannot_be_removed_is_not_said_to_be_gone(
    made: EnvironmentRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportlib.environments.manage.shutil.rmtree", lambda *_, **__: None)
    done = CliRunner().invoke(app, ["env", "remove", "torch9"])
    assert "is removed" not in done.output
    assert isinstance(done.exception, EnvironmentCreationError)
    assert made.prefix in str(done.exception)


def test_the_doctor_speaks_to_people_and_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = doctor.Finding("disk", "ok", "50 GiB [free]", 50)
    diagnosis = doctor.Diagnosis((finding,), ("The default study will run.",))
    monkeypatch.setattr(doctor, "diagnose", lambda *_, **__: diagnosis)
    said = run("doctor")
    assert "50 GiB [free]" in said
    assert "The default study will run." in said
    content = json.loads(run("doctor", "--json"))
    assert content["findings"][0]["value"] == 50


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "reportlib.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("env", "create", "torch7"), "torch8, torch9"),
        (("env", "create", "torch9", "--backend", "conda"), "no lock"),
        (
            ("env", "create", "torch9", "--backend", "conda", "--no-lock"),
            "there is no backend 'conda'",
        ),
        (("env", "check", "torch9"), "reportlib env create torch9"),
        (("env", "remove", "torch9"), "no environment 'torch9'"),
        (("env", "adopt", "torch9", "/nowhere"), "not a working Python"),
    ],
)
def test_an_error_is_a_sentence_with_a_mend_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    done = shell(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_names_every_command_without_importing_one() -> None:
    told = (
        "import sys; from reportlib.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'matplotlib', 'snakemake', 'bs4'} & set(sys.modules)),"
        " sum(name.startswith('reportlib') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", told, "--help"], capture_output=True, text=True, check=True)
    *said, loaded = done.stdout.splitlines()
    assert loaded == "[] 3"
    group = typer.main.get_command(app)
    assert isinstance(group, OnDemand)
    for name, module in COMMANDS.items():
        command = group.get_command(typer.Context(group), name)
        assert command is not None, module
        first = " ".join(str(command.help).split("\n\n")[0].split())
        words = " ".join(" ".join(said).replace("│", " ").split())
        assert first[:60] in words, name


def test_an_unknown_device_is_refused(made: EnvironmentRecord) -> None:
    done = shell("env", "check", made.name, "--device", "tpu")
    assert done.returncode == 2
    assert "tpu" in done.stderr
    assert "cuda" in done.stderr


def test_what_is_not_foreseen_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "diagnose", broken)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, ["doctor"], catch_exceptions=False)


def test_an_error_of_ours_reaches_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from reportlib import cli

    def broken(*_: Any, **__: Any) -> None:
        raise EnvironmentCreationError("no room", "make some")

    monkeypatch.setattr(doctor, "diagnose", broken)
    monkeypatch.setattr(sys, "argv", ["reportlib", "doctor"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "Error: no room\n  To mend it: make some\n"
