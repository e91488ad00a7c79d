"""What the page says of margins, in sentences: how many flipped, whether these had smaller margins, what moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reportlib.render import formats
from reportlib.render.labels import Part

Record = Mapping[str, Any]
#: Above this a difference of margins counts as not detected.
_LEVEL = 0.05


@dataclass(frozen=True)
class Decision:
    """How the page speaks of one kind of decision; ``{k}`` and ``{next}`` stand for ranks.

    Attributes
    ----------
    title : str
        What is decided.
    item, items : str
        What it is decided about, one and many.
    flips, flip : str
        What many of them do when they flip, and one.
    margin, axis : str
        What the margin is, and the same in as few words as a figure has room for.
    explained, otherwise : str
        What a change of the margin by at least its own size is, and what happened where it changed by less.
    moved : str
        What else moved, where the thing decided about is the same on both sides.
    """

    title: str
    item: str
    items: str
    flips: str
    flip: str
    margin: str
    axis: str
    explained: str
    otherwise: str
    moved: str = ""


DECISIONS: dict[str, Decision] = {
    "centroid": Decision(
        "A token's centroid", "token embedding", "token embeddings", "have another centroid", "has another centroid",
        "score of the first centroid minus the second's", "first score − second",
        "the two candidates themselves swapped", "a third one came in",
        "the embedding is the same, so a centroid moved",
    ),
    "bucket": Decision(
        "A residual's bucket", "coordinate of a residual", "coordinates of residuals", "are in another bucket",
        "is in another bucket", "distance to the bucket's nearer edge", "distance to the edge",
        "the value (or the edge) moved by at least the margin", "the value crossed the farther edge",
        "the value is the same, so the bucket's edge moved",
    ),
    "rank": Decision(
        "A query's top {k}", "query", "queries", "have other passages in the top {k}",
        "has other passages in the top {k}", "score of rank {k} minus that of rank {next}",
        "score {k} − score {next}",
        "the two candidates themselves swapped", "a third one came in",
    ),
}  # fmt: skip


def decision(record: Record) -> Decision:
    """Return the words of a decision with its ranks in place."""
    k = record["k"] or 0
    chosen = DECISIONS[record["id"]]
    ranks = {"k": formats.count(k), "next": formats.count(k + 1)}
    return Decision(**{name: text.format(**ranks) for name, text in vars(chosen).items()})


def sentences(part: Part, record: Record) -> list[str]:
    """Return what a record says: how many flipped, whether these had smaller margins, and what moved."""
    words = decision(record)
    flipped, items = record["flipped"], record["items"]
    if flipped == 0:
        return [f"{words.title}: no flip was seen among {_looked(words, record)}.", *_none_flipped(record)]
    verb = words.flip if flipped == 1 else words.flips
    counted = f"{formats.count(flipped)} of {_looked(words, record)} {verb} in {part.b}"
    told = [f"{words.title}: {counted} ({formats.percent(flipped, items)})."]
    return [*told, _smaller(record), *_explained(words, record), *_ids(part, record)]


def _looked(words: Decision, record: Record) -> str:
    """Return how many were looked at, and of how many where that was not all."""
    number = formats.plural(record["items"], words.item, words.items)
    if record["items"] == record["of"]:
        return number
    why = "with a passage below" if record["id"] == "rank" else "evenly spaced"
    return f"{number} ({why}; there are {formats.count(record['of'])})"


def _none_flipped(record: Record) -> list[str]:
    """Return how near it came, since without a flip nothing can be predicted."""
    change = record["change"]
    smallest = formats.amount(record["margin"]["quantiles"]["0"])
    told = [f"So whether those that flip have smaller margins cannot be told; the smallest margin is {smallest}."]
    if change is not None:
        most, nearly = (formats.amount(change[key]) for key in ("max", "0.99"))
        told.append(f"Margins changed by {most} at most, and 99 % of them by no more than {nearly}.")
    if record["unseen"] is not None:
        told.append(f"Of all, up to {share(record['unseen'])} could have flipped unseen.")
    return told


def _smaller(record: Record) -> str:
    """Return the answer: whether flipped items had the smaller margins, and whether that could be chance."""
    area = record["auc"]
    if area is None:
        return "All of them did, so a margin cannot tell which ones do."
    pairs = f"in {share(area)} of pairs ({formats.plural(record['flipped'], 'flip')}, p {_chance(record['p'])})"
    least = record["detectable"]
    seen = (
        f"{share(least)} or more would probably have shown"
        if least is not None
        else "with so few, nothing would have shown"
    )
    if record["p"] > _LEVEL:
        return f"Not detected: those that flipped had smaller margins {pairs}; {seen}."
    if area < 0.5:
        return f"Those that flipped had larger margins: smaller ones only {pairs}."
    told = f"Those that flipped had smaller margins: {pairs}."
    if least is None or area <= least:
        return f"{told} With so few flips that could be chance; {seen}."
    median, half = formats.amount(record["margin"]["median"]), formats.amount(record["half"])
    return f"{told} Half of the flips have a margin of at most {half}, half of all {median}."


def _chance(probability: float) -> str:
    return "< 0.001" if probability < 0.001 else f"= {formats.decimals(probability, 3 if probability < 0.1 else 2)}"


def _explained(words: Decision, record: Record) -> list[str]:
    found = record["explained"]
    rest = found["of"] - found["within"] - found["unknown"]
    told = []
    if found["within"]:
        first = f"{_flips(found['within'], found['of'])} {words.explained}"
        told.append(f"{first}; otherwise {words.otherwise}." if rest else f"{first}.")
    elif rest:
        told.append(f"{_flips(rest, found['of'])} {words.otherwise}.")
    if found["unknown"]:
        told.append(f"For {formats.count(found['unknown'])} the change is not known: a passage is no longer ranked.")
    if found["alike"]:
        told.append(f"{_flips(found['alike'], found['of'])} {words.moved}.")
    return told


def _flips(part: int, whole: int) -> str:
    """Return how a sentence begins that holds in some of the flips: ``In 3 of 4 flips``, ``In the one flip``."""
    return "In the one flip" if whole == 1 else f"In {formats.of(part, whole)} flips"


def _ids(part: Part, record: Record) -> list[str]:
    """Return for how many centroids an id does not stand for the same place on both sides."""
    found = record["same_ids"]
    if found is None or found["nearest"] == found["of"]:
        return []
    same = formats.of(found["nearest"], found["of"])
    nearest = f"For {same} centroids of {part.a} the nearest one of {part.b} has the same id"
    return [f"{nearest}; for the others a flip may be another id for the same place."]


def share(value: float) -> str:
    """Return a share as a percentage that says 0 % only when it is none and 100 % only when it is all."""
    return formats.percent(round(value * 10**9), 10**9)
