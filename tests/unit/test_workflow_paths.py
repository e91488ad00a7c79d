"""Snakemake itself on a whole study, its steps' programs replaced: what paths may hold, and what is announced."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from workflow_stubs import write_stubs

from reportlib.checkpoints import Checkpoint
from reportlib.cli import app
from reportlib.collections.folder import Collection
from reportlib.errors import StoreError
from reportlib.store import project_home
from reportlib.workflow import run

ROOT = Path(__file__).parents[2]
STUDY = """
title = "t"
environments = ["torch201", "torch210"]
[precision.float32]
passages = 40
[controls]
repeat = false
observer = false
[swaps]
points = [["embs"]]
directions = ["a into b"]
"""
#: One capture for each environment, both searches, a series, an explanation, a first page, the report and its page.
STEPS = {"environment": 2, "capture": 2, "swaps": 1, "search": 2, "roots": 1, "early": 1, "report": 1, "page": 1}


class Project:
    """A project with the real notebooks and environment files, its inputs prepared without a registry."""

    def __init__(self, root: Path, slug: str, home: Path, calls: Path) -> None:
        self.root, self.home, self.calls = root, home, calls
        self.study = root / "reports" / slug
        self.study.mkdir(parents=True)
        (self.study / "study.toml").write_text(STUDY)
        shutil.copytree(ROOT / "notebooks", root / "notebooks")
        for file in ROOT.glob("environment-*"):
            shutil.copy(file, root)
        shutil.copytree(ROOT / "environments", root / "environments")
        for name in ("collection-x", "checkpoint-x"):
            (home / "inputs" / name).mkdir(parents=True)
        collection = home / "inputs" / "collection-x"
        passages = [{"id": f"d{n}", "text": "Ten words of a passage, " * 3} for n in range(100)]
        (collection / "collection.jsonl").write_text("\n".join(map(json.dumps, passages)))
        (collection / "queries.jsonl").write_text(json.dumps({"id": "q0", "text": "what?"}))
        (collection / "qrels.tsv").write_text("query-id\tpassage-id\tgrade\nq0\td3\t1\n")

    @property
    def page(self) -> Path:
        return self.study / "index.html"

    def run(self, options: str = "", *more: str) -> tuple[str, str]:
        """Run the study; return what was said on standard output and on standard error."""
        chosen = [f"--snakemake={options}"] if options else []
        done = CliRunner().invoke(
            app, ["run", f"reports/{self.study.name}", *chosen, *more], env={"REPORTLIB_HOME": str(self.home)}
        )
        assert done.exit_code == 0, f"{done.output}\n{done.exception}"
        return done.stdout, done.stderr

    def content(self, options: str = "") -> dict:
        return json.loads(self.run(options, "--json")[0])

    def called(self) -> list[list[str]]:
        return [json.loads(line) for line in self.calls.read_text().splitlines()]


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in ordinary places, or in those that a test asks for: (project, slug, home)."""
    place, slug, home = getattr(request, "param", ("project", "s", ".reportlib"))
    root = tmp_path / place
    root.mkdir()
    monkeypatch.chdir(root)
    made = Project(root, slug, root / home, write_stubs(tmp_path / "stubs"))
    collection = Collection(made.home / "inputs" / "collection-x", "c" * 64, 100, 5, 5, "one hundred passages")
    checkpoint = Checkpoint(made.home / "inputs" / "checkpoint-x", "d" * 64, "a model", 6, 384, 96, 10, False)
    monkeypatch.setattr("reportlib.collections.sources.prepare", lambda *_, **__: collection)
    monkeypatch.setattr("reportlib.checkpoints.prepare", lambda *_, **__: checkpoint)
    real = run.host_variables

    def with_stubs(folder: Path) -> dict[str, str]:
        found = real(folder)
        return {**found, "PATH": os.pathsep.join([str(made.calls.parent), found["PATH"]])}

    monkeypatch.setattr(run, "host_variables", with_stubs)
    monkeypatch.setattr(run, "SNAKEFILE", Path(shutil.copy(run.SNAKEFILE, root / "Snakefile")))
    return made


