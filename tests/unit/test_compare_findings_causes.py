"""Findings on why: the operations, the controls and the swaps, each claimed only where the report shows it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import render_operations
from render_reports import everything_differs, explained, inconclusive

from reportlib.findings import findings
from reportlib.words.operations import in_words, names, words
from reportlib.words.phrases import factor, times

Report = dict[str, Any]


@pytest.fixture
def report() -> Report:
    return explained()


def said(report: Report, name: str) -> str:
    return next(f["sentence"] for f in findings(report) if f["id"] == f"torch210/{name}")


def kinds(report: Report, precision: str = "float32") -> set[str]:
    return {f["id"].rpartition("/")[2] for f in findings(report) if f"/{precision}/" in f["id"]}


def operations(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = report["pairs"][0]["precisions"][0]["operations"]
    return found


def test_a_failed_control_replaces_all_that_would_rest_on_it() -> None:
    report = inconclusive()
    assert kinds(report, "autocast") == {"final", "inconclusive", "inconclusive-search"}
    assert "cause" in kinds(report, "float32")
    why = said(report, "autocast/inconclusive")
    assert "PyTorch 2.1.0 captured again did not give the same bytes" in why
    assert why.endswith("so what differs between the versions may be noise: `codes/0` and `ivf`.")
    assert "which may be noise: " in said(report, "autocast/final")
    assert not [f for f in report["findings"] if "/autocast/" in f["id"] and "comes through" in f["sentence"]]


def test_rankings_that_agree_by_chance_prove_nothing_when_a_control_failed(report: Report) -> None:
    for part in report["pairs"][0]["precisions"]:
        part["rankings"] |= {"same_order": 120, "same_set": 120}
    assert "any measure of retrieval quality" in said(report, "quality")
    report["pairs"][0]["precisions"][1] |= {
        "controls": render_operations.controls("autocast", ("torch201-autocast-observer",)),
        "conclusive": False,
    }
    assert "any measure of retrieval quality" not in said(report, "quality")
    assert "PyTorch 2.0.1 captured without instruments" in said(report, "autocast/inconclusive")


def test_controls_are_said_to_hold_only_where_all_were_run(report: Report) -> None:
    assert said(report, "float32/controls") == (
        "In float32, the controls hold. Captured again and without instruments, each side gave the same bytes."
    )
    part = report["pairs"][0]["precisions"][0]
    part |= {"controls": part["controls"][::2], "conclusive": None}
    held = said(report, "float32/controls")
    assert "the controls that were run hold, though not all were. Captured again, each side" in held
    part["controls"] = []
    assert "controls" not in kinds(report)


def test_without_operations_no_finding_names_one() -> None:
    assert not kinds(everything_differs()) & {"cause", "cause-reach", "undo"}
    report = everything_differs()
    del report["pairs"][0]["precisions"][0]["operations"]
    assert "cause" not in kinds(report)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("inconclusive", "no operation can be named as a cause: recording changed a result"),
        ("inputs differ", "no operation can be named as a cause: the two sides read other inputs"),
    ],
)
def test_traces_that_say_nothing_name_nothing(report: Report, verdict: str, expected: str) -> None:
    operations(report)["verdict"] = verdict
    assert expected in said(report, "float32/cause")
    assert not kinds(report) & {"cause-reach", "undo"}


def test_no_operation_that_differs_is_said_with_how_many_were_tried(report: Report) -> None:
    operations(report).update(causes=[], verdict="identical", passes=render_operations.forward((), 0.0))
    assert said(report, "float32/cause") == (
        "In float32, none of 300 replayed operations differs by itself: given the same bytes, both return the same."
    )
    operations(report)["passes"] = [p | {"replay": None} for p in operations(report)["passes"]]
    assert "no recorded operation that read the same bytes returned others" in said(report, "float32/cause")
    operations(report)["verdict"] = "replaced"
    assert "the two versions run other operations" in said(report, "float32/cause")


def test_unlike_labels_stand_beside_their_operations(report: Report) -> None:
    operations(report)["causes"][1]["mechanism"]["label"] = "candidate"
    operations(report)["causes"][2]["mechanism"] = None
    cause = said(report, "float32/cause")
    assert "GELU (mechanism proven), softmax (mechanism a candidate) and sorting (mechanism unknown) return" in cause


@pytest.mark.parametrize(
    ("ratio", "closer", "expected"),
    [
        (0.5, "b", "PyTorch 2.1.0 is 2.0 times closer to float64."),
        (24.0, "a", "PyTorch 2.0.1 is 24 times closer to float64."),
        (1.02, "a", "Both versions are about equally close to float64."),
        (1.0, "equal", "Both versions are about equally close to float64."),
        (0.0, "b", "PyTorch 2.1.0 is closer to float64."),
        (None, "a", "PyTorch 2.0.1 is closer to float64."),
    ],
)
def test_the_closer_version_and_by_how_much(report: Report, ratio: float | None, closer: str, expected: str) -> None:
    found = operations(report)
    found["causes"] = found["causes"][:1]
    found["causes"][0]["truth"] |= {"ratio_rms": ratio, "closer": closer}
    assert said(report, "float32/cause").endswith(f"(mechanism proven). {expected}")


def test_without_a_truth_no_version_is_called_closer(report: Report) -> None:
    for cause in operations(report)["causes"]:
        cause["truth"] = None
    assert said(report, "float32/cause").endswith("(mechanism proven).")


def test_many_causes_are_counted_and_not_all_named(report: Report) -> None:
    found = operations(report)
    found["causes"] = [
        render_operations.cause(name, ["float32"]) for name in ("gelu", "mm", "bmm", "exp", "sqrt", "erf")
    ]
    assert "GELU, matrix product, batched matrix product and 3 more return" in said(report, "float32/cause")


def test_what_undoes_it_is_said_with_its_cost_and_its_reach(report: Report) -> None:
    undo = operations(report)["undo"]
    assert said(report, "float32/undo").endswith("gives PyTorch 2.0.1's bytes in BERT again, taking 1.2 times as long.")
    undo |= {"passes_equal": 1, "ratio": None}
    assert said(report, "float32/undo").endswith("though the output of only 1 of 3 passes becomes the same.")
    operations(report).update(undo=None, why_no_undo=None)
    assert "undo" not in kinds(report)


def test_kernels_are_called_a_reason_only_where_a_switch_shows_it(report: Report) -> None:
    assert "that is a reason: with the same kernels softmax gives the same bytes" in said(report, "capability")
    for part in report["pairs"][0]["precisions"]:
        for cause in part["operations"]["causes"]:
            cause["switches"] = []
    assert said(report, "capability").endswith("whether that is a reason, this study does not show.")


def test_every_pointer_of_every_finding_resolves(report: Report) -> None:
    for finding in findings(report):
        assert finding["evidence"]
        for pointer in finding["evidence"]:
            place: Any = report
            for key in pointer.split("/")[1:]:
                place = place[int(key) if isinstance(place, list) else key]


def test_swaps_settle_what_the_posts_contradict_each_other_on(report: Report) -> None:
    told = said(report, "float32/posts-swap")
    assert "here it is not: all 8 final artifacts still differ, and with `embs` beside it none does." in told
    part = report["pairs"][0]["precisions"][0]
    alone = next(s for s in part["swaps"] if s["points"] == ["local_sample_embs"] and s["direction"] == "a into b")
    alone |= {"all_final_identical": True, "final_identical": 8}
    assert said(report, "float32/posts-swap").endswith("here it is: all 8 final artifacts become identical.")
    part["swaps"] = [s for s in part["swaps"] if s["points"] != ["local_sample_embs"]]
    part["swap_summary"] = render_operations.swap_summary(part["swaps"], False)
    assert "posts-swap" not in kinds(report)


def test_a_direction_without_a_sufficient_set_says_so(report: Report) -> None:
    part = copy.deepcopy(report)["pairs"][0]["precisions"][0]
    part["swap_summary"][1] |= {"sufficient": [], "necessary": []}
    report["pairs"][0]["precisions"][0] = part
    told = said(report, "float32/swap-back-sets")
    assert told == (
        "In float32, putting PyTorch 2.1.0's values into PyTorch 2.0.1: of 18 sets tried, none makes the whole index "
        "identical."
    )
    assert not {k for k in kinds(report) if k.startswith("swap-back-") and k != "swap-back-sets"}


def test_an_operation_has_a_name_for_a_reader_and_keeps_its_own_where_there_is_none() -> None:
    assert words({"name": "aten::_softmax"}).short == "softmax"
    assert words({"name": "aten::gelu_"}).short == "GELU"
    assert words({"name": "aten::frobnicate"}).short == "`frobnicate`"
    causes = [render_operations.cause("_softmax", [kind]) for kind in ("float32", "bfloat16")]
    assert names(causes) == ["softmax in float32", "softmax in bfloat16"]


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, "2.0"), (2.0, "2.0"), (1200.0, "1,200"), (0.04, "25"), (None, ""), (0.0, "")]
)
def test_factors_are_said_as_a_person_would(ratio: float | None, expected: str) -> None:
    assert times(factor(ratio)) == expected


def test_operations_in_which_neither_is_closer_stand_together(report: Report) -> None:
    found = operations(report)
    found["causes"][0]["truth"] |= {"ratio_rms": 1.0}
    assert "Closer to float64: neither in GELU and softmax." not in said(report, "float32/cause")
    found["causes"][2]["truth"] = {"ratio_rms": 4.0, "closer": "a"}
    assert "Closer to float64: PyTorch 2.0.1 in sorting (4.0 times), neither in GELU and softmax." in said(
        report, "float32/cause"
    )


def test_ids_and_switch_names_become_words_and_nothing_else_does():
    operations = {
        "causes": [{"id": "div-Tensor-bfloat16", "name": "aten::div", "dtypes": ["bfloat16"]},
                   {"id": "gelu-bfloat16", "name": "aten::gelu", "dtypes": ["bfloat16"]}],
        "switches": [{"name": "aten-avx2", "line": "export ATEN_CPU_CAPABILITY=avx2", "description": ""},
                     {"name": "none", "line": None, "description": ""}],
    }  # fmt: skip
    text = "none gives it; aten-avx2 makes B return A's bytes on 1, not on div-Tensor-bfloat16, gelu-bfloat16, ABBA"
    said = in_words(text, operations, "PyTorch 1", "PyTorch 2")
    assert said == (
        "none gives it; `ATEN_CPU_CAPABILITY=avx2` makes PyTorch 2 return PyTorch 1's bytes on 1, "
        "not on division, GELU, ABBA"
    )
