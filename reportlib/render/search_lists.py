"""How much the lists of passages changed, whether or not they got better: needs no judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.render import formats
from reportlib.render.figures_search import paint_lists
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, heading
from reportlib.render.search_words import NOT_SEARCHED, estimate, in_line, name, searched, share, shares
from reportlib.render.svg import figure


def search_lists(report: Mapping[str, Any]) -> Html:
    """Show how far apart the lists of every comparison are, the reseeded indexes beside the upgrade.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for part, found in searched(report):
        pieces.append(heading(part.title, f"search-lists-{part.slug}", 4))
        made = [c for c in found["comparisons"] if c["queries"]]
        if made:
            pieces += [_table(part, found, made), _figure(part, made)]
        else:
            pieces.append(fragment("note", text="No query was searched, so there are no lists to compare."))
    return join(pieces) if pieces else fragment("note", text=NOT_SEARCHED)


def _table(part: Part, found: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> Html:
    k = formats.count(found["k"])
    columns = (
        Column("Compared"), Column("Lists that changed", numeric=True), Column("Other passages", numeric=True),
        Column(f"Different passages per query, 0 to {formats.count(2 * found['k'])}", numeric=True),
        Column("Share in common", numeric=True), Column("Rank-biased overlap", numeric=True),
        Column("Largest difference of a score", numeric=True),
    )  # fmt: skip
    rows = [
        Row(
            (
                name(part, c),
                fragment(
                    "estimate",
                    value=formats.of(c["queries"] - c["same_order"], c["queries"]),
                    beside=f"{' to '.join(shares([c['changed_queries'][end] for end in ('low', 'high')]))} %",
                ),
                formats.of(c["queries"] - c["same_set"], c["queries"]),
                estimate(c["different_passages"], 2),
                estimate(c["overlap"]),
                estimate(c["rbo"]),
                formats.amount(c["max_score_difference"]),
            )
        )
        for c in made
    ]
    return table(f"The best {k} passages of each query, compared; with 95 % intervals", columns, rows)


def _figure(part: Part, made: Sequence[Mapping[str, Any]]) -> Html:
    said = [
        f"{name(part, c)}: {share(c['changed_queries']['share'])} of the lists changed, "
        f"{in_line(c['different_passages'], 2)} different passages per query, share in common {in_line(c['overlap'])}, "
        f"rank-biased overlap {in_line(c['rbo'])}."
        for c in made
    ]
    band = " Grey: the index made with another seed of k-means." if any(c["kind"] == "seed" for c in made) else ""
    return figure(
        f"search-lists-{part.slug}",
        lambda layout: paint_lists(layout, made),
        title="How much the lists of passages changed, with 95 % intervals",
        description=" ".join(said),
        caption=f"The further from the dotted line, the more changed. A is {part.a}, B is {part.b}.{band}",
    )
