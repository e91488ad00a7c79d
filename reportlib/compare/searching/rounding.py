"""How far numbers of a report's search part are given: enough to read, and the same on every machine."""

from __future__ import annotations

#: A logarithm's last bit is the C library's own choice; nothing that a person would act on is finer than this.
DECIMALS = 9


def rounded(number: float) -> float:
    """Return `number` to `DECIMALS` decimals; negative zero becomes zero."""
    return round(float(number), DECIMALS) + 0.0


def significant(number: float) -> float:
    """Return `number` to `DECIMALS` significant digits: a p-value, however small, does not become zero."""
    return float(f"{number:.{DECIMALS}g}")
