"""Does it matter: one query that moved, the upgrade beside other seeds of k-means, and every comparison in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from reportlib.findings.effects import Search, search
from reportlib.findings.finding import Part, parts
from reportlib.measures import AGREEMENTS, Agreement
from reportlib.render.figures import figure, paint_margins, paint_search
from reportlib.render.html import Column, Html, Row, dense, fold, fragment, join, table
from reportlib.render.page import Piece, by_part, paragraph, sentences
from reportlib.shape import (
    ChangedQuery,
    Estimate,
    ListedPassage,
    ListedPassageRank,
    MeasureChange,
    SearchComparison,
)
from reportlib.words import formats
from reportlib.words.terms import judging_sentence

#: Characters of a query or a passage that stand open: a question of a line or two is whole, a long one is cut.
_OPEN = 240
_BADGES = {"better": ("plain", "▲"), "worse": ("different", "▼"), "equal": ("plain", "=")}


@by_part
def one_query(part: Part) -> Iterator[Piece]:
    """Show one query whose list moved: the passage that went, the one that came, and how close their scores were."""
    searched = search(part)
    if searched is None:
        return
    if not searched.data["changed"]:
        # Beside a precision in which one did; where none did there is no such section.
        if any(other.search and other.search["changed"] for other in parts(part.report)):
            yield paragraph(["No list moved."])
        return
    if not any(q["went"] or q["came"] for q in searched.data["changed"]):
        first = min(q["first_rank"] for q in searched.data["changed"])
        order = f"Lists change only in their order, from rank {first} on: no passage went, and none came."
        yield paragraph([order])
        return
    query = next((q for q in searched.data["changed"] if q["went"] and q["came"]), searched.data["changed"][0])
    yield _query(part, searched, query)
    if query["went"] and query["came"]:
        yield paragraph([_flip(part, query)])


def _flip(part: Part, query: ChangedQuery) -> str:
    """Say why the order of two passages flipped: how close they were, beside how far their scores moved."""
    went, came = query["went"][0], query["came"][0]
    ranks = (went["left"], came["left"], went["right"], came["right"])
    scores = [rank["score"] for rank in ranks if rank and rank["score"] is not None]
    if len(scores) < len(ranks):
        return "One of the two passages was not looked at by the other's search."
    before, after = scores[0] - scores[1], scores[2] - scores[3]
    return (
        f"In {part.short_a} the first leads by {formats.amount(before)}; in {part.short_b} it trails by "
        f"{formats.amount(-after)}. So small a lead flips as soon as scores move by as much."
        if before > 0 > after
        else f"Their scores are {formats.amount(abs(before))} apart in {part.short_a} and {formats.amount(abs(after))} "
        f"in {part.short_b}."
    )


def _query(part: Part, searched: Search, query: ChangedQuery) -> Html:
    text = _clean(query["text"]) or "(no text)"
    moved = [m for m in query["measures"] if m["left"] != m["right"]]
    facts: list[Markup | str] = [
        f"{m['measure']} {formats.decimals(m['left'])} → {formats.decimals(m['right'])}" for m in moved
    ]
    facts.append(f"lists differ from rank {formats.count(query['first_rank'])} on")
    kind, sign = _BADGES.get(query["verdict"], ("missing", "?"))
    shown = formats.excerpt(text, _OPEN)
    return fragment(
        "query",
        text=shown,
        whole=text if shown != text else "",
        verdict=fragment("badge", kind=kind, sign=sign, text=query["verdict"]) if moved else "",
        facts=facts,
        sides=[
            {
                "kind": key,
                "title": f"{verb}: in the top {searched.data['k']} of {whose} only",
                "passages": [_passage(part, passage) for passage in listed],
            }
            for key, verb, whose, listed in (
                ("went", "− Went", part.short_a, query["went"]),
                ("came", "+ Came", part.short_b, query["came"]),
            )
            if listed
        ],
    )


def _passage(part: Part, passage: ListedPassage) -> dict[str, Any]:
    facts = [f"{part.short_a}: {_rank(passage['left'])}", f"{part.short_b}: {_rank(passage['right'])}"]
    if passage["grade"] is not None:
        facts.append("not relevant" if passage["grade"] <= 0 else "relevant")
    return {"text": formats.excerpt(_clean(passage["text"]) or "(no text)", _OPEN), "facts": facts}


def _rank(listed: ListedPassageRank | None) -> str:
    if listed is None:
        return "not found"
    score = "no number" if listed["score"] is None else f"{listed['score']:.4f}"
    return f"rank {formats.count(listed['rank'])}, score {score}"


def _clean(text: object) -> str:
    """Return a stranger's text as one that can be written: half a surrogate pair would stop the page."""
    return str(text).encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd").strip()


