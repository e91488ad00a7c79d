"""Root operations: which operation, given the same bytes, returned others.

Two traces of the same pass are set side by side by what their operations read, not by where they stand: versions run
the same operations in another order. `matching` pairs them, `taint` follows a difference forward, and `judge` says
what was found.
"""

from __future__ import annotations

from reportlib.compare.roots.traces import (
    Comparison,
    PassComparison,
    RootOperation,
    Unmatched,
    compare_passes,
    compare_traces,
)

__all__ = ["Comparison", "PassComparison", "RootOperation", "Unmatched", "compare_passes", "compare_traces"]
