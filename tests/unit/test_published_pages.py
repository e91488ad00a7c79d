"""The committed pages: each is drawn from the report beside it, and from nothing else.

``python tests/unit/test_published_pages.py`` says their findings and draws them again, after a change of either.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest

from reportlib import render
from reportlib.compare import study as reports
from reportlib.findings import findings
from reportlib.render.publish import draw
from reportlib.shape import SCHEMA, schema

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in ROOT.glob("reports/*/report.json"))


def executed(report: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Return compare.ipynb as papermill leaves it, without captures: every drawing cell is one call on the report."""
    notebook = nbformat.read(ROOT / "notebooks" / "compare.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code" or {"setup", "parameters"} & set(cell.metadata.get("tags", [])):
            continue
        call = ast.parse(cell.source, mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        shown = getattr(render, call.func.attr)(report)
        data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
        cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    return notebook


def test_the_schema_is_made_from_the_types():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema()


def test_there_are_published_pages():
    assert len(PUBLISHED) >= 4


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_page_follows_from_its_report(folder: Path):
    text = (folder / "report.json").read_text(encoding="utf-8")
    report = json.loads(text)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(report)
    assert findings(report) == report["findings"]
    assert reports.render(report) == text
    drawn, published = (
        page.splitlines() for page in (draw(executed(report)), (folder / "index.html").read_text(encoding="utf-8"))
    )
    # One line at a time: the difference of two whole pages is nothing that a person or pytest can read.
    for number, (line, expected) in enumerate(zip(drawn, published, strict=False), 1):
        assert line[:400] == expected[:400], f"line {number}"
        assert line == expected, f"line {number}"
    assert len(drawn) == len(published)


if __name__ == "__main__":
    for published in PUBLISHED:
        content = json.loads((published / "report.json").read_text(encoding="utf-8"))
        content["findings"] = findings(content)
        (published / "report.json").write_text(reports.render(content), encoding="utf-8", newline="\n")
        (published / "index.html").write_text(draw(executed(content)), encoding="utf-8", newline="\n")
