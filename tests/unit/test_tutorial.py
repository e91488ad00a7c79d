"""Every command of docs/tutorial.md is one that there is, with options that it has."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from searches import NAMES, plain, search, still, upgraded
from typer.core import TyperGroup

from reportlib.cli import app
from reportlib.gate import HOLDS, INCONCLUSIVE, Judgement, judge, parse
from reportlib.study import Study
from reportlib.study_toml import parse as parse_study
from reportlib.study_toml import study_text
from reportlib.words.formats import unseen

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("reportlib ")]


def command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words call, and the words that are left for it."""
    found: Any = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    while isinstance(found, TyperGroup):
        assert words, "a group of commands without a command"
        known = found.get_command(typer.Context(found), words[0])
        assert known, f"there is no command {words[0]!r}"
        found, words = known, words[1:]
    return found, words


def test_the_tutorial_goes_from_a_corpus_to_a_decision() -> None:
    called = [line.split()[1] for line in LINES]
    assert called == ["init", "prepare", "run", "check", "env"]


#: Of every document: what stands in a block, on one line or on several.
SHOWN = sorted(
    {
        line.strip().partition("  #")[0]
        for document in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
        for block in re.findall(r"```(?:sh)?\n(.*?)```", document.read_text(), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().startswith("reportlib ")
    }
)


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_takes_what_it_is_given(line: str) -> None:
    found, rest = command(shlex.split(line)[1:])
    # click's own parser refuses an unknown option or a missing argument, and runs nothing.
    found.make_context(found.name or "", rest)


@pytest.mark.parametrize("words", re.findall(r"`reportlib ([a-z ]+?)(?: [A-Z_./-].*?)?`", TEXT))
def test_a_command_in_the_text_exists_too(words: str) -> None:
    command(words.split()[: 2 if words.startswith("env ") else 1])


def test_what_it_requires_is_understood() -> None:
    required = [shlex.split(line)[-1] for line in LINES if "--require" in line]
    assert required
    assert all(parse(text) for text in required)


def unchanged(queries: int, text: str) -> Judgement:
    """Judge a requirement on a study in which no query changed."""
    same = {"queries": queries, "same_order": queries, "same_set": queries}
    record = upgraded(search(0), **same, measures=[still(name, queries) for name in NAMES])
    (found,) = judge(parse(text), {"artifacts": [], "search": record})
    return found


def test_its_corpus_could_break_what_it_requires(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if "pydoc_data" in block)
    program = block.split("<<'EOF'\n")[1].split("EOF\n")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    made = int(re.findall(r"(\d+) queries", done.stdout)[0])
    said = int(re.findall(r"the (\d+) queries\s+or so", TEXT)[0])
    # Another Python has other sections.
    assert abs(made - said) <= 5
    (required,) = (shlex.split(line)[-1] for line in LINES if "--require" in line)
    for requirement in required.split(","):
        assert {unchanged(queries, requirement).outcome for queries in (made, said)} == {HOLDS}


def test_what_it_says_of_so_few_queries_is_what_the_gate_says() -> None:
    paragraph = next(text for text in TEXT.split("\n\n") if text.startswith("The limits above are wide"))
    assert f"not one of 46 changes, up to {plain(unseen(46, 0.95))} of such queries" in paragraph
    assert "nDCG could fall by 0.063." in paragraph
    found = unchanged(46, "ndcg@10 drop < 0.05")
    assert (found.outcome, "up to 0.06305; about 59 queries would tell" in found.reason.replace("a drop of ", "")) == (
        INCONCLUSIVE,
        True,
    )
    assert "`ndcg@10 drop < 0.05` cannot hold there" in paragraph
    assert "`< 0.01` takes\n299 of them" in paragraph
    assert [unchanged(n, "ndcg@10 drop < 0.01").outcome for n in (298, 299)] == [INCONCLUSIVE, HOLDS]


def test_what_it_says_of_study_toml_can_be_done() -> None:
    """The quick way: three keys changed, and a table removed."""
    for said in ("points = []", "precisions = []", "[precision.autocast]", "nbits", "doc_maxlen", 'device = "cuda"'):
        assert f"`{said}`" in TEXT
    text = study_text(Study(Path("study.toml"), "t", ("a", "b"), passages={"float32": 0, "autocast": 48}))
    text = re.sub(r"^points = \[\n.*?^\]\n", "points = []\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\[precision.autocast\]\npassages.*\n", "", text, flags=re.MULTILINE)
    head, operations = text.split("[operations]\n")
    text = (
        head
        + "[operations]\nprecisions = []\n"
        + re.sub(r"^(# )?precisions = .*\n", "", operations, count=1, flags=re.M)
    )
    found = parse_study(text, Path("study.toml"))
    assert (found.swaps.points, found.operations.precisions, dict(found.passages)) == ((), (), {"float32": 0})


def test_the_versions_are_the_ones_it_speaks_of() -> None:
    assert "--torch 2.1.0 --torch 2.6.0" in TEXT
    assert "environment-torch260.yml" in TEXT
    assert not (set(re.findall(r"torch2\d\d", TEXT)) - {"torch260"})


def test_it_needs_the_python_that_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11" in TEXT
    assert "\nsetup: " in (ROOT / "Makefile").read_text()
