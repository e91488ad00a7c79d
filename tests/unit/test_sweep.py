"""Sweeps: each version measured once, classes of equal bytes, and what a break is."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_sweeps import LAYERS, NORM, PROBES, SORT, FakeStation
from packaging.requirements import Requirement
from packaging.version import Version
from pydantic import TypeAdapter

from reportlib.environments.spec import silent
from reportlib.errors import DiskSpaceError, EnvironmentFileError, StudyError
from reportlib.sweep import probes, versions
from reportlib.sweep.classes import Sweep, classes, posts, report
from reportlib.sweep.probes import Site, sweep
from reportlib.sweep.versions import Wish
from reportlib.trace.format import FUNCTIONS

VERSIONS = ["2.0.1", "2.1.0", "2.2.2", "2.10.0"]
STEPS = {NORM: ["2.2.0", "2.3.0"], SORT: ["2.1.0"], LAYERS[1]: ["2.2.0"]}


def made(folder: Path, steps: Any = STEPS, **options: Any) -> tuple[FakeStation, Sweep]:
    station = FakeStation(folder, steps, **options)
    return station, report(sweep(VERSIONS, station, silent), PROBES)


def row(found: Sweep, name: str, precision: int = 0) -> Any:
    table = found["precisions"][precision]
    return next(entry for entry in (*table["operations"], *table["layers"]) if entry["id"] == name)


def test_every_version_is_installed_once_and_two_are_there_at_most(tmp_path: Path) -> None:
    station, found = made(tmp_path)
    assert station.installed == VERSIONS
    assert (station.most, station.here) == (2, set())
    assert [one["why"] for one in found["versions"]] == [""] * 4
    TypeAdapter(Sweep).validate_python(found)


def test_what_was_measured_is_not_installed_again(tmp_path: Path) -> None:
    first = FakeStation(tmp_path, STEPS)
    sweep(VERSIONS[:2], first, silent)
    second, found = made(tmp_path)
    assert second.installed == VERSIONS[2:]
    assert found == made(tmp_path)[1]


def test_equal_bytes_are_one_class(tmp_path: Path) -> None:
    _, found = made(tmp_path)
    assert row(found, NORM)["classes"] == row(found, NORM, 1)["classes"] == [0, 0, 1, 2]
    assert row(found, SORT)["classes"] == [0, 1, 1, 1]
    assert [entry["id"] for entry in found["precisions"][1]["operations"]] == [NORM]
    assert classes(["x", "y", None, "x", "z"]) == [0, 1, None, 0, 2]


def test_a_break_has_its_size_its_direction_and_its_change_upstream(tmp_path: Path) -> None:
    _, found = made(tmp_path)
    known = {(b["row"], b["older"], b["newer"]): b for b in found["precisions"][0]["breaks"]}
    assert set(known) == {(SORT, "2.0.1", "2.1.0"), (NORM, "2.1.0", "2.2.2"), (NORM, "2.2.2", "2.10.0"),
                          (LAYERS[1], "2.1.0", "2.2.2")}  # fmt: skip
    sort, norm = known[SORT, "2.0.1", "2.1.0"], known[NORM, "2.1.0", "2.2.2"]
    assert (norm["max_abs"], norm["different"], norm["sampled"], norm["closer"]) == (1.0, 1, 8, "newer")
    assert sort["closer"] is None
    assert sort["upstream"] is not None
    assert sort["upstream"]["url"].endswith("/100081")
    assert norm["upstream"] is not None
    assert norm["upstream"]["url"].endswith("/108089")
    assert known[NORM, "2.2.2", "2.10.0"]["upstream"] is None


def test_pairs_with_equal_bytes_are_never_set_beside_each_other(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {SORT: ["2.2.0"]})
    found = report(sweep(VERSIONS, station, silent), PROBES)
    assert found["compared"] == 1
    assert [pair["operations"]["float32"] for pair in found["pairs"]] == [0, 1, 0]


@pytest.mark.parametrize("where", ["prepare", "install", "measure"])
def test_a_version_that_fails_is_a_row_that_says_why(tmp_path: Path, where: str) -> None:
    station, found = made(tmp_path, failing={"2.1.0": where})
    assert [bool(one["why"]) for one in found["versions"]] == [False, True, False, False]
    assert [(pair["older"], pair["newer"]) for pair in found["pairs"]] == [("2.0.1", "2.2.2"), ("2.2.2", "2.10.0")]
    assert row(found, SORT)["classes"] == [0, 1, 1]
    assert station.here == set()
    TypeAdapter(Sweep).validate_python(found)


def test_an_operation_that_a_version_lacks_is_passed_over(tmp_path: Path) -> None:
    _, found = made(tmp_path, failing={"2.1.0": f"lacks {SORT}"})
    assert row(found, SORT)["classes"] == [0, None, 1, 1]
    assert row(found, SORT)["failed"] == {"2.1.0": "NotReplayedError: torch has none"}
    (change,) = [b for b in found["precisions"][0]["breaks"] if b["row"] == SORT]
    assert (change["older"], change["newer"]) == ("2.0.1", "2.2.2")


def test_an_index_is_captured_where_something_new_is_computed_and_nowhere_else(tmp_path: Path) -> None:
    steps = STEPS | {"index": ["2.2.0"]}
    station, found = made(tmp_path, steps=steps, full=True)
    assert station.captures == VERSIONS
    float32, autocast = found["precisions"]
    assert {tuple(row["classes"]) for row in float32["artifacts"]} == {(0, 0, 0, 0)}
    assert (float32["changes"], len(autocast["changes"])) == ([], 1)
    ((change),) = autocast["changes"]
    assert (change["older"], change["newer"]) == ("2.1.0", "2.2.2")
    assert change["lists"] is not None
    assert change["rankings"] is not None
    assert 0 < change["lists"]["changed"] <= change["lists"]["of"]
    assert change["rankings"]["of"] == 6
    TypeAdapter(Sweep).validate_python(found)

    again, same = made(tmp_path, steps=steps, full=True)
    assert (again.installed, again.captures, same) == ([], [], found)


def test_a_version_that_computes_the_same_has_the_captures_of_the_older_one(tmp_path: Path) -> None:
    station, found = made(tmp_path, steps={NORM: ["2.2.0"], "index": ["2.2.0"]}, full=True)
    assert station.captures == ["2.0.1", "2.2.2"]
    assert found["captured"] == {"passages": {"float32": 40, "autocast": 40}, "queries": {"float32": 6, "autocast": 6},
                                 "k": 5, "versions": ["2.0.1", "2.2.2"], "unknown": [], "why": {}}  # fmt: skip
    rows = {row["name"]: row["classes"] for row in found["precisions"][1]["artifacts"]}
    assert rows["embs"] == [0, 0, 1, 1]


def test_what_was_measured_without_captures_is_installed_again_for_them(tmp_path: Path) -> None:
    steps = {NORM: ["2.2.0"]}
    made(tmp_path, steps=steps)
    station, _ = made(tmp_path, steps=steps, full=True)
    assert station.installed == station.captures == ["2.0.1", "2.2.2"]


def test_a_capture_that_fails_leaves_the_measurement_and_says_why(tmp_path: Path) -> None:
    _, found = made(tmp_path, steps={NORM: ["2.2.0"]}, full=True, failing={"2.2.2": "capture"})
    assert [one["why"] for one in found["versions"]] == [""] * 4
    assert found["captured"] is not None
    assert found["captured"]["why"] == {"2.2.2": "a compiler is missing"}
    assert row(found, NORM)["classes"] == [0, 0, 1, 1]
    assert found["captured"]["versions"] == ["2.0.1", "2.10.0"], "the next of its class is tried"
    assert found["captured"]["unknown"] == []
    assert found["precisions"][0]["artifacts"][0]["classes"] == [0, 0, 0, 0]


def test_a_version_whose_like_cannot_be_captured_either_is_unknown(tmp_path: Path) -> None:
    failing = {"2.2.2": "capture", "2.10.0": "capture"}
    _, found = made(tmp_path, steps={NORM: ["2.2.0"]}, full=True, failing=failing)
    assert found["captured"] is not None
    assert found["captured"]["unknown"] == ["2.2.2", "2.10.0"]
    assert found["precisions"][0]["artifacts"][0]["classes"] == [0, 0, None, None]


def test_what_cannot_be_installed_again_for_a_capture_keeps_its_measurement(tmp_path: Path) -> None:
    steps = {NORM: ["2.2.0"]}
    made(tmp_path, steps=steps)
    _, found = made(tmp_path, steps=steps, full=True, failing={"2.2.2": "install"})
    assert [one["why"] for one in found["versions"]] == [""] * 4
    assert found["captured"] is not None
    assert list(found["captured"]["why"]) == ["2.2.2"]


def test_a_full_disk_ends_the_sweep(tmp_path: Path) -> None:
    class Full(FakeStation):
        def install(self, site: Site) -> None:
            raise DiskSpaceError(f"no room for {site.version}")

    with pytest.raises(DiskSpaceError):
        sweep(VERSIONS, Full(tmp_path, {}), silent)


@pytest.mark.parametrize(
    ("older", "newer", "said"),
    [
        ("2.0.1", "2.1.0", "different"),
        ("2.1.0", "2.2.2", "same"),
        ("2.4.0", "2.6.0", "different"),
        ("2.4.0", "2.4.1", "same"),
        ("2.8.0", "2.9.0", None),
        ("1.12.0", "1.13.1", None),
    ],
)
def test_the_posts_pairs_are_looked_up_by_what_lies_between(older: str, newer: str, said: str | None) -> None:
    assert posts(older, newer) == said


def test_a_sweep_file_lists_versions(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('versions = ["2.10", "2.9.1", "2.10.0"]\n')
    assert Wish.read(file).resolve() == ["2.9.1", "2.10.0"]
    file.write_text('version = ["2.1.0"]\n')
    with pytest.raises(StudyError, match="version is not a key"):
        Wish.read(file)
    with pytest.raises(StudyError):
        Wish(("2.1.0",)).resolve()
    with pytest.raises(EnvironmentFileError):
        Wish(("2.1.0", "2.2.0.post1")).resolve()


def test_the_probes_are_of_recorded_passes_and_have_names_of_their_own() -> None:
    known = probes.read()
    names = [probe["id"] for probe in known]
    assert len(set(names)) == len(names) > 100
    assert {probe["name"] for probe in known if not probe["name"].startswith("aten::")} == set(FUNCTIONS)
    for name in ("addmm", "bmm", "gelu", "_softmax", "native_layer_norm", "linalg_vector_norm", "sort", "quantile"):
        assert any(probe["name"] == f"aten::{name}" for probe in known), name
    dtypes = {precision: {tensor["dtype"] for probe in known if precision in probe["precisions"]
                          for tensor in probe["tensors"]} for precision in ("float32", "autocast")}  # fmt: skip
    assert "bfloat16" not in dtypes["float32"]
    assert {"bfloat16", "float32"} <= dtypes["autocast"]
    assert max(probe["tensors"][0]["shape"][0] for probe in known if probe["name"] == "aten::sort") >= 32768
    assert json.loads(probes.path().read_text())["probes"] == known


def test_releases_are_asked_for_from_the_newest_down(monkeypatch: pytest.MonkeyPatch) -> None:
    index = ["1.13.1", "2.0.0", "2.9.1", "2.10.0"]

    def highest(bound: str, python: str, candidates: bool) -> Version | None:
        assert (python, candidates) == ("3.11", False)
        fitting = [version for version in index if Requirement(bound).specifier.contains(version)]
        return max(map(Version, fitting), default=None)

    monkeypatch.setattr(versions, "_highest", highest)
    assert versions.releases("1.13") == index
    assert versions.releases("2.0.0", "2.9.1") == ["2.0.0", "2.9.1"]
    assert Wish(("2.1.0",), "2.9.1", "newest").resolve() == ["2.1.0", "2.9.1", "2.10.0"]
    with pytest.raises(EnvironmentFileError):
        versions.releases("2.11.0")


def wheel(folder: Path, version: str) -> None:
    """Write a wheel of torch with nothing in it."""
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def test_candidates_and_nightly_builds_are_listed_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beyond what any registry has, so that only this folder counts.
    known = ["99.1.0", "99.2.0.dev20231101", "99.2.0.dev20231201", "99.2.0rc1", "99.2.0rc2", "99.2.0", "99.2.1"]
    for version in known:
        wheel(tmp_path, version)
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    assert versions.releases("99.1.0", "99.2.1") == ["99.1.0", "99.2.0", "99.2.1"]
    assert versions.releases("99.1.0", "99.2.0", candidates=True) == known[:-1]


class Made:
    """What `reportlib.sweep.probes` asks of environments, noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: set[str]) -> None:
        self.removed: list[str] = []
        self.cleaned: list[str] = []
        self.there = there
        monkeypatch.setattr(probes, "find_record", lambda name, _home: name if name in self.there else None)
        monkeypatch.setattr(probes, "create", lambda spec, *_args, **_options: self.there.add(spec.name))
        monkeypatch.setattr(probes, "remove", lambda name, _home: self.removed.append(name))
        monkeypatch.setattr(probes, "run_uv", lambda command: self.cleaned.extend(command[2:]))


