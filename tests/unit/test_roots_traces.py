"""Trace folders side by side: what may be compared at all, and what the files must be."""

from __future__ import annotations

import dataclasses
import json

import pytest
from planted import Network, at, write_trace

from reportlib.compare.roots import compare_traces
from reportlib.errors import ComparisonError, StoreError
from reportlib.trace.format import Trace, TraceWriter


def opened(folder, network=None, **changed):
    return Trace.open(write_trace(folder, network or Network(), **changed))


def test_a_trace_comes_back_as_it_was_written(tmp_path):
    operations, output = Network().run()
    trace = opened(tmp_path / "a")
    assert list(trace.operations("planted")) == operations
    assert trace.passes["planted"].output == output
    assert trace.passes["planted"].undisturbed


def test_traces_of_the_same_network_are_identical(tmp_path):
    found = compare_traces(opened(tmp_path / "a"), opened(tmp_path / "b"))
    assert found.verdict == "identical"
    content = json.loads(json.dumps(found.to_json()))
    assert content["verdict"] == "identical"
    assert content["passes"][0]["roots"] == []


def test_a_root_goes_into_the_json_whole(tmp_path):
    fault = Network(plant=at("encoder.layer.1", "addmm", lambda x: x + x.dtype.type(1)))
    found = compare_traces(opened(tmp_path / "a"), opened(tmp_path / "b", fault))
    (root,) = json.loads(json.dumps(found.to_json()))["passes"][0]["roots"]
    assert (root["name"], root["module_b"]) == ("aten::addmm", "encoder.layer.1")
    assert [t["digest"] for t in root["inputs_a"]] == [t["digest"] for t in root["inputs_b"]]
    assert root["outputs_a"][0]["digest"] != root["outputs_b"][0]["digest"]


@pytest.mark.parametrize("changed", [{"weights": "other"}, {"given": {"token_ids": "1"}}])
def test_nothing_is_said_when_the_pass_was_given_something_else(tmp_path, changed):
    found = compare_traces(opened(tmp_path / "a"), opened(tmp_path / "b", Network(seed=8), **changed))
    assert found.verdict == "inputs differ"
    assert found.passes[0].roots == ()


@pytest.mark.parametrize("disturbed", ["a", "b"])
def test_a_recorder_that_changed_the_output_makes_it_inconclusive(tmp_path, disturbed):
    sides = [opened(tmp_path / s, **({"output_untraced": "x"} if s == disturbed else {})) for s in "ab"]
    found = compare_traces(*sides)
    assert found.verdict == "inconclusive"


def test_traces_of_different_settings_are_refused(tmp_path):
    a = opened(tmp_path / "a")
    b = opened(tmp_path / "b", arm={"precision": "autocast"})
    with pytest.raises(ComparisonError, match="different precision: 'float32' and 'autocast'"):
        compare_traces(a, b)


def test_traces_of_different_passes_are_refused(tmp_path):
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")
    with pytest.raises(ComparisonError, match="different passes"):
        compare_traces(a, dataclasses.replace(b, passes={}))


def test_the_worst_verdict_speaks_for_all_passes(tmp_path):
    found = compare_traces(opened(tmp_path / "a"), opened(tmp_path / "b"))
    both = (found.passes[0], dataclasses.replace(found.passes[0], verdict="root"))
    assert dataclasses.replace(found, passes=both).verdict == "root"


def test_a_folder_without_a_manifest_is_no_trace(tmp_path):
    with pytest.raises(StoreError, match="holds no trace"):
        Trace.open(tmp_path)


def test_a_damaged_manifest_and_another_schema_are_refused(tmp_path):
    folder = write_trace(tmp_path / "a", Network())
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        Trace.open(folder)
    manifest.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Trace.open(folder)
    manifest.write_text(json.dumps({**content, "passes": [{"slug": "x"}]}))
    with pytest.raises(StoreError, match="damaged"):
        Trace.open(folder)


def test_a_changed_or_missing_stream_is_refused(tmp_path):
    folder = write_trace(tmp_path / "a", Network())
    trace, stream = Trace.open(folder), folder / "planted" / "trace.jsonl"
    text = stream.read_text()
    stream.write_text(text.replace("aten::relu", "aten::elu"))
    with pytest.raises(StoreError, match="not the file that its manifest names"):
        list(trace.operations("planted"))
    stream.unlink()
    with pytest.raises(StoreError, match=r"trace\.jsonl"):
        list(trace.operations("planted"))


def test_a_trace_is_whole_or_not_there(tmp_path):
    def stop_while_writing():
        with TraceWriter(tmp_path / "a") as writer:
            writer.file("planted").write_text("half a line")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_while_writing()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    left = tmp_path / "a.partial" / "planted"
    left.mkdir(parents=True)
    (left / "trace.jsonl").write_text("half a line")
    assert opened(tmp_path / "a").passes
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_existing_folder_is_not_written_over(tmp_path):
    write_trace(tmp_path / "a", Network())
    with pytest.raises(StoreError, match="already"):
        write_trace(tmp_path / "a", Network())
