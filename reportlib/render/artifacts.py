"""The index and the values on the way to it: what changed, where it starts, and what the sort does to equal codes.

The posts' tables stand each row beside the post's own; then BERT's layers, the swaps that show what the difference
comes through, and the argument of the post of 09-09 step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.findings.finding import Part, parts
from reportlib.render.figures import figure, paint_layers, paint_permutation, paint_swaps
from reportlib.render.html import SIGNS, Column, Html, Row, answer, badge, dense, fold, fragment, join, layer, table
from reportlib.render.page import Piece, by_part, paragraph, sentences, whose
from reportlib.shape import Report
from reportlib.words import formats

Record = Mapping[str, Any]


@by_part
def what_changed(part: Part) -> Iterator[Piece]:
    """Draw the posts' rows: the index's tensors, then the values on the way to it, each beside the post's verdict."""
    rows = part.data["artifacts"]
    posts = [post for c in rows if (post := c["post"])]
    yield paragraph(sentences(part, "files", "post"))
    if posts:
        yield fragment("post", source=posts[0]["source"])
    for title, chosen in (
        (f"The index: {part.short_a} against {part.short_b}", [c for c in rows if c["final"]]),
        ("On the way to it", [c for c in rows if not c["final"] and c["name"] in _SHOWN]),
    ):
        columns = (
            Column("Artifact"), Column("dtype"), Column("Result"), Column("How far"),
            *([Column("The post")] if posts else []),
        )  # fmt: skip
        drawn = []
        for c in chosen:
            flags = "" if c["default"] is None else f"default {c['default']}, bnb {c['bnb']}"
            result = fragment("estimate", value=badge(c["verdict"]), beside=flags)
            cells = (_name(c), dtypes(c), result, how_far(c), *([_post(c)] if posts else []))
            drawn.append(Row(cells, passing=c["verdict"] == "identical"))
        yield table(title, columns, drawn, fold_passing="identical")


#: Values on the way to the index that the posts' tables have, in every study's table.
_SHOWN = (
    "batches", "D", "sample_pids", "num_passages", "local_sample_embs", "sample", "sample_heldout", "doclens",
)  # fmt: skip


def how_far(c: Record) -> Html | str:
    """Draw how many values differ and, of floats, by how much; distances between ids or packed bytes mean nothing."""
    if c["verdict"] == "shape mismatch":
        return fragment("shapes", a=c["a"]["shape"], b=c["b"]["shape"])
    if not c["different"] or c["elements"] is None:
        return formats.ABSENT
    percentage = formats.percent_of(c["different"], c["elements"])
    if c["kind"] != "float":
        return fragment("estimate", value=formats.of(c["different"], c["elements"]), beside=percentage)
    apart = f"mean {formats.amount(c['mean_abs'])}, max {formats.amount(c['max_abs'])}"
    return fragment("estimate", value=percentage, beside=apart)


def _post(c: Record) -> Html | str:
    post = c["post"]
    if not post:
        return formats.ABSENT
    own = str(post["equal"]) if post["equal"] is not None else f"default {post['default']}, bnb {post['bnb']}"
    agrees = post["agrees"]
    sign = formats.ABSENT if agrees is None else answer(agrees, "as here", "not here", plain=True)
    return fragment("estimate", value=own, beside=sign)


@by_part
def every_artifact(part: Part) -> Iterator[Piece]:
    """List every capture point with all that was measured of it."""
    columns = (
        Column("Artifact"), Column("Stage"), Column("dtype"), Column("Default"), Column("bnb"), Column("Verdict"),
        Column("How far"), Column("Largest ULP", numeric=True), Column("Would pass at", numeric=True),
    )  # fmt: skip
    rows = [
        Row(
            (
                _name(c, explained=True), c["stage"], dtypes(c), flag(c["default"]), flag(c["bnb"]),
                badge(c["verdict"]), how_far(c), ulp(c), would_pass(c),
            ),
            passing=c["verdict"] == "identical",
        )
        for c in part.data["artifacts"]
    ]  # fmt: skip
    yield dense(f"Every capture point, in the order of the pipeline: {part.a} against {part.b}", columns, rows)


def would_pass(c: Record) -> Html | str:
    """Return the smallest tolerance that would let a float pass: an absolute one, and a multiple of bnb's."""
    if c.get("no_tolerance_passes"):
        return "no tolerance"
    if c["smallest_atol"] is None:
        return formats.ABSENT
    if c["smallest_atol"] == 0:
        return "0"
    factor = c["bnb_factor"]
    beside = f"or bnb × {formats.amount(factor)}" if factor is not None else ""
    return fragment("estimate", value=f"atol {formats.amount(c['smallest_atol'])}", beside=beside)


def ulp(c: Record) -> str:
    """Return the largest distance in units in the last place; of integers there is none."""
    if c["kind"] != "float" or not c["a"]:
        return formats.ABSENT
    return formats.distance(c["max_ulp"], c["max_abs"], c["a"]["dtype"])


def flag(value: bool | None) -> str:
    """Return what a tolerance says, in the posts' words: ``True``."""
    return formats.ABSENT if value is None else str(value)


def _name(c: Record, *, explained: bool = False) -> Html:
    label = c["file"] or c["name"]
    inner = c["name"] if c["file"] and c["file"] != f"{c['name']}.pt" else ""
    return fragment("artifact", label=label, inner=inner, description=c["description"] if explained else "")


def dtypes(c: Record) -> str:
    """Return the dtypes of both sides, once where they agree."""
    known: Sequence[str] = [str(side["dtype"]) for side in (c["a"], c["b"]) if side]
    return " / ".join(dict.fromkeys(known)) or formats.ABSENT


