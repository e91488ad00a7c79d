"""The published page as a reader meets it: in a browser, on a desktop and on a phone, light and dark."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from render_reports import (
    HOSTILE,
    WIDE,
    everything_differs,
    executed,
    explained,
    hostile,
    inconclusive,
    searched,
    sort_only,
    strange,
)

from reportlib.cli import compare
from reportlib.render.publish import draw

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REPORTS = {
    "sort-only": sort_only,
    "everything-differs": everything_differs,
    "explained": explained,
    "inconclusive": inconclusive,
    "hostile": hostile,
    "searched": searched,
    "strange": strange,
}

#: For every element with text of its own: its colour against the first opaque background behind it (WCAG 2.1).
CONTRAST = """() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('.skip, .anchor-link, title, desc')) continue;
    const style = getComputedStyle(element);
    const ink = numbers(element.closest('svg') ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    // A sign on a tile stands on the tile, not on the page.
    if (ratio < 4.5 && !element.closest('svg')) poor.push([ratio, element.className, element.textContent.slice(0, 40)]);
    if (ratio < 4.5 && element.closest('svg') && element.textContent.length > 1)
      poor.push([ratio, 'svg', element.textContent.slice(0, 40)]);
  }
  return poor;
}"""
#: Figures' lines and marks against the page: 3:1 is asked of them.
MARKS = """() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const probe = document.body.appendChild(document.createElement('i'));
  const page = luminance(getComputedStyle(document.body).backgroundColor);
  const found = {};
  for (const name of ['blue', 'vermillion', 'green', 'purple', 'orange', 'sky', 'muted', 'ink']) {
    probe.style.color = `var(--${name})`;
    const pair = [luminance(getComputedStyle(probe).color), page].sort((a, b) => b - a);
    found[name] = (pair[0] + 0.05) / (pair[1] + 0.05);
  }
  return found;
}"""


#: Every text on the page that holds a certain one, with another in its place, as the style sheet alone has to bear it.
REPLACE = """([old, text]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode())
    if (walker.currentNode.data.includes(old)) {
      walker.currentNode.data = walker.currentNode.data.replaceAll(old, text);
      count += 1;
    }
  return count;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(draw(executed(make())), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in REPORTS}


@pytest.fixture
def visit(browser: Any, pages: dict[str, str]) -> Iterator[Any]:
    contexts = []

    def _visit(name: str, viewport: dict[str, int], **settings: Any) -> Any:
        context = browser.new_context(viewport=viewport, **settings)
        contexts.append(context)
        page = context.new_page()
        page.heard, page.asked = [], []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: (page.heard.append("a dialog"), dialog.dismiss()))
        page.goto(pages[name])
        return page

    yield _visit
    for context in contexts:
        context.close()


every_report = pytest.mark.parametrize("name", list(REPORTS))
every_size = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
every_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])


@every_report
def test_it_asks_for_itself_only_and_has_nothing_to_complain_of(visit: Any, pages: Any, name: str) -> None:
    page = visit(name, DESKTOP)
    page.wait_for_timeout(200)
    assert page.heard == []
    assert [url for url in page.asked if not url.startswith("data:")] == [pages[name]]


@every_size
@pytest.mark.parametrize("name", ["sort-only", "everything-differs", "explained", "inconclusive"])
def test_the_first_screen_holds_the_three_answers_and_the_platform(
    visit: Any, name: str, viewport: dict[str, int]
) -> None:
    page = visit(name, viewport)
    for selector in ("h1", ".answer:nth-child(1)", ".answer:nth-child(2)", ".answer:nth-child(3)", ".platform"):
        box = page.locator(selector).first.bounding_box()
        assert box["y"] >= 0, selector
        assert box["y"] + box["height"] <= viewport["height"], selector
    assert "AVX2" in page.locator(".platform").inner_text()


