"""How findings name things: numbers with their nouns, lists, versions, precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# What a sample in which nothing changed leaves open: one bound for findings, page, margins and gate.


def unseen_share(number: int, confidence: float) -> float:
    """Return the largest share of changes that a sample without one is likely to miss.

    The exact one-sided binomial bound (Clopper and Pearson, "The use of confidence or fiducial limits illustrated in
    the case of the binomial", Biometrika 26, 1934, at a count of zero): with a larger share, at least one of `number`
    would have changed in more than `confidence` of all samples.

    Parameters
    ----------
    number : int
        Queries, or other items, that were looked at; at least one.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    float
        ``1 - (1 - confidence) ** (1 / number)``: about 3 / `number` at 95 %.
    """
    return float(1 - (1 - confidence) ** (1 / number))


#: A percent sign with the space before it, which no line may end at.
_PERCENT = "\N{NO-BREAK SPACE}%"

_IRREGULAR = {
    "query": "queries",
    "further query": "further queries",
    "judged query": "judged queries",
    "pass": "passes",
}


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 passage``, ``4,162 indices`` (regular plurals in s)."""
    return f"{number:,} {noun if number == 1 else _IRREGULAR.get(noun, noun + 's')}"


def listing(items: Iterable[str], most: int = 8) -> str:
    """Return ``a, b and c``; what exceeds `most` is counted."""
    known = list(items)
    if len(known) > most:
        known = [*known[: most - 1], f"{len(known) - most + 1} more"]
    if len(known) < 2:
        return "".join(known)
    return f"{', '.join(known[:-1])} and {known[-1]}"


def code(names: Iterable[str], most: int = 8) -> str:
    """Return names as code, listed; ``index/codes`` is written ``codes``."""
    return listing([f"`{name.removeprefix('index/')}`" for name in names], most)


def factor(ratio: float | None) -> float | None:
    """Return how many times the smaller of two errors goes into the larger; None where one of them is zero."""
    return max(ratio, 1 / ratio) if ratio else None


def times(number: float | None) -> str:
    """Return a factor as a reader says it: ``1.3``, ``24``, ``1,200``; empty for none."""
    if number is None:
        return ""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}" if rounded >= 1 else f"{rounded:.2g}"


def percent(share: float) -> str:
    """Return a share as a percentage of two digits, with a no-break space: ``0.25 %``, ``3.1 %``, ``100 %``."""
    value = 100 * share
    return f"{value:.0f}{_PERCENT}" if value >= 10 else f"{value:.2g}{_PERCENT}"


def small(number: float) -> str:
    """Return a number of two digits below one, and three above: ``0.0042``, ``1.33``."""
    return f"{number:.2g}" if abs(number) < 1 else f"{number:.3g}"


def signed(number: float) -> str:
    """Return a change with its sign: ``+0.0042``, ``−0.011``, ``0``."""
    return f"{'+' if number > 0 else '−'}{small(abs(number))}" if number else "0"


def unseen(queries: int, confidence: float) -> str:
    """Return as a percentage what share of queries could change without any of `queries` drawn ones showing it."""
    return percent(unseen_share(queries, confidence))


def between(low: float, high: float, said: Callable[[float], str] = small) -> str:
    """Return two ends as `said`, the unit once: ``0.0012 to 0.3``, ``1.6 to 5.2 %``; one where they read the same."""
    first, last = said(low), said(high)
    return last if first == last else f"{first.removesuffix(_PERCENT)} to {last}"


def interval(low: float, high: float, confidence: float, said: Callable[[float], str] = small) -> str:
    """Return an interval and how sure it is: ``95 % interval 1.6 to 5.2 %``."""
    return f"{percent(confidence)} interval {said(low).removesuffix(_PERCENT)} to {said(high)}"


#: Verdicts, from best to worst.
VERDICTS = ("identical", "close", "same set", "different", "shape mismatch", "missing")