@by_part
def does_it_matter(part: Part) -> Iterator[Piece]:
    """Say and draw what search makes of the upgrade, beside other seeds of k-means, one row a measure."""
    searched = search(part)
    if part.failed:
        yield paragraph(["No effect on search is claimed."])
        return
    if searched is None:
        yield paragraph(sentences(part, "lists"))
        return
    yield paragraph(sentences(part, "quality", "way"))
    if searched.failed:
        return
    made = [c for c in searched.data["comparisons"] if (c["queries"] and c["id"] in _DRAWN) or c["kind"] == "seed"]
    if any(c["queries"] > c["same_order"] for c in made):
        yield figure(
            f"search-{part.slug}",
            lambda layout: paint_search(layout, made, part.step),
            title=f"What the {part.step} and other seeds of k-means change in search, with 95 % intervals",
            description=" ".join(
                f"{name(part, c)}: {formats.of(c['queries'] - c['same_order'], c['queries'])} lists move." for c in made
            ),
            caption=(
                f"The {part.step}, its two halves, and (grey) the old index made again with another seed of k-means."
            ),
        )
    yield _yardstick(searched, part.step)
    yield paragraph(sentences(part, "margins"))


_DRAWN = ("upgrade", "index", "torch")


def name(part: Part, c: SearchComparison) -> str:
    """Return what a comparison changes, in words: ``The index alone, searched with 2.0.1``."""
    short = {"a": part.short_a, "b": part.short_b}
    if c["kind"] == "index":
        return f"the index alone, searched with {short[c['left']['torch']]}"
    if c["kind"] == "torch":
        return f"the search alone, on {short[c['left']['index']]}'s index"
    if c["kind"] == "seed":
        return f"another seed of k-means ({c['id'].removeprefix('seed-')})"
    return f"the {part.step}"


def _yardstick(searched: Search, step: str) -> Html:
    """List each figure of the upgrade beside the range of other seeds, with what it says."""
    seeds = {f["name"]: f["seeds"] for f in (searched.data["yardstick"] or {"figures": []})["figures"]}
    columns = (
        Column("Measure"), Column(step.capitalize(), numeric=True),
        Column("Other seeds", numeric=True), Column("Result"),
    )  # fmt: skip
    # How many lists move comes before how much.
    lists = sorted((a for a in AGREEMENTS if a.beside_seeds), key=lambda a: not a.counts_queries)
    rows = [_list_row(agreement, searched.upgrade, seeds.get(agreement.key)) for agreement in lists]
    chances = dict(zip((m["measure"] for m in searched.measures), searched.adjusted, strict=True))
    rows += [_measure_row(searched, m, chances[m["measure"]], seeds.get(m["measure"])) for m in searched.measures]
    return table(f"The {step} beside other seeds of k-means, with 95 % intervals", columns, rows)


