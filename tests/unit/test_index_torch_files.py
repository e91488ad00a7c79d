"""torch's files without torch: what is read, what is refused by name, and that nothing ever runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import index_folders as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportlib.errors import IndexFileError
from reportlib.indexes import StoredTensor, load, tensors_of
from reportlib.indexes import torchfile as module

FOUR = np.arange(4, dtype=np.int32)


def opened(path: Path) -> np.ndarray:
    return load(path).open().array


def one(path: Path, body: bytes, data: bytes = FOUR.tobytes(), **records: bytes) -> Path:
    return made.write(path, body, {"data/0": data, **records})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pt"


# ---- what is read


@pytest.mark.parametrize("dtype", sorted(made.STORAGES))
def test_a_tensor_has_the_values_that_were_saved(path, dtype):
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    found = load(made.save(path, array))
    tensor = found.open()
    assert (tensor.dtype, tensor.shape) == (dtype, (2, 3, 4))
    np.testing.assert_array_equal(tensor.array, array)


def test_bfloat16_keeps_its_bits_under_its_name(path):
    bits = np.array([0x3F80, 0x4000, 0x7FC0], np.uint16)
    found = load(one(path, made.tensor("BFloat16Storage", "0", 3, [3], [1]), bits.tobytes())).open()
    assert found.dtype == "bfloat16"
    np.testing.assert_array_equal(found.array, bits)


def test_a_scalar_and_an_empty_tensor_keep_their_shapes(path, tmp_path):
    assert opened(made.save(path, np.array(2.5, np.float32))).shape == ()
    assert opened(made.save(tmp_path / "none.pt", np.empty((0, 48), np.uint8))).shape == (0, 48)


def test_a_tensor_saved_on_a_gpu_is_read_as_bytes(path):
    found = load(made.save(path, FOUR, device="cuda:0"))
    assert found.device == "cuda:0"
    np.testing.assert_array_equal(found.open().array, FOUR)


def test_a_pair_and_a_list_are_read_in_order(path):
    made.save(path, FOUR, np.array([2, 2], np.int64))
    first, second = tensors_of(path, 2)
    assert (first.dtype, second.dtype) == ("int32", "int64")


def test_two_views_of_one_storage_are_read(path):
    left = made.tensor("IntStorage", "0", 4, [2], [1])
    right = made.tensor("IntStorage", "0", 4, [2], [1], offset=2)
    first, second = load(one(path, made.sequence(left, right)))
    assert first.open().array.tolist() == [0, 1]
    assert second.open().array.tolist() == [2, 3]


def test_a_transposed_view_is_read_in_its_own_order(path):
    data = np.arange(6, dtype=np.int32)
    found = opened(one(path, made.tensor("IntStorage", "0", 6, [3, 2], [1, 3]), data.tobytes()))
    np.testing.assert_array_equal(found, data.reshape(2, 3).T)
    assert found.flags.c_contiguous


def test_a_view_too_large_to_copy_is_refused(path, monkeypatch):
    monkeypatch.setattr(module, "MOST_COPIED", 15)
    found = load(one(path, made.tensor("IntStorage", "0", 4, [2, 2], [1, 2])))
    with pytest.raises(IndexFileError, match="does not lie in one piece"):
        found.open()


def test_stored_bytes_are_mapped_and_not_copied(path):
    array = opened(made.save(path, np.zeros(1 << 16, np.uint8)))
    base = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    assert not array.flags.writeable


def test_loading_reads_no_tensor(path):
    made.save(path, np.zeros(1 << 20, np.uint8))
    raw = bytearray(path.read_bytes())
    raw[1 << 19] ^= 1
    path.write_bytes(raw)
    found = load(path)
    assert found.nbytes == 1 << 20
    with pytest.raises(IndexFileError, match="CRC-32"):
        found.open()
    assert found.open(check=False).array.sum() == 1


def test_a_byteorder_record_is_believed(path, tmp_path):
    body = made.tensor("IntStorage", "0", 4, [4], [1])
    np.testing.assert_array_equal(opened(one(path, body, byteorder=b"little")), FOUR)
    with pytest.raises(IndexFileError, match="big-endian"):
        load(one(tmp_path / "big.pt", body, byteorder=b"big"))


def test_a_link_to_a_file_is_followed(path, tmp_path):
    link = tmp_path / "link.pt"
    link.symlink_to(made.save(path, FOUR))
    np.testing.assert_array_equal(opened(link), FOUR)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_view_within_a_storage_equals_numpys(tmp_path_factory, data):
    storage = np.arange(data.draw(st.integers(1, 40)), dtype=np.int32)
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    strides = data.draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 10))
    body = made.tensor("IntStorage", "0", storage.size, shape, strides, offset=offset)
    file = one(tmp_path_factory.mktemp("views") / "v.pt", body, storage.tobytes())
    size = int(np.prod(shape))
    reach = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size and (reach >= storage.size or size > storage.size):
        with pytest.raises(IndexFileError, match="refused"):
            load(file)
        return
    expected = np.empty(shape, np.int32)
    for place in np.ndindex(*shape):
        expected[place] = storage[offset + sum(p * s for p, s in zip(place, strides, strict=True))]
    np.testing.assert_array_equal(opened(file), expected)


# ---- pickles that would run something


class Shell:
    """Unpickles by running a command that leaves a file behind."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def hostile(witness: Path, protocol: int) -> bytes:
    return pickle.dumps(Shell(witness), protocol)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_a_command_does_not(path, tmp_path, protocol):
    witness = tmp_path / "ran"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", hostile(witness, protocol))
    with pytest.raises(IndexFileError, match="refused"):
        load(path)
    assert not witness.exists()
    # The pickle is a real one: let loose, it runs.
    pickle.loads(hostile(witness, protocol))  # noqa: S301
    assert witness.exists()


