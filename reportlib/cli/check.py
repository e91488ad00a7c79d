"""`reportlib check`: the gate on a study that has been run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from reportlib.cli.compare import judged, write_file
from reportlib.gate import HOLDS, parse
from reportlib.gate.judge import REPORT, StudyJudgement, judge_study, junit, sarif


def check(
    study: Annotated[Path, typer.Argument(help="The study.toml, or the folder that holds it and its report.json.")],
    require: Annotated[str, typer.Option(help='"ivf identical, codes differing < 1%, recall@10 drop < 0.01".')],
    precision: Annotated[
        list[str] | None, typer.Option(help="Judge only this precision; may be given more than once. [default: all]")
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the judgements as JUnit XML.")
    ] = None,
    sarif_file: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write the judgements as SARIF.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """Judge requirements on a study's report, for every pair and precision.

    Exits with 0 when all hold, 1 when one does not, 2 when it is inconclusive: an arm is missing, a control failed, or
    the queries are too few to tell.
    """
    requirements = parse(require)
    folder = study if study.is_dir() else study.parent
    found = judge_study(requirements, folder, precision or ())
    write_file(junit_file, lambda: junit(found.judgements))
    log = sarif(found.judgements, str(folder), found.exit_code, REPORT)
    write_file(sarif_file, lambda: json.dumps(log, indent=1) + "\n")
    if as_json:
        rows = [{"where": j.where, **judged(j)} for j in found.judgements]
        content = {"schema_version": 1, "requirements": rows, "missing_arms": found.missing}
        sys.stdout.write(json.dumps({**content, "exit_code": found.exit_code}, indent=1) + "\n")
    else:
        for line in lines(found):
            typer.echo(line)
    raise typer.Exit(found.exit_code)


def lines(found: StudyJudgement) -> list[str]:
    """Return a line for each judgement that is not that it holds, or is about search; one line where all hold.

    That a requirement on search holds is never certain, so its line says what was measured.
    """
    searched = [f"{j.text}." for j in found.judgements if j.outcome == HOLDS and not j.requirement.artifacts]
    said = [f"{j.text}." for j in found.judgements if j.outcome != HOLDS]
    if found.missing:
        said.append(f"Inconclusive: the report has nothing of {', '.join(found.missing)}.")
    if not found.judgements:
        said.append("Inconclusive: the report compares nothing.")
    if said:
        return [*said, *searched]
    if found.exit_code:
        last = "No requirement is known to fail, but an artifact was not captured on both sides: inconclusive."
    else:
        number = len(found.judgements)
        last = f"All {number} judgements hold." if number > 1 else "The requirement holds."
    return [*searched, last]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(check)
