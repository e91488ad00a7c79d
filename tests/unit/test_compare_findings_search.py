"""Findings on search: what changed, whether quality did, what it comes through, and what re-seeding does beside it."""

from __future__ import annotations

from typing import Any

import pytest
from render_reports import explained
from searches import NAMES, estimate, hardly, measure, plain, search, still, upgraded, with_measure

from reportlib.findings import findings
from reportlib.render import opening
from reportlib.words.phrases import between, interval, percent, signed, small, unseen

Record = dict[str, Any]


def report(*searches: Record | None) -> Record:
    """A report whose precisions (float32, autocast) were searched so."""
    made = explained()
    for part, found in zip(made["pairs"][0]["precisions"], searches, strict=False):
        part["search"] = found
    made["findings"] = findings(made)
    return made


def said(made: Record, name: str, precision: str = "float32") -> str:
    return next(plain(f["sentence"]) for f in findings(made) if f["id"] == f"torch210/{precision}/{name}")


def first_screen(made: Record) -> list[str]:
    return [plain(sentence) for sentence in opening._sentences(made, "matter")]


def matter(made: Record) -> dict[str, str]:
    return {f["id"]: f["sentence"] for f in findings(made) if f["question"] == "matter"}


# ---- what changed


def test_the_change_is_said_with_its_interval_and_the_passages() -> None:
    assert said(report(search(6)), "rankings") == (
        "In float32, the upgrade changes the top 10 of 6 of 121 queries: 5 % (95 % interval 2.5 to 9.9 %). Other "
        "passages come up for 3 queries. On average 0.05 passages of a query are on one side only (95 % interval 0.025 "
        "to 0.074); 0 to 20 are possible."
    )


def test_another_order_alone_is_called_that() -> None:
    made = report(upgraded(search(6), same_set=121))
    assert said(made, "rankings").endswith("9.9 %). The 10 passages stay the same, in another order.")


@pytest.mark.parametrize(
    ("passages", "says"),
    [(48, ", where the top 10 is 10 of only 48 passages."), (8, ", where the top 10 is 8 of only 8 passages.")],
)
def test_a_change_among_few_passages_says_how_few(passages: int, says: str) -> None:
    made = report(search(6), search(6))
    made["pairs"][0]["precisions"][1]["passages"] = passages
    assert f"9.9 %){says} Other passages" in said(made, "rankings", "autocast")
    assert "where the top" not in said(made, "rankings")


def test_a_twentieth_of_the_passages_is_not_much_of_them() -> None:
    made = report(search(6))
    for passages, told in ((200, False), (199, True)):
        made["pairs"][0]["precisions"][0]["passages"] = passages
        assert ("where the top 10" in said(made, "rankings")) == told


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
    assert [plain(unseen(n, 0.95)) for n in (1, 10, 2243)] == ["95 %", "26 %", "0.13 %"]


# ---- quality


def test_a_change_that_was_not_detected_says_what_could_have_been() -> None:
    made = report(with_measure(search(6), "Recall@10", difference=estimate(-0.002, -0.005, 0.001)))
    assert said(made, "quality") == (
        "In float32, no change of ranking quality (nDCG@10, 0 to 1) was detected: it moves by +0.0004 (95 % interval "
        "−0.0004 to +0.0012); a change of 0.0011 would probably have been (4 times of 5). By nDCG@10 4 queries are "
        "better, 3 worse and 114 equal. Nor was one by Recall@10 (−0.002), MRR@10 (+0.0004) or Success@10 (+0.0004)."
    )


def test_the_chance_of_seeing_a_change_is_the_report_s() -> None:
    assert "would probably have been (9 times of 10)" in said(report(search(6, power=0.9)), "quality")


def few(better: int, worse: int, **others: Any) -> Record:
    equal = 121 - better - worse
    return upgraded(
        search(6, **others),
        measures=[hardly(name, better=better, worse=worse, equal=equal, detectable=0.0011) for name in NAMES],
    )


