"""From the executed notebook to one HTML file that asks no other host for anything.

The same executed content gives the same bytes: counts, timings, parameters that papermill injected (they hold
paths) and anything a cell printed are left out. A content security policy in the page forbids scripts and every
request, so a stranger's text could do nothing even if it got past the escaping.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import bs4
import nbformat
from nbconvert import HTMLExporter

from reportlib.errors import RunError
from reportlib.render.html import anchor, let_break
from reportlib.store import write_text

_TEMPLATES = Path(__file__).with_name("templates")
#: Cells with one of these tags make the page; they follow what it says, in a section of their own.
_LAST = {"setup", "parameters"}
_DROPPED = {"injected-parameters"}
_DESCRIPTION_LENGTH = 300


def publish(executed_notebook: Path, html: Path) -> None:
    """Turn an executed notebook into a self-contained page.

    Parameters
    ----------
    executed_notebook : Path
        As papermill leaves it.
    html : Path
        The page to write; one that is there is replaced at once or not at all.

    Raises
    ------
    RunError
        When the notebook cannot be read, was not executed to its end, or draws no first screen.
    """
    try:
        notebook = nbformat.read(executed_notebook, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise RunError(f"{executed_notebook} is no notebook: {error}", "execute compare.ipynb again") from error
    page = draw(notebook, str(executed_notebook))
    html.parent.mkdir(parents=True, exist_ok=True)
    write_text(html, page)


def draw(
    notebook: nbformat.NotebookNode, name: str = "the notebook", *, data: str = "report.json", style: str = ""
) -> str:
    """Return the page of an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
        Left as it is.
    name : str
        For messages.
    data : str
        The file beside the page that holds its numbers.
    style : str
        Rules of this page alone, after those of all.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    RunError
        When a cell failed or none drew the first screen.
    """
    exporter = HTMLExporter(
        extra_template_basedirs=[str(_TEMPLATES)],
        template_name="report",
        language_code="en",
        embed_images=True,
    )
    body, _ = exporter.from_notebook_node(_prepare(notebook, name))
    soup = bs4.BeautifulSoup(body, "html.parser")
    title = soup.find("h1")
    if title is None:
        raise RunError(
            f"{name} draws no first screen",
            "execute compare.ipynb, whole, and publish what papermill wrote",
        )
    _head(soup, title)
    for source in soup.select("footer a[href='report.json']"):
        source["href"] = source.string = data
    if style and soup.style is not None:
        soup.style.append(style)
    _plain_ids(soup)
    _fold_methods(soup)
    _contents(soup)
    ids = {str(tag["id"]) for tag in soup.select("[id]")}
    for link in soup.select("a[href^='#']"):
        # Of what a study has nothing for there is no section to lead to.
        if str(link["href"])[1:] not in ids:
            link.unwrap()
    for block in soup.select(".highlight pre"):
        block["tabindex"] = "0"  # a keyboard reaches what scrolls
    for link in soup.select("a.anchor-link"):
        link["aria-label"] = "Link to this part"
    let_break(soup)
    return str(soup).strip() + "\n"


def _prepare(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return a copy with what is shown last at the end, and nothing in it that differs from run to run."""
    prepared = copy.deepcopy(notebook)
    shown: list[Any] = []
    last: list[Any] = []
    for cell in prepared.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & _DROPPED:
            continue
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise RunError(
                    f"{name} holds a cell that failed: {output.ename}: {output.evalue}",
                    "run it again",
                )
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.output_type in {"display_data", "execute_result"}]
            cell.execution_count = None
        # Only what makes the page has its code on it: every other cell is one call.
        cell.metadata = {"shown": True} if tags & _LAST else {}
        if not tags & _LAST and _draws_nothing(cell):
            # Its heading goes with it.
            shown.pop()
            continue
        (last if tags & _LAST else shown).append(cell)
    prepared.cells = shown + last
    prepared.metadata = {}
    return prepared


def _draws_nothing(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell was run and what it shows is empty: a section that this study has nothing for."""
    pages = [o["data"].get("text/html") for o in cell.get("outputs", []) if "data" in o]
    return bool(pages) and all(page is not None and not str(page).strip() for page in pages)


def _head(soup: bs4.BeautifulSoup, title: bs4.Tag) -> None:
    if soup.title is not None:
        versions = soup.select_one(".opening .versions")
        headline = title.get_text(" ", strip=True)
        soup.title.string = f"{versions.get_text(strip=True)}: {headline}" if versions else headline
    lede = " ".join(p.get_text(" ", strip=True) for p in soup.select(".opening .lede p"))
    if len(lede) > _DESCRIPTION_LENGTH:
        lede = lede[:_DESCRIPTION_LENGTH].rsplit(" ", 1)[0] + "…"
    description = soup.find("meta", attrs={"name": "description"})
    if isinstance(description, bs4.Tag):
        description["content"] = lede


def _plain_ids(soup: bs4.BeautifulSoup) -> None:
    """Give the notebook's own headings ids that need no escaping in an address, and mend the links to them."""
    plain = {str(h["id"]): anchor(str(h["id"])) for h in soup.select("main :is(h2, h3, h4)[id]")}
    for tag in soup.select("main :is(h2, h3, h4)[id]"):
        tag["id"] = plain[str(tag["id"])]
    for link in soup.select("a[href^='#']"):
        target = str(link["href"])[1:]
        link["href"] = f"#{plain.get(target, target)}"


def _fold_methods(soup: bs4.BeautifulSoup) -> None:
    """Put each part below the last section into a closed fold: what proves the page is there for those who look."""
    sections = soup.select("main > .text > h2")
    if not sections:
        return
    fold: bs4.Tag | None = None
    for block in list(sections[-1].parent.find_next_siblings()):  # type: ignore[union-attr]
        for piece in list(block.find_all(recursive=False)) if "text" in (block.get("class") or []) else [block]:
            if piece.name == "h3":
                fold = soup.new_tag("div", attrs={"id": str(piece["id"])})
                block.insert_before(_folded(soup, piece, fold))
            elif fold is not None:
                fold.append(piece.extract())
        if not block.find_all(recursive=False):
            block.decompose()


def _folded(soup: bs4.BeautifulSoup, heading: bs4.Tag, inner: bs4.Tag) -> bs4.Tag:
    """Return a closed fold around `inner` that a heading's words, or a link to what is in it, open."""
    fold, summary = soup.new_tag("details", attrs={"class": "fold method"}), soup.new_tag("summary")
    summary.string = "".join(heading.find_all(string=True, recursive=False)).strip()
    heading.extract()
    fold.append(summary)
    fold.append(inner)
    return fold


def _contents(soup: bs4.BeautifulSoup) -> None:
    """Put the table of contents after the first screen: the notebook's own second-level headings."""
    place, opening = soup.find("nav", class_="contents"), soup.find("header", class_="opening")
    if not isinstance(place, bs4.Tag):
        return
    entries = place.find("ol")
    for heading in soup.select("main h2[id]"):
        if heading.find_parent("header") is not None or not isinstance(entries, bs4.Tag):
            continue
        link = soup.new_tag("a", href=f"#{heading['id']}")
        link.string = "".join(heading.find_all(string=True, recursive=False)).strip() or heading.get_text(strip=True)
        item = soup.new_tag("li")
        item.append(link)
        entries.append(item)
    if isinstance(opening, bs4.Tag):
        opening.insert_after(place.extract())
