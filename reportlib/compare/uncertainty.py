"""How sure a mean over queries is: bootstrap intervals, a permutation test, a sign test, and what could have been seen.

The numbers are the same bytes on every machine. Random bits are PCG64's own, whose stream numpy keeps from version to
version, unlike that of a `Generator`'s methods. Sums are over whole numbers (values in units of their last decimal)
that a float64 holds exactly, so neither the order of a sum nor the BLAS library that adds it up shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from reportlib.shape import Estimate, SearchComparisonChangedQueries
from reportlib.words.formats import unseen_share

# How far numbers of a report's search part are given: enough to read, and the same on every machine.

#: A logarithm's last bit is the C library's own choice; nothing that a person would act on is finer than this.
DECIMALS = 9


def rounded(number: float) -> float:
    """Return `number` to `DECIMALS` decimals; negative zero becomes zero."""
    return round(float(number), DECIMALS) + 0.0


def significant(number: float) -> float:
    """Return `number` to `DECIMALS` significant digits: a p-value, however small, does not become zero."""
    return float(f"{float(number):.{DECIMALS}g}")


RESAMPLES = 10_000
CONFIDENCE = 0.95
POWER = 0.8
#: With fewer changed queries no way to sign them is rare enough: 2 of 2**5 are 6.25 %.
LEAST_CHANGED = math.ceil(math.log2(2 / (1 - CONFIDENCE)))
_SEEDS = {"bootstrap": 20_260_101, "permutation": 20_260_102}
#: Elements of a block of resamples: bounds the memory, whatever the number of queries.
_BLOCK = 1 << 20

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over queries with the ends of its interval."""

    value: float
    low: float
    high: float

    def record(self) -> Estimate:
        """Return it as a report has it."""
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


def mean(column: Floats) -> float:
    """Return the mean of float64 (queries,), the same as `bootstrap` has it."""
    whole, scale = _whole(column)
    return rounded(float(whole.sum()) / (len(column) * scale))


def bootstrap(columns: Floats) -> list[Mean]:
    """Estimate the mean of each column, with a percentile bootstrap interval over the rows.

    Whole rows are drawn, so columns that were measured on the same queries stay paired; a difference of two rankings
    gets its interval from its own column of differences. The percentile interval is taken because it needs nothing of
    the data: most differences here are exactly zero, where BCa's correction for skewness would rest on a handful of
    changed queries, and is undefined where there is none. Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, chapter 13.

    Parameters
    ----------
    columns : numpy.ndarray
        float64 (queries, columns), at least one query.

    Returns
    -------
    list of Mean
        One for each column.
    """
    n = len(columns)
    whole, scale = _whole(columns)
    sums = np.concatenate([counts @ whole for counts in _resampled(n)])
    sums.sort(axis=0)
    tail = int(len(sums) * (1 - CONFIDENCE) / 2)
    rows = (whole.sum(axis=0), sums[tail], sums[len(sums) - 1 - tail])
    return [Mean(*ends) for ends in zip(*(row / (n * scale) for row in rows), strict=True)]


def few_changed(estimate: Mean, changes: Floats) -> Mean:
    """Replace a bootstrap interval that rests on the changes of a handful of queries.

    With two changed queries of 400, a bootstrap sees nothing but these two: both for the worse, and its interval
    excludes that the mean could get better. The share of queries that change is known better than their changes are.
    So the ends are that share's Clopper-Pearson bound times the largest change seen, in either direction.

    Parameters
    ----------
    estimate : Mean
        Of the mean of `changes`.
    changes : numpy.ndarray
        float64 (queries,), 0 where nothing changed.

    Returns
    -------
    Mean
        `estimate` itself where no query, or at least `LEAST_CHANGED`, changed.
    """
    changed = int(np.count_nonzero(changes))
    if not 0 < changed < LEAST_CHANGED:
        return estimate
    widest = counted(changed, len(changes))["high"] * float(np.abs(changes).max())
    return Mean(estimate.value, -widest, widest)


def one_sided_few(estimate: Mean, values: Floats, unchanged: float) -> Mean:
    """As `few_changed`, for values (float64 (queries,)) that can move to one side of `unchanged` only.

    The nearer end is the share's lower bound times the smallest change seen.
    """
    changes = np.abs(values - unchanged)
    changed = int(np.count_nonzero(changes))
    if not 0 < changed < LEAST_CHANGED:
        return estimate
    known = counted(changed, len(values))
    near, far = known["low"] * float(changes[changes > 0].min()), known["high"] * float(changes.max())
    low, high = (near, far) if estimate.value > unchanged else (-far, -near)
    return Mean(estimate.value, unchanged + low, unchanged + high)


