"""Controls: one planted byte is found and named, and makes its precision inconclusive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captures import captures, plant_other_embeddings, study_of

from reportlib.compare.study import compare_study
from reportlib.study import Arm, ControlSpec, SwapSpec


def precisions(folder: Path, plant: Any = None, **kept: Any) -> dict[str, dict[str, Any]]:
    study = study_of(folder, **{"swaps": SwapSpec(())} | kept)
    report = compare_study(study, captures(folder, study, plant))
    return {part["precision"]: part for part in report["pairs"][0]["precisions"]}


def flip_one_bit(arm_name: str, artifact: str) -> Any:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.name == arm_name:
            content = bytearray(values[artifact].tobytes())
            content[-1] ^= 1
            values[artifact] = np.frombuffer(bytes(content), values[artifact].dtype).reshape(values[artifact].shape)

    return plant


def test_where_every_control_passes_a_precision_is_conclusive(tmp_path: Path) -> None:
    found = precisions(tmp_path, plant_other_embeddings)["autocast"]
    assert found["conclusive"] is True
    assert [(c["kind"], c["environment"]) for c in found["controls"]] == [
        ("repeat", "torch201"), ("observer", "torch201"), ("repeat", "torch210"), ("observer", "torch210"),
    ]  # fmt: skip
    for control in found["controls"]:
        assert control["passed"]
        assert control["identical"] == control["compared"] > 0
        assert control["not_identical"] == []
    repeat, observer = found["controls"][:2]
    assert repeat["compared"] > observer["compared"], "the observer has the index only"


@pytest.mark.parametrize(
    ("arm", "artifact"),
    [
        ("torch201-autocast-repeat", "layers/a/01"),
        ("torch201-autocast-repeat", "embs/1"),
        ("torch210-autocast-observer", "index/residuals/0"),
    ],
)
def test_one_changed_bit_is_found_and_named_and_nothing_else(tmp_path: Path, arm: str, artifact: str) -> None:
    def plant(where: Arm, values: dict[str, Any]) -> None:
        if where.name == arm and artifact.startswith("layers"):
            values[artifact].array[-1, -1, -1] ^= 1  # bfloat16
        else:
            flip_one_bit(arm, artifact)(where, values)

    found = precisions(tmp_path, plant)
    assert {c["arm"]: c["not_identical"] for c in found["autocast"]["controls"] if not c["passed"]} == {arm: [artifact]}
    assert found["autocast"]["conclusive"] is False
    assert found["float32"]["conclusive"] is True, "another precision's controls say nothing of this one"


@pytest.mark.parametrize("change", ["lost", "more", "another dtype"])
def test_what_one_side_lacks_or_types_otherwise_is_not_identical(tmp_path: Path, change: str) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.name != "torch210-float32-observer":
            return
        if change == "lost":
            del values["index/codes/1"]
        elif change == "more":
            values["index/codes/2"] = values["index/codes/1"]
        else:
            values["index/codes/1"] = values["index/codes/1"].view(np.float32)

    found = precisions(tmp_path, plant)["float32"]
    name = "index/codes/2" if change == "more" else "index/codes/1"
    assert [c["not_identical"] for c in found["controls"] if not c["passed"]] == [[name]]
    assert found["conclusive"] is False


def test_an_observer_is_not_held_to_what_it_does_not_capture(tmp_path: Path) -> None:
    found = precisions(tmp_path, flip_one_bit("torch210-float32-observer", "embs/0"))["float32"]
    assert found["conclusive"] is True


def test_a_study_without_controls_says_that_nothing_is_known_of_the_noise(tmp_path: Path) -> None:
    found = precisions(tmp_path, controls=ControlSpec(repeat=False, observer=False))["float32"]
    assert (found["controls"], found["conclusive"]) == ([], None)


def test_a_control_that_was_not_run_leaves_it_open_and_a_failed_one_decides(tmp_path: Path) -> None:
    def conclusive(plant: Any, name: str) -> Any:
        study = study_of(tmp_path / name, swaps=SwapSpec(()))
        made = captures(tmp_path / name, study, plant)
        del made["torch210-float32-repeat"]
        return compare_study(study, made, allow_missing=True)["pairs"][0]["precisions"][0]["conclusive"]

    assert conclusive(None, "open") is None
    assert conclusive(flip_one_bit("torch201-float32-repeat", "embs/0"), "failed") is False


def test_a_control_needs_its_plain_arm(tmp_path: Path) -> None:
    """A control stands for its own environment and precision only."""
    study = study_of(tmp_path, swaps=SwapSpec(()))
    names = [arm.name for arm in study.arms() if arm.control]
    assert len(names) == 8
    assert all(arm.plain.name in {a.name for a in study.arms() if not a.control} for arm in study.arms())
