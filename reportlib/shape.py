"""``report.json`` as types: the one place where its shape is written; the JSON schema is made from them.

``python -m reportlib.shape`` writes ``report.schema.json`` and the tables of ``docs/schema.md``, in which a field's
comment is its text. A name of two parts says where it stands: `CauseMechanism` is ``mechanism`` of a `Cause`.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic asks for this one below Python 3.12
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict, is_typeddict

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Size = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Text = Annotated[str, Len(1)]


class Side(TypedDict):
    """One side's artifact by itself."""

    dtype: str
    shape: list[Count]
    sha256: list[str]  #: one for each chunk
    rows: list[Count]  #: of each chunk: the length of its first axis
    nan: Count | None  #: how many; null for integers and values
    inf: Count | None  #: how many; null for integers and values


class PostRow(TypedDict):
    """The reference post's row."""

    source: str  #: which experiment of which post
    dtype: str
    equal: Literal["True", "False", "shape mismatch"] | None  #: what the post's table says; null for floats
    default: bool | None  #: null for integers
    bnb: bool | None  #: null for integers
    verdict: str  #: the same as text
    agrees: bool | None  #: whether this comparison gives the same; null where they cannot be compared
    dtype_agrees: bool  #: whether A's dtype is the post's


class ComparisonChunks(TypedDict):
    """``chunks`` of a `Comparison`."""

    name: str
    start: Count  #: first row
    stop: Count  #: row after the last
    different: Count  #: values that differ


class ComparisonValueDifference(TypedDict):
    """``value_difference`` of a `Comparison`."""

    path: str  #: where in the value
    a: str | None  #: short text; null where it is not there
    b: str | None  #: short text; null where it is not there
    different: Count  #: items that differ
    total: Count  #: items


class Comparison(TypedDict):
    """Artifact B set beside artifact A."""

    name: str  #: the capture point: `codes`
    artifact: str  #: its name in a capture: `index/codes`
    stage: str  #: of the pipeline
    kind: Literal["float", "integer", "value"]  #: with `final`: which of the four tables it belongs to
    description: str  #: what it is, in words
    final: bool  #: whether it is part of the index
    file: str  #: the index's file, empty where it is part of none
    verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"]  #: see above
    a: Side | None  #: null where missing
    b: Side | None  #: null where missing
    tolerance: Literal["default", "bnb"] | None  #: which one makes it `close`; null otherwise
    elements: Count | None  #: of the tensor or list; null if shapes differ
    different: Count | None  #: how many values differ (NaN differs from everything, 0.0 equals -0.0)
    different_bits: Count | None  #: how many differ in their bytes
    first_index: list[Count] | None  #: of the first element that differs in its bytes
    mean_abs: Size | None  #: of the absolute difference, in float64, over pairs of finite numbers
    max_abs: Size | None  #: of the same
    max_abs_index: list[Count] | None  #: where it is
    max_rel: Size | None  #: largest difference relative to B, where B is not zero
    #: largest distance in units in the last place of the dtype; for integers the absolute difference
    max_ulp: Count | None
    default: bool | None  #: what `torch.allclose(A, B)` says; null for integers and values
    bnb: bool | None  #: the same with bitsandbytes' tolerance
    default_close: Count | None  #: how many elements are within the tolerance
    bnb_close: Count | None  #: how many elements are within the tolerance
    smallest_atol: Size | None  #: that passes with `rtol = 0`
    bnb_factor: Size | None  #: by what both numbers of the bnb tolerance must be multiplied to pass (float64)
    no_tolerance_passes: bool  #: a NaN or an infinity stands against something else: the two above are null then
    same_set: Literal["whole", "per group"] | None  #: only for integers
    groups: Count | None  #: with groups (`ivf`, `sort_indices`: one for each centroid): how many
    groups_equal: Count | None  #: how many of them hold the same set
    chunks: list[ComparisonChunks]  #: along A's chunks; empty for one chunk
    value_difference: ComparisonValueDifference | None  #: for values
    text: str  #: the comparison in one sentence
    post: PostRow | None  #: what the reference post's table says of the artifact


class Named(TypedDict):
    """A capture point, by its place along the pipeline."""

    name: str
    artifact: str
    stage: str
    index: Count | None  #: its place in `artifacts`; null for `layers`


#: How many artifacts have each verdict.
Counts = TypedDict(
    "Counts",
    {
        "identical": Count,
        "close": Count,
        "same set": Count,
        "different": Count,
        "shape mismatch": Count,
        "missing": Count,
        "total": Count,
    },
)


class LayerOutput(TypedDict):
    """One layer's output for one input, A beside B."""

    layer: str  #: `embeddings`, `0`, `1`, ...
    artifact: str
    verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"]
    tolerance: Literal["default", "bnb"] | None
    elements: Count | None
    different: Count | None
    mean_abs: Size | None
    max_abs: Size | None
    max_ulp: Count | None
    default: bool | None
    bnb: bool | None
    smallest_atol: Size | None
    bnb_factor: Size | None
    dtype_a: str | None
    dtype_b: str | None


