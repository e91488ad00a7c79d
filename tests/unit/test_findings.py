"""Findings: what a made or a published report says, as data; its words are held by the published pages."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import render_operations
import render_reports
import render_search

from reportlib.findings import causes as explaining
from reportlib.findings import findings
from reportlib.findings.causes import causes, undone
from reportlib.findings.effects import adjusted, search
from reportlib.findings.finding import parts

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(ROOT.glob("reports/*/report.json"))


def kinds(report: dict[str, Any], about: str) -> dict[str, dict[str, Any]]:
    return {f["kind"]: f for f in findings(report) if f["about"] == about}


def part(report: dict[str, Any], precision: str = "float32") -> Any:
    return next(p for p in parts(report) if p.data["precision"] == precision)


@pytest.mark.parametrize("make", ["sort_only", "everything_differs", "explained", "inconclusive", "searched"])
def test_every_finding_points_to_its_numbers_and_has_a_name_of_its_own(make: str) -> None:
    report = getattr(render_reports, make)()
    names = [f["id"] for f in report["findings"]]
    assert len(names) == len(set(names))
    for finding in report["findings"]:
        assert finding["evidence"]
        assert finding["sentence"].endswith(".")
        for pointer in finding["evidence"]:
            found: Any = report
            for step in pointer.strip("/").split("/"):
                found = found[int(step)] if isinstance(found, list) else found[step]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_a_published_reports_findings_resolve_too(path: Path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    for pointer in {p for f in findings(report) for p in f["evidence"]}:
        found: Any = report
        for step in pointer.strip("/").split("/"):
            found = found[int(step)] if isinstance(found, list) else found[step]


def test_questions_come_in_page_order_and_the_posts_precision_first() -> None:
    made = findings(render_reports.explained())
    questions = [f["question"] for f in made]
    assert questions == sorted(questions, key=["what", "why", "matter"].index)
    first = [f["about"] for f in made if f["kind"] == "files"]
    assert first == ["torch210/autocast", "torch210/float32"]


def test_files_say_how_many_differ_by_how_much_and_which_have_another_length() -> None:
    numbers = kinds(render_reports.everything_differs(), "torch210/autocast")["files"]["numbers"]
    assert (numbers["total"], numbers["identical"]) == (8, 0)
    assert numbers["close"] == ["index/avg_residual", "index/bucket_weights"]
    assert numbers["close_by"] == 1.16e-3
    assert numbers["shape"] == ["index/ivf"]
    assert "codes" in [each["name"] for each in numbers["wide"]]
    same = kinds(render_reports.sort_only(), "torch210/float32")["files"]["numbers"]
    assert (same["total"], same["identical"]) == (8, 8)


def test_of_a_precision_whose_control_failed_nothing_else_is_said() -> None:
    report = render_reports.inconclusive()
    under = kinds(report, "torch210/autocast")
    assert set(under) == {"files", "controls"}
    assert {f["sure"] for f in under.values()} == {"inconclusive"}
    assert under["controls"]["numbers"]["failed"] == ["PyTorch 2.1.0 captured again"]
    assert "cause" in kinds(report, "torch210/float32")


def test_causes_stand_by_reach_and_size() -> None:
    found = causes(part(render_reports.explained()))
    assert [c.name for c in found] == ["GELU", "softmax", "sorting"]
    assert [c.reaches for c in found][:2] == ["embeddings", "embeddings"]
    assert found[0].size >= found[1].size
    # Distances between places mean nothing, however large they are.
    assert found[2].size == 0


def test_a_sort_that_the_index_does_not_notice_is_said_to_reach_its_order_only() -> None:
    report = render_reports.explained()
    data = part(report).data
    data["order"]["steps"] = [step | {"holds": step["id"] != "indices-equal"} for step in data["order"]["steps"]]
    assert causes(part(report))[-1].reaches == "order"
    data["order"]["steps"] = [
        step | {"holds": step["id"] not in {"indices-equal", "ivf-equal"}} for step in data["order"]["steps"]
    ]
    assert next(c for c in causes(part(report)) if c.name == "sorting").reaches == "index"


def test_an_operation_that_only_indexing_runs_reaches_the_index_where_a_tensor_of_it_differs() -> None:
    report = render_reports.explained()
    data = part(report).data
    norm = render_operations.cause(
        "linalg_vector_norm", ["float32"], reaches_output=False, differs_in=["index"], root_in=["index"]
    )
    data["operations"]["causes"] = [norm]
    assert causes(part(report))[0].reaches == "index"
    for record in data["artifacts"]:
        record["verdict"] = "identical"
    assert causes(part(report))[0].reaches == "nothing"


def tried(name: str, a: int, b: int, elements: int) -> dict[str, Any]:
    return {"name": name, "description": f"by {name}", "equal_a": a, "equal_b": b, "elements": elements}


def explained_by(*cases: list[dict[str, Any]], label: str = "proven", switch: str | None = None) -> Any:
    """Return the first cause of a report whose two precisions tried these explanations of one operation."""
    report = render_reports.explained()
    for data, case in zip(report["pairs"][0]["precisions"], cases, strict=False):
        mechanism = {"label": label, "sentence": "", "a": None, "b": None, "tried": case, "switch": switch}
        norm = render_operations.cause("linalg_vector_norm", ["float32"], mechanism=mechanism, upstream=None)
        data["operations"]["causes"] = [norm]
    return causes(part(report))[0]


def test_an_explanation_needs_both_sides_and_enough_elements() -> None:
    sure = explained_by([tried("fused", 512, 400, 512), tried("plain", 400, 512, 512)])
    assert (sure.sure, sure.how_a, sure.how_b, sure.elements) == ("proven", "by fused", "by plain", 512)
    few = explained_by([tried("fused", 5, 4, 5), tried("plain", 4, 5, 5)])
    assert (few.sure, few.elements) == ("candidate", 5)
    one = explained_by([tried("fused", 512, 400, 512)])
    assert (one.sure, one.how_b) == ("candidate", None)
    none = explained_by([tried("fused", 511, 400, 512)])
    assert (none.sure, none.how_a) == ("unknown", None)


def test_another_case_of_the_same_operation_refutes_an_explanation_and_lends_its_own() -> None:
    small = [tried("fused", 5, 4, 5), tried("tree", 4, 5, 5)]
    large = [tried("fused", 512, 453, 512), tried("tree", 371, 373, 512), tried("plain", 453, 512, 512)]
    cause = explained_by(small, large)
    assert (cause.sure, cause.how_a, cause.how_b) == ("proven", "by fused", "by plain")
    refuted = explained_by(small, [tried("tree", 371, 373, 512)])
    assert refuted.how_b is None


def test_a_switch_that_makes_one_version_compute_as_the_other_is_a_proof() -> None:
    assert explained_by([], label="proven", switch="onednn-avx2").sure == "proven"
    assert explained_by([], label="proven").sure == "unknown"


def test_what_undoes_it_is_all_of_it_or_some_or_both_sides_at_once() -> None:
    found = part(render_reports.explained())
    whole = undone(found, causes(found))
    assert whole["lines"] == ["ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2"]
    data = found.data["operations"]
    data["undo"] = None
    some = undone(found, causes(found))
    assert some["some"] in {"ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2"}
    assert len(some["some_what"]) == 1
    for cause in data["causes"]:
        cause["switches"] = [
            {"switch": "aten-avx2", "environment": side, "gives": "b", "why": None} for side in ("a", "b")
        ]
    both = undone(found, causes(found))
    assert (both["lines"], both["some"], both["both"]) == (None, None, "ATEN_CPU_CAPABILITY=avx2")
    assert both["both_what"] == ["GELU", "softmax", "sorting"]


def test_where_operations_were_not_recorded_none_is_named() -> None:
    assert "cause" not in kinds(render_reports.everything_differs(), "torch210/autocast")
    assert "no_cause" not in kinds(render_reports.everything_differs(), "torch210/autocast")


@pytest.mark.parametrize("verdict", ["inconclusive", "inputs differ"])
def test_a_recording_that_cannot_be_relied_on_names_no_cause(verdict: str) -> None:
    report = render_reports.explained()
    part(report).data["operations"]["verdict"] = verdict
    found = kinds(report, "torch210/float32")
    assert found["no_cause"]["numbers"]["verdict"] == verdict
    assert "cause" not in found


def test_operations_that_one_version_alone_computes_are_named_with_their_module() -> None:
    report = render_reports.explained()
    data = part(report).data["operations"]
    data |= {"verdict": "replaced", "causes": []}
    common = {"module": "attention.self", "reaches_output": True}
    data["passes"][0]["unmatched"] = [
        {**common, "side": "A", "name": "aten::view"},
        {**common, "side": "B", "name": "aten::mul", "reaches_output": False},
        {**common, "side": "B", "name": "aten::_scaled_dot_product_flash_attention"},
    ]
    found = kinds(report, "torch210/float32")["no_cause"]["numbers"]
    assert (found["only_a"], found["only_b"]) == ([], ["_scaled_dot_product_flash_attention"])
    assert found["module"] == "attention.self"


def test_closer_to_float64_is_one_rule_for_operations_and_for_embeddings() -> None:
    assert [explaining.closer(r) for r in (1.0, 1.04, 0.97, 1.06, 0.9, None)] == [
        "equal", "equal", "equal", "a", "b", "equal",
    ]  # fmt: skip
    truth = kinds(render_reports.explained(), "torch210/autocast")["truth"]["numbers"]
    assert truth["embeddings"] == "a"
    assert truth["operations"] == [{"name": "division", "closer": "b"}]
    assert truth["disagree"] is True


def test_swaps_say_what_is_enough_and_what_the_posts_contradict_each_other_on() -> None:
    numbers = kinds(render_reports.explained(), "torch210/autocast")["swaps"]["numbers"]
    assert numbers["tested"] == len(render_operations.SETS)
    assert numbers["alone_left"] is not None
    assert "swaps" not in kinds(render_reports.sort_only(), "torch210/float32")


def test_the_sort_is_judged_only_where_its_input_is_the_same() -> None:
    same = kinds(render_reports.sort_only(), "torch210/float32")["sort"]["numbers"]
    assert same["comparable"] is True
    unlike = kinds(render_reports.everything_differs(), "torch210/autocast")["sort"]["numbers"]
    assert unlike["comparable"] is False


def test_lists_hold_the_upgrade_the_seeds_and_the_old_index() -> None:
    found = kinds(render_reports.searched(), "torch210/autocast")["lists"]
    numbers = found["numbers"]
    assert (numbers["queries"], numbers["moved"], numbers["kept"], numbers["seeds"]) == (121, 24, 0, [40, 40, 40])
    assert numbers["beside_seeds"] == "less"
    still = kinds(render_reports.searched(), "torch210/float32")["lists"]
    assert (still["numbers"]["moved"], still["sure"]) == (0, "not detected")


def test_lists_that_changed_only_among_equal_scores_are_counted() -> None:
    report = render_reports.searched()
    assert kinds(report, "torch210/autocast")["lists"]["numbers"]["tied"] is None
    part(report, "autocast").data["search"]["comparisons"][0]["tied"] = 5
    found = kinds(report, "torch210/autocast")["lists"]
    assert found["numbers"]["tied"] == 5
    assert "5 of 24" in found["sentence"]


@pytest.mark.parametrize(
    ("differ", "words"),
    [
        (10, "all 10 lists still differ"),
        (7, "Scored in float64, 7 of 10 lists still differ; rounding in the scores moves the rest."),
        (0, "Scored in float64 no list differs"),
        (None, "moves no list."),
    ],
)
def test_whether_rounding_in_the_scores_moves_the_lists(differ: int | None, words: str) -> None:
    report = render_reports.searched()
    upgrade = part(report, "autocast").data["search"]["comparisons"][0]
    upgrade |= {"same_order": upgrade["queries"] - 10, "in_float64": differ}
    way = kinds(report, "torch210/autocast")["way"]
    assert words in way["sentence"]
    assert ("float64" in way["sentence"]) == (differ is not None)


def test_without_a_crosswise_search_the_lists_are_those_of_each_versions_own() -> None:
    numbers = kinds(render_reports.explained(), "torch210/autocast")["lists"]["numbers"]
    assert (numbers["queries"], numbers["moved"], numbers["seeds"], numbers["kept"]) == (120, 19, [], None)
    assert 0 < numbers["low"] < 19 / 120 < numbers["high"]
    report = render_reports.explained()
    part(report).data["rankings"] = None
    assert kinds(report, "torch210/float32")["lists"]["numbers"]["queries"] == 0


def test_a_search_that_does_not_repeat_itself_says_nothing_of_quality() -> None:
    report = render_reports.searched()
    part(report, "autocast").data["search"]["controls"][0]["identical"] -= 3
    found = kinds(report, "torch210/autocast")
    assert (found["lists"]["sure"], found["lists"]["numbers"]["failed"]) == ("inconclusive", 3)
    assert "quality" not in found


def test_p_values_of_one_comparison_are_corrected_as_one_family() -> None:
    measures = [render_search.measure(f"m{n}", 0.01, 100, (6, 6)) | {"p_permutation": p} for n, p in
                enumerate((0.012, 0.02, 0.2, 0.9))]  # fmt: skip
    assert adjusted(measures, 6) == pytest.approx([0.04, 0.04, 0.2 * 4 / 3, 0.9])
    # What no test could have called detected takes no part.
    measures[3] |= {"better": 1, "worse": 0}
    assert adjusted(measures, 6) == pytest.approx([0.03, 0.03, 0.2, None])


def test_one_measure_alone_below_the_level_is_not_detected_among_four() -> None:
    report = render_reports.searched()
    data = part(report, "autocast").data["search"]
    for measure in data["comparisons"][0]["measures"]:
        measure["p_permutation"] = 0.9
    data["comparisons"][0]["measures"][0]["p_permutation"] = 0.03
    found = search(part(report, "autocast"))
    assert found is not None
    assert found.detected == []
    data["comparisons"][0]["measures"][0]["p_permutation"] = 0.01
    assert [m["measure"] for m in found.detected] == ["nDCG@10"]


def test_quality_without_judgements_is_not_known() -> None:
    report = render_reports.searched()
    part(report).data["search"] = render_search.search(judged=0)
    assert kinds(report, "torch210/float32")["quality"]["numbers"]["measure"] is None


def test_what_differs_beside_torch_and_which_kernels_each_uses() -> None:
    report = render_reports.explained()
    assert kinds(report, "torch210")["kernels"]["numbers"] == {"a": "AVX2", "b": "AVX512", "settled": ["softmax"]}
    report["environments"][1]["python"] = "3.12.1"
    changes = kinds(report, "torch210")["environments"]["numbers"]["changes"]
    assert changes[0]["name"] == "Python"


def test_missing_arms_and_pairs_without_captures_are_said() -> None:
    report = render_reports.explained()
    report["missing_arms"] = ["torch210-float32"]
    report["pairs"][0]["precisions"] = []
    assert {f["kind"] for f in findings(report)} >= {"missing", "nothing"}


def test_a_report_is_left_as_it_is() -> None:
    report = render_reports.searched()
    before = copy.deepcopy(report)
    findings(report)
    assert report == before
