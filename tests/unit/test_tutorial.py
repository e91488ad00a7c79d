"""Every command of docs/tutorial.md is one that there is, with options that it has."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import typer

from reportlib.cli import app
from reportlib.gate import parse
from reportlib.starting.template import study_text
from reportlib.study import Study
from reportlib.study_file import parse as parse_study

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("reportlib ")]


def command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words call, and the words that are left for it."""
    found: click.Command = typer.main.get_command(app)
    while isinstance(found, click.Group):
        known = found.commands
        assert words, "a group of commands without a command"
        assert words[0] in known, f"there is no command {words[0]!r}"
        found, words = known[words[0]], words[1:]
    return found, words


def test_the_tutorial_goes_from_a_corpus_to_a_decision() -> None:
    called = [line.split()[1] for line in LINES]
    assert called == ["init", "prepare", "run", "check", "env"]


@pytest.mark.parametrize("line", LINES)
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
