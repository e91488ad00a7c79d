"""The atlas: what its tables say, and that it is a page as the others are."""

from __future__ import annotations

import json
from pathlib import Path

import bs4
import pytest
from made_sweeps import LAYERS, NORM, PROBES, SORT, FakeStation
from pydantic import TypeAdapter
from render_reports import executed, searched

from reportlib.environments.spec import silent
from reportlib.render.atlas import draw
from reportlib.render.publish import draw as draw_page
from reportlib.render.site import entries, make_site
from reportlib.sweep.classes import Sweep, report
from reportlib.sweep.probes import sweep

ROOT = Path(__file__).parents[2]
VERSIONS = ["2.0.1", "2.1.0", "2.2.2", "2.8.0", "2.9.0"]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    steps = {NORM: ["2.2.0"], SORT: ["2.1.0"], LAYERS[1]: ["2.2.0"], LAYERS[3]: ["2.9.0"]}
    station = FakeStation(tmp_path_factory.mktemp("measured"), steps, {"2.8.0": "install"})
    made = report(sweep(VERSIONS, station, silent), PROBES)
    made["versions"][3]["why"] += HOSTILE
    return made


@pytest.fixture(scope="module")
def page(found: Sweep) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(draw(found), "html.parser")


def cells(table: bs4.Tag, name: str) -> list[tuple[str, int]]:
    (row,) = [row for row in table.select("tbody tr") if name in row.th.get_text(" ")]  # type: ignore[union-attr]
    return [(cell.get_text(), int(str(cell["colspan"]))) for cell in row.select("td")]


def test_neighbours_of_equal_bytes_are_one_cell(page: bs4.BeautifulSoup) -> None:
    first, second = page.select("table.atlas")
    assert [head.get_text() for head in first.select("thead tr:first-child th")][1:] == [
        "2.0.1",
        "2.1.0",
        "2.2.2",
        "2.9.0",
    ]
    assert cells(first, "native_layer_norm") == [("A", 2), ("B", 2)]
    assert cells(first, "sort") == [("A", 1), ("B", 3)]
    assert cells(first, "encoder") == [("A", 2), ("B", 2)]
    assert cells(second, "encoder") == [("A", 3), ("B", 1)]


def reached(page: bs4.BeautifulSoup) -> list[list[str]]:
    """What the first screen's table says of each upgrade in it."""
    rows = page.select(".opening .reach tbody tr")
    return [[cell.get_text().replace("\N{NO-BREAK SPACE}", " ") for cell in row.select("th, td")] for row in rows]


def test_the_first_screen_says_where_the_breaks_are(page: bs4.BeautifulSoup) -> None:
    assert [paragraph.get_text() for paragraph in page.select(".opening .lede p")] == [
        "float32: 2 of 2 operations change somewhere, the encoder’s bytes at 1 of 3 upgrades.",
        "bfloat16 autocast: 1 of 1 operations change somewhere, the encoder’s bytes at 1 of 3 upgrades.",
    ]
    assert reached(page) == [
        ["2.0.1 → 2.1.0", "sort", "–"],
        ["2.1.0 → 2.2.2", "encoder", "native_layer_norm"],
        ["2.2.2 → 2.9.0", "–", "encoder"],
    ]
    assert "2.8.0" in page.select_one(".opening .warning").get_text()  # type: ignore[union-attr]


def test_the_posts_stand_beside_what_is_measured_here(page: bs4.BeautifulSoup) -> None:
    table = next(t for t in page.select("table") if "posts" in t.select_one("caption").get_text())  # type: ignore[union-attr]
    rows = [[cell.get_text(" ", strip=True) for cell in row.select("td")] for row in table.select("tbody tr")]
    assert "0/10" in rows[0][0]
    assert "sort" in rows[0][1]
    assert rows[1][0] == "equal"
    assert rows[2][0] == "not in the posts"


def test_a_sweep_with_captures_says_what_a_break_does_to_an_index(tmp_path: Path) -> None:
    station = FakeStation(tmp_path, {NORM: ["2.2.0"], "index": ["2.2.0"]}, {"2.9.0": "capture"}, full=True)
    found = report(sweep(VERSIONS, station, silent), PROBES)
    page = bs4.BeautifulSoup(draw(found), "html.parser")
    first, second = page.select("table.atlas")
    assert "index and search" not in first.get_text()
    assert cells(second, "index and search") == [("A", 2), ("B", 3)]
    table = next(t for t in page.select("table") if "from the version before" in t.get_text())
    ((upgrade, *counts),) = [[cell.get_text() for cell in row.select("th, td")] for row in table.select("tbody tr")]
    assert upgrade == "2.1.0 → 2.2.2"
    assert counts[1] == "all 8"
    assert counts[4].endswith(" of 12") or counts[4].startswith("all ")
    assert reached(page) == [["2.1.0 → 2.2.2", "native_layer_norm", "search: all 6"]]
    assert "6 queries find in 40 passages changes at 1." in page.select_one(".opening").get_text()  # type: ignore[union-attr]


