"""The root operations: what each is, how far it differs, which side is closer to float64, and what explains it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.render.controls import inconclusive
from reportlib.render.html import Column, Html, Row, anchor, fold, fragment, join, link, local_link, prose, table
from reportlib.render.labels import Part, answer, heading, label, parts, recorded_pass, replayed
from reportlib.words import formats
from reportlib.words.operations import in_words, names, words
from reportlib.words.phrases import factor, times

# Switches: what each does to a root operation, and the lines that undo the difference.


def switch_matrix(part: Part, data: Mapping[str, Any], cause: Mapping[str, Any]) -> Html:
    """Draw what every switch gives in each environment, for one root operation, in a fold."""
    tried = cause.get("switches") or []
    if not tried:
        return Html(Markup(""))
    known = {each["name"]: each for each in data.get("switches") or []}
    cells = {(each["switch"], each["environment"]): each for each in tried}
    columns = (Column("Switch"), Column(f"Set in {part.a}"), Column(f"Set in {part.b}"))
    rows = []
    for name in dict.fromkeys(each["switch"] for each in tried):
        sides = (_gives(part, side, cells.get((name, side))) for side in ("a", "b"))
        rows.append(Row((_switch(known.get(name, {"name": name})), *sides)))
    inner = table("Whose bytes the operation gives with each switch", columns, rows)
    return fold(f"Switches ({formats.count(len(rows))} tried)", inner)


def _switch(switch: Mapping[str, Any]) -> Html:
    line = Markup("<br>").join(Markup("<code>{}</code>").format(x) for x in _lines(switch)) or switch["name"]
    said = switch.get("description")
    return Html(Markup("{}{}").format(line, Markup('<span class="description">{}</span>').format(said) if said else ""))


def _lines(switch: Mapping[str, Any]) -> list[str]:
    return str(switch.get("line") or "").splitlines()


def _gives(part: Part, side: str, tried: Mapping[str, Any] | None) -> Html | str:
    """Draw whose bytes a switch gives on one side; what changes that side stands out."""
    if tried is None:
        return formats.ABSENT
    words = {"a": f"{part.a}'s", "b": f"{part.b}'s", "both": "both agree", "neither": "neither's", "failed": "failed"}
    gives = tried["gives"]
    kind = "identical" if gives not in {side, "neither", "failed"} else "plain"
    sign = {"neither": "≠", "failed": "?"}.get(gives, "=")
    drawn = fragment("badge", kind=kind, sign=sign, text=words[gives])
    return join([drawn, Markup('<span class="description">{}</span>').format(tried["why"])]) if tried["why"] else drawn


def undo(part: Part, data: Mapping[str, Any]) -> Html:
    """Give the lines that make B compute as A does, with what they cost; or say why there are none."""
    if not data["causes"]:
        return Html(Markup(""))
    title = heading("What would undo it", f"undo-{part.slug}", 4)
    found = data.get("undo")
    if found is None:
        why = in_words(str(data.get("why_no_undo") or ""), data, part.a, part.b).rstrip(".")
        text = f"What would undo it is not known: {why}." if why else "No switches were tried."
        return join([title, fragment("note", text=text)])
    return join([
        title,
        fragment("paragraph", text=f"With these lines {part.b} gives {part.a}'s bytes. {_reach(found)} {_cost(found)}"),
        fragment("commands", lines=_pasteable(found["lines"])),
    ])  # fmt: skip


def _reach(found: Mapping[str, Any]) -> str:
    said = f"They were tried on {formats.plural(found['cases'], 'recorded operation')}, of which "
    said += f"{formats.of(found['cases_equal'], found['cases'])} came out the same"
    if found["passes"] is None:
        return f"{said}."
    return f"{said}; so did the output of {formats.of(found['passes_equal'], found['passes'])} forward passes."


def _cost(found: Mapping[str, Any]) -> str:
    without, with_them = found.get("rounds_without") or [], found.get("rounds_with") or []
    if not found.get("ratio") and without and with_them:
        return (
            f"In {len(with_them)} processes each, in turns, the batch took {_range(with_them)} s with them and "
            f"{_range(without)} s without, so no cost can be told from the noise."
        )
    if not found.get("ratio"):
        return "What they cost was not measured."
    return (
        f"The batch then takes {times(found['ratio'])} times as long: {formats.amount(found['seconds_with'])} s "
        f"instead of {formats.amount(found['seconds_without'])} s."
    )


def _range(seconds: list[float]) -> str:
    return f"{formats.amount(min(seconds))} to {formats.amount(max(seconds))}"


def _pasteable(lines: list[str]) -> list[str]:
    """Return the lines with a word on where they go: the shell, or after torch is imported."""
    every = [line for each in lines for line in each.splitlines()]
    shell = [line for line in every if line.startswith("export ")]
    python = [line for line in every if line not in shell]
    told = ["# in the shell, before Python starts", *shell] if shell else []
    return [*told, *(["# in Python, after import torch", *python] if python else [])]


NOT_RUN = "The operations of this precision were not recorded (`reportlib roots` does that), so no operation is named."
#: What the verdicts of two traces mean, for a reader.
_VERDICTS = {
    "identical": "both versions ran the same operations in the same order, with the same bytes",
    "reordered": "both versions ran the same operations with the same bytes, in another order",
    "inserted": "operations were inserted or removed, without effect on the output",
    "root": "operations that were given the same bytes returned others",
    "replaced": "the output differs, and every difference enters through operations that only one version runs",
    "inputs differ": "the two sides were given other tokens or weights, so nothing can be said of the operations",
    "inconclusive": "recording changed the output of a pass, so nothing can be said of the operations",
}


def root_operations(report: Mapping[str, Any]) -> Html:
    """Draw every root operation of every precision with what is known of it, and what would undo them.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for part in parts(report):
        pieces += [heading(part.title, f"operations-{part.slug}"), inconclusive(part)]
        data = part.precision.get("operations")
        if data is None:
            pieces.append(fragment("note", text=NOT_RUN))
            continue
        pieces += [fragment("paragraph", text=_verdict(data)), _passes(part, data)]
        if data["verdict"] not in {"inconclusive", "inputs differ"}:
            pieces += [_overview(part, data), undo(part, data)]
            pieces += [_card(report, part, data, n) for n in range(len(data["causes"]))]
    return join(pieces)


