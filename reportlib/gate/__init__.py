"""A gate for continuous integration: requirements on a comparison, judged, and written for other programs."""

from reportlib.gate.judge import exit_code, judge
from reportlib.gate.requirements import FAILS, HOLDS, INCONCLUSIVE, Judgement, Requirement, parse

__all__ = ["FAILS", "HOLDS", "INCONCLUSIVE", "Judgement", "Requirement", "exit_code", "judge", "parse"]
