"""Indexes of fast-plaid, as it and PyLate leave them: read, compared and gated in the words of colbert-ai's."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import index_folders
import jsonschema
import numpy as np
import plaid_folders as made
import pytest
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.compare import indexes
from reportlib.compare.indexes import compare_indexes
from reportlib.errors import IndexFileError
from reportlib.indexes import PlaidFolder, open_index
from reportlib.indexes.folder import array_of

SCHEMA = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())
Change = Callable[[made.Values], Any]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write an index under a name, with what `change` does to its values."""

    def write(folder: str, change: Change | None = None, **options: Any) -> Path:
        known = made.values()
        if change is not None:
            change(known)
        return made.write_plaid(tmp_path / folder, known, **options)

    return write


def compared(a: Path, b: Path) -> dict[str, Any]:
    found = compare_indexes(a, b)
    written = json.loads(json.dumps({**found, "requirements": None, "exit_code": 0}, allow_nan=False))
    jsonschema.validate(written, SCHEMA)
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str | None]:
    return {r["name"]: r["verdict"] for r in found["artifacts"]}


def record(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(r for r in found["artifacts"] if r["name"] == name)


def put(name: str, place: Any, value: Any) -> Change:
    return lambda known: known[name].__setitem__(place, value)


def ran(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], terminal_width=200)
    return done.exit_code, done.output


# ---- reading


@pytest.mark.parametrize("files", ["merged", "both", "own"])
def test_every_artifact_is_read_with_its_values_and_without_padding(make, files):
    known, folder = made.values(), open_index(make("a", chunks=3, files=files))
    assert isinstance(folder, PlaidFolder)
    for name in (name for name in known if name != "doclens"):
        stored = folder.tensors(name)
        assert len(stored) == (3 if name in ("codes", "residuals") else 1)
        whole = np.concatenate([one.open().array for one in stored])
        assert whole.dtype == known[name].dtype
        np.testing.assert_array_equal(whole, known[name])
    np.testing.assert_array_equal(np.concatenate(folder.doclens()), known["doclens"])
    assert (folder.setting("dim"), folder.setting("nbits")) == (index_folders.DIM, index_folders.NBITS)


def test_the_layouts_of_both_releases_hold_the_same(make):
    found = compared(make("old", chunks=3, files="both", frozen=False), make("new", chunks=2))
    assert set(verdicts(found).values()) == {"identical"}
    assert found["verdict"] == "identical"
    assert found["summary"]["total"] == 10
    assert found["a"]["devices"] == []
    assert found["a"]["ivf_file"] == "ivf.npy"
    assert (found["a"]["passages"], found["a"]["centroids"], found["a"]["dim"]) == (60, 16, 32)
    assert [s["name"] for s in found["settings"] if not s["place"]] == ["num_chunks"]


def test_rows_of_padding_make_no_difference(make):
    a, b = make("a"), make("b")
    raw = bytearray((b / "merged_residuals.npy").read_bytes())
    raw[-1] ^= 255
    (b / "merged_residuals.npy").write_bytes(raw)
    assert int(made.values()["doclens"].max()) > int(made.values()["doclens"][-1])
    assert compared(a, b)["verdict"] == "identical"


def test_a_chunk_whose_passages_were_all_deleted_is_read(make):
    """fast-plaid 1.7.0 leaves the empty files of such a chunk beside the merged ones."""
    index = make("a", chunks=3)
    for number in (2, 1, 0):
        (index / f"doclens.{number}.json").rename(index / f"doclens.{number + 1}.json")
    (index / "doclens.0.json").write_text("[]")
    made.save(index / "0.codes.npy", np.empty(0, np.int64))
    made.save(index / "0.residuals.npy", np.empty((0, 8), np.uint8))
    metadata = json.loads((index / "metadata.json").read_text())
    (index / "metadata.json").write_text(json.dumps({**metadata, "num_chunks": 4}))
    found = compared(index, make("b"))
    assert found["verdict"] == "identical"
    assert found["a"]["chunks"] == 4


