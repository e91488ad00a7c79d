"""The `operations`, `controls` and `swaps` of a report, made by hand in the form of docs/schema.md.

Names, modules, shapes and positions are those that `reportlib roots torch201 torch210 --json` gives for a six-layer
encoder; what a replay, a search for mechanisms and switches would add is made up, and plausible.
"""

from __future__ import annotations

from typing import Any

from reportlib.artifacts import SWAP_POINTS

LAYERS = 6
_STEPS = (
    ("addmm", "", "attention.self.query"),
    ("addmm", "", "attention.self.key"),
    ("addmm", "", "attention.self.value"),
    ("bmm", "", "attention.self"),
    ("div", "Tensor", "attention.self"),
    ("add", "Tensor", "attention.self"),
    ("_softmax", "", "attention.self"),
    ("bmm", "", "attention.self"),
    ("addmm", "", "attention.output.dense"),
    ("add", "Tensor", "attention.output"),
    ("native_layer_norm", "", "attention.output.LayerNorm"),
    ("addmm", "", "intermediate.dense"),
    ("gelu", "", "intermediate.intermediate_act_fn"),
    ("addmm", "", "output.dense"),
    ("add", "Tensor", "output"),
    ("native_layer_norm", "", "output.LayerNorm"),
)
SOURCES = {
    "gelu": "transformers/activations.py:78: return self.act(input)",
    "_softmax": "transformers/models/bert/modeling_bert.py:361: probs = nn.functional.softmax(scores, dim=-1)",
    "div": "transformers/models/bert/modeling_bert.py:355: scores = scores / math.sqrt(self.attention_head_size)",
    "sort": "colbert/indexing/collection_indexer.py:462: codes = codes.sort()",
}
PASSES = (
    ("text0", "a", 384),
    ("text1", "test input", 480),
    ("batch", "the first 32 passages of the collection", 344_064),
)


def difference(elements: int, different: int, rms: float, max_ulp: int | None = 2) -> dict[str, Any]:
    return {
        "elements": elements,
        "different": different,
        "max_abs": 6 * rms,
        "rms": rms,
        "max_ulp": max_ulp if different else 0,
    }