class LayerInput(TypedDict):
    """BERT's layers for one input."""

    slug: str
    text: str | None  #: null for passages
    passages: Count | None  #: how many; null for a text
    label: str  #: for people
    tokens: list[Count]  #: batch and length
    first_difference: str | None  #: layer
    identical: Count  #: how many layers
    total: Count
    layers: list[LayerOutput]


class Weights(TypedDict):
    """What both environments loaded of the checkpoint."""

    total: Count
    different: Count
    missing: list[str]  #: names on one side only
    names: list[str]  #: of the different
    identical: bool


class SortStep(TypedDict):
    """One step of the argument about the sort."""

    id: Literal[
        "presort-equal",
        "values-equal",
        "indices-equal",
        "bincount-equal",
        "token-sets-equal",
        "passage-sets-equal",
        "unique-gives-ivf",
        "ivf-equal",
        "stable-side",
    ]
    post: list[str]  #: ids such as `D1`
    claim: str  #: what would hold
    #: whether it does: `indices-equal` with false is the post's finding; null where it cannot be said
    holds: bool | None
    evidence: dict[str, str | float | int | bool | list[int] | None]  #: numbers and short lists


class SortOrderFigure(TypedDict):
    """``figure`` of a `SortOrder`."""

    centroid: Count
    size: Count
    a: list[Count]  #: token ids in A's order
    b: list[Count]  #: in B's
    pids_a: list[Count]
    pids_b: list[Count]


class SortOrder(TypedDict):
    """The sort of the codes."""

    embeddings: Count
    passages: Count
    centroids: Count
    ties: Count  #: embeddings that share their centroid with another
    centroids_reordered: Count  #: centroids whose token ids come in another order
    positions_different: Count | None
    stable: Literal["a", "b", "both", "neither"] | None  #: whose order is the stable one; null if not captured
    steps: Annotated[list[SortStep], Len(9, 9)]  #: in this order
    figure: SortOrderFigure | None  #: one centroid whose order differs


class Control(TypedDict):
    """An arm that should differ in nothing."""

    #: `repeat`: the plain arm captured again in a fresh process, search and probes left out; `observer`: colbert-ai
    #: without instruments, final artifacts only
    kind: Literal["repeat", "observer"]
    environment: str
    arm: str
    compared: Count  #: artifacts, chunks and layers counted by themselves, by hash, dtype and shape
    identical: Count
    not_identical: list[str]  #: their names in the captures
    passed: bool


class SwapArtifacts(TypedDict):
    """``artifacts`` of a `Swap`."""

    name: str
    artifact: str
    final: bool
    kind: Literal["float", "integer", "value"]
    verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"]
    tolerance: Literal["default", "bnb"] | None
    default: bool | None
    bnb: bool | None
    replaced: bool  #: whether its values were put in
    #: the same artifact without the swap
    plain_verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"] | None


#: One arm with values of the other environment.
Swap = TypedDict(
    "Swap",
    {
        "arm": str,
        "from": str,  #: environment whose values they are
        "into": str,  #: environment in which they are
        "direction": Literal["a into b", "b into a"],
        "points": Annotated[list[str], Len(1)],  #: swap points that were replaced
        #: against the plain arm of `from`: the final ones, and all from the first replaced point on
        "artifacts": list[SwapArtifacts],
        "final_total": Count,
        "final_identical": Count,
        "all_final_identical": bool,
        "not_identical": list[str],  #: artifact names
        "posts": list[str],  #: ids of the posts' experiments
    },
)


#: What the swaps of one direction show together.
SwapSummary = TypedDict(
    "SwapSummary",
    {
        "direction": Literal["a into b", "b into a"],
        "from": str,
        "into": str,
        #: tested sets whose replacement makes every final artifact identical to that of `from`, without those that hold
        #: a smaller one of them; fewest points first. The plain arm is the test of the empty set: `[[]]` says that the
        #: index is identical without any swap
        "sufficient": list[list[str]],
        "insufficient": list[list[str]],  #: tested sets that are not enough (the empty one is not listed)
        #: points for which the tests show both that a sufficient set is no longer sufficient without them (that smaller
        #: set was tested too), and that every tested sufficient set holds them or a point computed from them. It speaks
        #: of the tested sets only: a point that is not listed is not shown to be necessary, which is less than shown to
        #: be needless
        "necessary": list[str],
        "tested": Count,  #: how many sets
    },
)


class RankingsChanged(TypedDict):
    """``changed`` of a `Rankings`."""

    qid: str
    only_a: list[Count]
    only_b: list[Count]
    first_rank: Positive  #: with another passage


