"""What must hold for the repository as a whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import bs4
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


#: The oldest and the newest of each Python that the host runs on; some packages tell 3.11.4 from 3.11.5.
PYTHONS = ("3.11.0", "3.11.20", "3.12.0", "3.12.20", "3.13.0", "3.13.20")


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


def locked_for(python: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return what requirements.lock installs on a Python for Linux, and the markers' environment."""
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python, "extra": ""}
    environment |= {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"}
    found: dict[str, str] = {}
    for name, version, marker in re.findall(
        r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\]+))?", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    ):
        if not marker or Marker(marker.strip()).evaluate(environment):
            assert canonicalize_name(name) not in found, f"{name} is locked twice for Python {python}"
            found[canonicalize_name(name)] = version
    return found, environment


@pytest.mark.parametrize("python", PYTHONS)
def test_the_host_lock_is_whole_on_each_python_that_the_host_runs_on(python: str) -> None:
    locked, environment = locked_for(python)
    open_ = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_:
        wanted = open_.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        assert name in locked, f"{wanted} is not locked for Python {python}"
        assert wanted.specifier.contains(locked[name], prereleases=True), f"{wanted}, and {locked[name]} is locked"
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            here = distribution(name)
        except PackageNotFoundError:
            continue  # for another Python than this one
        if here.version != locked[name]:
            continue
        assert python in SpecifierSet(here.metadata.get("Requires-Python") or ""), f"{name} does not run on {python}"
        for text in here.requires or ():
            inner = Requirement(text)
            if any(
                inner.marker is None or inner.marker.evaluate({**environment, "extra": extra})
                for extra in extras | {""}
            ):
                open_.append(inner)
    assert len(seen) > 150


def test_the_pythons_are_named_alike_everywhere() -> None:
    minors = sorted({python.rpartition(".")[0] for python in PYTHONS})
    classified = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert classified == minors
    assert SpecifierSet(PROJECT["requires-python"]).contains(PYTHONS[0])
    for document in ("README.md", "CONTRIBUTING.md", "docs/tutorial.md"):
        assert "3.11, 3.12 or 3.13" in " ".join((ROOT / document).read_text().split()), document


def test_the_packages_that_ci_installs_are_those_that_the_readme_names() -> None:
    named = re.search(r"^packages=\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert named
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("- Debian packages"))
    assert sorted(" ".join(re.findall(r"`([^`]+)`", line)).split()) == named[1].split()


def test_the_readme_names_every_published_page_with_the_verdict_on_it() -> None:
    rows = re.findall(r"^\| \[.*\]\((reports/[^)]+)\).* \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    pages = {str(page.relative_to(ROOT)): page.read_text() for page in ROOT.glob("reports/*/index.html")}
    verdicts = {name: bs4.BeautifulSoup(page, "html.parser").select_one("h1") for name, page in pages.items()}
    assert dict(rows) == {name: " ".join(h1.text.split()) for name, h1 in verdicts.items() if h1}


#: A Python that says it is another, and that makes an environment which only looks like one.
FAKE = """#!/bin/sh
if [ "$1" = -c ]; then
  exec {python} -c 'import sys; sys.version_info = {version}; sys.modules |= {hidden}; exec(sys.argv.pop(1))' "$2"
fi
mkdir -p .venv/bin && echo {name} > .venv/made-by && ln -s {true} .venv/bin/python && ln -s {true} .venv/bin/uv
"""


def set_up(folder: Path, pythons: dict[str, tuple[int, ...]], *arguments: str, without: tuple[str, ...] = ()) -> str:
    """Run ``make setup`` where there are no other Pythons; return which made the environment, or the complaint."""
    project, programs = folder / "a project", folder / "bin"
    for made in (project, programs):
        made.mkdir()
    (project / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (project / "requirements.lock").write_text("uv==1.0\n")
    (project / "pyproject.toml").touch()
    for name in ("mkdir", "ln", "sed", "touch"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name, version in pythons.items():
        hidden = {"ensurepip": None} if name in without else {}
        text = FAKE.format(python=sys.executable, version=version, hidden=hidden, name=name, true=shutil.which("true"))
        (programs / name).write_text(text.replace("'ensurepip'", '"ensurepip"'))
        (programs / name).chmod(0o755)
    environment = {"PATH": str(programs), "HOME": str(folder)}
    command = [str(shutil.which("make")), "setup", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    made_by = project / ".venv" / "made-by"
    assert (done.returncode == 0) == made_by.exists() == (project / ".venv" / ".ready").exists(), done.stderr
    return made_by.read_text().strip() if made_by.exists() else done.stderr


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": (3, 11, 2)}, "python3"),
        ({"python3.12": (3, 12, 3), "python3": (3, 12, 3)}, "python3.12"),
        ({"python3.13": (3, 13, 5), "python3": (3, 13, 5)}, "python3.13"),
        ({"python3.11": (3, 11, 2), "python3.13": (3, 13, 5)}, "python3.11"),
        ({"python3.12": (3, 12, 3), "python3": (3, 14, 0)}, "python3.12"),
    ],
)
def test_the_makefile_takes_the_first_python_that_will_do(
    pythons: dict[str, tuple[int, ...]], taken: str, tmp_path: Path
) -> None:
    assert set_up(tmp_path, pythons) == taken


def test_a_python_that_cannot_make_an_environment_is_passed_over(tmp_path: Path) -> None:
    pythons = {"python3.11": (3, 11, 2), "python3.12": (3, 12, 3)}
    assert set_up(tmp_path, pythons, without=("python3.11",)) == "python3.12"


def test_where_no_python_can_make_an_environment_the_package_is_named(tmp_path: Path) -> None:
    said = set_up(tmp_path, {"python3.13": (3, 13, 5), "python3": (3, 13, 5)}, without=("python3.13", "python3"))
    assert "no venv for python3.13 python3." in said
    assert "apt-get install python3-venv" in said


@pytest.mark.parametrize("pythons", [{}, {"python3": (3, 10, 12)}, {"python3": (3, 14, 0)}])
def test_where_no_python_will_do_it_says_which_will(pythons: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    said = set_up(tmp_path, pythons)
    assert "Python 3.11, 3.12 or 3.13: python3.11 python3.12 python3.13 python3" in said
    assert "make PYTHON=" in said


def test_a_python_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    pythons = {"python3.11": (3, 11, 2), "my python": (3, 12, 3), "old": (3, 10, 1)}
    for folder, wanted in enumerate(("my python", "old")):
        (tmp_path / str(folder)).mkdir()
        said = set_up(tmp_path / str(folder), pythons, f"PYTHON={wanted}")
        assert said == wanted if wanted != "old" else "or 3.13: old. Install" in said


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
