"""Better or worse, and how much the lists changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import Part, heading, parts
from reportlib.render.svg import BLUE, GREEN, INK, MUTED, RULE, VERMILLION, Layout, figure
from reportlib.words import formats
from reportlib.words.searches import judging_sentence, least_changed, too_few

# The words of the search section: what was compared with what, and what a difference of means says.

NOT_SEARCHED = "Not measured: this study has no search of both indexes with both versions."


def searched(report: Mapping[str, Any]) -> list[tuple[Part, Mapping[str, Any]]]:
    """Return every precision whose indexes were searched crosswise, with its record `search`."""
    return [(part, part.precision["search"]) for part in parts(report) if part.precision.get("search")]


def comparison(search: Mapping[str, Any], wanted: str = "upgrade") -> Mapping[str, Any] | None:
    """Return the comparison of this id, or nothing where it was not made or had no query."""
    return next((c for c in search["comparisons"] if c["id"] == wanted and c["queries"]), None)


def name(part: Part, compared: Mapping[str, Any]) -> str:
    """Return what a comparison changes, in words: ``The index alone, searched with PyTorch 2.0.1``."""
    sides = {"a": part.a, "b": part.b}
    left = compared["left"]
    if compared["kind"] == "index":
        return f"The index alone, searched with {sides.get(left['torch'], left['torch'])}"
    if compared["kind"] == "torch":
        return f"The search alone, on {sides.get(left['index'], left['index'])}'s index"
    if compared["kind"] == "seed":
        return f"Another seed of k-means ({compared['id'].removeprefix('seed-')})"
    return "The upgrade, index and search"


def short(compared: Mapping[str, Any]) -> str:
    """Return the same in the few letters that a figure has room for."""
    left = compared["left"]
    if compared["kind"] == "index":
        return f"index, {left['torch'].upper()} searching"
    if compared["kind"] == "torch":
        return f"search, {left['index'].upper()}'s index"
    return str(compared["id"]).replace("-", " ")


def place(part: Part, torch: str, index: str) -> str:
    """Return who searched which index: ``PyTorch 2.1.0 on PyTorch 2.0.1's index``."""
    sides = {"a": part.a, "b": part.b}
    by = sides.get(torch, torch)
    if index not in sides:
        return f"{by} on its index with another seed ({index.removeprefix('seed-')})"
    return f"{by} on its own index" if torch == index else f"{by} on {sides[index]}'s index"


def places(values: Iterable[float | None], least: int = 3) -> int:
    """Return how many decimals tell numbers that stand together from whole ones, so that all of them get as many.

    Parameters
    ----------
    values : iterable of float or None
        Of a row, or a mean with the ends of its interval. Whole numbers and None need no decimals.
    least : int
        Decimals even where fewer would do.
    """
    sizes = [abs(value) for value in values if value is not None and value != round(value)]
    return next((n for n in range(least, 6) if all(round(size, n) != round(size) for size in sizes)), 6)


def ends(estimate: Mapping[str, float]) -> tuple[float, float, float]:
    """Return a mean and the ends of its interval."""
    return estimate["value"], estimate["low"], estimate["high"]


def spread(estimate: Mapping[str, float], least: int = 3, *, signed: bool = False) -> str:
    """Return the ends of an interval, ``−0.010 to +0.002``; nothing where it has no width."""
    if estimate["low"] == estimate["high"] == estimate["value"]:
        return ""
    digits = places(ends(estimate), least)
    low, high = (formats.decimals(estimate[end], digits, signed=signed) for end in ("low", "high"))
    return f"{low} to {high}"


def estimate(value: Mapping[str, float], least: int = 3, *, signed: bool = False) -> Html | str:
    """Draw a mean with its interval below it; a bare number where that has no width."""
    shown = formats.decimals(value["value"], places(ends(value), least), signed=signed)
    beside = spread(value, least, signed=signed)
    return fragment("estimate", value=shown, beside=beside) if beside else shown


