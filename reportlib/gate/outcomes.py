"""What can become of a requirement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

import reportlib
from reportlib.gate.requirements import Requirement

HOLDS, FAILS, INCONCLUSIVE = "holds", "does not hold", "inconclusive"


@dataclass(frozen=True)
class Judgement:
    """What became of one requirement.

    Attributes
    ----------
    requirement : Requirement
        What was required.
    outcome : str
        `HOLDS`, `FAILS` or `INCONCLUSIVE`.
    reason : str
        What was measured, or why nothing could be.
    artifact : str
        The artifact that decided; empty where there is none.
    file : str
        That artifact's file in A's index folder; of several the first that differs. Empty where there is none.
    where : str
        Which of several comparisons it is about; empty where there is one.
    """

    requirement: Requirement
    outcome: str
    reason: str
    artifact: str = ""
    file: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The judgement in one line."""
        before = f"{self.where}: " if self.where else ""
        return f"{before}{self.requirement.text}: {self.outcome}; {self.reason}"


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
    """Return a SARIF 2.1.0 log: one result for each requirement that does not hold or cannot be told.

    Parameters
    ----------
    judgements : sequence of Judgement
        All of them; each is a rule.
    folder : str
        Where the files lie that judgements name.
    code : int
        The exit code.
    file : str
        What to point at where a judgement names no file.
    """
    rules = [
        {"id": f"requirement-{number}", "shortDescription": {"text": _rule(j)}}
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


def _rule(judgement: Judgement) -> str:
    return f"{judgement.where}: {judgement.requirement.text}" if judgement.where else judgement.requirement.text


def _result(number: int, judgement: Judgement, path: Path) -> dict[str, Any]:
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {
        "ruleId": f"requirement-{number + 1}",
        "ruleIndex": number,
        "level": "error" if judgement.outcome == FAILS else "warning",
        "message": {"text": judgement.text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
    }
