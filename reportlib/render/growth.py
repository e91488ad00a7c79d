"""Where the difference comes in and how it grows: figures along the forward pass, and what measuring it costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from reportlib.render.controls import inconclusive
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, layer, parts, recorded_pass
from reportlib.render.svg import BLUE, GREEN, INK, MUTED, ORANGE, PAGE, PURPLE, RULE, VERMILLION, Layout, figure
from reportlib.words import formats
from reportlib.words.operations import words
from reportlib.words.phrases import factor, times

# Figures of the operations: how differences come in and grow, and how far each side is from float64.

_COLOURS = (VERMILLION, PURPLE, GREEN, ORANGE, INK)
_MARKERS = ("o", "D", "^", "s", "v")
_Number = float | None


def forward_passes(part: Part) -> list[Mapping[str, Any]]:
    """Return the forward passes of a precision that were replayed and have something to draw."""
    operations = part.precision.get("operations") or {}
    passes = operations.get("passes") or []
    return [p for p in passes if p["kind"] == "forward" and p.get("replay") and p["replay"]["operations"]]


def truth_passes(part: Part) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the layers' errors against float64 by pass, under the pass's name for a reader."""
    operations = part.precision.get("operations") or {}
    told = {p["slug"]: recorded_pass(p) for p in operations.get("passes") or []}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in operations.get("layers_truth") or []:
        if row["a"]["rms"] is not None and row["b"]["rms"] is not None:
            found.setdefault(told.get(row["pass"], row["pass"]), []).append(row)
    return list(found.items())


def paint_differences(layout: Layout, part: Part) -> Figure:
    """Draw, for each forward pass, the accumulated difference as a line and the local ones as marks."""
    passes = forward_passes(part)
    drawn = Figure(
        figsize=(layout.width, (1.9 if layout.narrow else 1.7) * len(passes) + (1.3 if layout.narrow else 0.9))
    )
    grid = drawn.subplots(len(passes), 1, sharey=True, squeeze=False)
    numbers = [n for p in passes for o in p["replay"]["operations"] for n in (_local(o), _rms(o["accumulated"])) if n]
    floor, top = _limits(numbers)
    kinds = list(dict.fromkeys(words(o).short for p in passes for o in p["replay"]["operations"] if _differs(o)))
    for axes, entry in zip(grid.flat, passes, strict=True):
        _panel(axes, entry["replay"]["operations"], kinds, floor)
        axes.set_title(formats.excerpt(recorded_pass(entry), 34 if layout.narrow else 80))
        _scale(axes, floor, top)
    drawn.supylabel("difference (root mean square)", fontsize=9)
    handles = [Line2D([], [], color=BLUE, label="the two runs, accumulated")]
    handles += [
        Line2D(
            [], [], linestyle="", color=_COLOURS[n % 5], marker=_MARKERS[n % 5], markersize=5, label=f"{kind} by itself"
        )
        for n, kind in enumerate(kinds)
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=1 if layout.narrow else min(4, len(handles)))
    return drawn


def _panel(axes: Axes, operations: Sequence[Mapping[str, Any]], kinds: Sequence[str], floor: float) -> None:
    known = [(x, rms) for x, o in enumerate(operations) if (rms := _rms(o["accumulated"])) is not None]
    begun = next((x for x, rms in known if rms), len(operations))
    # An operation that reads only weights has no difference, whatever came before it: no dip of the line.
    line = [(x, rms or floor) for x, rms in known if rms or x < begun]
    axes.plot([x for x, _ in line], [y for _, y in line], color=BLUE, linewidth=1.4, zorder=2, drawstyle="steps-mid")
    zeros = [x for x, rms in known if not rms and x > begun]
    axes.plot(zeros, [floor] * len(zeros), linestyle="", marker="|", markersize=5, color=BLUE, zorder=2)
    same = [x for x, o in enumerate(operations) if o["local"] and not _differs(o)]
    axes.plot(same, [floor] * len(same), linestyle="", marker=".", markersize=2.5, color=MUTED, zorder=2)
    for number, kind in enumerate(kinds):
        own = [(x, o) for x, o in enumerate(operations) if _differs(o) and words(o).short == kind]
        axes.scatter(
            [x for x, _ in own], [_local(o) or floor for _, o in own], s=24, color=_COLOURS[number % 5],
            marker=_MARKERS[number % 5], edgecolor=PAGE, linewidth=0.4, zorder=3,
        )  # fmt: skip
    starts = group_starts([str(o["module"]) for o in operations])
    for x, _ in starts[1:]:
        axes.axvline(x - 0.5, color=RULE, linewidth=0.7, zorder=1)
    ends = [x for x, _ in starts[1:]] + [len(operations)]
    # Of many layers every second, or third, is named: as many as fit side by side.
    every = -(-len(starts) // 14)
    middles = [((x + end - 1) / 2, name) for (x, name), end in zip(starts, ends, strict=True)][::every]
    axes.set_xticks([x for x, _ in middles], [name for _, name in middles])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-1, len(operations))


