"""What switches give, and the search for the fewest that undo a difference."""

from __future__ import annotations

import dataclasses

import pytest
from fake_roots import write_case

from reportlib.compare.roots.undo import Confirmation, Tries, levels, search, switch_table, together, verified

ALL = Confirmation(3, 3)


class Bench:
    """A machine on which given switches undo given operations."""

    def __init__(self, undone: dict[str, set[str]], passes: dict[frozenset[str], Confirmation] | None = None) -> None:
        self.undone, self.passes = undone, passes or {}
        self.tried: list[tuple[str, ...]] = []
        self.confirmed: list[tuple[str, ...]] = []

    def together(self, names: tuple[str, ...]) -> set[str]:
        self.tried.append(names)
        return self.undone.get("+".join(names), set().union(*(self.undone[name] for name in names)))

    def confirm(self, names: tuple[str, ...]) -> Confirmation:
        self.confirmed.append(names)
        return self.passes.get(frozenset(names), ALL)

    def search(self, *cases: str):
        return search(set(cases), self.undone, self.together, self.confirm)


def test_one_switch_that_undoes_all_is_preferred_to_two():
    bench = Bench({"aten-avx2": {"x"}, "onednn-avx2": {"y"}, "onednn-off": {"x", "y"}})
    found = bench.search("x", "y")
    assert found.why_no_undo is None
    assert found.undo["switches"] == ["onednn-off"]
    assert found.undo["lines"] == ["torch.backends.mkldnn.enabled = False"]
    assert (found.undo["cases_equal"], found.undo["cases"], found.undo["passes_equal"]) == (2, 2, 3)
    assert bench.tried == []


def test_two_are_tried_together_only_when_they_account_for_every_case():
    bench = Bench({"aten-avx2": {"x"}, "onednn-off": {"y"}, "one-thread": {"x"}, "mkl-avx2": set()})
    found = bench.search("x", "y")
    assert found.undo["switches"] == ["aten-avx2", "onednn-off"]
    assert bench.tried == [("aten-avx2", "onednn-off")]
    assert found.undo["lines"] == ["export ATEN_CPU_CAPABILITY=avx2", "torch.backends.mkldnn.enabled = False"]


def test_what_was_tried_together_already_is_not_tried_again():
    bench = Bench({"aten-avx2": {"x"}, "onednn-avx2": {"y"}, "aten-avx2+onednn-avx2": {"x", "y"}})
    assert bench.search("x", "y").undo["switches"] == ["aten-avx2", "onednn-avx2"]
    assert bench.tried == []


def test_two_that_only_help_together_are_found():
    bench = Bench({"aten-avx2": set(), "onednn-avx2": set(), "aten-avx2+onednn-avx2": {"x"}})
    assert bench.search("x").undo["switches"] == ["aten-avx2", "onednn-avx2"]


def test_switches_that_disturb_each_other_are_not_the_answer():
    bench = Bench({"aten-avx2": {"x"}, "onednn-off": {"y"}, "aten-avx2+onednn-off": {"x"}})
    found = bench.search("x", "y")
    assert found.undo is None
    assert "undo all of the 2 operations" in found.why_no_undo


def test_switches_that_cannot_be_set_together_are_not_tried():
    bench = Bench({"aten-avx2": {"x"}, "aten-default": {"y"}})
    assert bench.search("x", "y").undo is None
    assert bench.tried == []


def test_operations_alone_do_not_prove_it():
    partly = Confirmation(1, 3)
    bench = Bench({"aten-avx2": {"x"}, "onednn-off": {"x"}}, {frozenset({"aten-avx2"}): partly})
    assert bench.search("x").undo["switches"] == ["onednn-off"]
    assert bench.confirmed == [("aten-avx2",), ("onednn-off",)]
    bench = Bench({"aten-avx2": {"x"}}, {frozenset({"aten-avx2"}): partly})
    found = bench.search("x")
    assert found.undo is None
    assert found.why_no_undo == (
        "aten-avx2 makes B return A's bytes on the operation that differs by itself, but only 1 of 3 forward passes "
        "have A's output then"
    )


def test_the_nearest_is_named_when_nothing_undoes_all():
    found = Bench({"aten-avx2": {"x"}, "onednn-off": set()}).search("x", "div")
    assert found.undo is None
    assert "aten-avx2 makes B return A's bytes on 1, not on div" in found.why_no_undo
    found = Bench({"aten-avx2": set()}).search("div")
    assert found.why_no_undo == "no switch tried makes B return A's bytes on the operation that differs by itself"
    found = Bench({"aten-avx2": set()}).search("div", "x")
    assert found.why_no_undo.endswith("on any of the 2 operations that differ by themselves")
    assert "nothing to undo" in Bench({"aten-avx2": set()}).search().why_no_undo


def gave(case, side: str, failed: str | None = None):
    outputs = [{"dtype": t.dtype, "shape": list(t.shape), "sha256": t.sha256} for t in case.outputs[side]]
    return {"outputs": outputs, "result": case.result[side], "written": [2], "failed": failed}


def tries(**by_switch) -> Tries:
    return Tries({name.replace("_", "-"): of for name, of in by_switch.items()})


def entry(*cases, failed: str | None = None):
    return {"failed": failed, "cases": dict(cases), "passes": {}}


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path)


def test_a_switch_gives_one_sides_bytes_or_neither(case):
    name = case.folder.name
    other = {**gave(case, "a"), "outputs": [{**gave(case, "a")["outputs"][0], "sha256": "0"}]}
    of_b = tries(
        none=entry((name, gave(case, "b"))),
        aten_avx2=entry((name, gave(case, "a"))),
        one_thread=entry((name, other)),
        onednn_sse41=entry((name, {"failed": "could not create a primitive"})),
        matmul_high=entry(failed="this torch does not know it"),
        mkl_avx2=entry(),
    )
    of_a = tries(none=entry((name, gave(case, "a"))))
    table = {line["switch"]: line for line in switch_table([case], of_a, of_b)}
    assert {name: line["gives"] for name, line in table.items()} == {
        "aten-avx2": "a",
        "one-thread": "neither",
        "onednn-sse41": "failed",
        "matmul-high": "failed",
        "mkl-avx2": "failed",
    }
    assert table["onednn-sse41"]["why"] == "could not create a primitive"
    assert table["matmul-high"]["why"] == "this torch does not know it"
    assert table["aten-avx2"]["why"] is None
    assert verified([case], of_a, of_b) == [case]
    assert verified([case], of_b, of_b) == []
    assert tuple(of_b.written(case)) == (2,)


def test_a_returned_number_counts_as_much_as_bytes(case):
    changed = {**gave(case, "a"), "result": 5}
    assert tries(none=entry((case.folder.name, changed))).gives("none", case) == "neither"


def test_sides_with_the_same_bytes_are_both_given(case):
    alike = dataclasses.replace(case, outputs=dict.fromkeys("ab", case.outputs["a"]))
    assert tries(none=entry((case.folder.name, gave(case, "a")))).gives("none", alike) == "both"


def test_several_cases_agree_or_give_neither():
    assert together(["a", "a"]) == "a"
    assert together(["a", "b"]) == "neither"
    assert together(["a", "failed"]) == "failed"


def test_a_level_is_where_both_environments_meet(case):
    name = case.folder.name
    third = {**gave(case, "a"), "outputs": []}
    a = tries(none=entry((name, gave(case, "a"))), aten_default=entry((name, third)), onednn_off=entry())
    b = tries(none=entry((name, gave(case, "b"))), aten_default=entry((name, third)), onednn_off=entry())
    assert levels([case], a, b) == ["aten-default"]
