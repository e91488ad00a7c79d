"""Whether it matters: what the searches show, where a change comes from, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reportlib.findings.facts import Facts, Finding
from reportlib.words.phrases import between, count, interval, listing, percent, signed, small, unseen
from reportlib.words.searches import least_changed, too_few

# What the findings on search start from: the searches of one precision, and how their numbers are said.

Record = Mapping[str, Any]
#: The measure that a sentence leads with; it sees a change of rank as well as a passage that is lost.
CHIEF = "nDCG"


@dataclass(frozen=True)
class Searches:
    """The ``search`` of one precision, in which both sides' indexes were searched.

    Attributes
    ----------
    part : Facts
        The precision.
    """

    part: Facts

    @property
    def data(self) -> Record:
        """The entry of ``pairs[].precisions[].search``."""
        found: Record = self.part.data["search"]
        return found

    @property
    def upgrade(self) -> Record:
        """The comparison of A's torch on A's index with B's on B's."""
        known: dict[str, Record] = {each["id"]: each for each in self.data["comparisons"]}
        return known["upgrade"]

    @property
    def top(self) -> str:
        """What of a ranking counts: ``top 10``."""
        return f"top {self.data['k']}"

    @property
    def least(self) -> int:
        """How many queries must change before the permutation test can find that a measure did."""
        return least_changed(self.data)

    def few(self, measure: Record) -> bool:
        """Return whether too few queries changed a measure for the test to find it, or none did."""
        return too_few(measure, self.least)

    def interval(self, estimate: Record, said: Callable[[float], str] = small) -> str:
        """Return an estimate's interval in brackets: ``(95 % interval 1.6 to 5.2 %)``."""
        return f"({interval(estimate['low'], estimate['high'], self.data['confidence'], said)})"

    def kind(self, name: str) -> list[Record]:
        """Return the comparisons of a kind: ``index``, ``torch``, ``seed``."""
        return [each for each in self.data["comparisons"] if each["kind"] == name]

    def pointers(self, *names: str) -> tuple[str, ...]:
        """Return JSON pointers to comparisons by id."""
        ids = [each["id"] for each in self.data["comparisons"]]
        return tuple(f"{self.part.at}/search/comparisons/{ids.index(name)}" for name in names if name in ids)


def searched(part: Facts) -> bool:
    """Return whether each side's torch searched its own index and the other's."""
    found = part.data.get("search")
    return bool(found and found["queries"])


def changed(comparison: Record) -> int:
    """Return how many queries have another top k."""
    return int(comparison["queries"] - comparison["same_order"])


# Findings on search where each side only searched its own index, without judgements: what was not measured.


def rankings(part: Facts) -> Iterator[Finding]:
    """Say how many queries get the same passages, in the same order, with the same scores."""
    data = part.data["rankings"]
    if data is None or not data["queries"]:
        sentence = f"{part.title}, the two indexes were not searched."
        yield Finding(f"{part.key}/rankings", "matter", sentence, (f"{part.at}/rankings",))
        return
    k, queries = data["k"], count(data["queries"], "query")
    if _identical(data):
        sentence = (
            f"{part.title}, searching both indexes gives the same top {k} in the same order for "
            f"all {queries}{_scores(data)}."
        )
    else:
        sentence = (
            f"{part.title}, {data['same_order']:,} of {queries} get the same top {k} in the same order "
            f"from both indexes, and {data['same_set']:,} the same {k} in any order. On average "
            f"{data['symmetric_difference']:.2f} passages of a query are on one side only "
            f"(0 to {2 * k} are possible)."
        )
    if data["queries_missing"]:
        sentence += f" Only one side answered {count(data['queries_missing'], 'further query')}."
    yield Finding(f"{part.key}/rankings", "matter", sentence, (f"{part.at}/rankings",), ("I2", "I4"))


def _identical(data: Mapping[str, Any]) -> bool:
    return bool(data["same_order"] == data["queries"])


def _complete(data: Mapping[str, Any]) -> bool:
    return _identical(data) and data["queries_missing"] == 0


def _scores(data: Mapping[str, Any]) -> str:
    if data["scores_identical"]:
        return ", with identical scores"
    largest = data["max_score_difference"]
    return "" if largest is None else f"; scores differ by {largest:.2g} at most"


