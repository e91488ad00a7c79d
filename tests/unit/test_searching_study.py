"""The search part of a report, from made-up captures of searching arms."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from captures import Values, captures, pipeline_values, search_values, study_of, write

from reportlib.compare.rankings import SearchingArm, read
from reportlib.compare.search import compare_search, shortened
from reportlib.compare.study import SCHEMA, compare_study, render
from reportlib.errors import ComparisonError
from reportlib.store import Capture
from reportlib.study import Arm, SearchSpec, Study

Record = dict[str, Any]
#: Changes values by arm name, before they are written.
Edit = Callable[[dict[str, Values]], None]
A, B = "torch201", "torch210"
PLAIN_A, PLAIN_B = f"{A}-float32", f"{B}-float32"
SEARCH_A, SEARCH_B = f"{PLAIN_A}-search", f"{PLAIN_B}-search"


def made(folder: Path, edit_plain: Edit | None = None, edit: Edit | None = None, **kept: Any) -> Any:
    """The arms of one precision and their captures: plain ones with rankings only, and searching ones."""
    study = study_of(folder, **{"passages": {"float32": 0}} | kept)
    arms = [arm for arm in study.arms() if arm in {arm.plain, replace(arm.plain, searching=True)}]
    values = {arm.name: {"rankings": pipeline_values(arm)["rankings"]} for arm in arms if not arm.searching}
    if edit_plain is not None:
        edit_plain(values)
    values |= {arm.name: search_values(study, arm, values) for arm in arms if arm.searching}
    # Both arms' values may hold the same lists.
    values = copy.deepcopy(values)
    if edit is not None:
        edit(values)
    written = {arm.name: write(folder, arm, values[arm.name]) for arm in arms if arm.name in values}
    return study, arms, written


def search_of(folder: Path, edit_plain: Edit | None = None, edit: Edit | None = None, **kept: Any) -> Record:
    study, arms, written = made(folder, edit_plain, edit, **kept)
    found = compare_search(arms[0], arms[1], written, k=study.search.k)
    assert found is not None
    assert_valid(found)
    return found


def assert_valid(found: Record) -> None:
    schema = json.loads(SCHEMA.read_text())
    only = {"$ref": "#/$defs/Search", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(only).validate(json.loads(json.dumps(found, allow_nan=False)))


def comparison(found: Record, name: str) -> Record:
    return next(each for each in found["comparisons"] if each["id"] == name)


def figure(found: Record, name: str) -> Record:
    return next(each for each in found["yardstick"]["figures"] if each["name"] == name)


def measured(found: Record, name: str, measure: str = "nDCG@5") -> Record:
    return next(each for each in comparison(found, name)["measures"] if each["measure"] == measure)


def other_index(values: dict[str, Values]) -> None:
    """B's index gives other passages, whoever searches it: q0 loses its best, q1 swaps two behind that."""
    queries = values[PLAIN_B]["rankings"]["queries"]
    queries[0]["pids"][0] = 77
    queries[1]["pids"][3:] = queries[1]["pids"][:2:-1]


