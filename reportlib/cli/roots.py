"""`reportlib roots` and `shapes`: the operations that return other bytes in two environments, and in which shapes.

The one gives both sides the same bytes and says why they differ; the other encodes the same passages in batches of many
shapes, and maps where a passage's embedding depends on its batch.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reportlib.cli import one_of, print_json, print_progress
from reportlib.compare.roots import VERDICTS
from reportlib.compare.roots.causes import read_roots
from reportlib.compare.shapes import Map, Shapes, between, read_shapes, require_alike
from reportlib.environments import by_prefix, load_record
from reportlib.store import project_home
from reportlib.study import DEVICES, PRECISIONS, load
from reportlib.workflow.roots import RootsOrder, find_roots
from reportlib.workflow.traces import ModuleFile, PassInputs, PreparedInputs, TraceOrder, find_shapes

_CLOSER = {"a": "A is the closer one", "b": "B is the closer one", "equal": "neither is closer"}
_BEHAVES = {"a": "like A", "b": "like B", "neither": "like neither", "failed": "not at all: it failed"}


def roots(
    a: Annotated[
        str, typer.Argument(help="An environment's name, as in `reportlib env list`, or the path of a prefix.")
    ],
    b: Annotated[str, typer.Argument(help="Another; the same gives the control A/A.")],
    precision: Annotated[str, typer.Option(help="float32, or autocast: bfloat16 on a CPU.")] = "float32",
    passages: Annotated[
        int | None, typer.Option(min=1, help="How many passages make the batch: 32, or the study's index_bsize.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="For every library: 2, or the study's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda: cpu, or the study's.")] = None,
    study: Annotated[Path | None, typer.Option(help="Take inputs, texts, threads and variables from it.")] = None,
    capture: Annotated[Path | None, typer.Option(help="A plain arm of A: also index its embeddings in both.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A Python file whose function model() returns a module and its inputs.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The folder to write; by default in the home.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print roots.json for a program to read.")] = False,
) -> None:
    """Find the operations that read the same bytes in A and B and return others, and say why.

    Runs the prepared checkpoint on "a", on "test input" and on a batch of the prepared collection, or what a study
    has in their place, or any module of torch.
    """
    one_of(precision, PRECISIONS, "--precision")
    if device is not None:
        one_of(device, DEVICES, "--device")
    home = project_home()
    given: dict[str, Any] = {"passages": passages, "threads": threads, "device": device, "capture": capture}
    chosen = {name: value for name, value in given.items() if value is not None}
    if model is not None:
        if clash := [
            name for name, value in {"study": study, "capture": capture, "passages": passages}.items() if value
        ]:
            raise typer.BadParameter("a module has inputs of its own", param_hint=f"--{clash[0]}")
        inputs: PassInputs = ModuleFile.find(model)
        trace = TraceOrder(precision=precision, **{**chosen, "passages": 0, "texts": ()})
    elif study is None:
        trace = TraceOrder(precision=precision, **chosen)
        inputs = PreparedInputs.find(home, trace.passages)
    else:
        trace, inputs = from_study(study, home, precision, chosen)
    folder = find_roots(RootsOrder(_named(a, home), _named(b, home), trace, inputs), home, print_progress, output)
    content = read_roots(folder)
    if as_json:
        print_json(content)
        return
    for sentence in answer(content):
        typer.echo(sentence)
    for line in explanation(content, folder):
        typer.echo(line)
    if any(entry["unmatched"] for entry in content["passes"]):
        Console().print(_unmatched_table(content))


def _named(environment: str, home: Path) -> str:
    """Return an environment's name; a path stands for the one whose prefix it is."""
    return by_prefix(Path(environment), home).name if os.sep in environment else environment


def from_study(path: Path, home: Path, precision: str, chosen: Mapping[str, Any]) -> tuple[TraceOrder, PreparedInputs]:
    """Return what a study asks for, with what was chosen on the command line in its place."""
    # Not at the top: it takes time to import, and most calls of the command line do not need it.
    from reportlib.workflow.run import prepare_inputs

    read = load(path, device=chosen.get("device"))
    prepared = prepare_inputs(read, home, print_progress)
    inputs = PreparedInputs(prepared.collection.path, prepared.checkpoint.path)
    own = {
        "passages": min(read.colbert.index_bsize, prepared.collection.passages),
        "threads": read.threads,
        "device": read.device,
        "texts": read.layers.texts,
        "doc_maxlen": read.colbert.doc_maxlen,
        "variables": dict(read.variables),
        "own": {name: replace(own, threads=0) if "threads" in chosen else own for name, own in read.settings.items()},
    }
    return TraceOrder(**{"precision": precision, **own, **chosen}), inputs


