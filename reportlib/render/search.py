"""Does it matter for search: what was searched with what, the answer in sentences, and the yardstick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render.controls import inconclusive
from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, heading, parts
from reportlib.render.measures import comparison, ends, place, places, quality_sentences, searched, shares, spread
from reportlib.words import formats
from reportlib.words.searches import least_changed, too_few

# The rankings of each version on its own index: what there is to show where nothing was searched crosswise.

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


# The yardstick: the upgrade's change beside that of other seeds of k-means.

_Figure = Mapping[str, Any]
#: The figures of lists that the sentence names, with what they count.
_LISTS = {"changed_queries": "queries", "different_passages": "different passages per query"}
#: How much the lists change, by their verdict.
_THAN = {"smaller": "less than", "within": "as much as", "larger": "more than"}
_NAMES = {"overlap": "Share in common", "rbo": "Rank-biased overlap"}
_VERDICTS = {"smaller": "changes less", "within": "within the range", "larger": "changes more"}


def yardstick_sentence(yardstick: Mapping[str, Any] | None) -> str:
    """Say whether the upgrade changes the lists less, as much or more than another seed of k-means does.

    Parameters
    ----------
    yardstick : mapping or None
        The record's ``yardstick``.

    Returns
    -------
    str
        With the figures of the upgrade and of the seeds; of lists alone, for these change at every seed.
    """
    figures = [] if yardstick is None else [f for f in yardstick["figures"] if f["name"] in _LISTS]
    if yardstick is None or not yardstick["seeds"] or not figures:
        return "There is no yardstick: no index was made again with another seed of k-means."
    figures.sort(key=lambda f: list(_LISTS).index(f["name"]))
    seeds = f"{formats.plural(yardstick['seeds'], 'other seed')} of k-means"
    verdicts = {f["verdict"] for f in figures}
    if len(verdicts) == 1:
        return f"The lists change {_THAN[verdicts.pop()]} with {seeds}: {', '.join(map(_against, figures))}."
    each = [f"{_THAN[f['verdict']]} with the seeds by {_against(f)}" for f in figures]
    return f"Beside {seeds}, the lists change {formats.listing(each)}."


def _against(figure: _Figure) -> str:
    """Return the upgrade's number against the range of the seeds': ``3.0 % of queries against 96.2 to 98.0 %``."""
    own, low, high = _numbers(figure)
    between = low if low == high else f"{low} to {high}"
    if figure["name"] == "changed_queries":
        return f"{own} % of queries against {between} %"
    return f"{own} {_LISTS[figure['name']]} against {between}"


def _numbers(figure: _Figure) -> list[str]:
    """Return the upgrade's number and the least and the most of the seeds', all with as many decimals."""
    found = [figure["upgrade"], min(figure["seeds"]), max(figure["seeds"])]
    if figure["name"] == "changed_queries":
        return shares(found)
    digits = places(found, 2 if figure["name"] == "different_passages" else 4)
    return [formats.decimals(value, digits) for value in found]


def yardstick_table(part: Part, found: Mapping[str, Any]) -> Html:
    """List what the sentence leaves out: overlap and the measures' means, with what a verdict is worth.

    Parameters
    ----------
    part : Part
        The precision.
    found : mapping
        Its record ``search``.

    Returns
    -------
    Html
        Nothing without a yardstick.
    """
    yardstick, upgrade = found["yardstick"], comparison(found)
    if yardstick is None or not yardstick["seeds"] or upgrade is None:
        return join([])
    figures = [f for f in yardstick["figures"] if f["name"] not in _LISTS]
    if not figures:
        return join([])
    least = least_changed(found)
    few = {m["measure"] for m in upgrade["measures"] if too_few(m, least)}
    columns = (
        Column("Figure"), Column("Upgrade", numeric=True), Column("Seeds", numeric=True), Column("Verdict"),
    )  # fmt: skip
    rows = [_seed_row(figure, few) for figure in figures]
    return join(
        [
            table(f"The upgrade beside other seeds of k-means, {part.label}", columns, rows),
            fragment("note", text=" ".join(_worth(yardstick["seeds"], figures, few, least))),
        ]
    )


def _seed_row(figure: _Figure, few: set[str]) -> Row:
    own, low, high = _numbers(figure)
    name = str(figure["name"])
    verdict = formats.ABSENT if name in few else _VERDICTS[figure["verdict"]]
    title = _NAMES.get(name, f"Change of the mean {name}, either way")
    return Row((title, own, low if low == high else f"{low} to {high}", verdict))


def _worth(seeds: int, figures: Sequence[_Figure], few: set[str], least: int) -> Iterator[str]:
    """Say how often chance alone gives a verdict, and which figures have none."""
    # Of n + 1 draws from one distribution each is as likely the smallest, and each the largest.
    chance = 2 / (seeds + 1)
    often = {1.0: "always", 0.5: "in half of all cases"}.get(chance, f"in {100 * chance:.0f} % of all cases")
    yield (
        f"With {formats.plural(seeds, 'seed')}, a value falls outside their range by chance alone {often}; only a "
        "large distance tells something."
    )
    if any(figure["name"] in few for figure in figures):
        yield f"No verdict where the upgrade changed the measure of fewer than {formats.count(least)} queries."


def search(report: Mapping[str, Any]) -> Html:
    """Say what was searched and what came of it: lists, quality, and the upgrade beside another seed.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
        Of a precision that was searched only by its own version, the table of its rankings.
    """
    known = {part.slug: found for part, found in searched(report)}
    if not known:
        return ranked(list(parts(report)))
    pieces: list[Html] = []
    told = ""
    for part in parts(report):
        pieces += [heading(part.title, f"search-{part.slug}"), inconclusive(part)]
        found = known.get(part.slug)
        if found is None:
            pieces.append(ranked([part]))
        elif not found["queries"]:
            pieces.append(fragment("note", text="No query was searched, so nothing is known of search here."))
        else:
            pieces += [_failed(part, found), fragment("sentences", sentences=list(_answers(part, found)))]
            pieces.append(yardstick_table(part, found))
            how = _searched(part, found)
            pieces.append(
                fragment("paragraph", text="Searched in the same way, with the same controls." if how == told else how)
            )
            told = how
    return join(pieces)


def _answers(part: Part, found: Mapping[str, Any]) -> Iterator[str]:
    upgrade = comparison(found)
    if upgrade is None:
        yield "The upgrade was not compared: one side has no rankings."
        return
    yield _lists(part, found, upgrade)
    if upgrade["measures"]:
        queries = upgrade["measures"][0].get("queries", found["judged"])
        yield from quality_sentences(upgrade["measures"], queries, least_changed(found))
    else:
        yield (
            "None of these queries has relevance judgements, so this says how much the lists changed, and not whether "
            "they got better or worse."
        )
    yield yardstick_sentence(found["yardstick"])


def _lists(part: Part, found: Mapping[str, Any], upgrade: Mapping[str, Any]) -> str:
    queries, k = upgrade["queries"], formats.count(found["k"])
    who = f"{formats.plural(queries, 'query', 'queries')}"
    if upgrade["same_order"] == queries:
        same = f"{part.b} finds the same {k} passages in the same order as {part.a} for all {who}"
        if upgrade["scores_identical"] == queries:
            return f"{same}, with identical scores."
        return f"{same}; scores differ by {formats.amount(upgrade['max_score_difference'])} at most."
    said = (
        f"{formats.of(upgrade['same_order'], queries)} queries get the same {k} passages in the same order from "
        f"{part.a} and from {part.b}, and {formats.of(upgrade['same_set'], queries)} the same {k} in any order. Of "
        f"{formats.count(2 * found['k'])} possible, {_with_interval(upgrade['different_passages'])} "
        "are on one side only."
    )
    return said[:1].upper() + said[1:]


def _with_interval(passages: Mapping[str, float]) -> str:
    reach = spread(passages, 2)
    mean = formats.decimals(passages["value"], places(ends(passages), 2))
    return f"{mean} passages per query{f' (95 % interval {reach})' if reach else ''}"


def _searched(part: Part, found: Mapping[str, Any]) -> str:
    """Say which version searched which index, how alike the encoded queries are, and what came of the controls."""
    sides = [side for compared in found["comparisons"] for side in (compared["left"], compared["right"])]
    pairs = list(dict.fromkeys((side["torch"], side["index"]) for side in sides))
    own = [place(part, *pair) for pair in pairs if pair[1] in {"a", "b"}]
    seeds = len(pairs) - len(own)
    queries = formats.plural(found["queries"], "query", "queries")
    said = [
        f"Each of {queries} was searched for its best {formats.count(found['k'])} passages: {formats.listing(own)}."
    ]
    if 0 < found["judged"] < found["queries"]:
        said.append(f"Of these queries {formats.count(found['judged'])} have relevance judgements.")
    said += _identical_ids(found)
    if seeds:
        again = "an index" if seeds == 1 else f"{formats.count(seeds)} indexes"
        other = "another seed" if seeds == 1 else "other seeds"
        said.append(f"{part.a} also searched {again} that it made with {other} of k-means.")
    said += [*_encoded(found["query_embeddings"]), *_repeated(part, found["controls"])]
    return " ".join(said)


def _identical_ids(found: Mapping[str, Any]) -> Sequence[str]:
    """Say whether a list holds the query itself; reports from before it was looked at do not say."""
    same = found.get("identical_ids", {"queries": 0})
    if not same["queries"]:
        return []
    queries, k = formats.of(same["queries"], found["queries"]), formats.count(found["k"])
    where = f"For {queries} queries a passage that is the query itself (same id)"
    if same["ignored"]:
        return [f"{where} would be among the best {k}; it is left out."]
    first = formats.count(same["first"])
    return [f"{where} is among the best {k}, first for {first} of them; ignore_identical_ids leaves it out."]


def _encoded(rows: Mapping[str, Any] | None) -> Sequence[str]:
    if rows is None or not rows["total"]:
        return []
    if rows["identical"] == rows["total"]:
        return [
            f"Both versions encode every query to the same bytes ({formats.count(rows['total'])} token embeddings)."
        ]
    other = formats.of(rows["total"] - rows["identical"], rows["total"])
    said = f"{other} token embeddings of the queries differ, by {formats.amount(rows['max_abs'])} at most."
    return [said[:1].upper() + said[1:]]


def _repeated(part: Part, controls: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Say what came of each version's searching its own index again, in another process."""
    held = [c for c in controls if c["identical"] == c["queries"]]
    said = []
    if held:
        who = formats.listing([_version(part, c["environment"]) for c in held])
        queries = formats.plural(held[0]["queries"], "query", "queries")
        said.append(
            f"The same search again in another process, with {who}: the same passages and scores for all {queries}."
        )
    for control in controls:
        if control not in held:
            same = formats.of(control["identical"], control["queries"])
            said.append(f"With {_version(part, control['environment'])} they are the same for {same} queries only.")
    return said


def _failed(part: Part, found: Mapping[str, Any]) -> Html:
    failed = [_version(part, c["environment"]) for c in found["controls"] if c["identical"] != c["queries"]]
    if not failed:
        return Html(Markup(""))
    text = f"{formats.listing(failed)} did not find the same twice in its own index, so what differs may be noise."
    return fragment("warning", title="Inconclusive.", text=text)


def _version(part: Part, environment: str) -> str:
    return {part.pair["a"]: part.a, part.pair["b"]: part.b}.get(environment, environment)


# The queries that changed: their text, and the passages that went and came, with text, ranks, scores and relevance.

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
