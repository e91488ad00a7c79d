"""A new study: from a few words on the command line to a commented `study.toml` and the environment files it needs."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reportlib import checkpoints, kmeans
from reportlib.checkpoints import check_dim, inspect
from reportlib.collections.files import BeirSource, TsvSource
from reportlib.collections.folder import Source, write_folder
from reportlib.collections.huggingface import HuggingFaceSource
from reportlib.environments.further import Further, environment_name, full_version, further
from reportlib.environments.lock import Progress, silent
from reportlib.environments.spec import load_spec
from reportlib.errors import CheckpointError, CollectionError, StudyError
from reportlib.inputs import SOURCE
from reportlib.notebooks import CAPTURE_NOTEBOOK, find_project
from reportlib.study import (
    DEVICES,
    VARIABLES,
    CheckpointSpec,
    ColbertSettings,
    CollectionSpec,
    OperationsSpec,
    Study,
    SwapSpec,
)
from reportlib.study_toml import parse
from reportlib.wordpiece import counter
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
    """Say what a checkpoint is: a folder, a hub id or the offline one.

    Raises
    ------
    CheckpointError
        When it is nothing of these, or the folder is no ColBERT checkpoint that can be indexed with.
    """
    path = Path(given).expanduser()
    if given in ("", checkpoints.NAME):
        return CheckpointSpec()
    if path.is_dir():
        check_dim(inspect(path).dim, ColbertSettings().nbits)
        return CheckpointSpec(_as_written(path, folder, root))
    if _ID.fullmatch(given) and not given.startswith("."):
        return CheckpointSpec(given)
    raise CheckpointError(
        f"there is no checkpoint {given!r}",
        f"give a folder, a hub id (answerdotai/answerai-colbert-small-v1), or {checkpoints.NAME}",
    )


def _as_written(path: Path, folder: Path, root: Path) -> str:
    """Return a path as the study names it: relative inside the project, which may be moved, and absolute outside."""
    path = path.absolute()
    inside = path.resolve().is_relative_to(root.resolve())
    return os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path)


# The text of a new `study.toml`: every key with its value and what it is.

#: What stands above a table.
TABLES = {
    "collection": "What is indexed and searched.",
    "checkpoint": "The model that encodes it.",
    "colbert": "Settings that colbert-ai is given as they are.",
    "precision": "What is computed with. Leave a table out to leave that precision out.",
    "layers": "Inputs whose output of every BERT layer is compared, beside a batch of the collection.",
    "controls": "Each plain arm once more: what differs there is noise, and no difference between versions.",
    "swaps": "Values of one environment put into the other, which shows what a difference comes from.",
    "operations": "Every operation of BERT's forward pass recorded, run again on the other's inputs, and explained.",
    "search": "Every index searched with its own torch and with the other's.",
    "variables": "Environment variables that are set before torch is imported; the only ones that a study may set.",
}
#: What stands behind a key.
KEYS = {
    "title": "the page's first line",
    "environments": "the first is A; the others are compared with it",
    "device": '"cpu" or "cuda"',
    "threads": "of each arm; as many arms run side by side as there are cores",
    "collection.source": '"numpy-docstrings", "beir", "tsv" or "huggingface"',
    "collection.path": "of a BEIR folder, a TSV file or a copied data set; from this file's folder",
    "collection.name": "of a Hugging Face data set: UKPLab/dapr",
    "collection.config": "of a data set: ConditionalQA",
    "collection.split": "of a data set's or a BEIR folder's queries; when empty, test or the only one",
    "collection.titles": "a passage's title is put before its text",
    "checkpoint.source": f'"{checkpoints.NAME}", a folder, or a hub id',
    "checkpoint.projection": f"trained or untrained, of {checkpoints.NAME}; trained is what dim = 96 has",
    "checkpoint.dim": f"width of {checkpoints.NAME}'s token embeddings, a multiple of 8 * nbits; others bring theirs",
    "colbert.nbits": "bits of a residual's number: 1, 2, 4 or 8",
    "colbert.doc_maxlen": "tokens of a passage",
    "colbert.query_maxlen": "tokens of a query",
    "colbert.kmeans_niters": "rounds of k-means",
    "colbert.index_bsize": "passages encoded at a time",
    "colbert.ncells": "centroids looked at for each token of a query",
    "colbert.centroid_score_threshold": "a centroid below it does not count when passages are first sifted",
    "colbert.ndocs": "passages sifted; a quarter of them is scored in full",
    "layers.texts": "each by itself",
    "controls.repeat": "in a fresh process",
    "controls.observer": "indexed without instruments",
    "swaps.points": "each list is one arm; [] leaves swaps out",
    "swaps.precisions": "all of those above, unless some are named",
    "swaps.directions": "whose values go where",
    "operations.precisions": "all of those above, unless some are named; [] leaves it out",
    "operations.index": "of indexing too, and not only of BERT",
    "search.k": "passages of a query that count; 0 leaves search out",
    "search.queries": "how many; 0 for all that have a relevant passage among those indexed",
    "search.seeds": "indexes of A made with another seed of k-means: the yardstick; 0 for none",
    "search.ignore_identical_ids": "leave a passage that is the query itself (same id) out of its ranking",
}
_PASSAGES = "from the start of the collection; 0 for all"
_HEAD = """\
# A study, for `reportlib run`. Every key that a study can have is here, with what it is. A line `# key = ...` is off
# and leaves the key to its default. What is wrong in here is named with its line before anything runs.
"""


def study_text(study: Study) -> str:
    """Write a study down as TOML that `reportlib.study_toml.read` reads back.

    Parameters
    ----------
    study : Study
        The study; its path is not written.

    Returns
    -------
    str
        With every key that a study can have: those that do not matter to this one as comments.
    """
    top = ("title", "environments", "device", "threads")
    head = [_line(name, name, getattr(study, name)) for name in top]
    tables = [
        _table("collection", _fields(study.collection), _unused_of_collection(study.collection)),
        _table("checkpoint", _fields(study.checkpoint), _unused_of_checkpoint(study.checkpoint)),
        _table("colbert", _fields(study.colbert)),
        _precisions(study.passages),
        _table("layers", {"texts": study.texts}),
        _table("controls", _fields(study.controls)),
        _table("swaps", _fields(study.swaps), _all_precisions(study, study.swaps.precisions)),
        _table("operations", _fields(study.operations), _all_precisions(study, study.operations.precisions)),
        _table("search", _fields(study.search)),
        _variables(study.variables),
    ]
    return _HEAD + "\n".join(["\n".join(head) + "\n", *tables])


def _fields(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _table(name: str, values: Mapping[str, Any], unused: frozenset[str] = frozenset()) -> str:
    lines = [f"# {TABLES[name]}", f"[{name}]"]
    for key, value in values.items():
        lines.append(_line(key, f"{name}.{key}", value, off="# " if key in unused else ""))
    return "\n".join(lines) + "\n"


def _line(key: str, documented: str, value: Any, off: str = "") -> str:
    written = f"{off}{key} = {toml(value)}"
    if "\n" in written or len(written) + len(KEYS[documented]) > 115:
        return f"# {key}: {KEYS[documented]}\n{written}"
    return f"{written}  # {KEYS[documented]}"


def _precisions(passages: Mapping[str, int]) -> str:
    about = {
        "float32": "What colbert-ai does on a CPU.",
        "autocast": "bfloat16 on a CPU, slow where the CPU has no instructions for it; float16 on a GPU.",
    }
    parts = [f"# {TABLES['precision']}"]
    for precision, count in passages.items():
        parts += [f"# {about[precision]}", f"[precision.{precision}]", f"passages = {count}  # {_PASSAGES}", ""]
    return "\n".join(parts)


def _variables(given: Mapping[str, str]) -> str:
    lines = [f"# {TABLES['variables']}", "[variables]"]
    lines += [f"{name} = {toml(given[name])}" if name in given else f'# {name} = ""' for name in VARIABLES]
    return "\n".join(lines) + "\n"


def _unused_of_collection(spec: CollectionSpec) -> frozenset[str]:
    return frozenset(key for key, value in asdict(spec).items() if value == "")


def _unused_of_checkpoint(spec: CheckpointSpec) -> frozenset[str]:
    if spec.source != checkpoints.NAME:
        return frozenset({"dim", "projection"})
    return frozenset() if spec.projection else frozenset({"projection"})


def _all_precisions(study: Study, chosen: tuple[str, ...]) -> frozenset[str]:
    """Leave the choice open where it is all of them, so that a precision can be removed in one place."""
    return frozenset({"precisions"}) if chosen == tuple(study.passages) else frozenset()


def toml(value: Any) -> str:
    """Write a value as TOML; a list of lists takes a line for each."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A JSON string is a TOML one, but for the one control character that JSON lets through.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        items = [toml(each) for each in value]
        if any(isinstance(each, tuple) for each in value):
            return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
        return f"[{', '.join(items)}]"
    return repr(value)


