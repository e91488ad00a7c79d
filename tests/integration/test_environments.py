"""Environments made for real, by both backends, from packages that the tests make themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_packages import PLACEHOLDER, Channel, make_wheel

from reportlib import environments
from reportlib.environments import backends
from reportlib.environments import spec as spec_module
from reportlib.environments.record import find_record, kernel_folder, process_environment
from reportlib.environments.spec import EnvironmentSpec
from reportlib.errors import (
    CompilerError,
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
)
from reportlib.store import project_home

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package registry with two versions of something called torch, and nothing else."""
    folder = tmp_path / "registry"
    for version in ("2.0.1", "2.1.0"):
        make_wheel(folder, "torch", version, ("helper-package",))
    make_wheel(folder, "helper-package", "1.4")
    settings = tmp_path / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    # Were the settings not read, uv would go for the real torch.
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    # rattler's packages have the same names and versions in every test and different bytes.
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler-cache"))
    return folder


@pytest.fixture
def project(tmp_path: Path, registry: Path) -> Path:
    del registry
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    made = Channel(tmp_path / "channel")
    made.add_python(f"{PYTHON}.99")
    made.add(
        "greeter",
        "1.2",
        {
            "bin/greet": f"#!/bin/sh\necho hello from {PLACEHOLDER}\n",
            "share/greeter/words": "hello\n",
        },
        depends=("python",),
    )
    return made


def write_spec(
    project: Path,
    *,
    torch: str = "2.0.1",
    channels: tuple[str, ...] = (),
    conda: tuple[str, ...] = (),
    name: str = "small",
) -> EnvironmentSpec:
    lines = [f"name: {name}", f"channels: [{', '.join(channels)}]", "dependencies:"]
    lines += [f"  - python={PYTHON}", *(f"  - {text}" for text in conda), "  - pip:"]
    lines += [f"      - torch=={torch}"]
    (project / f"environment-{name}.yml").write_text("\n".join(lines) + "\n")
    return environments.load_spec(name, project)


def make(spec: EnvironmentSpec, home: Path, **options: object) -> environments.EnvironmentRecord:
    settings = {"backend": "uv", "extensions": False, **options}
    return environments.create(spec, home, **settings).record  # type: ignore[arg-type]


