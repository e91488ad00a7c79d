"""Small synthetic captures, complete enough for a report, with differences planted on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reportlib.artifacts import point
from reportlib.store import Capture, CaptureWriter, digest
from reportlib.study import Arm, SearchSpec, Study, SwapSpec

PASSAGES, DIM, CENTROIDS = 40, 8, 16
#: Swapped sets of the made-up study, in both directions.
SWAPS = (("local_sample_embs",), ("embs",), ("local_sample_embs", "embs"), ("centroids",))
Values = dict[str, Any]
#: Changes the values of an arm before they are written.
Plant = Callable[[Arm, Values], None]


@dataclass
class Typed:
    """An array with a dtype that numpy does not know."""

    array: np.ndarray
    dtype: str


@dataclass
class Settings:
    """What differs between two made-up machines or environments."""

    collection: str = "c0ffee"
    checkpoint: str = "beef"
    machine: Mapping[str, Any] = field(default_factory=lambda: MACHINE)
    python: str = "3.11.7"
    #: Further packages by version, or others in place of those that every environment has.
    packages: Mapping[str, str] = field(default_factory=dict)
    #: Sizes from which on this environment's sort is the stable one.
    stable_from: Mapping[str, int] = field(default_factory=lambda: {"torch210": 32768})


MACHINE = {
    "cpu": "Example CPU @ 2.50GHz",
    "isa": ["avx", "avx2", "fma"],
    "cores": 2,
    "gpu": None,
    "driver": None,
    "os": "Linux",
    "arch": "x86_64",
}
VERSIONS = {"torch201": "2.0.1+cu117", "torch210": "2.1.0+cu121"}


def pipeline_values(arm: Arm, seed: int = 12345, passages: int = PASSAGES) -> Values:
    """Every artifact of one arm: made by a small numpy imitation of colbert-ai's indexing.

    Without a `Plant` the values depend on the precision only: environments agree in all of them.
    """
    rng = np.random.default_rng(seed + (arm.precision == "autocast"))
    doclens = rng.integers(3, 9, passages)
    embs = rng.standard_normal((int(doclens.sum()), DIM)).astype(np.float16)
    order = rng.permutation(len(embs))
    held = len(embs) // 20
    centroids = rng.standard_normal((CENTROIDS, DIM)).astype(np.float32)
    tokens = rng.integers(5, 30522, (4, 12))
    values: Values = {
        "token_ids": tokens,
        "attention_mask": np.ones_like(tokens),
        "tokenized_hashes": [digest(bytes([i])) for i in range(3)],
        "batches": rng.standard_normal((4, 12, DIM)).astype(np.float32),
        "batch_hashes": [digest(bytes([i, 1])) for i in range(3)],
        "D": embs.astype(np.float32),
        "sample_pids": list(range(passages)),
        "num_passages": passages,
        "local_sample_embs": embs,
        "sample": embs[order[held:]],
        "sample_heldout": embs[order[:held]],
        "kmeans_centroids": centroids,
        "centroids": centroids / np.linalg.norm(centroids, axis=1, keepdims=True),
    }
    values |= layer_values(arm, rng)
    derive(values, embs, doclens)
    values["rankings"] = rankings(rng, passages)
    return values


def derive(values: Values, embs: np.ndarray, doclens: np.ndarray, *, stable: bool = False) -> None:
    """Put what follows from embeddings and centroids, as colbert-ai does it, into `values`."""
    centroids = values["centroids"]
    wide = embs.astype(np.float32)
    codes = np.argmax(wide @ centroids.T, axis=1)
    residuals = wide - centroids[codes]
    cut = len(embs) * 2 // 3
    values["bucket_cutoffs"] = np.quantile(residuals, [0.25, 0.5, 0.75]).astype(np.float32)
    values["bucket_weights"] = np.quantile(residuals, [0.1, 0.4, 0.6, 0.9]).astype(np.float32)
    values["avg_residual"] = np.array(np.abs(residuals).mean(), np.float32)
    for chunk, part in enumerate((slice(0, cut), slice(cut, None))):
        values[f"embs/{chunk}"] = embs[part]
        values[f"compress_codes/{chunk}"] = codes[part]
        values[f"compress_centroids/{chunk}"] = centroids[codes[part]]
        values[f"compress_residuals/{chunk}"] = residuals[part]
        values[f"index/codes/{chunk}"] = codes[part].astype(np.int32)
        buckets = np.digitize(residuals[part], values["bucket_cutoffs"]).astype(np.uint8)
        # Two bits a number, the lower one first.
        values[f"index/residuals/{chunk}"] = np.packbits(
            buckets[..., None] >> np.arange(2, dtype=np.uint8) & 1, axis=-1
        ).reshape(len(buckets), -1)
    values["doclens"] = doclens.tolist()
    values["presort_codes"] = codes
    sort(values, np.argsort(codes, kind="stable"))
    if not stable:
        sort(values, unstable(values["sort_indices"], values["sorted_codes"]))
    for name in ("avg_residual", "bucket_cutoffs", "bucket_weights", "centroids"):
        values[f"index/{name}"] = values[name]


def sort(values: Values, indices: np.ndarray) -> None:
    """Put the sort's results for `indices` into `values`, with the ivf that follows from them."""
    codes, doclens = values["presort_codes"], np.array(values["doclens"])
    pids = np.repeat(np.arange(len(doclens)), doclens)
    values["sort_indices"], values["sorted_codes"] = indices, codes[indices]
    lists = [np.unique(pids[indices][values["sorted_codes"] == c]) for c in range(CENTROIDS)]
    ivf, lengths = np.concatenate(lists).astype(np.int32), np.array([len(x) for x in lists])
    if lengths.sum() - lengths[-1] + lengths.max() > len(ivf):
        ivf = np.concatenate((ivf, np.zeros(lengths.max(), np.int32)))  # colbert-ai's padding
    for prefix in ("", "index/"):
        values[f"{prefix}ivf"], values[f"{prefix}ivf_lengths"] = ivf, lengths


