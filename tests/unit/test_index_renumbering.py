"""Centroids under other numbers: matched by bytes, then by nearest, with codes and lists under the new numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import index_folders as made
import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.compare import indexes
from reportlib.compare.indexes import compare_indexes

SCHEMA = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())
ORDER = np.random.default_rng(3).permutation(made.CENTROIDS)
MOVED = int((np.arange(made.CENTROIDS) != ORDER).sum())
SIZE = len(made.values()["codes"])


def renumbered(order: np.ndarray = ORDER) -> made.Values:
    """The values of an index whose centroid `order[c]` is the other's centroid `c`."""
    known = made.values()
    centroids = known["centroids"].copy()
    centroids[order] = known["centroids"]
    known["centroids"], known["codes"] = centroids, order[known["codes"]].astype(np.int32)
    known["ivf"], known["ivf_lengths"] = made.lists(known["codes"], known["doclens"])
    return known


def compared(tmp_path: Path, other: made.Values, known: made.Values | None = None) -> dict[str, Any]:
    a = made.write_index(tmp_path / "a", known or made.values())
    found = compare_indexes(a, made.write_index(tmp_path / "b", other, chunks=3))
    jsonschema.validate(json.loads(json.dumps({**found, "requirements": None, "exit_code": 0})), SCHEMA)
    return found


def test_only_the_numbering_differs(tmp_path):
    found = compared(tmp_path, renumbered())
    known = found["renumbering"]
    assert (known["centroids"], known["by_bytes"], known["by_nearest"], known["moved"]) == (16, 16, 0, MOVED)
    assert (known["codes"], known["codes_different"], known["lists"], known["lists_equal"]) == (SIZE, 0, 16, 16)
    assert known["only"] is True
    assert known["text"] == (
        f"Whatever their number, 16 of 16 centroids match by their bytes; {MOVED} of them have another number in B. "
        f"Under B's numbers 0 of {SIZE} codes differ, and 16 of 16 lists of the ivf hold the same set."
    )
    assert found["verdict"] == "different"
    assert found["problems"] == []
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 1
    assert known["text"] in done.stdout
    assert "only the numbering of the centroids differs." in done.stdout


def test_the_page_says_it_too(tmp_path):
    compared(tmp_path, renumbered())
    page = tmp_path / "page.html"
    CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(page)])
    assert "16 of 16 centroids match by their bytes" in page.read_text()
    assert "only the numbering of the centroids differs" in page.read_text()


def test_a_further_difference_is_not_only_the_numbering(tmp_path):
    other = renumbered()
    other["residuals"][0, 0] ^= 1
    found = compared(tmp_path, other)
    assert (found["renumbering"]["by_bytes"], found["renumbering"]["only"]) == (16, False)
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "only the numbering" not in done.stdout


def test_codes_and_lists_are_compared_under_the_new_numbers(tmp_path):
    other = renumbered()
    place = int(np.flatnonzero(other["codes"] == 0)[0])
    other["codes"][place] = 1
    other["ivf"], other["ivf_lengths"] = made.lists(other["codes"], other["doclens"])
    known = compared(tmp_path, other)["renumbering"]
    assert (known["codes_different"], known["only"]) == (1, False)
    assert known["lists_equal"] in (14, 15)


def test_what_bytes_do_not_match_the_nearest_does(tmp_path):
    other = renumbered()
    other["centroids"][ORDER[:5]] *= np.float16(1.01)
    known = compared(tmp_path, other)["renumbering"]
    assert (known["by_bytes"], known["by_nearest"], known["moved"]) == (11, 5, MOVED)
    assert (known["codes_different"], known["lists_equal"], known["only"]) == (0, 16, False)
    assert "11 of 16 centroids match by their bytes and 5 more as each other's nearest" in known["text"]


def test_the_last_one_on_each_side_is_the_other_s_nearest(tmp_path):
    known = made.values()
    known["centroids"][3] = -known["centroids"][2]
    other = renumbered()
    other["centroids"][ORDER[3]] = other["centroids"][ORDER[2]]
    found = compared(tmp_path, other, known)["renumbering"]
    assert found["by_bytes"] == 15
    assert found["by_nearest"] == 1


def test_one_to_one_among_several(tmp_path):
    known, other = made.values(), renumbered()
    # Two of A's are next to one of B's; the other one of B's is far from both.
    known["centroids"][1] = known["centroids"][0] * np.float16(1.02)
    other["centroids"][ORDER[0]] = known["centroids"][0] * np.float16(1.01)
    other["centroids"][ORDER[1]] = 90
    other["centroids"][ORDER[2]] *= np.float16(1.01)
    found = compared(tmp_path, other, known)["renumbering"]
    assert (found["by_bytes"], found["by_nearest"]) == (13, 2)


def test_centroids_of_equal_bytes_are_matched_one_to_one(tmp_path):
    known = made.values()
    known["centroids"][1] = known["centroids"][0]
    other = renumbered()
    other["centroids"][ORDER[1]] = other["centroids"][ORDER[0]]
    assert compared(tmp_path, other, known)["renumbering"]["by_bytes"] == 16


def test_blocks_of_any_size_give_the_same_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("reportlib.compare.chunks.BLOCK", 5)
    monkeypatch.setattr(indexes, "_DISTANCES", 20)
    other = renumbered()
    other["centroids"] *= np.float16(1.01)
    known = compared(tmp_path, other)["renumbering"]
    assert (known["by_bytes"], known["by_nearest"], known["codes_different"], known["lists_equal"]) == (0, 16, 0, 16)


@pytest.mark.parametrize("factor", [1.0, 1.0001, 1.01])
def test_centroids_under_their_own_numbers_say_nothing(tmp_path, factor):
    other = made.values()
    other["centroids"] = (other["centroids"] * factor).astype(np.float16)
    assert compared(tmp_path, other)["renumbering"] is None


def test_too_many_to_look_for_the_nearest_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "MOST_NEAREST", 4)
    other = renumbered()
    other["centroids"][ORDER[:5]] *= np.float16(1.01)
    known = compared(tmp_path, other)["renumbering"]
    assert (known["by_bytes"], known["by_nearest"]) == (11, None)
    assert "11 of 16 centroids match by their bytes, the 5 left are too many to look for the nearest" in known["text"]
    assert known["codes_different"] == int(np.isin(made.values()["codes"], np.arange(5)).sum())


def test_other_numbers_of_centroids_are_not_matched(tmp_path):
    known = made.values()
    other = renumbered()
    other["centroids"] = np.concatenate([other["centroids"], other["centroids"][:1]])
    other["ivf_lengths"] = np.append(other["ivf_lengths"], 0)
    assert compared(tmp_path, other, known)["renumbering"] is None
