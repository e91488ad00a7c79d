"""The capture folder: what goes in comes out, and nothing half-made is ever taken for a capture."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reportlib.errors import DiskSpaceError, StoreError
from reportlib.store import CARRIERS, Capture, CaptureWriter, digest

DTYPES = [name for name in CARRIERS if name != "bfloat16"]


def write(folder: Path, **arrays: np.ndarray) -> Capture:
    with CaptureWriter(folder) as writer:
        for name, array in arrays.items():
            writer.tensor(name, array, "encode")
    return Capture.open(folder)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 4), (3,), (2, 3, 4)])
def test_a_tensor_comes_back_with_its_bytes_shape_and_dtype(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(CARRIERS[dtype])
    found = write(tmp_path / "c", x=array).tensor("x")
    assert (found.dtype, found.shape) == (dtype, shape)
    assert found.array.tobytes() == array.tobytes()


@given(array=hnp.arrays(np.uint16, hnp.array_shapes(max_side=5)))
def test_bfloat16_travels_as_its_bits_under_its_own_name(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("bf16") / "c"
    with CaptureWriter(folder) as writer:
        writer.tensor("x", array, "layers", "bfloat16")
    found = Capture.open(folder).tensor("x")
    assert found.dtype == "bfloat16"
    np.testing.assert_array_equal(found.array, array)


def test_the_hash_is_of_the_bytes_alone(tmp_path):
    array = np.linspace(0, 1, 7, dtype=np.float32)
    capture = write(tmp_path / "c", x=array)
    assert capture.artifacts["x"].sha256 == digest(array.tobytes())


def test_jupyterlab_shows_a_line_for_each_artifact(tmp_path):
    shown = write(tmp_path / "a<b", x=np.zeros((3, 2), np.float32))._repr_html_()
    assert "a&lt;b</code>" in shown
    cells = [part.partition("</td>")[0] for part in shown.split("<td>")[1:]]
    assert cells[2:5] == ["float32", "3 × 2", "24"]


def test_a_transposed_array_is_stored_in_row_order(tmp_path):
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    found = write(tmp_path / "c", x=array).tensor("x").array
    np.testing.assert_array_equal(found, array)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_a_plain_value_comes_back(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("value") / "c"
    with CaptureWriter(folder) as writer:
        writer.value("v", value, "sample")
    assert Capture.open(folder).value("v") == value


def test_a_tensor_is_a_read_only_memory_map(tmp_path):
    found = write(tmp_path / "c", x=np.ones(4)).tensor("x").array
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 2


def test_chunks_come_in_numerical_order(tmp_path):
    capture = write(tmp_path / "c", **{f"embs/{k}": np.ones(k + 1) for k in (10, 2, 0)})
    assert capture.group("embs") == ["embs/0", "embs/2", "embs/10"]
    assert capture.group("nothing") == []


def test_a_failing_capture_leaves_nothing(tmp_path):
    def fail() -> None:
        with CaptureWriter(tmp_path / "c") as writer:
            writer.tensor("x", np.ones(3), "encode")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_no_capture_and_goes_with_the_next_try(tmp_path):
    leftover = tmp_path / "c.partial"
    leftover.mkdir()
    (leftover / "old").touch()
    with pytest.raises(StoreError, match="holds no capture"):
        Capture.open(tmp_path / "c")
    write(tmp_path / "c", x=np.ones(1))
    assert not leftover.exists()
    assert not (tmp_path / "c" / "old").exists()


def test_an_existing_capture_is_never_overwritten(tmp_path):
    write(tmp_path / "c", x=np.ones(1))
    with pytest.raises(StoreError, match="already"), CaptureWriter(tmp_path / "c"):
        pass
    assert Capture.open(tmp_path / "c").tensor("x").array[0] == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed"),
    ],
)
def test_a_full_disk_says_so_and_leaves_nothing(tmp_path, error):
    with pytest.raises(DiskSpaceError, match="full"), CaptureWriter(tmp_path / "c"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc/x", "a//b", "", ".", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match="cannot name"), CaptureWriter(tmp_path / "c") as writer:
        writer.value(name, 1, "encode")


def test_a_manifest_with_such_a_name_is_refused(tmp_path):
    write(tmp_path / "c", x=np.ones(1))
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"x"', '"../../x"'))
    with pytest.raises(StoreError, match="cannot name"):
        Capture.open(tmp_path / "c")


def test_a_name_is_taken_once(tmp_path):
    with CaptureWriter(tmp_path / "c") as writer:
        writer.value("x", 1, "encode")
        with pytest.raises(StoreError, match="twice"):
            writer.value("x", 2, "encode")


def test_damage_is_found(tmp_path):
    capture = write(tmp_path / "c", x=np.arange(9.0), y=np.arange(3))
    assert list(capture.damaged()) == []
    file = tmp_path / "c" / "artifacts" / "x.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert list(capture.damaged()) == ["x"]


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_a_cut_off_tensor_file_is_an_error_that_names_it(tmp_path, keep):
    capture = write(tmp_path / "c", x=np.arange(9.0))
    file = tmp_path / "c" / "artifacts" / "x.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"x\.safetensors"):
        capture.tensor("x")
    assert list(capture.damaged()) == ["x"]


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    write(tmp_path / "c", x=np.ones(1))
    manifest = tmp_path / "c" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        Capture.open(tmp_path / "c")


def test_a_wrong_carrier_is_refused(tmp_path):
    with pytest.raises(StoreError, match="bfloat16"), CaptureWriter(tmp_path / "c") as writer:
        writer.tensor("x", np.ones(2, np.float32), "layers", "bfloat16")


def test_what_another_capture_has_already_is_linked_and_not_stored_again(tmp_path):
    there = write(tmp_path / "there", x=np.arange(5), y=np.zeros(3))
    with CaptureWriter(tmp_path / "new", pool=[there]) as writer:
        writer.tensor("renamed", np.arange(5), "encode")
        writer.tensor("y", np.ones(3), "encode")
        writer.tensor("as_columns", np.arange(5).reshape(5, 1), "encode")
    new = Capture.open(tmp_path / "new")
    assert new.file("renamed").samefile(there.file("x"))
    assert not new.file("y").samefile(there.file("y"))
    assert new.file("as_columns").stat().st_nlink == 1, "the same bytes in another shape are another tensor"
    assert list(new.damaged()) == []
    assert new.tensor("renamed").array.tolist() == list(range(5))


def test_where_no_link_can_be_made_it_is_stored(tmp_path, monkeypatch):
    there = write(tmp_path / "there", x=np.arange(5))

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr("os.link", refuse)
    with CaptureWriter(tmp_path / "new", pool=[there]) as writer:
        writer.tensor("x", np.arange(5), "encode")
    new = Capture.open(tmp_path / "new")
    assert not new.file("x").samefile(there.file("x"))
    assert list(new.damaged()) == []
