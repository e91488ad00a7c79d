"""docs/tutorial.md's first commands, word for word, in a folder like a fresh clone: up to where the long run begins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reportlib.collections.reading import queries_within, read_judgements, read_passages
from reportlib.environments.spec import load_spec, read_lock
from reportlib.store import project_home
from reportlib.study import load
from reportlib.workflow.run import host_variables

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def environments() -> None:
    """Make none: nothing is captured here."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone's files, with the corpus made, the study begun and prepared."""
    clone = tmp_path_factory.mktemp("clone")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in done.stdout.splitlines():
        if name.startswith(("environment", "notebooks/")):
            (clone / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    home = clone / ".reportlib"
    home.mkdir()
    sources = project_home() / "sources"
    if sources.is_dir():  # what a registry gave before, by its hash
        (home / "sources").symlink_to(sources, target_is_directory=True)
    for block in BLOCKS[1 : 1 + max(n for n, block in enumerate(BLOCKS) if block.startswith("reportlib prepare"))]:
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=clone,
            env={**host_variables(home), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return clone


def test_the_first_block_is_the_set_up_that_the_makefile_has() -> None:
    assert BLOCKS[0].splitlines() == ["make setup", "source .venv/bin/activate"]
    done = subprocess.run(["make", "-n", "setup"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_corpus_is_large_enough_and_can_be_judged(followed: Path) -> None:
    collection = followed / ".reportlib" / "inputs" / "collection"
    passages, judgements = read_passages(collection), read_judgements(collection)
    assert len(passages) >= 100
    assert len(judgements) == len(passages), "every passage answers one query"
    answered = queries_within(collection, 0)
    assert len(answered) >= 30
    assert len({passage.text for passage in passages}) > 0.9 * len(passages)


def test_the_new_version_has_an_environment_file_whose_lock_fits(followed: Path) -> None:
    new, old = load_spec("torch260", followed), load_spec("torch210", followed)
    lock, other = read_lock(new), read_lock(old)
    assert lock.pins["torch"] == "2.6.0"
    assert set(new.pip) ^ set(old.pip) == {"torch==2.6.0", "torch==2.1.0"}
    differing = {name for name in lock.pins.keys() & other.pins.keys() if lock.pins[name] != other.pins[name]}
    # torch 2.6.0 itself pins sympy; nothing else that both have may differ.
    brought = {name for name in differing if name.startswith("nvidia-")} | {"torch", "triton", "sympy"}
    assert differing <= brought


def test_the_study_is_the_one_that_the_text_describes(followed: Path) -> None:
    study = load(followed / "reports" / "my-upgrade")
    assert study.environments == ("torch210", "torch260")
    assert (study.collection.source, study.collection.path) == ("tsv", "../../my-corpus/collection.tsv")
    assert study.passages == {"float32": 0, "autocast": 48}
    assert study.search.k > 0


def test_the_page_is_where_the_text_says(followed: Path) -> None:
    folder = (followed / "reports" / "my-upgrade").relative_to(followed)
    text = (ROOT / "docs" / "tutorial.md").read_text()
    assert f"`{folder}/index.html`" in text
    assert f"`{folder}/report.json`" in text
    assert os.path.commonpath([folder, "reports"]) == "reports"
