"""How a process runs inside an environment, and what an environment's description survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from string import Template

import pytest

import reportlib
from reportlib.environments import manage
from reportlib.environments import spec as spec_module
from reportlib.environments.manage import _same_version
from reportlib.environments.record import (
    EnvironmentRecord,
    check,
    find_record,
    load_record,
    process_environment,
    record_path,
    records,
    variables,
    write_kernel,
)
from reportlib.environments.spec import UvFailedError, explain
from reportlib.errors import (
    CompilerError,
    DeviceError,
    DiskSpaceError,
    EnvironmentCreationError,
    EnvironmentFileError,
    PinsConflictError,
    ReportlibError,
)
from reportlib.workflow.run import host_variables


@pytest.fixture
def record(tmp_path: Path) -> EnvironmentRecord:
    """An environment whose python is a shell script."""
    prefix = tmp_path / "home" / "envs" / "torch9"
    (prefix / "bin").mkdir(parents=True)
    record = EnvironmentRecord("torch9", str(prefix), "uv", "digest", torch="2.0.1", python="3.11.7")
    speak(record, "exit 0")
    return record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def speak(record: EnvironmentRecord, script: str) -> None:
    record.python_program.write_text(f"#!/bin/sh\n{script}\n")
    record.python_program.chmod(0o755)


# -- kernels --------------------------------------------------------------------------------------


def test_a_kernel_starts_the_environments_python_in_the_environments_way(record: EnvironmentRecord, home: Path) -> None:
    path = write_kernel(record, home, threads=3)
    assert path == home / "jupyter" / "kernels" / "torch9" / "kernel.json"
    content = json.loads(path.read_text())
    assert content["argv"] == [
        f"{record.prefix}/bin/python",
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    assert content["env"] == variables(record, home, threads=3)
    assert {content["env"][f"{library}_NUM_THREADS"] for library in ("OMP", "MKL", "OPENBLAS")} == {"3"}
    assert content["env"]["PATH"] == f"{record.prefix}/bin:${{PATH}}"
    assert content["env"]["PYTHONNOUSERSITE"] == "1"
    assert "HF_HUB_OFFLINE" not in content["env"]
    assert (home / "path" / "reportlib").resolve() == Path(reportlib.__file__).parent.resolve()
    assert [p.name for p in (home / "path").iterdir()] == ["reportlib"]


def test_jupyter_finds_the_kernel_there(record: EnvironmentRecord, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    write_kernel(record, home)
    monkeypatch.setenv("JUPYTER_PATH", str(home / "jupyter"))
    spec = KernelSpecManager().get_kernel_spec("torch9")
    assert spec.argv[0] == str(record.python_program)
    assert spec.display_name == "torch9 (torch 2.0.1)"


def test_a_stale_link_to_the_package_is_replaced(record: EnvironmentRecord, home: Path) -> None:
    link = home / "path" / "reportlib"
    link.parent.mkdir(parents=True)
    link.symlink_to("/nowhere")
    write_kernel(record, home)
    assert (link / "store.py").is_file()


def test_a_process_gets_the_users_variables_with_the_environments_over_them(
    record: EnvironmentRecord, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    monkeypatch.setenv("PYTHONHOME", "/theirs")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = process_environment(record, home)
    assert found["HF_HUB_OFFLINE"] == "1"
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["PYTHONPATH"] == str(home / "path")
    assert "PYTHONHOME" not in found
    assert found["PATH"] == f"{record.prefix}/bin:/usr/bin:/bin"
    assert "CUDA_HOME" not in found


def test_dollars_in_a_path_reach_a_kernel_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter takes a kernel's variables for templates (`jupyter_client.provisioning`)."""
    monkeypatch.setenv("HOME", "/not/this")
    home = tmp_path / "of $HOME and ${HOME} for 5 $$"
    prefix = home / "envs" / "torch9"
    record = EnvironmentRecord("torch9", str(prefix), "uv", "digest", torch="2.0.1", python="3.11.7")
    written = json.loads(write_kernel(record, home).read_text())["env"]
    filled = {name: Template(value).safe_substitute(os.environ) for name, value in written.items()}
    own = process_environment(record, home)
    assert filled == {name: own[name] for name in filled}
    assert filled["PYTHONPATH"] == str(home / "path")


def test_an_environments_own_cuda_compiler_goes_before_the_users(
    record: EnvironmentRecord, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda-13.0")
    assert process_environment(record, home)["CUDA_HOME"] == "/usr/local/cuda-13.0"
    Path(record.prefix, "bin", "nvcc").touch()
    assert process_environment(record, home)["CUDA_HOME"] == record.prefix


# -- descriptions ---------------------------------------------------------------------------------


def test_a_description_comes_back_as_it_was_written(record: EnvironmentRecord, home: Path) -> None:
    full = replace(record, packages={"torch": "2.0.1"}, skipped=("gxx: why",), extensions=True)
    full.write(home)
    assert load_record("torch9", home) == full
    assert records(home) == [full]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 1}', '{"format": 999}'])
def test_a_description_that_cannot_be_read_is_no_environment(
    damage: str, record: EnvironmentRecord, home: Path
) -> None:
    record.write(home)
    record_path("torch9", home).write_text(damage)
    assert find_record("torch9", home) is None
    with pytest.raises(EnvironmentCreationError, match="env create torch9"):
        load_record("torch9", home)


def test_a_description_without_its_prefix_is_no_environment(record: EnvironmentRecord, home: Path) -> None:
    record.write(home)
    record.python_program.unlink()
    assert records(home) == []


