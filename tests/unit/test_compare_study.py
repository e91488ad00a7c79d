from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from captures import (
    MACHINE,
    Plant,
    Settings,
    captures,
    plant_other_embeddings,
    plant_stable_sort,
    study_of,
)

import reportlib.compare
from reportlib.compare import pipeline
from reportlib.compare.study import SCHEMA, compare_study, render, write_report
from reportlib.errors import ComparisonError
from reportlib.store import Capture
from reportlib.study import Arm, CheckpointSpec, CollectionSpec, OwnSettings, SearchSpec, SwapSpec

Report = dict[str, Any]
SWAPS = ("local_sample_embs", "embs", "local_sample_embs+embs", "centroids")
#: No searching arms: each side's torch searched its own index only.
NO_SEARCH = SearchSpec(k=0)


def report_of(folder: Path, plant: Plant | None = None, **kept: Any) -> Report:
    study = study_of(folder, **kept)
    return compare_study(study, captures(folder, study, plant))


@pytest.fixture(scope="module")
def differing(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The AVX2 machine's case: the sort differs in float32, BERT under autocast."""
    return report_of(tmp_path_factory.mktemp("differing"), plant_other_embeddings)


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(tmp_path_factory.mktemp("equal"))


def part(report: Report, precision: str) -> Report:
    return next(p for p in report["pairs"][0]["precisions"] if p["precision"] == precision)


def artifact(report: Report, precision: str, name: str) -> Report:
    return next(r for r in part(report, precision)["artifacts"] if r["artifact"] == name)


def found(report: Report, about: str, kind: str) -> Report:
    return next(f for f in report["findings"] if (f["about"], f["kind"]) == (f"torch210/{about}".strip("/"), kind))


def numbers(report: Report, about: str, kind: str) -> Report:
    return found(report, about, kind)["numbers"]


def kinds(report: Report, about: str) -> set[str]:
    return {f["kind"] for f in report["findings"] if f["about"] == f"torch210/{about}"}


def resolve(document: Any, pointer: str) -> Any:
    assert pointer.startswith("/")
    for key in pointer[1:].split("/"):
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def floats(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from floats(item)
    elif isinstance(value, list):
        for item in value:
            yield from floats(item)
    elif isinstance(value, float):
        yield value


def assert_valid(report: Report) -> None:
    """Valid by the schema, as JSON, with evidence that is there."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(render(report)))
    for finding in report["findings"]:
        for pointer in finding["evidence"]:
            resolve(report, pointer)
        assert finding["sentence"].endswith(".")
        assert "  " not in finding["sentence"]
        assert "None" not in finding["sentence"].replace("None of", "")
    assert len({f["id"] for f in report["findings"]}) == len(report["findings"])


def test_reports_are_valid_and_their_evidence_resolves(differing: Report, equal: Report) -> None:
    assert_valid(differing)
    assert_valid(equal)


def test_the_schema_refuses_what_the_documentation_does_not_name(equal: Report) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for change in (
        {"extra": 1},
        {"schema_version": 2},
        {"findings": [{"id": "x", "question": "how"}]},
    ):
        assert not validator.is_valid({**equal, **change})


def test_every_key_of_the_schema_is_documented() -> None:
    text = (Path(reportlib.compare.__file__).parents[2] / "docs" / "schema.md").read_text()
    documented = set(re.findall(r"[A-Za-z_0-9]+", text))
    schema = json.loads(SCHEMA.read_text())
    keys: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            keys.update(node.get("properties", {}))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    counts = {"identical", "close", "same set", "different", "shape mismatch", "missing"}
    assert not {key for key in keys - counts if key not in documented}


def test_the_same_captures_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        report = report_of(folder, plant_other_embeddings)
        write_report(report, folder / "report.json")
        texts.append((folder / "report.json").read_bytes())
        assert not (folder / "report.json.partial").exists()
    assert texts[0] == texts[1]
    text = texts[0].decode()
    assert str(tmp_path) not in text
    assert "duration" not in text
    assert json.loads(text)["schema_version"] == 1


def test_a_report_never_holds_nan_or_infinity(tmp_path: Path) -> None:
    def poison(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            values["D"] = values["D"].copy()
            values["D"][0, 0] = np.nan
            values["D"][1, 0] = np.inf
            values["rankings"]["queries"][0]["scores"][0] = float("inf")

    report = report_of(tmp_path, poison)
    assert_valid(report)
    assert all(np.isfinite(number) for number in floats(report))
    found = artifact(report, "float32", "D")
    assert (found["no_tolerance_passes"], found["smallest_atol"], found["b"]["nan"]) == (
        True,
        None,
        1,
    )
    with pytest.raises(ComparisonError, match="JSON"):
        render({**report, "schema_version": float("nan")})


def test_nothing_differs_and_the_page_says_so(equal: Report) -> None:
    for precision in ("float32", "autocast"):
        data = part(equal, precision)
        assert data["first_difference"] is None
        assert data["summary"]["final"] | {"total": 0} == dict.fromkeys(data["summary"]["final"], 0) | {"identical": 8}
    files = numbers(equal, "float32", "files")
    assert (files["total"], files["identical"]) == (8, 8)
    assert numbers(equal, "float32", "first")["name"] is None
    assert (numbers(equal, "float32", "bert")["total"], numbers(equal, "float32", "bert")["unlike"]) == (12, 0)
    order = numbers(equal, "float32", "sort")
    assert (order["comparable"], order["positions"], order["reorders_from"]) == (True, 0, 32_768)
    lists = found(equal, "autocast", "lists")
    assert (lists["numbers"]["k"], lists["numbers"]["queries"], lists["numbers"]["moved"]) == (5, 6, 0)
    assert lists["sure"] == found(equal, "float32", "quality")["sure"] == "not detected"
    assert "swaps" not in kinds(equal, "float32") | kinds(equal, "autocast")


def test_float32_differs_only_in_the_order_of_the_sort(differing: Report) -> None:
    assert numbers(differing, "float32", "files")["identical"] == 8
    indices = artifact(differing, "float32", "sort_indices")
    assert (indices["verdict"], indices["same_set"]) == ("same set", "per group")
    assert indices["groups"] == indices["groups_equal"]
    assert part(differing, "float32")["first_difference"]["name"] == "sort_indices"
    assert part(differing, "float32")["order"]["stable"] == "b"
    order = numbers(differing, "float32", "sort")
    assert order["positions"] > 0
    assert (order["reaches"], order["stable"]) == (False, "b")


def test_autocast_differs_from_bert_on(differing: Report) -> None:
    data = part(differing, "autocast")
    assert data["first_difference"] == {
        "name": "layers",
        "artifact": "layers",
        "stage": "layers",
        "index": None,
    }
    bert = numbers(differing, "autocast", "bert")
    assert (bert["same_inputs"], bert["weights"], bert["first"]) == (True, 2, "0")
    assert bert["unlike"] == bert["inputs"] == 3
    assert [each["first_difference"] for each in data["layers"]] == ["0", "0", "0"]
    first = data["layers"][0]["layers"]
    assert [line["layer"] for line in first] == ["embeddings", "0", "1", "2"]
    assert (first[0]["verdict"], first[1]["dtype_a"], first[1]["max_ulp"]) == (
        "identical",
        "bfloat16",
        1,
    )
    assert numbers(differing, "autocast", "sort")["comparable"] is False
    assert artifact(differing, "autocast", "index/codes")["chunks"]


def test_swaps_say_what_is_enough_and_what_is_not(differing: Report) -> None:
    data = part(differing, "autocast")
    swaps = {"+".join(s["points"]): s for s in data["swaps"] if s["direction"] == "a into b"}
    assert list(swaps) == list(SWAPS)
    assert [s["direction"] for s in data["swaps"]] == ["a into b"] * len(SWAPS) + ["b into a"] * len(SWAPS)
    both = swaps["local_sample_embs+embs"]
    assert (both["all_final_identical"], both["final_total"], both["posts"]) == (True, 8, ["H3"])
    assert both["not_identical"] == ["sort_indices"]
    replaced = [line["artifact"] for line in both["artifacts"] if line["replaced"]]
    assert replaced == ["local_sample_embs", "embs"]
    assert both["artifacts"][0]["plain_verdict"] == "different"
    assert not swaps["local_sample_embs"]["all_final_identical"]
    told = numbers(differing, "autocast", "swaps")
    assert told["sufficient"][0] == ["local_sample_embs", "embs"]
    assert told["alone_left"] > 0
    # In float32 the plain index is identical: a swap has nothing to explain.
    assert "swaps" not in kinds(differing, "float32")


def test_no_cause_is_named_where_no_swap_shows_one(tmp_path: Path) -> None:
    report = report_of(tmp_path, plant_other_embeddings, swaps=study_swaps(()))
    assert part(report, "autocast")["swaps"] == []
    assert "swaps" not in kinds(report, "autocast")


def study_swaps(points: tuple[tuple[str, ...], ...]) -> Any:
    from reportlib.study import SwapSpec

    return SwapSpec(points)


def test_the_case_of_a_machine_where_float32_bert_differs(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            for name in values:
                if name.startswith("layers/") and not name.endswith("embeddings") and arm.precision == "float32":
                    values[name] = np.nextafter(values[name], np.float32(9))
            values["index/centroids"] = values["index/centroids"] * np.float32(1 + 1e-6)

    report = report_of(tmp_path, plant)
    assert_valid(report)
    files = numbers(report, "float32", "files")
    assert (files["identical"], files["close"]) == (7, ["index/centroids"])
    assert numbers(report, "float32", "bert")["first"] == "0"
    assert part(report, "float32")["layers"][0]["layers"][1]["max_ulp"] == 1


def test_another_shape_of_the_ivf(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            # More than the padding after the last list: that alone leaves the same set.
            values["index/ivf"] = values["index/ivf"][: values["index/ivf_lengths"].sum() - 1]

    report = report_of(tmp_path, plant)
    assert_valid(report)
    assert artifact(report, "float32", "index/ivf")["verdict"] == "shape mismatch"
    assert numbers(report, "float32", "files")["shape"] == ["index/ivf"]


def test_an_artifact_that_one_side_lacks_is_missing(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            for name in (
                "index/codes/0",
                "index/codes/1",
                "doclens",
                "weights",
                "rankings",
                "layer_inputs",
            ):
                del values[name]

    report = report_of(tmp_path, plant, search=NO_SEARCH)
    assert_valid(report)
    codes = artifact(report, "float32", "index/codes")
    assert (codes["verdict"], codes["b"], len(codes["a"]["sha256"])) == ("missing", None, 2)
    data = part(report, "float32")
    assert data["weights"] is data["order"] is data["rankings"] is None
    assert data["layers"] == []
    assert numbers(report, "float32", "files")["shape"] == ["index/codes"]
    assert numbers(report, "float32", "lists")["queries"] == 0
    assert "quality" not in kinds(report, "float32")


def test_artifacts_come_in_pipeline_order_with_what_they_are(differing: Report) -> None:
    records = part(differing, "float32")["artifacts"]
    names = [r["artifact"] for r in records]
    assert names[:3] == ["token_ids", "attention_mask", "tokenized_hashes"]
    assert names.index("local_sample_embs") < names.index("centroids") < names.index("index/codes")
    assert names[-1] == "rankings"
    embs = artifact(differing, "autocast", "embs")
    assert [c["name"] for c in embs["chunks"]] == ["embs/0", "embs/1"]
    assert sum(c["different"] for c in embs["chunks"]) == embs["different"]
    assert all(r["description"] and r["text"] for r in records)


def test_the_post_stands_beside_ours_only_for_its_own_versions(differing: Report, tmp_path: Path) -> None:
    with_post = [r for r in part(differing, "autocast")["artifacts"] if r["post"]]
    assert {r["artifact"] for r in with_post} == set(pipeline.POSTS["2.0.1", "2.1.0"].rows)
    residuals = artifact(differing, "autocast", "index/residuals")["post"]
    assert (residuals["equal"], residuals["agrees"], residuals["dtype_agrees"]) == (
        "False",
        True,
        True,
    )
    pids = artifact(differing, "autocast", "sample_pids")["post"]
    assert (pids["agrees"], pids["dtype_agrees"]) == (True, True)
    centroids = artifact(differing, "float32", "index/centroids")["post"]
    assert (centroids["agrees"], centroids["dtype_agrees"]) == (False, False)
    assert numbers(differing, "autocast", "post")["total"] == 16
    others = ("torch210", "torch201")
    report = report_of(tmp_path, environments=others)
    assert not any(r["post"] for r in part(report, "autocast")["artifacts"])


def test_the_posts_tables_are_the_posts() -> None:
    first, second, third = (post.rows for post in pipeline.POSTS.values())
    # F1: none of the intermediate floats passes; of the final ones two pass with bnb.
    assert [name for name, row in first.items() if row.bnb] == ["index/avg_residual", "index/bucket_weights"]
    assert not any(row.default for row in first.values())
    assert [n for n, r in first.items() if r.equal == "True"] == ["sample_pids", "num_passages", "doclens"]
    assert first["index/ivf"].equal == "shape mismatch"
    # F2: as F1, except that batches and D pass. F3: residuals differ, and centroids without a tolerance.
    assert [name for name in first if second[name] != first[name]] == ["batches", "D"]
    assert [name for name, row in third.items() if row.equal == "False" or row.default is False] == [
        "index/residuals", "index/centroids",
    ]  # fmt: skip
    assert third["index/centroids"].bnb is True


def test_rankings_are_compared_query_by_query(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            queries = values["rankings"]["queries"]
            queries[0]["pids"][:2] = queries[0]["pids"][1::-1]  # another order
            queries[1]["pids"][4] = 999  # another passage
            queries[2]["scores"][0] += 0.5
            queries.pop()

    report = report_of(tmp_path, plant, search=NO_SEARCH)
    assert_valid(report)
    found = part(report, "float32")["rankings"]
    assert (found["k"], found["queries"], found["queries_missing"]) == (5, 5, 1)
    assert (found["same_order"], found["same_set"]) == (3, 4)
    assert found["symmetric_difference"] == 2 / 5
    assert found["max_score_difference"] >= 0.5
    assert [c["qid"] for c in found["changed"]] == ["q1", "q0"]
    assert (found["changed"][0]["only_b"], found["changed"][0]["first_rank"]) == ([999], 5)
    lists = numbers(report, "float32", "lists")
    assert (lists["queries"], lists["moved"], lists["missing"]) == (5, 2, 1)


def test_without_searching_arms_the_rankings_of_the_captures_speak(tmp_path: Path) -> None:
    report = report_of(tmp_path, search=NO_SEARCH)
    lists = numbers(report, "autocast", "lists")
    assert (lists["queries"], lists["moved"], lists["seeds"]) == (6, 0, [])
    assert "quality" not in kinds(report, "autocast")


def test_the_sort_probes_reach_the_findings(differing: Report) -> None:
    probes = numbers(differing, "", "probes")
    assert probes["different"] == [{"smallest": 32_768, "again": False, "dtypes": ["int64"]}]
    assert (probes["same"], probes["smallest"], probes["largest"]) == (["float32"], 100, 65_536)
    assert (probes["example"], probes["example_same"]) == (1_146_937, False)


def test_environments_and_what_differs_between_them(differing: Report) -> None:
    found = {(d["kind"], d["name"]): (d["a"], d["b"]) for d in differing["pairs"][0]["environment_differences"]}
    assert found[("package", "torch")] == ("2.0.1+cu117", "2.1.0+cu121")
    assert found[("library", "libgomp")] == ("2.0 ab", "2.1 ab")
    assert ("package", "numpy") not in found
    assert ("package build", "torch") not in found  # its version says it
    assert differing["platform"]["sentence"] == "Example CPU @ 2.50GHz (AVX2 kernels), 1 thread, no GPU used."
    assert differing["platform"]["one_machine"]
    assert differing["environments"][0]["packages"]["numpy"] == "1.26.4"


def test_a_rebuilt_package_and_another_machine_are_told(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    other = Settings(machine={**MACHINE, "cpu": "Another CPU"})
    made = captures(tmp_path, study, settings={"torch210": other})
    provenance = dict(made["torch210-float32"].provenance)
    provenance["packages"]["numpy"]["record_sha256"] = "99"
    provenance["torch"]["cpu_capability"] = "AVX512"
    report = compare_study(study, made)
    assert_valid(report)
    found = {(d["kind"], d["name"]) for d in report["pairs"][0]["environment_differences"]}
    assert {
        ("package build", "numpy"),
        ("machine", "cpu"),
        ("capability", "cpu_capability"),
    } <= found
    assert not report["platform"]["one_machine"]
    assert numbers(report, "", "kernels") == {"a": "AVX2", "b": "AVX512", "settled": []}


def test_captures_without_provenance_still_make_a_report(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study)
    bare = {n: Capture(c.path, {}, c.artifacts, {}) for n, c in made.items()}
    report = compare_study(study, bare)
    assert_valid(report)
    assert report["study"]["collection"]["sha256"] is None
    assert numbers(report, "float32", "files")["total"] == 8


def test_paths_of_this_machine_stay_out_of_the_report(tmp_path: Path) -> None:
    report = report_of(
        tmp_path,
        collection=CollectionSpec("beir", path="/secret/place/corpus"),
        checkpoint=CheckpointSpec("/secret/place/model"),
    )
    assert "/secret" not in render(report)
    assert report["study"]["collection"]["sentence"] == "The BEIR folder corpus."
    assert report["study"]["checkpoint"]["source"] == "model"
    assert "projection" not in report["study"]["checkpoint"]


@pytest.mark.parametrize(
    ("spec", "projection"),
    [
        (CheckpointSpec(), "trained"),
        (CheckpointSpec(projection="untrained"), "untrained"),
        (CheckpointSpec(dim=64), "untrained"),
    ],
)
def test_a_report_says_whether_the_projection_is_trained(tmp_path: Path, spec: CheckpointSpec, projection: str) -> None:
    report = report_of(tmp_path, checkpoint=spec)
    assert_valid(report)
    assert report["study"]["checkpoint"]["projection"] == projection


def test_three_environments_make_two_pairs(tmp_path: Path) -> None:
    report = report_of(tmp_path, environments=("torch201", "torch210", "torch211"))
    assert_valid(report)
    assert [(p["a"], p["b"]) for p in report["pairs"]] == [
        ("torch201", "torch210"),
        ("torch201", "torch211"),
    ]
    assert any(f["id"] == "torch211/float32/files" for f in report["findings"])


@pytest.mark.parametrize("what", ["collection", "checkpoint"])
def test_other_inputs_are_refused(tmp_path: Path, what: str) -> None:
    study = study_of(tmp_path)
    other = Settings(**{what: "0ther"})
    with pytest.raises(
        ComparisonError, match=rf"torch201-float32 and torch210-float32 are of different {what}s"
    ) as told:
        compare_study(study, captures(tmp_path, study, settings={"torch210": other}))
    assert f"run both arms with the same {what}" in str(told.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "cuda"), ("nbits", 2), ("doc_maxlen", 300), ("passages", 7),
     ("precision", "autocast"), ("environment", "torch999"), ("threads", 16), ("swap", "embs"),
     ("control", "observer"), ("donor", "torch999")],
)  # fmt: skip
def test_other_settings_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study)
    kept = made["torch210-float32"]
    made["torch210-float32"] = Capture(kept.path, {**kept.arm, key: value}, kept.artifacts, kept.provenance)
    with pytest.raises(ComparisonError, match="capture of torch210-float32") as told:
        compare_study(study, made)
    assert "To mend it" in str(told.value)
    assert str(value) in str(told.value)


def test_what_is_cut_into_batches_is_not_compared_where_their_sizes_differ(tmp_path: Path) -> None:
    study = study_of(tmp_path, swaps=SwapSpec(()), settings={"torch210": OwnSettings(index_bsize=8)})
    made = captures(tmp_path / "captures", study)
    for arm in study.arms():
        size = study.colbert_in(arm.environment).index_bsize
        made[arm.name] = replace(made[arm.name], arm={**made[arm.name].arm, "index_bsize": size})
    report = compare_study(study, made)
    for entry in report["pairs"][0]["precisions"]:
        assert not {"token_ids", "batches", "batch_hashes"} & {r["artifact"] for r in entry["artifacts"]}
        assert {r["artifact"] for r in entry["artifacts"]} >= {"D", "embs", "index/codes"}
        assert [given["passages"] for given in entry["layers"]] == [None, None]
    unlike = replace(study, settings={})
    with pytest.raises(ComparisonError, match="index_bsize = 8; the study says 32"):
        compare_study(unlike, made)


def test_missing_arms_are_refused_unless_asked_for(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study, plant_stable_sort)
    gone = ("torch210-autocast", "torch210-float32-swap-embs-from-torch201")
    kept = {name: capture for name, capture in made.items() if name not in gone}
    with pytest.raises(
        ComparisonError, match="no capture of torch210-autocast, torch210-float32-swap-embs-from-torch201"
    ):
        compare_study(study, kept)
    report = compare_study(study, kept, allow_missing=True)
    assert_valid(report)
    assert report["missing_arms"] == list(gone)
    assert [p["precision"] for p in report["pairs"][0]["precisions"]] == ["float32"]
    pending = ["swaps", "operations"]
    assert report["pending"] == pending
    assert report["findings"][0]["numbers"] == {"arms": list(gone), "pending": pending}
    with pytest.raises(ComparisonError, match="no capture"):
        compare_study(study, {}, allow_missing=True)


def test_a_whole_environment_missing(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study)
    kept = {n: c for n, c in made.items() if n.startswith("torch201")}
    report = compare_study(study, kept, allow_missing=True)
    assert_valid(report)
    assert found(report, "", "nothing")["question"] == "what"


def test_damage_is_found_when_asked_for(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study)
    file = made["torch210-float32"].path / "artifacts" / "D.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    compare_study(study, made)
    with pytest.raises(ComparisonError, match="'D' in the capture of torch210-float32 is damaged"):
        compare_study(study, made, verify=True)


def test_other_inputs_through_bert_are_refused(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            values["layer_inputs"][0]["text"] = "b"

    with pytest.raises(ComparisonError, match="different inputs through BERT"):
        report_of(tmp_path, plant)


def test_another_tokenizer_is_a_finding_and_no_refusal(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            values["token_ids"] = values["token_ids"] + 1
            values["layer_inputs"][0]["tokens"] = [1, 2]
            for layer in ("embeddings", "00", "01", "02"):
                values[f"layers/a/{layer}"] = np.zeros((1, 2, 6), np.float32)

    report = report_of(tmp_path, plant)
    assert_valid(report)
    data = part(report, "float32")
    assert data["first_difference"]["name"] == "token_ids"
    assert {line["verdict"] for line in data["layers"][0]["layers"]} == {"shape mismatch"}
    bert = numbers(report, "float32", "bert")
    assert (bert["entering"], bert["first"], bert["unlike"]) == (["token_ids"], "embeddings", 1)


def test_changed_weights_are_named_before_bert_is_blamed(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            values["weights"] = {"embeddings.weight": "aa", "layer.0": "cc", "more": "dd"}
            values["layers/a/02"] = values["layers/a/01"]

    report = report_of(tmp_path, plant)
    assert_valid(report)
    weights = part(report, "float32")["weights"]
    assert (weights["different"], weights["names"], weights["missing"]) == (
        1,
        ["layer.0"],
        ["more"],
    )
    bert = numbers(report, "float32", "bert")
    assert (bert["entering"], bert["first"], bert["unlike"]) == (["weights"], "2", 1)


def test_values_say_where_they_differ(tmp_path: Path) -> None:
    def plant(arm: Arm, values: dict[str, Any]) -> None:
        if arm.environment == "torch210":
            values["batch_hashes"][1] = "0" * 64
            values["sample_pids"] = values["sample_pids"][::-1]
            values["num_passages"] = 41

    report = report_of(tmp_path, plant)
    assert_valid(report)
    hashes = artifact(report, "float32", "batch_hashes")
    assert hashes["value_difference"]["path"] == "/1"
    assert (hashes["value_difference"]["different"], hashes["value_difference"]["total"]) == (1, 3)
    assert artifact(report, "float32", "sample_pids")["verdict"] == "same set"
    number = artifact(report, "float32", "num_passages")
    assert number["verdict"] == "different"
    assert "40 in A, 41 in B" in number["text"]


def test_compare_imports_no_torch_and_nothing_that_unpickles() -> None:
    folder = Path(reportlib.compare.__file__).parent
    modules = [
        "reportlib.compare." + ".".join(p.relative_to(folder).with_suffix("").parts)
        for p in sorted(folder.rglob("*.py"))
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "reportlib" in loaded
    assert not loaded & {"torch", "colbert", "faiss", "transformers"}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                module = node.module if isinstance(node, ast.ImportFrom) and node.module else ""
                assert not {"pickle", "torch", "colbert"} & {n.partition(".")[0] for n in [*names, module]}


def test_a_file_that_vanished_is_a_clear_error(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    made = captures(tmp_path, study, plant_stable_sort)
    shutil.rmtree(made["torch210-float32"].path / "artifacts")
    with pytest.raises(Exception, match="run its arm again"):
        compare_study(study, made)
