"""What colbert-ai's k-means needs: at least as many token embeddings as the centroids that it is asked for.

The numbers are those of `CollectionIndexer` in colbert-ai 0.2.22: ``setup`` chooses how many centroids, and
``_concatenate_and_split_sample`` holds back 5 % of the sample. faiss refuses to train on fewer embeddings than that
leaves, which shows only after BERT has run. Environments import this too.
"""

from __future__ import annotations

import math
import struct
import unicodedata
from collections.abc import Callable, Sequence

from reportlib.errors import CollectionError

#: [CLS], [D] and [SEP]: what even an empty passage has.
FEWEST_TOKENS = 3
#: The fewest embeddings that are enough, and the number from which on all are: 256 centroids come too early.
LEAST, ALWAYS_ENOUGH = 134, 269


def centroids(embeddings: int, passages: int) -> int:
    """Return how many centroids colbert-ai asks k-means for.

    Parameters
    ----------
    embeddings : int
        Token embeddings of all passages, which are all in the sample where they are few.
    passages : int
        How many passages.
    """
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
