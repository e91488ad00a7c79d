"""Numbers, shapes and lists as a reader reads them. Every number on a page passes through here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

#: What stands where a measurement does not apply.
ABSENT = "–"


def count(value: int | None) -> str:
    """Return an exact whole number with thousands separators: ``3,276,800``."""
    return ABSENT if value is None else f"{value:,}".replace("-", "−")


def amount(value: float | None, digits: int = 2) -> str:
    """Return a measured number in as few characters as its size allows.

    Parameters
    ----------
    value : float or None
        Any number; ``None`` where there is none.
    digits : int
        Significant digits.

    Returns
    -------
    str
        ``0`` only for exactly zero; ``1.2e-07`` below a thousandth and from a million on; ``0.012`` between.
    """
    if value is None:
        return ABSENT
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    # Rounded first, so that 0.000999 and 999,999.9 land on the side of the boundary that they are shown on.
    rounded = float(f"{value:.{digits - 1}e}")
    if 1e-3 <= abs(rounded) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
        text = f"{rounded:,.{places}f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return f"−{text[1:]}" if text.startswith("-") else text


def decimals(value: float | None, places: int = 3, *, signed: bool = False) -> str:
    """Return a number with a fixed number of decimals, so that those of a column can be set side by side.

    Parameters
    ----------
    value : float or None
        Any number; ``None`` where there is none.
    places : int
        Decimals.
    signed : bool
        Whether a positive number gets a plus sign.

    Returns
    -------
    str
        ``0`` and ``1`` only for exactly these: 0.9998 would round to 1 and 0.0002 to nothing, so they get as many
        decimals as they need, and below a millionth `amount` writes them.
    """
    if value is None or not math.isfinite(value) or value == 0:
        return amount(value)
    size = abs(value)
    if size == round(size):
        text = f"{size:,.0f}"
    else:
        telling = (n for n in range(places, 7) if round(size, n) != round(size))
        enough = next(telling, None)
        text = f"{size:,.{enough}f}" if enough is not None else amount(size, 1)
    return f"{'−' if value < 0 else '+' if signed else ''}{text}"


def of(part: int | None, whole: int | None) -> str:
    """Return ``3 of 3,276,800``, ``none of 96`` or ``all 96``: exact, however large the numbers."""
    if part is None or whole is None:
        return ABSENT
    if whole == 0:
        return "0 of 0"
    if part == 0:
        return f"none of {count(whole)}"
    if part == whole:
        return f"all {count(whole)}"
    return f"{count(part)} of {count(whole)}"


def percent(part: int | None, whole: int | None) -> str:
    """Return a share that says 0 % only when it is none and 100 % only when it is all."""
    if part is None or not whole:
        return ABSENT
    if part in {0, whole}:
        return "100 %" if part else "0 %"
    share = 100 * part / whole
    if share < 0.1:
        return "<0.1 %"
    if share > 99.9:
        return ">99.9 %"
    return f"{share:.1f} %" if share < 10 or share > 90 else f"{share:.0f} %"


def distance(value: int | None, largest: float | None = None, kind: str | None = None) -> str:
    """Return a distance in units in the last place, or ``across zero`` where the number would tell nothing.

    Parameters
    ----------
    value : int or None
        The largest distance between two values of a tensor.
    largest : float, optional
        Their largest absolute difference.
    kind : str, optional
        Their dtype.

    Returns
    -------
    str
        Of two values with one sign that are at most `largest` apart, none are further from each other than 0 is from
        `largest`, as floats are the denser the nearer they are to zero. A greater distance lies across zero, between
        two values of unlike sign: it counts almost all numbers there are, however little the values differ.
    """
    if not value or largest is None or kind not in {"float32", "bfloat16", "float16"}:
        return count(value)
    # One more, for `largest` may itself lie between two floats.
    return "across zero" if value > _steps(largest, kind) + 1 else count(value)


def _steps(number: float, kind: str) -> int:
    """Return how many floats lie between zero and a positive number."""
    with np.errstate(over="ignore"):
        if kind == "float16":
            return int(np.asarray(number, np.float16).view(np.uint16))
        bits = int(np.asarray(number, np.float32).view(np.uint32))
    return bits if kind == "float32" else bits >> 16


def size(value: int | None) -> str:
    """Return a number of bytes as a person says it: ``78 kB``, ``512 MB``, ``4.5 GB`` (powers of ten)."""
    if value is None:
        return ABSENT
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if value >= unit:
            return f"{amount(value / unit, 2 if value < 10 * unit else 3)} {name}"
    return f"{count(value)} bytes"


def shape(value: Sequence[int] | None) -> str:
    """Return a tensor's shape as torch prints it; ``scalar`` for none at all."""
    if value is None:
        return ABSENT
    return f"[{', '.join(count(n) for n in value)}]" if value else "scalar"


def dtype(value: str | None) -> str:
    """Return a tensor's dtype in the post's spelling (``torch.float16``); a Python type's name as it is."""
    if value is None:
        return ABSENT
    if value == "bool" or re.fullmatch(r"(u?int|b?float)\d+", value):
        return f"torch.{value}"
    return value


def largest(value: float | None, kind: str) -> str:
    """Return the largest difference of integers, which is exact, or of floats, which is a measured number."""
    if value is None or kind == "float" or value != int(value):
        return amount(value)
    return count(int(value))


def plural(number: int, noun: str, many: str | None = None) -> str:
    """Return ``1 query``, ``2 queries``: the number with the right form of its noun."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """Return ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def excerpt(text: str, limit: int = 80) -> str:
    """Return `text` on one line, cut at a word with an ellipsis when it is longer than `limit` characters."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    head = flat[: limit - 1]
    return f"{head.rsplit(' ', 1)[0] if ' ' in head else head}…"