def group_starts(modules: Sequence[str]) -> list[tuple[int, str]]:
    """Return where each encoder layer begins along the operations, with its number; e before them, o after."""
    found: list[tuple[int, str]] = []
    for place, module in enumerate(modules):
        number = re.search(r"\.(\d+)(?:\.|$)", module)
        inside = any(name.isdigit() for _, name in found)
        name = number[1] if number else "o" if inside else "e"
        # An operation outside any module may stand between two of one layer: it stays with that layer.
        again = not number and module == "" and place + 1 < len(modules) and re.search(r"\.\d+\.", modules[place + 1])
        if not found or (name != found[-1][1] and not again):
            found.append((place, name))
    return found


def _differs(operation: Mapping[str, Any]) -> bool:
    return bool(operation["local"] and operation["local"]["different"])


def _rms(difference: Mapping[str, Any] | None) -> _Number:
    return None if difference is None else difference["rms"]


def _local(operation: Mapping[str, Any]) -> _Number:
    return _rms(operation["local"]) if _differs(operation) else None


def _limits(numbers: Sequence[float]) -> tuple[float, float]:
    """Return where the line 0 stands on a log scale, a decade below the smallest number, and the top."""
    positive = [n for n in numbers if n > 0 and math.isfinite(n)]
    if not positive:
        return 1e-8, 1e-4
    return 10.0 ** (math.floor(math.log10(min(positive))) - 1), max(positive) * 4


def _scale(axes: Axes, floor: float, top: float, *, zero: bool = True) -> None:
    """Set a log scale that has a line for 0 below its numbers, where there is one to show."""
    axes.set_yscale("log")
    bottom = floor / 2.2 if zero else floor * 5
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    ticks = [*([floor] if zero else []), *(t for t in axes.get_yticks() if floor * 3 < t < top)]
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value <= floor * 1.01 else f"{value:.0e}".replace("-", "−"))
    )
    axes.set_ylim(bottom, top)


