"""Where it starts: BERT's layers, and the swaps that show what the difference comes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.findings.parts import Part
from reportlib.render.artifacts import flag, would_pass
from reportlib.render.figures import paint_layers, paint_swaps
from reportlib.render.html import Column, Row, dense, fold
from reportlib.render.labels import SIGNS, badge, layer
from reportlib.render.sections import Piece, by_part, said, told
from reportlib.render.svg import figure
from reportlib.words import formats

Record = Mapping[str, Any]
_FORWARD = "a into b"


@by_part
def where_it_starts(part: Part) -> Iterator[Piece]:
    """Say where the difference comes in and what it comes through, with BERT's layers and the telling swaps drawn."""
    yield said(told(part, "bert", "first"))
    if any(entry["first_difference"] is not None for entry in part.data["layers"]):
        yield figure(
            f"layers-{part.slug}",
            lambda layout: paint_layers(layout, part),
            title="Difference of BERT's layer outputs, by layer and input",
            description=" ".join(_input(entry) for entry in part.data["layers"]),
            caption="How far the outputs of BERT's layers are apart. Solid: largest; dotted: mean.",
        )
    yield said(told(part, "swaps"))
    rows = telling(part)
    if len(rows) > 1:
        yield figure(
            f"swaps-{part.slug}",
            lambda layout: paint_swaps(layout, part, rows),
            title=f"Which tensors of the index become {part.a}'s when its values are put into {part.b}",
            description=" ".join(_swapped(part, swap) for swap in rows if swap),
            caption=f"{part.b}'s index with {part.a}'s values put in, one set a row: = as {part.a}'s, ≠ not.",
        )


def telling(part: Part) -> Sequence[Record | None]:
    """Return the swaps of A's values into B that tell most: none, the posts', then the smallest that are enough."""
    known = {tuple(s["points"]): s for s in part.data["swaps"] if s["direction"] == _FORWARD}
    summary = next((s for s in part.data.get("swap_summary") or [] if s["direction"] == _FORWARD), None)
    enough = [tuple(points) for points in summary["sufficient"]] if summary else []
    wanted = [("local_sample_embs",), ("embs",), ("local_sample_embs", "embs"), *enough[:1], *enough[-1:]]
    return [None, *(known[points] for points in dict.fromkeys(wanted) if points in known)][:5]


def _swapped(part: Part, swap: Record) -> str:
    left = formats.of(swap["final_identical"], swap["final_total"])
    return f"With {formats.listing(swap['points'])} of {part.a}, {left} tensors are identical."


def _input(entry: Record) -> str:
    where = entry["first_difference"]
    if where is None:
        return f"{entry['label']}: all {entry['total']} outputs are identical."
    first = "the embeddings" if where == "embeddings" else f"layer {layer(where)}"
    numbers = [row["max_abs"] for row in entry["layers"] if row["max_abs"]]
    return f"{entry['label']}: {first} is the first that differs, by {formats.amount(max(numbers, default=0))} at most."


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
