"""Rules for every notebook: thin cells, explained before they run, committed without outputs; and one whole run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import bs4
import captures as made_up
import nbformat
import pytest

from reportlib.findings import headline, outcomes
from reportlib.notebooks import parameter_names
from reportlib.render import publish

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in read(path).cells if c.cell_type == "code"]


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def test_there_are_notebooks_to_check() -> None:
    assert "compare" in [p.stem for p in NOTEBOOKS]


@every_notebook
def test_it_is_valid_and_neutral(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == ("python3" if path.stem == "compare" else "torch201")
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.get("language_info", {})


@every_notebook
def test_it_is_committed_without_outputs(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


@every_notebook
def test_a_cell_is_five_lines_of_code_at_most(path: Path) -> None:
    for cell in code_cells(path):
        if not is_parameters(cell):
            lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
            assert 0 < len(lines) <= 5, cell.source


@every_notebook
def test_markdown_explains_each_cell_before_it_runs(path: Path) -> None:
    cells = read(path).cells
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell.cell_type == "code":
            assert before is not None
            assert before.cell_type == "markdown", cell.source
            assert len(before.source.split()) > 3


@every_notebook
def test_it_has_one_parameters_cell_typed_and_commented(path: Path) -> None:
    found = [c for c in code_cells(path) if is_parameters(c)]
    assert len(found) == 1
    body = ast.parse(found[0].source).body
    assert body
    assert all(isinstance(node, ast.AnnAssign) and node.value is not None for node in body)
    for line in found[0].source.splitlines():
        if line.strip() and not line.lstrip().startswith(("#", "]", ")", "}")):
            assert "#" in line, f"not commented: {line}"


@every_notebook
def test_its_cells_have_names_that_stay(path: Path) -> None:
    ids = [cell.id for cell in read(path).cells]
    assert len(ids) == len(set(ids))


def test_markdown_of_the_report_states_no_number_of_a_run() -> None:
    for cell in read(ROOT / "notebooks" / "compare.ipynb").cells:
        if cell.cell_type == "markdown":
            for claim in ("are identical", "is identical", "we found", "turned out", "%"):
                assert claim not in cell.source.replace("identical\n:", ""), cell.source


@pytest.fixture(scope="module", params=[None, made_up.plant_stable_sort, made_up.plant_other_embeddings])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of compare.ipynb by papermill on made-up captures, in a real kernel."""
    import papermill

    folder = tmp_path_factory.mktemp("run")
    study = folder / "study.toml"
    toml = 'title = "Made up & <small>"\nenvironments = ["torch201", "torch210"]\n\n[search]\nk = 5\n'
    study.write_text(toml)
    from reportlib.study import load

    found = made_up.captures(folder / "captures", load(study), request.param)
    listed = folder / "captures.json"
    listed.write_text(json.dumps({name: str(capture.path) for name, capture in found.items()}))
    parameters = {"study": str(study), "captures": str(listed), "roots": "", "report": str(folder / "report.json")}
    papermill.execute_notebook(
        ROOT / "notebooks" / "compare.ipynb",
        folder / "executed.ipynb",
        parameters,
        kernel_name="python3",
        progress_bar=False,
        cwd=ROOT,
    )
    publish(folder / "executed.ipynb", folder / "index.html")
    return folder


@pytest.mark.filterwarnings("default")  # papermill's and the kernel client's own
def test_the_whole_report_runs_and_says_what_report_json_says(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    page = bs4.BeautifulSoup((run / "index.html").read_text(), "html.parser")
    assert page.h1.text == headline(outcomes(report))
    assert "Made up & <small>" in page.get_text()
    text = page.get_text()
    for finding in report["findings"]:
        assert finding["sentence"].replace("`", "").replace("**", "") in text
    assert str(run) not in page.decode()
    for part in report["pairs"][0]["precisions"]:
        for artifact in part["artifacts"]:
            assert artifact["description"] in text


def test_an_unknown_parameter_is_one_that_the_parameters_cell_lacks() -> None:
    assert parameter_names(ROOT / "notebooks" / "compare.ipynb") == ["study", "captures", "roots", "report", "early"]
