"""Faults with known answers, planted in a small network: the finder must name each one, and nothing else."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from planted import LAYERS, Machine, Network, at, entry, write_trace

from reportlib.compare.roots import PassComparison, compare_passes, compare_traces
from reportlib.errors import ComparisonError, StoreError
from reportlib.trace.format import Operation, TensorRecord, Trace, TraceWriter

LAST = "encoder.layer.2"


def compare(a: Network, b: Network) -> PassComparison:
    (stream_a, output_a), (stream_b, output_b) = a.run(), b.run()
    return compare_passes(stream_a, stream_b, entry(stream_a, output_a), entry(stream_b, output_b))


def names(found: PassComparison) -> list[tuple[str, str]]:
    return [(root.module_b, root.full_name) for root in found.roots]


def first(array: np.ndarray) -> tuple[int, ...]:
    """The first element above 0.5: one that the ReLU keeps."""
    return tuple(int(axis[0]) for axis in np.nonzero(array > 0.5))


def flip_one_ulp(array: np.ndarray) -> np.ndarray:
    array[first(array)] = np.nextafter(array[first(array)], np.float32(np.inf))
    return array


def put_nan(array: np.ndarray) -> np.ndarray:
    array[first(array)] = np.nan
    return array


def zeros_get_a_sign(array: np.ndarray) -> np.ndarray:
    zero = np.argwhere(array == 0)[0]
    assert not np.signbit(array[tuple(zero)])
    array[tuple(zero)] = -0.0
    return array


def permute_ties(order: np.ndarray) -> np.ndarray:
    """Another order that sorts the same: np.round in the network makes several zeros in each row."""
    order[0, :2] = order[0, 1::-1]
    return order


def test_nothing_planted_nothing_found():
    found = compare(Network(), Network())
    assert (found.verdict, found.same_output) == ("identical", True)
    assert found.roots == found.unmatched == found.moved == ()
    assert found.matched == found.operations_a == found.operations_b == 7 * LAYERS + 2
    assert found.out_of_reach_a == found.out_of_reach_b == 0


@pytest.mark.parametrize("layer", range(LAYERS))
def test_one_ulp_is_found_in_the_layer_where_it_was_flipped(layer):
    module = f"encoder.layer.{layer}"
    found = compare(Network(), Network(plant=at(module, "addmm", flip_one_ulp)))
    assert found.verdict == "root"
    assert names(found) == [(module, "aten::addmm")]
    root = found.roots[0]
    assert (root.differs, root.same_strides, root.reaches_output) == (("bytes",), True, True)
    assert root.position_a == root.position_b
    # scale_, view, relu, view here; those and addmm in each later layer; argsort and gather in the head.
    assert root.tainted == 4 + 5 * (LAYERS - 1 - layer) + 2
    assert found.out_of_reach_b == root.tainted
    assert not found.unmatched


def test_two_faults_are_both_found_when_the_first_one_does_not_hide_the_second():
    def plant(module: str, name: str, array: np.ndarray) -> np.ndarray:
        array = at("encoder.layer.1", "mul", flip_one_ulp)(module, name, array)
        return at("encoder.layer.0", "addmm", flip_one_ulp)(module, name, array)

    found = compare(Network(), Network(plant=plant))
    assert names(found) == [("encoder.layer.0", "aten::addmm"), ("encoder.layer.1", "aten::mul")]
    assert [root.position_b for root in found.roots] == sorted(root.position_b for root in found.roots)
    assert found.roots[0].tainted > found.roots[1].tainted > 0


def test_a_difference_that_rounding_removes_is_a_root_without_reach():
    def double_the_lowest(array: np.ndarray) -> np.ndarray:
        lowest = np.unravel_index(array.argmin(), array.shape)
        assert array[lowest] < 0
        array[lowest] *= np.float32(2)
        return array

    found = compare(Network(), Network(plant=at("encoder.layer.1", "addmm", double_the_lowest)))
    assert found.verdict == "root"
    assert found.same_output
    assert names(found) == [("encoder.layer.1", "aten::addmm")]
    assert found.roots[0].tainted == 3, "the ReLU makes the bytes known again"
    assert not found.roots[0].reaches_output


def test_permuted_ties_are_found_in_the_sort_alone():
    found = compare(Network(), Network(plant=at("head", "argsort", permute_ties)))
    assert names(found) == [("head", "aten::argsort")]
    assert found.roots[0].tainted == 1


@pytest.mark.parametrize("change", [put_nan, zeros_get_a_sign])
def test_a_nan_and_the_sign_of_a_zero_are_bytes_like_others(change):
    module = "encoder.layer.1"
    found = compare(Network(), Network(plant=at(module, "relu", change)))
    assert names(found) == [(module, "aten::relu")]


def test_the_same_nan_in_both_is_no_difference():
    network = Network(plant=at("encoder.layer.1", "relu", put_nan))
    assert compare(network, network).verdict == "identical"


def test_an_in_place_operation_is_found_by_what_it_read_before_it_wrote():
    found = compare(Network(), Network(plant=at("encoder.layer.1", "scale_", flip_one_ulp)))
    assert names(found) == [("encoder.layer.1", "aten::scale_")]
    root = found.roots[0]
    assert root.inputs_a[0].digest == root.inputs_b[0].digest != root.outputs_b[0].digest
    assert root.inputs_b[0].storage == root.outputs_b[0].storage
    assert root.tainted == 3 + 5 + 2, "through the memory that it wrote to"


def test_reordered_operations_are_named_and_are_no_roots():
    found = compare(Network(), Network(bias_first=True))
    assert (found.verdict, found.same_output) == ("reordered", True)
    assert found.roots == found.unmatched == ()
    stream = Network().run()[0]
    assert len(found.moved) == LAYERS
    assert {stream[a].name for a, _ in found.moved} <= {"aten::t", "aten::mul"}


def test_an_inserted_operation_is_named_and_without_effect():
    found = compare(Network(), Network(insert_in=1))
    assert (found.verdict, found.same_output) == ("inserted", True)
    assert not found.roots
    assert not found.moved
    (only,) = found.unmatched
    assert (only.side, only.full_name, only.module) == ("B", "aten::detach", "encoder.layer.1")
    assert (only.new_tensor, only.tainted, only.reaches_output) == (False, 0, False)


def test_a_removed_operation_is_listed_on_the_other_side():
    found = compare(Network(insert_in=1), Network())
    assert [(u.side, u.full_name) for u in found.unmatched] == [("A", "aten::detach")]


def test_an_inserted_operation_does_not_hide_a_root():
    found = compare(Network(), Network(insert_in=0, plant=at("encoder.layer.2", "addmm", flip_one_ulp)))
    assert found.verdict == "root"
    assert names(found) == [("encoder.layer.2", "aten::addmm")]
    assert [u.full_name for u in found.unmatched] == ["aten::detach"]


def test_a_changed_scalar_argument_is_named_with_its_counterpart():
    found = compare(Network(), Network(scale={1: 0.25}))
    assert found.verdict == "replaced"
    assert not found.roots
    a, b = found.unmatched
    assert {(u.full_name, u.module) for u in (a, b)} == {("aten::scale_", "encoder.layer.1")}
    assert (a.side, b.side, a.counterpart, b.counterpart) == ("A", "B", b.position, a.position)
    assert (a.arguments["factor"], b.arguments["factor"]) == ({"float": (0.5).hex()}, {"float": (0.25).hex()})
    assert b.new_tensor
    assert b.reaches_output


def test_a_changed_shape_is_named_with_its_counterpart():
    found = compare(Network(), Network(reshape_in=1))
    assert (found.verdict, found.same_output) == ("inserted", True)
    assert not found.roots
    assert [(u.side, u.full_name, u.module) for u in found.unmatched] == [
        ("A", "aten::view", "encoder.layer.1"),
        ("B", "aten::view", "encoder.layer.1"),
    ]
    assert found.unmatched[1].tainted == 2, "relu and the view that restores the shape"
    assert not found.unmatched[1].reaches_output


def test_an_output_of_another_shape_or_dtype_is_a_root():
    narrowed = at("head", "gather", lambda x: x[:, :5])
    assert compare(Network(), Network(plant=narrowed)).roots[0].differs == ("shape", "bytes")
    widened = at("head", "gather", lambda x: x.astype(np.float64))
    assert compare(Network(), Network(plant=widened)).roots[0].differs == ("dtype", "bytes")


def test_a_decomposed_operation_is_listed_on_both_sides():
    found = compare(Network(), Network(decomposed=True))
    assert not found.roots
    listed = {(u.side, u.full_name) for u in found.unmatched}
    assert {("A", "aten::addmm"), ("B", "aten::mm")} <= listed
    every = found.matched + found.out_of_reach_a + sum(u.side == "A" for u in found.unmatched)
    assert every == found.operations_a, "no operation may vanish silently"


@pytest.mark.parametrize(
    "network",
    [
        Network(plant=at("encoder.layer.0", "addmm", flip_one_ulp)),
        Network(bias_first=True),
        Network(insert_in=2),
        Network(scale={0: 0.25}),
        Network(reshape_in=0),
        Network(decomposed=True),
        Network(seed=8),
    ],
)
def test_every_operation_of_both_sides_is_accounted_for(network):
    found = compare(Network(), network)
    for side, total, beyond in (
        ("A", found.operations_a, found.out_of_reach_a),
        ("B", found.operations_b, found.out_of_reach_b),
    ):
        assert found.matched + beyond + sum(u.side == side for u in found.unmatched) == total


def test_strides_are_reported_and_do_not_prevent_a_match():
    def turned(array: np.ndarray) -> np.ndarray:
        return np.asfortranarray(array)

    a = Network(plant=at("encoder.layer.0", "mul", lambda x: x))
    b = Network(plant=lambda module, name, x: flip_one_ulp(x.copy()) if (module, name) == (LAST, "scale_") else (
        turned(x) if (module, name) == (LAST, "addmm") else x))  # fmt: skip
    found = compare(a, b)
    assert names(found) == [(LAST, "aten::scale_")]
    assert not found.roots[0].same_strides


def test_small_pieces_of_differing_memory_are_out_of_reach_though_their_values_are_known():
    """colbert-ai cuts the sorted ids into short pieces: one may hold by chance what another piece held in A."""

    def stream(order: list[int]) -> tuple[list[Operation], TensorRecord]:
        machine = Machine()
        codes = machine.value(np.array([1, 0, 1, 0, 2, 2]))
        ranked = machine.run("argsort", lambda _: np.array(order), codes)
        pieces = [machine.run("slice", lambda x, s=start: x[s : s + 2], ranked, start=start) for start in (0, 2, 4)]
        found = [machine.run("unique", np.unique, piece) for piece in pieces]
        return machine.operations, found[-1].record()

    (a, output_a), (b, output_b) = stream([1, 3, 0, 2, 4, 5]), stream([3, 1, 0, 2, 4, 5])
    found = compare_passes(a, b, entry(a, output_a), entry(b, output_b))
    assert [root.full_name for root in found.roots] == ["aten::argsort"]
    assert found.unmatched == ()
    # The first piece is new in B; with a piece that A has twice, "known" must not read as "B lacks it".
    (c, output_c) = stream([0, 2, 0, 2, 4, 5])
    found = compare_passes(a, c, entry(a, output_a), entry(c, output_c))
    assert found.unmatched == ()
    assert found.out_of_reach_b == found.operations_b - found.matched


# Trace folders side by side: what may be compared at all, and what the files must be.


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