class Rankings(TypedDict):
    """What each environment found in its own index."""

    k: Count
    queries: Count  #: on both sides
    queries_missing: Count
    same_order: Count
    same_set: Count
    max_score_difference: Size | None  #: over passages that both rank
    scores_identical: bool
    symmetric_difference: Size | None  #: mean of each query, 0 to 2k, as post I4 counts it
    changed: Annotated[list[RankingsChanged], Len(0, 20)]  #: the queries with the largest symmetric difference


class Estimate(TypedDict):
    """A mean over queries with its bootstrap interval."""

    value: float
    low: float
    high: float


class Searched(TypedDict):
    """Which torch searched which index."""

    torch: Literal["a", "b"]
    index: str  #: `a`, `b`, `seed-1`, ...


class MeasureChange(TypedDict):
    """A measure of the right search against the left one."""

    measure: str
    left: Share  #: mean
    right: Share  #: mean
    difference: Estimate  #: right minus left, queries paired
    interval: Literal["bootstrap", "few"]  #: how it was made: `few` where fewer than `least_changed` queries changed
    better: Count  #: queries whose measure rose
    equal: Count  #: stayed
    worse: Count  #: fell
    #: two-sided, by flipping the signs of the differences: all ways where these are no more than `resamples`, otherwise
    #: (1 + as extreme) / (1 + `resamples`). Null where no query changed
    p_permutation: Share | None
    p_sign: Share | None  #: two-sided exact sign test of `better` against `worse`; null where no query changed
    #: the smallest mean difference that these queries would show at 5 % two-sided with a chance of `power`, scattering
    #: as they do (by Student's t, a guide: the permutation test decides); null where fewer than `least_changed`
    #: changed, or all by the same
    detectable: Size | None
    #: whether `p_permutation` is below 0.05. With fewer than six changed queries it cannot be. Each test stands by
    #: itself: of twenty without any effect one is expected to be below. False never means that there is no effect
    detected: bool
    #: where no query changed: the share of queries that could change and leave all of these unchanged in 1 sample of 20
    #: (exact binomial, one-sided)
    unchanged_bound: Share | None


class SearchComparisonChangedQueries(TypedDict):
    """``changed_queries`` of a `SearchComparison`."""

    share: Share
    low: Share
    high: Share


class SearchComparison(TypedDict):
    """Two searches of the same queries."""

    id: str  #: `upgrade`, `index`, `torch`, `index-b`, `torch-b`, `seed-1`, ...
    kind: Literal["upgrade", "index", "torch", "seed"]
    left: Searched
    right: Searched
    queries: Count
    same_order: Count  #: with the same best k in the same order
    same_set: Count  #: the same in any order
    scores_identical: Count  #: the same in order with the same scores
    #: Other lists in which only passages with equal scores change places; reports from before it was counted lack it.
    tied: NotRequired[Count]
    #: Other lists that differ as well with scores in float64; null where an index or the queries were not kept.
    in_float64: NotRequired[Count | None]
    max_score_difference: Size | None  #: over passages among both best k; null where there are none
    #: passages among one side's best k only, both sides together, 0 to 2k: as post I4 counts it
    different_passages: Estimate
    overlap: Estimate  #: share of the best k on both sides, 0 to 1
    #: rank-biased overlap of the best k, extrapolated, p = 0.9: Webber, Moffat and Zobel 2010, equation 32
    rbo: Estimate
    #: whose best k are not the same in the same order, with a Clopper-Pearson interval (where none or all are counted
    #: one end is certain, and the other one-sided: `unchanged_bound`)
    changed_queries: SearchComparisonChangedQueries
    measures: list[MeasureChange]  #: empty when `judged` is 0


class ListedPassageRank(TypedDict):
    """``left`` or ``right`` of a `ListedPassage`."""

    rank: Positive
    score: float | None


class ListedPassage(TypedDict):
    """A passage that is among the best k of one side only."""

    pid: Count
    id: str  #: the collection's
    text: str  #: 300 characters at most
    grade: int | None  #: null when not judged
    left: ListedPassageRank | None  #: null where it was not found
    right: ListedPassageRank | None  #: null where it was not found


class ChangedQueryMeasures(TypedDict):
    """``measures`` of a `ChangedQuery`."""

    measure: str
    left: Share
    right: Share


class ChangedQuery(TypedDict):
    """A query that the upgrade changed."""

    qid: str
    text: str
    first_rank: Positive  #: with another passage
    measures: list[ChangedQueryMeasures]  #: empty when not judged
    verdict: Literal["better", "equal", "worse"]  #: by nDCG; `equal` too when not judged
    went: list[ListedPassage]  #: left the best k
    came: list[ListedPassage]  #: entered it


