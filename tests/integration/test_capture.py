"""Captures by the real notebook, in real kernels, of real colbert-ai on both versions of torch."""

import json
import shutil

import pytest
from privacy import private_words

from reportlib.artifacts import CAPTURE_POINTS, SWAP_POINTS, downstream
from reportlib.store import Capture
from reportlib.study import SwapSpec

pytestmark = pytest.mark.integration

FINAL = [p.artifact for p in CAPTURE_POINTS if p.final]


def hashes(capture: Capture, *names: str) -> dict[str, str]:
    wanted = [a for name in names for a in capture.group(name)]
    return {name: capture.artifacts[name].sha256 for name in wanted}


def hash_of_all(capture: Capture) -> dict[str, str]:
    return {name: line.sha256 for name, line in capture.artifacts.items()}


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
    without = capture(environment, precision=precision, control="observer")
    assert set(without.artifacts) == {name for final in FINAL for name in without.group(final)}, "the index only"
    names = sorted(file.name for file in without.index_folder.glob("*.pt"))
    assert names == sorted(file.name for file in with_them.glob("*.pt"))
    assert {"centroids.pt", "ivf.pid.pt", "0.codes.pt", "0.residuals.pt"} <= set(names)
    for name in names:
        assert (with_them / name).read_bytes() == (without.index_folder / name).read_bytes(), name


def test_the_same_arm_twice_is_the_same(capture):
    """The A/A control."""
    first, second = (capture("torch210", precision="autocast", control=kind) for kind in ("", "repeat"))
    assert first.artifacts.keys() - second.artifacts.keys() == {"rankings", "sort_probes"}
    assert {**hash_of_all(first), **hash_of_all(second)} == hash_of_all(first)


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


def test_a_swapped_arm_takes_what_it_is_told_replays_what_it_can_and_computes_the_rest(capture, swaps):
    a, b = (capture(name, precision="autocast") for name in ("torch201", "torch210"))
    found = swaps("torch210", "autocast", a, b)
    assert [tuple(name.split("+")) for name in found] == list(SwapSpec().points)
    for name, swapped in found.items():
        assert list(swapped.damaged()) == []
        assert not swapped.group("batches"), "BERT ran"
        assert not swapped.index_folder.exists()
        points = name.split("+")
        reached = set(points).union(*map(downstream, points))
        for each in SWAP_POINTS.values():
            donor = a if each.name in points else b
            for artifact in each.artifacts:
                if (each.name in points or each.name not in reached) and swapped.group(artifact):
                    assert hashes(swapped, artifact) == hashes(donor, artifact), f"{artifact} in {name}"
        assert swapped.file("embs/0").samefile((a if "embs" in points else b).file("embs/0")), "stored twice"
    said = found["centroids+embs"].arm
    assert (said["swap"], said["donor"], said["environment"]) == (["centroids", "embs"], "torch201", "torch210")


def test_both_embeddings_bring_the_other_index_in_both_directions(capture, swaps):
    """All that differs here enters by BERT, so this also holds what is computed behind it to be the same."""
    a, b = (capture(name, precision="autocast") for name in ("torch201", "torch210"))
    assert hashes(a, *FINAL) != hashes(b, *FINAL)
    for environment, given, own in (("torch210", a, b), ("torch201", b, a)):
        found = swaps(environment, "autocast", given, own)
        assert hashes(found["local_sample_embs+embs"], *FINAL) == hashes(given, *FINAL)
        assert hashes(found["embs"], *FINAL) != hashes(given, *FINAL)


@pytest.mark.parametrize(("environment", "precision"), [("torch201", "float32"), ("torch210", "autocast")])
def test_with_its_own_values_an_arm_gives_its_own_index(capture, swaps, environment, precision):
    """Every set swapped from B into B must change nothing: the replay itself is under test."""
    own = capture(environment, precision=precision)
    everything = hash_of_all(own)
    for name, swapped in swaps(environment, precision, own, own).items():
        assert hashes(swapped, *FINAL) == hashes(own, *FINAL), name
        assert hash_of_all(swapped).items() <= everything.items(), name


def test_a_series_that_was_cut_off_keeps_what_is_done(capture, swaps, tmp_path):
    """And a set that is made alone, in another process and with its own k-means, is the one made among others."""
    a, b = (capture(name, precision="autocast") for name in ("torch201", "torch210"))
    whole = swaps("torch210", "autocast", a, b)
    sets = ("embs", "local_sample_embs+embs", "codes+residuals")
    first = swaps("torch210", "autocast", a, b, output=str(tmp_path / "series"), swaps=" ".join(sets))
    shutil.rmtree(first["local_sample_embs+embs"].path)
    (tmp_path / "series" / "local_sample_embs+embs.partial").mkdir()  # what a killed process leaves
    made = {name: (found.path / "manifest.json").stat().st_mtime_ns for name, found in first.items()
            if found.path.exists()}  # fmt: skip
    again = swaps("torch210", "autocast", a, b, output=str(tmp_path / "series"), swaps=" ".join(sets), again="1")
    for name in sets:
        assert hash_of_all(again[name]) == hash_of_all(whole[name])
        if name in made:
            assert (again[name].path / "manifest.json").stat().st_mtime_ns == made[name]
    assert sorted(path.name for path in (tmp_path / "series").iterdir()) == sorted(sets)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"passages": "15"}, "has passages = 15; these swaps need 16"),
        ({"precision": "float32"}, "has precision = 'float32'"),
        ({"control": "observer"}, "has no local_sample_embs"),
    ],
)
def test_a_capture_that_does_not_fit_is_refused_before_any_work(capture, swaps, tmp_path, given, says):
    a = capture("torch201", **{"precision": "autocast", **given})
    b = capture("torch210", precision="autocast")
    done = swaps("torch210", "autocast", a, b, output=str(tmp_path / "none"), check=False)
    assert says in done.stderr
    assert "To mend it" in done.stderr
    assert not (tmp_path / "none").exists()


def test_nothing_private_is_recorded(capture):
    found = capture("torch210", precision="float32")
    text = (found.path / "manifest.json").read_text()
    assert private_words(text) == []
    assert json.loads(text)["arm"]["name"] == "torch210-float32"
