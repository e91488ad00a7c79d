"""The small language of requirements: ``ivf identical, codes differing < 1%, centroids close bnb``.

::

    requirements = requirement { "," requirement }
    requirement  = subject claim
    subject      = artifact | "all" | "integers" | "floats" | measure
    artifact     = "doclens" | "codes" | "residuals" | "ivf" | "ivf_lengths" | "avg_residual"
                 | "bucket_cutoffs" | "bucket_weights" | "centroids"
    measure      = word "@" digits                      (recall@10)
    claim        = "identical" | "same set" | "close" [ "default" | "bnb" ]
                 | quantity ( "<" | "<=" ) number [ "%" ]
    quantity     = "differing" | "groups_differing" | "max_abs" | "mean_abs" | "max_rel" | "max_ulp"
                 | "drop"                               (of a measure)

``close`` and ``max_rel`` are for floats, ``same set`` for integers (which are never given a tolerance),
``groups_differing`` for the ivf, a percentage for ``differing``, ``groups_differing`` and ``drop``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from reportlib.compare.index_side import POINTS
from reportlib.errors import RequirementError

#: Artifacts by name, with ``float`` or ``integer``.
KINDS = {p.name: p.kind for p in POINTS}
#: Words that stand for several artifacts.
SETS = {
    "all": tuple(KINDS),
    "integers": tuple(n for n, kind in KINDS.items() if kind == "integer"),
    "floats": tuple(n for n, kind in KINDS.items() if kind == "float"),
}
FRACTIONS = ("differing", "groups_differing", "drop")
QUANTITIES = ("differing", "groups_differing", "max_abs", "mean_abs", "max_rel", "max_ulp")
TOLERANCES = ("default", "bnb")
_MEASURE = re.compile(r"[A-Za-z][A-Za-z0-9]*@[1-9][0-9]*")
_TOKEN = re.compile(r",|[<>=!]+|[^\s,<>=!]+")


@dataclass(frozen=True)
class Requirement:
    """One requirement, as its parts.

    Attributes
    ----------
    text : str
        As written.
    subject : str
        An artifact, a key of `SETS`, or a measure of search (``recall@10``).
    claim : str
        ``identical``, ``same set``, ``close`` or the name of a quantity.
    tolerance : str or None
        For ``close``: ``default``, ``bnb``, or None for either.
    limit : float or None
        For a quantity; a fraction where a percentage was written.
    inclusive : bool
        Whether the limit itself is allowed.
    """

    text: str
    subject: str
    claim: str
    tolerance: str | None = None
    limit: float | None = None
    inclusive: bool = False

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The artifacts that it is about; none for a measure of search."""
        return SETS.get(self.subject) or ((self.subject,) if self.subject in KINDS else ())


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int


def parse(text: str) -> tuple[Requirement, ...]:
    """Return the requirements written in `text`, at least one.

    Raises
    ------
    RequirementError
        When it cannot be understood; the message points at the word.
    """
    tokens = [_Token(m[0], m.start(), m.end()) for m in _TOKEN.finditer(text)]
    groups: list[list[_Token]] = [[]]
    for token in tokens:
        if token.text == ",":
            if not groups[-1]:
                _refuse(text, token, "a requirement is missing before this comma", "write one, or remove the comma")
            groups.append([])
        else:
            groups[-1].append(token)
    if not groups[-1]:
        end = _Token("", len(text), len(text))
        _refuse(text, end, "a requirement is missing here", "write one, such as 'ivf identical'")
    return tuple(_Parser(text, group).requirement() for group in groups)


def _refuse(text: str, token: _Token, what: str, mend: str) -> NoReturn:
    pointer = " " * token.start + "^" * max(1, token.end - token.start)
    shown = re.sub(r"\s", " ", text)
    raise RequirementError(f"{what}\n    {shown}\n    {pointer}", mend)