def permutation_p(differences: Floats) -> list[float | None]:
    """Test for each column whether the mean of paired differences is zero, by flipping their signs.

    Two-sided. Where the differences that are not zero have no more than `RESAMPLES` ways to be signed, all are counted;
    otherwise as many are drawn, and p is (1 + as extreme) / (1 + drawn), so that it is never zero (Phipson and
    Smyth 2010).

    Parameters
    ----------
    differences : numpy.ndarray
        float64 (queries, columns).

    Returns
    -------
    list of float or None
        One for each column; None where every difference is zero: there is nothing to flip.
    """
    whole, _ = _whole(differences)
    changed = np.count_nonzero(whole, axis=0)
    # A value is right to one unit: sums that would tie, but for that, count as tied.
    observed = np.abs(whole.sum(axis=0)) - 2 * changed
    drawn = changed > int(math.log2(RESAMPLES))
    extreme = np.zeros(whole.shape[1], np.int64)
    for signs in _signs(len(whole)) if drawn.any() else ():
        extreme += np.count_nonzero(np.abs(signs @ whole) >= observed, axis=0)
    chances: list[float | None] = []
    for column, count in enumerate(changed):
        if not count:
            chances.append(None)
        elif drawn[column]:
            chances.append(significant((1 + int(extreme[column])) / (1 + RESAMPLES)))
        else:
            values = whole[:, column]
            chances.append(significant(_exact(values[values != 0], observed[column])))
    return chances


def sign_p(better: int, worse: int) -> float | None:
    """Test whether more queries got better than worse, or the other way: the sign test, two-sided and exact.

    Queries that are equal say nothing.
    """
    if not better + worse:
        return None
    return significant(float(stats.binomtest(better, better + worse).pvalue))


def detectable(differences: Floats) -> float | None:
    """Return the smallest mean difference that a paired t-test over these queries would likely have seen.

    With `POWER`, two-sided at 1 - `CONFIDENCE`, for differences that scatter as these do. A guide, since it is the
    permutation test that decides; the two agree where many queries change:
    ``(t(0.975) + t(0.8)) * s / sqrt(n)``, where t are Student's quantiles of n - 1 degrees of freedom and s is the
    standard deviation.

    Parameters
    ----------
    differences : numpy.ndarray
        float64 (queries,).

    Returns
    -------
    float or None
        None where fewer than `LEAST_CHANGED` queries changed, or all by the same: their scatter is no guide.
    """
    n = len(differences)
    if np.count_nonzero(differences) < LEAST_CHANGED:
        return None
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (n - 1))
    if rounded(spread) == 0:
        return None
    quantiles = sum(float(special.stdtrit(n - 1, level)) for level in (1 - (1 - CONFIDENCE) / 2, POWER))
    return rounded(quantiles * spread / math.sqrt(n))


def counted(count: int, n: int) -> SearchComparisonChangedQueries:
    """Return `count` of `n` queries as a share with its Clopper-Pearson interval.

    Where none or all are counted, one end cannot be wrong, and the other is the one-sided bound: with none changed it
    is `unchanged_bound`, so that one count has one bound wherever it is told.

    Returns
    -------
    dict
        ``share``, ``low`` and ``high``, as a report has them.
    """
    if count in {0, n}:
        bound = unchanged_bound(n)
        low, high = (0.0, bound) if not count else (1 - bound, 1.0)
        return {"share": rounded(count / n), "low": rounded(low), "high": high}
    interval = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return {"share": rounded(count / n), "low": rounded(interval.low), "high": rounded(interval.high)}


def unchanged_bound(n: int) -> float:
    """Return the largest share of queries that could change without any of `n` drawn ones showing it."""
    return rounded(unseen_share(n, CONFIDENCE))


def _whole(columns: Floats) -> tuple[Floats, float]:
    """Return columns in whole units whose sums stay below 2**53, and how many units make 1."""
    largest = float(np.abs(columns).max(initial=0.0)) * max(len(columns), 1)
    scale = 10.0**DECIMALS
    while largest * scale > 2.0**52:
        scale /= 10
    return np.rint(columns * scale), scale


def _resampled(n: int) -> Iterator[Floats]:
    """Yield blocks of resamples: how often each of `n` rows was drawn, float64 (resamples, n)."""
    stream = np.random.PCG64(_SEEDS["bootstrap"])
    for size in _blocks(n):
        # The upper 32 bits times n: uniform to within n / 2**32, and no draw is ever thrown away.
        drawn = (((stream.random_raw(size * n) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)).astype(np.int64)
        drawn += np.repeat(np.arange(size) * n, n)
        yield np.bincount(drawn, minlength=size * n).reshape(size, n).astype(np.float64)


def _signs(n: int) -> Iterator[Floats]:
    """Yield blocks of random signs, float64 (draws, n)."""
    stream = np.random.PCG64(_SEEDS["permutation"])
    words = -(-n // 64)
    for size in _blocks(n):
        raw = stream.random_raw(size * words).astype("<u8").reshape(size, words)
        yield np.unpackbits(raw.view(np.uint8), axis=1)[:, :n].astype(np.float64) * 2 - 1


def _blocks(n: int) -> Iterator[int]:
    size = max(_BLOCK // n, 1)
    for start in range(0, RESAMPLES, size):
        yield min(size, RESAMPLES - start)


def _exact(values: Floats, observed: float) -> float:
    """Return p over every way to sign `values`, none of which is zero."""
    numbers = np.arange(2 ** len(values))
    signs = (numbers[:, None] >> np.arange(len(values)) & 1) * 2.0 - 1.0
    return float(np.mean(np.abs(signs @ values) >= observed))
