"""A new study: from a few words on the command line to a commented `study.toml` and the environment files it needs."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from reportlib import kmeans
from reportlib.checkpoints import check_dim, inspect
from reportlib.collections.folder import Source, write_folder
from reportlib.collections.sources import BeirSource, HuggingFaceSource, TsvSource
from reportlib.environments.further import Further, environment_name, full_version, further, twin, varied
from reportlib.environments.spec import Progress, load_spec, silent, spec_names
from reportlib.errors import CheckpointError, CollectionError, StudyError
from reportlib.inputs import SOURCE
from reportlib.kmeans import counter
from reportlib.notebooks import CAPTURE_NOTEBOOK, find_project
from reportlib.study import (
    DEVICES,
    OFFLINE,
    VARIABLES,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    OperationsSpec,
    OwnSettings,
    Study,
    SwapSpec,
)
from reportlib.study_toml import parse, study_text
from reportlib.words.terms import remarks

# What someone means by a collection or a checkpoint: a path of theirs, or the name of one that is not here.

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
        spec = CollectionSpec("tsv", _as_written(path, folder, root))
        return _looked_at(spec, TsvSource(path), "queries.tsv and qrels.tsv beside it", most)
    if path.is_dir() and any((path / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
        spec = CollectionSpec("beir", _as_written(path, folder, root), split=split)
        return _looked_at(spec, BeirSource(path, split), "queries.jsonl and qrels in it", most)
    if path.is_dir() and _is_data_set(path):
        spec = CollectionSpec("huggingface", _as_written(path, folder, root), config=config, split=split)
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
    """Say what a checkpoint is: a folder, a hub id or the offline one."""
    path = Path(given).expanduser()
    if given in ("", OFFLINE):
        return CheckpointSpec()
    if path.is_dir():
        check_dim(inspect(path).dim, ColbertSettings().nbits)
        return CheckpointSpec(_as_written(path, folder, root))
    if _ID.fullmatch(given) and not given.startswith("."):
        return CheckpointSpec(given)
    raise CheckpointError(
        f"there is no checkpoint {given!r}",
        f"give a folder, a hub id (answerdotai/answerai-colbert-small-v1), or {OFFLINE}",
    )


def _as_written(path: Path, folder: Path, root: Path) -> str:
    """Return a path as the study names it: relative inside the project, which may be moved, and absolute outside."""
    path = path.absolute()
    inside = path.resolve().is_relative_to(root.resolve())
    return os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path)


# Begin a study: look at everything first, then write the environment files and `study.toml`.

#: The default study's: enough token embeddings for everything that it shows, and few where bfloat16 is slow.
FLOAT32, AUTOCAST = 640, 48
_DEFAULT = ("torch201", "torch210")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Wish:
    """What someone asks of a new study; what is left out is chosen.

    Attributes
    ----------
    name : str
        Of its folder.
    torch : sequence of str
        Versions of torch.
    environments : sequence of str
        Names of environment files, for versions that have one; they come before `torch`.
    vary : str
        Versions of another package, ``transformers==4.38.2,4.57.6``, or values of a setting, ``threads=1,2``, in the
        one environment that is named, or in that with the newest torch.
    collection, checkpoint : str
        Paths, or names of what is not here.
    config, split : str
        Of a data set.
    device, title : str
        As in `study.toml`.
    passages : int or None
        How many from the start of the collection; 0 for all.
    """

    name: str = ""
    torch: Sequence[str] = ()
    environments: Sequence[str] = ()
    vary: str = ""
    collection: str = ""
    checkpoint: str = ""
    config: str = ""
    split: str = ""
    device: str = "cpu"
    title: str = ""
    passages: int | None = None


@dataclass(frozen=True)
class Started:
    """A new study.

    Attributes
    ----------
    study : Study
        As its file reads.
    written : tuple of Path
        Every file that was written, the study last.
    further : tuple of Further
        The environment files that were made for it.
    notes : tuple of str
        What the user should know before running it.
    commands : tuple of str
        What to type next.
    """

    study: Study
    written: tuple[Path, ...]
    further: tuple[Further, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def start(wish: Wish, here: Path, *, progress: Progress = silent) -> Started:
    """Write a new study and the environment files that it needs.

    Parameters
    ----------
    wish : Wish
        What is asked for.
    here : Path
        A folder of the project.
    progress : callable
        Gets a line each time something moves on.

    Raises
    ------
    ReportlibError
        When something asked for does not exist or makes no sense, or the study is there already. Nothing is written
        then.
    """
    root = find_project(here)
    if root is None:
        raise StudyError(f"no folder above {here} has {CAPTURE_NOTEBOOK}", "go to the project's folder first")
    if wish.device not in DEVICES:
        raise StudyError(f"there is no device {wish.device!r}", f"use one of {list(DEVICES)}")
    chosen = _vary(wish, root) if wish.vary else _versions(wish, root)
    folder = _free_folder(
        wish.name or f"{chosen.package}-{'-vs-'.join(_SAFE.sub('-', v) for v in chosen.versions)}", root
    )
    limit = LOOKED_AT if wish.passages is None else max(wish.passages, AUTOCAST)
    collection = find_collection(wish.collection, folder, root, config=wish.config, split=wish.split, most=limit)
    passages, notes = _passages(wish, collection)
    study = Study(
        path=folder / "study.toml",
        title=wish.title or f"Comparing colbert-ai artifacts between {chosen.between}",
        environments=chosen.environments,
        device=wish.device,
        collection=collection.spec,
        checkpoint=find_checkpoint(wish.checkpoint, folder, root),
        passages=passages,
        swaps=SwapSpec(precisions=tuple(passages)),
        operations=OperationsSpec(precisions=tuple(passages)),
        settings=chosen.settings,
    )
    notes += _amounts(study, collection)
    # The package registry is asked last: everything else takes no time.
    found = chosen.find(progress)
    study = replace(study, environments=chosen.environments or tuple(each.name for each in found))
    added = tuple(each for each in found if each.text)
    written = _written(study, added, root)
    remarks = [*_remarks(added, chosen.package), *collection.notes, *notes]
    return Started(study, written, added, tuple(remarks), _commands(study, added, root, here))


@dataclass(frozen=True)
class _Chosen:
    """What a study compares: a package's versions, the environments that are there, and how the others are found."""

    package: str
    versions: tuple[str, ...]
    environments: tuple[str, ...]
    between: str
    find: Callable[[Progress], list[Further]]
    settings: Mapping[str, OwnSettings] = field(default_factory=dict)


