"""What goes wrong says so before any long work, and loses nothing: the capture notebook, run by papermill."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reportlib.collections.reading import read_passages
from reportlib.environments import load_record, manage
from reportlib.errors import EnvironmentCreationError
from reportlib.kmeans import counter
from reportlib.store import Capture, project_home

pytestmark = pytest.mark.integration


def refuse(run, tmp_path: Path, *options: str, kernel: str = "torch210", **extra: str) -> str:
    """Run the capture notebook, which must fail, and return what it says."""
    output = tmp_path / "out"
    done = run(
        "papermill", "notebooks/capture.ipynb", str(tmp_path / "x.ipynb"), "-k", kernel,
        "-p", "environment", "torch210", "-p", "passages", "8", "-p", "output", str(output), *options,
        check=False, **extra,
    )  # fmt: skip
    assert done.returncode != 0
    assert not output.exists()
    assert not list(tmp_path.glob("*.partial"))
    return done.stdout + done.stderr


def test_an_unknown_parameter(run, tmp_path):
    said = refuse(run, tmp_path, "-p", "passagse", "8")
    assert "no parameter 'passagse'" in said
    assert "did you mean 'passages'?" in said


def test_an_unknown_kernel(run, tmp_path):
    assert "torch999" in refuse(run, tmp_path, kernel="torch999")


def test_no_gpu(run, tmp_path):
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    said = refuse(run, tmp_path, "-p", "device", "cuda")
    assert "DeviceError" in said


def test_no_compiler(run, tmp_path):
    said = refuse(run, tmp_path, CXX="no-such-compiler")
    assert "CompilerError" in said
    assert "apt-get install g++" in said


def test_more_passages_than_there_are(run, tmp_path):
    said = refuse(run, tmp_path, "-p", "passages", "1000000")
    assert "CollectionError" in said


def test_a_dim_that_does_not_fit_nbits(run, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(project_home() / "inputs" / "checkpoint", folder, symlinks=False)
    config = json.loads((folder / "artifact.metadata").read_text())
    (folder / "artifact.metadata").write_text(json.dumps({**config, "dim": 40}))
    said = refuse(run, tmp_path, "-p", "checkpoint", str(folder))
    assert "multiple of 32" in said


def test_a_capture_that_is_there_is_kept(run, tmp_path):
    output = tmp_path / "there"
    output.mkdir()
    (output / "precious").touch()
    said = refuse(run, tmp_path, "-p", "output", str(output))
    assert "already" in said
    assert (output / "precious").exists()


@pytest.mark.parametrize("precision", ["float32", "autocast"])
@pytest.mark.parametrize("passages", ["1", "3"])
def test_too_few_passages_for_kmeans(run, tmp_path, precision, passages):
    """A text of ten words, three times: known before BERT runs, and so within seconds."""
    folder = tmp_path / "collection"
    shutil.copytree(project_home() / "inputs" / "collection", folder)
    text = '{"id": "1", "text": "These are a few plain words, ten of them in all."}\n'
    (folder / "collection.jsonl").write_text(text * 3)
    said = refuse(
        run, tmp_path, "-p", "collection", str(folder), "-p", "passages", passages, "-p", "precision", precision
    )
    assert f"{passages} passage" in said
    assert f"{14 * int(passages)} token embeddings" in said
    assert "at least 134 token embeddings" in said
    assert "BERT's layer outputs" not in said


def test_the_host_counts_tokens_as_the_environment_does(capture):
    home = project_home()
    captured = capture("torch210")
    count = counter(home / "inputs" / "checkpoint", 256)
    texts = [passage.text for passage in read_passages(home / "inputs" / "collection", 16)]
    assert [count(text) for text in texts] == captured.value("doclens")


@pytest.mark.parametrize(("passages", "tokens"), [(1, 134), (25, 256), (3, 269)])
def test_the_fewest_embeddings_that_are_enough(run, tmp_path, passages, tokens):
    folder = tmp_path / "collection"
    shutil.copytree(project_home() / "inputs" / "collection", folder)
    lengths = [tokens // passages + (number < tokens % passages) for number in range(passages)]
    words = ("time", "person", "year", "way", "day", "thing", "man", "world", "life", "hand", "part", "child", "eye")
    texts = [
        " ".join(words[(7 * n + i * i) % len(words)] for i in range(length - 3)) for n, length in enumerate(lengths)
    ]
    lines = (json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    (folder / "collection.jsonl").write_text("".join(lines))
    options = {
        "environment": "torch210",
        "passages": "0",
        "k": "0",
        "collection": str(folder),
        "output": str(tmp_path / "o"),
    }
    given = (part for key, value in options.items() for part in ("-p", key, value))
    run("papermill", "notebooks/capture.ipynb", str(tmp_path / "x.ipynb"), "-k", "torch210", *given)
    assert sum(Capture.open(tmp_path / "o").value("doclens")) == tokens


def test_a_transformers_that_colbert_ai_cannot_load_a_checkpoint_with_is_said_once_it_is_installed(home, monkeypatch):
    """What transformers 5 does to colbert-ai 0.2.22: an attribute that its model class lacks."""
    record = load_record("torch210", home)
    spoiled = (
        "import sys, runpy, transformers\n"
        "def lacks(*_, **__): raise AttributeError(\"'HF_ColBERT' object has no attribute 'all_tied_weights_keys'\")\n"
        "transformers.BertModel.save_pretrained = lacks\n"
        "sys.argv = ['preflight', '--compile']\n"
        "runpy.run_module('reportlib.capture.preflight', run_name='__main__')\n"
    )
    run = subprocess.run

    def spoil(command, **options):
        assert command[1:] == ["-m", "reportlib.capture.preflight", "--compile"]
        return run([command[0], "-c", spoiled], **options)

    monkeypatch.setattr(manage.subprocess, "run", spoil)
    monkeypatch.setattr(manage.shutil, "rmtree", lambda *_, **__: None)  # the extensions are used by other tests
    with pytest.raises(EnvironmentCreationError) as refused:
        manage.compile_extensions(replace(record, extensions=False), home, 1, lambda _: None)
    assert "torch210: colbert-ai 0.2.22 cannot encode with transformers 4.38.2 and torch 2.1.0" in refused.value.what
    assert "all_tied_weights_keys" in refused.value.what
