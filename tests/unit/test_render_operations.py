"""What the page says of controls, swaps in both directions, root operations, and what measuring them costs."""

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
import render_operations
from render_reports import HOSTILE, everything_differs, explained, hostile, inconclusive, sort_only

from reportlib import render
from reportlib.render import Html
from reportlib.render.growth import group_starts
from reportlib.render.html import local_link
from reportlib.render.swaps import effect

Report = dict[str, Any]
Section = Callable[[Report], Html]


def soup(piece: Html) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece.markup, "html.parser")


def text(piece: Html) -> str:
    return re.sub(r" ([.,;:])", r"\1", re.sub(r"\s+", " ", soup(piece).get_text(" ")))


@pytest.fixture(scope="module")
def report() -> Report:
    return explained()


def operations(report: Report, precision: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = report["pairs"][0]["precisions"][precision]["operations"]
    return found


@pytest.mark.parametrize("make", [explained, inconclusive])
def test_these_reports_are_ones_that_compare_could_make(make: Callable[[], Report]) -> None:
    schema = json.loads((Path(render.__file__).parents[1] / "compare" / "report.schema.json").read_text())
    made = json.loads(json.dumps(make()))
    jsonschema.validate(made, schema)
    for finding in made["findings"]:
        for pointer in finding["evidence"]:
            place = made
            for key in pointer.split("/")[1:]:
                place = place[int(key) if isinstance(place, list) else key]


@pytest.mark.parametrize("section", [render.controls, render.root_operations, render.differences, render.costs])
def test_the_same_report_gives_the_same_bytes_and_is_left_alone(section: Section, report: Report) -> None:
    before = copy.deepcopy(report)
    assert section(report).markup == section(report).markup != ""
    assert report == before


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (render.controls, "No controls were run"),
        (render.root_operations, "were not recorded"),
        (render.differences, "No operations were replayed"),
        (render.layers_truth, "were not computed in float64"),
        (render.costs, "was not measured"),
    ],
)
def test_what_was_not_run_is_said_not_to_have_been(section: Section, said: str) -> None:
    bare = sort_only()
    assert said in text(section(bare))
    for part in bare["pairs"][0]["precisions"]:
        for key in ("controls", "conclusive", "operations"):
            del part[key]
    assert said in text(section(bare))


# --- the first screen -------------------------------------------------------------------------------


def why(report: Report) -> list[str]:
    return [p.text for p in soup(render.first_screen(report)).select(".answer:nth-of-type(2) p")]


def test_the_first_screen_names_the_operations_what_undoes_them_and_the_controls(report: Report) -> None:
    shown = why(report)
    assert len(shown) == 4
    assert shown[0].startswith(
        "In float32, GELU, softmax and sorting return other bytes for the same input (mechanism proven)."
    )
    assert "PyTorch 2.1.0 in GELU (2.0 times), neither in softmax" in shown[0]
    assert shown[1].startswith("Under bfloat16 autocast, division returns other bytes")
    assert "(mechanism a candidate). PyTorch 2.1.0 is 1.6 times closer to float64." in shown[1]
    assert "with ATEN_CPU_CAPABILITY=avx2 and ONEDNN_MAX_CPU_ISA=AVX2" in shown[2]
    assert "taking 1.2 times as long" in shown[2]
    assert shown[3].startswith("In float32 and under bfloat16 autocast, the controls hold")


def test_a_failed_control_takes_the_place_of_every_reason_that_rests_on_it() -> None:
    report = inconclusive()
    shown = why(report)
    assert shown[0].startswith("Under bfloat16 autocast, inconclusive: PyTorch 2.1.0 captured again")
    assert not [s for s in shown[1:] if "bfloat16" in s]
    matter = [p.text for p in soup(render.first_screen(report)).select(".answer:nth-of-type(3) p")]
    assert any(s.startswith("Under bfloat16 autocast, inconclusive") for s in matter)
    assert "division" not in text(render.first_screen(report)) + text(render.findings(report))


@pytest.mark.parametrize("section", [render.controls, render.swaps, render.root_operations, render.differences,
                                     render.layers_truth])  # fmt: skip
def test_every_section_that_rests_on_a_failed_control_says_so(section: Section, report: Report) -> None:
    warnings = [w.text for w in soup(section(inconclusive())).select("p.warning")]
    assert len(warnings) == 1
    assert "Inconclusive. Under bfloat16 autocast, 64 passages, a control failed" in warnings[0]
    assert not soup(section(report)).select("p.warning")


# --- controls and rivals ----------------------------------------------------------------------------


