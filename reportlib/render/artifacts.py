"""What changed: the posts' tables, each row beside the post's own, and every capture point in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reportlib.findings.parts import Part
from reportlib.render.html import Column, Html, Row, dense, fragment, table
from reportlib.render.labels import answer, badge
from reportlib.render.sections import Piece, by_part, said, told
from reportlib.words import formats

Record = Mapping[str, Any]


@by_part
def what_changed(part: Part) -> Iterator[Piece]:
    """Draw the posts' rows: the index's tensors, then the values on the way to it, each beside the post's verdict."""
    yield said(told(part, "files", "post"))
    rows = part.data["artifacts"]
    posts = any(c["post"] for c in rows)
    for title, chosen in (
        (f"The index: {part.short_a} against {part.short_b}", [c for c in rows if c["final"]]),
        ("On the way to it", [c for c in rows if not c["final"] and c["name"] in _SHOWN]),
    ):
        columns = (
            Column("Artifact"), Column("dtype"), Column("Result"), Column("How far"), *([Column("The post")] * posts),
        )  # fmt: skip
        drawn = [_row(c, posts=posts) for c in chosen]
        yield table(title, columns, drawn, fold_passing="identical")


#: Values on the way to the index that the posts' tables have, in every study's table.
_SHOWN = (
    "batches", "D", "sample_pids", "num_passages", "local_sample_embs", "sample", "sample_heldout", "doclens",
)  # fmt: skip


def _row(c: Record, *, posts: bool) -> Row:
    cells = (_name(c), dtypes(c), _result(c), how_far(c), *([_post(c)] if posts else []))
    return Row(cells, passing=c["verdict"] == "identical")


def _result(c: Record) -> Html:
    flags = "" if c["default"] is None else f"default {c['default']}, bnb {c['bnb']}"
    return fragment("estimate", value=badge(c["verdict"]), beside=flags)


def how_far(c: Record) -> Html | str:
    """Draw how many values differ and, of floats, by how much; distances between ids or packed bytes mean nothing."""
    if c["verdict"] == "shape mismatch":
        return fragment("shapes", a=c["a"]["shape"], b=c["b"]["shape"])
    if not c["different"] or c["elements"] is None:
        return formats.ABSENT
    share = formats.percent_of(c["different"], c["elements"])
    if c["kind"] != "float":
        return fragment("estimate", value=formats.of(c["different"], c["elements"]), beside=share)
    apart = f"mean {formats.amount(c['mean_abs'])}, max {formats.amount(c['max_abs'])}"
    return fragment("estimate", value=share, beside=apart)


def _post(c: Record) -> Html | str:
    post = c["post"]
    if not post:
        return formats.ABSENT
    own = str(post["equal"]) if post["equal"] is not None else f"default {post['default']}, bnb {post['bnb']}"
    agrees = post["agrees"]
    sign = formats.ABSENT if agrees is None else answer(agrees, "as here", "not here", plain=True)
    return fragment("estimate", value=own, beside=sign)


@by_part
def every_artifact(part: Part) -> Iterator[Piece]:
    """List every capture point with all that was measured of it."""
    columns = (
        Column("Artifact"), Column("Stage"), Column("dtype"), Column("Default"), Column("bnb"), Column("Verdict"),
        Column("How far"), Column("Largest ULP", numeric=True), Column("Would pass at", numeric=True),
    )  # fmt: skip
    rows = [
        Row(
            (
                _name(c, explained=True), c["stage"], dtypes(c), flag(c["default"]), flag(c["bnb"]),
                badge(c["verdict"]), how_far(c), ulp(c), would_pass(c),
            ),
            passing=c["verdict"] == "identical",
        )
        for c in part.data["artifacts"]
    ]  # fmt: skip
    yield dense(f"Every capture point, in the order of the pipeline: {part.a} against {part.b}", columns, rows)


def would_pass(c: Record) -> Html | str:
    """Return the smallest tolerance that would let a float pass: an absolute one, and a multiple of bnb's."""
    if c.get("no_tolerance_passes"):
        return "no tolerance"
    if c["smallest_atol"] is None:
        return formats.ABSENT
    if c["smallest_atol"] == 0:
        return "0"
    factor = c["bnb_factor"]
    beside = f"or bnb × {formats.amount(factor)}" if factor is not None else ""
    return fragment("estimate", value=f"atol {formats.amount(c['smallest_atol'])}", beside=beside)


def ulp(c: Record) -> str:
    """Return the largest distance in units in the last place; of integers there is none."""
    if c["kind"] != "float" or not c["a"]:
        return formats.ABSENT
    return formats.distance(c["max_ulp"], c["max_abs"], c["a"]["dtype"])


def flag(value: bool | None) -> str:
    """Return what a tolerance says, in the posts' words: ``True``."""
    return formats.ABSENT if value is None else str(value)


def _name(c: Record, *, explained: bool = False) -> Html:
    label = c["file"] or c["name"]
    inner = c["name"] if c["file"] and c["file"] != f"{c['name']}.pt" else ""
    return fragment("artifact", label=label, inner=inner, description=c["description"] if explained else "")


def dtypes(c: Record) -> str:
    """Return the dtypes of both sides, once where they agree."""
    known: Sequence[str] = [str(side["dtype"]) for side in (c["a"], c["b"]) if side]
    return " / ".join(dict.fromkeys(known)) or formats.ABSENT
