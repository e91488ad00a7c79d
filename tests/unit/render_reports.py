"""Report dicts made by hand, in the form of docs/schema.md, for tests of the page alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import render_operations
import render_search

from reportlib import render
from reportlib.artifacts import CAPTURE_POINTS, CapturePoint
from reportlib.findings import findings

COMPARE = Path(__file__).parents[2] / "notebooks" / "compare.ipynb"

HOSTILE = "<script>alert(1)</script>\"'&$x^2$<img src=x onerror=alert(2)>"
VERDICTS = ("identical", "close", "same set", "different", "shape mismatch", "missing")


def comparison(point: CapturePoint, verdict: str, half: str = "float32") -> dict[str, Any]:
    floating = point.kind == "float"
    same, measured = verdict == "identical", verdict != "shape mismatch"
    elements = 3_276_800 if point.kind != "value" else 96
    different = 0 if same else 312_004 if elements > 96 else 3
    dtype = {"float": half, "integer": "int32", "value": "list"}[point.kind]
    side = {"dtype": dtype, "shape": [34_133, 96], "sha256": ["ab" * 32], "rows": [34_133]}
    side |= {"nan": 0 if floating else None, "inf": 0 if floating else None}
    close = None if not floating else verdict in {"identical", "close"}
    return {
        "name": point.name,
        "artifact": point.artifact,
        "stage": point.stage,
        "kind": point.kind,
        "description": point.description,
        "final": point.final,
        "file": point.file,
        "verdict": verdict,
        "tolerance": "bnb" if verdict == "close" else None,
        "a": side,
        "b": side | ({} if measured else {"shape": [34_131, 96]}),
        "elements": elements if measured else None,
        "different": different if measured else None,
        "different_bits": different if measured else None,
        "first_index": None if same or not measured else [3, 17],
        "mean_abs": (0.0 if same else 1.27e-5) if floating and measured else None,
        "max_abs": (0.0 if same else 1.16e-3) if floating and measured else None,
        "max_abs_index": None if same else [3, 17],
        "max_rel": (0.0 if same else 0.2) if floating and measured else None,
        "max_ulp": (0 if same else 1824) if measured else None,
        "default": same if floating else None,
        "bnb": close,
        "default_close": elements - different if floating and measured else None,
        "bnb_close": elements if floating and measured else None,
        "smallest_atol": (0.0 if same else 1.16e-3) if floating and measured else None,
        "bnb_factor": (0.0 if same else 11.4) if floating and measured else None,
        "no_tolerance_passes": False,
        "same_set": "whole" if verdict == "same set" else None,
        "groups": 2048 if point.name == "sort_indices" else None,
        "groups_equal": 2048 if point.name == "sort_indices" else None,
        "value_difference": None,
        "chunks": [],
        "text": f"{point.name} is {verdict}.",
        "post": post(point, verdict),
    }


def post(point: CapturePoint, verdict: str) -> dict[str, Any] | None:
    if not point.final and point.name not in {"sample_pids", "num_passages", "doclens", "local_sample_embs", "sample",
                                              "sample_heldout", "batches", "D"}:  # fmt: skip
        return None
    floating = point.kind == "float"
    lenient = point.artifact in {"index/avg_residual", "index/bucket_weights"}
    equal = None if floating else not point.final
    if point.artifact == "index/ivf":
        equal = "shape mismatch"
    said = "close" if lenient else "identical" if equal is True else "different"
    return {
        "source": "F1",
        "dtype": "float16" if floating else "int32",
        "equal": None if equal is None else str(equal),
        "default": False if floating else None,
        "bnb": lenient if floating else None,
        "verdict": said,
        "agrees": verdict == said,
        "dtype_agrees": not floating,
    }


def layer(name: str, verdict: str, size: float) -> dict[str, Any]:
    same = verdict == "identical"
    return {
        "layer": name,
        "artifact": f"layers/a/{name}",
        "verdict": verdict,
        "tolerance": None,
        "dtype_a": "float32",
        "dtype_b": "float32",
        "elements": 12_288,
        "different": 0 if same else 9_000,
        "mean_abs": 0.0 if same else size / 12,
        "max_abs": 0.0 if same else size,
        "max_ulp": 0 if same else 311,
        "default": same,
        "bnb": same,
        "smallest_atol": 0.0 if same else size,
        "bnb_factor": 0.0 if same else 4.2,
    }


def layers(different: bool) -> list[dict[str, Any]]:
    inputs = [("a", "a", None), ("test-input", "test input", None), ("passages", None, 32)]
    found = []
    for position, (slug, text, passages) in enumerate(inputs):
        verdicts = ["identical"] + ["different" if different else "identical"] * 6
        rows = [
            layer(name, verdict, 1e-3 * (position + 1) * (step + 1))
            for step, (name, verdict) in enumerate(zip(["embeddings", *"012345"], verdicts, strict=True))
        ]
        found.append(
            {
                "slug": slug,
                "text": text,
                "passages": passages,
                "label": f"“{text}”" if text else f"{passages} passages of the collection",
                "tokens": [passages or 1, 64 if passages else 4 + position],
                "first_difference": "0" if different else None,
                "identical": verdicts.count("identical"),
                "total": 7,
                "layers": rows,
            }
        )
    return found


def order(holds: bool = True) -> dict[str, Any]:
    ids = [
        ("presort-equal", ["D5"], "The codes are equal before they are sorted", holds),
        ("values-equal", ["D1"], "The sorted codes are equal", holds),
        ("indices-equal", ["D1", "D3"], "The sort indices are equal", False),
        ("bincount-equal", ["D2"], "Each centroid has equally many token embeddings", holds),
        ("token-sets-equal", ["D4"], "Each centroid has the same set of token ids", holds),
        ("passage-sets-equal", ["D4"], "Each centroid has the same passages", holds),
        ("unique-gives-ivf", ["D4"], "Taking each passage once per centroid gives the ivf", True),
        ("ivf-equal", ["D1"], "ivf and ivf_lengths are equal", holds),
        ("stable-side", ["D6"], "One side's order is the stable one", True),
    ]
    return {
        "embeddings": 34_133,
        "passages": 800,
        "centroids": 2048,
        "ties": 34_001,
        "centroids_reordered": 1_900,
        "positions_different": 33_500,
        "stable": "b",
        "steps": [
            {
                "id": i,
                "post": p,
                "claim": c,
                "holds": h,
                "evidence": {"embeddings": 34_133, "first": [1, 2, 3]},
            }
            for i, p, c, h in ids
        ],
        "figure": {
            "centroid": 17,
            "size": 24,
            "a": [(i * 7) % 24 * 1000 + 40 for i in range(24)],
            "b": [i * 1000 + 40 for i in range(24)],
            "pids_a": [(i * 7) % 24 * 20 for i in range(24)],
            "pids_b": [i * 20 for i in range(24)],
        },
    }


def precision(
    name: str,
    passages: int,
    verdicts: dict[str, str],
    half: str = "float32",
    sets: tuple[tuple[str, ...], ...] = render_operations.FEW,
) -> dict[str, Any]:
    different = any(v not in {"identical", "same set"} for v in verdicts.values())
    points = [p for p in CAPTURE_POINTS if p.name != "layers"]
    artifacts = [comparison(p, verdicts.get(p.artifact, verdicts.get("*", "identical")), half) for p in points]
    first = next((i for i, a in enumerate(artifacts) if a["verdict"] != "identical"), None)
    summary = {}
    for part, rows in (
        ("final", [a for a in artifacts if a["final"]]),
        ("intermediate", [a for a in artifacts if not a["final"]]),
    ):
        summary[part] = {v: sum(a["verdict"] == v for a in rows) for v in VERDICTS} | {"total": len(rows)}
    made = render_operations.swaps(artifacts, sets)
    return {
        "precision": name,
        "passages": passages,
        "embeddings": 34_133,
        "controls": render_operations.controls(name),
        "conclusive": True,
        "artifacts": artifacts,
        "summary": summary,
        "first_difference": None
        if first is None
        else {k: artifacts[first][k] for k in ("name", "artifact", "stage")} | {"index": first},
        "layers": layers(different),
        "weights": {"total": 103, "different": 0, "missing": [], "names": [], "identical": True},
        "order": order(not different),
        "swaps": made,
        "swap_summary": render_operations.swap_summary(
            made, summary["final"]["identical"] == summary["final"]["total"]
        ),
        "operations": render_operations.autocast() if name == "autocast" else render_operations.float32(),
        "rankings": {
            "k": 10,
            "queries": 120,
            "queries_missing": 0,
            "same_order": 120 if not different else 101,
            "same_set": 120 if not different else 109,
            "max_score_difference": 0.0 if not different else 0.0173,
            "scores_identical": not different,
            "symmetric_difference": 0.0 if not different else 0.41,
            "changed": [] if not different else [{"qid": "q7", "only_a": [1, 9], "only_b": [3, 4], "first_rank": 2}],
        },
    }


def probes() -> dict[str, Any]:
    sizes = [1024, 16_384, 32_767, 32_768, 65_536, 1_146_937]
    found = [
        {
            "size": size,
            "dtype": dtype,
            "source": "ties",
            "same_input": True,
            "same_values": True,
            "same_order": dtype == "float32" or size < 32_768,
            "stable": "b" if size >= 32_768 and dtype != "float32" else "both",
        }
        for dtype in ("int64", "int32", "float32")
        for size in sizes
    ]
    return {
        "arm_a": "torch201-float32",
        "arm_b": "torch210-float32",
        "probes": found,
        "thresholds": [
            {
                "dtype": dtype,
                "smallest_different": None if dtype == "float32" else 32_768,
                "largest_same_below": sizes[-1] if dtype == "float32" else 32_767,
                "same_at_or_above": [],
                "sizes": sizes,
            }
            for dtype in ("int64", "int32", "float32")
        ],
    }


def environment(name: str, version: str) -> dict[str, Any]:
    return {
        "name": name,
        "python": "3.11.7",
        "torch": {
            "version": f"{version}+cu117",
            "git_version": "e9ebda29d87ce0916ab08c06ab26fd3766a870e5",
            "cuda": "11.7",
            "cpu_capability": "AVX2",
            "config": "PyTorch built with:\n  - GCC 9.3\n  - oneDNN 2.7",
            "parallel": "ATen/Parallel:\n  at::get_num_threads() : 2",
        },
        "backend": "uv",
        "packages": {
            "colbert-ai": "0.2.22",
            "numpy": "1.26.4",
            "torch": version,
            "transformers": "4.38.2",
        },
        "libraries": [{"name": "libgomp", "version": "1.0", "sha256": "cd" * 32, "kind": "openmp", "size": 1_234_567}],
        "threads": {"torch": 2, "openmp": 2},
        "environment_variables": {"OMP_NUM_THREADS": "2"},
        "seeds": {"colbert": 12345},
    }


def _report(precisions: list[dict[str, Any]]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "schema_version": 1,
        "study": {
            "slug": "torch-2.0.1-vs-2.1.0",
            "title": "Comparing colbert-ai artifacts between PyTorch 2.0.1 and 2.1.0",
            "environments": ["torch201", "torch210"],
            "device": "cpu",
            "threads": 2,
            "collection": {
                "source": "numpy-docstrings",
                "sentence": "800 paragraphs of numpy 1.26.4's docstrings",
                "sha256": "12" * 32,
                "passages": 800,
                "queries": 120,
            },
            "checkpoint": {
                "source": "all-minilm-l6-v2",
                "sentence": "all-MiniLM-L6-v2 with a seeded orthonormal projection to 96 values",
                "sha256": "34" * 32,
                "dim": 96,
            },
            "colbert": {"nbits": 4, "doc_maxlen": 256, "kmeans_niters": 20, "index_bsize": 32},
            "variables": {},
            "precisions": [{"name": p["precision"], "passages": p["passages"]} for p in precisions],
        },
        "platform": {
            "cpu": "Intel(R) Xeon(R) Processor @ 2.60GHz",
            "isa": ["avx", "avx2", "fma", "f16c"],
            "cores": 2,
            "arch": "x86_64",
            "os": "Linux 6.1",
            "gpu": None,
            "driver": None,
            "device": "cpu",
            "threads": {"torch": 2},
            "capability": {"torch201": "AVX2", "torch210": "AVX2"},
            "one_machine": True,
            "sentence": "An Intel(R) Xeon(R) Processor @ 2.60GHz (AVX2), no GPU, 2 threads.",
        },
        "environments": [environment("torch201", "2.0.1"), environment("torch210", "2.1.0")],
        "pairs": [
            {
                "a": "torch201",
                "b": "torch210",
                "environment_differences": [
                    {"kind": "torch", "name": "version", "a": "2.0.1", "b": "2.1.0"},
                    {"kind": "package", "name": "triton", "a": "2.0.0", "b": "2.1.0"},
                    {"kind": "package", "name": "cmake", "a": "3.27", "b": None},
                    {"kind": "library", "name": "libgomp", "a": "cd" * 32, "b": "ef" * 32},
                ],
                "precisions": precisions,
                "sort_probes": probes(),
            }
        ],
        "missing_arms": [],
        "findings": [],
    }
    return found(report)


def found(report: dict[str, Any]) -> dict[str, Any]:
    """Give a made report the findings that it gives rise to."""
    report["findings"] = findings(report)
    return report


def sort_only() -> dict[str, Any]:
    """In float32 all is identical except the order that the sort gives; no controls, no operations."""
    report = _report([precision("float32", 800, {"sort_indices": "same set"})])
    report["pairs"][0]["precisions"][0] |= {"controls": [], "conclusive": None, "operations": None}
    return found(report)


def _unlike() -> dict[str, str]:
    floats = {p.artifact: "close" for p in CAPTURE_POINTS if p.name in {"avg_residual", "bucket_weights"}}
    same = {p.artifact: "identical" for p in CAPTURE_POINTS if p.stage in {"tokenize"} or p.name == "doclens"}
    same |= {"sample_pids": "identical", "num_passages": "identical"}
    return {"*": "different", "ivf": "shape mismatch", "index/ivf": "shape mismatch", **floats, **same}


def everything_differs() -> dict[str, Any]:
    """Two precisions; under autocast everything differs and ivf has another shape."""
    report = _report([precision("float32", 800, {"sort_indices": "same set"}), precision("autocast", 64, _unlike())])
    report["pairs"][0]["precisions"][1]["order"]["figure"] = None
    for part in report["pairs"][0]["precisions"]:
        part["operations"] = None
    return found(report)


def explained() -> dict[str, Any]:
    """Everything differs, and the findings are those that the report itself gives rise to."""
    report = everything_differs()
    # BERT differs in both precisions, as the made-up operations have it.
    report["pairs"][0]["precisions"] = [
        precision("float32", 800, _unlike(), "float32", render_operations.SETS),
        precision("autocast", 64, _unlike(), sets=render_operations.SETS),
    ]
    report["platform"]["capability"]["torch210"] = "AVX512"
    report["pairs"][0]["environment_differences"] += [
        {"kind": "capability", "name": "cpu_capability", "a": "AVX2", "b": "AVX512"},
        {"kind": "package", "name": "wheel", "a": "0.48.0", "b": None},
        {"kind": "threads", "name": "openmp", "a": "2", "b": "4"},
    ]
    return found(report)


def inconclusive() -> dict[str, Any]:
    """The same, but the second precision's controls failed."""
    report = explained()
    part = report["pairs"][0]["precisions"][1]
    part |= {"controls": render_operations.controls("autocast", ("torch210-autocast-repeat",)), "conclusive": False}
    return found(report)


