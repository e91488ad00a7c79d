"""The site of all reports: every verdict with a link, siblings, a feed, posts, and no stranger's text that runs."""

from __future__ import annotations

import copy
import json
import re
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import bs4
import pytest
import yaml
from render_reports import HOSTILE, executed, hostile, searched, sort_only

from reportlib.errors import RunError
from reportlib.findings import headline, outcomes
from reportlib.render.publish import draw
from reportlib.render.site import ATOM, POSTS, entries, make_site

#: What Liquid, Quarto and Markdown would take for their own.
ENGINES = "CPU {{ site.secret }} {% include x %} {{< include x >}} {{{ ``` `r 1`"


def publish(folder: Path, slug: str, report: dict[str, Any]) -> None:
    (folder / slug).mkdir(parents=True)
    (folder / slug / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / slug / "index.html").write_text(draw(executed(report)), encoding="utf-8")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    publish(folder, "upgrade", searched())
    held = copy.deepcopy(sort_only())
    held["study"]["variables"] = {"ATEN_CPU_CAPABILITY": "avx2"}
    publish(folder, "upgrade-avx2", held)
    other = copy.deepcopy(hostile())
    other["environments"][1]["torch"]["version"] = "2.2.2<b>[`"
    other["platform"]["cpu"] = f"{HOSTILE} {ENGINES}"
    publish(folder, "other & more", other)
    for link in soup(folder / "upgrade" / "index.html").select("a[href^='reproductions/']"):
        (folder / "upgrade" / str(link["href"])).mkdir(parents=True)
    (folder / "upgrade" / "reproductions" / "x <y>").mkdir(parents=True)
    (folder / "upgrade" / "reproductions" / "x <y>" / "README.md").write_text(HOSTILE)
    (folder / "unpublished").mkdir()
    return folder


