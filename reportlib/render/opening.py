"""The first screen: the verdict, the numbers that decide it, how much of each step differs, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.findings.verdict import Outcome, headline, outcomes, steps
from reportlib.render.html import Html, fragment, join
from reportlib.render.sections import switch
from reportlib.shape import Report
from reportlib.words import formats
from reportlib.words.terms import versions

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
    found = outcomes(report)
    lede = [(o.part.label, f) for o in found for f in report["findings"] if _leads(f, o)]
    opening = fragment(
        "opening",
        versions=compared(report),
        ran_on=" · ".join(["ColBERT index", *ran_on(report)]),
        title=headline(found),
        several=len(found) > 1,
        lede=[(label, finding["sentence"]) for label, finding in lede],
        precisions=_precisions(report),
        warnings=[f["sentence"] for f in report["findings"] if f["kind"] in {"missing", "environments", "nothing"}],
        figure=_figure(found),
        outcomes=[_facts(report, o) for o in found],
        caveats=list(caveats(report)),
    )
    return join([opening, switch(report)])


def _precisions(report: Report) -> str:
    """Say which precision is whose, where a study has both: colbert-ai itself has one on each device."""
    sizes = {p["name"]: formats.plural(p["passages"] or 0, "passage") for p in report["study"]["precisions"]}
    if len(sizes) < 2 or report["study"]["device"] == "cuda":
        return ""
    return (
        f"On a CPU colbert-ai computes in float32 ({sizes['float32']} here). Autocast, which rounds to half precision,"
        f" is what it does on a GPU; here it is bfloat16 on a CPU, over {sizes['autocast']}."
    )


def _leads(finding: Record, outcome: Outcome) -> bool:
    return bool(finding["about"] == outcome.part.key and finding["kind"] == "lists")


def ran_on(report: Report) -> list[str]:
    """Return what a study ran on, as short as it can be said: ``AMD EPYC, no GPU``, ``AVX2 and AVX512 kernels``."""
    machine = report["platform"]
    known = dict.fromkeys(str(c) for c in machine["capability"].values() if c)
    kernels = f"{' and '.join(known)} kernels" if known else ""
    held = [f"{name}={value}" for name, value in report["study"]["variables"].items()]
    ran = f"{machine['cpu'] or 'an unknown CPU'}, {machine['gpu'] or 'no GPU'}"
    return list(filter(None, [ran, kernels, *held]))


def compared(report: Report) -> str:
    """Return the versions that were compared: ``PyTorch 2.0.1 → 2.1.0``."""
    called = versions(report["environments"])
    return f"PyTorch {' → '.join(called[e['name']] for e in report['environments'])}"


def _figure(found: list[Outcome]) -> dict[str, Any]:
    """Return the rows of how much of each step differs, a cell for each precision."""
    columns = [{row["step"]: row for row in steps(o)} for o in found]
    order = list(dict.fromkeys(step for column in columns for step in column))
    rows = [{"step": step, "cells": [column.get(step) for column in columns]} for step in order]
    return {"columns": [o.part.label for o in found], "rows": rows}


def _facts(report: Report, found: Outcome) -> dict[str, Any]:
    """Return what the three answers say of a precision."""
    about = {f["kind"]: f for f in report["findings"] if f["about"] == found.part.key}
    reaching = [c for c in found.causes if c.reaches in {"embeddings", "index"}]
    return {
        "label": found.part.label,
        "index": found.index,
        "files": about["files"]["numbers"] if "files" in about else None,
        "post": about["post"]["numbers"] if "post" in about else None,
        "causes": [{"name": c.name, "reason": c.reason} for c in (reaching or list(found.causes))[:2]],
        "order_only": bool(found.causes) and not reaching,
        "recorded": found.part.operations is not None,
        "pending": "operations" in report.get("pending", []),
        "advice": found.advice,
        "kept": found.searches.kept if found.searches else None,
        "moved": found.searches.moved if found.searches else 0,
        "queries": found.searches.upgrade["queries"] if found.searches else 0,
        "settings": list(found.settings),
        "a": found.part.short_a,
        "b": found.part.short_b,
    }


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
        yield "relevance was judged by a rule, not by people"
    yield "one machine" if machine["one_machine"] else "more than one machine"
    if study["device"] != "cuda":
        yield "no GPU was used"