_FORWARD = "a into b"


@by_part
def where_it_starts(part: Part) -> Iterator[Piece]:
    """Say where the difference comes in and what it comes through, with BERT's layers and the telling swaps drawn."""
    yield paragraph(sentences(part, "bert", "first"))
    if any(entry["first_difference"] is not None for entry in part.data["layers"]):
        yield figure(
            f"layers-{part.slug}",
            lambda layout: paint_layers(layout, part),
            title="Difference of BERT's layer outputs, by layer and input",
            description=" ".join(_input(entry) for entry in part.data["layers"]),
            caption="How far the outputs of BERT's layers are apart. Solid: largest; dotted: mean.",
        )
    yield paragraph(sentences(part, "swaps"))
    rows = telling(part)
    if len(rows) > 1:
        yield figure(
            f"swaps-{part.slug}",
            lambda layout: paint_swaps(layout, part, rows),
            title=f"Which tensors of the index become {part.a}'s when its values are put into {part.b}",
            description=" ".join(
                f"With {formats.listing(swap['points'])} of {part.a}, "
                f"{formats.of(swap['final_identical'], swap['final_total'])} tensors are identical."
                for swap in rows
                if swap
            ),
            caption=f"{part.b}'s index with {part.a}'s values put in, set by set: = as {part.a}'s, ≠ not.",
        )


def telling(part: Part) -> Sequence[Record | None]:
    """Return the swaps of A's values into B that tell most: none, the posts', then the smallest that are enough."""
    known = {tuple(s["points"]): s for s in part.data["swaps"] if s["direction"] == _FORWARD}
    summary = next((s for s in part.data.get("swap_summary") or [] if s["direction"] == _FORWARD), None)
    enough = [tuple(points) for points in summary["sufficient"]] if summary else []
    wanted = [("local_sample_embs",), ("embs",), ("local_sample_embs", "embs"), *enough[:1], *enough[-1:]]
    return [None, *(known[points] for points in dict.fromkeys(wanted) if points in known)][:5]


def _input(entry: Record) -> str:
    where = entry["first_difference"]
    if where is None:
        return f"{entry['label']}: all {entry['total']} outputs are identical."
    first = "the embeddings" if where == "embeddings" else f"layer {layer(where)}"
    (most,) = [row["max_abs"] for row in entry["layers"] if row["layer"] == where]
    return f"{entry['label']}: {first} is the first that differs, by {formats.rounded_up(most or 0)} at most."


@by_part
def every_layer(part: Part) -> Iterator[Piece]:
    """List every captured layer output, for every input."""
    columns = (
        Column("Layer"), Column("Input"), Column("dtype"), Column("Default"), Column("bnb"), Column("Verdict"),
        Column("Values that differ", numeric=True), Column("Mean |A − B|", numeric=True),
        Column("Largest |A − B|", numeric=True), Column("Largest ULP", numeric=True),
        Column("Would pass at", numeric=True),
    )  # fmt: skip
    rows = []
    for entry in part.data["layers"]:
        for row in entry["layers"]:
            kinds = dict.fromkeys(formats.dtype(row[key]) for key in ("dtype_a", "dtype_b"))
            rows.append(
                Row((
                    layer(row["layer"]), f"{entry['label']} {formats.shape(entry['tokens'])}", " / ".join(kinds),
                    flag(row["default"]), flag(row["bnb"]), badge(row["verdict"]),
                    formats.of(row["different"], row["elements"]), formats.amount(row["mean_abs"]),
                    formats.amount(row["max_abs"]),
                    formats.distance(row["max_ulp"], row["max_abs"], row["dtype_a"]), would_pass(row),
                ), passing=row["verdict"] == "identical")
            )  # fmt: skip
    yield dense(f"BERT's layer outputs: {part.a} against {part.b}", columns, rows)


@by_part
def every_swap(part: Part) -> Iterator[Piece]:
    """List what every swap made of the index, in both directions, and what still differs on the way to it."""
    finals = part.final
    columns = (
        Column("Put in"), Column("Posts"), *(Column(c["artifact"].removeprefix("index/")) for c in finals),
        Column("Still differs on the way"),
    )  # fmt: skip
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    for direction in dict.fromkeys(swap["direction"] for swap in part.data["swaps"]):
        swaps = [swap for swap in part.data["swaps"] if swap["direction"] == direction]
        given, into = (part.name(swaps[0][key]) for key in ("from", "into"))
        rows = [Row(("nothing", "", *(SIGNS[c["verdict"]] for c in finals), formats.ABSENT))]
        rows += [_swap(swap, finals) for swap in swaps]
        yield fold(
            f"{formats.plural(len(swaps), 'set')} of {given}'s values put into {into}",
            dense(f"{into}'s index against {given}'s, by what was put in ({signs})", columns, rows),
        )


def _swap(swap: Record, finals: Sequence[Record]) -> Row:
    known = {a["artifact"]: a["verdict"] for a in swap["artifacts"]}
    cells = [SIGNS[known[c["artifact"]]] if c["artifact"] in known else formats.ABSENT for c in finals]
    left = [name for name in swap["not_identical"] if not name.startswith("index/")]
    return Row(
        (" + ".join(swap["points"]), ", ".join(swap["posts"]), *cells, ", ".join(left) or formats.ABSENT),
        passing=swap["all_final_identical"],
    )


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
            pieces += _sorted(*next((candidate for candidate in mine if _comparable(candidate[1])), mine[0]))
    return join(pieces)


def _sorted(part: Part, order: Record) -> Iterator[Piece]:
    yield paragraph([f"{part.where}:", *sentences(part, "sort", "probes")])
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