def test_a_handful_of_changed_queries_is_never_said_to_be_able_to_show_a_change() -> None:
    sentence = said(report(few(1, 1)), "quality")
    assert sentence == (
        "In float32, no change of ranking quality (nDCG@10, 0 to 1) was detected, and few queries could show one: it "
        "changed for only 2 of 121 (1 better, 1 worse), and fewer than 6 are too few for the test. The mean moves by "
        "+0.0004 (95 % interval −0.0071 to +0.0071). Nor was one by Recall@10 (+0.0004), MRR@10 (+0.0004) or "
        "Success@10 (+0.0004)."
    )
    (short,) = (line for line in first_screen(report(few(1, 1))) if "quality" in line and "float32" in line)
    assert short.endswith("(1 better, 1 worse), and fewer than 6 are too few for the test.")


@pytest.mark.parametrize(("better", "worse", "too_few"), [(0, 1, True), (0, 5, True), (4, 2, False), (6, 0, False)])
def test_six_changed_queries_are_enough_for_the_test(better: int, worse: int, too_few: bool) -> None:
    sentence = said(report(few(better, worse)), "quality")
    assert ("too few for the test" in sentence) == too_few
    assert ("would probably have been" in sentence) != too_few


def test_how_many_queries_the_test_needs_is_the_report_s_or_six() -> None:
    assert "too few" not in said(report(few(1, 1, least_changed=2)), "quality")
    record = few(2, 3)
    del record["least_changed"]
    assert "fewer than 6 are too few" in said(report(record), "quality")


def test_a_measure_that_is_the_same_everywhere_says_what_could_go_unseen() -> None:
    assert said(report(search(0)), "quality").startswith(
        "In float32, no change of ranking quality (nDCG@10, 0 to 1) was detected: it is the same for each of 121 "
        "judged queries, though up to 2.4 % of such queries could change unseen."
    )
    fewer = upgraded(search(6), measures=[still(name, 30) for name in NAMES])
    assert "for each of 30 judged queries, though up to 9.5 % of such" in said(report(fewer), "quality")


def test_without_a_smallest_change_none_is_named() -> None:
    made = report(with_measure(search(6), "nDCG@10", detectable=None))
    assert "+0.0012). By nDCG@10" in said(made, "quality")


@pytest.mark.parametrize(
    ("ends", "became", "moves"),
    [
        ((-0.011, -0.018, -0.005), "gets worse", "−0.011 (95 % interval −0.018 to −0.005)"),
        ((0.011, 0.005, 0.018), "gets better", "+0.011 (95 % interval +0.005 to +0.018)"),
    ],
)
def test_a_detected_change_names_its_measure_and_direction(
    ends: tuple[float, float, float], became: str, moves: str
) -> None:
    made = report(with_measure(search(6), "nDCG@10", detected=True, difference=estimate(*ends)))
    sentence = said(made, "quality")
    assert sentence.startswith(
        f"In float32, ranking quality (nDCG@10, 0 to 1) {became}: it moves by {moves}. By nDCG@10 4 queries are better"
    )
    assert sentence.endswith("Not detected by Recall@10 (+0.0004), MRR@10 (+0.0004) or Success@10 (+0.0004).")


def test_measures_that_disagree_are_named_and_neither_better_nor_worse_is_claimed() -> None:
    record = with_measure(search(6), "nDCG@10", detected=True, difference=estimate(0.01, 0.005, 0.015))
    record = with_measure(record, "Recall@10", detected=True, difference=estimate(-0.02, -0.03, -0.01))
    sentence = said(report(record), "quality")
    assert sentence.startswith("In float32, ranking quality (nDCG@10, 0 to 1) changes: it moves by +0.01")
    assert "Detected by Recall@10 (−0.02) too. Not detected by MRR@10" in sentence


def test_a_measure_alone_that_shows_a_change_leads() -> None:
    record = with_measure(search(6), "MRR@10", detected=True, difference=estimate(-0.01, -0.02, -0.001), better=1)
    sentence = said(report(record), "quality")
    assert "ranking quality (MRR@10, 0 to 1) gets worse: it moves by −0.01" in sentence
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


def source(record: Record) -> str:
    return said(report(record), "search-source").removeprefix("In float32, ")


KEPT = "PyTorch 2.1.0 searching PyTorch 2.0.1's index gives the same top 10 for all 121 queries"
NONE = "changed none of 121 queries (up to 2.4 % could change unseen)."


