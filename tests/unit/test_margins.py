"""The margins of planted captures: known flips at known margins, in chunks, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import captures
import numpy as np
import pytest
from margin_captures import AXES, bfloat16, by_margin, capture, indexed, pair, ranking, searching

from reportlib.compare import margins
from reportlib.compare.margins import Sides, bucket_items, centroid_items, compare_margins, evenly_spaced
from reportlib.study import Arm

#: Exact in float16 beside 0.5.
MARGINS = np.arange(1, 41) / 1024
SHIFT = 10.5 / 1024


def centroid_and_bucket(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, Any]]:
    return compare_margins(*pair(folder, a, b), None, None, k=2)[:2]


# --- centroids ---------------------------------------------------------------------------------------


def test_a_shift_flips_the_embeddings_whose_margin_is_below_it_and_only_those(tmp_path: Path) -> None:
    found = centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS - SHIFT)))[0]
    assert (found["id"], found["items"], found["of"], found["flipped"]) == ("centroid", 40, 40, 10)
    assert found["auc"] == 1.0
    assert found["half"] == 5.5 / 1024
    assert found["margin"]["quantiles"]["0"] == 1 / 1024
    # Below 0.5 a float16 is finer than above, where the shifted half steps are rounded.
    assert found["change"]["max"] == pytest.approx(SHIFT, abs=1 / 2048)
    assert found["explained"] == {"within": 10, "of": 10, "unknown": 0, "alike": 0}
    assert found["same_ids"] == {"nearest": 2, "of": 2}


def test_identical_sides_flip_nothing_and_change_nothing(tmp_path: Path) -> None:
    values = indexed(by_margin(MARGINS))
    for found in centroid_and_bucket(tmp_path, values, values):
        assert (found["flipped"], found["auc"], found["change"]["max"]) == (0, None, 0.0)
        assert found["left_out"] is None


def test_every_embedding_can_flip(tmp_path: Path) -> None:
    found = centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(-MARGINS)))
    assert (found[0]["flip_rate"], found[0]["auc"]) == (1.0, None)
    # No embedding has the same code, so no residual can be compared.
    assert "nothing with a margin" in found[1]["left_out"]


def test_a_flip_of_the_same_embedding_is_a_centroid_that_moved(tmp_path: Path) -> None:
    moved = np.array([[1, 0], [0.125, 1]], np.float16)
    found = centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS), moved))[0]
    assert found["flipped"] > 0
    assert found["explained"]["alike"] == found["flipped"] == found["explained"]["within"]


def test_the_margin_is_that_of_the_best_other_centroid(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    embs, centroids = (rng.standard_normal(shape).astype(np.float16) for shape in ((50, 8), (6, 8)))
    found = centroid_items(Sides(*pair(tmp_path, indexed(embs, centroids), indexed(embs, centroids))))
    scores = np.sort(embs.astype(np.float64) @ centroids.astype(np.float64).T, axis=1)
    assert found.margin.tolist() == (scores[:, -1] - scores[:, -2]).tolist()
    assert not found.drop.any()


def test_what_float16_does_not_hold_is_no_change(tmp_path: Path) -> None:
    embs = by_margin(MARGINS)
    found = centroid_and_bucket(tmp_path, indexed(embs), indexed(embs * np.float32(1 + 1e-6)))[0]
    assert found["change"]["max"] == 0.0


def test_scores_are_those_of_the_stored_centroids(tmp_path: Path) -> None:
    exact = indexed(by_margin(MARGINS))
    exact["centroids"] = AXES.astype(np.float32) * 3
    assert centroid_and_bucket(tmp_path, exact, exact)[0]["margin"]["quantiles"]["0"] == 1 / 1024


def test_a_code_against_the_scores_has_a_margin_below_zero(tmp_path: Path) -> None:
    a = indexed(by_margin(MARGINS))
    a["compress_codes/0"] = np.where(np.arange(40) == 0, 1, a["compress_codes/0"])
    found = centroid_and_bucket(tmp_path, a, indexed(by_margin(MARGINS)))[0]
    assert found["margin"]["quantiles"]["0"] == -1 / 1024
    assert found["flipped"] == 1


def test_centroids_that_changed_places_do_not_keep_their_ids(tmp_path: Path) -> None:
    a, b = indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS), AXES[::-1].copy())
    found = centroid_and_bucket(tmp_path, a, b)[0]
    assert found["same_ids"] == {"nearest": 0, "of": 2}
    assert found["flip_rate"] == 1.0


def test_an_embedding_that_is_not_a_number_has_no_margin(tmp_path: Path) -> None:
    a = indexed(by_margin(MARGINS))
    a["embs/0"][3] = np.nan
    found = centroid_and_bucket(tmp_path, a, a)[0]
    assert (found["items"], found["of"]) == (39, 40)


# --- buckets -----------------------------------------------------------------------------------------


def residuals(values: list[float], cutoffs: list[float]) -> dict[str, Any]:
    """Embeddings of one coordinate and one code, whose residuals are `values`; the second centroid is far away."""
    return indexed(np.zeros((len(values), 1), np.float32), np.array([[0], [-1]], np.float16), cutoffs) | {
        "compress_residuals/0": np.array(values, np.float32)[:, None],
        "compress_codes/0": np.zeros(len(values), np.int64),
    }


def test_a_value_that_crosses_an_edge_flips(tmp_path: Path) -> None:
    a, b = residuals([-1, 0.25, 0.75, 2], [0, 1]), residuals([-1, -0.25, 1.25, 2], [0, 1])
    found = bucket_items(Sides(*pair(tmp_path, a, b)))
    assert found.margin.tolist() == [1, 0.25, 0.25, 1]
    assert found.drop.tolist() == [0, 0.5, 0.5, 0]
    assert found.flipped.tolist() == [False, True, True, False]
    assert found.alike.tolist() == [True, False, False, True]


def test_an_edge_that_moves_past_a_value_flips_it_too(tmp_path: Path) -> None:
    found = centroid_and_bucket(tmp_path, residuals([0.5, 3], [0.25]), residuals([0.5, 3], [0.75]))[1]
    assert (found["items"], found["flipped"], found["auc"]) == (2, 1, 1.0)
    assert found["explained"] == {"within": 1, "of": 1, "unknown": 0, "alike": 1}
    assert found["change"]["max"] == 0.5


def test_a_value_on_an_edge_is_in_the_lower_bucket(tmp_path: Path) -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    found = bucket_items(Sides(*pair(tmp_path, residuals([1, 1, 1], [1]), residuals([1, above, 0.5], [1]))))
    assert found.flipped.tolist() == [False, True, False]
    assert found.margin.tolist() == [0, 0, 0]


def test_embeddings_with_another_code_have_no_bucket_to_compare(tmp_path: Path) -> None:
    a, b = indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS - SHIFT))
    found = centroid_and_bucket(tmp_path, a, b)[1]
    assert (found["items"], found["of"]) == (30 * 2, 30 * 2)


def test_another_number_of_buckets_is_left_out_with_both_shapes(tmp_path: Path) -> None:
    a, b = indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS), cutoffs=[0.0])
    centroid, bucket = centroid_and_bucket(tmp_path, a, b)
    assert centroid["left_out"] is None
    assert "[3] in A and [1] in B" in bucket["left_out"]


# --- chunks, blocks, samples and dtypes --------------------------------------------------------------


def test_chunks_change_nothing_wherever_they_end(tmp_path: Path) -> None:
    a, b = by_margin(MARGINS), by_margin(MARGINS - SHIFT)
    whole = centroid_and_bucket(tmp_path / "1", indexed(a), indexed(b))
    cut = centroid_and_bucket(tmp_path / "2", indexed(a, cuts=[1, 13, 13]), indexed(b, cuts=[20]))
    assert json.dumps(whole) == json.dumps(cut)


def test_blocks_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    embs, centroids = (
        rng.standard_normal((300, 16)).astype(np.float16),
        rng.standard_normal((24, 16)).astype(np.float16),
    )
    near = (embs.astype(np.float32) + rng.normal(0, 0.02, embs.shape)).astype(np.float32)
    sides = pair(tmp_path, indexed(embs, centroids, cuts=[128]), indexed(near, centroids, cuts=[200]))
    once = compare_margins(*sides, None, None, k=2)
    monkeypatch.setattr(margins, "_BLOCK", 37)
    assert json.dumps(compare_margins(*sides, None, None, k=2)) == json.dumps(once)
    assert 0 < once[0]["flipped"] < 300
    assert once[0]["auc"] > 0.8


def test_a_large_index_is_sampled_evenly_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins, "EMBEDDINGS", 10)
    a, b = by_margin(MARGINS), by_margin(MARGINS - SHIFT)
    centroid, bucket = centroid_and_bucket(tmp_path, indexed(a, cuts=[7]), indexed(b, cuts=[7]))
    # Every fourth embedding: margins 1, 5, 9, 13 ... of 1024, of which three are below the shift.
    assert (centroid["items"], centroid["of"], centroid["flipped"]) == (10, 40, 3)
    assert centroid["margin"]["quantiles"]["0"] == 1 / 1024
    assert (bucket["items"], bucket["of"]) == (7 * 2, 30 * 2)


def test_many_centroids_and_wide_embeddings_lower_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins, "SCORES", 16)
    monkeypatch.setattr(margins, "COORDINATES", 10)
    centroid, bucket = centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS)))
    assert (centroid["items"], centroid["of"]) == (8, 40)
    assert centroid["unseen"] == pytest.approx(1 - 0.05 ** (1 / 8))
    assert (bucket["items"], bucket["of"]) == (5 * 2, 40 * 2)


@pytest.mark.parametrize(("total", "most"), [(0, 5), (5, 5), (7, 3), (10**12, 1000)])
def test_a_sample_starts_at_the_first_and_keeps_one_distance(total: int, most: int) -> None:
    ids = evenly_spaced(total, most)
    assert len(ids) == min(total, most)
    if len(ids) > 1:
        steps = np.diff(ids)
        assert ids[0] == 0
        assert ids[-1] < total
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1


def test_bfloat16_is_read_as_the_numbers_it_holds(tmp_path: Path) -> None:
    # 0.5 to 0.75 in steps of 1/256: exact in bfloat16.
    margins = np.arange(1, 21) / 256
    a, b = indexed(by_margin(margins)), indexed(by_margin(margins - 4 / 256))
    wide = centroid_and_bucket(tmp_path / "wide", a, b)
    for values in (a, b):
        values |= {name: bfloat16(values[name]) for name in ("embs/0", "index/centroids", "bucket_cutoffs")}
    narrow = centroid_and_bucket(tmp_path / "narrow", a, b)
    assert json.dumps(wide) == json.dumps(narrow)
    assert wide[0]["flipped"] == 3


# --- what cannot be compared -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embs", "index/centroids", "compress_codes", "compress_residuals", "bucket_cutoffs"])
@pytest.mark.parametrize("side", ["A", "B"])
def test_a_missing_artifact_leaves_out_what_needs_it_and_nothing_else(tmp_path: Path, name: str, side: str) -> None:
    values = {"A": indexed(by_margin(MARGINS)), "B": indexed(by_margin(MARGINS))}
    values[side] = {key: value for key, value in values[side].items() if not key.startswith(name)}
    centroid, bucket = centroid_and_bucket(tmp_path, values["A"], values["B"])
    of_centroid = name in {"embs", "index/centroids", "compress_codes"}
    for found, needs_it in ((centroid, of_centroid), (bucket, name != "embs")):
        assert found["left_out"] == (f"`{name}` was not captured for {side}." if needs_it else None)
        assert (found["items"] == 0) is needs_it


def test_another_number_of_embeddings_is_left_out(tmp_path: Path) -> None:
    for found in centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS[:-1]))):
        assert found["left_out"] == "A has 40 token embeddings and B 39."


def test_embeddings_of_other_tokens_are_left_out(tmp_path: Path) -> None:
    a, b = indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS)) | {"doclens": [20, 20]}
    for found in centroid_and_bucket(tmp_path, a, b):
        assert "other numbers of token embeddings" in found["left_out"]


def test_another_number_of_centroids_is_left_out(tmp_path: Path) -> None:
    more = np.concatenate([AXES, -AXES])
    for found in centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), indexed(by_margin(MARGINS), more)):
        assert "A has 2 centroids and B 4" in found["left_out"]


def test_one_centroid_has_no_second(tmp_path: Path) -> None:
    values = indexed(by_margin(MARGINS), AXES[:1])
    centroid, bucket = centroid_and_bucket(tmp_path, values, values)
    assert "one centroid" in centroid["left_out"]
    assert bucket["left_out"] is None


def test_a_code_without_a_centroid_is_named(tmp_path: Path) -> None:
    damaged = indexed(by_margin(MARGINS)) | {"compress_codes/0": np.full(40, 7)}
    for found in centroid_and_bucket(tmp_path, indexed(by_margin(MARGINS)), damaged):
        assert found["left_out"] == "A code is 7, and there are 2 centroids."


def test_an_index_without_embeddings_is_left_out(tmp_path: Path) -> None:
    empty = indexed(by_margin([]))
    for found in centroid_and_bucket(tmp_path, empty, empty):
        assert found["left_out"] == "There is nothing with a margin to look at."


# --- queries -----------------------------------------------------------------------------------------


def rank(folder: Path, a: list[dict[str, Any]], b: list[dict[str, Any]], k: int = 2) -> dict[str, Any]:
    """The record of the top k, the other environment's index searched with nonsense."""
    nonsense = [ranking("q", [9, 8, 7], [1, 1, 1])]
    searches = (
        searching(folder, "torch201", torch201=a, torch210=nonsense),
        searching(folder, "torch210", torch201=nonsense, torch210=b),
    )
    plain = capture(folder, "torch201", {})
    return compare_margins(plain, plain, *searches, k=k)[2]


