"""A process is the environment that its prefix says, with the packages that it was made with, or it is refused."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from captures import PASSAGES, Settings, write

from reportlib.capture import CaptureRequest, SwapRequest, prepare_process
from reportlib.capture import process as module
from reportlib.capture.process import installed, own_environment, require_origin
from reportlib.environments import manage
from reportlib.environments.record import EnvironmentRecord
from reportlib.environments.spec import load_spec
from reportlib.errors import CaptureError, EnvironmentCreationError, NotebookParameterError, WrongEnvironmentError
from reportlib.searching import SearchRequest
from reportlib.study import Arm
from reportlib.trace.__main__ import main

HELD = {"torch": "2.1.0", "transformers": "4.38.2", "huggingface_hub": "0.36.2"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two environments; this process runs in torch210."""
    home = tmp_path / "home"
    for name, torch in (("torch201", "2.0.1"), ("torch210", "2.1.0")):
        prefix = home / "envs" / name
        prefix.mkdir(parents=True)
        held = {**HELD, "torch": torch}
        EnvironmentRecord(name, str(prefix), "uv", "digest", python="3.11.7", torch=torch, packages=held).write(home)
    monkeypatch.setenv("REPORTLIB_HOME", str(home))
    monkeypatch.setattr(sys, "prefix", str(home / "envs" / "torch210"))
    monkeypatch.setattr(platform, "python_version", lambda: "3.11.9")
    holds(monkeypatch, HELD)
    return home


class Package:
    def __init__(self, version: str) -> None:
        self.version = version


def holds(monkeypatch: pytest.MonkeyPatch, packages: dict[str, str]) -> None:
    monkeypatch.setattr(module, "installed", lambda: {name: Package(version) for name, version in packages.items()})


def change(home: Path, name: str, **changes: object) -> None:
    path = home / "envs" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- which environment runs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "torch210"])
@pytest.mark.usefixtures("home")
def test_the_name_follows_from_where_the_python_lies(name: str) -> None:
    assert own_environment(name) == "torch210"


@pytest.mark.usefixtures("home")
def test_another_name_is_refused_with_the_one_that_runs() -> None:
    with pytest.raises(WrongEnvironmentError) as told:
        own_environment("torch201")
    assert told.value.what == "what runs is the environment torch210 (torch 2.1.0), not torch201"
    assert "pick the kernel torch201 (papermill: -k torch201" in str(told.value.mend)
    assert "leave `environment` empty" in str(told.value.mend)


@pytest.mark.usefixtures("home")
def test_a_name_that_no_environment_has_is_told_how_to_get_one() -> None:
    with pytest.raises(WrongEnvironmentError, match=r"(?s)not torch271.*env create torch271"):
        own_environment("torch271")


@pytest.mark.usefixtures("home")
def test_a_python_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/usr")
    for name in ("", "torch210"):
        with pytest.raises(WrongEnvironmentError, match=r"(?s)/usr.*none of the environments.*torch201, torch210.*-k"):
            own_environment(name)


def test_a_home_without_environments_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTLIB_HOME", str(tmp_path))
    with pytest.raises(WrongEnvironmentError, match=r"(?s)made there: none.*env create torch201"):
        own_environment()


def test_a_prefix_may_be_reached_through_a_link(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(home / "envs" / "torch210")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "link"))
    assert own_environment() == "torch210"


def test_a_description_under_another_name_gives_no_second_name(home: Path) -> None:
    copied = (home / "envs" / "torch210.json").read_text()
    (home / "envs" / "again.json").write_text(copied)
    assert own_environment("torch210") == "torch210"
    with pytest.raises(WrongEnvironmentError, match="several names: again, torch210"):
        own_environment()


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"prefix": 1}'])
def test_a_damaged_description_is_none(home: Path, damage: str) -> None:
    (home / "envs" / "torch210.json").write_text(damage)
    with pytest.raises(WrongEnvironmentError, match="made there: torch201"):
        own_environment()


# -- what is in it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({**HELD, "torch": "2.0.1"}, "torch is 2.0.1, torch210 has 2.1.0"),
        ({**HELD, "transformers": "4.40.1"}, "transformers is 4.40.1, torch210 has 4.38.2"),
        ({"torch": "2.1.0", "transformers": "4.38.2"}, "huggingface_hub is not there, torch210 has 0.36.2"),
    ],
)
def test_other_packages_than_it_was_made_with_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, str], said: str
) -> None:
    holds(monkeypatch, held)
    with pytest.raises(WrongEnvironmentError, match=said) as told:
        own_environment()
    assert "env remove torch210`, then `reportlib env create torch210" in str(told.value.mend)
    change(home, "torch210", backend="adopted")
    with pytest.raises(WrongEnvironmentError, match=rf"env adopt torch210 {home}/envs/torch210"):
        own_environment()


@pytest.mark.usefixtures("home")
def test_another_python_is_refused_and_a_last_number_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.1")
    with pytest.raises(WrongEnvironmentError, match=r"python is 3\.12\.1, torch210 has 3\.11\.7"):
        own_environment()


@pytest.mark.usefixtures("home")
def test_packages_that_came_later_and_other_spellings_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    holds(monkeypatch, {"torch": "2.1.0", "Transformers": "4.38.2", "huggingface-hub": "0.36.2", "ipywidgets": "8"})
    assert own_environment() == "torch210"