class SearchJudging(TypedDict):
    """What became of the collection's judgements; left out or null where no capture says."""

    read: Count
    unknown_queries: Count  #: left out: they name a query that is not there
    unknown_passages: Count  #: left out: they name a passage that is not there
    repeated: Count  #: left out: the same pair and grade once more
    ungraded: Count  #: the source has no grades: each counts as 1
    kept: Count
    relevant: Count  #: of the kept: grade 1 or more
    answered: Count  #: queries with a relevant one


class SearchIdenticalIds(TypedDict):
    """Queries whose best k, by A's torch in A's index, hold the query itself."""

    #: whether these are left out of rankings and judgements, as `ignore_identical_ids` of `study.toml` says
    ignored: bool
    queries: Count  #: where an id is only the passage's position, the query's text has to be the same too
    first: Count  #: queries that it has first, before any is left out


class SearchQueryEmbeddings(TypedDict):
    """``query_embeddings`` of a `Search`."""

    identical: Count
    total: Count  #: vectors: queries times tokens
    max_abs: Size | None


class SearchControls(TypedDict):
    """``controls`` of a `Search`."""

    environment: str
    queries: Count
    identical: Count  #: queries with the same passages in the same order with the same scores


class SearchQuality(TypedDict):
    """``quality`` of a `Search`."""

    torch: Literal["a", "b"]
    index: str
    measures: dict[str, Estimate]


class SearchYardstickFigures(TypedDict):
    """``figures`` of a `SearchYardstick`."""

    name: str  #: `different_passages`, `rbo`, `changed_queries`, or a measure
    upgrade: Size  #: the comparison's own value; of a measure how far the mean moved, either way
    seeds: list[Size]  #: the same for each seed
    #: where `upgrade` lies in the range of the seeds by how much changed (for `rbo` that is 1 - rbo)
    verdict: Literal["smaller", "within", "larger"]


class SearchYardstick(TypedDict):
    """``yardstick`` of a `Search`."""

    seeds: Count  #: how many
    figures: list[SearchYardstickFigures]


class Search(TypedDict):
    """What both environments' torch find in both environments' indexes."""

    k: Count  #: passages of each query that count
    queries: Count  #: how many were searched
    #: how many of these have a passage of grade 1 or more among those indexed: only these count for measures, all count
    #: for agreement
    judged: Count
    resamples: Count  #: of the bootstrap and the permutation test
    confidence: Share  #: of all intervals
    power: Share  #: of `detectable`
    #: What became of the collection's judgements; left out or null where no capture says.
    judging: NotRequired[SearchJudging | None]
    #: Queries whose best k, by A's torch in A's index, hold the query itself.
    identical_ids: NotRequired[SearchIdenticalIds]
    #: with fewer changed queries the permutation test cannot detect anything, and intervals are not a bootstrap's
    least_changed: Positive
    #: A's and B's torch encoding the same queries; null where it was not captured
    query_embeddings: SearchQueryEmbeddings | None
    #: an environment's own index searched once more in another process; one whose plain arm did not search is left out
    controls: list[SearchControls]
    quality: list[SearchQuality]  #: one for each search; empty when `judged` is 0
    comparisons: list[SearchComparison]  #: empty when `queries` is 0
    yardstick: SearchYardstick | None  #: null without seeds
    #: queries whose best k of `upgrade` are not the same. Those whose measures changed come first, then those with the
    #: most different passages
    changed: Annotated[list[ChangedQuery], Len(0, 20)]
    changed_total: Count  #: how many there are


class MarginMargin(TypedDict):
    """``margin`` of a `Margin`."""

    median: float
    quantiles: dict[str, float]


class MarginExplained(TypedDict):
    """``explained`` of a `Margin`."""

    within: Count  #: flipped, and the item's own margin shrank by at least its size
    of: Count  #: flipped
    unknown: Count  #: flipped, and by how much it shrank is not known
    #: flipped, though the embedding or the residual has the same value on both sides: a centroid or an edge moved; null
    #: for `rank`
    alike: Count | None


class MarginBins(TypedDict):
    """``bins`` of a `Margin`."""

    low: float
    high: float
    items: Count
    flipped: Count
    rate: Share
    rate_low: Share  #: Wilson's 95 % interval
    rate_high: Share  #: of the same


class MarginSameIds(TypedDict):
    """``same_ids`` of a `Margin`."""

    nearest: Count  #: of how many the nearest one of B has the same number
    of: Count  #: centroids of A


