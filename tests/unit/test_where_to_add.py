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


def run(copy: Path, program: str, *arguments: str) -> str:
    """Run a program with the copied package, and what tests make captures with; return what it prints."""
    path = f"{copy}:{ROOT / 'tests' / 'unit'}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=copy, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def page(copy: Path, report: Path = ROOT / "reports" / "torch-2.0.1-vs-2.1.0-avx2" / "report.json") -> str:
    """Draw a page, the smallest published one if no other, with the copied package and notebook."""
    return run(copy, DRAW, str(report), str(copy / "notebooks" / "compare.ipynb"))


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
    made = json.loads(run(copy, SEARCHED))
    upgrade = made["search"]["comparisons"][0]
    assert upgrade["same_first"]["value"] == pytest.approx(1 - 1 / upgrade["queries"])
    assert [m["measure"] for m in upgrade["measures"]][:2] == ["P@5", "Recall@5"]
    assert made["search"]["yardstick"]["figures"][0]["name"] == "same_first"
    assert "as low as" in made["judged"][0]
    assert "1 of 6 queries changed" in made["judged"][2]
    assert "Same first passage" in made["page"]
    assert "P@5" in made["page"]


CAPTURED = """
import json
from pathlib import Path
import numpy as np
from sphinx.ext.autodoc.mock import mock
taken = {}
class Writer:
    index_folder = Path("index")
    def value(self, name, value, stage):
        taken[name] = [value, stage]
    def tensor(self, name, array, stage, dtype):
        taken[name] = [array.tolist(), stage]
def load(path):
    return (np.arange(2), np.arange(2)) if Path(path).name in ("ivf.pid.pt", "buckets.pt") else np.arange(3)
with mock(["torch", "colbert", "faiss"]):
    from reportlib.capture import instruments, session
    instruments.CollectionIndexer._sample_pids = lambda indexer: [3, 1, 2]
    with instruments.Instruments(Writer(), None, 1):
        instruments.CollectionIndexer._sample_pids(None)
    session.torch.load, session.to_numpy = load, lambda array: (array, "int64")
    session.store_index(Writer())
print(json.dumps(taken))
"""
POINTED = """
import json
from pathlib import Path
import numpy as np
from captures import captures, study_of
from reportlib.compare.study import compare_study
from reportlib.gate import parse
from reportlib.gate.judge import judge_study
def plant(arm, values):
    other = arm.environment == "torch210"
    values["index/postings"] = np.arange(3) + other
    if not (arm.swap or arm.control == "observer"):
        values["smallest_pid"] = 1 + other
folder = Path("made")
study = study_of(folder)
report = compare_study(study, captures(folder, study, plant))
(folder / "report.json").write_text(json.dumps(report))
part = report["pairs"][0]["precisions"][0]
judged = judge_study(parse("postings identical, postings max_abs <= 1"), folder, ["float32"]).judgements
print(json.dumps({
    "artifacts": [[row["artifact"], row["verdict"]] for row in part["artifacts"]],
    "judged": [judgement.outcome for judgement in judged],
}))
"""


def test_a_capture_point_is_its_row_and_what_takes_it(copy: Path) -> None:
    """One that a wrapper takes, and one that is read back from ColBERT's own files."""
    artifacts = copy / "reportlib" / "artifacts.py"
    sample = '    _point("num_passages", "sample"'
    change(artifacts, sample, f'    _point("smallest_pid", "sample", "value", "First of the drawn"),\n{sample}')
    final = '    _final("avg_residual", "float"'
    change(artifacts, final, f'    _final("postings", "integer", "postings.pt", "A file added"),\n{final}')
    wrapper = '        self._value("sample_pids", sorted(pids))\n'
    instruments = copy / "reportlib" / "capture" / "instruments.py"
    change(instruments, wrapper, f'{wrapper}        self._value("smallest_pid", min(pids))\n')
    read = '    tensors["avg_residual"] = torch.load('
    change(
        copy / "reportlib" / "capture" / "session.py",
        read,
        f'    tensors["postings"] = torch.load(folder / "postings.pt")\n{read}',
    )
    taken = json.loads(run(copy, CAPTURED))
    assert taken["smallest_pid"] == [1, "sample"]
    assert taken["index/postings"] == [[0, 1, 2], "index"]
    made = json.loads(run(copy, POINTED))
    rows = dict(made["artifacts"])
    assert rows["smallest_pid"] == rows["index/postings"] == "different"
    names = list(rows)
    assert names.index("sample_pids") + 1 == names.index("smallest_pid") == names.index("num_passages") - 1
    assert names.index("index/ivf_lengths") + 1 == names.index("index/postings")
    assert made["judged"] == ["does not hold", "holds"]
    drawn = page(copy, copy / "made" / "report.json")
    texts = ["Ids of the passages drawn", "First of the drawn", "How many passages were drawn"]
    assert sorted(texts, key=drawn.index) == texts
    assert "A file added" in drawn