def test_newer_files_of_the_chunks_are_read_in_place_of_a_merged_file_with_other_rows(make):
    index = make("a", chunks=2, files="both")
    made.save(index / "merged_codes.npy", made.values()["codes"][:50], header=192)
    assert compared(index, make("b"))["verdict"] == "identical"


def test_an_update_that_was_not_finished_leaves_its_question_open(make):
    index = make("a", chunks=2, files="both")
    (index / "merged_codes.npy").unlink()
    (index / "0.codes.npy").unlink()
    assert "no 0.codes.npy" in record(compared(index, make("b")), "codes")["text"]


def test_an_immutable_index_is_its_merged_files(make):
    index = make("a", chunks=2, files="both", mutable=False)
    made.save(index / "0.codes.npy", np.zeros(5, np.int64))
    assert compared(index, make("b"))["verdict"] == "identical"


def test_pickles_beside_an_index_are_never_opened_and_named(make, tmp_path):
    index = make("pylate/fast_plaid_index")
    np.save(index / "embeddings.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (index / "buffer.npy").write_bytes(b"\x80\x04cos\nsystem\n.")
    (tmp_path / "pylate" / "documents_ids_to_plaid_ids.sqlite").write_bytes(b"SQLite")
    found = compared(index, make("b"))
    named = "embeddings.npy, buffer.npy, documents_ids_to_plaid_ids.sqlite"
    assert found["a"]["notes"] == [f"{named}: made of pickles, and so not read"]
    assert found["verdict"] == "identical"


# ---- verdicts


def test_what_a_new_torch_changes_is_found_and_gated(make):
    def changed(known):
        known["centroids"][3, 5] = np.nextafter(known["centroids"][3, 5], np.float16(9))
        known["avg_residual"][[0, 7]] = np.nextafter(known["avg_residual"][[0, 7]], np.float32(9))

    a, b = make("a"), make("b", changed)
    found = compared(a, b)
    assert {n: v for n, v in verdicts(found).items() if v != "identical"} == {
        "centroids": "close",
        "avg_residual": "close",
    }
    assert (record(found, "centroids")["different"], record(found, "avg_residual")["different"]) == (1, 2)
    assert record(found, "centroids")["files"] == ["centroids.npy"]
    assert ran(a, b)[0] == 1
    assert ran(a, b, "--require", "integers identical, floats close, cluster_threshold identical")[0] == 0
    code, output = ran(a, b, "--require", "centroids identical")
    assert code == 1
    assert "Requirement centroids identical: does not hold" in output


def test_centroids_that_an_update_left_in_float32_differ_in_dtype(make):
    def grown(known):
        known["centroids"] = known["centroids"].astype(np.float32)
        known["cluster_threshold"] = np.array(0.75, np.float64)

    found = compared(make("a"), make("b", grown))
    assert verdicts(found)["centroids"] == "different"
    assert record(found, "centroids")["text"].startswith("The dtypes differ: float16 in A, float32 in B.")
    assert record(found, "centroids")["different"] == 0
    assert verdicts(found)["cluster_threshold"] == "shape mismatch"


def test_a_passage_listed_in_another_order_is_the_same_set(make):
    def turned(known):
        ends = np.cumsum(known["ivf_lengths"])
        for start, stop in zip(ends - known["ivf_lengths"], ends, strict=True):
            known["ivf"][start:stop] = known["ivf"][start:stop][::-1]

    found = compared(make("a"), make("b", turned))
    assert record(found, "ivf")["verdict"] == "same set"


def test_a_difference_is_found_in_its_chunk(make):
    found = compared(make("a", chunks=3, files="own"), make("b", put("codes", -1, 99), chunks=2))
    codes = record(found, "codes")
    assert (codes["different"], codes["first_index"]) == (1, (len(made.values()["codes"]) - 1,))
    assert [(c["name"], c["different"]) for c in codes["chunks"]][-1] == ("2.codes.npy", 1)


def test_a_threshold_that_only_one_side_has_is_an_open_question(make):
    without = make("old", lambda known: known.pop("cluster_threshold"))
    found = compared(without, make("new"))
    assert found["verdict"] == "inconclusive"
    assert record(found, "cluster_threshold")["problems"][0]["side"] == "a"
    both = compared(without, without)
    assert (both["verdict"], both["summary"]["total"]) == ("identical", 9)


def test_without_an_ivf_two_indexes_are_compared_and_nothing_is_said_of_it(make):
    def compressed(known):
        del known["ivf"], known["ivf_lengths"]

    only = make("only", compressed, compress_only=True)
    assert compared(only, only)["summary"]["total"] == 8
    assert ran(only, only, "--require", "all identical")[0] == 0
    code, output = ran(only, only, "--require", "ivf identical")
    assert code == 2
    assert "there is no ivf on either side" in output
    found = compared(only, make("whole"))
    assert "compress_only" in record(found, "ivf")["text"]


def test_two_libraries_are_not_compared(make, tmp_path):
    other = index_folders.write_index(tmp_path / "colbert", index_folders.values())
    plaid = make("plaid")
    with pytest.raises(
        IndexFileError, match=r"plaid is an index of fast-plaid and .*colbert one of colbert-ai"
    ) as caught:
        compare_indexes(plaid, other)
    assert "that the same library wrote" in str(caught.value)
    with pytest.raises(IndexFileError, match=r"colbert is an index of colbert-ai and .*plaid one of fast-plaid"):
        compare_indexes(other, plaid)


def test_a_threshold_is_required_of_an_index_that_has_none(tmp_path):
    colbert = index_folders.write_index(tmp_path / "colbert", index_folders.values())
    code, output = ran(colbert, colbert, "--require", "cluster_threshold identical")
    assert code == 2
    assert "there is no cluster_threshold on either side" in output
    assert ran(colbert, colbert, "--require", "all identical, floats identical")[0] == 0


# ---- contradictions


def without_last(known: made.Values) -> None:
    for name in ("codes", "residuals"):
        known[name] = known[name][:-1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (without_last, "doclens count"),
        (lambda known: known.update(residuals=known["residuals"][:-1]), "codes and residuals"),
        (lambda known: known.update(residuals=known["residuals"][:, :-1]), "do not have dim 32 at nbits 2"),
        (lambda known: known.update(centroids=known["centroids"][:-1]), "15 centroids, and lists for 16"),
        (put("codes", [5, 9], 40), "2 codes of no centroid: there are 16"),
        (put("codes", -1, -3), "1 code of no centroid"),
        (put("ivf", 0, 60), "1 id in the ivf of no passage: there are 60"),
        (lambda known: known.update(ivf=np.append(known["ivf"], 0)), "ivf_lengths count"),
        (put("centroids", (2, 3), np.nan), "1 value of centroids is NaN or infinite"),
        (put("cluster_threshold", 0, np.inf), "1 value of cluster_threshold is NaN or infinite"),
        (
            lambda known: known.update(bucket_cutoffs=known["bucket_cutoffs"][:2]),
            "2 bucket_cutoffs, where nbits 2 takes 3",
        ),
        (lambda known: known.update(cluster_threshold=np.array([1])), "cluster_threshold are int64"),
    ],
)
def test_files_that_do_not_belong_together_are_a_problem_even_if_equal(make, change, what):
    found = compared(make("a", change), make("b", change))
    assert found["verdict"] == "inconclusive"
    assert {p["side"] for p in found["problems"]} == {"a", "b"}
    assert what in found["problems"][0]["what"]


