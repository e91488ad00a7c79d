"""What is said of a collection's judgements, and of what a search makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.shape import SearchJudging


def judging_sentence(judging: SearchJudging) -> str:
    """Say in one sentence which judgements do not count as they were given; nothing where all do.

    Parameters
    ----------
    judging : dict
        As ``source.json`` and ``report.json`` have it.
    """
    unknown = {"query": judging["unknown_queries"], "passage": judging["unknown_passages"]}
    clauses = []
    if sum(unknown.values()):
        names = " and ".join(f"{count:,} with an unknown {what}" for what, count in unknown.items() if count)
        clauses.append(f"{sum(unknown.values()):,} of {judging['read']:,} judgements were left out ({names})")
    if judging["repeated"]:
        clauses.append(f"{judging['repeated']:,} of {judging['read']:,} judgements repeat another and count once")
    if judging["ungraded"]:
        clauses.append("the judgements have no grades, so each counts as grade 1")
    if judging["kept"] and not judging["relevant"]:
        clauses.append(
            f"none of the {judging['kept']:,} judgements has a grade above 0, so no query has a relevant passage: "
            "nothing is searched and nothing scored"
        )
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}." if clauses else ""


def remarks(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a user should know of a prepared collection before searching it.

    Parameters
    ----------
    content : mapping
        Its ``source.json``.
    """
    judging, queries = content["judging"], content["queries"]
    for what, count in (("passages", content["empty_passages"]), ("queries", content["empty_queries"])):
        if count:
            yield f"{count:,} of {content[what]:,} {what} have no text: they are kept as they are."
    if not queries:
        yield "The collection has no queries, so nothing is searched for."
    elif not judging["read"]:
        yield "The collection has no judgements, so that search is compared but not judged."
    if sentence := judging_sentence(judging):
        yield sentence
    if 0 < judging["answered"] < queries:
        yield f"{judging['answered']:,} of {queries:,} queries have a relevant passage: only these are searched for."
    if same := content["queries_that_are_passages"]:
        yield (
            f"{same:,} of {queries:,} queries are a passage too (same id), which search may rank first and score: "
            "ignore_identical_ids = true under [search] leaves it out."
        )
