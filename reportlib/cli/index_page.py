"""`reportlib compare --html`: the comparison of two index folders as one small page that asks no host for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import bs4
import jinja2
from markupsafe import Markup

from reportlib.gate import FAILS, HOLDS, Judgement
from reportlib.render.html import Column, Html, Row, badge, fragment, let_break, table
from reportlib.words import formats

_Record = Mapping[str, Any]
_OUTCOMES = {HOLDS: "identical", FAILS: "different"}
#: The policy forbids scripts and every request: what a file says could do nothing even past the escaping.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="description" content="{{ answer }}">
<title>{{ title }}</title>
<style>
{{ style }}
</style>
</head>
<body>
<main>
<header class="opening">
<p class="kicker">reportlib compare</p>
<h1>{{ title }}</h1>
<p>{{ answer }}</p>
</header>
{% for piece in pieces %}
{{ piece }}
{% endfor %}
</main>
</body>
</html>
"""


def page(comparison: _Record, judgements: Sequence[Judgement], answer: str, warnings: Sequence[str]) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    comparison : mapping
        What `reportlib.compare.indexes.compare_indexes` returned.
    judgements : sequence of Judgement
        Of the gate; empty where nothing was required.
    answer : str
        The comparison in a sentence.
    warnings : sequence of str
        What could not be told, and why.

    Returns
    -------
    str
        HTML; the same comparison gives the same bytes.
    """
    style = files("reportlib.render").joinpath("templates", "report", "style.css").read_text(encoding="utf-8")
    pieces = [
        _requirements(judgements),
        _artifacts_table(comparison),
        _sides_table(comparison),
        _settings_table(comparison),
    ]
    told = [comparison["renumbering"]["text"]] if comparison["renumbering"] else []
    if warnings or told:
        pieces.insert(0, fragment("sentences", sentences=[*warnings, *told]))
    # The style sheet is this package's own; a quotation mark in it must stay one.
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        _PAGE
    )
    drawn = template.render(title="Two indexes", answer=answer, pieces=pieces, style=Markup(style))  # noqa: S704
    soup = bs4.BeautifulSoup(drawn, "html.parser")
    let_break(soup)
    return str(soup) + "\n"


def _requirements(judgements: Sequence[Judgement]) -> Html:
    rows = [
        Row((j.requirement.text, badge(_OUTCOMES.get(j.outcome, "missing"), j.outcome), j.reason)) for j in judgements
    ]
    return table("What was required", [Column("requirement"), Column("outcome"), Column("measured")], rows)


def _artifacts_table(comparison: _Record) -> Html:
    columns = [Column("artifact"), Column("verdict"), Column("A"), Column("B"), Column("differing", numeric=True)]
    rows = []
    for record in comparison["artifacts"]:
        verdict = badge(record["verdict"]) if record["verdict"] else badge("missing", "not compared")
        fraction = formats.percent_of(record["different"], record["elements"]) if record["elements"] else formats.ABSENT
        same = record["verdict"] == "identical"
        cells = (record["name"], verdict, _described(record["a"]), _described(record["b"]), fraction)
        rows.append(Row(cells, "" if same else record["text"], passing=same))
    return table("Final artifacts", columns, rows)


def _described(side: _Record | None) -> str:
    return formats.ABSENT if side is None else f"{side['dtype']} {formats.shape(side['shape'])}"


def _sides_table(comparison: _Record) -> Html:
    named = ("path", "chunks", "passages", "embeddings", "centroids", "dim", "nbits", "ivf_file", "devices")
    rows = [Row((key.replace("_", " "), *(_text(comparison[side][key]) for side in ("a", "b")))) for key in named]
    return table("The indexes", [Column("of the index"), Column("A"), Column("B")], rows)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return formats.count(value) if value is None or isinstance(value, int) else str(value)


def _settings_table(comparison: _Record) -> Html:
    rows = [Row((s["name"], json.dumps(s["a"]), json.dumps(s["b"]))) for s in comparison["settings"] if not s["place"]]
    columns = [Column("setting"), Column("A"), Column("B")]
    return table("Settings that differ", columns, rows)
