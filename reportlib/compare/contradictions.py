"""What the values of one index say against one another: codes without a centroid, passages that are not there.

Two indexes can be equal byte by byte and both be wrong, so this is looked for in every index, whatever it is compared
with. All is one pass over the codes and two over the `ivf`, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reportlib.compare import chunks
from reportlib.compare.chunks import Chunked
from reportlib.compare.verdicts import Integers, runs, zeros_from
from reportlib.floats import is_float, not_finite, widen
from reportlib.words.formats import listing, plural

#: How many axes an artifact has; the average residual has none or one.
_AXES = {
    **dict.fromkeys(("doclens", "codes", "ivf", "ivf_lengths", "bucket_cutoffs", "bucket_weights"), 1),
    **dict.fromkeys(("residuals", "centroids"), 2),
}
_FLOATS = ("centroids", "avg_residual", "bucket_cutoffs", "bucket_weights", "cluster_threshold")
#: Two odd constants of SplitMix64, which spreads keys over 64 bits.
_SPREAD = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9))

Pairs = tuple[Integers, Integers]


@dataclass
class Examination:
    """What was seen in one index.

    Attributes
    ----------
    contradictions : list of str
        No comparison of these files can be relied on.
    ivf : list of str
        How the lists of the `ivf` differ from those that codes and doclens give. Whether two indexes differ can be
        told in spite of it.
    notes : list of str
        What is unusual, and harmless to a comparison.
    """

    contradictions: list[str] = field(default_factory=list)
    ivf: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(artifacts: Mapping[str, Chunked | None], *, of_tokens: bool, library: str) -> Examination:
    """Look for what the values of an index say against one another.

    Parameters
    ----------
    artifacts : mapping of str to Chunked or None
        The final artifacts and ``doclens`` by name; None for what could not be read, which contradicts nothing.
    of_tokens : bool
        Whether the `ivf` lists token ids, as older indexes do, in place of passage ids.
    library : str
        ``colbert-ai``, whose `ivf` may be padded with zeros, or ``fast-plaid``.

    Raises
    ------
    IndexFileError
        When a file turns out to be damaged.
    """
    seen = Examination()
    known = {name: artifact for name, artifact in artifacts.items() if artifact and _is_plain(name, artifact, seen)}
    for name in _FLOATS:
        if name in known:
            _check_floats(name, known[name], seen)
    codes, centroids, lengths = (known.get(name) for name in ("codes", "centroids", "ivf_lengths"))
    # Where centroids are missing their codes have none, which is one fault and not two.
    if codes and centroids and (lengths is None or lengths.rows == centroids.rows):
        _check_range(codes, codes.size, centroids.rows[0], ("code", "centroid"), seen)
    if "doclens" in known:
        _note_empty(known["doclens"], seen, library)
    if "ivf" in known and "ivf_lengths" in known:
        _check_ivf(known, seen, of_tokens=of_tokens, padded=library == "colbert-ai")
    return seen


def _is_plain(name: str, artifact: Chunked, seen: Examination) -> bool:
    """Return whether an artifact has the kind of values and the axes that it must have, having told what it has."""
    kind = "float" if is_float(artifact.dtype) else "integer"
    wanted = "float" if name in _FLOATS else "integer"
    axes = _AXES.get(name, len(artifact.shape))
    if kind == wanted and len(artifact.shape) == axes and artifact.dtype != "bool":
        return True
    must = f"they must be {wanted}s of {plural(axes, 'dimension')}"
    seen.contradictions.append(f"{name} are {artifact.dtype} of shape {list(artifact.shape)}; {must}")
    return False


def _check_floats(name: str, artifact: Chunked, seen: Examination) -> None:
    number = sum(int(not_finite(block, artifact.dtype).sum()) for _, block in artifact.blocks())
    if number:
        verb = "is" if number == 1 else "are"
        seen.contradictions.append(f"{plural(number, 'value')} of {name} {verb} NaN or infinite")
    elif name == "bucket_cutoffs" and (np.diff(widen(artifact.flat(0, artifact.size), artifact.dtype)) < 0).any():
        seen.contradictions.append("bucket_cutoffs do not ascend")


def _check_range(values: Chunked, stop: int, limit: int, nouns: tuple[str, str], seen: Examination) -> bool:
    """Return whether the integers before `stop` are numbers of `limit` things; else tell how many are not."""
    wrong, first = 0, 0
    for at in range(0, stop, chunks.BLOCK):
        block = values.flat(at, min(at + chunks.BLOCK, stop))
        if int(block.min()) < 0 or int(block.max()) >= limit:
            outside = block[(block < 0) | (block >= limit)]
            first = first if wrong else int(outside[0])
            wrong += outside.size
    if wrong:
        noun, thing = nouns
        known = f"there are {limit:,}, from 0 up, and the first such {noun} is {first:,}"
        seen.contradictions.append(f"{plural(wrong, noun)} of no {thing}: {known}")
    return not wrong


def _note_empty(doclens: Chunked, seen: Examination, library: str) -> None:
    lengths = doclens.flat(0, doclens.size)
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        passages = _counted(empty, lengths.size, "has", "have")
        by = "; so colbert-ai's IndexUpdater leaves those it removes" if library == "colbert-ai" else ""
        seen.notes.append(f"{passages} no token embeddings{by}")


def _counted(passages: Integers, total: int, one: str, several: str) -> str:
    """Return ``2 of 60 passages (4 and 7) have``."""
    first = passages if passages.size <= 8 else passages[:7]
    names = [f"{number:,}" for number in first.tolist()]
    if first.size < passages.size:
        names.append(f"{passages.size - first.size:,} more")
    return f"{passages.size:,} of {total:,} passages ({listing(names)}) {one if passages.size == 1 else several}"


def _check_ivf(known: Mapping[str, Chunked], seen: Examination, *, of_tokens: bool, padded: bool) -> None:
    ivf, many = known["ivf"], known["ivf_lengths"]
    lengths = many.flat(0, many.size).astype(np.int64)
    total = int(lengths.sum())
    # One by one first: lengths from a hostile file can overflow their sum.
    if (lengths < 0).any() or (lengths > ivf.size).any() or total > ivf.size or (total < ivf.size and not padded):
        seen.contradictions.append(f"ivf_lengths count {total:,} ids, the ivf has {ivf.size:,}")
        return
    if not zeros_from(ivf, total):
        seen.contradictions.append(
            f"ivf_lengths count {total:,} ids, the ivf has {ivf.size:,}, and what is left are not zeros, as padding is"
        )
    doclens, codes, centroids = (known.get(name) for name in ("doclens", "codes", "centroids"))
    if doclens is None:
        return
    tokens = doclens.flat(0, doclens.size)
    things, noun = (int(tokens.sum()), "token embedding") if of_tokens else (doclens.size, "passage")
    if not _check_range(ivf, total, things, ("id in the ivf", noun), seen) or codes is None or centroids is None:
        return
    # What is wrong with the parts says nothing about the lists made of them.
    if seen.contradictions or len(lengths) != centroids.rows[0] or tokens.sum() != codes.size:
        return
    _Lists(ivf, lengths, codes, tokens, of_tokens).check(seen)


@dataclass(frozen=True)
class _Lists:
    """The lists of an `ivf` beside those that codes and doclens give."""

    ivf: Chunked
    lengths: Integers
    codes: Chunked
    doclens: Integers
    of_tokens: bool

    def check(self, seen: Examination) -> None:
        """Tell which passages no list has, and how many lists differ in those that some list has."""
        listed = np.zeros(self.codes.size if self.of_tokens else self.doclens.size, np.bool_)
        for _, ids in self._stored():
            listed[ids] = True
        wanted = np.ones(listed.size, np.bool_) if self.of_tokens else self.doclens > 0
        missed = np.flatnonzero(wanted & ~listed)
        if missed.size:
            seen.notes.append(self._missing(missed))
        if _sum(self._stored()) != _sum(self._given(listed)):
            differing = int((self._sums(self._stored()) != self._sums(self._given(listed))).sum())
            seen.ivf.append(
                f"{differing:,} of {len(self.lengths):,} lists of the ivf are not those that codes and doclens give"
            )

    def _missing(self, ids: Integers) -> str:
        if not self.of_tokens:
            passages = _counted(ids, self.doclens.size, "is", "are")
            return f"{passages} in no list of the ivf, so no search reaches them"
        whose = np.unique(np.searchsorted(np.cumsum(self.doclens), ids, "right"))
        return f"{_counted(whose, self.doclens.size, 'has', 'have')} token embeddings that are in no list of the ivf"

    def _stored(self) -> Iterator[Pairs]:
        """Yield (centroid, id) of what the `ivf` lists."""
        starts = np.concatenate(([0], np.cumsum(self.lengths)))
        for first, last in runs(self.lengths, np.zeros_like(self.lengths)):
            ids = self.ivf.flat(int(starts[first]), int(starts[last])).astype(np.int64)
            yield np.repeat(np.arange(first, last), self.lengths[first:last]), ids

    def _given(self, listed: npt.NDArray[np.bool_]) -> Iterator[Pairs]:
        """Yield (centroid, id) of what codes and doclens give, without ids that are not `listed`, each pair once."""
        width = len(self.lengths).bit_length()
        starts = np.concatenate(([0], np.cumsum(self.doclens)))
        for first, last in runs(self.doclens, np.zeros_like(self.doclens)):
            start, stop = int(starts[first]), int(starts[last])
            codes = self.codes.flat(start, stop).astype(np.int64)
            if self.of_tokens:
                ids = np.arange(start, stop)
            else:
                # One sort of a combined key brings a passage's equal codes together.
                keys = np.repeat(np.arange(first, last), self.doclens[first:last]) << width | codes
                keys.sort()
                keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))[: keys.size]]
                ids, codes = keys >> width, keys & ((1 << width) - 1)
            kept = listed[ids]
            yield codes[kept], ids[kept]

    def _sums(self, pairs: Iterator[Pairs]) -> npt.NDArray[np.uint64]:
        """Return for each centroid a sum that tells sets of ids apart."""
        sums = np.zeros(len(self.lengths), np.uint64)
        for centroids, ids in pairs:
            np.add.at(sums, centroids, _spread(ids.astype(np.uint64)))
        return sums


def _sum(pairs: Iterator[Pairs]) -> int:
    """Return a sum that tells sets of pairs apart, in whatever order they come."""
    total = 0
    for centroids, ids in pairs:
        total += int(_spread((centroids.astype(np.uint64) << np.uint64(40)) + ids.astype(np.uint64)).sum())
    return total % 2**64


def _spread(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    keys = (keys + np.uint64(1)) * _SPREAD[0]
    keys ^= keys >> np.uint64(29)
    keys *= _SPREAD[1]
    keys ^= keys >> np.uint64(32)
    return keys
