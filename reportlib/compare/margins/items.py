"""Items with a margin each, and what they say together about whether flips go with small margins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Record = dict[str, Any]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: How sure the intervals are, and the power with which a `detectable` area is seen at 5 %.
CONFIDENCE, POWER = 0.95, 0.8
QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9)
#: Bins of equal counts, and the fewest items in one.
BINS, LEAST = 12, 10
#: Pairs of a flipped and an unflipped item up to which a test may count all their orders: a moment's work.
EXACT_PAIRS = 20_000
#: A bin is halved while it holds more than a quarter of all flips, and more flips than this.
_MANY_FLIPS = 20


@dataclass(frozen=True)
class Items:
    """Decisions of one kind: how far each was from falling the other way, and whether it did.

    Attributes
    ----------
    margin : numpy.ndarray
        float64, one an item: A's. Negative where A's own rounding decided.
    drop : numpy.ndarray
        float64: A's margin minus B's margin for the same two candidates; NaN where B's is not known.
    flipped : numpy.ndarray
        bool: whether B decided otherwise.
    of : int
        How many items there are in all, looked at or not.
    alike : numpy.ndarray or None
        bool: whether what was decided upon has the same value on both sides, so that only the other part of the
        decision moved; None where that is not asked.
    """

    margin: Doubles
    drop: Doubles
    flipped: Flags
    of: int
    alike: Flags | None = None

    def finite(self) -> Items:
        """Return the items that have a margin: that of an embedding with a NaN is none."""
        kept = np.isfinite(self.margin)
        if kept.all():
            return self
        alike = None if self.alike is None else self.alike[kept]
        return Items(self.margin[kept], self.drop[kept], self.flipped[kept], self.of, alike)


def left_out(name: str, why: str) -> Record:
    """Return the record of a kind of decision that could not be looked at, and why."""
    numbers = dict.fromkeys(("flip_rate", "unseen", "margin", "change", "auc", "p", "detectable", "half"))
    return {
        "id": name,
        "left_out": why,
        "items": 0,
        "of": 0,
        "flipped": 0,
        **numbers,
        "explained": {"within": 0, "of": 0, "unknown": 0, "alike": None},
        "bins": [],
        "same_ids": None,
        "k": None,
    }


def record(name: str, found: Items) -> Record:
    """Return what the items say, as ``reports/SCHEMA.md`` describes it.

    Parameters
    ----------
    name : str
        ``centroid``, ``bucket`` or ``rank``.
    found : Items
        Of any number; without one that has a margin the record says that it was left out.

    Returns
    -------
    dict
        Plain values, floats rounded to nine significant digits.
    """
    items = found.finite()
    if not items.margin.size:
        return left_out(name, "There is nothing with a margin to look at.")
    number, flips = items.margin.size, int(items.flipped.sum())
    known = np.abs(items.drop[np.isfinite(items.drop)])
    flipped_margins, flipped_drops = items.margin[items.flipped], items.drop[items.flipped]
    return left_out(name, "") | {
        "left_out": None,
        "items": number,
        "of": items.of,
        "flipped": flips,
        "flip_rate": rounded(flips / number),
        "unseen": rounded(_unseen(number)) if flips == 0 and number < items.of else None,
        "margin": {"median": rounded(np.median(items.margin)), "quantiles": _quantiles(items.margin, QUANTILES)},
        "change": _quantiles(known, (0.99,)) | _ends(known) if known.size else None,
        **area(items),
        "explained": {
            # Not known is NaN, which nothing is within.
            "within": int((flipped_margins <= flipped_drops).sum()),
            "of": flips,
            "unknown": int(np.isnan(flipped_drops).sum()),
            "alike": None if items.alike is None else int((items.flipped & items.alike).sum()),
        },
        "bins": list(_bins(items)),
        "half": rounded(np.median(flipped_margins)) if flips else None,
    }


def rounded(value: Any) -> float:
    """Return nine significant digits of `value`, so that the last bit of a machine's sums is not in a report."""
    return float(f"{float(value):.9g}")


