"""``report.json`` as types: the one place where its shape is written; the JSON schema is made from them.

``python -m reportlib.shape`` writes ``report.schema.json``. A name of two parts says where it
stands: `CauseMechanism` is ``mechanism`` of a `Cause`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic asks for this one below Python 3.12
)

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Size = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Text = Annotated[str, Len(1)]


class Side(TypedDict):
    """One side's artifact by itself."""

    dtype: str
    shape: list[Count]
    sha256: list[str]
    rows: list[Count]
    nan: Count | None
    inf: Count | None


class PostRow(TypedDict):
    """The reference post's row."""

    source: str
    dtype: str
    equal: Literal["True", "False", "shape mismatch"] | None
    default: bool | None
    bnb: bool | None
    verdict: str
    agrees: bool | None
    dtype_agrees: bool


class ComparisonChunks(TypedDict):
    """``chunks`` of a `Comparison`."""

    name: str
    start: Count
    stop: Count
    different: Count


class ComparisonValueDifference(TypedDict):
    """``value_difference`` of a `Comparison`."""

    path: str
    a: str | None
    b: str | None
    different: Count
    total: Count


class Comparison(TypedDict):
    """Artifact B set beside artifact A."""

    name: str
    artifact: str
    stage: str
    kind: Literal["float", "integer", "value"]
    description: str
    final: bool
    file: str
    verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"]
    a: Side | None
    b: Side | None
    tolerance: Literal["default", "bnb"] | None
    elements: Count | None
    different: Count | None
    different_bits: Count | None
    first_index: list[Count] | None
    mean_abs: Size | None
    max_abs: Size | None
    max_abs_index: list[Count] | None
    max_rel: Size | None
    max_ulp: Count | None
    default: bool | None
    bnb: bool | None
    default_close: Count | None
    bnb_close: Count | None
    smallest_atol: Size | None
    bnb_factor: Size | None
    no_tolerance_passes: bool
    same_set: Literal["whole", "per group"] | None
    groups: Count | None
    groups_equal: Count | None
    chunks: list[ComparisonChunks]
    value_difference: ComparisonValueDifference | None
    text: str
    post: PostRow | None


class Named(TypedDict):
    """A capture point, by its place along the pipeline."""

    name: str
    artifact: str
    stage: str
    index: Count | None


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

    layer: str
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
    text: str | None
    passages: Count | None
    label: str
    tokens: list[Count]
    first_difference: str | None
    identical: Count
    total: Count
    layers: list[LayerOutput]


class Weights(TypedDict):
    """Weights."""

    total: Count
    different: Count
    missing: list[str]
    names: list[str]
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
    post: list[str]
    claim: str
    holds: bool | None
    evidence: dict[str, str | float | int | bool | list[int] | None]


class SortOrderFigure(TypedDict):
    """``figure`` of a `SortOrder`."""

    centroid: Count
    size: Count
    a: list[Count]
    b: list[Count]
    pids_a: list[Count]
    pids_b: list[Count]


class SortOrder(TypedDict):
    """The sort of the codes."""

    embeddings: Count
    passages: Count
    centroids: Count
    ties: Count
    centroids_reordered: Count
    positions_different: Count | None
    stable: Literal["a", "b", "both", "neither"] | None
    steps: Annotated[list[SortStep], Len(9, 9)]
    figure: SortOrderFigure | None


class Control(TypedDict):
    """An arm that should differ in nothing."""

    kind: Literal["repeat", "observer"]
    environment: str
    arm: str
    compared: Count
    identical: Count
    not_identical: list[str]
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
    replaced: bool
    plain_verdict: Literal["identical", "close", "same set", "different", "shape mismatch", "missing"] | None


#: One arm with values of the other environment.
Swap = TypedDict(
    "Swap",
    {
        "arm": str,
        "from": str,
        "into": str,
        "direction": Literal["a into b", "b into a"],
        "points": Annotated[list[str], Len(1)],
        "artifacts": list[SwapArtifacts],
        "final_total": Count,
        "final_identical": Count,
        "all_final_identical": bool,
        "not_identical": list[str],
        "posts": list[str],
    },
)


#: What the swaps of one direction show together.
SwapSummary = TypedDict(
    "SwapSummary",
    {
        "direction": Literal["a into b", "b into a"],
        "from": str,
        "into": str,
        "sufficient": list[list[str]],
        "insufficient": list[list[str]],
        "necessary": list[str],
        "tested": Count,
    },
)


