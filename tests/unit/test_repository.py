"""What must hold for the repository as a whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def files() -> list[Path]:
    """Return what git would carry; outside a checkout there is nothing to look at."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_host_lock_has_every_dependency_in_a_version_that_fits():
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        found = locked.get(canonicalize_name(wanted.name))
        assert found, f"{wanted.name} is not in requirements.lock: run `make lock`"
        assert found in wanted.specifier, f"{wanted} is locked at {found}: run `make lock`"


def test_pre_commit_runs_the_ruff_of_the_lock():
    locked = re.search(r"^ruff==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert set(re.findall(r"ruff==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text())) == {locked[1]}


def test_the_host_has_no_torch():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^torch==", lock, re.MULTILINE)


def test_locks_have_hashes_and_no_address():
    for lock in (ROOT / "requirements.lock", *ROOT.glob("environments/*.lock.txt"), *ROOT.glob("docs/*/*.txt")):
        text = lock.read_text()
        assert "://" not in text, lock.name
        assert text.count("--hash=sha256:") >= len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    private = re.compile("|".join(rf"(?<![\w.]){re.escape(str(folder))}/" for folder in (Path.home(), ROOT)))
    for file in files():
        if file.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".html", ".json", ".txt", ".lock", ""}:
            for line in file.read_text(errors="replace").splitlines():
                assert not private.search(line), f"{file.relative_to(ROOT)}: {line[:120]}"


def test_nothing_large_is_carried():
    large = {str(f.relative_to(ROOT)): f.stat().st_size for f in files() if f.stat().st_size > 2_000_000}
    assert large == {}


def test_every_link_of_the_documents_into_the_repository_leads_somewhere():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