@pytest.mark.parametrize(
    "project",
    [
        (
            "a b [c] {d} <e>",
            "{study} 'x' \"y\" $HOME `z` * ?; touch hacked; é",
            "../home {folder} [1] $(touch hacked) é",
        ),
        ("{project}", "-s", "-home"),
        ("project", " s ", "h #{}/i"),
    ],
    indirect=True,
)
def test_paths_may_hold_anything(project):
    stdout, _ = project.run()
    assert stdout == f"the page is {project.page}\n"
    assert project.page.read_text() == "{}"
    assert (project.study / "report.json").is_file()
    assert len(project.called()) == sum(STEPS.values()) + 1, "the first page's step is two calls"
    assert not [*project.root.parent.rglob("hacked")]
    assert len([*(project.home / "captures").glob("*/manifest.json")]) == STEPS["capture"] + STEPS["search"]
    reports = [call for call in project.called() if "study" in call]
    assert ["early" in call for call in reports] == [True, False], "a first page, and the whole one after it"
    for report in reports:
        given = Path(project.root, report[report.index("study") + 1])
        assert given.absolute() == project.study / "study.toml", "a study is known by its folder's own name"


@pytest.mark.parametrize("folder", ["a:b", "a\nb"])
def test_a_home_that_no_list_of_paths_can_hold_is_refused_first(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTLIB_HOME", str(tmp_path / folder))
    with pytest.raises(StoreError, match="list of paths"):
        project_home()


def test_an_empty_home_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORTLIB_HOME", "")
    monkeypatch.chdir(tmp_path)
    assert project_home() == tmp_path / ".reportlib"


def test_what_is_announced_was_looked_at(project):
    nothing, environments = {"made": {}, "left": STEPS}, {"environment": STEPS["environment"]}
    rest = {rule: count for rule, count in STEPS.items() if rule != "environment"}
    none = {"page": None, "report": None}

    assert project.content("--dry-run") == {**none, "steps": 0, "dry_run": True, **nothing}
    stdout, stderr = project.run("-np")
    assert "nothing to do" not in stderr
    assert "reportlib env create torch201" in stderr, "what Snakemake would do is shown"
    assert (
        stdout == "there is no page yet; left: " + ", ".join(f"{count} {rule}" for rule, count in STEPS.items()) + "\n"
    )

    found = project.content("--until environment")
    assert found == {**none, "steps": 2, "dry_run": False, "made": environments, "left": rest}
    stdout, stderr = project.run("--until environment")
    assert stdout.startswith("there is no page yet; made: 2 environment; left: ")
    assert "no step was done" in stderr, "everything asked for was there, which is not everything"

    found = project.content("report")
    assert project.page.is_file(), "a first page"
    assert (found["page"], found["report"]) == (None, str(project.study / "report.json"))
    assert found["left"] == {"page": 1}

    assert project.run()[0] == f"the page is {project.page}\n"
    assert project.run()[1].splitlines()[-1] == "nothing to do: every part is up to date"
    assert project.content("--until environment")["page"] == str(project.page), "it is up to date"
    assert project.run("--dry-run")[0] == f"the page is {project.page}\n"


def test_a_page_of_an_earlier_run_is_not_announced(project):
    project.run()
    toml = project.study / "study.toml"
    toml.write_text(STUDY.replace('"t"', '"another"'))
    stdout, _ = project.run("--until environment")
    assert stdout.startswith(f"{project.page} is there, and this run did not make it; made: ")
    assert stdout.endswith("left: 1 report, 1 page\n")
    before = project.page.read_text()
    found = project.content("--touch")
    assert (found["page"], found["report"]) == (None, None), "touched, and as it was"
    assert project.page.read_text() == before
