"""The headline and what stands below it: chosen by data, on made reports of every case."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import render_reports
import render_search

from reportlib.artifacts import CAPTURE_POINTS
from reportlib.findings import Outcome, headline, outcomes, steps

FINAL = {p.artifact: "different" for p in CAPTURE_POINTS if p.final}
SAME = {"sort_indices": "same set"}


def report(*precisions: tuple[str, dict[str, str], dict[str, Any] | None]) -> dict[str, Any]:
    """Return a report of precisions, each with its artifacts' verdicts and its searches."""
    made = render_reports._report([render_reports.precision(name, 64, verdicts) for name, verdicts, _ in precisions])
    for data, (_, _, searches) in zip(made["pairs"][0]["precisions"], precisions, strict=True):
        data["operations"] = None
        data["search"] = searches
        if searches is None:
            data["rankings"] = None
    return render_reports.found(made)


def seeds(*moved: int, queries: int = 100, upgrade: int, kept: int = 0, **other: Any) -> dict[str, Any]:
    """Return searches in which the upgrade and each seed move so many lists."""
    made = render_search.search(queries=queries, seeds=len(moved), changed=upgrade, **other)
    ids = [c["id"] for c in made["comparisons"]]
    for number, each in enumerate(moved, start=1):
        place = ids.index(f"seed-{number}")
        measures = made["comparisons"][place]["measures"]
        made["comparisons"][place] = render_search.comparison(f"seed-{number}", queries, each, measures)
    made["comparisons"][ids.index("torch")] = render_search.comparison("torch", queries, kept, [])
    made["yardstick"] = render_search.yardstick(made["comparisons"], len(moved))
    return made


def worse(value: float) -> dict[str, Any]:
    made = seeds(90, 92, 95, upgrade=60)
    for measure in made["comparisons"][0]["measures"]:
        measure |= {"p_permutation": 0.001, "difference": {"value": value, "low": value - 0.01, "high": value + 0.01}}
    return made


CASES = {
    "identical": (SAME, seeds(90, 92, 95, upgrade=0), "same", "nothing"),
    "files only": (FINAL, seeds(90, 92, 95, upgrade=0), "same", "keep"),
    "hardly": (FINAL, seeds(90, 92, 95, upgrade=4), "hardly", "keep"),
    "less than a seed": (FINAL, seeds(90, 92, 95, upgrade=60), "less", "keep"),
    "as much as a seed": (FINAL, seeds(90, 92, 95, upgrade=93), "as much", "keep"),
    "more than a seed": (FINAL, seeds(30, 32, 35, upgrade=60), "more", "keep"),
    "the old index moves too": (FINAL, seeds(90, 92, 95, upgrade=60, kept=7), "less", "kept moves"),
    "no seeds": (FINAL, seeds(upgrade=60), "moved", "keep"),
    "better": (FINAL, worse(0.05), "better", "keep"),
    "worse": (FINAL, worse(-0.05), "worse", "worse"),
    "no search": (FINAL, None, "unknown", "search"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_search_does_and_what_to_do(case: str) -> None:
    verdicts, searches, expected, advice = CASES[case]
    (outcome,) = outcomes(report(("float32", verdicts, searches)))
    assert (outcome.search, outcome.advice) == (expected, advice)
    assert outcome.index == ("same" if verdicts is SAME else "differs")


def test_every_case_has_a_headline_of_its_own_but_those_that_differ_in_degree() -> None:
    said = {case: headline(outcomes(report(("float32", v, s)))) for case, (v, s, _, _) in CASES.items()}
    alike = {"less than a seed", "as much as a seed", "the old index moves too", "no seeds"}
    assert len({said[case] for case in alike}) == 1
    assert len(set(said.values())) == len(said) - len(alike) + 1
    assert all(1 <= text.count(".") <= 2 and text.endswith(".") for text in said.values())


def test_precisions_that_agree_are_said_once_and_others_named() -> None:
    still, moved = seeds(90, 92, 95, upgrade=0), seeds(90, 92, 95, upgrade=60)
    one = headline(outcomes(report(("float32", FINAL, moved), ("autocast", FINAL, copy.deepcopy(moved)))))
    assert "float32" not in one
    assert "autocast" not in one
    two = headline(outcomes(report(("float32", FINAL, still), ("autocast", FINAL, moved))))
    assert two.index("float32") < two.index("autocast")
    files = headline(outcomes(report(("float32", SAME, still), ("autocast", FINAL, moved))))
    assert "autocast" in files.partition(".")[0]


def test_a_control_that_failed_takes_its_precision_out() -> None:
    made = report(("float32", FINAL, seeds(90, 92, 95, upgrade=4)), ("autocast", FINAL, seeds(90, upgrade=60)))
    under = made["pairs"][0]["precisions"][1]
    under |= {"conclusive": False}
    found = outcomes(render_reports.found(made))
    assert [o.search for o in found] == ["failed", "hardly"]
    assert [o.advice for o in found] == ["repeat", "keep"]
    assert "autocast: a control failed" in headline(found)
    made["pairs"][0]["precisions"][0] |= {"conclusive": False}
    assert headline(outcomes(made)).startswith("No verdict")


def test_a_search_that_does_not_repeat_itself_tells_nothing() -> None:
    made = report(("float32", FINAL, seeds(90, 92, 95, upgrade=4)))
    made["pairs"][0]["precisions"][0]["search"]["controls"][0]["identical"] -= 1
    assert outcomes(made)[0].search == "failed"


def test_nothing_captured_is_no_verdict() -> None:
    made = report(("float32", FINAL, None))
    made["pairs"][0]["precisions"] = []
    assert headline(outcomes(made)).startswith("No verdict")


def test_of_three_environments_each_pair_is_named() -> None:
    made = report(("float32", FINAL, seeds(90, 92, 95, upgrade=0)))
    third = render_reports.environment("torch222", "2.2.2")
    made["environments"].append(third)
    pair = copy.deepcopy(made["pairs"][0]) | {"b": "torch222"}
    pair["precisions"][0]["search"] = seeds(90, 92, 95, upgrade=60)
    made["pairs"].append(pair)
    found = outcomes(render_reports.found(made))
    assert [o.part.slug for o in found] == ["torch210-float32", "torch222-float32"]
    text = headline(found)
    assert "PyTorch 2.1.0" in text
    assert "PyTorch 2.2.2" in text


def test_how_much_of_each_step_differs_runs_from_the_operation_to_quality() -> None:
    (under, plain) = outcomes(render_reports.searched())
    rows = steps(under)
    assert [row["step"] for row in rows] == [
        "operation", "embeddings", "centroids", "codes", "residuals", "top-10 lists", "nDCG@10",
    ]  # fmt: skip
    assert rows[-2]["fraction"] == 24 / 121
    assert all(0 <= row["fraction"] <= 1 for row in rows)
    assert steps(plain)[-1]["fraction"] == 0


def test_settings_are_offered_only_where_they_undo_everything() -> None:
    found: list[Outcome] = outcomes(render_reports.searched())
    assert [list(o.settings) for o in found] == [[], ["ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2"]]
