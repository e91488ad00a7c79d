"""`reportlib sweep` and `reportlib bisect`: which operations change over many versions of PyTorch, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reportlib.cli import one_of, print_progress
from reportlib.environments.backends import PREFERENCE
from reportlib.errors import RunError
from reportlib.store import project_home, write_text
from reportlib.study import load
from reportlib.sweep import probes
from reportlib.sweep.captures import Capturing, artifact_names
from reportlib.sweep.classes import Sweep, report
from reportlib.sweep.probes import KEEP, Environments
from reportlib.sweep.probes import sweep as measure
from reportlib.sweep.versions import NEWEST, Bisection, Wish, among_candidates, bisect_at, releases, require_known
from reportlib.words.formats import plural
from reportlib.workflow.traces import PreparedInputs, TraceOrder

_BATCH = 32

Keep = Annotated[str, typer.Option(help="none: remove each environment again that was not there before; or all.")]
STUDY = Path("reports/torch-2.0.1-vs-2.1.0/study.toml")
Studies = Annotated[Path, typer.Option(help="What whole captures are of: a study's collection, checkpoint, settings.")]
Backends = Annotated[str, typer.Option(help="As for `reportlib env create`.")]


def sweep(
    versions: Annotated[list[str] | None, typer.Argument(help="Versions of torch, or a sweep.toml.")] = None,
    lowest: Annotated[str, typer.Option("--from", help="All releases from this one on.")] = "",
    highest: Annotated[str, typer.Option("--to", help="Up to this one, or newest.")] = NEWEST,
    keep: Keep = "none",
    full: Annotated[
        bool, typer.Option("--full", help="Index and search too, with each version that computes something new.")
    ] = False,
    study: Studies = STUDY,
    output: Annotated[Path, typer.Option(help="The folder of the page.")] = Path("reports/torch-sweep"),
    backend: Backends = PREFERENCE,
) -> None:
    """Probe operations and BERT's layers on many versions of PyTorch, and draw one page of where bytes change.

    Each version is installed, measured and removed; what was measured once is not done again.
    """
    from reportlib.render.atlas import draw

    wish = _wish(versions or [], lowest, highest).resolve()
    with _station(keep, backend, study if full else None).opened() as station:
        outcomes = measure(wish, station, print_progress)
        if sum(not outcome.why for outcome in outcomes) < 2:
            whys = "; ".join(f"torch {outcome.version}: {outcome.why}" for outcome in outcomes if outcome.why)
            raise RunError(f"fewer than two versions were measured: {whys}", "give others, or mend what is said")
        found = report(outcomes, probes.read(), station.order.threads)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "sweep.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_text(output / "index.html", draw(found))
    for line in summary(found):
        typer.echo(line)
    print_progress(f"the page is {output / 'index.html'}")


def bisect(
    a: Annotated[str, typer.Argument(help="A version of torch.")],
    b: Annotated[str, typer.Argument(help="A newer one, or newest.")],
    of: Annotated[str, typer.Option(help="An operation (sort, gelu), a pattern, layers, embs, or an artifact (ivf).")],
    keep: Keep = "none",
    equal_is_same: Annotated[
        bool, typer.Option("--equal-is-same", help="Take equal ends for no change between them, and do not mention it.")
    ] = False,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Then look among release candidates and nightly builds of UV_INDEX.")
    ] = False,
    study: Studies = STUDY,
    backend: Backends = PREFERENCE,
) -> None:
    """Find the releases between two versions at which something changes, with as few installations as possible."""
    captured = study if artifact_names(of) else None
    require_known(of, load(captured) if captured else None)
    with _station(keep, backend, captured).opened() as station:
        found = bisect_at(station, releases(a, b), of, print_progress)
        if candidates:
            found = among_candidates(station, found, of, print_progress)
    for line in answer(found, of, equal_is_same=equal_is_same):
        typer.echo(line)


def _wish(given: list[str], lowest: str, highest: str) -> Wish:
    if len(given) == 1 and given[0].endswith(".toml"):
        read = Wish.read(Path(given[0]))
        return Wish(read.versions, lowest or read.lowest, read.highest or highest)
    return Wish(tuple(given), lowest, highest)


def _station(keep: str, backend: str, captured: Path | None) -> Environments:
    one_of(keep, KEEP, "--keep")
    home, root = project_home().absolute(), Path.cwd()
    capturing = Capturing.of(captured, root, home, print_progress) if captured else None
    inputs = PreparedInputs.find(home, _BATCH)
    order = TraceOrder(threads=capturing.study.threads if capturing else 1)
    return Environments(root, home, inputs, keep, backend, order, capturing, print_progress)


def summary(result: Sweep) -> list[str]:
    """Return where bytes change, a line for each pair of neighbours, and which versions have no measurement."""
    lines = []
    for pair in result["pairs"]:
        counts = ", ".join(
            f"{name} {pair['operations'][name]} operations and {pair['layers'][name]} layers"
            for name in pair["operations"]
            if pair["operations"][name] or pair["layers"][name]
        )
        lines.append(f"torch {pair['older']} -> {pair['newer']}: {counts or 'equal bytes'}")
    return [*lines, *(f"torch {one['version']}: {one['why']}" for one in result["versions"] if one["why"])]


def answer(bisection: Bisection, of: str, *, equal_is_same: bool) -> list[str]:
    """Return the change points of a bisection, what it did not look at, and what it installed."""
    lines = []
    for older, newer, skipped in bisection.changes:
        or_at = f" (or at {', '.join(skipped)}, which could not be measured)" if skipped else ""
        lines.append(f"{of} changes from torch {older} to {newer}{or_at}")
    if not bisection.changes:
        lines.append(f"{of} has equal bytes at both ends")
    if not equal_is_same:
        lines += [
            f"not looked into: {plural(number, 'release')} between {older} and {newer} with equal bytes at both ends"
            for older, newer, number in bisection.unseen
        ]
    told = ", ".join(bisection.installed) or "none, all was measured before"
    return [*lines, f"versions measured for it ({len(bisection.installed)}): {told}"]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("sweep")(sweep)
    app.command("bisect")(bisect)
