"""What someone means by a collection or a checkpoint: a path of theirs, or the name of one that is not here."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from reportlib import kmeans
from reportlib.checkpoints import check_dim, offline
from reportlib.checkpoints.folder import inspect
from reportlib.collections.files import BeirSource, TsvSource
from reportlib.collections.huggingface import HuggingFaceSource
from reportlib.collections.source import Source
from reportlib.collections.writing import write_folder
from reportlib.errors import CheckpointError, CollectionError
from reportlib.inputs import SOURCE
from reportlib.study import CheckpointSpec, ColbertSettings, CollectionSpec
from reportlib.words.searches import remarks

DOCSTRINGS = "numpy-docstrings"
#: Passages that are looked at to see how many there are: a larger collection is not read through here.
LOOKED_AT = 1000
#: A collection of no more passages is read through, so that what is wrong with it is said before anything is written.
READ_THROUGH = 100_000
_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class FoundCollection:
    """A collection as a study will name it.

    Attributes
    ----------
    spec : CollectionSpec
        The ``[collection]`` table.
    passages : int or None
        How many there are, up to one more than was looked at; None when that is not known without fetching it.
    notes : tuple of str
        What the user should know: that there is nothing to search for, or nothing to judge it by, or what of it does
        not count as it was given.
    texts : tuple of str
        The first passages, as far as their number alone does not say that they are enough for k-means.
    """

    spec: CollectionSpec
    passages: int | None = None
    notes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def find_collection(given: str, folder: Path, root: Path, *, config: str, split: str, most: int) -> FoundCollection:
    """Say what a collection is.

    Parameters
    ----------
    given : str
        A TSV file, a BEIR folder, a folder with a copy of a Hugging Face data set, the id of one, or
        ``numpy-docstrings``.
    folder, root : Path
        The study's folder, which a path in it is relative to, and the project.
    config, split : str
        Of a data set.
    most : int
        Passages to look at.

    Raises
    ------
    CollectionError
        When it is nothing of these, or its first lines are not what they must be.
    """
    path = Path(given).expanduser()
    if given in ("", DOCSTRINGS):
        return FoundCollection(CollectionSpec())
    if path.is_file():
        spec = CollectionSpec("tsv", _written(path, folder, root))
        return _looked_at(spec, TsvSource(path), "queries.tsv and qrels.tsv beside it", most)
    if path.is_dir() and any((path / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
        spec = CollectionSpec("beir", _written(path, folder, root), split=split)
        return _looked_at(spec, BeirSource(path, split), "queries.jsonl and qrels in it", most)
    if path.is_dir() and _is_data_set(path):
        spec = CollectionSpec("huggingface", _written(path, folder, root), config=config, split=split)
        if not any(file.is_file() and file.name != "README.md" for file in path.rglob("*")):
            return FoundCollection(spec)  # its rows are elsewhere
        return _looked_at(spec, HuggingFaceSource(str(path), config, split), "its configurations", most)
    if path.is_dir():
        file = next((f for f in sorted(path.glob("*.tsv*")) if not f.name.startswith(("queries", "qrels"))), None)
        mend = f"give the file: {file}" if file else "a BEIR folder has a corpus.jsonl, a data set a README.md"
        raise CollectionError(f"{path} is not a collection that is known", mend)
    if _ID.fullmatch(given) and not given.startswith("."):
        return FoundCollection(CollectionSpec("huggingface", name=given, config=config, split=split))
    raise CollectionError(
        f"there is no collection {given!r}",
        f"give a TSV file, a BEIR folder, a Hugging Face id (UKPLab/dapr), or {DOCSTRINGS}",
    )


def _is_data_set(path: Path) -> bool:
    return (path / "README.md").is_file() or any(path.rglob("*.parquet"))


def _looked_at(spec: CollectionSpec, source: Source, beside: str, most: int) -> FoundCollection:
    if isinstance(source, BeirSource | TsvSource):
        source.files()
    entries = islice(source.passages(), max(most, READ_THROUGH) + 1)
    texts = tuple(entry.text for entry in islice(entries, math.ceil(kmeans.ALWAYS_ENOUGH / kmeans.FEWEST_TOKENS)))
    passages = len(texts) + sum(1 for _ in entries)
    if not passages:
        raise CollectionError(f"{spec.path} has no passages", "give a collection with at least one")
    if passages > READ_THROUGH:
        note = "The collection is not read through here: `reportlib prepare` does, and says more."
        return FoundCollection(spec, passages, (note,), texts)
    with TemporaryDirectory() as folder:
        write_folder(source, Path(folder), lambda *_: None)
        content = json.loads((Path(folder) / SOURCE).read_text(encoding="utf-8"))
    notes = list(remarks(content))
    if not content["queries"] or not content["judging"]["read"]:
        notes.append(f"Queries and judgements are read from {beside}.")
    return FoundCollection(spec, passages, tuple(notes), texts)


def find_checkpoint(given: str, folder: Path, root: Path) -> CheckpointSpec:
    """Say what a checkpoint is: a folder, a hub id or the offline one.

    Raises
    ------
    CheckpointError
        When it is nothing of these, or the folder is no ColBERT checkpoint that can be indexed with.
    """
    path = Path(given).expanduser()
    if given in ("", offline.NAME):
        return CheckpointSpec()
    if path.is_dir():
        check_dim(inspect(path).dim, ColbertSettings().nbits)
        return CheckpointSpec(_written(path, folder, root))
    if _ID.fullmatch(given) and not given.startswith("."):
        return CheckpointSpec(given)
    raise CheckpointError(
        f"there is no checkpoint {given!r}",
        f"give a folder, a hub id (answerdotai/answerai-colbert-small-v1), or {offline.NAME}",
    )


def _written(path: Path, folder: Path, root: Path) -> str:
    """Return a path as the study names it: relative inside the project, which may be moved, and absolute outside."""
    path = path.absolute()
    inside = path.resolve().is_relative_to(root.resolve())
    return os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path)