class RankingsChanged(TypedDict):
    """``changed`` of a `Rankings`."""

    qid: str
    only_a: list[Count]
    only_b: list[Count]
    first_rank: Positive


class Rankings(TypedDict):
    """Rankings."""

    k: Count
    queries: Count
    queries_missing: Count
    same_order: Count
    same_set: Count
    max_score_difference: Size | None
    scores_identical: bool
    symmetric_difference: Size | None
    changed: Annotated[list[RankingsChanged], Len(0, 20)]


class Estimate(TypedDict):
    """A mean over queries with its bootstrap interval."""

    value: float
    low: float
    high: float


class Searched(TypedDict):
    """Which torch searched which index."""

    torch: Literal["a", "b"]
    index: str


class MeasureChange(TypedDict):
    """A measure of the right search against the left one."""

    measure: str
    left: Share
    right: Share
    difference: Estimate
    interval: Literal["bootstrap", "few"]
    better: Count
    equal: Count
    worse: Count
    p_permutation: Share | None
    p_sign: Share | None
    detectable: Size | None
    detected: bool
    unchanged_bound: Share | None


class SearchComparisonChangedQueries(TypedDict):
    """``changed_queries`` of a `SearchComparison`."""

    share: Share
    low: Share
    high: Share


class SearchComparison(TypedDict):
    """Two searches of the same queries."""

    id: str
    kind: Literal["upgrade", "index", "torch", "seed"]
    left: Searched
    right: Searched
    queries: Count
    same_order: Count
    same_set: Count
    scores_identical: Count
    #: Other lists in which only passages with equal scores change places; reports from before it was counted lack it.
    tied: NotRequired[Count]
    #: Other lists that differ as well with scores in float64; None where an index or the queries were not kept.
    in_float64: NotRequired[Count | None]
    max_score_difference: Size | None
    different_passages: Estimate
    overlap: Estimate
    rbo: Estimate
    changed_queries: SearchComparisonChangedQueries
    measures: list[MeasureChange]


class ListedPassageRank(TypedDict):
    """``left`` or ``right`` of a `ListedPassage`."""

    rank: Positive
    score: float | None


class ListedPassage(TypedDict):
    """A passage that is among the best k of one side only."""

    pid: Count
    id: str
    text: str
    grade: int | None
    left: ListedPassageRank | None
    right: ListedPassageRank | None


class ChangedQueryMeasures(TypedDict):
    """``measures`` of a `ChangedQuery`."""

    measure: str
    left: Share
    right: Share


class ChangedQuery(TypedDict):
    """A query that the upgrade changed."""

    qid: str
    text: str
    first_rank: Positive
    measures: list[ChangedQueryMeasures]
    verdict: Literal["better", "equal", "worse"]
    went: list[ListedPassage]
    came: list[ListedPassage]


class SearchJudging(TypedDict):
    """What became of the collection's judgements; left out or null where no capture says."""

    read: Count
    unknown_queries: Count
    unknown_passages: Count
    repeated: Count
    ungraded: Count
    kept: Count
    relevant: Count
    answered: Count


class SearchIdenticalIds(TypedDict):
    """Queries whose best k, by A's torch in A's index, hold the query itself."""

    ignored: bool
    queries: Count
    first: Count


class SearchQueryEmbeddings(TypedDict):
    """``query_embeddings`` of a `Search`."""

    identical: Count
    total: Count
    max_abs: Size | None


class SearchControls(TypedDict):
    """``controls`` of a `Search`."""

    environment: str
    queries: Count
    identical: Count


class SearchQuality(TypedDict):
    """``quality`` of a `Search`."""

    torch: Literal["a", "b"]
    index: str
    measures: dict[str, Estimate]


class SearchYardstickFigures(TypedDict):
    """``figures`` of a `SearchYardstick`."""

    name: str
    upgrade: Size
    seeds: list[Size]
    verdict: Literal["smaller", "within", "larger"]


class SearchYardstick(TypedDict):
    """``yardstick`` of a `Search`."""

    seeds: Count
    figures: list[SearchYardstickFigures]


