"""`reportlib compare` and `check`: two index folders side by side, or a study that was run, and a gate on either."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from reportlib.cli import Json, print_json
from reportlib.compare.indexes import compare_indexes
from reportlib.errors import RequirementError
from reportlib.gate import HOLDS, Judgement, exit_code, judge, parse
from reportlib.gate.judge import REPORT, StudyJudgement, judge_study, junit, sarif
from reportlib.words import formats

_Record = Mapping[str, Any]
#: Seconds before progress is shown, and between lines of it where there is no terminal.
PATIENCE, PAUSE = 2.0, 30.0
#: What a comparison without requirements exits with, as `diff` does.
EXIT_CODES = {"identical": 0, "different": 1, "inconclusive": 2}
_STYLES = {"identical": "green", "close": "yellow", "same set": "yellow", None: "bold red"}


def compare(
    index_a: Annotated[Path, typer.Argument(metavar="INDEX_A", help="An index folder of colbert-ai or fast-plaid.")],
    index_b: Annotated[Path, typer.Argument(metavar="INDEX_B", help="Another.")],
    require: Annotated[
        str | None,
        typer.Option(help='A gate: "ivf identical, codes differing < 1%, centroids close bnb".', show_default=False),
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the gate's judgements as JUnit XML.")
    ] = None,
    sarif_file: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write the gate's judgements as SARIF.")
    ] = None,
    html_file: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a small page.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two ColBERT indexes on disk, final artifact by final artifact.

    Exits with 0 when all are identical, 1 when any differs, 2 when it could not tell: a file is missing or
    damaged, or an index contradicts itself.
    With --require: 0 when every requirement holds, 1 when one does not, 2 when it is inconclusive.
    """
    if require is None and (junit_file or sarif_file):
        raise typer.BadParameter("there is nothing to write without --require", param_hint="--junit / --sarif")
    requirements = parse(require) if require is not None else ()
    with _Meter() as meter:
        comparison = compare_indexes(index_a, index_b, meter.show)
    judgements = judge(requirements, comparison)
    code = exit_code(judgements, comparison) if requirements else EXIT_CODES[comparison["verdict"]]
    write_file(html_file, lambda: _page(comparison, judgements))
    write_file(junit_file, lambda: junit(judgements))
    write_file(sarif_file, lambda: json.dumps(sarif(judgements, comparison["a"]["path"], code), indent=1) + "\n")
    if as_json:
        gate = [judged(j) for j in judgements] if requirements else None
        print_json({**comparison, "requirements": gate, "exit_code": code})
    else:
        _print(comparison, judgements)
    raise typer.Exit(code)


def write_file(path: Path | None, text: Callable[[], str]) -> None:
    """Write what `text` returns to `path`, if there is one."""
    if path is None:
        return
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise RequirementError(
            f"{path} cannot be written: {error.strerror}", "give a path in a folder that exists"
        ) from error


def _page(comparison: _Record, judgements: Sequence[Judgement]) -> str:
    # matplotlib and scipy come with it: seconds for which an answer in the terminal need not wait.
    from reportlib.cli.index_page import page

    return page(comparison, judgements, answer(comparison), _warnings(comparison))


def judged(judgement: Judgement) -> dict[str, str]:
    """Return a judgement as JSON has it."""
    return {
        "requirement": judgement.requirement.text,
        "outcome": judgement.outcome,
        "reason": judgement.reason,
        "artifact": judgement.artifact,
    }


def answer(comparison: _Record) -> str:
    """Return what a comparison says of two indexes, in one sentence."""
    summary = comparison["summary"]
    total, same = summary["total"], summary["identical"]
    if comparison["verdict"] == "identical":
        return f"All {total} artifacts are identical."
    if comparison["verdict"] == "different":
        numbering = comparison["renumbering"]
        only = "; only the numbering of the centroids differs" if numbering and numbering["only"] else ""
        return f"The indexes differ: {same} of {total} artifacts are identical{only}."
    unread = f"{summary['unread']} of {total} artifacts could not be compared" if summary["unread"] else ""
    broken = (
        f"{formats.plural(len(comparison['problems']), 'contradiction')} between files"
        if comparison["problems"]
        else ""
    )
    rest = total - same - summary["unread"]
    others = f"; of the others {same} are identical and {rest} are not" if unread else ""
    if not unread:
        others = f"; {same} of {total} artifacts are identical"
    return f"It could not be told: {' and '.join(part for part in (unread, broken) if part)}{others}."


def gate_lines(comparison: _Record, judgements: Sequence[Judgement]) -> list[str]:
    """Return a line for each requirement that does not hold or cannot be told; one line where all hold."""
    lines = [f"Requirement {j.text}." for j in judgements if j.outcome != HOLDS]
    if lines:
        return lines
    if comparison["verdict"] == "inconclusive":
        return ["No requirement is known to fail, but the comparison is inconclusive."]
    return [f"All {len(judgements)} requirements hold." if len(judgements) > 1 else "The requirement holds."]