def answer(content: Mapping[str, Any]) -> list[str]:
    """Return what was found, in plain sentences: first the whole, then each pass."""
    sides = " and ".join(
        f"{side['arm']['environment']} (torch {side['torch']['version']}, {side['torch']['cpu_capability']} kernels)"
        for side in (content["a"], content["b"])
    )
    arm = content["a"]["arm"]
    sentences = [f"{sides}, {arm['precision']} on {arm['device']}: {VERDICTS[content['verdict']]}."]
    capabilities = {content[side]["torch"]["cpu_capability"] for side in ("a", "b")}
    if len(capabilities) > 1 and content["verdict"] != "identical":
        sentences.append(
            "The two chose kernels of different instruction sets, which alone can be the reason. With"
            " ATEN_CPU_CAPABILITY=avx2 both use the same; ONEDNN_MAX_CPU_ISA=AVX2 does that for oneDNN's kernels."
        )
    return sentences + [_pass_sentence(entry) for entry in content["passes"]]


def _pass_sentence(entry: Mapping[str, Any]) -> str:
    output = "same output" if entry["same_output"] else "other output"
    if entry["verdict"] in ("inconclusive", "inputs differ"):
        return f"- {entry['description']}: {entry['verdict']}; {output}."
    counted = f"{entry['matched']:,} of {entry['operations_b']:,} operations read the same bytes"
    parts = [output, counted, f"{len(entry['roots']):,} of these differ"]
    if entry["moved"]:
        parts.append(f"{len(entry['moved']):,} run in another order")
    if replay := entry["replay"]:
        parts.append(f"{replay['replayed']:,} were run again on A's inputs, and {replay['differ']:,} of these differ")
        if not all(replay["undisturbed"].values()):
            parts.append("running them again changed the output, so that is inconclusive")
    return f"- {entry['description']}: {'; '.join(parts)}."


def explanation(content: Mapping[str, Any], folder: Path) -> list[str]:
    """Return every cause, and what would undo them, a line each."""
    lines = []
    for number, cause in enumerate(content["causes"], 1):
        lines += ["", f"{number}. {_full_name(cause)} on {', '.join(cause['dtypes'])}: {cause['mechanism']['label']}"]
        lines += [f"   {line}" for line in _about(cause, folder)]
    if not content["causes"]:
        return ["Nothing differs by itself."] if content["verdict"] in ("identical", "reordered", "inserted") else []
    return [*lines, "", *_undo(content)]


def _full_name(cause: Mapping[str, Any]) -> str:
    return f"{cause['name']}.{cause['overload']}" if cause["overload"] else str(cause["name"])


def _about(cause: Mapping[str, Any], folder: Path) -> list[str]:
    first = cause["first"]
    where = " at ".join(filter(None, [first["module"], first["source"]]))
    lines = [f"{cause['instances']:,} of {cause['replayed']:,} differ by themselves, first in {first['pass']}: {where}"]
    if cause["difference"] and cause["difference"]["max_abs"] is not None:
        lines.append(f"greatest difference: {cause['difference']['max_abs']:.3g}")
    if truth := cause["truth"]:
        ratio = "" if truth["ratio_rms"] is None else f"B's error is {truth['ratio_rms']:.3g} times A's: "
        lines.append(f"against float64: {ratio}{_CLOSER[truth['closer']]}")
    lines.append(cause["mechanism"]["sentence"])
    back = [entry["switch"] for entry in cause["switches"] if (entry["environment"], entry["gives"]) == ("b", "a")]
    lines.append(f"B returns A's bytes with: {', '.join(back)}" if back else "no switch makes B return A's bytes")
    if made := cause["reproduction"]:
        ran = f"in A it behaves {_BEHAVES[made['ran']['a']]}, in B {_BEHAVES[made['ran']['b']]}"
        lines.append(f"reproduction: cd {shlex.quote(str(folder / made['folder']))} && python reproduce.py  ({ran})")
    elif cause["why_no_reproduction"]:
        lines.append(f"no reproduction: {cause['why_no_reproduction']}")
    return lines


def _undo(content: Mapping[str, Any]) -> list[str]:
    undo = content["undo"]
    if undo is None:
        return [f"What would undo it: {content['why_no_undo']}."]
    told = f"on {undo['cases_equal']:,} operations and {undo['passes_equal']:,} whole passes"
    return [f"This makes B return A's bytes, {told}:", *(f"    {line}" for line in undo["lines"])]


def _unmatched_table(content: Mapping[str, Any]) -> Table:
    table = Table("pass", "side", "at", "operation", "module", "counterpart", "taints",
                  title="Operations that one side lacks, although it has what they read")  # fmt: skip
    for entry in content["passes"]:
        for only in entry["unmatched"]:
            twin = "" if only["counterpart"] is None else f"{only['counterpart']}, other arguments"
            reach = f"{only['tainted']:,}" + (", output" if only["reaches_output"] else "")
            name = _full_name(only)
            cells = (entry["description"], only["side"], f"{only['position']}", name, only["module"], twin, reach)
            table.add_row(*map(escape, cells))
    return table


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
    """Add the commands to the command line."""
    app.command()(roots)
    app.command()(shapes)
