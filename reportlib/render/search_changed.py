"""The queries that changed: their text, and the passages that went and came, with text, ranks, scores and relevance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.html import Html, fold, fragment, join
from reportlib.render.labels import Part, heading, parts
from reportlib.render.rankings import changed_rankings

#: Queries, and passages of a side of a query, that stand open; further ones are folded.
_OPEN_QUERIES, _OPEN_PASSAGES = 3, 3
#: Characters of a query that stand open: a question of a line or two is whole, a long one is cut.
_QUERY_LENGTH = 300
_BADGES = {"better": ("identical", "▲"), "worse": ("different", "▼"), "equal": ("plain", "=")}


def changed_queries(report: Mapping[str, Any]) -> Html:
    """Show the queries that the upgrade changed most, the first few open and the others folded.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
        Of a precision that was not searched crosswise, the changed queries of its rankings.
    """
    pieces: list[Html] = []
    for part in parts(report):
        found = part.precision.get("search")
        inner = changed_rankings(part) if found is None else _part(part, found)
        if inner.markup:
            pieces += [heading(part.title, f"search-changed-{part.slug}", 4), inner]
    return join(pieces) if pieces else fragment("note", text="No query is known to have changed.")


def _part(part: Part, found: Mapping[str, Any]) -> Html:
    if not found["queries"]:
        return fragment("note", text="No query was searched.")
    if not found["changed"]:
        whole = formats.plural(found["queries"], "query", "queries")
        return fragment("note", text=f"No list changed: all {whole} get the same passages in the same order.")
    cards = [_card(part, found, number) for number in range(len(found["changed"]))]
    shown, rest = cards[:_OPEN_QUERIES], cards[_OPEN_QUERIES:]
    pieces = [fragment("paragraph", text=_opening(part, found)), *shown]
    if rest:
        pieces.append(fold(f"{formats.plural(len(rest), 'more query', 'more queries')}", join(rest)))
    return join(pieces)


def _opening(part: Part, found: Mapping[str, Any]) -> str:
    listed, total = len(found["changed"]), found["changed_total"]
    which = "All of them follow" if listed == total else f"The {formats.count(listed)} that changed most follow"
    first = ", those first whose measures changed" if found["judged"] else ""
    verb = "has another list" if total == 1 else "have another list"
    return (
        f"Of {formats.plural(found['queries'], 'query', 'queries')}, {formats.count(total)} {verb} with {part.b} on "
        f"its index than with {part.a} on its own. {'It follows' if total == 1 else which}{first if total > 1 else ''}."
    )


def _card(part: Part, found: Mapping[str, Any], number: int) -> Html:
    query = found["changed"][number]
    text = _clean(query["text"]) or "(no text)"
    shown = formats.excerpt(text, _QUERY_LENGTH)
    judged = bool(query["measures"])
    return fragment(
        "query",
        slug=f"query-{part.slug}-{number + 1}",
        text=shown,
        whole=text if shown.endswith("…") and shown != text else "",
        verdict=_verdict(query) if judged else "",
        facts=_facts(query, found, judged=judged),
        sides=_sides(part, query, found),
    )


def _verdict(query: Mapping[str, Any]) -> Html:
    kind, sign = _BADGES.get(query["verdict"], ("missing", "?"))
    words = {"equal": "neither better nor worse"}.get(query["verdict"], query["verdict"])
    return fragment("badge", kind=kind, sign=sign, text=words)


def _facts(query: Mapping[str, Any], found: Mapping[str, Any], *, judged: bool) -> list[Markup | str]:
    moved = [m for m in query["measures"] if m["left"] != m["right"]]
    said: list[Markup | str] = [
        f"{m['measure']} {formats.decimals(m['left'])} → {formats.decimals(m['right'])}" for m in moved
    ]
    if not judged and found["judged"]:
        said.append("not judged")
    said.append(f"the lists differ from rank {formats.count(query['first_rank'])} on")
    if not query["went"] and not query["came"]:
        said.append("the same passages in another order")
    return [*said, Markup("query <bdi><code>{}</code></bdi>").format(_clean(query["qid"]))]


def _sides(part: Part, query: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the template shows of the passages that went, and of those that came."""
    k = formats.count(found["k"])
    sides = []
    for key, sign, verb, whose in (("went", "−", "Went", part.a), ("came", "+", "Came", part.b)):
        passages = [_passage(part, p, judged=bool(query["measures"])) for p in query[key]]
        if passages:
            rest = passages[_OPEN_PASSAGES:]
            title = f"{verb}: among the best {k} of {whose} only"
            more = f"{formats.plural(len(rest), 'more passage')}"
            sides.append(
                {
                    "kind": key,
                    "sign": sign,
                    "title": title,
                    "shown": passages[:_OPEN_PASSAGES],
                    "rest": rest,
                    "more": more,
                }
            )
    return sides


def _passage(part: Part, passage: Mapping[str, Any], *, judged: bool) -> dict[str, Any]:
    facts: list[Markup | str] = [f"{part.a}: {_rank(passage['left'])}", f"{part.b}: {_rank(passage['right'])}"]
    if passage["grade"] is not None:
        facts.insert(
            0, "not relevant" if passage["grade"] == 0 else f"relevant, grade {formats.count(passage['grade'])}"
        )
    elif judged:
        facts.insert(0, "no judgement")
    facts.append(Markup("passage <bdi><code>{}</code></bdi>").format(_clean(passage["id"])))
    return {"text": _clean(passage["text"]) or "(no text)", "facts": facts}


def _rank(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not found"
    return f"rank {formats.count(found['rank'])}, score {formats.decimals(found['score'], 4)}"


def _clean(text: object) -> str:
    """Return a stranger's text as one that can be written: half a surrogate pair would stop the page."""
    return str(text).encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd").strip()
