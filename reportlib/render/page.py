"""The first screen, and what every section is made of: a block for each precision, which a switch shows or hides.

The first screen has the verdict, the numbers that decide it, how much of each step differs, and what to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from reportlib.findings import Outcome, headline, outcomes, steps
from reportlib.findings.finding import Part, parts
from reportlib.render.html import Html, fragment, join
from reportlib.shape import Report
from reportlib.words import formats
from reportlib.words.terms import beyond_torch, subject, versions

Record = Mapping[str, Any]


def first_screen(report: Report) -> Html:
    """Answer what changed, why, whether it matters and what to do, and say what it was measured on.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.study.compare_study` makes it.

    Returns
    -------
    Html
        With the switch between precisions below it.
    """
    results = outcomes(report)
    opening = fragment(
        "opening",
        versions=compared(report),
        ran_on=" · ".join(["ColBERT index", *ran_on(report)]),
        title=headline(results),
        several=len(results) > 1,
        lede=[(o.part.label, sentence) for o in results for sentence in sentences(o.part, "lists")],
        precisions=_precisions(report),
        warnings=[f["sentence"] for f in report["findings"] if _warns(f)],
        figure=_figure(results),
        outcomes=[_facts(report, o) for o in results],
        caveats=list(caveats(report)),
    )
    return join([opening, switch(report)])


def _warns(finding: Mapping[str, Any]) -> bool:
    """Whether a finding is a reason to doubt the others."""
    return finding["kind"] in {"missing", "nothing"} or bool(finding["numbers"].get("rival"))


def _precisions(report: Report) -> str:
    """Say which precision is whose, where a study has both: colbert-ai itself has one on each device."""
    sizes = {p["name"]: formats.plural(p["passages"] or 0, "passage") for p in report["study"]["precisions"]}
    if len(sizes) < 2 or report["study"]["device"] == "cuda":
        return ""
    return (
        f"On a CPU colbert-ai computes in float32 ({sizes['float32']}). For its float16 autocast on a GPU, not measured"
        f" here, stands bfloat16 autocast on a CPU ({sizes['autocast']}), with 8 significant bits for 11."
    )


def ran_on(report: Report) -> list[str]:
    """Return what a study ran on, as short as it can be said: ``AMD EPYC, no GPU``, ``AVX512 kernels``."""
    machine = report["platform"]
    called = versions(report["environments"])
    known = {called.get(name, name): str(c) for name, c in machine["capability"].items() if c}
    kernels = f"{next(iter(known.values()))} kernels" if len(set(known.values())) == 1 else ""
    if not kernels and subject(report["environments"]) != "ATEN_CPU_CAPABILITY":  # which says the same
        kernels = ", ".join(f"{capability} kernels in {name}" for name, capability in known.items())
    held = [f"{name}={value}" for name, value in report["study"]["variables"].items()]
    if (package := subject(report["environments"])) != "PyTorch":
        came = {name: v for name, v in beyond_torch(report["environments"]).items() if name != package}
        held += [f"{name} {' → '.join(str(version) for version in v)}" for name, v in came.items()]
        held.insert(0, f"PyTorch {report['environments'][0]['torch']['version']}")
    ran = f"{machine['cpu'] or 'an unknown CPU'}, {machine['gpu'] or 'no GPU'}"
    return list(filter(None, [ran, kernels, *held]))


def compared(report: Report) -> str:
    """Return the versions that were compared: ``PyTorch 2.0.1 → 2.1.0``."""
    known = f"{subject(report['environments'])} "
    return known + " → ".join(name.removeprefix(known) for name in versions(report["environments"]).values())


def _figure(results: list[Outcome]) -> dict[str, Any]:
    """Return the rows of how much of each step differs, a cell for each precision."""
    columns = [{row["step"]: row for row in steps(o)} for o in results]
    order = list(dict.fromkeys(step for column in columns for step in column))
    rows = [{"step": step, "cells": [column.get(step) for column in columns]} for step in order]
    return {"columns": [o.part.label for o in results], "rows": rows}


def _facts(report: Report, outcome: Outcome) -> dict[str, Any]:
    """Return what the three answers say of a precision."""
    about = {f["kind"]: f for f in report["findings"] if f["about"] == outcome.part.key}
    reaching = [c for c in outcome.causes if c.reaches in {"embeddings", "index"}]
    return {
        "label": outcome.part.label,
        "index": outcome.index,
        "files": about["files"]["numbers"] if "files" in about else None,
        "post": about["post"]["numbers"] if "post" in about else None,
        "causes": [{"name": c.name, "reason": c.reason} for c in (reaching or list(outcome.causes))[:2]],
        "further": [c.name for c in outcome.causes if c not in reaching] if reaching else [],
        "order_only": bool(outcome.causes) and not reaching,
        "recorded": outcome.part.operations is not None,
        "other": _others(about["no_cause"]["numbers"]) if "no_cause" in about else [],
        "pending": "operations" in report.get("pending", []),
        "advice": outcome.advice,
        "kept": outcome.searches.kept if outcome.searches else None,
        "moved": outcome.searches.moved if outcome.searches else 0,
        "queries": outcome.searches.upgrade["queries"] if outcome.searches else 0,
        "settings": list(outcome.settings),
        "a": outcome.part.short_a,
        "b": outcome.part.short_b,
    }


def _others(numbers: Mapping[str, Any]) -> list[str]:
    """Return what one version computes and the other does not, where that is how a difference comes in."""
    return [*numbers["only_b"], *numbers["only_a"]] if numbers["verdict"] == "replaced" else []


def caveats(report: Report) -> Iterator[str]:
    """Yield what the numbers of this study cannot say, each as a phrase."""
    study, machine = report["study"], report["platform"]
    indexed = dict.fromkeys(p["passages"] or 0 for p in study["precisions"])
    passages = f"{formats.listing(formats.count(n) for n in indexed)} passages"
    projection = study["checkpoint"].get("projection")
    if projection == "trained":
        yield "quality is that of a small encoder, its last layer trained on docstrings, and of no published ColBERT"
    # Of reports from before there was a trained one, none says which.
    elif projection == "untrained" or study["checkpoint"]["source"] == "all-minilm-l6-v2":
        yield "the checkpoint's last layer is untrained, so quality numbers say nothing about a real ColBERT"
    yield f"only {passages} were indexed" if min(indexed) < 10_000 else passages
    if study["collection"]["source"] == "numpy-docstrings":
        yield "relevance was judged by a rule (a docstring's first line asks for its rest)"
    yield "one machine" if machine["one_machine"] else "more than one machine"
    if study["device"] != "cuda":
        yield "no GPU was used"


Piece = Html | Markup | str
Section = Callable[[Report], Html]


def by_part(draw: Callable[[Part], Iterable[Piece]]) -> Section:
    """Make a section of the page from a function that draws one precision of one pair.

    Parameters
    ----------
    draw : callable
        Takes a `Part` and yields pieces: nothing where there is nothing to show.

    Returns
    -------
    callable
        Takes a report (as `reportlib.compare.study.compare_study` makes it) and returns an `Html`, which JupyterLab
        shows too; an empty one where no precision has anything to show.
    """

    @functools.wraps(draw)
    def section(report: Report) -> Html:
        blocks, shown = [], list(parts(report))
        for part in shown:
            pieces = [piece for piece in draw(part) if not isinstance(piece, Html) or piece.markup]
            if pieces:
                inner = join([inconclusive(part), *pieces])
                title = f"{part.label}, {part.passages}" if len(shown) > 1 else ""
                blocks.append(fragment("part", slug=part.slug, title=title, inner=inner))
        return join(blocks)

    return section


def inconclusive(part: Part) -> Html:
    """Draw the warning that stands wherever something rests on a precision whose controls failed; else nothing."""
    if not part.failed:
        return Html(Markup(""))
    text = f"{part.where} a control failed, so what differs may be noise. Nothing is concluded from it."
    return fragment("warning", title="Inconclusive.", text=text)


def switch(report: Report) -> Html:
    """Draw the choice of what the page shows, where there is more than one precision; it works without a script."""
    shown = list(parts(report))
    if len(shown) < 2:
        return Html(Markup(""))
    return fragment(
        "switch", parts=[{"slug": part.slug, "label": part.label, "passages": part.passages} for part in shown]
    )


def sentences(part: Part, *kinds: str) -> list[str]:
    """Return the sentences of a precision's findings of these kinds, in this order."""
    return [
        f["sentence"]
        for kind in kinds
        for f in part.report["findings"]
        if f["kind"] == kind and f["about"] in {part.key, part.pair["b"]}
    ]


def paragraph(sentences: Iterable[str]) -> Html:
    """Draw sentences as one paragraph; nothing where there are none."""
    text = " ".join(sentences)
    return fragment("paragraph", text=text) if text else Html(Markup(""))


def sides(part: Part) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return each side of a record with what to call it."""
    return ("a", part.a), ("b", part.b)


def whose(part: Part, side: str | None) -> str:
    """Return what to call a side that a record names: a version, ``both`` or ``neither``."""
    return {**dict(sides(part)), "both": "both", "neither": "neither"}.get(side or "", formats.ABSENT)