def _quantiles(values: Doubles, shares: tuple[float, ...]) -> dict[str, float]:
    return {f"{share:g}": rounded(found) for share, found in zip(shares, np.quantile(values, shares), strict=True)}


def _ends(known: Doubles) -> Record:
    return {"median": rounded(np.median(known)), "max": rounded(known.max()), "known": known.size}


def _unseen(number: int) -> float:
    """Return the share of flips at which `number` items without one are as unlikely as 1 in 20."""
    return float(stats.binomtest(0, number, alternative="less").proportion_ci(CONFIDENCE, "exact").high)


def area(items: Items) -> Record:
    """Return how well a small margin tells flipped items from the others.

    Returns
    -------
    dict
        ``auc``: the area under the ROC curve, the probability that a flipped item's margin is below an unflipped one's,
        ties counting half (Mann and Whitney's statistic over its largest value). ``p``: of its two-sided test against
        0.5. ``detectable``: the smallest area above 0.5 that these many items show at 5 % with a power of 80 %
        (Noether, "Sample size determination for some common nonparametric tests", JASA 82, 1987). All None where no
        item or every item flipped.
    """
    below, above = items.margin[items.flipped], items.margin[~items.flipped]
    if not (below.size and above.size):
        return {"auc": None, "p": None, "detectable": None}
    pairs = below.size * above.size
    # Of a few flips the normal approximation is far off; scipy's "auto" counts them out where there are no ties.
    method = "auto" if pairs <= EXACT_PAIRS else "asymptotic"
    tested = stats.mannwhitneyu(below, above, alternative="two-sided", method=method)
    needed = stats.norm.ppf(1 - (1 - CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    smallest = 0.5 + needed / np.sqrt(12 * pairs / items.margin.size)
    return {
        "auc": rounded(1 - tested.statistic / pairs),
        # scipy 1.18 has no p, and 1.17 has 1, where every margin is the same number: such margins have no order.
        "p": 1.0 if items.margin.min() == items.margin.max() else rounded(tested.pvalue),
        "detectable": rounded(smallest) if smallest <= 1 else None,
    }


def _bins(items: Items) -> Iterator[Record]:
    order = np.argsort(items.margin, kind="stable")
    margins = items.margin[order]
    flips = np.concatenate(([0], np.cumsum(items.flipped[order])))
    edges = _edges(margins, flips)
    for start, stop in pairwise(edges):
        number, flipped = stop - start, int(flips[stop] - flips[start])
        sure = stats.binomtest(flipped, number).proportion_ci(CONFIDENCE, "wilson")
        yield {
            "low": rounded(margins[start]),
            "high": rounded(margins[stop - 1]),
            "items": number,
            "flipped": flipped,
            "rate": rounded(flipped / number),
            "rate_low": rounded(sure.low),
            "rate_high": rounded(sure.high),
        }


def _edges(margins: Doubles, flips: npt.NDArray[np.int64]) -> list[int]:
    """Return where bins of the sorted `margins` start and end; equal margins are never parted."""
    total = len(margins)
    count = min(BINS, max(1, total // LEAST))
    edges = [0, total]
    for number in range(count - 1, 0, -1):
        edges[1:1] = _cut(margins, 0, total * number // count, edges[1])
    many = max(int(flips[-1]) // 4, _MANY_FLIPS)
    # Flips are rare and lie at the smallest margins: bins of equal counts alone would put all of them into one.
    place = 0
    while place < len(edges) - 1:
        start, stop = edges[place : place + 2]
        middle = _cut(margins, start, (start + stop) // 2, stop) if flips[stop] - flips[start] > many else []
        edges[place + 1 : place + 1] = middle
        place += not middle
    return edges


def _cut(margins: Doubles, start: int, place: int, stop: int) -> list[int]:
    """Return the cut nearest to `place` that parts no equal margins and leaves enough items on both sides, or none."""
    ends = [int(np.searchsorted(margins, margins[place], side)) for side in ("left", "right")]
    fitting = [end for end in ends if end - start >= LEAST and stop - end >= LEAST]
    return sorted(fitting, key=lambda end: abs(end - place))[:1]
