"""Two index folders side by side: verdicts, chunk counts, and what cannot be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import index_folders as made
import jsonschema
import numpy as np
import pytest

from reportlib.compare import indexes
from reportlib.compare.indexes import compare_indexes
from reportlib.errors import IndexFileError
from reportlib.indexes import StoredTensor

SCHEMA = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write an index under a name, with what `change` does to its values."""

    def write(folder: str, change: Callable[[made.Values], None] | None = None, **options: object) -> Path:
        known = made.values()
        if change is not None:
            change(known)
        return made.write_index(tmp_path / folder, known, **options)

    return write


def compared(a: Path, b: Path) -> dict:
    found = compare_indexes(a, b)
    written = json.loads(json.dumps({**found, "requirements": None, "exit_code": 0}, allow_nan=False))
    jsonschema.validate(written, SCHEMA)
    return found


def verdicts(found: dict) -> dict[str, str | None]:
    return {r["name"]: r["verdict"] for r in found["artifacts"]}


def flip(path: Path, place: int = -500) -> None:
    """Change one byte of a tensor without changing its CRC-32 in the archive."""
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


# ---- verdicts


def test_the_same_index_twice_is_identical(make):
    found = compared(make("a"), make("b"))
    assert found["verdict"] == "identical"
    assert set(verdicts(found).values()) == {"identical"}
    assert found["summary"]["identical"] == found["summary"]["total"] == 9


def test_an_index_is_identical_to_itself(make):
    index = make("a")
    assert compared(index, index)["verdict"] == "identical"


@pytest.mark.parametrize(("left", "right"), [(1, 4), (5, 3), (60, 1)])
def test_chunk_counts_make_no_difference(make, left, right):
    found = compared(make("a", chunks=left), make("b", chunks=right))
    assert found["verdict"] == "identical"
    assert (found["a"]["chunks"], found["b"]["chunks"]) == (left, right)
    assert [s["name"] for s in found["settings"] if not s["place"]] == ["num_chunks"]


def test_one_residual_byte_is_found_with_its_chunk(make):
    def change(known):
        known["residuals"][-1, 3] ^= 4

    found = compared(make("a", chunks=3), make("b", change, chunks=2))
    record = next(r for r in found["artifacts"] if r["name"] == "residuals")
    assert (record["verdict"], record["different"], record["max_abs"]) == ("different", 1, 4)
    assert record["first_index"] == (len(made.values()["codes"]) - 1, 3)
    assert [(c["name"], c["different"]) for c in record["chunks"]][-1] == ("2.residuals.pt", 1)
    assert {n for n, v in verdicts(found).items() if v != "identical"} == {"residuals"}
    assert found["verdict"] == "different"


def test_passages_of_a_centroid_in_another_order_are_the_same_set(make):
    def change(known):
        ends = np.cumsum(known["ivf_lengths"])
        for start, stop in zip(ends - known["ivf_lengths"], ends, strict=True):
            known["ivf"][start:stop] = known["ivf"][start:stop][::-1]

    found = compared(make("a"), make("b", change))
    record = next(r for r in found["artifacts"] if r["name"] == "ivf")
    assert (record["verdict"], record["same_set"]) == ("same set", "per group")
    assert record["groups"] == record["groups_equal"] == made.CENTROIDS
    assert found["verdict"] == "different"


def test_passages_that_changed_their_centroid_are_no_same_set(make):
    def change(known):
        first, second = 0, int(known["ivf_lengths"][0])
        known["ivf"][[first, second]] = known["ivf"][[second, first]] + [0, 0]
        known["ivf"][first] = 59 if known["ivf"][first] != 59 else 58

    found = compared(make("a"), make("b", change))
    record = next(r for r in found["artifacts"] if r["name"] == "ivf")
    assert record["verdict"] == "different"
    assert record["groups_equal"] < record["groups"]


def test_an_older_ivf_of_token_ids_can_differ_in_order_only(make):
    def older(known):
        order = np.argsort(known["codes"], kind="stable")
        known["ivf"] = order.astype(np.int64)
        known["ivf_lengths"] = np.bincount(known["codes"], minlength=made.CENTROIDS)

    def unstable(known):
        older(known)
        length = int(known["ivf_lengths"][0])
        known["ivf"][:length] = known["ivf"][:length][::-1]

    found = compared(make("a", older, ivf="ivf.pt"), make("b", unstable, ivf="ivf.pt"))
    assert verdicts(found)["ivf"] == "same set"


