"""A capture's address: the same for the same content, another for any change that matters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reportlib.checkpoints import Checkpoint
from reportlib.collections import Collection
from reportlib.errors import CollectionError, ReportlibError, StudyError
from reportlib.study import Study, load
from reportlib.workflow import plan

ROOT = Path(__file__).parents[2]
STUDY = """
title = "t"
environments = ["torch201", "torch210"]
[precision.float32]
passages = 40
[swaps]
points = [["embs"]]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the real notebooks and environment files, its inputs prepared without a registry."""
    root = tmp_path / "project"
    (root / "reports" / "s").mkdir(parents=True)
    (root / "reports" / "s" / "study.toml").write_text(STUDY)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for file in ROOT.glob("environment-*"):
        shutil.copy(file, root)
    home = root / ".reportlib"
    for name in ("collection-x", "checkpoint-x"):
        (home / "inputs" / name).mkdir(parents=True)
    collection = Collection(home / "inputs" / "collection-x", "c" * 64, 100, 5, 5, "one hundred passages")
    checkpoint = Checkpoint(home / "inputs" / "checkpoint-x", "d" * 64, "a model", 6, 384, 96, 10, False)
    monkeypatch.setattr("reportlib.collections.prepare", lambda *_, **__: collection)
    monkeypatch.setattr("reportlib.checkpoints.prepare", lambda *_, **__: checkpoint)
    return root


def planned(root: Path, **changes: object) -> dict:
    study = replace(load(root / "reports" / "s"), **changes)
    return json.loads(make(root, study).read_text())


def make(root: Path, study: Study) -> Path:
    return plan.make_plan(study, root, root / ".reportlib", lambda _: None)


def captures(found: dict) -> dict[str, str]:
    return {name: arm["capture"] for name, arm in found["arms"].items()}


def test_the_same_study_has_the_same_plan_and_touches_no_file(project):
    first = planned(project)
    files = [*(project / ".reportlib").rglob("*.yaml"), *(project / ".reportlib").rglob("*.json")]
    before = {file: file.stat().st_mtime_ns for file in files}
    assert planned(project) == first
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_paths_are_relative_to_the_project(project):
    assert str(project) not in json.dumps(planned(project))


def test_a_changed_setting_moves_what_depends_on_it_and_nothing_else(project):
    before = captures(planned(project))
    study = load(project / "reports" / "s")
    assert captures(planned(project, title="another")) == before
    moved = captures(planned(project, colbert=replace(study.colbert, nbits=2)))
    assert all(moved[name] != before[name] for name in before)


def test_a_changed_environment_file_moves_its_arms_and_the_swaps_that_use_them(project):
    before = captures(planned(project))
    for suffix in (".yml", ".lock.txt"):
        file = project / f"environment-torch201{suffix}"
        file.write_text(file.read_text().replace("tqdm==", "tqdm=="))  # the same content: nothing moves
    assert captures(planned(project)) == before
    file = project / "environment-torch201.lock.txt"
    file.write_text(file.read_text() + "# changed\n")
    after = captures(planned(project))
    assert {name for name in before if before[name] != after[name]} == {
        "torch201-float32",
        "torch210-float32-swap-embs",  # takes values from torch201's capture
    }


def test_a_swap_needs_a_and_its_own_plain_arm(project):
    arm = planned(project)["arms"]["torch210-float32-swap-embs"]
    assert arm["needs"] == ["torch201-float32", "torch210-float32"]
    parameters = (project / arm["parameters"]).read_text()
    assert "swap: embs" in parameters


@pytest.mark.parametrize("name", ["torch999", "../torch201"])
def test_an_environment_without_a_file_is_refused_first(project, name):
    study = replace(load(project / "reports" / "s"), environments=("torch201", name))
    with pytest.raises(ReportlibError, match=r"torch999|torch201"):
        make(project, study)
    assert not (project / ".reportlib" / "runs").exists()


def test_more_passages_than_the_collection_has_are_refused_first(project):
    with pytest.raises(CollectionError, match="there are 100"):
        planned(project, passages={"float32": 101})


def test_a_study_outside_a_project_is_refused(tmp_path):
    with pytest.raises(StudyError, match="notebooks"):
        plan.find_root(tmp_path / "study.toml")


def test_code_of_the_capture_is_part_of_its_address(project, monkeypatch):
    before = captures(planned(project))
    monkeypatch.setattr(plan, "code_digest", lambda names: "other" if "capture" in names else "same")
    assert all(captures(planned(project))[name] != before[name] for name in before)


def test_a_removed_environment_is_made_again(project):
    marker = project / planned(project)["environments"]["torch201"]
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    planned(project)
    assert not marker.exists(), "no record of that environment is left, so it is not ready"