def test_controls_are_a_row_for_each_arm(report: Report) -> None:
    drawn = soup(render.controls(report))
    assert [th.text for th in drawn.select("tbody th")] == [
        "PyTorch 2.0.1, float32, 800 passages", "PyTorch 2.1.0, float32, 800 passages",
        "PyTorch 2.0.1, bfloat16 autocast, 64 passages", "PyTorch 2.1.0, bfloat16 autocast, 64 passages",
    ]  # fmt: skip
    assert "✓\xa0all 49 the same" in drawn.table.text
    assert "every control holds; all 114 artifacts that were compared" in text(render.controls(report))


def test_a_failed_control_names_what_is_not_the_same() -> None:
    drawn = soup(render.controls(inconclusive()))
    assert "✗\xa047 of 49 the same" in drawn.table.text
    assert drawn.select_one("tr.note-row").text == "Not the same bytes. Captured again: index/ivf, codes/0"
    assert "inconclusive, 1 of 4 controls failed" in text(render.controls(inconclusive()))


def test_controls_that_were_left_out_are_no_proof(report: Report) -> None:
    changed = copy.deepcopy(report)
    part = changed["pairs"][0]["precisions"][0]
    part |= {"controls": part["controls"][:1], "conclusive": None}
    said = text(render.controls(changed))
    assert "Not every control that the study asks for was run." in said
    assert "not run" in soup(render.controls(changed)).table.text


def ruling(report: Report) -> dict[str, str]:
    rows = soup(render.rivals(report)).select("tbody tr")
    return {row.th.text: row.select("td")[1].text for row in rows}


def test_rivals_are_ruled_out_only_where_the_data_show_it(report: Report) -> None:
    found = ruling(report)
    own = "the instruction set of torch's own kernels"
    assert (
        "In float32, 800 passages, ruled out for GELU and softmax: a script that needs only torch"
        in found["other packages"]
    )
    assert "division" not in found["other packages"]  # its reproduction behaved like A in both
    assert "the reason for softmax" in found[own]
    assert "ruled out for GELU" in found[own]
    assert found["threads"] == found["loaded libraries"] == "not ruled out"
    assert set(ruling(everything_differs()).values()) == {"not ruled out"}


def test_nothing_is_ruled_out_by_a_precision_whose_controls_failed() -> None:
    report = inconclusive()
    for part in report["pairs"][0]["precisions"]:
        part["conclusive"] = False
    assert set(ruling(report).values()) == {"not ruled out"}


def test_what_torch_brings_is_no_rival_of_torch(report: Report) -> None:
    said = text(render.rivals(report))
    assert "torch differs, and 2 packages that it brings" in said
    assert "triton" not in said
    assert "tokenizer, text and checkpoint are ruled out" in said


# --- swaps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replaced", "before", "now", "kind"),
    [
        (True, "different", "identical", "put in"),
        (False, "different", "identical", "became identical"),
        (False, "shape mismatch", "close", "still differs"),
        (False, "identical", "identical", "identical anyway"),
        (False, "identical", "different", "differs only now"),
        (False, None, "identical", "became identical"),
    ],
)
def test_a_cell_says_what_the_swap_did(replaced: bool, before: str | None, now: str, kind: str) -> None:
    assert effect({"replaced": replaced, "plain_verdict": before, "verdict": now}) == kind


def test_swaps_are_drawn_both_ways_with_what_they_show_together(report: Report) -> None:
    drawn = soup(render.swaps(report))
    assert len(drawn.select("figure")) == 4
    said = text(render.swaps(report))
    assert "of 18 sets tried, the smallest that are enough are local_sample_embs and embs; sample and embs;" in said
    assert "embs is necessary: every set that is enough holds it, or what is computed from it" in said
    assert "on which the posts contradict each other" in said
    assert "here it is not: all 8 final artifacts still differ, and with embs beside it none does" in said
    description = drawn.select_one("svg desc").text
    assert "`" not in description
    assert "put in" in drawn.select_one("svg.wide").text


# --- root operations --------------------------------------------------------------------------------


def card(report: Report, number: int) -> dict[str, str]:
    cards = soup(render.root_operations(report)).select("section.cause")
    return {
        div.dt.text: re.sub(r"\s+", " ", div.dd.get_text(" ", strip=True))
        for div in cards[number].select("dl.facts div")
    }


