"""Findings on what the upgrade does to search: how many rankings change, and whether their quality does.

The first half of each sentence stands on the first screen. Where nothing was seen to change it says what could have
been seen: too few queries look the same as no effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from reportlib.compare.findings.facts import Facts, Finding
from reportlib.compare.findings.searches import CHIEF, Record, Searches, changed
from reportlib.compare.findings.source import source
from reportlib.compare.phrases import count, listing, percent, signed, small, unseen

#: Above this share of the passages, a top k holds so many that its changes say little of a larger collection.
_SHARE = 0.05


def effect(part: Facts) -> Iterator[Finding]:
    """Say what search makes of the upgrade in a precision that was searched."""
    found = Searches(part)
    if failed := [(n, c) for n, c in enumerate(found.data["controls"]) if c["identical"] < c["queries"]]:
        yield _inconclusive(part, failed)
        return
    yield _change(found)
    yield _quality(found)
    yield from source(found)


def _inconclusive(part: Facts, failed: Sequence[tuple[int, Record]]) -> Finding:
    unlike = [(part.name(c["environment"]), count(c["queries"] - c["identical"], "query")) for _, c in failed]
    said = " and ".join(f"{queries} of {name}" for name, queries in unlike)
    sentence = (
        f"{part.title}, inconclusive: the same index searched again gave other results for {said}, so what search "
        "makes of the upgrade may be noise."
    )
    evidence = tuple(f"{part.at}/search/controls/{n}" for n, _ in failed)
    return Finding(f"{part.key}/inconclusive-search", "matter", sentence, evidence)


def _change(found: Searches) -> Finding:
    """Say how many queries get another top k."""
    part, upgrade = found.part, found.upgrade
    queries, number = upgrade["queries"], changed(upgrade)
    if number:
        share = upgrade["changed_queries"]
        sentence = (
            f"{part.title}, the upgrade changes the {found.top} of {number:,} of {count(queries, 'query')}: "
            f"{percent(share['share'])} {found.interval(share, percent)}{_much(found)}. {_passages(found)}"
        )
    else:
        sentence = (
            f"{part.title}, no change of the {found.top} was detected in {count(queries, 'query')}, though up to "
            f"{unseen(queries, found.data['confidence'])} of such queries could change unseen.{_scores(upgrade)}"
        )
    return Finding(f"{part.key}/rankings", "matter", sentence, found.pointers("upgrade"), ("I2", "I4"))


def _much(found: Searches) -> str:
    """Return a clause where the top k is much of what there is: a change comes easily there, next to other studies."""
    k, passages = found.data["k"], found.part.data["passages"]
    if k <= _SHARE * passages:
        return ""
    return f", where the {found.top} is {min(k, passages):,} of only {count(passages, 'passage')}"


def _passages(found: Searches) -> str:
    upgrade, k = found.upgrade, found.data["k"]
    moved, distance = upgrade["queries"] - upgrade["same_set"], upgrade["different_passages"]
    if not moved:
        return f"The {k} passages stay the same, in another order."
    return (
        f"Other passages come up for {count(moved, 'query')}. On average {small(distance['value'])} passages of a "
        f"query are on one side only {found.interval(distance)}; 0 to {2 * k} are possible."
    )


def _scores(upgrade: Record) -> str:
    if upgrade["scores_identical"] == upgrade["queries"]:
        return " The scores are identical too."
    largest = upgrade["max_score_difference"]
    return "" if largest is None else f" Scores differ by {small(largest)} at most."


def _quality(found: Searches) -> Finding:
    """Say whether a change of quality was detected, by which measure, and what could have been."""
    part, upgrade = found.part, found.upgrade
    measures, evidence = upgrade["measures"], found.pointers("upgrade")
    if not found.data["judged"] or not measures:
        said = "quality could not be measured: no query has judgements."
        if not changed(upgrade):
            said += f" For these queries any measure of the {found.top} is the same on both sides."
        evidence += (f"{part.at}/search/judged",)
    elif any(each["detected"] for each in measures):
        said = _detected(found, measures)
    else:
        said = _undetected(found, measures)
    return Finding(f"{part.key}/quality", "matter", f"{part.title}, {said}", evidence, ("I2",))


def _chief(measures: Sequence[Record]) -> Record:
    return next((each for each in measures if str(each["measure"]).startswith(CHIEF)), measures[0])


def _called(measure: Record) -> str:
    return f"ranking quality ({measure['measure']}, 0 to 1)"


def _moves(found: Searches, measure: Record) -> str:
    difference = measure["difference"]
    return f"moves by {signed(difference['value'])} {found.interval(difference, signed)}"


def _detected(found: Searches, measures: Sequence[Record]) -> str:
    detected = [each for each in measures if each["detected"]]
    chief = _chief(detected)
    ways = {each["difference"]["value"] > 0 for each in detected}
    became = "changes" if len(ways) > 1 else "gets better" if ways == {True} else "gets worse"
    others = [each for each in detected if each is not chief]
    also = f" Detected by {_names(others, 'and')} too." if others else ""
    rest = [each for each in measures if not each["detected"]]
    nor = f" Not detected by {_names(rest, 'or')}." if rest else ""
    return f"{_called(chief)} {became}: it {_moves(found, chief)}. {_tally(chief)}{also}{nor}"


def _undetected(found: Searches, measures: Sequence[Record]) -> str:
    chief = _chief(measures)
    queries = chief["better"] + chief["equal"] + chief["worse"]
    others = [each for each in measures if each is not chief]
    nor = f" Nor was one by {_names(others, 'or')}." if others else ""
    none = f"no change of {_called(chief)} was detected"
    moved = chief["better"] + chief["worse"]
    if not moved:
        return (
            f"{none}: it is the same for each of {count(queries, 'judged query')}, though up to "
            f"{unseen(queries, found.data['confidence'])} of such queries could change unseen.{nor}"
        )
    if found.few(chief):
        return (
            f"{none}, and few queries could show one: it changed for only {moved:,} of {queries:,} "
            f"({chief['better']:,} better, {chief['worse']:,} worse), and fewer than {found.least} are too few for "
            f"the test. The mean {_moves(found, chief)}.{nor}"
        )
    return f"{none}: it {_moves(found, chief)}{_could(found, chief)}. {_tally(chief)}{nor}"


def _could(found: Searches, measure: Record) -> str:
    """Return a clause on the smallest change that these queries would probably have shown."""
    if not measure["detectable"]:
        return ""
    chance = Fraction(found.data["power"]).limit_denominator(20)
    would = f"would probably have been ({chance.numerator} times of {chance.denominator})"
    return f"; a change of {small(measure['detectable'])} {would}"


def _names(measures: Sequence[Record], last: str) -> str:
    said = listing([f"{each['measure']} ({signed(each['difference']['value'])})" for each in measures])
    return said if last == "and" else said.replace(" and ", f" {last} ")


def _tally(measure: Record) -> str:
    are = "is" if measure["better"] == 1 else "are"
    better = count(measure["better"], "query")
    return f"By {measure['measure']} {better} {are} better, {measure['worse']:,} worse and {measure['equal']:,} equal."
