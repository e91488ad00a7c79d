from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captures import Settings, pipeline_values, probes, sort, unstable, write

from reportlib.compare import chunks, verdicts
from reportlib.compare.chunks import Chunked
from reportlib.compare.order import Side, compare_order, compare_probes
from reportlib.errors import ComparisonError
from reportlib.store import Capture, Tensor
from reportlib.study import Arm

A, B = Arm("torch201", "float32", "cpu", 0), Arm("torch210", "float32", "cpu", 0)
Change = Callable[[dict[str, Any]], None]


def codes_only(passages: int = 40, centroids: int = 16, seed: int = 0) -> dict[str, Any]:
    """What the argument needs: codes, their unstable sort, doclens and the ivf."""
    values = pipeline_values(A, seed, passages)
    names = ("presort_codes", "sorted_codes", "sort_indices", "doclens", "ivf", "ivf_lengths")
    names += ("index/ivf", "index/ivf_lengths")
    assert values["presort_codes"].max() < centroids
    return {name: values[name] for name in names}


def pair(folder: Path, change: Change | None = None, **kept: int) -> tuple[Capture, Capture]:
    left, right = codes_only(**kept), codes_only(**kept)
    if change is not None:
        change(right)
    return write(folder, A, left), write(folder, B, right)


def holds(record: dict[str, Any] | None) -> dict[str, bool | None]:
    assert record is not None
    return {step["id"]: step["holds"] for step in record["steps"]}


def evidence(record: dict[str, Any] | None, step: str) -> dict[str, Any]:
    assert record is not None
    return next(s["evidence"] for s in record["steps"] if s["id"] == step)


def stable(values: dict[str, Any]) -> None:
    sort(values, np.argsort(values["presort_codes"], kind="stable"))


def test_another_order_of_ties_is_the_posts_finding(tmp_path: Path) -> None:
    a, b = pair(tmp_path, stable)
    record = compare_order(a, b)
    assert record is not None
    expected = dict.fromkeys(holds(record), True) | {"indices-equal": False, "stable-side": False}
    assert holds(record) == expected
    left, right = a.tensor("sort_indices").array, b.tensor("sort_indices").array
    assert record["stable"] == "b"
    assert record["positions_different"] == int((left != right).sum()) > 0
    codes = a.tensor("sorted_codes").array
    sizes = np.bincount(codes)
    assert record["ties"] == int(sizes[sizes > 1].sum())
    assert record["centroids_reordered"] == int((sizes > 1).sum())
    assert evidence(record, "indices-equal")["first_a"] == left[:5].tolist()
    pids = np.repeat(np.arange(40), a.value("doclens"))
    assert evidence(record, "indices-equal")["pids_b"] == pids[right[:5]].tolist()


def test_the_figure_shows_one_centroids_ids_in_both_orders(tmp_path: Path) -> None:
    a, b = pair(tmp_path, stable)
    record = compare_order(a, b)
    assert record is not None
    figure = record["figure"]
    codes = a.tensor("presort_codes").array
    assert sorted(figure["a"]) == figure["b"] == np.flatnonzero(codes == figure["centroid"]).tolist()
    assert figure["a"] != figure["b"]
    assert figure["size"] == len(figure["a"]) == len(figure["pids_a"])
    pids = np.repeat(np.arange(40), a.value("doclens"))
    assert figure["pids_a"] == pids[figure["a"]].tolist()


def test_the_figures_ids_are_right_behind_centroids_of_unlike_size(tmp_path: Path) -> None:
    def move(values: dict[str, Any]) -> None:
        values["presort_codes"] = values["presort_codes"].copy()
        values["presort_codes"][values["presort_codes"] == 0] = 1
        stable(values)

    a, b = pair(tmp_path, move)
    record = compare_order(a, b)
    assert record is not None
    assert sorted(record["figure"]["a"]) == sorted(record["figure"]["b"])


@pytest.mark.parametrize("kind", ["neither", "both"])
def test_equal_orders_leave_nothing_to_show(tmp_path: Path, kind: str) -> None:
    left, right = codes_only(), codes_only()
    if kind == "both":
        stable(left)
        stable(right)
    record = compare_order(write(tmp_path, A, left), write(tmp_path, B, right))
    assert record is not None
    assert (record["stable"], record["positions_different"]) == (kind, 0)
    assert (record["centroids_reordered"], record["figure"]) == (0, None)
    assert holds(record) == dict.fromkeys(holds(record), True) | {"stable-side": kind == "both"}