def in_line(value: Mapping[str, float], least: int = 3, *, signed: bool = False) -> str:
    """Return a mean with its interval after it: ``+0.004 (−0.002 to +0.010)``."""
    beside = spread(value, least, signed=signed)
    shown = formats.decimals(value["value"], places(ends(value), least), signed=signed)
    return shown + (f" ({beside})" if beside else "")


def share(value: float | None) -> str:
    """Return a share of queries in per cent, 0 and 100 only where it is none or all."""
    if value is None:
        return formats.ABSENT
    return formats.percent(round(value * 1_000_000), 1_000_000) if 1e-6 <= value <= 1 - 1e-6 else f"{value * 100:.0f} %"


def shares(values: Sequence[float]) -> list[str]:
    """Return shares that stand together in per cent without the sign, all with one decimal or all with none.

    As with `formats.percent` 0 and 100 are only what is none or all, and what is close to them gets a decimal.
    """
    numbers = [100 * value for value in values]
    digits = 1 if any(0 < number < 10 or 90 < number < 100 for number in numbers) else 0
    return [_per_cent(number, digits) for number in numbers]


def _per_cent(number: float, digits: int) -> str:
    if number in {0, 100}:
        return f"{number:.0f}"
    return "<0.1" if number < 0.1 else ">99.9" if number > 99.9 else f"{number:.{digits}f}"


def direction(measure: Mapping[str, Any]) -> str:
    """Return ``better`` or ``worse`` for a detected difference (more is better for all of them), else nothing."""
    value = measure["difference"]["value"]
    if not measure["detected"] or not value:
        return ""
    return "better" if value > 0 else "worse"


def undetected(
    measures: Sequence[Mapping[str, Any]], queries: int, least: int
) -> Iterator[tuple[list[Mapping[str, Any]], str]]:
    """Say why of some measures no difference was detected, and what that leaves open.

    Parameters
    ----------
    measures : sequence of mapping
        A comparison's ``measures``.
    queries : int
        How many queries were judged.
    least : int
        As `reportlib.words.searches.least_changed` returns it.

    Yields
    ------
    tuple of list and str
        Measures of which the same holds, and the words: never that there is no effect.
    """
    hidden = [m for m in measures if not direction(m)]
    few = [m for m in hidden if too_few(m, least)]
    for chosen, words in (
        ([m for m in few if not m["better"] + m["worse"]], _none_changed),
        ([m for m in few if m["better"] + m["worse"]], _few_changed),
        ([m for m in hidden if m not in few and m["detectable"] is not None], _would_have_been),
        ([m for m in hidden if m not in few and m["detectable"] is None], _unknown),
    ):
        if chosen:
            yield chosen, words(chosen, queries, least)


def _none_changed(measures: Sequence[Mapping[str, Any]], queries: int, _: int) -> str:
    known = [m["unchanged_bound"] for m in measures if m["unchanged_bound"] is not None]
    bound = f"; up to {formats.amount(100 * max(known))} % of queries could change unseen" if known else ""
    return f"no query's value changed, of {formats.count(queries)}{bound}"


