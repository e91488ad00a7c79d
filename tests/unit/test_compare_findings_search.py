"""Findings on search: what changed, whether quality did, what it comes through, and what re-seeding does beside it."""

from __future__ import annotations

from typing import Any

import pytest
from render_reports import explained
from searches import NAMES, estimate, measure, search, still, upgraded, with_measure

from reportlib.compare.findings import findings
from reportlib.compare.phrases import percent, signed, small, unseen
from reportlib.render import opening

Record = dict[str, Any]


def report(*searches: Record | None) -> Record:
    """A report whose precisions (float32, autocast) were searched so."""
    made = explained()
    for part, found in zip(made["pairs"][0]["precisions"], searches, strict=False):
        part["search"] = found
    made["findings"] = findings(made)
    return made


def said(made: Record, name: str, precision: str = "float32") -> str:
    return next(f["sentence"] for f in findings(made) if f["id"] == f"torch210/{precision}/{name}")


def matter(made: Record) -> dict[str, str]:
    return {f["id"]: f["sentence"] for f in findings(made) if f["question"] == "matter"}


# ---- what changed


def test_the_change_is_said_with_its_interval_and_the_passages() -> None:
    assert said(report(search(6)), "rankings") == (
        "In float32, the upgrade changes the top 10 of 6 of 121 queries: 5 %, 2.5 % to 9.9 % with 95 % confidence. "
        "Other passages come up for 3 queries. On average 0.05 passages of a query are on one side only, 0.025 to "
        "0.074 with 95 % confidence (0 to 20 are possible)."
    )


def test_another_order_alone_is_called_that() -> None:
    made = report(upgraded(search(6), same_set=121))
    assert said(made, "rankings").endswith("confidence. The 10 passages stay the same, in another order.")


def test_no_change_is_not_detected_and_never_called_no_effect() -> None:
    made = report(search(0))
    assert said(made, "rankings") == (
        "In float32, no change of the top 10 was detected in 121 queries, though up to 2.4 % of such queries could "
        "change unseen. The scores are identical too."
    )
    close = report(upgraded(search(0), scores_identical=60, max_score_difference=2.1e-5))
    assert said(close, "rankings").endswith("unseen. Scores differ by 2.1e-05 at most.")
    assert not [s for s in (*matter(made).values(), *matter(close).values()) if "no effect" in s or "unchanged" in s]


def test_fewer_queries_leave_more_unseen() -> None:
    assert (unseen(1, 0.95), unseen(10, 0.95), unseen(2243, 0.95)) == ("95 %", "26 %", "0.13 %")


# ---- quality


def test_a_change_that_was_not_detected_says_what_could_have_been() -> None:
    made = report(with_measure(search(6), "Recall@10", difference=estimate(-0.002, -0.005, 0.001)))
    assert said(made, "quality") == (
        "In float32, no change of quality was detected: nDCG@10 moves by +0.0004, −0.0004 to +0.0012 with 95 % "
        "confidence, where 121 queries could have shown a change of 0.0011. By nDCG@10 2 queries are better, 1 worse "
        "and 118 equal. Nor was one by Recall@10 (−0.002), MRR@10 (+0.0004) or Success@10 (+0.0004)."
    )


def test_a_measure_that_is_the_same_everywhere_says_what_could_go_unseen() -> None:
    assert said(report(search(0)), "quality").startswith(
        "In float32, no change of quality was detected: nDCG@10 is the same for each of 121 judged queries, though up "
        "to 2.4 % of such queries could change unseen."
    )
    few = upgraded(search(6), measures=[still(name, 30) for name in NAMES])
    assert "for each of 30 judged queries, though up to 9.5 % of such" in said(report(few), "quality")


def test_without_a_smallest_change_none_is_named() -> None:
    made = report(with_measure(search(6), "nDCG@10", detectable=None))
    assert "confidence. By nDCG@10" in said(made, "quality")


@pytest.mark.parametrize(
    ("ends", "became", "moves"),
    [
        ((-0.011, -0.018, -0.005), "gets worse", "−0.011, −0.018 to −0.005"),
        ((0.011, 0.005, 0.018), "gets better", "+0.011, +0.005 to +0.018"),
    ],
)
def test_a_detected_change_names_its_measure_and_direction(
    ends: tuple[float, float, float], became: str, moves: str
) -> None:
    made = report(with_measure(search(6), "nDCG@10", detected=True, difference=estimate(*ends)))
    sentence = said(made, "quality")
    assert sentence.startswith(
        f"In float32, quality {became}: nDCG@10 moves by {moves} with 95 % confidence. By nDCG@10"
    )
    assert sentence.endswith("Not detected by Recall@10 (+0.0004), MRR@10 (+0.0004) or Success@10 (+0.0004).")


