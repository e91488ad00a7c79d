"""``report.json`` as types: what is made from them says when it is stale."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from reportlib import shape


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on copies of what is made from the types."""
    for name in ("SCHEMA", "DOCUMENT"):
        copied = Path(shutil.copy(getattr(shape, name), tmp_path))
        monkeypatch.setattr(shape, name, copied)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("DOCUMENT", "| `elements` | int or null |", "| `elements` | int |"),
        ("DOCUMENT", "of the pipeline |", "of the pipe |"),
        ("DOCUMENT", "| `mechanism.label` |", "| `label` |"),
        ("SCHEMA", '"description": "of the pipeline"', '"description": "of the pipe"'),
    ],
)
def test_what_is_stale_is_named_and_mended(name: str, old: str, new: str) -> None:
    shape.main(["--check"])
    path: Path = getattr(shape, name)
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SystemExit, match=re.escape(f"{path.name}: stale; run")):
        shape.main(["--check"])
    shape.main([])
    assert path.read_text(encoding="utf-8") == text


def test_a_comment_above_a_field_and_one_at_its_end_are_its_text() -> None:
    text = shape.document("<!-- fields of SearchComparison -->\nold\n<!-- end of fields -->")
    assert "old" not in text
    assert "| `tied` | int, or left out | Other lists in which only passages with equal scores change places" in text
    assert "| `overlap` | object | share of the best k on both sides, 0 to 1 |\n| `overlap.value`" in text
    assert "| `left.torch`, `right.torch` | `a` or `b` |" in text
