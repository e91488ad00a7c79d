"""Whether it matters: what the two sides' searches return, how good it is, and how sure that can be said."""

from reportlib.compare.searching.assemble import compare_search

__all__ = ["compare_search"]
