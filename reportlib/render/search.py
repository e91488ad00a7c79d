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
from reportlib.render.search_words import comparison, place, quality_sentences, searched, share, spread

#: How the yardstick's figures are called, and how each is shown.
_FIGURES = {
    "changed_queries": "queries whose list changed",
    "different_passages": "different passages per query",
    "overlap": "passages in common",
    "rbo": "rank-biased overlap",
}
#: How the sentences begin that set the upgrade beside the seeds, least change first.
_VERDICTS = {"smaller": "Smaller than with", "within": "Within the range of", "larger": "Larger than with"}


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
        yield from quality_sentences(upgrade["measures"], upgrade["measures"][0].get("queries", found["judged"]))
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
    return f"{formats.decimals(passages['value'], 2)} passages per query{f' (95 % interval {reach})' if reach else ''}"


def yardstick_sentence(yardstick: Mapping[str, Any] | None) -> str:
    """Say whether the upgrade changes less, as much or more than another seed of k-means does.

    Parameters
    ----------
    yardstick : mapping or None
        The record's ``yardstick``.

    Returns
    -------
    str
        A sentence, or one for each verdict, with the figures of the upgrade and of the seeds.
    """
    if yardstick is None or not yardstick["seeds"] or not yardstick["figures"]:
        return "There is no yardstick: no index was made again with another seed of k-means."
    figures = yardstick["figures"]
    verdicts = {f["verdict"] for f in figures}
    seeds = formats.plural(yardstick["seeds"], "other seed")
    if verdicts == {"smaller"}:
        said = f"Smaller than re-seeding. By every figure the upgrade changes less than {seeds} of k-means did"
    elif verdicts == {"within"}:
        said = f"Within re-seeding. By every figure the upgrade changes as much as {seeds} of k-means did"
    elif verdicts == {"larger"}:
        said = f"Larger than re-seeding. By every figure the upgrade changes more than {seeds} of k-means did"
    else:
        return " ".join(
            f"{words} {seeds} of k-means: {formats.listing([_called(f) for f in figures if f['verdict'] == verdict])}."
            for verdict, words in _VERDICTS.items()
            if verdict in verdicts
        )
    return f"{said}: {formats.listing([_called(f) for f in figures])}."


def _called(figure: Mapping[str, Any]) -> str:
    """Return a figure's name with the upgrade's number and the range of the seeds'."""
    wanted = _FIGURES.get(figure["name"], f"the change of {figure['name']}")
    own, lowest, highest = (
        _shown(figure["name"], number) for number in (figure["upgrade"], min(figure["seeds"]), max(figure["seeds"]))
    )
    return f"{wanted} ({own}, seeds {lowest if lowest == highest else f'{lowest} to {highest}'})"


def _shown(name: str, value: float) -> str:
    if name == "changed_queries":
        return share(value)
    return formats.decimals(value, 2 if name == "different_passages" else 3)


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
    if seeds:
        again = "an index" if seeds == 1 else f"{formats.count(seeds)} indexes"
        other = "another seed" if seeds == 1 else "other seeds"
        said.append(f"{part.a} also searched {again} that it made with {other} of k-means.")
    said += [*_encoded(part, found["query_embeddings"]), *_repeated(part, found["controls"])]
    return " ".join(said)


def _encoded(part: Part, rows: Mapping[str, Any] | None) -> Sequence[str]:
    if rows is None or not rows["total"]:
        return []
    if rows["identical"] == rows["total"]:
        return [
            f"Both versions encode every query to the same bytes ({formats.count(rows['total'])} token embeddings)."
        ]
    same = formats.of(rows["identical"], rows["total"])
    most = formats.amount(rows["max_abs"])
    return [
        f"{part.a} and {part.b} encode {same} token embeddings of the queries alike; values differ by {most} at most."
    ]


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
