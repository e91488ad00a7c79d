"""`reportlib run`, `prepare` and `publish`: what the workflow offers on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reportlib.store import project_home
from reportlib.study import load

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
        typer.echo(json.dumps({"page": str(outcome.page), "report": str(outcome.report), "steps": outcome.steps}))
        return
    if outcome.dry:
        _say("a dry run: nothing was done")
        return
    _say("nothing to do: every part is up to date" if outcome.steps == 0 else "done")
    typer.echo(f"the page is {outcome.page}")


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
