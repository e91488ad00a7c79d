"""`reportlib check`: the gate on a study's report, pair by pair and precision by precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import index_folders as made
import numpy as np
import pytest
from junitparser import JUnitXml
from searches import plain, search
from typer.testing import CliRunner, Result

from reportlib.cli import app
from reportlib.compare.indexes import compare_indexes
from reportlib.errors import ComparisonError, RequirementError
from reportlib.gate import parse
from reportlib.gate.judge import judge_study
from reportlib.shape import SCHEMA_VERSION

Report = dict[str, Any]


@pytest.fixture
def precision(tmp_path: Path) -> Callable[..., Report]:
    """One precision of a report, of an index and the same with the values given."""

    def compared(name: str, conclusive: bool | None = True, **changed: Any) -> Report:
        known = made.values()
        a = made.write_index(tmp_path / f"{name}-a", known)
        b = made.write_index(tmp_path / f"{name}-b", {**known, **changed})
        artifacts = [{k: v for k, v in r.items() if k != "files"} for r in compare_indexes(a, b)["artifacts"]]
        for record in artifacts:
            record["final"] = record["name"] != "doclens"
        inner = {**artifacts[1], "name": "presort_codes", "final": False, "verdict": "different"}
        return {"precision": name, "passages": None, "conclusive": conclusive, "artifacts": [inner, *artifacts]}

    return compared


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Write a study's report.json and return its folder."""

    def write(*precisions: Report, missing: tuple[str, ...] = (), version: int = SCHEMA_VERSION) -> Path:
        pairs = [{"a": "torch201", "b": "torch210", "precisions": list(precisions)}]
        report = {"schema_version": version, "missing_arms": list(missing), "pairs": pairs}
        (tmp_path / "report.json").write_text(json.dumps(report))
        return tmp_path

    return write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.fixture
def codes() -> np.ndarray:
    changed = made.values()["codes"].copy()
    changed[0] += 1
    return changed


def test_every_precision_must_hold(study, precision, codes):
    folder = study(precision("float32"), precision("autocast", codes=codes))
    assert judge_study(parse("ivf identical"), folder).exit_code == 0
    done = run(folder, "--require", "ivf identical, codes identical")
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("torch201 and torch210, autocast: codes identical: does not hold; different: 1 of ")
    assert run(folder, "--require", "codes differing < 1%").stdout == "All 2 judgements hold.\n"


def test_a_file_of_the_study_names_its_folder(study, precision):
    folder = study(precision("float32"))
    assert run(folder / "study.toml", "--require", "all identical").exit_code == 0


def test_what_a_failed_control_makes_doubtful_is_inconclusive(study, precision, codes):
    folder = study(precision("float32"), precision("autocast", conclusive=False, codes=codes))
    done = run(folder, "--require", "codes identical")
    assert done.exit_code == 2
    assert "autocast: codes identical: inconclusive; a control failed" in done.stdout
    unrun = study(precision("double", conclusive=None))
    assert run(unrun, "--require", "codes identical").exit_code == 0


def test_one_precision_can_be_judged_alone(study, precision, codes):
    folder = study(precision("float32"), precision("autocast", codes=codes), missing=("torch210-autocast-search",))
    assert run(folder, "--require", "codes identical").exit_code == 1
    alone = run(folder, "--require", "codes identical", "--precision", "float32")
    assert (alone.exit_code, alone.stdout) == (0, "The requirement holds.\n")
    both = run(folder, "--require", "ivf identical", "--precision", "float32", "--precision", "autocast")
    assert both.exit_code == 2
    assert "nothing of torch210-autocast-search" in both.stdout
    with pytest.raises(RequirementError, match="'float16'") as caught:
        judge_study(parse("ivf identical"), folder, ["float16"])
    assert caught.value.mend == "name one of float32, autocast"


def test_a_missing_arm_is_inconclusive_unless_something_fails(study, precision, codes):
    folder = study(precision("float32", codes=codes), missing=("torch210-autocast",))
    held, failed = (run(folder, "--require", text) for text in ("ivf identical", "codes identical"))
    assert (held.exit_code, failed.exit_code) == (2, 1)
    assert "nothing of torch210-autocast" in held.stdout


def test_an_artifact_that_one_side_lacks_is_inconclusive(study, precision):
    known = precision("float32")
    (record,) = (r for r in known["artifacts"] if r["name"] == "ivf")
    record.update(verdict="missing", text="Captured only on side A.")
    folder = study(known)
    assert "Captured only on side A" in run(folder, "--require", "ivf identical").stdout
    others = run(folder, "--require", "codes identical")
    assert others.exit_code == 2
    assert "not captured on both sides" in others.stdout
    known["artifacts"].remove(record)
    assert "was not captured" in run(study(known), "--require", "ivf identical").stdout