def _few_changed(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> str:
    counts = [m["better"] + m["worse"] for m in measures]
    low, high = (formats.count(end(counts)) for end in (min, max))
    between = "or" if max(counts) == min(counts) + 1 else "to"
    changed = low if low == high else f"{low} {between} {high}"
    return (
        f"only {changed} of {formats.plural(queries, 'query', 'queries')} changed their value; "
        f"fewer than {formats.count(least)} are too few for the test"
    )


def _would_have_been(measures: Sequence[Mapping[str, Any]], _: int, __: int) -> str:
    digits = places([m["detectable"] for m in measures])
    known = [f"{formats.decimals(m['detectable'], digits)} in {m['measure']}" for m in measures]
    return f"a change of {formats.listing(known)} would probably have been (4 times of 5)"


def _unknown(_: Sequence[Mapping[str, Any]], __: int, ___: int) -> str:
    return "how small a change would have been is not known"


def _absolute(difference: Mapping[str, float]) -> Mapping[str, float]:
    if difference["value"] >= 0:
        return difference
    return {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}


def quality_sentences(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> Iterator[str]:
    """Say of all measures together what got better or worse, and what was not detected."""
    for measure in (m for m in measures if direction(m)):
        verb = f"{measure['measure']} got {direction(measure)}"
        counts = (
            f"{formats.plural(measure['better'], 'query', 'queries')} better, {formats.count(measure['worse'])} worse"
        )
        yield f"{verb} by {in_line(_absolute(measure['difference']))}: {counts}, of {formats.count(queries)}."
    for chosen, why in undetected(measures, queries, least):
        yield f"No difference was detected in {names(chosen)}: {why}."


def names(measures: Sequence[Mapping[str, Any]]) -> str:
    """Return the measures' names: ``MRR@10 or nDCG@10``."""
    return formats.listing([str(m["measure"]) for m in measures], "or")


# Figures of search: what each comparison changed, with intervals, and the reseeded indexes in grey beside it.

#: Colour and marker by what a comparison changes: no row is told by its colour alone.
_STYLES = {"upgrade": (VERMILLION, "D"), "index": (BLUE, "s"), "torch": (GREEN, "^"), "seed": (MUTED, "o")}
_ROW, _HEAD = 0.24, 0.62
#: Half the width of a panel in which nothing differs, so that it has a scale.
_NOTHING = 0.01
_Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class _Panel:
    """One quantity of every comparison: its title, where no change stands, and how to read it."""

    title: str
    same: float
    read: Callable[[_Comparison], Mapping[str, float] | None]
    percent: bool = False


def paint_quality(layout: Layout, made: Sequence[_Comparison]) -> Figure:
    """Draw the mean difference of each measure in each comparison, each measure on its own scale.

    Parameters
    ----------
    layout : Layout
        The room there is.
    made : sequence of mapping
        The record's ``comparisons`` that have measures.

    Returns
    -------
    Figure
    """
    names = list(dict.fromkeys(m["measure"] for c in made for m in c["measures"]))
    panels = [_Panel(str(measure), 0.0, _reader(measure)) for measure in names]
    drawn, grid = _grid(layout, panels, made)
    for axes, panel in zip(grid, panels, strict=True):
        ends = [abs(e[end]) for c in made if (e := panel.read(c)) for end in ("low", "high", "value")]
        reach = 1.12 * max(ends, default=0) or _NOTHING
        seeds = [abs(e["value"]) for c in made if c["kind"] == "seed" and (e := panel.read(c))]
        if seeds:
            axes.axvspan(-max(seeds), max(seeds), facecolor=RULE, edgecolor="none", zorder=0)
        axes.set_xlim(-reach, reach)
    return drawn


def _reader(measure: str) -> Callable[[_Comparison], Mapping[str, float] | None]:
    return lambda c: next((m["difference"] for m in c["measures"] if m["measure"] == measure), None)


def paint_lists(layout: Layout, made: Sequence[_Comparison]) -> Figure:
    """Draw how many lists changed, how many passages differ, and how much the lists overlap, in each comparison.

    Parameters
    ----------
    layout : Layout
        The room there is.
    made : sequence of mapping
        The record's ``comparisons`` that have queries.

    Returns
    -------
    Figure
    """
    panels = [
        _Panel(
            "lists that changed", 0.0, lambda c: {**c["changed_queries"], "value": c["changed_queries"]["share"]}, True
        ),
        _Panel("different passages", 0.0, lambda c: c["different_passages"]),
        _Panel("share in common", 1.0, lambda c: c["overlap"]),
        _Panel("rank-biased overlap", 1.0, lambda c: c["rbo"]),
    ]
    drawn, grid = _grid(layout, panels, made)
    for axes, panel in zip(grid, panels, strict=True):
        ends = [e[end] for c in made if (e := panel.read(c)) for end in ("low", "high", "value")]
        far = max((abs(end - panel.same) for end in ends), default=0) or _NOTHING
        near, beyond = panel.same - 0.06 * far, panel.same + 1.08 * far
        axes.set_xlim((near, beyond) if panel.same == 0 else (2 * panel.same - beyond, 2 * panel.same - near))
        _mark(axes, panel.same)
    return drawn


def _mark(axes: Axes, same: float) -> None:
    """Put a tick where no change stands: round steps from elsewhere may leave it out."""
    low, high = axes.get_xlim()
    room = 0.25 * (high - low)
    steps = MaxNLocator(3, min_n_ticks=2).tick_values(low, high)
    axes.set_xticks([same, *(float(at) for at in steps if low <= at <= high and abs(at - same) > room)])


def _grid(layout: Layout, panels: Sequence[_Panel], made: Sequence[_Comparison]) -> tuple[Figure, list[Axes]]:
    """Set the panels side by side, or below one another on a phone, each with a row for every comparison."""
    height = _HEAD + _ROW * len(made)
    size = (layout.width, height * len(panels)) if layout.narrow else (layout.width, height + 0.1)
    drawn = Figure(figsize=size)
    shape = (len(panels), 1) if layout.narrow else (1, len(panels))
    grid = list(drawn.subplots(*shape, sharey=True, squeeze=False).flat)
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, made)
    return drawn, grid


def _draw(axes: Axes, panel: _Panel, made: Sequence[_Comparison]) -> None:
    for row, compared in enumerate(made):
        found = panel.read(compared)
        if found is None:
            continue
        colour, marker = _STYLES[compared["kind"]]
        value = found["value"]
        ends = [[max(0.0, value - found["low"])], [max(0.0, found["high"] - value)]]
        axes.errorbar(
            value, row, xerr=ends, color=colour, marker=marker, markersize=4.5, elinewidth=1.4, capsize=2, clip_on=False
        )
    axes.axvline(panel.same, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(range(len(made)), [short(c) for c in made])
    axes.set_ylim(len(made) - 0.5, -0.5)
    axes.set_title(panel.title, fontsize=9)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent if panel.percent else _tick))


