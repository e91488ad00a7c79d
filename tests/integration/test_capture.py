"""Captures by the real notebook, in real kernels, of real colbert-ai on both versions of torch."""

import json

import pytest
from privacy import private_words

from reportlib.artifacts import CAPTURE_POINTS
from reportlib.store import Capture

pytestmark = pytest.mark.integration

FINAL = [p.artifact for p in CAPTURE_POINTS if p.final]


def hashes(capture: Capture, *names: str) -> dict[str, str]:
    wanted = [a for name in names for a in capture.group(name)]
    return {name: capture.artifacts[name].sha256 for name in wanted}


@pytest.mark.parametrize("environment", ["torch201", "torch210"])
@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_every_capture_point_is_taken(capture, environment, precision):
    found = capture(environment, precision=precision)
    for point in CAPTURE_POINTS:
        if point.name != "layers":
            assert found.group(point.artifact), point.artifact
    layers = [name for name in found.artifacts if name.startswith("layers/")]
    assert {name.split("/")[1] for name in layers} == {"text0", "text1", "batch"}
    assert len(layers) == 3 * 7  # the embeddings and six layers
    assert list(found.damaged()) == []


@pytest.mark.parametrize("environment", ["torch201", "torch210"])
@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_instruments_change_nothing(capture, environment, precision):
    """The observer control: ColBERT's own files have the same bytes with and without instruments."""
    with_them = capture(environment, precision=precision).index_folder
    without = capture(environment, precision=precision, instruments="False", k="0").index_folder
    names = sorted(file.name for file in without.glob("*.pt"))
    assert names == sorted(file.name for file in with_them.glob("*.pt"))
    assert {"centroids.pt", "ivf.pid.pt", "0.codes.pt", "0.residuals.pt"} <= set(names)
    for name in names:
        assert (with_them / name).read_bytes() == (without / name).read_bytes(), name


def test_the_same_arm_twice_is_the_same(capture):
    """The A/A control."""
    first, second = (capture("torch210", precision="autocast", again=n) for n in (0, 1))
    assert {n: a.sha256 for n, a in first.artifacts.items()} == {n: a.sha256 for n, a in second.artifacts.items()}


def test_both_versions_read_the_same(capture):
    a, b = (capture(name, precision="float32") for name in ("torch201", "torch210"))
    same = ("weights", "token_ids", "attention_mask", "tokenized_hashes", "sample_pids", "num_passages", "doclens")
    assert hashes(a, *same) == hashes(b, *same)
    assert a.provenance["inputs"] == b.provenance["inputs"]
    assert a.provenance["torch"]["version"].startswith("2.0.1")
    assert b.provenance["torch"]["version"].startswith("2.1.0")


def test_only_torch_and_what_it_brings_differs_between_the_environments(capture):
    a, b = (capture(name, precision="float32").provenance["packages"] for name in ("torch201", "torch210"))
    differing = {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    assert "torch" in differing
    assert {n for n in differing if not n.startswith("nvidia-")} <= {"torch", "triton", "cmake", "lit", "wheel"}


@pytest.mark.parametrize("swap", ["local_sample_embs", "embs", "local_sample_embs+embs", "centroids"])
def test_a_swapped_arm_takes_what_it_is_told_and_runs_no_bert(capture, swap):
    a, b = (capture(name, precision="autocast") for name in ("torch201", "torch210"))
    swapped = capture("torch210", precision="autocast", swap=swap, swap_from=str(a.path), replay_from=str(b.path))
    assert not swapped.group("batches"), "BERT ran"
    for name in ("local_sample_embs", "embs", "centroids"):
        donor = a if name in swap.split("+") else b
        if name != "centroids" or name in swap:
            assert hashes(swapped, name) == hashes(donor, name)


def test_with_its_own_values_an_arm_gives_its_own_index(capture):
    """A swap from B into B must change nothing: the replay itself is under test."""
    b = capture("torch210", precision="autocast")
    replayed = capture(
        "torch210",
        precision="autocast",
        swap="local_sample_embs+embs+centroids",
        swap_from=str(b.path),
        replay_from=str(b.path),
    )
    assert hashes(replayed, *FINAL) == hashes(b, *FINAL)


def test_nothing_private_is_recorded(capture):
    found = capture("torch210", precision="float32")
    text = (found.path / "manifest.json").read_text()
    assert private_words(text) == []
    assert json.loads(text)["arm"]["name"] == "torch210-float32"
