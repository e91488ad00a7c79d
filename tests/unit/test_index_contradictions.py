"""What an index says against itself: told on both sides, and never called identical."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import index_folders as made
import numpy as np
import pytest
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.compare.indexes import compare_indexes
from reportlib.gate import exit_code, judge, parse

Change = Callable[[made.Values], None]
SIZE = len(made.values()["codes"])
IDS = len(made.values()["ivf"])


def index(path: Path, *changes: Change, **options: Any) -> Path:
    known = made.values()
    for change in changes:
        change(known)
    return made.write_index(path, known, **options)


def put(name: str, place: Any, value: Any) -> Change:
    def change(known: made.Values) -> None:
        known[name][place] = value

    return change


def become(name: str, make: Callable[[Any], Any]) -> Change:
    def change(known: made.Values) -> None:
        known[name] = make(known[name])

    return change


def texts(found: dict[str, Any]) -> list[str]:
    return [problem["what"] for problem in found["problems"]]


CONTRADICTIONS = [
    (put("codes", [5, 9], 40), "2 codes of no centroid: there are 16, from 0 up, and the first such code is 40"),
    (put("codes", -1, -3), "1 code of no centroid: there are 16, from 0 up, and the first such code is -3"),
    (
        put("ivf", 0, 60),
        "1 id in the ivf of no passage: there are 60, from 0 up, and the first such id in the ivf is 60",
    ),
    (put("ivf", 3, -1), "1 id in the ivf of no passage"),
    (
        become("ivf", lambda ivf: np.append(ivf, 7).astype(np.int32)),
        f"count {IDS} ids, the ivf has {IDS + 1}, and what",
    ),
    (put("centroids", (2, 3), np.nan), "1 value of centroids is NaN or infinite"),
    (put("centroids", (2, slice(4)), np.inf), "4 values of centroids are NaN or infinite"),
    (put("avg_residual", (), np.nan), "1 value of avg_residual is NaN or infinite"),
    (put("bucket_weights", 0, -np.inf), "1 value of bucket_weights is NaN or infinite"),
    (become("bucket_cutoffs", lambda x: x[::-1].copy()), "bucket_cutoffs do not ascend"),
    (become("bucket_cutoffs", lambda x: x[:2]), "there are 2 bucket_cutoffs, where nbits 2 takes 3"),
    (become("bucket_weights", lambda x: x[:3]), "there are 3 bucket_weights, where nbits 2 takes 4"),
    (become("centroids", lambda x: x[:, :31].copy()), "centroids of shape [16, 31] do not have dim 32"),
    (become("codes", lambda x: x.astype(np.float32)), "they must be integers of 1 dimension"),
    (become("centroids", lambda x: x.astype(np.int32)), "they must be floats of 2 dimensions"),
]


@pytest.mark.parametrize(("change", "what"), CONTRADICTIONS, ids=[what[:40] for _, what in CONTRADICTIONS])
def test_an_index_that_contradicts_itself_is_never_identical(tmp_path, change, what):
    bad, good = index(tmp_path / "bad", change), index(tmp_path / "good")
    both = compare_indexes(bad, bad)
    assert both["verdict"] == "inconclusive"
    assert [problem["side"] for problem in both["problems"]] == ["a", "b"]
    assert all(what in text for text in texts(both))
    assert both["summary"]["identical"] == both["summary"]["total"]
    for pair, side in (((bad, good), "a"), ((good, bad), "b")):
        found = compare_indexes(*pair)
        assert found["verdict"] == "inconclusive"
        assert {problem["side"] for problem in found["problems"]} == {side}
        assert what in texts(found)[0]


def test_equal_indexes_that_contradict_themselves_exit_with_2_gate_or_not(tmp_path):
    bad = index(tmp_path / "bad", put("codes", 5, 40))
    for options in ([], ["--require", "all identical"]):
        done = CliRunner().invoke(app, ["compare", str(bad), str(bad), *options])
        assert done.exit_code == 2
        assert "2 contradictions between files; 9 of 9 artifacts are identical." in done.stdout
        assert f"B: {bad}: its files do not belong together: 1 code of no centroid" in done.stdout
        assert "To mend it: index again" in done.stdout


def test_lengths_whose_sum_overflows_are_damage(tmp_path):
    bad = index(tmp_path / "bad", put("ivf_lengths", slice(4), 2**62))
    found = compare_indexes(bad, bad)
    record = next(record for record in found["artifacts"] if record["name"] == "ivf")
    assert (found["verdict"], record["verdict"]) == ("inconclusive", None)


def test_a_file_of_one_side_is_looked_at_where_the_other_side_has_none(tmp_path):
    a, b = index(tmp_path / "a"), index(tmp_path / "b", put("codes", 5, 40))
    (a / "0.codes.pt").unlink()
    assert "1 code of no centroid" in texts(compare_indexes(a, b))[0]
    raw = bytearray((b / "0.codes.pt").read_bytes())
    raw[-700] ^= 1
    (b / "0.codes.pt").write_bytes(raw)
    (problem,) = compare_indexes(a, b)["problems"]
    assert problem["side"] == "b"
    assert "CRC-32" in problem["what"]


# ---- the lists of the ivf, and what codes and doclens give


def other_list(known: made.Values) -> None:
    """Put a passage in the place of another, in the first list that has neither."""
    stop = int(known["ivf_lengths"][0])
    known["ivf"][stop - 1] = next(pid for pid in range(made.PASSAGES) if pid not in known["ivf"][:stop])


def twice(known: made.Values) -> None:
    known["ivf"][1] = known["ivf"][0]


def swapped(known: made.Values) -> None:
    """Let two centroids change their codes, as if they had been numbered otherwise after the ivf was made."""
    known["codes"] = np.array([1, 0, *range(2, made.CENTROIDS)], np.int32)[known["codes"]]


@pytest.mark.parametrize(("change", "lists"), [(other_list, 1), (twice, 1), (swapped, 2)])
def test_lists_that_are_not_those_of_the_codes_are_counted(tmp_path, change, lists):
    bad, good = index(tmp_path / "bad", change), index(tmp_path / "good")
    text = f"{lists} of 16 lists of the ivf are not those that codes and doclens give"
    both = compare_indexes(bad, bad)
    assert both["verdict"] == "inconclusive"
    assert all(text in what for what in texts(both))
    # That two indexes differ is certain in spite of it.
    one = compare_indexes(good, bad)
    assert one["verdict"] == "different"
    assert [problem["side"] for problem in one["problems"]] == ["b"]
    assert text in texts(one)[0]
    assert exit_code(judge(parse("doclens identical"), one), one) == 0


def test_runs_of_any_size_give_the_same_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("reportlib.compare.chunks.BLOCK", 3)
    bad = index(tmp_path / "bad", swapped, chunks=7)
    assert "2 of 16 lists" in texts(compare_indexes(bad, bad))[0]
    good = index(tmp_path / "good", chunks=7)
    assert compare_indexes(good, good)["verdict"] == "identical"


def older(known: made.Values) -> None:
    known["ivf"] = np.argsort(known["codes"], kind="stable").astype(np.int64)
    known["ivf_lengths"] = np.bincount(known["codes"], minlength=made.CENTROIDS)


def test_an_older_ivf_is_held_against_its_token_embeddings(tmp_path):
    good = index(tmp_path / "good", older, ivf="ivf.pt")
    assert compare_indexes(good, good)["problems"] == []
    beyond = index(tmp_path / "beyond", older, put("ivf", 0, SIZE), ivf="ivf.pt")
    assert f"1 id in the ivf of no token embedding: there are {SIZE}" in texts(compare_indexes(beyond, good))[0]
    wrong = index(tmp_path / "wrong", older, swapped, ivf="ivf.pt")
    assert "2 of 16 lists of the ivf" in texts(compare_indexes(wrong, wrong))[0]


# ---- what is noted


def appended(path: Path, number: int = 2, ivf: str = "ivf.pid.pt") -> Path:
    """Write an index whose last passages are in codes, residuals and doclens, and not in the ivf."""
    known = made.values()
    if ivf == "ivf.pt":
        older(known)
    extra = int(known["doclens"][:number].sum())
    for name in ("codes", "residuals"):
        known[name] = np.concatenate([known[name], known[name][:extra]])
    known["doclens"] = np.concatenate([known["doclens"], known["doclens"][:number]])
    return made.write_index(path, known, ivf=ivf)


def test_an_ivf_that_misses_appended_passages_is_noted(tmp_path):
    one, other = appended(tmp_path / "one"), appended(tmp_path / "other")
    found = compare_indexes(one, other)
    note = "2 of 62 passages (60 and 61) are in no list of the ivf, so no search reaches them"
    assert (found["verdict"], found["problems"]) == ("identical", [])
    assert [found[side]["notes"] for side in "ab"] == [[note], [note]]
    done = CliRunner().invoke(app, ["compare", str(one), str(other)])
    assert (done.exit_code, done.stdout.count(note)) == (0, 2)
    assert compare_indexes(index(tmp_path / "before"), one)["verdict"] == "different"


def test_an_older_ivf_that_misses_appended_passages_is_noted(tmp_path):
    one = appended(tmp_path / "one", ivf="ivf.pt")
    (note,) = compare_indexes(one, one)["a"]["notes"]
    assert note == "2 of 62 passages (60 and 61) have token embeddings that are in no list of the ivf"


def test_many_passages_are_counted_and_some_named(tmp_path):
    one = appended(tmp_path / "one", 20)
    (note,) = compare_indexes(one, one)["a"]["notes"]
    assert note.startswith("20 of 80 passages (60, 61, 62, 63, 64, 65, 66 and 13 more) are in no list")


def removed(known: made.Values) -> None:
    """Leave a passage as IndexUpdater leaves one that it removes: without token embeddings, in no list."""
    starts = np.concatenate(([0], np.cumsum(known["doclens"])))
    for name in ("codes", "residuals"):
        known[name] = np.delete(known[name], np.s_[starts[4] : starts[5]], axis=0)
    known["doclens"][4] = 0
    known["ivf"], known["ivf_lengths"] = made.lists(known["codes"], known["doclens"])


def test_passages_without_token_embeddings_are_noted(tmp_path):
    found = compare_indexes(index(tmp_path / "a", removed), index(tmp_path / "b", removed))
    assert (found["verdict"], found["problems"]) == ("identical", [])
    (note,) = found["a"]["notes"]
    assert note.startswith("1 of 60 passages (4) has no token embeddings")


def test_a_removed_passage_that_a_list_still_has_is_a_contradiction(tmp_path):
    def stale(known: made.Values) -> None:
        before = known["ivf"], known["ivf_lengths"]
        removed(known)
        known["ivf"], known["ivf_lengths"] = before

    bad = index(tmp_path / "bad", stale)
    codes = made.values()["codes"][np.repeat(np.arange(made.PASSAGES), made.values()["doclens"]) == 4]
    found = compare_indexes(bad, bad)
    assert found["verdict"] == "inconclusive"
    assert f"{len(set(codes.tolist()))} of 16 lists of the ivf" in texts(found)[0]


# ---- padding


def padded(number: int) -> Change:
    return become("ivf", lambda ivf: np.concatenate([ivf, np.zeros(number, np.int32)]))


def test_padding_makes_no_other_set(tmp_path):
    plain, zeros = index(tmp_path / "plain"), index(tmp_path / "zeros", padded(21))
    found = compare_indexes(plain, zeros)
    record = next(record for record in found["artifacts"] if record["name"] == "ivf")
    assert (record["verdict"], record["same_set"], record["different"], record["elements"]) == (
        "same set",
        "per group",
        0,
        IDS,
    )
    assert (record["groups"], record["groups_equal"]) == (16, 16)
    assert (record["a"]["shape"], record["b"]["shape"]) == ((IDS,), (IDS + 21,))
    assert record["text"] == (
        "Every one of 16 groups holds the same set; what differs is the padding after the last: 0 zeros in A, "
        "21 zeros in B."
    )
    assert (found["verdict"], found["problems"]) == ("different", [])
    assert found["summary"]["identical"] == 8
    text = "ivf same set, ivf differing <= 0, ivf groups_differing <= 0, ivf identical"
    assert [judgement.outcome for judgement in judge(parse(text), found)] == ["holds"] * 3 + ["does not hold"]


def test_padding_and_another_order_are_still_the_same_set(tmp_path):
    def reversed_list(known: made.Values) -> None:
        stop = int(known["ivf_lengths"][0])
        known["ivf"][:stop] = known["ivf"][:stop][::-1]

    found = compare_indexes(index(tmp_path / "a", padded(5)), index(tmp_path / "b", reversed_list))
    record = next(record for record in found["artifacts"] if record["name"] == "ivf")
    assert record["verdict"] == "same set"
    assert record["different"] > 0
    assert "the same set in another order; what differs is the padding" in record["text"]


def test_other_lists_beside_padding_are_no_same_set(tmp_path):
    found = compare_indexes(index(tmp_path / "a", padded(5)), index(tmp_path / "b", other_list))
    record = next(record for record in found["artifacts"] if record["name"] == "ivf")
    assert (record["verdict"], record["groups_equal"]) == ("shape mismatch", 15)


def test_equal_padding_is_identical(tmp_path):
    a, b = index(tmp_path / "a", padded(9)), index(tmp_path / "b", padded(9))
    found = compare_indexes(a, b)
    assert found["verdict"] == "identical"
    assert json.loads((a / "metadata.json").read_text())["num_chunks"] == 1
