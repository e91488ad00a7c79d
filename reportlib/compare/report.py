"""Write `report.json`: the same bytes from the same captures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportlib.errors import ComparisonError

SCHEMA = Path(__file__).with_name("report.schema.json")


def render(report: Mapping[str, Any]) -> str:
    """Return a report as JSON text.

    Keys keep the order of ``docs/schema.md``, which the code builds them in; floats are written
    as the shortest text that reads back as the same number.

    Raises
    ------
    ComparisonError
        When a number in it is NaN or infinite: a report says ``null`` and why.
    """
    try:
        return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ComparisonError(f"the report holds a number that JSON has not: {error}") from error


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report to `path`, at once: a reader sees the old file or the whole new one."""
    text = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