def quality(report: Mapping[str, Any], number: int, parts: Sequence[Facts]) -> Iterator[Finding]:
    """Say what this study cannot say about quality; where some precisions were searched, of each that was not."""
    if any(map(searched, parts)):
        for part in parts:
            if not searched(part) and not part.inconclusive:
                sentence = f"{part.title}, quality was not measured: no ranking was scored with relevance judgements."
                yield Finding(f"{part.key}/quality", "matter", sentence, (f"{part.at}/rankings",), ("I2",))
        return
    pair = report["pairs"][number]
    known = [p for p in parts if p.data["rankings"] and p.data["rankings"]["queries"]]
    sure = not any(p.inconclusive for p in parts)
    evidence = tuple(f"{p.at}/rankings" for p in parts)
    if sure and known and len(known) == len(parts) and all(_complete(p.data["rankings"]) for p in known):
        sentence = (
            "Every ranking that was made is the same on both sides, so any measure of retrieval "
            "quality that looks at these passages and their order is the same too."
        )
    elif known:
        sentence = (
            "Whether the change makes retrieval better or worse is not measured here. This study did not "
            "score its rankings with relevance judgements."
        )
    else:
        sentence = "This study did not search, so nothing is measured of the effect on retrieval."
    yield Finding(f"{pair['b']}/quality", "matter", sentence, evidence, ("I2",))


# Findings on keeping an index through the upgrade or making it anew, and on what a change of rankings comes through.
#
# Its first sentence, for the first screen, says what either does, beside what other seeds of k-means do.

#: What of the yardstick says how much changed, and how a reader calls it.
_FIGURES = {
    "different_passages": "different passages per query",
    "rbo": "rank-biased overlap",
    "changed_queries": "changed queries",
}
#: How much the lists change beside other seeds of k-means.
_VERDICTS = {"smaller": "less", "within": "as much", "larger": "more"}


def source(found: Searches) -> Iterator[Finding]:
    """Say what keeping the index does and what making it anew does, how re-seeding compares, and what is the way."""
    yardstick = found.data["yardstick"]
    opening = "; ".join([*_practice(found), *_beside(found)])
    if not opening:
        return
    encoded = list(_encoded(found))
    said = [f"{opening}.", *_way(found), *_alone(found), *encoded, *(_seeds(found) if yardstick else ())]
    evidence = found.pointers("upgrade", "index", "torch", "index-b", "torch-b")
    evidence += (f"{found.part.at}/search/query_embeddings",) if encoded else ()
    evidence += (f"{found.part.at}/search/yardstick",) if yardstick else ()
    sentence = f"{found.part.title}, {' '.join(said)}"
    yield Finding(f"{found.part.key}/search-source", "matter", sentence, evidence, ("I2", "I3", "I4"))


def _practice(found: Searches) -> Iterator[str]:
    """Yield what someone who upgrades gets: the new torch on the old index, and on one made anew."""
    kept = next((each for each in found.data["comparisons"] if each["id"] == "torch"), None)
    if kept is None:
        return
    part, queries, anew = found.part, found.upgrade["queries"], changed(found.upgrade)
    if changed(kept):
        of = f"{changed(kept):,} of {count(queries, 'query')}"
        yield f"keeping {part.a}'s index changes {of}, making it anew {f'{anew:,}' if anew else 'none'}"
        return
    every = f"{'all ' if queries > 1 else ''}{count(queries, 'query')}"
    same = f"{part.b} searching {part.a}'s index gives the same {found.top} for {every}"
    bound = f"(up to {unseen(queries, found.data['confidence'])} could differ unseen)"
    if anew:
        yield f"{same} {bound}"
        yield f"making the index anew changes {anew:,}"
    else:
        yield f"{same}, as does making the index anew {bound}"


