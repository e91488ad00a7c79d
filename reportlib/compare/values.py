"""Compare plain values: numbers, strings, lists and mappings that JSON holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from reportlib.compare.results import ValueDifference
from reportlib.store import canonical_json

#: Characters of a value that a report quotes.
QUOTED = 60


def compare_values(a: Any, b: Any) -> tuple[str, ValueDifference | None]:
    """Compare two plain values.

    Returns
    -------
    verdict : str
        ``identical`` (the same canonical JSON), ``same set`` (lists of whole numbers, one a
        permutation of the other) or ``different``.
    difference : ValueDifference or None
        None when identical.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    paths = [*left, *(path for path in right if path not in left)]
    unlike = [path for path in paths if left.get(path) != right.get(path)]
    if not unlike:
        return "identical", None
    first = unlike[0]
    difference = ValueDifference(first, _quote(left.get(first)), _quote(right.get(first)), len(unlike), len(paths))
    same_set = is_integer_list(a) and is_integer_list(b) and Counter(a) == Counter(b)
    return "same set" if same_set else "different", difference


def type_name(value: Any) -> str:
    """Return a value's type for a reader: ``int``, ``list of int``, ``dict``."""
    if isinstance(value, list) and value and len({type(item) for item in value}) == 1:
        return f"list of {type(value[0]).__name__}"
    return type(value).__name__


def is_integer_list(value: Any) -> bool:
    """Return whether `value` is a list of whole numbers (true and false are none)."""
    return isinstance(value, list) and all(type(item) is int for item in value)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (JSON pointer, canonical JSON) of every number, string, null and empty container."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            yield from _leaves(value[key], f"{path}/{escaped}")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}/{number}")
    else:
        yield path, canonical_json(value)


def _quote(text: str | None) -> str | None:
    return text if text is None or len(text) <= QUOTED else text[: QUOTED - 1] + "…"
