"""Why: the operations that differ by themselves, by size, how their difference grows, and what undoes it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.findings.causes import Cause, causes, is_varied, setting
from reportlib.findings.finding import Part
from reportlib.render.figures import figure, forward_passes, paint_growth, paint_truth, truth_passes
from reportlib.render.html import (
    Column,
    Html,
    Row,
    anchor,
    answer,
    dense,
    fold,
    fragment,
    join,
    link,
    local_link,
    recorded_pass,
    sure,
)
from reportlib.render.page import Piece, by_part, paragraph, sentences, sides, whose
from reportlib.words import formats
from reportlib.words.terms import operation_term

Record = Mapping[str, Any]


@by_part
def why(part: Part) -> Iterator[Piece]:
    """Draw a card of a few lines for each operation that differs by itself, the largest first."""
    if part.failed:
        yield paragraph(["No cause is named."])
        return
    roots = causes(part)
    yield paragraph(sentences(part, "no_cause"))
    for number, cause in enumerate(roots, start=1):
        facts = [("What changed", _changed(part, cause)), ("How far", _far(cause)), ("How sure", _sure(part, cause))]
        title = f"{number}. {cause.name[:1].upper()}{cause.name[1:]}"
        yield fragment("cause", slug=f"cause-{part.slug}-{anchor(cause.record['id'])}", title=title, facts=facts)
    passes = forward_passes(part)
    if passes and any(cause.reaches == "embeddings" for cause in roots):
        yield figure(
            f"growth-{part.slug}",
            lambda layout: paint_growth(layout, passes[-1:]),
            title="Local and accumulated difference along BERT's forward pass",
            description=_growth(passes[-1]),
            caption=f"{recorded_pass(passes[-1])[:1].upper()}{recorded_pass(passes[-1])[1:]}, operation by operation. "
            "Line: how far the two runs are apart. Marks: operations that differ by themselves.",
        )
    yield paragraph(sentences(part, "undo", "kernels", "truth"))
    yield _commands(part)


def _changed(part: Part, cause: Cause) -> Html | str:
    upstream = cause.record.get("upstream")
    if upstream is None:
        if cause.how_a is None:
            return f"No change upstream is known here ({cause.meaning})."
        known = [f"{name} computes {how}" for name, how in ((part.a, cause.how_a), (part.b, cause.how_b)) if how]
        return f"{'; '.join(known)}."
    sign = "" if upstream["status"] == "named" else " (fits, and is not confirmed)"
    return Html(Markup("{} {}{}").format(upstream["text"], link(upstream["url"], upstream["title"]), sign))


def _far(cause: Cause) -> str:
    difference, record = cause.record["difference"], cause.record
    if difference is None:
        return "Not measured."
    calls = formats.of(record["instances"], record["replayed"])
    often = "its one call" if record["replayed"] == 1 else f"{calls} calls"
    if cause.reaches == "order":
        return f"Only the order of equal codes differs, which the index does not keep. It differs by itself in {often}."
    text = f"{formats.percent(cause.fraction)} of its values differ"
    if cause.size:
        most = formats.rounded_up(difference["max_abs"])
        text += f", by {formats.amount(cause.size)} in the root mean square, {most} at most"
    later = formats.plural(record["tainted"], "later operation")
    reach = {
        "embeddings": f"the difference reaches {later} and the embeddings",
        "index": "the difference reaches the index",
        "nothing": "in the run itself what it reads differs already, so its own part cannot be told",
    }[cause.reaches]
    return f"{text}; {reach}. It differs by itself in {often}."


def _sure(part: Part, cause: Cause) -> Html:
    sentences: list[Markup | str] = []
    known = [name for name, how in ((part.short_a, cause.how_a), (part.short_b, cause.how_b)) if how]
    if known:
        elements = formats.plural(cause.elements, "element")
        whose = "The bytes of both are" if len(known) == 2 else f"{known[0]}'s bytes are"
        sentences.append(f"{whose} reproduced, on all of {elements}.")
    switch = (cause.record.get("mechanism") or {}).get("switch")
    line = setting(part.switches[switch]) if switch in part.switches else ""
    if line and switch in cause.switches and not is_varied(part, [line]):
        sentences.append(Markup("With <code>{}</code> {} computes as {}.").format(line, part.short_b, part.short_a))
    if not sentences:
        sentences.append("Nothing that was tried reproduces either.")
    made = cause.record.get("reproduction")
    if made:
        sentences.append(local_link(made["folder"], "Reproduce it"))
    return join([sure(cause.sure), *(Markup(" {}").format(s) for s in sentences)])


def _growth(entry: Record) -> str:
    operations = entry["replay"]["operations"]
    own = [o for o in operations if o["local"] and o["local"]["different"]]
    apart = [o["accumulated"]["rms"] for o in operations if o["accumulated"] and o["accumulated"]["rms"] is not None]
    kinds = formats.listing(dict.fromkeys(operation_term(o).short for o in own))
    end = f"; at the end the runs are {formats.amount(apart[-1])} apart" if apart else ""
    return f"{formats.plural(len(own), 'operation')} ({kinds}) differ by themselves{end}."


def _commands(part: Part) -> Html:
    """Draw the lines that make B compute as A does, ready to paste."""
    undo = part.operations["undo"] if part.operations else None
    if not undo or not any(cause.reaches in {"embeddings", "index"} for cause in causes(part)):
        return Html(Markup(""))
    if is_varied(part, [setting(str(lines)) for lines in undo["lines"]]):
        return Html(Markup(""))
    lines = [line for setting_lines in undo["lines"] for line in str(setting_lines).splitlines()]
    shell = [line for line in lines if line.startswith("export ")]
    python = [line for line in lines if not line.startswith("export ")]
    lines = [*shell, *(["# in Python, after import torch", *python] if python else [])]
    return fragment("commands", lines=lines)


@by_part
def every_operation(part: Part) -> Iterator[Piece]:
    """List what was recorded and replayed, and of each cause its explanations, its switches and its reproduction."""
    if part.operations is None:
        return
    yield _passes(part.operations)
    for cause in causes(part):
        yield fold(f"{cause.name}: all that is known", join(list(_detail(part, cause))))
    if truth := truth_passes(part):
        yield figure(
            f"truth-{part.slug}",
            lambda layout: paint_truth(layout, part),
            title="Error of BERT's layer outputs against float64",
            description=" ".join(_nearer(part, name, rows) for name, rows in truth),
            caption="Root mean square of each version's error against the same layer in float64. Lower is closer.",
        )


def _nearer(part: Part, name: str, rows: Sequence[Record]) -> str:
    errors = [f"{formats.amount(rows[-1][side]['rms'])} in {called}" for side, called in sides(part)]
    return f"{name}: after the last layer the error is {formats.listing(errors)}."


def _passes(data: Record) -> Html:
    columns = (
        Column("Pass"), Column("Output"), Column("Operations", numeric=True),
        Column("Read the same bytes", numeric=True), Column("Of these differ", numeric=True),
        Column("Replayed", numeric=True), Column("Differ by themselves", numeric=True),
    )  # fmt: skip
    rows = []
    for entry in data["passes"]:
        replay = entry.get("replay") or {}
        both = dict.fromkeys(formats.count(entry[key]) for key in ("operations_a", "operations_b"))
        left = [f"{formats.count(x['count'])} × {x['name']} ({x['why']})" for x in replay.get("not_replayed") or []]
        cells = (
            recorded_pass(entry), answer(entry["same_output"], "same bytes", "other bytes"), " / ".join(both),
            formats.count(entry["matched"]), formats.count(len(entry.get("roots") or [])),
            formats.count(replay.get("replayed")), formats.count(replay.get("differ")),
        )  # fmt: skip
        rows.append(Row(cells, f"Not replayed: {formats.listing(left, most=5)}." if left else ""))
    return dense("What was recorded and replayed", columns, rows)


def _detail(part: Part, cause: Cause) -> Iterator[Html]:
    record = cause.record
    full = f"{record['name']}.{record['overload']}" if record["overload"] else record["name"]
    dtypes = formats.listing(record["dtypes"])
    first = record["first"]
    facts: list[tuple[str, Any]] = [
        ("Operation", Markup("<code>{}</code> on {}: {}.").format(full, dtypes, cause.meaning)),
        ("First in", Markup("<code>{}</code> {}").format(first["module"] or first["pass"], first.get("source") or "")),
        ("Against float64", _truth(part, cause)),
    ]  # fmt: skip
    facts += [(name, how) for name, how in ((part.a, cause.how_a), (part.b, cause.how_b)) if how]
    facts.append(("Reproduction", _reproduction(part, record.get("reproduction"))))
    yield fragment("facts", facts=facts)
    yield _tried(part, (record.get("mechanism") or {}).get("tried") or [])
    yield _switches(part, record)


def _truth(part: Part, cause: Cause) -> str:
    truth = cause.record["truth"]
    if truth is None:
        return f"No float64 truth: {cause.record.get('why_no_truth') or 'none was computed'}."
    errors = [f"{name} is off by {formats.amount(truth[side]['rms'])}" for side, name in sides(part)]
    return f"{formats.listing(errors)} in the root mean square."


def _reproduction(part: Part, made: Record | None) -> Html | str:
    if made is None:
        return "None was made."
    variables = [f"{name}={shlex.quote(value)}" for name, value in part.report["study"]["variables"].items()]
    command = " ".join([*variables, "python", shlex.quote(f"{made['folder']}/reproduce.py")])
    ran = made.get("ran") == {"a": "a", "b": "b"}
    tail = (
        "Run in both environments, it names the version that it runs on."
        if ran
        else "It does not tell the versions apart."
    )
    return Html(Markup("<code>{}</code> {}").format(command, tail))


def _tried(part: Part, tried: Sequence[Record]) -> Html:
    columns = (
        Column("Explanation"), Column(f"As {part.short_a}", numeric=True), Column(f"As {part.short_b}", numeric=True),
    )  # fmt: skip
    rows = [
        Row((trial["description"], *(formats.of(trial[f"equal_{side}"], trial["elements"]) for side in ("a", "b"))))
        for trial in tried
    ]
    return dense("Elements that each explanation gives bit for bit", columns, rows)


def _switches(part: Part, record: Record) -> Html:
    """List whose bytes the operation gives with each switch, in each environment."""
    tried = record.get("switches") or []
    cells = {(t["switch"], t["environment"]): t for t in tried}
    columns = (Column("Switch"), Column(f"Set in {part.short_a}"), Column(f"Set in {part.short_b}"))
    rows = []
    for name in dict.fromkeys(t["switch"] for t in tried):
        line = setting(part.switches.get(name) or name)
        rows.append(Row((Markup("<code>{}</code>").format(line), *(_gives(part, cells.get((name, s))) for s in "ab"))))
    return dense("Whose bytes it gives with each switch", columns, rows)


def _gives(part: Part, tried: Record | None) -> Html | str:
    if tried is None:
        return formats.ABSENT
    text = {"failed": "failed"}.get(tried["gives"], whose(part, tried["gives"]))
    return fragment("estimate", value=text, beside=tried["why"] or "")