def _beside(found: Searches) -> Iterator[str]:
    """Yield how much the lists change beside other seeds of k-means; where figures disagree, by which."""
    yardstick = found.data["yardstick"]
    if not yardstick:
        return
    if not changed(found.upgrade):
        yield _instead(found)
        return
    by: dict[str, list[str]] = {}
    for each in yardstick["figures"]:
        if each["name"] in _FIGURES:
            by.setdefault(each["verdict"], []).append(_FIGURES[each["name"]])
    seeds = f"{count(yardstick['seeds'], 'other seed')} of k-means"
    if len(by) == 1:
        (verdict,) = by
        each = "each of " if verdict != "within" and yardstick["seeds"] > 1 else ""
        yield f"the lists change {_VERDICTS[verdict]} {'as' if verdict == 'within' else 'than'} with {each}{seeds}"
    elif by:
        clauses = [f"{_VERDICTS[verdict]} by {listing(names)}" for verdict, names in by.items()]
        yield f"beside {seeds} the lists change {', '.join(clauses)}"


def _instead(found: Searches) -> str:
    """Return what re-seeding changes where the upgrade changes nothing."""
    numbers = [changed(each) for each in found.kind("seed")]
    if not any(numbers):
        return "re-seeding k-means changes none either"
    some = between(min(numbers), max(numbers), lambda number: f"{number:,.0f}")
    return f"re-seeding k-means changes {some} of {count(found.upgrade['queries'], 'query')}"


def _way(found: Searches) -> Iterator[str]:
    """Yield whether a change comes through the index or torch's own search, where each was tried alone."""
    known = {kind: [changed(each) for each in found.kind(kind)] for kind in ("index", "torch")}
    if not changed(found.upgrade) or not all(known.values()):
        return
    queries = found.upgrade["queries"]
    bound = f"(up to {unseen(queries, found.data['confidence'])} could change unseen)"
    none = f"changed none of {count(queries, 'query')} {bound}"
    index, torch = (any(known[kind]) for kind in ("index", "torch"))
    if index and torch:
        yield "The change comes through both the index and torch's own search."
    elif index:
        yield f"The change comes through the index; torch's own search {none}."
    elif torch:
        yield f"The change comes through torch's own search; the index {none}."
    else:
        yield f"The change comes through the index and torch's own search only together; each alone {none}."


def _alone(found: Searches) -> Iterator[str]:
    """Yield what the index and torch change alone, on each side where one does."""
    known = {each["id"]: each for each in found.data["comparisons"]}
    for torch, names in ((found.part.a, ("index", "torch")), (found.part.b, ("index-b", "torch-b"))):
        if not all(name in known for name in names):
            continue
        index, search = (changed(known[name]) for name in names)
        if index or search:
            yield (
                f"Searched by {torch}, the other index changes {_number(index)}; {torch}'s index searched by the other "
                f"torch changes {_number(search)}."
            )


def _number(queries: int) -> str:
    return count(queries, "query") if queries else "none"


def _encoded(found: Searches) -> Iterator[str]:
    """Yield how far the query embeddings differ: they may where torch's own search changes no list."""
    known = found.data["query_embeddings"]
    if not known or known["identical"] == known["total"]:
        return
    rows = f"{known['total'] - known['identical']:,} of {count(known['total'], 'row')}"
    yield f"The query embeddings differ in {rows}, by {small(known['max_abs'])} at most."


def _seeds(found: Searches) -> Iterator[str]:
    """Yield the numbers behind the verdict; the chief measure's where enough queries changed it to mean something."""
    yardstick = found.data["yardstick"]
    moved = {each["measure"] for each in found.upgrade["measures"] if not found.few(each)}
    clauses = []
    for each in yardstick["figures"]:
        chief = f"change of mean {each['name']}" if CHIEF in each["name"] and each["name"] in moved else ""
        if label := _FIGURES.get(each["name"], chief):
            said = _SAID.get(each["name"], small)
            seeds = between(min(each["seeds"]), max(each["seeds"]), said)
            clauses.append(f"{label} {said(each['upgrade'])} against {seeds}")
    yield f"The upgrade against {count(yardstick['seeds'], 'other seed')}: {'; '.join(clauses)}."


def _overlap(number: float) -> str:
    # Two digits would call nearly equal rankings equal.
    return f"{number:.4g}"


_SAID = {"rbo": _overlap, "changed_queries": percent}


# Findings on what the upgrade does to search: how many rankings change, and whether their quality does.
#
# The first half of each sentence stands on the first screen. Where nothing was seen to change it says what could have
# been seen: too few queries look the same as no effect.

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
            f"{unseen(queries, found.data['confidence'])} of such queries could change unseen.{_score_moves(upgrade)}"
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


def _score_moves(upgrade: Record) -> str:
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
