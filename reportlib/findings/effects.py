"""Findings on what changed and whether it matters: the index's tensors, and what search makes of the upgrade.

Lists that moved are held beside other seeds of k-means, and quality is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from reportlib.findings.finding import Finding, Part, of_part
from reportlib.measures import agreement, chief
from reportlib.shape import MeasureChange, Report, SearchComparison, SearchControls
from reportlib.shape import Search as SearchRecord
from reportlib.words.terms import beyond_torch

Record = Mapping[str, Any]


def files(part: Part) -> Finding:
    """Return what became of the index's tensors."""
    final = part.final
    unlike = [r for r in final if r["verdict"] != "identical"]
    close = [r for r in unlike if r["verdict"] == "close"]
    numbers = {
        "total": len(final),
        "identical": len(final) - len(unlike),
        "close": [r["artifact"] for r in close],
        "close_by": max((r["max_abs"] for r in close if r["max_abs"] is not None), default=None),
        "wide": [
            {
                "name": r["artifact"].removeprefix("index/"),
                "different": r["different"],
                "elements": r["elements"],
                "unit": "bytes" if r["artifact"] == "index/residuals" else "values",
            }
            for r in unlike
            if r["verdict"] in {"different", "same set"}
        ],
        "shape": [r["artifact"] for r in unlike if r["verdict"] in {"shape mismatch", "missing"}],
    }
    evidence = (f"{part.at}/summary/final", *part.pointer(*(r["artifact"] for r in unlike)))
    return of_part(part, "files", "what", numbers, evidence, _posts(part))


def post(part: Part) -> Iterator[Finding]:
    """Yield how many rows of the post's tables have the same result here, in the precision that the post used."""
    known = [(r["artifact"], post["agrees"]) for r in part.data["artifacts"] if (post := r["post"])]
    rows = [(name, agrees) for name, agrees in known if agrees is not None]
    if not rows or part.data["precision"] != "autocast":
        return
    numbers = {"total": len(rows), "unlike": [name for name, agrees in rows if not agrees]}
    yield of_part(part, "post", "what", numbers, part.pointer(*(name for name, _ in rows)), _posts(part))


def _posts(part: Part) -> tuple[str, ...]:
    """Return the id of the experiment whose rows stand beside this precision's: ``F1`` for ``F1: post ...``."""
    rows = [post for r in part.data["artifacts"] if (post := r["post"])]
    return tuple(dict.fromkeys(post["source"].partition(":")[0] for post in rows))


def environments(report: Report, number: int, a: str, b: str) -> Iterator[Finding]:
    """Yield what differs between two environments beside torch and what it brings: it may be the reason too."""
    pair = report["pairs"][number]
    known = {e["name"]: e for e in report["environments"]}
    if not {pair["a"], pair["b"]} <= set(known):
        return
    unlike = beyond_torch([known[pair["a"]], known[pair["b"]]])
    if not unlike:
        return
    torch = [known[pair[side]]["torch"].get("version") for side in ("a", "b")]
    tokens = ("token_ids", "attention_mask")
    same = {r["verdict"] == "identical" for p in pair["precisions"] for r in p["artifacts"] if r["artifact"] in tokens}
    ruled_out = same == {True} and len(unlike) == 2 and "tokenizers" in unlike
    numbers = {
        # What is varied under one torch is the study's subject; whatever else differs may be the reason as well.
        "rival": torch[0] is None or torch[0] != torch[1] or not (ruled_out or len(unlike) == 1),
        "ruled_out": ruled_out,
        "torch": torch[0] if torch[0] == torch[1] else None,
        "changes": [{"name": name, "a": left, "b": right} for name, (left, right) in unlike.items()],
    }
    evidence = (f"/pairs/{number}/environment_differences", "/environments")
    yield Finding("environments", "what", pair["b"], a, b, numbers, evidence)


#: Against the least of the seeds, an upgrade that moves at most this share hardly moves anything.
HARDLY = 0.1
#: The chance of calling a measure changed that is not, over all measures of one comparison together.
LEVEL = 0.05


