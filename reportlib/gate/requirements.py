"""Requirements: the words that a gate knows, how they are read, and what can become of one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from reportlib.compare.indexes import POINTS, THRESHOLD
from reportlib.errors import RequirementError
from reportlib.measures import AGREEMENTS, QUALITIES, Agreement, agreement

#: What can become of a requirement.
HOLDS, FAILS, INCONCLUSIVE = "holds", "does not hold", "inconclusive"

# The words of requirements: what can be required of which subject.

#: Artifacts by name, with ``float`` or ``integer``; the last is only in indexes of fast-plaid.
KINDS = {p.name: p.kind for p in (*POINTS, THRESHOLD)}
#: Words that stand for several artifacts.
SETS = {
    "all": tuple(KINDS),
    "integers": tuple(n for n, kind in KINDS.items() if kind == "integer"),
    "floats": tuple(n for n, kind in KINDS.items() if kind == "float"),
}
#: What can be limited of an artifact.
QUANTITIES = ("differing", "groups_differing", "max_abs", "mean_abs", "max_rel", "max_ulp")
TOLERANCES = ("default", "bnb")

#: Measures of retrieval quality, which are written with their k: ``recall@10``.
MEASURES = tuple(quality.name.lower() for quality in QUALITIES)
#: How much of what search returns stays the same, from 0 to 1; a requirement is a limit from below.
STAYS = tuple(a.words for a in AGREEMENTS if a.falls)
#: How much of it changes; a requirement is a limit from above.
CHANGES = tuple(a.words for a in AGREEMENTS if not a.falls)
#: What the same torch changes when its index is made again with another seed of k-means.
RESEEDING = "smaller than reseeding"
#: The subject of `RESEEDING` where none is written.
SEARCH = "search"

#: What may be written as a percentage.
FRACTIONS = ("differing", "groups_differing", "drop", *(a.words for a in AGREEMENTS if not a.counts_passages))
_AT_K = re.compile(r"([A-Za-z][A-Za-z0-9]*)@([1-9][0-9]*)")


@dataclass(frozen=True)
class Requirement:
    """One requirement, as its parts.

    Attributes
    ----------
    text : str
        As written.
    subject : str
        An artifact, a key of `SETS`, a measure of search (``recall@10``), or one of `STAYS` (with its k, where
        that is written), `CHANGES` or `SEARCH`.
    claim : str
        ``identical``, ``same set``, ``close``, the name of a quantity, ``drop``, one of `STAYS` or `CHANGES`, or
        `RESEEDING`.
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
        """The artifacts that it is about; none where it is about search."""
        return SETS.get(self.subject) or ((self.subject,) if self.subject in KINDS else ())

    @property
    def measure(self) -> str:
        """The measure of search that it is about, in lower case and without its k; empty for none."""
        name = at_k(self.subject)
        return name if name in MEASURES else ""

    @property
    def agreement(self) -> Agreement | None:
        """The agreement of search that it is about, if it is about one."""
        return agreement(self.claim)

    @property
    def falls(self) -> bool:
        """Whether its limit is one from below."""
        return self.agreement is not None and self.agreement.falls

    @property
    def k(self) -> int | None:
        """How many passages of a query count, where that is written."""
        written = _AT_K.fullmatch(self.subject)
        return int(written[2]) if written else None

    def allows(self, value: float) -> bool:
        """Return whether a value is inside the limit."""
        limit = 0.0 if self.limit is None else self.limit
        if value == limit:
            return self.inclusive
        return value > limit if self.falls else value < limit


