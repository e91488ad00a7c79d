"""ColBERT index folders: what is found in them, and what each broken one is said to be."""

from __future__ import annotations

import json
from pathlib import Path

import index_folders as made
import numpy as np
import pytest

from reportlib.errors import IndexFileError
from reportlib.indexes import IndexFolder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return made.write_index(tmp_path / "index", made.values(), chunks=3)


def test_every_artifact_is_found_with_its_values(index):
    known, folder = made.values(), IndexFolder.open(index)
    for name in (name for name in known if name != "doclens"):
        whole = np.concatenate([np.atleast_1d(t.open().array) for t in folder.tensors(name)])
        np.testing.assert_array_equal(whole, np.atleast_1d(known[name]))
    np.testing.assert_array_equal(np.concatenate(folder.doclens()), known["doclens"])
    assert (folder.chunks, folder.ivf_file, folder.notes) == (3, "ivf.pid.pt", ())
    assert folder.setting("nbits") == made.NBITS


def test_chunks_are_in_the_order_of_their_numbers(tmp_path):
    folder = IndexFolder.open(made.write_index(tmp_path / "index", made.values(), chunks=12))
    assert folder.files("codes")[9:] == ("9.codes.pt", "10.codes.pt", "11.codes.pt")


def test_an_older_index_has_its_token_ids_in_another_file(tmp_path):
    index = made.write_index(tmp_path / "index", made.values(), ivf="ivf.pt")
    assert IndexFolder.open(index).ivf_file == "ivf.pt"
    assert IndexFolder.open(index).tensors("ivf_lengths")[0].shape == (made.CENTROIDS,)


def test_with_both_files_the_one_that_is_searched_with_is_read(index):
    (index / "ivf.pt").write_bytes(b"older")
    assert IndexFolder.open(index).ivf_file == "ivf.pid.pt"


def test_chunks_of_another_run_are_noted_and_left_out(index):
    (index / "3.codes.pt").write_bytes((index / "0.codes.pt").read_bytes())
    folder = IndexFolder.open(index)
    assert "chunk 3 is not counted" in folder.notes[0]
    assert len(folder.tensors("codes")) == 3


def test_an_index_that_does_not_count_its_chunks_is_counted(index):
    metadata = json.loads((index / "metadata.json").read_text())
    del metadata["num_chunks"]
    (index / "metadata.json").write_text(json.dumps(metadata))
    assert IndexFolder.open(index).chunks == 3


@pytest.mark.parametrize("file", ["1.codes.pt", "centroids.pt", "ivf.pid.pt", "buckets.pt", "doclens.2.json"])
def test_a_missing_file_is_named(index, file):
    (index / file).unlink()
    folder = IndexFolder.open(index)
    name = {"1.codes.pt": "codes", "ivf.pid.pt": "ivf", "buckets.pt": "bucket_cutoffs"}.get(file, "centroids")
    with pytest.raises(IndexFileError) as caught:
        folder.doclens() if file.startswith("doclens") else folder.tensors(name)
    assert file in caught.value.what
    assert "index again" in str(caught.value)


def test_many_missing_chunks_are_counted(index):
    for file in index.glob("*.residuals.pt"):
        file.unlink()
    with pytest.raises(IndexFileError, match=r"no 0\.residuals\.pt and 2 more; .* 3 chunks"):
        IndexFolder.open(index).tensors("residuals")


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ([], "no ColBERT index"),
        (["plan.json"], "not finished"),
        (["0.residuals.bn"], "2021"),
        (["ivfpq.1024.faiss"], "ColBERT v1"),
        (["index.voyager"], "PyLate"),
        (["manifest.json", "index/metadata.json"], "is a capture"),
    ],
)
def test_a_folder_of_another_kind_is_said_to_be_what_it_is(tmp_path, files, what):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    with pytest.raises(IndexFileError, match=what):
        IndexFolder.open(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IndexFileError, match="is no folder"):
        IndexFolder.open(tmp_path / "gone")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"config": 1}',
        '{"config": {}, "num_chunks": 0}',
        '{"config": {}, "num_chunks": -1}',
        '{"config": {}, "num_chunks": 1e9}',
        '{"config": {}, "num_chunks": 999999999}',
        '{"config": {}, "num_chunks": true}',
        '{"config": {"x": NaN}, "num_chunks": 1}',
        '{"config": ' + "[" * 100_000,
        '{"config": {}, "num_chunks": ' + "9" * 5_000 + "}",
    ],
)
def test_a_damaged_description_is_an_error_that_names_it(index, content):
    (index / "metadata.json").write_text(content)
    with pytest.raises(IndexFileError, match=r"metadata\.json"):
        IndexFolder.open(index)


