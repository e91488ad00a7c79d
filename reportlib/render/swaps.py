"""The swaps: which of one side's values, put into the other, make its index the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.controls import inconclusive
from reportlib.render.figures_swaps import Way, paint_swaps
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, badge, heading, identical, parts
from reportlib.render.svg import figure


def swaps(report: Mapping[str, Any]) -> Html:
    """Say, draw and list what each swap makes identical, in both directions.

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
        ways = _ways(part)
        if not ways:
            continue
        pieces += [heading(part.title, f"swaps-{part.slug}"), inconclusive(part)]
        pieces.append(fragment("sentences", sentences=_sentences(report, part)))
        for way in ways:
            pieces += _drawn(part, way)
    return join(pieces) if pieces else fragment("note", text="This study has no swaps.")


def _ways(part: Part) -> list[Way]:
    sides = {part.pair["a"]: part.a, part.pair["b"]: part.b}
    found: dict[str, Way] = {}
    for swap in part.precision["swaps"]:
        given, into = (sides.get(swap[key], swap[key]) for key in ("from", "into"))
        way = found.setdefault(swap["direction"], Way(swap["direction"], given, into, ()))
        found[swap["direction"]] = Way(way.direction, given, into, (*way.swaps, swap))
    return list(found.values())


def _sentences(report: Mapping[str, Any], part: Part) -> list[str]:
    """Return what the swaps show together, in the findings' own words; less where a control failed."""
    said = [_plain(part)]
    key = f"{part.pair['b']}/{part.precision['precision']}"
    told = {f["id"]: f["sentence"] for f in report["findings"]}
    wanted = ("swap-sets", "swap-back-sets", "posts-swap")
    return said + [told[name] for each in wanted if (name := f"{key}/{each}") in told]


def _plain(part: Part) -> str:
    summary = part.precision["summary"]["final"]
    return f"Without a swap, {identical(summary.get('identical', 0), summary['total'])}."


def _drawn(part: Part, way: Way) -> list[Html]:
    slug = f"swaps-{part.slug}{'' if way.forward else '-back'}"
    told = [_sentence(way, swap) for swap in way.swaps]
    count = formats.plural(len(told), "swap")
    return [
        figure(
            slug,
            lambda layout: paint_swaps(layout, part, way),
            title=f"What becomes identical with {way.given}'s values in {way.into}",
            description=" ".join([_plain(part), *told]).replace("`", ""),
            caption=f"{way.given}'s values put into {way.into}: one row for each set (on a phone, one column), and "
            "every artifact in the order of the pipeline. Blank: computed before, so as without the swap.",
        ),
        fold(f"{count} of {way.given} into {way.into}, in words", fragment("sentences", sentences=told)),
        fold(f"{way.given} into {way.into}, as a table", _matrix(part, way)),
        _left(way),
    ]


def _sentence(way: Way, swap: Mapping[str, Any]) -> str:
    replaced = formats.listing([f"`{name}`" for name in swap["points"]])
    posts = f" (the posts' {formats.listing(swap['posts'])})" if swap["posts"] else ""
    same = identical(swap["final_identical"], swap["final_total"])
    said = f"With {replaced} of {way.given} in {way.into}, {same}{posts}."
    if not swap["not_identical"]:
        return f"{said} So is every artifact along the way."
    if swap["all_final_identical"]:
        return f"{said} Along the way these are not: {formats.listing(swap['not_identical'])}."
    return said


def _matrix(part: Part, way: Way) -> Html:
    """Draw the final artifacts of each swap: one row for each, so that many swaps need no wider page."""
    finals = [c for c in part.precision["artifacts"] if c["final"]]
    columns = (Column("Swapped in"), *(Column(c["artifact"].removeprefix("index/")) for c in finals))
    rows = [Row(("nothing", *(badge(c["verdict"]) for c in finals)))]
    for swap in way.swaps:
        found = {a["artifact"]: a["verdict"] for a in swap["artifacts"]}
        cells = [badge(found[c["artifact"]]) if c["artifact"] in found else formats.ABSENT for c in finals]
        rows.append(Row((" + ".join(swap["points"]), *cells)))
    return table(f"Final artifacts of {way.into} against {way.given}'s, by what was swapped in", columns, rows)


def _left(way: Way) -> Html:
    rows = [
        Row((" + ".join(swap["points"]), Markup("<code>{}</code>").format(a["artifact"]), badge(a["verdict"]),
             _flag(a["default"]), _flag(a["bnb"]), badge(a["plain_verdict"]) if a["plain_verdict"] else formats.ABSENT))
        for swap in way.swaps
        if swap["all_final_identical"]
        for a in swap["artifacts"]
        if a["verdict"] != "identical"
    ]  # fmt: skip
    if not rows:
        return Html(Markup(""))
    columns = (
        Column("Swapped in"), Column("Artifact"), Column("Verdict"), Column("Default"), Column("bnb"),
        Column("Without the swap"),
    )  # fmt: skip
    inner = table("Artifacts that are not identical although the index is", columns, rows)
    return fold(f"What still differs along the way where the index is identical ({formats.count(len(rows))})", inner)


def _flag(value: bool | None) -> str:
    return formats.ABSENT if value is None else str(value)