@pytest.fixture(scope="module")
def site(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    make_site(reports, folder, "https://example.org/r/", "quarto")
    return folder


def soup(path: Path) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_the_index_has_every_report_with_its_verdict_and_a_link(site: Path) -> None:
    links = soup(site / "index.html").select("article h2 a")
    assert len(links) == 3
    assert headline(outcomes(searched())) in [link.text for link in links]
    for link in links:
        assert (site / unquote(str(link["href"])) / "index.html").is_file()


def test_every_link_leads_somewhere_within_the_site(site: Path) -> None:
    for page in site.rglob("index.html"):
        for link in soup(page).select("a[href]"):
            target = str(link["href"])
            if not target.startswith(("#", "https://")):
                file = page.parent / unquote(target)
                # Few servers list a folder.
                file = file / "index.html" if target.endswith("/") else file
                assert file.resolve().is_relative_to(site.resolve())
                assert file.is_file(), target


def test_siblings_are_reports_of_the_same_versions(site: Path) -> None:
    told = soup(site / "upgrade" / "index.html").select_one("p.siblings")
    assert [str(a["href"]) for a in told.select("a")] == ["../", "../upgrade-avx2/"]
    assert "ATEN_CPU_CAPABILITY=avx2" in told.text
    assert sort_only()["platform"]["cpu"] not in told.text
    assert len(soup(site / "other & more" / "index.html").select("p.siblings a")) == 1


def test_what_was_published_is_left_as_it_is(site: Path, reports: Path) -> None:
    assert (site / "upgrade" / "report.json").read_bytes() == (reports / "upgrade" / "report.json").read_bytes()
    assert not soup(reports / "upgrade" / "index.html").select("p.siblings")


def test_a_reproduction_gets_a_page_that_lists_it(site: Path) -> None:
    listed = soup(site / "upgrade" / "reproductions" / "x <y>" / "index.html")
    assert [str(a["href"]) for a in listed.select("li a")] == ["README.md"]
    assert listed.select_one("pre").text == HOSTILE


def test_the_feed_has_what_atom_asks_for(site: Path) -> None:
    feed = ET.parse(site / "feed.xml").getroot()  # noqa: S314 our own
    assert feed.tag == f"{{{ATOM}}}feed"
    names = {"title", "id", "updated"}
    assert names | {"author", "link", "entry"} <= {child.tag.rpartition("}")[2] for child in feed}
    for entry in feed.findall(f"{{{ATOM}}}entry"):
        assert names | {"link", "summary"} <= {child.tag.rpartition("}")[2] for child in entry}
        address = entry.findtext(f"{{{ATOM}}}id")
        assert address is not None
        assert (site / unquote(address.removeprefix("https://example.org/r/")) / "index.html").is_file()


def test_the_same_reports_give_the_same_bytes(reports: Path, site: Path, tmp_path: Path) -> None:
    make_site(reports, tmp_path / "again", "https://example.org/r/", "quarto")
    files = sorted(p.relative_to(site) for p in site.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((site / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)


@pytest.fixture(scope="module", params=sorted(POSTS))
def posts(request: pytest.FixtureRequest, reports: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp(request.param) / "site"
    made = make_site(reports, folder, front_matter=request.param)
    assert not (folder / "feed.xml").exists()
    found = sorted([*folder.glob("_posts/*.html"), *folder.glob("*/post.qmd")])
    assert len(found) == len(made)
    return found


def test_a_post_has_front_matter_that_yaml_reads(posts: list[Path], reports: Path) -> None:
    dates = {entry.date.date() for entry in entries(reports)}
    for post in posts:
        _, front, _ = post.read_text(encoding="utf-8").split("---\n", 2)
        read = yaml.safe_load(front)
        assert read["date"] in dates
        assert read["title"].startswith("PyTorch ")
        assert read["description"]
        # A layout takes them for HTML, Quarto for Markdown.
        assert not set("<[`") & set(read["title"] + read["description"])


def test_a_post_holds_the_page_and_its_engine_takes_none_of_it_for_its_own(posts: list[Path], site: Path) -> None:
    for post in posts:
        slug = post.parent.name if post.suffix == ".qmd" else post.stem[len("2026-11-26-") :]
        body = post.read_text(encoding="utf-8").split("---\n", 2)[2]
        if post.suffix == ".qmd":
            opened, body, closed = body.split("```")
            assert (opened.strip(), closed.strip()) == ("", "")
            body = body.removeprefix("{=html}\n")
        assert "`" not in body
        assert not re.search(r"\{[{%]", body)
        drawn, page = bs4.BeautifulSoup(body, "html.parser"), soup(site / slug / "index.html")
        assert (ENGINES in drawn.text) == (slug == "other & more")
        assert not drawn.select("h1, main, body, script, iframe, img")
        assert [h.text for h in drawn.select("h2")] == [h.text for h in page.select("h2")]
        assert {str(a["href"]) for a in drawn.select("a")} == {
            str(a["href"]) for a in page.select("main a, footer a")
        } - {"../"}


def test_a_posts_style_is_for_its_own_content(posts: list[Path]) -> None:
    style = str(
        bs4.BeautifulSoup(posts[0].read_text(encoding="utf-8"), "html.parser").select("style")[0].string
    ).strip()
    assert style.startswith(".reportlib {")
    depths = list(accumulate({"{": 1, "}": -1}.get(sign, 0) for sign in style))
    assert depths.index(0, len(".reportlib {")) == len(style) - 1
    assert not re.search(r"(^|[\s,{}])(:root|html|body|main)\b(?=[^{};]*\{)", style)


def test_a_strangers_text_runs_nothing(site: Path) -> None:
    for page in site.rglob("index.html"):
        assert not soup(page).find_all(["script", "img"])
    assert HOSTILE in soup(site / "index.html").text


def test_a_site_is_replaced_and_any_other_folder_refused(reports: Path, tmp_path: Path) -> None:
    make_site(reports, tmp_path / "site")
    (tmp_path / "site" / "old.html").write_text("old")
    make_site(reports, tmp_path / "site")
    assert not (tmp_path / "site" / "old.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is no site"):
        make_site(reports, tmp_path / "mine")
    with pytest.raises(RunError, match="is no site"):
        make_site(reports, tmp_path / "mine" / "thesis.tex")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_without_a_report_or_with_a_broken_one_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no published report"):
        entries(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "index.html").write_text("")
    (tmp_path / "x" / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report\.json is no report"):
        make_site(tmp_path, tmp_path / "site")
    with pytest.raises(RunError, match="front matter"):
        make_site(Path("reports"), tmp_path / "site", front_matter="wordpress")
