"""send | replay in real environments: faults planted in B, and the real checkpoint in both versions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from reportlib.capture.preflight import instruction_sets
from reportlib.environments import load_record, process_environment
from reportlib.store import digest
from reportlib.trace.format import Case, Replay, ReplayedOperation, ReplayedPass

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).with_name("replayed_module.py")
LAYERS = 3


def pipe(
    home: Path, send: tuple[str, Sequence[str]], replay: tuple[str, Sequence[str]]
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Run both sides, each an environment's name and what follows its python."""
    records = [load_record(name, home) for name, _ in (send, replay)]
    environments = [process_environment(record, home) for record in records]
    commands = [[str(record.python_program), *rest] for record, (_, rest) in zip(records, (send, replay), strict=True)]
    piped = subprocess.PIPE
    with subprocess.Popen(commands[0], env=environments[0], stdout=piped, stderr=piped) as sender:
        done = subprocess.run(
            commands[1], env=environments[1], stdin=sender.stdout, capture_output=True, check=False, timeout=600
        )
        assert sender.stdout is not None
        assert sender.stderr is not None
        sender.stdout.close()
        said = sender.stderr.read().decode()
        sender.wait(timeout=60)
    return (
        subprocess.CompletedProcess(commands[0], sender.returncode, "", said),
        subprocess.CompletedProcess(commands[1], done.returncode, done.stdout.decode(), done.stderr.decode()),
    )


@pytest.fixture(scope="module", params=["torch201", "torch210"])
def planted(request, home: Path, tmp_path_factory) -> Replay:
    """Every variant of the small module, sent and replayed by one version: what differs was planted."""
    folder = tmp_path_factory.mktemp("replays") / "planted"
    script = ["-W", "error", str(SCRIPT)]
    sent, replayed = pipe(home, (request.param, [*script, "send"]), (request.param, [*script, "replay", str(folder)]))
    assert (sent.returncode, replayed.returncode) == (0, 0), sent.stderr + replayed.stderr
    return Replay.open(folder)


def different(entry: ReplayedPass) -> list[ReplayedOperation]:
    return [found for found in entry.operations if found.local is not None and found.local.different]


def names(entry: ReplayedPass) -> list[tuple[str, str]]:
    return [(found.name, found.module) for found in different(entry)]


def test_neither_sending_nor_replaying_changes_a_pass(planted):
    assert all(entry.undisturbed_a and entry.undisturbed_b for entry in planted.passes.values())


@pytest.mark.parametrize("variant", ["nothing", "reordered", "inserted", "scalar", "shape", "random"])
def test_nothing_is_found_where_the_kernels_are_the_same(planted, variant):
    entry = planted.passes[variant]
    assert (entry.differ, different(entry)) == (0, [])
    assert entry.replayed + sum(left.count for left in entry.not_replayed) >= 4
    for found in entry.operations:
        assert found.local is None or (found.local.different, found.local.max_abs) == (0, 0.0)


def test_nothing_differs_anywhere_where_nothing_was_planted(planted):
    entry = planted.passes["nothing"]
    assert (entry.same_output, entry.not_replayed, entry.window_bytes) == (True, (), 0)
    assert entry.replayed > 10 * LAYERS
    assert all(found.accumulated and not found.accumulated.different for found in entry.operations)


def test_an_operation_that_differs_everywhere_is_found_in_every_layer(planted):
    entry = planted.passes["gelu"]
    assert names(entry) == [("aten::gelu", f"blocks.{layer}") for layer in range(LAYERS)]
    assert all((found.local.different, found.local.max_ulp) == (1, 1) for found in different(entry))


def test_what_differs_by_itself_is_told_from_what_has_accumulated(planted):
    """One element changed in layer 0, and one ULP in layer 2, where the first has already spread."""
    entry = planted.passes["two"]
    assert names(entry) == [("aten::addmm", "blocks.0.linear"), ("aten::addmm", "blocks.2.linear")]
    first, second = different(entry)
    assert first.accumulated == first.local
    assert (first.local.different, first.local.max_abs) == (1, pytest.approx(0.01, rel=1e-4))
    assert (second.local.different, second.local.max_ulp) == (1, 1)
    assert second.accumulated.different > 1
    assert second.accumulated.max_abs > 1000 * second.local.max_abs
    between = [found for found in entry.operations if first.position < found.position < second.position]
    assert any(found.accumulated.different for found in between)
    assert not any(found.local.different for found in between)