class Margin(TypedDict):
    """How far decisions were from falling the other way, and which did."""

    #: `centroid`: a token embedding's nearest centroid; `bucket`: the bucket of a residual's coordinate; `rank`: a
    #: query's best k
    id: Literal["centroid", "bucket", "rank"]
    left_out: str | None  #: why this kind was not looked at; then numbers are 0 or null
    items: Count  #: decisions looked at
    of: Count  #: in all
    flipped: Count  #: how many fell otherwise in B
    flip_rate: Share | None
    #: where none flipped among the items looked at and there are more: the share that could flip, at 95 %
    unseen: Share | None
    #: A's: first minus second centroid's score; distance to the nearest edge of a bucket; gap of the scores at rank k
    #: and k + 1
    margin: MarginMargin | None
    #: `median`, `0.99`, `max`: how far the same quantity moved from A to B, over the `known` items
    change: dict[str, Size] | None
    #: chance that a flipped item's margin is below an unflipped one's (ties half); null when nothing or all flipped
    auc: Share | None
    p: Share | None  #: its test
    detectable: Share | None  #: the smallest that would likely have been seen
    explained: MarginExplained
    bins: list[MarginBins]  #: by margin
    half: float | None  #: the margin below which half of the flips lie; null without flips
    same_ids: MarginSameIds | None  #: for `centroid`
    k: Count | None  #: for `rank`


class OperationDifference(TypedDict):
    """How far an operation's outputs are apart."""

    elements: Count | None
    different: Count | None
    max_abs: float | None
    rms: float | None
    max_ulp: Count | None  #: null across zero or for integers


class ReplayedOperation(TypedDict):
    """An operation of B, run again on A's inputs."""

    position: Count
    name: str
    overload: str
    module: str
    source: str | None
    local: OperationDifference | None  #: of B's operation run on A's inputs
    accumulated: OperationDifference | None  #: of the two runs at that place


class OperationPassReplayNotReplayed(TypedDict):
    """``not_replayed`` of a `OperationPassReplay`."""

    name: str
    why: str
    count: Count


class OperationPassReplay(TypedDict):
    """``replay`` of a `OperationPass`."""

    replayed: Count
    differ: Count  #: by themselves
    not_replayed: list[OperationPassReplayNotReplayed]
    window_bytes: Count | None  #: greatest size of the values that waited for their counterpart
    operations: list[ReplayedOperation]


class OperationPass(TypedDict):
    """One pass: the two traces side by side, and the replay."""

    slug: str
    description: str
    verdict: str
    same_output: bool
    operations_a: Count
    operations_b: Count
    matched: Count
    kind: Literal["forward", "index"]
    replay: OperationPassReplay | None


class TruthError(TypedDict):
    """Against the same computation in float64."""

    max_abs: float | None
    rms: float | None


class Explanation(TypedDict):
    """An explanation that reproduces one side bit for bit."""

    name: str
    description: str


#: ``first`` of a `Cause`.
CauseFirst = TypedDict(
    "CauseFirst",
    {
        "pass": str,
        "position": Count,
        "module": str,
        "source": str | None,
    },
)


class CauseInputs(TypedDict):
    """``inputs`` of a `Cause`."""

    dtype: str
    shape: list[Count]


class CauseTruth(TypedDict):
    """``truth`` of a `Cause`."""

    a: TruthError
    b: TruthError
    ratio_max: float | None  #: B's error over A's
    ratio_rms: float | None  #: B's error over A's
    closer: Literal["a", "b", "equal"]


class CauseMechanismTried(TypedDict):
    """``tried`` of a `CauseMechanism`."""

    name: str
    description: str
    equal_a: Count | None
    equal_b: Count | None
    elements: Count | None


class CauseMechanism(TypedDict):
    """``mechanism`` of a `Cause`."""

    label: Literal["proven", "candidate", "unknown"]
    sentence: str | None
    a: Explanation | None  #: what gives A's bytes
    b: Explanation | None  #: what gives B's bytes
    tried: list[CauseMechanismTried]
    switch: str | None


class CauseSwitches(TypedDict):
    """``switches`` of a `Cause`."""

    switch: str
    environment: Literal["a", "b"]
    gives: Literal["a", "b", "both", "neither", "failed"]
    why: str | None


class CauseUpstream(TypedDict):
    """``upstream`` of a `Cause`."""

    url: str
    title: str
    text: str | None
    status: Literal["named", "candidate"]


class CauseReproductionRan(TypedDict):
    """``ran`` of a `CauseReproduction`."""

    a: str | None
    b: str | None


class CauseReproduction(TypedDict):
    """``reproduction`` of a `Cause`."""

    folder: str  #: beside the page
    bytes: Count | None
    ran: CauseReproductionRan | None  #: which version each environment behaved like


class Cause(TypedDict):
    """One root operation: what differs by itself, and what is known of it."""

    id: str
    name: str
    overload: str
    dtypes: list[str]
    instances: Count  #: how often it differs by itself, over all passes
    replayed: Count  #: of so many
    root_in: list[str]  #: slugs of passes: where it read the same bytes in both runs and returned others
    differs_in: list[str]  #: slugs of passes: where it differs by itself
    first: CauseFirst
    modules: Count  #: how many
    tainted: Count | None  #: operations that the difference reaches, the most of any pass
    reaches_output: bool | None
    inputs: list[CauseInputs]  #: of the case
    arguments: dict[str, Any]  #: of the case
    difference: OperationDifference | None
    truth: CauseTruth | None
    why_no_truth: str | None
    mechanism: CauseMechanism | None
    switches: list[CauseSwitches]
    upstream: CauseUpstream | None
    reproduction: CauseReproduction | None


