"""The same gate for a study: its report.json, pair by pair and precision by precision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reportlib.compare.indexes import POINTS
from reportlib.errors import ComparisonError, RequirementError
from reportlib.gate.judge import exit_code, judge
from reportlib.gate.outcomes import INCONCLUSIVE, Judgement
from reportlib.gate.requirements import Requirement

REPORT = "report.json"
_Record = Mapping[str, Any]


@dataclass(frozen=True)
class StudyJudgement:
    """What became of the requirements on a study.

    Attributes
    ----------
    judgements : tuple of Judgement
        Each requirement for each pair and precision.
    exit_code : int
        0 where all hold, 1 where one does not, 2 where it cannot be told.
    missing : tuple of str
        Arms that the report has nothing of.
    """

    judgements: tuple[Judgement, ...]
    exit_code: int
    missing: tuple[str, ...]


def judge_study(requirements: Sequence[Requirement], folder: Path, precisions: Sequence[str] = ()) -> StudyJudgement:
    """Judge requirements on the report of a study.

    A precision with a control that failed is inconclusive: what differs, or does not, may be chance.

    Parameters
    ----------
    requirements : sequence of Requirement
        What `parse` returned.
    folder : Path
        The study's folder.
    precisions : sequence of str
        Judge only these; all where none is named.

    Raises
    ------
    ComparisonError
        When there is no report.json, or one of another schema.
    RequirementError
        When the report has nothing of a precision that was named.
    """
    report = read_report(folder / REPORT)
    found: list[Judgement] = []
    codes = []
    try:
        _check(precisions, report)
        for where, conclusive, comparison in _comparisons(report, precisions):
            judged = [replace(j, where=where, file=REPORT) for j in judge(requirements, comparison)]
            if not conclusive:
                judged = [replace(j, outcome=INCONCLUSIVE, reason=f"a control failed ({j.reason})") for j in judged]
            found.extend(judged)
            codes.append(exit_code(judged, comparison))
        missing = tuple(arm for arm in map(str, report["missing_arms"]) if _asked(arm, precisions))
    except (KeyError, TypeError, AttributeError) as error:
        raise ComparisonError(f"{folder / REPORT} is damaged: {error!r}", "run the study again") from error
    code = 1 if 1 in codes else 2 if 2 in codes or missing or not codes else 0
    return StudyJudgement(tuple(found), code, missing)


def read_report(path: Path) -> dict[str, Any]:
    """Return a report.json.

    Raises
    ------
    ComparisonError
        When it is not there, is no JSON, or has another schema.
    """
    # The study's comparison imports most of the package; the gate on two folders needs none of it.
    from reportlib.compare.study import SCHEMA_VERSION

    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComparisonError(f"there is no {path}", "run `reportlib run` on the study first") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ComparisonError(f"{path} cannot be read: {error}", "run the study again") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version != SCHEMA_VERSION:
        raise ComparisonError(
            f"{path} has schema {version}; this reportlib reads {SCHEMA_VERSION}", "run the study again"
        )
    return dict(report)


def _check(precisions: Sequence[str], report: _Record) -> None:
    known = {each["precision"]: None for pair in report["pairs"] for each in pair["precisions"]}
    if unknown := [name for name in precisions if name not in known]:
        mend = f"name one of {', '.join(known)}" if known else "run the study again"
        raise RequirementError(f"the report compares nothing in the precision {unknown[0]!r}", mend)


def _asked(arm: str, precisions: Sequence[str]) -> bool:
    """Return whether an arm is of a precision that is judged: ``torch201-float32-search`` is one of float32."""
    return not precisions or any(f"-{name}-" in f"{arm}-" for name in precisions)


def _comparisons(report: _Record, precisions: Sequence[str]) -> Iterator[tuple[str, bool, _Record]]:
    """Yield each pair's comparison at each precision: what to call it, whether it is conclusive, and what it holds."""
    for pair in report["pairs"]:
        for precision in pair["precisions"]:
            if precisions and precision["precision"] not in precisions:
                continue
            known = {r["name"]: r for r in precision["artifacts"] if r["final"] or r["name"] == "doclens"}
            records = [_prepared(place.name, known.get(place.name)) for place in POINTS]
            told = all(record["verdict"] is not None for record in records)
            name = f"{pair['a']} and {pair['b']}, {precision['precision']}"
            verdict = "different" if told else INCONCLUSIVE
            comparison = {
                "artifacts": records,
                "verdict": verdict,
                "search": precision.get("search"),
                "passages": precision.get("passages"),
            }
            yield name, precision.get("conclusive") is not False, comparison


def _prepared(name: str, record: _Record | None) -> _Record:
    """Return a report's record as `judge` reads it: one that is missing cannot be judged."""
    if record is None:
        return {"name": name, "file": "", "files": [], "chunks": [], "verdict": None, "text": "It was not captured."}
    return {**record, "files": [], "verdict": None if record["verdict"] == "missing" else record["verdict"]}
