"""The page's sections on made reports: what stands where, and that a section with nothing to show is not there."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import bs4
import pytest
import render_operations
import render_reports
import render_search
from markupsafe import Markup

from reportlib import render
from reportlib.findings.finding import parts
from reportlib.render.artifacts import telling
from reportlib.render.figures import bin_edges, group_starts
from reportlib.render.publish import draw

ROOT = Path(__file__).parents[2]
SECTIONS = [name for name in render.__all__ if name not in {"Html", "publish"}]


def soup(piece: Any) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece._repr_html_(), "html.parser")


@pytest.fixture(scope="module")
def searched() -> dict[str, Any]:
    return render_reports.searched()


@pytest.fixture(scope="module")
def page(searched: dict[str, Any]) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(draw(render_reports.executed(searched)), "html.parser")


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_leaves_the_report_as_it_is_and_says_the_same_twice(searched: dict[str, Any], name: str) -> None:
    before = copy.deepcopy(searched)
    section = getattr(render, name)
    assert section(searched)._repr_html_() == section(searched)._repr_html_()
    assert searched == before


def test_every_section_of_the_notebook_is_a_function_and_every_function_has_a_cell() -> None:
    notebook = json.loads((ROOT / "notebooks" / "compare.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    called = [cell.removeprefix("render.").removesuffix("(result)") for cell in cells if cell.startswith("render.")]
    assert sorted(called) == sorted(SECTIONS)


def test_the_first_screen_has_verdict_numbers_figure_and_three_answers(searched: dict[str, Any]) -> None:
    first = soup(render.first_screen(searched))
    assert first.h1.text.startswith("The index changes")
    assert [h.text for h in first.select(".answer h2")] == ["What changed?", "Why?", "What to do?"]
    assert [p.select_one(".where") is not None for p in first.select(".lede p")] == [True, True, False]
    assert [row.th.text for row in first.select(".steps-figure tbody tr")][-1] == "nDCG@10"
    widths = [float(re.findall(r"max\(2px,([\d.]+)%\)", str(bar["style"]))[0]) for bar in first.select(".bar")]
    assert all(0 <= width <= 100 for width in widths)
    assert max(widths) > 15
    assert first.select_one(".caveat")


@pytest.mark.parametrize(("projection", "trained"), [("trained", True), ("untrained", False), (None, False)])
def test_what_quality_stands_for_follows_from_the_projection(
    searched: dict[str, Any], projection: str | None, trained: bool
) -> None:
    report = copy.deepcopy(searched)
    report["study"]["checkpoint"] |= {"projection": projection} if projection else {}
    caveat = soup(render.first_screen(report)).select(".caveat")[0].text
    assert ("untrained" in caveat) is not trained
    assert ("trained on docstrings" in caveat) is trained


def test_the_switch_shows_the_posts_precision_first_and_is_there_for_several_only(searched: dict[str, Any]) -> None:
    first = soup(render.first_screen(searched))
    assert [i["id"] for i in first.select("input")] == ["show-autocast", "show-float32"]
    assert [i.has_attr("checked") for i in first.select("input")] == [True, False]
    assert not soup(render.first_screen(render_reports.sort_only())).select("input, fieldset")


def test_every_block_of_a_precision_is_one_that_the_switch_knows(page: bs4.BeautifulSoup) -> None:
    known = {i["id"].removeprefix("show-") for i in page.select("input")}
    assert {block["data-part"] for block in page.select(".part")} == known


def test_a_section_with_nothing_to_show_leaves_no_heading() -> None:
    made = bs4.BeautifulSoup(draw(render_reports.executed(render_reports.sort_only())), "html.parser")
    headings = [h.find(string=True).strip() for h in made.select("main h2")]
    assert "One query" not in headings
    assert "The sort" in headings


def test_all_that_proves_the_page_is_folded_below_the_last_section(page: bs4.BeautifulSoup) -> None:
    folds = page.select("details.method")
    assert len(folds) >= 12
    assert all(not fold.has_attr("open") for fold in folds)
    titles = [fold.summary.text for fold in folds]
    assert "Every operation" in titles
    assert titles[-1] == "How this page is drawn"
    last = page.select("main h2")[-1]
    assert not [h for h in last.find_all_next("h3") if h.find_parent("details") is None]


def test_rows_that_are_identical_are_folded() -> None:
    drawn = soup(render.what_changed(render_reports.everything_differs()))
    for table in drawn.select(".part > .table-box table"):
        assert "identical" not in [badge.text.strip()[2:] for badge in table.select(".badge")]
    assert drawn.select("details table .badge.identical")


def test_the_post_has_a_column_only_where_it_covers_the_pair(searched: dict[str, Any]) -> None:
    assert "The post" in [th.text for th in soup(render.what_changed(searched)).select("thead th")]
    other = copy.deepcopy(searched)
    for data in other["pairs"][0]["precisions"]:
        for record in data["artifacts"]:
            record["post"] = None
    assert "The post" not in [th.text for th in soup(render.what_changed(other)).select("thead th")]
    assert soup(render.what_changed(other)).select("tbody tr")


def test_of_ids_and_packed_bytes_no_distance_is_shown() -> None:
    report = render_reports.everything_differs()
    for data in report["pairs"][0]["precisions"]:
        for record in data["artifacts"]:
            if record["kind"] != "float" and record["max_abs"] is None:
                record["max_abs"] = 875_651_065
    assert "875,651,065" not in render.what_changed(report)._repr_html_()
    assert "875,651,065" not in render.every_artifact(report)._repr_html_()


def test_the_telling_swaps_are_at_most_five_and_begin_with_none(searched: dict[str, Any]) -> None:
    for part in parts(searched):
        rows = telling(part)
        assert rows[0] is None
        assert 1 < len(rows) <= 5
        assert [r["direction"] for r in rows if r] == ["a into b"] * (len(rows) - 1)


def test_each_cause_has_a_card_of_three_lines_and_a_reproduction(searched: dict[str, Any]) -> None:
    cards = soup(render.why(searched)).select("section.cause")
    assert [c.h3.text for c in cards] == ["1. Division", "1. GELU", "2. Softmax", "3. Sorting"]
    assert all([dt.text for dt in c.select("dt")] == ["What changed", "How far", "How sure"] for c in cards)
    assert cards[1].select_one("a[href^='reproductions/']")
    ids = [c.h3["id"] for c in cards]
    assert len(ids) == len(set(ids))


def test_a_link_that_is_no_plain_address_stays_text() -> None:
    drawn = soup(render.why(render_reports.hostile()))
    assert not [a for a in drawn.select("a") if not a["href"].startswith(("https://", "reproductions/"))]


def test_the_table_of_search_has_a_row_for_each_measure_beside_the_seeds(searched: dict[str, Any]) -> None:
    drawn = soup(render.does_it_matter(searched))
    rows = drawn.select_one(".part[data-part=autocast] table").select("tbody tr")
    assert [row.th.text for row in rows][:3] == [
        "Lists that move",
        "Passages come or gone",
        "Rank-biased overlap",
    ]
    assert len(rows) == 3 + len(render_search.MEASURES)
    results = [row.select("td")[-1].get_text(strip=True) for row in rows]
    assert results[0] == "changes less"
    assert results[3].startswith("worse, p 0.04")


def test_one_query_shows_what_went_and_came_with_ranks_and_scores(searched: dict[str, Any]) -> None:
    drawn = soup(render.one_query(searched))
    (card,) = drawn.select("article.query")
    assert card.find_parent("div", class_="part")["data-part"] == "autocast"
    assert len(card.select(".went li")) == len(card.select(".came li")) == 1
    assert "rank 10, score 17.2311" in card.text
    assert drawn.select_one(".part[data-part=float32]").text.strip().endswith("No list moved.")  # type: ignore[union-attr]
    assert render.one_query(render_reports.sort_only()).markup == ""


def test_a_failed_control_is_warned_of_wherever_its_precision_stands() -> None:
    report = render_reports.inconclusive()
    for name in ("what_changed", "where_it_starts", "trust"):
        blocks = soup(getattr(render, name)(report)).select(".part")
        assert [bool(block.select_one("p.warning")) for block in blocks] == [
            block["data-part"] == "autocast" for block in blocks
        ]
    assert not soup(render.why(report)).select(".part[data-part=autocast] section.cause")


def test_rivals_are_judged_by_switches_and_reproductions() -> None:
    drawn = soup(render.trust(render_reports.explained()))
    table = drawn.select(".part[data-part=float32] table")[-1]
    rows = {row.th.text: row.select("td")[-1].get_text(" ", strip=True) for row in table.select("tbody tr")}
    assert set(rows) == {"other packages", "instruction sets", "threads"}
    assert rows["instruction sets"].startswith("no: they are the reason for GELU and softmax")
    assert rows["threads"] == "not ruled out"
    assert "wheel" in table.text
    failing = render_reports.explained()
    for precision in failing["pairs"][0]["precisions"]:
        for cause in (precision["operations"] or {}).get("causes", []):
            for trial in cause["switches"] or []:
                trial["gives"] = "failed"
    assert "not told for GELU" in soup(render.trust(failing)).text
    assert "no setting of them brings" not in soup(render.trust(failing)).text
    # What torch brings is no rival of torch.
    assert "triton" not in table.text
    assert "AVX2 in 2.0.1, AVX512 in 2.1.0" in table.text


def test_what_came_along_is_ruled_out_by_what_it_gives_and_that_nothing_did_is_said() -> None:
    report = render_reports.explained()
    pair = report["pairs"][0]
    pair["environment_differences"] = [{"kind": "package", "name": "tokenizers", "a": "0.15.2", "b": "0.22.2"}]
    assert soup(render.trust(report)).select("table")[-1].select("td")[-1].text == "yes: the tokens are the same"
    pair["precisions"][0]["artifacts"][0]["verdict"] = "different"
    first = soup(render.trust(report)).select_one(f".part[data-part={pair['precisions'][0]['precision']}]")
    assert first.select("table")[-1].select("td")[-1].text != "yes: the tokens are the same"  # type: ignore[union-attr]
    pair["environment_differences"] = []
    assert "beside PyTorch and the libraries that it brings nothing" in soup(render.trust(report)).text


def test_the_post_is_named_where_it_stands_beside_and_nowhere_else() -> None:
    report = render_reports.explained()
    assert "The post: Vishal Bakshi’s tables of the same two versions (F1;" in soup(render.what_changed(report)).text
    for precision in report["pairs"][0]["precisions"]:
        for artifact in precision["artifacts"]:
            artifact["post"] = None
    assert "The post" not in soup(render.what_changed(report)).text


def test_the_first_precision_in_which_the_sort_can_be_judged_is_the_one_shown() -> None:
    drawn = soup(render.the_sort(render_reports.everything_differs()))
    assert drawn.text.strip().startswith("In float32:")
    assert len(drawn.select("figure")) == 1


def test_three_environments_stand_beside_each_other() -> None:
    report = render_reports.explained()
    report["environments"].append(render_reports.environment("torch222", "2.2.2"))
    report["pairs"].append(copy.deepcopy(report["pairs"][0]) | {"b": "torch222"})
    render_reports.found(report)
    made = bs4.BeautifulSoup(draw(render_reports.executed(report)), "html.parser")
    ids = [tag["id"] for tag in made.select("[id]")]
    assert len(ids) == len(set(ids))
    assert len(made.select("input[name=part]")) == 4
    assert made.title.text.startswith("PyTorch 2.0.1 → 2.1.0 → 2.2.2:")


def test_groups_of_operations_begin_where_a_layer_does() -> None:
    modules = ["bert.embeddings", "", "bert.encoder.layer.0.attention", "", "bert.encoder.layer.0.output", "linear"]
    assert group_starts(modules) == [(0, "e"), (2, "0"), (5, "o")]


def test_bins_of_margins_touch_and_have_a_width() -> None:
    bins = [{"low": 0.0, "high": 0.1}, {"low": 0.4, "high": 0.9}]
    edges = bin_edges(bins)
    assert edges == sorted(edges)
    assert edges[1] == pytest.approx(0.2)
    assert bin_edges([{"low": 0.5, "high": 0.5}]) == [0.5, 5.0]


def test_a_strangers_text_is_escaped_in_every_section() -> None:
    report = render_reports.hostile()
    for name in SECTIONS:
        drawn = soup(getattr(render, name)(report))
        assert not drawn.find_all(["script", "img"]), name
        assert not [t for t in drawn.find_all(True) if any(a.startswith("on") for a in t.attrs)], name


def test_numbers_that_are_no_numbers_are_drawn() -> None:
    report = render_reports.explained()
    for data in report["pairs"][0]["precisions"]:
        for record in data["artifacts"]:
            if record["kind"] == "float":
                record |= {"mean_abs": float("nan"), "max_abs": float("inf"), "no_tolerance_passes": True}
        for entry in data["layers"]:
            for row in entry["layers"]:
                row |= {"mean_abs": None, "max_abs": None, "smallest_atol": None, "bnb_factor": None}
    render_reports.found(report)
    assert "NaN" in render.what_changed(report)._repr_html_()
    for name in SECTIONS:
        assert isinstance(getattr(render, name)(report).markup, Markup)


def test_a_search_without_seeds_or_judgements_is_drawn() -> None:
    report = render_reports.explained()
    for data in report["pairs"][0]["precisions"]:
        data["search"] = render_search.search(seeds=0, judged=0)
    render_reports.found(report)
    drawn = soup(render.does_it_matter(report))
    assert len(drawn.select_one("table").select("tbody tr")) == 3
    assert render.every_search(report).markup


def test_a_report_without_controls_operations_or_swaps_is_drawn_whole() -> None:
    report = render_reports.explained()
    for data in report["pairs"][0]["precisions"]:
        data |= {"controls": [], "conclusive": None, "operations": None, "swaps": [], "swap_summary": [], "layers": []}
        data |= {"weights": None, "order": None, "rankings": None}
    report["pairs"][0]["sort_probes"] = None
    report["platform"]["capability"]["torch210"] = "AVX2"
    render_reports.found(report)
    made = bs4.BeautifulSoup(draw(render_reports.executed(report)), "html.parser")
    headings = [h.find(string=True).strip() for h in made.select("main h2") if not h.find_parent("header")]
    assert "Why" not in headings
    assert "No controls were run" in made.text


def test_what_undoes_it_can_be_pasted() -> None:
    commands = soup(render.why(render_reports.explained())).select("pre.commands")
    assert [c.text.split() for c in commands] == [
        ["export", "ATEN_CPU_CAPABILITY=avx2", "export", "ONEDNN_MAX_CPU_ISA=AVX2"]
    ]
    assert render_operations.SWITCHES
