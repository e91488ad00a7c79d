"""Where the difference comes in and how it grows: figures along the forward pass, and what measuring it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlib.compare.findings.words import words
from reportlib.compare.phrases import factor, times
from reportlib.render import formats
from reportlib.render.controls import inconclusive
from reportlib.render.figures_operations import forward_passes, paint_differences, paint_truth, truth_passes
from reportlib.render.html import Column, Html, Row, fragment, join, table
from reportlib.render.labels import Part, layer, parts, recorded_pass
from reportlib.render.svg import figure


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