STUDIED = """
import json
from pathlib import Path
import yaml
from reportlib.capture.request import CaptureRequest, SwapRequest
from reportlib.checkpoints import Checkpoint
from reportlib.collections.folder import Collection
from reportlib.errors import StudyError
from reportlib.searching import SearchRequest
from reportlib.starting import Wish, start
from reportlib.study import load
from reportlib.workflow.addresses import Inputs, Planner, plan_search
def refused(text):
    path.write_text(text)
    try:
        load(path)
    except StudyError as error:
        return str(error).removeprefix(str(path))
path = start(Wish(name="made", environments=("torch201", "torch210")), Path.cwd()).study.path
made = path.read_text()
path.write_text(made.replace("nprobes = 7", "nprobes = 9").replace("patience = true", "patience = false"))
study = load(path)
folder = Path("run")
folder.mkdir()
inputs = Inputs(Collection(Path("c"), "c", 9, 2, 2, "c"), Checkpoint(Path("m"), "m", "m", 6, 384, 96, 10, False))
planner = Planner(study, Path.cwd(), Path("home"), folder, inputs, {"torch201": "a", "torch210": "b"})
arms = study.arms()
plain = planner.arm(arms[0]).parameters
swap = planner.series(next(study.series().__iter__())).parameters
search = plan_search(planner, next(arm for arm in arms if arm.searching)).parameters
asked = [yaml.safe_load(Path(file).read_text()).get("nprobes") for file in (plain, swap, search)]
requests = [kind() for kind in (CaptureRequest, SearchRequest, SwapRequest)]
head = 'title = "t"\\nenvironments = ["a", "b"]\\n'
print(json.dumps({
    "made": made,
    "read": [study.colbert.nprobes, study.search.patience],
    "asked": asked,
    "settings": [request.settings().get("nprobes") for request in requests],
    "few": refused(head + "[colbert]\\nnprobes = 1"),
    "type": refused(head + "[search]\\npatience = 1"),
    "meant": refused(head + "[colbert]\\nnprobe = 4"),
}))
"""


def test_a_key_of_a_study_is_its_field_and_one_of_colbert_ais_own_a_parameter_of_the_notebooks(copy: Path) -> None:
    study = copy / "reportlib" / "study.py"
    settings, search = "    ndocs: int = key(\n", "    #: What a change of version is held against.\n"
    added = '    nprobes: int = key(7, "probes added", least=2, why="one is none", searching=True)\n'
    change(study, settings, added + settings)
    change(study, search, f'    patience: bool = key(True, "whether to wait")\n{search}')
    for name in ("capture", "search"):
        line = '    "ndocs: int = 1024'
        change(copy / "notebooks" / f"{name}.ipynb", line, f'    "nprobes: int = 7  # probes added\\n",\n{line}')
    for file in (*ROOT.glob("environment-torch2[01]*"), *ROOT.glob("environments/*-torch2[01]*")):
        (copy / file.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(file, copy / file.relative_to(ROOT))
    found = json.loads(run(copy, STUDIED))
    assert "nprobes = 7  # probes added\nndocs = 1024" in found["made"]
    assert "patience = true  # whether to wait\nseeds = 3" in found["made"]
    assert found["read"] == [9, False]
    assert found["asked"] == [9, None, 9]
    assert found["settings"] == [7, 7, None]
    assert found["few"] == ", line 4: colbert.nprobes: must be at least 2\n  To mend it: one is none"
    assert found["type"].startswith(", line 4: search.patience: must be of type bool")
    assert "did you mean 'nprobes'?" in found["meant"]
