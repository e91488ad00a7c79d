"""The atlas: operations by versions of PyTorch, equal letters for equal bytes, drawn from ``sweep.json`` alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nbformat
from markupsafe import Markup
from packaging.version import Version

from reportlib.artifacts import point
from reportlib.render.html import Column, Html, Row, dense, fold, fragment, join, link, table
from reportlib.render.publish import draw as draw_notebook
from reportlib.words import formats
from reportlib.words.terms import operation_term, precision

if TYPE_CHECKING:
    from reportlib.sweep.classes import Break, Pair, Part, Precision, Sweep
    from reportlib.sweep.classes import Row as Measured

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: How many tints there are: a row with more classes takes the first ones again, and its letters still tell them apart.
_TINTS = 6
_INSIDE = {"text0": "one short text", "text1": "another", "batch": "a batch", "index": "indexing"}
_GIVEN = {"text0": "“a”", "text1": "“test input”", "batch": "a batch of 32"}
#: What differs where there is no truth to be closer to.
_WHOLE = {"sort": "another order of equal values"}
_CLOSER = {"newer": "closer to float64", "older": "further from float64", "equal": "as far from float64"}
#: The encoder's ends: BERT's own embeddings, and what ColBERT keeps of a token.
_ENDS = {"embeddings": "BERT’s embeddings", "output": "its output"}
#: Artifacts that a row tells beside the final ones.
_SHOWN = frozenset(("embs", "rankings"))
_TOLD = {"rankings": "rankings with scores"}
#: No line ends inside an upgrade.
_UPGRADE = "{older}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{newer}"
#: How many shapes a row tells before it counts them.
_SHAPES = 3
DATA = "sweep.json"


@dataclass(frozen=True)
class Line:
    """A row of the atlas: one or more probes or layers whose bytes change at the same versions."""

    title: str
    code: str
    detail: str
    classes: tuple[int | None, ...]
    repeats: bool = True

    @property
    def changes(self) -> bool:
        """Whether two versions have other bytes."""
        return len({number for number in self.classes if number is not None}) > 1

    @property
    def runs(self) -> list[tuple[int, str, str]]:
        """Neighbours with equal bytes together: how many, their letter and their tint."""
        return [
            (len(list(same)), formats.ABSENT, "none") if number is None
            else (len(list(same)), _LETTERS[number % len(_LETTERS)], f"tint{number % _TINTS}")
            for number, same in itertools.groupby(self.classes)
        ]  # fmt: skip


def draw(sweep: Sweep) -> str:
    """Return the page of a sweep.

    Parameters
    ----------
    sweep : mapping
        As `reportlib.sweep.classes.report` makes it.

    Returns
    -------
    str
        HTML, without scripts and without requests.
    """
    cells: list[Any] = [_shown(opening(sweep))]
    for entry in sweep["precisions"]:
        title = f"## {precision(entry['precision'], 'cpu')}, version by version"
        cells += [nbformat.v4.new_markdown_cell(title), _shown(atlas(sweep, entry))]
    sections = (
        *((("## What a break does to an index", changes(sweep)),) if sweep["captured"] else ()),
        ("## Each break", breaks(sweep)),
        ("## Beside the posts", pairs(sweep)),
        ("## Methods and data", None),
        ("### What was run", methods(sweep)),
        ("### Versions", versions(sweep)),
    )
    for title, drawn in sections:
        cells += [nbformat.v4.new_markdown_cell(title), *([_shown(drawn)] if drawn else [])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    style = str(fragment("atlas_style", tints=range(_TINTS)).markup)
    return draw_notebook(notebook, "the sweep", data=DATA, style=style)


def _shown(drawn: Html) -> Any:
    output = nbformat.v4.new_output("display_data", {"text/html": str(drawn.markup)})
    return nbformat.v4.new_code_cell(outputs=[output])


def measured(sweep: Sweep) -> list[str]:
    """Return the versions that have a measurement, from the older to the newer."""
    return [one["version"] for one in sweep["versions"] if not one["why"]]


def span(sweep: Sweep) -> str:
    """Return what the sweep went over: ``PyTorch 1.13.1 → 2.15.0``."""
    known = measured(sweep)
    return f"PyTorch {known[0]} → {known[-1]}" if known else "PyTorch"


def ran_on(sweep: Sweep) -> list[str]:
    """Return what it ran on, as short as it can be said."""
    kernels = dict.fromkeys(one["cpu_capability"] for one in sweep["versions"] if one["cpu_capability"])
    ran = [f"{len(measured(sweep))} versions", f"{sweep['platform']['cpu'] or 'an unknown CPU'}, no GPU"]
    return [*ran, f"{' and '.join(filter(None, kernels))} kernels"] if kernels else ran


def verdict(sweep: Sweep) -> str:
    """Return the headline."""
    moved = [pair for pair in sweep["pairs"] if any(pair["layers"].values())]
    if not moved:
        return f"None of {len(sweep['pairs'])} upgrades changes a byte of the encoder’s on this CPU"
    changes = "changes" if len(moved) == 1 else "change"
    said = f"{len(moved)} of {len(sweep['pairs'])} upgrades {changes} the encoder’s bytes on this CPU"
    held = sweep["captured"]
    if held is None or held["unknown"] or not all(held["queries"].values()):
        return said
    found = {
        (c["older"], c["newer"]) for entry in sweep["precisions"] for c in entry["changes"] if _changed(c["rankings"])
    }
    also = "change" if len(found) > 1 else "changes"
    return f"{said}, and {len(found) or 'none'} {also} which passages a search finds"


def sentences(sweep: Sweep) -> list[tuple[str, str]]:
    """Return how many operations and upgrades change something, one sentence for each precision, after its name."""
    made = []
    for entry in sweep["precisions"]:
        name = entry["precision"]
        known = {row["name"] for row in entry["operations"]}
        moved = {row["name"] for row in entry["operations"] if len(set(row["classes"]) - {None}) > 1}
        bert = sum(bool(pair["layers"][name]) for pair in sweep["pairs"])
        upgrades = formats.of(bert, len(sweep["pairs"]))
        parts = [
            f"{len(moved)} of {len(known)} operations change somewhere, the encoder’s bytes at {upgrades} upgrades"
        ]
        held = sweep["captured"]
        if held and not held["unknown"] and held["queries"].get(name):
            found = sum(_changed(change["rankings"]) for change in entry["changes"])
            queries = formats.plural(held["queries"][name], "query", "queries")
            passages = formats.plural(held["passages"][name], "passage")
            parts.append(f"what {queries} find in {passages} changes at {found or 'none'}")
        made.append((precision(name, "cpu"), f"{'; '.join(parts)}."))
    return made


def reaches(sweep: Sweep) -> list[tuple[str, list[tuple[int, str]]]]:
    """Return how far each upgrade reaches that changes anything: for each precision a step from 0 to 4, and words."""
    rows = []
    for pair in sweep["pairs"]:
        cells = [_reach(sweep, entry, pair) for entry in sweep["precisions"]]
        if any(step for step, _ in cells):
            rows.append((_UPGRADE.format(**pair), cells))
    return rows


def _reach(sweep: Sweep, entry: Precision, pair: Pair) -> tuple[int, str]:
    between = (pair["older"], pair["newer"])
    change = next((c for c in entry["changes"] if (c["older"], c["newer"]) == between), None)
    if change:
        for key, step, words in (("rankings", 4, "search: {}"), ("orders", 4, "search: order of {}"),
                                 ("lists", 3, "index: {} lists")):  # fmt: skip
            if (part := change[key]) and _changed(part):  # type: ignore[literal-required]
                return step, words.format(_part(part))
        return 3, "index: bytes only"
    operations = _moved(entry, *between)
    step = 2 if pair["layers"][entry["precision"]] else 1 if operations else 0
    words = (formats.ABSENT, formats.listing(operations, most=2), "encoder")[step]
    unknown = step and sweep["captured"] and set(between) & set(sweep["captured"]["unknown"])
    return step, f"{words}; index not known" if unknown else words


def _changed(part: Part | None) -> bool:
    return part is not None and part["changed"] > 0


def opening(sweep: Sweep) -> Html:
    """Say where the breaks are."""
    failed = [one["version"] for one in sweep["versions"] if one["why"]]
    return fragment(
        "atlas_opening",
        versions=span(sweep),
        ran_on=" · ".join(ran_on(sweep)),
        title=verdict(sweep),
        lede=sentences(sweep),
        labels=[precision(entry["precision"], "cpu") for entry in sweep["precisions"]],
        reaches=reaches(sweep),
        failed=failed,
        beyond=list(sweep["beyond_torch"]),
        captured=sweep["captured"],
        kernels=_kernel_changes(sweep),
    )


def _kernel_changes(sweep: Sweep) -> list[tuple[str, str, str]]:
    """Return where a version takes kernels of another instruction set than the one before: both sets, and it."""
    known = [(one["cpu_capability"], one["version"]) for one in sweep["versions"] if one["cpu_capability"]]
    return [(old, new, version) for (old, _), (new, version) in itertools.pairwise(known) if old and new and old != new]


# The table.


def atlas(sweep: Sweep, entry: Precision) -> Html:
    """Draw a precision's table: the encoder first, then each operation that changes; those that do not are folded."""
    known = [*_layers(entry["layers"]), *_index(entry["artifacts"]), *_operations(entry["operations"])]
    kernels = [one["cpu_capability"] or formats.ABSENT for one in sweep["versions"] if not one["why"]]
    runs = [(len(list(same)), name) for name, same in itertools.groupby(kernels)]
    name = precision(entry["precision"], "cpu")
    drawn = fragment(
        "atlas",
        caption=f"{name}: in a row, the same letter and colour are the same bytes",
        versions=measured(sweep),
        kernels=runs,
        lines=[line for line in known if line.changes],
    )
    same = [line for line in known if not line.changes]
    columns = (Column("operation"), Column("what it does"), Column("inputs"))
    rows = [Row((Markup("<code>{}</code>").format(line.code), line.title, line.detail)) for line in same]
    title = f"{formats.plural(len(same), 'row')} with equal bytes on every version"
    return join([drawn, fold(title, dense(f"{name}: {title}", columns, rows))])