def _verdict(data: Mapping[str, Any]) -> str:
    said = _VERDICTS.get(data["verdict"], str(data["verdict"]))
    return f"{said[:1].upper()}{said[1:]}."


def _passes(part: Part, data: Mapping[str, Any]) -> Html:
    columns = (
        Column("Pass"), Column("Output"), Column("Operations", numeric=True),
        Column("Read the same bytes", numeric=True), Column("of these differ", numeric=True),
        Column("Replayed", numeric=True), Column("differ by themselves", numeric=True),
    )  # fmt: skip
    rows = []
    for entry in data["passes"]:
        replay = entry.get("replay") or {}
        both = dict.fromkeys(formats.count(entry[key]) for key in ("operations_a", "operations_b"))
        cells = (
            recorded_pass(entry), answer(entry["same_output"], "same bytes", "other bytes"), " / ".join(both),
            formats.count(entry["matched"]), formats.count(len(entry.get("roots") or [])),
            formats.count(replay.get("replayed")), formats.count(replay.get("differ")),
        )  # fmt: skip
        rows.append(Row(cells, _not_replayed(replay)))
    return table(f"What was recorded and replayed: {part.a} against {part.b}, {part.label}", columns, rows)


def _not_replayed(replay: Mapping[str, Any]) -> str:
    left = replay.get("not_replayed") or []
    said = [f"{formats.count(each['count'])} × {each['name']} ({each['why']})" for each in left[:4]]
    more = [f"{formats.count(len(left) - 4)} other kinds"] if len(left) > 4 else []
    return f"Not replayed: {formats.listing([*said, *more])}." if said else ""


