"""From a study's `[collection]` table to one canonical folder with one hash."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reportlib import inputs
from reportlib.collections.docstrings import DocstringSource
from reportlib.collections.folder import Progress, Source, write_folder
from reportlib.collections.reading import JUDGEMENTS, PASSAGES, QUERIES
from reportlib.collections.sources import BeirSource, HuggingFaceSource, TsvSource
from reportlib.errors import CollectionError
from reportlib.inputs import ANEW, SOURCE, obtain
from reportlib.store import canonical_json, digest, digest_file, project_home
from reportlib.study import SOURCES, CollectionSpec
from reportlib.words.terms import remarks

#: Raised whenever the same source would give other bytes than before.
FORMAT = 3


@dataclass(frozen=True)
class Collection:
    """A prepared collection.

    Attributes
    ----------
    path : Path
        Its folder.
    sha256 : str
        Of `collection.jsonl`: the collection's hash.
    passages, queries, judgements : int
        How many there are.
    source : str
        A sentence that says what it is.
    judged_sha256 : str
        Of the judgements, and of what became of those that do not count as they were given.
    notes : tuple of str
        What a user should know before searching it: `reportlib.collections.folder.remarks`.
    """

    path: Path
    sha256: str
    passages: int
    queries: int
    judgements: int
    source: str
    judged_sha256: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Collection:
        """Open a prepared folder without reading its texts.

        Raises
        ------
        CollectionError
            When it is not one, or a file is not as long as it was.
        """
        try:
            content = json.loads((path / SOURCE).read_text(encoding="utf-8"))
            files = {name: content["files"][name] for name in (PASSAGES, QUERIES, JUDGEMENTS)}
            for name, file in files.items():
                if (path / name).stat().st_size != file["bytes"]:
                    raise CollectionError(f"{path / name} was changed", ANEW)
            return cls(
                path=path,
                sha256=files[PASSAGES]["sha256"],
                passages=int(content["passages"]),
                queries=int(content["queries"]),
                judgements=int(content["judgements"]),
                source=str(content["source"]),
                judged_sha256=digest(canonical_json([files[JUDGEMENTS]["sha256"], content["judging"]]).encode()),
                notes=tuple(remarks(content)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CollectionError(f"{path} is not a prepared collection: {error}", ANEW) from error

    def verify(self) -> None:
        """Hash every file again.

        Raises
        ------
        CollectionError
            Naming the file that is not what was prepared.
        """
        content = json.loads((self.path / SOURCE).read_text(encoding="utf-8"))
        for name, file in content["files"].items():
            if digest_file(self.path / name) != file["sha256"]:
                raise CollectionError(f"{self.path / name} was changed", ANEW)


def prepare(
    spec: CollectionSpec, *, base: Path, home: Path | None = None, progress: Progress | None = None
) -> Collection:
    """Bring a collection into the one form that every arm reads.

    The folder is ``<home>/inputs/collection-<16 digits>``, named by the hash of its `source.json`
    (which has the hashes of the others), and appears only when it is whole. What was prepared
    before is found again by its description and the size and time of its files, without reading
    them; a data set of a hub is read once.

    Parameters
    ----------
    spec : CollectionSpec
        The study's ``[collection]`` table.
    base : Path
        The study's folder: relative paths start here.
    home : Path, optional
        The project's home; `reportlib.store.project_home` by default.
    progress : callable, optional
        Called with what is being read (``passages``, ``queries``, ``judgements``) and how many were
        read so far.

    Returns
    -------
    Collection

    Raises
    ------
    CollectionError
        When the source is missing, unreadable, empty or contradicts itself; nothing is left behind.
    DiskSpaceError
        When the disk is full.
    """
    home = project_home() if home is None else home
    source = _source(spec, base, home)

    make = partial(write_folder, source, progress=progress or (lambda _what, _count: None))
    return obtain("collection", _fingerprint(spec, source), home, make, Collection.open)


def _source(spec: CollectionSpec, base: Path, home: Path) -> Source:
    """Return the source, after everything that can be checked without reading it through."""
    if spec.source in {"beir", "tsv"} and not spec.path:
        raise CollectionError(f"the collection's source is {spec.source!r} without a path", "set collection.path")
    path = base / Path(spec.path).expanduser()
    match spec.source:
        case "numpy-docstrings":
            unpacked = inputs.unpack(inputs.NUMPY, home, CollectionError)
            sentence = f"The prose of numpy {inputs.NUMPY.version}'s docstrings"
            return DocstringSource(unpacked / "numpy", sentence, "BSD-3-Clause")
        case "beir":
            return BeirSource(path, spec.split, spec.titles)
        case "tsv":
            return TsvSource(path, spec.titles)
        case "huggingface":
            name = spec.name or (str(path) if spec.path else "")
            if not name:
                raise CollectionError("the collection is of Hugging Face, without a name", "set collection.name")
            return HuggingFaceSource(name, spec.config, spec.split, spec.titles)
    raise CollectionError(f"there is no collection source {spec.source!r}", f"use one of {list(SOURCES)}")


def _fingerprint(spec: CollectionSpec, source: Source) -> dict[str, Any]:
    """Describe what determines the folder, cheaply."""
    files: list[Path] = []
    if isinstance(source, BeirSource | TsvSource):
        files = source.files()
    elif isinstance(source, HuggingFaceSource) and spec.path:
        files = sorted(p for p in Path(source.name).rglob("*") if p.is_file())
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return {"format": FORMAT, "spec": asdict(spec), "files": stats, "wheel": inputs.NUMPY.sha256}
