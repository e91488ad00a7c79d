"""Shapes: maps of where embeddings differ, and whether the number of rows foretells them, on planted cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reportlib.compare.shapes import Shapes, between, predicted, read_shapes, require_alike, within
from reportlib.errors import ComparisonError, StoreError

SIZES, LENGTHS = (1, 2, 4), (8, 16)


def cells(other: set[tuple[int, int]] = frozenset()) -> list[dict[str, Any]]:
    """Return cells in which the first passage has other bytes in the shapes of `other`."""
    return [
        {"tokens": t, "passages": n, "rows": [f"{i}{'x' if (t, n) in other and not i else ''}" for i in range(n)]}
        for t in LENGTHS
        for n in SIZES
    ]


def product(small: int) -> list[dict[str, Any]]:
    """Return a layer whose first rows are others below `small` rows."""
    return [
        {"rows": rows, "digest": "a" if rows < small else "b"}
        for rows in sorted({t * n for t in LENGTHS for n in SIZES})
    ]


def content(other: set[tuple[int, int]] = frozenset(), small: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "arm": {"environment": "torch210", "precision": "float32", "device": "cpu", "passages": 32},
        "torch": {"version": "2.1.0"},
        "inputs": {"weights": "w"},
        "encodings": cells(other),
        "products": {"query": product(0), "dense": product(small)},
        "ablations": {"feed-forward": cells(), "activation": cells(other)},
        **more,
    }


def test_a_passage_is_held_against_itself_in_the_largest_batch_of_its_length() -> None:
    found = within(cells({(8, 1), (16, 2)}))
    assert {place: count for place, count in found.items() if count} == {(8, 1): 1, (16, 2): 1}
    # Where the largest batch is the odd one, all others differ from it.
    assert [place for place, count in within(cells({(8, 4)})).items() if count] == [(8, 1), (8, 2)]


def test_between_versions_the_same_shape_is_compared() -> None:
    found = between(cells(), cells({(16, 4)}))
    assert {place: count for place, count in found.items() if count} == {(16, 4): 1}


def test_the_number_of_rows_foretells_which_shapes_differ() -> None:
    places = [(t, n) for t in LENGTHS for n in SIZES]
    assert predicted({"dense": product(16)}, places) == {(8, 1)}
    assert predicted({"dense": product(17)}, places) == {(8, 1), (8, 2), (16, 1)}
    assert predicted({"dense": product(0)}, places) == set()


def test_what_one_environment_says() -> None:
    found = Shapes.of(content({(8, 1), (8, 2), (16, 1)}, small=17))
    assert (found.foreseen, found.deciding) == (6, ("dense",))
    assert found.ablations == {"feed-forward": (0, 6), "activation": (3, 6)}
    said = " ".join(found.sentences())
    assert "in 3 of 6 shapes" in said
    assert "in dense; that alone foretells 6 of the 6 shapes" in said
    assert "without feed-forward 0 of 6" in said


def test_a_wrong_foretelling_is_counted() -> None:
    assert Shapes.of(content({(8, 1)}, small=17)).foreseen == 4


def test_nothing_differs_and_nothing_more_is_said() -> None:
    assert Shapes.of(content()).sentences() == ["A passage has the same embeddings in a batch of any of the 6 shapes."]


@pytest.mark.parametrize(
    "change", [{"inputs": {"weights": "v"}}, {"arm": {"environment": "b", "precision": "autocast"}}]
)
def test_what_cannot_be_set_side_by_side_is_refused(change: dict[str, Any]) -> None:
    other = content()
    other = {**other, **change, "arm": {**other["arm"], **change.get("arm", {})}}
    with pytest.raises(ComparisonError, match="the same settings"):
        require_alike(content(), other)


def test_a_folder_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "shapes.json").write_text(json.dumps(content()))
    assert read_shapes(tmp_path)["torch"] == {"version": "2.1.0"}
    (tmp_path / "shapes.json").write_text(json.dumps({**content(), "schema_version": 9}))
    with pytest.raises(StoreError):
        read_shapes(tmp_path)