def _percent(value: float, _: int | None = None) -> str:
    return f"{formats.decimals(100 * value, 0 if value >= 0.03 or not value else 1)} %"


def _tick(value: float, _: int | None = None) -> str:
    # A tick is round, so its zeros tell nothing; what stands for nought may be 1e-17.
    if abs(value) < 1e-9:
        return "0"
    text = formats.decimals(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text


# Whether search got better or worse: measures against judgements, their differences, and what would have been seen.

#: Decimals in a table: one more than in a sentence, so that both sides of a small difference are told apart.
_PLACES = 4
_SIGNS = {"better": ("identical", "▲"), "worse": ("different", "▼"), "": ("missing", "?")}


def search_quality(report: Mapping[str, Any]) -> Html:
    """Show the quality of every search, and of every comparison the differences with their intervals.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    relevance = " ".join(_relevance(report["study"]))
    for part, found in searched(report):
        pieces.append(heading(part.title, f"search-quality-{part.slug}", 4))
        if found["judged"] and found["quality"]:
            pieces += _part(part, found, " ".join(filter(None, (relevance, relevance and _judging(found)))))
            # It holds of every precision, and one telling is enough.
            relevance = ""
        else:
            pieces.append(_unjudged(found))
    return join(pieces) if pieces else fragment("note", text=NOT_SEARCHED)


def _unjudged(found: Mapping[str, Any]) -> Html:
    who = "No query was searched" if not found["queries"] else "None of the queries has relevance judgements"
    text = f"{who}, so whether search got better or worse is not known. {_judging(found)}"
    return fragment("note", text=text.strip())


def _judging(found: Mapping[str, Any]) -> str:
    """Say which judgements do not count as they were given, where the captures say so."""
    judging = found.get("judging")
    return judging_sentence(judging) if judging else ""


def _part(part: Part, found: Mapping[str, Any], relevance: str) -> list[Html]:
    made = [c for c in found["comparisons"] if c["queries"] and c["measures"]]
    upgrade = comparison(found)
    others = [c for c in made if c["id"] != "upgrade"]
    shown = [] if upgrade is None or not upgrade["measures"] else [_differences(part, found, upgrade)]
    if relevance:
        shown.append(fragment("note", text=relevance))
    if made:
        shown.append(_figure(part, made))
    if others:
        tables = join([_differences(part, found, c) for c in others])
        shown.append(fold(f"The other {formats.plural(len(others), 'comparison')}, as tables", tables))
    return [*shown, fold("The measures of every search, with their intervals", _overview(part, found))]


def _relevance(study: Mapping[str, Any]) -> Iterator[str]:
    """Say who judged what, and what a value is worth that was measured with this checkpoint."""
    yield "A passage without a judgement counts as not relevant."
    if study["collection"]["source"] == "numpy-docstrings":
        yield (
            "Here a query is the first line of a docstring, and its relevant passages are the paragraphs of that "
            "docstring: made automatically, not by people."
        )
    if study["checkpoint"]["source"] == "all-minilm-l6-v2":
        yield "The last layer of this checkpoint is untrained, so these values say nothing about a real ColBERT."


def _differences(part: Part, found: Mapping[str, Any], compared: Mapping[str, Any]) -> Html:
    """List a comparison's measures: both sides, their difference, and below them what was not detected."""
    sides = [place(part, compared[side]["torch"], compared[side]["index"]) for side in ("left", "right")]
    columns = (
        Column("Measure"), Column("Before", numeric=True), Column("After", numeric=True),
        Column("Difference, with 95 % interval", numeric=True), Column("Queries better, equal, worse", numeric=True),
        Column("p", numeric=True), Column("Smallest change to show", numeric=True), Column("Result"),
    )  # fmt: skip
    caption = f"{name(part, compared)}: {sides[0]}, then {sides[1]}; {_judged(found)}"
    least = least_changed(found)
    drawn = table(caption, columns, [_row(measure, least) for measure in compared["measures"]])
    notes = [*_hidden(compared["measures"], found["judged"], least), *_intervals(compared["measures"])]
    return join([drawn, fragment("note", text=" ".join(notes))]) if notes else drawn


def _hidden(measures: Sequence[Mapping[str, Any]], queries: int, least: int) -> Iterator[str]:
    """Say what the columns do not: why a measure has no smallest change to show."""
    for chosen, why in undetected(measures, queries, least):
        if any(too_few(measure, least) or measure["detectable"] is None for measure in chosen):
            which = "" if len(chosen) == len(measures) else f" in {names(chosen)}"
            yield f"Not detected{which}: {why}."


def _intervals(measures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how an interval was made that a bootstrap would have made too narrow."""
    if any(measure.get("interval") == "few" and measure["better"] + measure["worse"] for measure in measures):
        yield (
            "Where so few changed, the interval is a wide one: the largest share of queries that could change, times "
            "the largest change that was seen."
        )


def _judged(found: Mapping[str, Any]) -> str:
    return f"{formats.count(found['judged'])} judged {'query' if found['judged'] == 1 else 'queries'}"


def _row(measure: Mapping[str, Any], least: int) -> Row:
    said = direction(measure)
    kind, sign = _SIGNS[said]
    visible = None if too_few(measure, least) else measure["detectable"]
    digits = places([measure["left"], measure["right"], *ends(measure["difference"]), visible], _PLACES)
    return Row(
        (
            str(measure["measure"]),
            formats.decimals(measure["left"], digits),
            formats.decimals(measure["right"], digits),
            estimate(measure["difference"], digits, signed=True),
            Markup(" · ").join(formats.count(measure[key]) for key in ("better", "equal", "worse")),
            _chance(measure),
            formats.decimals(visible, digits),
            fragment("badge", kind=kind, sign=sign, text=said or "not detected"),
        ),
        passing=not measure["better"] and not measure["worse"],
    )


def _chance(measure: Mapping[str, Any]) -> Html | str:
    """Draw the probability of such a difference by chance, and below it that of the sign test."""
    shown, signs = _probability(measure["p_permutation"]), measure["p_sign"]
    return shown if signs is None else fragment("estimate", value=shown, beside=f"sign test {_probability(signs)}")


def _probability(value: float | None) -> str:
    if value is None:
        return formats.ABSENT
    return "<0.001" if value < 0.001 else formats.decimals(value, 3 if value < 0.1 else 2)


def _overview(part: Part, found: Mapping[str, Any]) -> Html:
    """List the measures of every combination of torch and index."""
    names = list(dict.fromkeys(measure for each in found["quality"] for measure in each["measures"]))
    columns = (Column("Searched"), *(Column(measure, numeric=True) for measure in names))
    rows = [
        Row(
            (
                place(part, each["torch"], each["index"]),
                *(estimate(each["measures"][m]) if m in each["measures"] else formats.ABSENT for m in names),
            )
        )
        for each in found["quality"]
    ]
    return table(f"Means over {_judged(found)}, with 95 % intervals", columns, rows)


def _figure(part: Part, made: Sequence[Mapping[str, Any]]) -> Html:
    seeds = [c for c in made if c["kind"] == "seed"]
    said = [
        f"{name(part, compared)}: "
        + formats.listing([f"{m['measure']} {in_line(m['difference'], signed=True)}" for m in compared["measures"]])
        + "."
        for compared in made
    ]
    band = (
        " The grey rows are the same index made with another seed of k-means; the grey band reaches as far as they do, "
        "either way."
        if seeds
        else ""
    )
    return figure(
        f"search-quality-{part.slug}",
        lambda layout: paint_quality(layout, made),
        title="Differences of the quality measures, with 95 % intervals",
        description=" ".join(said),
        caption="Each mark is a mean difference over the judged queries, each line its 95 % interval: right of the "
        f"dotted line is better, left is worse. Each panel has its own scale. A is {part.a}, B is {part.b}.{band}",
    )


# How much the lists of passages changed, whether or not they got better: needs no judgements.


def search_lists(report: Mapping[str, Any]) -> Html:
    """Show how far apart the lists of every comparison are, the reseeded indexes beside the upgrade.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for part, found in searched(report):
        pieces.append(heading(part.title, f"search-lists-{part.slug}", 4))
        made = [c for c in found["comparisons"] if c["queries"]]
        if made:
            pieces += [_table(part, found, made), _lists_figure(part, made)]
        else:
            pieces.append(fragment("note", text="No query was searched, so there are no lists to compare."))
    return join(pieces) if pieces else fragment("note", text=NOT_SEARCHED)


def _table(part: Part, found: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> Html:
    k = formats.count(found["k"])
    columns = (
        Column("Compared"), Column("Lists that changed", numeric=True), Column("Other passages", numeric=True),
        Column(f"Different passages per query, 0 to {formats.count(2 * found['k'])}", numeric=True),
        Column("Share in common", numeric=True), Column("Rank-biased overlap", numeric=True),
        Column("Largest difference of a score", numeric=True),
    )  # fmt: skip
    rows = [
        Row(
            (
                name(part, c),
                fragment(
                    "estimate",
                    value=formats.of(c["queries"] - c["same_order"], c["queries"]),
                    beside=f"{' to '.join(shares([c['changed_queries'][end] for end in ('low', 'high')]))} %",
                ),
                formats.of(c["queries"] - c["same_set"], c["queries"]),
                estimate(c["different_passages"], 2),
                estimate(c["overlap"]),
                estimate(c["rbo"]),
                formats.amount(c["max_score_difference"]),
            )
        )
        for c in made
    ]
    return table(f"The best {k} passages of each query, compared; with 95 % intervals", columns, rows)


def _lists_figure(part: Part, made: Sequence[Mapping[str, Any]]) -> Html:
    said = [
        f"{name(part, c)}: {share(c['changed_queries']['share'])} of the lists changed, "
        f"{in_line(c['different_passages'], 2)} different passages per query, share in common {in_line(c['overlap'])}, "
        f"rank-biased overlap {in_line(c['rbo'])}."
        for c in made
    ]
    band = " Grey: the index made with another seed of k-means." if any(c["kind"] == "seed" for c in made) else ""
    return figure(
        f"search-lists-{part.slug}",
        lambda layout: paint_lists(layout, made),
        title="How much the lists of passages changed, with 95 % intervals",
        description=" ".join(said),
        caption=f"The further from the dotted line, the more changed. A is {part.a}, B is {part.b}.{band}",
    )
