"""Probes are made from what passes recorded: what computes, each shape once, and of indexing the largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reportlib.sweep.probes import make
from reportlib.trace.format import Operation, TensorRecord


@dataclass
class Recorded:
    """A trace as `make` reads it."""

    arm: dict[str, str]
    passes: dict[str, list[Operation]]

    def operations(self, slug: str) -> Iterator[Operation]:
        return iter(self.passes[slug])


def operation(name: str, *shape: int, dtype: str = "float32", writes: bool = True, **arguments: Any) -> Operation:
    tensor = TensorRecord(dtype, shape, (1,) * len(shape), "hash", 1)
    given = {"self": {"tensor": 0}, **arguments}
    return Operation(0, f"aten::{name}", "", "", "", given, (tensor,), {"tensor": 0}, (tensor,), (1,) if writes else ())


def trace(precision: str, **passes: list[Operation]) -> Any:
    return Recorded({"precision": precision}, passes)


def test_views_and_copies_are_no_probes_and_a_shape_is_one() -> None:
    batch = [
        operation("view", 4, writes=False),
        operation("clone", 4),
        *[operation("gelu", 4)] * 6,
        operation("gelu", 5),
    ]
    made = make([trace("float32", batch=batch)])
    assert [probe["id"] for probe in made[:2]] == ["gelu float32 4", "gelu float32 5"]
    assert {probe["name"] for probe in made[2:]} == {"aten::sort", "torch::normalize"}


def test_what_both_precisions_run_is_of_both() -> None:
    norm, half = operation("native_layer_norm", 8), operation("gelu", 8, dtype="bfloat16")
    made = make([trace("float32", text0=[norm]), trace("autocast", text0=[norm, half], batch=[half])])
    assert [(probe["precisions"], probe["passes"]) for probe in made[:2]] == [
        (["float32", "autocast"], ["text0"]),
        (["autocast"], ["text0", "batch"]),
    ]


def test_of_an_index_pass_the_largest_of_each_kind_counts_and_no_counter() -> None:
    index = [operation("abs", 100), operation("abs", 300), operation("abs", 200), operation("gt", 1, dtype="int64")]
    made = make([trace("float32", index=index)])
    assert [probe["id"] for probe in made[:-2]] == ["abs float32 300"]
