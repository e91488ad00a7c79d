"""The swaps: which of A's values, put into B, make B's index A's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.figures import paint_swaps
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, badge, heading, identical, parts
from reportlib.render.svg import figure


def swaps(report: Mapping[str, Any]) -> Html:
    """Say, draw and list what each swap makes identical again.

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
        if not part.precision["swaps"]:
            continue
        sentences = [_sentence(part, swap) for swap in part.precision["swaps"]]
        pieces += [
            heading(part.title, f"swaps-{part.slug}"),
            fragment("sentences", sentences=[_plain(part), *sentences]),
            figure(
                f"swaps-{part.slug}",
                lambda layout, part=part: paint_swaps(layout, part),  # type: ignore[misc]
                title="Verdict of every artifact against A, without and with each swap",
                description=" ".join([_plain(part), *sentences]),
                caption=f"Every artifact of {part.b} against {part.a}'s, without a swap and with the named values of "
                f"{part.a} put in. Blank: computed before the first of these, so as without a swap.",
            ),
            fold("The same as a table", _matrix(part)),
            _left(part),
        ]
    return join(pieces) if pieces else fragment("note", text="This study has no swaps.")


def _plain(part: Part) -> str:
    summary = part.precision["summary"]["final"]
    return f"Without a swap, {identical(summary.get('identical', 0), summary['total'])}."


def _sentence(part: Part, swap: Mapping[str, Any]) -> str:
    replaced = formats.listing(swap["points"])
    posts = f" (the posts' {formats.listing(swap['posts'])})" if swap["posts"] else ""
    same = identical(swap["final_identical"], swap["final_total"])
    said = f"With {replaced} of {part.a} in {part.b}, {same}{posts}."
    if not swap["not_identical"]:
        return f"{said} So is every artifact along the way."
    if swap["all_final_identical"]:
        return f"{said} Along the way these are not: {formats.listing(swap['not_identical'])}."
    return said


def _matrix(part: Part) -> Html:
    chosen = part.precision["swaps"]
    plain = {c["artifact"]: c for c in part.precision["artifacts"] if c["final"]}
    columns = (
        Column("Final artifact"),
        Column("No swap"),
        *(Column(" + ".join(s["points"])) for s in chosen),
    )
    rows = []
    for name, comparison in plain.items():
        cells: list[Any] = [
            Markup("<code>{}</code>").format(comparison["name"]),
            badge(comparison["verdict"]),
        ]
        for swap in chosen:
            found = next((a for a in swap["artifacts"] if a["artifact"] == name), None)
            cells.append(badge(found["verdict"]) if found else formats.ABSENT)
        rows.append(Row(tuple(cells)))
    return table(f"Final artifacts of {part.b} against {part.a}, by what was swapped in", columns, rows)


def _left(part: Part) -> Html:
    rows = [
        Row((" + ".join(swap["points"]), Markup("<code>{}</code>").format(a["artifact"]), badge(a["verdict"]),
             _flag(a["default"]), _flag(a["bnb"]), badge(a["plain_verdict"])))
        for swap in part.precision["swaps"]
        for a in swap["artifacts"]
        if a["verdict"] != "identical"
    ]  # fmt: skip
    if not rows:
        return Html(Markup(""))
    columns = (
        Column("Swapped in"), Column("Artifact"), Column("Verdict"), Column("Default"), Column("bnb"),
        Column("Without the swap"),
    )  # fmt: skip
    inner = table("Artifacts that are not identical in spite of a swap", columns, rows)
    return fold(f"What stays not identical ({formats.plural(len(rows), 'artifact')} over all swaps)", inner)


def _flag(value: bool | None) -> str:
    return formats.ABSENT if value is None else str(value)
