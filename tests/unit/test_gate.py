"""The gate's language, its judgements, and the files it writes for other programs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import index_folders as made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from reportlib.compare.indexes import compare_indexes
from reportlib.errors import RequirementError
from reportlib.gate import FAILS, HOLDS, INCONCLUSIVE, Judgement, Requirement, exit_code, judge, parse
from reportlib.gate.judge import junit, sarif
from reportlib.gate.requirements import CHANGES, FRACTIONS, KINDS, QUANTITIES, SETS, STAYS

# ---- the language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ivf identical", Requirement("ivf identical", "ivf", "identical")),
        ("  ivf   same  set ", Requirement("ivf same set", "ivf", "same set")),
        ("centroids close", Requirement("centroids close", "centroids", "close")),
        ("centroids close bnb", Requirement("centroids close bnb", "centroids", "close", "bnb")),
        ("floats close default", Requirement("floats close default", "floats", "close", "default")),
        ("codes differing<0.01", Requirement("codes differing<0.01", "codes", "differing", None, 0.01)),
        ("codes differing <= 1%", Requirement("codes differing <= 1%", "codes", "differing", None, 0.01, True)),
        ("codes max_abs <= 0", Requirement("codes max_abs <= 0", "codes", "max_abs", None, 0.0, True)),
        ("all mean_abs < 1e-6", Requirement("all mean_abs < 1e-6", "all", "mean_abs", None, 1e-6)),
        ("recall@10 drop < .01", Requirement("recall@10 drop < .01", "recall@10", "drop", None, 0.01)),
        ("nDCG@10 drop < 1%", Requirement("nDCG@10 drop < 1%", "nDCG@10", "drop", None, 0.01)),
    ],
)
def test_a_requirement_is_understood(text, expected):
    assert parse(text) == (expected,)


def test_several_requirements_keep_their_order_and_words():
    found = parse("ivf identical,codes differing < 0.01 , centroids close bnb")
    assert [r.text for r in found] == ["ivf identical", "codes differing < 0.01", "centroids close bnb"]


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        ("ivff identical", "ivff", "no artifact 'ivff'"),
        ("ivf identical codes identical", "codes", "one word too many"),
        ("ivf identicall", "identicall", "by the word 'identicall'"),
        ("codes differing > 0.01", ">", "neither '<' nor '<='"),
        ("codes differing == 0", "==", "neither '<' nor '<='"),
        ("codes differing < many", "many", "no number"),
        ("codes differing < nan", "nan", "no number"),
        ("codes differing < 1_0", "1_0", "no number"),
        ("codes differing < 1e999", "1e999", "no number"),
        ("codes differing < -1", "-1", "no number"),
        ("codes differing < 0", "0", "nothing is smaller"),
        ("codes differing < 200%", "200%", "nothing has a differing above 1"),
        ("ivf groups_differing <= 1", "1", "nothing has a groups_differing above 1"),
        ("codes max_abs < 1%", "1%", "no fraction"),
        ("codes close bnb", "close", "never given a tolerance"),
        ("all close", "close", "never given a tolerance"),
        ("codes max_rel < 1", "max_rel", "for floats"),
        ("centroids same set", "same", "for integers"),
        ("ivf same shape", "shape", "does not follow 'same'"),
        ("codes groups_differing < 1%", "groups_differing", "only the ivf"),
        ("centroids close lax", "lax", "no tolerance 'lax'"),
        ("recall@10 identical", "identical", "required of recall@10"),
        ("recall@0 drop < 1%", "recall@0", "no artifact"),
        ("ivf drop < 1%", "drop", "by the word 'drop'"),
        ("ivf identical, , codes identical", ",", "before this comma"),
    ],
)
def test_a_mistake_is_pointed_at(text, word, says):
    with pytest.raises(RequirementError) as caught:
        parse(text)
    message, shown, pointer = caught.value.what.split("\n")
    assert says in message
    start = pointer.index("^")
    assert shown[start : start + pointer.count("^")] == word
    assert shown.strip() == text
    assert caught.value.mend


@pytest.mark.parametrize(
    "text", ["", "  ", "ivf", "ivf identical,", "codes differing", "codes differing <", "ivf same"]
)
def test_what_is_missing_is_pointed_at_too(text):
    with pytest.raises(RequirementError, match="missing here"):
        parse(text)


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text):
    with contextlib.suppress(RequirementError):
        assert parse(text)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([*KINDS, *SETS]), st.just("identical")),
            st.tuples(st.sampled_from(SETS["floats"]), st.sampled_from(["close", "close bnb", "max_rel < 3"])),
            st.tuples(st.sampled_from([*KINDS]), st.just("differing < 3%")),
        ),
        min_size=1,
    )
)
def test_what_a_requirement_says_of_itself_is_understood_the_same(parts):
    found = parse(", ".join(" ".join(part) for part in parts))
    assert parse(", ".join(r.text for r in found)) == found


def test_every_artifact_is_an_integer_or_a_float():
    assert {*SETS["integers"], *SETS["floats"]} == set(KINDS) == set(SETS["all"])
    assert set(FRACTIONS) < {*QUANTITIES, "drop", *STAYS, *CHANGES}


# ---- judgements


def compared(tmp_path: Path, **changed: Any) -> dict[str, Any]:
    """Compare an index with itself, but for the values given."""
    known = made.values()
    return compare_indexes(
        made.write_index(tmp_path / "a", known), made.write_index(tmp_path / "b", {**known, **changed})
    )


def outcomes(found: dict[str, Any], text: str) -> list[str]:
    return [j.outcome for j in judge(parse(text), found)]


def test_identical_indexes_satisfy_everything_but_search(tmp_path):
    found = compared(tmp_path)
    text = "all identical, integers same set, floats close default, all differing <= 0, ivf groups_differing <= 0"
    judgements = judge(parse(text), found)
    assert {j.outcome for j in judgements} == {HOLDS}
    assert exit_code(judgements, found) == 0


def test_two_folders_know_nothing_of_search(tmp_path):
    found = compared(tmp_path)
    judgements = judge(parse("ivf identical, recall@10 drop < 0.01"), found)
    assert [j.outcome for j in judgements] == [HOLDS, INCONCLUSIVE]
    assert "two index folders hold no search results; `reportlib check` judges them" in judgements[1].text
    assert exit_code(judgements, found) == 2


@pytest.fixture
def codes() -> np.ndarray:
    """The codes with ten elements changed, by one each."""
    changed = made.values()["codes"].copy()
    changed[:10] += 1
    return changed


def test_a_fraction_is_measured_against_its_limit(tmp_path, codes):
    found = compared(tmp_path, codes=codes)
    share = 10 / len(codes)
    assert outcomes(found, f"codes differing < {share * 1.01}, codes differing <= {share!r}") == [HOLDS, HOLDS]
    assert outcomes(found, f"codes differing < {share!r}, codes differing < {share * 99}%") == [FAILS, FAILS]
    assert outcomes(found, "codes max_abs <= 1, codes max_abs < 1, codes identical") == [HOLDS, FAILS, FAILS]
    failed = judge(parse("codes differing < 0.001"), found)[0]
    assert f"10 of {len(codes):,} elements differ" in failed.text
    assert f"{share:.6g}" in failed.text


def test_floats_are_close_by_the_tolerance_that_was_asked_for(tmp_path):
    known = made.values()
    left, right = (known["bucket_cutoffs"] * 0 + np.float32(tiny) for tiny in (0, 5e-7))
    a = made.write_index(tmp_path / "a", {**known, "bucket_cutoffs": left})
    found = compare_indexes(a, made.write_index(tmp_path / "b", {**known, "bucket_cutoffs": right}))
    record = next(r for r in found["artifacts"] if r["name"] == "bucket_cutoffs")
    assert (record["default"], record["bnb"]) == (False, True)
    text = "bucket_cutoffs close, bucket_cutoffs close bnb, bucket_cutoffs close default"
    assert outcomes(found, text) == [HOLDS, HOLDS, FAILS]


def test_a_set_of_artifacts_fails_by_its_worst_and_counts_the_rest(tmp_path, codes):
    residuals = made.values()["residuals"] ^ 1
    found = compared(tmp_path, codes=codes, residuals=residuals)
    (judgement,) = judge(parse("integers identical"), found)
    assert (judgement.outcome, judgement.artifact, judgement.file) == (FAILS, "codes", "0.codes.pt")
    assert "codes: different" in judgement.reason
    assert "and 1 more artifact)" in judgement.reason
    assert outcomes(found, "floats identical") == [HOLDS]


def test_another_order_within_groups_is_the_same_set_and_not_identical(tmp_path):
    known = made.values()
    ivf = known["ivf"].copy()
    length = int(known["ivf_lengths"][0])
    ivf[:length] = ivf[:length][::-1]
    found = compared(tmp_path, ivf=ivf)
    text = "ivf same set, ivf identical, ivf groups_differing <= 0, ivf differing <= 0"
    assert outcomes(found, text) == [HOLDS, FAILS, HOLDS, FAILS]


def test_another_shape_fails_but_its_groups_can_be_counted(tmp_path):
    known = made.values()
    lengths = known["ivf_lengths"].copy()
    lengths[0] += 1
    ivf = np.insert(known["ivf"], 0, 59)
    found = compared(tmp_path, ivf=ivf, ivf_lengths=lengths)
    text = "ivf groups_differing < 7%, ivf groups_differing < 6%, ivf differing < 99%, ivf same set"
    assert outcomes(found, text) == [HOLDS, FAILS, FAILS, FAILS]
    assert "cannot be measured: Shapes differ" in judge(parse("ivf max_abs < 9"), found)[0].reason


def test_an_infinity_fails_every_distance(tmp_path):
    centroids = made.values()["centroids"].copy()
    centroids[0, 0] = np.inf
    found = compared(tmp_path, centroids=centroids)
    text = "centroids max_abs < 9, centroids mean_abs < 9, centroids close, centroids differing < 1%"
    assert outcomes(found, text) == [FAILS, FAILS, FAILS, HOLDS]


def test_what_is_no_number_fails_every_distance_of_another_dtype_too(tmp_path):
    known = made.values()
    # All but one are NaN on one side: the only distance that can be taken is zero.
    lost = np.full_like(known["centroids"], np.nan)
    lost[0, 0] = known["centroids"][0, 0]
    a = made.write_index(tmp_path / "a", {**known, "centroids": known["centroids"].astype(np.float32)})
    found = compare_indexes(a, made.write_index(tmp_path / "b", {**known, "centroids": lost}))
    text = "centroids max_abs < 9, centroids mean_abs < 9, centroids close, centroids differing < 1%"
    assert outcomes(found, text) == [FAILS, FAILS, FAILS, FAILS]
    assert "a NaN or an infinity" in judge(parse("centroids max_abs < 9"), found)[0].reason


def emptied(path: Path) -> Path:
    """Write an index without a passage, which has centroids all the same."""
    known = made.values()
    made.write_index(path, known)
    made.save(path / "0.codes.pt", known["codes"][:0])
    made.save(path / "0.residuals.pt", known["residuals"][:0])
    made.save(path / "ivf.pid.pt", known["ivf"][:0], np.zeros_like(known["ivf_lengths"]))
    (path / "doclens.0.json").write_text("[]")
    metadata = json.loads((path / "metadata.json").read_text())
    (path / "metadata.json").write_text(json.dumps({**metadata, "num_embeddings": 0}))
    return path


def test_what_is_empty_on_both_sides_judges_nothing(tmp_path):
    found = compare_indexes(emptied(tmp_path / "a"), emptied(tmp_path / "b"))
    text = "codes identical, codes differing < 1%, ivf same set, ivf groups_differing < 1%, residuals max_abs < 9"
    for judgement in judge(parse(text), found):
        assert judgement.outcome == INCONCLUSIVE
        assert judgement.reason == "it is empty on both sides, which judges nothing"
    judgements = judge(parse("all identical, floats identical"), found)
    assert [j.outcome for j in judgements] == [INCONCLUSIVE, HOLDS]
    assert judgements[0].reason.startswith("doclens: it is empty on both sides")
    assert exit_code(judgements, found) == 2


def test_another_dtype_is_not_close_however_equal(tmp_path):
    found = compared(tmp_path, avg_residual=made.values()["avg_residual"].astype(np.float16))
    assert outcomes(found, "avg_residual close, avg_residual max_ulp < 9, avg_residual max_abs < 1") == [
        FAILS,
        FAILS,
        HOLDS,
    ]


def test_a_damaged_file_is_inconclusive_whatever_was_required(tmp_path, codes):
    known = made.values()
    a, b = made.write_index(tmp_path / "a", known), made.write_index(tmp_path / "b", {**known, "codes": codes})
    (b / "centroids.pt").write_bytes(b"PK\x03\x04")
    found = compare_indexes(a, b)
    for text, outcome, code in (
        ("centroids close", INCONCLUSIVE, 2),
        ("ivf identical", HOLDS, 2),
        ("codes identical", FAILS, 1),
        ("all identical", FAILS, 1),
        ("floats identical", INCONCLUSIVE, 2),
        ("codes identical, centroids close", None, 1),
    ):
        judgements = judge(parse(text), found)
        assert exit_code(judgements, found) == code, text
        if outcome:
            assert judgements[0].outcome == outcome, text


# ---- files for other programs


@pytest.fixture
def judgements(tmp_path, codes) -> tuple[dict[str, Any], tuple[Judgement, ...]]:
    found = compared(tmp_path, codes=codes)
    return found, judge(parse("ivf identical, codes differing < 1e-9, recall@10 drop < 1%"), found)


def test_junit_counts_failures_and_errors_apart(judgements):
    suites = JUnitXml.fromstring(junit(judgements[1]).encode())
    assert (suites.tests, suites.failures, suites.errors) == (3, 1, 1)
    tree = ElementTree.fromstring(junit(judgements[1]))  # noqa: S314
    assert [case.get("name") for case in tree.iter("testcase")] == [j.requirement.text for j in judgements[1]]
    assert [child.tag for case in tree.iter("testcase") for child in case] == ["failure", "error"]
    assert "elements differ" in next(tree.iter("failure")).get("message", "")


def test_junit_survives_what_a_file_can_be_called():
    hostile = Judgement(parse("ivf identical")[0], FAILS, "a\x00\x1b[31m<&>\"']]>\ud800", "ivf")
    tree = ElementTree.fromstring(junit([hostile]))  # noqa: S314
    assert "<&>\"']]>" in next(tree.iter("failure")).get("message", "")


def test_sarif_has_a_rule_for_each_requirement_and_a_result_for_each_that_does_not_hold(judgements):
    found, judged = judgements
    log = json.loads(json.dumps(sarif(judged, found["a"]["path"], 1)))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["shortDescription"]["text"] for rule in rules] == [j.requirement.text for j in judged]
    assert [(r["level"], r["ruleIndex"]) for r in run["results"]] == [("error", 1), ("warning", 2)]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    uris = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]]
    assert uris[0].endswith("/a/0.codes.pt")
    assert uris[1].endswith("/a/metadata.json")
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_a_sarif_location_is_a_uri_whatever_the_folder_is_called(tmp_path, monkeypatch, codes):
    monkeypatch.chdir(tmp_path)
    known = made.values()
    made.write_index(Path("an index#1"), known)
    made.write_index(Path("b"), {**known, "codes": codes})
    found = compare_indexes(Path("an index#1"), Path("b"))
    log = sarif(judge(parse("codes identical"), found), "an index#1", 1)
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert location == "an%20index%231/0.codes.pt"