@pytest.mark.parametrize("content", ["{}", "[1, 2.5]", "[-1]", '["a"]', "[true]", "[4294967296]", "[1", "\0"])
def test_damaged_doclens_are_an_error_that_names_them(index, content):
    (index / "doclens.1.json").write_text(content)
    with pytest.raises(IndexFileError, match=r"doclens\.1\.json is damaged"):
        IndexFolder.open(index).doclens()


def test_a_description_of_gigabytes_is_not_read(index, monkeypatch):
    monkeypatch.setattr("reportlib.indexes.folder.MOST_JSON", 100)
    with pytest.raises(IndexFileError, match="more than 100 bytes"):
        IndexFolder.open(index)


# ---- a folder above an index


@pytest.mark.parametrize(
    ("given", "below"),
    [
        (".", ".ragatouille/colbert/indexes/notes"),
        (".ragatouille/colbert", ".ragatouille/colbert/indexes/notes"),
        ("indexes", "indexes/notes"),
        ("experiments/default", "experiments/default/indexes/notes"),
        ("captures", "captures/torch201-float32/index"),
    ],
)
def test_above_an_index_the_index_is_named(tmp_path, given, below):
    made.write_index(tmp_path / below, made.values())
    with pytest.raises(IndexFileError, match="no ColBERT index") as caught:
        IndexFolder.open(tmp_path / given)
    assert caught.value.mend == f"give the index below it: {tmp_path / below}"


def test_above_pylate_s_index_its_fast_plaid_index_is_named(tmp_path):
    index = tmp_path / "indexes" / "notes" / "fast_plaid_index"
    index.mkdir(parents=True)
    for name in ("metadata.json", "centroids.npy"):
        (index / name).write_text("{}")
    (index.parent / "documents_ids_to_plaid_ids.sqlite").write_text("")
    for given in (index.parent, tmp_path / "indexes"):
        with pytest.raises(IndexFileError, match=r"no ColBERT index") as caught:
            IndexFolder.open(given)
        assert caught.value.mend == f"give the index below it: {index}"


def test_above_several_indexes_some_are_named_and_the_others_counted(tmp_path):
    for name in ("one", "two"):
        made.write_index(tmp_path / name, made.values())
    with pytest.raises(IndexFileError) as caught:
        IndexFolder.open(tmp_path)
    assert caught.value.mend == f"give one of the indexes below it: {tmp_path / 'one'} or {tmp_path / 'two'}"
    for number in range(6):
        made.write_index(tmp_path / "more" / str(number), made.values())
    with pytest.raises(IndexFileError, match=r"one, .*two, .* or 3 more") as caught:
        IndexFolder.open(tmp_path)


def test_a_description_of_something_else_above_an_index_does_not_hide_it(tmp_path):
    index = made.write_index(tmp_path / "data" / "index", made.values())
    (tmp_path / "metadata.json").write_text('{"title": "my project"}')
    with pytest.raises(IndexFileError, match="not what colbert-ai writes") as caught:
        IndexFolder.open(tmp_path)
    assert str(index) in str(caught.value)


def test_a_file_of_an_index_leads_to_the_index(index):
    with pytest.raises(IndexFileError, match="is no folder") as caught:
        IndexFolder.open(index / "centroids.pt")
    assert caught.value.mend == f"give the folder that holds it: {index}"


def test_a_link_that_leads_back_up_names_no_index_twice(tmp_path):
    index = made.write_index(tmp_path / "data" / "index", made.values())
    (tmp_path / "data" / "circle").symlink_to(tmp_path)
    with pytest.raises(IndexFileError) as caught:
        IndexFolder.open(tmp_path)
    assert caught.value.mend == f"give the index below it: {index}"


def test_looking_below_a_folder_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("reportlib.indexes.folder.MOST_FOLDERS", 20)
    for number in range(30):
        (tmp_path / f"{number:02}").mkdir()
    made.write_index(tmp_path / "29" / "index", made.values())
    with pytest.raises(IndexFileError) as caught:
        IndexFolder.open(tmp_path)
    assert caught.value.mend == "give the folder that holds one"
