"""`reportlib init`: a new study, from flags or from nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reportlib.starting import Started, Wish, start

_log = Console(stderr=True, highlight=False, soft_wrap=True)


def init(
    name: Annotated[str, typer.Argument(help="Of the study's folder in reports/; by default from the versions.")] = "",
    torch: Annotated[
        list[str] | None, typer.Option(help="A version of torch, the old one first; give it twice or more.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="An environment file's name; before any --torch.")
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """Write a commented study.toml, and environment files for versions of torch that have none yet."""
    wish = Wish(
        name=name,
        torch=torch or (),
        environments=environment or (),
        collection=collection,
        checkpoint=checkpoint,
        config=config,
        split=split,
        device=device,
        title=title,
        passages=passages,
    )
    started = start(wish, Path.cwd(), progress=lambda line: _log.print(line, style="dim", markup=False))
    if as_json:
        sys.stdout.write(json.dumps(content(started), indent=1) + "\n")
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
    bases = {f"environment-{each.name}.yml": each for each in started.further}
    said = []
    for path in started.written:
        made = bases.get(path.name)
        said.append(f"wrote {_near(path)}" + (f", with the pins of {made.base}" if made else ""))
    return [*said, *started.notes, "next:", *(f"  {command}" for command in started.commands)]


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(init)
