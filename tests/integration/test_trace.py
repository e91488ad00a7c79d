"""The recorder in real environments: planted faults in a small module, and BERT itself in both versions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from reportlib.compare.roots import PassComparison, compare_traces
from reportlib.environments import load_record, process_environment
from reportlib.store import CaptureWriter
from reportlib.trace.format import Operation, Trace

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).with_name("traced_module.py")


@pytest.fixture(scope="module", params=["torch201", "torch210"])
def traces(request, home: Path, tmp_path_factory) -> Callable[[str], Trace]:
    """Every variant of the small module, traced in one process of one environment."""
    folder = tmp_path_factory.mktemp("traces")
    environment = load_record(request.param, home)
    variables = process_environment(environment, home)
    command = [str(environment.python_program), "-W", "error", str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return lambda name: Trace.open(folder / name)


@pytest.fixture
def compare(traces) -> Callable[..., PassComparison]:
    def compare(b: str, a: str = "nothing") -> PassComparison:
        return compare_traces(traces(a), traces(b)).passes[0]

    return compare


def names(found: PassComparison) -> list[tuple[str, str]]:
    return [(root.full_name, root.module_b) for root in found.roots]


def test_recording_changes_nothing(traces):
    names = ("nothing", "ulp-0", "in-place", "nan", "ties", "reordered", "shape", "inference")
    assert all(traces(name).passes["net"].undisturbed for name in names)


def test_nothing_planted_nothing_found(compare):
    found = compare("again")
    assert (found.verdict, found.roots, found.unmatched, found.moved) == ("identical", (), (), ())
    assert found.matched == found.operations_a > 20


@pytest.mark.parametrize(
    ("planted", "name", "module"),
    [
        ("ulp-0", "aten::addmm", "blocks.0.linear"),
        ("ulp-2", "aten::addmm", "blocks.2.linear"),
        ("in-place", "aten::mul_.Tensor", "blocks.1"),
        ("nan", "aten::gelu", "blocks.1"),
        ("ties", "aten::sort.stable", ""),
    ],
)
def test_exactly_the_planted_operation_is_named(compare, planted, name, module):
    found = compare(planted)
    assert found.verdict == "root"
    assert names(found) == [(name, module)]
    assert found.unmatched == ()
    assert found.roots[0].reaches_output != found.same_output, "one ULP can be rounded away on its way"
    assert found.roots[0].tainted == found.out_of_reach_b > 0


def test_the_sign_of_a_zero_is_found(compare):
    found = compare("negative-zero", "zero")
    assert names(found) == [("aten::gelu", "blocks.1")]


def test_reordered_operations_are_no_roots(compare):
    found = compare("reordered")
    assert (found.verdict, found.same_output, found.roots, found.unmatched) == ("reordered", True, (), ())
    assert len(found.moved) == 1


def test_an_inserted_operation_is_named_and_without_effect(compare):
    found = compare("inserted")
    assert (found.verdict, found.same_output, found.roots) == ("inserted", True, ())
    assert [(u.side, u.full_name, u.module) for u in found.unmatched] == [("B", "aten::clone", "blocks.1")]
    assert found.unmatched[0].tainted == 0


@pytest.mark.parametrize(("planted", "name"), [("scalar", "aten::mul_.Tensor"), ("shape", "aten::view")])
def test_changed_arguments_are_named_with_their_counterpart(compare, planted, name):
    found = compare(planted)
    assert found.roots == ()
    assert [(u.side, u.full_name, u.module) for u in found.unmatched] == [
        ("A", name, "blocks.1"),
        ("B", name, "blocks.1"),
    ]
    assert found.unmatched[0].counterpart == found.unmatched[1].position
    assert found.verdict == ("replaced" if planted == "scalar" else "inserted")


def stream(trace: Trace, slug: str) -> list[Operation]:
    return list(trace.operations(slug))


def test_in_place_operations_are_hashed_before_and_after(traces):
    found = next(o for o in stream(traces("nothing"), "net") if o.name == "aten::mul_")
    assert found.inputs[0].digest != found.outputs[0].digest
    assert found.inputs[0].storage == found.outputs[0].storage
    assert found.written == (found.inputs[0].storage,)


def test_a_view_writes_to_nothing_and_shares_its_memory(traces):
    views = [o for o in stream(traces("nothing"), "net") if o.name in ("aten::view", "aten::t")]
    assert views
    for view in views:
        assert view.written == ()
        assert view.outputs[0].storage == view.inputs[0].storage


def test_no_storage_has_the_number_of_one_that_was_freed(traces):
    """New memory often takes the address of freed memory; data must not seem to flow from the one to the other."""
    seen: set[int] = set()
    for operation in stream(traces("nothing"), "net"):
        read = {tensor.storage for tensor in operation.inputs}
        new = {tensor.storage for tensor in operation.outputs} - read
        assert not new & seen
        assert new <= set(operation.written)
        seen |= read | new
    assert len(seen) > 20


def test_a_remembered_hash_is_the_hash_of_what_is_there(traces):
    """Beside the same passes with every tensor hashed anew, whatever wrote to its memory in between."""
    for name in ("writer", "changed"):
        kept, anew = stream(traces(name), "net"), stream(traces(f"{name}-anew"), "net")
        assert [operation.full_name for operation in kept] == [operation.full_name for operation in anew]
        assert digests(kept) == digests(anew)
        assert traces(name).passes["net"].undisturbed
    assert digests(stream(traces("changed"), "net")) != digests(stream(traces("before"), "net"))


def digests(operations: list[Operation]) -> list[list[str | None]]:
    return [[tensor.digest for tensor in (*operation.inputs, *operation.outputs)] for operation in operations]


def test_inference_mode_is_recorded_too(traces):
    trace = traces("inference")
    assert trace.passes["net"].output.digest == traces("nothing").passes["net"].output.digest
    assert {o.name for o in stream(trace, "net")} >= {"aten::gelu", "aten::mul_"}


def recording(home: Path, environment: str, output: Path, *options: str) -> list[str]:
    """Return the command that records the prepared checkpoint in an environment."""
    inputs = ("--checkpoint", str(home / "inputs" / "checkpoint"), "--collection", str(home / "inputs" / "collection"))
    python = str(load_record(environment, home).python_program)
    return [python, "-m", "reportlib.trace", "record", *inputs, "--output", str(output), *options]


@pytest.fixture(scope="module")
def recorded(home, tmp_path_factory) -> Callable[..., Trace]:
    """A trace of the real checkpoint, recorded in an environment by a process of its own."""
    known: dict[tuple[str, ...], Trace] = {}

    def recorded(name: str, *options: str, again: str = "") -> Trace:
        key = (name, again, *options)
        if key not in known:
            output = tmp_path_factory.mktemp("recorded") / "trace"
            variables = process_environment(load_record(name, home), home)
            command = recording(home, name, output, *options)
            done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=600)
            assert done.returncode == 0, done.stderr
            known[key] = Trace.open(output)
        return known[key]

    return recorded


def options(precision: str) -> tuple[str, ...]:
    return "--precision", precision, "--passages", "8"


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_the_same_environment_twice_is_identical(recorded, precision):
    """The A/A control, and the observer's: BERT's output is the same recorded and not."""
    sides = [recorded("torch210", *options(precision), again=again) for again in ("", "again")]
    found = compare_traces(*sides)
    assert found.verdict == "identical"
    assert [entry.slug for entry in found.passes] == ["text0", "text1", "batch"]
    assert {entry.kind for entry in sides[0].passes.values()} == {"forward"}


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_both_versions_are_compared_and_every_operation_is_accounted_for(recorded, precision):
    found = compare_traces(*(recorded(name, *options(precision)) for name in ("torch201", "torch210")))
    assert found.verdict in ("identical", "reordered", "root")
    for entry in found.passes:
        listed = sum(only.side == "B" for only in entry.unmatched)
        assert entry.matched + listed + entry.out_of_reach_b == entry.operations_b > 300
        assert bool(entry.roots) == (entry.verdict == "root")
        assert entry.roots or entry.same_output
        assert any(root.reaches_output for root in entry.roots) != entry.same_output
        for root in entry.roots:
            assert [t.digest for t in root.inputs_a] == [t.digest for t in root.inputs_b]
            assert root.outputs_a != root.outputs_b
            assert root.module_b.startswith(("bert", "linear")) or root.module_b == ""


def test_autocast_shows_as_casts_and_layers_by_name(recorded):
    found = stream(recorded("torch210", *options("autocast")), "batch")
    casts = [o for o in found if o.name == "aten::_to_copy" and o.outputs[0].dtype == "bfloat16"]
    assert casts
    modules = {o.module for o in found}
    assert {f"bert.encoder.layer.{layer}.attention.self" for layer in range(6)} <= modules
    assert "linear" in modules
    sources = {o.source.partition(":")[0] for o in found}
    assert "transformers/models/bert/modeling_bert.py" in sources
    assert not any(source.startswith(("torch/", "reportlib/", "/")) for source in sources)


def test_a_traced_layer_has_the_bytes_that_the_capture_has(recorded, capture):
    """Two instruments that share no code: a forward hook on the last layer, and the dispatcher."""
    taken = capture("torch210", precision="autocast")
    trace = recorded("torch210", "--precision", "autocast", "--passages", "16")
    for slug in ("text0", "text1", "batch"):
        hashes = {tensor.digest for operation in stream(trace, slug) for tensor in operation.outputs}
        for name in taken.artifacts:
            if name.startswith(f"layers/{slug}/"):
                assert blake3(taken.tensor(name).array.tobytes()).hexdigest() in hashes, name


def test_every_operation_has_the_line_of_python_that_it_comes_from(traces):
    found = stream(traces("nothing"), "net")
    assert all(operation.source.startswith("traced_module.py:") for operation in found)
    sorts = {operation.source.partition(": ")[2] for operation in found if operation.name == "aten::sort"}
    assert sorts == {"order = x.round().sort(dim=-1, stable=True).indices"}


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory) -> Path:
    """A capture of 33,000 made-up embeddings: more than 32,768 codes, so that 2.1.0 sorts them another way."""
    folder = tmp_path_factory.mktemp("captures") / "capture"
    values = np.random.default_rng(20250913).standard_normal((33_000, 96)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    with CaptureWriter(folder) as writer:
        writer.tensor("local_sample_embs", values, "sample", "float32")
        writer.value("sample_doclens", [250] * 132, "sample")
        writer.tensor("embs/0", values, "compress", "float32")
        writer.value("doclens", [250] * 132, "compress")
        writer.describe({"device": "cpu", "nbits": 4, "doc_maxlen": 256, "kmeans_niters": 1, "index_bsize": 32}, {})
    return folder


@pytest.fixture(scope="module")
def index(recorded, embeddings) -> Callable[..., Trace]:
    """The index pass, recorded in an environment."""
    return lambda name, again="": recorded(name, "--only", "index", "--index", str(embeddings), again=again)


def test_the_index_pass_is_identical_twice_and_undisturbed(index):
    (found,) = compare_traces(index("torch210"), index("torch210", "again")).passes
    assert (found.verdict, found.roots, found.unmatched) == ("identical", (), ())
    assert found.operations_b > 2048, "colbert-ai looks at every centroid by itself"
    entry = index("torch210").passes["index"]
    assert (entry.kind, entry.undisturbed, set(entry.given)) == ("index", True, {"local_sample_embs", "embs/0"})


def test_of_indexing_the_sort_alone_is_a_root_operation(index):
    (found,) = compare_traces(index("torch201"), index("torch210")).passes
    assert names(found) == [("aten::sort", "CollectionIndexer._build_ivf")]
    assert found.roots[0].inputs_b[0].shape == (33_000,)
    assert found.same_output, "what is kept of a centroid's embeddings is the set of their passages"


def test_faiss_is_one_operation_of_the_index_pass(index):
    for name in ("torch201", "torch210"):
        (kmeans,) = [o for o in stream(index(name), "index") if o.name.startswith("faiss::")]
        assert (kmeans.full_name, kmeans.module) == ("faiss::kmeans", "CollectionIndexer._train_kmeans")
        assert (kmeans.inputs[0].dtype, kmeans.outputs[0].shape) == ("float16", (2048, 96))
        assert kmeans.arguments["iterations"] == 1


def test_a_capture_whose_bytes_were_changed_is_refused(home, embeddings, tmp_path):
    damaged = tmp_path / "capture"
    shutil.copytree(embeddings, damaged)
    file = damaged / "artifacts" / "embs" / "0.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    environment = load_record("torch210", home)
    command = recording(home, "torch210", tmp_path / "trace", "--only", "index", "--index", str(damaged))
    variables = process_environment(environment, home)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1
    assert "StoreError: the artifact 'embs/0'" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture"]


def test_a_missing_environment_and_too_many_passages_are_refused_before_anything_runs(run):
    done = run("reportlib", "roots", "torch201", "torch999", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no environment 'torch999' is made" in done.stderr
    done = run("reportlib", "roots", "torch201", "torch210", "--passages", "99999999", check=False)
    assert done.returncode == 2
    assert "passages" in done.stderr


def test_a_recording_that_fails_says_why_and_leaves_nothing(run, home, tmp_path):
    """A checkpoint whose weights are no weights: what the environment said reaches the user."""
    other = tmp_path / "home"
    (other / "inputs").mkdir(parents=True)
    for name in ("envs", "path"):
        (other / name).symlink_to(home / name)
    (other / "inputs" / "collection").symlink_to((home / "inputs" / "collection").resolve())
    checkpoint = other / "inputs" / "checkpoint"
    shutil.copytree(home / "inputs" / "checkpoint", checkpoint)
    (checkpoint / "model.safetensors").write_bytes(b"\0" * 64)
    done = run("reportlib", "roots", "torch210", "torch210", "--passages", "2", check=False, REPORTLIB_HOME=str(other))
    assert done.returncode == 2, done.stderr
    assert "recording in the environment torch210 failed" in done.stderr
    assert "safetensors" in done.stderr.lower()
    assert [path.name for path in (other / "traces").iterdir()] == [".lock"]
