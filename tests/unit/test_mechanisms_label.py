"""What may be said of a cause: proven, candidate or unknown, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reportlib.compare.roots.mechanisms import How, Mechanism, Tried, label, on_every_case
from reportlib.compare.roots.mechanisms.mechanism import FEW

ONE, OTHER = How("one", "a sum in float64"), How("other", "a sum in bfloat16")
TRIED = (Tried("one", "a sum in float64", 900, 1000, 1000), Tried("other", "a sum in bfloat16", 1000, 70, 1000))
NAMED = {"url": "https://example.org/1", "title": "Sum in float64", "text": "It does.", "status": "named"}


def mechanism(a: How | None = None, b: How | None = None, cut_short: bool = False) -> Mechanism:
    return Mechanism(a=a, b=b, tried=TRIED, cut_short=cut_short)


def switch(name: str, environment: str, gives: str) -> dict[str, Any]:
    return {"switch": name, "environment": environment, "gives": gives, "why": None}


@pytest.mark.parametrize(
    ("a", "b", "switches", "upstream", "expected"),
    [
        (ONE, OTHER, [], None, "proven"),
        (None, None, [switch("no-onednn", "b", "a")], None, "proven"),
        (None, None, [switch("no-onednn", "a", "b")], None, "proven"),
        (ONE, None, [switch("no-onednn", "b", "a")], NAMED, "proven"),
        (ONE, None, [], None, "candidate"),
        (None, OTHER, [], None, "candidate"),
        (None, None, [], NAMED, "candidate"),
        (None, None, [], None, "unknown"),
        # A switch that leaves each side as it is, breaks it, or gives a third result, proves nothing.
        (None, None, [switch("s", "a", "a"), switch("s", "b", "b")], None, "unknown"),
        (
            None,
            None,
            [switch("s", "a", "neither"), switch("s", "b", "failed"), switch("s", "b", "both")],
            None,
            "unknown",
        ),
    ],
)
def test_the_label(
    a: How | None, b: How | None, switches: list[dict[str, Any]], upstream: dict[str, str] | None, expected: str
) -> None:
    assert label(mechanism(a, b), switches, upstream).label == expected


@pytest.mark.parametrize(("elements", "expected"), [(5, "candidate"), (FEW - 1, "candidate"), (FEW, "proven")])
def test_a_handful_of_elements_is_no_proof(elements: int, expected: str) -> None:
    tried = (Tried("one", "a sum in float64", elements, elements - 1, elements),)
    for sides, switches in (((ONE, OTHER), []), ((None, None), [switch("avx2", "b", "a")])):
        found = label(Mechanism(*sides, tried=tried, cut_short=False), switches, None)
        assert found.label == expected
        assert (f"rests on {elements} elements" in found.sentence) == (expected == "candidate")


def test_the_first_switch_that_crosses_is_named() -> None:
    switches = [switch("threads", "b", "b"), switch("avx2", "b", "a"), switch("no-onednn", "b", "a")]
    assert label(mechanism(), switches, None).switch == "avx2"
    assert label(mechanism(ONE, OTHER), [], None).switch is None


def test_both_sides_in_words() -> None:
    sentence = label(mechanism(ONE, OTHER), [], NAMED).sentence
    assert sentence == (
        "A's bytes are those of a sum in float64; B's are those of a sum in bfloat16: each reproduced bit for bit, on"
        " every element. It changed upstream in “Sum in float64”."
    )


def test_one_side_says_how_close_the_other_came() -> None:
    sentence = label(mechanism(None, ONE, cut_short=True), [switch("avx2", "b", "a")], None).sentence
    assert sentence.startswith("B's bytes are those of a sum in float64: reproduced bit for bit, on every element.")
    assert "Nothing tried reproduces A; the closest, “other”, does so for 1,000 of 1,000 elements." in sentence
    assert sentence.endswith("With avx2, B returns A's bytes. The search was stopped for time.")


def test_nothing_is_claimed_where_nothing_was_found() -> None:
    candidate = {**NAMED, "status": "candidate"}
    found = label(mechanism(), [], candidate)
    assert found.sentence == (
        "None of 2 explanations reproduces either side. A change upstream that fits is “Sum in float64”."
    )
    empty = Mechanism(a=None, b=None, tried=(), cut_short=False)
    assert label(empty, [], None).sentence == "There is no explanation to try for this operation."
    late = Mechanism(a=None, b=None, tried=(), cut_short=True)
    assert label(late, [], None).sentence == "The search was stopped for time."


def test_every_case_must_be_reproduced_alike() -> None:
    joined = on_every_case([mechanism(ONE, OTHER), mechanism(ONE, None, cut_short=True)])
    assert joined.a == ONE
    assert joined.b is None
    assert joined.cut_short
    assert on_every_case([mechanism(ONE, OTHER), mechanism(OTHER, OTHER)]).a is None
    with pytest.raises(ValueError, match="no case"):
        on_every_case([])


def test_what_fits_a_small_case_by_chance_gives_way_to_what_fits_all() -> None:
    small = Mechanism(ONE, None, TRIED, cut_short=False, reproduces=lambda name, side: (name, side) == ("other", "a"))
    large = Mechanism(OTHER, None, TRIED, cut_short=False)
    assert on_every_case([small, large]).a == OTHER
    assert on_every_case([large, small]).a == OTHER
    assert on_every_case([large, mechanism(ONE)]).a is None


def test_what_goes_into_the_file() -> None:
    content = label(mechanism(ONE, None), [], None).to_json()
    assert json.loads(json.dumps(content)) == content
    assert set(content) == {"label", "sentence", "a", "b", "tried", "switch"}
    assert content["a"] == {"name": "one", "description": "a sum in float64"}
    assert content["b"] is None
    assert content["tried"][1] == {
        "name": "other",
        "description": "a sum in bfloat16",
        "equal_a": 1000,
        "equal_b": 70,
        "elements": 1000,
    }
