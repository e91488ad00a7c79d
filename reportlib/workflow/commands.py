"""`reportlib run`, `prepare` and `publish`: what the workflow offers on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from reportlib.store import project_home
from reportlib.study import load

if TYPE_CHECKING:
    from reportlib.workflow.run import Outcome

_log = Console(stderr=True, highlight=False)

StudyPath = Annotated[Path, typer.Argument(help="The study.toml, or the folder that holds it.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; takes the place of the study's own.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")]


def _say(line: str) -> None:
    _log.print(line, markup=False)


def run(
    study: StudyPath,
    device: Device = None,
    cores: Annotated[int | None, typer.Option(help="Cores to use; the study's threads by default.")] = None,
    snakemake: Annotated[str, typer.Option(help="Further options for Snakemake, in one string.")] = "",
    as_json: Json = False,
) -> None:
    """Capture every arm of a study, compare them and publish the page."""
    import shlex

    from reportlib.workflow.plan import find_root
    from reportlib.workflow.run import run_study

    read = load(study, device=device)
    root = find_root(read.path)
    outcome = run_study(read, root, project_home(), cores=cores, options=shlex.split(snakemake), progress=_say)
    if as_json:
        typer.echo(json.dumps(_content(outcome)))
        return
    _say(_how_it_ended(outcome))
    typer.echo(_what_is_there(outcome, read.folder / "index.html"))


def _content(outcome: Outcome) -> dict[str, object]:
    """Return what was made, for a program; null stands for a file that is not there or not up to date."""
    page, report = (None if path is None else str(path) for path in (outcome.page, outcome.report))
    counts = {"steps": outcome.steps, "dry_run": outcome.dry, "made": {**outcome.made}, "left": {**outcome.left}}
    return {"page": page, "report": report, **counts}


def _how_it_ended(outcome: Outcome) -> str:
    if outcome.dry:
        return "a dry run: nothing was done"
    if outcome.steps:
        return "done"
    if outcome.page:
        return "nothing to do: every part is up to date"
    return f"no step was done; what Snakemake said is in {outcome.log}"


def _what_is_there(outcome: Outcome, page: Path) -> str:
    """Say where the page is, or what there is in its place."""
    if outcome.page:
        return f"the page is {outcome.page}"
    there = f"{page} is there, and this run did not make it" if page.is_file() else "there is no page yet"
    parts = [
        f"{name}: {_counted(counts)}" for name, counts in (("made", outcome.made), ("left", outcome.left)) if counts
    ]
    return "; ".join([there, *parts])


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {rule}" for rule, count in counts.items())


def prepare(study: StudyPath, as_json: Json = False) -> None:
    """Check a study and fetch its collection and checkpoint: what the capture notebook reads."""
    from reportlib.workflow.plan import prepare_inputs

    inputs = prepare_inputs(load(study), project_home(), _say)
    collection, checkpoint = inputs.collection, inputs.checkpoint
    if as_json:
        found = {"collection": str(collection.path), "checkpoint": str(checkpoint.path), "notes": list(inputs.notes)}
        typer.echo(json.dumps(found))
        return
    typer.echo(f"collection: {collection.path}\ncheckpoint: {checkpoint.path}")
    for note in inputs.notes:
        typer.echo(note)


def publish(
    notebook: Annotated[Path, typer.Argument(help="An executed notebook.")],
    page: Annotated[Path, typer.Argument(help="The HTML file to write.")],
) -> None:
    """Turn an executed report notebook into one self-contained HTML page."""
    from reportlib.render import publish as render_page

    render_page(notebook, page)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (run, prepare, publish):
        app.command()(command)
