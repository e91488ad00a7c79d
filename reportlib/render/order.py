"""The codes' sort order: the argument of the post of 09-09 on this study's data, and the probes of `sort()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from packaging.version import InvalidVersion, Version

from reportlib.render.figures import paint_permutation, paint_probes
from reportlib.render.html import Column, Html, Row, fold, fragment, join, link, table
from reportlib.render.labels import Part, answer, heading, parts, torch
from reportlib.render.svg import figure
from reportlib.words import formats

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
_SIDES = {"a": "A", "b": "B", "both": "both", "neither": "neither"}


def sort_order(report: Mapping[str, Any]) -> Html:
    """Walk through the sort of the codes, step by step, with what each step measured here.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for part in parts(report):
        order = part.precision["order"]
        if order is None:
            continue
        explained = bool(pieces)
        pieces += [
            heading(part.title, f"order-{part.slug}"),
            fragment("paragraph", text=_summary(part)),
            _again(part) if explained else fragment("steps", steps=[_step(step) for step in order["steps"]]),
        ]
        if order["figure"] and _comparable(order):
            pieces.append(_permutation(part))
    return join(pieces) if pieces else fragment("note", text="The sort of the codes was not captured.")


def _summary(part: Part) -> str:
    order = part.precision["order"]
    said = (
        f"{formats.plural(order['embeddings'], 'token embedding')} of {formats.plural(order['passages'], 'passage')} "
        f"share {formats.plural(order['centroids'], 'centroid')}; {formats.count(order['ties'])} of the embeddings are "
        "in a tie."
    )
    if not _comparable(order):
        return f"{said} The codes differ before they are sorted, so their order says nothing of the sort."
    if not order["positions_different"]:
        return f"{said} Both sides list the token ids in the same order."
    return (
        f"{said} The two sides list the token ids differently at {formats.count(order['positions_different'])} places, "
        f"in {formats.of(order['centroids_reordered'], order['centroids'])} centroids."
    )


def _comparable(order: Mapping[str, Any]) -> bool:
    """Whether both sides sorted the same codes; if not, two orders say nothing of the sort."""
    return any(step["id"] == "presort-equal" and step["holds"] for step in order["steps"])


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "claim": step["claim"],
        "why": STEPS.get(step["id"], ""),
        "holds": answer(step["holds"], "holds", "does not hold", "cannot be said"),
        "posts": formats.listing(step["post"]),
        "evidence": [(_label(str(name)), _value(value)) for name, value in step["evidence"].items()],
    }


def _label(name: str) -> str:
    """Return the name of a measured number as a reader says it: ``first, A`` for ``first_a``."""
    words = name.replace("_", " ")
    for side in ("a", "b"):
        if words == side:
            return side.upper()
        words = f"{words[:-2]}, {side.upper()}" if words.endswith(f" {side}") else words
    return words