class Search(TypedDict):
    """What both environments' torch find in both environments' indexes."""

    k: Count
    queries: Count
    judged: Count
    resamples: Count
    confidence: Share
    power: Share
    #: What became of the collection's judgements; left out or null where no capture says.
    judging: NotRequired[SearchJudging | None]
    #: Queries whose best k, by A's torch in A's index, hold the query itself.
    identical_ids: NotRequired[SearchIdenticalIds]
    least_changed: Positive
    query_embeddings: SearchQueryEmbeddings | None
    controls: list[SearchControls]
    quality: list[SearchQuality]
    comparisons: list[SearchComparison]
    yardstick: SearchYardstick | None
    changed: Annotated[list[ChangedQuery], Len(0, 20)]
    changed_total: Count


class MarginMargin(TypedDict):
    """``margin`` of a `Margin`."""

    median: float
    quantiles: dict[str, float]


class MarginExplained(TypedDict):
    """``explained`` of a `Margin`."""

    within: Count
    of: Count
    unknown: Count
    alike: Count | None


class MarginBins(TypedDict):
    """``bins`` of a `Margin`."""

    low: float
    high: float
    items: Count
    flipped: Count
    rate: Share
    rate_low: Share
    rate_high: Share


class MarginSameIds(TypedDict):
    """``same_ids`` of a `Margin`."""

    nearest: Count
    of: Count


class Margin(TypedDict):
    """How far decisions were from falling the other way, and which did."""

    id: Literal["centroid", "bucket", "rank"]
    left_out: str | None
    items: Count
    of: Count
    flipped: Count
    flip_rate: Share | None
    unseen: Share | None
    margin: MarginMargin | None
    change: dict[str, Size] | None
    auc: Share | None
    p: Share | None
    detectable: Share | None
    explained: MarginExplained
    bins: list[MarginBins]
    half: float | None
    same_ids: MarginSameIds | None
    k: Count | None


class OperationDifference(TypedDict):
    """How far an operation's outputs are apart."""

    elements: Count | None
    different: Count | None
    max_abs: float | None
    rms: float | None
    max_ulp: Count | None


class ReplayedOperation(TypedDict):
    """ReplayedOperation."""

    position: Count
    name: str
    overload: str
    module: str
    source: str | None
    local: OperationDifference | None
    accumulated: OperationDifference | None


class OperationPassReplayNotReplayed(TypedDict):
    """``not_replayed`` of a `OperationPassReplay`."""

    name: str
    why: str
    count: Count


class OperationPassReplay(TypedDict):
    """``replay`` of a `OperationPass`."""

    replayed: Count
    differ: Count
    not_replayed: list[OperationPassReplayNotReplayed]
    window_bytes: Count | None
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
    ratio_max: float | None
    ratio_rms: float | None
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
    a: Explanation | None
    b: Explanation | None
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

    folder: str
    bytes: Count | None
    ran: CauseReproductionRan | None


class Cause(TypedDict):
    """One root operation: what differs by itself, and what is known of it."""

    id: str
    name: str
    overload: str
    dtypes: list[str]
    instances: Count
    replayed: Count
    root_in: list[str]
    differs_in: list[str]
    first: CauseFirst
    modules: Count
    tainted: Count | None
    reaches_output: bool | None
    inputs: list[CauseInputs]
    arguments: dict[str, Any]
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
    line: str | None
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
        "ratio_rms": float | None,
    },
)


class Operations(TypedDict):
    """The operations of a precision: roots, replay, causes, switches."""

    schema_version: Literal[1]
    a: Any
    b: Any
    precision: str
    verdict: str
    passes: list[OperationPass]
    causes: list[Cause]
    switches: NotRequired[list[OperationsSwitches]]
    undo: NotRequired[OperationsUndo | None]
    why_no_undo: NotRequired[str | None]
    layers_truth: NotRequired[list[OperationsLayersTruth] | None]


class PrecisionSummary(TypedDict):
    """``summary`` of a `Precision`."""

    final: Counts
    intermediate: Counts


class Precision(TypedDict):
    """Precision."""

    precision: Literal["float32", "autocast"]
    passages: Count | None
    embeddings: Count | None
    controls: list[Control]
    conclusive: bool | None
    artifacts: list[Comparison]
    summary: PrecisionSummary
    first_difference: Named | None
    layers: list[LayerInput]
    weights: Weights | None
    order: SortOrder | None
    swaps: list[Swap]
    swap_summary: list[SwapSummary]
    rankings: Rankings | None
    search: NotRequired[Search | None]
    margins: NotRequired[list[Margin] | None]
    operations: NotRequired[Operations | None]


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
    smallest_different: Count | None
    largest_same_below: Count | None
    same_at_or_above: list[Count]
    sizes: list[Count]