class _Parser:
    """Reads the tokens of one requirement from left to right."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.at = 0

    def requirement(self) -> Requirement:
        """Return the requirement that the tokens make, all of them."""
        subject = self.next("a subject", f"begin with one of {_listed([*KINDS, *SETS])}")
        if _MEASURE.fullmatch(subject.text):
            found = self._drop(subject.text)
        elif subject.text in KINDS or subject.text in SETS:
            found = self._claim(subject.text)
        else:
            mend = f"write one of {_listed([*KINDS, *SETS])}, or a measure such as recall@10"
            _refuse(self.text, subject, f"there is no artifact {subject.text!r}", mend)
        if self.at < len(self.tokens):
            extra = self.tokens[self.at]
            _refuse(self.text, extra, f"{extra.text!r} is one word too many", "put a comma between requirements")
        return found

    def next(self, what: str, mend: str) -> _Token:
        """Return the next token, or refuse because `what` is missing."""
        if self.at == len(self.tokens):
            end = self.tokens[-1].end
            _refuse(self.text, _Token("", end, end), f"{what} is missing here", mend)
        self.at += 1
        return self.tokens[self.at - 1]

    def _made(self, subject: str, claim: str, tolerance: str | None = None) -> Requirement:
        written = self.text[self.tokens[0].start : self.tokens[self.at - 1].end]
        return Requirement(" ".join(written.split()), subject, claim, tolerance)

    def _claim(self, subject: str) -> Requirement:
        claims = f"write identical, same set, close, or one of {_listed(QUANTITIES)} with a limit"
        word = self.next("what is required of it", claims)
        kinds = {KINDS[name] for name in SETS.get(subject, (subject,))}
        if word.text == "identical":
            return self._made(subject, "identical")
        if word.text == "same":
            second = self.next("the word 'set'", "write same set")
            if second.text != "set":
                _refuse(self.text, second, f"{second.text!r} does not follow 'same'", "write same set")
            self._only(word, kinds, "integer", "same set is for integers", "'close'")
            return self._made(subject, "same set")
        if word.text == "close":
            self._only(word, kinds, "float", "integers are never given a tolerance", "'identical' or 'differing < 1%'")
            return self._close(subject)
        if word.text not in QUANTITIES:
            _refuse(self.text, word, f"nothing can be required by the word {word.text!r}", claims)
        if word.text == "max_rel":
            self._only(word, kinds, "float", "max_rel is for floats", "'max_abs'")
        if word.text == "groups_differing" and subject != "ivf":
            _refuse(self.text, word, "only the ivf has groups, one per centroid", "write ivf groups_differing < 1%")
        return self._limit(subject, word.text)

    def _only(self, word: _Token, kinds: set[str], kind: str, what: str, instead: str) -> None:
        if kinds != {kind}:
            _refuse(self.text, word, what, f"write {instead}, or name {kind}s only")

    def _close(self, subject: str) -> Requirement:
        if self.at == len(self.tokens):
            return self._made(subject, "close")
        name = self.next("", "")
        if name.text not in TOLERANCES:
            _refuse(self.text, name, f"there is no tolerance {name.text!r}", "write close, close default or close bnb")
        return self._made(subject, "close", name.text)

    def _drop(self, measure: str) -> Requirement:
        word = self.next("the word 'drop'", f"write {measure} drop < 0.01")
        if word.text != "drop":
            what = f"nothing can be required of {measure} by the word {word.text!r}"
            _refuse(self.text, word, what, f"write {measure} drop < 0.01")
        return self._limit(measure, "drop")

    def _limit(self, subject: str, quantity: str) -> Requirement:
        sign = self.next("'<' or '<='", f"write {subject} {quantity} < 0.01")
        if sign.text not in ("<", "<="):
            _refuse(self.text, sign, f"{sign.text!r} is neither '<' nor '<='", "a requirement is a limit from above")
        number = self.next("a number", f"write {subject} {quantity} {sign.text} 0.01")
        value = _number(number.text.removesuffix("%"))
        if value is None:
            _refuse(self.text, number, f"{number.text!r} is no number from 0 up", "write one such as 0.01, 1e-6 or 1%")
        if number.text.endswith("%"):
            if quantity not in FRACTIONS:
                _refuse(self.text, number, f"{quantity} is no fraction", "write a number without %")
            value /= 100
        if value == 0 and sign.text == "<":
            _refuse(self.text, number, "nothing is smaller than 0", "write <= 0")
        made = self._made(subject, quantity)
        return Requirement(made.text, subject, quantity, None, value, sign.text == "<=")


def _number(text: str) -> float | None:
    # float() also takes 'nan', 'inf' and '1_000', which are typing errors here.
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