def test_a_card_says_all_that_is_known_of_an_operation(report: Report) -> None:
    gelu = card(report, 0)
    assert gelu["Operation"].startswith("aten::gelu on float32: the activation function")
    assert "bert.encoder.layer.0.intermediate.intermediate_act_fn and 5 more modules" in gelu["Where"]
    assert "transformers/activations.py:78: return self.act(input)" in gelu["Where"]
    assert gelu["How often"].startswith("It differs by itself in all 18 replayed (“a”, “test input” and the first 32")
    assert "In “a” and “test input” it is where the two runs part" in gelu["How often"]
    assert "reaches 257 later operations, the output among them" in gelu["How often"]
    assert gelu["How far"] == (
        "702 of 6,144 values differ, by 6.6e-08 at most and 1.1e-08 in the root mean square (2 ULP at most)."
    )
    assert gelu["Against float64"].endswith("Closer: PyTorch 2.1.0, 2.0 times.")
    assert "proven" in gelu["Mechanism"]
    assert "PyTorch 2.0.1, bit for bit: erf by a polynomial of degree 5" in gelu["Mechanism"]
    assert "python reproductions/float32-gelu-float32/reproduce.py" in gelu["Reproduction"]
    assert "it names the version that it runs on" in gelu["Reproduction"]


def test_a_shell_reads_a_variable_of_a_study_as_it_is(report: Report) -> None:
    report["study"]["variables"] = {"KMP_AFFINITY": "granularity=fine; touch hacked"}
    command = card(report, 0)["Reproduction"].partition(": ")[2].partition("reproduce.py")[0]
    assert shlex.split(command)[:2] == ["KMP_AFFINITY=granularity=fine; touch hacked", "python"]


def test_what_is_not_known_of_an_operation_is_said_not_to_be(report: Report) -> None:
    sort = card(report, 2)
    assert sort["Against float64"] == "No float64 truth: integers are exact."
    assert sort["Upstream"].startswith("pytorch/pytorch#100081")
    assert sort["Reproduction"] == "none was made"
    assert "in the one replayed" in sort["How often"]
    assert sort["How often"].endswith("but not the output.")
    division = card(report, 3)
    assert "candidate" in division["Mechanism"]
    assert "in PyTorch 2.1.0 it behaves like PyTorch 2.0.1" in division["Reproduction"]


def test_a_mechanism_that_is_missing_is_unknown(report: Report) -> None:
    changed = copy.deepcopy(report)
    operations(changed)["causes"][0]["mechanism"] = None
    assert card(changed, 0)["Mechanism"] == "? unknown Nothing that was tried explains it."


def test_a_candidate_upstream_is_not_passed_off_as_the_cause(report: Report) -> None:
    changed = copy.deepcopy(report)
    operations(changed)["causes"][2]["upstream"]["status"] = "candidate"
    assert "not confirmed" in card(changed, 2)["Upstream"]
    assert "not confirmed" not in card(report, 2)["Upstream"]


def test_the_switches_show_whose_bytes_each_side_gives(report: Report) -> None:
    tables = soup(render.root_operations(report)).select("table")
    matrix = next(t for t in tables if "with each switch" in t.caption.text)
    rows = {
        row.th.code.text: [td.get_text(" ", strip=True) for td in row.select("td")] for row in matrix.select("tbody tr")
    }
    assert rows["export ONEDNN_MAX_CPU_ISA=AVX2"][1].endswith("PyTorch 2.0.1's")
    assert rows["export ATEN_CPU_CAPABILITY=avx2"][1].endswith("PyTorch 2.1.0's")
    assert "it has no such algorithm" in rows["torch.use_deterministic_algorithms(True)"][0]
    assert matrix.find_parent("details") is not None
    good = [badge.text for badge in matrix.select(".badge.identical")]
    assert len(good) == 1  # only what changes a side stands out


def test_what_undoes_it_can_be_pasted(report: Report) -> None:
    drawn = soup(render.root_operations(report))
    assert drawn.select_one("pre.commands").text.splitlines() == [
        "# in the shell, before Python starts", "export ATEN_CPU_CAPABILITY=avx2", "export ONEDNN_MAX_CPU_ISA=AVX2",
    ]  # fmt: skip
    said = text(render.root_operations(report))
    assert "takes 1.2 times as long: 0.97 s instead of 0.81 s" in said
    assert "What would undo it is not known: none of 3 switches" in said


def test_lines_of_python_are_told_from_lines_of_the_shell(report: Report) -> None:
    changed = copy.deepcopy(report)
    operations(changed)["undo"]["lines"] = ["torch.set_num_threads(1)", "export A=b\ntorch.x = 1"]
    lines = soup(render.root_operations(changed)).select_one("pre.commands").text.splitlines()
    assert lines[1:2] == ["export A=b"]
    assert lines[2:] == ["# in Python, after import torch", "torch.set_num_threads(1)", "torch.x = 1"]


@pytest.mark.parametrize("verdict", ["inconclusive", "inputs differ"])
def test_no_operation_is_named_where_the_traces_say_nothing(report: Report, verdict: str) -> None:
    changed = copy.deepcopy(report)
    for n in (0, 1):
        operations(changed, n)["verdict"] = verdict
    assert "nothing can be said of the operations" in text(render.root_operations(changed))
    assert not soup(render.root_operations(changed)).select("section.cause")