class SortProbes(TypedDict):
    """SortProbes."""

    arm_a: str
    arm_b: str
    probes: list[SortProbesProbes]
    thresholds: list[SortProbesThresholds]


class EnvironmentDifference(TypedDict):
    """EnvironmentDifference."""

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
    ]
    name: str
    a: str | None
    b: str | None


class Pair(TypedDict):
    """Pair."""

    a: str
    b: str
    environment_differences: list[EnvironmentDifference]
    precisions: list[Precision]
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
    sha256: str | None
    kind: str | None
    size: Count | None


class Environment(TypedDict):
    """Environment."""

    name: str
    python: str | None
    torch: EnvironmentTorch
    backend: str | None
    packages: dict[str, str | None]
    pins: NotRequired[dict[str, str] | None]
    libraries: list[EnvironmentLibraries]
    threads: dict[str, str | float | int | bool | None]
    environment_variables: dict[str, str]
    seeds: dict[str, str | float | int | bool | None]


class Finding(TypedDict):
    """Finding."""

    id: str
    kind: str
    question: Literal["what", "why", "matter"]
    about: str
    numbers: dict[str, Any]
    sure: Literal["measured", "proven", "candidate", "unknown", "not detected", "inconclusive"]
    sentence: Text
    evidence: Annotated[list[str], Len(1)]
    posts: list[str]


class ReportStudyCollection(TypedDict):
    """``collection`` of a `ReportStudy`."""

    source: str
    sentence: str
    sha256: str | None
    passages: Count | None
    queries: Count | None


class ReportStudyCheckpoint(TypedDict):
    """``checkpoint`` of a `ReportStudy`."""

    source: str
    sentence: str
    sha256: str | None
    dim: Count | None
    projection: NotRequired[Literal["trained", "untrained"]]


class ReportStudyPrecisions(TypedDict):
    """``precisions`` of a `ReportStudy`."""

    name: Literal["float32", "autocast"]
    passages: Count | None


class ReportStudy(TypedDict):
    """``study`` of a `Report`."""

    slug: str
    title: str
    environments: Annotated[list[str], Len(2)]
    device: Literal["cpu", "cuda"]
    threads: Count
    collection: ReportStudyCollection
    checkpoint: ReportStudyCheckpoint
    colbert: dict[str, float]
    variables: dict[str, str]
    precisions: list[ReportStudyPrecisions]


class ReportPlatform(TypedDict):
    """``platform`` of a `Report`."""

    cpu: str | None
    cores: Count | None
    arch: str | None
    os: str | None
    gpu: str | None
    driver: str | None
    isa: list[str]
    device: Literal["cpu", "cuda"]
    threads: dict[str, str | float | int | bool | None]
    capability: dict[str, str | None]
    one_machine: bool
    sentence: str


SCHEMA_VERSION = 1


class Report(TypedDict):
    """Every number and verdict of a report page. docs/schema.md says what they mean."""

    schema_version: Literal[1]
    study: ReportStudy
    platform: ReportPlatform
    environments: list[Environment]
    pairs: Annotated[list[Pair], Len(1)]
    missing_arms: list[str]
    pending: NotRequired[list[Literal["controls", "swaps", "operations", "searches"]]]
    findings: list[Finding]


def schema() -> dict[str, Any]:
    """Return the JSON schema of a report, made from the types by pydantic, which only checks and tests need."""
    from pydantic import TypeAdapter

    made: dict[str, Any] = TypeAdapter(Report).json_schema(ref_template="#/$defs/{model}")
    for name, node in {**made["$defs"], "Report": made}.items():
        node.pop("title", None)
        # What `reportlib roots` leaves is a format of its own, which may say more.
        if not name.startswith(_OPEN):
            node["additionalProperties"] = False
        for field in node.get("properties", {}).values():
            field.pop("title", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


_OPEN = ("Cause", "Explanation", "Operation", "ReplayedOperation")
SCHEMA = Path(__file__).parent / "compare" / "report.schema.json"


def main() -> None:
    """Write the schema; with ``--check`` only say whether it is stale."""
    text = json.dumps(schema(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        SCHEMA.write_text(text, encoding="utf-8")
    elif SCHEMA.read_text(encoding="utf-8") != text:
        sys.exit(f"{SCHEMA.name} is stale: run `python -m reportlib.shape`")


if __name__ == "__main__":
    main()