def _overview(part: Part, data: Mapping[str, Any]) -> Html:
    columns = (
        Column("Operation"), Column("First in"), Column("Differs by itself in"), Column("Mechanism"),
        Column("Closer to float64"),
    )  # fmt: skip
    rows = [
        Row((
            Markup('<a href="#{}">{}</a>').format(_slug(part, n, cause), prose(name)),
            cause["first"]["module"] or cause["first"]["pass"],
            replayed(cause["instances"], cause["replayed"]),
            label(_label(cause)), _closer(part, cause),
        ))
        for n, (name, cause) in enumerate(zip(names(data["causes"]), data["causes"], strict=True))
    ]  # fmt: skip
    empty = "No operation that was given the same bytes returned others."
    return table("The operations that differ by themselves", columns, rows, empty=empty)


def _slug(part: Part, number: int, cause: Mapping[str, Any]) -> str:
    return f"cause-{part.slug}-{number + 1}-{anchor(cause['id'])}"


def _label(cause: Mapping[str, Any]) -> str:
    return str((cause.get("mechanism") or {}).get("label") or "unknown")


def _closer(part: Part, cause: Mapping[str, Any]) -> str:
    truth = cause["truth"]
    if truth is None:
        return str(cause.get("why_no_truth") or formats.ABSENT)
    by = times(factor(truth["ratio_rms"]))
    if truth["closer"] == "equal" or by == "1.0":
        return "both about equally"
    return f"{part.a if truth['closer'] == 'a' else part.b}{f', {by} times' if by else ''}"


def _card(report: Mapping[str, Any], part: Part, data: Mapping[str, Any], number: int) -> Html:
    cause = data["causes"][number]
    told = words(cause)
    full = f"{cause['name']}.{cause['overload']}" if cause["overload"] else cause["name"]
    kinds = formats.listing(cause["dtypes"]) or "no tensor"
    title = prose(f"{number + 1}. {names(data['causes'])[number]}")
    facts = [
        ("Operation", Markup("<code>{}</code> on {}: {}.").format(full, kinds, told.meaning)),
        ("Where", _where(cause)),
        ("How often", _often(data, cause)),
        ("How far", _far(cause)),
        ("Against float64", _truth(part, cause)),
        ("Mechanism", _mechanism(part, data, cause)),
    ]  # fmt: skip
    if cause.get("upstream"):
        facts.append(("Upstream", _upstream(cause["upstream"])))
    facts.append(("Reproduction", _reproduction(report, part, cause.get("reproduction"))))
    card = fragment("cause", slug=_slug(part, number, cause), title=title, facts=facts)
    return join([card, _tried(part, cause), switch_matrix(part, data, cause)])


def _where(cause: Mapping[str, Any]) -> Html:
    first = cause["first"]
    module = Markup("<code>{}</code>").format(first["module"]) if first["module"] else "outside any module"
    more = f" and {formats.count(cause['modules'] - 1)} more modules" if cause["modules"] > 1 else ""
    line = Markup("<br><code>{}</code>").format(first["source"]) if first.get("source") else ""
    return Html(Markup("{}{}{}").format(module, more, line))


def _often(data: Mapping[str, Any], cause: Mapping[str, Any]) -> str:
    told = {entry["slug"]: recorded_pass(entry) for entry in data["passes"]}
    where = formats.listing([told.get(slug, slug) for slug in cause["differs_in"]])
    said = f"It differs by itself in {replayed(cause['instances'], cause['replayed'])}"
    said += f" ({where})." if where else "."
    if cause["root_in"]:
        roots = formats.listing([told.get(slug, slug) for slug in cause["root_in"]])
        said += f" In {roots} it is where the two runs part: it read the same bytes in both."
    if cause["tainted"]:
        output = ", the output among them" if cause["reaches_output"] else ", but not the output"
        said += f" The difference reaches {formats.plural(cause['tainted'], 'later operation')}{output}."
    return said


