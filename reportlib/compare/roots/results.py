"""What a comparison of two traces says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from reportlib.trace.format import TensorRecord

#: Verdicts of a pass, from the least to the most that can be wrong; a comparison has its worst pass's.
VERDICTS = {
    "identical": "the same operations in the same order, with the same bytes",
    "reordered": "the same operations with the same bytes, in another order",
    "inserted": "operations were inserted or removed, without effect on the output",
    "root": "operations that read the same bytes returned others",
    "replaced": "the output differs, and every difference enters through inserted, removed or replaced operations",
    "inputs differ": "the pass was given other tokens or weights, so nothing can be said of its operations",
    "inconclusive": "recording changed the output of a pass, so nothing can be said",
}


@dataclass(frozen=True)
class RootOperation:
    """An operation whose inputs have the same bytes in A and B and whose outputs do not.

    Attributes
    ----------
    position_a, position_b : int
        In each trace's order of execution.
    name, overload : str
        ``aten::bmm`` and an empty overload.
    module_a, module_b : str
        The module that it ran in.
    arguments : mapping
        Those that are not tensors count as equal; see `reportlib.trace.format.Operation`.
    inputs_a, inputs_b : tuple of TensorRecord
        Same dtype, shape and digest. Strides may differ.
    outputs_a, outputs_b : tuple of TensorRecord
        What was returned or written.
    differs : tuple of str
        What differs in the outputs: ``count``, ``dtype``, ``shape``, ``bytes``, ``result`` (a plain number).
    same_strides : bool
        Whether the inputs also lie in memory alike. Where they do not, that alone can be the reason.
    tainted : int
        How many later operations of B the difference reaches: those that read a tensor (dtype, shape and bytes)
        which A never has, from memory that the root, or an operation so reached, wrote to or returned a view of.
    reaches_output : bool
        Whether it reaches the output of the pass in that way.
    source : str
        The line of Python that called it in B.
    """

    position_a: int
    position_b: int
    name: str
    overload: str
    module_a: str
    module_b: str
    arguments: Mapping[str, Any]
    inputs_a: tuple[TensorRecord, ...]
    inputs_b: tuple[TensorRecord, ...]
    outputs_a: tuple[TensorRecord, ...]
    outputs_b: tuple[TensorRecord, ...]
    differs: tuple[str, ...]
    same_strides: bool
    tainted: int
    reaches_output: bool
    source: str = ""

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class Unmatched:
    """An operation that only one side has, although the other side has every tensor that it reads.

    Attributes
    ----------
    side : str
        ``A`` or ``B``.
    position : int
        In that side's order of execution.
    name, overload, module : str
        As for `RootOperation`.
    arguments : mapping
        As for `RootOperation`.
    new_tensor : bool
        Whether an output (dtype, shape and bytes) is one that the other side never has.
    tainted : int
        How many later operations of its own side that difference reaches, counted as for `RootOperation`.
    reaches_output : bool
        Whether it reaches the output.
    counterpart : int or None
        Position on the other side of an unmatched operation of the same name that reads the same tensors: the
        arguments that are no tensors were changed.
    """

    side: str
    position: int
    name: str
    overload: str
    module: str
    arguments: Mapping[str, Any]
    new_tensor: bool
    tainted: int
    reaches_output: bool
    counterpart: int | None

    @property
    def full_name(self) -> str:
        """Name with overload: ``aten::add.Tensor``."""
        return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass(frozen=True)
class PassComparison:
    """One recorded pass in A and B.

    Attributes
    ----------
    slug, description : str
        Of the pass.
    verdict : str
        A key of `VERDICTS`.
    same_output : bool
        Whether the output has the same dtype, shape and bytes.
    operations_a, operations_b : int
        How many were recorded.
    matched : int
        How many were paired: same name, arguments and bytes read.
    roots : tuple of RootOperation
        In B's order of execution.
    unmatched : tuple of Unmatched
        A's, then B's, in order of execution.
    out_of_reach_a, out_of_reach_b : int
        Operations that read a tensor which the other side never has. Whether they differ by themselves cannot be seen
        from hashes: they would have to be run again on the other side's inputs.
    moved : tuple of (int, int)
        Positions in A and B of the fewest operations that have to move to give A's order in B.
    """

    slug: str
    description: str
    verdict: str
    same_output: bool
    operations_a: int
    operations_b: int
    matched: int = 0
    roots: tuple[RootOperation, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    out_of_reach_a: int = 0
    out_of_reach_b: int = 0
    moved: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All passes of two traces.

    Attributes
    ----------
    a, b : mapping
        Arm and torch of each side, as in its manifest.
    passes : tuple of PassComparison
        In the order in which A recorded them.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    passes: tuple[PassComparison, ...]

    @property
    def verdict(self) -> str:
        """The worst pass's verdict."""
        return max((entry.verdict for entry in self.passes), key=list(VERDICTS).index)

    def to_json(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {**asdict(self), "verdict": self.verdict}