@pytest.mark.parametrize(
    ("found", "pinned", "expected"),
    [
        ("2.0.1", "2.0.1", True),
        ("2.0.1+cu118", "2.0.1", True),  # another build of the pinned version
        ("2.0.1+cu118", "2.0.1+cu117", False),
        ("2.0.1", "2.0.1+cu117", False),
        ("2.0.10", "2.0.1", False),
        ("1.0", "1.0.0", True),
        ("not a version", "1.0", False),
    ],
)
def test_versions_are_compared_as_versions(found: str, pinned: str, expected: bool) -> None:
    assert _same_version(found, pinned) is expected


# -- check ----------------------------------------------------------------------------------------


def test_a_check_runs_in_the_environment_and_returns_what_it_finds(record: EnvironmentRecord, home: Path) -> None:
    speak(
        record,
        """echo "{\\"usable\\": true, \\"arguments\\": \\"$*\\", \\"threads\\": $OMP_NUM_THREADS}" """,
    )
    assert check(record, home, "cuda") == {
        "usable": True,
        "arguments": "-m reportlib.capture.preflight --device cuda",
        "threads": 2,
    }


@pytest.mark.parametrize(("error", "kind"), [("DeviceError", DeviceError), ("CompilerError", CompilerError)])
def test_a_device_that_cannot_be_used_is_an_error(
    error: str, kind: type[ReportlibError], record: EnvironmentRecord, home: Path
) -> None:
    report = {"usable": False, "error": error, "what": "no kernels", "mend": "a newer torch"}
    speak(record, f"echo '{json.dumps(report)}'")
    with pytest.raises(kind, match=r"(?s)torch9 cannot use cuda: no kernels.*a newer torch"):
        check(record, home, "cuda")


@pytest.mark.parametrize("script", ["echo ImportError: libcudart >&2; exit 1", "echo 'libcudart is not JSON'"])
def test_a_torch_that_does_not_start_is_an_error(script: str, record: EnvironmentRecord, home: Path) -> None:
    speak(record, script)
    with pytest.raises(EnvironmentCreationError, match="torch does not start in the environment torch9"):
        check(record, home, "cpu")


# -- what uv says ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("failed to write: No space left\n  on device (os error 28)", DiskSpaceError, "ran full"),
        (
            "Because there is no version of\n  torch==2.0.99 and you",
            EnvironmentFileError,
            "torch has no version 2.0.99",
        ),
        (
            "Because torhc was not found in the package registry",
            EnvironmentFileError,
            "no package torhc",
        ),
        ("No solution found: numpy and scipy", PinsConflictError, "do not go together"),
        ("Hash mismatch for `six==1.0`", EnvironmentCreationError, "not the file that the lock"),
        ("Failed to fetch: dns error", EnvironmentCreationError, "UV_DEFAULT_INDEX"),
        ("something new", EnvironmentCreationError, "something new"),
    ],
)
def test_what_uv_says_becomes_an_error_with_a_mend(
    said: str, kind: type[ReportlibError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec_module, "_nearest", lambda *_: "2.0.1 and 2.1.0")
    error = explain(UvFailedError(said), Path("environment-torch9.yml"))
    assert type(error) is kind
    assert words in str(error)


def test_uv_may_say_more_than_a_pipe_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talker = tmp_path / "uv"
    talker.write_text("#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\nhead -c 300000 /dev/zero | tr '\\0' y >&2\n")
    talker.chmod(0o755)
    monkeypatch.setattr(spec_module, "find_uv", lambda: str(talker))
    lines: list[str] = []
    assert len(spec_module.run_uv(["anything"], progress=lines.append)) == 300000
    assert len("".join(lines)) == 300000


def test_uv_is_ended_when_its_progress_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "uv"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho working >&2\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(spec_module, "find_uv", lambda: str(slow))

    def interrupt(line: str) -> None:
        assert line == "working"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spec_module.run_uv(["anything"], progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_uv_is_there() -> None:
    done = subprocess.run([spec_module.find_uv(), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("uv ")


def test_what_a_thread_still_writes_is_removed_too(tmp_path):
    """py-rattler raises for one package while its threads link another."""
    prefix = tmp_path / "half-made"
    prefix.mkdir()

    def link() -> None:
        time.sleep(0.1)
        prefix.mkdir(exist_ok=True)
        (prefix / "late").touch()

    thread = threading.Thread(target=link)
    thread.start()
    manage._clear(prefix)
    thread.join()
    assert not prefix.exists()


#: Prints over what a kernel speaks, how many sockets it has, whether it answers when started again, and what it leaves.
SPEAKING = """
import json
from pathlib import Path
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
folder = Path(manager.ip).parent if client.transport == "ipc" else Path("nowhere")
found = {"transport": client.transport, "sockets": len(list(folder.glob("*")))}
manager.restart_kernel(now=True)
client.wait_for_ready(timeout=60)
client.stop_channels()
manager.shutdown_kernel(now=True)
print(json.dumps({**found, "left": folder.exists()}))
"""


@pytest.mark.parametrize(("named", "transport", "sockets"), [("t", "ipc", 5), ("long" * 20, "tcp", 0)])
def test_a_kernel_takes_no_port_that_another_process_could_take_first(
    home: Path, tmp_path: Path, named: str, transport: str, sockets: int
) -> None:
    """Two arms started side by side once met in one, and a run failed after a minute of waiting for an answer."""
    with tempfile.TemporaryDirectory() as short:
        temporary = Path(short) / named
        temporary.mkdir()
        variables = {"TMPDIR": str(temporary), "JUPYTER_RUNTIME_DIR": str(tmp_path / ("long" * 40))}
        done = subprocess.run(
            [sys.executable, "-c", SPEAKING],
            env={**host_variables(home), **variables}, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert list(temporary.glob("reportlib-*")) == []
    assert json.loads(done.stdout) == {"transport": transport, "sockets": sockets, "left": False}
