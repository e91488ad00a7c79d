"""The rankings of each version on its own index: what there is to show where nothing was searched crosswise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, parts

#: A longer list of changed queries is folded.
_OPEN_ROWS = 6


def rankings(report: Mapping[str, Any]) -> Html:
    """Show how many queries rank as before, how far scores moved, and the queries that changed most.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    every = list(parts(report))
    return join([ranked(every), *(changed_rankings(part) for part in every)])


def ranked(shown: Sequence[Part]) -> Html:
    """Draw one row for each precision with rankings: how many queries rank as before, and how far scores moved."""
    shown = [part for part in shown if part.precision["rankings"]]
    if not shown:
        return fragment("note", text="This study has no search, so it cannot say whether rankings changed.")
    columns = (
        Column("Part"), Column("Queries", numeric=True), Column("Same passages, same order", numeric=True),
        Column("Same passages", numeric=True), Column("Passages that differ per query", numeric=True),
        Column("Largest difference of a score", numeric=True),
    )  # fmt: skip
    k = formats.listing(sorted({formats.count(part.precision["rankings"]["k"]) for part in shown}), "or")
    return table(f"The best {k} passages of each query on A's index and on B's", columns, [_row(p) for p in shown])


def _row(part: Part) -> Row:
    found = part.precision["rankings"]
    note = ""
    if found["queries_missing"]:
        note = f"{formats.plural(found['queries_missing'], 'query', 'queries')} ranked on one side only."
    return Row(
        (
            part.label,
            formats.count(found["queries"]),
            formats.of(found["same_order"], found["queries"]),
            formats.of(found["same_set"], found["queries"]),
            f"{formats.amount(found['symmetric_difference'])} of {formats.count(2 * found['k'])}",
            formats.amount(found["max_score_difference"]),
        ),
        note,
    )


def changed_rankings(part: Part) -> Html:
    """List the queries whose rankings changed most, by the numbers of their passages; nothing where none did."""
    changed = (part.precision["rankings"] or {}).get("changed")
    if not changed:
        return Html(Markup(""))
    columns = (
        Column("Query"), Column("First rank that differs", numeric=True),
        Column(f"Only with {part.a}"), Column(f"Only with {part.b}"),
    )  # fmt: skip
    rows = [Row((str(c["qid"]), formats.count(c["first_rank"]), _ids(c["only_a"]), _ids(c["only_b"]))) for c in changed]
    inner = table(f"Queries whose rankings changed most, {part.label}", columns, rows)
    if len(rows) <= _OPEN_ROWS:
        return inner
    return fold(f"The {formats.count(len(rows))} queries that changed most in {part.label}", inner)


def _ids(ids: list[Any]) -> str:
    return ", ".join(str(i) for i in ids) or "none"
