"""Mechanisms: what an operation computed, found by computing it again until the bytes are the same.

Each family is a module whose functions take a `reportlib.compare.roots.mechanisms.cases.Case` and return the ways in
which the operation may have been computed. `explain` tries them, and `label` says how far it is known then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reportlib.compare.roots.mechanisms.cases import Case, Explanation, Problem, read_case
from reportlib.compare.roots.mechanisms.elementwise import elementwise, functions
from reportlib.compare.roots.mechanisms.products import products
from reportlib.compare.roots.mechanisms.reductions import layer_norm, softmax, sorting, sums, vector_norm
from reportlib.floats import Array

#: Two orders of adding give most sums the same last bit, so a few elements fit more than one explanation: of fewer than
#: this, nothing is called proven.
FEW = 128


@dataclass(frozen=True)
class How:
    """An explanation that reproduces one side bit for bit.

    Attributes
    ----------
    name, description : str
        Short, and whole.
    """

    name: str
    description: str


@dataclass(frozen=True)
class Tried:
    """An explanation that was tried.

    Attributes
    ----------
    name, description : str
        As in `How`.
    equal_a, equal_b : int
        How many of the elements it computed have A's bytes, and B's.
    elements : int
        How many it computed: some rows' at first, all of them where those were reproduced.
    """

    name: str
    description: str
    equal_a: int
    equal_b: int
    elements: int


@dataclass(frozen=True)
class Mechanism:
    """What computes A's bytes and what computes B's, as far as it was found.

    Attributes
    ----------
    a, b : How or None
        What reproduces that side on every element; None where nothing tried does.
    tried : tuple of Tried
        In the order in which they were tried.
    cut_short : bool
        Whether time ran out before everything was tried.
    label : str
        ``proven``, ``candidate`` or ``unknown``; see `label`.
    sentence : str
        What can be said, in words.
    switch : str or None
        The single switch that makes one side return the other's bytes.
    reproduces : callable
        Whether the explanation of a name reproduces a side, ``a`` or ``b``, on every element: for those that were not
        tried because a plainer one did.
    """

    a: How | None
    b: How | None
    tried: tuple[Tried, ...]
    cut_short: bool
    label: str = "unknown"
    sentence: str = ""
    switch: str | None = None
    reproduces: Callable[[str, str], bool] = field(default=lambda _name, _side: False, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return what ``roots.json`` holds; that time ran out is in the sentence."""
        return {
            "label": self.label,
            "sentence": self.sentence,
            "a": asdict(self.a) if self.a else None,
            "b": asdict(self.b) if self.b else None,
            "tried": [asdict(entry) for entry in self.tried],
            "switch": self.switch,
        }


def on_every_case(mechanisms: Sequence[Mechanism]) -> Mechanism:
    """Join what was found for several cases of one operation: one explanation must reproduce a side in each of them.

    A small case may fit a plainer explanation than a large one does, by chance; so what was found for one is tried on
    the others. The attempts kept are the first case's.
    """
    if not mechanisms:
        raise ValueError("no case, so no mechanism")
    first = mechanisms[0]
    return replace(
        first,
        a=_common(mechanisms, "a"),
        b=_common(mechanisms, "b"),
        cut_short=any(entry.cut_short for entry in mechanisms),
    )


def _common(mechanisms: Sequence[Mechanism], side: str) -> How | None:
    """Return the first explanation found for one case that reproduces this side in all of them."""
    found: list[How | None] = [getattr(entry, side) for entry in mechanisms]
    if None in found:
        return None
    for how in filter(None, found):
        if all(own == how or entry.reproduces(how.name, side) for own, entry in zip(found, mechanisms, strict=True)):
            return how
    return None


def label(mechanism: Mechanism, switches: Sequence[Mapping[str, Any]], upstream: Mapping[str, Any] | None) -> Mechanism:
    """Say how far the mechanism of an operation is known.

    *Proven*: one explanation reproduces A's bytes and another B's, on every element; or a single switch gives, in one
    environment, exactly the other's bytes (then what is proven is what the switch controls). *Candidate*: one side is
    reproduced, or an upstream change is known that fits, or what would be a proof rests on fewer than `FEW` elements.
    *Unknown*: otherwise.

    Parameters
    ----------
    mechanism : Mechanism
        Of every case of the operation; see `on_every_case`.
    switches : sequence of mapping
        ``switch``, ``environment`` (``a`` or ``b``), ``gives`` (``a``, ``b``, ``both``, ``neither``, ``failed``).
    upstream : mapping or None
        See `reportlib.compare.roots.causes.find_upstream`.
    """
    # One environment returns the other's bytes under it, and not its own.
    crossed = (("a", "b"), ("b", "a"))
    turned = next((entry for entry in switches if (entry["environment"], entry["gives"]) in crossed), None)
    switch = str(turned["switch"]) if turned else None
    both = mechanism.a is not None and mechanism.b is not None
    if (both or turned) and not _too_few(mechanism):
        word = "proven"
    elif both or turned or mechanism.a or mechanism.b or upstream:
        word = "candidate"
    else:
        word = "unknown"
    return replace(mechanism, label=word, switch=switch, sentence=_sentence(mechanism, turned, upstream))


def _too_few(mechanism: Mechanism) -> bool:
    return 0 < max((entry.elements for entry in mechanism.tried), default=0) < FEW


def _sentence(mechanism: Mechanism, turned: Mapping[str, Any] | None, upstream: Mapping[str, Any] | None) -> str:
    parts = []
    if mechanism.a and mechanism.b:
        parts.append(
            f"A's bytes are those of {mechanism.a.description}; B's are those of {mechanism.b.description}:"
            " each reproduced bit for bit, on every element."
        )
    elif mechanism.a or mechanism.b:
        side, other, how = ("A", "B", mechanism.a) if mechanism.a else ("B", "A", mechanism.b)
        described = how.description if how else ""
        parts.append(f"{side}'s bytes are those of {described}: reproduced bit for bit, on every element.")
        parts.append(f"Nothing tried reproduces {other}; {_closest(mechanism, other)}.")
    elif mechanism.tried:
        parts.append(f"None of {len(mechanism.tried)} explanations reproduces either side.")
    elif not mechanism.cut_short:
        parts.append("There is no explanation to try for this operation.")
    if turned:
        side, other = ("A", "B") if turned["environment"] == "a" else ("B", "A")
        parts.append(f"With {turned['switch']}, {side} returns {other}'s bytes.")
    if upstream:
        fits = "It changed upstream in" if upstream["status"] == "named" else "A change upstream that fits is"
        parts.append(f"{fits} “{upstream['title']}”.")
    if ((mechanism.a and mechanism.b) or turned) and _too_few(mechanism):
        parts.append(f"That rests on {max(entry.elements for entry in mechanism.tried)} elements, too few for a proof.")
    if mechanism.cut_short:
        parts.append("The search was stopped for time.")
    return " ".join(parts)


def _closest(mechanism: Mechanism, side: str) -> str:
    best = max(
        mechanism.tried,
        key=lambda entry: (entry.equal_a if side == "A" else entry.equal_b) / max(entry.elements, 1),
    )
    equal = best.equal_a if side == "A" else best.equal_b
    return f"the closest, “{best.name}”, does so for {equal:,} of {best.elements:,} elements"


# Try explanations against a case until one reproduces A's bytes and another B's.


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
