"""What the page says and draws of margins: whether what flipped had smaller ones, and never more than was measured."""

from __future__ import annotations

import copy
import re
from typing import Any

import bs4
import numpy as np
import pytest
from matplotlib.figure import Figure
from render_reports import HOSTILE, everything_differs, sort_only

from reportlib.compare.margins import Items, left_out, record
from reportlib.render import Html
from reportlib.render.labels import parts
from reportlib.render.margins import DECISIONS, Panel, bin_edges, margins, paint_margins, sentences
from reportlib.render.svg import NARROW, WIDE


def made(name: str, margin: Any, flipped: Any, drops: Any = None, of: int | None = None, **more: Any) -> dict[str, Any]:
    values = np.asarray(margin, np.float64)
    drop = np.zeros_like(values) if drops is None else np.asarray(drops, np.float64)
    alike = more.pop("alike", None)
    items = Items(values, drop, np.asarray(flipped, np.bool_), len(values) if of is None else of, alike)
    return record(name, items) | {"k": 10 if name == "rank" else None} | more


STEPS = np.arange(1, 201) / 1000
#: Flips at the smallest margins; anywhere; nowhere; everywhere.
SMALL = made("bucket", STEPS, STEPS < 0.05, drops=np.full(200, 0.05), alike=np.arange(200) % 2 == 0)
ANYWHERE = made("rank", STEPS, np.arange(200) % 7 == 3)
NOWHERE = made("centroid", STEPS, np.zeros(200), drops=STEPS / 1000)
EVERYWHERE = made("centroid", STEPS, np.ones(200), same_ids={"nearest": 3, "of": 16})


def report(*records: dict[str, Any]) -> dict[str, Any]:
    found = sort_only()
    found["pairs"][0]["precisions"][0]["margins"] = list(records)
    return found


def soup(piece: Html) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece.markup, "html.parser")


def said(found: dict[str, Any]) -> str:
    """What the page says of one record."""
    return " ".join(sentences(next(parts(report(found))), found))


# --- sentences ---------------------------------------------------------------------------------------


def test_a_prediction_is_told_with_its_share_of_pairs_and_its_margins() -> None:
    sentence = said(SMALL)
    assert sentence == (
        "A residual's bucket: 49 of 200 coordinates of residuals are in another bucket in PyTorch 2.1.0 (24 %). "
        "Those that flipped had smaller margins: in 100 % of pairs (49 flips, p < 0.001). "
        "Half of the flips have a margin of at most 0.025, half of all 0.10. "
        "In all 49 flips the value (or the edge) moved by at least the margin. "
        "In 25 of 49 flips the value is the same, so the bucket's edge moved."
    )


def test_what_is_not_detected_says_what_would_have_been() -> None:
    sentence = said(ANYWHERE)
    assert "A query's top 10: 29 of 200 queries have other passages in the top 10" in sentence
    assert re.search(
        r"Not detected: those that flipped had smaller margins in 49 % of pairs \(29 flips, p = 0\.\d\d\); 66 % or "
        "more would probably have shown",
        sentence,
    )
    assert "In all 29 flips a third one came in." in sentence


def test_few_flips_at_small_margins_could_be_chance() -> None:
    flipped = np.zeros(200)
    flipped[[2, 20, 40]] = 1
    found = made("rank", STEPS, flipped, drops=np.where(STEPS < 0.03, 1, 0))
    assert found["p"] < 0.05
    assert found["auc"] < found["detectable"]
    sentence = said(found)
    assert "Those that flipped had smaller margins: in 90.0 % of pairs (3 flips, p = 0.010)." in sentence
    assert "With so few flips that could be chance; 97.0 % or more would probably have shown." in sentence
    assert "In 2 of 3 flips the two candidates themselves swapped; otherwise a third one came in." in sentence


def test_too_few_flips_say_that_nothing_would_have_shown() -> None:
    sentence = said(made("rank", [0.1, 0.2, 0.3], [False, True, False]))
    assert "1 of 3 queries has other passages" in sentence
    assert "In the one flip a third one came in." in sentence
    assert "with so few, nothing would have shown" in sentence


def test_flips_at_large_margins_are_not_called_predicted() -> None:
    sentence = said(made("centroid", STEPS, STEPS > 0.15))
    assert "Those that flipped had larger margins: smaller ones only in 0 % of pairs" in sentence


