"""Tables, headings and links: right for a reader, and harmless whatever a stranger wrote into them."""

from __future__ import annotations

import bs4
import pytest
from markupsafe import Markup
from render_reports import HOSTILE

from reportlib.render.html import (
    SIGNS,
    Column,
    Html,
    Row,
    anchor,
    answer,
    badge,
    dense,
    fold,
    fragment,
    join,
    let_break,
    link,
    prose,
    table,
)

COLUMNS = (Column("Artifact"), Column("Values that differ", numeric=True))


def soup(piece: Html | Markup) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(piece.__html__(), "html.parser")


def test_a_table_labels_every_cell_for_a_phone_and_keeps_its_roles() -> None:
    drawn = soup(table("What differs", COLUMNS, [Row(("codes", "3 of 96"))]))
    assert drawn.caption is not None
    assert drawn.caption.text == "What differs"
    assert [th.text for th in drawn.select("thead th[scope=col]")] == [c.title for c in COLUMNS]
    assert drawn.select_one("tbody th[scope=row][role=rowheader]").text == "codes"
    cell = drawn.select_one("tbody td[role=cell]")
    assert cell["data-label"] == "Values that differ"
    assert "number" in cell["class"]


def test_failing_rows_stay_open_and_passing_ones_fold() -> None:
    rows = [Row(("a", "0"), passing=True), Row(("b", "3")), Row(("c", "0"), passing=True)]
    drawn = soup(table("t", COLUMNS, rows, fold_passing="more are identical"))
    open_rows = [th.text for th in drawn.select("tbody th") if th.find_parent("details") is None]
    assert open_rows == ["b"]
    assert drawn.summary is not None
    assert drawn.summary.text == "t: 2 more are identical"
    assert [th.text for th in drawn.select("details tbody th")] == ["a", "c"]
    assert drawn.details is not None
    assert not drawn.details.has_attr("open")


def test_a_note_spans_its_row() -> None:
    drawn = soup(table("t", COLUMNS, [Row(("codes", "3"), "Because.")]))
    assert drawn.select_one("tr.note-row td[colspan='2']").text == "Because."


def test_an_empty_table_is_nothing() -> None:
    assert dense("t", COLUMNS, []).markup == ""
    assert table("t", COLUMNS, []).markup == ""


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        table("t", COLUMNS, [Row(("codes",))])


def test_text_is_escaped_wherever_it_can_stand() -> None:
    pieces = [
        table(HOSTILE, (Column(HOSTILE), Column(HOSTILE)), [Row((HOSTILE, HOSTILE), HOSTILE)]),
        fold(HOSTILE, fragment("paragraph", text=HOSTILE)),
        fragment("sentences", sentences=[HOSTILE, f"`{HOSTILE}`"]),
        badge(HOSTILE),
        join([HOSTILE]),
        Html(prose(HOSTILE)),
        Html(link("https://example.org", HOSTILE)),
    ]
    for piece in pieces:
        drawn = soup(piece)
        assert not drawn.find_all(["script", "img"]), piece.markup
        assert "<script>alert(1)" in drawn.text
        assert not [t for t in drawn.find_all(True) if any(a.startswith("on") for a in t.attrs)]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", 'https://x"onclick="y', "//host", "https://a b", ""]
)
def test_a_link_goes_to_plain_web_addresses_only(url: str) -> None:
    assert link(url, "text") == "text"
    assert link("https://example.org/a?b=1&c=2", "t").startswith('<a href="https://example.org/a?b=1&amp;c=2"')


@pytest.mark.parametrize(
    ("text", "slug"),
    [("Final artifacts", "final-artifacts"), ("é “a”/B", "e-a-b"), ("???", "section"), (HOSTILE, None)],
)
def test_anchors_are_safe_in_attributes_and_addresses(text: str, slug: str | None) -> None:
    made = anchor(text)
    assert slug in {made, None}
    assert made.replace("-", "").isalnum()


def test_prose_sets_names_as_code_and_leaves_a_stray_backtick() -> None:
    assert prose("`codes` and `ivf` differ") == "<code>codes</code> and <code>ivf</code> differ"
    assert prose("a ` b") == "a ` b"


def test_every_verdict_has_its_own_sign_beside_its_word() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS)
    for verdict, sign in SIGNS.items():
        drawn = soup(badge(verdict))
        assert sign in drawn.text
        assert verdict in drawn.text


def test_an_answer_says_yes_no_or_that_it_cannot_be_said() -> None:
    said = [soup(answer(h, "holds", "does not hold", "cannot be said")).text for h in (True, False, None)]
    assert [s.split("\xa0")[-1].strip() for s in said] == ["holds", "does not hold", "cannot be said"]


def test_html_shows_itself_in_jupyterlab_and_has_the_same_repr_every_time() -> None:
    piece = Html(Markup("<p>x</p>"))
    assert piece._repr_html_() == "<p>x</p>"
    assert repr(piece) == repr(Html(Markup("<p>x</p>")))


def broken(text: str) -> bs4.BeautifulSoup:
    soup = bs4.BeautifulSoup(f"<body><p title='{text}'>{text}</p><svg><text>{text}</text></svg></body>", "html.parser")
    let_break(soup)
    assert soup.p is not None
    assert soup.svg is not None
    assert (soup.p.get_text(), soup.p["title"], soup.svg.get_text()) == (text, text, text)
    assert soup.svg.wbr is None
    return soup


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("z" + "\u0335\u0334\u0321" * 30 + "algo", 5),
        ("👩\u200d" * 40, 4),
        ("क\u094d" * 40 + "क", 4),
        ("\u0301" * 17, 1),
    ],
)
def test_what_looks_like_one_character_and_is_wider_than_a_screen_can_break(text: str, breaks: int) -> None:
    pieces = broken(text).p
    assert pieces is not None
    assert len(pieces.find_all("wbr")) == breaks
    assert max(len(piece) for piece in pieces.find_all(string=True)) <= 22


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain " * 50,
        "x" * 500,
        "Tiếng Việt, naïve, e\u0301t\u0302e\u0323\u0302",
        "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים",
        "कार्त्स्न्य",
        "👩\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈" * 30,
        "\u1112\u1161\u11ab\u1100\u116e\u11a8" * 30,
        "z" + "\u0335" * 16,
    ],
)
def test_what_people_write_is_left_whole(text: str) -> None:
    assert broken(text).wbr is None