def test_measures_that_disagree_are_named_and_neither_better_nor_worse_is_claimed() -> None:
    record = with_measure(search(6), "nDCG@10", detected=True, difference=estimate(0.01, 0.005, 0.015))
    record = with_measure(record, "Recall@10", detected=True, difference=estimate(-0.02, -0.03, -0.01))
    sentence = said(report(record), "quality")
    assert sentence.startswith("In float32, quality changes: nDCG@10 moves by +0.01")
    assert "Detected by Recall@10 (−0.02) too. Not detected by MRR@10" in sentence


def test_a_measure_alone_that_shows_a_change_leads() -> None:
    record = with_measure(search(6), "MRR@10", detected=True, difference=estimate(-0.01, -0.02, -0.001), better=1)
    sentence = said(report(record), "quality")
    assert "quality gets worse: MRR@10 moves by −0.01" in sentence
    assert "By MRR@10 1 query is better" in sentence
    assert "Not detected by Recall@10 (+0.0004), nDCG@10" in sentence


def test_without_judgements_quality_could_not_be_measured() -> None:
    unjudged: Record = {"judged": 0, "quality": []}
    made = report(upgraded(search(6, **unjudged), measures=[]))
    assert said(made, "quality") == "In float32, quality could not be measured: no query has judgements."
    same = report(upgraded(search(0, **unjudged), measures=[]))
    assert said(same, "quality").endswith(
        "judgements. For these queries any measure of the top 10 is the same on both sides."
    )


# ---- where from, and against what


@pytest.mark.parametrize(
    ("index", "torch", "expected"),
    [
        (6, 0, "comes through the index alone and is"),
        (0, 6, "comes through torch's own search alone and is"),
        (5, 2, "comes through both the index and torch's own search and is"),
        (0, 0, "comes through the index and torch's own search only together and is"),
    ],
)
def test_the_index_is_told_from_torch_s_own_search(index: int, torch: int, expected: str) -> None:
    assert expected in said(report(search(6, index=index, torch=torch)), "search-source")


def test_the_index_alone_is_claimed_only_where_both_sides_show_it() -> None:
    record = search(6)
    (other,) = [each for each in record["comparisons"] if each["id"] == "torch-b"]
    other["same_order"] = 120
    sentence = said(report(record), "search-source")
    assert "through both the index and torch's own search" in sentence
    assert (
        "Searched by PyTorch 2.0.1, the other index changes 6 queries; PyTorch 2.0.1's index searched by the other "
        "torch changes none. Searched by PyTorch 2.1.0, the other index changes 6 queries; PyTorch 2.1.0's index "
        "searched by the other torch changes 1 query."
    ) in sentence


def test_without_the_crossed_searches_no_path_is_named() -> None:
    record = search(6)
    record["comparisons"] = [each for each in record["comparisons"] if each["kind"] not in {"torch", "index"}]
    assert "the change of rankings is smaller than re-seeding k-means." in said(report(record), "search-source")
    record["yardstick"] = None
    assert "torch210/float32/search-source" not in matter(report(record))


def test_queries_that_are_encoded_otherwise_are_counted_where_torch_matters() -> None:
    record = search(6, torch=2, query_embeddings={"identical": 3000, "total": 3872, "max_abs": 1e-3})
    assert "872 of 3,872 rows of the encoded queries differ." in said(report(record), "search-source")
    assert "rows of the encoded" not in said(report(search(6, torch=2)), "search-source")


def verdicts(*names: str) -> Record:
    record = search(6)
    for each, verdict in zip(record["yardstick"]["figures"], names, strict=False):
        each["verdict"] = verdict
    return record


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (verdicts("smaller", "smaller", "smaller"), "is smaller than re-seeding k-means."),
        (
            verdicts("smaller", "smaller", "smaller", "larger"),
            "is smaller than re-seeding k-means, though not in mean nDCG@10.",
        ),
        (verdicts("within", "within", "within"), "is within what re-seeding k-means does."),
        (verdicts("larger", "larger", "larger"), "is larger than re-seeding k-means."),
        (
            verdicts("smaller", "within", "smaller"),
            (
                "is smaller than re-seeding k-means by different passages per query and changed queries, within what "
                "re-seeding k-means does by rank-biased overlap."
            ),
        ),
    ],
)
def test_re_seeding_is_what_the_change_is_held_against(record: Record, expected: str) -> None:
    assert expected in said(report(record), "search-source")