def _operations(rows: Iterable[Measured]) -> Iterator[Line]:
    """Yield operations, those of one name and the same classes together."""
    together: dict[tuple[Any, ...], list[Measured]] = {}
    for row in rows:
        together.setdefault((row["name"], tuple(row["dtypes"]), tuple(row["classes"])), []).append(row)
    for (name, dtypes, numbers), same in together.items():
        inside = dict.fromkeys(_INSIDE.get(one, one) for row in same for one in row["inside"])
        shapes = dict.fromkeys(" · ".join("×".join(map(str, shape)) or "1" for shape in row["shapes"]) for row in same)
        plain = name.rpartition("::")[2]
        own = plain.partition(".")[0]
        yield Line(
            title=operation_term({"name": own}).short.replace("`", ""),
            code=plain,
            detail=f"{'/'.join(dtypes)}, {formats.listing(inside)}: {formats.listing(shapes, most=_SHAPES)}",
            classes=numbers,
            repeats=all(row["repeats"] for row in same),
        )


def _layers(rows: Sequence[Measured]) -> Iterator[Line]:
    """Yield BERT's layers: neighbours with the same classes together, and inputs for which that comes out alike."""
    together: dict[tuple[str, tuple[int | None, ...]], list[Measured]] = {}
    for _, group in itertools.groupby(rows, key=lambda row: row["inside"][0]):
        for numbers, same in itertools.groupby(group, key=lambda row: tuple(row["classes"])):
            held = list(same)
            ends = list(
                dict.fromkeys(
                    f"layer {int(row['name'])}" if row["name"].isdigit() else _ENDS.get(row["name"], row["name"])
                    for row in (held[0], held[-1])
                )
            )
            together.setdefault((" to ".join(ends), numbers), []).extend(held)
    for (named, numbers), held in together.items():
        given = dict.fromkeys(_GIVEN.get(row["inside"][0], row["inside"][0]) for row in held)
        repeats = all(row["repeats"] for row in held)
        yield Line(f"encoder: {named}", "", f"on {formats.listing(given)}", numbers, repeats)


