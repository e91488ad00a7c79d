"""The post's four tables, each row beside the post's own, and where along the pipeline the difference appears."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render.figures import paint_layers, paint_pipeline
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import (
    POST_PLATFORM,
    Part,
    answer,
    arithmetic,
    badge,
    heading,
    identical,
    layer,
    parts,
    processor,
)
from reportlib.render.svg import figure
from reportlib.words import formats

_Report = Mapping[str, Any]
_Comparison = Mapping[str, Any]


def final_artifacts(report: _Report) -> Html:
    """Draw the tables of ColBERT's own files: integers, then floats, for each precision of each pair.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    return _tables(report, lambda c: bool(c["final"]), "final", "torch.equal")


def intermediate_artifacts(report: _Report) -> Html:
    """Draw the tables of values taken along the pipeline: the post's rows, then those the post does not have."""
    return _tables(report, lambda c: not c["final"], "intermediate", "Equal")


def _tables(report: _Report, chosen: Callable[[_Comparison], bool], slug: str, equality: str) -> Html:
    pieces: list[Html] = []
    for part in parts(report):
        rows = [c for c in part.precision["artifacts"] if chosen(c)]
        pieces.append(heading(part.title, f"{slug}-{part.slug}"))
        ours = [c for c in rows if c["post"]]
        pieces.append(_integers(part, [c for c in ours if c["kind"] != "float"], slug, equality))
        pieces.append(_floats(part, [c for c in ours if c["kind"] == "float"], slug))
        if ours:
            pieces.append(fragment("note", text=beside_post(report, part, ours)))
        further = [c for c in rows if not c["post"]]
        if further:
            pieces.append(_further(part, further))
        pieces.append(_in_words(rows))
    return join(pieces)


def _integers(part: Part, rows: Sequence[_Comparison], slug: str, equality: str) -> Html:
    columns = (
        Column("Artifact"), Column("dtype"), Column(equality), Column("Verdict"),
        Column("Values that differ", numeric=True), Column("Largest difference", numeric=True), Column("Post"),
    )  # fmt: skip
    drawn = [
        Row(
            (
                _name(c),
                _dtype(c),
                _equal(c),
                badge(c["verdict"]),
                _differ(c),
                formats.largest(c["max_abs"], c["kind"]),
                _post(c),
            ),
            passing=_passes(c),
        )
        for c in rows
    ]
    what = "Integers" if slug == "final" else "Integers and lists"
    return table(f"{what} in the {slug} artifacts: {part.a} against {part.b}", columns, drawn)


def _floats(part: Part, rows: Sequence[_Comparison], slug: str) -> Html:
    columns = (
        Column("Artifact"), Column("dtype"), Column("Default"), Column("bnb"), Column("Verdict"),
        Column("Values that differ", numeric=True), Column("Mean |A − B|", numeric=True),
        Column("Largest |A − B|", numeric=True), Column("Largest ULP", numeric=True),
        Column("Would pass at", numeric=True), Column("Post"),
    )  # fmt: skip
    drawn = [
        Row(passing=_passes(c), cells=(
            _name(c), _dtype(c), _flag(c, "default"), _flag(c, "bnb"), badge(c["verdict"]), _differ(c),
            formats.amount(c["mean_abs"]), formats.largest(c["max_abs"], c["kind"]), _ulp(c),
            would_pass(c), _post(c),
        ))
        for c in rows
    ]  # fmt: skip
    return table(f"Floats in the {slug} artifacts: {part.a} against {part.b}", columns, drawn)


def _further(part: Part, rows: Sequence[_Comparison]) -> Html:
    columns = (
        Column("Artifact"), Column("Stage"), Column("dtype"), Column("Verdict"),
        Column("Values that differ", numeric=True), Column("Largest |A − B|", numeric=True),
        Column("Largest ULP", numeric=True), Column("Would pass at", numeric=True),
    )  # fmt: skip
    drawn = [
        Row(
            (_name(c), c["stage"], _dtype(c), badge(c["verdict"]), _differ(c),
             formats.largest(c["max_abs"], c["kind"]), _ulp(c), would_pass(c)),
            passing=_passes(c),
        )
        for c in rows
    ]  # fmt: skip
    caption = f"Capture points that the post does not have: {part.a} against {part.b}"
    pieces: list[Html] = []
    for passing, said in ((False, "not identical"), (True, "identical")):
        chosen = [row for row in drawn if row.passing is passing]
        if chosen:
            number = formats.plural(len(chosen), "capture point")
            verb = "is" if len(chosen) == 1 else "are"
            pieces.append(fold(f"{number} that the post does not have {verb} {said}", table(caption, columns, chosen)))
    return join(pieces)


def _in_words(rows: Sequence[_Comparison]) -> Html:
    sentences = [f"`{c['name']}`: {c['text']}" for c in rows if c["verdict"] != "identical"]
    if not sentences:
        return Html(Markup(""))
    return fold("What is not identical, in words", fragment("sentences", sentences=sentences))