def test_the_numbers_behind_the_verdict_are_said() -> None:
    assert said(report(search(6)), "search-source").endswith(
        "The upgrade against 3 other seeds: different passages per query 0.05 against 1.21 to 1.4; rank-biased overlap "
        "0.9988 against 0.93 to 0.95; changed queries 5 % against 26 % to 27 %; change of mean nDCG@10 0.0004 against "
        "0.0002 to 0.0031."
    )


def test_what_re_seeding_does_stands_beside_an_upgrade_that_changed_nothing() -> None:
    record = search(0)
    assert said(report(record), "search-source").startswith(
        "In float32, re-seeding k-means changes the top 10 of 31 to 33 of 121 queries, the upgrade of none."
    )
    for each in record["comparisons"]:
        each["same_order"] = 121
    assert "changes the top 10 of none of 121 queries either." in said(report(record), "search-source")


# ---- what makes all that doubtful, and what is not known


def test_a_failed_search_control_replaces_all_that_search_says() -> None:
    controls = [{"environment": "torch201", "queries": 121, "identical": 121},
                {"environment": "torch210", "queries": 121, "identical": 118}]  # fmt: skip
    made = report(search(6, controls=controls))
    told = {name: text for name, text in matter(made).items() if "/float32/" in name and "order" not in name}
    assert told == {
        "torch210/float32/inconclusive-search": (
            "In float32, inconclusive: the same index searched again gave other results for 3 queries of PyTorch "
            "2.1.0, so what search makes of the upgrade may be noise."
        )
    }
    (finding,) = (f for f in findings(made) if f["id"].endswith("/inconclusive-search"))
    assert finding["evidence"] == ["/pairs/0/precisions/0/search/controls/1"]
    assert any("inconclusive" in line for line in opening._sentences(made, "matter"))


def test_a_failed_control_of_the_captures_silences_search_too() -> None:
    made = report(search(6), search(6))
    made["pairs"][0]["precisions"][0]["conclusive"] = False
    names = {name for name in matter(made) if "/float32/" in name}
    assert names == {"torch210/float32/inconclusive-search"}


def test_today_s_sentences_stay_where_nothing_was_searched() -> None:
    without, old, empty = report(None, None), explained(), report(search(queries=0), search(queries=0))
    assert (
        matter(without) == matter(empty) == {f["id"]: f["sentence"] for f in findings(old) if f["question"] == "matter"}
    )
    assert "torch210/quality" in matter(without)


def test_a_precision_without_search_says_so_for_itself() -> None:
    told = matter(report(search(6), None))
    assert "torch210/quality" not in told
    assert told["torch210/autocast/quality"] == (
        "Under bfloat16 autocast, quality was not measured: no ranking was scored with relevance judgements."
    )
    assert "get the same top 10 in the same order" in told["torch210/autocast/rankings"]


# ---- the first screen


def test_the_first_screen_has_three_short_sentences_and_says_twice_nothing() -> None:
    made = report(search(6), search(6))
    both = "In float32 and under bfloat16 autocast, "
    quality = (
        "no change of quality was detected: nDCG@10 moves by +0.0004, −0.0004 to +0.0012 with 95 % confidence, where "
        "121 queries could have shown a change of 0.0011."
    )
    source = "the change of rankings comes through the index alone and is smaller than re-seeding k-means."
    assert opening._sentences(made, "matter") == [
        f"{both}the upgrade changes the top 10 of 6 of 121 queries: 5 %, 2.5 % to 9.9 % with 95 % confidence.",
        both + quality,
        both + source,
    ]


def test_every_pointer_of_every_finding_resolves() -> None:
    for made in (report(search(6), search(0)), report(search(6, yardstick=None), None)):
        for finding in findings(made):
            assert finding["evidence"]
            for pointer in finding["evidence"]:
                place: Any = made
                for key in pointer.split("/")[1:]:
                    place = place[int(key) if isinstance(place, list) else key]


def test_a_measure_besides_ndcg_leads_where_there_is_no_ndcg() -> None:
    made = report(upgraded(search(6), measures=[measure("Success@10")]))
    assert said(made, "quality").count("Success@10") == 2


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "0 %"), (0.0025, "0.25 %"), (0.031, "3.1 %"), (0.256, "26 %"), (1.0, "100 %")]
)
def test_percentages_have_two_digits(share: float, expected: str) -> None:
    assert percent(share) == expected


def test_numbers_and_changes_are_said_as_a_reader_would() -> None:
    assert [small(n) for n in (0.0, 0.00421, 1.333, 12.49)] == ["0", "0.0042", "1.33", "12.5"]
    assert [signed(n) for n in (0.0, -0.0, 0.0042, -0.011)] == ["0", "0", "+0.0042", "−0.011"]