def test_of_two_packages_with_one_name_the_first_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, version in (("a", "1.0"), ("b", "2.0")):
        folder = tmp_path / place / f"thing-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path / place)
    assert installed()["thing"].version == "2.0"


# -- where it is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [CaptureRequest, SwapRequest, SearchRequest])
@pytest.mark.usefixtures("home")
def test_a_notebook_is_refused_before_anything_is_settled(request_: type[CaptureRequest]) -> None:
    before = dict(os.environ)
    with pytest.raises(WrongEnvironmentError, match="not torch201"):
        prepare_process(request_(environment="torch201"))
    assert dict(os.environ) == before


def test_a_capture_without_a_name_gets_its_kernels(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM",
                 "CUDA_VISIBLE_DEVICES"):  # fmt: skip
        monkeypatch.setenv(name, "")
    settled = prepare_process(CaptureRequest())
    assert (settled.arm, settled.describe()["environment"]) == ("torch210-float32", "torch210")
    assert settled.output_folder == home / "captures" / "by-hand" / "torch210-float32"
    search = prepare_process(SearchRequest())
    assert search.folders == {"torch210": home / "captures" / "by-hand" / "torch210-float32"}


@pytest.mark.usefixtures("home")
def test_a_search_in_another_kernel_than_its_indexes_know_is_refused() -> None:
    with pytest.raises(NotebookParameterError, match="no index of 'torch210' itself"):
        SearchRequest(indexes={"torch201": "x"}).settled()


@pytest.mark.parametrize("verb", ["record", "send", "replay", "truth", "try"])
@pytest.mark.usefixtures("home")
def test_every_verb_that_traces_is_refused(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "collection.jsonl").write_text(json.dumps({"id": "0", "text": "a passage"}) + "\n")
    inputs = ["--checkpoint", "c", "--collection", str(tmp_path), "--passages", "1"]
    with (tmp_path / "input").open("w+") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        output = [] if verb == "send" else ["--output", str(tmp_path / "out")]
        with pytest.raises(WrongEnvironmentError, match="not torch201"):
            main([verb, "--environment", "torch201", *inputs, *output])
    assert not (tmp_path / "out").exists()


# -- donors ---------------------------------------------------------------------------------------


def captured(home: Path, name: str, settings: Settings, precision: str = "float32") -> Path:
    arm = Arm(name, precision, "cpu", PASSAGES)
    return write(home / "captures" / "by-hand", arm, {}, settings).path


def test_the_donor_is_the_other_environment_that_was_captured(home: Path) -> None:
    with pytest.raises(NotebookParameterError, match="none other than this one could be meant"):
        SwapRequest().settled()
    captured(home, "torch210", Settings())
    captured(home, "torch271", Settings(), "autocast")
    captured(home, "torch201", Settings())
    settled = SwapRequest().settled()
    assert (settled.environment, settled.donor) == ("torch210", "torch201")
    assert SwapRequest(donor="torch222").settled().donor == "torch222"
    given = captured(home, "torch280", Settings())
    with pytest.raises(NotebookParameterError, match="torch201, torch280 could be meant"):
        SwapRequest().settled()
    assert SwapRequest(swap_from=str(given)).settled().donor == "torch280"


def test_a_capture_that_holds_another_torch_than_its_name_is_refused(home: Path) -> None:
    right = Settings(packages={**HELD, "torch": "2.0.1"})
    wrong = Settings(packages=HELD)
    require_origin(write(home, Arm("torch201", "float32", "cpu", 8), {}, right), "torch201")
    with pytest.raises(CaptureError, match=r"not made in the environment torch201: torch is 2\.1\.0, torch201 has"):
        require_origin(write(home, Arm("torch201", "autocast", "cpu", 8), {}, wrong), "torch201")


def test_a_capture_of_an_environment_that_is_gone_cannot_be_of_one_that_is_there(home: Path) -> None:
    of_its_own = Settings(packages={**HELD, "torch": "2.2.2"})
    require_origin(write(home, Arm("torch222", "float32", "cpu", 8), {}, of_its_own), "torch222")
    with pytest.raises(CaptureError, match=r"torch222: it holds what torch210 holds \(torch 2\.1\.0\)"):
        require_origin(write(home, Arm("torch222", "autocast", "cpu", 8), {}, Settings(packages=HELD)), "torch222")


# -- one name for one prefix ----------------------------------------------------------------------


def test_a_prefix_that_has_a_name_is_not_adopted_under_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = "name: mine\ndependencies:\n  - python=3.11\n  - pip:\n      - torch==2.1.0\n"
    (tmp_path / "environment-mine.yml").write_text(pins)
    spec = load_spec("mine", tmp_path)
    held = {"python": "3.11.7", "packages": HELD, "conda_packages": {}}
    monkeypatch.setattr(manage, "inspect", lambda _: held)
    python = home / "envs" / "torch210" / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    with pytest.raises(EnvironmentCreationError, match="is the environment torch210 already"):
        manage.adopt(spec, home / "envs" / "torch210", home)
    assert not (home / "envs" / "mine.json").exists()
    other = replace(spec, name="mine")
    (tmp_path / "elsewhere").mkdir()
    assert manage.adopt(other, tmp_path / "elsewhere", home).record.name == "mine"