def test_a_study_without_searches_says_what_to_run(study, precision):
    done = run(study(precision("float32")), "--require", "recall@10 drop < 0.01")
    assert done.exit_code == 2
    assert "no searches of both sides' indexes; give it k in [search]" in done.stdout


def test_search_that_holds_is_said_all_the_same(study, precision):
    folder = study(precision("float32") | {"search": search(0)})
    assert run(folder, "--require", "ivf identical, recall@10 drop < 0.01").exit_code == 2
    done = run(folder, "--require", "ivf identical, recall@10 drop < 0.03")
    assert done.exit_code == 0
    line, last = done.stdout.splitlines()
    assert "float32: recall@10 drop < 0.03: holds; no query of 121 changed" in line
    assert "up to 2.4 % of such queries could change unseen" in plain(line)
    assert last == "All 2 judgements hold."


def test_a_report_that_compares_nothing_is_inconclusive(study):
    done = run(study(), "--require", "all identical")
    assert (done.exit_code, done.stdout) == (2, "Inconclusive: the report compares nothing.\n")


def test_judgements_are_written_with_the_pair_and_precision(study, precision, codes, tmp_path):
    folder = study(precision("float32"), precision("autocast", codes=codes))
    junit, sarif = tmp_path / "gate.xml", tmp_path / "gate.sarif"
    done = run(folder, "--require", "codes identical", "--junit", junit, "--sarif", sarif, "--json")
    found = json.loads(done.stdout)
    assert [(r["where"].split(", ")[1], r["outcome"]) for r in found["requirements"]] == [
        ("float32", "holds"),
        ("autocast", "does not hold"),
    ]
    assert (found["exit_code"], found["missing_arms"]) == (1, [])
    assert JUnitXml.fromfile(str(junit)).failures == 1
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["ruleIndex"] == 1
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("/report.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no"),
        ("{", "cannot be read"),
        ("[]", "schema None"),
        ('{"schema_version": 0}', "schema 0"),
        (json.dumps({"schema_version": SCHEMA_VERSION}), "damaged"),
        (json.dumps({"schema_version": SCHEMA_VERSION, "missing_arms": [], "pairs": [1]}), "damaged"),
    ],
)
def test_a_report_that_cannot_be_read_is_an_error(tmp_path, text, says):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(ComparisonError, match=says):
        judge_study(parse("ivf identical"), tmp_path)


def test_a_list_as_long_as_the_collection_is_inconclusive(study, precision):
    folder = study(precision("float32") | {"search": search(0), "passages": 8})
    done = run(folder, "--require", "overlap@10 > 0.5")
    assert (done.exit_code, "a list of 10 can hold all 8 passages" in done.stdout) == (2, True)


PUBLISHED = sorted(path.parent for path in (Path(__file__).parents[2] / "reports").glob("*/report.json"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=[folder.name for folder in PUBLISHED])
def test_what_a_published_study_holds_its_queries_could_have_broken(folder):
    text = "recall@10 drop < 0.01, ndcg@10 drop < 0.01, overlap@10 > 0.9, rbo > 0.99, changed queries < 1%"
    report = json.loads((folder / "report.json").read_text())
    queries = {f"{pair['a']} and {pair['b']}, {p['precision']}": p["search"]["queries"]
               for pair in report["pairs"] for p in pair["precisions"] if p.get("search")}  # fmt: skip
    limits = {"drop": 0.01, "overlap": 0.1, "rbo": 0.01, "changed queries": 0.01}
    found = judge_study(parse(text), folder).judgements
    assert len(found) == 5 * len(queries) > 0
    for judgement in found:
        if judgement.outcome == "holds":
            assert 1 - 0.05 ** (1 / queries[judgement.where]) < limits[judgement.requirement.claim]
        elif judgement.outcome == "inconclusive":
            assert "queries would tell" in judgement.reason


def test_the_published_study_can_be_judged():
    folder = Path(__file__).parents[2] / "reports" / "torch-2.0.1-vs-2.1.0"
    report = json.loads((folder / "report.json").read_text())
    precisions = [p for pair in report["pairs"] for p in pair["precisions"]]
    found = judge_study(parse("all identical"), folder)
    assert len(found.judgements) == len(precisions)
    for judgement, precision in zip(found.judgements, precisions, strict=True):
        identical = precision["summary"]["final"]["identical"] == precision["summary"]["final"]["total"]
        assert (judgement.outcome == "holds") == (identical and precision.get("conclusive") is not False)
