"""Hugging Face data sets, read by the real `datasets` from folders in the hub's layouts."""

import builtins
import importlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reportlib.collections.folder import Collection
from reportlib.collections.reading import Judgement, Passage, Query, read_judgements, read_passages, read_queries
from reportlib.collections.sources import prepare
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
    def prepared(**fields: Any) -> Collection:
        spec = CollectionSpec("huggingface", path="dapr", **fields)
        return prepare(spec, base=tmp_path, home=tmp_path / "home")

    return prepared


def test_the_layout_of_dapr(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(LAYOUT)
    found = run(config="Pets", split="test")
    assert read_passages(found.path) == [
        Passage("0-0", "Pets Overview"),
        Passage("0-1", "Pets"),
        Passage("0-2", "Pets Cats sleep."),
    ]
    assert read_queries(found.path) == [Query("t1", "Who sleeps?"), Query("t2", "What is this?")]
    assert read_judgements(found.path) == [Judgement("t1", "0-2", 1), Judgement("t2", "0-0", 2)]
    assert found.source == "The Hugging Face data set dapr, Pets, split test"


def test_the_collection_of_the_posts_has_no_titles(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    write(LAYOUT)
    found = run(config="Pets", titles=False)
    # Empty texts keep their row, as in the reference posts.
    assert [p.text for p in read_passages(found.path)] == ["Overview", "", "Cats sleep."]
    assert found.source == "The Hugging Face data set dapr, Pets, without titles"
    assert found.notes == ("1 of 3 passages have no text: they are kept as they are.",)


def test_a_folder_of_the_same_set_has_the_same_passages(
    write: Callable[..., Path], run: Callable[..., Collection], tmp_path: Path
) -> None:
    rows = [
        {"_id": "a", "title": "Cats", "text": "They\tsleep."},
        {"_id": "b", "title": "", "text": ""},
        {"_id": "c", "title": None, "text": "Dogs bark."},
    ]
    write({"corpus": {"corpus": rows}})
    folder = tmp_path / "beir"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    copied = prepare(CollectionSpec("beir", "beir"), base=tmp_path, home=tmp_path / "home")
    assert run().sha256 == copied.sha256


def graded(*grades: Any, column: str = "score", **others: list[Any]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """A BEIR-like data set with these grades, one for each passage."""
    passages = [{"_id": f"d{n}", "text": f"passage {n}"} for n, _ in enumerate(grades)]
    rows = [
        {"query-id": "q", "corpus-id": f"d{n}", column: grade} | {name: values[n] for name, values in others.items()}
        for n, grade in enumerate(grades)
    ]
    return {"corpus": {"c": passages}, "queries": {"q": [{"_id": "q", "text": "x"}]}, "default": {"test": rows}}


@pytest.mark.parametrize("column", ["score", "relevance", "label", "grade", "rel", "Relevance-Score"])
@pytest.mark.parametrize("grades", [(0, 2), (0.0, 2.0), ("0", "2.0"), (False, True)])
def test_grades_are_read_by_their_column(
    write: Callable[..., Path], run: Callable[..., Collection], column: str, grades: tuple[Any, ...]
) -> None:
    write(graded(*grades, column=column))
    assert [j.grade for j in read_judgements(run().path)] == [0, 1 if grades[1] is True else 2]


@pytest.mark.parametrize(
    ("grades", "message"),
    [
        ((1.0, 0.5), "default, row 1: not a judgement: the grade is 0.5"),
        ((2.9,), "row 0: not a judgement: the grade is 2.9"),
        (("0.5",), "row 0: not a judgement: the grade is '0.5'"),
        ((1, None), "row 1: not a judgement: the grade is None"),
        ((float("nan"),), "row 0: not a judgement: the grade is nan"),
        (("much",), "row 0: not a judgement: the grade is 'much'"),
        ((10**12,), "row 0: not a judgement: the grade is 1000000000000"),
    ],
)
def test_grades_that_are_no_whole_numbers_are_refused_with_their_row(
    write: Callable[..., Path], run: Callable[..., Collection], grades: tuple[Any, ...], message: str
) -> None:
    write(graded(*grades))
    with pytest.raises(CollectionError, match=re.escape(message)) as caught:
        run()
    assert caught.value.mend


def test_a_column_that_may_be_the_grade_is_not_passed_over(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(graded(0, 1, column="usefulness"))
    with pytest.raises(CollectionError, match=r"which column has the grades cannot be told: \['usefulness'\]"):
        run()


def test_two_columns_that_may_be_the_grade_are_not_chosen_between(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(graded(0, 1, relevance=[1, 0]))
    with pytest.raises(CollectionError, match=r"cannot be told: \['score', 'relevance'\]"):
        run()


def test_other_columns_beside_the_grade_are_no_matter(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(graded(0, 1, language=["en", "en"]))
    assert [j.grade for j in read_judgements(run().path)] == [0, 1]


def test_pairs_without_grades_count_as_one_and_it_is_told(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    layout = graded(0, 1)
    for row in layout["default"]["test"]:
        del row["score"]
    write(layout)
    found = run()
    assert [j.grade for j in read_judgements(found.path)] == [1, 1]
    assert found.notes == ("The judgements have no grades, so each counts as grade 1.",)


def named(path: Path, names: list[str]) -> None:
    """Give a parquet file's labels names."""
    rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(path.parents[2] / "again"))
    rows.cast_column("label", datasets.ClassLabel(names=names)).to_parquet(path)


def test_the_names_of_labels_count_and_not_their_positions(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    named(write(graded(0, 1, column="label")) / "default" / "test.parquet", ["1", "0"])
    assert [j.grade for j in read_judgements(run().path)] == [1, 0]


def test_labels_with_other_names_are_no_grades(write: Callable[..., Path], run: Callable[..., Collection]) -> None:
    named(write(graded(0, 1, column="label")) / "default" / "test.parquet", ["relevant", "not relevant"])
    with pytest.raises(CollectionError, match="row 0: not a judgement: the grade is 'relevant'"):
        run()


def test_judgements_of_another_split_than_asked_for_are_not_taken(
    write: Callable[..., Path], run: Callable[..., Collection]
) -> None:
    write(graded(1))
    with pytest.raises(CollectionError, match=r"default has no split 'dev'\n.*'test'"):
        run(split="dev")


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