def _far(cause: Mapping[str, Any]) -> str:
    difference = cause["difference"]
    if difference is None:
        return "not measured"
    said = f"{formats.of(difference['different'], difference['elements'])} values differ"
    if difference["max_abs"] is not None:
        said += f", by {formats.amount(difference['max_abs'])} at most"
    if difference["rms"] is not None:
        said += f" and {formats.amount(difference['rms'])} in the root mean square"
    kind = cause["dtypes"][0] if cause["dtypes"] else None
    # A distance across zero tells nothing.
    if difference["max_ulp"] and formats.distance(difference["max_ulp"], difference["max_abs"], kind)[0].isdigit():
        said += f" ({formats.count(difference['max_ulp'])} ULP at most)"
    return f"{said}."


def _truth(part: Part, cause: Mapping[str, Any]) -> str:
    truth = cause["truth"]
    if truth is None:
        return f"No float64 truth: {cause.get('why_no_truth') or 'none was computed'}."
    errors = [
        f"{name} is off by {formats.amount(truth[side]['rms'])} in the root mean square "
        f"({formats.amount(truth[side]['max_abs'])} at most)"
        for side, name in (("a", part.a), ("b", part.b))
    ]
    return f"{errors[0]}, {errors[1]}. Closer: {_closer(part, cause)}."


def _mechanism(part: Part, data: Mapping[str, Any], cause: Mapping[str, Any]) -> Html:
    found = cause.get("mechanism") or {}
    told = in_words(found.get("sentence") or "Nothing that was tried explains it.", data, part.a, part.b)
    said: list[Html | Markup] = [label(_label(cause)), prose(told)]
    for side, name in (("a", part.a), ("b", part.b)):
        # The sentence may say it already.
        if found.get(side) and found[side]["description"] not in told:
            said.append(Markup("<br>{}, bit for bit: {}").format(name, found[side]["description"]))
    return Html(Markup(" ").join(said))


def _upstream(upstream: Mapping[str, Any]) -> Html:
    text = f": {upstream['text']}" if upstream.get("text") else ""
    sure = "" if upstream["status"] == "named" else " (a candidate, not confirmed here)"
    return Html(Markup("{}{}{}").format(link(upstream["url"], upstream["title"]), text, sure))


def _reproduction(report: Mapping[str, Any], part: Part, found: Mapping[str, Any] | None) -> Html | str:
    if found is None:
        return "none was made"
    variables = [f"{name}={shlex.quote(value)}" for name, value in report["study"]["variables"].items()]
    script = shlex.quote(f"{found['folder']}/reproduce.py")
    command = Markup("<code>{}</code>").format(" ".join([*variables, "python", script]))
    size = f" ({formats.size(found['bytes'])})" if found.get("bytes") is not None else ""
    ran = found.get("ran")
    said = _ran(part, ran) if ran else "It was not run."
    return Html(Markup("{}{}: {}. {}").format(local_link(found["folder"], found["folder"]), size, command, said))


def _ran(part: Part, ran: Mapping[str, Any]) -> str:
    sides = {"a": part.a, "b": part.b}
    if ran == {"a": "a", "b": "b"}:
        return "Run in both environments, it names the version that it runs on."
    said = [f"in {sides[side]} it {_behaves(sides, ran.get(side))}" for side in sides]
    return f"Run in both environments: {formats.listing(said)}."


def _behaves(sides: Mapping[str, str], like: str | None) -> str:
    return f"behaves like {sides[like]}" if like is not None and like in sides else "behaves like neither version"


def _tried(part: Part, cause: Mapping[str, Any]) -> Html:
    tried: Sequence[Mapping[str, Any]] = (cause.get("mechanism") or {}).get("tried") or []
    if not tried:
        return Html(Markup(""))
    columns = (
        Column("Explanation"), Column("What it computes"), Column(f"As {part.a}", numeric=True),
        Column(f"As {part.b}", numeric=True),
    )  # fmt: skip
    rows = [
        Row((
            each["name"], each["description"], formats.of(each["equal_a"], each["elements"]),
            formats.of(each["equal_b"], each["elements"]),
        ))
        for each in tried
    ]  # fmt: skip
    inner = table("How many elements each explanation gives bit for bit", columns, rows)
    return fold(f"What was tried ({formats.plural(len(tried), 'explanation')})", inner)
