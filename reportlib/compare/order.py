"""The order of the sorted codes: the argument of post 2025-09-09 (ids D1-D6), step by step.

colbert-ai sorts the codes (one centroid id per token embedding) to list each centroid's token ids.
A sort may leave equal codes in any order, so two versions can disagree in the indices and in
nothing that follows. Each step here says what would have to hold, whether it does, and on which
numbers; no step needs the one before it to hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reportlib.compare.centroids import CentroidPass, Side, walk
from reportlib.compare.chunks import Chunked
from reportlib.errors import ComparisonError
from reportlib.store import Capture

Record = dict[str, Any]
_NEEDED = ("presort_codes", "sorted_codes", "sort_indices")
#: Positions that a step quotes from the start of a list.
SHOWN = 5


@dataclass(frozen=True)
class _Facts:
    """Everything that the steps draw on."""

    a: Capture
    b: Capture
    left: Side
    right: Side
    passed: CentroidPass
    presort: int | None
    values: int | None
    indices: int | None


def compare_order(a: Capture, b: Capture) -> Record | None:
    """Follow the codes from before the sort to the `ivf`.

    Returns
    -------
    dict or None
        The ``order`` of ``docs/schema.md``; None where a capture lacks the codes, their sort or
        `doclens`.

    Raises
    ------
    ComparisonError
        When a capture's sorted codes, indices and doclens do not belong together.
    """
    if not all(capture.group(name) for capture in (a, b) for name in (*_NEEDED, "doclens")):
        return None
    left, right = _side(a), _side(b)
    centroids = max(len(side.lengths) for side in (left, right))
    left, right = left.with_centroids(centroids), right.with_centroids(centroids)
    facts = _Facts(
        a,
        b,
        left,
        right,
        walk(left, right),
        _unequal(left.presort, right.presort),
        _unequal(left.codes, right.codes),
        _unequal(left.indices, right.indices),
    )
    stable = {(True, True): "both", (True, False): "a", (False, True): "b"}
    return {
        "embeddings": left.codes.size,
        "passages": len(left.passage_ends),
        "centroids": len(left.lengths),
        "ties": int(left.lengths[left.lengths > 1].sum()),
        "centroids_reordered": int(facts.passed.reordered.sum()),
        "positions_different": facts.indices,
        "stable": stable.get((facts.passed.stable_a, facts.passed.stable_b), "neither"),
        "steps": [*_sorting(facts), *_sets(facts), *_outcome(facts)],
        "figure": _figure(facts),
    }


def _side(capture: Capture) -> Side:
    presort, codes, indices = (Chunked.load(capture, name) for name in _NEEDED)
    doclens = [n for name in capture.group("doclens") for n in capture.value(name)]
    side = Side.of(presort, codes, indices, doclens)
    if capture.group("ivf") and capture.group("ivf_lengths"):
        ivf, lengths = Chunked.load(capture, "ivf"), Chunked.load(capture, "ivf_lengths")
        many = lengths.flat(0, lengths.size).astype(np.int64)
        # The last centroids can be without any embedding; `ivf_lengths` still counts them.
        side = replace(side.with_centroids(len(many)), ivf=ivf, ivf_lengths=many)
    embeddings = int(side.passage_ends[-1]) if doclens else 0
    if len({presort.size, codes.size, indices.size, embeddings}) != 1:
        raise ComparisonError(
            f"{capture.path}: {presort.size} codes, {codes.size} sorted, {indices.size} indices "
            f"and {embeddings} embeddings in doclens do not belong together",
            "run its arm again",
        )
    return side


def _unequal(a: Chunked, b: Chunked) -> int | None:
    """Return at how many positions two lists differ; None where their lengths do."""
    if a.size != b.size:
        return None
    return sum(int(np.count_nonzero(block != b.flat(start, start + block.size))) for start, block in a.blocks())


def _step(name: str, post: tuple[str, ...], claim: str, holds: bool | None, **evidence: Any) -> Record:
    return {"id": name, "post": list(post), "claim": claim, "holds": holds, "evidence": evidence}


def _sorting(facts: _Facts) -> list[Record]:
    left, right = facts.left, facts.right
    sizes = {"elements_a": left.codes.size, "elements_b": right.codes.size}
    first_a, first_b = (side.indices.flat(0, SHOWN).tolist() for side in (left, right))
    return [
        _step(
            "presort-equal",
            ("D5",),
            "Before the sort, both sides have the same codes in the same order.",
            facts.presort == 0,
            different=facts.presort,
            **sizes,
        ),
        _step(
            "values-equal",
            ("D1",),
            "The sorted codes are equal.",
            facts.values == 0,
            different=facts.values,
            **sizes,
        ),
        _step(
            "indices-equal",
            ("D1", "D3", "D5"),
            "The sort's indices are equal: both sides list the token ids in the same order.",
            facts.indices == 0,
            different=facts.indices,
            **sizes,
            first_a=first_a,
            first_b=first_b,
            pids_a=left.passages_of(np.array(first_a, np.int64)).tolist(),
            pids_b=right.passages_of(np.array(first_b, np.int64)).tolist(),
        ),
    ]


def _sets(facts: _Facts) -> list[Record]:
    passed, total = facts.passed, len(facts.left.lengths)
    unequal_counts = int(np.count_nonzero(facts.left.lengths != facts.right.lengths))
    return [
        _step(
            "bincount-equal",
            ("D2",),
            "Every centroid has as many token embeddings on both sides.",
            unequal_counts == 0,
            centroids=total,
            different=unequal_counts,
            first_a=facts.left.lengths[:SHOWN].tolist(),
            first_b=facts.right.lengths[:SHOWN].tolist(),
        ),
        _step(
            "token-sets-equal",
            ("D4",),
            "Every centroid has the same set of token ids on both sides.",
            bool(passed.same_tokens.all()),
            centroids=total,
            equal=int(passed.same_tokens.sum()),
            reordered=int((passed.reordered & passed.same_tokens).sum()),
        ),
        _step(
            "passage-sets-equal",
            ("D4",),
            "Every centroid has the same set of passages on both sides.",
            bool(passed.same_passages.all()),
            centroids=total,
            equal=int(passed.same_passages.sum()),
        ),
    ]


def _outcome(facts: _Facts) -> list[Record]:
    gives = {"a": facts.passed.gives_ivf_a, "b": facts.passed.gives_ivf_b}
    equal = {
        name: _same_manifest_line(facts.a, facts.b, name)
        for name in ("ivf", "ivf_lengths", "index/ivf", "index/ivf_lengths")
    }
    return [
        _step(
            "unique-gives-ivf",
            ("D4",),
            "On both sides, each centroid's different passages, sorted by id, are the ivf.",
            None if None in gives.values() else all(gives.values()),
            **gives,
        ),
        _step(
            "ivf-equal",
            ("D1",),
            "ivf and ivf_lengths are equal, so the order of the indices is not in the index.",
            None if None in equal.values() else all(equal.values()),
            **equal,
        ),
        _step(
            "stable-side",
            ("D6",),
            "Both sides list each centroid's token ids in ascending order, as a stable sort does.",
            facts.passed.stable_a and facts.passed.stable_b,
            a=facts.passed.stable_a,
            b=facts.passed.stable_b,
        ),
    ]


def _same_manifest_line(a: Capture, b: Capture, name: str) -> bool | None:
    if name not in a.artifacts or name not in b.artifacts:
        return None
    left, right = a.artifacts[name], b.artifacts[name]
    return (left.sha256, left.dtype, left.shape) == (right.sha256, right.dtype, right.shape)


def _figure(facts: _Facts) -> Record | None:
    example = facts.passed.example
    if example is None:
        return None
    return {
        "centroid": example.centroid,
        "size": example.a.size,
        "a": example.a.tolist(),
        "b": example.b.tolist(),
        "pids_a": facts.left.passages_of(example.a).tolist(),
        "pids_b": facts.right.passages_of(example.b).tolist(),
    }
