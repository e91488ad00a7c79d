"""Figures: the same bytes, one per layout, described in words, in colours that the page decides."""

from __future__ import annotations

import re

import bs4
import pytest
from matplotlib.figure import Figure
from render_reports import HOSTILE, hostile, searched, sort_only

from reportlib import render
from reportlib.render import Html
from reportlib.render.figures import BLUE, INK, Layout, figure


def paint(layout: Layout) -> Figure:
    drawn = Figure(figsize=(layout.width, 2))
    axes = drawn.add_subplot()
    axes.plot([1, 2, 3], color=BLUE)
    axes.set_title(HOSTILE, color=INK)
    return drawn


def draw(name: str = "one") -> Html:
    return figure(name, paint, title=HOSTILE, description="It rises.", caption=HOSTILE)


def test_letters_that_the_drawing_font_lacks_are_set_as_text_all_the_same() -> None:
    def paint(layout: Layout) -> Figure:
        drawn = Figure(figsize=(layout.width, 2))
        drawn.add_subplot().set_title("👩 漢 क्", color=INK)
        return drawn

    soup = bs4.BeautifulSoup(figure("one", paint, title="t", description="d", caption="c").markup, "html.parser")
    assert [text.get_text() for text in soup.select("svg text") if "👩" in text.get_text()] == ["👩 漢 क्"] * 2


SECTIONS = ("where_it_starts", "why", "does_it_matter", "the_sort", "every_operation", "every_search")


def figures() -> list[tuple[str, bs4.Tag]]:
    found = []
    for report in (sort_only(), searched()):
        for name in SECTIONS:
            soup = bs4.BeautifulSoup(getattr(render, name)(report).markup, "html.parser")
            found += [(name, tag) for tag in soup.select("figure")]
    return found


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, bs4.Tag]]:
    return figures()


def test_a_figure_is_drawn_in_the_same_bytes_every_time() -> None:
    assert draw().markup == draw().markup


def test_a_figure_is_an_image_with_a_title_and_a_description() -> None:
    soup = bs4.BeautifulSoup(draw().markup, "html.parser")
    assert [svg["class"] for svg in soup.select("svg[role=img]")] == [["wide"], ["narrow"]]
    for svg in soup.select("svg"):
        said = [soup.find(id=part).text for part in str(svg["aria-labelledby"]).split()]
        assert said == [HOSTILE, "It rises."]


def test_only_the_wide_figure_shows_without_the_pages_style_sheet() -> None:
    soup = bs4.BeautifulSoup(draw().markup, "html.parser")
    assert soup.select_one("svg.narrow").has_attr("hidden")
    assert not soup.select_one("svg.wide").has_attr("hidden")


def test_hostile_text_in_a_figure_is_text() -> None:
    soup = bs4.BeautifulSoup(draw().markup, "html.parser")
    assert not soup.find_all(["script", "img", "image"])
    assert HOSTILE in [t.text for t in soup.select("svg text")]


def test_two_figures_on_a_page_share_no_id_and_miss_none() -> None:
    soup = bs4.BeautifulSoup(draw("one").markup + draw("two").markup, "html.parser")
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    used = re.findall(r"(?:url\(#|href=\"#)([\w.-]+)", str(soup))
    assert used
    assert set(used) <= set(ids)


def test_every_section_that_shows_something_draws_it(drawn: list[tuple[str, bs4.Tag]]) -> None:
    assert {name for name, _ in drawn} >= set(SECTIONS) - {"every_search"}


def test_every_figure_of_the_page_leaves_its_colours_to_the_page(drawn: list[tuple[str, bs4.Tag]]) -> None:
    for section, svg in ((section, svg) for section, tag in drawn for svg in tag.select("svg")):
        bare = re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", str(svg))
        # matplotlib's own black may stand only where nothing is painted in it.
        assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{3,6}", bare), section
        assert "DejaVu" not in bare
        assert "http" not in bare
        assert "<metadata" not in bare


def test_every_figure_says_in_words_what_it_shows(drawn: list[tuple[str, bs4.Tag]]) -> None:
    for section, tag in drawn:
        assert len(tag.select_one("svg desc").text) > 40, section
        assert tag.figcaption.text.strip()


def test_hostile_labels_do_not_break_a_figure() -> None:
    assert "alert(1)" in bs4.BeautifulSoup(render.where_it_starts(hostile()).markup, "html.parser").text