class OperationsSwitches(TypedDict):
    """``switches`` of a `Operations`."""

    name: str
    line: str | None  #: what a user pastes
    description: str


class OperationsUndo(TypedDict):
    """``undo`` of a `Operations`."""

    switches: list[str]
    lines: list[str]
    cases_equal: Count
    cases: Count
    passes_equal: Count | None
    passes: Count | None


#: ``layers_truth`` of a `Operations`.
OperationsLayersTruth = TypedDict(
    "OperationsLayersTruth",
    {
        "pass": str,
        "layer": str,
        "a": TruthError,
        "b": TruthError,
        "ratio_rms": float | None,  #: B's error over A's
    },
)


class Operations(TypedDict):
    """The operations of a precision: roots, replay, causes, switches."""

    schema_version: Literal[1]
    a: Any  #: of the traces
    b: Any  #: of the traces
    precision: str
    #: the worst pass's: `identical`, `reordered`, `inserted`, `root`, `replaced`, `inputs differ`, `inconclusive`
    verdict: str
    passes: list[OperationPass]
    causes: list[Cause]  #: the root operations, by name, overload and dtypes, in execution order of the first instance
    switches: NotRequired[list[OperationsSwitches]]  #: those that were tried
    #: the fewest switches that give A's bytes for every cause of the forward passes; null where there are none
    undo: NotRequired[OperationsUndo | None]
    why_no_undo: NotRequired[str | None]
    layers_truth: NotRequired[list[OperationsLayersTruth] | None]  #: layer outputs against the forward pass in float64


class PrecisionSummary(TypedDict):
    """``summary`` of a `Precision`."""

    final: Counts
    intermediate: Counts


class Precision(TypedDict):
    """A pair of environments in one precision."""

    precision: Literal["float32", "autocast"]
    passages: Count | None  #: of A's index
    embeddings: Count | None  #: of A's index
    controls: list[Control]  #: empty if none was run
    #: false when a control failed: then what differs may be noise, and nothing that rests on this precision may be
    #: claimed. True when all controls that the study asks for passed; null when none failed, but not all were run
    conclusive: bool | None
    artifacts: list[Comparison]  #: in pipeline order, without `layers`
    summary: PrecisionSummary  #: `rankings` counts as neither
    first_difference: Named | None  #: the first capture point whose verdict is not `identical`
    layers: list[LayerInput]  #: one entry for each input; empty if none was captured
    weights: Weights | None
    order: SortOrder | None
    swaps: list[Swap]
    swap_summary: list[SwapSummary]  #: one entry for each direction
    rankings: Rankings | None
    #: null where a side has no searching arm's capture, left out in reports from before there were such arms
    search: NotRequired[Search | None]
    #: one entry for each kind of decision; left out in reports from before it was measured
    margins: NotRequired[list[Margin] | None]
    operations: NotRequired[Operations | None]  #: null or left out where no operations were recorded


class SortProbesProbes(TypedDict):
    """``probes`` of a `SortProbes`."""

    size: Count
    dtype: str
    source: str
    same_input: bool
    same_values: bool
    same_order: bool
    stable: Literal["a", "b", "both", "neither"]


class SortProbesThresholds(TypedDict):
    """``thresholds`` of a `SortProbes`."""

    dtype: str
    smallest_different: Count | None  #: null where no size differs
    largest_same_below: Count | None
    same_at_or_above: list[Count]  #: sizes that do not follow
    sizes: list[Count]


class SortProbes(TypedDict):
    """The sort by itself, on lists full of equal numbers."""

    arm_a: str
    arm_b: str
    probes: list[SortProbesProbes]
    thresholds: list[SortProbesThresholds]  #: of each dtype, from the probes of source `ties` only


class EnvironmentDifference(TypedDict):
    """One thing that is not the same in both environments."""

    kind: Literal[
        "python",
        "package",
        "package build",
        "torch",
        "library",
        "threads",
        "capability",
        "environment variable",
        "seed",
        "machine",
    ]  #: packages of one version whose record hash differs have `package build`
    name: str
    a: str | None  #: null: not there
    b: str | None  #: null: not there


class Pair(TypedDict):
    """The study's first environment, A, and another one, B."""

    a: str  #: environment
    b: str  #: environment
    environment_differences: list[EnvironmentDifference]
    precisions: list[Precision]  #: in the study's order
    sort_probes: SortProbes | None


class EnvironmentTorch(TypedDict):
    """``torch`` of a `Environment`."""

    version: str | None
    git_version: str | None
    cuda: str | None
    cpu_capability: str | None
    config: str | None
    parallel: str | None


