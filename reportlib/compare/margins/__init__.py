"""Whether a small margin goes with a flip: how far each decision was from falling the other way, and whether it did."""

from __future__ import annotations

from reportlib.compare.margins.items import Items, Record, left_out, record
from reportlib.compare.margins.queries import rank_items
from reportlib.compare.margins.tokens import Sides, bucket_items, centroid_items, same_ids
from reportlib.store import Capture

__all__ = ["compare_margins"]


def compare_margins(
    a: Capture,
    b: Capture,
    search_a: Capture | None,
    search_b: Capture | None,
    *,
    k: int,
    ignore_identical_ids: bool = False,
) -> list[Record]:
    """Return the margins of three decisions beside their flips: a token's centroid, a bucket, a query's top `k`.

    Parameters
    ----------
    a, b : Capture
        The plain captures of the two sides.
    search_a, search_b : Capture or None
        Their searching arms'.
    k : int
        How many passages of a query count.
    ignore_identical_ids : bool
        Whether a passage that is the query itself is left out of its ranking.

    Returns
    -------
    list of dict
        The ``margins`` of ``docs/schema.md``: always ``centroid``, ``bucket`` and ``rank``, in this order. What
        could not be looked at says why in ``left_out``.

    Raises
    ------
    StoreError
        When an artifact cannot be read.
    """
    sides = Sides(a, b)
    return [_centroid(sides), _bucket(sides), _rank(search_a, search_b, k, ignore_identical_ids)]


def _centroid(sides: Sides) -> Record:
    why = sides.unlike("embs")
    if why is None and sides.chunked("index/centroids")[0].shape[0] < 2:
        why = "There is one centroid only."
    if why is not None:
        return left_out("centroid", why)
    return record("centroid", centroid_items(sides)) | {"same_ids": same_ids(sides)}


def _bucket(sides: Sides) -> Record:
    why = sides.unlike("compress_residuals", "bucket_cutoffs")
    return left_out("bucket", why) if why is not None else record("bucket", bucket_items(sides))


def _rank(a: Capture | None, b: Capture | None, k: int, ignore_identical_ids: bool) -> Record:
    found = rank_items(a, b, k, ignore_identical_ids=ignore_identical_ids)
    return (record("rank", found) if isinstance(found, Items) else left_out("rank", found)) | {"k": k}