@every_report
@pytest.mark.parametrize("width", [320, 390, 700, 820, 1280, 1440])
def test_the_page_is_never_wider_than_the_screen(visit: Any, name: str, width: int) -> None:
    page = visit(name, {"width": width, "height": 800})
    for details in page.locator("details").all():
        details.evaluate("d => d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("number", range(len(WIDE)))
def test_no_text_of_a_strangers_widens_the_page(visit: Any, number: int) -> None:
    page = visit("hostile", DESKTOP)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    replaced = page.evaluate(REPLACE, [HOSTILE, WIDE[number]])
    assert replaced > 40
    for width in (320, 390, 820, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("scrollTo(10000, 0)")
        assert page.evaluate("[document.documentElement.scrollWidth, scrollX]") == [width, 0]


def test_the_page_of_two_indexes_is_never_wider_than_the_screen(browser: Any, tmp_path: Path) -> None:
    warnings = [*WIDE, "a/" * 300]
    found: dict[str, Any] = {"artifacts": [], "settings": [], "renumbering": {"text": WIDE[1]}}
    for side in ("a", "b"):
        found[side] = dict.fromkeys(("chunks", "passages", "embeddings", "centroids", "dim", "nbits", "devices"))
        found[side] |= {"path": "/" + WIDE[0] + WIDE[2], "ivf_file": WIDE[3]}
    path = tmp_path / "page.html"
    path.write_text(compare.page(found, [], WIDE[2], warnings), encoding="utf-8")
    page = browser.new_page(viewport=PHONE)
    page.goto(path.as_uri())
    for width in (320, 390, 820, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


@every_scheme
@pytest.mark.parametrize("name", ["sort-only", "everything-differs", "explained", "inconclusive", "searched"])
def test_text_stands_out_from_what_is_behind_it(visit: Any, name: str, scheme: str) -> None:
    page = visit(name, DESKTOP, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate(CONTRAST) == []
    assert {k: v for k, v in page.evaluate(MARKS).items() if v < 3} == {}


def test_dark_is_dark(visit: Any) -> None:
    colours = [
        visit("sort-only", DESKTOP, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert colours[0] != colours[1]
    assert sum(map(int, colours[1][4:-1].split(", "))) < 120


@every_size
def test_each_figure_is_shown_once_described_and_readable(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("searched", viewport)
    figures = page.locator("figure")
    assert figures.count() >= 10
    for figure in figures.all():
        shown = [svg for svg in figure.locator("svg").all() if svg.is_visible()]
        assert len(shown) == 1
        named = shown[0].get_attribute("aria-labelledby").split()
        assert all(page.locator(f"[id='{name}']").text_content().strip() for name in named)
        smallest = shown[0].evaluate(
            "s => Math.min(...[...s.querySelectorAll('text')].filter(t => t.textContent.length > 1)"
            ".map(t => parseFloat(getComputedStyle(t).fontSize)))"
            " * s.getBoundingClientRect().width / s.viewBox.baseVal.width"
        )
        assert smallest >= 9.5


def test_figures_have_a_name_for_assistive_technology(visit: Any) -> None:
    page = visit("sort-only", DESKTOP)
    images = page.get_by_role("img")
    assert images.count() == page.locator("figure").count()
    assert page.get_by_role("img", name="Verdict of every capture point, in pipeline order").count() == 1


@every_size
def test_folds_open_and_close_with_the_keyboard_too(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("everything-differs", viewport)
    fold = page.locator("details.fold").first
    inner = fold.locator("table, ul").first
    assert not inner.is_visible()
    fold.locator("summary").first.click()
    assert inner.is_visible()
    fold.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert not inner.is_visible()
    code = page.locator("details.code").first
    assert not code.locator("pre").is_visible()
    code.locator("summary").click()
    assert code.locator("pre").is_visible()


def test_a_phone_shows_each_row_as_a_card_with_its_labels(visit: Any) -> None:
    page = visit("everything-differs", PHONE)
    cell = page.locator("td[data-label='Verdict']").first
    assert cell.evaluate("c => getComputedStyle(c, '::before').content") == '"Verdict"'
    assert cell.evaluate("c => getComputedStyle(c).display") == "flex"
    assert page.get_by_role("table").count() >= 8
    assert page.get_by_role("cell").count() > 100


def test_the_skip_link_and_the_contents_lead_where_they_say(visit: Any) -> None:
    page = visit("sort-only", DESKTOP)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for link in page.locator("nav a").all():
        target = link.get_attribute("href").removeprefix("#")
        assert page.locator(f"[id='{target}']").count() == 1


def test_it_reads_without_javascript(visit: Any) -> None:
    page = visit("everything-differs", DESKTOP, java_script_enabled=False)
    said = page.locator("main").inner_text()
    for words in ("What changed?", "Final artifacts", "The sort order of the codes", "sort_indices"):
        assert words in said
    assert page.locator("figure svg.wide").first.is_visible()


def test_strangers_text_runs_nothing(visit: Any) -> None:
    page = visit("hostile", DESKTOP)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(200)
    assert page.heard == []
    assert page.locator("script, img").count() == 0
    assert "<script>alert(1)</script>" in page.locator("h1").inner_text()


def test_print_shows_the_evidence_and_leaves_out_the_code(visit: Any) -> None:
    page = visit("sort-only", DESKTOP)
    page.emulate_media(media="print")
    assert not page.locator("details.code").first.is_visible()
    assert not page.locator("nav.contents").is_visible()
    assert page.locator("h1").is_visible()


def test_a_link_in_the_table_of_causes_leads_to_the_card(visit: Any) -> None:
    page = visit("explained", DESKTOP)
    for link in page.locator("td a[href^='#cause-'], th a[href^='#cause-']").all():
        assert page.locator(f"[id='{link.get_attribute('href').removeprefix('#')}']").count() == 1
    assert page.locator("section.cause").count() == 4


def test_links_to_reproductions_stay_beside_the_page(visit: Any, pages: Any) -> None:
    page = visit("explained", DESKTOP)
    beside = pages["explained"].rpartition("/")[0] + "/reproductions/"
    links = [link.evaluate("a => a.href") for link in page.locator("section.cause a[href^='reproductions/']").all()]
    assert links
    assert all(link.startswith(beside) for link in links)
    assert visit("hostile", DESKTOP).locator("section.cause a[href*='etc']").count() == 0


@every_size
def test_the_cards_of_the_causes_fit_and_their_folds_open(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("explained", viewport)
    first = page.locator("section.cause").first
    assert first.bounding_box()["width"] <= viewport["width"]
    fold = page.locator("details.fold", has=page.locator("summary", has_text="Switches")).first
    fold.locator("summary").click()
    assert fold.get_by_role("table").is_visible()
    command = page.locator("pre.commands").first
    command.focus()
    assert command.evaluate("p => document.activeElement === p")


def test_inconclusive_stands_where_a_reader_looks(visit: Any) -> None:
    page = visit("inconclusive", PHONE)
    said = page.locator(".answer").nth(1)
    assert "inconclusive" in said.inner_text()
    assert page.locator("p.warning").count() >= 5


def test_headings_never_skip_a_level(visit: Any) -> None:
    page = visit("searched", DESKTOP)
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_passages_that_went_and_came_stand_side_by_side_or_below_each_other(visit: Any) -> None:
    boxes = {}
    for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        card = visit("searched", viewport).locator("article.query").first
        boxes[name] = [card.locator(f".{side}").bounding_box() for side in ("went", "came")]
    went, came = boxes["desktop"]
    assert went["y"] == came["y"]
    assert came["x"] >= went["x"] + went["width"]
    went, came = boxes["phone"]
    assert went["x"] == came["x"]
    assert came["y"] >= went["y"] + went["height"]


@every_size
def test_a_strangers_text_stays_within_its_card(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("strange", viewport)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    outside = page.evaluate("""() => [...document.querySelectorAll('article.query')].flatMap(card => {
      const room = card.getBoundingClientRect();
      return [...card.querySelectorAll('p, li, code')].filter(e => e.checkVisibility()).map(e => {
        const range = document.createRange(); range.selectNodeContents(e);
        return range.getBoundingClientRect();
      }).filter(r => r.width && (r.left < room.left - 1 || r.right > room.right + 1)).map(r => [r.left, r.right]);
    })""")
    assert outside == []
    assert page.locator("article.query").count() == 16


def test_text_that_runs_from_right_to_left_starts_at_the_right_and_turns_nothing_else(visit: Any) -> None:
    page = visit("strange", DESKTOP)
    arabic = page.locator(".query-text", has_text="numpy.where").first
    assert arabic.evaluate("p => getComputedStyle(p).direction") == "rtl"
    facts = page.locator("article.query", has=arabic).locator(".query-facts").first
    assert facts.evaluate("p => getComputedStyle(p).direction") == "ltr"
    assert page.locator(".fact").first.evaluate("f => getComputedStyle(f).unicodeBidi") == "isolate"


def test_the_other_queries_that_changed_are_a_click_away(visit: Any) -> None:
    page = visit("searched", PHONE)
    last = page.locator("article.query").last
    assert not last.is_visible()
    page.locator("summary", has_text="17 more queries").click()
    assert last.is_visible()