def test_an_operation_in_place_is_run_again_on_what_it_read(planted):
    entry = planted.passes["in-place"]
    assert names(entry) == [("aten::mul_", f"blocks.{layer}") for layer in range(LAYERS)]
    assert all((found.local.different, found.local.max_ulp) == (1, 1) for found in different(entry))
    case = Case.open(planted.path / "cases" / "mul_-Tensor-float32")
    assert case.inputs[0].sha256 != case.outputs["a"][0].sha256, "the input is what was there before"
    assert [len(case.outputs[side]) for side in ("a", "b")] == [1, 1]


def test_writing_through_out_and_into_a_part(planted):
    entry = planted.passes["into"]
    assert [(found.name, found.overload) for found in different(entry)] == [("aten::add", "out")]
    assert entry.replayed >= 4


def test_bytes_decide_for_a_nan_and_the_sign_of_a_zero(planted):
    assert [name for name, _ in names(planted.passes["nan"])] == ["aten::pow"] * LAYERS
    (found,) = different(planted.passes["negative-zero"])
    assert (found.name, found.local.different, found.local.max_abs, found.local.max_ulp) == ("aten::pow", 1, 0.0, 0)


def test_integers_are_compared_and_have_no_truth(planted):
    (found,) = different(planted.passes["ties"])
    assert (found.name, found.local.different) == ("aten::sort", 2)
    assert found.truth is None
    assert "integers" in found.why_no_truth


def test_strides_are_those_that_a_had(planted):
    """The planted kernels look at strides: of a transposed input, and of an expanded one."""
    assert names(planted.passes["strided"]) == [("aten::pow", ""), ("aten::exp", "")]


def test_reordered_operations_wait_for_their_counterpart(planted):
    entry = planted.passes["reordered"]
    assert 0 < entry.window_bytes <= 48 * 4
    assert all(found.accumulated and not found.accumulated.different for found in entry.operations)
    assert any(found.position != found.position_b for found in entry.operations)


def test_what_b_has_and_a_has_not_leaves_everything_else_aligned(planted):
    entry = planted.passes["inserted"]
    assert entry.same_output
    assert entry.window_bytes == 0
    assert {found.position_b - found.position for found in entry.operations} == {0, 1}
    assert all(found.accumulated and not found.accumulated.different for found in entry.operations)


@pytest.mark.parametrize("variant", ["scalar", "shape"])
def test_other_arguments_accumulate_and_are_no_difference_of_the_operation(planted, variant):
    accumulated = [found for found in planted.passes[variant].operations if found.accumulated.different]
    assert accumulated
    assert accumulated[0].module == "blocks.1"
    assert (accumulated[0].accumulated.max_abs is None) == (variant == "shape")


@pytest.mark.parametrize(
    ("variant", "name", "why"),
    [
        ("missing", "aten::of_the_future", "has no aten::of_the_future"),
        ("failing", "aten::softplus", "RuntimeError: planted"),
        ("random", "aten::rand", "draws random numbers"),
        ("random", "aten::empty", "hands out memory as it is found"),
    ],
)
def test_what_cannot_be_run_again_says_why(planted, variant, name, why):
    left = {entry.name: entry for entry in planted.passes[variant].not_replayed}
    assert why in left[name].why
    assert left[name].count == 1


def test_the_newer_result_is_measured_against_float64(planted):
    for found in different(planted.passes["gelu"]):
        assert found.truth is not None
        assert 0 < found.truth.a.rms <= found.truth.a.max_abs < 1e-6
        assert found.truth.a != found.truth.b


def check_case(folder: Path) -> Case:
    """Check that a case's tensors have the hashes, dtypes and shapes that it says."""
    case = Case.open(folder)
    inputs, outputs = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    pairs = [(inputs[f"input{i}"], tensor) for i, tensor in enumerate(case.inputs)]
    pairs += [(outputs[f"{side}{i}"], t) for side in ("a", "b") for i, t in enumerate(case.outputs[side])]
    for array, tensor in pairs:
        assert digest(np.ascontiguousarray(array).tobytes()) == tensor.sha256
        assert (str(array.dtype), array.shape) == (tensor.dtype, tensor.shape)
    assert case.outputs["a"] != case.outputs["b"]
    return case