def station(folder: Path, keep: str = "none") -> probes.Environments:
    return probes.Environments(folder, folder, probes.PreparedInputs(folder, folder), keep)


def site(folder: Path, version: str, **packages: str) -> Site:
    spec: Any = SimpleNamespace(name=version)
    return Site(version, version, folder / version, packages={"torch": version, **packages}, spec=spec)


def test_an_environment_goes_with_the_downloads_that_the_next_one_has_no_use_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, here = Made(monkeypatch, {"2.1.0"}), station(tmp_path)
    old, new = site(tmp_path, "2.0.1", numpy="1.26.4", triton="2.0"), site(tmp_path, "2.1.0", numpy="1.26.4")
    for each in (old, new):
        here.install(each)
    here.remove(old, new)
    here.remove(new, None)
    assert made.removed == ["2.0.1"], "an environment that was there before stays"
    assert made.cleaned == ["torch", "triton"]


def test_all_is_kept_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    made = Made(monkeypatch, set())
    with station(tmp_path, "all").opened() as here:
        here.install(site(tmp_path, "2.0.1"))
        here.remove(site(tmp_path, "2.0.1"), None)
        assert "UV_CACHE_DIR" not in os.environ
    assert made.removed == made.cleaned == []
    with station(tmp_path).opened() as here:
        assert Path(os.environ["UV_CACHE_DIR"]).is_relative_to(here.own)
    assert "UV_CACHE_DIR" not in os.environ
