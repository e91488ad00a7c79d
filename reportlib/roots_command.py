"""`reportlib roots`: the operations that, given the same bytes, return others in two environments."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reportlib.compare.roots import Comparison, PassComparison, compare_traces
from reportlib.compare.roots.results import VERDICTS
from reportlib.store import project_home
from reportlib.study import PRECISIONS
from reportlib.workflow.traces import TraceOrder, trace_pair

_log = Console(stderr=True, highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    _log.print(line, markup=False, style="dim")


def roots(
    a: Annotated[str, typer.Argument(help="An environment's name, as in `reportlib env list`: torch201.")],
    b: Annotated[str, typer.Argument(help="Another; the same name gives the control A/A.")],
    precision: Annotated[str, typer.Option(help="float32, or autocast: bfloat16 on a CPU.")] = "float32",
    passages: Annotated[int, typer.Option(min=1, help="How many passages make the batch.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """Find the operations of BERT's forward pass that read the same bytes in A and B and return others.

    Records the prepared checkpoint on "a", on "test input" and on a batch of the prepared collection.
    """
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"{precision!r} is not one of {', '.join(PRECISIONS)}", param_hint="--precision")
    found = compare_traces(*trace_pair(a, b, TraceOrder(precision, passages), project_home(), _say))
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        return
    for sentence in answer(found):
        typer.echo(sentence)
    if any(entry.roots for entry in found.passes):
        Console().print(_roots_table(found))
    if any(entry.unmatched for entry in found.passes):
        Console().print(_unmatched_table(found))


def answer(found: Comparison) -> list[str]:
    """Return what was found, in plain sentences: first the whole, then each pass."""
    sides = " and ".join(
        f"{side['arm']['environment']} (torch {side['torch']['version']}, {side['torch']['cpu_capability']} kernels)"
        for side in (found.a, found.b)
    )
    arm = found.a["arm"]
    sentences = [f"{sides}, {arm['precision']} on {arm['device']}: {VERDICTS[found.verdict]}."]
    if found.a["torch"]["cpu_capability"] != found.b["torch"]["cpu_capability"]:
        sentences.append(
            "The two chose kernels of different instruction sets, which alone can be the reason. With"
            " ATEN_CPU_CAPABILITY=avx2 both use the same; ONEDNN_MAX_CPU_ISA=AVX2 does that for oneDNN's kernels."
        )
    return sentences + [_pass_sentence(entry) for entry in found.passes]


def _pass_sentence(entry: PassComparison) -> str:
    output = "same output" if entry.same_output else "other output"
    counted = f"{entry.matched:,} of {entry.operations_b:,} operations read the same bytes"
    if entry.verdict in ("inconclusive", "inputs differ"):
        return f"- {entry.description}: {entry.verdict}; {output}."
    parts = [output, counted, f"{len(entry.roots):,} of these differ"]
    if entry.moved:
        parts.append(f"{len(entry.moved):,} run in another order")
    if entry.out_of_reach_b:
        parts.append(f"{entry.out_of_reach_b:,} read what a difference changed, and cannot be judged by hashes")
    return f"- {entry.description}: {'; '.join(parts)}."


def _roots_table(found: Comparison) -> Table:
    table = Table("pass", "at", "root operation", "module", "reads", "differs in", "taints", title="Root operations")
    for entry in found.passes:
        for root in entry.roots:
            reads = ", ".join(f"{t.dtype} {'x'.join(map(str, t.shape)) or 'scalar'}" for t in root.inputs_b)
            differs = ", ".join(root.differs) + ("" if root.same_strides else " (other strides)")
            reach = f"{root.tainted:,}" + (", output" if root.reaches_output else "")
            cells = (entry.description, f"{root.position_b}", root.full_name, root.module_b, reads, differs, reach)
            table.add_row(*map(escape, cells))
    return table


def _unmatched_table(found: Comparison) -> Table:
    table = Table("pass", "side", "at", "operation", "module", "counterpart", "taints",
                  title="Operations that one side lacks, although it has what they read")  # fmt: skip
    for entry in found.passes:
        for only in entry.unmatched:
            twin = "" if only.counterpart is None else f"{only.counterpart}, other arguments"
            reach = f"{only.tainted:,}" + (", output" if only.reaches_output else "")
            cells = (entry.description, only.side, f"{only.position}", only.full_name, only.module, twin, reach)
            table.add_row(*map(escape, cells))
    return table


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("roots")(roots)