def test_close_floats_are_close_by_their_tolerance(make):
    def change(known):
        known["bucket_weights"][0] += np.float32(1e-6)
        known["centroids"][0, 0] *= np.float16(2)

    found = compared(make("a"), make("b", change))
    assert verdicts(found)["bucket_weights"] == "close"
    assert verdicts(found)["centroids"] == "different"
    assert verdicts(found)["bucket_cutoffs"] == "identical"


def test_other_numbers_of_bits_are_a_shape_mismatch_and_a_setting(make):
    def wider(known):
        known["residuals"] = np.repeat(known["residuals"], 2, axis=1)
        known["bucket_cutoffs"] = np.linspace(-1, 1, 15, dtype=np.float32)
        known["bucket_weights"] = np.linspace(-1, 1, 16, dtype=np.float32)

    found = compared(make("a"), make("b", wider, nbits=4))
    assert verdicts(found)["residuals"] == "shape mismatch"
    assert {"name": "nbits", "a": 2, "b": 4, "place": False} in found["settings"]
    assert found["verdict"] == "different"
    assert not found["problems"]


def test_an_index_made_on_a_gpu_differs_in_dtype_only_where_it_does(make):
    def halves(known):
        known["avg_residual"] = known["avg_residual"].astype(np.float16)

    found = compared(make("a"), make("b", halves, device="cuda:0"))
    assert found["b"]["devices"] == ["cpu", "cuda:0"]
    record = next(r for r in found["artifacts"] if r["name"] == "avg_residual")
    assert record["verdict"] == "different"
    assert "dtypes differ" in record["text"]
    assert verdicts(found)["centroids"] == "identical"


def test_nans_are_counted_and_do_not_break_the_json(make):
    def change(known):
        known["centroids"][0, 0] = np.nan

    found = compared(make("a", change), make("b", change))
    record = next(r for r in found["artifacts"] if r["name"] == "centroids")
    assert (record["verdict"], record["a"]["nan"]) == ("identical", 1)


def test_where_and_when_an_index_was_made_is_told_from_its_settings(make):
    found = compared(make("a", name="monday", doc_maxlen=180), make("b", name="tuesday", doc_maxlen=300))
    assert [(s["name"], s["place"]) for s in found["settings"]] == [
        ("doc_maxlen", False),
        ("index_path", True),
        ("name", True),
    ]


# ---- what cannot be told


def test_a_corrupted_chunk_leaves_its_question_open_and_the_others_answered(make):
    a, b = make("a", chunks=3), make("b", chunks=3)
    flip(b / "1.residuals.pt")
    found = compared(a, b)
    assert found["verdict"] == "inconclusive"
    record = next(r for r in found["artifacts"] if r["name"] == "residuals")
    assert record["verdict"] is None
    assert record["problems"][0]["side"] == "b"
    assert "1.residuals.pt" in record["problems"][0]["what"]
    assert "CRC-32" in record["text"]
    others = {n: v for n, v in verdicts(found).items() if n != "residuals"}
    assert set(others.values()) == {"identical"}


def test_the_side_that_is_damaged_is_blamed_even_where_one_path_begins_like_the_other(make):
    a, b = make("index"), make("index-2")
    flip(b / "0.codes.pt", -700)
    record = next(r for r in compared(a, b)["artifacts"] if r["name"] == "codes")
    assert [p["side"] for p in record["problems"]] == ["b"]


def test_damage_after_a_shape_mismatch_is_still_found(make):
    def longer(known):
        known["centroids"] = np.concatenate([known["centroids"], known["centroids"]])

    a, b = make("a"), make("b", longer)
    flip(a / "centroids.pt", -800)
    record = next(r for r in compared(a, b)["artifacts"] if r["name"] == "centroids")
    assert record["verdict"] is None
    assert record["problems"][0]["side"] == "a"


@pytest.mark.parametrize("file", ["1.codes.pt", "2.residuals.pt", "doclens.0.json", "centroids.pt", "avg_residual.pt"])
def test_a_missing_file_is_named_on_its_side(make, file):
    a, b = make("a", chunks=3), make("b", chunks=3)
    (a / file).unlink()
    found = compared(a, b)
    assert found["verdict"] == "inconclusive"
    open_questions = [r for r in found["artifacts"] if r["verdict"] is None]
    assert [p["side"] for r in open_questions for p in r["problems"]] == ["a"]
    assert file in open_questions[0]["text"]
    assert found["summary"]["unread"] == 1


def test_a_file_missing_on_both_sides_is_two_problems(make):
    a, b = make("a"), make("b")
    for side in (a, b):
        (side / "buckets.pt").unlink()
    found = compared(a, b)
    assert [len(r["problems"]) for r in found["artifacts"] if r["verdict"] is None] == [2, 2]


