"""The published page: one file, the same bytes every time, nothing in it that differs from run to run."""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import bs4
import nbformat
import pytest
from render_reports import HOSTILE, everything_differs, executed, hostile, sort_only

from reportlib.errors import RunError
from reportlib.render import publish
from reportlib.render.publish import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return executed(sort_only())


@pytest.fixture(scope="module")
def page(notebook: nbformat.NotebookNode) -> str:
    return draw(notebook)


@pytest.fixture(scope="module")
def soup(page: str) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(page, "html.parser")


def test_publishing_twice_gives_the_same_bytes(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    source = tmp_path / "compare.ipynb"
    nbformat.write(notebook, source)
    publish(source, tmp_path / "one" / "index.html")
    publish(source, tmp_path / "two" / "index.html")
    first = (tmp_path / "one" / "index.html").read_bytes()
    assert first == (tmp_path / "two" / "index.html").read_bytes()
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["index.html"]


def test_what_differs_from_run_to_run_is_left_out(notebook: nbformat.NotebookNode, page: str) -> None:
    again = copy.deepcopy(notebook)
    again.metadata.papermill = {"duration": 12.5, "input_path": "/home/someone/compare.ipynb"}
    again.cells.insert(
        2,
        nbformat.v4.new_code_cell("captures = '/home/someone/x.json'", metadata={"tags": ["injected-parameters"]}),
    )
    for number, cell in enumerate(again.cells):
        cell.id = f"other-{number}"
        cell.metadata.papermill = {"duration": number, "start_time": "2026-01-01T00:00:00"}
        if cell.cell_type == "code":
            cell.execution_count = 100 + number
            cell.outputs.append(nbformat.v4.new_output("stream", text="at /home/someone\n", name="stderr"))
    assert draw(again) == page


def test_the_notebook_that_is_published_is_left_as_it_is(notebook: nbformat.NotebookNode) -> None:
    before = copy.deepcopy(notebook)
    draw(notebook)
    assert notebook == before


def test_the_page_asks_no_other_host_for_anything(soup: bs4.BeautifulSoup) -> None:
    assert not soup.find_all(["script", "iframe", "object", "embed", "img", "base"])
    for tag in soup.find_all(True):
        for name in ("src", "srcset", "xlink:href", "poster", "action", "background"):
            assert not str(tag.get(name, "#")).startswith(("http", "//"))
        if tag.name not in {"a", "link"}:
            assert "href" not in tag.attrs or str(tag["href"]).startswith("#")
    assert [link["href"] for link in soup.find_all("link")] == ["data:,"]
    styles = "".join(style.text for style in soup.find_all("style"))
    assert not re.search(r"@import|url\((?!#)", styles)
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["content"]


def test_the_page_has_what_a_reader_and_a_search_engine_need(soup: bs4.BeautifulSoup) -> None:
    assert soup.html["lang"] == "en"
    assert soup.find("meta", attrs={"name": "viewport"})
    assert soup.title.text == f"PyTorch 2.0.1 → 2.1.0: {soup.h1.text}"
    assert "top 10" in soup.find("meta", attrs={"name": "description"})["content"]
    assert [len(soup.find_all(name)) for name in ("h1", "main", "nav", "footer")] == [1, 1, 1, 1]
    assert soup.select_one("a.skip")["href"] == "#main"


def test_the_contents_lead_to_every_section_and_only_there(soup: bs4.BeautifulSoup) -> None:
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    targets = [a["href"].removeprefix("#") for a in soup.select("nav a")]
    assert targets == [h["id"] for h in soup.select("main h2[id]") if h.find_parent("header") is None]
    assert all(a["href"][1:] in ids for a in soup.select("a[href^='#']"))


def test_headings_do_not_skip_a_level(soup: bs4.BeautifulSoup) -> None:
    levels = [int(h.name[1]) for h in soup.select("h1, h2, h3, h4")]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_code_is_folded_and_the_first_screen_is_not(soup: bs4.BeautifulSoup) -> None:
    code = soup.select("main .highlight")
    assert code
    assert all(block.find_parent("details", class_="method") for block in code)
    assert soup.select_one(".opening").find_parent("details") is None
    assert any(figure.find_parent("details") is None for figure in soup.select("figure"))


def test_the_page_begins_with_the_answers_and_ends_with_how_it_was_made(soup: bs4.BeautifulSoup) -> None:
    order = [tag.get("id") or tag.name for tag in soup.select("main > *, main h2")]
    text = soup.main.get_text()
    assert text.index("What changed?") < text.index("Background") < text.index("How this page is drawn")
    assert "main" not in order


def test_hostile_reports_stay_text() -> None:
    made = bs4.BeautifulSoup(draw(executed(hostile())), "html.parser")
    assert not made.find_all(["script", "img"])
    assert HOSTILE in made.text
    assert not [t for t in made.find_all(True) if any(a.startswith("on") for a in t.attrs)]


def test_the_page_of_the_worst_case_draws_too() -> None:
    assert "shape mismatch" in draw(executed(everything_differs()))


def test_a_notebook_that_failed_is_not_published(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    failed = copy.deepcopy(notebook)
    error = nbformat.v4.new_output("error", ename="StoreError", evalue="no capture", traceback=[])
    next(c for c in failed.cells if c.cell_type == "code").outputs = [error]
    nbformat.write(failed, tmp_path / "failed.ipynb")
    (tmp_path / "index.html").write_text("the old page")
    with pytest.raises(RunError, match="StoreError: no capture"):
        publish(tmp_path / "failed.ipynb", tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == "the old page"


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str | None) -> None:
    source = tmp_path / "x.ipynb"
    if content is not None:
        source.write_text(content)
    with pytest.raises(RunError, match=r"x\.ipynb"):
        publish(source, tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_a_notebook_that_was_not_executed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="draws no first screen"):
        publish(ROOT / "notebooks" / "compare.ipynb", tmp_path / "index.html")


def test_rendering_needs_no_torch() -> None:
    code = "import sys, reportlib.render; sys.exit('torch' in sys.modules or 'pickle5' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_wheel_ships_templates_and_fragments(tmp_path: Path) -> None:
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    builder = hatchling.WheelBuilder(str(ROOT))
    made = next(iter(builder.build(directory=str(tmp_path), versions=["standard"])))
    shipped = set(zipfile.ZipFile(made).namelist())
    for folder in ("fragments", "templates/report"):
        for file in (ROOT / "reportlib" / "render" / folder).iterdir():
            assert f"reportlib/render/{folder}/{file.name}" in shipped