def test_no_root_is_an_answer_too(report: Report) -> None:
    changed = copy.deepcopy(report)
    operations(changed).update(causes=[], verdict="identical", undo=None, passes=render_operations.forward((), 0.0))
    assert "No operation that was given the same bytes returned others." in text(render.root_operations(changed))
    drawn = soup(render.differences(changed))
    assert "no operation differs by itself; at the end the runs are 0 apart" in drawn.select_one("svg desc").text


@pytest.mark.parametrize(
    "path", ["../../etc", "/etc", "https://x", "javascript:alert(1)", "a//b", "a/../b", "", "a b", ".git"]
)
def test_a_folder_beside_the_page_is_the_only_one_that_is_linked(path: str) -> None:
    assert "<a" not in local_link(path, path)
    assert local_link("reproductions/float32-div-Tensor-bfloat16", "x").startswith('<a href="reproductions/float32-div')


@pytest.mark.parametrize("section", [render.controls, render.rivals, render.swaps, render.root_operations,
                                     render.differences, render.layers_truth, render.costs])  # fmt: skip
def test_a_strangers_text_is_shown_and_runs_nothing(section: Section) -> None:
    drawn = soup(section(hostile()))
    assert HOSTILE in drawn.get_text().replace("\xa0", " ") or section in {render.differences, render.layers_truth}
    assert not drawn.find_all(["script", "img", "iframe"])
    assert not [a["href"] for a in drawn.select("a[href]") if not a["href"].startswith(("#", "https://"))]


# --- figures and costs ------------------------------------------------------------------------------


def test_the_growth_says_in_words_what_it_draws(report: Report) -> None:
    first = soup(render.differences(report)).select("svg.wide")[0]
    described = first.desc.text
    assert (
        "“a”: 12 operations (softmax and GELU) differ by themselves; at the end the runs are 7.3e-08 apart" in described
    )
    drawn = [t.text for t in first.select("text")]
    assert "0" in drawn  # the line for zero, and encoder layer 0
    assert {"softmax by itself", "GELU by itself", "e", "5", "o"} <= set(drawn)


def test_operations_are_grouped_by_encoder_layer() -> None:
    modules = ["embeddings", "embeddings.LayerNorm", "encoder.layer.0.attention", "", "encoder.layer.0.output",
               "encoder.layer.11.x", "linear", ""]  # fmt: skip
    assert group_starts(modules) == [(0, "e"), (2, "0"), (5, "11"), (6, "o")]


def test_numbers_that_are_missing_or_not_finite_leave_the_figure_whole(report: Report) -> None:
    changed = copy.deepcopy(report)
    drawn = operations(changed)["passes"][0]["replay"]["operations"]
    drawn[3] |= {"local": None, "accumulated": None}
    drawn[9]["local"] = render_operations.difference(10, 3, 0.0) | {"rms": None, "max_abs": None}
    assert len(soup(render.differences(changed)).select("figure")) == 2


def test_the_layers_name_the_version_that_is_closer(report: Report) -> None:
    said = text(render.layers_truth(report))
    assert "“a”: after layer 5 PyTorch 2.1.0 is 1.2 times closer to float64" in said
    assert "Under bfloat16 autocast, 64 passages, “a”: after layer 5 PyTorch 2.0.1 is 1.2 times closer" in said
    changed = copy.deepcopy(report)
    operations(changed)["layers_truth"] = render_operations.truth(1e-7, 1.01)
    assert "both are about equally close" in text(render.layers_truth(changed))


def test_costs_are_beside_the_plain_pass_and_say_what_bounds_them(report: Report) -> None:
    drawn = soup(render.costs(report))
    row = drawn.select_one("tbody tr")
    assert [td.get_text(strip=True) for td in row.select("td")] == [
        "PyTorch 2.0.1", "0.021 s", "0.094 s", "4.5", "512 MB", "536 MB"]  # fmt: skip
    said = text(render.costs(report))
    assert "bounded by the largest operation, not by the number of operations or layers" in said
    assert "here 3.4 MB at most" in said


def test_a_distance_across_zero_is_left_out(report: Report) -> None:
    changed = copy.deepcopy(report)
    operations(changed)["causes"][0]["difference"] |= {"max_ulp": 875_648_739}
    assert card(changed, 0)["How far"].endswith("in the root mean square.")


def test_an_explanation_is_not_said_twice(report: Report) -> None:
    changed = copy.deepcopy(report)
    mechanism = operations(changed)["causes"][0]["mechanism"]
    mechanism["sentence"] = f"A's bytes are those of {mechanism['a']['description']}."
    assert card(changed, 0)["Mechanism"].count("erf by a polynomial of degree 5") == 1
