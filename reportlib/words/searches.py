"""What is said of judgements, and of searches in which too few queries changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Two-sided, five queries that all change one way have a p-value of 2 / 2**5, above 5 %; six can be below it.
LEAST = 6


def least_changed(search: Mapping[str, Any]) -> int:
    """Return of how many changed queries on the permutation test can tell chance from a difference."""
    return int(search.get("least_changed", LEAST))


def too_few(measure: Mapping[str, Any], least: int) -> bool:
    """Whether so few queries changed that no test could call the difference detected."""
    return bool(measure["better"] + measure["worse"] < least)


def judging_sentence(judging: Mapping[str, int]) -> str:
    """Say in one sentence which judgements do not count as they were given; nothing where all do.

    Parameters
    ----------
    judging : mapping
        The fields of `Judging`, as ``source.json`` and ``report.json`` have them.
    """
    unknown = {"query": judging["unknown_queries"], "passage": judging["unknown_passages"]}
    said = []
    if sum(unknown.values()):
        names = " and ".join(f"{count:,} with an unknown {what}" for what, count in unknown.items() if count)
        said.append(f"{sum(unknown.values()):,} of {judging['read']:,} judgements were left out ({names})")
    if judging["repeated"]:
        said.append(f"{judging['repeated']:,} of {judging['read']:,} judgements repeat another and count once")
    if judging["ungraded"]:
        said.append("the judgements have no grades, so each counts as grade 1")
    if judging["kept"] and not judging["relevant"]:
        said.append(
            f"none of the {judging['kept']:,} judgements has a grade above 0, so no query has a relevant passage: "
            "nothing is searched and nothing scored"
        )
    sentence = "; ".join(said)
    return f"{sentence[:1].upper()}{sentence[1:]}." if said else ""


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
