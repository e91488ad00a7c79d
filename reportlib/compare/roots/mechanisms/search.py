"""Try explanations against a case until one reproduces A's bytes and another B's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from reportlib.compare.roots.cases import Case, read_case
from reportlib.compare.roots.mechanisms.arithmetic import Array
from reportlib.compare.roots.mechanisms.elementwise import elementwise
from reportlib.compare.roots.mechanisms.functions import functions
from reportlib.compare.roots.mechanisms.mechanism import How, Mechanism, Tried
from reportlib.compare.roots.mechanisms.norms import layer_norm, vector_norm
from reportlib.compare.roots.mechanisms.problem import Explanation, Problem
from reportlib.compare.roots.mechanisms.products import products
from reportlib.compare.roots.mechanisms.softmax import softmax, sums
from reportlib.compare.roots.mechanisms.sorting import sorting

#: How much the search may compute for a case, in numbers of its inputs read: about 20 seconds where one takes 40 ns.
#: Not a time, or what is found would depend on the machine.
WORK = 500_000_000
#: How many elements of the outputs the first look takes, and each step of the confirmation.
_SAMPLE, _CHUNK = 5_000, 100_000
_FAMILIES = (elementwise, functions, products, layer_norm, vector_norm, softmax, sums, sorting)


def explain(folder: Path, work: int = WORK) -> Mechanism:
    """Search for what reproduces the outputs of the case in `folder`.

    An explanation first computes some of the rows. Where it returns one side's bytes there, it computes all of them,
    and is named only when every element of every output is reproduced bit for bit.

    Parameters
    ----------
    folder : Path
        See `reportlib.compare.roots.cases`.
    work : int
        When to stop, in numbers read.

    Returns
    -------
    Mechanism
        Without label: see `reportlib.compare.roots.mechanisms.label`.

    Raises
    ------
    StoreError
        When the folder holds no whole case.
    """
    return explain_case(read_case(folder), work)


def explain_case(case: Case, work: int = WORK) -> Mechanism:
    """Search for what reproduces the outputs of a case in memory; see `explain`."""
    for family in _FAMILIES:
        problem = family(case)
        if problem is not None and len(problem.rows[0]):
            return _search(problem, _Budget(work))
    return Mechanism(a=None, b=None, tried=(), cut_short=False)


@dataclass
class _Budget:
    """What is left of the numbers that may be read."""

    left: int

    def spend(self, problem: Problem, rows: int) -> None:
        """Take note of an explanation computed on so many rows."""
        self.left -= rows * sum(given[:1].size for given in problem.rows)


@dataclass(frozen=True)
class _Count:
    a: int
    b: int
    elements: int


def _search(problem: Problem, budget: _Budget) -> Mechanism:
    found: dict[str, How | None] = {"a": None, "b": None}
    tried: list[Tried] = []
    sample = _sample_rows(problem)
    cut_short = False
    for explanation in problem.explanations:
        if all(found.values()):
            break
        if budget.left < 0:
            cut_short = True
            break
        budget.spend(problem, len(sample))
        count = _count(problem, explanation, sample)
        if count is None:
            continue
        complete = [side for side in ("a", "b") if found[side] is None and getattr(count, side) == count.elements]
        for side in complete:
            whole = _confirm(problem, explanation, side, budget)
            cut_short |= whole is None
            if whole is None:
                continue
            count = whole
            if getattr(whole, side) == whole.elements == _elements(problem):
                found[side] = How(explanation.name, explanation.description)
        tried.append(Tried(explanation.name, explanation.description, count.a, count.b, count.elements))
    again = partial(_reproduces, problem)
    return Mechanism(a=found["a"], b=found["b"], tried=tuple(tried), cut_short=cut_short, reproduces=again)


def _reproduces(problem: Problem, name: str, side: str) -> bool:
    explanation = next((entry for entry in problem.explanations if entry.name == name), None)
    if explanation is None:
        return False
    count = _confirm(problem, explanation, side, _Budget(WORK))
    return count is not None and getattr(count, side) == _elements(problem)


def _sample_rows(problem: Problem) -> Array:
    rows = len(problem.rows[0])
    wanted = min(rows, max(1, _SAMPLE * rows // max(_elements(problem), 1)))
    return np.unique(np.linspace(0, rows - 1, wanted).astype(np.int64))


def _elements(problem: Problem) -> int:
    return sum(output.size for output in problem.a)


def _confirm(problem: Problem, explanation: Explanation, side: str, budget: _Budget) -> _Count | None:
    """Count over all rows, until one differs; None when the budget ran out first."""
    rows = len(problem.rows[0])
    step = max(1, _CHUNK * rows // max(_elements(problem), 1))
    total = _Count(0, 0, 0)
    for start in range(0, rows, step):
        if start and budget.left < 0:
            return None
        chosen = np.arange(start, min(start + step, rows))
        budget.spend(problem, len(chosen))
        count = _count(problem, explanation, chosen)
        if count is None:
            return None
        total = replace(total, a=total.a + count.a, b=total.b + count.b, elements=total.elements + count.elements)
        if getattr(count, side) != count.elements:
            break
    return total


def _count(problem: Problem, explanation: Explanation, rows: Array) -> _Count | None:
    """Count the output elements of these rows that have A's bytes, and those that have B's."""
    outputs = explanation.compute(*(given[rows] for given in problem.rows))
    if outputs is None:
        return None
    a, b, elements = 0, 0, 0
    for computed, left, right in zip(outputs, problem.a, problem.b, strict=True):
        elements += computed.size
        a += _same_bytes(computed, left[rows])
        b += _same_bytes(computed, right[rows])
    return _Count(a, b, elements)


def _same_bytes(computed: Array, recorded: Array) -> int:
    unsigned = np.dtype(f"u{recorded.dtype.itemsize}")
    same_type = np.ascontiguousarray(computed.reshape(recorded.shape), dtype=recorded.dtype)
    return int((same_type.view(unsigned) == np.ascontiguousarray(recorded).view(unsigned)).sum())
