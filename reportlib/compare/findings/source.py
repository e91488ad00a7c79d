"""Findings on keeping an index through the upgrade or making it anew, and on what a change of rankings comes through.

Its first sentence, for the first screen, says what either does, beside what other seeds of k-means do.
"""

from __future__ import annotations

from collections.abc import Iterator

from reportlib.compare.findings.facts import Finding
from reportlib.compare.findings.searches import CHIEF, Searches, changed
from reportlib.compare.phrases import between, count, listing, percent, small, unseen

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
