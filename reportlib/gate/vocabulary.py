"""The words of requirements: what can be required of which subject."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reportlib.compare.index_side import POINTS, THRESHOLD

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
MEASURES = ("recall", "mrr", "ndcg", "success")
#: How much of what search returns stays the same, from 0 to 1; a requirement is a limit from below.
AGREEMENTS = ("overlap", "rbo")
#: How much of it changes; a requirement is a limit from above.
CHANGES = ("different passages", "changed queries")
#: What the same torch changes when its index is made again with another seed of k-means.
RESEEDING = "smaller than reseeding"
#: The subject of `RESEEDING` where none is written.
SEARCH = "search"

#: What may be written as a percentage.
FRACTIONS = ("differing", "groups_differing", "drop", *AGREEMENTS, "changed queries")
_AT_K = re.compile(r"([A-Za-z][A-Za-z0-9]*)@([1-9][0-9]*)")


@dataclass(frozen=True)
class Requirement:
    """One requirement, as its parts.

    Attributes
    ----------
    text : str
        As written.
    subject : str
        An artifact, a key of `SETS`, a measure of search (``recall@10``), or one of `AGREEMENTS` (with its k, where
        that is written), `CHANGES` or `SEARCH`.
    claim : str
        ``identical``, ``same set``, ``close``, the name of a quantity, ``drop``, one of `AGREEMENTS` or `CHANGES`, or
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
        found = _AT_K.fullmatch(self.subject)
        return found[1].lower() if found and found[1].lower() in MEASURES else ""

    @property
    def k(self) -> int | None:
        """How many passages of a query count, where that is written."""
        found = _AT_K.fullmatch(self.subject)
        return int(found[2]) if found else None

    def allows(self, value: float) -> bool:
        """Return whether a value is inside the limit."""
        limit = 0.0 if self.limit is None else self.limit
        if value == limit:
            return self.inclusive
        return value > limit if self.claim in AGREEMENTS else value < limit


def at_k(word: str) -> str:
    """Return what stands before the ``@`` of ``recall@10``, in lower case; empty where `word` is none of that form."""
    found = _AT_K.fullmatch(word)
    return found[1].lower() if found else ""