def test_codes_that_differ_before_the_sort(tmp_path: Path) -> None:
    def other_codes(values: dict[str, Any]) -> None:
        values["presort_codes"] = values["presort_codes"].copy()
        values["presort_codes"][:3] = (values["presort_codes"][:3] + 1) % 16
        stable(values)

    record = compare_order(*pair(tmp_path, other_codes))
    found = holds(record)
    assert evidence(record, "presort-equal")["different"] == 3
    assert not found["presort-equal"]
    assert not found["values-equal"]
    assert not found["token-sets-equal"]
    assert found["unique-gives-ivf"]
    assert 10 <= evidence(record, "token-sets-equal")["equal"] <= 14


def test_lists_of_unlike_length_still_say_what_can_be_said(tmp_path: Path) -> None:
    left, right = codes_only(passages=40), codes_only(passages=30)
    record = compare_order(write(tmp_path, A, left), write(tmp_path, B, right))
    assert record is not None
    assert evidence(record, "presort-equal")["different"] is None
    assert record["positions_different"] is None
    assert evidence(record, "values-equal")["elements_b"] == len(right["sorted_codes"])
    assert holds(record)["unique-gives-ivf"]


def test_a_token_id_that_moves_to_another_centroid_is_no_reordering(tmp_path: Path) -> None:
    def swap_two(values: dict[str, Any]) -> None:
        indices = values["sort_indices"].copy()
        codes = values["sorted_codes"]
        first, last = 0, len(codes) - 1
        assert codes[first] != codes[last]
        indices[[first, last]] = indices[[last, first]]
        values["sort_indices"] = indices

    record = compare_order(*pair(tmp_path, swap_two))
    found = holds(record)
    assert found["presort-equal"]
    assert found["values-equal"]
    assert not found["token-sets-equal"]
    assert evidence(record, "token-sets-equal")["equal"] == 14
    assert evidence(record, "unique-gives-ivf") == {"a": True, "b": False}


def test_indices_that_ascend_but_point_at_other_codes_are_not_stable(tmp_path: Path) -> None:
    def lie(values: dict[str, Any]) -> None:
        stable(values)
        values["presort_codes"] = values["presort_codes"][::-1].copy()

    record = compare_order(*pair(tmp_path, lie))
    assert record is not None
    assert record["stable"] == "neither"


def test_without_ivf_the_steps_that_need_it_are_open(tmp_path: Path) -> None:
    def forget(values: dict[str, Any]) -> None:
        for name in ("ivf", "index/ivf"):
            del values[name]

    found = holds(compare_order(*pair(tmp_path, forget)))
    assert found["unique-gives-ivf"] is None
    assert found["ivf-equal"] is None
    assert found["passage-sets-equal"]


def test_without_the_sort_there_is_no_argument(tmp_path: Path) -> None:
    a, b = pair(tmp_path, lambda values: values.pop("sort_indices"))
    assert compare_order(a, b) is None


def test_a_capture_at_odds_with_itself_is_refused(tmp_path: Path) -> None:
    def shorten(values: dict[str, Any]) -> None:
        values["doclens"] = values["doclens"][:-1]

    with pytest.raises(ComparisonError, match="do not belong together"):
        compare_order(*pair(tmp_path, shorten))