def _list_row(agreement: Agreement, upgrade: SearchComparison, seeds: Sequence[float] | None) -> Row:
    estimate, write = agreement.estimate(upgrade), formats.percent if agreement.counts_queries else _decimal
    own = _with_interval(estimate, write)
    if not seeds:
        return Row((agreement.title, own, formats.ABSENT, formats.ABSENT))
    change, others = agreement.change(estimate["value"]), [agreement.change(value) for value in seeds]
    beyond = "changes less" if change < min(others) else "changes more" if change > max(others) else "changes as much"
    return Row((agreement.title, own, formats.between(min(seeds), max(seeds), write), beyond))


def _decimal(value: float) -> str:
    return formats.decimals(value, 3)


def _measure_row(searched: Search, m: MeasureChange, chance: float | None, seeds: Sequence[float] | None) -> Row:
    own = _with_interval(m["difference"], formats.signed)
    if m in searched.detected:
        result = f"{'better' if m['difference']['value'] > 0 else 'worse'}, p {probability(chance)}"
    elif not m["better"] + m["worse"]:
        result = "the same for every query"
    elif searched.few(m):
        result = f"{formats.count(m['better'])} better, {formats.count(m['worse'])} worse: too few to tell"
    else:
        result = f"not detected, p {probability(chance)}"
    apart = (
        f"± {formats.between(min(seeds), max(seeds), partial(formats.amount, least=1e-5))}" if seeds else formats.ABSENT
    )
    return Row((f"Mean {m['measure']}", own, apart, result))


def probability(value: float | None) -> str:
    """Return a p-value: ``<0.001``, ``0.012``, ``0.58``."""
    if value is None:
        return formats.ABSENT
    return "<0.001" if value < 0.001 else formats.decimals(value, 3 if value < 0.1 else 2)


@by_part
def every_search(part: Part) -> Iterator[Piece]:
    """List every comparison of searches, every measure of every search, and the other queries whose lists moved."""
    searched = search(part)
    if searched is None:
        return
    made = [c for c in searched.data["comparisons"] if c["queries"]]
    yield paragraph(_how(part, searched))
    yield _lists(part, searched, made)
    if any(c["measures"] for c in made):
        yield _quality(part, searched, made)
    moved = searched.data["changed"]
    if moved:
        queries = join([_query(part, searched, query) for query in moved])
        total = searched.data["changed_total"]
        title = f"{formats.of(len(moved), total)} queries whose lists move"
        yield fold(title[:1].upper() + title[1:], queries)
    yield from _margins(part)


def _how(part: Part, searched: Search) -> Iterator[str]:
    """Say how many queries were judged, whether the encoded queries are the same, and what came of the controls."""
    data, k = searched.data, formats.count(searched.data["k"])
    judged = formats.of(data["judged"], data["queries"])
    queries = formats.plural(data["queries"], "query")
    yield f"Each of {queries} was searched for its best {k} passages; {judged} have judgements."
    rows = data["query_embeddings"]
    if rows and rows["total"] and rows["identical"] == rows["total"]:
        yield f"Their {formats.count(rows['total'])} token embeddings have the same bytes."
    elif rows and rows["total"]:
        unlike = formats.of(rows["total"] - rows["identical"], rows["total"])
        yield f"Of their token embeddings {unlike} differ, by {formats.rounded_up(rows['max_abs'])} at most."
    for c in data["controls"]:
        again = formats.of(c["identical"], c["queries"])
        yield f"{part.name(c['environment'])}, searching again in another process, gave the same for {again}."
    if judging := data.get("judging"):
        yield judging_sentence(judging)
    same = data.get("identical_ids")
    if same and same["queries"]:
        what = "it is left out" if same["ignored"] else "`ignore_identical_ids` leaves it out"
        yield f"For {formats.plural(same['queries'], 'query')} a passage is the query itself (same id): {what}."


