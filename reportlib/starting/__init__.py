"""A new study: from a few words on the command line to a commented `study.toml` and the environment files it needs."""

from __future__ import annotations

from reportlib.starting.study import Started, Wish, start

__all__ = ["Started", "Wish", "start"]
