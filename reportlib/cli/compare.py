"""`reportlib compare` and `reportlib check`: two index folders, or a study, and what is required of them."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import bs4
import jinja2
import typer
from markupsafe import Markup
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from reportlib.compare.indexes import compare_indexes
from reportlib.errors import RequirementError
from reportlib.gate import FAILS, HOLDS, Judgement, exit_code, judge, parse
from reportlib.gate.judge import REPORT, StudyJudgement, judge_study, junit, sarif
from reportlib.render.html import Column, Html, Row, fragment, let_break, table
from reportlib.render.labels import badge
from reportlib.words import formats

# `reportlib compare --html`: the comparison of two index folders as one small page that asks no host for anything.

_Record = Mapping[str, Any]
_OUTCOMES = {HOLDS: "identical", FAILS: "different"}
#: The policy forbids scripts and every request: what a file says could do nothing even past the escaping.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="description" content="{{ answer }}">
<title>{{ title }}</title>
<style>
{{ style }}
</style>
</head>
<body>
<main>
<header class="opening">
<p class="kicker">reportlib compare</p>
<h1>{{ title }}</h1>
<p>{{ answer }}</p>
</header>
{% for piece in pieces %}
{{ piece }}
{% endfor %}
</main>
</body>
</html>
"""


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_PAGE)


def page(found: _Record, judgements: Sequence[Judgement], answer: str, warnings: Sequence[str]) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    found : mapping
        What `reportlib.compare.indexes.compare_indexes` returned.
    judgements : sequence of Judgement
        Of the gate; empty where nothing was required.
    answer : str
        The comparison in a sentence.
    warnings : sequence of str
        What could not be told, and why.

    Returns
    -------
    str
        HTML; the same comparison gives the same bytes.
    """
    style = files("reportlib.render").joinpath("templates", "report", "style.css").read_text(encoding="utf-8")
    pieces = [_requirements(judgements), _artifacts_table(found), _sides_table(found), _settings_table(found)]
    told = [found["renumbering"]["text"]] if found["renumbering"] else []
    if warnings or told:
        pieces.insert(0, fragment("sentences", sentences=[*warnings, *told]))
    # The style sheet is this package's own; a quotation mark in it must stay one.
    drawn = _template().render(title="Two indexes", answer=answer, pieces=pieces, style=Markup(style))  # noqa: S704
    soup = bs4.BeautifulSoup(drawn, "html.parser")
    let_break(soup)
    return str(soup) + "\n"


def _requirements(judgements: Sequence[Judgement]) -> Html:
    rows = [
        Row((j.requirement.text, badge(_OUTCOMES.get(j.outcome, "missing"), j.outcome), j.reason)) for j in judgements
    ]
    return table("What was required", [Column("requirement"), Column("outcome"), Column("measured")], rows)


def _artifacts_table(found: _Record) -> Html:
    columns = [Column("artifact"), Column("verdict"), Column("A"), Column("B"), Column("differing", numeric=True)]
    rows = []
    for record in found["artifacts"]:
        verdict = badge(record["verdict"]) if record["verdict"] else badge("missing", "not compared")
        share = formats.percent(record["different"], record["elements"]) if record["elements"] else formats.ABSENT
        same = record["verdict"] == "identical"
        cells = (record["name"], verdict, _described(record["a"]), _described(record["b"]), share)
        rows.append(Row(cells, "" if same else record["text"], passing=same))
    return table("Final artifacts", columns, rows)


def _described(side: _Record | None) -> str:
    return formats.ABSENT if side is None else f"{side['dtype']} {formats.shape(side['shape'])}"


def _sides_table(found: _Record) -> Html:
    named = ("path", "chunks", "passages", "embeddings", "centroids", "dim", "nbits", "ivf_file", "devices")
    rows = [Row((key.replace("_", " "), *(_text(found[side][key]) for side in ("a", "b")))) for key in named]
    return table("The indexes", [Column("of the index"), Column("A"), Column("B")], rows)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return formats.count(value) if value is None or isinstance(value, int) else str(value)


def _settings_table(found: _Record) -> Html:
    rows = [Row((s["name"], json.dumps(s["a"]), json.dumps(s["b"]))) for s in found["settings"] if not s["place"]]
    columns = [Column("setting"), Column("A"), Column("B")]
    return table("Settings that differ", columns, rows)


# `reportlib compare`: two index folders that already exist, side by side, and a gate on what differs.

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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
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
        found = compare_indexes(index_a, index_b, meter.show)
    judgements = judge(requirements, found)
    code = exit_code(judgements, found) if requirements else EXIT_CODES[found["verdict"]]
    write_file(html_file, lambda: _page(found, judgements))
    write_file(junit_file, lambda: junit(judgements))
    write_file(sarif_file, lambda: json.dumps(sarif(judgements, found["a"]["path"], code), indent=1) + "\n")
    if as_json:
        gate = [judged(each) for each in judgements] if requirements else None
        sys.stdout.write(json.dumps({**found, "requirements": gate, "exit_code": code}, indent=1) + "\n")
    else:
        _print(found, judgements)
    raise typer.Exit(code)


def write_file(path: Path | None, text: Callable[[], str]) -> None:
    """Write what `text` returns to `path`, if there is one.

    Raises
    ------
    RequirementError
        When it cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise RequirementError(
            f"{path} cannot be written: {error.strerror}", "give a path in a folder that exists"
        ) from error