def _index(rows: Iterable[Measured]) -> Iterator[Line]:
    """Yield what a capture took of an index and of a search, in pipeline order, equal classes together."""
    together: dict[tuple[int | None, ...], list[str]] = {}
    for row in rows:
        place = point(row["name"])
        if place.final or place.name in _SHOWN:
            together.setdefault(tuple(row["classes"]), []).append(_TOLD.get(place.name, place.name))
    for numbers, names in together.items():
        yield Line("index and search", "", formats.listing(names), numbers)


def changes(sweep: Sweep) -> Html:
    """List what changes of an index, from one version to the next one that has another."""
    held = sweep["captured"]
    assert held is not None  # noqa: S101  (drawn only where there is something)
    columns = (Column("upgrade"), Column("precision"), Column("tensors of the index that differ", numeric=True),
               Column("largest difference of an embedding’s value", numeric=True),
               Column("tokens with another centroid", numeric=True),
               Column("centroids with other passages in their list", numeric=True),
               Column(f"queries with other passages in their best {held['k']}", numeric=True),
               Column("only in another order", numeric=True))  # fmt: skip
    order = {version: index for index, version in enumerate(measured(sweep))}
    known = [(change, entry) for entry in sweep["precisions"] for change in entry["changes"]]
    rows = [
        Row((
            _upgrade(change["older"], change["newer"]),
            precision(entry["precision"], "cpu"),
            _part(_tensors(entry, order[change["older"]], order[change["newer"]])),
            formats.amount(change["embeddings"]),
            *(_part(change[key]) for key in ("codes", "lists", "rankings")),
            _part(_only(change["orders"], change["rankings"])),
        ))
        for change, entry in sorted(known, key=lambda one: order[one[0]["newer"]])
    ]  # fmt: skip
    again = [(precision(e["precision"], "cpu"), text) for e in sweep["precisions"] if (text := _again(sweep, e))]
    note = fragment("atlas_captured", held=held, again=again, label=lambda name: precision(name, "cpu"))
    return join([table("What of an index and of its search differs from the version before", columns, rows), note])