def test_without_a_flip_the_page_says_how_near_it_came_and_draws_nothing() -> None:
    sentence = said(NOWHERE)
    assert sentence == (
        "A token's centroid: no flip was seen among 200 token embeddings. So whether those that flip have smaller "
        "margins cannot be told; the smallest margin is 0.0010. Margins changed by 2.0e-04 at most, and 99 % of "
        "them by no more than 2.0e-04."
    )
    assert not soup(margins(report(NOWHERE))).select("figure")
    assert "no effect" not in sentence


def test_a_sample_is_called_one() -> None:
    sentence = said(made("centroid", STEPS, np.zeros(200), of=90_000))
    assert "among 200 token embeddings (evenly spaced; there are 90,000)" in sentence
    assert "up to 1.5 % could have flipped unseen" in sentence


def test_queries_with_nothing_below_rank_k_are_told_apart_from_a_sample() -> None:
    sentence = said(made("rank", STEPS, STEPS < 0.05, of=210))
    assert "49 of 200 queries (with a passage below; there are 210)" in sentence


def test_all_flipped_is_no_prediction_and_ids_that_moved_are_named() -> None:
    sentence = said(EVERYWHERE)
    assert "All of them did, so a margin cannot tell which ones do." in sentence
    assert "For 3 of 16 centroids of PyTorch 2.0.1 the nearest one of PyTorch 2.1.0 has the same id" in sentence


def test_ids_that_all_stayed_are_not_worth_a_sentence() -> None:
    sentence = said(made("centroid", STEPS, STEPS < 0.1, same_ids={"nearest": 16, "of": 16}))
    assert "same id" not in sentence


def test_a_change_that_is_not_known_is_said_to_be() -> None:
    drops = np.where(np.arange(200) < 5, np.nan, 0.5)
    sentence = said(made("rank", STEPS, STEPS < 0.05, drops=drops))
    assert "In 44 of 49 flips the two candidates themselves swapped. For 5" in sentence
    assert "For 5 the change is not known" in sentence


def test_what_was_left_out_says_why_in_place_of_a_row() -> None:
    drawn = soup(margins(report(NOWHERE, left_out("rank", "No search of B's own index was captured.") | {"k": 10})))
    told = drawn.select_one("p.note").text
    assert told == "A query's top 10: not looked at. No search of B's own index was captured."
    assert len(drawn.select("tbody tr")) == len(drawn.select("ul.sentences li")) == 1


def test_nothing_but_reasons_makes_neither_table_nor_figure() -> None:
    drawn = soup(margins(report(*(left_out(name, "`embs` was not captured for A.") for name in DECISIONS))))
    assert len(drawn.select("p.note")) == 3
    assert drawn.select("p.note code")[0].text == "embs"
    assert not drawn.select("table, figure, ul")


@pytest.mark.parametrize("value", [None, []])
def test_a_study_without_margins_says_so(value: Any) -> None:
    found = sort_only()
    found["pairs"][0]["precisions"][0]["margins"] = value
    assert "no margins" in soup(margins(found)).get_text()


def test_a_report_from_before_margins_is_drawn_all_the_same() -> None:
    found = sort_only()
    found["pairs"][0]["precisions"][0].pop("margins", None)
    assert "no margins" in soup(margins(found)).get_text()


# --- the table ---------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_decision_looked_at() -> None:
    rows = soup(margins(report(NOWHERE, SMALL, ANYWHERE))).select("tbody tr")
    cells = [[cell.get_text() for cell in row.select("th, td")] for row in rows]
    assert [row[0] for row in cells] == ["A token's centroid", "A residual's bucket", "A query's top 10"]
    assert [row[2:5] for row in cells] == [["200", "0", "0.10"], ["200", "49", "0.10"], ["200", "29", "0.10"]]
    assert [row[-1] for row in cells] == [
        "–",
        "all 49 the value (or the edge) moved by at least the margin",
        "none of 29 the two candidates themselves swapped",
    ]
    assert cells[2][1] == "score of rank 10 minus that of rank 11"


def test_a_change_that_is_nowhere_known_leaves_its_cells_empty() -> None:
    found = made("rank", STEPS, STEPS < 0.05, drops=np.full(200, np.nan))
    cells = [cell.get_text() for cell in soup(margins(report(found))).select("tbody tr td")]
    assert cells[5:7] == ["–", "–"]


# --- the figure --------------------------------------------------------------------------------------