@pytest.mark.parametrize(
    ("module_name", "attribute"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("torch", "load"),
        ("torch", "FloatTensor"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("collections", "defaultdict"),
        ("torch", "FloatStorage.__init__"),
    ],
)
def test_a_name_that_is_not_a_plain_tensors_is_refused_by_name(path, module_name, attribute):
    with pytest.raises(IndexFileError) as caught:
        load(one(path, made.name(module_name, attribute)))
    assert f"{module_name}.{attribute}" in str(caught.value)


def test_a_name_put_together_on_the_stack_is_refused_too(path):
    body = made.text("os") + made.text("system") + b"\x93" + made.sequence(made.text("true")) + b"R"
    with pytest.raises(IndexFileError, match=r"os\.system"):
        load(one(path, body))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"}", "a dictionary"),
        (b"}" + made.number(1) + made.number(2) + b"s", "a dictionary"),
        (made.HOOKS.replace(b")R", b"(K\x01tR"), "OrderedDict that is not empty"),
        (made.name("torch", "FloatStorage"), "a name in place of a value"),
        (made.name("collections", "OrderedDict"), "a name in place of a value"),
        (made.tensor("IntStorage", "0", 4, [4], [1]) + b"}b", "a dictionary"),
        (b"(cos\nsystem\no", "os.system"),
        (b"(ios\nsystem\n", "os.system"),
        (b"\x82\x01", "EXT1"),
        (b"P1\n", "PERSID"),
        (b"\x8f", "EMPTY_SET"),
        (b"\x8e" + struct.pack("<Q", 2**60), "damaged"),
        (b"\x8e" + struct.pack("<Q", 2) + b"xx", "BINBYTES8"),
        (b"I" + b"9" * 5000 + b"\n", "damaged"),
        (b"N" + b"r" + struct.pack("<I", 2**32 - 1), "opcodes"),
        (b"N0" * 20_000 + b"N", "POP"),
        (b"NK\x00\x85" * 10_000, "opcodes"),
        (b"]" * 10 + b"a" * 9, "containers in one another"),
        (made.text("module") + b"Q", "something other than a storage"),
        (made.tensor("IntStorage", "../0", 4, [4], [1]), "impossible key"),
        (made.tensor("IntStorage", "0", -1, [4], [1]), "number of elements"),
        (made.tensor("IntStorage", "0", 4, [-4], [1]), "impossible shape"),
        (made.tensor("IntStorage", "0", 4, [4], [-1]), "impossible shape"),
        (made.tensor("IntStorage", "0", 4, [2, 2], [1]), "impossible shape"),
        (made.tensor("IntStorage", "0", 4, [4], [1], offset=-1), "impossible shape"),
        (made.tensor("IntStorage", "0", 4, [1] * 9, [1] * 9), "impossible shape"),
        (made.tensor("IntStorage", "0", 4, [4], [1], hooks=b"K\x01"), "with hooks"),
        (made.tensor("IntStorage", "0", 4, [4], [1], further=b"K\x01"), "metadata"),
        (made.tensor("ComplexFloatStorage", "0", 2, [2], [1]), "torch.ComplexFloatStorage"),
        (made.tensor("QUInt8Storage", "0", 2, [2], [1]), "torch.QUInt8Storage"),
    ],
)
def test_what_no_index_holds_is_refused_by_name(path, body, what):
    with pytest.raises(IndexFileError) as caught:
        load(one(path, body))
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_doubling_a_value_many_times_does_not_take_for_ever(path):
    # A tuple of itself twice, sixty times over: some hundred bytes that stand for 2**60 values.
    doubling = b"K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    with pytest.raises(IndexFileError, match="more values"):
        load(one(path, doubling))


