"""The keys of a `study.toml`, table by table."""

from __future__ import annotations

import difflib
from dataclasses import fields

from reportlib.study import (
    PRECISIONS,
    VARIABLES,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    ControlSpec,
    OperationsSpec,
    SearchSpec,
    SwapSpec,
)

#: The tables that are flat records, and those.
RECORDS: dict[str, type] = {
    "collection": CollectionSpec,
    "checkpoint": CheckpointSpec,
    "colbert": ColbertSettings,
    "controls": ControlSpec,
    "swaps": SwapSpec,
    "operations": OperationsSpec,
    "search": SearchSpec,
}
#: Every key of every table; "" is what stands above the first table.
KEYS: dict[str, tuple[str, ...]] = {
    "": ("title", "environments", "device", "threads", *RECORDS, "precision", "layers", "variables"),
    **{table: tuple(f.name for f in fields(kind)) for table, kind in RECORDS.items()},
    "precision": PRECISIONS,
    "layers": ("texts",),
    "variables": VARIABLES,
}


def meant(key: str, names: tuple[str, ...]) -> str:
    """Return what someone may have meant who wrote a key that is not there.

    Parameters
    ----------
    key : str
        As written.
    names : tuple of str
        The keys that its table has.

    Returns
    -------
    str
        The table that the key belongs to, the nearest of `names`, or all of them.
    """
    places = [table for table, keys in KEYS.items() if key in keys]
    if places:
        where = " or ".join(f"under [{table}]" if table else "above the first table" for table in places)
        return f"it stands {where}"
    close = difflib.get_close_matches(key, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {sorted(names)}"