def test_a_list_that_is_not_what_codes_and_doclens_give_is_a_contradiction(make):
    index = make("a", put("codes", 0, (made.values()["codes"][0] + 1) % index_folders.CENTROIDS))
    found = compared(index, index)
    assert found["verdict"] == "inconclusive"
    assert "lists of the ivf are not those that codes and doclens give" in found["problems"][0]["what"]


def test_sizes_in_metadata_of_another_index_are_noted(make):
    index = make("a", num_documents=7, num_embeddings=8, num_partitions=9)
    size = len(made.values()["codes"])
    assert compared(index, make("b"))["a"]["notes"] == [
        f"metadata.json counts 8 token embeddings, the tensors have {size}",
        "metadata.json counts 9 centroids, the tensors have 16",
        "metadata.json counts 7 passages, the tensors have 60",
    ]


def test_centroids_under_other_numbers_are_said_to_be_so(make):
    order = np.random.default_rng(3).permutation(index_folders.CENTROIDS)

    def renumbered(known):
        known["centroids"] = known["centroids"][order]
        known["codes"] = np.argsort(order)[known["codes"]]
        ends = np.cumsum(known["ivf_lengths"])
        lists = np.split(known["ivf"], ends[:-1])
        known["ivf"] = np.concatenate([lists[number] for number in order])
        known["ivf_lengths"] = known["ivf_lengths"][order]

    found = compared(make("a"), make("b", renumbered))
    assert found["renumbering"]["only"]
    assert found["renumbering"]["by_bytes"] == index_folders.CENTROIDS