@pytest.mark.parametrize("body", [b"", b"R", b"\x86", b"h\x05", b"t", b"Q", b"K", made.text("a") + b"R", b"(" * 50])
def test_a_damaged_pickle_is_damage_and_not_a_crash(path, body):
    with pytest.raises(IndexFileError, match=r"damaged|refused"):
        load(one(path, body))


@given(body=st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_pickle_raises_anything_else(tmp_path_factory, body):
    file = one(tmp_path_factory.mktemp("fuzz") / "f.pt", body)
    with contextlib.suppress(IndexFileError):
        load(file)


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_never_goes_unnoticed_as_other_values(tmp_path_factory, place, value):
    file = made.save(tmp_path_factory.mktemp("flip") / "f.pt", FOUR)
    raw = bytearray(file.read_bytes())
    raw[place % len(raw)] = value
    file.write_bytes(raw)
    try:
        found = opened(file)
    except IndexFileError:
        return
    np.testing.assert_array_equal(found, FOUR)


def test_nothing_that_was_imported_came_from_a_file(path):
    with pytest.raises(IndexFileError):
        load(one(path, made.name("antigravity", "fly")))
    assert "antigravity" not in sys.modules


# ---- shapes that lie


@pytest.mark.parametrize(
    ("elements", "shape", "strides", "offset"),
    [
        (4, [5], [1], 0),
        (4, [4], [1], 1),
        (4, [2, 2], [3, 1], 0),
        (4, [2], [2**40], 0),
        (4, [10**9], [0], 0),
        (4, [2**40, 2**40], [0, 0], 0),
        (4, [1], [1], 4),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(path, elements, shape, strides, offset):
    with pytest.raises(IndexFileError, match="refused"):
        load(one(path, made.tensor("IntStorage", "0", elements, shape, strides, offset=offset)))


@pytest.mark.parametrize("elements", [3, 5, 0, 10**12])
def test_a_storage_that_declares_another_size_than_its_record_is_refused(path, elements):
    with pytest.raises(IndexFileError, match="declares"):
        load(one(path, made.tensor("IntStorage", "0", elements, [1], [1])))


def test_a_tensor_without_its_record_is_refused(path):
    with pytest.raises(IndexFileError, match="no record 'data/7'"):
        load(one(path, made.tensor("IntStorage", "7", 4, [4], [1])))


# ---- archives


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"hello, this is no torch file at all", "no torch file"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\0" * 90, "before torch 1.6"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (pickle.dumps([1, 2]), "bare pickle"),
        (b"PK\x03\x04" + b"\0" * 200, "cut off"),
        (b"PK\x05\x06" + b"\0" * 18, "no torch file"),
    ],
)
def test_a_file_of_another_kind_is_named(path, content, what):
    path.write_bytes(content)
    with pytest.raises(IndexFileError, match=what):
        load(path)


def test_every_truncation_is_noticed(path):
    whole = made.save(path, FOUR).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(IndexFileError):
            load(path)


def test_a_compressed_record_is_refused_however_small(path):
    body = made.tensor("ByteStorage", "0", 10**7, [10**7], [1])
    made.write(path, body, {"data/0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(IndexFileError, match="compressed"):
        load(path)


@pytest.mark.parametrize("record", ["../evil", "/etc/passwd", "data/../../x", "data/x", "data/0/1", "code/model.py"])
def test_a_record_with_a_name_that_torch_does_not_write_is_refused(path, record):
    made.write(path, b"N", {record: b"x"})
    with pytest.raises(IndexFileError, match=r"no such name|TorchScript|not one that torch"):
        load(path)


def test_two_records_of_one_name_are_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", made.pickled(b"N"))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", made.pickled(b"K\x01"))
    with pytest.raises(IndexFileError, match="two records"):
        load(path)


def test_two_folders_in_one_archive_are_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", made.pickled(b"N"))
        archive.writestr("b/version", b"3")
    with pytest.raises(IndexFileError, match="not one that torch"):
        load(path)


def patched(path: Path, change) -> None:
    """Change the entry of data/0 in the archive's directory."""
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"archive/data/0"))
    change(raw, at)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("place", "kind", "value", "what"),
    [
        (42, "<L", 0, "disagree|overlap|header"),
        (42, "<L", 5, "header|damaged"),
        (20, "<Q", 0x7FFFFFFF_7FFFFFFF, "reaches beyond"),
        (8, "<H", 1, "encrypted"),
        (16, "<L", 0x12345678, ""),
    ],
)
def test_a_directory_that_lies_is_noticed(path, place, kind, value, what):
    made.save(path, FOUR)
    patched(path, lambda raw, at: struct.pack_into(kind, raw, at + place, value))
    if what:
        with pytest.raises(IndexFileError, match=what):
            load(path)
    else:
        with pytest.raises(IndexFileError, match="CRC-32"):
            load(path).open()


