"""What the findings on search start from: the searches of one precision, and how their numbers are said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reportlib.compare.findings.facts import Facts
from reportlib.compare.phrases import interval, small
from reportlib.words.searches import least_changed, too_few

Record = Mapping[str, Any]
#: The measure that a sentence leads with; it sees a change of rank as well as a passage that is lost.
CHIEF = "nDCG"


@dataclass(frozen=True)
class Searches:
    """The ``search`` of one precision, in which both sides' indexes were searched.

    Attributes
    ----------
    part : Facts
        The precision.
    """

    part: Facts

    @property
    def data(self) -> Record:
        """The entry of ``pairs[].precisions[].search``."""
        found: Record = self.part.data["search"]
        return found

    @property
    def upgrade(self) -> Record:
        """The comparison of A's torch on A's index with B's on B's."""
        known: dict[str, Record] = {each["id"]: each for each in self.data["comparisons"]}
        return known["upgrade"]

    @property
    def top(self) -> str:
        """What of a ranking counts: ``top 10``."""
        return f"top {self.data['k']}"

    @property
    def least(self) -> int:
        """How many queries must change before the permutation test can find that a measure did."""
        return least_changed(self.data)

    def few(self, measure: Record) -> bool:
        """Return whether too few queries changed a measure for the test to find it, or none did."""
        return too_few(measure, self.least)

    def interval(self, estimate: Record, said: Callable[[float], str] = small) -> str:
        """Return an estimate's interval in brackets: ``(95 % interval 1.6 to 5.2 %)``."""
        return f"({interval(estimate['low'], estimate['high'], self.data['confidence'], said)})"

    def kind(self, name: str) -> list[Record]:
        """Return the comparisons of a kind: ``index``, ``torch``, ``seed``."""
        return [each for each in self.data["comparisons"] if each["kind"] == name]

    def pointers(self, *names: str) -> tuple[str, ...]:
        """Return JSON pointers to comparisons by id."""
        ids = [each["id"] for each in self.data["comparisons"]]
        return tuple(f"{self.part.at}/search/comparisons/{ids.index(name)}" for name in names if name in ids)


def searched(part: Facts) -> bool:
    """Return whether each side's torch searched its own index and the other's."""
    found = part.data.get("search")
    return bool(found and found["queries"])


def changed(comparison: Record) -> int:
    """Return how many queries have another top k."""
    return int(comparison["queries"] - comparison["same_order"])