@dataclass(frozen=True)
class Search:
    """The searches of one precision.

    Attributes
    ----------
    data : mapping
        Its ``search``.
    at : str
        JSON pointer to it.
    """

    data: SearchRecord
    at: str

    def comparison(self, name: str) -> SearchComparison | None:
        """Return a comparison by its id: ``upgrade``, ``index``, ``torch``, ``seed-1``; None where it was not made."""
        return next((c for c in self.data["comparisons"] if c["id"] == name and c["queries"]), None)

    def pointer(self, *names: str) -> tuple[str, ...]:
        """Return JSON pointers to comparisons by id."""
        ids = [c["id"] for c in self.data["comparisons"]]
        return tuple(f"{self.at}/comparisons/{ids.index(name)}" for name in names if name in ids)

    @property
    def upgrade(self) -> SearchComparison:
        """A's torch on A's index against B's on B's."""
        return next(c for c in self.data["comparisons"] if c["id"] == "upgrade")

    @property
    def moved(self) -> int:
        """How many queries get another list."""
        return moved(self.upgrade)

    @property
    def kept(self) -> int | None:
        """How many get another list from B's torch on A's index, that is, where the old index is kept."""
        torch = self.comparison("torch")
        return moved(torch) if torch else None

    @property
    def seeds(self) -> list[int]:
        """How many get another list from A's index made again, for each other seed of k-means."""
        return [moved(c) for c in self.data["comparisons"] if c["kind"] == "seed"]

    @property
    def failed(self) -> list[SearchControls]:
        """Controls in which the same search gave something else."""
        return [c for c in self.data["controls"] if c["identical"] < c["queries"]]

    @property
    def measures(self) -> Sequence[MeasureChange]:
        """The upgrade's measures of quality; none where no query has judgements."""
        return self.upgrade["measures"] if self.data["judged"] else []

    @property
    def chief(self) -> MeasureChange | None:
        """The measure that stands for the others."""
        return chief(self.measures)

    @property
    def detected(self) -> list[MeasureChange]:
        """The measures that changed by more than chance explains, all of them judged together."""
        return [m for m, p in zip(self.measures, self.adjusted, strict=True) if p is not None and p < LEVEL]

    @property
    def adjusted(self) -> list[float | None]:
        """The measures' p-values as one family (Benjamini and Hochberg, JRSS B 57, 1995); None without a test."""
        return adjusted(self.measures, self.data["least_changed"])

    def few(self, measure: MeasureChange) -> bool:
        """Return whether too few queries changed a measure for the test to find it, or none did."""
        return changed(measure) < self.data["least_changed"]

    @property
    def beside_seeds(self) -> str | None:
        """``same``, ``hardly``, ``less``, ``as much`` or ``more`` than other seeds; None without seeds or lists."""
        yardstick = self.data["yardstick"]
        if not self.moved:
            return "same"
        figures = [(a, f) for f in (yardstick["figures"] if yardstick else []) if (a := agreement(f["name"]))]
        if not figures:
            return None
        verdicts = {figure["verdict"] for _, figure in figures}
        if verdicts == {"smaller"}:
            hardly = all(f["upgrade"] <= HARDLY * min(f["seeds"]) for a, f in figures if not a.falls)
            return "hardly" if hardly else "less"
        return "more" if verdicts == {"larger"} else "as much"

    @property
    def outcome(self) -> str:
        """What to say of search at once: quality first, where it is known to have changed, then the lists."""
        if self.failed:
            return "failed"
        ways = {m["difference"]["value"] > 0 for m in self.detected}
        if len(ways) == 1:
            return "better" if ways == {True} else "worse"
        return self.beside_seeds or "moved"


def moved(comparison: SearchComparison) -> int:
    """Return how many queries have another top k."""
    return comparison["queries"] - comparison["same_order"]


def changed(measure: MeasureChange) -> int:
    """Return how many queries a measure rose or fell for."""
    return measure["better"] + measure["worse"]


def adjusted(measures: Sequence[MeasureChange], least: int) -> list[float | None]:
    """Return p-values of measures of one comparison, corrected as one family; None where no test could tell."""
    tested = {n: p for n, m in enumerate(measures) if (p := m["p_permutation"]) is not None and changed(m) >= least}
    corrected = stats.false_discovery_control(list(tested.values())) if tested else ()
    known = dict(zip(tested, map(float, corrected), strict=True))
    return [known.get(n) for n in range(len(measures))]


def search(part: Part) -> Search | None:
    """Return a precision's searches, if both sides' indexes were searched."""
    return Search(part.search, f"{part.at}/search") if part.search else None


