"""Mechanisms: what an operation computed, found by computing it again until the bytes are the same.

Each family is a module with one function that takes a `reportlib.compare.roots.cases.Case` and returns the ways in
which the operation may have been computed. `search` tries them; `mechanism` says what was found, and how far it is
known.
"""

from __future__ import annotations

from reportlib.compare.roots.mechanisms.mechanism import How, Mechanism, Tried, label, on_every_case
from reportlib.compare.roots.mechanisms.search import explain, explain_case

__all__ = ["How", "Mechanism", "Tried", "explain", "explain_case", "label", "on_every_case"]
