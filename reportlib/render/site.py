"""A site of all published reports: an index with each verdict, a feed, links between siblings, and posts for a blog."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET  # writes only

import bs4

from reportlib.errors import RunError
from reportlib.findings.verdict import headline, outcomes
from reportlib.render.html import Html, fragment
from reportlib.render.opening import compared, ran_on
from reportlib.shape import Report

ATOM = "http://www.w3.org/2005/Atom"
BLOGS = ("jekyll", "quarto")
_STYLE = Path(__file__).with_name("templates") / "report" / "style.css"


@dataclass(frozen=True)
class Entry:
    """One published report.

    Attributes
    ----------
    folder : Path
        With ``index.html`` and ``report.json``.
    report : dict
        What ``report.json`` says.
    date : datetime
        When ``report.json`` was last committed; where there is no git, when the file was last written.
    """

    folder: Path
    report: Report
    date: datetime

    @property
    def slug(self) -> str:
        """Its folder's name, and its place on the site."""
        return self.folder.name

    @property
    def versions(self) -> str:
        """What it compared: ``PyTorch 2.0.1 → 2.1.0``."""
        return compared(self.report)

    @property
    def verdict(self) -> str:
        """Its headline."""
        return headline(outcomes(self.report))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What search makes of it, with the precision before it."""
        found = {f["about"]: f["sentence"] for f in self.report["findings"] if f["kind"] == "lists"}
        return [(o.part.label, found[o.part.key]) for o in outcomes(self.report) if o.part.key in found]

    @property
    def text(self) -> str:
        """The same without marks, for a feed or a description."""
        return " ".join(f"{label}: {sentence}" for label, sentence in self.lines).replace("**", "").replace("`", "")


def entries(reports: Path) -> list[Entry]:
    """Return every published report below a folder, the newest first.

    Raises
    ------
    RunError
        When there is none, or a ``report.json`` cannot be read.
    """
    found = []
    for path in sorted(reports.glob("*/report.json")):
        if (path.parent / "index.html").is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise RunError(f"{path} is no report: {error}", "publish its study again") from error
            found.append(Entry(path.parent, content, _date(path)))
    if not found:
        raise RunError(f"there is no published report in {reports}", "run `reportlib run STUDY` first")
    return sorted(found, key=lambda entry: (-entry.date.timestamp(), entry.slug))


def _date(path: Path) -> datetime:
    command = ["git", "log", "-1", "--format=%cI", "--", path.name]
    try:
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        committed = done.stdout.strip() if done.returncode == 0 else ""
    except OSError:
        committed = ""
    if committed:
        return datetime.fromisoformat(committed).astimezone(UTC)
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def make_site(reports: Path, output: Path, base_url: str = "", blog: str = "") -> list[Entry]:
    """Write a site that any server of files can serve.

    Parameters
    ----------
    reports : Path
        Folder of studies' folders.
    output : Path
        Where it goes; a site that is there is replaced, anything else is refused.
    base_url : str, optional
        Where it will be served: a feed needs whole addresses. Without it none is written.
    blog : str, optional
        ``jekyll`` or ``quarto``: also write a post with front matter for each report, in ``posts``.

    Returns
    -------
    list of Entry
        What it holds, the newest first.

    Raises
    ------
    RunError
        When there is nothing to publish, or `output` is a folder of something else.
    """
    found = entries(reports)
    if blog and blog not in BLOGS:
        raise RunError(f"there is no front matter for {blog!r}", f"use one of {', '.join(BLOGS)}")
    mark = output / ".reportlib-site"
    if output.exists() and not mark.exists() and any(output.iterdir()):
        raise RunError(f"{output} is there and is no site of reportlib's", "give another --output, or remove it")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    mark.touch()
    for entry in found:
        _copy(entry, [each for each in found if each.versions == entry.versions and each is not entry], output)
    feed = _feed(found, base_url) if base_url else ""
    if feed:
        _write(output / "feed.xml", feed)
    _write(output / "index.html", str(_index(found, feed=bool(feed)).markup))
    if blog:
        for entry in found:
            _write(output / "posts" / f"{entry.date:%Y-%m-%d}-{entry.slug}.{_SUFFIX[blog]}", _post(entry))
    return found


def _copy(entry: Entry, siblings: Sequence[Entry], output: Path) -> None:
    """Copy a page with what it links to, and put links to its siblings below its first screen."""
    place = output / entry.slug
    place.mkdir()
    shutil.copy(entry.folder / "report.json", place)
    if (entry.folder / "reproductions").is_dir():
        shutil.copytree(entry.folder / "reproductions", place / "reproductions")
    soup = bs4.BeautifulSoup((entry.folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    contents = soup.find("nav", class_="contents")
    if isinstance(contents, bs4.Tag):
        links = [{"slug": quote(e.slug), "ran_on": ran_on(e.report), "verdict": e.verdict} for e in siblings]
        contents.insert_after(bs4.BeautifulSoup(str(fragment("siblings", siblings=links).markup), "html.parser"))
    _write(place / "index.html", str(soup))


def _index(found: Sequence[Entry], *, feed: bool) -> Html:
    return fragment(
        "site",
        style=_STYLE.read_text(encoding="utf-8"),
        feed=feed,
        entries=[
            {"slug": quote(e.slug), "versions": e.versions, "ran_on": ran_on(e.report), "verdict": e.verdict,
             "lines": e.lines, "date": f"{e.date:%Y-%m-%d}"}
            for e in found
        ],
    )  # fmt: skip


def _feed(found: Sequence[Entry], base_url: str) -> str:
    """Return an Atom feed (RFC 4287) of the reports."""
    base = base_url.rstrip("/")
    ET.register_namespace("", ATOM)
    feed = ET.Element(f"{{{ATOM}}}feed")

    def add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
        element = ET.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
        element.text = text or None
        return element

    add(feed, "title", "What changed in a ColBERT index after a PyTorch upgrade")
    add(feed, "id", f"{base}/")
    add(feed, "updated", max(e.date for e in found).isoformat())
    add(feed, "link", href=f"{base}/feed.xml", rel="self")
    add(feed, "link", href=f"{base}/")
    add(add(feed, "author"), "name", "reportlib")
    for entry in found:
        item = add(feed, "entry")
        address = f"{base}/{quote(entry.slug)}/"
        add(item, "title", f"{entry.versions}: {entry.verdict}")
        add(item, "id", address)
        add(item, "link", href=address)
        add(item, "updated", entry.date.isoformat())
        add(item, "summary", f"{ran_on(entry.report)}. {entry.text}")
    ET.indent(feed)
    return ET.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


_SUFFIX = {"jekyll": "md", "quarto": "qmd"}


def _post(entry: Entry) -> str:
    """Return a post: front matter that Jekyll and Quarto both read, what the page says, and the page in a frame."""
    return "\n".join(_post_lines(entry))


def _post_lines(entry: Entry) -> Iterator[str]:
    address = f"../{quote(entry.slug)}/"
    yield "---"
    # A string of JSON is one of YAML too.
    yield f"title: {json.dumps(f'{entry.versions}: {entry.verdict}', ensure_ascii=False)}"
    yield f"date: {entry.date:%Y-%m-%d}"
    yield f"description: {json.dumps(entry.text, ensure_ascii=False)}"
    yield "---"
    yield ""
    for label, sentence in entry.lines:
        yield f"- {_plain(label)}: {_plain(sentence)}"
    yield ""
    yield f"[The whole report]({address}) ({_plain(ran_on(entry.report))})."
    yield ""
    style = "width:100%;height:90vh;border:0"
    yield f'<iframe src="{address}index.html" title="The whole report" style="{style}"></iframe>'
    yield ""


def _plain(text: str) -> str:
    """Return text as Markdown in which a stranger's signs mark nothing up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("[", "&#91;")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