def searches(part: Part) -> Iterator[Finding]:
    """Yield what search makes of the upgrade: lists, quality, the way that a change takes, and margins."""
    searched = search(part)
    yield _lists(part, searched)
    if searched is None or searched.failed:
        return
    yield _quality(part, searched)
    ways = [searched.comparison(name) for name in ("index", "torch")]
    if searched.moved and all(ways):
        index, torch = (bool(moved(way)) for way in ways if way)
        numbers: dict[str, Any] = {
            "index": index,
            "torch": torch,
            "moved": searched.moved,
            "in_float64": searched.upgrade.get("in_float64"),
            "quality": _through_the_index(ways),
        }
        yield of_part(part, "way", "matter", numbers, searched.pointer("upgrade", "index", "torch"), ("I2", "I3"))
    flips = [(n, r) for n, r in enumerate(part.data.get("margins") or []) if r["left_out"] is None and r["flipped"]]
    if flips:
        numbers = {
            "flips": [
                {
                    "what": _DECISIONS[record["id"]],
                    "flipped": record["flipped"],
                    "looked_at": record["items"],
                    "within": record["explained"]["within"],
                }
                for _, record in flips
            ]
        }
        yield of_part(part, "margins", "matter", numbers, tuple(f"{part.at}/margins/{n}" for n, _ in flips))


def _through_the_index(ways: Sequence[SearchComparison | None]) -> str | None:
    """Return the chief measure's name where the index alone changes it for a query and search alone for none."""
    index, torch = (chief(way["measures"]) if way else None for way in ways)
    return index["measure"] if index and torch and changed(index) and not changed(torch) else None


def _lists(part: Part, searched: Search | None) -> Finding:
    alone = part.data["rankings"] or {"k": 0, "queries": 0, "same_order": 0, "queries_missing": 0}
    numbers: dict[str, Any] = {
        "k": alone["k"],
        "queries": alone["queries"],
        "moved": alone["queries"] - alone["same_order"],
        "missing": alone["queries_missing"],
        "tied": None,
        "swapped": None,
        "failed": 0,
        "seeds": [],
        "kept": None,
        "confidence": 0.95,
        "share": None,
        "low": None,
        "high": None,
        "beside_seeds": None,
    }
    if "searches" in part.report.get("pending", []):
        numbers["pending"] = True
    if part.step != "upgrade":
        numbers["step"] = part.step
    evidence: tuple[str, ...] = (f"{part.at}/rankings",)
    if searched is not None:
        estimate = searched.upgrade["changed_queries"]
        numbers |= {
            "k": searched.data["k"],
            "queries": searched.upgrade["queries"],
            "moved": searched.moved,
            "tied": searched.upgrade.get("tied"),
            "swapped": searched.upgrade["queries"] - searched.upgrade["same_set"],
            "failed": sum(c["queries"] - c["identical"] for c in searched.failed),
            "seeds": searched.seeds,
            "kept": searched.kept,
            "confidence": searched.data["confidence"],
            "beside_seeds": searched.beside_seeds,
            **{name: estimate[name] for name in ("share", "low", "high")},
        }
        evidence = (*searched.pointer("upgrade", "torch"), f"{searched.at}/yardstick")
    elif numbers["queries"]:
        low, high = stats.binomtest(numbers["moved"], numbers["queries"]).proportion_ci(numbers["confidence"])
        numbers |= {"share": numbers["moved"] / numbers["queries"], "low": float(low), "high": float(high)}
    sure = "inconclusive" if numbers["failed"] else "measured" if numbers["moved"] else "not detected"
    return of_part(part, "lists", "matter", numbers, evidence, ("I2", "I3", "I4"), sure)


def _quality(part: Part, searched: Search) -> Finding:
    chief = searched.chief
    numbers: dict[str, Any] = {"measure": None, "detected": [], "confidence": searched.data["confidence"]}
    if chief is not None:
        numbers |= {
            "measure": chief["measure"],
            "queries": changed(chief) + chief["equal"],
            "better": chief["better"],
            "worse": chief["worse"],
            "detectable": chief["detectable"],
            **chief["difference"],
            "few": searched.few(chief),
            "least": searched.data["least_changed"],
            "detected": [
                {"measure": m["measure"], **m["difference"], "better": m["better"], "worse": m["worse"]}
                for m in searched.detected
            ],
        }
    sure = "measured" if numbers["detected"] else "not detected"
    evidence = (*searched.pointer("upgrade"), f"{searched.at}/judged")
    return of_part(part, "quality", "matter", numbers, evidence, ("I2",), sure)


_DECISIONS = {"centroid": "tokens' centroids", "bucket": "residual buckets", "rank": "top lists"}
