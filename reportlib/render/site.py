"""A site of all published reports: an index with each verdict, a feed, links between siblings, and posts for a blog.

A post is the page's own content in the blog's layout: its style is nested below one class, so that nothing of the blog
changes. What a blog's engine would take for its own, Liquid's braces or a fence of Markdown's, is written as entities.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from xml.etree import ElementTree as ET  # writes only

import bs4
import yaml
from markupsafe import Markup

from reportlib.errors import RunError
from reportlib.findings import headline, outcomes
from reportlib.render import atlas
from reportlib.render.html import Html, fragment
from reportlib.render.page import compared, ran_on
from reportlib.words.formats import listing

ATOM = "http://www.w3.org/2005/Atom"
_STYLE = (Path(__file__).with_name("templates") / "report" / "style.css").read_text(encoding="utf-8")
_TAME = str.maketrans("<>[]`", "‹›()'")
#: The style of a post: every rule below one class, which stands for the page, its body and its main part.
_SCOPED = ".reportlib {\n" + re.sub(r"(?<![-:.#\w])(:root|html|body|main)(?![-\w])", "&", _STYLE) + "}\n"


@dataclass(frozen=True)
class Entry:
    """One published report.

    Attributes
    ----------
    folder : Path
        With ``index.html`` and the file of its numbers.
    report : dict
        What that file says.
    date : datetime
        When that file was last committed; where there is no git, when it was last written.
    """

    #: The file beside the page that holds its numbers.
    data: ClassVar[str] = "report.json"
    folder: Path
    report: Any
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
    def torch(self) -> frozenset[str]:
        """The versions of PyTorch in it, without a build's name."""
        versions = {str(e["torch"].get("version") or "").partition("+")[0] for e in self.report["environments"]}
        return frozenset(versions - {""})

    @property
    def verdict(self) -> str:
        """Its headline."""
        return headline(outcomes(self.report))

    def beside(self, other: Entry) -> tuple[str, str]:
        """Return what another report is to a reader of this one, and what a link to it says; nothing of a stranger.

        A sweep has many versions, of which a study explains two: one as it is, not one that holds them to something.
        """
        study, swept = sorted((self, other), key=lambda entry: isinstance(entry, AtlasEntry))
        if other.versions == self.versions and other is not self:
            apart = listing([part for part in other.ran_on if part not in self.ran_on] or other.ran_on)
            return f"The same versions with {apart}", other.verdict
        if isinstance(study, AtlasEntry) or not isinstance(swept, AtlasEntry) or study.report["study"]["variables"]:
            return "", ""
        if len(study.torch) < 2 or not study.torch <= swept.torch:
            return "", ""
        if other is swept:
            return f"Among {len(swept.torch)} versions", swept.ran_on[1]
        return "Explained", study.versions.removeprefix("PyTorch ")

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What search, or where there was none the files, say of each precision, which stands before it."""
        sentences: dict[str, str] = {}
        for kind in ("files", "lists"):
            sentences |= {f["about"]: f["sentence"] for f in self.report["findings"] if f["kind"] == kind}
        return [(o.part.label, sentences[o.part.key]) for o in outcomes(self.report) if o.part.key in sentences]

    @property
    def ran_on(self) -> list[str]:
        """What it ran on, as short as it can be said."""
        return ran_on(self.report)

    @property
    def text(self) -> str:
        """The same without marks, for a feed or a description."""
        return " ".join(f"{label}: {sentence}" for label, sentence in self.lines).replace("**", "").replace("`", "")


class AtlasEntry(Entry):
    """The page of a sweep."""

    data = atlas.DATA

    @property
    def versions(self) -> str:
        """What it went over: ``PyTorch 1.13.1 → 2.8.0``."""
        return atlas.span(self.report)

    @property
    def torch(self) -> frozenset[str]:
        """Those that it measured."""
        return frozenset(atlas.measured(self.report))

    @property
    def verdict(self) -> str:
        """Its headline."""
        return atlas.verdict(self.report)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Where its breaks are, for each precision."""
        return atlas.sentences(self.report)

    @property
    def ran_on(self) -> list[str]:
        """What it ran on."""
        return atlas.ran_on(self.report)


def entries(reports: Path) -> list[Entry]:
    """Return every published report and sweep below a folder, the newest first."""
    published: list[Entry] = []
    for kind in (Entry, AtlasEntry):
        for path in sorted(reports.glob(f"*/{kind.data}")):
            if (path.parent / "index.html").is_file():
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                except ValueError as error:
                    raise RunError(f"{path} is no report: {error}", "publish it again") from error
                published.append(kind(path.parent, content, _date(path)))
    if not published:
        raise RunError(f"there is no published report in {reports}", "run `reportlib run STUDY` first")
    return sorted(published, key=lambda entry: (-entry.date.timestamp(), entry.slug))


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


def make_site(reports: Path, output: Path, base_url: str = "", front_matter: str = "") -> list[Entry]:
    """Write a site that any server of files can serve.

    Parameters
    ----------
    reports : Path
        Folder of studies' folders.
    output : Path
        Where it goes; a site that is there is replaced, anything else is refused.
    base_url : str, optional
        Where it will be served: a feed needs whole addresses. Without it none is written.
    front_matter : str, optional
        ``jekyll`` or ``quarto``: also write each page as a post of such a blog.

    Returns
    -------
    list of Entry
        What it holds, the newest first.

    Raises
    ------
    RunError
        When there is nothing to publish, or `output` is something else.
    """
    published = entries(reports)
    if front_matter and front_matter not in POSTS:
        raise RunError(f"there is no front matter for {front_matter!r}", f"use one of {', '.join(POSTS)}")
    mark = output / ".reportlib-site"
    if output.exists() and not mark.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RunError(f"{output} is there and is no site of reportlib's", "give another --output, or remove it")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    mark.touch()
    for entry in published:
        siblings = [other for other in published if any(entry.beside(other))]
        _copy(entry, output)
        _write(output / entry.slug / "index.html", str(_page(entry, siblings, home=True)))
        if front_matter:
            place, write = POSTS[front_matter]
            _write(output / place.format(entry=entry), write(entry, _post(entry, siblings)))
    if base_url:
        _write(output / "feed.xml", _feed(published, base_url))
    _write(output / "index.html", str(_index(published, feed=bool(base_url)).markup))
    return published


