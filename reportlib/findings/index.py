"""Findings on what changed: the index's tensors, the posts' verdicts, and what else differs between environments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reportlib.findings.finding import Finding, of_part
from reportlib.findings.parts import Part
from reportlib.shape import Report
from reportlib.words.terms import beyond_torch

Record = Mapping[str, Any]


def files(part: Part) -> Finding:
    """Return what became of the index's tensors."""
    final = part.final
    unlike = [r for r in final if r["verdict"] != "identical"]
    close = [r for r in unlike if r["verdict"] == "close"]
    numbers = {
        "total": len(final),
        "identical": len(final) - len(unlike),
        "close": [r["artifact"] for r in close],
        "close_by": max((r["max_abs"] for r in close if r["max_abs"] is not None), default=None),
        "wide": [
            {
                "name": r["artifact"].removeprefix("index/"),
                "different": r["different"],
                "elements": r["elements"],
                "unit": "bytes" if r["artifact"] == "index/residuals" else "values",
            }
            for r in unlike
            if r["verdict"] in {"different", "same set"}
        ],
        "shape": [r["artifact"] for r in unlike if r["verdict"] in {"shape mismatch", "missing"}],
    }
    evidence = (f"{part.at}/summary/final", *part.pointer(*(r["artifact"] for r in unlike)))
    return of_part(part, "files", "what", numbers, evidence, _posts(part))


def post(part: Part) -> Iterator[Finding]:
    """Yield how many rows of the post's tables have the same result here, in the precision that the post used."""
    known = [(r["artifact"], post["agrees"]) for r in part.data["artifacts"] if (post := r["post"])]
    rows = [(name, agrees) for name, agrees in known if agrees is not None]
    if not rows or part.data["precision"] != "autocast":
        return
    numbers = {"total": len(rows), "unlike": [name for name, agrees in rows if not agrees]}
    yield of_part(part, "post", "what", numbers, part.pointer(*(name for name, _ in rows)), _posts(part))


def _posts(part: Part) -> tuple[str, ...]:
    """Return the id of the experiment whose rows stand beside this precision's: ``F1`` for ``F1: post ...``."""
    rows = [post for r in part.data["artifacts"] if (post := r["post"])]
    return tuple(dict.fromkeys(post["source"].partition(":")[0] for post in rows))


def environments(report: Report, number: int, a: str, b: str) -> Iterator[Finding]:
    """Yield what differs between two environments beside torch and what it brings: it may be the reason too."""
    pair = report["pairs"][number]
    known = {e["name"]: e for e in report["environments"]}
    if not {pair["a"], pair["b"]} <= set(known):
        return
    unlike = beyond_torch([known[pair["a"]], known[pair["b"]]])
    if not unlike:
        return
    torch = [known[pair[side]]["torch"].get("version") for side in ("a", "b")]
    numbers = {
        "same_torch": torch[0] == torch[1],
        "changes": [{"name": name, "a": left, "b": right} for name, (left, right) in unlike.items()],
    }
    evidence = (f"/pairs/{number}/environment_differences", "/environments")
    yield Finding("environments", "what", pair["b"], a, b, numbers, evidence)