# Begin a study: look at everything first, then write the environment files and `study.toml`.

#: The default study's: enough token embeddings for everything that it shows, and few where bfloat16 is slow.
FLOAT32, AUTOCAST = 640, 48
_DEFAULT = ("torch201", "torch210")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    named, asked = _asked(wish)
    versions = (*(load_spec(name, root).pins["torch"] for name in named), *asked)
    folder = _free_folder(wish.name or f"torch-{'-vs-'.join(versions)}", root)
    limit = LOOKED_AT if wish.passages is None else max(wish.passages, AUTOCAST)
    collection = find_collection(wish.collection, folder, root, config=wish.config, split=wish.split, most=limit)
    passages, notes = _passages(wish, collection)
    environments = (*named, *map(environment_name, asked))
    # Versions name a study only where they tell its environments apart.
    between = f"PyTorch {_joined(versions)}" if len({*versions}) == len(versions) else _joined(environments)
    study = Study(
        path=folder / "study.toml",
        title=wish.title or f"Comparing colbert-ai artifacts between {between}",
        environments=environments,
        device=wish.device,
        collection=collection.spec,
        checkpoint=find_checkpoint(wish.checkpoint, folder, root),
        passages=passages,
        swaps=SwapSpec(precisions=tuple(passages)),
        operations=OperationsSpec(precisions=tuple(passages)),
    )
    notes += _amounts(study, collection)
    # The package registry is asked last: everything else takes no time.
    found = [further(version, root, progress=progress) for version in asked]
    added = tuple(each for each in found if each.text)
    written = _written(study, added, root)
    remarks = [*_remarks(added), *collection.notes, *notes]
    return Started(study, written, added, tuple(remarks), _commands(study, added, root, here))


