"""Files as ``torch.save`` writes them and index folders as colbert-ai does, made without torch."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "bool": "BoolStorage",
    "uint8": "ByteStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "float16": "HalfStorage",
    "float32": "FloatStorage",
}
DIM, NBITS, CENTROIDS, PASSAGES = 32, 2, 16, 60


def number(value: int) -> bytes:
    """A whole number as pickle's protocol 2 has it."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def sequence(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


HOOKS = name("collections", "OrderedDict") + b")R"


def tensor(
    storage: str,
    key: str,
    elements: int,
    shape: Iterable[int],
    strides: Iterable[int],
    *,
    offset: int = 0,
    device: str = "cpu",
    rebuild: bytes = name("torch._utils", "_rebuild_tensor_v2"),
    hooks: bytes = HOOKS,
    further: bytes = b"",
) -> bytes:
    """The pickle opcodes of one tensor."""
    reference = sequence(text("storage"), name("torch", storage), text(key), text(device), number(elements)) + b"Q"
    sizes = (sequence(*map(number, values)) for values in (shape, strides))
    return rebuild + sequence(reference, number(offset), *sizes, b"\x89", hooks, further) + b"R"


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def write(
    path: Path, body: bytes, records: Mapping[str, bytes], *, root: str = "archive", compression: int = 0
) -> Path:
    """Write an archive with a pickle of `body` and the given further records."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", pickled(body))
        for record, data in records.items():
            archive.writestr(f"{root}/{record}", data)
    return path


def save(path: Path, *arrays: np.ndarray[Any, Any], device: str = "cpu") -> Path:
    """Write one array, or a tuple of several, as torch writes tensors."""
    bodies, records = [], {}
    for key, array in enumerate(arrays):
        strides = [step // array.itemsize for step in np.ascontiguousarray(array).strides]
        shape = array.shape
        bodies.append(
            tensor(STORAGES[str(array.dtype)], str(key), array.size, shape, strides[: len(shape)], device=device)
        )
        records[f"data/{key}"] = array.tobytes()
    return write(path, bodies[0] if len(bodies) == 1 else sequence(*bodies), {**records, "version": b"3\n"})


Values = dict[str, np.ndarray[Any, Any]]


def values(seed: int = 7) -> Values:
    """What an index of some passages holds: made up, and consistent."""
    rng = np.random.default_rng(seed)
    doclens = rng.integers(4, 12, PASSAGES)
    total = int(doclens.sum())
    codes = rng.integers(0, CENTROIDS, total).astype(np.int32)
    ivf, ivf_lengths = lists(codes, doclens)
    return {
        "doclens": doclens,
        "codes": codes,
        "residuals": rng.integers(0, 256, (total, DIM * NBITS // 8)).astype(np.uint8),
        "ivf": ivf,
        "ivf_lengths": ivf_lengths,
        "avg_residual": np.array(rng.random(), np.float32),
        "bucket_cutoffs": np.sort(rng.standard_normal(2**NBITS - 1)).astype(np.float32),
        "bucket_weights": np.sort(rng.standard_normal(2**NBITS)).astype(np.float32),
        "centroids": rng.standard_normal((CENTROIDS, DIM)).astype(np.float16),
    }


def lists(codes: np.ndarray[Any, Any], doclens: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """The ivf that codes and doclens give, and the lengths of its lists."""
    pids = np.repeat(np.arange(len(doclens)), doclens)
    of_centroid = [np.unique(pids[codes == c]) for c in range(CENTROIDS)]
    return np.concatenate(of_centroid).astype(np.int32), np.array([len(x) for x in of_centroid], np.int64)


def write_index(
    path: Path, known: Values, *, chunks: int = 1, device: str = "cpu", ivf: str = "ivf.pid.pt", **settings: Any
) -> Path:
    """Write an index folder with the files and names of colbert-ai 0.2."""
    path.mkdir(parents=True)
    ends = np.cumsum(known["doclens"])
    edges = [0, *(int(part[-1]) + 1 for part in np.array_split(np.arange(len(ends)), chunks))]
    starts = np.concatenate(([0], ends))
    for chunk in range(chunks):
        first, last = edges[chunk], edges[chunk + 1]
        rows = slice(int(starts[first]), int(starts[last]))
        save(path / f"{chunk}.codes.pt", known["codes"][rows])
        save(path / f"{chunk}.residuals.pt", known["residuals"][rows])
        (path / f"doclens.{chunk}.json").write_text(json.dumps(known["doclens"][first:last].tolist()))
    save(path / "centroids.pt", known["centroids"], device=device)
    save(path / "avg_residual.pt", known["avg_residual"], device=device)
    save(path / "buckets.pt", known["bucket_cutoffs"], known["bucket_weights"], device=device)
    save(path / ivf, known["ivf"], known["ivf_lengths"])
    config = {"dim": DIM, "nbits": NBITS, "index_path": str(path), **settings}
    metadata = {"config": config, "num_chunks": chunks, "num_embeddings": int(ends[-1])}
    (path / "plan.json").write_text(json.dumps({"config": config}))
    (path / "metadata.json").write_text(json.dumps(metadata))
    return path