def _tensors(entry: Precision, older: int, newer: int) -> Part:
    """Count the tensors of the final index whose bytes are not the same at two places."""
    final = [row["classes"] for row in entry["artifacts"] if point(row["name"]).final]
    return {"changed": sum(numbers[older] != numbers[newer] for numbers in final), "of": len(final)}


def _again(sweep: Sweep, entry: Precision) -> str:
    """Say which versions give back the codes of an older one, after others in between."""
    numbers = next((row["classes"] for row in entry["artifacts"] if row["name"] == "index/codes"), [])
    said, before = [], None
    first: dict[int, str] = {}
    for version, number in zip(measured(sweep), numbers, strict=False):
        if number is None:
            continue  # nothing is known of its index
        if number in first and number != before:
            said.append(f"{version} gives back {first[number]}’s codes")
        first.setdefault(number, version)
        before = number
    return formats.listing(said)


def _part(part: Part | None) -> str:
    return formats.of(part["changed"], part["of"]) if part else formats.ABSENT


def _only(orders: Part | None, sets: Part | None) -> Part | None:
    return {"changed": orders["changed"] - sets["changed"], "of": orders["of"]} if orders and sets else None


# Each break, and the pairs beside the posts'.


def breaks(sweep: Sweep) -> Html:
    """List every operation that changes, where, by how much, and in which direction."""
    columns = (Column("upgrade"), Column("operation"), Column("elements that differ", numeric=True),
               Column("largest difference", numeric=True), Column("the newer is"),
               Column("change upstream"))  # fmt: skip
    together: dict[tuple[str, str, str, str], list[Break]] = {}
    order = {version: index for index, version in enumerate(measured(sweep))}
    for entry in sweep["precisions"]:
        known = {row["id"]: row for row in entry["operations"]}
        for one in entry["breaks"]:
            if row := known.get(one["row"]):
                key = (one["older"], one["newer"], row["name"].rpartition("::")[2], "/".join(row["dtypes"]))
                together.setdefault(key, []).append(one)
    rows = []
    for (older, newer, name, dtypes), same in sorted(together.items(), key=lambda item: order[item[0][0]]):
        # What order whole numbers came in has no size.
        sizes = [one["max_abs"] for one in same if one["max_abs"] is not None and one["closer"]]
        most = max((one["different"] or 0) / one["sampled"] for one in same if one["sampled"])
        closer = dict.fromkeys(_CLOSER[one["closer"]] for one in same if one["closer"])
        whole = _WHOLE.get(name, "whole numbers")
        change = same[0]["upstream"]
        rows.append(
            Row((
                _upgrade(older, newer),
                Markup("<code>{}</code> {}").format(name, dtypes),
                formats.percent(most),
                formats.amount(max(sizes)) if sizes else formats.ABSENT,
                "closer for some shapes only" if len(closer) > 1 else formats.listing(closer) or whole,
                _upstream(change) if change else "not known",
            ))
        )  # fmt: skip
    return table("Operations that return other bytes on the same inputs", columns, rows)


def _upgrade(older: str, newer: str) -> Markup:
    return Markup('<span class="whole">{}</span>').format(_UPGRADE.format(older=older, newer=newer))


def _upstream(change: Any) -> Markup:
    known = "" if change["status"] == "named" else " (fits; not tested)"
    return link(change["url"], change["title"]) + known