def _asked(wish: Wish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the environments that are named, and the versions for which one is to be found."""
    given = wish.environments or wish.torch
    named = tuple(dict.fromkeys(wish.environments if given else _DEFAULT))
    versions = dict.fromkeys(map(full_version, wish.torch))
    asked = tuple(version for version in versions if environment_name(version) not in named)
    if len(named) + len(asked) < 2:
        raise StudyError(
            f"a comparison needs at least two environments; this is {', '.join((*named, *asked))} alone",
            "name the old version and the new one: --torch 2.1.0 --torch 2.6.0",
        )
    return named, asked


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


def _remarks(added: Sequence[Further]) -> list[str]:
    said = []
    for each in added:
        if each.other_pins:
            changes = ", ".join(each.other_pins)
            said.append(f"{each.name} differs from {each.base} in more than torch: {changes}. Look at that too.")
        if each.asked:
            said.append(f"{each.name} has no lock yet: {each.asked}")
    return said


def _commands(study: Study, added: Sequence[Further], root: Path, here: Path) -> tuple[str, ...]:
    go = [] if here.samefile(root) else [f"cd {shlex.quote(os.path.relpath(root, here))}"]
    locks = [f"reportlib env lock {each.name} --like {each.base}" for each in added if each.lock is None]
    return (*go, *locks, f"reportlib run {study.path.relative_to(root)}")


def _joined(versions: Sequence[str]) -> str:
    return f"{', '.join(versions[:-1])} and {versions[-1]}"