def torch_in(record: environments.EnvironmentRecord, home: Path) -> str:
    done = subprocess.run(
        [record.python_program, "-c", "import torch; print(torch.__version__)"],
        env=process_environment(record, home),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


# -- uv -----------------------------------------------------------------------------------------


def test_uv_makes_what_the_lock_says_and_leaves_out_conda_packages_by_name(project: Path, home: Path) -> None:
    spec = write_spec(project, conda=("gxx=11.4.0", "pip=24.3.1"))
    environments.write_lock(spec)
    # Newer than the lock: must not be taken.
    make_wheel(project.parent / "registry", "helper-package", "9.9")

    record = make(spec, home)

    assert torch_in(record, home) == "2.0.1"
    assert record.packages == {"helper-package": "1.4", "torch": "2.0.1"}
    assert (record.backend, record.torch) == ("uv", "2.0.1")
    assert [text.split(":")[0] for text in record.skipped] == ["gxx=11.4.0"]
    assert environments.load_record("small", home) == record


def test_lock_names_no_address_and_no_path(project: Path) -> None:
    spec = write_spec(project)
    text = environments.write_lock(spec).text
    assert str(project.parent) not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert text.count("--hash=sha256:") == 2


def test_a_package_with_other_bytes_than_the_lock_knows_is_refused(
    project: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    make_wheel(project.parent / "registry", "helper-package", "1.4", ("torch",))
    # uv's cache still has the bytes that the lock knows, and rightly uses them.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
    with pytest.raises(EnvironmentCreationError, match=r"(?s)not the file that the lock.*helper"):
        make(spec, home)
    assert not (home / "envs" / "small").exists()


def test_second_creation_does_nothing(project: Path, home: Path) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    first = environments.create(spec, home, backend="uv", extensions=False)
    marker = Path(first.record.prefix, "marker")
    marker.touch()
    before = (kernel_folder(home) / "kernels" / "small" / "kernel.json").stat().st_mtime_ns

    lines: list[str] = []
    start = time.perf_counter()
    second = environments.create(spec, home, backend="rattler|uv", extensions=False, progress=lines.append)

    assert time.perf_counter() - start < 0.5
    assert (first.made, second.made, lines) == (True, False, [])
    assert marker.exists()
    assert (kernel_folder(home) / "kernels" / "small" / "kernel.json").stat().st_mtime_ns == before


def test_a_changed_file_makes_the_environment_anew(project: Path, home: Path) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    make(spec, home)
    changed = write_spec(project, torch="2.1.0")

    with pytest.raises(EnvironmentFileError, match=r"torch==2\.1\.0, the lock has 2\.0\.1"):
        make(changed, home)
    assert torch_in(environments.load_record("small", home), home) == "2.0.1"

    environments.write_lock(changed)
    assert torch_in(make(changed, home), home) == "2.1.0"


def test_without_a_lock_the_file_is_resolved_as_of_now(project: Path, home: Path) -> None:
    spec = write_spec(project)
    with pytest.raises(EnvironmentFileError, match="there is no lock"):
        make(spec, home)
    make_wheel(project.parent / "registry", "helper-package", "9.9")
    record = make(spec, home, locked=False)
    assert (record.packages["helper-package"], record.lock_digest) == ("9.9", "")
    assert not spec.lock_path.exists()


def test_a_version_that_does_not_exist_is_named_with_its_neighbours(project: Path, home: Path) -> None:
    spec = write_spec(project, torch="2.0.99")
    with pytest.raises(EnvironmentFileError) as caught:
        make(spec, home, locked=False)
    assert "torch has no version 2.0.99" in str(caught.value)
    assert "2.0.1 and 2.1.0" in str(caught.value)
    with pytest.raises(EnvironmentFileError, match=r"2\.0\.99"):
        environments.write_lock(spec)
    assert not (home / "envs" / "small").exists()
    assert not spec.lock_path.exists()


def test_the_kernel_sees_this_package_and_nothing_else_of_the_host(project: Path, home: Path) -> None:
    spec = write_spec(project)
    record = make(spec, home, locked=False)
    kernel = json.loads((kernel_folder(home) / "kernels" / "small" / "kernel.json").read_text())
    script = """
import importlib.util, json, os, reportlib, sys
print(json.dumps({
    "host": [n for n in ("typer", "rattler", "pytest") if importlib.util.find_spec(n)],
    "reportlib": os.path.realpath(reportlib.__file__), "prefix": sys.prefix, "env": dict(os.environ)}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {k: v.replace("${PATH}", os.environ["PATH"]) for k, v in kernel["env"].items()}
    done = subprocess.run(
        [kernel["argv"][0], "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["host"] == []
    assert found["reportlib"] == str(REPOSITORY / "reportlib" / "__init__.py")
    assert found["prefix"] == record.prefix
    assert found["env"]["PATH"].split(os.pathsep)[0] == f"{record.prefix}/bin"
    assert found["env"]["OMP_NUM_THREADS"] == "2"
    assert found["env"]["TORCH_EXTENSIONS_DIR"].startswith(record.prefix)
    assert kernel_folder(home).is_relative_to(home)


def test_removal_leaves_nothing_and_says_what_is_unknown(project: Path, home: Path) -> None:
    spec = write_spec(project)
    record = make(spec, home, locked=False)
    environments.remove("small", home)
    assert not Path(record.prefix).exists()
    assert environments.records(home) == []
    with pytest.raises(EnvironmentCreationError, match=r"no environment 'small'.*made: none"):
        environments.remove("small", home)


# -- nothing half-made ----------------------------------------------------------------------------

_CREATE = """
import signal, sys, time
from pathlib import Path
from reportlib import environments

# A shell's background job, as CI may be, ignores Ctrl-C, and so would its children; a user's terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)

def progress(line):
    if sys.argv[3] in line:
        Path(sys.argv[4]).touch()
        time.sleep(60)

spec = environments.load_spec("small", Path(sys.argv[1]))
environments.create(
    spec, Path(sys.argv[2]), backend=sys.argv[5], locked=False, extensions=False, progress=progress)
"""


@pytest.fixture
def cut_off(tmp_path: Path, project: Path, home: Path) -> Iterator[object]:
    """Start a creation in another process, and end it when it reports a certain step."""
    started: list[subprocess.Popen[bytes]] = []

    def run(step: str, backend: str, kind: signal.Signals) -> None:
        marker = tmp_path / "reached"
        command = [sys.executable, "-c", _CREATE, project, home, step, marker, backend]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        started.append(process)
        deadline = time.monotonic() + 60
        while not marker.exists():
            assert process.poll() is None, "the creation ended before the step"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(kind)
        process.wait(timeout=30)

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("backend", ["uv", "rattler"])
def test_a_killed_creation_is_no_environment_and_the_next_one_succeeds(
    backend: str, project: Path, home: Path, channel: Channel, cut_off: object
) -> None:
    spec = write_spec(project, channels=(channel.url,), conda=("greeter=1.2",))
    cut_off("installing the pip part", backend, signal.SIGKILL)  # type: ignore[operator]

    prefix = home / "envs" / "small"
    assert prefix.exists()  # a killed process cannot clear up
    (prefix / "left-behind").touch()
    assert find_record("small", home) is None
    assert environments.records(home) == []

    record = make(spec, home, backend=backend, locked=False)
    assert not (prefix / "left-behind").exists()
    assert torch_in(record, home) == "2.0.1"


@pytest.mark.parametrize("backend", ["uv", "rattler"])
def test_an_interrupted_creation_clears_up(
    backend: str, project: Path, home: Path, channel: Channel, cut_off: object
) -> None:
    write_spec(project, channels=(channel.url,))
    cut_off("installing the pip part", backend, signal.SIGINT)  # type: ignore[operator]
    assert [p.name for p in (home / "envs").iterdir()] == [".lock"]
    assert not kernel_folder(home).exists()


def test_a_uv_that_outlives_its_killed_creation_keeps_the_next_one_waiting(
    project: Path, home: Path, tmp_path: Path
) -> None:
    """Two processes that fill one prefix would leave a mixture."""
    spec = write_spec(project)
    slow = tmp_path / "slow-uv"
    ended = tmp_path / "ended"
    # Which Python there is, the real one is asked, before anything is put anywhere.
    slow.write_text(
        f'#!/bin/sh\nif [ "$1" = python ]; then exec {spec_module.find_uv()} "$@"; fi\n'
        f"echo started >&2\nsleep 2\ntouch {ended}\n"
    )
    slow.chmod(0o755)
    script = f"from reportlib.environments import spec\nspec.find_uv = lambda: {str(slow)!r}\n"
    # The lock is read first, so that the slow program is met while a prefix is filled.
    environments.write_lock(spec)
    script += _CREATE.replace("locked=False", "locked=True").replace("time.sleep(60)", "pass")
    marker = tmp_path / "reached"
    command = [sys.executable, "-c", script, project, home, "started", marker, "uv"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()

    assert not ended.exists()
    lines: list[str] = []
    record = make(spec, home, progress=lines.append)
    assert ended.exists()
    assert lines[0].startswith("waiting for another process")
    assert torch_in(record, home) == "2.0.1"


def test_a_disk_that_runs_full_leaves_nothing(
    project: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    full = tmp_path / "full-uv"
    full.write_text(
        f'#!/bin/sh\nif [ "$1" = venv ]; then exec {spec_module.find_uv()} "$@"; fi\n'
        "echo 'error: failed to copy file: No space left on device (os error 28)' >&2\nexit 2\n"
    )
    full.chmod(0o755)
    monkeypatch.setattr(spec_module, "find_uv", lambda: str(full))
    with pytest.raises(DiskSpaceError, match="ran full"):
        make(spec, home)
    assert not (home / "envs" / "small").exists()
    assert find_record("small", home) is None


def test_a_disk_without_room_is_refused_before_anything_is_written(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    monkeypatch.setattr(backends, "free_bytes", lambda _: 3 * backends.GIB)
    with pytest.raises(DiskSpaceError, match=r"needs about 5\.0 GiB, .* has 3\.0 GiB free"):
        make(spec, home)
    assert not home.exists()
    assert make(spec, home, check_space=False).torch == "2.0.1"


def test_no_compiler_is_an_error_before_anything_is_made(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(project)
    environments.write_lock(spec)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerError, match=r"(?s)no-such-compiler.*apt-get install g\+\+"):
        make(spec, home, extensions=True)
    assert not home.exists()


def test_extensions_that_do_not_compile_leave_the_environment_to_go_on_with(project: Path, home: Path) -> None:
    """The stub has no colbert-ai, so compiling fails after everything is installed."""
    spec = write_spec(project)
    environments.write_lock(spec)
    with pytest.raises(CompilerError, match=r"(?s)small.*goes on"):
        make(spec, home, extensions=True)
    record = environments.load_record("small", home)
    assert (record.extensions, record.torch) == (False, "2.0.1")
    # Left by a compilation that was killed: torch would wait on it for ever.
    baton = record.extensions_folder(home) / "something" / "lock"
    baton.parent.mkdir(parents=True, exist_ok=True)
    baton.touch()
    with pytest.raises(CompilerError):
        make(spec, home, extensions=True)
    assert not baton.exists()


# -- rattler --------------------------------------------------------------------------------------


def test_rattler_makes_a_conda_prefix_with_the_pip_part_in_it(project: Path, home: Path, channel: Channel) -> None:
    spec = write_spec(project, channels=(channel.url, "nodefaults"), conda=("greeter=1.2", "cuda-nvcc=11.7.99"))
    environments.write_lock(spec)
    lines: list[str] = []
    record = make(spec, home, backend="rattler", progress=lines.append)

    prefix = Path(record.prefix)
    greeting = subprocess.run([prefix / "bin" / "greet"], capture_output=True, text=True, check=True)
    assert greeting.stdout == f"hello from {prefix}\n"
    assert (prefix / "share/greeter/words").read_text() == "hello\n"
    assert sorted(p.name for p in (prefix / "conda-meta").glob("*.json")) == [
        "greeter-1.2-0.json",
        f"python-{PYTHON}.99-0.json",
    ]
    assert record.conda_packages["greeter"].startswith("1.2 0 ")
    assert torch_in(record, home) == "2.0.1"
    assert (prefix / f"lib/python{PYTHON}/site-packages/torch/__init__.py").exists()
    assert record.skipped == ("cuda-nvcc=11.7.99: no GPU here",)
    assert any("conda package 2 of 2" in line for line in lines)


def test_a_conda_version_that_does_not_exist_is_named(project: Path, home: Path, channel: Channel) -> None:
    spec = write_spec(project, channels=(channel.url,), conda=("greeter=7.7",))
    with pytest.raises(EnvironmentFileError, match=r"greeter.*7\.7"):
        make(spec, home, backend="rattler", locked=False)
    assert not (home / "envs" / "small").exists()


def test_a_damaged_conda_package_leaves_nothing(project: Path, home: Path, channel: Channel) -> None:
    package = channel.add("broken", "1.0", {"share/broken": "whole\n"})
    package.write_bytes(package.read_bytes()[:100])
    spec = write_spec(project, channels=(channel.url,), conda=("broken=1.0",))
    with pytest.raises(EnvironmentCreationError, match="could not be installed"):
        make(spec, home, backend="rattler", locked=False)
    assert not (home / "envs" / "small").exists()


def test_without_a_channel_the_next_backend_is_used_and_says_why(project: Path, home: Path) -> None:
    missing = (project / "no-channel").as_uri()
    spec = write_spec(project, channels=(missing,))
    record = make(spec, home, backend="rattler|uv", locked=False)
    assert record.backend == "uv"
    assert missing in record.backend_reason
    with pytest.raises(EnvironmentCreationError, match=r"(?s)cannot be reached.*--backend uv"):
        make(spec, home, backend="rattler", locked=False)


# -- adopted --------------------------------------------------------------------------------------


def test_a_prefix_of_the_users_is_adopted_checked_and_never_touched(project: Path, home: Path, tmp_path: Path) -> None:
    spec = write_spec(project)
    theirs = Path(make(spec, tmp_path / "elsewhere", locked=False).prefix)
    before = sorted(theirs.rglob("*"))

    wrong = write_spec(project, torch="2.1.0")
    with pytest.raises(EnvironmentCreationError, match=r"torch is 2\.0\.1, the file pins 2\.1\.0"):
        environments.adopt(wrong, theirs, home)
    assert environments.records(home) == []

    spec = write_spec(project)
    done = environments.adopt(spec, theirs, home)
    assert (done.made, done.record.backend, done.record.prefix) == (True, "adopted", str(theirs))
    assert torch_in(done.record, home) == "2.0.1"
    assert not done.record.extensions_folder(home).is_relative_to(theirs)
    # `env create` takes it as it is.
    assert not environments.create(spec, home, locked=False, extensions=False).made

    environments.remove("small", home)
    assert sorted(p for p in theirs.rglob("*") if "__pycache__" not in p.parts) == [
        p for p in before if "__pycache__" not in p.parts
    ]
    assert environments.records(home) == []


def test_what_is_no_python_cannot_be_adopted(project: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentCreationError, match="not a working Python"):
        environments.adopt(write_spec(project), tmp_path, home)


def test_adopting_does_not_replace_an_environment_that_was_made(project: Path, home: Path) -> None:
    spec = write_spec(project)
    record = make(spec, home, locked=False)
    with pytest.raises(EnvironmentCreationError, match="already an environment small"):
        environments.adopt(spec, Path(record.prefix), home)


# -- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch201", "torch210"])
def test_the_real_environment_fits_its_file_and_can_be_checked(name: str) -> None:
    home = project_home()
    if find_record(name, home) is None:
        pytest.skip(f"{name} is not made")
    record = environments.load_record(name, home)
    spec = environments.load_spec(name, REPOSITORY)
    assert record.torch == spec.pins["torch"]
    found = environments.check(record, home, "cpu")
    assert found["torch"].split("+")[0] == record.torch
    assert found["bfloat16"] in ("native", "emulated")
    assert (found["bfloat16_ratio"] < 1) == (found["bfloat16"] == "native")
    assert found["cpu_capability"]
    # The wheel's own list, there on a machine without a GPU as well.
    assert "sm_80" in found["architectures"]
    assert ("sm_90" in found["architectures"]) == (name == "torch210")
