"""A misspelt parameter fails before any work; papermill alone would run on with the default."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from reportlib.artifacts import SWAPPABLE
from reportlib.capture.request import CaptureRequest, SwapRequest
from reportlib.errors import NotebookParameterError
from reportlib.notebooks import check_parameters, enter_project, parameter_names, refuse_unknown
from reportlib.study import SEARCHING, ColbertSettings, key_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def defaults(notebook: str = "capture.ipynb") -> dict:
    """Run a notebook's parameters cell, as a kernel does."""
    cells = json.loads((NOTEBOOKS / notebook).read_text())["cells"]
    source = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    namespace: dict = {"__name__": "__main__", "In": [], "Out": {}}
    exec(source, namespace)  # noqa: S102
    return namespace


def test_the_notebook_and_the_request_have_the_same_parameters_and_defaults():
    request = CaptureRequest.from_parameters(defaults())
    assert request == CaptureRequest(), "the environment is the kernel's"
    assert sorted(parameter_names(NOTEBOOKS / "capture.ipynb")) == sorted(f.name for f in fields(CaptureRequest))


def test_the_swap_notebook_and_its_request_have_the_same_parameters_and_defaults():
    request = SwapRequest.from_parameters(defaults("swaps.ipynb"))
    assert request == SwapRequest(), "environment and donor follow from the kernel and the captures"
    assert sorted(parameter_names(NOTEBOOKS / "swaps.ipynb")) == sorted(f.name for f in SwapRequest.parameters())
    assert {f.name for f in fields(SwapRequest)} - {f.name for f in SwapRequest.parameters()} == set(SEARCHING)
    assert "ncells" not in request.settings()
    assert {(name,) for name in SWAPPABLE} < set(request.sets), "every point alone, and more"


@pytest.mark.parametrize("notebook", ["capture.ipynb", "search.ipynb", "swaps.ipynb"])
def test_a_setting_of_colbert_ai_is_in_a_notebook_what_it_is_in_a_study(notebook):
    cells = json.loads((NOTEBOOKS / notebook).read_text())["cells"]
    lines = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])).splitlines()
    for known in fields(ColbertSettings):
        wanted = f"{known.name}: {known.type} = {known.default!r}  # {key_of(known).about}"
        found = [line for line in lines if line.startswith(f"{known.name}:")]
        assert found == ([] if notebook == "swaps.ipynb" and known.name in SEARCHING else [wanted])


def test_sets_of_swap_points_have_one_name_however_they_are_written():
    request = SwapRequest("torch210", donor="torch201", swaps=" embs+centroids\n ivf  centroids+embs ")
    assert request.sets == (("centroids", "embs"), ("ivf",))
    assert [arm.name for arm in request.arms] == [
        "torch210-float32-swap-centroids+embs-from-torch201",
        "torch210-float32-swap-ivf-from-torch201",
    ]
    assert request.donor_folder.name == "torch201-float32"
    assert request.own_folder.name == "torch210-float32"


@pytest.mark.parametrize(
    ("change", "names"),
    [({"swaps": "embs rankings"}, "rankings"), ({"swaps": "embs++codes"}, "swaps"), ({"donor": 1}, "donor"),
     ({"swap": "embs"}, "swaps"), ({"variables": {"PATH": "x"}}, "PATH")],
)  # fmt: skip
def test_a_swap_parameter_that_does_not_fit_is_named(change, names):
    with pytest.raises(NotebookParameterError, match=names):
        SwapRequest.from_parameters(defaults("swaps.ipynb") | change)


def test_the_compare_notebook_finds_a_run_in_the_home(tmp_path, monkeypatch):
    """And where its report goes follows from the study: another study's is not written over."""
    from reportlib.compare.study import places
    from reportlib.study import Study

    monkeypatch.setenv("REPORTLIB_HOME", str(tmp_path / "another home"))
    given = defaults("compare.ipynb")
    study = Study(tmp_path / "my study" / "study.toml", "t", ("a", "b"))
    run = tmp_path / "another home" / "runs" / "my study"
    report = str(tmp_path / "my study" / "report.json")
    chosen = [given[name] for name in ("captures", "roots", "report")]
    assert places(study, *chosen) == (str(run / "captures.json"), "", report), "no operations are listed yet"
    run.mkdir(parents=True)
    (run / "roots.json").touch()
    assert places(study, *chosen) == (str(run / "captures.json"), str(run / "roots.json"), report)
    assert places(study, "c", "r", "p") == ("c", "r", "p")