def test_a_query_flips_where_its_top_k_holds_other_passages(tmp_path: Path) -> None:
    a = [ranking("near", [1, 2, 3, 4], [9, 8, 7.5, 1]), ranking("far", [1, 2, 3, 4], [9, 8, 4, 1])]
    b = [ranking("near", [1, 3, 2, 4], [9, 7.75, 7.5, 1]), ranking("far", [2, 1, 3, 4], [9, 8, 4, 1])]
    found = rank(tmp_path, a, b)
    assert (found["id"], found["k"], found["items"], found["of"], found["flipped"]) == ("rank", 2, 2, 2, 1)
    assert found["margin"]["quantiles"]["0"] == 0.5
    # The gap of "near" went from 0.5 to -0.25; that of "far", between the same two passages, from 4 to 5.
    assert (found["change"]["max"], found["change"]["median"]) == (1.0, 0.875)
    assert found["explained"] == {"within": 1, "of": 1, "unknown": 0, "alike": None}
    assert found["auc"] == 1.0


def test_the_change_is_not_known_where_a_passage_is_no_longer_ranked(tmp_path: Path) -> None:
    a, b = [ranking("q", [1, 2, 3], [3, 2, 1])], [ranking("q", [1, 4, 5], [3, 2, 1])]
    found = rank(tmp_path, a, b)
    assert found["explained"] == {"within": 0, "of": 1, "unknown": 1, "alike": None}
    assert found["change"] is None