def paint_truth(layout: Layout, part: Part) -> Figure:
    """Draw the error of every layer's output against float64, A's and B's, one panel for each pass."""
    passes = truth_passes(part)
    size = (layout.width, 2.2 * len(passes) + 0.6) if layout.narrow else (layout.width, 3.1)
    drawn = Figure(figsize=size)
    grid = drawn.subplots(*((len(passes), 1) if layout.narrow else (1, len(passes))), sharey=True, squeeze=False)
    numbers = [row[side]["rms"] for _, rows in passes for row in rows for side in ("a", "b")]
    floor, top = _limits(numbers)
    for axes, (name, rows) in zip(grid.flat, passes, strict=True):
        ticks = ["e" if row["layer"] == "embeddings" else layer(row["layer"]) for row in rows]
        for side, colour, marker, style in (("a", VERMILLION, "o", "-"), ("b", BLUE, "s", "--")):
            errors = [row[side]["rms"] or floor for row in rows]
            axes.plot(range(len(rows)), errors, color=colour, marker=marker, markersize=4.5, linestyle=style)
        every = -(-len(ticks) // 13)
        axes.set_xticks(range(0, len(ticks), every), ticks[::every])
        axes.set_title(formats.excerpt(name, 34 if layout.narrow else 26), fontsize=9)
        axes.set_xlabel("BERT layer (e: embeddings)")
        _scale(axes, floor, top, zero=0 in numbers)
    for axes in grid[:, 0]:
        axes.set_ylabel("error against float64 (rms)")
    handles = [
        Line2D([], [], color=VERMILLION, marker="o", markersize=4.5, label=f"A: {part.a}"),
        Line2D([], [], color=BLUE, marker="s", markersize=4.5, linestyle="--", label=f"B: {part.b}"),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=1 if layout.narrow else 2)
    return drawn


def differences(report: Mapping[str, Any]) -> Html:
    """Draw the local and the accumulated difference of every operation, for each precision that was replayed."""
    pieces: list[Html] = []
    for part in parts(report):
        passes = forward_passes(part)
        if not passes:
            continue
        told = [_growth(entry) for entry in passes]
        pieces += [
            inconclusive(part),
            figure(
                f"growth-{part.slug}",
                lambda layout, part=part: paint_differences(layout, part),  # type: ignore[misc]
                title=f"Local and accumulated difference along the forward pass, {part.label}",
                description=" ".join(told),
                caption=f"{part.title}. Line: how far the two runs are apart after each operation (root mean square), "
                "where they are; otherwise a blue mark on the line 0. "
                f"Other marks: operations of {part.b} that differ by themselves, given {part.a}'s inputs. Grey dots on "
                "the line 0: replayed, with the same bytes. Below: the encoder layers (e: embeddings, o: after them).",
            ),
        ]
    return join(pieces) if pieces else fragment("note", text="No operations were replayed, so none is drawn.")


def _growth(entry: Mapping[str, Any]) -> str:
    operations = entry["replay"]["operations"]
    own = [o for o in operations if o["local"] and o["local"]["different"]]
    apart = [o["accumulated"]["rms"] for o in operations if o["accumulated"] and o["accumulated"]["rms"] is not None]
    end = f"; at the end the runs are {formats.amount(apart[-1])} apart" if apart else ""
    if not own:
        return f"{recorded_pass(entry)}: no operation differs by itself{end}."
    kinds = formats.listing(list(dict.fromkeys(words(o).short for o in own)))
    differ = "differs by itself" if len(own) == 1 else "differ by themselves"
    return f"{recorded_pass(entry)}: {formats.plural(len(own), 'operation')} ({kinds}) {differ}{end}."


def layers_truth(report: Mapping[str, Any]) -> Html:
    """Draw the error of A's and B's layer outputs against the forward pass in float64."""
    pieces: list[Html] = []
    for part in parts(report):
        passes = truth_passes(part)
        if not passes:
            continue
        told = [_nearer(part, name, rows) for name, rows in passes]
        pieces += [
            inconclusive(part),
            fragment("sentences", sentences=[f"{part.title}, {said}" for said in told]),
            figure(
                f"truth-{part.slug}",
                lambda layout, part=part: paint_truth(layout, part),  # type: ignore[misc]
                title=f"Error of the layers' outputs against float64, {part.label}",
                description=" ".join(told),
                caption=f"{part.title}: root mean square of each version's error against the same layer in float64, "
                "on a log scale. Lower is closer.",
            ),
        ]
    return join(pieces) if pieces else fragment("note", text="The layers were not computed in float64.")


def _nearer(part: Part, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on the last layer, whose output is what the embeddings are made of."""
    last = rows[-1]
    errors = f"{formats.amount(last['a']['rms'])} in {part.a}, {formats.amount(last['b']['rms'])} in {part.b}"
    by = factor(last["ratio_rms"])
    closer = "both are about equally close to float64"
    if by is not None and by >= 1.05:
        closer = f"{part.a if last['ratio_rms'] > 1 else part.b} is {times(by)} times closer to float64"
    return f"{name}: after layer {layer(last['layer'])} {closer} ({errors})."


def costs(report: Mapping[str, Any]) -> Html:
    """Say what recording and replaying cost in time and memory, and what bounds the memory."""
    columns = (
        Column("Pass"), Column("Run"), Column("Plain", numeric=True), Column("Recorded", numeric=True),
        Column("Times", numeric=True), Column("Peak memory, plain", numeric=True),
        Column("Peak memory, recorded", numeric=True),
    )  # fmt: skip
    pieces: list[Html] = []
    for part in parts(report):
        passes = (part.precision.get("operations") or {}).get("passes") or []
        rows = [row for entry in passes if entry.get("cost") for row in _rows(part, entry)]
        if not rows:
            continue
        title = f"Time and memory of recording and replaying, {part.label}"
        pieces += [table(title, columns, rows), fragment("paragraph", text=_bound(passes))]
    return join(pieces) if pieces else fragment("note", text="What recording costs was not measured.")


def _rows(part: Part, entry: Mapping[str, Any]) -> list[Row]:
    found, rows = entry["cost"], []
    for side, name in (("a", part.a), ("b", part.b)):
        one = found.get(side)
        if one:
            plain, with_it = one["seconds_plain"], one["seconds_recorded"]
            ratio = times(with_it / plain) if plain and with_it else formats.ABSENT
            memory = [formats.size(_whole(one[key])) for key in ("peak_bytes_plain", "peak_bytes_recorded")]
            rows.append(Row((recorded_pass(entry), name, _seconds(plain), _seconds(with_it), ratio, *memory)))
    replay = found.get("replay")
    if replay:
        cells = (
            _seconds(replay["seconds"]),
            formats.ABSENT,
            formats.ABSENT,
            formats.size(_whole(replay["peak_bytes"])),
        )
        rows.append(Row((recorded_pass(entry), "replay", formats.ABSENT, *cells)))
    return rows


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _seconds(number: float | None) -> str:
    return formats.ABSENT if number is None else f"{formats.amount(number)} s"


def _bound(passes: Sequence[Mapping[str, Any]]) -> str:
    windows = [w for p in passes if p.get("replay") and (w := p["replay"].get("window_bytes")) is not None]
    said = (
        "The values of one operation at a time go from A's process to B's through a pipe, and none is written to disk. "
        "So the memory for it is bounded by the largest operation, not by the number of operations or layers"
    )
    if not windows:
        return f"{said}."
    if max(windows) == 0:
        return f"{said}. Both versions run their operations in an order in which none of B's had to wait for A's."
    return (
        f"{said}. Where the two versions run operations in another order, B's wait for their counterpart: here "
        f"{formats.size(max(windows))} at most."
    )