def test_only_decisions_that_flipped_are_drawn_for_a_wide_page_and_for_a_phone() -> None:
    drawn = soup(margins(report(NOWHERE, SMALL, ANYWHERE)))
    assert [svg["class"] for svg in drawn.select("figure svg")] == [["wide"], ["narrow"]]
    for svg in drawn.select("figure svg"):
        words = [text.text for text in svg.select("text")]
        assert "A residual's bucket" in words
        assert "A query's top 10" in words
        assert "A token's centroid" not in words


def test_the_figure_says_in_words_what_it_shows() -> None:
    described = soup(margins(report(SMALL, EVERYWHERE))).select_one("svg desc").text
    assert "A residual's bucket: of those with the smallest margins (up to 0.016) 100 % flipped" in described
    assert "of those with the largest (from 0.18) 0 %" in described
    assert "A token's centroid" in described


def test_one_bin_is_described_and_drawn_too() -> None:
    drawn = soup(margins(report(made("rank", [0.1, 0.2, 0.3], [True, False, False]))))
    assert drawn.select_one("svg desc").text == "A query's top 10: 1 of 3 flipped."


def test_two_bins_have_nothing_between_them() -> None:
    found = made("rank", np.arange(1, 21), np.arange(20) < 5)
    assert "in between, there are none" in soup(margins(report(found))).select_one("svg desc").text


def test_bins_of_one_share_are_not_called_a_range() -> None:
    found = made("rank", np.arange(1, 31), np.arange(30) < 5)
    assert soup(margins(report(found))).select_one("svg desc").text.endswith("in between, 0 %.")


def test_colours_are_left_to_the_page() -> None:
    for svg in soup(margins(report(SMALL, ANYWHERE, EVERYWHERE))).select("svg"):
        bare = re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", str(svg))
        assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{3,6}", bare)


def panel(found: dict[str, Any]) -> Panel:
    return Panel("Title", "axis", found)


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_changes_stand_where_they_were_measured(layout: Any) -> None:
    drawn = paint_margins(layout, [panel(SMALL), panel(ANYWHERE)])
    assert isinstance(drawn, Figure)
    axes = drawn.axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.05, 0.05]
    # A change of nothing has no place on a log axis.
    assert not drawn.axes[1].lines
    columns = {axes.get_subplotspec().colspan.start for axes in drawn.axes}
    assert len(columns) == (1 if layout.narrow else 2)


def test_a_share_near_one_stays_inside_the_figure() -> None:
    axes = paint_margins(WIDE, [panel(EVERYWHERE)]).axes[0]
    assert axes.get_ylim()[1] > 1.0


@pytest.mark.parametrize(
    "ends",
    [
        [(0.0, 0.0), (0.0625, 0.125), (0.25, 1.0)],
        [(-0.5, 0.25), (0.5, 2.0)],
        [(0.0, 0.0)],
        [(0.5, 0.5)],
        [(-2.0, -1.0), (0.0, 0.0)],
        [(0.1, 0.2), (0.3, 0.4)],
    ],
)
def test_bins_lie_side_by_side_on_a_log_axis_whatever_their_margins(ends: list[tuple[float, float]]) -> None:
    edges = bin_edges([{"low": low, "high": high} for low, high in ends])
    assert len(edges) == len(ends) + 1
    assert min(edges) > 0
    assert edges == sorted(edges)
    assert edges[0] < edges[-1]


# --- the page ----------------------------------------------------------------------------------------


def test_it_is_drawn_in_the_same_bytes_and_changes_nothing() -> None:
    given = report(NOWHERE, SMALL, ANYWHERE)
    before = copy.deepcopy(given)
    assert margins(given).markup == margins(given).markup
    assert given == before


def test_two_precisions_have_their_own_headings_and_figures() -> None:
    given = everything_differs()
    for part in given["pairs"][0]["precisions"]:
        part["margins"] = [SMALL]
    drawn = soup(margins(given))
    ids = [tag["id"] for tag in drawn.select("[id]")]
    assert len(ids) == len(set(ids))
    assert [h.get("id") for h in drawn.select("h4")] == ["margins-float32", "margins-autocast"]
    assert len(drawn.select("figure")) == 2


def test_failed_controls_stand_before_the_margins() -> None:
    given = report(SMALL)
    given["pairs"][0]["precisions"][0]["conclusive"] = False
    assert "Nothing is concluded from it" in soup(margins(given)).get_text()


def test_a_strangers_text_stays_text() -> None:
    drawn = soup(margins(report(SMALL, left_out("rank", HOSTILE) | {"k": 10})))
    assert not drawn.find_all(["script", "img"])
    assert HOSTILE in drawn.get_text()