def test_queries_with_no_passage_below_the_top_k_are_not_looked_at(tmp_path: Path) -> None:
    a = [ranking("long", [1, 2, 3], [3, 2, 1]), ranking("short", [1, 2], [3, 2]), ranking("none", [], [])]
    found = rank(tmp_path, a, a)
    assert (found["items"], found["of"], found["flipped"]) == (1, 3, 0)
    assert rank(tmp_path / "deeper", a, a, k=3)["left_out"] == "No query of both sides found more than 3 passages."


def test_only_queries_of_both_sides_count(tmp_path: Path) -> None:
    a = [ranking("q1", [1, 2, 3], [3, 2, 1]), ranking("q2", [1, 2, 3], [3, 2, 1])]
    assert rank(tmp_path, a, a[:1])["of"] == 1


def test_scores_that_tie_after_rank_k_have_a_margin_of_zero(tmp_path: Path) -> None:
    a, b = [ranking("q", [1, 2, 3], [3, 2, 2])], [ranking("q", [1, 3, 2], [3, 2, 2])]
    found = rank(tmp_path, a, b)
    assert (found["flipped"], found["half"]) == (1, 0.0)
    assert found["explained"]["within"] == 1


def test_without_a_search_the_top_k_is_left_out(tmp_path: Path) -> None:
    plain = capture(tmp_path, "torch201", {})
    other = searching(tmp_path, "torch210", torch201=[])
    for searches, side in (((None, None), "A"), ((other, other), "A"), ((searching(tmp_path, "x", x=[]), None), "B")):
        found = compare_margins(plain, plain, *searches, k=10)[2]
        assert found["left_out"] == f"No search of {side}'s own index was captured."
        assert found["k"] == 10


