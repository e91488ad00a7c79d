"""Compare both sides' probes of `torch.sort`: from which size on equal keys differ in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = dict[str, Any]


def compare_probes(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> Record:
    """Set two lists of sort probes side by side; probes that one side lacks are left out.

    Parameters
    ----------
    a, b : sequence of mapping
        The value ``sort_probes`` of two captures.

    Returns
    -------
    dict
        ``probes`` and ``thresholds`` of ``docs/schema.md``.
    """
    others = {_key(probe): probe for probe in b}
    pairs = [(probe, others[_key(probe)]) for probe in a if _key(probe) in others]
    probes = [_probe(left, right) for left, right in pairs]
    probes.sort(key=lambda p: (p["source"] != "ties", p["dtype"], p["size"]))
    dtypes = list(dict.fromkeys(p["dtype"] for p in probes if p["source"] == "ties"))
    return {"probes": probes, "thresholds": [_threshold(probes, dtype) for dtype in dtypes]}


def _key(probe: Mapping[str, Any]) -> tuple[str, str, int]:
    return probe["source"], probe["dtype"], probe["size"]


def _probe(a: Mapping[str, Any], b: Mapping[str, Any]) -> Record:
    stable = {(True, True): "both", (True, False): "a", (False, True): "b"}
    return {
        "size": a["size"],
        "dtype": a["dtype"],
        "source": a["source"],
        "same_input": a["input_sha256"] == b["input_sha256"],
        "same_values": a["values_sha256"] == b["values_sha256"],
        "same_order": a["indices_sha256"] == b["indices_sha256"],
        "stable": stable.get((a["is_stable"], b["is_stable"]), "neither"),
    }


def _threshold(probes: Sequence[Record], dtype: str) -> Record:
    """Derive one dtype's threshold; probes of unequal input say nothing about the sort."""
    known = [p for p in probes if p["source"] == "ties" and p["dtype"] == dtype and p["same_input"]]
    different = [p["size"] for p in known if not p["same_order"]]
    smallest = min(different, default=None)
    same = [p["size"] for p in known if p["same_order"]]
    below = [size for size in same if smallest is not None and size < smallest]
    return {
        "dtype": dtype,
        "smallest_different": smallest,
        "largest_same_below": max(below, default=None),
        "same_at_or_above": [s for s in same if smallest is not None and s >= smallest],
        "sizes": [p["size"] for p in known],
    }
