"""What the search for a mechanism found, and what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


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
    """

    a: How | None
    b: How | None
    tried: tuple[Tried, ...]
    cut_short: bool
    label: str = "unknown"
    sentence: str = ""
    switch: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what ``roots.json`` holds; that time ran out is in the sentence."""
        content = asdict(self)
        del content["cut_short"]
        return {**content, "tried": [asdict(entry) for entry in self.tried]}


def on_every_case(mechanisms: Sequence[Mechanism]) -> Mechanism:
    """Join what was found for several cases of one operation: a side is reproduced when it is in each, alike.

    The attempts kept are the first case's.

    Raises
    ------
    ValueError
        When there is none.
    """
    if not mechanisms:
        raise ValueError("no case, so no mechanism")
    first = mechanisms[0]
    return replace(
        first,
        a=first.a if all(entry.a == first.a for entry in mechanisms) else None,
        b=first.b if all(entry.b == first.b for entry in mechanisms) else None,
        cut_short=any(entry.cut_short for entry in mechanisms),
    )


def label(mechanism: Mechanism, switches: Sequence[Mapping[str, Any]], upstream: Mapping[str, Any] | None) -> Mechanism:
    """Say how far the mechanism of an operation is known.

    *Proven*: one explanation reproduces A's bytes and another B's, on every element; or a single switch gives, in one
    environment, exactly the other's bytes (then what is proven is what the switch controls). *Candidate*: one side is
    reproduced, or an upstream change is known that fits. *Unknown*: otherwise.

    Parameters
    ----------
    mechanism : Mechanism
        Of every case of the operation; see `on_every_case`.
    switches : sequence of mapping
        ``switch``, ``environment`` (``a`` or ``b``), ``gives`` (``a``, ``b``, ``both``, ``neither``, ``failed``).
    upstream : mapping or None
        See `reportlib.compare.roots.upstream.find`.
    """
    turned = next((entry for entry in switches if _crosses(entry)), None)
    switch = str(turned["switch"]) if turned else None
    both = mechanism.a is not None and mechanism.b is not None
    if both or turned:
        word = "proven"
    elif mechanism.a or mechanism.b or upstream:
        word = "candidate"
    else:
        word = "unknown"
    return replace(mechanism, label=word, switch=switch, sentence=_sentence(mechanism, turned, upstream))


def _crosses(entry: Mapping[str, Any]) -> bool:
    """Return whether a switch makes one environment return the other's bytes, and not its own."""
    return (entry["environment"], entry["gives"]) in (("a", "b"), ("b", "a"))


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