def test_a_passage_that_is_the_query_itself_is_no_part_of_the_top_k_on_request(tmp_path: Path) -> None:
    plain = capture(tmp_path, "torch201", {})
    rows = [ranking("q", [5, 1, 2, 3], [99, 9, 8, 6])]
    sides = []
    for environment in ("torch201", "torch210"):
        values = {
            f"rankings/{environment}": {"k": 2, "depth": 4, "queries": rows},
            "query_texts": {"q": "what?"},
            "passage_texts": {str(pid): {"id": "q" if pid == 5 else f"d{pid}", "text": "x"} for pid in (1, 2, 3, 5)},
        }
        arm = Arm(environment, "float32", "cpu", 0, searching=True)
        sides.append(captures.write(tmp_path, arm, values))
    kept, left = (
        compare_margins(plain, plain, *sides, k=2, ignore_identical_ids=ignored)[2]["margin"]["median"]
        for ignored in (False, True)
    )
    # After rank 2: from 9 to 8, and with the query itself gone from 8 to 6.
    assert (kept, left) == (1.0, 2.0)


# --- all of a capture --------------------------------------------------------------------------------


def test_the_records_come_in_one_order_as_plain_values_and_the_same_twice(tmp_path: Path) -> None:
    sides = []
    for environment in ("torch201", "torch210"):
        arm = Arm(environment, "autocast", "cpu", 40)
        values = captures.pipeline_values(arm)
        captures.plant_other_embeddings(arm, values)
        sides.append(captures.write(tmp_path, arm, values))
    found = compare_margins(*sides, None, None, k=5)
    assert [each["id"] for each in found] == ["centroid", "bucket", "rank"]
    assert json.dumps(found) == json.dumps(compare_margins(*sides, None, None, k=5))
    # Centroids were put in the opposite order, so hardly a code is the same.
    assert found[0]["same_ids"]["nearest"] == 0
    assert found[0]["flip_rate"] == 1.0
