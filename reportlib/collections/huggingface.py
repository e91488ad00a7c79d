"""Collections from Hugging Face data sets: passages, queries and judgements as configurations.

Two layouts are in use. `UKPLab/dapr` has ``<config>-corpus``, ``<config>-queries`` and
``<config>-qrels`` for each of its collections (its README and `loading.py`); BEIR-like data sets
have ``corpus``, ``queries`` and ``qrels`` or ``default``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reportlib.collections.reading import Judgement
from reportlib.collections.source import Entry
from reportlib.errors import CollectionError

_ID = ("_id", "id")
_QUERY = ("query_id", "query-id", "_query_id", "qid")
_PASSAGE = ("corpus_id", "corpus-id", "passage_id", "doc_id", "pid")


@dataclass(frozen=True)
class HuggingFaceSource:
    """A data set of the Hugging Face hub, or a local folder in the same layout.

    The text is the ``text`` column alone, without titles, as in the reference posts. Empty texts
    are kept and counted, as in the posts too: a published data set is not the user's to mend, and
    the pids must stay those of its rows.

    Attributes
    ----------
    name : str
        Hub id, or a folder that `datasets.load_dataset` can read.
    config : str
        What the configurations' names begin with: ``ConditionalQA``. May be empty.
    split : str
        Split of queries and judgements; when empty, ``test`` or the only one. Passages often have
        one split of their own, which is then taken.
    """

    name: str
    config: str = ""
    split: str = ""

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        split = f", split {self.split}" if self.split else ""
        return f"The Hugging Face data set {self.name.rstrip('/').rsplit('/', 1)[-1]}" + (
            f", {self.config}{split}" if self.config else split
        )

    @property
    def licence(self) -> str:
        """As the data set's card gives it, or empty."""
        return str(getattr(self._corpus.info, "license", "") or "")

    def passages(self) -> Iterator[Entry]:
        """Yield every passage, in row order."""
        yield from self._entries(self._corpus, "corpus")

    def queries(self) -> Iterator[Entry]:
        """Yield every query of the split."""
        config = self._config("queries")
        if config is not None:
            yield from self._entries(self._load(config), config)

    def judgements(self) -> Iterator[Judgement]:
        """Yield every judgement of the split."""
        config = self._config("qrels") or (None if self.config else self._config("default"))
        if config is None:
            return
        for number, row in enumerate(self._load(config)):
            where = f"{self.name}, {config}, row {number}"
            query, passage = _column(row, _QUERY, where), _column(row, _PASSAGE, where)
            yield Judgement(query, passage, int(row.get("score", 1)))

    @cached_property
    def _corpus(self) -> Any:
        config = self._config("corpus")
        if config is None:
            raise CollectionError(
                f"the data set {self.name} has no configuration {self._name('corpus')!r}",
                f"give as config what stands before '-corpus' in one of {sorted(self._configs)}",
            )
        return self._load(config)

    @cached_property
    def _configs(self) -> list[str]:
        return list(self._call("get_dataset_config_names", self.name))

    def _name(self, part: str) -> str:
        return f"{self.config}-{part}" if self.config else part

    def _config(self, part: str) -> str | None:
        return self._name(part) if self._name(part) in self._configs else None

    def _load(self, config: str) -> Any:
        """Return the rows of a configuration: a memory-mapped table, not a list."""
        splits = list(self._call("get_dataset_split_names", self.name, config))
        wanted = self.split or "test"
        if wanted not in splits and len(splits) != 1:
            raise CollectionError(
                f"{self.name}, {config} has no split {wanted!r}",
                f"name one of {splits} as the collection's split",
            )
        return self._call("load_dataset", self.name, config, split=wanted if wanted in splits else splits[0])

    def _call(self, function: str, *arguments: Any, **options: Any) -> Any:
        try:
            datasets = importlib.import_module("datasets")
        except ImportError as error:
            raise CollectionError(
                "a Hugging Face data set needs the package datasets",
                "install it: pip install 'reportlib[huggingface]'",
            ) from error
        try:
            return getattr(datasets, function)(*arguments, **options)
        except Exception as error:  # a data set's reader and its network raise whatever they like
            raise CollectionError(
                f"the Hugging Face data set {self.name} could not be read: {error}",
                "check its name and that its hub can be reached, or give a folder with a copy",
            ) from error

    def _entries(self, rows: Any, config: str) -> Iterator[Entry]:
        for number, row in enumerate(rows):
            where = f"{self.name}, {config}, row {number}"
            text = row.get("text")
            if not isinstance(text, str):
                raise CollectionError(f"{where}: no text", "give a data set whose rows have a column 'text'")
            yield Entry(_column(row, _ID, where), text, where)


def _column(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise CollectionError(f"{where}: none of the columns {list(names)}", f"its columns are {sorted(row)}")
