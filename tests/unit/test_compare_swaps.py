"""What follows from a matrix of swaps: which sets are enough, and which points cannot be done without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from captures import captures, plant_other_embeddings, study_of

from reportlib.artifacts import SWAP_POINTS, SWAPPABLE, downstream, point
from reportlib.compare.pipeline import swap_summary
from reportlib.compare.study import compare_study
from reportlib.study import DIRECTIONS, SwapSpec

DEFAULT = SwapSpec().points


def enough(points: tuple[str, ...], differs: set[str]) -> bool:
    """Whether the swap heals an index whose two environments differ at `differs` by themselves.

    A point's value is the donor's where it is swapped, or where all that it is computed from is the donor's and it is
    computed alike on both sides.
    """
    donors: dict[str, bool] = {}
    for name, each in SWAP_POINTS.items():
        alike = name not in differs and all(donors[parent] for parent in each.computed_from)
        donors[name] = name in points or alike
    return all(donors[name] for name in ("centroids", "buckets", "codes", "residuals", "ivf"))


def summary_of(differs: set[str], sets: tuple[tuple[str, ...], ...] = DEFAULT) -> dict[str, Any]:
    swaps = [
        {"direction": DIRECTIONS[0], "from": "a", "into": "b", "points": list(points),
         "all_final_identical": enough(points, differs)}
        for points in sets
    ]  # fmt: skip
    (found,) = swap_summary(swaps, plain_identical=enough((), differs))
    assert (found["direction"], found["from"], found["into"]) == ("a into b", "a", "b")
    assert found["tested"] == len(sets)
    return found


def test_bert_alone_is_named_by_its_two_outputs() -> None:
    """The case of the posts: everything that differs enters by the embeddings."""
    found = summary_of({"local_sample_embs", "embs"})
    assert found["necessary"] == ["local_sample_embs", "embs"]
    assert found["sufficient"][0] == ["local_sample_embs", "embs"]
    assert ["sample", "embs"] in found["sufficient"]
    assert ["centroids", "buckets", "codes", "residuals"] in found["sufficient"]
    assert ["local_sample_embs"] in found["insufficient"]
    assert ["embs"] in found["insufficient"]


@pytest.mark.parametrize("cause", [name for name in SWAPPABLE if name not in {"sort_indices", "ivf"}])
def test_a_single_cause_is_the_only_necessary_point(cause: str) -> None:
    found = summary_of({cause})
    assert found["necessary"] == [cause]
    assert found["sufficient"][0] == [cause]


def test_only_the_ivf() -> None:
    found = summary_of({"ivf"})
    assert (found["sufficient"], found["necessary"]) == ([["ivf"]], ["ivf"])


def test_the_order_of_the_sort_matters_only_where_the_ivf_takes_it_over() -> None:
    found = summary_of({"sort_indices"})
    assert found["sufficient"] == [["sort_indices"], ["ivf"]]
    assert found["necessary"] == ["sort_indices"], "the ivf is computed from it, and carries it"


def test_where_nothing_differs_nothing_is_needed() -> None:
    found = summary_of(set())
    assert (found["sufficient"], found["necessary"], found["insufficient"]) == ([[]], [], [])


def test_two_causes_far_apart() -> None:
    """BERT and the residuals: only what replaces both is enough, and only what the tested sets show is claimed."""
    found = summary_of({"local_sample_embs", "embs", "residuals"})
    assert found["sufficient"] == [["centroids", "buckets", "codes", "residuals"]]
    assert found["necessary"] == [], "the sets without one of the four were not tested"
    shown = summary_of({"local_sample_embs", "embs", "residuals"}, (*DEFAULT, ("centroids", "buckets", "codes")))
    assert shown["necessary"] == ["residuals"]


def test_a_point_that_another_sufficient_set_does_without_is_not_necessary() -> None:
    sets = (("embs",), ("centroids",), ("centroids", "embs"))
    swaps = [
        {"direction": DIRECTIONS[0], "from": "a", "into": "b", "points": list(points), "all_final_identical": True}
        for points in sets
    ]
    (found,) = swap_summary(swaps, plain_identical=False)
    assert found["sufficient"] == [["centroids"], ["embs"]]
    assert found["necessary"] == []


def test_nothing_is_shown_where_no_set_is_enough() -> None:
    found = summary_of({"local_sample_embs", "embs"}, (("local_sample_embs",), ("embs",)))
    assert (found["sufficient"], found["necessary"]) == ([], [])
    assert found["insufficient"] == [["local_sample_embs"], ["embs"]]


def test_no_swaps_no_summary() -> None:
    assert swap_summary([], plain_identical=False) == []


def test_both_directions_stand_by_themselves(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    report = compare_study(study, captures(tmp_path, study, plant_other_embeddings))
    part = next(p for p in report["pairs"][0]["precisions"] if p["precision"] == "autocast")
    ways = [(s["direction"], s["from"], s["into"]) for s in part["swap_summary"]]
    assert ways == [("a into b", "torch201", "torch210"), ("b into a", "torch210", "torch201")]
    for summary in part["swap_summary"]:
        assert summary["sufficient"] == [["local_sample_embs", "embs"]]
        assert summary["necessary"] == ["local_sample_embs", "embs"]
        assert summary["tested"] == 4
    back = next(s for s in part["swaps"] if s["arm"] == "torch201-autocast-swap-embs-from-torch210")
    assert (back["from"], back["into"], back["posts"]) == ("torch210", "torch201", [])
    verdicts = {line["artifact"]: line["verdict"] for line in back["artifacts"]}
    assert verdicts["embs"] == "identical", "against the environment that it was taken from"
    assert verdicts["index/centroids"] != "identical", "they are torch201's own"
    float32 = next(p for p in report["pairs"][0]["precisions"] if p["precision"] == "float32")
    assert [s["sufficient"] for s in float32["swap_summary"]] == [[[]], [[]]]


def test_a_study_may_give_the_directions_in_any_order(tmp_path: Path) -> None:
    study = study_of(tmp_path, swaps=SwapSpec((("embs",),), directions=DIRECTIONS[::-1]))
    report = compare_study(study, captures(tmp_path, study))
    swaps = report["pairs"][0]["precisions"][0]["swaps"]
    assert [s["direction"] for s in swaps] == list(DIRECTIONS)


def test_with_three_environments_each_pair_has_its_own_swaps(tmp_path: Path) -> None:
    study = study_of(tmp_path, environments=("torch201", "torch210", "torch211"), swaps=SwapSpec((("embs",),)))
    report = compare_study(study, captures(tmp_path, study))
    for pair, other in zip(report["pairs"], ("torch210", "torch211"), strict=True):
        ways = [(s["from"], s["into"]) for s in pair["precisions"][0]["swaps"]]
        assert ways == [("torch201", other), (other, "torch201")]


def test_replaced_artifacts_are_marked_by_their_swap_point(tmp_path: Path) -> None:
    study = study_of(tmp_path, swaps=SwapSpec((("buckets",), ("codes", "residuals"))))
    report = compare_study(study, captures(tmp_path, study))
    swaps = report["pairs"][0]["precisions"][0]["swaps"]
    replaced = [[line["artifact"] for line in s["artifacts"] if line["replaced"]] for s in swaps[:2]]
    assert replaced == [["bucket_cutoffs", "bucket_weights", "avg_residual"], ["compress_codes", "index/residuals"]]


def test_every_swap_is_judged_by_the_whole_index(tmp_path: Path) -> None:
    study = study_of(tmp_path, swaps=SwapSpec(tuple((name,) for name in SWAPPABLE)), passages={"float32": 0})
    report = compare_study(study, captures(tmp_path, study))
    for swap in report["pairs"][0]["precisions"][0]["swaps"]:
        final = [line["artifact"] for line in swap["artifacts"] if line["final"]]
        assert len(final) == swap["final_total"] == 8, swap["points"]
        assert len({line["artifact"] for line in swap["artifacts"]}) == len(swap["artifacts"])


def test_the_graph_of_swap_points_is_the_pipelines() -> None:
    assert downstream("embs") == {"codes", "residuals", "sort_indices", "ivf"}
    assert downstream("local_sample_embs") == set(SWAPPABLE) - {"local_sample_embs", "embs"}
    assert downstream("ivf") == frozenset()
    for name, each in SWAP_POINTS.items():
        assert name == each.name
        assert set(each.computed_from) <= set(SWAPPABLE[: SWAPPABLE.index(name)]), "in pipeline order"
        for artifact in each.artifacts:
            assert point(artifact).artifact == artifact