class EnvironmentLibraries(TypedDict):
    """``libraries`` of a `Environment`."""

    name: str
    version: str | None
    sha256: str | None  #: of a large one only the size is known
    kind: str | None
    size: Count | None  #: in bytes


class Environment(TypedDict):
    """An environment, as its captures recorded it."""

    name: str
    python: str | None
    torch: EnvironmentTorch
    backend: str | None  #: how the environment was made; null if unknown
    packages: dict[str, str | None]
    #: of the packages that the environment's file pins; null where it has no file; not there in older reports
    pins: NotRequired[dict[str, str] | None]
    libraries: list[EnvironmentLibraries]
    threads: dict[str, str | float | int | bool | None]
    environment_variables: dict[str, str]
    seeds: dict[str, str | float | int | bool | None]
    #: `threads`, `index_bsize` and environment variables that the study does not set alike for all; not there where
    #: it does
    settings: NotRequired[dict[str, str]]


class Finding(TypedDict):
    """One thing that the report says."""

    id: str  #: `<about>/<kind>`, and what tells it from others of its kind
    kind: str  #: `files`, `cause`, `lists` ...
    question: Literal["what", "why", "matter"]
    about: str  #: `<b>/<precision>`, `<b>`, or empty for the study
    numbers: dict[str, Any]  #: what it says, as values
    #: of an explanation `proven`, `candidate` or `unknown`
    sure: Literal["measured", "proven", "candidate", "unknown", "not detected", "inconclusive"]
    #: made from the numbers by a template; numbers that decide stand between `**`, names in code between backticks
    sentence: Text
    evidence: Annotated[list[str], Len(1)]  #: JSON pointers
    posts: list[str]  #: ids in the project's list of the posts' experiments, such as `F1`


class ReportStudyCollection(TypedDict):
    """``collection`` of a `ReportStudy`."""

    source: str
    sentence: str
    sha256: str | None  #: null where no capture says
    passages: Count | None  #: null where no capture says
    queries: Count | None  #: null where no capture says


class ReportStudyCheckpoint(TypedDict):
    """``checkpoint`` of a `ReportStudy`."""

    source: str
    sentence: str
    sha256: str | None  #: null where no capture says
    dim: Count | None
    projection: NotRequired[Literal["trained", "untrained"]]  #: of the offline one


class ReportStudyPrecisions(TypedDict):
    """``precisions`` of a `ReportStudy`."""

    name: Literal["float32", "autocast"]
    passages: Count | None  #: what was indexed


class ReportStudy(TypedDict):
    """What was compared."""

    slug: str
    #: the study's; where more than PyTorch differs between its environments and the title does not say so, that too
    title: str
    environments: Annotated[list[str], Len(2)]  #: names
    device: Literal["cpu", "cuda"]
    threads: Count
    collection: ReportStudyCollection
    checkpoint: ReportStudyCheckpoint
    colbert: dict[str, float]  #: settings as in `study.toml`
    variables: dict[str, str]  #: environment variables that the study sets
    precisions: list[ReportStudyPrecisions]


class ReportPlatform(TypedDict):
    """What it ran on."""

    cpu: str | None
    cores: Count | None
    arch: str | None
    os: str | None
    gpu: str | None
    driver: str | None
    isa: list[str]  #: instruction sets
    device: Literal["cpu", "cuda"]
    threads: dict[str, str | float | int | bool | None]  #: as captured
    capability: dict[str, str | None]  #: of each environment torch's, e.g. `AVX2`
    one_machine: bool  #: whether all captures name the same CPU and GPU
    sentence: str  #: one line for the first screen


SCHEMA_VERSION = 1


class Report(TypedDict):
    """Every number and verdict of a report page."""

    schema_version: Literal[1]
    study: ReportStudy  #: what was compared
    platform: ReportPlatform  #: what it ran on
    environments: list[Environment]  #: in the study's order
    pairs: Annotated[list[Pair], Len(1)]  #: A with each further environment, in the study's order
    missing_arms: list[str]  #: arms without a capture; empty unless the report was asked for in spite of them
    #: only then: the kinds of evidence that are not there yet
    pending: NotRequired[list[Literal["controls", "swaps", "operations", "searches"]]]
    findings: list[Finding]  #: what the report says, as data with a sentence each, in page order


