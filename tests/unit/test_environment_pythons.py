"""Which Python an environment gets: the one that its file pins, whatever the host runs on, or an error that helps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reportlib.environments import backends, create
from reportlib.environments import spec as spec_module
from reportlib.environments.backends import RattlerBackend, UvBackend, installed_python, provide_python
from reportlib.environments.spec import EnvironmentSpec, load_spec
from reportlib.errors import CompilerError, EnvironmentCreationError

#: uv as it is where Python 3.8 is not installed and its download fails; what it is asked goes into a file.
UV = """#!/bin/sh
echo "$*" >> {asked}
if [ "$1" = python ] && [ -e {python} ]; then echo {python}; exit 0; fi
if [ "$1" = python ]; then echo "error: No interpreter found for Python 3.8 in search path" >&2; exit 2; fi
{download}
echo "error: Request failed after 3 retries in 6.4s" >&2
echo "  cause: Failed to download https://example.org/cpython.tar.gz" >&2
echo "  cause: failed to lookup address information" >&2
exit 2
"""


@pytest.fixture
def spec(tmp_path: Path) -> EnvironmentSpec:
    text = "name: old\nchannels: [some-channel]\ndependencies: [python=3.8.20, pip: [torch==2.0.1]]\n"
    (tmp_path / "environment-old.yml").write_text(text)
    return load_spec("old", tmp_path)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a uv without a Python 3.8 notes what it was asked."""
    return stand_in(tmp_path, monkeypatch)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, download: str = "") -> Path:
    program, asked = folder / "uv", folder / "asked"
    program.write_text(UV.format(asked=asked, python=folder / "python3.8", download=download))
    program.chmod(0o755)
    monkeypatch.setattr(spec_module, "find_uv", lambda: str(program))
    monkeypatch.setattr(backends, "unreachable", lambda _: "timed out")
    return asked


def test_where_nobody_has_the_python_the_mend_is_said(spec: EnvironmentSpec, asked: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentCreationError) as caught:
        create(spec, tmp_path / "home", locked=False)
    assert caught.value.what == (
        "the conda channel some-channel cannot be reached: timed out; environment-old.yml pins Python 3.8, none is on"
        " this machine, and uv could not download one (Request failed after 3 retries in 6.4s: failed to lookup address"
        " information)"
    )
    for mend in ("install a Python 3.8", "UV_PYTHON_INSTALL_MIRROR", "reportlib env adopt old PREFIX"):
        assert mend in str(caught.value.mend)
    assert "pip" not in asked.read_text()  # nothing was resolved or installed before
    assert not (tmp_path / "home" / "envs").exists()


def test_without_conda_alone_the_other_backend_is_named(spec: EnvironmentSpec, asked: Path) -> None:
    with pytest.raises(EnvironmentCreationError) as caught:
        backends.choose("rattler", spec)
    assert "--backend uv" in str(caught.value.mend)
    assert not asked.exists()


def test_a_python_on_the_machine_is_asked_for_by_its_version_only(
    spec: EnvironmentSpec, asked: Path, tmp_path: Path
) -> None:
    (tmp_path / "python3.8").touch()
    assert UvBackend().obstacle(spec) == ""
    assert asked.read_text() == "python find --no-project --system 3.8\n"
    assert installed_python("3.8") == tmp_path / "python3.8"


def test_one_that_is_missing_is_downloaded(
    spec: EnvironmentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(tmp_path, monkeypatch, f"touch {tmp_path / 'python3.8'}; exit 0")
    assert installed_python("3.8") is None
    assert backends.choose("rattler|uv", spec)[0].name == "uv"
    assert provide_python("3.8") == tmp_path / "python3.8"
    assert "venv --no-project --python 3.8" in asked.read_text()


def test_the_real_uv_knows_the_python_that_runs_this_and_no_python_2_0() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = installed_python(version)
    assert found is not None
    assert found.exists()
    assert installed_python("2.0") is None


def test_the_hosts_own_python_counts_wherever_it_lies(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del asked
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "python").symlink_to(tmp_path / "real")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment" / "python"))
    monkeypatch.setattr("platform.python_version", lambda: "3.8.20")
    assert installed_python("3.8") == tmp_path / "real"
    assert installed_python("3.80") is None


def pretend_python(folder: Path) -> Path:
    """Return a Python that says its headers are in ``<folder>/include``."""
    program = folder / "python3.8"
    program.write_text(f"#!/bin/sh\necho {folder / 'include'}\n")
    program.chmod(0o755)
    return program


def test_a_python_without_headers_is_found_out_before_anything_is_installed(
    spec: EnvironmentSpec, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "require_compiler", lambda: None)
    pretend_python(tmp_path)
    with pytest.raises(CompilerError, match=r"(?s)no Python\.h in .*include.*apt-get install python3-dev"):
        create(spec, tmp_path / "home", backend="uv", locked=False)
    assert "pip" not in asked.read_text()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    UvBackend().require_compiler(spec)


def test_conda_brings_headers_and_a_compiler_only_where_the_file_lists_one(
    spec: EnvironmentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise CompilerError("there is no C++ compiler", "install one")

    monkeypatch.setattr(backends, "require_compiler", missing)
    with pytest.raises(CompilerError):
        RattlerBackend().require_compiler(spec)
    listed = spec.path.read_text().replace("python=3.8.20", "python=3.8.20, gxx=11.4.0")
    (tmp_path / "environment-old.yml").write_text(listed)
    RattlerBackend().require_compiler(load_spec("old", tmp_path))
