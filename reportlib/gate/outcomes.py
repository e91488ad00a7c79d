"""What can become of a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from reportlib.gate.vocabulary import Requirement

HOLDS, FAILS, INCONCLUSIVE = "holds", "does not hold", "inconclusive"


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
