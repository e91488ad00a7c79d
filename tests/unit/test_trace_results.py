"""What a replay folder holds, read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reportlib.errors import StoreError
from reportlib.trace.__main__ import VERBS, main
from reportlib.trace.format import (
    Case,
    CaseTensor,
    Difference,
    Error,
    Group,
    NotReplayed,
    Replay,
    ReplayedOperation,
    ReplayedPass,
    Truth,
    case_id,
    determining_dtypes,
)

LOCAL = Difference(96, 2, 1.0, 0.125, 3)
FOUND = ReplayedOperation(
    7, None, "aten::gelu", "", "layer.0", "activations.py:78: return self.act(input)", "gelu-float32", LOCAL, None,
    Truth(Error(0.5, 0.25), Error(0.125, 0.0625)), None,
)  # fmt: skip
COPIED = replace(FOUND, position=9, position_b=8, local=None, accumulated=LOCAL, truth=None, why_no_truth="a reason")
PASS = ReplayedPass(
    slug="text0", description="a", kind="forward", same_output=False, undisturbed_a=True, undisturbed_b=True,
    replayed=10, differ=1, not_replayed=(NotReplayed("aten::empty", "hands out memory", 2),), window_bytes=64,
    sent_bytes=1000, seconds=2.0, seconds_plain=0.5, peak_bytes=200, peak_bytes_plain=100, operations=(FOUND, COPIED),
)  # fmt: skip
GROUP = Group("gelu-float32", "aten::gelu", "", ("float32",), 6, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Replay(tmp_path, {"arm": {"name": "a"}}, {"arm": {"name": "b"}}, {"text0": PASS}, {GROUP.id: GROUP}).write()
    return tmp_path


def test_a_replay_is_read_as_it_was_written(folder):
    found = Replay.open(folder)
    assert found.passes == {"text0": PASS}
    assert found.groups == {"gelu-float32": GROUP}
    assert (found.a["arm"]["name"], found.b["arm"]["name"]) == ("a", "b")


def test_a_folder_without_a_replay_a_damaged_one_and_another_schema_are_refused(folder, tmp_path):
    file = folder / "replay.json"
    content = json.loads(file.read_text())
    for damaged in ("{", "[]", json.dumps({**content, "passes": [{}]}), json.dumps({**content, "groups": [{"id": 1}]})):
        file.write_text(damaged)
        with pytest.raises(StoreError, match="damaged"):
            Replay.open(folder)
    file.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        Replay.open(folder)
    with pytest.raises(StoreError, match="holds no replay"):
        Replay.open(tmp_path / "nothing")


def test_json_has_no_number_that_json_does_not_know(tmp_path):
    odd = replace(PASS, seconds=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        Replay(tmp_path, {}, {}, {"text0": odd}, {}).write()


@pytest.mark.parametrize(
    ("name", "overload", "dtypes", "expected"),
    [
        ("aten::gelu", "", ["float32"], "gelu-float32"),
        ("aten::div", "Tensor", ["bfloat16"], "div-Tensor-bfloat16"),
        ("aten::sort", "", ["int64"], "sort-int64"),
        ("aten::addmm", "", ["float32", "float32", "float32"], "addmm-float32"),
        ("aten::index", "Tensor", ["float16", "int64"], "index-Tensor-float16"),
        ("aten::sub", "Tensor", ["float16", "float32"], "sub-Tensor-float16-float32"),
        ("aten::where", "self", ["bool", "int64"], "where-self-bool"),
        ("aten::zeros", "", [], "zeros"),
        ("faiss::kmeans", "", ["float16"], "faiss-kmeans-float16"),
    ],
)
def test_the_name_of_a_case(name, overload, dtypes, expected):
    assert case_id(name, overload, dtypes) == expected
    assert expected.endswith("-".join(determining_dtypes(dtypes)))


def test_a_case_is_read_as_it_was_written(tmp_path):
    tensor = CaseTensor("float32", (2, 3), (3, 1), "0" * 64)
    case = Case(tmp_path, "gelu-float32", "aten::gelu", "", {"self": {"tensor": 0}}, (tensor,),
                {"a": (tensor,), "b": (replace(tensor, sha256="1" * 64),)}, {"a": {"tensor": 0}, "b": {"tensor": 0}},
                "text0", 7, "layer.0", "line")  # fmt: skip
    case.write()
    assert Case.open(tmp_path) == case
    content = json.loads((tmp_path / "case.json").read_text())
    assert set(content) == {"schema_version", "id", "name", "overload", "arguments", "inputs", "outputs", "result",
                            "pass", "position", "module", "source"}  # fmt: skip
    assert content["inputs"] == [{"dtype": "float32", "shape": [2, 3], "strides": [3, 1], "sha256": "0" * 64}]
    for damaged in ("{", "[]", json.dumps({**content, "inputs": [{}]}), json.dumps({"schema_version": 1})):
        (tmp_path / "case.json").write_text(damaged)
        with pytest.raises(StoreError, match="damaged"):
            Case.open(tmp_path)
    (tmp_path / "case.json").write_text(json.dumps({**content, "schema_version": 7}))
    with pytest.raises(StoreError, match="has schema 7"):
        Case.open(tmp_path)
    with pytest.raises(StoreError, match="holds no case"):
        Case.open(tmp_path / "nothing")


def test_the_host_reads_replays_and_cases_without_torch():
    check = (
        "import sys; import reportlib.trace.format, reportlib.trace.stream, reportlib.trace.switches,"
        " reportlib.trace.__main__; print({'torch', 'colbert'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_takes_without_torch(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert "usage: python -m reportlib.trace" in capsys.readouterr().out
    assert "torch" not in sys.modules


def test_a_verb_is_needed_and_must_be_known(capsys):
    for given in ([], ["sing"]):
        with pytest.raises(SystemExit) as caught:
            main(given)
        assert caught.value.code == 2
    assert "VERB" in capsys.readouterr().err


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    folder.mkdir()
    (folder / "collection.jsonl").write_text(json.dumps({"id": "0", "text": "a passage"}) + "\n")
    return folder


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("record", ["--only", "text9"], "there is no pass 'text9'"),
        ("send", ["--only", "index"], "there is no pass 'index'"),
        ("send", ["--passages", "2"], "passages"),
        ("replay", ["--index", "nowhere"], "holds no capture"),
    ],
)
def test_what_cannot_be_used_is_said_before_torch_is_imported(verb, options, said, collection, tmp_path):
    output = [] if verb == "send" else ["--output", str(tmp_path / "out")]
    given = ["--checkpoint", "c", "--collection", str(collection), "--passages", "1", *output, *options]
    command = [sys.executable, "-m", "reportlib.trace", verb, *given]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "No module named 'torch'" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["collection"]