def test_every_kind_that_differs_has_a_case_whose_tensors_are_those_it_names(planted):
    folders = {path.name for path in (planted.path / "cases").iterdir()}
    differ = {group.id for group in planted.groups.values() if group.differ}
    assert folders == differ | {"silu-float32-small"}
    for name in folders:
        case = check_case(planted.path / "cases" / name)
        assert case.id in (name, name.removesuffix("-small"))
        assert planted.groups[case.id].differ >= 1


def test_the_smallest_instance_is_kept(planted):
    case = check_case(planted.path / "cases" / "gelu-float32")
    assert case.inputs[0].shape == (2, 24)
    truth = load_file(case.folder / "outputs.safetensors")["truth0"]
    assert (truth.dtype, truth.shape) == (np.float64, (2, 24))


def test_a_large_case_is_narrowed_to_what_shows_the_difference(planted):
    case = check_case(planted.path / "cases" / "silu-float32")
    small = check_case(planted.path / "cases" / "silu-float32-small")
    assert case.inputs[0].shape == (2, 48, 3200)
    assert small.inputs[0].shape == (1, 1, 1)
    assert small.arguments == case.arguments


def test_a_sender_that_dies_leaves_nothing(home, tmp_path):
    folder = tmp_path / "replay"
    sent, replayed = pipe(
        home,
        ("torch210", [str(SCRIPT), "send", "dying"]),
        ("torch210", [str(SCRIPT), "replay", str(folder), "dying"]),
    )
    assert sent.returncode == -9
    assert replayed.returncode != 0
    assert "CaptureError: the environment that sends has stopped in the middle" in replayed.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_replayer_that_leaves_ends_the_sender(home):
    sent, replayed = pipe(
        home,
        ("torch210", [str(SCRIPT), "send", "leaving"]),
        ("torch210", ["-c", "import sys; sys.stdin.buffer.read(100)"]),
    )
    assert replayed.returncode == 0
    assert sent.returncode == 1
    assert "CaptureError: the environment that replays has stopped reading" in sent.stderr


@pytest.fixture(scope="module")
def real(home: Path, tmp_path_factory) -> Callable[[str, str], Replay]:
    """The pass "a" of the real checkpoint, sent by one version and replayed by the other."""
    known: dict[tuple[str, str], Replay] = {}
    inputs = ["--checkpoint", str(home / "inputs" / "checkpoint"), "--collection", str(home / "inputs" / "collection")]
    options = [*inputs, "--passages", "2", "--only", "text0"]

    def make(a: str, b: str, precision: str = "float32") -> Replay:
        if (a, b, precision) not in known:
            folder = tmp_path_factory.mktemp("real") / "replay"
            chosen = [*options, "--precision", precision]
            send = ["-m", "reportlib.trace", "send", "--environment", a, *chosen]
            replay = ["-m", "reportlib.trace", "replay", "--environment", b, "--output", str(folder), *chosen]
            sent, replayed = pipe(home, (a, send), (b, replay))
            assert (sent.returncode, replayed.returncode) == (0, 0), sent.stderr + replayed.stderr
            known[a, b, precision] = Replay.open(folder)
        return known[a, b, precision]

    return make


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_one_version_replays_itself_without_a_difference(real, precision):
    entry = real("torch210", "torch210", precision).passes["text0"]
    assert (entry.same_output, entry.differ, entry.not_replayed, entry.window_bytes) == (True, 0, (), 0)
    assert entry.replayed > 300
    assert all(not found.accumulated.different for found in entry.operations)


def test_every_layer_s_operation_is_found_not_only_the_first(real):
    """On a CPU with AVX-512 the two versions' GELUs differ, in all six layers."""
    replay = real("torch201", "torch210")
    entry = replay.passes["text0"]
    assert entry.replayed + sum(left.count for left in entry.not_replayed) > 300
    modules = {found.module for found in different(entry) if found.name == "aten::gelu"}
    every = {f"bert.encoder.layer.{layer}.intermediate.intermediate_act_fn" for layer in range(6)}
    assert modules in ((every,) if "avx512f" in instruction_sets() else (every, set()))
    for found in different(entry):
        if found.name == "aten::gelu":
            assert found.source.startswith("transformers/activations.py:")
            assert found.truth is not None
    assert bool(different(entry)) == (not entry.same_output)


def test_a_replay_can_be_read_as_plain_json(real):
    content = json.loads((real("torch210", "torch210").path / "replay.json").read_text())
    assert content["a"]["arm"]["name"] == "torch210-float32"
    assert content["b"]["torch"]["version"].startswith("2.1.0")
    assert [entry["kind"] for entry in content["passes"]] == ["forward"]
