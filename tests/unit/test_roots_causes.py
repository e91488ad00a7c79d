"""From traces and a replay to causes: what is counted, pooled and put in which order."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_roots import CASE, make_home, write_case

from reportlib.compare.roots import compare_traces
from reportlib.compare.roots.causes import (
    NO_MECHANISM,
    STATUSES,
    CauseFacts,
    Change,
    cause_json,
    changes,
    find_causes,
    find_upstream,
    forward,
    pass_json,
    pooled_difference,
    pooled_truth,
)
from reportlib.compare.roots.mechanisms.cases import read_case
from reportlib.trace.format import Difference, Error, Group, NotReplayed, Replay, Trace, Truth


@pytest.fixture
def traces(tmp_path):
    ready = make_home(tmp_path).parent / "ready"
    return [Trace.open(ready / "traces" / name) for name in ("ta", "tb")]


@pytest.fixture
def replay(traces) -> Replay:
    return Replay.open(traces[0].path.parents[1] / "replay")


@pytest.fixture
def comparison(traces):
    return compare_traces(*traces)


def with_operations(replay: Replay, *operations, slug: str = "planted", kind: str = "forward") -> Replay:
    entry = dataclasses.replace(replay.passes["planted"], slug=slug, kind=kind, operations=tuple(operations))
    return dataclasses.replace(replay, passes={**replay.passes, slug: entry})


def test_a_cause_is_what_the_replay_found_and_the_traces_saw(comparison, replay):
    (cause,) = find_causes(comparison, replay)
    assert (cause.id, cause.instances, cause.replayed, cause.dtypes) == (CASE, 1, 3, ("float32",))
    assert [slug for slug, _ in cause.differing] == ["planted"]
    assert [root.module_b for _, root in cause.roots] == ["encoder.layer.1"]


def test_an_operation_that_differs_only_on_the_others_inputs_is_a_cause_too(comparison, replay):
    """It reads what another difference changed, so hashes alone cannot see it."""
    operation = dataclasses.replace(
        replay.passes["planted"].operations[0], id="gelu-float32", position=9, name="aten::gelu"
    )
    found = with_operations(replay, *replay.passes["planted"].operations, operation)
    group = Group("gelu-float32", "aten::gelu", "", ("float32",), 2, 1)
    causes = find_causes(comparison, dataclasses.replace(found, groups={"gelu-float32": group, **found.groups}))
    assert [cause.id for cause in causes] == [CASE, "gelu-float32"]
    content = cause_json(causes[1], write_case(replay.path / "other", "gelu-float32"), CauseFacts(NO_MECHANISM))
    assert (content["root_in"], content["differs_in"], content["tainted"]) == ([], ["planted"], 0)
    assert not content["reaches_output"]


def test_what_was_not_run_again_is_a_cause_when_its_hashes_differ(comparison, replay):
    nothing = dataclasses.replace(replay, groups={})
    (cause,) = find_causes(comparison, nothing)
    assert (cause.id, cause.instances, cause.replayed, cause.differing) == (CASE, 1, 0, ())
    content = cause_json(cause, None, CauseFacts(NO_MECHANISM, why_no_reproduction="it was not run again"))
    assert content["why_no_truth"] == "the operation was not run again"
    assert (content["difference"], content["truth"], content["reproduction"]) == (None, None, None)
    assert content["first"] == {"pass": "planted", "position": cause.roots[0][1].position_a,
                                "module": "encoder.layer.1", "source": cause.roots[0][1].source}  # fmt: skip
    assert content["inputs"][0]["dtype"] == "float32"


def test_an_index_cause_is_none_of_the_forward_passes(comparison, replay):
    found = with_operations(replay, *replay.passes["planted"].operations, kind="index")
    causes = find_causes(comparison, found)
    assert forward(causes, found) == []
    assert forward(find_causes(comparison, replay), replay) != []


def test_instances_are_pooled_by_their_elements():
    one, two = Difference(10, 2, 1.0, 3.0, 5), Difference(30, 1, 4.0, 1.0, 2)
    found = pooled_difference([one, two])
    assert found == {
        "elements": 40,
        "different": 3,
        "max_abs": 4.0,
        "rms": pytest.approx(math.sqrt((9 * 10 + 1 * 30) / 40)),
        "max_ulp": 5,
    }
    integers = Difference(10, 2, None, None, None)
    assert pooled_difference([integers])["rms"] is None
    assert pooled_difference([]) is None


@pytest.mark.parametrize(
    ("a", "b", "closer", "ratio"),
    [
        (1e-3, 2e-3, "a", 2.0),
        (2e-3, 1e-3, "b", 0.5),
        (1e-3, 1.0000001e-3, "equal", 1.0),
        (0.0, 0.0, "equal", None),
        (0.0, 1e-9, "a", None),
    ],
)
def test_the_closer_side_is_named_only_where_there_is_one(replay, a, b, closer, ratio):
    operation = dataclasses.replace(
        replay.passes["planted"].operations[0], truth=Truth(Error(2 * a, a), Error(3 * b, b))
    )
    found = pooled_truth([operation])
    assert found["closer"] == closer
    assert found["ratio_rms"] == (None if ratio is None else pytest.approx(ratio))
    assert (found["a"]["max_abs"], found["b"]["max_abs"]) == (2 * a, 3 * b)


def test_no_truth_says_why(comparison, replay):
    operation = dataclasses.replace(
        replay.passes["planted"].operations[0], truth=None, why_no_truth="it reads no numbers"
    )
    (cause,) = find_causes(comparison, with_operations(replay, operation))
    content = cause_json(cause, write_case(replay.path / "other"), CauseFacts(NO_MECHANISM))
    assert (content["truth"], content["why_no_truth"]) == (None, "it reads no numbers")


def test_a_pass_holds_hashes_replay_and_cost(comparison, traces, replay):
    left = NotReplayed("faiss::kmeans", "an operation that is not torch's", 1)
    entry = dataclasses.replace(replay.passes["planted"], not_replayed=(left,))
    found = dataclasses.replace(replay, passes={"planted": entry})
    content = pass_json(comparison.passes[0], *traces, found)
    assert (content["slug"], content["kind"], content["verdict"]) == ("planted", "forward", "root")
    assert content["replay"]["not_replayed"] == [dataclasses.asdict(left)]
    assert content["replay"]["operations"][0]["local"]["different"] == 1
    assert "truth" not in content["replay"]["operations"][0]
    assert content["cost"]["a"]["seconds_plain"] == traces[0].passes["planted"].seconds_untraced
    assert content["cost"]["replay"] == {"seconds": entry.seconds, "peak_bytes": entry.peak_bytes}
    assert pass_json(comparison.passes[0], *traces, None)["replay"] is None


def test_nothing_differs_so_there_is_no_cause(tmp_path):
    ready = make_home(tmp_path / "same", same=True).parent / "ready"
    a, b = (Trace.open(ready / "traces" / name) for name in ("ta", "tb"))
    assert find_causes(compare_traces(a, b), Replay.open(ready / "replay")) == []


# The table of changes upstream: each entry well formed, and found only where it applies.


CASES = Path(__file__).parent / "data" / "cases"


@pytest.mark.parametrize("change", changes(), ids=lambda change: f"{change.changed_in}-{change.operations[0]}")
def test_every_entry_has_a_source_and_says_something(change: Change) -> None:
    assert change.status in STATUSES
    assert change.operations
    assert change.dtypes
    assert set(change.devices) <= {"cpu", "cuda"}
    assert change.title.strip()
    assert change.text.endswith(".")
    address = urlsplit(change.url)
    assert address.scheme == "https"
    assert address.hostname == "github.com"
    kind, reference = address.path.split("/")[3:]
    assert (kind == "pull" and reference.isdigit()) or (kind == "commit" and len(reference) == 40)


def test_the_sort() -> None:
    found = find_upstream("aten::sort", ["int64"], "cpu", "2.0.1", "2.1.0")
    assert found is not None
    assert set(found) == {"url", "title", "text", "status"}
    assert found["url"].endswith("/pytorch/pytorch/pull/100081")
    assert found["status"] == "named"


@pytest.mark.parametrize(
    ("name", "dtypes", "device", "a", "b"),
    [
        ("aten::sort", ["float32"], "cpu", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cuda", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cpu", "2.1.0", "2.2.2"),
        ("aten::sort", ["int64"], "cpu", "1.13.1", "2.0.1"),
        ("aten::sort", ["int64"], "cpu", "2.1.0", "2.1.0"),
        ("aten::resort", ["int64"], "cpu", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cpu", "unknown", "2.1.0"),
        ("aten::sort", [], "cpu", "2.0.1", "2.1.0"),
    ],
)
def test_an_entry_that_does_not_apply(name: str, dtypes: list[str], device: str, a: str, b: str) -> None:
    assert find_upstream(name, dtypes, device, a, b) is None


def test_order_build_overload_and_place_do_not_matter() -> None:
    expected = find_upstream("aten::div", ["bfloat16"], "cpu", "2.0.1", "2.1.0")
    assert expected is not None
    assert find_upstream("aten::div.Tensor", ["bfloat16", "float32"], "cpu", "2.1.0+cu121", "2.0.1+cu117") == expected
    assert find_upstream("aten::div_", ["bfloat16"], "cpu", "1.13.1", "2.15.0") == expected


def test_a_named_change_goes_before_a_candidate() -> None:
    found = find_upstream("aten::addmm", ["bfloat16"], "cpu", "2.0.1", "2.6.0")
    assert found is not None
    assert found["status"] == "named"
    only = find_upstream("aten::addmm", ["bfloat16"], "cpu", "2.5.1", "2.6.0")
    assert only is not None
    assert only["status"] == "candidate"


@pytest.mark.parametrize("folder", sorted(CASES.glob("*/*/")), ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_every_recorded_case_has_an_entry(folder: Path) -> None:
    case = read_case(folder)
    version_a, version_b = folder.parent.name.split("-")
    found = find_upstream(case.name, [tensor.dtype for tensor in case.inputs], "cpu", version_a, version_b)
    assert found is not None
