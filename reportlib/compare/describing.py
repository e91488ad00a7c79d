"""What was compared: the study and its inputs, as far as the captures say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from reportlib.compare import phrases
from reportlib.compare.checks import input_hash
from reportlib.store import Capture
from reportlib.study import CheckpointSpec, CollectionSpec, Study
from reportlib.words.environments import beyond_torch

Record = dict[str, Any]
#: What a title names of what differs beside torch before it counts the rest.
_MOST = 4


def describe(study: Study, captures: Mapping[str, Capture], environments: Sequence[Record]) -> Record:
    """Describe a study and its inputs.

    Parameters
    ----------
    study : Study
        What was to be done.
    captures : mapping of str to Capture
        By arm name, at least one.
    environments : sequence of dict
        Of ``docs/schema.md``.

    Returns
    -------
    dict
        ``study`` of ``docs/schema.md``.

    Raises
    ------
    StoreError
        When an artifact cannot be read.
    """
    indexed = {p: _indexed(study, captures, p) for p in study.passages}
    whole = [indexed[p] for p, count in study.passages.items() if count == 0]
    asked = [
        len(capture.value("rankings")["queries"]) for capture in captures.values() if "rankings" in capture.artifacts
    ]
    first = next(iter(captures.values()))
    return {
        "slug": study.slug,
        "title": _title(study, environments),
        "environments": list(study.environments),
        "device": study.device,
        "threads": study.threads,
        "collection": {
            "source": study.collection.source,
            "sentence": _described(first, "collection") or _collection(study.collection),
            "sha256": input_hash(first, "collection"),
            "passages": next((count for count in whole if count is not None), _passages(first)),
            "queries": max(asked, default=None),
        },
        "checkpoint": {
            "source": _without_folders(study.checkpoint.source),
            "sentence": _described(first, "checkpoint") or _checkpoint(study.checkpoint),
            "sha256": input_hash(first, "checkpoint"),
            "dim": _dim(first),
        },
        "colbert": asdict(study.colbert),
        "variables": dict(study.variables),
        "precisions": [{"name": p, "passages": n} for p, n in indexed.items()],
    }


def _title(study: Study, environments: Sequence[Record]) -> str:
    """Return the study's title, and what differs between its environments beside torch if it does not say so."""
    unlike = beyond_torch(environments)
    untold = [
        f"{name} {phrases.listing(dict.fromkeys(version or 'none' for version in versions))}"
        for name, versions in unlike.items()
        if name.lower() not in study.title.lower()
    ]
    return f"{study.title}, with {phrases.listing(untold, _MOST)}" if untold else study.title


def _indexed(study: Study, captures: Mapping[str, Capture], precision: str) -> int | None:
    """Return how many passages were indexed: from `doclens`, which knows what "all" was."""
    for arm in study.arms():
        capture = captures.get(arm.name)
        if capture is not None and arm.precision == precision and capture.group("doclens"):
            return sum(len(capture.value(name)) for name in capture.group("doclens"))
    return study.passages[precision] or None


def _described(capture: Capture, name: str) -> str | None:
    """Return what the capture says of an input, as a sentence; captures made by hand may say nothing."""
    said = capture.provenance.get("descriptions", {}).get(name, {}).get("source")
    return f"{said[:1].upper()}{said[1:].rstrip('.')}." if said else None


def _passages(capture: Capture) -> int | None:
    found = capture.provenance.get("descriptions", {}).get("collection", {}).get("passages")
    return int(found) if found is not None else None


def _dim(capture: Capture) -> int | None:
    lines = [capture.artifacts[n] for n in ("index/centroids", "centroids") if n in capture.artifacts]
    return lines[0].shape[-1] if lines and lines[0].shape else None


def _without_folders(source: str) -> str:
    """Return a hub id as it is, and of a path only the last part: paths are this machine's own."""
    return PurePath(source).name if source.startswith(("/", ".", "~")) else source


def _collection(spec: CollectionSpec) -> str:
    if spec.source == "numpy-docstrings":
        return "Paragraphs of the docstrings of the pinned numpy."
    if spec.source == "huggingface":
        parts = [part for part in (spec.name, spec.config, spec.split) if part]
        return f"The Hugging Face data set {', '.join(parts)}."
    kind = {"beir": "BEIR folder", "tsv": "TSV file"}.get(spec.source, spec.source)
    return f"The {kind} {PurePath(spec.path).name}."


def _checkpoint(spec: CheckpointSpec) -> str:
    if spec.source == CheckpointSpec().source:
        return "all-MiniLM-L6-v2 with a seeded orthonormal projection in place of a trained one."
    return f"{_without_folders(spec.source)}."
