"""Plain index folders of colbert-ai and fast-plaid, read without torch and without unpickling freely."""

from __future__ import annotations

from pathlib import Path

from reportlib.indexes.folder import IndexFolder, PlaidFolder, StoredArray, is_plaid
from reportlib.indexes.torchfile import StoredTensor, load, tensors_of

__all__ = ["IndexFolder", "PlaidFolder", "StoredArray", "StoredTensor", "load", "open_index", "tensors_of"]


def open_index(path: Path) -> IndexFolder:
    """Open the index folder `path`, whichever library wrote it.

    Raises
    ------
    IndexFileError
        When it is no finished index of colbert-ai 0.2 or fast-plaid.
    """
    return PlaidFolder.open(path) if is_plaid(path) else IndexFolder.open(path)
