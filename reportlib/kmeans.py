"""What colbert-ai's k-means needs: at least as many token embeddings as the centroids that it is asked for.

The numbers are those of `CollectionIndexer` in colbert-ai 0.2.22: ``setup`` chooses how many centroids, and
``_concatenate_and_split_sample`` holds back 5 % of the sample. faiss refuses to train on fewer embeddings than that
leaves, which shows only after BERT has run. Environments import this too.
"""

from __future__ import annotations

import json
import math
import re
import string
import struct
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reportlib.errors import CollectionError

#: [CLS], [D] and [SEP]: what even an empty passage has.
FEWEST_TOKENS = 3
#: The fewest embeddings that are enough, and the number from which on all are: 256 centroids come too early.
LEAST, ALWAYS_ENOUGH = 134, 269


def centroids(embeddings: int, passages: int) -> int:
    """Return how many centroids colbert-ai asks k-means for."""
    # colbert-ai keeps the mean in float32.
    (mean,) = struct.unpack("f", struct.pack("f", embeddings / passages))
    return int(2 ** math.floor(math.log2(16 * math.sqrt(passages * mean))))


def trained_on(embeddings: int) -> int:
    """Return how many of a sample's embeddings k-means is given: the others are held back to fit the buckets."""
    return embeddings - int(min(0.05 * embeddings, 50_000))


def enough(embeddings: int, passages: int) -> bool:
    """Return whether k-means can be trained on the embeddings of so many passages."""
    return trained_on(embeddings) >= centroids(embeddings, passages)


def never_enough(fewest: int, most: int, passages: int) -> bool:
    """Return whether no number of embeddings from `fewest` to `most` is enough."""
    return not any(enough(count, passages) for count in range(fewest, min(most, ALWAYS_ENOUGH) + 1))


def too_few(what: str, embeddings: str, count: int, passages: int) -> CollectionError:
    """Return the error that says how many embeddings there are, and how many k-means needs.

    Parameters
    ----------
    what : str
        Whose passages: ``study.toml: precision.float32``.
    embeddings : str
        ``43``, or ``at most 96`` where the checkpoint's tokenizer could not be asked.
    count : int
        That number.
    passages : int
        How many passages.
    """
    least = next(number for number in range(count, ALWAYS_ENOUGH + 1) if enough(number, passages))
    about = math.ceil(passages * least / count)
    number = "1 passage gives" if passages == 1 else f"{passages:,} passages give"
    return CollectionError(
        f"{what}: {number} {embeddings} token embeddings; for so many colbert-ai asks k-means for"
        f" {centroids(count, passages):,} centroids, trained on {trained_on(count):,} embeddings",
        f"give at least {least:,} token embeddings: about {max(about, passages + 1):,} passages of this length",
    )


def always_enough(passages: int) -> bool:
    """Return whether so many passages are enough whatever is in them."""
    return passages * FEWEST_TOKENS >= ALWAYS_ENOUGH


def check(what: str, texts: Sequence[str], doc_maxlen: int, count: Callable[[str], int] | None) -> str:
    """Refuse passages that cannot give k-means enough token embeddings.

    Parameters
    ----------
    what : str
        Whose passages, for the message.
    texts : sequence of str
        The passages.
    doc_maxlen : int
        Tokens of a passage at most.
    count : callable or None
        Returns how many embeddings a passage gives; None where the checkpoint's tokenizer cannot be asked.

    Returns
    -------
    str
        What is not known, in a sentence; empty where the passages are enough.

    Raises
    ------
    CollectionError
        When they are not, or cannot be.
    """
    number = len(texts)
    if always_enough(number):
        return ""
    if count is not None:
        embeddings = sum(map(count, texts))
        if not enough(embeddings, number):
            raise too_few(what, f"{embeddings:,}", embeddings, number)
        return ""
    fewest, most = FEWEST_TOKENS * number, sum(min(doc_maxlen, _most_tokens(text)) for text in texts)
    if never_enough(fewest, most, number):
        raise too_few(what, f"at most {most:,}", most, number)
    if fewest >= LEAST:
        return ""
    return (
        f"{what}: {number:,} passages may be too few for k-means, which needs {LEAST} token embeddings or more; they"
        f" have {fewest:,} to {most:,}, and are counted by the environment before BERT runs."
    )


