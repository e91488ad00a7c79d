"""Bisection: every change point that unlike ends lead to, and how many installations that took."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sweeps import NORM, SORT, FakeStation

from reportlib.cli.sweep import answer
from reportlib.environments.spec import silent
from reportlib.errors import EnvironmentFileError, StudyError
from reportlib.study import SearchSpec, Study
from reportlib.sweep import versions
from reportlib.sweep.captures import artifact_names
from reportlib.sweep.probes import sweep
from reportlib.sweep.versions import among_candidates, bisect_at, require_known

VERSIONS = [f"2.{minor}.{micro}" for minor in range(10) for micro in range(3)]


def bisect(station: FakeStation, of: str = "sort", versions: list[str] = VERSIONS):
    return bisect_at(station, versions, of, silent)


def test_one_change_among_thirty_versions_takes_seven_installations(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {SORT: ["2.6.1"]})
    found = bisect(station)
    assert found.changes == [("2.6.0", "2.6.1", ())]
    assert station.installed == found.installed
    assert len(station.installed) <= 7
    assert station.most == 1


def test_all_change_points_are_found(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {NORM: ["2.0.1", "2.2.0", "2.8.2"]})
    found = bisect(station, "native_layer_norm")
    assert [(older, newer) for older, newer, _ in found.changes] == [
        ("2.0.0", "2.0.1"), ("2.1.2", "2.2.0"), ("2.8.1", "2.8.2")
    ]  # fmt: skip
    assert len(station.installed) < 16


def test_what_was_measured_before_costs_nothing_and_narrows_the_search(tmp_path: Path) -> None:
    sweep(["2.0.0", "2.6.0", "2.6.2", "2.9.2"], FakeStation(tmp_path, {SORT: ["2.6.1"]}), silent)
    station = FakeStation(tmp_path, {SORT: ["2.6.1"]})
    found = bisect(station)
    assert station.installed == ["2.6.1"]
    assert found.changes == [("2.6.0", "2.6.1", ())]
    assert found.unseen == [("2.0.0", "2.6.0", 17), ("2.6.2", "2.9.2", 8)]


def test_equal_ends_are_not_taken_for_no_change_unless_asked(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {})
    found = bisect(station)
    assert (found.changes, found.unseen) == ([], [("2.0.0", "2.9.2", 28)])
    assert station.installed == ["2.0.0", "2.9.2"]
    assert sum("28" in line for line in answer(found, "sort", equal_is_same=False)) == 1
    assert not any("28" in line for line in answer(found, "sort", equal_is_same=True))


def test_versions_that_do_not_install_are_gone_around(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {SORT: ["2.1.0"]}, {"2.0.2": "install", "2.1.0": "prepare"})
    found = bisect(station, versions=VERSIONS[:6])
    assert found.changes == [("2.0.1", "2.1.1", ("2.0.2", "2.1.0"))]
    with pytest.raises(StudyError):
        bisect(FakeStation(tmp_path / "other", {}, {"2.0.0": "measure"}))


def test_a_name_that_is_no_probe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="native_layer_norm, sort"):
        bisect(FakeStation(tmp_path, {}), "ivf")


def test_layers_and_patterns_can_be_bisected(tmp_path: Path) -> None:
    steps = {"float32/text0/output": ["2.1.0"], "autocast/text0/00": ["2.5.0"]}
    assert [change[1] for change in bisect(FakeStation(tmp_path, steps), "layers").changes] == ["2.1.0", "2.5.0"]
    assert [change[1] for change in bisect(FakeStation(tmp_path, steps), "float32/*").changes] == ["2.1.0"]
    assert [change[1] for change in bisect(FakeStation(tmp_path, steps), "embs").changes] == ["2.1.0"]


def test_an_artifact_of_whole_captures_can_be_bisected(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {NORM: ["2.3.1", "2.7.0"], "index": ["2.3.1"]}, full=True)
    found = bisect(station, "ivf")
    assert found.changes == [("2.3.0", "2.3.1", ())]
    assert len(station.installed) <= 7
    assert len(station.captures) == 3, "what computes the same as one that was looked at makes the same index"
    assert bisect(station, "autocast/index/codes").changes == found.changes
    assert bisect(station, "float32/index/codes").changes == []


@pytest.mark.parametrize(
    ("of", "names"),
    [
        ("ivf", ["float32/index/ivf", "autocast/index/ivf"]),
        ("codes", ["float32/index/codes", "autocast/index/codes"]),
        ("kmeans_centroids", ["float32/kmeans_centroids", "autocast/kmeans_centroids"]),
        ("autocast/index/codes", ["autocast/index/codes"]),
        ("float32/index/bucket_*", ["float32/index/bucket_cutoffs", "float32/index/bucket_weights"]),
        ("index/avg*", ["float32/index/avg_residual", "autocast/index/avg_residual"]),
        ("embs", []),
        ("float32/*", []),
        ("autocast/batch/05", []),
        ("sort", []),
    ],
)
def test_what_a_name_means_of_a_capture(of: str, names: list[str]) -> None:
    assert artifact_names(of) == names


def test_what_names_nothing_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    study = Study(tmp_path / "study.toml", "t", ("a", "b"), search=SearchSpec(k=0))
    for name in ("layers", "embs", "sort", "float32/batch/*", "ivf", "sort int64 114693"):
        require_known(name, study)
    with pytest.raises(StudyError, match="'code' is no probe"):
        require_known("code", None)
    with pytest.raises(StudyError, match="does not search"):
        require_known("rankings", study)


def test_a_change_is_narrowed_among_candidates_where_the_index_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"2.6.0": ["2.6.0", "2.6.1.dev1", "2.6.1.dev2", "2.6.1rc1", "2.6.1"], "2.1.1": ["2.1.1", "2.1.2"]}
    monkeypatch.setattr(versions, "releases", lambda older, _newer, **_: asked[older])
    station = FakeStation(tmp_path, {SORT: ["2.1.2", "2.6.1.dev2"]})
    found = bisect(station)
    finer = among_candidates(station, found, "sort", silent)
    assert finer.changes == [("2.1.1", "2.1.2", ()), ("2.6.1.dev1", "2.6.1.dev2", ())]
    assert set(finer.installed) - set(found.installed) <= {"2.6.1.dev1", "2.6.1.dev2", "2.6.1rc1"}
    assert station.installed == finer.installed


def test_an_index_of_candidates_alone_takes_no_change_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = FakeStation(tmp_path, {SORT: ["2.6.1.dev2"]})
    found = bisect(station)
    assert found.changes == [("2.6.0", "2.6.1", ())]
    monkeypatch.setattr(versions, "releases", lambda *_, **__: ["2.6.1.dev1", "2.6.1.dev2"])
    assert among_candidates(station, found, "sort", silent).changes == [("2.6.1.dev1", "2.6.1.dev2", ())]

    def nothing(*_: str, **__: bool) -> list[str]:
        raise EnvironmentFileError("the package index has no torch")

    monkeypatch.setattr(versions, "releases", nothing)
    assert among_candidates(station, found, "sort", silent).changes == found.changes