def stream(elements: int, roots: tuple[str, ...], size: float) -> list[dict[str, Any]]:
    """The replayed operations of one forward pass, whose `roots` differ by themselves."""
    steps = [("embedding", "", "embeddings.word_embeddings"), ("native_layer_norm", "", "embeddings.LayerNorm")]
    steps += [(name, over, f"encoder.layer.{n}.{module}") for n in range(LAYERS) for name, over, module in _STEPS]
    steps += [("mm", "", "linear"), ("linalg_vector_norm", "", "")]
    found, begun = [], 0
    for place, (name, overload, module) in enumerate(steps):
        own = name in roots
        begun += own
        found.append(
            {
                "position": 3 * place + 2,
                "name": f"aten::{name}",
                "overload": overload,
                "module": f"bert.{module}" if module.startswith(("embeddings", "encoder")) else module,
                "source": SOURCES.get(name),
                "local": difference(elements, elements // 9 if own else 0, size if own else 0.0),
                "accumulated": difference(
                    elements, elements if begun else 0, size * begun**0.5 if begun else 0.0, None
                ),
            }
        )
    return found


def forward(roots: tuple[str, ...], size: float) -> list[dict[str, Any]]:
    """The forward passes: two short texts and a batch."""
    found = []
    for slug, description, elements in PASSES:
        operations = stream(elements, roots, size)
        scale = 40 if slug == "batch" else 1
        found.append(
            recorded(slug, description, "forward", "root" if roots else "identical", len(operations) * 3)
            | {
                "replay": {
                    "replayed": len(operations),
                    "differ": sum(o["local"]["different"] > 0 for o in operations),
                    "not_replayed": [{"name": "aten::view", "why": "returns its input's memory", "count": 250}],
                    "window_bytes": 86_016 * scale,
                    "operations": operations,
                },
                "cost": {
                    "a": cost(0.021 * scale, 0.094 * scale, 512_000_000),
                    "b": cost(0.019 * scale, 0.101 * scale, 530_000_000),
                    "replay": {"seconds": 0.31 * scale, "peak_bytes": 560_000_000 + 9_000_000 * scale},
                },
            }
        )
    return found


def index_pass() -> dict[str, Any]:
    """colbert-ai's indexing after the encoder: only the sort differs by itself."""
    local = difference(34_133, 31_002, 4_012.0, None)
    operation = {
        "position": 208, "name": "aten::sort", "overload": "", "module": "colbert.indexing.collection_indexer",
        "source": SOURCES["sort"], "local": local, "accumulated": local,
    }  # fmt: skip
    replay = {"replayed": 231, "differ": 1, "not_replayed": [{"name": "faiss::kmeans", "why": "no operation of torch",
              "count": 1}], "window_bytes": 0, "operations": [operation]}  # fmt: skip
    return recorded("index", "indexing after the encoder", "index", "root", 412) | {"replay": replay, "cost": None}


def recorded(slug: str, description: str, kind: str, verdict: str, operations: int) -> dict[str, Any]:
    return {
        "slug": slug, "description": description, "kind": kind, "verdict": verdict, "same_output": kind == "index",
        "operations_a": operations, "operations_b": operations, "matched": operations // 3, "roots": [],
        "unmatched": [], "out_of_reach_a": 0, "out_of_reach_b": 0, "moved": [],
    }  # fmt: skip


def cost(plain: float, with_recording: float, peak: int) -> dict[str, Any]:
    return {
        "seconds_plain": plain,
        "seconds_recorded": with_recording,
        "peak_bytes_plain": peak,
        "peak_bytes_recorded": peak + 24_000_000,
    }


def cause(name: str, dtypes: list[str], **other: Any) -> dict[str, Any]:
    """A root operation as the report has it; `other` replaces what is said of it."""
    own, _, overload = name.partition(".")
    return {
        "id": f"{name.replace('.', '-').strip('_')}-{dtypes[0]}",
        "name": f"aten::{own}",
        "overload": overload,
        "dtypes": dtypes,
        "instances": 18,
        "replayed": 18,
        "root_in": ["text0", "text1"],
        "differs_in": ["text0", "text1", "batch"],
        "first": {
            "pass": "text0",
            "position": 65,
            "module": "bert.encoder.layer.0.intermediate.intermediate_act_fn",
            "source": SOURCES.get(own),
        },
        "modules": 6,
        "tainted": 257,
        "reaches_output": True,
        "inputs": [{"dtype": dtypes[0], "shape": [1, 4, 1536]}],
        "arguments": {"self": {"tensor": 0}, "approximate": "none"},
        "difference": difference(6_144, 702, 1.1e-8),
        "truth": {
            "a": {"max_abs": 4.1e-7, "rms": 2.2e-8},
            "b": {"max_abs": 1.9e-7, "rms": 1.1e-8},
            "ratio_max": 0.46,
            "ratio_rms": 0.5,
            "closer": "b",
        },
        "why_no_truth": None,
        "mechanism": {
            "label": "proven",
            "sentence": "A's bytes are those of one polynomial for erf, B's those of another.",
            "a": {"name": "erf-avx2", "description": "erf by a polynomial of degree 5 in float32"},
            "b": {"name": "erf-avx512", "description": "erf from a table of 32 polynomials in float32"},
            "tried": [
                {"name": "erf-avx2", "description": "erf by a polynomial", "equal_a": 6_144, "equal_b": 5_442,
                 "elements": 6_144},
                {"name": "erf-avx512", "description": "erf from a table", "equal_a": 5_442, "equal_b": 6_144,
                 "elements": 6_144},
                {"name": "float64", "description": "in float64, rounded once", "equal_a": 5_800, "equal_b": 6_001,
                 "elements": 6_144},
            ],
            "switch": "onednn-avx2",
        },
        "switches": [
            {"switch": "aten-avx2", "environment": "a", "gives": "a", "why": None},
            {"switch": "aten-avx2", "environment": "b", "gives": "b", "why": None},
            {"switch": "onednn-avx2", "environment": "a", "gives": "a", "why": None},
            {"switch": "onednn-avx2", "environment": "b", "gives": "a", "why": None},
            {"switch": "deterministic", "environment": "a", "gives": "failed", "why": "it has no such algorithm"},
            {"switch": "deterministic", "environment": "b", "gives": "neither", "why": None},
        ],
        "upstream": None,
        "reproduction": {"folder": f"reproductions/float32-{own.strip('_')}-{dtypes[0]}", "bytes": 78_211,
                         "ran": {"a": "a", "b": "b"}},
    } | other  # fmt: skip


SWITCHES = [
    {"name": "aten-avx2", "line": "export ATEN_CPU_CAPABILITY=avx2", "description": "torch's kernels use AVX2 at most"},
    {"name": "onednn-avx2", "line": "export ONEDNN_MAX_CPU_ISA=AVX2", "description": "oneDNN's use AVX2 at most"},
    {"name": "deterministic", "line": "torch.use_deterministic_algorithms(True)", "description": "always the same"},
]


def softmax() -> dict[str, Any]:
    """A cause that a switch alone explains."""
    return cause(
        "_softmax", ["float32"], instances=6, replayed=18, root_in=["batch"], differs_in=["batch"], tainted=288,
        first={"pass": "batch", "position": 47, "module": "bert.encoder.layer.0.attention.self",
               "source": SOURCES["_softmax"]},
        truth={"a": {"max_abs": 1.2e-7, "rms": 3.0e-9}, "b": {"max_abs": 1.2e-7, "rms": 2.9e-9}, "ratio_max": 1.0,
               "ratio_rms": 0.97, "closer": "b"},
        mechanism={"label": "proven", "sentence": "The length of the vectors that are summed decides the bytes.",
                   "a": None, "b": None, "tried": [], "switch": "aten-avx2"},
        switches=[{"switch": "aten-avx2", "environment": "a", "gives": "a", "why": None},
                  {"switch": "aten-avx2", "environment": "b", "gives": "a", "why": None}],
    )  # fmt: skip


def sort() -> dict[str, Any]:
    """The sort of the codes: no float64 truth, a named upstream change."""
    return cause(
        "sort", ["int64"], instances=1, replayed=1, root_in=["index"], differs_in=["index"], tainted=3, modules=1,
        reaches_output=False, inputs=[{"dtype": "int64", "shape": [34_133]}], truth=None,
        why_no_truth="integers are exact", difference=difference(34_133, 31_002, 4_012.0, None),
        first={"pass": "index", "position": 208, "module": "colbert.indexing.collection_indexer",
               "source": SOURCES["sort"]},
        mechanism={"label": "proven", "sentence": "B's order is that of a stable sort.", "a": None,
                   "b": {"name": "stable", "description": "a stable sort"}, "tried": [], "switch": None},
        switches=[],
        upstream={"url": "https://github.com/pytorch/pytorch/pull/100081", "title": "pytorch/pytorch#100081",
                  "text": "a stable radix sort of integers on a CPU from 2.1.0 on", "status": "named"},
        reproduction=None,
    )  # fmt: skip


def float32() -> dict[str, Any]:
    """Two roots in BERT and the sort; capped kernels undo the two."""
    return {
        "schema_version": 1,
        "a": {"environment": "torch201"},
        "b": {"environment": "torch210"},
        "precision": "float32",
        "verdict": "root",
        "passes": [*forward(("gelu", "_softmax"), 2.1e-8), index_pass()],
        "causes": [cause("gelu", ["float32"]), softmax(), sort()],
        "switches": SWITCHES,
        "undo": {
            "switches": ["aten-avx2", "onednn-avx2"],
            "lines": ["export ATEN_CPU_CAPABILITY=avx2", "export ONEDNN_MAX_CPU_ISA=AVX2"],
            "cases_equal": 2,
            "cases": 2,
            "passes_equal": 3,
            "passes": 3,
            "seconds_without": 0.81,
            "seconds_with": 0.97,
            "ratio": 1.2,
        },
        "why_no_undo": None,
        "layers_truth": truth(1.6e-7, 0.83),
    }


def autocast() -> dict[str, Any]:
    """One root, the division of the attention scores, that nothing undoes."""
    divides = cause(
        "div.Tensor", ["bfloat16"], instances=18, replayed=18, root_in=["text0", "text1", "batch"],
        inputs=[{"dtype": "bfloat16", "shape": [1, 12, 4, 4]}],
        first={"pass": "text0", "position": 47, "module": "bert.encoder.layer.0.attention.self",
               "source": SOURCES["div"]},
        mechanism={"label": "candidate", "sentence": "B's bytes are those of a division in float32.", "a": None,
                   "b": {"name": "float32", "description": "divided in float32, rounded once"}, "tried": [],
                   "switch": None},
        truth={"a": {"max_abs": 0.0156, "rms": 2.4e-3}, "b": {"max_abs": 0.0078, "rms": 1.5e-3}, "ratio_max": 0.5,
               "ratio_rms": 0.625, "closer": "b"},
        reproduction={"folder": "reproductions/autocast-div-Tensor-bfloat16", "bytes": 5_120,
                      "ran": {"a": "a", "b": "a"}},
    )  # fmt: skip
    return float32() | {
        "precision": "autocast",
        "passes": forward(("div",), 3.2e-3),
        "causes": [divides],
        "undo": None,
        "why_no_undo": "none of 3 switches gives PyTorch 2.0.1's bytes for `aten::div.Tensor`",
        "layers_truth": truth(4.4e-3, 1.2),
    }


def truth(size: float, ratio: float) -> list[dict[str, Any]]:
    names = ["embeddings", *map(str, range(LAYERS))]
    return [
        {
            "pass": slug,
            "layer": name,
            "a": {"max_abs": 7 * size * (step + 1), "rms": size * (step + 1)},
            "b": {"max_abs": 7 * size * (step + 1), "rms": size * (step + 1) * ratio},
            "ratio_rms": ratio,
        }
        for slug, _, _ in PASSES
        for step, name in enumerate(names)
    ]


def controls(precision: str, failed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """A/A and observer of both environments; the arms named in `failed` are not identical."""
    found = []
    for environment in ("torch201", "torch210"):
        for kind, compared in (("repeat", 49), ("observer", 8)):
            arm = f"{environment}-{precision}-{kind}"
            unlike = ["index/ivf", "codes/0"] if arm in failed else []
            found.append(
                {
                    "kind": kind,
                    "environment": environment,
                    "arm": arm,
                    "compared": compared,
                    "identical": compared - len(unlike),
                    "not_identical": unlike,
                    "passed": not unlike,
                }
            )
    return found


SETS = (
    *((name,) for name in SWAP_POINTS),
    ("local_sample_embs", "embs"),
    ("sample", "embs"),
    ("centroids", "embs"),
    ("centroids", "buckets"),
    ("buckets", "embs"),
    ("centroids", "buckets", "embs"),
    ("codes", "residuals"),
    ("centroids", "buckets", "codes", "residuals"),
)


FEW = (("local_sample_embs",), ("embs",), ("local_sample_embs", "embs"), ("centroids",))


def swaps(comparisons: list[dict[str, Any]], sets: tuple[tuple[str, ...], ...] = SETS) -> list[dict[str, Any]]:
    """Each of `sets` in both directions: those with the embeddings and all that is trained heal the index."""
    healing = [{"local_sample_embs", "embs"}, {"sample", "embs"}, {"centroids", "buckets", "embs"}]
    sides = (("a into b", "torch201", "torch210"), ("b into a", "torch210", "torch201"))
    return [
        _swap(direction, given, into, points, comparisons, set(points) in healing)
        for direction, given, into in sides
        for points in sets
    ]


def _swap(
    direction: str, given: str, into: str, points: tuple[str, ...], comparisons: list[dict[str, Any]], healed: bool
) -> dict[str, Any]:
    replaced = {name for point in points for name in SWAP_POINTS[point].artifacts}
    start = min(n for n, c in enumerate(comparisons) if c["artifact"] in replaced)
    rows = [
        {k: c[k] for k in ("name", "artifact", "final", "kind", "tolerance", "default", "bnb")}
        | {
            "replaced": c["artifact"] in replaced,
            "verdict": "identical" if healed or c["artifact"] in replaced else c["verdict"],
            "plain_verdict": c["verdict"],
        }
        for c in comparisons[start:]
        if c["stage"] != "search"
    ]
    final = [r for r in rows if r["final"]]
    same = [r for r in final if r["verdict"] == "identical"]
    posts = {("local_sample_embs",): ["A4", "F4"], ("local_sample_embs", "embs"): ["H3"]}
    return {
        "arm": f"{into}-autocast-swap-{'+'.join(points)}-from-{given}",
        "from": given,
        "into": into,
        "direction": direction,
        "points": list(points),
        "artifacts": rows,
        "final_total": len(final),
        "final_identical": len(same),
        "all_final_identical": len(same) == len(final),
        "not_identical": [r["artifact"] for r in rows if r["verdict"] != "identical"],
        "posts": posts.get(points, []) if direction == "a into b" else [],
    }


def swap_summary(made: list[dict[str, Any]], plain_identical: bool) -> list[dict[str, Any]]:
    """What the made swaps show together, for both directions."""
    found = []
    for direction, given, into in (("a into b", "torch201", "torch210"), ("b into a", "torch210", "torch201")):
        own = [s for s in made if s["direction"] == direction]
        found.append(
            {
                "direction": direction,
                "from": given,
                "into": into,
                "sufficient": [[]] if plain_identical else [s["points"] for s in own if s["all_final_identical"]],
                "insufficient": [s["points"] for s in own if not s["all_final_identical"]],
                "necessary": [] if plain_identical else ["embs"],
                "tested": len(own),
            }
        )
    return found
