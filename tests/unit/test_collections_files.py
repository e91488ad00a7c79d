"""BEIR folders and TSV files: what is read, what is written, and what is refused."""

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reportlib.collections.folder import Collection
from reportlib.collections.reading import (
    Judgement,
    Passage,
    Query,
    queries_within,
    read_judgements,
    read_passages,
    read_queries,
)
from reportlib.collections.sources import prepare
from reportlib.errors import CollectionError
from reportlib.study import CollectionSpec

CORPUS: list[dict[str, Any]] = [
    {"_id": "d1", "title": "Cats", "text": "They\tsleep\n a lot.", "metadata": {"url": "x"}},
    {"_id": "d2", "title": "", "text": "Dogs bark."},
    {"_id": 3, "text": "Fish é 鱼 swim."},
]
QUERIES = [{"_id": "q1", "text": "who sleeps?"}, {"_id": "q2", "text": "who swims?"}]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q2\t3\t1", "q2\td2\t0"]


def jsonl(path: Path, records: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    folder.mkdir()
    jsonl(folder / "corpus.jsonl", CORPUS)
    jsonl(folder / "queries.jsonl", QUERIES)
    (folder / "qrels.tsv").write_text("\n".join(QRELS) + "\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Collection]:
    """Prepare a collection of tmp_path, as a study that lies there would."""

    def prepared(source: str, path: str, **fields: str) -> Collection:
        spec = CollectionSpec(source, path, **fields)
        return prepare(spec, base=tmp_path, home=tmp_path / "home")

    return prepared


def left_over(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "inputs").iterdir() if p.is_dir() and p.name != "prepared")


@pytest.mark.usefixtures("beir")
def test_a_beir_folder_becomes_one_folder(run: Callable[..., Collection]) -> None:
    found = run("beir", "pets")
    assert read_passages(found.path) == [
        Passage("d1", "Cats They sleep a lot."),
        Passage("d2", "Dogs bark."),
        Passage("3", "Fish é 鱼 swim."),
    ]
    assert read_queries(found.path) == [Query("q1", "who sleeps?"), Query("q2", "who swims?")]
    assert read_judgements(found.path) == [
        Judgement("q1", "d1", 2),
        Judgement("q2", "3", 1),
        Judgement("q2", "d2", 0),
    ]
    assert (found.passages, found.queries, found.judgements) == (3, 2, 3)
    assert found.source == "The BEIR folder pets"
    data = (found.path / "collection.jsonl").read_bytes()
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert data.splitlines()[2].decode() == '{"id": "3", "text": "Fish é 鱼 swim."}'


@pytest.mark.usefixtures("beir")
def test_the_hash_is_that_of_the_text_and_nothing_else(tmp_path: Path, run: Callable[..., Collection]) -> None:
    first = run("beir", "pets")
    other = tmp_path / "zipped"
    (other / "qrels").mkdir(parents=True)
    with gzip.open(other / "corpus.jsonl.gz", "wt", encoding="utf-8") as out:
        # Another spelling of the same records: key order, escapes, blank lines, line ends, a BOM.
        out.write("\ufeff")
        out.writelines(json.dumps(r, sort_keys=True, ensure_ascii=False) + "\r\n\n" for r in CORPUS)
    jsonl(other / "queries.jsonl", QUERIES[:1])
    (other / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    second = run("beir", "zipped")
    assert second.sha256 == first.sha256
    # The same passages with other queries are another folder, so that neither loses its queries.
    assert second.path != first.path
    assert (len(read_queries(first.path)), len(read_queries(second.path))) == (2, 1)


def test_preparing_again_reads_nothing(
    beir: Path, tmp_path: Path, run: Callable[..., Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("beir", "pets")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("reportlib.collections.folder._write_entries", fail)
        assert run("beir", "pets") == first
    jsonl(beir / "corpus.jsonl", [*CORPUS, {"_id": "d4", "text": "Birds fly."}])
    assert run("beir", "pets").passages == 4
    assert len(left_over(tmp_path / "home")) == 2


@pytest.mark.usefixtures("beir")
def test_a_damaged_folder_is_noticed_and_made_anew(run: Callable[..., Collection]) -> None:
    first = run("beir", "pets")
    path = first.path / "collection.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Dogs", b"Hogs"))
    with pytest.raises(CollectionError, match=r"collection\.jsonl was changed"):
        first.verify()
    path.write_bytes(whole[:-9])
    with pytest.raises(CollectionError, match=r"collection\.jsonl was changed"):
        Collection.open(first.path)
    again = run("beir", "pets")
    again.verify()
    assert again == first


@pytest.mark.usefixtures("beir")
def test_a_slice_comes_with_the_queries_that_it_can_answer(run: Callable[..., Collection]) -> None:
    folder = run("beir", "pets").path
    assert [q.id for q in queries_within(folder, 0)] == ["q1", "q2"]
    # q2 has d2 judged, but as not relevant.
    assert [q.id for q in queries_within(folder, 2)] == ["q1"]
    assert [p.id for p in read_passages(folder, 2)] == ["d1", "d2"]
    assert [q.id for q in read_queries(folder, 1)] == ["q1"]


@pytest.mark.usefixtures("beir")
def test_asking_for_more_passages_than_there_are_is_an_error(
    run: Callable[..., Collection],
) -> None:
    with pytest.raises(CollectionError, match="has 3 passages; the study asks for 4"):
        read_passages(run("beir", "pets").path, 4)


def test_without_judgements_every_query_counts(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.tsv").unlink()
    found = run("beir", "pets")
    assert found.judgements == 0
    assert [q.id for q in queries_within(found.path, 1)] == ["q1", "q2"]


@pytest.mark.usefixtures("beir")
def test_progress_names_what_is_read(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    prepare(
        CollectionSpec("beir", "pets"),
        base=tmp_path,
        home=tmp_path / "home",
        progress=lambda what, count: seen.append((what, count)),
    )
    assert seen == [("passages", 3), ("queries", 2), ("judgements", 3)]


def test_the_split_chooses_the_judgements(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.tsv").unlink()
    (beir / "qrels").mkdir()
    (beir / "qrels" / "train.tsv").write_text("q1\td1\t1\nq1\td2\t1\n")
    assert run("beir", "pets").judgements == 2
    (beir / "qrels" / "dev.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(CollectionError, match=r"no test.tsv\n.*'dev', 'train'"):
        run("beir", "pets")
    assert run("beir", "pets", split="dev").judgements == 1
    (beir / "qrels" / "test.tsv").write_text("q2\t0\t3\t1\n")
    assert read_judgements(run("beir", "pets").path) == [Judgement("q2", "3", 1)]


def test_judgements_of_what_is_not_there_are_counted(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.tsv").write_text("q1\td1\t1\nq1\tnowhere\t1\nnobody\td1\t1\n")
    found = run("beir", "pets")
    assert read_judgements(found.path) == [Judgement("q1", "d1", 1)]
    assert json.loads((found.path / "source.json").read_text())["unknown_judgements"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", "", "the collection is empty"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id"\n', r"corpus.jsonl, line 2: not JSON"),
        ("corpus.jsonl", '["a", "x"]\n', r"corpus.jsonl, line 1: not a JSON object"),
        ("corpus.jsonl", '{"text": "x"}\n', r"corpus.jsonl, line 1: no _id"),
        ("corpus.jsonl", '{"_id": "", "text": "x"}\n', r"corpus.jsonl, line 1: no _id"),
        ("corpus.jsonl", '\n{"_id": "a"}\n', r"corpus.jsonl, line 2: no text"),
        ("corpus.jsonl", '{"_id": "a", "text": null}\n', r"corpus.jsonl, line 1: no text"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": ["x"]}\n',
            r"corpus.jsonl, line 1: the text is \['x'\], which is no text",
        ),
        ("corpus.jsonl", '{"_id": "a", "text": "x", "title": true}\n', r"corpus.jsonl, line 1: the title is True"),
        ("corpus.jsonl", '{"_id": "a", "text": "\\ud800"}\n', r"line 1: .* surrogate"),
        ("corpus.jsonl", '{"_id": "a\\tb", "text": "x"}\n', r"line 1: 'a\\tb' cannot be an id"),
        ("queries.jsonl", '{"_id": "q"}\n', r"queries.jsonl, line 1: no text"),
        ("qrels.tsv", "a\tb\tc\nq1\td1\t1\n", r"qrels.tsv, line 1: not a judgement: the grade is 'c'"),
        ("qrels.tsv", "qid\tpid\trel\nq1\td1\tmuch\n", r"qrels.tsv, line 2: not a judgement"),
        ("qrels.tsv", "q1\td1\t0.5\nq1\td2\t1\n", r"qrels.tsv, line 1: not a judgement: the grade is '0.5'"),
        ("qrels.tsv", "q1\td1\t1\nq1 d1 1\n", r"qrels.tsv, line 2: not a judgement"),
        ("qrels.tsv", "q1\td1\n", r"qrels.tsv, line 1: not a judgement"),
        ("qrels.tsv", "q1 0 d1 2.9\n", r"qrels.tsv, line 1: .* the grade is '2.9'"),
        ("qrels.tsv", "q1\td1\t\n", r"qrels.tsv, line 1: .* the grade is ''"),
        ("qrels.tsv", "q1\td1\t1\nq2\td2\t1\nq1\td1\t0\n", r"judged 1 and 0: .*qrels.tsv, line 1 and .*, line 3"),
        ("qrels.tsv", "q1\tnowhere\t1\nq1\tnowhere\t0\nq1\td1\t1\n", r"judged 1 and 0: .*, line 1 and .*, line 2"),
        ("qrels.tsv", "q9\td1\t1\nq1\td9\t1\n", "none of the 2 judgements names what exists"),
    ],
)
def test_bad_files_are_named_and_leave_nothing(
    beir: Path,
    tmp_path: Path,
    run: Callable[..., Collection],
    name: str,
    content: str,
    message: str,
) -> None:
    (beir / name).write_text(content)
    with pytest.raises(CollectionError, match=message) as caught:
        run("beir", "pets")
    assert caught.value.mend
    assert left_over(tmp_path / "home") == []


def test_two_passages_with_one_id_name_both_lines(beir: Path, run: Callable[..., Collection]) -> None:
    jsonl(beir / "corpus.jsonl", [*CORPUS, {"_id": "d2", "text": "More dogs."}])
    with pytest.raises(CollectionError, match=r"'d2': .*corpus.jsonl, line 2 and .*, line 4"):
        run("beir", "pets")


def test_two_queries_with_one_id_are_refused(beir: Path, run: Callable[..., Collection]) -> None:
    jsonl(beir / "queries.jsonl", [QUERIES[0], QUERIES[0]])
    with pytest.raises(CollectionError, match="two queries have the id 'q1'"):
        run("beir", "pets")


@pytest.mark.usefixtures("beir")
def test_ids_that_share_a_short_hash_are_not_taken_for_one(
    run: Callable[..., Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportlib.collections.folder._short", lambda _: 0)
    assert run("beir", "pets").passages == 3


@pytest.mark.parametrize("data", [b"\xff\xfe", b'{"_id": "a", "text": "caf\xe9"}\n'])
def test_other_encodings_are_refused(beir: Path, run: Callable[..., Collection], data: bytes) -> None:
    (beir / "corpus.jsonl").write_bytes(data)
    with pytest.raises(CollectionError, match=r"corpus.jsonl, line 1: not UTF-8"):
        run("beir", "pets")


def test_a_cut_off_gzip_file_is_refused(beir: Path, run: Callable[..., Collection]) -> None:
    data = gzip.compress((beir / "corpus.jsonl").read_bytes())
    (beir / "corpus.jsonl").unlink()
    for broken in (data[:-12], data[:20] + b"\xff" * 20):
        (beir / "corpus.jsonl.gz").write_bytes(broken)
        with pytest.raises(CollectionError, match=r"corpus.jsonl.gz cannot be read"):
            run("beir", "pets")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (CollectionSpec("beir", "nowhere"), "there is no folder"),
        (CollectionSpec("beir", "."), "has no corpus.jsonl"),
        (CollectionSpec("beir"), "without a path"),
        (CollectionSpec("tsv", "nowhere.tsv"), "there is no file"),
        (CollectionSpec("tsv"), "without a path"),
        (CollectionSpec("huggingface"), "without a name"),
        (CollectionSpec("parquet", "x"), "there is no collection source 'parquet'"),
    ],
)
def test_sources_that_are_not_there(tmp_path: Path, spec: CollectionSpec, message: str) -> None:
    with pytest.raises(CollectionError, match=message) as caught:
        prepare(spec, base=tmp_path, home=tmp_path / "home")
    assert caught.value.mend


def test_a_tsv_is_read_as_colbert_reads_it(tmp_path: Path, run: Callable[..., Collection]) -> None:
    (tmp_path / "c.tsv").write_text("0\tCats sleep.\t\n1\tDogs bark.\tOn dogs\n")
    (tmp_path / "queries.tsv").write_text("7\twho barks?\n")
    (tmp_path / "qrels.tsv").write_text("7\t0\t1\t1\n")
    found = run("tsv", "c.tsv")
    assert [p.text for p in read_passages(found.path)] == ["Cats sleep.", "On dogs | Dogs bark."]
    assert read_queries(found.path) == [Query("7", "who barks?")]
    assert read_judgements(found.path) == [Judgement("7", "1", 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\tCats.\n2\tDogs.\n", r"c.tsv, line 2: the pid is '2', not 1"),
        ("id\ttext\n0\tCats.\n", r"c.tsv, line 1: the pid is 'id', not 0"),
        ("0\tCats.\n1\n", r"c.tsv, line 2: no text"),
        ("0\tCats.\n1\t \n", r"c.tsv, line 2: no text"),
        ("0\tCats.\n1\tDogs\tbark.\n", r"c.tsv, line 2: 3 columns, .* a tab inside a passage"),
        ("0\tCats.\tOn cats\n1\tDogs.\n", r"c.tsv, line 2: 2 columns, .* a tab inside a passage"),
        ("0\tCats\tsleep\ta lot.\n", r"c.tsv, line 1: 4 columns, .* a tab inside a passage"),
        ("\n", "the collection is empty"),
    ],
)
def test_bad_tsv(tmp_path: Path, run: Callable[..., Collection], content: str, message: str) -> None:
    (tmp_path / "c.tsv").write_text(content)
    with pytest.raises(CollectionError, match=message):
        run("tsv", "c.tsv")


@pytest.mark.parametrize("header", ["qid\tquery", "query-id\ttext", "ID\tText", "_id\tquery"])
def test_a_header_of_queries_is_no_query(tmp_path: Path, run: Callable[..., Collection], header: str) -> None:
    (tmp_path / "c.tsv").write_text("0\tCats sleep.\n")
    (tmp_path / "queries.tsv").write_text(f"{header}\n7\twho sleeps?\n")
    assert read_queries(run("tsv", "c.tsv").path) == [Query("7", "who sleeps?")]


def test_a_first_query_that_looks_like_a_header_in_part_stays(tmp_path: Path, run: Callable[..., Collection]) -> None:
    (tmp_path / "c.tsv").write_text("0\tCats sleep.\n")
    (tmp_path / "queries.tsv").write_text("query\twhat is a query?\n8\ttext\n")
    assert [q.id for q in read_queries(run("tsv", "c.tsv").path)] == ["query", "8"]


def test_a_tab_inside_a_query_drops_nothing(tmp_path: Path, run: Callable[..., Collection]) -> None:
    (tmp_path / "c.tsv").write_text("0\tCats sleep.\n")
    (tmp_path / "queries.tsv").write_text("7\twho\tsleeps?\n")
    with pytest.raises(CollectionError, match=r"queries.tsv, line 1: 3 columns"):
        run("tsv", "c.tsv")


def test_titles_can_be_left_out(beir: Path, tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("0\tDogs bark.\tOn dogs\n")
    for source, path, first in (("beir", beir, "They sleep a lot."), ("tsv", tmp_path / "c.tsv", "Dogs bark.")):
        spec = CollectionSpec(source, str(path), titles=False)
        found = prepare(spec, base=tmp_path, home=tmp_path / "home")
        assert read_passages(found.path)[0].text == first
        assert found.source.endswith(", without titles")


# -- judgements --------------------------------------------------------------------------------------


HEADERS = ["query-id\tcorpus-id\tscore", "qid\tpid\tgrade", "Query_ID\tdoc id\tRelevance", "#qid\titer\tdocno\trel"]


@pytest.mark.parametrize("header", HEADERS)
def test_only_names_that_are_known_are_a_header(beir: Path, run: Callable[..., Collection], header: str) -> None:
    (beir / "qrels.tsv").write_text(f"{header}\nq1\td1\t1\n")
    assert read_judgements(run("beir", "pets").path) == [Judgement("q1", "d1", 1)]


@pytest.mark.parametrize("ending", ["tsv", "txt", "trec", "txt.gz"])
def test_judgements_as_trec_writes_them(beir: Path, run: Callable[..., Collection], ending: str) -> None:
    (beir / "qrels.tsv").unlink()
    data = b"\xef\xbb\xbfq1 0 d1  2\nq2 Q0 3 1\nq2\t0\td2\t0\n"
    (beir / f"qrels.{ending}").write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    assert read_judgements(run("beir", "pets").path) == [
        Judgement("q1", "d1", 2),
        Judgement("q2", "3", 1),
        Judgement("q2", "d2", 0),
    ]


def test_two_files_of_judgements_are_not_chosen_between(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.txt").write_text("q1 0 d1 1\n")
    with pytest.raises(CollectionError, match=r"qrels.tsv and .*qrels.txt"):
        run("beir", "pets")


@pytest.mark.usefixtures("beir")
def test_a_split_of_judgements_that_have_none_is_refused(run: Callable[..., Collection]) -> None:
    with pytest.raises(CollectionError, match=r"qrels.tsv has no splits"):
        run("beir", "pets", split="dev")


def test_what_is_left_out_of_the_judgements_is_told(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.tsv").write_text("q1\td1\t1\nq1\td1\t1\nq1\tnowhere\t1\nnobody\td1\t1\nnobody\tnowhere\t1\n")
    found = run("beir", "pets")
    assert read_judgements(found.path) == [Judgement("q1", "d1", 1)]
    assert found.notes == (
        (
            "3 of 5 judgements were left out (2 with an unknown query and 1 with an unknown passage); "
            "1 of 5 judgements repeat another and count once."
        ),
        "1 of 2 queries have a relevant passage: only these are searched for.",
    )


@pytest.mark.usefixtures("beir")
def test_nothing_is_told_where_all_counts_as_it_was_given(run: Callable[..., Collection]) -> None:
    assert run("beir", "pets").notes == ()


def test_grades_of_zero_and_below_leave_nothing_to_search(beir: Path, run: Callable[..., Collection]) -> None:
    (beir / "qrels.tsv").write_text("q1\td1\t0\nq2\td2\t-1\n")
    found = run("beir", "pets")
    (note,) = found.notes
    assert note == (
        "None of the 2 judgements has a grade above 0, so no query has a relevant passage: nothing is searched and "
        "nothing scored."
    )
    assert queries_within(found.path, 0) == queries_within(found.path, 3) == []


def test_other_judgements_have_another_hash_and_the_same_passages(beir: Path, run: Callable[..., Collection]) -> None:
    first = run("beir", "pets")
    (beir / "qrels.tsv").write_text("\n".join([*QRELS, "q1\tnowhere\t1"]) + "\n")
    told = run("beir", "pets")
    (beir / "qrels.tsv").write_text("\n".join(QRELS).replace("d1\t2", "d1\t1") + "\n")
    graded = run("beir", "pets")
    assert first.sha256 == told.sha256 == graded.sha256
    assert len({first.judged_sha256, told.judged_sha256, graded.judged_sha256}) == 3


# -- public folders as they are downloaded -----------------------------------------------------------


def test_passages_without_a_word_are_taken_and_counted(beir: Path, run: Callable[..., Collection]) -> None:
    jsonl(beir / "corpus.jsonl", [*CORPUS, {"_id": "d4", "title": "", "text": ""}, {"_id": "d5", "text": " \n"}])
    found = run("beir", "pets")
    assert [p.text for p in read_passages(found.path)[3:]] == ["", ""]
    assert found.notes == ("2 of 5 passages have no text: they are kept as they are.",)


def test_numbers_are_taken_as_they_are_written(beir: Path, run: Callable[..., Collection]) -> None:
    lines = ['{"_id": "d1", "title": 1984, "text": "A novel."}', '{"_id": 2, "title": 1.10, "text": 1e3}']
    (beir / "corpus.jsonl").write_text("\n".join(lines))
    (beir / "qrels.tsv").write_text("q1\td1\t1\n")
    assert read_passages(run("beir", "pets").path) == [Passage("d1", "1984 A novel."), Passage("2", "1.10 1e3")]


def test_a_query_that_is_a_passage_is_told(beir: Path, run: Callable[..., Collection]) -> None:
    jsonl(beir / "queries.jsonl", [*QUERIES, {"_id": "d1", "text": "They sleep a lot."}, {"_id": "3", "text": "What?"}])
    (beir / "qrels.tsv").write_text("\n".join([*QRELS, "d1\td2\t1", "3\td1\t1"]) + "\n")
    (note,) = run("beir", "pets").notes
    assert note == (
        "2 of 4 queries are a passage too (same id), which search may rank first and score: "
        "ignore_identical_ids = true under [search] leaves it out."
    )


def test_an_id_that_is_only_a_position_is_no_sign(tmp_path: Path, run: Callable[..., Collection]) -> None:
    (tmp_path / "c.tsv").write_text("0\tCats sleep.\n1\tDogs bark.\n2\tFish swim.\n")
    (tmp_path / "queries.tsv").write_text("0\twho barks?\n1\tDogs bark.\n")
    notes = run("tsv", "c.tsv").notes
    assert notes[-1].startswith("1 of 2 queries are a passage too")


def test_reading_a_folder_that_was_never_prepared(tmp_path: Path) -> None:
    for read in (read_passages, read_queries, read_judgements, Collection.open):
        with pytest.raises(CollectionError, match="is not a prepared collection"):
            read(tmp_path)


@pytest.mark.usefixtures("beir")
def test_reading_damaged_lines_names_them(run: Callable[..., Collection]) -> None:
    folder = run("beir", "pets").path
    (folder / "queries.jsonl").write_text('{"id": "q1", "text": "x"}\n{"id": "q2"}\n')
    (folder / "qrels.tsv").write_text("query-id\tpassage-id\tgrade\nq1\td1\n")
    with pytest.raises(CollectionError, match=r"queries.jsonl, line 2 is damaged"):
        read_queries(folder)
    with pytest.raises(CollectionError, match=r"qrels.tsv, line 2 is damaged"):
        read_judgements(folder)