@pytest.mark.parametrize("block", [3, 64, 1 << 20])
@pytest.mark.parametrize("seed", range(6))
def test_counts_agree_with_sets_made_one_centroid_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, block: int
) -> None:
    monkeypatch.setattr(chunks, "BLOCK", block)
    rng = np.random.default_rng(seed)

    def disturb(values: dict[str, Any]) -> None:
        codes = values["presort_codes"].copy()
        where = rng.integers(0, len(codes), seed)
        codes[where] = rng.integers(0, 16, seed)
        values["presort_codes"] = codes
        order = np.argsort(codes, kind="stable")
        sort(values, order if seed % 2 else unstable(order, codes[order]))

    a, b = pair(tmp_path, disturb, seed=seed)
    record = compare_order(a, b)
    assert record is not None
    pids = np.repeat(np.arange(40), a.value("doclens"))
    lists = [
        {c: s.tensor("sort_indices").array[s.tensor("sorted_codes").array == c].tolist() for c in range(16)}
        for s in (a, b)
    ]
    left, right = lists
    expected = {
        "token-sets-equal": sum(set(left[c]) == set(right[c]) for c in range(16)),
        "passage-sets-equal": sum(set(pids[left[c]]) == set(pids[right[c]]) for c in range(16)),
    }
    for step, equal in expected.items():
        assert evidence(record, step)["equal"] == equal
    assert record["centroids_reordered"] == sum(left[c] != right[c] for c in range(16))
    is_stable = [
        np.array_equal(
            np.argsort(s.tensor("presort_codes").array, kind="stable"),
            s.tensor("sort_indices").array,
        )
        for s in (a, b)
    ]
    named = {(True, True): "both", (True, False): "a", (False, True): "b"}
    assert record["stable"] == named.get((is_stable[0], is_stable[1]), "neither")


@pytest.mark.parametrize("window", [4, 1 << 23])
@pytest.mark.parametrize("spread", [10, 10_000_000_000])
def test_permutations_are_told_from_other_multisets(monkeypatch: pytest.MonkeyPatch, window: int, spread: int) -> None:
    monkeypatch.setattr(verdicts, "WINDOW", window)
    rng = np.random.default_rng(5)
    a = rng.integers(-spread, spread, 300)
    b = rng.permutation(a)
    other = b.copy()
    other[0] = b[1]
    left, right, unlike = (Chunked.of(Tensor(x, "int64")) for x in (a, b, other))
    assert verdicts.is_permutation(left, right)
    assert not verdicts.is_permutation(left, unlike)
    assert not verdicts.is_permutation(left, Chunked.of(Tensor(a[:-1], "int64")))


def test_groups_of_huge_numbers_are_sorted_without_overflow() -> None:
    top = np.iinfo(np.int64).max
    a = np.array([top, -top, 0, 5, top, 1], np.int64)
    lengths = np.array([3, 0, 3])
    assert verdicts.sorted_within(a, lengths).tolist() == [-top, 0, top, 1, 5, top]


@pytest.mark.parametrize("most", [1, 9, 500])
def test_each_token_id_is_in_its_passage(most: int) -> None:
    """Passages shorter and longer than a stretch, without any token, and token ids beyond the last."""
    lengths = np.random.default_rng(most).integers(0, most, 300, endpoint=True)
    codes = Chunked.of(Tensor(np.zeros(int(lengths.sum()), np.int32), "int32"))
    of_tokens = np.repeat(np.arange(300), lengths)
    side = Side.of(codes, codes, codes, lengths.tolist())
    assert (side.passages_of(np.arange(codes.size)) == of_tokens).all()
    assert side.passages_of(np.array([codes.size, codes.size + 1000])).tolist() == [300, 300]


def test_probes_give_the_sizes_between_which_the_order_changes() -> None:
    settings = Settings()
    found = compare_probes(probes("torch201", settings), probes("torch210", settings))
    by_dtype = {t["dtype"]: t for t in found["thresholds"]}
    assert (by_dtype["int64"]["smallest_different"], by_dtype["int64"]["largest_same_below"]) == (
        32768,
        32767,
    )
    assert by_dtype["int64"]["same_at_or_above"] == []
    assert by_dtype["float32"]["smallest_different"] is None
    post = [p for p in found["probes"] if p["source"] == "post D6"]
    assert [(p["same_order"], p["stable"]) for p in post] == [(False, "b")]


def test_thresholds_come_from_the_data_and_admit_exceptions() -> None:
    early = Settings(stable_from={"torch210": 50})
    left, right = probes("torch201", early), probes("torch210", early)
    for probe in right:
        if probe["size"] == 32768 and probe["dtype"] == "int64":
            probe["indices_sha256"] = next(
                p["indices_sha256"] for p in left if (p["size"], p["dtype"]) == (32768, "int64")
            )
        if probe["size"] == 65536:
            probe["input_sha256"] = "another"
    threshold = next(t for t in compare_probes(left, right)["thresholds"] if t["dtype"] == "int64")
    assert (threshold["smallest_different"], threshold["largest_same_below"]) == (100, None)
    assert threshold["same_at_or_above"] == [32768]
    assert 65536 not in threshold["sizes"]
