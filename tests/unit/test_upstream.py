"""The table of changes upstream: each entry well formed, and found only where it applies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reportlib.compare.roots.mechanisms.cases import read_case
from reportlib.compare.roots.upstream import STATUSES, Change, changes, find

CASES = Path(__file__).parent / "data" / "cases"


@pytest.mark.parametrize("change", changes(), ids=lambda change: f"{change.changed_in}-{change.operations[0]}")
def test_every_entry_has_a_source_and_says_something(change: Change) -> None:
    assert change.status in STATUSES
    assert change.operations
    assert change.dtypes
    assert set(change.devices) <= {"cpu", "cuda"}
    assert change.title.strip()
    assert change.text.endswith(".")
    address = urlsplit(change.url)
    assert address.scheme == "https"
    assert address.hostname == "github.com"
    kind, reference = address.path.split("/")[3:]
    assert (kind == "pull" and reference.isdigit()) or (kind == "commit" and len(reference) == 40)


def test_the_sort() -> None:
    found = find("aten::sort", ["int64"], "cpu", "2.0.1", "2.1.0")
    assert found is not None
    assert set(found) == {"url", "title", "text", "status"}
    assert found["url"].endswith("/pytorch/pytorch/pull/100081")
    assert found["status"] == "named"


@pytest.mark.parametrize(
    ("name", "dtypes", "device", "a", "b"),
    [
        ("aten::sort", ["float32"], "cpu", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cuda", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cpu", "2.1.0", "2.2.2"),
        ("aten::sort", ["int64"], "cpu", "1.13.1", "2.0.1"),
        ("aten::sort", ["int64"], "cpu", "2.1.0", "2.1.0"),
        ("aten::resort", ["int64"], "cpu", "2.0.1", "2.1.0"),
        ("aten::sort", ["int64"], "cpu", "unknown", "2.1.0"),
        ("aten::sort", [], "cpu", "2.0.1", "2.1.0"),
    ],
)
def test_an_entry_that_does_not_apply(name: str, dtypes: list[str], device: str, a: str, b: str) -> None:
    assert find(name, dtypes, device, a, b) is None


def test_order_build_overload_and_place_do_not_matter() -> None:
    expected = find("aten::div", ["bfloat16"], "cpu", "2.0.1", "2.1.0")
    assert expected is not None
    assert find("aten::div.Tensor", ["bfloat16", "float32"], "cpu", "2.1.0+cu121", "2.0.1+cu117") == expected
    assert find("aten::div_", ["bfloat16"], "cpu", "1.13.1", "2.15.0") == expected


def test_a_named_change_goes_before_a_candidate() -> None:
    found = find("aten::addmm", ["bfloat16"], "cpu", "2.0.1", "2.6.0")
    assert found is not None
    assert found["status"] == "named"
    only = find("aten::addmm", ["bfloat16"], "cpu", "2.5.1", "2.6.0")
    assert only is not None
    assert only["status"] == "candidate"


@pytest.mark.parametrize("folder", sorted(CASES.glob("*/*/")), ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_every_recorded_case_has_an_entry(folder: Path) -> None:
    case = read_case(folder)
    version_a, version_b = folder.parent.name.split("-")
    found = find(case.name, [tensor.dtype for tensor in case.inputs], "cpu", version_a, version_b)
    assert found is not None