def beside_post(report: _Report, part: Part, rows: Sequence[_Comparison]) -> str:
    """Say how many rows agree with the post's and, where they do not, what is known of the reason."""
    precision = arithmetic(report, part.precision["precision"])
    rows = [c for c in rows if c["post"]["agrees"] is not None]
    agreeing = [c for c in rows if c["post"]["agrees"]]
    said = [f"Beside the post: {formats.of(len(agreeing), len(rows))} verdicts agree with its own."]
    differing = [c["name"] for c in rows if not c["post"]["agrees"]]
    if agreeing and differing:
        said.append(f"Those that do not: {formats.listing(differing)}.")
    other = sorted({(c["post"]["dtype"], (c["a"] or {}).get("dtype")) for c in rows if not c["post"]["dtype_agrees"]},
                   key=str)  # fmt: skip
    if other:
        pairs = [f"{formats.dtype(b)} where the post has {formats.dtype(a)}" for a, b in other]
        said.append(f"The dtype differs in {formats.of(sum(not c['post']['dtype_agrees'] for c in rows), len(rows))}"
                    f" rows, and with it the tolerance: {formats.listing(pairs)}.")  # fmt: skip
    if differing or other:
        said.append(f"The post ran on {POST_PLATFORM}; this is {precision} on {processor(report)}.")
    return " ".join(said)


def would_pass(comparison: _Comparison) -> Html | str:
    """Return the smallest tolerance that would let a float pass: an absolute one, and a multiple of bnb's."""
    if comparison["no_tolerance_passes"]:
        return "no tolerance"
    if comparison["smallest_atol"] is None:
        return formats.ABSENT
    if comparison["smallest_atol"] == 0:
        return "0"
    return fragment("tolerance", atol=comparison["smallest_atol"], factor=comparison["bnb_factor"])


def _ulp(comparison: _Comparison) -> str:
    if comparison["kind"] != "float" or not comparison["a"]:
        return formats.ABSENT
    return formats.distance(comparison["max_ulp"], comparison["max_abs"], comparison["a"]["dtype"])


def _passes(comparison: _Comparison) -> bool:
    return bool(comparison["verdict"] == "identical")


def _name(comparison: _Comparison) -> Html:
    label = comparison["file"] or comparison["name"]
    inner = comparison["name"] if comparison["file"] and comparison["file"] != f"{comparison['name']}.pt" else ""
    return fragment("artifact", label=label, inner=inner, description=comparison["description"])


def _dtype(comparison: _Comparison) -> str:
    sides = [formats.dtype(side["dtype"]) for side in (comparison["a"], comparison["b"]) if side]
    return " / ".join(dict.fromkeys(sides)) or formats.ABSENT


def _equal(comparison: _Comparison) -> str:
    """Return what ``torch.equal`` says, or the post's word for tensors of two shapes."""
    if comparison["verdict"] in {"shape mismatch", "missing"}:
        return str(comparison["verdict"])
    return str(comparison["different"] == 0)


def _flag(comparison: _Comparison, tolerance: str) -> str:
    if comparison[tolerance] is None:
        return "shape mismatch" if comparison["verdict"] == "shape mismatch" else formats.ABSENT
    return str(comparison[tolerance])


def _differ(comparison: _Comparison) -> Html | str:
    if comparison["verdict"] == "shape mismatch":
        return fragment("shapes", a=comparison["a"]["shape"], b=comparison["b"]["shape"])
    different, elements = comparison["different"], comparison["elements"]
    if not different or elements is None:
        return formats.of(different, elements)
    return fragment(
        "differ",
        of=formats.of(different, elements),
        share="" if different == elements else formats.percent(different, elements),
    )


def _post(comparison: _Comparison) -> Html | str:
    post = comparison["post"]
    if not post:
        return formats.ABSENT
    said = str(post["equal"]) if post["equal"] is not None else f"{post['default']}, {post['bnb']}"
    return fragment("post", said=said, agrees=answer(post["agrees"], "agrees", "differs", plain=True))


def pipeline(report: _Report) -> Html:
    """Draw where along the pipeline the first difference appears, and how far it spreads."""
    pieces = []
    for pair in report["pairs"]:
        chosen = [p for p in parts(report) if p.pair is pair]
        sentences = [_first(p) for p in chosen]
        slug = chosen[0].slug if chosen else "none"
        pieces.append(
            figure(
                f"pipeline-{slug}",
                lambda layout, chosen=chosen: paint_pipeline(layout, chosen),  # type: ignore[misc]
                title="Verdict of every capture point, in pipeline order",
                description=" ".join([*sentences, *(_spread(p) for p in chosen)]),
                caption=" ".join(sentences),
            )
        )
    return join(pieces)


def _first(part: Part) -> str:
    first = part.precision["first_difference"]
    if first is None:
        return f"{part.title}: every capture point is identical."
    start = f"{part.title}: the first capture point that is not identical is"
    if first["name"] == "layers":
        return f"{start} BERT's layers."
    return f"{start} {first['name']}, at the stage “{first['stage']}”."


def _spread(part: Part) -> str:
    rows = part.precision["artifacts"]
    named = [f"{c['name']} {c['verdict']}" for c in rows if c["verdict"] != "identical"]
    return f"{part.title}: {formats.of(len(named), len(rows))} capture points are not identical" + (
        f" ({', '.join(named)})." if named else "."
    )


# The root of the divergence: BERT's layer outputs, for each precision and input.


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
                    _layer_flag(row["default"]), _layer_flag(row["bnb"]), badge(row["verdict"]),
                    formats.of(row["different"], row["elements"]), formats.amount(row["mean_abs"]),
                    formats.amount(row["max_abs"]),
                    formats.distance(row["max_ulp"], row["max_abs"], row["dtype_a"]),
                    would_pass({"no_tolerance_passes": False, **row}),
                ), passing=row["verdict"] == "identical")
            )  # fmt: skip
    inner = table(f"BERT's layer outputs: {part.a} against {part.b}, {part.label}", columns, rows)
    return join([fold(f"Every layer in {part.label}", inner)])


def _layer_flag(value: bool | None) -> str:
    return formats.ABSENT if value is None else str(value)