def unstable(indices: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Another valid order of a sort: the token ids of every centroid backwards."""
    return np.concatenate([indices[codes == c][::-1] for c in np.unique(codes)])


def layer_values(arm: Arm, rng: np.random.Generator) -> Values:
    """Layer outputs of two texts and a batch, with `layer_inputs` and `weights`."""
    inputs = [
        {"slug": "a", "text": "a", "tokens": [1, 3]},
        {"slug": "test-input", "text": "test input", "tokens": [1, 4]},
        {"slug": "batch", "passages": 4, "tokens": [4, 12]},
    ]
    values: Values = {
        "layer_inputs": inputs,
        "weights": {"embeddings.weight": "aa", "layer.0": "bb"},
    }
    for each in inputs:
        for layer in ("embeddings", "00", "01", "02"):
            output = rng.standard_normal((*each["tokens"], 6)).astype(np.float32)
            name = f"layers/{each['slug']}/{layer}"
            if arm.precision == "autocast" and layer != "embeddings":
                values[name] = Typed((output.view(np.uint32) >> 16).astype(np.uint16), "bfloat16")
            else:
                values[name] = output
    return values


def rankings(rng: np.random.Generator, passages: int, k: int = 5) -> Values:
    """Rankings of six queries."""
    queries = []
    for number in range(6):
        scores = np.sort(rng.random(k).astype(np.float32))[::-1]
        pids = rng.permutation(passages)[:k]
        queries.append({"qid": f"q{number}", "pids": pids.tolist(), "scores": [float(s) for s in scores]})
    return {"k": k, "queries": queries}


def probes(environment: str, settings: Settings) -> list[dict[str, Any]]:
    """Sort probes of an environment whose sort is stable from a size on."""
    found = []
    sizes = [("ties", dtype, size) for dtype in ("int64", "float32") for size in (100, 32767, 32768, 65536)]
    for source, dtype, size in [*sizes, ("post D6", "int64", 1146937)]:
        stable = dtype == "int64" and size >= settings.stable_from.get(environment, 2**62)
        right, other = (
            digest(f"stable {size} {dtype}".encode()),
            digest(f"quick {size} {dtype}".encode()),
        )
        found.append(
            {
                "size": size,
                "dtype": dtype,
                "source": source,
                "input_sha256": digest(f"input {size} {dtype}".encode()),
                "values_sha256": digest(f"values {size} {dtype}".encode()),
                "indices_sha256": right if stable else other,
                "stable_sha256": right,
                "is_stable": stable,
            }
        )
    return found


def provenance(arm: Arm, settings: Settings) -> dict[str, Any]:
    """Provenance in the lead's layout."""
    version = settings.packages.get("torch", VERSIONS.get(arm.environment, arm.environment))
    further = {n: {"version": v, "record_sha256": digest(v.encode())} for n, v in settings.packages.items()}
    return {
        "python": settings.python,
        "packages": {
            "torch": {"version": version, "record_sha256": digest(version.encode())},
            "numpy": {"version": "1.26.4", "record_sha256": "11"},
            "colbert-ai": {"version": "0.2.22", "record_sha256": "22"},
            **further,
        },
        "torch": {"version": version, "git_version": "abc", "cpu_capability": "AVX2", "cuda": None},
        "machine": dict(settings.machine),
        "libraries": [{"name": "libgomp", "version": version[:3], "sha256": "ab", "kind": "openmp"}],
        "threads": {"torch": 2, "omp": 2},
        "environment_variables": {"OMP_NUM_THREADS": "2"},
        "inputs": {"collection": settings.collection, "checkpoint": settings.checkpoint},
        "seeds": {"colbert": 12345},
        "duration_s": 1.5,
    }


def write(folder: Path, arm: Arm, values: Values, settings: Settings | None = None) -> Capture:
    """Write `values` as the capture of `arm` under `folder` and open it."""
    settings = settings or Settings()
    with CaptureWriter(folder / arm.name) as writer:
        for name, value in values.items():
            stage = _stage(name)
            if isinstance(value, Typed):
                writer.tensor(name, value.array, stage, value.dtype)
            elif isinstance(value, np.ndarray):
                writer.tensor(name, value, stage)
            else:
                writer.value(name, value, stage)
        described = {
            "environment": arm.environment,
            "precision": arm.precision,
            "device": arm.device,
            "passages": arm.passages,
            "swap": list(arm.swap),
            "donor": arm.donor,
            "control": arm.control,
            "searching": arm.searching,
        }
        writer.describe(described, provenance(arm, settings))
    return Capture.open(folder / arm.name)


def _stage(name: str) -> str:
    try:
        return point(name).stage
    except KeyError:
        return "layers"


def study_of(folder: Path, **changes: Any) -> Study:
    """A study of torch201 and torch210 in `folder`."""
    kept = {
        "title": "A made-up study",
        "environments": ("torch201", "torch210"),
        "swaps": SwapSpec(SWAPS),
        "search": SearchSpec(k=5, seeds=2),
    } | changes
    return Study(path=folder / "made-up" / "study.toml", **kept)


def search_values(study: Study, arm: Arm, plain: Mapping[str, Values]) -> Values:
    """What a searching arm captures: which torch searches makes no difference here, only which index.

    `plain` has the values of every plain arm; a query that a test took from its rankings is searched all the same.
    """
    own = rankings_of(arm.plain)
    values: Values = {
        f"rankings/{other.environment}": deeper(own, plain[other.name].get("rankings"), study)
        for other in study.searched(arm)
    }
    if arm.environment == study.environments[0]:
        seeds = range(1, study.search.seeds + 1)
        values |= {f"rankings/seed-{n}": deeper(own, reseeded(own, n), study) for n in seeds}
        values["seeds"] = {"default": 123} | {f"seed-{n}": 123 + n for n in seeds}
    qids = [query["qid"] for query in own["queries"]]
    # Of each query the passages at ranks 1 and 3 are relevant; of the last one nothing is known.
    values["judgements"] = {q["qid"]: {str(q["pids"][0]): 2, str(q["pids"][2]): 1} for q in own["queries"][:-1]}
    values["query_texts"] = {qid: f"What is {qid}?" for qid in qids}
    ranked = {p for name, v in values.items() if name.startswith("rankings/") for q in v["queries"] for p in q["pids"]}
    values["passage_texts"] = {str(pid): {"id": f"doc-{pid}", "text": f"Passage {pid}."} for pid in sorted(ranked)}
    values["query_embs"] = np.random.default_rng(5).standard_normal((len(qids), 4, DIM)).astype(np.float32)
    return values


def rankings_of(arm: Arm) -> Values:
    """The rankings of an arm, nothing planted."""
    return dict(pipeline_values(arm)["rankings"])


def deeper(own: Values, planted: Values | None, study: Study) -> Values:
    """Rankings with as many passages behind the best k as a searching arm keeps."""
    queries = {q["qid"]: q for q in [*own["queries"], *(planted or own)["queries"]]}
    found = []
    for query in queries.values():
        behind = [pid for pid in range(PASSAGES) if pid not in query["pids"]][: study.search.depth - study.search.k]
        scores = [query["scores"][-1] - 0.01 * (n + 1) for n in range(len(behind))]
        found.append(query | {"pids": query["pids"] + behind, "scores": query["scores"] + scores})
    return {"k": own["k"], "depth": study.search.depth, "queries": found}


def reseeded(own: Values, seed: int) -> Values:
    """Rankings of an index of another seed: as many queries as the seed's number have another first passage."""
    queries = [q | {"pids": [PASSAGES + seed, *q["pids"][1:]]} if n < seed else q for n, q in enumerate(own["queries"])]
    return own | {"queries": queries}


def captures(
    folder: Path,
    study: Study,
    plant: Plant | None = None,
    settings: Mapping[str, Settings] | None = None,
) -> dict[str, Capture]:
    """Write the captures of all of the study's arms.

    Parameters
    ----------
    folder : Path
        Where to.
    study : Study
        Gives the arms.
    plant : callable, optional
        Changes an arm's values before they are written; by default none differs. Searching arms follow from the
        plain arms' rankings.
    settings : mapping of str to Settings, optional
        Per environment.
    """
    found = {}
    plain: dict[str, Values] = {}
    for arm in study.arms():
        chosen = (settings or {}).get(arm.environment, Settings())
        if arm.searching:
            found[arm.name] = write(folder, arm, search_values(study, arm, plain), chosen)
            continue
        values = pipeline_values(arm)
        values["sort_probes"] = probes(arm.environment, chosen)
        if plant is not None:
            plant(arm, values)
        if arm == arm.plain:
            plain[arm.name] = values
        values = {name: value for name, value in values.items() if _taken(arm, name)}
        found[arm.name] = write(folder, arm, values, chosen)
    return found


def _taken(arm: Arm, name: str) -> bool:
    """Whether this kind of arm captures `name`, as the real ones do."""
    if arm.control == "observer":
        return name.startswith("index/")
    if arm.control == "repeat":
        return name not in {"rankings", "sort_probes"}
    unswapped = ("layers/", "compress_centroids", "compress_residuals")
    names = {"rankings", "sort_probes", "weights", "layer_inputs", "token_ids", "attention_mask", "tokenized_hashes",
             "batches", "batch_hashes", "D", "sample_pids", "num_passages"}  # fmt: skip
    return not (arm.swap and (name in names or name.startswith(unswapped)))


def plant_stable_sort(arm: Arm, values: Values) -> None:
    """torch210 sorts stably, torch201 does not: the case of an AVX2 machine in float32."""
    if arm.environment == "torch210":
        sort(values, np.argsort(values["presort_codes"], kind="stable"))


def plant_other_embeddings(arm: Arm, values: Values) -> None:
    """torch210's BERT differs under autocast, and all behind it; a swap brings the donor's values."""
    plant_stable_sort(arm, values)
    if arm.precision != "autocast":
        return
    own = arm.environment == "torch210"
    if own:
        for name in values:
            if name.startswith("layers/") and not name.endswith("embeddings"):
                values[name] = Typed(values[name].array ^ np.uint16(1), "bfloat16")
        values["batches"] = values["batches"] * np.float32(1.01)
        values["D"] = values["D"] * np.float32(1.01)
    embs = np.concatenate([values["embs/0"], values["embs/1"]])

    def differs(point: str) -> bool:
        """Whether the value at `point` is torch210's."""
        return own != (point in arm.swap)

    if differs("local_sample_embs"):
        values["local_sample_embs"] = nudged(values["local_sample_embs"])
        values["sample"] = nudged(values["sample"])
        values["sample_heldout"] = nudged(values["sample_heldout"])
    if differs("centroids") if "centroids" in arm.swap else differs("local_sample_embs"):
        values["kmeans_centroids"] = values["kmeans_centroids"][::-1].copy()
        values["centroids"] = values["centroids"][::-1].copy()
    if differs("embs"):
        embs = nudged(embs)
    derive(values, embs, np.array(values["doclens"]), stable=own)


def nudged(values: np.ndarray) -> np.ndarray:
    """Values a little off, as another kernel gives them."""
    return (values * np.float16(1.03)).astype(values.dtype)
