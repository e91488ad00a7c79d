"""Requirements on search: the words, what becomes of them, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from captures import captures, study_of
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml
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
from reportlib.compare.study import SCHEMA_VERSION, compare_study
from reportlib.errors import ComparisonError, RequirementError
from reportlib.gate import FAILS, HOLDS, INCONCLUSIVE, Requirement, judge, parse
from reportlib.gate.studies import judge_study
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
        ((-0.009, -0.004, 0.001), HOLDS),  # the worst end is a drop of 0.009
        ((-0.011, -0.004, 0.001), INCONCLUSIVE),  # the worst end is beyond
        ((-0.03, -0.02, -0.009), INCONCLUSIVE),  # the mean is beyond, the best end is not
        ((-0.03, -0.02, -0.011), FAILS),
        ((0.01, 0.02, 0.03), HOLDS),  # a gain
        ((-0.01, -0.004, 0.001), INCONCLUSIVE),  # '<' does not allow the limit itself
        ((-0.03, -0.02, -0.01), FAILS),
    ],
)
def test_a_drop_is_judged_by_the_whole_interval(ends, expected):
    assert outcome("recall@10 drop < 0.01", moved(*ends)) == expected
    assert outcome("Recall@10 drop < 1%", moved(*ends)) == expected


def test_an_inclusive_limit_allows_itself():
    assert outcome("recall@10 drop <= 0.01", moved(-0.01, -0.004, 0.001)) == HOLDS
    assert outcome("recall@10 drop <= 0.01", moved(-0.03, -0.02, -0.01)) == INCONCLUSIVE
    assert outcome("recall@10 drop <= 0", moved(0.0, 0.01, 0.02)) == HOLDS


@given(
    ends=st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(sorted),
    limit=st.floats(0.001, 1),
    inclusive=st.booleans(),
)
def test_what_holds_holds_for_every_value_of_the_interval(ends, limit, inclusive):
    sign = "<=" if inclusive else "<"
    requirement = f"recall@10 drop {sign} {limit:.6f}"
    (parsed,) = parse(requirement)
    found, reason = told(requirement, moved(*ends))
    allowed = {parsed.allows(-end) for end in ends}
    assert found == {(True,): HOLDS, (False,): FAILS}.get(tuple(allowed), INCONCLUSIVE)
    assert (" would tell" in reason or "the limit itself" in reason) == (found == INCONCLUSIVE)


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
    assert (
        "measured 0.0025 (95 % interval 0 to 0.0075; " in told("recall@10 drop < 0.01", moved(-0.0075, -0.0025, 0.0))[1]
    )


def test_few_changed_queries_are_said_wherever_their_measure_is_judged():
    record = upgraded(search(6), measures=[hardly(name) for name in NAMES])
    found, reason = told("ndcg@10 drop < 0.01", record)
    assert found == HOLDS
    assert reason == (
        "measured -0.0004 (95 % interval -0.0071 to 0.0071; 0.842 becomes 0.8424 over 121 queries; only 3 of 121 "
        "queries changed)"
    )
    assert told("ndcg@10 smaller than reseeding", record)[1].endswith("; only 3 of 121 queries changed")
    assert "only" not in told("ndcg@10 drop < 0.01", search(6))[1]
    assert "only" not in told("ndcg@10 smaller than reseeding", search(6))[1]
    assert "only 3 of 121" not in told("ndcg@10 drop < 0.01", {**record, "least_changed": 3})[1]


def test_few_changed_queries_are_said_of_agreement():
    assert told("rbo > 0.9", search(5))[1].endswith("; over 121 queries; only 5 of 121 queries changed)")
    assert told("changed queries < 20%", search(5))[1].endswith("; 5 of 121 queries)")
    assert told("smaller than reseeding", search(5))[1].endswith("of k-means; only 5 of 121 queries changed")


def test_a_report_that_does_not_say_how_many_must_change_is_judged_by_six():
    record = search(5)
    del record["least_changed"]
    assert "only 5 of 121 queries changed" in told("rbo > 0.9", record)[1]


def test_how_many_queries_would_tell_goes_with_the_square_of_the_distance():
    # The interval reaches 0.016 beyond a mean that lies 0.008 inside the limit: four times 121 queries.
    assert told("recall@10 drop < 0.01", moved(-0.018, -0.002, 0.014))[1].endswith("; about 490 queries would tell")
    # From the other side: 0.02 measured, 0.01 beyond, its best end 0.015 away.
    assert told("recall@10 drop < 0.01", moved(-0.035, -0.02, -0.005))[1].endswith("; about 280 queries would tell")
    assert told("recall@10 drop < 0.01", moved(-0.02, -0.01, 0.0))[1].endswith("; that is the limit itself")


def test_no_changed_query_holds_and_says_what_could_have_gone_unseen():
    found, reason = told("recall@10 drop < 0.0001", search(0))
    assert found == HOLDS
    assert reason == (
        "no query of 121 changed: Recall@10 is 0.842 on both sides; up to 2.4 % of such queries could change unseen"
    )
    few = upgraded(search(0), measures=[still(name, 3) for name in NAMES])
    assert told("recall@10 drop < 0.0001", few)[1].endswith("up to 63 % of such queries could change unseen")


def test_one_query_says_nothing_of_others():
    record = with_measure(search(), "Recall@10", difference=estimate(-0.5, -0.5, -0.5), better=0, equal=0, worse=1)
    found, reason = told("recall@10 drop < 0.01", record)
    assert (found, "one query says nothing of others" in reason) == (INCONCLUSIVE, True)


# ---- agreement


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Six changed queries, three of them with another passage in and one out.
        ("overlap@10 > 0.99", HOLDS),
        ("overlap > 0.996", INCONCLUSIVE),
        ("overlap@10 > 0.9995", FAILS),
        ("rbo > 0.99", HOLDS),
        ("rbo > 0.998", INCONCLUSIVE),
        ("rbo >= 0.9999", FAILS),
        ("different passages < 0.5", HOLDS),
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
        "measured 0.9975 (95 % interval 0.995 to 0.9988; over 121 queries)"
    )


@pytest.mark.parametrize("text", ["overlap@10 >= 1", "rbo >= 1", "different passages <= 0"])
def test_agreement_in_every_query_holds_with_its_bound(text):
    found, reason = told(text, search(0))
    assert found == HOLDS
    assert "up to 2.4 % of such queries could change unseen" in reason


def test_another_order_of_the_same_passages_is_no_other_passage_but_no_equal_ranking():
    record = upgraded(search(6), same_set=121, overlap=estimate(1, 1, 1), different_passages=estimate(0, 0, 0))
    assert outcome("overlap@10 >= 1", record) == outcome("different passages <= 0", record) == HOLDS
    assert outcome("rbo >= 1", record) == FAILS


def test_few_unchanged_queries_do_not_show_that_few_would_change():
    assert outcome("changed queries < 5%", search(0)) == HOLDS
    found, reason = told("changed queries < 1%", search(0))
    assert found == INCONCLUSIVE
    # The bound above a share of which nothing was seen goes with one over the number of queries.
    assert reason == "measured 0 (95 % interval 0 to 0.03002; 0 of 121 queries); about 370 queries would tell"


# ---- re-seeding


def test_smaller_than_reseeding_says_by_how_much():
    found, reason = told("smaller than reseeding", search(6))
    assert found == HOLDS
    assert reason == (
        "different passages 0.04959 against 1.21 to 1.4, rbo 0.9988 against 0.93 to 0.95, changed queries 0.04959 "
        "against 0.256 to 0.273 with 3 other seeds of k-means"
    )


@pytest.mark.parametrize(
    ("verdicts", "expected", "says"),
    [
        (("smaller", "within", "smaller"), INCONCLUSIVE, "within the range of the seeds: rbo"),
        (("smaller", "within", "larger"), FAILS, "changed queries"),
        (("larger", "smaller", "smaller"), FAILS, "different passages"),
    ],
)
def test_the_worst_figure_decides(verdicts, expected, says):
    record = search(6)
    for each, verdict in zip(record["yardstick"]["figures"], verdicts, strict=False):
        each["verdict"] = verdict
    found, reason = told("smaller than reseeding", record)
    assert found == expected
    assert reason.startswith(says)


def test_a_measure_is_held_against_the_seeds_by_itself():
    found, reason = told("ndcg@10 smaller than reseeding", search(6))
    assert (found, reason.startswith("within the range of the seeds: nDCG@10 0.0004 against")) == (INCONCLUSIVE, True)
    record = search(6)
    record["yardstick"]["figures"][3]["verdict"] = "larger"
    assert outcome("nDCG@10 smaller than reseeding", record) == FAILS
    assert outcome("smaller than reseeding", record) == HOLDS
    assert "does not hold it against other seeds" in told("mrr@10 smaller than reseeding", record)[1]


def test_nothing_changed_needs_no_seed_that_changes_more():
    record = search(0)
    figures = [figure(name, 1.0 if name == "rbo" else 0.0, [0.0], "within") for name in
               ("different_passages", "rbo", "changed_queries", "nDCG@10")]  # fmt: skip
    record["yardstick"] = {"seeds": 1, "figures": figures}
    for text in ("smaller than reseeding", "ndcg@10 smaller than reseeding"):
        found, reason = told(text, record)
        assert found == HOLDS
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
            {"precision": f"precision{n}", "conclusive": True, "artifacts": [], **({"search": s} if s else {})}
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
    done = run(study(record), "--require", "recall@10 drop < 0.01, rbo > 0.99")
    assert done.exit_code == 1
    failed, held = plain(done.stdout).splitlines()
    assert failed == (
        "torch201 and torch210, precision0: recall@10 drop < 0.01: does not hold; measured 0.02 (95 % interval "
        "0.011 to 0.03; 0.842 becomes 0.8424 over 121 queries)."
    )
    assert held == (
        "torch201 and torch210, precision0: rbo > 0.99: holds; measured 0.9988 (95 % interval 0.9975 to 0.9994; "
        "over 121 queries)."
    )


def test_junit_and_sarif_hold_requirements_on_search(study, tmp_path):
    record = with_measure(search(6), "Recall@10", difference=estimate(-0.02, -0.03, -0.011))
    junit, sarif = tmp_path / "gate.xml", tmp_path / "gate.sarif"
    text = "recall@10 drop < 0.01, ndcg@10 drop < 0.0001, rbo > 0.99"
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
    text = "recall@5 drop < 0.5, ndcg@5 drop < 2, overlap@5 >= 1, rbo >= 1, changed queries < 99%, recall@10 drop < 1%"
    judged = {j.requirement.subject: j for j in judge_study(parse(text), tmp_path, ["float32"]).judgements}
    assert judged["recall@5"].outcome == judged["overlap@5"].outcome == judged["ndcg@5"].outcome == HOLDS
    assert "up to 39 % of such queries could change unseen" in plain(judged["overlap@5"].reason)
    assert judged["rbo"].outcome == FAILS
    assert "; only 1 of 6 queries changed)" in judged["rbo"].reason
    assert judged["changed queries"].reason.endswith("; 1 of 6 queries)")
    assert "the study searched with k = 5" in judged["recall@10"].reason
