"""A sweep over the two real environments: their own bytes twice, the sort's change, and nothing measured twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENTS, SMALL, Run
from pydantic import TypeAdapter

from reportlib.environments.record import find_record
from reportlib.sweep.classes import Sweep

pytestmark = pytest.mark.integration
SORT = "sort int64 114693"


@pytest.fixture(scope="module")
def made(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sweep")
    run("reportlib", "sweep", "2.0.1", "2.1.0", "--output", str(folder))
    return folder, json.loads((folder / "sweep.json").read_text(encoding="utf-8"))


def test_both_are_measured_and_stay(made: tuple[Path, Any], home: Path) -> None:
    _, found = made
    TypeAdapter(Sweep).validate_python(found)
    assert [(one["version"], one["why"]) for one in found["versions"]] == [("2.0.1", ""), ("2.1.0", "")]
    assert all(find_record(name, home) for name in ENVIRONMENTS)
    rows = [row for entry in found["precisions"] for row in (*entry["operations"], *entry["layers"])]
    assert len(rows) > 150
    for row in rows:
        assert row["same_inputs"], row["id"]
        assert row["repeats"], row["id"]
        assert row["failed"] == {}, row["id"]


def test_the_sort_of_many_integers_changed_and_of_few_did_not(made: tuple[Path, Any]) -> None:
    rows = {row["id"]: row for row in made[1]["precisions"][0]["operations"]}
    assert rows[SORT]["classes"] == [0, 1]
    (few,) = [name for name in rows if name.startswith("sort") and name != SORT]
    assert rows[few]["classes"] == [0, 0]
    (change,) = [entry for entry in made[1]["precisions"][0]["breaks"] if entry["row"] == SORT]
    assert change["different"] > change["sampled"] / 2


def test_errors_are_those_of_the_dtype(made: tuple[Path, Any]) -> None:
    for entry in made[1]["precisions"]:
        for row in entry["layers"]:
            if row["inside"] == ["text0"] and row["name"] == "output":
                low, high = (1e-9, 1e-5) if entry["precision"] == "float32" else (1e-5, 0.05)
                assert all(low < greatest < high for greatest, _ in row["errors"])


def test_a_second_sweep_and_a_bisection_measure_nothing(run: Run, made: tuple[Path, Any], tmp_path: Path) -> None:
    again = run("reportlib", "sweep", "2.0.1", "2.1.0", "--output", str(tmp_path))
    assert "2 of 2" in again.stderr
    assert (tmp_path / "sweep.json").read_bytes() == (made[0] / "sweep.json").read_bytes()
    assert (tmp_path / "index.html").read_bytes() == (made[0] / "index.html").read_bytes()
    answer = run("reportlib", "bisect", "2.0.1", "2.1.0", "--of", SORT).stdout
    assert "2.0.1" in answer
    assert "(0)" in answer


@pytest.mark.usefixtures("made")
def test_whole_captures_say_what_the_upgrade_does_to_an_index_and_are_bisected(run: Run, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(SMALL.read_text().replace("threads = 2", "threads = 1"))
    first = run("reportlib", "sweep", "2.0.1", "2.1.0", "--full", "--study", str(study), "--output", str(tmp_path))
    assert first.stderr.count("indexing and searching") in (0, 4), "an earlier run of the tests may have made them"
    found = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    TypeAdapter(Sweep).validate_python(found)
    assert found["captured"]["versions"] == ["2.0.1", "2.1.0"]
    assert found["captured"]["passages"] == {"float32": 48, "autocast": 16}
    rows = {row["name"]: row["classes"] for row in found["precisions"][1]["artifacts"]}
    assert rows["token_ids"] == [0, 0]
    assert rows["embs"] == rows["rankings"] == [0, 1]
    (change,) = found["precisions"][1]["changes"]
    assert change["embeddings"] < 0.1
    assert change["codes"]["of"] > 500
    answer = run("reportlib", "bisect", "2.0.1", "2.1.0", "--of", "autocast/embs", "--study", str(study))
    assert "autocast/embs changes from torch 2.0.1 to 2.1.0" in answer.stdout
    assert "(0)" in answer.stdout
    assert "indexing and searching" not in answer.stderr
