"""The text of a new `study.toml`: every key with its value and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from reportlib.checkpoints import offline
from reportlib.study import VARIABLES, CheckpointSpec, CollectionSpec, Study

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
    "threads": "of every library that has threads; results can depend on it",
    "collection.source": '"numpy-docstrings", "beir", "tsv" or "huggingface"',
    "collection.path": "of a BEIR folder, a TSV file or a copied data set; from this file's folder",
    "collection.name": "of a Hugging Face data set: UKPLab/dapr",
    "collection.config": "of a data set: ConditionalQA",
    "collection.split": "of a data set's or a BEIR folder's queries; when empty, test or the only one",
    "collection.titles": "a passage's title is put before its text",
    "checkpoint.source": f'"{offline.NAME}", a folder, or a hub id',
    "checkpoint.dim": f"width of {offline.NAME}'s token embeddings, a multiple of 8 * nbits; others bring theirs",
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
    """Write a study down as TOML that `reportlib.study_file.read` reads back.

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
    return frozenset() if spec.source == offline.NAME else frozenset({"dim"})


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