def _versions(wish: Wish, root: Path) -> _Chosen:
    """Return what compares versions of torch, or the environments that are named."""
    given = wish.environments or wish.torch
    named = tuple(dict.fromkeys(wish.environments if given else _DEFAULT))
    asked = [v for v in dict.fromkeys(map(full_version, wish.torch)) if environment_name(v) not in named]
    environments = (*named, *map(environment_name, asked))
    if len(environments) < 2:
        raise StudyError(
            f"a comparison needs at least two environments; this is {', '.join(environments)} alone",
            "name the old version and the new one: --torch 2.1.0 --torch 2.6.0",
        )
    versions = (*(load_spec(name, root).pins["torch"] for name in named), *asked)
    # Versions name a study only where they tell its environments apart.
    between = f"PyTorch {_joined(versions)}" if len({*versions}) == len(versions) else _joined(environments)
    return _Chosen("torch", versions, environments, between,
                   lambda progress: [further(version, root, progress=progress) for version in asked])  # fmt: skip


def _vary(wish: Wish, root: Path) -> _Chosen:
    """Return what compares versions of another package, or values of a setting, all else being one environment's."""
    name, equals, given = re.fullmatch(r"([^=]*)(={0,2})(.*)", wish.vary).groups()  # type: ignore[union-attr]
    values = tuple(dict.fromkeys(filter(None, map(str.strip, given.split(",")))))
    if not name.strip() or len(values) < 2:
        raise StudyError(
            f"--vary {wish.vary} names no two versions of a package or values of a setting",
            "write it as in --vary transformers==4.38.2,4.57.6 or --vary threads=1,2",
        )
    if wish.torch or len(wish.environments) > 1:
        raise StudyError(
            "--vary goes with one environment, which everything else is taken from", "name it with one --environment"
        )
    newest = max(spec_names(root), key=lambda name: Version(load_spec(name, root).pins["torch"]))
    base = next(iter(wish.environments), newest)
    load_spec(base, root)
    if equals == "=":
        return _vary_setting(name.strip(), values, base, root)
    package = canonicalize_name(name.strip())
    return _Chosen(package, values, (), f"{package} {_joined(values)}",
                   lambda progress: [varied(package, v, base, root, progress=progress) for v in values])  # fmt: skip