def test_the_folders_above_an_index_name_it(make, tmp_path):
    index = make("indexes/mine/fast_plaid_index")
    (tmp_path / "indexes/mine/documents_ids_to_plaid_ids.sqlite").write_bytes(b"SQLite")
    for folder in (tmp_path / "indexes/mine", tmp_path / "indexes", tmp_path):
        with pytest.raises(IndexFileError) as caught:
            compare_indexes(folder, index)
        assert f"give the index below it: {index}" in str(caught.value)


def test_a_chunk_file_beside_a_merged_one_that_holds_something_else_is_a_contradiction(make):
    index = make("a", chunks=3, files="both")
    made.save(index / "1.residuals.npy", np.load(index / "1.residuals.npy") ^ 1)
    found = compared(index, index)
    assert found["verdict"] == "inconclusive"
    assert "1.residuals.npy does not hold what merged_residuals.npy does" in found["problems"][0]["what"]
    assert len(found["problems"]) == 2


# ---- files that come from strangers


def refused(index: Path, file: str, write: Callable[[Path], Any], make: Make) -> str:
    write(index / file)
    found = compared(index, make("other"))
    assert found["verdict"] == "inconclusive"
    name = file.removesuffix(".npy").removeprefix("merged_")
    one = record(found, name)
    assert one["verdict"] is None
    assert [p["side"] for p in one["problems"]] == ["a"]
    return str(one["text"])


def header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def write_objects(path: Path) -> None:
    np.save(path, np.array([Exploit()], object), allow_pickle=True)


