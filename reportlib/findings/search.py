"""What the searches of one precision say: lists that moved beside other seeds of k-means, quality, the old index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from reportlib.findings.finding import Finding, of_part
from reportlib.findings.parts import Part
from reportlib.measures import agreement, chief
from reportlib.shape import Margin, MeasureChange, SearchComparison, SearchControls
from reportlib.shape import Search as SearchRecord

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


def findings(part: Part) -> Iterator[Finding]:
    """Yield what search makes of the upgrade: lists, quality, the way that a change takes, and margins."""
    found = search(part)
    yield _lists(part, found)
    if found is None or found.failed:
        return
    yield _quality(part, found)
    ways = [found.comparison(name) for name in ("index", "torch")]
    if found.moved and all(ways):
        index, torch = (bool(moved(way)) for way in ways if way)
        yield of_part(
            part, "way", "matter", {"index": index, "torch": torch}, found.pointer("index", "torch"), ("I2", "I3")
        )
    flips = [(n, r) for n, r in enumerate(part.data.get("margins") or []) if r["left_out"] is None and r["flipped"]]
    if flips:
        numbers = {"flips": [_flips(record) for _, record in flips]}
        yield of_part(part, "margins", "matter", numbers, tuple(f"{part.at}/margins/{n}" for n, _ in flips))


def _lists(part: Part, found: Search | None) -> Finding:
    alone = part.data["rankings"] or {"k": 0, "queries": 0, "same_order": 0, "queries_missing": 0}
    numbers: dict[str, Any] = {
        "k": alone["k"],
        "queries": alone["queries"],
        "moved": alone["queries"] - alone["same_order"],
        "missing": alone["queries_missing"],
        "tied": None,
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
    evidence: tuple[str, ...] = (f"{part.at}/rankings",)
    if found is not None:
        estimate = found.upgrade["changed_queries"]
        numbers |= {
            "k": found.data["k"],
            "queries": found.upgrade["queries"],
            "moved": found.moved,
            "tied": found.upgrade.get("tied"),
            "failed": sum(c["queries"] - c["identical"] for c in found.failed),
            "seeds": found.seeds,
            "kept": found.kept,
            "confidence": found.data["confidence"],
            "beside_seeds": found.beside_seeds,
            **{name: estimate[name] for name in ("share", "low", "high")},
        }
        evidence = (*found.pointer("upgrade", "torch"), f"{found.at}/yardstick")
    elif numbers["queries"]:
        low, high = stats.binomtest(numbers["moved"], numbers["queries"]).proportion_ci(numbers["confidence"])
        numbers |= {"share": numbers["moved"] / numbers["queries"], "low": float(low), "high": float(high)}
    sure = "inconclusive" if numbers["failed"] else "measured" if numbers["moved"] else "not detected"
    return of_part(part, "lists", "matter", numbers, evidence, ("I2", "I3", "I4"), sure)


def _quality(part: Part, found: Search) -> Finding:
    chief = found.chief
    numbers: dict[str, Any] = {"measure": None, "detected": [], "confidence": found.data["confidence"]}
    if chief is not None:
        numbers |= {
            "measure": chief["measure"],
            "queries": changed(chief) + chief["equal"],
            "better": chief["better"],
            "worse": chief["worse"],
            "detectable": chief["detectable"],
            **chief["difference"],
            "few": found.few(chief),
            "least": found.data["least_changed"],
            "detected": [
                {"measure": m["measure"], **m["difference"], "better": m["better"], "worse": m["worse"]}
                for m in found.detected
            ],
        }
    sure = "measured" if numbers["detected"] else "not detected"
    return of_part(part, "quality", "matter", numbers, (*found.pointer("upgrade"), f"{found.at}/judged"), ("I2",), sure)


_DECISIONS = {"centroid": "tokens' centroids", "bucket": "residual buckets", "rank": "top lists"}


def _flips(record: Margin) -> dict[str, Any]:
    return {
        "what": _DECISIONS[record["id"]],
        "flipped": record["flipped"],
        "looked_at": record["items"],
        "within": record["explained"]["within"],
    }