def _lists(part: Part, searched: Search, made: Sequence[SearchComparison]) -> Html:
    k = searched.data["k"]
    agreements = [a for a in AGREEMENTS if not a.counts_queries]
    titles = [(a.heading or a.title).format(2 * k) for a in agreements]
    columns = (
        Column("Compared"), Column("Lists that move", numeric=True), Column("With other passages", numeric=True),
        *(Column(title, numeric=True) for title in titles), Column("Largest difference of a score", numeric=True),
    )  # fmt: skip
    rows = [
        Row((
            name(part, c), formats.of(c["queries"] - c["same_order"], c["queries"]),
            formats.of(c["queries"] - c["same_set"], c["queries"]),
            *(_with_interval(a.estimate(c), _decimal) for a in agreements),
            formats.amount(c["max_score_difference"]),
        ))
        for c in made
    ]  # fmt: skip
    return dense(f"The best {k} passages of each query, compared", columns, rows)


def _with_interval(estimate: Estimate, write: Callable[[float], str]) -> Html:
    value, beside = write(estimate["value"]), formats.between(estimate["low"], estimate["high"], write)
    return fragment("estimate", value=value, beside=beside if beside != value else "")


def _quality(part: Part, searched: Search, made: Sequence[SearchComparison]) -> Html:
    columns = (
        Column("Compared"), Column("Measure"), Column("Before", numeric=True), Column("After", numeric=True),
        Column("Difference", numeric=True), Column("Better, equal, worse", numeric=True),
        Column("p", numeric=True), Column("Smallest change to show", numeric=True),
    )  # fmt: skip
    rows = [
        Row((
            name(part, c), m["measure"], formats.decimals(m["left"], 4), formats.decimals(m["right"], 4),
            _with_interval(m["difference"], formats.signed),
            " · ".join(formats.count(number) for number in (m["better"], m["equal"], m["worse"])),
            fragment("estimate", value=probability(m["p_permutation"]), beside=f"sign test {probability(m['p_sign'])}"),
            formats.decimals(None if searched.few(m) else m["detectable"], 4),
        ))
        for c in made
        for m in c["measures"]
    ]  # fmt: skip
    return dense("Quality against the judgements: means, not corrected for the number of measures", columns, rows)


def _margins(part: Part) -> Iterator[Html]:
    measured = [(r, margin) for r in part.data.get("margins") or [] if (margin := r["margin"])]
    if not measured:
        return
    flipped = [r for r, _ in measured if r["flipped"]]
    if flipped:
        yield figure(
            f"margins-{part.slug}",
            lambda layout: paint_margins(layout, flipped),
            title="How many decisions flipped, by their margin",
            description=" ".join(f"{r['id']}: {formats.of(r['flipped'], r['items'])} flipped." for r in flipped),
            caption="How often a decision fell otherwise, by how far it was from that (its margin). The band is "
            "Wilson's interval, which takes decisions for independent; those of one passage are not.",
        )
    columns = (
        Column("Decision"), Column("Looked at", numeric=True), Column("Flipped", numeric=True),
        Column("Median margin", numeric=True), Column("Of the flipped", numeric=True),
        Column("Largest change of a margin", numeric=True), Column("Smaller margins flip", numeric=True),
        Column("Margin below what changed", numeric=True),
    )  # fmt: skip
    rows = [
        Row((
            MARGINS[r["id"]], formats.of(r["items"], r["of"]), formats.count(r["flipped"]),
            formats.amount(margin["median"]), formats.amount(r["half"]),
            formats.amount(r["change"]["max"] if r["change"] else None),
            formats.ABSENT if r["auc"] is None else f"AUC {formats.percent(r['auc'])}, p {probability(r['p'])}",
            formats.of(r["explained"]["within"], r["explained"]["of"]),
        ))
        for r, margin in measured
    ]  # fmt: skip
    yield dense(f"Margins in {part.a}, and what flipped in {part.b}", columns, rows)


MARGINS = {
    "centroid": "A token's centroid: its score minus the second's",
    "bucket": "A residual's bucket: distance to the nearer edge",
    "rank": "A query's last passage: its score minus the next one's",
}
