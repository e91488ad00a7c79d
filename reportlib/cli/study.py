"""`reportlib init`, `run`, `prepare`, `publish` and `site`: from a new study to its page, and to all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from reportlib.cli import Json, print_json, print_progress
from reportlib.starting import Started, Wish, start
from reportlib.store import project_home
from reportlib.study import load

# `reportlib run`, `prepare` and `publish`: what the workflow offers on the command line.

if TYPE_CHECKING:
    from reportlib.workflow.run import Outcome

_log = Console(stderr=True, highlight=False)

StudyPath = Annotated[Path, typer.Argument(help="The study.toml, or the folder that holds it.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; takes the place of the study's own.")]


def _say(line: str) -> None:
    _log.print(line, markup=False)


def run(
    study: StudyPath,
    device: Device = None,
    cores: Annotated[
        int | None, typer.Option(help="Cores to use; all of them by default, one arm on each of the study's threads.")
    ] = None,
    snakemake: Annotated[str, typer.Option(help="Further options for Snakemake, in one string.")] = "",
    as_json: Json = False,
) -> None:
    """Capture every arm of a study, compare them and publish the page."""
    import shlex

    from reportlib.workflow.run import find_root, run_study

    read = load(study, device=device)
    root = find_root(read.path)
    outcome = run_study(read, root, project_home(), cores=cores, options=shlex.split(snakemake), progress=_say)
    if as_json:
        typer.echo(json.dumps(_content(outcome)))
        return
    _say(_how_it_ended(outcome))
    typer.echo(_what_is_there(outcome, read.folder.absolute() / "index.html"))


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
        f"{name}: " + ", ".join(f"{count} {rule}" for rule, count in counts.items())
        for name, counts in (("made", outcome.made), ("left", outcome.left))
        if counts
    ]
    return "; ".join([there, *parts])


def prepare(study: StudyPath, as_json: Json = False) -> None:
    """Check a study and fetch its collection and checkpoint: what the capture notebook reads."""
    from reportlib.workflow.run import prepare_inputs

    inputs = prepare_inputs(load(study), project_home(), _say)
    collection, checkpoint = inputs.collection, inputs.checkpoint
    if as_json:
        content = {"collection": str(collection.path), "checkpoint": str(checkpoint.path), "notes": list(inputs.notes)}
        typer.echo(json.dumps(content))
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


def site(
    reports: Annotated[Path, typer.Option(help="The folder of studies' folders.")] = Path("reports"),
    output: Annotated[Path, typer.Option(help="Where the site goes.")] = Path("site"),
    base_url: Annotated[str, typer.Option(help="Where it will be served; with it there is an Atom feed.")] = "",
    front_matter: Annotated[str, typer.Option(help="jekyll or quarto: also write each page as a post.")] = "",
) -> None:
    """Make a site of all published reports: an index with each verdict, and links between siblings."""
    from reportlib.render.site import make_site

    for entry in make_site(reports, output, base_url, front_matter):
        typer.echo(f"{entry.slug}: {entry.verdict}")
    _say(f"the site is {output / 'index.html'}")


def lab(
    study: StudyPath,
    jupyter: Annotated[str, typer.Option(help="Further options for JupyterLab, in one string.")] = "",
) -> None:
    """Make a study's environments and inputs, and open JupyterLab with their kernels."""
    import os
    import shlex

    from reportlib import environments
    from reportlib.workflow.run import find_root, host_variables, prepare_inputs

    read, home = load(study), project_home().absolute()
    root = find_root(read.path).absolute()
    for name in read.environments:
        _say(f"environment {name}")
        environments.create(environments.load_spec(name, root), home, progress=_say)
    prepare_inputs(read, home, _say)
    command = [sys.executable, "-m", "jupyter", "lab", str(root / "notebooks"), *shlex.split(jupyter)]
    os.chdir(root)
    os.execve(command[0], command, host_variables(home))  # noqa: S606 JupyterLab takes this process's place


# `reportlib init`: a new study, from flags or from nothing.


def init(
    name: Annotated[str, typer.Argument(help="Of the study's folder in reports/; by default from the versions.")] = "",
    torch: Annotated[
        list[str] | None, typer.Option(help="A version of torch, the old one first; give it twice or more.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="An environment file's name; before any --torch.")
    ] = None,
    vary: Annotated[
        str, typer.Option(help="transformers==4.38.2,4.57.6, or a setting: threads=1,2. In one --environment.")
    ] = "",
    collection: Annotated[
        str, typer.Option(help="A TSV file, a BEIR folder, or the id of a Hugging Face data set.")
    ] = "",
    config: Annotated[str, typer.Option(help="Of a Hugging Face data set: ConditionalQA.")] = "",
    split: Annotated[str, typer.Option(help="Of a data set's or a BEIR folder's queries.")] = "",
    checkpoint: Annotated[str, typer.Option(help="A ColBERT checkpoint's folder, or its hub id.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    passages: Annotated[
        int | None, typer.Option(min=0, help="How many from the start of the collection; 0 for all.")
    ] = None,
    title: Annotated[str, typer.Option(help="The page's first line.")] = "",
    as_json: Json = False,
) -> None:
    """Write a commented study.toml, and environment files for versions that have none yet."""
    wish = Wish(
        name=name,
        torch=torch or (),
        environments=environment or (),
        vary=vary,
        collection=collection,
        checkpoint=checkpoint,
        config=config,
        split=split,
        device=device,
        title=title,
        passages=passages,
    )
    started = start(wish, Path.cwd(), progress=print_progress)
    if as_json:
        print_json(content(started))
        return
    for line in lines(started):
        typer.echo(line)


def content(started: Started) -> dict[str, object]:
    """Return what was done, for a program."""
    return {
        "study": str(started.study.path),
        "environments": list(started.study.environments),
        "written": [str(path) for path in started.written],
        "notes": list(started.notes),
        "next": list(started.commands),
    }


def lines(started: Started) -> list[str]:
    """Return what was done, for a person; the last lines are what to type next."""
    bases = {f"environment-{further.name}.yml": further for further in started.further}
    said = []
    for path in started.written:
        made = bases.get(path.name)
        said.append(f"wrote {_near(path)}" + (f", with the pins of {made.base}" if made else ""))
    return [*said, *started.notes, "next:", *(f"  {command}" for command in started.commands)]


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (init, prepare, run, publish, site, lab):
        app.command()(command)