@pytest.mark.parametrize(
    ("index", "torch", "expected"),
    [
        (6, 0, f"The change comes through the index; torch's own search {NONE}"),
        (0, 6, f"The change comes through torch's own search; the index {NONE}"),
        (5, 2, "The change comes through both the index and torch's own search."),
        (0, 0, f"comes through the index and torch's own search only together; each alone {NONE}"),
    ],
)
def test_the_index_is_told_from_torch_s_own_search_and_none_seen_is_not_none(
    index: int, torch: int, expected: str
) -> None:
    assert expected in source(search(6, index=index, torch=torch))


def test_a_way_is_ruled_out_only_where_neither_side_shows_it() -> None:
    record = search(6)
    (other,) = [each for each in record["comparisons"] if each["id"] == "torch-b"]
    other["same_order"] = 120
    sentence = source(record)
    assert "through both the index and torch's own search" in sentence
    assert (
        "Searched by PyTorch 2.0.1, the other index changes 6 queries; PyTorch 2.0.1's index searched by the other "
        "torch changes none. Searched by PyTorch 2.1.0, the other index changes 6 queries; PyTorch 2.1.0's index "
        "searched by the other torch changes 1 query."
    ) in sentence


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (search(6), f"{KEPT} (up to 2.4 % could differ unseen); making the index anew changes 6; "),
        (search(9, torch=2), "keeping PyTorch 2.0.1's index changes 2 of 121 queries, making it anew 9; "),
        (search(0, torch=2), "keeping PyTorch 2.0.1's index changes 2 of 121 queries, making it anew none; "),
        (search(0), f"{KEPT}, as does making the index anew (up to 2.4 % could differ unseen); "),
    ],
)
def test_who_upgrades_reads_what_keeping_the_index_does_and_what_making_it_anew(record: Record, expected: str) -> None:
    assert source(record).startswith(expected)


def test_keeping_the_index_is_the_new_torch_on_the_old_index() -> None:
    record = search(9, torch=2)
    (other,) = [each for each in record["comparisons"] if each["id"] == "torch-b"]
    other["same_order"] = 121 - 7
    assert source(record).startswith("keeping PyTorch 2.0.1's index changes 2 of 121 queries, making it anew 9; ")


def test_without_the_crossed_searches_no_way_is_named() -> None:
    record = search(6)
    record["comparisons"] = [each for each in record["comparisons"] if each["kind"] not in {"torch", "index"}]
    assert source(record).startswith("the lists change less than with each of 3 other seeds of k-means. The upgrade")
    record["yardstick"] = None
    assert "torch210/float32/search-source" not in matter(report(record))


def test_without_other_seeds_the_index_is_still_told_from_torch() -> None:
    sentence = source(search(6, yardstick=None))
    assert "making the index anew changes 6. The change comes through the index;" in sentence
    assert "k-means" not in sentence


@pytest.mark.parametrize("record", [search(6, torch=2), search(6), search(0)])
def test_query_embeddings_that_differ_are_counted_even_where_torch_changes_no_list(record: Record) -> None:
    assert "query embeddings" not in source(record)
    record["query_embeddings"] = {"identical": 3000, "total": 3872, "max_abs": 1e-3}
    assert "The query embeddings differ in 872 of 3,872 rows, by 0.001 at most." in source(record)
    record["query_embeddings"] = None
    assert "query embeddings" not in source(record)


def verdicts(*names: str, seeds: int = 3) -> Record:
    record = search(6)
    record["yardstick"]["seeds"] = seeds
    for each, verdict in zip(record["yardstick"]["figures"], names, strict=False):
        each["verdict"] = verdict
    return record


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            verdicts("smaller", "smaller", "smaller"),
            "the lists change less than with each of 3 other seeds of k-means.",
        ),
        # A mean that moved further than with any seed is no matter of the lists.
        (
            verdicts("smaller", "smaller", "smaller", "larger"),
            "the lists change less than with each of 3 other seeds of k-means.",
        ),
        (verdicts("within", "within", "within"), "the lists change as much as with 3 other seeds of k-means."),
        (verdicts("larger", "larger", "larger"), "the lists change more than with each of 3 other seeds of k-means."),
        (verdicts("larger", "larger", "larger", seeds=1), "the lists change more than with 1 other seed of k-means."),
        (
            verdicts("smaller", "within", "smaller"),
            (
                "beside 3 other seeds of k-means the lists change less by different passages per query and changed "
                "queries, as much by rank-biased overlap."
            ),
        ),
    ],
)
def test_re_seeding_is_what_the_change_of_the_lists_is_held_against(record: Record, expected: str) -> None:
    assert f"; {expected} The change comes" in source(record)


