"""Where in a TOML file a key stands.

`tomllib` says nothing of positions. But the lines of a file up to the end of any statement are TOML themselves, so
that its own parser finds them: the first such beginning of the file that has a key ends with the key's value, and the
one before it ends where the key's statement starts.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any


class Lines:
    r"""The lines of a TOML file.

    Parameters
    ----------
    text : str
        The whole file, which must be TOML; its lines end with ``\n``.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")

    def find(self, path: Sequence[str], near: str = "") -> int | None:
        """Return the number of the line where a key's statement starts.

        Parameters
        ----------
        path : sequence of str
            The key, table by table: ``("colbert", "nbits")``.
        near : str
            A string inside the value: of a value on several lines, the first with this string is meant.

        Returns
        -------
        int or None
            From 1. For a key that is not there, that of the innermost table around it that is; None without any.
        """
        for length in range(len(path), 0, -1):
            span = self._span(path[:length])
            if span is not None:
                return self._within(span, near)
        return None

    @cached_property
    def _beginnings(self) -> list[tuple[int, dict[str, Any]]]:
        """How many lines, and what they hold, for every beginning of the file that is TOML."""
        found = []
        for count in range(1, len(self._lines) + 1):
            try:
                found.append((count, tomllib.loads("\n".join(self._lines[:count]))))
            except tomllib.TOMLDecodeError:
                continue  # inside a value of several lines
        return found

    def _span(self, path: Sequence[str]) -> tuple[int, int] | None:
        """Return the first and the last line of the statement that brings a key in."""
        before = 0
        for count, content in self._beginnings:
            if _has(content, path):
                return before + 1, count
            before = count
        return None

    def _within(self, span: tuple[int, int], near: str) -> int:
        first, last = span
        written = (json.dumps(near, ensure_ascii=False), f"'{near}'")
        for number in range(first, last + 1) if near else ():
            if any(each in self._lines[number - 1] for each in written):
                return number
        return first


def _has(content: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(content, Mapping) or key not in content:
            return False
        content = content[key]
    return True
