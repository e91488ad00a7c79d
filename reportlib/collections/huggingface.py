"""Collections from Hugging Face data sets: passages, queries and judgements as configurations.

Two layouts are in use. `UKPLab/dapr` has ``<config>-corpus``, ``<config>-queries`` and
``<config>-qrels`` for each of its collections (its README and `loading.py`); BEIR-like data sets
have ``corpus``, ``queries`` and ``qrels`` or ``default``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reportlib.collections.folder import Entry, Judged, entry
from reportlib.collections.judging import GRADES, PASSAGE_IDS, QUERY_IDS, plain_name, read_grade
from reportlib.errors import CollectionError

_ID = ("_id", "id")


@dataclass(frozen=True)
class HuggingFaceSource:
    """A data set of the Hugging Face hub, or a local folder in the same layout.

    A ``title`` is put before the ``text``, as in a folder of the same set. Empty texts are kept and
    counted, as in the reference posts: a published data set is not the user's to mend, and the pids
    must stay those of its rows.

    Attributes
    ----------
    name : str
        Hub id, or a folder that `datasets.load_dataset` can read.
    config : str
        What the configurations' names begin with: ``ConditionalQA``. May be empty.
    split : str
        Split of queries and judgements; when empty, ``test`` or the only one. Passages often have
        one split of their own, which is then taken.
    titles : bool
        Whether titles are put before texts; the reference posts have them left out.
    """

    name: str
    config: str = ""
    split: str = ""
    titles: bool = True

    @property
    def sentence(self) -> str:
        """What the report's first screen says of the collection."""
        name = f"The Hugging Face data set {self.name.rstrip('/').rsplit('/', 1)[-1]}"
        parts = (name, self.config, self.split and f"split {self.split}", "" if self.titles else "without titles")
        return ", ".join(filter(None, parts))

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

    def judgements(self) -> Iterator[Judged]:
        """Yield every judgement of the split."""
        config = self._config("qrels") or (None if self.config else self._config("default"))
        if config is None:
            return
        rows = self._load(config, exactly=True)
        table = f"{self.name}, {config}"
        query, passage = (_known(rows.column_names, names, table) for names in (QUERY_IDS, PASSAGE_IDS))
        grade = _grade_column([name for name in rows.column_names if name not in {query, passage}], table)
        # Of a ClassLabel the rows have positions in its names, which alone say what they mean.
        labels = getattr(rows.features[grade], "names", None) if grade else None
        for number, row in enumerate(rows):
            where = f"{table}, row {number}"
            if row[query] is None or row[passage] is None:
                raise CollectionError(f"{where}: not a judgement: no id", "remove the row from a copy of the data set")
            value = row[grade] if grade else None
            named = labels[value] if labels and value is not None else value
            yield Judged(str(row[query]), str(row[passage]), read_grade(named, where) if grade else None, where)

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

    def _load(self, config: str, *, exactly: bool = False) -> Any:
        """Return the rows of a configuration: a memory-mapped table, not a list.

        Passages and queries often have one split of another name; judgements are `exactly` those of the split.
        """
        splits = list(self._call("get_dataset_split_names", self.name, config))
        wanted = self.split or "test"
        if wanted not in splits and (len(splits) != 1 or (exactly and self.split)):
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
            name = next((row[column] for column in _ID if row.get(column) is not None), None)
            if name is None:
                raise CollectionError(f"{where}: none of the columns {list(_ID)}", f"its columns are {sorted(row)}")
            yield entry(name, row.get("text"), where, row.get("title") if self.titles else None)


def _known(columns: Sequence[str], names: Sequence[str], table: str) -> str:
    """Return the column whose name comes first in `names`."""
    plain = {plain_name(column): column for column in reversed(columns)}
    for name in names:
        if name in plain:
            return plain[name]
    raise CollectionError(f"{table}: none of the columns {list(names)}", f"its columns are {list(columns)}")


def _grade_column(columns: Sequence[str], table: str) -> str | None:
    """Return the column that has the grades, of those that are no ids; None where there is no other at all."""
    found = [column for column in columns if plain_name(column) in GRADES]
    if len(found) == 1 or not columns:
        return found[0] if found else None
    raise CollectionError(
        f"{table}: which column has the grades cannot be told: {list(found or columns)}",
        f"keep one of {list(GRADES)} in a copy of the data set; with ids alone each pair counts as grade 1",
    )