def test_where_nothing_differs_the_bounds_say_what_could_have(tmp_path: Path) -> None:
    found = search_of(tmp_path)
    assert (found["k"], found["queries"], found["judged"], found["changed_total"]) == (5, 6, 5, 0)
    assert found["controls"] == [{"environment": e, "queries": 6, "identical": 6} for e in (A, B)]
    assert found["query_embeddings"] == {"identical": 24, "total": 24, "max_abs": 0.0}
    upgrade = comparison(found, "upgrade")
    assert (upgrade["same_order"], upgrade["scores_identical"], upgrade["max_score_difference"]) == (6, 6, 0.0)
    assert upgrade["rbo"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert upgrade["changed_queries"]["low"] == 0
    assert upgrade["changed_queries"]["high"] == pytest.approx(1 - 0.05 ** (1 / 6))
    for each in upgrade["measures"]:
        assert each["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert (each["better"], each["equal"], each["worse"], each["detected"]) == (0, 5, 0, False)
        assert each["p_permutation"] is each["p_sign"] is each["detectable"] is None
        assert each["unchanged_bound"] == pytest.approx(1 - 0.05 ** (1 / 5))


def test_every_search_is_measured(tmp_path: Path) -> None:
    found = search_of(tmp_path)
    assert [(q["torch"], q["index"]) for q in found["quality"]] == [
        ("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("a", "seed-1"), ("a", "seed-2"),
    ]  # fmt: skip
    # Of each judged query the grades at ranks 1 and 3 are 2 and 1.
    ideal = 2 + 1 / math.log2(3)
    assert found["quality"][0]["measures"]["nDCG@5"]["value"] == pytest.approx((2 + 0.5) / ideal, abs=1e-9)
    assert found["quality"][0]["measures"]["Recall@5"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    for each in found["comparisons"]:
        for side in ("left", "right"):
            (whole,) = (q for q in found["quality"] if {k: q[k] for k in ("torch", "index")} == each[side])
            assert [m[side] for m in each["measures"]] == [e["value"] for e in whole["measures"].values()]


def test_an_index_is_told_from_the_torch_that_searches_it(tmp_path: Path) -> None:
    found = search_of(tmp_path, other_index)
    changed = {each["id"]: each["queries"] - each["same_order"] for each in found["comparisons"]}
    assert changed == {"upgrade": 2, "index": 2, "torch": 0, "index-b": 2, "torch-b": 0, "seed-1": 1, "seed-2": 2}
    assert {each["id"]: each["kind"] for each in found["comparisons"]} == {
        "upgrade": "upgrade", "index": "index", "torch": "torch", "index-b": "index", "torch-b": "torch",
        "seed-1": "seed", "seed-2": "seed",
    }  # fmt: skip
    upgrade = comparison(found, "upgrade")
    assert (upgrade["left"], upgrade["right"]) == ({"torch": "a", "index": "a"}, {"torch": "b", "index": "b"})
    assert upgrade["same_set"] == 5
    assert upgrade["different_passages"]["value"] == pytest.approx(2 / 6)
    assert upgrade["overlap"]["value"] == pytest.approx((5 + 4 / 5) / 6)


def test_a_torch_that_searches_otherwise_is_told_from_the_index(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        for name in (A, B):
            ranked = values[SEARCH_B][f"rankings/{name}"]["queries"][2]
            ranked["pids"][:2] = ranked["pids"][1::-1]

    found = search_of(tmp_path, edit=edit)
    changed = {each["id"]: each["queries"] - each["same_order"] for each in found["comparisons"]}
    assert changed == {"upgrade": 1, "index": 0, "torch": 1, "index-b": 0, "torch-b": 1, "seed-1": 1, "seed-2": 2}
    # B's own index was searched otherwise than its plain arm did: the control says so.
    assert [each["identical"] for each in found["controls"]] == [6, 5]


def test_the_measures_of_a_changed_query(tmp_path: Path) -> None:
    found = search_of(tmp_path, other_index)
    ndcg = measured(found, "upgrade")
    # Of q0 only the passage of grade 1 at rank 3 is left; q1 swapped two that are not judged.
    ideal = 2 + 1 / math.log2(3)
    assert (ndcg["better"], ndcg["equal"], ndcg["worse"]) == (0, 4, 1)
    assert ndcg["difference"]["value"] == pytest.approx(-2 / ideal / 5, abs=1e-9)
    assert ndcg["difference"]["low"] < ndcg["difference"]["value"] < 0 < ndcg["difference"]["high"]
    assert (ndcg["interval"], found["least_changed"]) == ("few", 6)
    # One query alone shows nothing: it could as well have gone the other way.
    assert (ndcg["p_permutation"], ndcg["p_sign"], ndcg["detected"]) == (1.0, 1.0, False)
    assert ndcg["detectable"] is None
    assert ndcg["unchanged_bound"] is None
    success = measured(found, "upgrade", "Success@5")
    assert (success["equal"], success["p_sign"]) == (5, None)


def many(values: dict[str, Values], number: int, change: Callable[[int, list[int]], None]) -> None:
    """Give both searching arms `number` queries, of which B's index answers those that `change` changes otherwise."""
    for name, capture in values.items():
        own = {f"m{n}": [100 + n, 1, 2, 3, 4, 5, 6] for n in range(number)}
        for key in [key for key in capture if key.startswith("rankings/")]:
            queries = []
            for place, (qid, pids) in enumerate(own.items()):
                found = list(pids)
                if key == f"rankings/{B}":
                    change(place, found)
                queries.append({"qid": qid, "pids": found, "scores": [9.0 - n for n in range(len(found))]})
            capture[key] = capture[key] | {"queries": queries}
        if name in {SEARCH_A, SEARCH_B}:
            capture["judgements"] = {qid: {str(pids[0]): 1} for qid, pids in own.items()}
            capture["query_texts"] = dict.fromkeys(own, "?")
            capture["passage_texts"] = {str(n): {"id": str(n), "text": ""} for n in range(101 + number)}
            capture["query_embs"] = np.zeros((number, 2, 4), np.float32)


def test_what_twelve_of_forty_queries_show_is_detected(tmp_path: Path) -> None:
    def change(place: int, pids: list[int]) -> None:
        if place < 12:
            pids.append(pids.pop(0))

    found = search_of(tmp_path, edit=lambda values: many(values, 40, change))
    recall = measured(found, "upgrade", "Recall@5")
    assert (recall["better"], recall["worse"], recall["difference"]["value"]) == (0, 12, -0.3)
    assert recall["p_sign"] == pytest.approx(2 / 2**12)
    assert recall["p_permutation"] == pytest.approx(2 / 2**12)
    assert recall["detected"]
    assert recall["difference"]["high"] < 0
    assert recall["detectable"] < 0.3
    assert figure(found, "Recall@5")["verdict"] == "larger"
    assert (found["changed_total"], len(found["changed"])) == (12, 12)


def test_at_most_twenty_changed_queries_are_listed_those_that_matter_first(tmp_path: Path) -> None:
    def change(place: int, pids: list[int]) -> None:
        if place < 28:
            pids[3:5] = [7, 8] if place == 20 else [7, pids[4]]  # no measure sees it
        elif place == 39:
            pids[:2] = pids[1::-1]  # the relevant passage falls by one rank

    found = search_of(tmp_path, edit=lambda values: many(values, 40, change))
    assert (found["changed_total"], len(found["changed"])) == (29, 20)
    assert [each["qid"] for each in found["changed"]][:3] == ["m39", "m20", "m0"]
    first, second = found["changed"][:2]
    assert (first["verdict"], first["first_rank"], first["went"], first["came"]) == ("worse", 1, [], [])
    assert {m["measure"]: (m["left"], m["right"]) for m in first["measures"]}["MRR@5"] == (1.0, 0.5)
    assert (second["verdict"], len(second["went"]), len(second["came"])) == ("equal", 2, 2)


def test_a_passage_that_left_is_found_behind_the_best(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        for name in (SEARCH_A, SEARCH_B):
            query = values[name][f"rankings/{B}"]["queries"][0]
            pids = query["pids"]
            pids[2], pids[6] = pids[6], pids[2]
            query["scores"][6] = math.inf
            del values[name]["judgements"]["q0"][str(pids[0])]

    found = search_of(tmp_path, edit=edit)
    (query,) = found["changed"]
    (went,), (came,) = query["went"], query["came"]
    assert (query["qid"], query["text"], query["first_rank"], query["verdict"]) == ("q0", "What is q0?", 3, "worse")
    assert went["id"] == f"doc-{went['pid']}"
    assert went["text"] == f"Passage {went['pid']}."
    assert (went["left"]["rank"], went["right"]["rank"], went["grade"]) == (3, 7, 1)
    assert went["right"]["score"] is None, "an infinite score has no place in a report"
    assert (came["left"]["rank"], came["right"]["rank"], came["grade"]) == (7, 3, None)
    assert came["left"]["score"] < went["left"]["score"]


def test_a_passage_that_only_one_side_found_has_no_rank_on_the_other(tmp_path: Path) -> None:
    found = search_of(tmp_path, other_index)
    query = found["changed"][0]
    (came,) = query["came"]
    assert (came["pid"], came["left"], came["right"]["rank"]) == (77, None, 1)


def test_the_yardstick_is_the_range_of_the_seeds(tmp_path: Path) -> None:
    found = search_of(tmp_path, other_index)
    assert found["yardstick"]["seeds"] == 2
    names = [each["name"] for each in found["yardstick"]["figures"]]
    assert names == ["different_passages", "rbo", "changed_queries", "Recall@5", "MRR@5", "nDCG@5", "Success@5"]
    # The seeds change one and two queries by their first passage, the upgrade one so and one a little.
    changed = figure(found, "changed_queries")
    assert changed["seeds"] == [pytest.approx(1 / 6), pytest.approx(2 / 6)]
    assert (changed["upgrade"], changed["verdict"]) == (pytest.approx(2 / 6), "within")
    assert figure(found, "rbo")["verdict"] == "within"
    assert figure(found, "Success@5") == {"name": "Success@5", "upgrade": 0.0, "seeds": [0.0, 0.0], "verdict": "within"}
    still = search_of(tmp_path / "still")
    assert figure(still, "rbo")["upgrade"] == 1.0
    assert {f["name"]: f["verdict"] for f in still["yardstick"]["figures"]} == dict.fromkeys(names, "smaller") | {
        "Success@5": "within"
    }


def test_more_than_any_seed_is_larger(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        for query in values[PLAIN_B]["rankings"]["queries"]:
            query["pids"] = [90, 91, 92, 93, 94]

    found = search_of(tmp_path, edit)
    assert {f["verdict"] for f in found["yardstick"]["figures"]} == {"larger"}
    assert comparison(found, "upgrade")["rbo"]["value"] == 0.0


def test_without_seeds_there_is_no_yardstick(tmp_path: Path) -> None:
    found = search_of(tmp_path, search=SearchSpec(k=5, seeds=0))
    assert found["yardstick"] is None
    assert [each["kind"] for each in found["comparisons"]] == ["upgrade", "index", "torch", "index", "torch"]


def test_ten_seeds_stand_in_their_own_order(tmp_path: Path) -> None:
    found = search_of(tmp_path, search=SearchSpec(k=5, seeds=11))
    assert [c["id"] for c in found["comparisons"] if c["kind"] == "seed"] == [f"seed-{n}" for n in range(1, 12)]


def test_without_judgements_only_agreement_is_said(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        for name in (SEARCH_A, SEARCH_B):
            # A grade of 0 says that a passage is not relevant.
            values[name]["judgements"] = {"q0": {"3": 0}}

    found = search_of(tmp_path, other_index, edit)
    assert (found["judged"], found["quality"], found["queries"]) == (0, [], 6)
    assert all(each["measures"] == [] for each in found["comparisons"])
    assert [f["name"] for f in found["yardstick"]["figures"]] == ["different_passages", "rbo", "changed_queries"]
    assert [(q["qid"], q["measures"], q["verdict"]) for q in found["changed"]] == [
        ("q0", [], "equal"),
        ("q1", [], "equal"),
    ]


def test_only_judged_queries_are_measured(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        values[PLAIN_B]["rankings"]["queries"][5]["pids"][0] = 88  # of q5 nothing is known

    found = search_of(tmp_path, edit)
    assert comparison(found, "upgrade")["same_order"] == 5
    assert all((m["equal"], m["better"], m["worse"]) == (5, 0, 0) for m in comparison(found, "upgrade")["measures"])
    assert [(q["qid"], q["measures"]) for q in found["changed"]] == [("q5", [])]


def test_no_query_at_all(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        for name in (SEARCH_A, SEARCH_B):
            for key in values[name]:
                if key.startswith("rankings/"):
                    values[name][key]["queries"] = []
            del values[name]["query_embs"]
            values[name] |= {"judgements": {}, "query_texts": {}, "passage_texts": {}}

    found = search_of(tmp_path, edit=edit)
    assert (found["queries"], found["comparisons"], found["yardstick"], found["changed"]) == (0, [], None, [])
    assert found["query_embeddings"] is None


def test_queries_that_nothing_was_found_for(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        values[SEARCH_B][f"rankings/{B}"]["queries"][0] |= {"pids": [], "scores": []}

    found = search_of(tmp_path, edit=edit)
    assert comparison(found, "upgrade")["different_passages"]["value"] == pytest.approx(5 / 6)
    assert len(found["changed"][0]["went"]) == 5
    assert measured(found, "upgrade", "Success@5")["worse"] == 1


def test_encoded_queries_are_compared_vector_by_vector(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        values[SEARCH_B]["query_embs"][1, 2, 3] += np.float32(0.5)
        values[SEARCH_B]["query_embs"][3, 0, 0] = np.nan

    found = search_of(tmp_path, edit=edit)["query_embeddings"]
    assert (found["identical"], found["total"]) == (22, 24)
    assert found["max_abs"] == pytest.approx(0.5)


def test_a_search_that_does_not_repeat_fails_its_control(tmp_path: Path) -> None:
    def edit(values: dict[str, Values]) -> None:
        values[SEARCH_A][f"rankings/{A}"]["queries"][4]["scores"][1] += 1e-6
        del values[PLAIN_B]["rankings"]

    found = search_of(tmp_path, edit=edit)
    assert found["controls"] == [{"environment": A, "queries": 6, "identical": 5}]


def test_without_a_searching_arm_of_both_sides_there_is_no_search(tmp_path: Path) -> None:
    study, arms, written = made(tmp_path)
    del written[SEARCH_B]
    assert compare_search(arms[0], arms[1], written, k=study.search.k) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v[SEARCH_A].pop(f"rankings/{B}"), rf"{SEARCH_A} has no rankings/{B}"),
        (lambda v: v[SEARCH_B].pop("judgements"), rf"{SEARCH_B} has no judgements"),
        (lambda v: v[SEARCH_A].pop("query_texts"), rf"{SEARCH_A} has no query_texts"),
        (lambda v: v[SEARCH_B][f"rankings/{A}"].update(k=7), rf"rankings/{A} of {SEARCH_B} are the best 7 .* says 5"),
        (lambda v: v[SEARCH_B][f"rankings/{B}"]["queries"].pop(), rf"rankings/{B} of {SEARCH_B} answer other queries"),
        (lambda v: v[SEARCH_A]["rankings/seed-1"]["queries"].reverse(), "rankings/seed-1 .* other queries"),
        (lambda v: v[SEARCH_B]["judgements"]["q0"].update({"3": 1}), "have other relevance judgements"),
        (lambda v: v[SEARCH_A][f"rankings/{A}"]["queries"][0]["scores"].pop(), "query q0 has 10 passages .* 9 scores"),
        (lambda v: v[SEARCH_A][f"rankings/{A}"]["queries"][0].pop("scores"), "make no sense: KeyError"),
        (lambda v: v[SEARCH_A][f"rankings/{A}"].update(queries=[1, 2]), "make no sense: TypeError"),
        (lambda v: v[SEARCH_A][f"rankings/{A}"]["queries"][0]["pids"].__setitem__(1, v[SEARCH_A][f"rankings/{A}"]
                   ["queries"][0]["pids"][0]), r"10 passages \(9 of them different\)"),
        (lambda v: v[SEARCH_A][f"rankings/{A}"]["queries"][1].update(qid="q0"), "have a query twice"),
        (lambda v: v[SEARCH_A]["query_texts"].pop("q2"), "lack query q2"),
        (lambda v: v[SEARCH_B]["query_texts"].update(q2="Whose?"), "queries with other texts"),
        (lambda v: [v[name].update(passage_texts={}) for name in (SEARCH_A, SEARCH_B)], "lack passage .* is ranked"),
        (lambda v: v[SEARCH_A].update(passage_texts={"x": 1}), "passage_texts .* make no sense"),
        (lambda v: v[SEARCH_A].update(query_embs=np.zeros((6, 2, 8), np.float32)), "encoded queries .* float32"),
    ],
)  # fmt: skip
def test_captures_that_do_not_fit_are_refused(tmp_path: Path, spoil: Callable[..., Any], said: str) -> None:
    with pytest.raises(ComparisonError, match=said) as told:
        search_of(tmp_path, edit=spoil)
    assert "To mend it" in str(told.value)


# -- queries that are passages -----------------------------------------------------------------------


def same_ids(values: dict[str, Values]) -> None:
    """q0's best passage is q0 itself, q1's second is q1, and q2's best has an id that is only its position."""
    for name in (SEARCH_A, SEARCH_B):
        queries, texts = values[name][f"rankings/{A}"]["queries"], values[name]["passage_texts"]
        texts[str(queries[0]["pids"][0])]["id"] = "q0"
        texts[str(queries[1]["pids"][1])]["id"] = "q1"
        best = str(queries[2]["pids"][0])
        texts[best]["id"] = queries[2]["qid"] = best
        for other in values[name]:
            if other.startswith("rankings/"):
                values[name][other]["queries"][2]["qid"] = best
        values[name]["query_texts"][best] = "What is q2?"


def test_queries_that_are_passages_are_counted_and_ranked(tmp_path: Path) -> None:
    found = search_of(tmp_path, edit=same_ids)
    assert found["identical_ids"] == {"ignored": False, "queries": 2, "first": 1}
    plain = search_of(tmp_path / "plain")
    assert plain["identical_ids"] == {"ignored": False, "queries": 0, "first": 0}
    assert found["comparisons"][0]["queries"] == plain["comparisons"][0]["queries"] == 6


def test_queries_that_are_passages_are_left_out_on_request(tmp_path: Path) -> None:
    study, arms, written = made(tmp_path, edit=same_ids)
    found = compare_search(arms[0], arms[1], written, k=study.search.k, ignore_identical_ids=True)
    assert_valid(found)
    assert found["identical_ids"] == {"ignored": True, "queries": 2, "first": 1}
    # The controls compare what was searched, before anything is left out.
    assert [each["identical"] for each in found["controls"]] == [5, 5]
    # q0: grade 2 stood first and is gone, grade 1 moves from rank 3 to 2. q1: rank 2 is gone, 3 becomes 2.
    rows = {row["qid"]: row for row in (left_out(written, qid) for qid in ("q0", "q1"))}
    assert rows["q0"]["pids"] == rows["q0"]["all"][1:6]
    assert rows["q1"]["pids"] == [rows["q1"]["all"][0], *rows["q1"]["all"][2:6]]
    assert rows["q0"]["grades"] == {rows["q0"]["all"][2]: 1}


def left_out(written: dict[str, Capture], qid: str) -> Record:
    """A's ranking of one query with the query itself left out, beside the whole one, and its grades."""
    sides = [SearchingArm(name, environment, written[name]) for name, environment in ((SEARCH_A, A), (SEARCH_B, B))]
    whole = read(*sides, k=5)
    rest = whole.without_themselves()
    place = whole.qids.index(qid)
    return {
        "qid": qid,
        "all": list(whole.rankings["a", "a"][place].pids),
        "pids": list(rest.rankings["a", "a"][place].top),
        "grades": rest.judgements[qid],
    }


def test_what_became_of_the_judgements_is_part_of_the_report(tmp_path: Path) -> None:
    assert search_of(tmp_path)["judging"] is None
    study, arms, written = made(tmp_path / "told")
    counts = dict.fromkeys(("unknown_queries", "repeated", "ungraded"), 0)
    counts |= {"read": 4, "unknown_passages": 3, "kept": 1, "relevant": 1, "answered": 1}
    told = written[SEARCH_A]
    described = {"descriptions": {"collection": {"judging": counts}}}
    written[SEARCH_A] = Capture(told.path, told.arm, told.artifacts, {**told.provenance, **described})
    found = compare_search(arms[0], arms[1], written, k=study.search.k)
    assert_valid(found)
    assert found["judging"] == counts


def test_a_text_is_cut_after_a_word() -> None:
    words = "word " * 80
    assert shortened("short  text\n") == "short text"
    assert len(shortened(words)) <= 301
    assert shortened(words).endswith("word…")
    assert len(shortened("x" * 400)) == 300
    assert shortened("y" * 300) == "y" * 300


def test_search_is_part_of_the_report_of_each_pair_and_precision(tmp_path: Path) -> None:
    study = study_of(tmp_path, environments=(A, B, "torch222"))
    written = captures(tmp_path, study)
    report = compare_study(study, written)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(render(report)))
    for pair in report["pairs"]:
        for part in pair["precisions"]:
            assert [c["environment"] for c in part["search"]["controls"]] == [A, pair["b"]]
            assert part["search"]["query_embeddings"]["total"] == 24
            assert [each["id"] for each in part["margins"]] == ["centroid", "bucket", "rank"]


def test_a_report_without_searching_arms_has_no_search(tmp_path: Path) -> None:
    study = study_of(tmp_path, search=SearchSpec(k=0), passages={"float32": 0})
    report = compare_study(study, captures(tmp_path, study))
    assert report["pairs"][0]["precisions"][0]["search"] is None
    study = study_of(tmp_path / "some", passages={"float32": 0})
    written = captures(tmp_path / "some", study)
    del written[SEARCH_B]
    report = compare_study(study, written, allow_missing=True)
    assert report["pairs"][0]["precisions"][0]["search"] is None
    assert report["missing_arms"] == [SEARCH_B]


def test_a_plain_capture_cannot_pass_for_a_searching_one(tmp_path: Path) -> None:
    study: Study = study_of(tmp_path, passages={"float32": 0})
    written = captures(tmp_path, study)
    kept = written[SEARCH_A]
    written[SEARCH_A] = Capture(kept.path, {**kept.arm, "searching": False}, kept.artifacts, kept.provenance)
    with pytest.raises(ComparisonError, match=f"{SEARCH_A} has searching = False"):
        compare_study(study, written)
    assert Arm(A, "float32", "cpu", 0, searching=True).control == ""