def _print(comparison: _Record, judgements: Sequence[Judgement]) -> None:
    console = Console(highlight=False)
    for side in ("a", "b"):
        console.print(f"{side.upper()}: {escape(comparison[side]['path'])}", soft_wrap=True)
    console.print(_sides(comparison))
    console.print(_artifacts(comparison))
    for record in comparison["artifacts"]:
        if record["verdict"] not in ("identical", None):
            console.print(f"{record['name']}: {escape(record['text'])}", soft_wrap=True)
    if comparison["renumbering"]:
        console.print(escape(comparison["renumbering"]["text"]), soft_wrap=True)
    if comparison["settings"]:
        console.print(_settings(comparison))
    for line in _warnings(comparison):
        console.print(escape(line), soft_wrap=True)
    console.print(escape(answer(comparison)), style="bold", soft_wrap=True)
    for line in gate_lines(comparison, judgements) if judgements else ():
        console.print(escape(line), soft_wrap=True)


def _sides(comparison: _Record) -> Table:
    table = Table("", "chunks", "passages", "embeddings", "centroids", "dim", "nbits", "saved on", box=None)
    for side in ("a", "b"):
        known = comparison[side]
        numbers = [known[k] for k in ("chunks", "passages", "embeddings", "centroids", "dim", "nbits")]
        cells = ["?" if n is None else f"{n:,}" for n in numbers]
        table.add_row(side.upper(), *cells, escape(", ".join(json.dumps(d)[1:-1] for d in known["devices"])))
    return table


def _artifacts(comparison: _Record) -> Table:
    table = Table("artifact", "verdict", "A", "B", "differing")
    for record in comparison["artifacts"]:
        verdict = record["verdict"] or "not compared"
        cells = (record["name"], verdict, _typed(record["a"]), _typed(record["b"]), _differing(record))
        table.add_row(*map(escape, cells), style=_STYLES.get(record["verdict"], "red"))
    return table


def _typed(side: _Record | None) -> str:
    return "" if side is None else f"{side['dtype']} {'×'.join(map(str, side['shape'])) or 'scalar'}"


def _differing(record: _Record) -> str:
    if not record["elements"] or record["different"] is None:
        return ""
    fraction = record["different"] / record["elements"]
    return "0" if not fraction else "<0.001%" if fraction < 0.00001 else f"{fraction:.3%}"


def _settings(comparison: _Record) -> Table | str:
    """Return the settings that differ; of those that only say where and when, how many."""
    when_made = sum(setting["place"] for setting in comparison["settings"])
    table = Table("setting that differs", "A", "B")
    for setting in comparison["settings"]:
        if not setting["place"]:
            # JSON's escapes keep what a file says from reaching the terminal as commands.
            cells = (json.dumps(setting["name"])[1:-1], json.dumps(setting["a"]), json.dumps(setting["b"]))
            table.add_row(*map(escape, cells))
    if table.row_count:
        return table
    return f"No setting differs, but for {when_made} that say where and when an index was made."


def _warnings(comparison: _Record) -> list[str]:
    lines = []
    for side in ("a", "b"):
        lines += [f"Note on {side.upper()}: {note}." for note in comparison[side]["notes"]]
    for problem in (*(p for r in comparison["artifacts"] for p in r["problems"]), *comparison["problems"]):
        lines.append(f"{problem['side'].upper()}: {problem['what']}.")
        if problem["mend"]:
            lines.append(f"  To mend it: {problem['mend']}")
    return list(dict.fromkeys(lines))


class _Meter:
    """Shows how far a comparison is, once it has taken `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Take note that `done` of `total` bytes have been read."""
        now = time.monotonic()
        if now - self._start < PATIENCE:
            return
        if not self._console.is_terminal:
            if self._last == self._start or now - self._last >= PAUSE:
                self._last = now
                self._console.print(f"{done / 1e9:.1f} of {total / 1e9:.1f} GB compared", style="dim")
            return
        if self._bar is None:
            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task("compare", total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)


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
    as_json: Json = False,
) -> None:
    """Judge requirements on a study's report, for every pair and precision.

    Exits with 0 when all hold, 1 when one does not, 2 when it is inconclusive: an arm is missing, a control failed, or
    the queries are too few to tell.
    """
    requirements = parse(require)
    folder = study if study.is_dir() else study.parent
    result = judge_study(requirements, folder, precision or ())
    write_file(junit_file, lambda: junit(result.judgements))
    log = sarif(result.judgements, str(folder), result.exit_code, REPORT)
    write_file(sarif_file, lambda: json.dumps(log, indent=1) + "\n")
    if as_json:
        rows = [{"where": j.where, **judged(j)} for j in result.judgements]
        content = {"schema_version": 1, "requirements": rows, "missing_arms": result.missing}
        print_json({**content, "exit_code": result.exit_code})
    else:
        for line in check_lines(result):
            typer.echo(line)
    raise typer.Exit(result.exit_code)


def check_lines(result: StudyJudgement) -> list[str]:
    """Return a line for each judgement that is not that it holds, or is about search; one line where all hold.

    That a requirement on search holds is never certain, so its line says what was measured.
    """
    searched = [f"{j.text}." for j in result.judgements if j.outcome == HOLDS and not j.requirement.artifacts]
    others = [f"{j.text}." for j in result.judgements if j.outcome != HOLDS]
    if result.missing:
        others.append(f"Inconclusive: the report has nothing of {', '.join(result.missing)}.")
    if not result.judgements:
        others.append("Inconclusive: the report compares nothing.")
    if others:
        return [*others, *searched]
    if result.exit_code:
        last = "No requirement is known to fail, but an artifact was not captured on both sides: inconclusive."
    else:
        number = len(result.judgements)
        last = f"All {number} judgements hold." if number > 1 else "The requirement holds."
    return [*searched, last]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(compare)
    app.command()(check)
