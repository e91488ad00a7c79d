"""Requirements on search: the words, what becomes of them, and what they say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captures import captures, study_of
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml
from scipy import stats
from searches import (
    NAMES,
    comparison,
    estimate,
    figure,
    hardly,
    measure,
    plain,
    search,
    still,
    upgraded,
    with_measure,
)
from typer.testing import CliRunner, Result

from reportlib.cli import app
from reportlib.compare.study import compare_study
from reportlib.compare.uncertainty import bootstrap, counted, few_changed, unchanged_bound
from reportlib.errors import ComparisonError, RequirementError
from reportlib.gate import FAILS, HOLDS, INCONCLUSIVE, Judgement, Requirement, judge, parse
from reportlib.gate.judge import judge_study
from reportlib.gate.search import Figure, rule
from reportlib.shape import SCHEMA_VERSION
from reportlib.study import SwapSpec

Record = dict[str, Any]


def told(text: str, record: Record | None) -> tuple[str, str]:
    (judgement,) = judge(parse(text), {"artifacts": [], "search": record})
    return judgement.outcome, plain(judgement.reason)


def outcome(text: str, record: Record | None) -> str:
    return told(text, record)[0]


# ---- the language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overlap@10 > 0.95", Requirement("overlap@10 > 0.95", "overlap@10", "overlap", None, 0.95)),
        ("overlap >= 95%", Requirement("overlap >= 95%", "overlap", "overlap", None, 0.95, True)),
        ("rbo > .99", Requirement("rbo > .99", "rbo", "rbo", None, 0.99)),
        ("different  passages<0.5",
         Requirement("different passages<0.5", "different passages", "different passages", None, 0.5)),
        ("changed queries <= 5%",
         Requirement("changed queries <= 5%", "changed queries", "changed queries", None, 0.05, True)),
        ("smaller than reseeding", Requirement("smaller than reseeding", "search", "smaller than reseeding")),
        ("nDCG@10 smaller than reseeding",
         Requirement("nDCG@10 smaller than reseeding", "nDCG@10", "smaller than reseeding")),
        ("MRR@100 drop < 1e-3", Requirement("MRR@100 drop < 1e-3", "MRR@100", "drop", None, 0.001)),
    ],
)  # fmt: skip
def test_a_requirement_on_search_is_understood(text, expected):
    assert parse(text) == (expected,)
    assert expected.artifacts == ()


def test_a_requirement_knows_its_measure_and_its_k():
    found = parse("nDCG@10 drop < 1%, overlap@5 > 0.9, rbo > 0.9, ivf identical, smaller than reseeding")
    assert [(r.measure, r.k) for r in found] == [("ndcg", 10), ("", 5), ("", None), ("", None), ("", None)]


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        ("recal@10 drop < 1%", "recal@10", "no measure 'recal@10'"),
        ("precision@10 drop < 1%", "precision@10", "no measure"),
        ("codes@10 identical", "codes@10", "no measure"),
        ("overlap@10 < 0.9", "<", "neither '>' nor '>='"),
        ("recall@10 drop > 0.9", ">", "neither '<' nor '<='"),
        ("recall@10 drop < 0", "0", "nothing is smaller"),
        ("rbo > 1", "1", "no rbo is larger than 1"),
        ("overlap@10 >= 101%", "101%", "no overlap is larger than 1"),
        ("rbo >= 0", "0", "no rbo is smaller than 0"),
        ("recall@10 drop < 2", "2", "nothing has a drop above 1"),
        ("changed queries <= 100%", "100%", "nothing has a changed queries above 1"),
        ("different passages < 5%", "5%", "different passages is no fraction"),
        ("different queries < 5%", "queries", "does not follow 'different'"),
        ("changed passages < 5%", "passages", "does not follow 'changed'"),
        ("smaller then reseeding", "then", "'then' does not follow 'smaller'"),
        ("smaller than seeding", "seeding", "'seeding' does not follow 'than'"),
        ("recall@10 smaller than reseeding < 2", "<", "one word too many"),
        ("recall@10 > 0.9", ">", "required of recall@10"),
        ("overlapp > 0.9", "overlapp", "no artifact 'overlapp'"),
    ],
)
def test_a_mistake_is_pointed_at(text, word, says):
    with pytest.raises(RequirementError) as caught:
        parse(text)
    message, shown, pointer = caught.value.what.split("\n")
    assert says in message
    start = pointer.index("^")
    assert shown[start : start + pointer.count("^")] == word


@pytest.mark.parametrize("text", ["overlap@10", "rbo >", "changed", "smaller than", "ndcg@10", "ndcg@10 drop <"])
def test_what_is_missing_is_pointed_at(text):
    with pytest.raises(RequirementError, match="missing here"):
        parse(text)


# ---- a drop


def moved(low: float, value: float, high: float) -> Record:
    return with_measure(search(), "Recall@10", difference=estimate(value, low, high))


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((-0.009, -0.004, 0.001), HOLDS),  # at worst a drop of 0.009, and of 0.0245 with what 121 queries can miss
        ((-0.016, -0.004, 0.001), INCONCLUSIVE),  # inside, but not with what goes unseen
        ((-0.041, -0.004, 0.001), INCONCLUSIVE),  # the worst end is beyond
        ((-0.07, -0.06, -0.039), INCONCLUSIVE),  # the mean is beyond, the best end is not
        ((-0.07, -0.06, -0.041), FAILS),
        ((0.01, 0.02, 0.03), HOLDS),  # a gain
        ((-0.07, -0.06, -0.04), FAILS),  # '<' does not allow the limit itself
    ],
)
def test_a_drop_is_judged_by_the_whole_interval(ends, expected):
    assert outcome("recall@10 drop < 0.04", moved(*ends)) == expected
    assert outcome("Recall@10 drop < 4%", moved(*ends)) == expected


def test_an_inclusive_limit_allows_itself():
    (requirement,) = parse("recall@10 drop <= 0.01")
    figure = Figure(0.01, 0.01, 0.01, 121, 0.95)
    assert rule(requirement, figure).outcome == INCONCLUSIVE  # a breach is a drop of more
    assert rule(replace(requirement, inclusive=False), figure).outcome == FAILS
    assert outcome("recall@10 drop <= 0", moved(0.025, 0.03, 0.04)) == HOLDS
    assert outcome("recall@10 drop <= 0", moved(0.024, 0.03, 0.04)) == INCONCLUSIVE


@given(
    ends=st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(sorted),
    limit=st.floats(0.001, 0.99),
    inclusive=st.booleans(),
)
def test_what_holds_holds_for_all_that_can_be(ends, limit, inclusive):
    sign = "<=" if inclusive else "<"
    requirement = f"recall@10 drop {sign} {limit:.6f}"
    (parsed,) = parse(requirement)
    found, reason = told(requirement, with_measure(moved(*ends), "Recall@10", left=1.0))
    worst = min(-ends[0] + 1 - 0.05 ** (1 / 121), 1.0)
    expected = FAILS if not parsed.allows(-ends[2]) else HOLDS if parsed.allows(worst) else INCONCLUSIVE
    assert found == expected
    assert (" would tell" in reason) == (found == INCONCLUSIVE)


def test_what_was_measured_is_said_with_its_interval():
    record = with_measure(
        search(),
        "nDCG@10",
        left=0.842,
        right=0.831,
        difference=estimate(-0.011, -0.018, -0.005),
        better=2,
        worse=9,
        equal=110,
    )
    assert told("ndcg@10 drop < 0.004", record) == (
        FAILS,
        "measured 0.011 (95 % interval 0.005 to 0.018; 0.842 becomes 0.831 over 121 queries)",
    )


def test_an_interval_that_ends_at_no_change_ends_at_zero():
    reason = told("recall@10 drop < 0.01", moved(-0.0075, -0.0025, 0.0))[1]
    assert "measured 0.0025 (95 % interval 0 to 0.0075; " in reason


def test_few_changed_queries_are_said_wherever_their_measure_is_judged():
    record = upgraded(search(6), measures=[hardly(name) for name in NAMES])
    found, reason = told("ndcg@10 drop < 0.05", record)
    assert found == HOLDS
    assert reason == (
        "measured -0.0004 (95 % interval -0.0071 to 0.0071; 0.842 becomes 0.8424 over 121 queries; only 3 of 121 "
        "queries changed); up to 2.4 % of such queries could change by more unseen, in all a drop of up to 0.03155"
    )
    assert "; only 3 of 121 queries changed" in told("ndcg@10 smaller than reseeding", record)[1]
    assert "only" not in told("ndcg@10 drop < 0.01", search(6))[1]
    assert "only" not in told("ndcg@10 smaller than reseeding", search(6))[1]
    assert "only 3 of 121" not in told("ndcg@10 drop < 0.01", {**record, "least_changed": 3})[1]


def test_few_changed_queries_are_said_of_agreement():
    assert "; over 121 queries; only 5 of 121 queries changed)" in told("rbo > 0.9", search(5))[1]
    assert "; over 121 queries; only 3 of 121 queries got other passages)" in told("overlap > 0.9", search(6))[1]
    assert told("changed queries < 20%", search(5))[1].endswith("; 5 of 121 queries)")
    assert told("smaller than reseeding", search(5))[1].endswith("; only 5 of 121 queries changed")


def test_how_many_queries_would_tell_goes_with_the_square_of_the_distance_beyond_the_limit():
    # The mean lies 0.01 beyond, the interval's best end 0.015 away from it: (0.015 / 0.01)**2 * 121 is 272.25.
    assert told("recall@10 drop < 0.01", moved(-0.035, -0.02, -0.005))[1].endswith("; about 280 queries would tell")


def test_how_many_queries_would_tell_counts_what_goes_unseen_inside_the_limit():
    found, reason = told("recall@10 drop < 0.01", moved(-0.018, -0.002, 0.014))
    assert (found, reason.endswith("; about 1,200 queries would tell")) == (INCONCLUSIVE, True)

    def reach(queries: int) -> float:
        return 0.002 + 0.016 * (121 / queries) ** 0.5 + 1 - 0.05 ** (1 / queries)

    assert reach(1200) < 0.01 < reach(1100)


def test_at_the_limit_itself_no_number_of_queries_would_tell():
    ending = "; that is so near the limit that no number of queries would tell"
    assert told("recall@10 drop < 0.01", moved(-0.02, -0.01, 0.0))[1].endswith(ending)
    for text in ("overlap@10 >= 1", "rbo >= 1", "different passages <= 0", "recall@10 drop <= 0"):
        found, reason = told(text, search(0))
        assert (found, reason.endswith(ending)) == (INCONCLUSIVE, True)


def test_no_changed_query_holds_where_a_breach_would_have_shown():
    found, reason = told("recall@10 drop < 0.025", search(0))
    assert found == HOLDS
    assert reason == (
        "no query of 121 changed: Recall@10 is 0.842 on both sides; up to 2.4 % of such queries could change unseen, "
        "in all a drop of up to 0.02445"
    )
    found, reason = told("recall@10 drop < 0.024", search(0))
    assert found == INCONCLUSIVE
    assert reason.endswith("in all a drop of up to 0.02445; about 130 queries would tell")


def of(queries: int, changed: int = 0) -> Record:
    """A search of as many queries, none of which changed."""
    none = {"queries": queries, "same_order": queries, "same_set": queries}
    return upgraded(search(changed), **none, measures=[still(name, queries) for name in NAMES])


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        # Of so many queries 1 - 0.05 ** (1 / n), times the largest change of a query, is inside the limit.
        ("recall@10 drop < 0.01", 299),
        ("ndcg@10 drop < 0.05", 59),
        ("overlap@10 > 0.95", 59),
        ("overlap@10 > 0.9", 29),
        ("rbo > 0.99", 299),
        ("different passages < 0.5", 119),
        ("changed queries < 1%", 299),
        ("changed queries < 5%", 59),
        # The least that another seed changes: 1.21 different passages, an rbo of 0.95, 25.6 % of queries.
        ("smaller than reseeding", 59),
        ("ndcg@10 smaller than reseeding", 14978),
    ],
)
def test_a_limit_holds_from_the_number_of_queries_on_that_could_show_a_breach(text, enough):
    for queries in (2, 4, enough - 1):
        found, reason = told(text, of(queries))
        assert found == INCONCLUSIVE
        about = re.search(r"about ([0-9,]+) queries would tell", reason)
        assert about is not None
        assert enough <= int(about[1].replace(",", "")) <= 1.1 * enough + 1
    for queries in (enough, 10 * enough):
        assert outcome(text, of(queries)) == HOLDS


@pytest.mark.parametrize("queries", [30, 120, 299, 600])
@pytest.mark.parametrize("size", [1.0, 0.25])
def test_where_a_breach_is_true_it_holds_in_no_more_than_one_sample_of_twenty(queries, size):
    # One query of a hundred, or four, lose so much that the mean of all that there are falls by the limit itself.
    limit = 0.01
    holding = []
    for changed in range(9):
        gaps = np.zeros(queries)
        gaps[: min(changed, queries)] = -size
        (gap,) = bootstrap(gaps[:, None])
        difference = few_changed(gap, gaps).record()
        counts = {"worse": changed, "better": 0, "equal": queries - changed}
        record = with_measure(of(queries), "Recall@10", difference=difference, **counts)
        if outcome(f"recall@10 drop < {limit}", record) == HOLDS:
            holding.append(changed)
    assert float(stats.binom.pmf(holding, queries, limit / size).sum()) <= 0.05
    assert holding == list(range(len(holding)))
    assert len(holding) < 9


@given(st.integers(2, 3000), st.sampled_from(["recall@10 drop < 0.01", "overlap > 0.9", "rbo > 0.99"]))
def test_what_changed_a_little_never_holds_where_nothing_changed_does_not(queries, text):
    still_one, moved_one = of(queries), of(queries)
    upgrade = moved_one["comparisons"][0]
    tiny = 1e-6
    upgrade |= {"same_order": queries - 1, "same_set": queries - 1}
    upgrade |= {"overlap": estimate(1 - tiny, 1 - 2 * tiny, 1), "rbo": estimate(1 - tiny, 1 - 2 * tiny, 1)}
    changed = {"difference": estimate(-tiny, -2 * tiny, 2 * tiny), "worse": 1, "equal": queries - 1}
    with_measure(moved_one, "Recall@10", **changed)
    before, after = outcome(text, still_one), outcome(text, moved_one)
    assert not (before == INCONCLUSIVE and after == HOLDS)


def test_the_bound_is_the_one_that_the_page_tells():
    for text in (
        "recall@10 drop < 0.5",
        "rbo > 0.5",
        "overlap > 0.5",
        "changed queries < 50%",
        "smaller than reseeding",
    ):
        assert "up to 2.4 % of such queries could change unseen" in told(text, search(0))[1]
    assert counted(0, 121)["high"] == unchanged_bound(121)


@pytest.mark.parametrize("text", ["recall@10 drop < 0.5", "recall@10 smaller than reseeding"])
def test_a_measure_that_is_zero_on_both_sides_judges_nothing(text):
    record = with_measure(of(2243), "Recall@10", left=0.0, right=0.0)
    found, reason = told(text, record)
    assert found == INCONCLUSIVE
    assert reason.startswith(
        "Recall@10 is 0 on both sides for all of 2,243 queries, which judges nothing; look whether"
    )
    assert outcome("ndcg@10 drop < 0.5", record) == HOLDS


def test_a_measure_that_cannot_fall_as_far_as_the_limit_judges_nothing():
    record = with_measure(of(2243), "Recall@10", left=0.004, right=0.004)
    found, reason = told("recall@10 drop < 0.01", record)
    assert (found, reason.endswith("could be a breach: the most that there can be is 0.004")) == (INCONCLUSIVE, True)
    assert outcome("recall@10 drop < 0.003", record) == HOLDS
    risen = with_measure(
        of(2243), "Recall@10", left=0.004, right=0.2, difference=estimate(0.196, 0.18, 0.21), better=440
    )
    assert outcome("recall@10 drop < 0.01", risen) == HOLDS


def test_more_different_passages_than_there_can_be_are_no_limit():
    found, reason = told("different passages < 21", search(6))
    assert (found, reason.endswith("the most that there can be is 20")) == (INCONCLUSIVE, True)


def test_lists_without_a_passage_judge_nothing():
    record = upgraded(of(2243), max_score_difference=None)
    for text in ("overlap@10 > 0.5", "rbo > 0.5", "changed queries < 50%", "smaller than reseeding"):
        found, reason = told(text, record)
        assert (found, reason) == (INCONCLUSIVE, "no list of 2,243 queries has a passage, which judges nothing")


def test_a_list_that_can_hold_every_passage_judges_no_set():
    def judged(text: str, passages: int) -> Judgement:
        (found,) = judge(parse(text), {"artifacts": [], "search": of(2243), "passages": passages})
        return found

    sets = ("overlap@10 > 0.5", "different passages < 5", "recall@10 drop < 0.5", "success@10 drop < 0.5",
            "smaller than reseeding")  # fmt: skip
    for text in sets:
        assert judged(text, 10).outcome == INCONCLUSIVE
        assert judged(text, 10).reason == "a list of 10 can hold all 10 passages, so it can show no change"
        assert judged(text, 11).outcome == HOLDS
    for text in ("rbo > 0.5", "ndcg@10 drop < 0.5", "mrr@10 drop < 0.5", "changed queries < 50%"):
        assert judged(text, 10).outcome == HOLDS


def test_one_query_says_nothing_of_others():
    record = with_measure(search(), "Recall@10", difference=estimate(-0.5, -0.5, -0.5), better=0, equal=0, worse=1)
    found, reason = told("recall@10 drop < 0.01", record)
    assert (found, "one query says nothing of others" in reason) == (INCONCLUSIVE, True)
    for judgement in judge(parse(ALL), {"artifacts": [], "search": of(1)}):
        assert judgement.outcome == INCONCLUSIVE
        assert judgement.reason.startswith("one query says nothing of others: ")
        assert plain(judgement.reason).count("up to 95 % of such queries could change unseen") == 1


# ---- agreement


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Six changed queries, three of them with another passage in and one out.
        ("overlap@10 > 0.97", HOLDS),
        ("overlap > 0.99", INCONCLUSIVE),
        ("overlap > 0.996", INCONCLUSIVE),
        ("overlap@10 > 0.9995", FAILS),
        ("rbo > 0.97", HOLDS),
        ("rbo > 0.99", INCONCLUSIVE),
        ("rbo > 0.998", INCONCLUSIVE),
        ("rbo >= 0.9999", FAILS),
        ("different passages < 0.6", HOLDS),
        ("different passages < 0.5", INCONCLUSIVE),
        ("different passages < 0.05", INCONCLUSIVE),
        ("different passages < 0.01", FAILS),
        ("changed queries < 10%", HOLDS),
        ("changed queries < 5%", INCONCLUSIVE),
        ("changed queries < 1%", FAILS),
    ],
)
def test_agreement_is_judged_by_the_whole_interval(text, expected):
    assert outcome(text, search(6)) == expected


def test_what_agrees_is_said_with_its_interval():
    assert told("changed queries < 1%", search(6))[1] == (
        "measured 0.04959 (95 % interval 0.02479 to 0.09917; 6 of 121 queries)"
    )
    assert told("overlap@10 > 0.9995", search(6))[1] == (
        "measured 0.9975 (95 % interval 0.995 to 0.9988; over 121 queries; only 3 of 121 queries got other passages)"
    )
    assert told("rbo > 0.9", search(6))[1] == (
        "measured 0.9988 (95 % interval 0.9975 to 0.9994; over 121 queries); up to 2.4 % of such queries could change "
        "by more unseen, in all an rbo as low as 0.9731"
    )


def test_another_order_of_the_same_passages_is_no_other_passage_but_no_equal_ranking():
    record = upgraded(search(6), same_set=121, overlap=estimate(1, 1, 1), different_passages=estimate(0, 0, 0))
    for text in ("overlap@10 > 0.9", "different passages < 1"):
        found, reason = told(text, record)
        assert (found, reason.startswith("no query of 121 got other passages: ")) == (HOLDS, True)
    assert outcome("rbo >= 1", record) == FAILS


def test_few_unchanged_queries_do_not_show_that_few_would_change():
    assert outcome("changed queries < 5%", search(0)) == HOLDS
    found, reason = told("changed queries < 1%", search(0))
    assert found == INCONCLUSIVE
    # The bound above a share of which nothing was seen goes with one over the number of queries.
    assert reason == (
        "no query of 121 changed: changed queries 0; up to 2.4 % of such queries could change unseen; about 300 "
        "queries would tell"
    )


# ---- re-seeding


def test_smaller_than_reseeding_says_by_how_much():
    found, reason = told("smaller than reseeding", search(6))
    assert found == HOLDS
    assert reason == (
        "different passages 0.04959 (at most 0.5635) against 1.21 to 1.4, rbo 0.9988 (at least 0.9731) against 0.93 to "
        "0.95, changed queries 0.04959 (at most 0.09917) against 0.256 to 0.273 with 3 other seeds of k-means; up to "
        "2.4 % of such queries could change by more unseen"
    )


def seeded(**seeds: list[float]) -> Record:
    record = search(6)
    for each in record["yardstick"]["figures"]:
        each["seeds"] = seeds.get(each["name"], each["seeds"])
    return record


@pytest.mark.parametrize(
    ("seeds", "expected", "says"),
    [
        ({"rbo": [0.9987, 0.999, 0.9989]}, INCONCLUSIVE,
         "within the range of the seeds: rbo 0.9988 (at least 0.9731) against 0.9987 to 0.999 with"),
        ({"rbo": [0.9987, 0.999, 0.9989], "changed_queries": [0.01, 0.02, 0.015]}, FAILS,
         "changed queries 0.04959 (at least 0.02479) against 0.01 to 0.02 with"),
        ({"rbo": [0.9999, 0.9997, 0.9998]}, FAILS, "rbo 0.9988 (at most 0.9994) against 0.9997 to 0.9999 with"),
        ({"different_passages": [0.01, 0.02, 0.01]}, FAILS,
         "different passages 0.04959 (at least 0.02479) against 0.01 to 0.02 with"),
        # Larger than with any seed, but by less than its interval; smaller, but by less than what goes unseen.
        ({"different_passages": [0.01, 0.03, 0.01]}, INCONCLUSIVE,
         "different passages 0.04959 (at most 0.5635) against 0.01 to 0.03 with"),
        ({"different_passages": [0.5, 0.7, 0.6]}, INCONCLUSIVE,
         "different passages 0.04959 (at most 0.5635) against 0.5 to 0.7 with"),
    ],
)  # fmt: skip
def test_the_worst_figure_decides(seeds, expected, says):
    found, reason = told("smaller than reseeding", seeded(**seeds))
    assert found == expected
    assert reason.startswith(says)
    assert ("would tell" in reason) == (found == INCONCLUSIVE and not reason.startswith("within"))


def test_a_measure_is_held_against_the_seeds_by_itself():
    found, reason = told("ndcg@10 smaller than reseeding", search(6))
    assert found == INCONCLUSIVE
    assert reason.startswith("within the range of the seeds: ndcg@10 0.0004 (at most 0.02565) against")
    record = seeded(**{"nDCG@10": [0.0001, 0.0002, 0.0001]})
    with_measure(record, "nDCG@10", difference=estimate(-0.004, -0.006, -0.0003))
    assert outcome("nDCG@10 smaller than reseeding", record) == FAILS
    with_measure(record, "nDCG@10", difference=estimate(-0.004, -0.006, 0.0003))
    assert outcome("nDCG@10 smaller than reseeding", record) == INCONCLUSIVE
    assert outcome("smaller than reseeding", record) == HOLDS
    assert "does not hold it against other seeds" in told("mrr@10 smaller than reseeding", record)[1]


def test_nothing_changed_is_not_smaller_than_nothing():
    record = search(0)
    figures = [figure(name, 1.0 if name == "rbo" else 0.0, [1.0 if name == "rbo" else 0.0], "within") for name in
               ("different_passages", "rbo", "changed_queries", "nDCG@10")]  # fmt: skip
    record["yardstick"] = {"seeds": 1, "figures": figures}
    for text in ("smaller than reseeding", "ndcg@10 smaller than reseeding"):
        found, reason = told(text, record)
        assert found == INCONCLUSIVE
        assert reason.startswith("within the range of the seeds: ")
        assert reason.endswith("with 1 other seed of k-means; up to 2.4 % of such queries could change unseen")


def test_without_other_seeds_there_is_no_yardstick():
    found, reason = told("smaller than reseeding", search(6, yardstick=None))
    assert (found, "no index with another seed" in reason) == (INCONCLUSIVE, True)


# ---- what cannot be told


ALL = ", ".join(
    [
        "recall@10 drop < 0.5",
        "ndcg@10 drop < 0.5",
        "overlap@10 > 0.1",
        "rbo > 0.1",
        "different passages < 19",
        "changed queries < 99%",
        "smaller than reseeding",
    ]
)


def test_a_study_that_holds_everything():
    judged = judge(parse(ALL), {"artifacts": [], "search": search(6)})
    assert {j.outcome for j in judged} == {HOLDS}
    assert not any(j.artifact for j in judged)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (None, "no searches of both sides"),
        (search(queries=0), "no searches of both sides"),
        (
            search(controls=[{"environment": "torch210", "queries": 121, "identical": 118}]),
            "its own index searched again gave other results in torch210 for 3 queries",
        ),
    ],
)
def test_without_searches_or_with_a_failed_control_nothing_can_be_told(record, says):
    for judgement in judge(parse(ALL), {"artifacts": [], "search": record}):
        assert judgement.outcome == INCONCLUSIVE
        assert says in judgement.reason


def test_another_k_than_the_study_s_is_inconclusive_and_names_it():
    for text in ("recall@5 drop < 0.5", "overlap@100 > 0.1", "ndcg@20 smaller than reseeding"):
        found, reason = told(text, search(6))
        assert (found, "the study searched with k = 10" in reason) == (INCONCLUSIVE, True)


def test_quality_without_judgements_could_not_be_measured():
    record = upgraded(search(6, judged=0, quality=[]), measures=[])
    assert told("recall@10 drop < 0.5", record) == (
        INCONCLUSIVE, "quality could not be measured, as no query has judgements")  # fmt: skip
    assert outcome("ndcg@10 smaller than reseeding", record) == INCONCLUSIVE
    assert outcome("overlap@10 > 0.1", record) == HOLDS
    some = upgraded(search(6), measures=[measure("nDCG@10")])
    assert told("recall@10 drop < 0.5", some) == (INCONCLUSIVE, "the study measured only nDCG@10")


# ---- the command


@pytest.fixture
def study(tmp_path: Path) -> Any:
    def write(*searches: Record | None) -> Path:
        precisions = [
            {"precision": f"precision{n}", "passages": None, "conclusive": True, "artifacts": []}
            | ({"search": s} if s else {})
            for n, s in enumerate(searches)
        ]
        pairs = [{"a": "torch201", "b": "torch210", "precisions": precisions}]
        report = {"schema_version": SCHEMA_VERSION, "missing_arms": [], "pairs": pairs}
        (tmp_path / "report.json").write_text(json.dumps(report))
        return tmp_path

    return write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_one_line_says_which_requirement_and_by_how_much(study):
    record = with_measure(search(6), "Recall@10", difference=estimate(-0.02, -0.03, -0.011))
    done = run(study(record), "--require", "recall@10 drop < 0.01, rbo > 0.97")
    assert done.exit_code == 1
    failed, held = plain(done.stdout).splitlines()
    assert failed == (
        "torch201 and torch210, precision0: recall@10 drop < 0.01: does not hold; measured 0.02 (95 % interval "
        "0.011 to 0.03; 0.842 becomes 0.8424 over 121 queries)."
    )
    assert held == (
        "torch201 and torch210, precision0: rbo > 0.97: holds; measured 0.9988 (95 % interval 0.9975 to 0.9994; "
        "over 121 queries); up to 2.4 % of such queries could change by more unseen, in all an rbo as low as 0.9731."
    )


def test_junit_and_sarif_hold_requirements_on_search(study, tmp_path):
    record = with_measure(search(6), "Recall@10", difference=estimate(-0.02, -0.03, -0.011))
    junit, sarif = tmp_path / "gate.xml", tmp_path / "gate.sarif"
    text = "recall@10 drop < 0.01, ndcg@10 drop < 0.0001, rbo > 0.97"
    done = run(study(record), "--require", text, "--junit", junit, "--sarif", sarif, "--json")
    suites = JUnitXml.fromfile(str(junit))
    assert (suites.tests, suites.failures, suites.errors) == (3, 1, 1)
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert [(r["ruleIndex"], r["level"]) for r in results] == [(0, "error"), (1, "warning")]
    assert "queries would tell" in results[1]["message"]["text"]
    outcomes = [r["outcome"] for r in json.loads(done.stdout)["requirements"]]
    assert outcomes == [FAILS, INCONCLUSIVE, HOLDS]


def test_a_failed_control_of_the_precision_makes_search_doubtful_too(study):
    folder = study(search(6))
    report = json.loads((folder / "report.json").read_text())
    report["pairs"][0]["precisions"][0]["conclusive"] = False
    (folder / "report.json").write_text(json.dumps(report))
    (judgement,) = judge_study(parse("rbo > 0.1"), folder).judgements
    assert judgement.outcome == INCONCLUSIVE
    assert judgement.reason.startswith("a control failed (measured 0.9988")


def test_a_report_from_before_search_is_inconclusive(study):
    (judgement,) = judge_study(parse("rbo > 0.1"), study(None)).judgements
    assert judgement.outcome == INCONCLUSIVE


@pytest.mark.parametrize("broken", [{"k": 10, "queries": 1}, search(comparisons=[]), {"queries": 2}])
def test_a_damaged_search_is_an_error(study, broken):
    with pytest.raises(ComparisonError, match="damaged"):
        judge_study(parse("overlap@10 > 0.1"), study(broken))


def test_every_claim_reads_the_comparison_of_the_upgrade():
    record = search(0)
    record["comparisons"] = [comparison("index", 100), *record["comparisons"][::-1]]
    assert {j.outcome for j in judge(parse(ALL), {"artifacts": [], "search": record})} == {HOLDS}


def test_a_report_made_of_captures_can_be_judged(tmp_path):
    def plant(arm, values):
        if arm.environment == "torch210":
            pids = values["rankings"]["queries"][0]["pids"]
            pids[:2] = pids[1::-1]

    study = study_of(tmp_path, swaps=SwapSpec(()))
    report = compare_study(study, captures(tmp_path, study, plant))
    (tmp_path / "report.json").write_text(json.dumps(report))
    text = "recall@5 drop < 0.5, ndcg@5 drop < .7, overlap@5 > .5, rbo >= 1, changed queries < 99%, recall@10 drop < 1%"
    judged = {j.requirement.subject: j for j in judge_study(parse(text), tmp_path, ["float32"]).judgements}
    assert judged["recall@5"].outcome == judged["overlap@5"].outcome == judged["ndcg@5"].outcome == HOLDS
    assert "up to 39 % of such queries could change unseen" in plain(judged["overlap@5"].reason)
    assert judged["rbo"].outcome == FAILS
    assert "; only 1 of 6 queries changed)" in judged["rbo"].reason
    assert judged["changed queries"].reason.endswith("; 1 of 6 queries)")
    assert "the study searched with k = 5" in judged["recall@10"].reason
