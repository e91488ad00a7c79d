"""Judge requirements on a comparison of two indexes, or on a study's report, and write that for other programs.

Each requirement holds, does not hold, or cannot be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

import reportlib
from reportlib.compare.indexes import POINTS
from reportlib.errors import ComparisonError, RequirementError
from reportlib.gate.requirements import FAILS, HOLDS, INCONCLUSIVE, Judgement, Requirement
from reportlib.gate.search import judge_search
from reportlib.shape import SCHEMA_VERSION, Comparison, Report

_Record = Mapping[str, Any]
#: What a folder cannot answer.
_NO_SEARCH = "two index folders hold no search results; `reportlib check` judges them on a study"


def judge(requirements: Sequence[Requirement], comparison: _Record) -> tuple[Judgement, ...]:
    """Judge `requirements` on what `reportlib.compare.indexes.compare_indexes` returned, or on a study's comparison.

    Only the latter has ``search``, as a report has it.

    Files of equal bytes satisfy every requirement. A shape mismatch or an unequal dtype satisfies none but what is
    counted in spite of it (``differing`` for dtypes, ``groups_differing`` for shapes).
    """
    records = {record["name"]: record for record in comparison["artifacts"]}
    return tuple(_judge(requirement, records, comparison) for requirement in requirements)


def exit_code(judgements: Sequence[Judgement], comparison: _Record) -> int:
    """Return 0 where all requirements hold, 1 where one does not, 2 where it cannot be told.

    One that certainly does not hold decides, whatever else is unknown; and a comparison with an unreadable file is
    inconclusive even where no requirement asks for that file.
    """
    outcomes = {j.outcome for j in judgements}
    if FAILS in outcomes:
        return 1
    return 2 if INCONCLUSIVE in outcomes or comparison["verdict"] == INCONCLUSIVE else 0


def _judge(requirement: Requirement, records: Mapping[str, _Record], comparison: _Record) -> Judgement:
    if not requirement.artifacts:
        if "search" not in comparison:
            return Judgement(requirement, INCONCLUSIVE, _NO_SEARCH)
        return Judgement(requirement, *judge_search(requirement, comparison["search"], comparison.get("passages")))
    judged = [_one(requirement, records[name]) for name in requirement.artifacts if name in records]
    if not judged:
        return Judgement(requirement, INCONCLUSIVE, f"there is no {requirement.subject} on either side")
    # The worst decides: what fails before what is unknown before what holds.
    for outcome in (FAILS, INCONCLUSIVE):
        worst = [judgement for judgement in judged if judgement.outcome == outcome]
        if len(worst) > 1:
            more = "1 more artifact" if len(worst) == 2 else f"{len(worst) - 1} more artifacts"
            return replace(worst[0], reason=f"{worst[0].reason} (and {more})")
        if worst:
            return worst[0]
    if len(judged) == 1:
        return judged[0]
    return Judgement(requirement, HOLDS, f"for all {len(judged)} artifacts")


def _one(requirement: Requirement, record: _Record) -> Judgement:
    """Judge a requirement on one artifact."""
    name = record["name"] if requirement.subject != record["name"] else ""
    before = f"{name}: " if name else ""
    if record["verdict"] is None:
        outcome, reason = INCONCLUSIVE, record["text"]
    elif record["elements"] == 0:
        outcome, reason = INCONCLUSIVE, "it is empty on both sides, which judges nothing"
    elif record["verdict"] == "identical":
        outcome, reason = HOLDS, "identical"
    elif requirement.limit is not None:
        outcome, reason = _limited(requirement, requirement.limit, record)
    else:
        outcome = HOLDS if _satisfied(requirement, record) else FAILS
        reason = f"{record['verdict']}: {record['text'].removesuffix('.')}"
    return Judgement(requirement, outcome, before + reason, record["name"], _file(record))


def _file(record: _Record) -> str:
    """Return the file to look at: of several chunks the first that differs."""
    if record["files"] and record["chunks"]:
        return next((str(c["name"]) for c in record["chunks"] if c["different"]), record["files"][0])
    return record["files"][0] if record["files"] else ""


def _satisfied(requirement: Requirement, record: _Record) -> bool:
    if requirement.claim == "same set":
        return bool(record["verdict"] == "same set")
    if requirement.claim == "close":
        known = TOLERANCE_FIELDS if requirement.tolerance is None else (requirement.tolerance,)
        return any(record[field] is True for field in known)
    return False


#: Where a record says whether each tolerance passes.
TOLERANCE_FIELDS = ("default", "bnb")


def _limited(requirement: Requirement, limit: float, record: _Record) -> tuple[str, str]:
    """Judge a limit on a quantity; what cannot be measured because the artifacts are too unlike does not hold."""
    value, counted = _quantity(requirement.claim, record)
    if value is None:
        return FAILS, f"it cannot be measured: {record['text'].removesuffix('.')}"
    if requirement.claim not in ("differing", "groups_differing") and _unlike(record):
        return FAILS, "a NaN or an infinity stands against something else"
    within = value <= limit if requirement.inclusive else value < limit
    return (HOLDS if within else FAILS), f"measured {value:.6g}{counted}"


def _unlike(record: _Record) -> bool:
    """Return whether a value that is no number stands against something else, which no distance counts."""
    if record["no_tolerance_passes"]:
        return True
    # Of two dtypes no tolerance was tried: that one side has NaNs or infinities is enough.
    sides = (record["a"], record["b"])
    return sides[0]["dtype"] != sides[1]["dtype"] and any(side["nan"] or side["inf"] for side in sides)


def _quantity(claim: str, record: _Record) -> tuple[float | None, str]:
    """Return a quantity's value, or None where there is none, and what it was counted from."""
    if claim == "differing":
        count, whole, noun = record["different"], record["elements"], "elements differ"
    elif claim == "groups_differing":
        whole, noun = record["groups"], "groups differ"
        count = None if whole is None else whole - record["groups_equal"]
    else:
        value = record[claim]
        return (None if value is None else float(value)), ""
    if count is None or not whole:
        return None, ""
    return count / whole, f" ({count:,} of {whole:,} {noun})"


