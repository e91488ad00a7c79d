"""Numbers, shapes and lists as a reader reads them, one rule for each, and templates of sentences filled with them.

A template is prose that an editor can read. What it makes is never cut or rewritten afterwards.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jinja2
import numpy as np

#: What stands where a measurement does not apply.
ABSENT = "–"
#: A percent sign with the space before it, which no line may end at.
_PERCENT = "\N{NO-BREAK SPACE}%"
_IRREGULAR = {"query": "queries", "pass": "passes"}


def count(value: int | None) -> str:
    """Return an exact whole number with thousands separators: ``3,276,800``."""
    return ABSENT if value is None else f"{value:,}".replace("-", "−")


def amount(value: float | None, digits: int = 2, least: float = 1e-3) -> str:
    """Return a measured number in as few characters as its size allows.

    Parameters
    ----------
    value : float or None
        Any number; ``None`` where there is none.
    digits : int
        Significant digits.
    least : float
        Below this a number gets an exponent.

    Returns
    -------
    str
        ``0`` only for exactly zero; ``1.2e-7`` below a thousandth and from a million on; ``0.012`` between.
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
    if least <= abs(rounded) < 1e6:
        after_point = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
        text = f"{rounded:,.{after_point}f}"
    else:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return f"−{text[1:]}" if text.startswith("-") else text


def at_most(value: float) -> str:
    """Return a bound of two digits that a positive number does not exceed: ``≤ 2.5e-4`` for 0.000243."""
    return f"≤\N{NO-BREAK SPACE}{rounded_up(value)}"


def rounded_up(value: float | None) -> str:
    """Return the number of `at_most`, for a sentence that says "at most" itself."""
    if value is None or not 0 < value < math.inf:
        return amount(value)
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    # 0.3 / 0.1 is a little less than 3.
    return amount(math.ceil(round(value / step, 9)) * step, 2)


def decimals(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number with a fixed number of decimals, so that those of a column can be set side by side.

    Parameters
    ----------
    value : float or None
        Any number; ``None`` where there is none.
    digits : int
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
        telling = (n for n in range(digits, 7) if round(size, n) != round(size))
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


def percent_of(part: int | None, whole: int | None) -> str:
    """Return a count as a percentage of the whole, by the rule of `percent`."""
    return ABSENT if part is None or not whole else percent(part / whole)


def percent(value: float | None) -> str:
    """Return a share in per cent, of two digits: ``0.75 %``, ``3.0 %``, ``48 %``.

    0 and 100 stand only where it is none or all. Above 99 % it has a decimal, and above 99.9 % it is called so.
    """
    if value is None:
        return ABSENT
    number = 100 * value
    if number in {0, 100}:
        return f"{number:.0f}{_PERCENT}"
    if number > 99.9:
        return f">99.9{_PERCENT}"
    if number < 1:
        return f"{amount(number)}{_PERCENT}"
    return f"{number:.1f}{_PERCENT}" if number < 9.95 or number > 99 else f"{number:.0f}{_PERCENT}"


def signed(value: float) -> str:
    """Return a change with its sign: ``+0.0042``, ``−0.011``, ``0``."""
    text = amount(value, least=1e-5)
    return f"+{text}" if value > 0 else text


def between(low: float, high: float, write: Callable[[float], str] = amount) -> str:
    """Return two ends, the unit once: ``0.0012 to 0.3``, ``1.6 to 5.2 %``; one where they read the same."""
    first, last = write(low), write(high)
    return last if first == last else f"{first.removesuffix(_PERCENT)} to {last}"


def interval(low: float, high: float, confidence: float, write: Callable[[float], str] = amount) -> str:
    """Return an interval and how sure it is: ``95 % interval 1.6 to 5.2 %``."""
    return f"{100 * confidence:.0f}{_PERCENT} interval {write(low).removesuffix(_PERCENT)} to {write(high)}"


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


def unseen(queries: int, confidence: float) -> str:
    """Return in per cent what share of queries could change without any of `queries` drawn ones showing it."""
    return percent(unseen_share(queries, confidence))


def factor(ratio: float | None) -> float | None:
    """Return how many times the smaller of two errors goes into the larger; None where one of them is zero."""
    return max(ratio, 1 / ratio) if ratio else None


def multiple(number: float | None) -> str:
    """Return a factor as a reader says it: ``1.3``, ``24``, ``1,200``; empty for none."""
    if number is None:
        return ""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}" if rounded >= 1 else f"{rounded:.2g}"


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


def plural(number: int, noun: str, many: str = "") -> str:
    """Return ``1 query``, ``2 queries``, ``3 judged queries``: the number with the right form of its noun."""
    before, space, last = noun.rpartition(" ")
    return f"{count(number)} {noun if number == 1 else many or before + space + _IRREGULAR.get(last, last + 's')}"


def listing(items: Iterable[str], last: str = "and", most: int | None = None) -> str:
    """Return ``a, b and c``; what exceeds `most` is counted: ``a, b and 7 more``."""
    known = list(items)
    if most is not None and len(known) > most:
        known = [*known[: most - 1], f"{len(known) - most + 1} more"]
    if len(known) < 2:
        return "".join(known)
    return f"{', '.join(known[:-1])} {last} {known[-1]}"


def code(names: Iterable[str], most: int = 8) -> str:
    """Return names as code, listed; ``index/codes`` is written ``codes``."""
    return listing([f"`{name.removeprefix('index/')}`" for name in names], most=most)


def excerpt(text: str, limit: int = 80) -> str:
    """Return `text` on one line, cut at a word with an ellipsis when it is longer than `limit` characters."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    head = flat[: limit - 1]
    return f"{head.rsplit(' ', 1)[0] if ' ' in head else head}…"


#: How templates write numbers and lists, in text and in HTML alike.
_FILTERS = (
    amount, at_most, code, count, excerpt, listing, multiple, of, percent, plural, rounded_up,
    shape, signed,
)  # fmt: skip


def jinja_environment(loader: jinja2.BaseLoader, *, html: bool) -> jinja2.Environment:
    """Return a Jinja environment with the project's filters; what a template does not get is an error."""
    made = jinja2.Environment(
        loader=loader,
        autoescape=html,  # noqa: S701 plain sentences are escaped where they become HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters |= {write.__name__: write for write in _FILTERS}
    functions = (between, count, interval, percent, plural, signed, unseen)
    made.globals |= {write.__name__: write for write in functions} | {"absent": ABSENT}
    return made


@functools.cache
def _macros(package: str, name: str) -> Any:
    loader = jinja2.PackageLoader(package, "")
    return jinja_environment(loader, html=False).get_template(name).module


def fill(package: str, name: str, macro: str, **facts: Any) -> str:
    """Fill one macro of a package's template with facts.

    Parameters
    ----------
    package : str
        Where the template stands: ``reportlib.findings``.
    name : str
        Its file.
    macro : str
        Which of its sentences.
    **facts
        What the macro takes.

    Returns
    -------
    str
        The text on one line: line breaks of the template are spaces.
    """
    text = str(getattr(_macros(package, name), macro)(**facts))
    # Not `split()`: a no-break space is to stay one. A template's lines may end before a comma.
    return re.sub(r" (?=[.,;])", "", re.sub(r"[ \n]+", " ", text)).strip()