LISTS = (
    "The upgrade against 3 other seeds: different passages per query 0.05 against 1.21 to 1.4; rank-biased overlap "
    "0.9988 against 0.93 to 0.95; changed queries 5 % against 26 to 27 %"
)


def test_the_numbers_behind_the_verdict_are_said() -> None:
    assert source(search(6)).endswith(f"{LISTS}; change of mean nDCG@10 0.0004 against 0.0002 to 0.0031.")


@pytest.mark.parametrize("measures", [[hardly(name) for name in NAMES], [still(name) for name in NAMES], []])
def test_few_queries_say_nothing_of_quality_against_the_seeds(measures: list[Record]) -> None:
    assert source(upgraded(search(6), measures=measures)).endswith(f"{LISTS}.")


def test_what_re_seeding_does_stands_beside_an_upgrade_that_changed_nothing() -> None:
    record = search(0)
    assert "unseen); re-seeding k-means changes 31 to 33 of 121 queries. The upgrade" in source(record)
    for each in record["comparisons"]:
        each["same_order"] = 121
    assert "unseen); re-seeding k-means changes none either. The upgrade" in source(record)


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
    for part in made["pairs"][0]["precisions"]:
        part["passages"] = 800
    made["findings"] = findings(made)
    change, quality, practice = first_screen(made)
    both = "In float32 and under bfloat16 autocast, "
    assert change == f"{both}the upgrade changes the top 10 of 6 of 121 queries: 5 % (95 % interval 2.5 to 9.9 %)."
    assert quality == (
        f"{both}no change of ranking quality (nDCG@10, 0 to 1) was detected: it moves by +0.0004 (95 % interval "
        "−0.0004 to +0.0012); a change of 0.0011 would probably have been (4 times of 5)."
    )
    assert practice == (
        f"{both}{KEPT} (up to 2.4 % could differ unseen); making the index anew changes 6; the lists change less than "
        "with each of 3 other seeds of k-means."
    )


def test_the_first_screen_has_three_sentences_for_each_precision() -> None:
    assert len(first_screen(report(search(0), few(1, 1)))) == 6


def test_every_pointer_of_every_finding_resolves() -> None:
    otherwise = search(6, yardstick=None, query_embeddings={"identical": 0, "total": 9, "max_abs": 0.1})
    for made in (report(search(6), search(0)), report(otherwise, None)):
        for finding in findings(made):
            assert finding["evidence"]
            for pointer in finding["evidence"]:
                place: Any = made
                for key in pointer.split("/")[1:]:
                    place = place[int(key) if isinstance(place, list) else key]


def test_a_measure_besides_ndcg_leads_where_there_is_no_ndcg() -> None:
    made = report(upgraded(search(6), measures=[measure("Success@10")]))
    assert said(made, "quality").count("Success@10") == 2
    assert "ranking quality (Success@10, 0 to 1)" in said(made, "quality")


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "0"), (0.0025, "0.25"), (0.031, "3.1"), (0.256, "26"), (1.0, "100")]
)
def test_percentages_have_two_digits_and_are_not_broken(share: float, expected: str) -> None:
    assert percent(share) == f"{expected}\N{NO-BREAK SPACE}%"


def test_intervals_say_their_unit_once() -> None:
    assert plain(interval(0.016, 0.052, 0.95, percent)) == "95 % interval 1.6 to 5.2 %"
    assert plain(interval(-0.001, 0.002, 0.9, signed)) == "90 % interval −0.001 to +0.002"
    assert plain(between(0.96, 0.98, percent)) == "96 to 98 %"
    assert plain(between(1.0, 1.0, percent)) == "100 %"


def test_numbers_and_changes_are_said_as_a_reader_would() -> None:
    assert [small(n) for n in (0.0, 0.00421, 1.333, 12.49)] == ["0", "0.0042", "1.33", "12.5"]
    assert [signed(n) for n in (0.0, -0.0, 0.0042, -0.011)] == ["0", "0", "+0.0042", "−0.011"]