def _again(part: Part) -> Html:
    """Draw the steps without the reasons, which the page has given once."""
    columns = (Column("Step"), Column("Holds"), Column("Measured"), Column("Post"))
    rows = []
    for place, step in enumerate((_step(s) for s in part.precision["order"]["steps"]), start=1):
        measured = fragment("evidence", evidence=step["evidence"])
        rows.append(Row((f"{place}. {step['claim']}", step["holds"], measured, step["posts"])))
    title = f"The same steps in {part.label}"
    return fold(title, table(title, columns, rows))


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: formats.ABSENT}[value]
    if isinstance(value, int):
        return formats.count(value)
    if isinstance(value, float):
        return formats.amount(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _SIDES.get(value, str(value))


def _permutation(part: Part) -> Html:
    shown = part.precision["order"]["figure"]
    risen = {side: all(x < y for x, y in zip(shown[side], shown[side][1:], strict=False)) for side in ("a", "b")}
    said = {True: "in ascending order", False: "in no ascending order"}
    caption = (
        f"Centroid {formats.count(shown['centroid'])} has {formats.plural(len(shown['a']), 'token id')} here. "
        f"{part.a} lists them {said[risen['a']]}, {part.b} {said[risen['b']]}. "
        + ("The ids are the same." if sorted(shown["a"]) == sorted(shown["b"]) else "The ids are not the same.")
    )
    return figure(
        f"order-{part.slug}",
        lambda layout: paint_permutation(layout, part),
        title="Token ids of one centroid in the order that each side lists them",
        description=caption,
        caption=caption,
    )


def sort_probes(report: Mapping[str, Any]) -> Html:
    """Show sorts of the same made-up integers and floats on both sides of the size where the order changes."""
    pieces: list[Html] = []
    for place, pair in enumerate(report["pairs"]):
        probes = pair["sort_probes"]
        if probes is None:
            continue
        a, b = torch(report, pair["a"]), torch(report, pair["b"])
        if len(report["pairs"]) > 1:
            pieces.append(heading(f"{a} and {b}", f"probes-{place}"))
        sentences = [_threshold(threshold) for threshold in probes["thresholds"]]
        pieces.append(fragment("sentences", sentences=[*sentences, *_candidate(report, pair)]))
        pieces.append(
            figure(
                f"probes-{place}",
                lambda layout, probes=probes: paint_probes(layout, probes),  # type: ignore[misc]
                title="Sizes and dtypes at which the two sides sort ties in the same order",
                description=" ".join(sentences),
                caption=f"Each mark is one sort of the same list, full of ties, by {a} and by {b}.",
            )
        )
        pieces.append(fold("Every probe", _probe_table(probes, a, b)))
    return join(pieces) if pieces else fragment("note", text="No sort was probed.")


def _threshold(threshold: Mapping[str, Any]) -> str:
    at, below = threshold["smallest_different"], threshold["largest_same_below"]
    if at is None:
        largest = formats.count(max(threshold["sizes"], default=0))
        return f"{threshold['dtype']}: the same order at every size tried, up to {largest} elements."
    said = f"{threshold['dtype']}: another order from {formats.count(at)} elements on"
    said += f"; at {formats.count(below)} still the same." if below is not None else ", the smallest size tried."
    if threshold["same_at_or_above"]:
        sizes = formats.listing([formats.count(n) for n in threshold["same_at_or_above"]])
        said += f" Not so at {sizes}, where the order is the same."
    return said


def _candidate(report: Mapping[str, Any], pair: Mapping[str, Any]) -> list[Markup]:
    """Return the upstream change that fits: integers, from 32,768 elements on, between releases around 2.1."""
    fits = any(t["smallest_different"] == 32_768 and "int" in t["dtype"] for t in pair["sort_probes"]["thresholds"])
    known = {e["name"]: str(e["torch"].get("version") or "") for e in report["environments"]}
    try:
        older, newer = (Version(known.get(pair[side], "").partition("+")[0]) for side in ("a", "b"))
    except InvalidVersion:
        return []
    if not fits or not older < Version("2.1") <= newer:
        return []
    return [
        Markup(
            "A change that fits: {}, in PyTorch from 2.1.0 on, sorts such integers on a CPU with a stable radix sort."
        )
        .format(link("https://github.com/pytorch/pytorch/pull/100081", "pytorch/pytorch#100081"))
    ]  # fmt: skip


def _probe_table(probes: Mapping[str, Any], a: str, b: str) -> Html:
    columns = (
        Column("Input"), Column("dtype"), Column("Elements", numeric=True), Column("Same input"),
        Column("Same values"), Column("Same order"), Column("Stable"),
    )  # fmt: skip
    sides = {"a": a, "b": b, "both": "both", "neither": "neither"}
    rows = [
        Row((
            p["source"], p["dtype"], formats.count(p["size"]), answer(p["same_input"], "yes", "no"),
            answer(p["same_values"], "yes", "no"), answer(p["same_order"], "yes", "no"),
            sides.get(p["stable"], formats.ABSENT),
        ))
        for p in probes["probes"]
    ]  # fmt: skip
    return table(f"sort() of the same input: {a} against {b}", columns, rows)
