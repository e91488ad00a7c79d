"""A capture's address: the same for the same content, another for any change that matters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from reportlib.checkpoints import Checkpoint
from reportlib.cli import app
from reportlib.collections.folder import Collection
from reportlib.errors import CollectionError, ReportlibError, StudyError
from reportlib.study import VARIABLES, OwnSettings, SearchSpec, Study, SwapSpec, load
from reportlib.workflow import addresses, run

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
    shutil.copytree(ROOT / "environments", root / "environments")
    home = root / ".reportlib"
    for name in ("collection-x", "checkpoint-x"):
        (home / "inputs" / name).mkdir(parents=True)
    collection = Collection(home / "inputs" / "collection-x", "c" * 64, 100, 2, 2, "one hundred passages")
    passages = [{"id": f"d{n}", "text": f"Ten words of a passage, {n} " * 3} for n in range(100)]
    judge(root, [{"id": "q0", "text": "what?"}, {"id": "q1", "text": "who?"}], "q0\td3\t1\nq1\td50\t1\n")
    (collection.path / "collection.jsonl").write_text("\n".join(map(json.dumps, passages)))
    checkpoint = Checkpoint(home / "inputs" / "checkpoint-x", "d" * 64, "a model", 6, 384, 96, 10, False)
    monkeypatch.setattr("reportlib.collections.sources.prepare", lambda *_, **__: collection)
    monkeypatch.setattr("reportlib.checkpoints.prepare", lambda *_, **__: checkpoint)
    return root


def judge(root: Path, queries: list[dict[str, str]], judgements: str) -> None:
    folder = root / ".reportlib" / "inputs" / "collection-x"
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text(f"query-id\tpassage-id\tgrade\n{judgements}")


def planned(root: Path, **changes: object) -> dict:
    study = replace(load(root / "reports" / "s"), **changes)
    return json.loads(make(root, study).read_text())


def make(root: Path, study: Study) -> Path:
    return run.make_plan(study, root, root / ".reportlib", lambda _: None)


def captures(found: dict) -> dict[str, str]:
    """Capture folder of every arm, swapped ones included."""
    plain = {name: arm["capture"] for name, arm in found["arms"].items()}
    swapped = {name: folder for series in found["swaps"].values() for name, folder in series["captures"].items()}
    return plain | swapped | {name: search["capture"] for name, search in found["searches"].items()}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine, without variables that matter, whatever these tests run on."""
    monkeypatch.setattr(addresses, "cpu_name", lambda: "A CPU")
    monkeypatch.setattr(addresses, "instruction_sets", lambda: ("avx", "avx2"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


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


def test_what_one_environment_has_of_its_own_moves_its_arms_and_is_told_to_its_notebooks(project):
    before, own = planned(project), OwnSettings(threads=3, index_bsize=8, variables={"MKL_CBWR": "AVX2"})
    after = planned(project, settings={"torch210": own})
    moved = {name for name, folder in captures(after).items() if folder != captures(before)[name]}
    assert "torch201-float32" not in moved
    assert {"torch210-float32", "torch210-float32-search", "torch201-float32-search"} <= moved
    parameters = yaml.safe_load((project / after["arms"]["torch210-float32"]["parameters"]).read_text())
    assert (parameters["threads"], parameters["index_bsize"], parameters["variables"]) == (3, 8, {"MKL_CBWR": "AVX2"})
    assert after["threads"] == 3
    assert [pair["folder"] for pair in after["roots"].values()] != [pair["folder"] for pair in before["roots"].values()]


def test_a_changed_environment_file_moves_its_arms_and_the_swaps_that_use_them(project):
    before = captures(planned(project))
    for name in ("environment-torch201.yml", "environments/environment-torch201.lock.txt"):
        file = project / name
        file.write_text(file.read_text().replace("tqdm==", "tqdm=="))  # the same content: nothing moves
    assert captures(planned(project)) == before
    file = project / "environments" / "environment-torch201.lock.txt"
    file.write_text(file.read_text() + "# changed\n")
    after = captures(planned(project))
    assert {name for name in before if before[name] != after[name]} == {
        "torch201-float32",
        "torch201-float32-repeat",
        "torch201-float32-observer",
        "torch210-float32-swap-embs-from-torch201",  # both take values from torch201's capture
        "torch201-float32-swap-embs-from-torch210",
        "torch201-float32-search",  # and both search its index
        "torch210-float32-search",
    }


def test_every_arm_of_the_study_is_listed_with_its_folder(project):
    found = planned(project)
    listed = json.loads((project / found["captures"]).read_text())
    assert listed == captures(found)
    assert list(listed) == [arm.name for arm in load(project / "reports" / "s").arms()]


def test_a_series_needs_the_donors_and_its_own_plain_arm(project):
    found = planned(project)
    assert list(found["swaps"]) == ["torch210-float32-swaps-from-torch201", "torch201-float32-swaps-from-torch210"]
    series = found["swaps"]["torch210-float32-swaps-from-torch201"]
    assert (series["environment"], series["needs"]) == ("torch210", ["torch201-float32", "torch210-float32"])
    parameters = yaml.safe_load((project / series["parameters"]).read_text())
    assert parameters["swaps"] == "embs"
    assert parameters["swap_from"] == found["arms"]["torch201-float32"]["capture"]
    assert parameters["replay_from"] == found["arms"]["torch210-float32"]["capture"]
    (folder,) = series["captures"].values()
    assert folder == parameters["output"] + "/embs"


def test_a_further_set_leaves_the_others_where_they_are_and_has_the_series_run_again(project):
    first = planned(project)
    more = planned(project, swaps=SwapSpec((("embs",), ("codes",)), ("float32",)))
    name = "torch210-float32-swaps-from-torch201"
    assert first["swaps"][name]["captures"].items() < more["swaps"][name]["captures"].items()
    assert first["swaps"][name]["done"] != more["swaps"][name]["done"]


def test_a_removed_swap_is_made_again(project):
    series = planned(project)["swaps"]["torch210-float32-swaps-from-torch201"]
    (folder,) = (project / folder for folder in series["captures"].values())
    done = project / series["done"]
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    done.touch()
    planned(project)
    assert done.exists(), "every capture is there"
    (folder / "manifest.json").unlink()
    planned(project)
    assert not done.exists()


def test_a_control_does_no_more_than_it_must(project):
    arms = planned(project)["arms"]
    given = {kind: yaml.safe_load((project / arms[f"torch210-float32{kind}"]["parameters"]).read_text())
             for kind in ("", "-repeat", "-observer")}  # fmt: skip
    assert [given[kind]["control"] for kind in given] == ["", "repeat", "observer"]
    assert (given[""]["k"], given["-repeat"]["k"], given["-observer"]["k"]) == (10, 0, 0)
    assert (given["-repeat"]["texts"], given["-observer"]["texts"]) == (["a", "test input"], [])


def test_search_settings_leave_the_controls_where_they_are(project):
    before = captures(planned(project))
    after = captures(planned(project, search=SearchSpec(k=3)))
    controls = {name for name in before if name.endswith(("repeat", "observer"))}
    assert controls <= {name for name in before if before[name] == after[name]}
    assert before["torch201-float32"] != after["torch201-float32"]


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_other_queries_search_again_and_other_judgements_score_again(project, monkeypatch):
    before = captures(planned(project))
    # q1's passage is the 51st, and 40 are indexed: it is not searched for.
    judge(project, [{"id": "q0", "text": "what?"}, {"id": "q1", "text": "whose?"}], "q0\td3\t1\nq1\td50\t1\n")
    assert captures(planned(project)) == before
    judge(project, [{"id": "q0", "text": "what now?"}], "q0\td3\t1\n")
    changed = moved(before, captures(planned(project)))
    assert "torch201-float32" in changed
    assert not any(name.endswith(("-repeat", "-observer")) for name in changed), "they do not search"
    judge(project, [{"id": "q0", "text": "what?"}], "q0\td3\t2\n")
    judged = replace(run.sources.prepare(), judged_sha256="e" * 64)
    monkeypatch.setattr("reportlib.collections.sources.prepare", lambda *_, **__: judged)
    assert moved(before, captures(planned(project))) == {"torch201-float32-search", "torch210-float32-search"}


def test_what_is_to_be_known_of_the_collection_is_said_before_anything_runs(project, monkeypatch):
    told = replace(run.sources.prepare(), notes=("3 of 4 judgements were left out.",))
    monkeypatch.setattr("reportlib.collections.sources.prepare", lambda *_, **__: told)
    judge(project, [{"id": "q1", "text": "who?"}], "q1\td50\t1\n")
    said: list[str] = []
    run.make_plan(load(project / "reports" / "s"), project, project / ".reportlib", said.append)
    assert said[-2] == "3 of 4 judgements were left out."
    assert said[-1].startswith("precision.float32: no query has a relevant passage among the first 40")
    home = {"REPORTLIB_HOME": str(project / ".reportlib")}
    shown = CliRunner().invoke(app, ["prepare", str(project / "reports" / "s")], env=home)
    assert shown.output.splitlines()[-2:] == said[-2:]


def test_a_search_needs_every_index_that_it_searches(project):
    found = planned(project)
    assert list(found["searches"]) == ["torch201-float32-search", "torch210-float32-search"]
    searches = list(found["searches"].values())
    assert [search["needs"] for search in searches] == [
        ["torch201-float32", "torch210-float32"],
        ["torch210-float32", "torch201-float32"],
    ]
    first, other = (yaml.safe_load((project / search["parameters"]).read_text()) for search in searches)
    assert first["indexes"] == {name.split("-")[0]: found["arms"][name]["capture"] for name in searches[0]["needs"]}
    assert (first["k"], first["depth"]) == (10, 20)
    assert (first["seeds"], other["seeds"]) == (3, 0), "the yardstick is A's"


def test_more_seeds_search_again_and_capture_nothing_again(project):
    before = captures(planned(project))
    after = captures(planned(project, search=SearchSpec(seeds=5)))
    assert {name for name in before if before[name] != after[name]} == {"torch201-float32-search"}


def test_code_that_searches_is_part_of_a_searching_arms_address_only(project, monkeypatch):
    before = captures(planned(project))
    monkeypatch.setitem(addresses.CODE, "search", 1_000)
    after = captures(planned(project))
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {"torch201-float32-search", "torch210-float32-search"}


def test_without_search_there_are_no_searching_arms(project):
    assert planned(project, search=SearchSpec(k=0))["searches"] == {}


@pytest.mark.parametrize(
    ("changed", "value"),
    [("cpu_name", lambda: "Another CPU"), ("instruction_sets", lambda: ("avx", "avx2", "avx512f"))],
)
def test_another_machine_has_other_captures(project, monkeypatch, changed, value):
    before = captures(planned(project))
    monkeypatch.setattr(addresses, changed, value)
    after = captures(planned(project))
    assert all(after[name] != before[name] for name in before)


def test_variables_around_a_run_count_and_those_that_a_capture_sets_do_not(project, monkeypatch):
    before = captures(planned(project))
    for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "HOME_OF_NOTHING"):
        monkeypatch.setenv(name, "7")
    assert captures(planned(project)) == before
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    after = captures(planned(project))
    assert all(after[name] != before[name] for name in before)


def test_gpus_count_on_a_gpu_only(tmp_path, monkeypatch):
    for number, name in enumerate(("NVIDIA L4", "NVIDIA L4")):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {name}\nIRQ:  1\n")
    monkeypatch.setattr(addresses, "_GPUS", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    cpu, cuda = (addresses.ambient(device) for device in ("cpu", "cuda"))
    assert (cpu["machine"][-1], cuda["machine"][-1]) == ([], ["NVIDIA L4", "NVIDIA L4"])
    assert (cpu["variables"], cuda["variables"]) == ({}, {"CUDA_VISIBLE_DEVICES": "1"})


@pytest.mark.parametrize("name", ["torch999", "../torch201"])
def test_an_environment_without_a_file_is_refused_first(project, name):
    study = replace(load(project / "reports" / "s"), environments=("torch201", name))
    with pytest.raises(ReportlibError, match=r"torch999|torch201"):
        make(project, study)
    assert not (project / ".reportlib" / "runs").exists()


def test_more_passages_than_the_collection_has_are_refused_first(project):
    with pytest.raises(CollectionError, match="there are 100"):
        planned(project, passages={"float32": 101})


@pytest.mark.parametrize("precision", ["float32", "autocast"])
@pytest.mark.parametrize("passages", [1, 3])
def test_too_few_passages_are_refused_first(project, precision, passages):
    collection = project / ".reportlib" / "inputs" / "collection-x" / "collection.jsonl"
    collection.write_text('{"id": "1", "text": "nine"}\n' * 100)
    with pytest.raises(CollectionError, match=f"precision.{precision}: {passages} passages? gives? at most") as caught:
        planned(project, passages={"float32": 0, precision: passages})
    assert "at least 134 token embeddings" in caught.value.mend
    assert not (project / ".reportlib" / "runs").exists()


def test_a_study_outside_a_project_is_refused(tmp_path):
    with pytest.raises(StudyError, match="notebooks"):
        run.find_root(tmp_path / "study.toml")


def test_code_of_the_capture_is_part_of_its_address(project, monkeypatch):
    before = captures(planned(project))
    monkeypatch.setitem(addresses.CODE, "capture", 1_000)
    assert all(captures(planned(project))[name] != before[name] for name in before)


def test_a_removed_environment_is_made_again(project):
    marker = project / planned(project)["environments"]["torch201"]
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    planned(project)
    assert not marker.exists(), "no record of that environment is left, so it is not ready"