def pairs(sweep: Sweep) -> Html:
    """Draw the posts' table of consecutive pairs beside what this platform gives."""
    shown = list(sweep["precisions"])
    columns = (Column("upgrade"), Column("the posts: L4 GPU, float16 autocast"),
               *(Column(f"here, CPU, {precision(entry['precision'], 'cpu')}") for entry in shown))  # fmt: skip
    rows = []
    equal = 0
    for pair in sweep["pairs"]:
        cells = [_posts(sweep, pair)]
        for entry in shown:
            moved = _moved(entry, pair["older"], pair["newer"])
            layers = pair["layers"][entry["precision"]]
            if layers or moved:
                encoder = "encoder: other bytes" if layers else "encoder: equal bytes"
                cells.append(f"{encoder}; {formats.listing(moved, most=4) or 'no operation'}")
            else:
                cells.append("equal")
        if pair["posts"] != "different" and set(cells[1:]) == {"equal"}:
            equal += 1
            continue
        rows.append(Row((_upgrade(pair["older"], pair["newer"]), *cells)))
    theirs = [pair for pair in sweep["pairs"] if pair["posts"] == "different"]
    ours = [pair for pair in sweep["pairs"] if pair["posts"] == "same" and any(pair["layers"].values())]
    names = [(entry["precision"], precision(entry["precision"], "cpu")) for entry in shown]
    note = fragment(
        "atlas_posts",
        theirs=len(theirs),
        here=[(sum(bool(pair["operations"][name]) for pair in theirs), label) for name, label in names],
        ours=[_UPGRADE.format(**pair) for pair in ours],
        equal=equal,
    )
    return join([table("Consecutive versions: the posts’ result and this platform’s", columns, rows), note])


def _moved(entry: Precision, older: str, newer: str) -> list[str]:
    known = {row["id"]: row["name"] for row in entry["operations"]}
    moved = [b["row"] for b in entry["breaks"] if (b["older"], b["newer"]) == (older, newer) and b["row"] in known]
    return list(dict.fromkeys(known[row].rpartition("::")[2].partition(".")[0] for row in moved))


def _posts(sweep: Sweep, pair: Any) -> str:
    if pair["posts"] is None:
        return "not in the posts"
    if pair["posts"] == "same":
        return "equal"
    inside = [post for post in sweep["posts"] if _within(post, pair)]
    # A sweep that lacks versions may have several in one pair.
    return "; ".join(
        f"{p['text']} ({p['source']})"
        if (p["older"], p["newer"]) == (pair["older"], pair["newer"])
        else f"{_UPGRADE.format(**p)}: {p['text']} ({p['source']})"
        for p in inside
    )


def _within(post: Any, pair: Any) -> bool:
    """Whether a break of the posts lies in a pair; versions that this sweep lacks lie between those it has."""
    return Version(pair["older"]) <= Version(post["older"]) and Version(post["newer"]) <= Version(pair["newer"])


# How it was made.


def methods(sweep: Sweep) -> Html:
    """Say what a probe is, and what holds for all."""
    rows = [row for entry in sweep["precisions"] for row in (*entry["operations"], *entry["layers"])]
    return fragment(
        "atlas_methods",
        threads=sweep["platform"]["threads"],
        probes=len({row["id"] for entry in sweep["precisions"] for row in entry["operations"]}),
        compared=sweep["compared"],
        most=max(len(measured(sweep)) - 1, 0),
        unlike=list(dict.fromkeys(row["id"] for row in rows if not row["same_inputs"])),
        unsteady=list(dict.fromkeys(row["id"] for row in rows if not row["repeats"])),
    )


def versions(sweep: Sweep) -> Html:
    """List every version, with what was really installed, or why there is no measurement."""
    columns = (Column("version"), Column("build"), Column("kernels"), Column("beside torch"))
    beyond, rows = sweep["beyond_torch"], []
    place = {version: index for index, version in enumerate(measured(sweep))}
    for one in sweep["versions"]:
        held = [f"{name} {versions[place[one['version']]] or 'not there'}" for name, versions in beyond.items()
                if one["version"] in place]  # fmt: skip
        remark = one["why"] or ", ".join(held) or "as all others"
        rows.append(
            Row((one["version"], one["build"] or formats.ABSENT, one["cpu_capability"] or formats.ABSENT, remark))
        )
    return table("Versions of PyTorch", columns, rows)