def schema() -> dict[str, Any]:
    """Return the JSON schema of a report, made from the types by pydantic, which only checks and tests need."""
    from pydantic import TypeAdapter

    made: dict[str, Any] = TypeAdapter(Report).json_schema(ref_template="#/$defs/{model}")
    texts = comments()
    for name, node in {**made["$defs"], "Report": made}.items():
        node.pop("title", None)
        # What `reportlib roots` leaves is a format of its own, which may say more.
        if not name.startswith(_OPEN):
            node["additionalProperties"] = False
        for key, field in node.get("properties", {}).items():
            field.pop("title", None)
            if text := texts.get((name, key)):
                field["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def comments() -> dict[tuple[str, str], str]:
    """Return what this file says of each field, by type and field: in comments above it or at its end.

    Of a type itself, whose field is ``""``, the docstring counts.
    """
    source = Path(__file__).read_text(encoding="utf-8")
    lines, texts = source.splitlines(), {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ClassDef):
            about = ast.get_docstring(statement) or ""
            texts[statement.name, ""] = about
        for name, key, first, last in _fields(statement):
            above = first
            while lines[above - 2].lstrip().startswith("#: "):
                above -= 1
            pieces = [*lines[above - 1 : first - 1], lines[last - 1]]
            texts[name, key] = " ".join(p.partition("#: ")[2] for p in pieces if "#: " in p)
    return texts


def _fields(statement: ast.stmt) -> Iterator[tuple[str, str, int, int]]:
    """Yield the fields of a type with their lines, whether it is written as a class or, for `pass`, as a call."""
    match statement:
        case ast.ClassDef(name=name, body=body):
            for field in body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield name, field.target.id, field.lineno, field.end_lineno or field.lineno
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[_, ast.Dict(keys=keys, values=values)])):
            yield name, "", statement.lineno, statement.lineno
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant):
                    yield name, str(key.value), key.lineno, value.end_lineno or key.lineno


def document(text: str) -> str:
    """Return a document with the table of each type that it has a mark for made anew.

    Parameters
    ----------
    text : str
        Markdown, with ``<!-- fields of Cause -->`` and ``<!-- end of fields -->`` around each table. A type without a
        mark stands in the table of the one that holds it.
    """
    own, texts = {mark[2] for mark in _MARK.finditer(text)}, comments()

    def table(mark: re.Match[str]) -> str:
        about = texts[mark[2], ""]
        lead = f"`{mark[2]}`: {_lowered(about)}\n\n"
        rows = "".join(f"| {' | '.join(row)} |\n" for row in _rows(mark[2], [""], own, texts))
        return f"{mark[1]}\n{lead}| key | type | content |\n|---|---|---|\n{rows}\n{mark[3]}"

    return _MARK.sub(table, text)


def _rows(
    name: str, before: list[str], own: set[str], texts: dict[tuple[str, str], str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a type's fields, those that are alike together, and of the types inside it without a table."""
    hints = get_type_hints(globals()[name], include_extras=True)
    for (hint, text), alike in groupby(hints, lambda key: (hints[key], texts[name, key])):
        keys = [f"{start}{key}" for key in alike for start in before]
        called = _called(hint, own)
        inner = next((part.__name__ for part in _inside(hint) if is_typeddict(part)), "")
        about = text or _lowered(texts.get((inner, ""), "").removesuffix("."))
        # Of a type that stands in one place only this is said.
        yield ", ".join(f"`{key}`" for key in keys), called, "" if about.startswith("``") else about
        if inner and inner not in own:
            end = "[]." if "list of" in called else "."
            yield from _rows(inner, [f"{key}{end}" for key in keys], own, texts)


def _lowered(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _inside(hint: Any) -> Iterator[Any]:
    """Yield a type and those that it is made of."""
    yield hint
    for part in get_args(hint):
        yield from _inside(part)


def _called(hint: Any, own: set[str]) -> str:
    """Return what to call a type in a table: ``list of `Cause` or null``."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _called(parts[0], own)
    if kind is NotRequired:
        return f"{_called(parts[0], own)}, or left out"
    if kind is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if kind is list:
        return f"list of {_called(parts[0], own)}"
    if kind is dict:
        return f"object of {_called(parts[1], own)}"
    if parts:
        return " or ".join(_called(part, own) for part in parts)
    if is_typeddict(hint):
        return f"`{hint.__name__}`" if hint.__name__ in own else "object"
    return {Any: "any", type(None): "null"}.get(hint) or str(hint.__name__)


_OPEN = ("Cause", "Explanation", "Operation", "ReplayedOperation")
_MARK = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)
SCHEMA = Path(__file__).parent / "compare" / "report.schema.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "schema.md"


def main(arguments: Sequence[str]) -> None:
    """Write the schema and the document's tables; with ``--check`` only say which of them is stale."""
    made = {
        SCHEMA: json.dumps(schema(), indent=1) + "\n",
        DOCUMENT: document(DOCUMENT.read_text(encoding="utf-8")),
    }
    stale = [path for path, text in made.items() if path.read_text(encoding="utf-8") != text]
    if "--check" not in arguments:
        for path in stale:
            path.write_text(made[path], encoding="utf-8")
    elif stale:
        sys.exit(f"{' and '.join(path.name for path in stale)}: stale; run `python -m reportlib.shape`")


if __name__ == "__main__":
    main(sys.argv[1:])