def _most_tokens(text: str) -> int:
    """Return a number of tokens that no tokenizer goes beyond: one for each byte, after the widest normalization."""
    return FEWEST_TOKENS + len(unicodedata.normalize("NFKD", text).encode())


# How many tokens a checkpoint's tokenizer makes of a text, where it is WordPiece as BERT has it.
#
# The host has no tokenizer, and needs one only to tell whether a handful of passages is enough for k-means.

_LONGEST_WORD = 100
#: Blocks of characters that BERT takes for words of their own.
_HAN = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclass(frozen=True)
class WordPiece:
    """A tokenizer.

    Attributes
    ----------
    vocabulary : frozenset of str
        Its pieces; those that go on a word begin with ``##``.
    special : tuple of str
        Tokens that a text may hold as they are.
    lowercase, strip_accents : bool
        What is done to a text first.
    """

    vocabulary: frozenset[str]
    special: tuple[str, ...]
    lowercase: bool
    strip_accents: bool

    @classmethod
    def find(cls, folder: Path) -> WordPiece | None:
        """Return a checkpoint's tokenizer, or None when it is of another kind or not described."""
        try:
            content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            model, normalizer = content["model"], content["normalizer"]
            special = tuple(token["content"] for token in content["added_tokens"])
            fits = (
                (model.get("type", "WordPiece"), model["continuing_subword_prefix"]) == ("WordPiece", "##")
                and model["max_input_chars_per_word"] == _LONGEST_WORD
                and (normalizer["type"], content["pre_tokenizer"]["type"]) == ("BertNormalizer", "BertPreTokenizer")
                and normalizer["clean_text"]
                and normalizer["handle_chinese_chars"]
            )
            lowercase, strip = bool(normalizer["lowercase"]), normalizer["strip_accents"]
            strips = lowercase if strip is None else bool(strip)
            return cls(frozenset(model["vocab"]), special, lowercase, strips) if fits else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def embeddings(self, text: str, doc_maxlen: int) -> int:
        """Return how many token embeddings colbert-ai keeps of a passage: all but those of punctuation."""
        pieces = list(self.pieces(text))[: doc_maxlen - 3]
        return 3 + sum(piece not in string.punctuation for piece in pieces)

    def pieces(self, text: str) -> Iterator[str]:
        """Yield a text's tokens."""
        known = "|".join(map(re.escape, self.special))
        for part in re.split(f"({known})", text) if known else [text]:
            if part in self.special:
                yield part
                continue
            for word in _words(self._normalized(part)):
                yield from self._cut(word)

    def _normalized(self, text: str) -> str:
        cleaned = "".join(" " if char.isspace() else char for char in text if not _is_control(char))
        spaced = "".join(f" {char} " if _is_han(char) else char for char in cleaned)
        if self.strip_accents:
            spaced = "".join(c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
        return spaced.lower() if self.lowercase else spaced

    def _cut(self, word: str) -> list[str]:
        """Cut a word into its longest pieces, from the left; one that cannot be cut is a single unknown token."""
        pieces = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self.vocabulary)
            end = next(ends, None)
            if end is None:
                return ["[UNK]"]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces or ["[UNK]"]


def counter(folder: Path, doc_maxlen: int) -> Callable[[str], int] | None:
    """Return what counts the token embeddings of a passage, or None where a checkpoint's tokenizer is not known."""
    tokenizer = WordPiece.find(folder)
    return None if tokenizer is None else partial(tokenizer.embeddings, doc_maxlen=doc_maxlen)


def _words(text: str) -> Iterator[str]:
    """Cut a text at spaces and around each sign of punctuation."""
    word = ""
    for char in text:
        alone = _is_punctuation(char)
        if word and (alone or char.isspace()):
            yield word
            word = ""
        if alone:
            yield char
        elif not char.isspace():
            word += char
    if word:
        yield word


def _is_control(char: str) -> bool:
    return char == "\ufffd" or (unicodedata.category(char) in ("Cc", "Cf", "Co") and char not in "\t\n\r")


def _is_han(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _HAN)


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")