def test_codes_that_come_back_are_told_and_not_across_what_is_unknown(tmp_path: Path) -> None:
    steps = {NORM: ["2.1.0", "2.2.0"], "index": ["2.2.0"]}
    found = report(sweep(VERSIONS, FakeStation(tmp_path, steps, full=True), silent), PROBES)
    (row,) = [row for row in found["precisions"][1]["artifacts"] if row["name"] == "index/codes"]
    for classes, back in (([0, 1, 0, 0, 1], True), ([0, None, 0, 0, 0], False), ([0, None, 1, None, 1], False)):
        row["classes"] = classes
        text = bs4.BeautifulSoup(draw(found), "html.parser").get_text()
        assert ("2.2.2 gives back 2.0.1’s codes and 2.9.0 gives back 2.1.0’s codes" in text) is back
        assert ("gives back" in text) is back


def test_nothing_is_claimed_of_an_index_that_could_not_be_captured(tmp_path: Path) -> None:
    steps = {LAYERS[1]: ["2.2.0"], "index": ["2.2.0"]}
    failing = {"2.2.2": "capture", "2.8.0": "capture", "2.9.0": "capture"}
    found = report(sweep(VERSIONS, FakeStation(tmp_path, steps, failing, full=True), silent), PROBES)
    page = bs4.BeautifulSoup(draw(found), "html.parser")
    opening = page.select_one(".opening").get_text()  # type: ignore[union-attr]
    assert "search finds" not in opening
    assert "queries find" not in opening
    assert reached(page) == [["2.1.0 → 2.2.2", "encoder; index not known", "–"]]
    assert "Every other version but 2.2.2, 2.8.0 and 2.9.0" in page.get_text()


def test_it_has_no_script_and_asks_nobody_for_anything(page: bs4.BeautifulSoup) -> None:
    assert not page.select("script, link[href^='http'], img, iframe")
    assert "default-src 'none'" in str(page.select_one("meta[http-equiv='Content-Security-Policy']"))
    assert HOSTILE in page.get_text()
    assert page.select_one("footer a")["href"] == "sweep.json"  # type: ignore[index]


def test_the_site_lists_it(found: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "torch-sweep"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps(found))
    (folder / "index.html").write_text(draw(found))
    (entry,) = entries(tmp_path / "reports")
    make_site(tmp_path / "reports", tmp_path / "site", "https://example.org")
    index = bs4.BeautifulSoup((tmp_path / "site" / "index.html").read_text(), "html.parser")
    assert index.select_one("article h2 a")["href"] == "torch-sweep/"  # type: ignore[index]
    assert entry.versions == "PyTorch 2.0.1 → 2.9.0"
    assert (tmp_path / "site" / "torch-sweep" / "sweep.json").read_text() == json.dumps(found)
    assert (tmp_path / "site" / "torch-sweep" / "index.html").is_file()


def test_the_site_links_an_upgrade_in_a_sweep_and_the_study_that_explains_it(found: Sweep, tmp_path: Path) -> None:
    held = searched() | {"study": {**searched()["study"], "variables": {"ATEN_CPU_CAPABILITY": "avx2"}}}
    for name, data, content, page in (
        ("sweep", "sweep.json", found, draw(found)),
        ("study", "report.json", searched(), draw_page(executed(searched()))),
        ("held", "report.json", held, draw_page(executed(held))),
    ):
        folder = tmp_path / "reports" / name
        folder.mkdir(parents=True)
        (folder / data).write_text(json.dumps(content))
        (folder / "index.html").write_text(page)
    make_site(tmp_path / "reports", tmp_path / "site")
    told = {
        name: bs4.BeautifulSoup((tmp_path / "site" / name / "index.html").read_text(), "html.parser").select_one(
            "p.siblings"
        )
        for name in ("sweep", "study", "held")
    }
    assert "Explained: 2.0.1 → 2.1.0" in told["sweep"].get_text()  # type: ignore[union-attr]
    assert [a["href"] for a in told["sweep"].select("a")] == ["../", "../study/"]  # type: ignore[union-attr]
    assert "Among 4 versions: " in told["study"].get_text()  # type: ignore[union-attr]
    assert [a["href"] for a in told["held"].select("a")] == ["../", "../study/"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "folder", [p.parent for p in ROOT.glob("reports/*/sweep.json")], ids=lambda folder: folder.name
)
def test_a_published_atlas_follows_from_its_numbers(folder: Path) -> None:
    content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    TypeAdapter(Sweep).validate_python(content)
    assert draw(content) == (folder / "index.html").read_text(encoding="utf-8")


if __name__ == "__main__":
    for numbers in ROOT.glob("reports/*/sweep.json"):
        drawn = draw(json.loads(numbers.read_text(encoding="utf-8")))
        (numbers.parent / "index.html").write_text(drawn, encoding="utf-8", newline="\n")