def searched() -> dict[str, Any]:
    """Explained, and both versions searched both indexes: nothing changed in float32, something under autocast."""
    report = explained()
    plain, autocast = report["pairs"][0]["precisions"]
    plain["search"] = render_search.search(changed=0)
    autocast["search"] = render_search.search(changed=24, detected=True)
    return found(report)


def strange() -> dict[str, Any]:
    """Queries and passages as strangers' collections have them: endless words, other scripts, emoji, nothing at all."""
    report = explained()
    for part in report["pairs"][0]["precisions"]:
        part["search"] = render_search.strange()
    return found(report)


#: What no line can break by itself, or only at a place that a font decides; each far wider than a screen.
WIDE = (
    "w" * 400,
    "\u202e\u2067" + "right to left " * 4 + "א" * 300 + "ﷺ﷽" * 40,
    "z" + "\u0335\u0334\u0321" * 120 + "algo",
    "👩\u200d" * 200 + "👩",
    "क\u094d" * 200 + "क",
    "ᄀ" * 300,
    "漢字。、「」" * 100,
    "a\u2060" * 300 + "b\u00a0" * 300,
    "🏴" + "\U000e0067" * 200 + "🇩🇪" * 100 + "𒐫" * 60,
)


def hostile() -> dict[str, Any]:
    """Every text that a stranger could have chosen carries markup."""
    report = everything_differs()
    for part in report["pairs"][0]["precisions"]:
        part["operations"] = render_operations.float32()
    report["study"]["title"] = HOSTILE
    report["study"]["collection"]["sentence"] = HOSTILE
    report["study"]["checkpoint"]["sentence"] = HOSTILE
    report["platform"]["cpu"] = report["platform"]["sentence"] = report["platform"]["os"] = HOSTILE
    report["environments"][0]["packages"][HOSTILE] = HOSTILE
    report["environments"][0]["torch"]["config"] = HOSTILE
    report["environments"][0]["environment_variables"]["X"] = HOSTILE
    report["environments"][0]["libraries"][0]["name"] = HOSTILE
    pair = report["pairs"][0]
    pair["environment_differences"].append({"kind": "package", "name": HOSTILE, "a": HOSTILE, "b": None})
    for part in pair["precisions"]:
        part["layers"][0]["label"] = part["layers"][0]["text"] = HOSTILE
        part["artifacts"][0]["text"] = part["artifacts"][0]["description"] = HOSTILE
        part["weights"]["names"] = [HOSTILE]
        part["rankings"]["changed"] = [{"qid": HOSTILE, "only_a": [1], "only_b": [2], "first_rank": 1}]
        part["order"]["steps"][0]["claim"] = HOSTILE
        part["search"] = render_search.hostile(render_search.search(), HOSTILE)
        _hostile_operations(part)
    found(report)
    report["findings"][0]["sentence"] = HOSTILE
    return report


