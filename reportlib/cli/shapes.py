"""`reportlib shapes`: where a passage's embedding depends on its batch, and where two versions agree."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reportlib.cli import one_of, print_json, print_progress
from reportlib.compare.shapes import Map, Shapes, between, read_shapes, require_alike
from reportlib.environments import load_record
from reportlib.store import project_home
from reportlib.study import DEVICES, PRECISIONS
from reportlib.workflow.traces import PreparedInputs, TraceOrder, find_shapes


def shapes(
    a: Annotated[str, typer.Argument(help="An environment's name, as in `reportlib env list`: torch201.")],
    b: Annotated[str, typer.Argument(help="Another, to set beside it.")] = "",
    precision: Annotated[str, typer.Option(help="float32, or autocast: bfloat16 on a CPU.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="For every library.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything for a program to read.")] = False,
) -> None:
    """Encode the same passages in batches of many sizes and lengths, and map where their bytes differ.

    Within an environment each shape is held against the largest batch of the same length; between two, against the same
    shape. The prepared collection and checkpoint are read.
    """
    one_of(precision, PRECISIONS, "--precision")
    one_of(device, DEVICES, "--device")
    home = project_home()
    order = TraceOrder(precision=precision, threads=threads, device=device)
    inputs = PreparedInputs.find(home, order.passages)
    records = [load_record(name, home) for name in filter(None, (a, b))]
    contents = [read_shapes(find_shapes(record, order, inputs, home, print_progress)) for record in records]
    found = [Shapes.of(content) for content in contents]
    pair = None
    if b:
        require_alike(*contents)
        pair = between(contents[0]["encodings"], contents[1]["encodings"])
    if as_json:
        print_json({"environments": [_record(each) for each in found], "between": _cells(pair) if pair else None})
        return
    for each in found:
        typer.echo(f"{each.environment} (torch {each.torch}), {precision}")
        for line in (*_drawn(each.differing), *each.sentences(), ""):
            typer.echo(line)
    if pair is not None:
        differing = sum(map(bool, pair.values()))
        typer.echo(f"{a} beside {b}: in {differing} of {len(pair)} shapes some passage has other embeddings")
        for line in _drawn(pair):
            typer.echo(line)


def _drawn(cells: Map) -> list[str]:
    """Return a map as lines: a row for each length, a column for each size of a batch."""
    sizes = sorted({passages for _, passages in cells})
    head = "tokens" + "".join(f"{size:>4}" for size in sizes) + "  passages in the batch"
    rows = [
        f"{length:>6}" + "".join(f"{cells[length, size] or '=':>4}" for size in sizes)
        for length in sorted({tokens for tokens, _ in cells})
    ]
    return [head, *rows]


def _cells(cells: Map) -> list[dict[str, int]]:
    return [{"tokens": t, "passages": n, "different": count} for (t, n), count in cells.items()]


def _record(found: Shapes) -> dict[str, Any]:
    return {
        "environment": found.environment,
        "torch": found.torch,
        "shapes": _cells(found.differing),
        "foreseen_by_rows": found.foreseen,
        "layers_by_rows": list(found.deciding),
        "ablations": {name: {"different": left, "of": of} for name, (left, of) in found.ablations.items()},
    }


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("shapes")(shapes)
