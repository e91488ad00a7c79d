"""What each section says about a report: the report's own numbers, and nothing that it does not hold."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bs4
import jsonschema
import pytest
from render_reports import HOSTILE, everything_differs, hostile, searched, sort_only

from reportlib import render
from reportlib.render import Html
from reportlib.render.artifacts import beside_post
from reportlib.render.figures import pipeline_verdicts
from reportlib.render.labels import parts, torch

Section = Callable[[dict[str, Any]], Html]
SECTIONS: list[Section] = [getattr(render, name) for name in render.__all__ if name not in {"Html", "publish"}]


@pytest.mark.parametrize(
    "report", [sort_only(), everything_differs(), searched(), hostile()], ids=["sort", "all", "searched", "hostile"]
)
def test_the_reports_drawn_here_are_ones_that_compare_could_make(report: dict[str, Any]) -> None:
    schema = json.loads((Path(render.__file__).parents[1] / "compare" / "report.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(report)), schema)


def soup(piece: Html) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece.markup, "html.parser")


def text(piece: Html) -> str:
    return re.sub(r"\s+", " ", soup(piece).get_text(" "))


@pytest.fixture(scope="module")
def simple() -> dict[str, Any]:
    return sort_only()


@pytest.fixture(scope="module")
def broken() -> dict[str, Any]:
    return everything_differs()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("report", [sort_only(), everything_differs()], ids=["sort only", "everything"])
def test_every_section_draws_the_same_bytes_twice_and_leaves_the_report_alone(
    section: Section, report: dict[str, Any]
) -> None:
    before = copy.deepcopy(report)
    assert section(report).markup == section(report).markup != ""
    assert report == before


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.__name__)
def test_no_section_lets_a_strangers_markup_through(section: Section) -> None:
    drawn = soup(section(hostile()))
    assert not drawn.find_all(["script", "img", "iframe", "object", "style"])
    for tag in drawn.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")]
        assert not str(tag.get("href", "#")).startswith("javascript")


def test_a_strangers_text_is_shown_as_it_is() -> None:
    report = hostile()
    for section in (render.first_screen, render.findings, render.provenance, render.environment_differences):
        assert HOSTILE in soup(section(report)).get_text(), section.__name__


# --- the first screen -------------------------------------------------------------------------------


def test_the_first_screen_answers_the_three_questions_in_the_reports_words(broken: dict[str, Any]) -> None:
    drawn = soup(render.first_screen(broken))
    assert [h.text for h in drawn.select(".answer h2")] == ["What changed?", "Why?", "Does it matter?"]
    sentences = [p.text for p in drawn.select(".answer p")]
    assert sentences[:1] == [broken["findings"][0]["sentence"]]
    assert len(drawn.find_all("h1")) == 1
    assert drawn.h1.text == broken["study"]["title"]


def test_the_first_screen_says_what_everything_ran_on(broken: dict[str, Any]) -> None:
    said = text(render.first_screen(broken))
    for fact in ("Xeon", "AVX2", "GPU : none", "Threads : 2", "2.0.1+cu117", "2.1.0+cu117", "numpy 1.26.4",
                 "all-MiniLM-L6-v2", "800 in float32 and 64 in bfloat16 autocast"):  # fmt: skip
        assert fact.replace(" :", "") in said.replace(" :", ""), fact


def test_capabilities_that_differ_are_named_per_environment(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    report["platform"]["capability"]["torch210"] = "AVX512"
    said = text(render.first_screen(report))
    assert "PyTorch 2.0.1 uses AVX2" in said
    assert "PyTorch 2.1.0 uses AVX512" in said


def test_captures_of_two_machines_are_not_passed_over(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    report["platform"]["one_machine"] = False
    report["missing_arms"] = ["torch210-autocast"]
    said = text(render.first_screen(report))
    assert "more than one" in said
    assert "Not the whole study" in said


def test_only_variables_that_a_reader_would_not_expect_are_news(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    assert "Variables" not in text(render.first_screen(report))
    for environment in report["environments"]:
        environment["environment_variables"]["ATEN_CPU_CAPABILITY"] = "avx2"
    assert "ATEN_CPU_CAPABILITY=avx2" in text(render.first_screen(report))
    assert "OMP_NUM_THREADS" not in text(render.first_screen(report))
    report["environments"][1]["environment_variables"]["ATEN_CPU_CAPABILITY"] = "default"
    said = text(render.first_screen(report))
    assert "ATEN_CPU_CAPABILITY=avx2 (PyTorch 2.0.1), ATEN_CPU_CAPABILITY=default (PyTorch 2.1.0)" in said


def test_other_kernels_are_named_where_the_reasons_are(broken: dict[str, Any]) -> None:
    report = broken | {
        "findings": [
            finding("autocast/bert", "why", "Under bfloat16 autocast, layers differ."),
            finding("capability", "why", "Other kernels on each side."),
        ]
    }
    shown = [p.text for p in soup(render.first_screen(report)).select(".answer:nth-of-type(2) p")]
    assert "Other kernels on each side." in shown


def test_names_in_the_title_keep_their_hyphens_on_one_line(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    report["study"]["title"] = "Comparing colbert-ai <b> artifacts"
    title = soup(render.first_screen(report)).h1
    assert title.text == report["study"]["title"]
    assert [span.text for span in title.select("span.whole")] == ["colbert-ai"]


def test_the_findings_say_what_the_first_screen_leaves_out_and_hold_all_in_a_fold(broken: dict[str, Any]) -> None:
    said = "In float32, all is different."
    report = broken | {"findings": [finding("float32/final", "what", said), finding("x", "what", "And more.")]}
    drawn = soup(render.findings(report))
    assert [li.text for li in drawn.select("ul.sentences li")] == ["And more."]
    folded = drawn.select_one("details").text
    assert said in folded
    assert "And more." in folded


def test_a_question_without_a_finding_is_not_answered_by_silence(simple: dict[str, Any]) -> None:
    report = simple | {"findings": [f for f in simple["findings"] if f["question"] != "matter"]}
    assert "No measurement of this study answers that." in text(render.first_screen(report))


def finding(name: str, question: str, sentence: str) -> dict[str, Any]:
    return {"id": f"torch210/{name}", "question": question, "sentence": sentence, "evidence": [], "posts": []}


def test_the_first_screen_leads_with_the_cause_that_a_swap_shows(broken: dict[str, Any]) -> None:
    report = broken | {
        "findings": [
            finding("float32/sort", "why", "In float32, another order (of 216). More of it."),
            finding("autocast/sort", "why", "Under bfloat16 autocast, aside."),
            finding("autocast/bert", "why", "Under bfloat16 autocast, these differ: `BERT` and `D`."),
            finding("autocast/swap-embs", "why", "Under bfloat16 autocast, embs is not enough."),
            finding("autocast/swap-local_sample_embs+embs", "why", "Under bfloat16 autocast, enough."),
        ]
    }
    shown = [p.text for p in soup(render.first_screen(report)).select(".answer:nth-of-type(2) p")]
    assert shown == [
        "In float32, another order.",
        "Under bfloat16 autocast, these differ.",
        "Under bfloat16 autocast, enough.",
    ]
    full = text(render.findings(report))
    assert "another order (of 216). More of it." in full
    assert "embs is not enough." in full


def test_what_holds_in_both_precisions_is_said_once(broken: dict[str, Any]) -> None:
    report = broken | {
        "findings": [
            finding("float32/rankings", "matter", "In float32, no ranking changed."),
            finding("autocast/rankings", "matter", "Under bfloat16 autocast, no ranking changed."),
        ]
    }
    shown = [p.text for p in soup(render.first_screen(report)).select(".answer:nth-of-type(3) p")]
    assert shown == ["In float32 and under bfloat16 autocast, no ranking changed."]


# --- artifacts --------------------------------------------------------------------------------------


def test_final_artifacts_are_the_posts_eight_rows_in_two_tables(simple: dict[str, Any]) -> None:
    drawn = soup(render.final_artifacts(simple))
    integers, floats = drawn.select("table")
    assert [th.code.text for th in integers.select("tbody th")] == [
        "codes.pt", "residuals.pt", "ivf.pid.pt", "ivf.pid.pt"]  # fmt: skip
    assert [th.code.text for th in floats.select("tbody th")] == [
        "avg_residual.pt", "buckets.pt", "buckets.pt", "centroids.pt"]  # fmt: skip
    assert {"Default", "bnb"} <= {th.text for th in floats.select("thead th")}
    assert "torch.equal" in {th.text for th in integers.select("thead th")}


def test_a_row_holds_every_number_that_a_reader_wants(broken: dict[str, Any]) -> None:
    drawn = soup(render.final_artifacts(broken))
    row = next(th for th in drawn.select("tbody th") if "bucket_cutoffs" in th.text and
               "different" in th.find_parent("tr").text).find_parent("tr")  # fmt: skip
    said = {td["data-label"].replace("\xa0", " "): td.get_text(" ", strip=True) for td in row.select("td")}
    assert said["Values that differ"] == "312,004 of 3,276,800 9.5 %"
    assert said["Mean |A − B|"] == "1.3e-05"
    assert said["Largest |A − B|"] == "0.0012"
    assert said["Largest ULP"] == "1,824"
    assert said["Would pass at"] == "atol 0.0012 or bnb × 11"
    assert said["Post"].replace("\xa0", " ").startswith("False, False")


def test_two_shapes_are_shown_instead_of_a_count(broken: dict[str, Any]) -> None:
    said = text(render.final_artifacts(broken))
    assert "[34,133, 96] against [34,131, 96]" in said
    assert "⊠" in said


def test_capture_points_beyond_the_posts_fold_apart_by_whether_they_are_identical(simple: dict[str, Any]) -> None:
    drawn = soup(render.intermediate_artifacts(simple))
    shown = {th.code.text for th in drawn.select("tbody th") if th.find_parent("details") is None}
    posts = {c["name"] for c in simple["pairs"][0]["precisions"][0]["artifacts"] if c["post"] and not c["final"]}
    assert shown == posts
    folded = {
        details.summary.text: {th.code.text for th in details.select("tbody th")}
        for details in drawn.select("details")
        if details.table
    }
    unlike = next(names for title, names in folded.items() if "not identical" in title)
    same = next(names for title, names in folded.items() if "not identical" not in title)
    assert "sort_indices" in unlike
    assert "presort_codes" in same
    assert not same & (unlike | shown)


def test_differences_of_integers_are_exact_and_have_no_ulp(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    artifacts = report["pairs"][0]["precisions"][1]["artifacts"]
    sorted_codes = next(c for c in artifacts if c["name"] == "sorted_codes")
    sorted_codes.update(verdict="different", different=7, max_abs=3472, max_ulp=3472)
    rows = soup(render.intermediate_artifacts(report)).select("tbody tr")
    row = next(tr for tr in reversed(rows) if tr.th.code.text == "sorted_codes")
    cells = {td["data-label"].replace("\xa0", " "): td.get_text(" ", strip=True) for td in row.select("td")}
    assert cells["Largest |A − B|"] == "3,472"
    assert cells["Largest ULP"] == "–"


def test_a_distance_across_zero_is_named_instead_of_counted(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    artifacts = report["pairs"][0]["precisions"][1]["artifacts"]
    centroids = next(c for c in artifacts if c["artifact"] == "index/centroids")
    for side in ("a", "b"):
        centroids[side]["dtype"] = "float16"
    centroids.update(verdict="different", max_abs=0.37, max_ulp=25_549)
    said = text(render.final_artifacts(report))
    assert "across zero" in said
    assert "25,549" not in said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"no_tolerance_passes": True, "smallest_atol": None, "bnb_factor": None}, "no tolerance"),
        ({"smallest_atol": None, "bnb_factor": None}, "–"),
        ({"smallest_atol": 0.0, "bnb_factor": 0.0}, "0"),
    ],
)
def test_the_tolerance_that_would_pass(broken: dict[str, Any], change: dict[str, Any], expected: str) -> None:
    report = copy.deepcopy(broken)
    target = report["pairs"][0]["precisions"][1]["artifacts"]
    next(c for c in target if c["artifact"] == "index/centroids").update(change)
    cells = soup(render.final_artifacts(report)).select("td[data-label='Would pass at']")
    assert cells[-1].text.strip() == expected


def test_disagreement_with_the_post_names_the_rows_and_both_platforms(broken: dict[str, Any]) -> None:
    part = list(parts(broken))[1]
    rows = [c for c in part.precision["artifacts"] if c["final"]]
    said = beside_post(broken, part, rows)
    agreeing = sum(c["post"]["agrees"] for c in rows)
    assert f"{agreeing} of 8 verdicts agree" in said
    assert "L4" in said
    assert "bfloat16 autocast on a CPU" in said
    assert "torch.float32 where the post has torch.float16" in said


def test_full_agreement_with_the_post_blames_no_platform(broken: dict[str, Any]) -> None:
    part = list(parts(broken))[1]
    rows = [copy.deepcopy(c) for c in part.precision["artifacts"] if c["final"]]
    for row in rows:
        row["post"] |= {"agrees": True, "dtype_agrees": True}
    assert beside_post(broken, part, rows) == "Beside the post: all 8 verdicts agree with its own."


def test_rows_that_the_post_cannot_be_set_beside_are_not_counted(broken: dict[str, Any]) -> None:
    part = list(parts(broken))[1]
    rows = [copy.deepcopy(c) for c in part.precision["artifacts"] if c["final"]]
    rows[0]["post"]["agrees"] = None
    assert "of 7 verdicts" in beside_post(broken, part, rows)


def test_the_pipeline_names_the_first_difference_or_says_that_there_is_none(simple: dict[str, Any]) -> None:
    assert "first capture point that is not identical is sort_indices" in text(render.pipeline(simple))
    same = copy.deepcopy(simple)
    same["pairs"][0]["precisions"][0]["first_difference"] = None
    assert "every capture point is identical" in text(render.pipeline(same))


def test_the_pipeline_puts_berts_layers_after_the_tokens(broken: dict[str, Any]) -> None:
    drawn = pipeline_verdicts(broken["pairs"][0]["precisions"][1])
    names = [name for name, _ in drawn]
    assert names.index("tokenized_hashes") < names.index("BERT layers") < names.index("batches")
    assert dict(drawn)["BERT layers"] == "different"


# --- layers, swaps, order, search -------------------------------------------------------------------


def test_identical_layers_are_said_to_be_and_drawn_on_their_line(simple: dict[str, Any]) -> None:
    drawn = soup(render.bert_layers(simple))
    assert "all 7 outputs are identical for every input" in drawn.text
    assert "identical" in [t.text for t in drawn.select("svg.wide text")]


def test_layers_that_differ_name_the_first_one_and_the_largest_difference(broken: dict[str, Any]) -> None:
    said = text(render.bert_layers(broken))
    assert "input “a”: 1 of the 7 outputs is identical; layer 0 is the first that is not" in said
    assert "the largest difference is 0.0070" in said


def test_weights_that_differ_are_not_passed_over(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    report["pairs"][0]["precisions"][0]["weights"] = {
        "total": 103, "different": 1, "missing": [], "names": ["bert.pooler"], "identical": False}  # fmt: skip
    assert "the two models are not the same: bert.pooler" in text(render.bert_layers(report))


def test_swaps_show_every_final_artifact_under_every_swap(broken: dict[str, Any]) -> None:
    drawn = soup(render.swaps(broken))
    into, back = [t for t in drawn.select("table") if "by what was swapped in" in t.caption.text][-2:]
    for matrix in (into, back):
        assert len(matrix.select("thead th")) == 1 + 8
        assert [th.text for th in matrix.select("tbody th")] == [
            "nothing", "local_sample_embs", "embs", "local_sample_embs + embs", "centroids"]  # fmt: skip
    said = text(render.swaps(broken))
    for a, b in (("2.0.1", "2.1.0"), ("2.1.0", "2.0.1")):
        assert (
            f"With local_sample_embs and embs of PyTorch {a} in PyTorch {b}, all 8 final artifacts are identical"
            in said
        )


def test_the_walk_through_gives_reasons_once_and_measurements_each_time(broken: dict[str, Any]) -> None:
    drawn = soup(render.sort_order(broken))
    assert len(drawn.select("ol.steps > li")) == 9
    assert len(drawn.select("table tbody tr")) == 9
    assert len(drawn.select("figure")) == 1  # the second precision has none
    steps = drawn.select("ol.steps > li")
    assert "does not hold" in steps[2].text
    assert "does not hold" not in steps[0].text


def test_the_caption_of_the_permutation_says_which_side_ascends(simple: dict[str, Any]) -> None:
    caption = soup(render.sort_order(simple)).figcaption
    assert caption is not None
    assert "PyTorch 2.0.1 lists them in no ascending order, PyTorch 2.1.0 in ascending order" in caption.text
    assert "The ids are the same." in caption.text


def test_an_order_that_did_not_change_is_said_not_to(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["pairs"][0]["precisions"][0]["order"] |= {"positions_different": 0, "figure": None}
    assert "Both sides list the token ids in the same order." in text(render.sort_order(report))


def test_probes_name_the_size_and_the_change_that_fits(simple: dict[str, Any]) -> None:
    said = text(render.sort_probes(simple))
    assert "int64: another order from 32,768 elements on; at 32,767 still the same." in said
    assert "float32: the same order at every size tried, up to 1,146,937 elements." in said
    assert "pytorch/pytorch#100081" in said


@pytest.mark.parametrize("versions", [("2.4.1", "2.5.0"), ("1.13.1", "2.0.1")])
def test_no_upstream_change_is_named_where_it_cannot_be_it(simple: dict[str, Any], versions: tuple[str, str]) -> None:
    report = copy.deepcopy(simple)
    for environment, version in zip(report["environments"], versions, strict=True):
        environment["torch"]["version"] = version
    assert "100081" not in text(render.sort_probes(report))


def test_rankings_name_the_queries_that_changed(broken: dict[str, Any]) -> None:
    said = text(render.rankings(broken))
    assert "101 of 120" in said
    assert "109 of 120" in said
    assert "q7" in said
    assert "1, 9" in said


@pytest.mark.parametrize(
    ("part", "section", "sentence"),
    [
        ("rankings", render.rankings, "cannot say whether rankings changed"),
        ("order", render.sort_order, "was not captured"),
    ],
)
def test_what_was_not_measured_is_said_not_to_be(
    simple: dict[str, Any], part: str, section: Section, sentence: str
) -> None:
    report = copy.deepcopy(simple)
    report["pairs"][0]["precisions"][0][part] = None
    assert sentence in text(section(report))


def test_a_study_without_swaps_layers_or_probes_still_draws(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["pairs"][0]["precisions"][0] |= {"swaps": [], "layers": [], "weights": None}
    report["pairs"][0]["sort_probes"] = None
    assert "This study has no swaps." in text(render.swaps(report))
    assert "No layer outputs were captured." in text(render.bert_layers(report))
    assert "No sort was probed." in text(render.sort_probes(report))


# --- environments -----------------------------------------------------------------------------------


def test_long_lists_of_packages_fold_and_settings_do_not(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["pairs"][0]["environment_differences"] += [
        {"kind": "package", "name": f"package-{n}", "a": "1", "b": "2"} for n in range(40)
    ]
    drawn = soup(render.environment_differences(report))
    assert "43 packages and libraries that differ" in drawn.summary.text
    assert "version" in drawn.table.text
    assert drawn.table.find_parent("details") is None


def test_environments_of_one_version_go_by_its_build_or_by_their_own_names(
    simple: dict[str, Any],
) -> None:
    report = copy.deepcopy(simple)
    report["environments"][1]["torch"]["version"] = "2.0.1+cpu"
    assert torch(report, "torch201") == "PyTorch 2.0.1+cu117"
    report["environments"][1]["torch"]["version"] = "2.0.1+cu117"
    assert torch(report, "torch201") == "torch201"
    assert torch(simple, "torch201") == "PyTorch 2.0.1"


def test_three_environments_give_ids_that_do_not_collide(broken: dict[str, Any]) -> None:
    report = copy.deepcopy(broken)
    third = copy.deepcopy(report["environments"][1]) | {"name": "torch220"}
    third["torch"]["version"] = "2.2.0"
    report["environments"].append(third)
    report["study"]["environments"].append("torch220")
    report["pairs"].append(copy.deepcopy(report["pairs"][0]) | {"b": "torch220"})
    ids = [tag["id"] for section in SECTIONS for tag in soup(section(report)).select("[id]")]
    assert len(ids) == len(set(ids))


def test_commands_to_reproduce_name_this_study(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["study"]["device"] = "cuda"
    said = soup(render.reproduce(report)).get_text()
    assert "reportlib run reports/torch-2.0.1-vs-2.1.0/study.toml --device cuda" in said
    assert "-p precision float32 -p passages 800" in said
    assert "-p device cuda" in said
    assert "-p threads 2" in said
    assert "-p nbits 4" in said
    assert "FOLDER" not in said
    assert "variables" not in said


def test_a_shell_reads_a_studys_name_as_it_is(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["study"]["slug"] = "a b; touch hacked $HOME"
    lines = soup(render.reproduce(report)).get_text().splitlines()
    for command in ("run", "prepare"):
        (line,) = [line for line in lines if line.strip().startswith(f"reportlib {command} ")]
        assert shlex.split(line, comments=True)[2] == "reports/a b; touch hacked $HOME/study.toml"


def test_the_commands_of_one_arm_set_the_variables_that_it_had(simple: dict[str, Any]) -> None:
    report = copy.deepcopy(simple)
    report["environments"][0]["environment_variables"]["ATEN_CPU_CAPABILITY"] = "it's"
    command = soup(render.reproduce(report)).get_text().partition("papermill")[2].replace("\\\n", " ")
    words = shlex.split(command)
    assert json.loads(words[words.index("-y") + 1].partition(": ")[2]) == {"ATEN_CPU_CAPABILITY": "it's"}


def test_orders_of_other_codes_are_not_set_side_by_side(broken: dict[str, Any]) -> None:
    drawn = soup(render.sort_order(broken))
    assert "differ before they are sorted" in drawn.text
    again = next(d for d in drawn.select("details") if "same steps" in d.summary.text)
    assert len(again.select("tbody tr")) == 9