def test_without_captures_the_published_report_is_shown_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reportlib.compare.study import compare_listed, places, write
    from reportlib.study import load

    monkeypatch.setenv("REPORTLIB_HOME", str(tmp_path / "home"))
    folder = tmp_path / "study"
    shutil.copytree(Path(__file__).parents[2] / "reports" / "torch-2.0.1-vs-2.1.0", folder)
    study = load(folder / "study.toml")
    chosen = places(study, "", "", "")
    assert chosen == ("", "", "")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match="as it was published"):
        report = compare_listed(study, *chosen[:2])
    write(report, *chosen)
    assert report == json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert places(study, "c", "", "")[2], "captures that are given are compared and written"


def test_no_default_of_a_notebook_names_a_folder_of_the_home():
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        assert not [v for v in defaults(notebook.name).values() if isinstance(v, str) and ".reportlib" in v]


def test_a_misspelt_parameter_is_named_with_the_right_one():
    with pytest.raises(NotebookParameterError, match=r"'passagse'(.|\n)*'passages'"):
        CaptureRequest.from_parameters(defaults() | {"passagse": 800})


def test_what_a_kernel_adds_is_no_parameter():
    check_parameters({"_i1": "x", "In": [], "Out": {}, "exit": 1, "json": json, "a": 1}, ["a"])


def test_an_unlike_name_lists_what_there_is():
    with pytest.raises(NotebookParameterError, match="it has alpha, beta"):
        refuse_unknown(["zzz"], ["beta", "alpha"])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"passages": "800"}, "passages"),
        ({"passages": True}, "passages"),
        ({"passages": -1}, "negative"),
        ({"precision": "float16"}, "float16"),
        ({"device": "gpu"}, "gpu"),
        ({"threads": 0}, "threads"),
        ({"control": "again"}, "again"),
        ({"k": -1}, "negative"),
        ({"variables": {"PATH": "x"}}, "PATH"),
        ({"texts": "a"}, "texts"),
    ],
)
def test_a_value_that_does_not_fit_is_named(change, names):
    with pytest.raises(NotebookParameterError, match=names):
        CaptureRequest.from_parameters(defaults() | change)


def test_a_removed_parameter_is_missed():
    namespace = defaults()
    del namespace["nbits"]
    with pytest.raises(NotebookParameterError, match="nbits"):
        CaptureRequest.from_parameters(namespace)


def test_whole_numbers_may_stand_for_real_ones_and_lists_for_tuples():
    request = CaptureRequest.from_parameters(defaults() | {"centroid_score_threshold": 0, "texts": ["x"]})
    assert request.centroid_score_threshold == 0.0
    assert request.texts == ("x",)


def test_the_description_has_no_paths():
    request = CaptureRequest(environment="e", collection="/secret/c", output="/secret/o")
    assert "secret" not in json.dumps(request.describe())
    swaps = SwapRequest("e", donor="d", output="/secret/o", swap_from="/secret/a", replay_from="/secret/b")
    assert "secret" not in json.dumps(swaps.describe(swaps.arms[0]))


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "x.ipynb").write_text("{}")
    with pytest.raises(NotebookParameterError, match=r"x\.ipynb"):
        parameter_names(tmp_path / "x.ipynb")
    (tmp_path / "y.ipynb").write_text('{"cells": []}')
    with pytest.raises(NotebookParameterError, match="parameters"):
        parameter_names(tmp_path / "y.ipynb")


def test_a_notebook_opened_anywhere_in_the_project_finds_its_root(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "capture.ipynb").touch()
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        enter_project()
        assert Path.cwd() == tmp_path


def test_outside_a_project_nothing_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    enter_project()
    assert Path.cwd() == tmp_path
