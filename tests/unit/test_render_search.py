"""The search part of the page: what a reader is told of a change, how sure it is, and of which queries."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import bs4
import pytest
import render_search
from render_reports import HOSTILE, everything_differs, explained

from reportlib import render
from reportlib.render import Html
from reportlib.render.measures import paint_lists, paint_quality, quality_sentences, shares
from reportlib.render.search import yardstick_sentence
from reportlib.render.svg import NARROW, WIDE

SECTIONS: list[Callable[[dict[str, Any]], Html]] = [
    render.search, render.search_quality, render.search_lists, render.changed_queries]  # fmt: skip
every_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.__name__)
BASE = explained()


def report(*found: dict[str, Any] | None) -> dict[str, Any]:
    """A report whose precisions, as many as there are records, were searched with these results."""
    made = copy.deepcopy(BASE)
    made["pairs"][0]["precisions"] = made["pairs"][0]["precisions"][: len(found)]
    for part, search in zip(made["pairs"][0]["precisions"], found, strict=True):
        part["search"] = search
    return made


def soup(piece: Html) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece.markup, "html.parser")


def text(piece: Html) -> str:
    return re.sub(r"\s+", " ", soup(piece).get_text(" "))


def row(piece: Html, name: str) -> dict[str, str]:
    head = next(th for th in soup(piece).select("tbody th") if th.get_text(" ", strip=True) == name)
    cells = head.find_parent("tr").select("td")
    return {td["data-label"]: re.sub(r"\s+", " ", td.get_text(" ", strip=True)) for td in cells}


# --- what was searched, and the answer --------------------------------------------------------------


def test_all_four_combinations_the_seeds_and_the_controls_are_named() -> None:
    said = text(render.search(report(render_search.search())))
    for combination in (
        "PyTorch 2.0.1 on its own index", "PyTorch 2.1.0 on its own index",
        "PyTorch 2.0.1 on PyTorch 2.1.0's index", "PyTorch 2.1.0 on PyTorch 2.0.1's index",
    ):  # fmt: skip
        assert combination in said
    assert "3 indexes that it made with other seeds of k-means" in said
    assert "with PyTorch 2.0.1 and PyTorch 2.1.0: the same passages and scores for all 121 queries" in said
    assert "Inconclusive" not in said


def test_a_search_that_does_not_repeat_itself_is_inconclusive() -> None:
    found = render_search.search()
    found["controls"][1]["identical"] = 118
    said = text(render.search(report(found)))
    assert "Inconclusive. PyTorch 2.1.0 did not find the same twice" in said
    assert "With PyTorch 2.1.0 they are the same for 118 of 121 queries only." in said


def test_unlike_encodings_of_the_queries_are_not_passed_over() -> None:
    found = render_search.search() | {"query_embeddings": {"identical": 12, "total": 3872, "max_abs": 2.5e-7}}
    said = text(render.search(report(found)))
    assert "3,860 of 3,872 token embeddings of the queries differ, by 2.5e-07 at most." in said
    found["query_embeddings"]["identical"] = 0
    assert "All 3,872 token embeddings of the queries differ, by 2.5e-07" in text(render.search(report(found)))
    assert "token embeddings" not in text(render.search(report(found | {"query_embeddings": None})))


def test_nothing_changed_is_said_with_what_it_leaves_open() -> None:
    said = text(render.search(report(render_search.search(changed=0))))
    assert "the same 10 passages in the same order as PyTorch 2.0.1 for all 121 queries, with identical scores" in said
    assert "no query's value changed, of 121; up to 2.5 % of queries could change unseen." in said
    assert "no effect" not in said


def test_same_lists_with_other_scores_are_not_called_identical() -> None:
    found = render_search.search(changed=0)
    found["comparisons"][0] |= {"scores_identical": 3, "max_score_difference": 0.00017}
    said = text(render.search(report(found)))
    assert "scores differ by 1.7e-04 at most" in said
    assert "identical scores" not in said


def test_everything_changed_is_said_in_words() -> None:
    found = render_search.search(changed=121)
    found["comparisons"][0]["same_set"] = 0
    said = text(render.search(report(found)))
    assert "None of 121 queries get the same 10 passages in the same order" in said
    assert len(soup(render.changed_queries(report(found))).select("article")) == 20


def test_what_was_not_detected_comes_with_what_would_have_been() -> None:
    said = text(render.search(report(render_search.search())))
    assert (
        "No difference was detected in nDCG@10, MRR@10, Recall@10 or Success@10: a change of 0.004 in nDCG@10" in said
    )
    assert "in Success@10 would probably have been (4 times of 5)." in said


def test_too_few_changed_queries_are_not_said_to_have_been_tested() -> None:
    made = report(render_search.search(changed=2, seeds=0))
    why = "only 2 of 121 queries changed their value; fewer than 6 are too few for the test."
    assert f"No difference was detected in nDCG@10, MRR@10, Recall@10 or Success@10: {why}" in text(render.search(made))
    drawn = render.search_quality(made)
    assert row(drawn, "nDCG@10")["Smallest change to show"] == "–"
    assert f"Not detected: {why} Where so few changed, the interval is a wide one" in text(drawn)
    assert "would probably" not in text(drawn)


def test_a_report_that_names_no_limit_is_held_to_six() -> None:
    found = render_search.search(changed=2)
    found.pop("least_changed")
    for compared in found["comparisons"]:
        for measure in compared["measures"]:
            measure["detectable"] = 0.007
    drawn = render.search_quality(report(found))
    assert row(drawn, "nDCG@10")["Smallest change to show"] == "–"
    assert "fewer than 6 are too few for the test" in text(drawn)


def test_counts_next_to_each_other_are_not_a_range() -> None:
    measures = [render_search.measure(each, 0.001, 121, (0, worse)) for each, worse in (("A", 1), ("B", 2))]
    assert "only 1 or 2 of 121 queries changed their value" in " ".join(quality_sentences(measures, 121, 6))


def test_measures_that_changed_differently_are_told_apart() -> None:
    measures = [
        render_search.measure("A", 0.0, 121, (0, 0)),
        render_search.measure("B", 0.001, 121, (1, 0)),
        render_search.measure("C", 0.001, 121, (2, 3)),
        render_search.measure("D", 0.001, 121, (2, 4)),
        render_search.measure("E", 0.001, 121, (9, 9)) | {"detectable": None},
    ]
    begun = "No difference was detected in"
    assert list(quality_sentences(measures, 121, 6)) == [
        f"{begun} A: no query's value changed, of 121; up to 2.5 % of queries could change unseen.",
        f"{begun} B or C: only 1 to 5 of 121 queries changed their value; fewer than 6 are too few for the test.",
        f"{begun} D: a change of 0.004 in D would probably have been (4 times of 5).",
        f"{begun} E: how small a change would have been is not known.",
    ]


def test_what_was_detected_says_which_way_and_how_far() -> None:
    said = text(render.search(report(render_search.search(detected=True))))
    assert "nDCG@10 got worse by 0.012 (0.006 to 0.018): 2 queries better, 6 worse, of 121." in said
    assert "detected in MRR@10, Recall@10 or Success@10" in said


def test_what_was_searched_is_said_once_where_every_precision_was_searched_alike() -> None:
    said = text(render.search(report(render_search.search(), render_search.search(changed=24))))
    assert said.count("Each of 121 queries was searched") == 1
    assert "Searched in the same way, with the same controls." in said
    other = render_search.search()
    other["controls"][0]["identical"] = 3
    assert text(render.search(report(render_search.search(), other))).count("Each of 121 queries was searched") == 2


def test_no_list_with_the_same_passages_keeps_its_small_letter() -> None:
    found = render_search.search(changed=24)
    found["comparisons"][0]["same_set"] = 0
    said = text(render.search(report(found)))
    assert "97 of 121 queries get the same 10 passages" in said
    assert (
        "and none of 121 the same 10 in any order. Of 20 possible, 0.50 passages per query (95 % interval 0.40 to"
        in said
    )


# --- the yardstick ----------------------------------------------------------------------------------


def figure(name: str, own: float, seeds: list[float], verdict: str) -> dict[str, Any]:
    return {"name": name, "upgrade": own, "seeds": seeds, "verdict": verdict}


def test_the_yardstick_is_a_sentence_on_lists_alone() -> None:
    figures = [
        figure("different_passages", 0.015038, [2.2807, 1.8496, 2.1203], "smaller"),
        figure("rbo", 0.9993, [0.867, 0.887, 0.882], "smaller"),
        figure("changed_queries", 0.030075, [0.97995, 0.96241, 0.974937], "smaller"),
        figure("nDCG@10", 0.0004, [0.004, 0.01, 0.001], "smaller"),
    ]
    assert yardstick_sentence({"seeds": 3, "figures": figures}) == (
        "The lists change less than with 3 other seeds of k-means: 3.0 % of queries against 96.2 to 98.0 %, 0.02 "
        "different passages per query against 1.85 to 2.28."
    )


@pytest.mark.parametrize(
    ("verdict", "words"), [("smaller", "less than"), ("within", "as much as"), ("larger", "more than")]
)
def test_every_verdict_has_its_words(verdict: str, words: str) -> None:
    said = yardstick_sentence({"seeds": 1, "figures": [figure("different_passages", 1.2, [1.25], verdict)]})
    assert said == (
        f"The lists change {words} with 1 other seed of k-means: 1.20 different passages per query against 1.25."
    )


def test_a_yardstick_that_is_of_two_minds_says_both() -> None:
    figures = [
        figure("different_passages", 1.2, [1.1, 1.4], "within"),
        figure("changed_queries", 0.2, [0.3, 0.4], "smaller"),
    ]
    assert yardstick_sentence({"seeds": 2, "figures": figures}) == (
        "Beside 2 other seeds of k-means, the lists change less than with the seeds by 20 % of queries against 30 to "
        "40 % and as much as with the seeds by 1.20 different passages per query against 1.10 to 1.40."
    )


def test_the_other_figures_stand_in_a_table_that_says_what_a_verdict_is_worth() -> None:
    found = render_search.search()
    found["yardstick"]["figures"][-1] |= {"upgrade": 0.0004, "seeds": [0.004, 0.01, 0.001], "verdict": "smaller"}
    drawn = render.search(report(found))
    cells = row(drawn, "Change of the mean nDCG@10, either way")
    assert cells == {"Upgrade": "0.0004", "Seeds": "0.0010 to 0.0100", "Verdict": "changes less"}
    assert row(drawn, "Rank-biased overlap")["Verdict"] == "changes less"
    assert "With 3 seeds, a value falls outside their range by chance alone in half of all cases" in text(drawn)
    assert "No verdict" not in text(drawn)


def test_a_measure_that_too_few_queries_changed_gets_no_verdict() -> None:
    drawn = render.search(report(render_search.search(changed=5)))
    assert row(drawn, "Change of the mean nDCG@10, either way")["Verdict"] == "–"
    assert row(drawn, "Rank-biased overlap")["Verdict"] == "changes less"
    assert "No verdict where the upgrade changed the measure of fewer than 6 queries." in text(drawn)


@pytest.mark.parametrize(
    ("seeds", "often"),
    [(1, "With 1 seed, a value falls outside their range by chance alone always"), (2, "in 67 % of all cases"),
     (4, "in 40 % of all cases")],
)  # fmt: skip
def test_how_often_chance_gives_a_verdict_depends_on_the_seeds(seeds: int, often: str) -> None:
    assert often in text(render.search(report(render_search.search(seeds=seeds))))


def test_without_a_seed_there_is_no_yardstick_and_no_grey() -> None:
    made = report(render_search.search(seeds=0))
    assert "There is no yardstick" in text(render.search(made))
    assert "grey" not in text(render.search_quality(made)).lower()
    assert "Another seed" not in text(render.search_lists(made))
    assert "There is no yardstick" in yardstick_sentence({"seeds": 0, "figures": []})


# --- better or worse --------------------------------------------------------------------------------


def test_a_row_holds_the_difference_its_interval_and_what_would_have_been_seen() -> None:
    drawn = render.search_quality(report(render_search.search(detected=True)))
    cells = row(drawn, "nDCG@10")
    assert cells["Before"] == "0.6340"
    assert cells["After"] == "0.6220"
    assert cells["Difference, with 95 % interval"] == "−0.0120 −0.0180 to −0.0060"
    assert cells["Queries better, equal, worse"] == "2 · 113 · 6"
    assert cells["p"] == "0.012 sign test 0.021"
    assert cells["Result"].replace("\xa0", " ") == "▼ worse"
    other = row(drawn, "MRR@10")
    assert other["Result"].replace("\xa0", " ") == "? not detected"
    assert other["Smallest change to show"] == "0.0042"
    assert not soup(drawn).select("tbody tr.note, tbody .prose"), "no note repeats what the columns say"


def test_the_numbers_of_a_row_have_as_many_decimals() -> None:
    found = render_search.search(seeds=0)
    found["comparisons"][0]["measures"][0] |= {
        "left": 0.38, "right": 0.38003, "difference": {"value": 0.00003, "low": -0.0008, "high": 0.0012},
    }  # fmt: skip
    found["comparisons"][0]["rbo"] = {"value": 0.99933, "low": 0.99885, "high": 0.99973}
    cells = row(render.search_quality(report(found)), "nDCG@10")
    assert cells["Before"] == "0.38000"
    assert cells["After"] == "0.38003"
    assert cells["Difference, with 95 % interval"] == "+0.00003 −0.00080 to +0.00120"
    assert cells["Smallest change to show"] == "0.00420"
    lists = row(render.search_lists(report(found)), "The upgrade, index and search")
    assert lists["Rank-biased overlap"] == "0.9993 0.9989 to 0.9997"


def test_how_relevance_was_counted_is_said_once_below_the_table() -> None:
    made = report(render_search.search(), render_search.search())
    assert made["study"]["collection"]["source"] == "numpy-docstrings"
    said = text(render.search_quality(made))
    assert said.count("A passage without a judgement counts as not relevant.") == 1
    assert "made automatically, not by people" in said
    assert "untrained, so these values say nothing about a real ColBERT" in said
    made["study"]["collection"]["source"] = "files"
    made["study"]["checkpoint"]["source"] = "path"
    said = text(render.search_quality(made))
    assert "A passage without a judgement counts as not relevant." in said
    assert not re.search("automatically|untrained", said)


def test_the_measures_of_every_search_are_listed() -> None:
    drawn = render.search_quality(report(render_search.search()))
    names = {th.get_text(strip=True) for th in soup(drawn).select("table:last-of-type tbody th")}
    assert {"PyTorch 2.0.1 on its own index", "PyTorch 2.0.1 on its index with another seed (3)"} <= names
    assert row(drawn, "PyTorch 2.1.0 on PyTorch 2.0.1's index")["nDCG@10"] == "0.634 0.564 to 0.704"


def test_the_same_words_for_every_measure_are_said_once() -> None:
    drawn = render.search_quality(report(render_search.search(changed=0, seeds=0)))
    for bs in soup(drawn).select("details"):
        if "comparison" in bs.summary.text:
            assert bs.text.count("up to 2.5 %") == len(bs.select("table")) == 4
    assert text(drawn).count("up to 2.5 %") == 5, "once below each table, not in every row"


# --- what is to be known of the judgements and the queries ------------------------------------------

JUDGING = dict.fromkeys(("unknown_queries", "unknown_passages", "repeated", "ungraded"), 0) | {
    "read": 4, "kept": 4, "relevant": 4, "answered": 4,
}  # fmt: skip


def test_judgements_that_were_left_out_are_told_once_below_the_table() -> None:
    told = JUDGING | {"unknown_queries": 2, "unknown_passages": 1, "kept": 1}
    found = [render_search.search() | {"judging": told} for _ in range(2)]
    said = text(render.search_quality(report(*found)))
    sentence = "3 of 4 judgements were left out (2 with an unknown query and 1 with an unknown passage)."
    assert said.count(sentence) == 1


def test_where_no_grade_is_above_zero_the_page_says_so() -> None:
    found = render_search.search(queries=0, changed=0, seeds=0)
    found |= {"comparisons": [], "quality": [], "query_embeddings": None, "judging": JUDGING | {"relevant": 0}}
    said = text(render.search_quality(report(found)))
    assert "None of the 4 judgements has a grade above 0" in said
    assert "nothing is searched and nothing scored" in said


def test_where_every_judgement_counts_nothing_is_added() -> None:
    before = text(render.search_quality(report(render_search.search())))
    assert text(render.search_quality(report(render_search.search() | {"judging": JUDGING}))) == before


def test_a_query_that_is_a_passage_is_told_and_that_it_was_left_out() -> None:
    same = {"ignored": False, "queries": 12, "first": 11}
    said = text(render.search(report(render_search.search() | {"identical_ids": same})))
    assert "For 12 of 121 queries a passage that is the query itself (same id) is among the best 10, first" in said
    assert "first for 11 of them; ignore_identical_ids leaves it out." in said
    same["ignored"] = True
    said = text(render.search(report(render_search.search() | {"identical_ids": same})))
    assert "(same id) would be among the best 10; it is left out." in said
    same["queries"] = 0
    assert "same id" not in text(render.search(report(render_search.search() | {"identical_ids": same})))


# --- what was not measured --------------------------------------------------------------------------


def test_without_judgements_nothing_is_said_of_better_or_worse() -> None:
    made = report(render_search.search(judged=0))
    assert "None of these queries has relevance judgements" in text(render.search(made))
    assert "whether search got better or worse is not known" in text(render.search_quality(made))
    assert not soup(render.search_quality(made)).select("table, figure")
    changed = text(render.changed_queries(made))
    assert not re.search("better|worse|judge|relevant", changed)
    assert "Went: among the best 10 of PyTorch 2.0.1 only" in changed


@every_section
def test_no_queries_no_claims(section: Callable[[dict[str, Any]], Html]) -> None:
    found = render_search.search(queries=0, changed=0, seeds=0)
    found |= {"comparisons": [], "quality": [], "query_embeddings": None}
    drawn = section(report(found))
    assert "No query was searched" in text(drawn)
    assert not soup(drawn).select("table, figure, ul")
    assert section(report(render_search.search(queries=0, changed=0))).markup, "with comparisons of no query too"


@every_section
def test_a_study_that_did_not_search_crosswise_is_drawn_by_its_rankings(
    section: Callable[[dict[str, Any]], Html],
) -> None:
    said = text(section(everything_differs()))
    expected = {
        "search": "101 of 120", "search_quality": "Not measured", "search_lists": "Not measured",
        "changed_queries": "q7",
    }  # fmt: skip
    assert expected[section.__name__] in said


def test_one_precision_searched_and_the_other_not() -> None:
    made = report(render_search.search(), None)
    said = text(render.search(made))
    assert "No difference was detected" in said
    assert "101 of 120" in said, "its own rankings"
    assert "q7" in text(render.changed_queries(made))
    assert len(soup(render.search_lists(made)).select("figure")) == 1


@every_section
def test_several_pairs_and_precisions_have_ids_of_their_own(section: Callable[[dict[str, Any]], Html]) -> None:
    made = report(render_search.search(), render_search.search(changed=30))
    third = copy.deepcopy(made["environments"][1]) | {"name": "torch220"}
    third["torch"]["version"] = "2.2.0"
    made["environments"].append(third)
    made["pairs"].append(copy.deepcopy(made["pairs"][0]) | {"b": "torch220"})
    drawn = soup(section(made))
    ids = [tag["id"] for tag in drawn.select("[id]")]
    assert len(ids) == len(set(ids))
    assert len(drawn.select("h3, h4")) == 4
    assert "PyTorch 2.2.0" in drawn.get_text()


@every_section
def test_drawing_twice_gives_the_same_bytes(section: Callable[[dict[str, Any]], Html]) -> None:
    made = report(render_search.search(), render_search.strange())
    before = copy.deepcopy(made)
    assert section(made).markup == section(made).markup
    assert made == before


# --- how much the lists changed, and the figures ----------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([0.030075, 0.96241, 0.979949], ["3.0", "96.2", "98.0"]),
        ([0.139, 0.298], ["14", "30"]),
        ([0.0586, 0.3053], ["5.9", "30.5"]),
        ([0.0, 0.0002, 0.9998, 1.0], ["0", "<0.1", ">99.9", "100"]),
        ([0.795, 1.0, 1.0], ["80", "100", "100"]),
    ],
)
def test_shares_side_by_side_have_as_many_decimals(given: list[float], shown: list[str]) -> None:
    assert shares(given) == shown


def test_lists_are_compared_with_intervals_for_every_comparison() -> None:
    drawn = render.search_lists(report(render_search.search(changed=24)))
    cells = row(drawn, "The upgrade, index and search")
    assert cells["Lists that changed"] == "24 of 121 14 to 30 %"
    assert cells["Different passages per query, 0 to 20"] == "0.50 0.40 to 0.60"
    alone = row(drawn, "The search alone, on PyTorch 2.0.1's index")
    assert alone["Lists that changed"] == "none of 121 0 to 2.0 %"
    assert alone["Rank-biased overlap"] == "1"
    assert row(drawn, "Another seed of k-means (2)")["Lists that changed"].startswith("40 of 121")


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda x: x.name)
@pytest.mark.parametrize("changed", [0, 4, 121])
def test_the_figures_have_a_row_for_every_comparison_and_room_for_every_interval(layout: Any, changed: int) -> None:
    made = render_search.search(changed=changed)["comparisons"]
    for paint in (paint_quality, paint_lists):
        drawn = paint(layout, made)
        assert len(drawn.axes) == 4
        named = drawn.axes if layout.narrow else drawn.axes[:1]
        for axes in named:
            assert [t.get_text() for t in axes.get_yticklabels()][-3:] == ["seed 1", "seed 2", "seed 3"]
        for axes in drawn.axes:
            low, high = axes.get_xlim()
            points = [x for line in axes.lines for x in line.get_xdata()]
            assert low <= min(points) <= max(points) <= high


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda x: x.name)
def test_each_measure_has_its_own_scale(layout: Any) -> None:
    made = render_search.search(detected=True)["comparisons"]
    for compared in made:
        compared["measures"][1]["difference"] = render_search.estimate(0.0, 0.0001)
    reaches = [axes.get_xlim()[1] for axes in paint_quality(layout, made).axes]
    assert reaches[1] < 0.0002 < 0.01 < reaches[0]


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda x: x.name)
@pytest.mark.parametrize("changed", [0, 12, 121])
def test_where_no_change_stands_there_is_a_tick(layout: Any, changed: int) -> None:
    for axes, same in zip(paint_lists(layout, render_search.search(changed=changed)["comparisons"]).axes, (0, 0, 1, 1),
                          strict=True):  # fmt: skip
        ticks = list(axes.get_xticks())
        assert same in ticks
        assert len(ticks) > 1
        low, high = axes.get_xlim()
        assert low <= min(ticks) < max(ticks) <= high


def test_the_figures_say_what_they_show_to_whoever_cannot_see_them() -> None:
    made = report(render_search.search(detected=True, changed=24))
    quality, lists = (soup(section(made)).select_one("svg.wide desc").text for section in
                      (render.search_quality, render.search_lists))  # fmt: skip
    assert "The upgrade, index and search: nDCG@10 −0.012 (−0.018 to −0.006)" in quality
    assert "Another seed of k-means (3): " in quality
    assert "20 % of the lists changed, 0.50 (0.40 to 0.60) different passages per query" in lists


# --- the queries that changed -----------------------------------------------------------------------


def test_a_changed_query_shows_its_passages_ranks_scores_and_relevance() -> None:
    card = soup(render.changed_queries(report(render_search.search()))).select_one("article.query")
    assert card["aria-labelledby"] == card.select_one(".query-text")["id"]
    said = re.sub(r"\s+", " ", card.get_text(" "))
    for fact in (
        "How do I choose between the elements", "worse", "nDCG@10 0.631 → 0.500", "the lists differ from rank 10 on",
        "q0", "relevant, grade 1", "PyTorch 2.0.1: rank 10, score 17.2311", "PyTorch 2.1.0: rank 12, score 17.1985",
        "doc-17", "no judgement",
    ):  # fmt: skip
        assert fact in said, fact
    assert "Roll the specified axis" in card.select_one(".came").text
    assert "Roll the specified axis" not in card.select_one(".went").text


def test_only_the_first_few_queries_and_passages_stand_open() -> None:
    found = render_search.search(changed=24)
    found["changed"][0]["went"] *= 7
    drawn = soup(render.changed_queries(report(found)))
    assert len([a for a in drawn.select("article") if a.find_parent("details") is None]) == 3
    assert drawn.select_one("details.fold > summary").text == "17 more queries"
    first = drawn.select_one("article .went")
    assert len([li for li in first.select("li") if li.find_parent("details") is None]) == 3
    assert first.select_one("summary").text == "4 more passages"
    assert "The 20 that changed most follow, those first whose measures changed." in drawn.text


def test_passages_that_only_changed_places_are_said_to() -> None:
    found = render_search.search(changed=1)
    found["changed"][0] |= {"went": [], "came": [], "first_rank": 4}
    drawn = soup(render.changed_queries(report(found)))
    assert "the same passages in another order" in drawn.text
    assert not drawn.select(".moved")


def test_a_passage_that_the_other_side_did_not_find_has_no_rank() -> None:
    found = render_search.search(changed=1)
    found["changed"][0]["went"][0] |= {"right": None, "grade": 0}
    said = text(render.changed_queries(report(found)))
    assert "PyTorch 2.1.0: not found" in said
    assert "not relevant" in said


def test_a_query_without_judgements_among_judged_ones_has_no_verdict() -> None:
    found = render_search.search(changed=1)
    found["changed"][0] |= {"measures": [], "verdict": "equal"}
    drawn = soup(render.changed_queries(report(found)))
    assert "not judged" in drawn.select_one("article .query-facts").text
    assert not drawn.select("article .badge")


def test_a_long_query_is_cut_and_can_be_read_whole() -> None:
    found = render_search.search(changed=1)
    found["changed"][0]["text"] = "I have read the documentation of it twice. " * 30 + "So which one is it?"
    card = soup(render.changed_queries(report(found))).select_one("article")
    assert len(card.select_one(".query-text").text) <= 300
    assert card.select_one("details p").text.endswith("So which one is it?")


def test_strange_texts_keep_to_themselves() -> None:
    drawn = render.changed_queries(report(render_search.strange()))
    assert drawn.markup.encode("utf-8"), "a lone surrogate cannot be written"
    assert "\0" not in drawn.markup
    made = soup(drawn)
    for piece in made.select(".query-text, .passage"):
        assert piece["dir"] == "auto"
        assert piece.text.strip()
    assert all(code.find_parent("bdi") for code in made.select("article code"))


@every_section
def test_no_markup_of_strangers_gets_through(section: Callable[[dict[str, Any]], Html]) -> None:
    drawn = soup(section(report(render_search.hostile(render_search.search(), HOSTILE))))
    assert not drawn.find_all(["script", "img", "iframe", "object", "style"])
    assert not [name for tag in drawn.find_all(True) for name in tag.attrs if name.startswith("on")]
    if section is render.changed_queries:
        assert HOSTILE in drawn.get_text()
