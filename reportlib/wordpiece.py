"""How many tokens a checkpoint's tokenizer makes of a text, where it is WordPiece as BERT has it.

The host has no tokenizer, and needs one only to tell whether a handful of passages is enough for k-means.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
            return cls(frozenset(model["vocab"]), special, *_case(normalizer)) if fits else None
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


def _case(normalizer: dict[str, Any]) -> tuple[bool, bool]:
    lowercase, strip = bool(normalizer["lowercase"]), normalizer["strip_accents"]
    return lowercase, lowercase if strip is None else bool(strip)


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