def _hostile_operations(part: dict[str, Any]) -> None:
    """Put markup where a roots.json, a trace or a control could hold a stranger's text."""
    for control in part["controls"]:
        control |= {"not_identical": [HOSTILE], "environment": HOSTILE, "passed": False}
    for swap in part["swaps"]:
        swap["from"] = HOSTILE
    data = part["operations"]
    for each in data["passes"]:
        each["description"] = HOSTILE
        each["replay"]["not_replayed"] = [{"name": HOSTILE, "why": HOSTILE, "count": 1}]
    for cause in data["causes"]:
        cause |= {"id": HOSTILE, "name": HOSTILE, "overload": HOSTILE, "dtypes": [HOSTILE], "why_no_truth": HOSTILE}
        cause["first"] |= {"module": HOSTILE, "source": HOSTILE}
        cause["mechanism"] |= {"sentence": HOSTILE, "a": {"name": HOSTILE, "description": HOSTILE}}
        cause["mechanism"]["tried"] = [
            {"name": HOSTILE, "description": HOSTILE, "equal_a": 1, "equal_b": 2, "elements": 3}
        ]
        cause["upstream"] = {"url": "javascript:alert(1)", "title": HOSTILE, "text": HOSTILE, "status": "named"}
        cause["reproduction"] = {"folder": "../../etc", "bytes": 1, "ran": {"a": HOSTILE, "b": None}}
    data["switches"] = [{"name": "aten-avx2", "line": HOSTILE, "description": HOSTILE}]
    data["layers_truth"] = [row | {"pass": HOSTILE} for row in data["layers_truth"]]
    data |= {"undo": None, "why_no_undo": HOSTILE}


def executed(report: dict[str, Any]) -> nbformat.NotebookNode:
    """Return compare.ipynb as if it had run on `report`, without a kernel and without captures."""
    notebook = nbformat.read(COMPARE, as_version=4)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and not cell.metadata.get("tags"):
            piece = eval(cell.source, {"render": render, "result": report})  # noqa: S307 our own notebook
            data = {"text/html": piece._repr_html_(), "text/plain": repr(piece)}
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=number)]
    return notebook
