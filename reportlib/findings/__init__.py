"""What a report says: findings, each data and a sentence, and the verdict that follows from them for a reader.

A finding is a question, numbers, how sure and evidence; its sentence is a template. It claims what was measured and no
more: a cause only where a replay shows it and the controls hold, an effect only where a search does. The verdict is the
first screen, as data. Nothing here reads a capture; the rest of the report is all there is to go by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportlib.findings import causes, effects
from reportlib.findings.causes import Cause
from reportlib.findings.effects import Search
from reportlib.findings.finding import Finding, Part, parts
from reportlib.shape import Report
from reportlib.words import formats
from reportlib.words.formats import fill
from reportlib.words.terms import labels

Record = dict[str, Any]
#: What search does, from best to worst, as a reader is told it after the word "search".
SEARCH = {
    "same": "does not",
    "hardly": "hardly does",
    "better": "gets better",
    "less": "does",
    "moved": "does",
    "as much": "does",
    "more": "does, more than with another k-means seed",
    "worse": "gets worse",
}


def findings(report: Report) -> list[Record]:
    """Return the findings of a report that has everything else.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.study.compare_study` builds it, without ``findings``.

    Returns
    -------
    list of dict
        In page order: what, why, matter; within these by pair and precision.
    """
    made = list(_all(report))
    questions = ("what", "why", "matter")
    return [f.record() for question in questions for f in made if f.question == question]


def _all(report: Report) -> Iterator[Finding]:
    if report["missing_arms"] or report.get("pending"):
        numbers = {"arms": report["missing_arms"], "pending": report.get("pending", [])}
        yield Finding("missing", "what", "", "", "", numbers, ("/missing_arms",))
    called = labels(report["environments"])
    for number, pair in enumerate(report["pairs"]):
        a, b = (called.get(pair[side], pair[side]) for side in ("a", "b"))
        yield from effects.environments(report, number, a, b)
        mine = [part for part in parts(report) if part.pair is pair]
        if not mine:
            yield Finding("nothing", "what", pair["b"], a, b, {}, ("/missing_arms",))
        for part in mine:
            yield from _precision(part)
        yield from causes.kernels(report, number, mine)
        yield from causes.probes(pair, number, a, b)


def _precision(part: Part) -> Iterator[Finding]:
    yield effects.files(part)
    yield from causes.controls(part)
    # Of a precision whose controls failed nothing else is claimed.
    if part.failed:
        return
    yield from effects.post(part)
    yield from causes.bert(part)
    yield from causes.operations(part)
    yield from causes.swaps(part)
    yield from causes.sort(part)
    yield from effects.searches(part)


# The verdict: what the index and search do in each precision, and what follows for a reader.


@dataclass(frozen=True)
class Outcome:
    """What became of one precision.

    Attributes
    ----------
    part : Part
        The precision.
    index : str
        ``same``, ``differs`` or ``unknown``.
    search : str
        A key of `SEARCH`; ``failed`` or ``unknown`` where nothing can be said.
    searches : Search or None
        The searches themselves.
    causes : list of Cause
        The operations that differ by themselves, the largest first.
    """

    part: Part
    index: str
    search: str
    searches: Search | None
    causes: Sequence[Cause]

    @property
    def settings(self) -> Sequence[str]:
        """The settings with which B computes A's bytes again; none where none is known."""
        if self.part.operations is None or not self.causes:
            return ()
        return causes.undone(self.part, self.causes)["lines"] or ()

    @property
    def advice(self) -> str:
        """What to do: ``nothing``, ``keep``, ``kept moves``, ``worse``, ``search`` or ``repeat``."""
        if self.part.failed or self.search == "failed":
            return "repeat"
        if self.search == "worse":
            return "worse"
        if self.index == "same" and self.search == "same":
            return "nothing"
        if self.search == "unknown" or self.searches is None or self.searches.kept is None:
            return "search"
        return "kept moves" if self.searches.kept else "keep"


def outcome(part: Part) -> Outcome:
    """Return what became of a precision."""
    final, searched = part.final, effects.search(part)
    index = "unknown" if not final else "same" if all(r["verdict"] == "identical" for r in final) else "differs"
    if part.failed:
        return Outcome(part, index, "failed", searched, ())
    effect = searched.outcome if searched else _alone(part)
    return Outcome(part, index, effect, searched, causes.causes(part))


def _alone(part: Part) -> str:
    """Return what is known of search where each version searched only its own index."""
    rankings = part.data["rankings"]
    if not rankings or not rankings["queries"]:
        return "unknown"
    return "same" if rankings["same_order"] == rankings["queries"] else "moved"


def outcomes(report: Report) -> list[Outcome]:
    """Return the outcome of every precision of every pair."""
    return [outcome(part) for part in parts(report)]


def headline(outcomes: Sequence[Outcome]) -> str:
    """Return the verdict in one or two sentences: what the index does, then what search does.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of every precision.

    Returns
    -------
    str
        ``The index changes. Search hardly does in float32; under bfloat16 autocast it does.``
    """
    judged = [o for o in outcomes if o.index != "unknown" and o.search != "failed"]
    facts: dict[str, Any] = {
        "nothing": not outcomes or all(o.index == "unknown" for o in outcomes),
        "failed": [_where(o) for o in outcomes if o.index != "unknown" and o.search == "failed"],
        "all_failed": bool(outcomes) and not judged,
        "same": [_where(o) for o in judged if o.index == "same"],
        "differs": [_where(o) for o in judged if o.index == "differs"],
        "search": _by_search(judged),
    }
    return fill("reportlib.findings", "verdict.j2", "headline", **facts)


def _by_search(known: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return what search does, the least first, with the precisions in which it does so."""
    groups: dict[str, list[Outcome]] = {}
    for name in (*SEARCH, "unknown"):
        for o in known:
            if o.search == name:
                groups.setdefault(SEARCH.get(name, ""), []).append(o)
    return [{"does": does, "where": [_where(o) for o in mine]} for does, mine in groups.items()]


def _where(outcome: Outcome) -> str:
    """Return the precision inside a sentence: ``under bfloat16 autocast``."""
    return outcome.part.where[:1].lower() + outcome.part.where[1:]


def steps(outcome: Outcome) -> list[dict[str, Any]]:
    """Return how much of each step differs, from the operation to the quality of search.

    Parameters
    ----------
    outcome : Outcome
        Of one precision.

    Returns
    -------
    list of dict
        ``step``; ``fraction`` (0 to 1, or None where it was not measured) and ``text`` for a reader.
    """
    part = outcome.part
    cause = next((c for c in outcome.causes if c.reaches in {"embeddings", "index"}), None)
    rows = []
    if part.operations is not None:
        own = 0.0 if cause is None else cause.fraction
        none = "others run" if part.operations["verdict"] == "replaced" else "none differs"
        text = none if cause is None else f"{cause.name} {formats.percent(cause.fraction)}"
        rows.append({"step": "operation", "fraction": own, "text": text})
    for name, step in (("embs", "embeddings"), ("index/centroids", "centroids"), ("index/codes", "codes")):
        rows.append(_step(part.artifact(name), step))
    rows += [_step(part.artifact("index/residuals"), "residuals"), _groups(part.artifact("index/ivf"))]
    if outcome.searches is not None:
        queries, moved = outcome.searches.upgrade["queries"], outcome.searches.moved
        rows.append({
            "step": f"top-{outcome.searches.data['k']} lists",
            "fraction": moved / queries,
            "text": formats.of(moved, queries),
        })  # fmt: skip
        if chief := outcome.searches.chief:
            better_or_worse = effects.changed(chief)
            total = better_or_worse + chief["equal"]
            rows.append({
                "step": chief["measure"], "fraction": better_or_worse / total if total else 0.0,
                "text": formats.of(better_or_worse, total) + (f", {chief['better']} better" if better_or_worse else ""),
            })  # fmt: skip
    return [row for row in rows if row["fraction"] is not None]


def _step(record: Mapping[str, Any] | None, step: str) -> dict[str, Any]:
    if record is None or not record["elements"]:
        return {"step": step, "fraction": None, "text": ""}
    fraction = record["different"] / record["elements"]
    if record["kind"] == "float" and record["different"]:
        text = f"{formats.percent(fraction)}, {formats.at_most(record['max_abs'])}"
    else:
        text = formats.of(record["different"], record["elements"]) if fraction < 0.1 else formats.percent(fraction)
    return {"step": step, "fraction": fraction, "text": text}


def _groups(record: Mapping[str, Any] | None) -> dict[str, Any]:
    if record is None or not record["groups"]:
        return {"step": "ivf lists", "fraction": None, "text": ""}
    unlike = record["groups"] - record["groups_equal"]
    return {"step": "ivf lists", "fraction": unlike / record["groups"], "text": formats.of(unlike, record["groups"])}