def _page(found: _Record, judgements: Sequence[Judgement]) -> str:
    # Drawing imports matplotlib, which no other command line should wait for.

    return page(found, judgements, answer(found), _warnings(found))


def judged(judgement: Judgement) -> dict[str, str]:
    """Return a judgement as JSON has it."""
    return {
        "requirement": judgement.requirement.text,
        "outcome": judgement.outcome,
        "reason": judgement.reason,
        "artifact": judgement.artifact,
    }


def answer(found: _Record) -> str:
    """Return what a comparison says of two indexes, in one sentence."""
    summary = found["summary"]
    total, same = summary["total"], summary["identical"]
    if found["verdict"] == "identical":
        return f"All {total} artifacts are identical."
    if found["verdict"] == "different":
        numbering = found["renumbering"]
        only = "; only the numbering of the centroids differs" if numbering and numbering["only"] else ""
        return f"The indexes differ: {same} of {total} artifacts are identical{only}."
    unread = f"{summary['unread']} of {total} artifacts could not be compared" if summary["unread"] else ""
    broken = f"{formats.plural(len(found['problems']), 'contradiction')} between files" if found["problems"] else ""
    rest = total - same - summary["unread"]
    others = f"; of the others {same} are identical and {rest} are not" if unread else ""
    if not unread:
        others = f"; {same} of {total} artifacts are identical"
    return f"It could not be told: {' and '.join(part for part in (unread, broken) if part)}{others}."


def gate_lines(found: _Record, judgements: Sequence[Judgement]) -> list[str]:
    """Return a line for each requirement that does not hold or cannot be told; one line where all hold."""
    lines = [f"Requirement {each.text}." for each in judgements if each.outcome != HOLDS]
    if lines:
        return lines
    if found["verdict"] == "inconclusive":
        return ["No requirement is known to fail, but the comparison is inconclusive."]
    return [f"All {len(judgements)} requirements hold." if len(judgements) > 1 else "The requirement holds."]


def _print(found: _Record, judgements: Sequence[Judgement]) -> None:
    console = Console(highlight=False)
    for side in ("a", "b"):
        console.print(f"{side.upper()}: {escape(found[side]['path'])}", soft_wrap=True)
    console.print(_sides(found))
    console.print(_artifacts(found))
    for record in found["artifacts"]:
        if record["verdict"] not in ("identical", None):
            console.print(f"{record['name']}: {escape(record['text'])}", soft_wrap=True)
    if found["renumbering"]:
        console.print(escape(found["renumbering"]["text"]), soft_wrap=True)
    if found["settings"]:
        console.print(_settings(found))
    for line in _warnings(found):
        console.print(escape(line), soft_wrap=True)
    console.print(escape(answer(found)), style="bold", soft_wrap=True)
    for line in gate_lines(found, judgements) if judgements else ():
        console.print(escape(line), soft_wrap=True)


def _sides(found: _Record) -> Table:
    table = Table("", "chunks", "passages", "embeddings", "centroids", "dim", "nbits", "saved on", box=None)
    for side in ("a", "b"):
        known = found[side]
        numbers = [known[k] for k in ("chunks", "passages", "embeddings", "centroids", "dim", "nbits")]
        cells = ["?" if n is None else f"{n:,}" for n in numbers]
        table.add_row(side.upper(), *cells, escape(", ".join(json.dumps(d)[1:-1] for d in known["devices"])))
    return table


def _artifacts(found: _Record) -> Table:
    table = Table("artifact", "verdict", "A", "B", "differing")
    for record in found["artifacts"]:
        verdict = record["verdict"] or "not compared"
        cells = (record["name"], verdict, _typed(record["a"]), _typed(record["b"]), _differing(record))
        table.add_row(*map(escape, cells), style=_STYLES.get(record["verdict"], "red"))
    return table


def _typed(side: _Record | None) -> str:
    return "" if side is None else f"{side['dtype']} {'×'.join(map(str, side['shape'])) or 'scalar'}"


def _differing(record: _Record) -> str:
    if not record["elements"] or record["different"] is None:
        return ""
    share = record["different"] / record["elements"]
    return "0" if not share else "<0.001%" if share < 0.00001 else f"{share:.3%}"


def _settings(found: _Record) -> Table | str:
    """Return the settings that differ; of those that only say where and when, how many."""
    places = sum(each["place"] for each in found["settings"])
    table = Table("setting that differs", "A", "B")
    for each in found["settings"]:
        if not each["place"]:
            # JSON's escapes keep what a file says from reaching the terminal as commands.
            cells = (json.dumps(each["name"])[1:-1], json.dumps(each["a"]), json.dumps(each["b"]))
            table.add_row(*map(escape, cells))
    if table.row_count:
        return table
    return f"No setting differs, but for {places} that say where and when an index was made."


def _warnings(found: _Record) -> list[str]:
    lines = []
    for side in ("a", "b"):
        lines += [f"Note on {side.upper()}: {note}." for note in found[side]["notes"]]
    for problem in (*(p for r in found["artifacts"] for p in r["problems"]), *found["problems"]):
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


# `reportlib check`: the gate on a study that has been run.


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
    """Add the commands to the command line."""
    for command in (check, compare):
        app.command()(command)
