"""`reportlib compare`: what it prints, writes and exits with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import bs4
import index_folders as made
import jsonschema
import numpy as np
import pytest
from junitparser import JUnitXml
from typer.testing import CliRunner, Result

from reportlib.cli import app, compare, main
from reportlib.compare import indexes
from reportlib.errors import RequirementError

SCHEMA = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "120"})


@pytest.fixture
def same(tmp_path: Path) -> tuple[Path, Path]:
    known = made.values()
    return made.write_index(tmp_path / "a", known), made.write_index(tmp_path / "b", known, chunks=3)


@pytest.fixture
def other(tmp_path: Path) -> tuple[Path, Path]:
    known = made.values()
    residuals = known["residuals"].copy()
    residuals[0, 0] ^= 1
    changed = {**known, "residuals": residuals}
    return made.write_index(tmp_path / "c", known), made.write_index(tmp_path / "d", changed)


def test_identical_indexes_exit_with_0(same):
    done = run(*same)
    assert done.exit_code == 0
    assert "All 9 artifacts are identical." in done.stdout


def test_one_other_byte_exits_with_1_and_is_counted(other):
    done = run(*other)
    assert done.exit_code == 1
    size = made.values()["residuals"].size
    assert re.search(rf"^residuals: 1 of {size:,} elements? differs?, by 1\b", done.stdout, re.MULTILINE)
    assert "8 of 9 artifacts are identical" in done.stdout
    assert "where and when" in done.stdout


def test_a_damaged_file_exits_with_2_and_says_how_to_mend_it(same):
    (same[1] / "2.codes.pt").write_bytes(b"")
    done = run(*same)
    assert done.exit_code == 2
    text = " ".join(done.stdout.split())
    assert "not compared" in text
    assert f"B: {same[1] / '2.codes.pt'} is damaged: it is empty." in done.stdout
    assert "To mend it: copy it again" in text
    assert "1 of 9 artifacts could not be compared; of the others 8 are identical and 0 are not" in text


def test_files_that_contradict_one_another_exit_with_2(same):
    (same[0] / "doclens.0.json").write_text("[1]")
    done = run(*same)
    assert done.exit_code == 2
    assert "do not belong together" in done.stdout


def test_no_index_is_an_error_and_exits_with_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["reportlib", "compare", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    written = capsys.readouterr()
    assert "is no ColBERT index" in written.err
    assert "Traceback" not in written.err
    assert not written.out


def test_json_follows_its_schema_and_carries_the_exit_code(other):
    done = run(*other, "--json")
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert (found["exit_code"], done.exit_code, found["requirements"]) == (1, 1, None)
    assert found["verdict"] == "different"


def test_settings_that_differ_are_shown(tmp_path):
    known = made.values()
    a = made.write_index(tmp_path / "a", known, doc_maxlen=180)
    b = made.write_index(tmp_path / "b", known, doc_maxlen=300)
    done = run(a, b)
    assert done.exit_code == 0
    assert "doc_maxlen" in done.stdout
    assert "180" in done.stdout
    assert "index_path" not in done.stdout


def test_what_a_file_says_cannot_command_the_terminal(tmp_path):
    known = made.values()
    a = made.write_index(tmp_path / "a", known, **{"\x1b[2Jx": "[bold]\x1b[31m"})
    b = made.write_index(tmp_path / "b", known, device="\x1b]0;title\x07")
    done = run(a, b)
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[bold]" in done.stdout


def test_a_gate_that_holds_exits_with_0_though_the_indexes_differ(other):
    done = run(*other, "--require", "ivf identical, residuals differing < 1%")
    assert done.exit_code == 0
    assert "All 2 requirements hold." in done.stdout


def test_a_gate_that_fails_says_in_one_line_which_and_by_how_much(other):
    done = run(*other, "--require", "ivf identical, residuals differing <= 0, codes identical")
    assert done.exit_code == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Requirement")]
    assert line.startswith("Requirement residuals differing <= 0: does not hold; measured 0.000")
    assert "(1 of " in line


def test_a_gate_on_search_is_inconclusive(same):
    done = run(*same, "--require", "recall@10 drop < 0.01")
    assert done.exit_code == 2
    assert "inconclusive; two index folders hold no search results" in done.stdout


def test_a_gate_does_not_pass_over_a_file_that_nobody_could_read(same):
    (same[0] / "centroids.pt").unlink()
    done = run(*same, "--require", "ivf identical")
    assert done.exit_code == 2
    assert "No requirement is known to fail, but the comparison is inconclusive." in done.stdout


def test_a_requirement_that_is_not_understood_is_refused_before_anything_is_read(tmp_path):
    done = run(tmp_path / "gone", tmp_path / "gone", "--require", "ivf perfect")
    assert isinstance(done.exception, RequirementError)
    assert "^^^^^^^" in str(done.exception)


def test_judgements_are_written_for_other_programs(other, tmp_path):
    junit, sarif = tmp_path / "gate.xml", tmp_path / "gate.sarif"
    done = run(*other, "--require", "residuals identical", "--junit", junit, "--sarif", sarif, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["requirements"][0]["outcome"] == "does not hold"
    assert JUnitXml.fromfile(str(junit)).failures == 1
    assert json.loads(sarif.read_text())["runs"][0]["results"][0]["ruleId"] == "requirement-1"


@pytest.mark.parametrize("option", ["--junit", "--sarif"])
def test_files_without_requirements_are_a_mistake(same, tmp_path, option):
    done = run(*same, option, tmp_path / "gate")
    assert done.exit_code == 2
    assert "--require" in done.output
    assert not (tmp_path / "gate").exists()


def test_a_file_that_cannot_be_written_is_an_error(same, tmp_path):
    done = run(*same, "--require", "all identical", "--junit", tmp_path / "gone" / "gate.xml")
    assert "cannot be written" in str(done.exception)


@pytest.mark.parametrize("patience", [0.0, 1e9])
def test_progress_is_shown_on_standard_error_once_it_takes_long(same, monkeypatch, patience):
    monkeypatch.setattr(compare, "PATIENCE", patience)
    done = run(*same, "--json")
    json.loads(done.stdout)
    assert ("GB compared" in done.stderr) == (patience == 0)


def test_an_index_of_thousands_of_differences_is_said_in_a_few_lines(tmp_path):
    known = made.values()
    a = made.write_index(tmp_path / "a", known, chunks=40)
    b = made.write_index(tmp_path / "b", {**known, "residuals": known["residuals"] ^ np.uint8(1)}, chunks=30)
    assert len(run(a, b).stdout.splitlines()) < 40


def test_the_page_is_one_file_that_escapes_what_files_say(tmp_path):
    known = made.values()
    a = made.write_index(tmp_path / "<script>a", known, doc_maxlen="<img src=x>")
    b = made.write_index(tmp_path / "b", {**known, "residuals": known["residuals"] ^ np.uint8(1)}, chunks=2)
    (b / "centroids.pt").unlink()
    done = run(a, b, "--require", "codes identical, residuals identical", "--html", tmp_path / "page.html")
    assert done.exit_code == 1
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert "default-src 'none'" in text
    assert "http://" not in text.replace("http-equiv", "")
    page = bs4.BeautifulSoup(text, "html.parser")
    captions = [caption.get_text() for caption in page.find_all("caption")]
    assert captions == ["What was required", "Final artifacts", "The indexes", "Settings that differ"]
    badges = [badge.get_text().split("\N{NO-BREAK SPACE}")[1] for badge in page.select("table .badge")]
    assert badges.count("identical") == 7
    assert badges[:2] == ["holds", "does not hold"]
    assert "not compared" in badges
    assert "has no centroids.pt" in page.get_text()


def test_the_page_of_one_comparison_is_always_the_same(same, tmp_path):
    written = []
    for name in ("first.html", "second.html"):
        run(*same, "--html", tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert b"All 9 artifacts are identical." in written[0]


def test_a_small_comparison_does_not_wait_for_what_draws_pages_or_compiles(same):
    code = (
        "import sys; from reportlib.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('loaded', *{'matplotlib', 'nbconvert', 'numba', 'pandas', 'scipy', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "compare", *map(str, same)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


@pytest.mark.parametrize(("changed", "shown"), [(1, "<0.001%"), (40, "0.020%")])
def test_a_share_that_is_not_nothing_is_never_shown_as_nothing(changed, shown):
    record = {"elements": 200_000, "different": changed}
    assert compare._differing(record) == shown
