"""Hugging Face data sets, read by the real `datasets` from folders in the hub's layouts."""

import builtins
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reportlib.collections import (
    Collection,
    Judgement,
    Passage,
    Query,
    prepare,
    read_judgements,
    read_passages,
    read_queries,
)
from reportlib.errors import CollectionError
from reportlib.study import CollectionSpec

datasets = pytest.importorskip("datasets")

# Columns as the README of UKPLab/dapr has them.
CORPUS = [
    {"_id": "0-0", "text": "Overview", "title": "Pets", "doc_id": "0", "paragraph_no": 0},
    {"_id": "0-1", "text": "", "title": "Pets", "doc_id": "0", "paragraph_no": 1},
    {"_id": "0-2", "text": "Cats\tsleep.", "title": "Pets", "doc_id": "0", "paragraph_no": 2},
]
LAYOUT: dict[str, dict[str, list[dict[str, Any]]]] = {
    "Pets-corpus": {"test": CORPUS},
    "Pets-queries": {
        "dev": [{"_id": "v1", "text": "Who barks?"}],
        "test": [{"_id": "t1", "text": "Who sleeps?"}, {"_id": "t2", "text": "What is this?"}],
    },
    "Pets-qrels": {
        "dev": [{"query_id": "v1", "corpus_id": "0-0", "score": 1}],
        "test": [
            {"query_id": "t1", "corpus_id": "0-2", "score": 1},
            {"query_id": "t2", "corpus_id": "0-0", "score": 2},
        ],
    },
    "Other-corpus": {"test": [{"_id": "x", "text": "Something else."}]},
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a data set as the hub has it: a README that lists configurations, and parquet files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", tmp_path / "modules")

    def written(layout: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> Path:
        folder = tmp_path / "dapr"
        readme = ["---", "configs:"]
        for config, splits in layout.items():
            readme += [f"- config_name: {config}", "  data_files:"]
            for split, rows in splits.items():
                name = f"{config}/{split}.parquet"
                (folder / config).mkdir(parents=True, exist_ok=True)
                datasets.Dataset.from_list(rows).to_parquet(folder / name)
                readme += [f"  - split: {split}", f"    path: {name}"]
        (folder / "README.md").write_text("\n".join([*readme, "---", ""]))
        return folder

    return written


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Collection]:
    def prepared(**fields: str) -> Collection:
        spec = CollectionSpec("huggingface", path="dapr", **fields)
        return prepare(spec, base=tmp_path, home=tmp_path / "home")

    return prepared


def test_the_layout_of_dapr(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(LAYOUT)
    found = run(config="Pets", split="test")
    # Empty texts keep their row, and titles are not joined: as in the reference posts.
    assert read_passages(found.path) == [
        Passage("0-0", "Overview"),
        Passage("0-1", ""),
        Passage("0-2", "Cats sleep."),
    ]
    assert read_queries(found.path) == [Query("t1", "Who sleeps?"), Query("t2", "What is this?")]
    assert read_judgements(found.path) == [Judgement("t1", "0-2", 1), Judgement("t2", "0-0", 2)]
    assert found.source == "The Hugging Face data set dapr, Pets, split test"
    assert '"empty_passages": 1' in (found.path / "source.json").read_text()


def test_another_split_has_the_same_passages_and_its_own_queries(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(LAYOUT)
    test, dev = run(config="Pets"), run(config="Pets", split="dev")
    assert dev.sha256 == test.sha256
    assert [q.id for q in read_queries(dev.path)] == ["v1"]
    assert [q.id for q in read_queries(test.path)] == ["t1", "t2"]


def test_the_layout_of_beir_data_sets(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(
        {
            "corpus": {"corpus": CORPUS},
            "queries": {"queries": [{"_id": "q", "text": "Who sleeps?"}]},
            "default": {"test": [{"query-id": "q", "corpus-id": "0-2", "score": 1.0}]},
        }
    )
    found = run()
    assert (found.passages, found.queries) == (3, 1)
    assert read_judgements(found.path) == [Judgement("q", "0-2", 1)]


def test_a_collection_without_queries(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(LAYOUT)
    found = run(config="Other")
    assert (found.passages, found.queries, found.judgements) == (1, 0, 0)


def test_an_unknown_configuration_names_those_there_are(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(LAYOUT)
    with pytest.raises(CollectionError, match=r"no configuration 'Cars-corpus'\n.*Pets-corpus"):
        run(config="Cars")


def test_an_unknown_split_names_those_there_are(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(LAYOUT)
    with pytest.raises(CollectionError, match=r"no split 'train'\n.*'dev', 'test'"):
        run(config="Pets", split="train")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"_id": "a", "body": "x"}], "row 0: no text"),
        ([{"name": "a", "text": "x"}], r"row 0: none of the columns \['_id', 'id'\]"),
        ([{"_id": "a", "text": "x"}, {"_id": "a", "text": "y"}], "two passages have the id 'a'"),
    ],
)
def test_bad_rows(
    write: Callable[..., Path],
    run: Callable[..., Collection],
    rows: list[dict[str, str]],
    message: str,
) -> None:
    write({"corpus": {"test": rows}})
    with pytest.raises(CollectionError, match=message):
        run()


def test_a_folder_that_is_no_data_set(tmp_path: Path, run: Callable[..., Collection]) -> None:
    (tmp_path / "dapr").mkdir()
    with pytest.raises(CollectionError, match="could not be read") as caught:
        run(config="Pets")
    assert "folder with a copy" in str(caught.value.mend)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    spec = CollectionSpec("huggingface", name="UKPLab/dapr", config="ConditionalQA")
    with pytest.raises(CollectionError, match=r"reportlib\[huggingface\]"):
        prepare(spec, base=tmp_path, home=tmp_path / "home")


def test_a_hub_that_cannot_be_reached_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise builtins.ConnectionError("Couldn't reach 'UKPLab/dapr' on the Hub")

    monkeypatch.setattr(datasets, "get_dataset_config_names", unreachable)
    spec = CollectionSpec("huggingface", name="UKPLab/dapr", config="ConditionalQA")
    with pytest.raises(CollectionError, match="UKPLab/dapr could not be read: Couldn't reach"):
        prepare(spec, base=tmp_path, home=tmp_path / "home")


@pytest.mark.network
def test_the_collection_of_the_reference_posts(tmp_path: Path) -> None:
    spec = CollectionSpec("huggingface", name="UKPLab/dapr", config="ConditionalQA", split="test")
    found = prepare(spec, base=tmp_path, home=tmp_path / "home")
    # The posts' own numbers: 69,199 passages, 271 queries.
    assert (found.passages, found.queries) == (69_199, 271)
