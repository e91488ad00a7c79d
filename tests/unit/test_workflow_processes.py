"""Processes in environments: how they are called, what is heard of them, and that none is left behind."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from reportlib.environments.record import EnvironmentRecord
from reportlib.errors import CaptureError
from reportlib.workflow.traces import Call, pipe, run


@pytest.fixture
def environment(tmp_path):
    """Make an environment whose Python is a shell script."""

    def make(name: str, script: str) -> EnvironmentRecord:
        program = tmp_path / name / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return EnvironmentRecord(name, str(program.parents[1]), "uv", "")

    return make


def call(record: EnvironmentRecord, verb: str = "verb", **options) -> Call:
    return Call(record, verb, options, 2, {"ATEN_CPU_CAPABILITY": "avx2"}, f"{verb}ing")


def alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_flags_and_what_is_not_given_are_told_from_values(environment):
    found = call(environment("x", ""), only=None, passes=True, quiet=False, threads=2).command()
    assert found[1:] == ["-m", "reportlib.trace", "verb", "--passes", "--threads", "2"]


def test_variables_go_over_those_of_every_process(environment, tmp_path):
    record = environment("x", f'echo "$ATEN_CPU_CAPABILITY $OMP_NUM_THREADS" > {tmp_path}/seen')
    run(call(record), tmp_path, print)
    assert (tmp_path / "seen").read_text() == "avx2 2\n"


def test_only_lines_of_the_arm_are_handed_on(environment, tmp_path):
    lines: list[str] = []
    run(call(environment("x", "echo 'x-float32 · done' >&2; echo noise >&2; echo out")), tmp_path, lines.append)
    assert lines == ["x-float32 · done"]


def test_a_process_that_fails_says_why(environment, tmp_path):
    with pytest.raises(CaptureError, match=r"verbing in the environment x failed:\nno weights"):
        run(call(environment("x", "echo no weights >&2; exit 3")), tmp_path, print)
    with pytest.raises(CaptureError, match="ended by signal 9"):
        run(call(environment("y", "kill -9 $$")), tmp_path, print)
    with pytest.raises(CaptureError, match="it said nothing"):
        run(call(environment("z", "exit 1")), tmp_path, print)


def test_what_one_writes_the_other_reads(environment, tmp_path):
    left = environment("x", "echo 'x-float32 · sending' >&2; head -c 3000000 /dev/zero")
    right = environment("y", f"wc -c > {tmp_path}/count; echo 'y-float32 · read' >&2")
    lines: list[str] = []
    pipe(call(left, "send"), call(right, "replay"), tmp_path, lines.append)
    assert (tmp_path / "count").read_text().strip() == "3000000"
    assert sorted(lines) == ["x-float32 · sending", "y-float32 · read"]


def test_a_sender_that_dies_is_to_blame_for_a_stream_that_stops(environment, tmp_path):
    left = environment("x", "head -c 1000 /dev/zero; echo out of memory >&2; exit 1")
    right = environment("y", "wc -c >/dev/null; echo the stream stops >&2; exit 1")
    with pytest.raises(CaptureError, match=r"sending in the environment x failed:\nout of memory"):
        pipe(call(left, "send"), call(right, "replay"), tmp_path, print)


def test_a_reader_that_dies_is_to_blame_for_a_broken_pipe(environment, tmp_path):
    left = environment("x", f"echo $$ > {tmp_path}/pid; exec cat /dev/zero")
    right = environment("y", "head -c 1000 >/dev/null; echo no such operation >&2; exit 1")
    with pytest.raises(CaptureError, match=r"replaying in the environment y failed:\nno such operation"):
        pipe(call(left, "send"), call(right, "replay"), tmp_path, print)
    assert not alive(tmp_path / "pid")


def test_a_program_that_is_not_there_leaves_no_sender(environment, tmp_path):
    left = environment("x", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    missing = EnvironmentRecord("y", str(tmp_path / "nowhere"), "uv", "")
    with pytest.raises(FileNotFoundError):
        pipe(call(left, "send"), call(missing, "replay"), tmp_path, print)
    assert not (tmp_path / "pid").exists() or not alive(tmp_path / "pid")


def test_an_interrupted_run_leaves_no_process(environment, tmp_path):
    sleeper = "echo $$ > {file}; echo '{name}-float32 · going' >&2; exec sleep 60"
    left = environment("x", sleeper.format(file=tmp_path / "left", name="x"))
    right = environment("y", sleeper.format(file=tmp_path / "right", name="y"))
    heard: list[str] = []

    def interrupt(line: str) -> None:
        heard.append(line)
        if len(heard) == 2:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipe(call(left, "send"), call(right, "replay"), tmp_path, interrupt)
    assert time.monotonic() - started < 30
    assert not alive(tmp_path / "left")
    assert not alive(tmp_path / "right")
