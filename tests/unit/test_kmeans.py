"""Too few passages for k-means: the rule is colbert-ai's and faiss's, and is asked before anything long."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from reportlib import kmeans
from reportlib.errors import CollectionError
from reportlib.kmeans import WordPiece, counter

WORDS = ["a", "passage", "of", "words", "##s", "word", "un", "##known", ",", ".", "日", "cafe"]
TOKENIZER = {
    "added_tokens": [{"content": "[SEP]"}],
    "normalizer": {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {word: number for number, word in enumerate(WORDS)},
    },
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint's folder, as far as its tokenizer goes."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return tmp_path


@pytest.mark.parametrize(
    ("passages", "embeddings", "is_enough"),
    [
        # Indexed by colbert-ai 0.2.22 on torch 2.0.1 with faiss 1.7.4, or refused by it.
        (1, 12, False), (3, 60, False), (1, 133, False), (1, 134, True), (3, 134, True), (1, 255, True),
        (1, 256, False), (2, 256, False), (25, 256, True), (3, 257, False), (4, 268, False), (4, 269, True),
        (3, 269, True), (8, 400, True), (89, 267, False),
    ],
)  # fmt: skip
def test_the_rule_is_what_colbert_and_faiss_do(passages, embeddings, is_enough):
    assert kmeans.enough(embeddings, passages) is is_enough


def test_centroids_are_counted_as_colbert_counts_them():
    for passages in range(1, 90):
        for embeddings in range(3 * passages, 3 * passages + 300):
            estimate = passages * float(np.float32(embeddings / passages))
            assert kmeans.centroids(embeddings, passages) == int(2 ** np.floor(np.log2(16 * np.sqrt(estimate))))


def test_more_passages_are_always_enough():
    first = math.ceil(kmeans.ALWAYS_ENOUGH / kmeans.FEWEST_TOKENS)
    assert not kmeans.always_enough(first - 1)
    for passages in (first, 2 * first, 1_000, 30_000):
        assert kmeans.always_enough(passages)
        assert all(kmeans.enough(passages * tokens, passages) for tokens in (3, 4, 100, 256))


def test_the_message_says_how_many_are_needed():
    with pytest.raises(CollectionError) as caught:
        kmeans.check("precision.float32", ["x"] * 3, 256, lambda _: 20)
    assert caught.value.what == (
        "precision.float32: 3 passages give 60 token embeddings; for so many colbert-ai asks k-means for 64 centroids,"
        " trained on 57 embeddings"
    )
    assert caught.value.mend == "give at least 134 token embeddings: about 7 passages of this length"
    with pytest.raises(CollectionError, match="1 passage gives at most 4 token") as caught:
        kmeans.check("x", ["x"], 256, None)


def test_what_no_tokenizer_can_tell_is_said_and_not_refused():
    assert kmeans.check("x", ["word " * 40] * 3, 256, lambda _: 60) == ""
    assert "may be too few" in kmeans.check("x", ["word " * 40] * 3, 256, None)
    with pytest.raises(CollectionError, match="at most 96"):
        kmeans.check("x", ["word " * 40] * 3, 32, None)
    assert kmeans.check("x", [""] * 90, 256, None) == ""
    assert kmeans.check("x", ["word"] * 45, 256, None) == "", "no reason to warn of the one gap above 134"


def test_the_gap_where_more_centroids_come_too_early_is_known():
    with pytest.raises(CollectionError, match="256 centroids, trained on 244") as caught:
        kmeans.check("x", ["x"], 256, lambda _: 256)
    assert "at least 269" in caught.value.mend
    assert kmeans.never_enough(256, 268, 3)
    assert not kmeans.never_enough(255, 268, 3)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("A passage, of Words.", ["a", "passage", ",", "of", "words", "."]),
        ("unknown CAFÉ zzz", ["un", "##known", "cafe", "[UNK]"]),
        ("word日[SEP]\x1fa\u200bwords\x00", ["word", "日", "[SEP]", "[UNK]"]),
        ("a" * 101, ["[UNK]"]),
        (" \t\n", []),
    ],
)
def test_wordpiece(checkpoint, text, pieces):
    assert list(WordPiece.find(checkpoint).pieces(text)) == pieces


def test_embeddings_are_tokens_without_punctuation_up_to_the_longest(checkpoint):
    count = counter(checkpoint, 8)
    assert count("") == 3
    assert count("a , passage .") == 5
    assert count("a , passage . words word") == 6, "the fifth token is the last, and two are punctuation"


@pytest.mark.parametrize("change", [{"model": {"type": "BPE"}}, {"normalizer": None}, {"added_tokens": 1}])
def test_another_tokenizer_is_not_guessed_at(checkpoint, change):
    (checkpoint / "tokenizer.json").write_text(json.dumps({**TOKENIZER, **change}))
    assert counter(checkpoint, 256) is None
    (checkpoint / "tokenizer.json").unlink()
    assert counter(checkpoint, 256) is None
