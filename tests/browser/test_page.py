"""The published page as a reader meets it: at three widths, light and dark, printed and without scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from render_reports import HOSTILE, WIDE, everything_differs, executed, hostile, inconclusive, searched, strange

from reportlib.cli import index_page
from reportlib.render.publish import draw

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
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
MADE = {
    "everything-differs": everything_differs,
    "inconclusive": inconclusive,
    "searched": searched,
    "strange": strange,
    "hostile": hostile,
}
PUBLISHED = {path.parent.name: path for path in sorted(ROOT.glob("reports/*/index.html"))}
#: A sweep's page has another first screen.
REPORTS = [name for name, path in PUBLISHED.items() if (path.parent / "report.json").is_file()]
DEFAULT = "torch-2.0.1-vs-2.1.0"
PHONE, TABLET, DESKTOP = ({"width": w, "height": h} for w, h in ((390, 844), (820, 1180), (1440, 900)))
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true)"
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
    for name, make in MADE.items():
        (folder / f"{name}.html").write_text(draw(executed(make())), encoding="utf-8")
    made = {name: (folder / f"{name}.html").as_uri() for name in MADE}
    return made | {name: path.as_uri() for name, path in PUBLISHED.items()}


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


every_page = pytest.mark.parametrize("name", [*MADE, *PUBLISHED])
every_published = pytest.mark.parametrize("name", list(PUBLISHED))


@every_page
def test_it_asks_for_itself_only_and_has_nothing_to_complain_of(visit: Any, pages: Any, name: str) -> None:
    page = visit(name, DESKTOP)
    page.evaluate(OPEN)
    page.wait_for_timeout(100)
    assert page.heard == []
    assert [url for url in page.asked if not url.startswith("data:")] == [pages[name]]


@every_page
def test_the_page_is_never_wider_than_the_screen(visit: Any, name: str) -> None:
    page = visit(name, DESKTOP)
    for opened in (False, True):
        if opened:
            page.evaluate(OPEN)
        for width in (320, 390, 700, 820, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("number", range(len(WIDE)))
def test_no_text_of_a_strangers_widens_the_page(visit: Any, number: int) -> None:
    page = visit("hostile", DESKTOP)
    page.evaluate(OPEN)
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
    path.write_text(index_page.page(found, [], WIDE[2], warnings), encoding="utf-8")
    page = browser.new_page(viewport=PHONE)
    page.goto(path.as_uri())
    for width in (320, 390, 820, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, TABLET, DESKTOP], ids=["phone", "tablet", "desktop"])
def test_axe_finds_nothing(visit: Any, viewport: dict[str, int], scheme: str) -> None:
    # The default page whole, with every fold open; of the others what a reader sees first.
    names = [DEFAULT, *(n for n in (*PUBLISHED, "everything-differs", "inconclusive") if n != DEFAULT)]
    for name in names if viewport is PHONE else names[:1]:
        page = visit(name, viewport, color_scheme=scheme)
        if name == DEFAULT:
            page.evaluate(OPEN)
        results = Axe().run(page)
        told = [
            (v["id"], v["nodes"][0]["html"][:120], v["nodes"][0].get("failureSummary", "")[:200])
            for v in results.response["violations"]
        ]
        assert told == [], name


def test_dark_is_dark(visit: Any) -> None:
    colours = [
        visit(DEFAULT, DESKTOP, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert colours[0] != colours[1]
    assert sum(map(int, colours[1][4:-1].split(", "))) < 120


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_and_its_figure_are_on_a_phones_first_screen(visit: Any, name: str) -> None:
    page = visit(name, PHONE)
    assert page.locator("h1").bounding_box()["y"] < 120
    assert page.locator("#answer-what").bounding_box()["y"] < PHONE["height"]
    figure = page.locator(".steps-figure").bounding_box()
    assert figure["y"] + figure["height"] < PHONE["height"]
    desktop = visit(name, DESKTOP)
    last = desktop.locator(".caveat").bounding_box()
    assert last["y"] + last["height"] < DESKTOP["height"]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in REPORTS])
def test_a_sweeps_breaks_are_on_a_phones_first_screen_and_its_table_on_a_desktops(visit: Any, name: str) -> None:
    page = visit(name, PHONE)
    lede = page.locator(".opening .lede").bounding_box()
    assert lede["y"] + lede["height"] < PHONE["height"]
    desktop = visit(name, DESKTOP)
    assert desktop.locator("table.atlas").first.bounding_box()["y"] < DESKTOP["height"]


@every_published
def test_a_page_is_read_in_minutes_and_weighs_little(visit: Any, name: str) -> None:
    page = visit(name, DESKTOP)
    words = len(page.locator("main").inner_text().split())
    tables = page.locator("main table").evaluate_all(
        "all => all.filter(t => t.checkVisibility()).map(t => t.innerText)"
    )
    assert words - len(" ".join(tables).split()) <= 2000
    assert len(tables) <= 8
    assert PUBLISHED[name].stat().st_size <= 1_000_000


def test_the_switch_shows_one_precision_and_needs_no_script(visit: Any) -> None:
    page = visit("searched", DESKTOP, java_script_enabled=False)
    shown, hidden = (page.locator(f".part[data-part={name}]").first for name in ("autocast", "float32"))
    assert shown.is_visible()
    assert not hidden.is_visible()
    page.locator("#show-float32").check()
    assert hidden.is_visible()
    assert not shown.is_visible()
    page.locator("#show-float32").focus()
    page.keyboard.press("ArrowUp")
    assert shown.is_visible()


def test_it_reads_without_javascript(visit: Any) -> None:
    page = visit(DEFAULT, DESKTOP, java_script_enabled=False)
    told = page.locator("main").inner_text()
    for heading in ("What changed", "Why", "Does it matter?", "The sort", "Can you trust this?"):
        assert heading in told
    assert page.locator("figure svg.wide").first.is_visible()
    fold = page.locator("details.method").first
    fold.locator("summary").first.click()
    assert fold.locator("p").first.is_visible()


def test_a_link_into_a_fold_opens_it(visit: Any) -> None:
    page = visit(DEFAULT, DESKTOP)
    fold = page.locator("details.method").nth(4)
    name = fold.locator("> div").get_attribute("id")
    page.evaluate("name => { location.hash = name }", name)
    page.locator(f"[id='{name}']").wait_for(state="visible")
    assert fold.evaluate("d => d.open")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_each_figure_is_shown_once_described_and_readable(visit: Any, viewport: dict[str, int]) -> None:
    page = visit(DEFAULT, viewport)
    page.evaluate(OPEN)
    figures = [figure for figure in page.locator("figure").all() if figure.is_visible()]
    assert len(figures) >= 5
    for figure in figures:
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


def test_a_phone_shows_each_row_as_a_card_with_its_labels(visit: Any) -> None:
    page = visit("everything-differs", PHONE)
    cell = page.locator("td[data-label='Result']").first
    assert cell.evaluate("c => getComputedStyle(c, '::before').content") == '"Result"'
    assert cell.evaluate("c => getComputedStyle(c).display") == "flex"
    assert page.get_by_role("table").count() >= 3


def test_what_scrolls_is_reached_by_the_keyboard(visit: Any) -> None:
    page = visit(DEFAULT, PHONE)
    page.evaluate(OPEN)
    stuck = page.evaluate("""() => [...document.querySelectorAll('body *')].filter(e =>
      e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && e.clientWidth
      && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0)
      .map(e => e.outerHTML.slice(0, 80))""")
    assert stuck == []
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_strangers_text_runs_nothing(visit: Any) -> None:
    page = visit("hostile", DESKTOP)
    page.evaluate(OPEN)
    page.wait_for_timeout(200)
    assert page.heard == []
    assert page.locator("script, img").count() == 0


def test_in_print_it_is_a_few_pages_with_every_column(visit: Any, tmp_path: Path) -> None:
    page = visit(DEFAULT, DESKTOP)
    page.pdf(
        path=str(tmp_path / "page.pdf"), format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
    )
    content = (tmp_path / "page.pdf").read_bytes()
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", content)) <= 15
    page.emulate_media(media="print")
    # An A4 page of 180 mm at 96 dots an inch.
    page.set_viewport_size({"width": 680, "height": 1000})
    cut = page.evaluate("""() => [...document.querySelectorAll('main table, main pre, main svg')].filter(e =>
      e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))""")
    assert cut == []
    assert not page.locator("nav.contents").is_visible()
    assert not page.locator(".switch").is_visible()


def test_links_to_reproductions_stay_beside_the_page(visit: Any, pages: Any) -> None:
    page = visit(DEFAULT, DESKTOP)
    beside = pages[DEFAULT].rpartition("/")[0] + "/reproductions/"
    links = [link.evaluate("a => a.href") for link in page.locator("section.cause a[href^='reproductions/']").all()]
    assert links
    assert all(link.startswith(beside) for link in links)
    assert all((ROOT / "reports" / DEFAULT / link.partition("/" + DEFAULT + "/")[2]).is_dir() for link in links)
    assert visit("hostile", DESKTOP).locator("section.cause a[href*='etc']").count() == 0


def test_inconclusive_stands_where_a_reader_looks(visit: Any) -> None:
    page = visit("inconclusive", PHONE)
    assert "control failed" in page.locator("h1").inner_text()
    assert page.locator("p.warning:visible").count() >= 3


def test_passages_that_went_and_came_stand_side_by_side_or_below_each_other(visit: Any) -> None:
    boxes = {}
    for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        card = visit("searched", viewport).locator("article.query:visible").first
        boxes[name] = [card.locator(f".{side}").bounding_box() for side in ("went", "came")]
    went, came = boxes["desktop"]
    assert went["y"] == came["y"]
    assert came["x"] >= went["x"] + went["width"]
    went, came = boxes["phone"]
    assert went["x"] == came["x"]
    assert came["y"] >= went["y"] + went["height"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_strangers_text_stays_within_its_card_and_turns_nothing_else(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("strange", viewport)
    page.evaluate(OPEN)
    outside = page.evaluate("""() => [...document.querySelectorAll('article.query')].flatMap(card => {
      const room = card.getBoundingClientRect();
      return [...card.querySelectorAll('p, li, code')].filter(e => e.checkVisibility()).map(e => {
        const range = document.createRange(); range.selectNodeContents(e);
        return range.getBoundingClientRect();
      }).filter(r => r.width && (r.left < room.left - 1 || r.right > room.right + 1)).map(r => [r.left, r.right]);
    })""")
    assert outside == []
    arabic = page.locator(".query-text:visible", has_text="numpy.where").first
    assert arabic.evaluate("p => getComputedStyle(p).direction") == "rtl"
    facts = page.locator("article.query", has=arabic).locator(".query-facts").first
    assert facts.evaluate("p => getComputedStyle(p).direction") == "ltr"
