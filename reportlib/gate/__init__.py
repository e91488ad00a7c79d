"""A gate for continuous integration: requirements on a comparison, judged, and written for other programs."""

from reportlib.gate.grammar import Requirement, parse
from reportlib.gate.judge import FAILS, HOLDS, INCONCLUSIVE, Judgement, exit_code, judge

__all__ = ["FAILS", "HOLDS", "INCONCLUSIVE", "Judgement", "Requirement", "exit_code", "judge", "parse"]