@dataclass(frozen=True)
class Judgement:
    """What became of one requirement.

    Attributes
    ----------
    requirement : Requirement
        What was required.
    outcome : str
        `HOLDS`, `FAILS` or `INCONCLUSIVE`.
    reason : str
        What was measured, or why nothing could be.
    artifact : str
        The artifact that decided; empty where there is none.
    file : str
        That artifact's file in A's index folder; of several the first that differs. Empty where there is none.
    where : str
        Which of several comparisons it is about; empty where there is one.
    """

    requirement: Requirement
    outcome: str
    reason: str
    artifact: str = ""
    file: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The judgement in one line."""
        before = f"{self.where}: " if self.where else ""
        return f"{before}{self.requirement.text}: {self.outcome}; {self.reason}"


def at_k(word: str) -> str:
    """Return what stands before the ``@`` of ``recall@10``, in lower case; empty where `word` is none of that form."""
    written = _AT_K.fullmatch(word)
    return written[1].lower() if written else ""


# The small language of requirements: ``ivf identical, codes differing < 1%, recall@10 drop < 0.01``.
#
# ::
#
#     requirements = requirement { "," requirement }
#     requirement  = artifacts claim | search
#     artifacts    = artifact | "all" | "integers" | "floats"
#     artifact     = "doclens" | "codes" | "residuals" | "ivf" | "ivf_lengths" | "avg_residual"
#                  | "bucket_cutoffs" | "bucket_weights" | "centroids" | "cluster_threshold"
#     claim        = "identical" | "same set" | "close" [ "default" | "bnb" ]
#                  | quantity below
#     quantity     = "differing" | "groups_differing" | "max_abs" | "mean_abs" | "max_rel" | "max_ulp"
#     search       = measure "drop" below
#                  | agreement [ "@" digits ] above      (one that falls with a change)
#                  | agreement below                     (one that rises with it)
#                  | [ measure ] "smaller than reseeding"
#     measure      = quality "@" digits                  (in any case: nDCG@10)
#     agreement, quality: the words of `reportlib.measures`
#     below        = ( "<" | "<=" ) number [ "%" ]
#     above        = ( ">" | ">=" ) number [ "%" ]
#
# ``close`` and ``max_rel`` are for floats, ``same set`` for integers (which are never given a tolerance),
# ``groups_differing`` for the ivf. A percentage is a hundredth of what lies between 0 and 1: ``differing``,
# ``groups_differing``, ``drop`` (of the measure itself, not of what it was), and agreements that do not count passages.

_TOKEN = re.compile(r",|[<>=!]+|[^\s,<>=!]+")


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
        known = subject.text in KINDS or subject.text in SETS
        requirement = self._claim(subject.text) if known else self._search(subject)
        if self.at < len(self.tokens):
            extra = self.tokens[self.at]
            _refuse(self.text, extra, f"{extra.text!r} is one word too many", "put a comma between requirements")
        return requirement

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
            self._rest("same set")
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

    def _rest(self, phrase: str) -> None:
        """Read the words of a phrase after its first, which has been read."""
        before, *words = phrase.split()
        for expected in words:
            word = self.next(f"the word '{expected}'", f"write {phrase}")
            if word.text != expected:
                _refuse(self.text, word, f"{word.text!r} does not follow {before!r}", f"write {phrase}")
            before = expected

    def _close(self, subject: str) -> Requirement:
        if self.at == len(self.tokens):
            return self._made(subject, "close")
        name = self.next("", "")
        if name.text not in TOLERANCES:
            _refuse(self.text, name, f"there is no tolerance {name.text!r}", "write close, close default or close bnb")
        return self._made(subject, "close", name.text)

    def _search(self, subject: _Token) -> Requirement:
        """Return a requirement on search, whose first word has been read."""
        name = at_k(subject.text)
        if name in MEASURES:
            return self._quality(subject.text)
        if (claim := name or subject.text) in STAYS:
            return self._limit(subject.text, claim, above=True)
        for phrase in CHANGES:
            if phrase.split()[0] == subject.text:
                self._rest(phrase)
                return self._limit(phrase, phrase)
        if subject.text == RESEEDING.split()[0]:
            self._rest(RESEEDING)
            return self._made(SEARCH, RESEEDING)
        if name:
            mend = f"write one of {_listed([*(f'{name}@10' for name in MEASURES), *STAYS])}"
            _refuse(self.text, subject, f"there is no measure {subject.text!r}", mend)
        known = _listed([*KINDS, *SETS, *STAYS, *CHANGES])
        mend = f"write one of {known}, '{RESEEDING}', or a measure such as recall@10"
        _refuse(self.text, subject, f"there is no artifact {subject.text!r}", mend)

    def _quality(self, measure: str) -> Requirement:
        mend = f"write {measure} drop < 0.01"
        word = self.next("the word 'drop'", mend)
        if word.text == RESEEDING.split()[0]:
            self._rest(RESEEDING)
            return self._made(measure, RESEEDING)
        if word.text != "drop":
            _refuse(self.text, word, f"nothing can be required of {measure} by the word {word.text!r}", mend)
        return self._limit(measure, "drop")

    def _limit(self, subject: str, quantity: str, above: bool = False) -> Requirement:
        signs, side, example = ((">", ">="), "below", "0.95") if above else (("<", "<="), "above", "0.01")
        before = subject if subject == quantity or above else f"{subject} {quantity}"
        sign = self.next(f"'{signs[0]}' or '{signs[1]}'", f"write {before} {signs[0]} {example}")
        if sign.text not in signs:
            what = f"{sign.text!r} is neither '{signs[0]}' nor '{signs[1]}'"
            whose = f"a requirement on {subject}" if above else "a requirement"
            _refuse(self.text, sign, what, f"{whose} is a limit from {side}")
        number = self.next("a number", f"write {before} {sign.text} {example}")
        value = self._value(number, quantity)
        if value == 0 and sign.text == "<":
            _refuse(self.text, number, "nothing is smaller than 0", "write <= 0")
        if above and (value > 1 or (value == 1 and sign.text == ">")):
            _refuse(self.text, number, f"no {quantity} is larger than 1", "write >= 1, or a smaller number")
        # A limit that nothing can break would hold whatever happened.
        if above and value == 0 and sign.text == ">=":
            _refuse(self.text, number, f"no {quantity} is smaller than 0", "write a number above 0")
        if not above and quantity in FRACTIONS and (value > 1 or (value == 1 and sign.text == "<=")):
            _refuse(self.text, number, f"nothing has a {quantity} above 1", "write a number below 1, such as 1%")
        return replace(self._made(subject, quantity), limit=value, inclusive=sign.text.endswith("="))

    def _value(self, number: _Token, quantity: str) -> float:
        value = _number(number.text.removesuffix("%"))
        if value is None:
            _refuse(self.text, number, f"{number.text!r} is no number from 0 up", "write one such as 0.01, 1e-6 or 1%")
        if not number.text.endswith("%"):
            return value
        if quantity not in FRACTIONS:
            _refuse(self.text, number, f"{quantity} is no fraction", "write a number without %")
        return value / 100


def _number(text: str) -> float | None:
    # float() also takes 'nan', 'inf' and '1_000', which are typing errors here.
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
