"""Does it matter for search: what was searched with what, the answer in sentences, and the yardstick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render import formats
from reportlib.render.controls import inconclusive
from reportlib.render.html import Html, fragment, join
from reportlib.render.labels import Part, heading, parts
from reportlib.render.rankings import ranked
from reportlib.render.search_words import (
    comparison,
    ends,
    place,
    places,
    quality_sentences,
    searched,
    spread,
)
from reportlib.render.search_yardstick import yardstick_sentence, yardstick_table
from reportlib.words.searches import least_changed


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