def _copy(entry: Entry, output: Path) -> None:
    """Copy what a page links to. Few servers list a folder, so that each reproduction gets a page that does."""
    place = output / entry.slug
    place.mkdir()
    shutil.copy(entry.folder / entry.data, place)
    if (entry.folder / "reproductions").is_dir():
        shutil.copytree(entry.folder / "reproductions", place / "reproductions")
    for folder in place.glob("reproductions/*"):
        names = sorted(path.name for path in folder.iterdir())
        about = (folder / "README.md").read_text(encoding="utf-8") if "README.md" in names else ""
        files = [(quote(name), name) for name in names]
        drawn = fragment("folder", style=Markup(_STYLE), name=folder.name, about=about, files=files)  # noqa: S704 ours
        _write(folder / "index.html", str(drawn.markup))


def _page(entry: Entry, siblings: Sequence[Entry], *, home: bool) -> bs4.BeautifulSoup:
    """Return a page with links to its siblings below its first screen."""
    soup = bs4.BeautifulSoup((entry.folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    contents = soup.find("nav", class_="contents")
    if isinstance(contents, bs4.Tag) and (home or siblings):
        links: dict[str, list[tuple[str, str]]] = {}
        for sibling in siblings:
            lead, text = entry.beside(sibling)
            links.setdefault(lead, []).append((quote(sibling.slug), text))
        drawn = fragment("siblings", siblings=links, home=home)
        contents.insert_after(bs4.BeautifulSoup(str(drawn.markup), "html.parser"))
    return soup


def _index(published: Sequence[Entry], *, feed: bool) -> Html:
    return fragment(
        "site",
        style=Markup(_STYLE),  # noqa: S704 ours
        feed=feed,
        entries=[
            {"slug": quote(e.slug), "versions": e.versions, "ran_on": e.ran_on, "verdict": e.verdict,
             "lines": e.lines, "date": f"{e.date:%Y-%m-%d}"}
            for e in published
        ],
    )  # fmt: skip


def _feed(published: Sequence[Entry], base_url: str) -> str:
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
    add(feed, "updated", max(e.date for e in published).isoformat())
    add(feed, "link", href=f"{base}/feed.xml", rel="self")
    add(feed, "link", href=f"{base}/")
    add(add(feed, "author"), "name", "reportlib")
    for entry in published:
        item = add(feed, "entry")
        address = f"{base}/{quote(entry.slug)}/"
        add(item, "title", f"{entry.versions}: {entry.verdict}")
        add(item, "id", address)
        add(item, "link", href=address)
        add(item, "updated", entry.date.isoformat())
        add(item, "summary", f"{' · '.join(entry.ran_on)}. {entry.text}")
    ET.indent(feed)
    return ET.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


def _post(entry: Entry, siblings: Sequence[Entry]) -> str:
    """Return the content of a page with its style beside it, for a layout that writes the title itself."""
    soup = _page(entry, siblings, home=False)
    for title in soup.select(".opening h1"):
        title.decompose()
    inner = [str(piece) for piece in (*soup.select("main > *"), *soup.select("footer.page-footer"))]
    content = "\n".join(inner).replace("`", "&#96;")
    content = re.sub(r"\{(?=[{%])", "&#123;", content)
    return f'<style>\n{_SCOPED}</style>\n<div class="reportlib">\n{content}\n</div>\n'


def _headed(front: dict[str, Any], body: str) -> str:
    return f"---\n{yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=float('inf'))}---\n{body}"


def _jekyll(entry: Entry, body: str) -> str:
    # Its address keeps what it links to beside it, in whatever folder of a blog the site lies; and Jekyll would cut its
    # excerpt out of the first lines, which are style.
    front, address = _front(entry), f"/:categories/{entry.slug}/post.html"
    return _headed({**front, "layout": "post", "permalink": address, "excerpt": front["description"]}, body)


def _quarto(entry: Entry, body: str) -> str:
    beside = ["index.html", entry.data, "reproductions/**"]
    kept = {"engine": "markdown", "html-table-processing": "none", "page-layout": "full", "resources": beside}
    return _headed(_front(entry) | kept, f"\n```{{=html}}\n{body}```\n")


def _front(entry: Entry) -> dict[str, Any]:
    """Return what a blog shows of a post. Layouts take it for HTML or Markdown: a stranger's signs are tamed."""
    title, description = (text.translate(_TAME) for text in (f"{entry.versions}: {entry.verdict}", entry.text))
    return {"title": title, "date": entry.date.date(), "description": description}


#: Where the posts of each kind of blog go, and how they are written.
POSTS: Mapping[str, tuple[str, Callable[[Entry, str], str]]] = {
    "jekyll": ("_posts/{entry.date:%Y-%m-%d}-{entry.slug}.html", _jekyll),
    "quarto": ("{entry.slug}/post.qmd", _quarto),
}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
