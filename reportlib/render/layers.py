"""The root of the divergence: BERT's layer outputs, for each precision and input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportlib.render import formats
from reportlib.render.artifacts import would_pass
from reportlib.render.figures import paint_layers
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, badge, identical, layer, parts
from reportlib.render.svg import figure


def bert_layers(report: Mapping[str, Any]) -> Html:
    """Say, draw and list how far BERT's layer outputs are apart, and whether the loaded weights are the same.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    chosen = list(parts(report))
    for pair in report["pairs"]:
        shown = [p for p in chosen if p.pair is pair and p.precision["layers"]]
        if not shown:
            pieces.append(fragment("note", text="No layer outputs were captured."))
            continue
        sentences = [sentence for part in shown for sentence in _sentences(part)]
        pieces.append(fragment("sentences", sentences=[*_weights(shown), *sentences]))
        pieces.append(
            figure(
                f"layers-{shown[0].slug}",
                lambda layout, shown=shown: paint_layers(layout, shown),  # type: ignore[misc]
                title="Difference of BERT's layer outputs, by layer, input and precision",
                description=" ".join(sentences),
                caption=_caption(shown),
            )
        )
    pieces += [_detail(part) for part in chosen if part.precision["layers"]]
    return join(pieces)


def _weights(shown: list[Part]) -> list[str]:
    found = [part for part in shown if part.precision["weights"] is not None]
    if found and all(part.precision["weights"]["identical"] for part in found):
        total = formats.count(found[0].precision["weights"]["total"])
        return [f"All {total} loaded weight tensors are identical (A5)."]
    return [_differing_weights(part) for part in found]


def _differing_weights(part: Part) -> str:
    weights = part.precision["weights"]
    if weights["identical"]:
        return f"{part.title}: all {formats.count(weights['total'])} loaded weight tensors are identical (A5)."
    named = formats.listing([*weights["names"], *weights["missing"]][:5])
    return (
        f"{part.title}: {formats.of(weights['different'], weights['total'])} loaded weight tensors differ and "
        f"{formats.count(len(weights['missing']))} are on one side only, so the two models "
        f"are not the same: {named} (A5)."
    )


def _sentences(part: Part) -> list[str]:
    entries = part.precision["layers"]
    if all(entry["first_difference"] is None for entry in entries):
        labels = formats.listing([entry["label"] for entry in entries])
        total = formats.plural(max(entry["total"] for entry in entries), "output")
        return [f"{part.title}: all {total} are identical for every input ({labels})."]
    return [f"{part.title}, input {entry['label']}: {_of_input(entry)}" for entry in entries]


def _of_input(entry: Mapping[str, Any]) -> str:
    where = entry["first_difference"]
    if where is None:
        return f"{identical(entry['total'], entry['total'], 'output')}."
    numbers = [row["max_abs"] for row in entry["layers"] if row["max_abs"]]
    largest = f"; the largest difference is {formats.amount(max(numbers))}" if numbers else ""
    first = "the embeddings" if where == "embeddings" else f"layer {layer(where)}"
    return f"{identical(entry['identical'], entry['total'], 'output')}; {first} is the first that is not{largest}."


def _caption(shown: list[Part]) -> str:
    same = all(entry["first_difference"] is None for part in shown for entry in part.precision["layers"])
    if same:
        return "Every layer output is identical for every input, so every point stands on the line “identical”."
    return (
        "Solid: largest absolute difference between A and B. Dotted: mean. "
        "Points on the line “identical” are outputs with the same bytes."
    )


def _detail(part: Part) -> Html:
    columns = (
        Column("Layer"), Column("Input"), Column("dtype"), Column("Default"), Column("bnb"), Column("Verdict"),
        Column("Values that differ", numeric=True), Column("Mean |A − B|", numeric=True),
        Column("Largest |A − B|", numeric=True), Column("Largest ULP", numeric=True),
        Column("Would pass at", numeric=True),
    )  # fmt: skip
    rows = []
    for entry in part.precision["layers"]:
        for row in entry["layers"]:
            kinds = dict.fromkeys(formats.dtype(row[key]) for key in ("dtype_a", "dtype_b"))
            rows.append(
                Row((
                    layer(row["layer"]), f"{entry['label']} {formats.shape(entry['tokens'])}", " / ".join(kinds),
                    _flag(row["default"]), _flag(row["bnb"]), badge(row["verdict"]),
                    formats.of(row["different"], row["elements"]), formats.amount(row["mean_abs"]),
                    formats.amount(row["max_abs"]),
                    formats.distance(row["max_ulp"], row["max_abs"], row["dtype_a"]),
                    would_pass({"no_tolerance_passes": False, **row}),
                ), passing=row["verdict"] == "identical")
            )  # fmt: skip
    inner = table(f"BERT's layer outputs: {part.a} against {part.b}, {part.label}", columns, rows)
    return join([fold(f"Every layer in {part.label}", inner)])


def _flag(value: bool | None) -> str:
    return formats.ABSENT if value is None else str(value)