def _vary_setting(name: str, values: tuple[str, ...], base: str, root: Path) -> _Chosen:
    """Return what compares an environment with itself under another setting: its twins hold what it does."""
    if name not in (known := ("threads", "index_bsize", *VARIABLES)):
        raise StudyError(f"{name!r} is no setting that can be varied", f"use {name}== for a package, or {known}")
    if name not in VARIABLES and not all(value.isdecimal() and int(value) for value in values):
        raise StudyError(f"{name} is a whole number from 1 on, and {', '.join(values)} was given", f"{name}=1,2")
    prefix = "" if name in VARIABLES else name.removeprefix("index_")
    names = (base, *(f"{base}-{prefix}{_SAFE.sub('-', value)}" for value in values[1:]))
    given: list[Any] = [{"variables": {name: v}} if name in VARIABLES else {name: int(v)} for v in values]
    settings = {own: OwnSettings(**one) for own, one in zip(names, given, strict=True)}
    return _Chosen(name, values, names, f"{name} {_joined(values)}",
                   lambda _: [twin(base, own, root) for own in names], settings)  # fmt: skip


def _free_folder(slug: str, root: Path) -> Path:
    if not _NAME.fullmatch(slug):
        raise StudyError(f"{slug!r} cannot be the name of a study", "use letters, digits, '-', '_' and '.'")
    folder = root / "reports" / slug
    if (folder / "study.toml").exists():
        raise StudyError(f"{folder / 'study.toml'} is there already", "give another name, or edit that file")
    return folder


def _passages(wish: Wish, collection: FoundCollection) -> tuple[dict[str, int], list[str]]:
    """Return how many passages for each precision, and what to say of that."""
    there, asked = collection.passages, wish.passages
    if there is not None and asked is not None and asked > there:
        raise StudyError(f"the collection has {there:,} passages, and {asked:,} are asked for", "ask for fewer")
    notes = []
    if asked is None:
        own = collection.spec.source != DOCSTRINGS
        asked = LOOKED_AT if own else FLOAT32
        if there is not None and there <= LOOKED_AT:
            asked = 0
        elif own:
            notes.append(f"It takes the first {LOOKED_AT:,} passages; --passages takes more, and 0 all of them.")
    if wish.device != "cpu":
        return {"float32": asked, "autocast": asked}, notes
    few = [count for count in (AUTOCAST, asked, there) if count]
    return {"float32": asked, "autocast": min(few)}, notes


def _amounts(study: Study, collection: FoundCollection) -> list[str]:
    """Refuse passages that cannot be enough for k-means; say so where they may be too few."""
    longest = study.colbert.doc_maxlen
    count = counter(study.folder / Path(study.checkpoint.source).expanduser(), longest)
    said = []
    for precision, number in study.passages.items():
        texts = collection.texts[: number or None]
        if texts and not kmeans.always_enough(number):
            said.append(kmeans.check(f"precision.{precision}", texts, longest, count))
    return [note for note in said if note]


def _written(study: Study, added: Sequence[Further], root: Path) -> tuple[Path, ...]:
    text = study_text(study)
    parse(text, study.path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StudyError("the title or a path is not UTF-8", "give it other letters, or rename the file") from error
    study.folder.mkdir(parents=True, exist_ok=True)
    written = [path for each in added for path in each.write(root)]
    with study.path.open("x", encoding="utf-8") as out:
        out.write(text)
    return (*written, study.path)


def _remarks(added: Sequence[Further], package: str) -> list[str]:
    said = []
    for each in added:
        if each.other_pins:
            changes = ", ".join(each.other_pins)
            said.append(f"{each.name} differs from {each.base} in more than {package}: {changes}. Look at that too.")
        if each.asked:
            said.append(f"{each.name} has no lock yet: {each.asked}")
    return said


def _commands(study: Study, added: Sequence[Further], root: Path, here: Path) -> tuple[str, ...]:
    go = [] if here.samefile(root) else [f"cd {shlex.quote(os.path.relpath(root, here))}"]
    locks = [f"reportlib env lock {each.name} --like {each.base}" for each in added if each.lock is None]
    return (*go, *locks, f"reportlib run {study.path.relative_to(root)}")


def _joined(versions: Sequence[str]) -> str:
    return f"{', '.join(versions[:-1])} and {versions[-1]}"
