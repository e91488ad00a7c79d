"""The search for a mechanism, on cases recorded from real versions of PyTorch and on planted ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportlib.compare.roots.mechanisms import FEW, How, Mechanism, Tried, explain, explain_case, label, on_every_case
from reportlib.compare.roots.mechanisms.arithmetic import fma, to_format
from reportlib.compare.roots.mechanisms.cases import Case, Problem, Tensor, read_case
from reportlib.compare.roots.mechanisms.elementwise import elementwise, exp_onednn, exp_sleef, functions
from reportlib.compare.roots.mechanisms.products import products
from reportlib.compare.roots.mechanisms.reductions import (
    introsort,
    layer_norm,
    softmax,
    sorting,
    sums,
    vector_norm,
    welford,
)
from reportlib.errors import StoreError

CASES = Path(__file__).parent / "data" / "cases"


@pytest.mark.parametrize(
    ("folder", "a", "b"),
    [
        ("2.0.1-2.1.0/gelu-float32", "Abramowitz and Stegun", None),
        (
            "2.0.1-2.1.0/_softmax-float32",
            "Sleef's exponential, 8 lanes, times the sum's reciprocal",
            "Sleef's exponential, 16 lanes, times the sum's reciprocal",
        ),
        ("2.0.1-2.1.0/div-Tensor-bfloat16", "the number rounded to bfloat16 first", "float32, rounded once"),
        ("2.0.1-2.1.0/bmm-bfloat16", "bfloat16, one after another", "float32, one after another"),
        (
            "2.1.0-2.2.2/native_layer_norm-float32",
            "Welford in 8 lanes, fused, merges fused; x times scale plus shift, fused",
            "Welford in 8 lanes, fused, merges fused; x minus mean, times scale, fused",
        ),
        (
            "2.7.1-2.8.0/linalg_vector_norm-float32",
            "8 lanes, fused, added one after another",
            "8 lanes, not fused, added one after another",
        ),
    ],
)
def test_what_real_versions_computed(folder: str, a: str | None, b: str | None) -> None:
    found = explain(CASES / folder)
    assert (found.a.name if found.a else None) == a
    assert (found.b.name if found.b else None) == b
    assert not found.cut_short
    reproduced = {entry.name for entry in found.tried if entry.equal_a == entry.elements}
    assert a in reproduced


def test_every_element_counts(tmp_path: Path) -> None:
    # One bit of one element of A: the explanation no longer holds, and the count says by how much.
    folder = tmp_path / "case"
    shutil.copytree(CASES / "2.0.1-2.1.0/div-Tensor-bfloat16", folder)
    file = folder / "outputs.safetensors"
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start] ^= 1
    file.write_bytes(bytes(content))
    found = explain(folder)
    assert found.a is None
    assert found.b is not None
    attempt = next(entry for entry in found.tried if entry.name == "the number rounded to bfloat16 first")
    assert attempt.equal_a == attempt.elements - 1 == 767


# The sha256 of the indices that torch.sort returned for `arange(40000) * 7919 % 251`, and for its first 3,000.
SORT_2_0_1 = "76622f13acaed50a5ca63c7e330ec0f707d42018b73657c24f8fa021b426e51d"
SORT_2_1_0 = "282a77aaacac3db9c60be836fca09869c0b4f8fdf83bb9dcf0397be5c37ec0cc"
SORT_SMALL = "9dfea6f1f9e8a90c5c724a1e6906e377677d3b17627f5c1ca4e35648dfe331a0"
SORT_SMALL_DESCENDING = "6b406c285b17e9df08c4bfa2e36ed0ae1bf5b9cd808e04e58c46ae2e5ac841b0"


def digest(values: Any) -> str:
    return hashlib.sha256(np.asarray(values, dtype=np.int64).tobytes()).hexdigest()


def test_sort_is_that_of_real_versions() -> None:
    keys = np.arange(40_000) * 7919 % 251
    assert digest(introsort(keys.tolist())) == SORT_2_0_1
    assert digest(np.argsort(keys, kind="stable")) == SORT_2_1_0
    assert digest(introsort(keys[:3000].tolist())) == SORT_SMALL
    assert digest(introsort((-keys[:3000]).tolist())) == SORT_SMALL_DESCENDING


def test_sort_is_found_in_a_case() -> None:
    keys = np.arange(40_000) * 7919 % 251
    outputs = []
    for order in (introsort(keys.tolist()), np.argsort(keys, kind="stable")):
        indices = np.asarray(order, dtype=np.int64)
        outputs.append((Tensor("int64", keys[indices]), Tensor("int64", indices)))
    case = Case("sort-int64", "aten::sort", "", {"self": {"tensor": 0}}, (Tensor("int64", keys),), *outputs)
    found = explain_case(case)
    assert found.a is not None
    assert found.b is not None
    assert (found.a.name, found.b.name) == ("std::sort of libstdc++", "stable")


def test_sort_gives_up_where_the_library_goes_on_with_a_heap_sort() -> None:
    # McIlroy's adversary: quicksort with the median of three needs quadratic time for it.
    n, solid = 4096, 0
    values: list[int | None] = [None] * n
    candidate = 0

    class Key:
        def __init__(self, index: int) -> None:
            self.index = index

        def __lt__(self, other: Key) -> bool:
            nonlocal solid, candidate
            x, y = self.index, other.index
            if values[x] is None and values[y] is None:
                frozen = x if x == candidate else y
                values[frozen], solid = solid, solid + 1
            if values[x] is None:
                candidate = x
            elif values[y] is None:
                candidate = y
            left, right = (n if values[at] is None else values[at] for at in (x, y))
            return bool(left < right)  # type: ignore[operator]

    assert introsort([Key(index) for index in range(n)]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [[], [1], [2, 1], [3] * 40, list(range(100)), list(range(100, 0, -1))])
def test_introsort_sorts(keys: list[int]) -> None:
    given = list(keys)
    order = introsort(given)
    assert order is not None
    assert [keys[index] for index in order] == sorted(keys) == given


def floats(shape: tuple[int, ...], seed: int, dtype: str = "float32", scale: float = 1.0) -> Tensor:
    values = (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)
    return Tensor(dtype, to_format(values, dtype))


def case(name: str, arguments: dict[str, Any], inputs: tuple[Tensor, ...], overload: str = "") -> Case:
    """Make a case without outputs that mean anything; `plant` gives it some."""
    return Case(name, f"aten::{name}", overload, arguments, inputs, (), ())


def plant(family: Callable[[Case], Problem | None], unplanted: Case, a: str, b: str, like: Tensor) -> Case:
    """Return the case with outputs computed by the explanations named `a` and `b`."""
    template = Case(**{**vars(unplanted), "a": (like,), "b": (like,)})
    problem = family(template)
    assert problem is not None
    ways = {way.name: way for way in problem.explanations}
    outputs = []
    for name in (a, b):
        computed = ways[name].compute(*problem.rows)
        assert computed is not None
        outputs.append((Tensor(like.dtype, computed[0].reshape(like.values.shape)),))
    return Case(**{**vars(unplanted), "a": outputs[0], "b": outputs[1]})


TENSORS = {"self": {"tensor": 0}, "mat2": {"tensor": 1}}
PLANTED = [
    (
        products,
        case("mm", TENSORS, (floats((6, 96), 1), floats((96, 10), 2))),
        "blocks of 32",
        "16 lanes over k, added as a tree",
        floats((6, 10), 0),
    ),
    (
        products,
        case("mm", TENSORS, (floats((6, 96), 1, "bfloat16"), floats((96, 40), 2, "bfloat16"))),
        "bfloat16 sums, one after another",
        "bfloat16, one after another",
        floats((6, 40), 0, "bfloat16"),
    ),
    (
        products,
        case("mm", TENSORS, (floats((6, 300), 1, "float16"), floats((300, 40), 2, "float16"))),
        "float16, one after another",
        "float16 sums, one after another",
        floats((6, 40), 0, "float16"),
    ),
    (
        products,
        case(
            "addmm",
            {"self": {"tensor": 0}, "mat1": {"tensor": 1}, "mat2": {"tensor": 2}},
            (floats((40,), 3, "bfloat16"), floats((6, 96), 1, "bfloat16"), floats((96, 40), 2, "bfloat16")),
        ),
        "float32, one after another, bias after rounding",
        "bfloat16, one after another, bias first",
        floats((6, 40), 0, "bfloat16"),
    ),
    (
        products,
        case(
            "linear",
            {"input": {"tensor": 0}, "weight": {"tensor": 1}, "bias": {"tensor": 2}},
            (floats((6, 96), 1), floats((20, 96), 2), floats((20,), 3)),
        ),
        "fused, one after another, bias first",
        "not fused, one after another, bias before rounding",
        floats((6, 20), 0),
    ),
    (
        products,
        case("bmm", TENSORS, (floats((3, 6, 64), 1), floats((3, 64, 10), 2))),
        "float64, rounded once",
        "fused, one after another",
        floats((3, 6, 10), 0),
    ),
    (
        elementwise,
        case("div", {"self": {"tensor": 0}, "other": {"float": (0.3).hex()}}, (floats((40, 20), 1),)),
        "times the reciprocal",
        "float32, rounded once",
        floats((40, 20), 0),
    ),
    (
        elementwise,
        case(
            "mul_",
            {"self": {"tensor": 0}, "other": {"tensor": 1}},
            (floats((40, 20), 1, "float16"), Tensor("float64", np.array(0.3))),
        ),
        "the number rounded to float16 first",
        "float32, rounded once",
        floats((40, 20), 0, "float16"),
    ),
    (
        elementwise,
        case(
            "add",
            {"self": {"tensor": 0}, "other": {"tensor": 1}, "alpha": {"float": (0.3).hex()}},
            (floats((40, 20), 1), floats((40, 1), 2)),
        ),
        "alpha in a fused multiply-add",
        "float32, rounded once",
        floats((40, 20), 0),
    ),
    (
        elementwise,
        case(
            "sub",
            {"self": {"tensor": 0}, "other": {"tensor": 1}, "alpha": {"float": (0.3).hex()}},
            (floats((40, 20), 1, "bfloat16"), floats((40, 1), 2, "bfloat16")),
        ),
        "the second operand rounded to bfloat16 first",
        "float32, rounded once",
        floats((40, 20), 0, "bfloat16"),
    ),
    (
        functions,
        case("exp", {"self": {"tensor": 0}}, (floats((40, 50), 1, scale=3.0),)),
        "Sleef's polynomial",
        "oneDNN's polynomial",
        floats((40, 50), 0),
    ),
    (
        functions,
        case("gelu", {"self": {"tensor": 0}}, (floats((40, 50), 1, scale=3.0),)),
        "correctly rounded erf",
        "correctly rounded",
        floats((40, 50), 0),
    ),
    (
        softmax,
        case("_softmax", {"self": {"tensor": 0}, "dim": 1}, (floats((18, 41), 1, scale=3.0),)),
        "a correctly rounded exponential, one after another, divided by the sum",
        "oneDNN's exponential, 8 lanes, times the sum's reciprocal",
        floats((18, 41), 0),
    ),
    (
        softmax,
        case("_log_softmax", {"self": {"tensor": 0}, "dim": -1}, (floats((60, 201), 1, scale=3.0),)),
        "Sleef's exponential, 8 lanes, a correctly rounded logarithm",
        "Sleef's exponential, one after another, a correctly rounded logarithm",
        floats((60, 201), 0),
    ),
    (
        sums,
        case("sum", {"self": {"tensor": 0}, "dim": [1]}, (floats((90, 345), 1),), "dim_IntList"),
        "cascade in 8 lanes, 4 streams",
        "16 lanes",
        floats((90,), 0),
    ),
    (
        sums,
        case("mean", {"self": {"tensor": 0}, "dim": [0], "keepdim": True}, (floats((345, 90), 1),), "dim"),
        "one after another",
        "float64",
        floats((1, 90), 0),
    ),
    (
        vector_norm,
        case("linalg_vector_norm", {"self": {"tensor": 0}, "dim": [-1]}, (floats((90, 133), 1),)),
        "16 lanes, fused, added as a tree",
        "float64, rounded once",
        floats((90,), 0),
    ),
]


@pytest.mark.parametrize(
    ("family", "unplanted", "a", "b", "like"), PLANTED, ids=[f"{row[1].name}-{row[2]}" for row in PLANTED]
)
def test_what_was_planted_is_found(
    family: Callable[[Case], Problem | None], unplanted: Case, a: str, b: str, like: Tensor
) -> None:
    found = explain_case(plant(family, unplanted, a, b, like))
    assert found.a is not None
    assert found.b is not None
    assert (found.a.name, found.b.name) == (a, b)


def test_an_axis_that_is_not_the_last_one() -> None:
    given = floats((4, 41, 3), 1, scale=3.0)
    moved = Tensor("float32", np.ascontiguousarray(np.moveaxis(given.values, 1, 2)))
    arguments = {"self": {"tensor": 0}, "dim": -1}
    way = "Sleef's exponential, one after another, divided by the sum"
    planted = plant(softmax, case("_softmax", arguments, (moved,)), way, way, moved)
    outputs = (Tensor("float32", np.moveaxis(planted.a[0].values, 2, 1)),)
    found = explain_case(Case("", "aten::_softmax", "", {**arguments, "dim": 1}, (given,), outputs, outputs))
    assert found.a is not None
    assert found.a.name == way


def test_layer_norm_without_weights_and_short_of_a_vector() -> None:
    given = floats((50, 83), 1, scale=4.0)
    mean, variance = welford(given.values, width=8, fused=False, merged=False)
    scale = np.float32(1) / np.sqrt(variance + np.float32(1e-5))
    normalized = fma((given.values - mean[:, None]) * scale[:, None], np.float32(1), np.float32(0))
    outputs = tuple(Tensor("float32", values) for values in (normalized, mean[:, None], scale[:, None]))
    case_ = Case(
        "",
        "aten::native_layer_norm",
        "",
        {"input": {"tensor": 0}, "normalized_shape": [83]},
        (given,),
        outputs,
        outputs,
    )
    assert layer_norm(case_) is not None
    found = explain_case(case_)
    assert found.a is not None
    assert found.a.name.startswith("Welford in 8 lanes, not fused, merges not fused; x minus mean")


@pytest.mark.parametrize("n", [5, 8, 130, 384, 1000, 4099])
def test_welford_is_a_mean_and_a_variance(n: int) -> None:
    rows = np.random.default_rng(n).standard_normal((3, n)).astype(np.float32)
    mean, variance = welford(rows, width=8, fused=True, merged=True)
    np.testing.assert_allclose(mean, rows.mean(axis=1, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(variance, rows.var(axis=1, dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("exponential", [exp_sleef, exp_onednn])
def test_exponentials_are_close_to_the_truth(exponential: Callable[[Any], Any]) -> None:
    x = np.linspace(-87, 88, 100_001).astype(np.float32)
    np.testing.assert_allclose(exponential(x), np.exp(x.astype(np.float64)), rtol=5e-7)
    assert exponential(np.array([-200.0], dtype=np.float32))[0] == 0


@pytest.mark.parametrize(("descending", "stable_first"), [(False, True), (True, True), (False, False), (True, False)])
def test_ties_either_way(descending: bool, stable_first: bool) -> None:
    row = np.array([[3, 1, 3, 2, 1, 3]])
    orders = {
        (False, True): [1, 4, 3, 0, 2, 5],
        (True, True): [0, 2, 5, 3, 1, 4],
        (False, False): [4, 1, 3, 5, 2, 0],
        (True, False): [5, 2, 0, 3, 4, 1],
    }
    indices = np.array([orders[descending, stable_first]])
    outputs = (Tensor("int64", np.take_along_axis(row, indices, axis=1)), Tensor("int64", indices))
    arguments = {"self": {"tensor": 0}, "descending": descending}
    case_ = Case("", "aten::sort", "", arguments, (Tensor("int64", row),), outputs, outputs)
    assert sorting(case_) is not None
    found = explain_case(case_)
    assert found.a is not None
    assert found.a.name == ("stable" if stable_first else "ties backwards")


def test_topk_takes_the_first_of_equal_values() -> None:
    row = np.array([[3.0, 1.0, 3.0, 2.0]], dtype=np.float32)
    a, b = ((Tensor("float32", row[:, order]), Tensor("int64", np.array([order]))) for order in ([0, 2], [2, 0]))
    found = explain_case(Case("", "aten::topk", "", {"self": {"tensor": 0}, "k": 2}, (Tensor("float32", row),), a, b))
    assert found.a is not None
    assert found.b is not None
    assert (found.a.name, found.b.name) == ("stable", "ties backwards")


@pytest.mark.parametrize(
    "unknown",
    [
        case("convolution", {"input": {"tensor": 0}}, (floats((2, 3), 1),)),
        case("gelu", {"self": {"tensor": 0}, "approximate": "tanh"}, (floats((2, 3), 1),)),
        case(
            "div",
            {"self": {"tensor": 0}, "other": {"float": (2.0).hex()}, "rounding_mode": "floor"},
            (floats((2, 3), 1),),
        ),
        case(
            "addmm",
            {"self": {"tensor": 0}, "mat1": {"tensor": 0}, "mat2": {"tensor": 0}, "alpha": 2},
            (floats((3, 3), 1),),
        ),
        case("linalg_vector_norm", {"self": {"tensor": 0}, "ord": 1, "dim": [1]}, (floats((2, 3), 1),)),
        case("sort", {"self": {"tensor": 0}}, (Tensor("float32", np.array([1.0, np.nan], dtype=np.float32)),)),
        case("sum", {"self": {"tensor": 0}, "dim": [0, 1]}, (floats((2, 3), 1),)),
        case("_softmax", {"self": {"tensor": 0}, "dim": -1}, (floats((2, 3), 1, "bfloat16"),)),
    ],
    ids=lambda value: value.name,
)
def test_nothing_is_said_of_what_is_not_modelled(unknown: Case) -> None:
    output = (floats((2, 3), 9),)
    found = explain_case(Case(**{**vars(unknown), "a": output, "b": output}))
    assert found.a is None
    assert found.b is None
    assert found.tried == ()


def test_explanations_that_were_not_reached_can_be_asked_for() -> None:
    found = explain(CASES / "2.0.1-2.1.0/bmm-bfloat16")
    assert found.b is not None
    assert found.b.name == "float32, one after another"
    assert found.reproduces("float32, one after another", "b")
    assert found.reproduces("float64, rounded once", "b")
    assert not found.reproduces("float64, rounded once", "a")
    assert not found.reproduces("no such explanation", "a")


def test_time_is_bounded() -> None:
    found = explain(CASES / "2.1.0-2.2.2/native_layer_norm-float32", work=-1)
    assert found.cut_short
    assert found.tried == ()


@pytest.mark.parametrize("name", ["case.json", "inputs.safetensors", "outputs.safetensors"])
def test_a_case_without_one_of_its_files(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "case"
    shutil.copytree(CASES / "2.0.1-2.1.0/gelu-float32", folder)
    (folder / name).unlink()
    with pytest.raises(StoreError, match=name):
        read_case(folder)


def test_a_damaged_case(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(CASES / "2.0.1-2.1.0/gelu-float32", folder)
    content = json.loads((folder / "case.json").read_text())
    content["inputs"][0]["shape"] = [32, 16]
    (folder / "case.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="input0 is not the tensor"):
        read_case(folder)
    content["schema_version"] = 2
    (folder / "case.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="schema 2"):
        read_case(folder)
    (folder / "outputs.safetensors").write_bytes(b"\x00" * 20)
    content["schema_version"] = 1
    (folder / "case.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="damaged"):
        read_case(folder)


def test_bfloat16_is_read_as_its_values() -> None:
    found = read_case(CASES / "2.0.1-2.1.0/div-Tensor-bfloat16")
    assert found.inputs[0].dtype == "bfloat16"
    assert found.inputs[0].values.dtype == np.float32
    assert found.operation == "div"
    np.testing.assert_array_equal(to_format(found.inputs[0].values, "bfloat16"), found.inputs[0].values)


# What may be said of a cause: proven, candidate or unknown, and in which words.


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
