"""What the search for a mechanism found, and what may be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

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
        See `reportlib.compare.roots.upstream.find`.
    """
    turned = next((entry for entry in switches if _crosses(entry)), None)
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
