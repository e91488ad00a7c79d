"""Findings on what a change of rankings comes through, and how it compares with another seed of k-means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reportlib.compare.findings.facts import Finding
from reportlib.compare.findings.searches import CHIEF, Record, Searches, changed, spread
from reportlib.compare.phrases import count, listing, percent, small

#: What of the yardstick says how much changed, and how a reader calls it.
_FIGURES = {
    "different_passages": "different passages per query",
    "rbo": "rank-biased overlap",
    "changed_queries": "changed queries",
}
_VERDICTS = {
    "smaller": "smaller than re-seeding k-means",
    "within": "within what re-seeding k-means does",
    "larger": "larger than re-seeding k-means",
}


def source(found: Searches) -> Iterator[Finding]:
    """Say whether a change comes through the index or torch's own search, and how re-seeding compares."""
    yardstick, path = found.data["yardstick"], _path(found)
    if changed(found.upgrade):
        clauses = [f"comes through {_through(path)}"] if path else []
        clauses += [f"is {_verdict(yardstick)}"] if yardstick else []
        opening = f"the change of rankings {' and '.join(clauses)}." if clauses else ""
    else:
        opening = _instead(found) if yardstick else ""
    if not opening:
        return
    said = [opening, *_alone(found), *_encoded(found, path), *(_seeds(yardstick) if yardstick else ())]
    evidence = found.pointers("upgrade", "index", "torch", "index-b", "torch-b")
    evidence += (f"{found.part.at}/search/yardstick",) if yardstick else ()
    sentence = f"{found.part.title}, {' '.join(said)}"
    yield Finding(f"{found.part.key}/search-source", "matter", sentence, evidence, ("I2", "I3", "I4"))


def _path(found: Searches) -> dict[str, int]:
    """Return how many queries the index and torch change alone, at most; empty where one was not tried."""
    known = {kind: [changed(each) for each in found.kind(kind)] for kind in ("index", "torch")}
    return {kind: max(numbers) for kind, numbers in known.items()} if all(known.values()) else {}


def _through(path: Mapping[str, int]) -> str:
    if path["index"] and path["torch"]:
        return "both the index and torch's own search"
    if path["index"]:
        return "the index alone"
    return "torch's own search alone" if path["torch"] else "the index and torch's own search only together"


def _verdict(yardstick: Record) -> str:
    """Return how the upgrade compares with other seeds; where figures disagree, by which."""
    by: dict[str, list[str]] = {}
    for each in yardstick["figures"]:
        if each["name"] in _FIGURES:
            by.setdefault(_VERDICTS[each["verdict"]], []).append(_FIGURES[each["name"]])
    if len(by) == 1:
        (verdict,) = by
        beyond = _chief_beyond(yardstick) if verdict == _VERDICTS["smaller"] else ""
        return f"{verdict}, though not in mean {beyond}" if beyond else verdict
    return ", ".join(f"{verdict} by {listing(names)}" for verdict, names in by.items())


def _chief_beyond(yardstick: Record) -> str:
    """Return the chief measure's name where its mean moved further than with any seed: few queries can do that."""
    named = [each for each in yardstick["figures"] if CHIEF in each["name"]]
    return next((str(each["name"]) for each in named if each["verdict"] == "larger"), "")


def _instead(found: Searches) -> str:
    """Return what re-seeding changes where the upgrade changes nothing."""
    numbers = [changed(each) for each in found.kind("seed")]
    queries = count(found.upgrade["queries"], "query")
    if not any(numbers):
        return f"re-seeding k-means changes the {found.top} of none of {queries} either."
    low, high = f"{min(numbers):,}", f"{max(numbers):,}"
    some = low if low == high else f"{low} to {high}"
    return f"re-seeding k-means changes the {found.top} of {some} of {queries}, the upgrade of none."


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


def _encoded(found: Searches, path: Mapping[str, int]) -> Iterator[str]:
    known = found.data["query_embeddings"]
    if path.get("torch") and known and known["identical"] < known["total"]:
        yield f"{known['total'] - known['identical']:,} of {known['total']:,} rows of the encoded queries differ."


def _seeds(yardstick: Record) -> Iterator[str]:
    """Yield the numbers behind the verdict, and those of the chief measure."""
    clauses = []
    for each in yardstick["figures"]:
        label = _FIGURES.get(each["name"]) or (f"change of mean {each['name']}" if CHIEF in each["name"] else "")
        if label:
            said = _SAID.get(each["name"], small)
            clauses.append(f"{label} {said(each['upgrade'])} against {spread(each['seeds'], said)}")
    yield f"The upgrade against {count(yardstick['seeds'], 'other seed')}: {'; '.join(clauses)}."


def _overlap(number: float) -> str:
    # Two digits would call nearly equal rankings equal.
    return f"{number:.4g}"


_SAID = {"rbo": _overlap, "changed_queries": percent}
