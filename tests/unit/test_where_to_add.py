"""What CONTRIBUTING says of where to add: on a copy of the package, with the files it names and no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAW = """
import json, sys
import nbformat
from reportlib import render
from reportlib.findings import findings
from reportlib.render.publish import draw
report = json.load(open(sys.argv[1]))
report["findings"] = findings(report)
notebook = nbformat.read(sys.argv[2], as_version=4)
for cell in notebook.cells:
    if cell.cell_type == "code" and not cell.metadata.get("tags"):
        shown = eval(cell.source, {"render": render, "result": report})
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/html": shown._repr_html_()}, execution_count=1)]
print(draw(notebook))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "reportlib", tmp_path / "reportlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def page(copy: Path) -> str:
    """Draw the smallest published page with the copied package and notebook."""
    report = ROOT / "reports" / "torch-2.0.1-vs-2.1.0-avx2" / "report.json"
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(report), str(copy / "notebooks" / "compare.ipynb")],
        cwd=copy, env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_section_is_a_function_a_name_and_a_cell(copy: Path) -> None:
    order = copy / "reportlib" / "render" / "order.py"
    order.write_text(
        order.read_text(encoding="utf-8")
        + "\n\n@by_part\ndef added(part: Part) -> Iterator[Piece]:\n"
        + '    """Say hello."""\n    yield said([f"Hello from {part.label}."])\n',
        encoding="utf-8",
    )
    init = copy / "reportlib" / "render" / "__init__.py"
    change(
        init, "from reportlib.render.order import every_step", "from reportlib.render.order import added, every_step"
    )
    change(init, '__all__ = [\n    "Html",\n', '__all__ = [\n    "Html",\n    "added",\n')
    path = copy / "notebooks" / "compare.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    place = next(n for n, c in enumerate(notebook["cells"]) if "".join(c["source"]).startswith("## The sort"))
    text = "## Added\nA section that was added."
    code = {"source": "render.added(result)", "outputs": [], "execution_count": None}
    cells = [
        {"cell_type": "markdown", "id": "added-text", "metadata": {}, "source": text},
        {"cell_type": "code", "id": "added", "metadata": {}, **code},
    ]
    notebook["cells"][place:place] = cells
    path.write_text(json.dumps(notebook), encoding="utf-8")
    drawn = page(copy)
    assert "Hello from float32." in drawn
    assert 'href="#added"' in drawn


def test_a_finding_is_its_data_and_a_template(copy: Path) -> None:
    index = copy / "reportlib" / "findings" / "index.py"
    numbers = '    numbers = {"total": len(rows)'
    added = '    yield of_part(part, "added", "what", {"rows": len(rows)}, (part.at,))\n'
    change(index, numbers, added + numbers)
    change(index, ' or part.data["precision"] != "autocast"', "")
    templates = copy / "reportlib" / "findings" / "sentences.j2"
    templates.write_text(
        templates.read_text(encoding="utf-8")
        + "\n{% macro added(n, a, b) -%}\n"
        + '{{ n.rows | plural("row") }} of {{ b }} stand beside a post.\n{%- endmacro %}\n',
        encoding="utf-8",
    )
    assert "16 rows of PyTorch 2.1.0 stand beside a post." in page(copy)
