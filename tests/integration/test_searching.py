"""Searching arms by the real notebook: each version on its own index and the other's, and other seeds for k-means."""

import json
import shutil
from pathlib import Path

import pytest

from reportlib.collections.reading import queries_within, read_judgements, read_passages
from reportlib.environments.record import load_record, process_environment
from reportlib.store import Capture, project_home

pytestmark = pytest.mark.integration

ENVIRONMENTS = ("torch201", "torch210")


@pytest.fixture(scope="module")
def search(run, capture, tmp_path_factory):
    """Search with the real notebook: the capture, or how a refused run ended."""
    folder = tmp_path_factory.mktemp("searches")
    known = {}

    def make(environment: str, *, check: bool = True, **parameters: str):
        name = json.dumps([environment, parameters])
        if name not in known:
            number = folder / f"search-{len(known)}"
            plain = {each: str(capture(each, precision="float32").path) for each in ENVIRONMENTS}
            given = {"environment": environment, "passages": 16, "output": str(number), "indexes": plain, **parameters}
            settings = number.with_suffix(".yaml")
            settings.write_text(json.dumps(given))  # JSON is YAML
            executed = str(number.with_suffix(".ipynb"))
            done = run(
                "papermill", "notebooks/search.ipynb", executed, "-k", environment, "-f", str(settings), check=check
            )
            if done.returncode:
                assert not number.exists()
                assert not number.with_name(number.name + ".partial").exists()
                return done
            known[name] = Capture.open(number)
        return known[name]

    return make


def found(capture: Capture, name: str) -> dict:
    return {query["qid"]: (query["pids"], query["scores"]) for query in capture.value(name)["queries"]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_own_index_searched_in_another_process_gives_the_same_rankings(capture, search, environment):
    """The search's control."""
    own = capture(environment, precision="float32").value("rankings")
    again = search(environment).value(f"rankings/{environment}")
    assert (own["k"], again["k"], again["depth"]) == (10, 10, 20)
    assert len(own["queries"]) > 0
    assert [(q["qid"], q["pids"], q["scores"]) for q in own["queries"]] == [
        (q["qid"], q["pids"][:10], q["scores"][:10]) for q in again["queries"]
    ]


def test_each_version_searches_both_indexes_and_keeps_what_a_report_needs(search):
    collection = project_home() / "inputs" / "collection"
    passages, queries = read_passages(collection, 16), queries_within(collection, 16)
    for environment in ENVIRONMENTS:
        made = search(environment)
        assert made.arm["searching"] is True
        assert sorted(made.arm["searched"]) == sorted(ENVIRONMENTS)
        assert made.arm["searched"][0] == environment
        assert list(made.damaged()) == []
        for name in ENVIRONMENTS:
            ranking = made.value(f"rankings/{name}")["queries"]
            assert [each["qid"] for each in ranking] == [query.id for query in queries]
            for each in ranking:
                assert len(each["pids"]) == len(set(each["pids"])) == len(each["scores"]) > 0
                assert each["scores"] == sorted(each["scores"], reverse=True)
        assert made.tensor("query_embs").array.shape == (len(queries), 32, 96)
        assert made.value("query_texts") == {query.id: query.text for query in queries}
        texts = made.value("passage_texts")
        assert {pid: each["id"] for pid, each in texts.items()} == {pid: passages[int(pid)].id for pid in texts}
        judged = {(j.query, j.passage): j.grade for j in read_judgements(collection)}
        for query, grades in made.value("judgements").items():
            assert grades
            for pid, grade in grades.items():
                assert judged[query, passages[int(pid)].id] == grade


def test_other_seeds_give_other_indexes_and_the_own_index_is_left_alone(capture, search):
    plain = capture("torch201", precision="float32")
    before = {file.name: file.read_bytes() for file in plain.index_folder.iterdir()}
    made = search("torch201", seeds=2)
    assert made.value("seeds") == {"default": 123, "seed-1": 124, "seed-2": 125}
    assert {file.name: file.read_bytes() for file in plain.index_folder.iterdir()} == before
    own, *others = (found(made, f"rankings/{name}") for name in ("torch201", "seed-1", "seed-2"))
    scores = [[ranking[qid][1] for qid in own] for ranking in (own, *others)]
    assert scores[0] != scores[1] != scores[2] != scores[0]
    assert not (made.path / "seed-1").exists()


def test_colbert_ais_own_seed_gives_the_own_index(run, capture, tmp_path):
    """The yardstick's control: only the seed is another, so with the same seed every file has the same bytes."""
    plain = capture("torch201", precision="float32")
    script = f"""
from pathlib import Path
from reportlib.capture import prepare_process
from reportlib.searching import SearchRequest
request = SearchRequest("torch201", passages=16, output={str(tmp_path / "out")!r})
prepare_process(request)
from reportlib.capture.process import Progress
from reportlib.capture.session import Setup
from reportlib.searching.session import index_again
from reportlib.store import Capture
plain = Capture.open(Path({str(plain.path)!r}))
for seed in (123, 124):
    print(index_again(Setup(request), plain, seed, Path({str(tmp_path)!r}, str(seed)), Progress("test")))
"""
    home = project_home()
    record = load_record("torch201", home)
    run(str(record.python_program), "-c", script, **process_environment(record, home))
    names = sorted(file.name for file in plain.index_folder.glob("*.pt"))
    same = {name: (tmp_path / "123" / "index" / name).read_bytes() for name in names}
    other = {name: (tmp_path / "124" / "index" / name).read_bytes() for name in names}
    own = {name: (plain.index_folder / name).read_bytes() for name in names}
    assert same == own
    assert other["centroids.pt"] != own["centroids.pt"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"nbits": 2}, "nbits = 4; this search needs 2"),
        ({"passages": 8}, "passages = 16; this search needs 8"),
        ({"k": 0}, "k must be positive"),
        ({"indexes": {"torch210": "nowhere"}}, "no index of 'torch201' itself"),
        ({"indexes": {"torch201": "nowhere"}}, "nowhere holds no capture"),
        ({"depht": 30}, "did you mean 'depth'"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_search(search, parameters, says):
    done = search("torch201", check=False, **parameters)
    assert says in done.stderr
    assert "searching torch201 for" not in done.stderr


def test_a_collection_without_queries_has_empty_rankings(capture, run, tmp_path):
    """Some collections have none; the arm must still be there, or the study would miss it."""
    collection = tmp_path / "collection"
    shutil.copytree(project_home() / "inputs" / "collection", collection, symlinks=False)
    (collection / "queries.jsonl").write_text("")
    qrels = collection / "qrels.tsv"
    qrels.write_text(qrels.read_text().splitlines()[0] + "\n")
    plain = capture("torch210", precision="float32")
    settings = Path(tmp_path, "p.yaml")
    given = {"environment": "torch210", "passages": 16, "collection": str(collection), "output": str(tmp_path / "out"),
             "indexes": {"torch210": str(plain.path)}}  # fmt: skip
    settings.write_text(json.dumps(given))
    executed = str(tmp_path / "out.ipynb")
    run("papermill", "notebooks/search.ipynb", executed, "-k", "torch210", "-f", str(settings))
    made = Capture.open(tmp_path / "out")
    assert made.value("rankings/torch210") == {"k": 10, "depth": 20, "queries": []}
    assert "query_embs" not in made.artifacts
