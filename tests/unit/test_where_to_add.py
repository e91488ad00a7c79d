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
    section = copy / "reportlib" / "render" / "artifacts.py"
    section.write_text(
        section.read_text(encoding="utf-8")
        + "\n\n@by_part\ndef added(part: Part) -> Iterator[Piece]:\n"
        + '    """Say hello."""\n    yield paragraph([f"Hello from {part.label}."])\n',
        encoding="utf-8",
    )
    init = copy / "reportlib" / "render" / "__init__.py"
    change(init, "from reportlib.render.artifacts import (\n", "from reportlib.render.artifacts import (\n    added,\n")
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
    effects = copy / "reportlib" / "findings" / "effects.py"
    numbers = '    numbers = {"total": len(rows)'
    added = '    yield of_part(part, "added", "what", {"rows": len(rows)}, (part.at,))\n'
    change(effects, numbers, added + numbers)
    change(effects, ' or part.data["precision"] != "autocast"', "")
    templates = copy / "reportlib" / "findings" / "sentences.j2"
    templates.write_text(
        templates.read_text(encoding="utf-8")
        + "\n{% macro added(n, a, b) -%}\n"
        + '{{ n.rows | plural("row") }} of {{ b }} stand beside a post.\n{%- endmacro %}\n',
        encoding="utf-8",
    )
    assert "16 rows of PyTorch 2.1.0 stand beside a post." in page(copy)


SEARCHED = """
import json
from pathlib import Path
import jsonschema
from captures import captures, study_of
from reportlib import render, shape
from reportlib.compare.study import compare_study
from reportlib.gate import parse
from reportlib.gate.judge import judge_study
def plant(arm, values):
    if arm.environment == "torch210":
        for name, ranking in values.items():
            if name.startswith("rankings"):
                ranking["queries"][0]["pids"][:2] = ranking["queries"][0]["pids"][1::-1]
folder = Path("made")
study = study_of(folder)
report = compare_study(study, captures(folder, study, plant))
(folder / "report.json").write_text(json.dumps(report))
jsonschema.validate(json.loads((folder / "report.json").read_text()), shape.schema())
judged = judge_study(parse("first > 0.9, p@5 drop < 0.9, first >= 1"), folder, ["float32"]).judgements
print(json.dumps({
    "search": report["pairs"][0]["precisions"][0]["search"],
    "judged": [judgement.reason for judgement in judged],
    "page": render.every_search(report).markup,
}))
"""


def test_a_measure_of_search_is_its_record(copy: Path) -> None:
    measures = copy / "reportlib" / "measures.py"
    record = """    Agreement(
        "same_first", "first", "Same first passage", lambda a, b: float(a[:1] == b[:1]), 1.0,
        "as low as {}", ordered=True,
    ),
"""
    change(measures, "AGREEMENTS = (\n", f"AGREEMENTS = (\n{record}")
    change(measures, 'QUALITIES = (Quality("Recall", "R"),', 'QUALITIES = (Quality("P", "P"), Quality("Recall", "R"),')
    change(copy / "reportlib" / "shape.py", "    rbo: Estimate\n", "    rbo: Estimate\n    same_first: Estimate\n")
    done = subprocess.run(
        [sys.executable, "-c", SEARCHED], cwd=copy, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{copy}:{ROOT / 'tests' / 'unit'}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads(done.stdout)
    upgrade = made["search"]["comparisons"][0]
    assert upgrade["same_first"]["value"] == pytest.approx(1 - 1 / upgrade["queries"])
    assert [m["measure"] for m in upgrade["measures"]][:2] == ["P@5", "Recall@5"]
    assert made["search"]["yardstick"]["figures"][0]["name"] == "same_first"
    assert "as low as" in made["judged"][0]
    assert "1 of 6 queries changed" in made["judged"][2]
    assert "Same first passage" in made["page"]
    assert "P@5" in made["page"]