@pytest.mark.parametrize("file", ["centroids.npy", "merged_codes.npy", "ivf.npy"])
def test_an_array_of_objects_is_refused_and_not_run(make, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Python objects, which are a pickle" in refused(make("a"), file, write_objects, make)
    assert not (tmp_path / "exploited").exists()


HOSTILE = {
    "bare pickle": (lambda p: p.write_bytes(pickle.dumps([1])), "no .npy file"),
    "empty": (lambda p: p.write_bytes(b""), "no .npy file"),
    "text": (lambda p: p.write_text("version https://git-lfs"), "no .npy file"),
    "a later version": (lambda p: p.write_bytes(b"\x93NUMPY\x09\x00" + b"\0" * 100), "no .npy file"),
    "header cut off": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr'"), "no .npy file"),
    "header of code": (lambda p: made.write(p, "__import__('os').getcwd()", b""), "no .npy file"),
    "header of brackets": (lambda p: made.write(p, "(" * 3000, b""), "no .npy file"),
    "long header": (lambda p: made.write(p, header("'<f4'", "(1,)") + " " * 60000, b"1234"), "no .npy file"),
    "more declared": (lambda p: made.write(p, header("'<i8'", f"({2**40},)"), b"12345678"), "is damaged: it declares"),
    "overflowing": (lambda p: made.write(p, header("'<i8'", f"({2**47}, {2**47})"), b"1"), "is damaged: it declares"),
    "beyond": (lambda p: made.write(p, header("'<i8'", f"({2**70},)"), b"1"), "impossible shape"),
    "negative": (lambda p: made.write(p, header("'<i8'", "(-1, -1)"), b"12345678"), "impossible shape"),
    "many axes": (lambda p: made.write(p, header("'<i8'", f"({'1,' * 30})"), b"12345678"), "impossible shape"),
    "true": (lambda p: made.write(p, header("'<i8'", "(True,)"), b"12345678"), "impossible shape"),
    "big-endian": (lambda p: made.write(p, header("'>i8'", "(1,)"), b"12345678"), "only bool, uint8"),
    "complex": (lambda p: made.write(p, header("'<c8'", "(1,)"), b"12345678"), "only bool, uint8"),
    "strings": (lambda p: made.write(p, header("'<U2'", "(1,)"), b"12345678"), "only bool, uint8"),
    "records": (lambda p: made.write(p, header("[('a', '<i8')]", "(1,)"), b"12345678"), "only bool, uint8"),
    "objects in records": (lambda p: made.write(p, header("[('a', '|O')]", "(1,)"), b"12345678"), "a pickle"),
    "Fortran order": (lambda p: made.write(p, header("'<i8'", "(1, 2)", "True"), b"1" * 16), "Fortran order"),
    "trailing bytes": (lambda p: p.write_bytes(p.read_bytes() + b"1"), "is damaged: it declares"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "is damaged: it declares"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "no regular file"),
    "a link to nothing": (lambda p: (p.unlink(), p.symlink_to("nowhere")), "leads nowhere"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no regular file"),
    "missing": (lambda p: p.unlink(), "has no "),
}


@pytest.mark.parametrize("kind", list(HOSTILE))
@pytest.mark.parametrize("file", ["centroids.npy", "merged_codes.npy"])
def test_a_file_that_is_none_of_an_index_is_named_and_the_others_compared(make, kind, file):
    write, what = HOSTILE[kind]
    assert what in refused(make("a"), file, write, make)


def test_a_number_in_place_of_merged_codes_is_no_traceback(make):
    index = make("a")
    made.save(index / "merged_codes.npy", np.array(3, np.int64))
    found = compared(index, make("b"))
    assert found["verdict"] == "inconclusive"
    assert verdicts(found)["codes"] == "shape mismatch"
    assert "codes and residuals" in found["problems"][0]["what"]


def test_a_file_that_becomes_shorter_after_it_was_looked_at_is_an_error(make):
    stored = array_of(make("a") / "centroids.npy")
    stored.path.write_bytes(stored.path.read_bytes()[:200])
    with pytest.raises(IndexFileError, match="can no longer be read"):
        stored.open()


@pytest.mark.parametrize(
    "metadata",
    ["[]", "3", '{"num_chunks": 0}', '{"num_chunks": -2}', '{"num_chunks": 1e9}', '{"num_chunks": true}', "{}"],
)
def test_metadata_of_something_else_is_an_error(make, metadata):
    index = make("a")
    (index / "metadata.json").write_text(metadata)
    with pytest.raises(IndexFileError, match=r"metadata\.json"):
        open_index(index)


def test_an_index_that_was_not_finished_is_said_to_be(make):
    index = make("a")
    (index / "metadata.json").unlink()
    with pytest.raises(IndexFileError, match="not finished"):
        open_index(index)


@pytest.mark.parametrize("doclens", ["{}", '["a"]', "[-1]", "[1e400]", "[true]", ""])
def test_lengths_that_are_none_leave_open_what_depends_on_them(make, doclens):
    index = make("a")
    (index / "doclens.0.json").write_text(doclens)
    found = compared(index, make("b"))
    assert {name for name, verdict in verdicts(found).items() if verdict is None} == {"doclens", "codes", "residuals"}


def test_chunks_left_from_another_run_are_noted(make):
    index = make("a")
    made.save(index / "4.codes.npy", np.zeros(3, np.int64))
    assert open_index(index).notes == ("chunk 4 is not counted by metadata.json; it is left from another run",)


def test_a_numpy_file_left_in_an_index_of_colbert_ai_makes_it_none_of_fast_plaid(tmp_path):
    index = index_folders.write_index(tmp_path / "colbert", index_folders.values())
    np.save(index / "centroids.npy", np.zeros(3))
    assert open_index(index).library == "colbert-ai"


def test_the_page_of_two_indexes_is_drawn(make, tmp_path):
    page = tmp_path / "page.html"
    assert ran(make("a"), make("b", put("codes", 3, 0)), "--html", page)[0] == 1
    assert "cluster_threshold" in page.read_text()