def test_a_file_beyond_4_gigabytes_has_another_directory_which_is_read_too(path, monkeypatch):
    # zipfile writes the larger directory from this limit on, as torch does from 4 GB on.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    raw = bytearray(made.save(path, FOUR).read_bytes())
    assert b"PK\x06\x06" in raw
    monkeypatch.undo()
    np.testing.assert_array_equal(opened(path), FOUR)
    at = raw.rindex(b"PK\x06\x06")
    for change in ((at + 40, 3_000_000_000), (at + 48, 2**62)):
        changed = bytearray(raw)
        struct.pack_into("<Q", changed, *change)
        path.write_bytes(changed)
        with pytest.raises(IndexFileError, match=r"declares a directory|cannot be read|header"):
            load(path)


def test_a_directory_of_gigabytes_is_not_read(path):
    made.save(path, FOUR)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<L", raw, len(raw) - 10, 3_000_000_000)
    path.write_bytes(raw)
    with pytest.raises(IndexFileError, match="declares a directory"):
        load(path)


def test_every_changed_byte_of_the_end_is_noticed_or_harmless(path):
    whole = made.save(path, FOUR).read_bytes()
    for place in range(len(whole) - 300, len(whole)):
        for bit in (0x01, 0x80):
            raw = bytearray(whole)
            raw[place] ^= bit
            path.write_bytes(raw)
            try:
                found = opened(path)
            except IndexFileError:
                continue
            np.testing.assert_array_equal(found, FOUR)


def test_something_put_before_or_after_the_archive_is_refused(path):
    whole = made.save(path, FOUR).read_bytes()
    for content in (b"PK\x03\x04" + b"\0" * 40 + whole, whole + b"more"):
        path.write_bytes(content)
        with pytest.raises(IndexFileError):
            opened(path)


# ---- what is no file


def test_a_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(IndexFileError, match="no regular file"):
        load(path)


@pytest.mark.parametrize("target", ["/dev/zero", "."])
def test_a_link_to_a_device_or_a_folder_is_refused(path, target):
    path.symlink_to(target)
    with pytest.raises(IndexFileError):
        load(path)


def test_a_link_that_leads_nowhere_is_named(path):
    path.symlink_to("gone")
    with pytest.raises(IndexFileError, match="leads nowhere"):
        load(path)


def test_a_file_that_shrank_since_it_was_loaded_is_an_error(path):
    found = load(made.save(path, np.zeros(1 << 16, np.uint8)))
    assert isinstance(found, StoredTensor)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(IndexFileError, match="can no longer be read"):
        found.open()


def test_a_file_with_other_tensors_than_an_index_has_is_refused(path):
    made.save(path, FOUR)
    with pytest.raises(IndexFileError, match="does not hold 2 tensors"):
        tensors_of(path, 2)
    with pytest.raises(IndexFileError, match="does not hold one tensor"):
        tensors_of(one(path, b"K\x01"), 1)