# The same for a study: its report.json, pair by pair and precision by precision.

REPORT = "report.json"


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
    judgements: list[Judgement] = []
    codes = []
    try:
        _check(precisions, report)
        for where, conclusive, comparison in _comparisons(report, precisions):
            judged = [replace(j, where=where, file=REPORT) for j in judge(requirements, comparison)]
            if not conclusive:
                judged = [replace(j, outcome=INCONCLUSIVE, reason=f"a control failed ({j.reason})") for j in judged]
            judgements.extend(judged)
            codes.append(exit_code(judged, comparison))
        missing = tuple(arm for arm in report["missing_arms"] if _asked(arm, precisions))
    except (KeyError, TypeError, AttributeError) as error:
        raise ComparisonError(f"{folder / REPORT} is damaged: {error!r}", "run the study again") from error
    code = 1 if 1 in codes else 2 if 2 in codes or missing or not codes else 0
    return StudyJudgement(tuple(judgements), code, missing)


def read_report(path: Path) -> Report:
    """Return a report.json."""
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
    return cast(Report, report)


def _check(precisions: Sequence[str], report: Report) -> None:
    known = dict.fromkeys(str(entry["precision"]) for pair in report["pairs"] for entry in pair["precisions"])
    if unknown := [name for name in precisions if name not in known]:
        mend = f"name one of {', '.join(known)}" if known else "run the study again"
        raise RequirementError(f"the report compares nothing in the precision {unknown[0]!r}", mend)


def _asked(arm: str, precisions: Sequence[str]) -> bool:
    """Return whether an arm is of a precision that is judged: ``torch201-float32-search`` is one of float32."""
    return not precisions or any(f"-{name}-" in f"{arm}-" for name in precisions)


def _comparisons(report: Report, precisions: Sequence[str]) -> Iterator[tuple[str, bool, _Record]]:
    """Yield each pair's comparison at each precision: what to call it, whether it is conclusive, and what it holds."""
    for pair in report["pairs"]:
        for precision in pair["precisions"]:
            if precisions and precision["precision"] not in precisions:
                continue
            known = {r["name"]: r for r in precision["artifacts"] if r["final"] or r["name"] == "doclens"}
            records = [_prepared(point.name, known.get(point.name)) for point in POINTS]
            comparison = {
                "artifacts": records,
                "verdict": "different" if all(record["verdict"] for record in records) else INCONCLUSIVE,
                "search": precision.get("search"),
                "passages": precision["passages"],
            }
            name = f"{pair['a']} and {pair['b']}, {precision['precision']}"
            yield name, precision["conclusive"] is not False, comparison


def _prepared(name: str, record: Comparison | None) -> _Record:
    """Return a report's record as `judge` reads it: one that is missing cannot be judged."""
    if record is None:
        return {"name": name, "file": "", "files": [], "chunks": [], "verdict": None, "text": "It was not captured."}
    return {**record, "files": [], "verdict": None if record["verdict"] == "missing" else record["verdict"]}


# Judgements as JUnit and SARIF files, which continuous integration shows beside a change.
#
# JUnit is written by `junitparser`. For SARIF no well-kept library was found (`sarif-om` is of 2019; `sarif-pydantic`
# has not been released for a year), so the few parts of SARIF 2.1.0 that a gate needs are written here.

_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def junit(judgements: Sequence[Judgement]) -> str:
    """Return JUnit XML: a requirement is a test case; inconclusive is an error, not a failure."""
    suite = TestSuite("reportlib compare")
    for judgement in judgements:
        case = TestCase(judgement.requirement.text, classname=judgement.where or "reportlib.compare")
        if judgement.outcome != HOLDS:
            kind = Failure if judgement.outcome == FAILS else Error
            case.result = [kind(_printable(judgement.text), judgement.outcome)]
        suite.add_testcase(case)
    document = JUnitXml("reportlib")
    document.add_testsuite(suite)
    document.update_statistics()
    text: str = document.tostring().decode("utf-8")
    return text


def _printable(text: str) -> str:
    """Return text without the control characters that XML cannot hold, which a file's name may have."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def sarif(judgements: Sequence[Judgement], folder: str, code: int, file: str = "metadata.json") -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: one result for each requirement that does not hold or cannot be told."""
    rules = [
        {
            "id": f"requirement-{number}",
            "shortDescription": {"text": f"{j.where}: {j.requirement.text}" if j.where else j.requirement.text},
        }
        for number, j in enumerate(judgements, 1)
    ]
    driver = {"name": "reportlib", "version": reportlib.__version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": code != 2, "exitCode": code}],
        "results": [
            _result(number, judgement, Path(folder) / (judgement.file or file))
            for number, judgement in enumerate(judgements)
            if judgement.outcome != HOLDS
        ],
    }
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(number: int, judgement: Judgement, path: Path) -> dict[str, Any]:
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {
        "ruleId": f"requirement-{number + 1}",
        "ruleIndex": number,
        "level": "error" if judgement.outcome == FAILS else "warning",
        "message": {"text": judgement.text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
    }
