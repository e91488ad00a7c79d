"""The sort: what becomes of equal codes, one centroid drawn, and the argument of the post of 09-09 step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.findings.parts import Part, parts
from reportlib.render.figures import paint_permutation
from reportlib.render.html import Column, Html, Row, dense, fragment, join
from reportlib.render.labels import answer
from reportlib.render.sections import Piece, by_part, said, told, whose
from reportlib.render.svg import figure
from reportlib.shape import Report
from reportlib.words import formats

Record = Mapping[str, Any]

#: Why each step matters, for a reader who has never seen colbert-ai's source. What holds is measured.
STEPS: dict[str, str] = {
    "presort-equal": (
        "Every token embedding has a code: the number of its nearest centroid. Written one after the other, the codes "
        "are a long list of integers, and the place in that list is the token id. This list is what goes into the sort."
    ),
    "values-equal": (
        "The sort puts the codes in ascending order. A sorted list of the same integers can look only one way."
    ),
    "indices-equal": (
        "With the sorted codes, sort() returns where each one stood before: the token ids, centroid by centroid. Many "
        "tokens share a centroid, so there are ties, and a sort that is not stable may put tied tokens in any order."
    ),
    "bincount-equal": "Counting how often each code occurs cuts the list of token ids into one group per centroid.",
    "token-sets-equal": (
        "Within a group the order is free. What matters is whether each group holds the same token ids."
    ),
    "passage-sets-equal": (
        "colbert-ai then replaces each token id by the id of the passage that the token is in. "
        "Search looks passages up by centroid, so these are the ids that it uses."
    ),
    "unique-gives-ivf": (
        "A passage with three tokens near a centroid is listed three times. The function unique keeps one of each "
        "and, as it sorts while doing so, erases whatever order the ids came in."
    ),
    "ivf-equal": "What is left is the inverted file: the passages of each centroid (ivf) and how many (ivf_lengths).",
    "stable-side": (
        "A stable sort keeps tied elements in the order in which they came, so each centroid's token ids ascend. "
        "Comparing each side's indices with that order tells which of the two is stable."
    ),
}


def the_sort(report: Report) -> Html:
    """Say what the sort of the codes does to equal ones, and draw one centroid's tokens in both orders.

    Of each pair in one precision: one in which both versions sort the same codes, where there is one.
    """
    pieces: list[Piece] = []
    for pair in report["pairs"]:
        mine = [(part, order) for part in parts(report) if part.pair is pair and (order := part.data["order"])]
        if mine:
            pieces += _sorted(*next((found for found in mine if _comparable(found[1])), mine[0]))
    return join(pieces)


def _sorted(part: Part, order: Record) -> Iterator[Piece]:
    yield said([f"{part.where}:", *told(part, "sort", "probes")])
    if not order["figure"] or not _comparable(order):
        return
    shown = order["figure"]
    ascending = [name for side, name in (("a", part.a), ("b", part.b)) if shown[side] == sorted(shown[side])]
    caption = (
        f"The tokens of centroid {formats.count(shown['centroid'])} in the order in which each version lists them."
    )
    yield figure(
        f"order-{part.slug}",
        lambda layout: paint_permutation(layout, part, shown),
        title="Token ids of one centroid in the order that each version lists them",
        description=f"{caption} They ascend in {formats.listing(ascending) or 'neither'}.",
        caption=caption,
    )


def _comparable(order: Record) -> bool:
    """Whether both sides sorted the same codes; if not, two orders say nothing of the sort."""
    return any(step["id"] == "presort-equal" and step["holds"] for step in order["steps"])


@by_part
def every_step(part: Part) -> Iterator[Piece]:
    """Walk through the argument: what would have to hold, why it matters, and whether it holds here."""
    order = part.data["order"]
    if order is not None:
        columns = (Column("Step"), Column("Why it matters"), Column("Holds"), Column("Measured"), Column("Post"))
        rows = [
            Row((
                f"{place}. {step['claim']}", STEPS.get(step["id"], ""),
                answer(step["holds"], "holds", "does not hold", "cannot be said"),
                fragment("evidence", evidence=[(_label(str(n)), _value(part, v)) for n, v in step["evidence"].items()]),
                formats.listing(step["post"]),
            ))
            for place, step in enumerate(order["steps"], start=1)
        ]  # fmt: skip
        yield dense("Can two versions list tokens in another order and build the same index?", columns, rows)
    yield _probes(part)


def _label(name: str) -> str:
    """Return the name of a measured number as a reader says it: ``first, A`` for ``first_a``."""
    label, _, side = name.replace("_", " ").rpartition(" ")
    return f"{label}, {side.upper()}".strip(", ") if side in {"a", "b"} else name.replace("_", " ")


def _value(part: Part, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: formats.ABSENT}[value]
    if isinstance(value, int):
        return formats.count(value)
    if isinstance(value, float):
        return formats.amount(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(part, item) for item in value)}]"
    return whose(part, value) if value in {"a", "b", "both", "neither"} else str(value)


def _probes(part: Part) -> Html:
    probes = part.pair["sort_probes"]
    columns = (
        Column("Input"), Column("dtype"), Column("Elements", numeric=True), Column("Same input"),
        Column("Same values"), Column("Same order"), Column("Stable"),
    )  # fmt: skip
    rows = [
        Row((
            p["source"], p["dtype"], formats.count(p["size"]), answer(p["same_input"], "yes", "no"),
            answer(p["same_values"], "yes", "no"), answer(p["same_order"], "yes", "no"), whose(part, p["stable"]),
        ))
        for p in (probes or {"probes": []})["probes"]
    ]  # fmt: skip
    return dense(f"sort() of the same list, full of equal numbers: {part.a} against {part.b}", columns, rows)