def test_a_hostile_file_is_refused_by_name_and_the_rest_compared(make):
    a, b = make("a"), make("b")
    made.write(b / "centroids.pt", made.name("os", "system"), {})
    found = compared(a, b)
    record = next(r for r in found["artifacts"] if r["name"] == "centroids")
    assert "os.system" in record["text"]
    assert verdicts(found)["codes"] == "identical"


def test_lengths_that_do_not_fit_their_lists_are_damage(make):
    def change(known):
        known["ivf_lengths"][0] = 10**9

    found = compared(make("a"), make("b", change))
    record = next(r for r in found["artifacts"] if r["name"] == "ivf")
    assert record["verdict"] is None
    assert "do not fit" in record["text"]


def test_negative_lengths_are_damage(make):
    def change(known):
        known["ivf_lengths"][0] = -3

    record = next(r for r in compared(make("a", change), make("b"))["artifacts"] if r["name"] == "ivf")
    assert (record["verdict"], record["problems"][0]["side"]) == (None, "a")


def test_token_ids_are_not_compared_with_passage_ids(make):
    found = compared(make("a", ivf="ivf.pt"), make("b"))
    for name in ("ivf", "ivf_lengths"):
        record = next(r for r in found["artifacts"] if r["name"] == name)
        assert record["verdict"] is None
        assert record["problems"][0]["side"] == "a"
        assert "writes its ivf.pid.pt" in record["problems"][0]["mend"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda known: known.update(residuals=known["residuals"][:-1]), "codes and residuals"),
        (lambda known: known.update(residuals=known["residuals"][:, :-1]), "nbits"),
        (lambda known: known.update(centroids=known["centroids"][:-1]), "15 centroids, and lists for 16"),
    ],
)
def test_files_that_do_not_belong_together_are_a_problem_even_if_equal(make, change, what):
    found = compared(make("a", change), make("b", change))
    assert found["verdict"] == "inconclusive"
    assert what in found["problems"][0]["what"]
    assert [p["side"] for p in found["problems"]] == ["a", "b"]


def test_doclens_of_other_passages_are_a_problem(make):
    a, b = make("a"), make("b")
    lengths = json.loads((b / "doclens.0.json").read_text())
    (b / "doclens.0.json").write_text(json.dumps([*lengths[:-1], lengths[-1] + 1]))
    found = compared(a, b)
    assert "doclens count" in found["problems"][0]["what"]
    assert verdicts(found)["doclens"] == "different"


def test_what_metadata_json_counts_is_noted_and_decides_nothing(make):
    a, b = make("a"), make("b")
    metadata = json.loads((a / "metadata.json").read_text())
    (a / "metadata.json").write_text(json.dumps({**metadata, "num_embeddings": 7, "num_partitions": 3}))
    found = compared(a, b)
    embeddings, centroids = found["a"]["notes"]
    assert f"metadata.json counts 7 token embeddings, the tensors have {len(made.values()['codes'])}" in embeddings
    assert f"metadata.json counts 3 centroids, the tensors have {made.CENTROIDS}" in centroids
    assert (found["verdict"], found["problems"], found["b"]["notes"]) == ("identical", [], [])


def test_chunks_of_several_dtypes_are_refused(make):
    a, b = make("a", chunks=2), make("b", chunks=2)
    made.save(b / "1.codes.pt", np.zeros(5, np.int64))
    record = next(r for r in compared(a, b)["artifacts"] if r["name"] == "codes")
    assert "several dtypes" in record["text"]


def test_a_folder_without_an_index_is_an_error(make, tmp_path):
    with pytest.raises(IndexFileError, match="no ColBERT index"):
        compare_indexes(make("a"), tmp_path)


# ---- size


def test_progress_ends_at_the_whole(make):
    seen: list[tuple[int, int]] = []
    compare_indexes(make("a", chunks=4), make("b", chunks=2), lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_hundreds_of_chunks_keep_few_files_open(make):
    resource = pytest.importorskip("resource")
    a, b = make("a", chunks=60), make("b", chunks=60)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, limits[1]))
    try:
        found = compared(a, b)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found["verdict"] == "identical"


def test_each_chunk_is_read_for_its_checksum_once(make, monkeypatch):
    monkeypatch.setattr("reportlib.compare.chunks.BLOCK", 16)
    checked: list[str] = []
    whole = StoredTensor.open

    def watched(stored, *, check=True):
        if check:
            checked.append(f"{stored.path.parent.name}/{stored.path.name}/{stored.record.name}")
        return whole(stored, check=check)

    monkeypatch.setattr(StoredTensor, "open", watched)
    assert compared(make("a", chunks=3), make("b", chunks=5))["verdict"] == "identical"
    assert len(checked) == len(set(checked)) == (3 + 5) * 2 + 2 * 6
