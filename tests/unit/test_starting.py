"""`reportlib init`: what it writes, what it finds out by itself, and what it refuses before it writes anything."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from reportlib.cli import app
from reportlib.environments import further as further_module
from reportlib.environments.spec import Lock, load_spec, parse, read_lock
from reportlib.errors import (
    CheckpointError,
    CollectionError,
    EnvironmentCreationError,
    EnvironmentFileError,
    ReportlibError,
    StudyError,
)
from reportlib.starting import Started, Wish, start
from reportlib.study import (
    VARIABLES,
    CheckpointSpec,
    CollectionSpec,
    ControlSpec,
    LayersSpec,
    OperationsSpec,
    SearchSpec,
    Study,
    SwapSpec,
    load,
)
from reportlib.study_toml import KEYS, study_text, toml
from reportlib.study_toml import parse as parse_study

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the repository's environment files, and a registry that has every version up to 2.6."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "capture.ipynb").touch()
    (tmp_path / "environments").mkdir()
    for file in (*REPOSITORY.glob("environment-torch2[01]*"), *REPOSITORY.glob("environments/*-torch2[01]*")):
        (tmp_path / file.relative_to(REPOSITORY)).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(further_module, "resolve", resolved)
    return tmp_path


def resolved(spec: Any, *, prefer: Lock | None = None, progress: Any = None) -> Lock:
    del prefer, progress
    if spec.pins["torch"] > "2.6.9":
        raise EnvironmentFileError(f"torch has no version {spec.pins['torch']}", "the nearest that exist are 2.6.0")
    pins = {**spec.pins, "nvidia-cuda-runtime-cu12": "12.4.127"}
    return parse("".join(f"{name}=={version} \\\n    --hash=sha256:{'0' * 64}\n" for name, version in pins.items()))


@pytest.fixture
def tsv(project: Path) -> Path:
    folder = project / "corpus"
    folder.mkdir()
    (folder / "collection.tsv").write_text("".join(f"{n}\tpassage {n}\n" for n in range(60)))
    (folder / "queries.tsv").write_text("q\twhat?\n")
    (folder / "qrels.tsv").write_text("q\t3\t1\n")
    return folder / "collection.tsv"


@pytest.mark.parametrize(("passages", "gives"), [(1, "at most 12"), (3, "at most 36")])
def test_too_few_passages_are_refused_before_anything_is_written(project: Path, passages: int, gives: str) -> None:
    (project / "few.tsv").write_text("".join(f"{n}\tpassage {n}\n" for n in range(passages)))
    before = everything()
    with pytest.raises(CollectionError, match=f"{gives} token embeddings.*\n.*at least 134"):
        begin(name="s", collection="few.tsv")
    with pytest.raises(CollectionError, match=gives):
        begin(name="s", collection=str(tsv_of(project, 60)), passages=passages)
    assert everything() - before == {"many.tsv"}


def test_passages_that_may_be_too_few_are_told(project: Path) -> None:
    (project / "few.tsv").write_text("".join(f"{n}\t{'a word ' * 20}\n" for n in range(3)))
    started = begin(name="s", collection="few.tsv")
    assert any("may be too few for k-means" in note for note in started.notes)


def tsv_of(project: Path, passages: int) -> Path:
    file = project / "many.tsv"
    file.write_text("".join(f"{n}\tpassage {n}\n" for n in range(passages)))
    return file


def begin(**wish: Any) -> Started:
    return start(Wish(**wish), Path.cwd())


def everything() -> set[str]:
    return {str(p.relative_to(Path.cwd())) for p in Path.cwd().rglob("*")}


def uncommented(text: str) -> dict[str, Any]:
    """Read a study with the keys that are off put on."""
    return tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))


# -- what is written ---------------------------------------------------------------------------------


def test_asking_for_nothing_gives_a_study_that_can_be_read(project: Path) -> None:
    started = begin()
    found = load(project / "reports" / "torch-2.0.1-vs-2.1.0")
    assert found == started.study
    assert found.environments == ("torch201", "torch210")
    assert found.title == "Comparing colbert-ai artifacts between PyTorch 2.0.1 and 2.1.0"
    assert found.passages == {"float32": 640, "autocast": 48}
    assert found.collection == CollectionSpec()
    assert started.commands == ("reportlib run reports/torch-2.0.1-vs-2.1.0/study.toml",)


@pytest.mark.parametrize("wish", [{}, {"collection": "UKPLab/dapr", "checkpoint": "a/b", "device": "cuda"}])
def test_every_key_that_a_study_can_have_is_in_the_file(wish: dict[str, str]) -> None:
    written = uncommented(begin(**wish).study.path.read_text())
    assert set(written) == set(KEYS[""])
    for table, keys in KEYS.items():
        if table:
            assert set(written[table]) == set(keys), table
    assert set(written["variables"]) == set(VARIABLES)


def test_every_key_is_said_what_it_is() -> None:
    lines = begin().study.path.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[a-z_]+ = ", line):
            assert "  # " in line or lines[number - 1].startswith("# points: "), line
    assert max(map(len, lines)) <= 120


def test_what_is_off_is_the_default() -> None:
    """Else a key would change by being put on."""
    study = begin(collection="UKPLab/dapr", config="ConditionalQA").study
    written = uncommented(study.path.read_text())
    assert CollectionSpec(**written["collection"]) == study.collection
    assert written["checkpoint"] == asdict(CheckpointSpec())
    assert tuple(written["swaps"]["precisions"]) == tuple(study.passages)


def test_a_precision_can_be_removed_in_one_place() -> None:
    path = begin().study.path
    path.write_text(re.sub(r"\[precision.autocast\]\npassages.*\n", "", path.read_text()))
    found = load(path)
    assert found.swaps.precisions == found.operations.precisions == ("float32",)


_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(_TEXT, st.lists(_TEXT, min_size=2, max_size=4, unique=True), _TEXT, st.booleans(), st.integers(0, 99))
def test_any_study_reads_back_as_it_was_written(
    title: str, environments: list[str], path: str, yes: bool, k: int
) -> None:
    study = Study(
        Path("study.toml"),
        title,
        tuple(environments),
        collection=CollectionSpec("tsv", path),
        checkpoint=CheckpointSpec(projection="untrained" if yes else ""),
        passages={"autocast": k},
        layers=LayersSpec((title, path) if title != path else (title,)),
        controls=ControlSpec(repeat=yes),
        swaps=SwapSpec((("embs",),), ("autocast",) if yes else ()),
        operations=OperationsSpec(("autocast",), index=yes),
        search=SearchSpec(k=k, seeds=0),
        variables={"OMP_SCHEDULE": title},
    )
    assert parse_study(study_text(study), study.path) == study


@given(_TEXT)
def test_any_text_can_be_written(text: str) -> None:
    assert tomllib.loads(f"x = {toml(text)}")["x"] == text


# -- collections and checkpoints of one's own --------------------------------------------------------


def test_a_tsv_is_named_from_the_studys_folder(tsv: Path) -> None:
    started = begin(name="mine", collection=str(tsv))
    assert started.study.collection == CollectionSpec("tsv", "../../corpus/collection.tsv")
    assert (started.study.folder / started.study.collection.path).resolve() == tsv.resolve()
    assert started.study.passages == {"float32": 0, "autocast": 48}
    assert started.notes == ()


def test_a_collection_outside_the_project_is_named_in_full(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "collection.tsv"
    path.write_text("".join(f"{n}\tone\n" for n in range(46)))
    found = begin(collection=str(path)).study
    assert found.collection.path == str(path)
    assert found.passages == {"float32": 0, "autocast": 46}, "no more than there are"


def test_missing_queries_and_judgements_are_said(tsv: Path) -> None:
    tsv.with_name("qrels.tsv").unlink()
    assert "compared but not judged" in begin(name="one", collection=str(tsv)).notes[0]
    tsv.with_name("queries.tsv").unlink()
    assert "nothing is searched for" in begin(name="two", collection=str(tsv)).notes[0]


def test_judgements_that_do_not_count_are_told_before_anything_is_written(tsv: Path) -> None:
    tsv.with_name("qrels.tsv").write_text("q\t3\t1\nq\t99\t1\nnobody\t3\t1\nnobody\t99\t1\n")
    (note,) = begin(name="one", collection=str(tsv)).notes
    assert note == "3 of 4 judgements were left out (2 with an unknown query and 1 with an unknown passage)."
    tsv.with_name("qrels.tsv").write_text("q\t3\t0\n")
    assert "nothing is searched and nothing scored" in begin(name="two", collection=str(tsv)).notes[0]
    tsv.with_name("qrels.tsv").write_text("q\t3\t0.5\nq\t4\t1\n")
    before = everything()
    with pytest.raises(CollectionError, match=r"qrels.tsv, line 1: not a judgement: the grade is '0.5'"):
        begin(name="three", collection=str(tsv))
    assert everything() == before


def test_what_is_too_long_to_be_read_through_says_who_does(tsv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportlib.starting.READ_THROUGH", 59)
    assert "`reportlib prepare` does" in begin(collection=str(tsv)).notes[0]


def test_a_copied_data_set_is_looked_at_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", project.parent / f"{project.name}-cache")
    folder = project / "copy"
    folder.mkdir()
    tables = {
        "corpus": [{"_id": "a", "text": "Cats."}],
        "queries": [{"_id": "q", "text": "Who?"}],
        "qrels": [{"query_id": "q", "corpus_id": "a", "relevance": 0.5}],
    }
    readme = ["---", "configs:"]
    for name, rows in tables.items():
        datasets.Dataset.from_list(rows).to_parquet(folder / f"{name}.parquet")
        readme += [f"- config_name: {name}", "  data_files:", "  - split: test", f"    path: {name}.parquet"]
    (folder / "README.md").write_text("\n".join([*readme, "---", ""]))
    with pytest.raises(CollectionError, match=r"copy, qrels, row 0: not a judgement: the grade is 0\.5"):
        begin(collection="copy")


def test_a_beir_folder_is_known_by_its_corpus(project: Path) -> None:
    folder = project / "beir"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"{n}", "text": "x"}) + "\n" for n in range(60)))
    assert begin(collection="beir", split="dev").study.collection == CollectionSpec("beir", "../../beir", split="dev")


def test_the_folder_around_a_tsv_is_answered_with_the_file(tsv: Path) -> None:
    with pytest.raises(CollectionError, match=f"give the file: {re.escape(str(tsv))}"):
        begin(collection=str(tsv.parent))


def test_a_copied_data_set_is_known_by_its_readme(project: Path) -> None:
    (project / "copy").mkdir()
    (project / "copy" / "README.md").touch()
    found = begin(collection="copy", config="ConditionalQA").study.collection
    assert found == CollectionSpec("huggingface", "../../copy", config="ConditionalQA")


def test_an_id_is_a_data_set_of_the_hub() -> None:
    started = begin(collection="UKPLab/dapr", config="ConditionalQA")
    assert started.study.collection == CollectionSpec("huggingface", name="UKPLab/dapr", config="ConditionalQA")
    assert started.study.passages["float32"] == 1000
    assert "first 1,000 passages" in started.notes[0]


def test_a_long_collection_is_not_taken_whole_unless_asked(tsv: Path) -> None:
    tsv.write_text("".join(f"{n}\tpassage {n}\n" for n in range(1500)))
    started = begin(name="one", collection=str(tsv))
    assert started.study.passages == {"float32": 1000, "autocast": 48}
    assert "--passages" in started.notes[0]
    assert begin(name="two", collection=str(tsv), passages=0).study.passages["float32"] == 0
    assert begin(name="three", collection=str(tsv), passages=1500).study.passages["float32"] == 1500


def test_on_a_gpu_half_precision_takes_as_many_passages(tsv: Path) -> None:
    assert begin(collection=str(tsv), device="cuda", passages=50).study.passages == {"float32": 50, "autocast": 50}


# -- environments ------------------------------------------------------------------------------------


def test_a_version_with_an_environment_file_writes_none() -> None:
    started = begin(torch=["2.0.1", "2.1"])
    assert started.study.environments == ("torch201", "torch210")
    assert [path.name for path in started.written] == ["study.toml"]


def test_a_version_without_one_gets_a_file_and_its_lock(project: Path) -> None:
    started = begin(name="mine", torch=["2.1.0", "2.6.0"])
    assert started.study.environments == ("torch210", "torch260")
    names = ["environment-torch260.yml", "environment-torch260.lock.txt", "study.toml"]
    assert [path.name for path in started.written] == names
    assert all((project / "environments" / name).is_file() for name in names[:2])
    assert started.commands == ("reportlib run reports/mine/study.toml",)


def test_without_a_registry_the_lock_is_what_to_make_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Lock:
        raise EnvironmentCreationError("the package registry cannot be reached")

    monkeypatch.setattr(further_module, "resolve", unreachable)
    started = begin(name="mine", torch=["2.1.0", "2.6.0"])
    assert started.commands == ("reportlib env lock torch260 --like torch210", "reportlib run reports/mine/study.toml")
    assert "cannot be reached" in started.notes[0]
    assert not (project / "environments" / "environment-torch260.lock.txt").exists()


def test_a_package_is_varied_in_the_newest_environment_or_the_one_that_is_named(project: Path) -> None:
    made = start(Wish(vary="transformers==4.38.2, 4.57.6"), project)
    assert made.study.environments == ("torch210", "torch210-transformers4576")
    assert made.study.title == "Comparing colbert-ai artifacts between transformers 4.38.2 and 4.57.6"
    assert made.study.path.parent.name == "transformers-4.38.2-vs-4.57.6"
    assert [path.name for path in made.written] == [
        "environment-torch210-transformers4576.yml", "environment-torch210-transformers4576.lock.txt", "study.toml",
    ]  # fmt: skip
    assert load(made.study.path).environments == made.study.environments
    older = start(Wish("older", vary="transformers==4.38.2,4.57.6", environments=["torch201"]), project)
    assert older.study.environments == ("torch201", "torch201-transformers4576")


def test_a_setting_is_varied_in_a_twin_of_the_environment(project: Path) -> None:
    made = start(Wish(vary="threads=1,2"), project)
    assert made.study.environments == ("torch210", "torch210-threads2")
    assert made.study.title == "Comparing colbert-ai artifacts between threads 1 and 2"
    study = load(made.study.path)
    assert [study.threads_in(name) for name in study.environments] == [1, 2]
    own, twin = (load_spec(name, project) for name in study.environments)
    assert (twin.digest, read_lock(twin).pins) == (own.digest, read_lock(own).pins)
    again = start(Wish("again", vary="threads=2,1", environments=["torch210-threads2"]), project)
    assert again.study.environments == ("torch210-threads2", "torch210-threads2-threads1")


def test_a_variable_is_varied_and_a_twin_that_is_there_is_taken(project: Path) -> None:
    made = start(Wish(vary="ATEN_CPU_CAPABILITY=avx2,avx512"), project)
    study = load(made.study.path)
    assert study.environments == ("torch210", "torch210-avx512")
    assert [study.varied(name) for name in study.environments] == [
        {"ATEN_CPU_CAPABILITY": "avx2"}, {"ATEN_CPU_CAPABILITY": "avx512"}
    ]  # fmt: skip
    again = start(Wish("again", vary="ATEN_CPU_CAPABILITY=avx2,avx512"), project)
    assert [path.name for path in again.written] == ["study.toml"]
    twin = project / "environments" / "environment-torch210-avx512.yml"
    twin.write_text(twin.read_text().replace("transformers==4.38.2", "transformers==4.40.1"))
    with pytest.raises(EnvironmentFileError, match="does not hold what torch210 does"):
        start(Wish("third", vary="ATEN_CPU_CAPABILITY=avx2,avx512"), project)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(vary="nbits=2,4"), "is no setting that can be varied"),
        (Wish(vary="OMP_NUM_THREADS=1,4"), "every arm sets it itself"),
        (Wish(vary="threads=1,many"), "is a whole number from 1 on"),
        (Wish(vary="threads=1,0"), "is a whole number from 1 on"),
        (Wish(vary="threads=1"), "names no two versions of a package or values"),
        (Wish(vary="transformers"), "names no two versions"),
        (Wish(vary="transformers==4.38.2"), "names no two versions"),
        (Wish(vary="transformers==4.38.2,4.38.2"), "names no two versions"),
        (Wish(vary="==1,2"), "names no two versions"),
        (Wish(vary="transformers==4.38.2,4.57.6", torch=["2.6.0"]), "goes with one environment"),
        (Wish(vary="transformers==4.38.2,4.57.6", environments=["torch201", "torch210"]), "goes with one environment"),
        (Wish(vary="transformers==4.38.2,4.57.6", environments=["torch999"]), "there is no environment file"),
    ],
)
def test_what_cannot_be_varied_is_refused_and_nothing_is_written(project: Path, wish: Wish, says: str) -> None:
    before = sorted(project.rglob("*"))
    with pytest.raises(ReportlibError, match=says):
        start(wish, project)
    assert sorted(project.rglob("*")) == before


def test_named_environments_come_before_versions() -> None:
    assert begin(environments=["torch210"], torch=["2.0.1", "2.1.0"]).study.environments == ("torch210", "torch201")


def test_versions_name_a_study_only_where_they_tell_its_environments_apart(project: Path) -> None:
    text = (project / "environment-torch210.yml").read_text()
    newer = text.replace("name: torch210", "name: newer").replace("transformers==4.38.2", "transformers==4.40.1")
    (project / "environment-newer.yml").write_text(newer)
    title = begin(environments=["torch210", "newer"]).study.title
    assert title == "Comparing colbert-ai artifacts between torch210 and newer"


# -- what is refused, and that nothing is left ---------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "error", "said"),
    [
        ({"torch": ["2.1.0"]}, StudyError, "at least two environments; this is torch210|2.1.0 alone"),
        ({"torch": ["2.1.0", "2.1"]}, StudyError, "at least two"),
        ({"torch": ["2.1.0", "2.7.0"]}, EnvironmentFileError, "nearest that exist are 2.6.0"),
        ({"torch": ["2.1.0", "new"]}, EnvironmentFileError, "'new' is not a released version"),
        ({"environments": ["torch210", "nowhere"]}, EnvironmentFileError, "no environment file"),
        ({"collection": "nowhere.tsv"}, CollectionError, "there is no collection 'nowhere.tsv'"),
        ({"collection": "notebooks"}, CollectionError, "is not a collection that is known"),
        ({"collection": "empty.tsv"}, CollectionError, "has no passages"),
        ({"collection": "wrong.tsv"}, CollectionError, r"wrong.tsv, line 1: the pid is 'pid'"),
        ({"collection": "short.tsv", "passages": 3}, StudyError, "has 1 passages, and 3 are asked for"),
        ({"checkpoint": "nowhere"}, CheckpointError, "there is no checkpoint 'nowhere'"),
        ({"checkpoint": "notebooks"}, CheckpointError, "config.json"),
        ({"device": "tpu"}, StudyError, "no device 'tpu'"),
        ({"name": "../escape"}, StudyError, "cannot be the name"),
        ({"title": "half of a pair: \ud800"}, StudyError, "UTF-8"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    project: Path, wish: dict[str, Any], error: type[ReportlibError], said: str
) -> None:
    (project / "empty.tsv").touch()
    (project / "short.tsv").write_text("0\tone\n")
    (project / "wrong.tsv").write_text("pid\ttext\n0\tone\n")
    before = everything()
    with pytest.raises(error, match=said):
        begin(**wish)
    assert everything() == before


def test_a_study_that_is_there_is_never_written_over(project: Path) -> None:
    begin(name="mine", title="first")
    before = (project / "reports/mine/study.toml").read_bytes()
    with pytest.raises(StudyError, match=r"(?s)study.toml is there already.*another name"):
        begin(name="mine", title="second", torch=["2.1.0", "2.6.0"])
    assert (project / "reports/mine/study.toml").read_bytes() == before
    assert not (project / "environments" / "environment-torch260.yml").exists()


def test_outside_a_project_it_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(StudyError, match="no folder above"):
        start(Wish(), tmp_path_factory.mktemp("elsewhere"))


# -- the command -------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_ends_with_what_to_type_next(tsv: Path) -> None:
    said = run("mine", "--torch", "2.1.0", "--torch", "2.6.0", "--collection", str(tsv), "--passages", "50")
    assert said.splitlines() == [
        "wrote environments/environment-torch260.yml, with the pins of torch210",
        "wrote environments/environment-torch260.lock.txt",
        "wrote reports/mine/study.toml",
        "next:",
        "  reportlib run reports/mine/study.toml",
    ]


def test_the_command_speaks_json_too(project: Path) -> None:
    found = json.loads(
        run("mine", "--title", "Ours", "--environment", "torch210", "--environment", "torch201", "--json")
    )
    assert found["study"] == str(project / "reports/mine/study.toml")
    assert found["environments"] == ["torch210", "torch201"]
    assert found["next"] == ["reportlib run reports/mine/study.toml"]
    assert load(Path(found["study"])).title == "Ours"


def test_from_a_folder_below_it_is_the_same_project(project: Path, tsv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tsv.parent)
    said = run("mine", "--collection", "collection.tsv")
    assert said.splitlines()[-2:] == ["  cd ..", "  reportlib run reports/mine/study.toml"]
    found = load(project / "reports" / "mine")
    assert found.collection.path == "../../corpus/collection.tsv"


def test_no_field_of_a_record_is_forgotten() -> None:
    """A field that the text leaves out would fall back to its default."""
    study = begin().study
    left_out = {"path", "passages"}
    assert {f.name for f in fields(Study)} - left_out <= set(KEYS[""]) | {"passages"}
    other = replace(study, threads=7, search=SearchSpec(3, 4, 5), colbert=replace(study.colbert, nbits=2, ndocs=77))
    assert parse_study(study_text(other), other.path) == other
