"""The prepared offline checkpoint, loaded by real colbert-ai in a real environment."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reportlib.checkpoints import Checkpoint, prepare
from reportlib.store import project_home
from reportlib.study import CheckpointSpec

pytestmark = pytest.mark.integration

PREFIX = Path(os.environ.get("REPORTLIB_TEST_PREFIX", project_home() / "envs" / "torch210"))

# Runs inside the environment; what it prints last is JSON.
SCRIPT = """
import json, sys
import safetensors.torch
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint

torch.set_num_threads(2)
folder = sys.argv[1]
# As in the reference posts: settings of the study on top of the checkpoint's own.
config = ColBERTConfig(checkpoint=folder, doc_maxlen=256, nbits=4)
checkpoint = Checkpoint(folder, colbert_config=config, verbose=0)
embeddings = checkpoint.docFromText(["test input", "Hello, world!"], bsize=2, keep_dims=False)[0]
query = checkpoint.queryFromText(["test input"])
loaded = checkpoint.model.state_dict()
stored = safetensors.torch.load_file(folder + "/model.safetensors")
print(json.dumps({
    "shapes": [list(e.shape) for e in embeddings],
    "norms": [round(float(n), 6) for e in embeddings for n in e.norm(dim=1)],
    "query": list(query.shape),
    "dim": checkpoint.colbert_config.dim,
    "similarity": checkpoint.colbert_config.similarity,
    "class": type(checkpoint.bert).__name__,
    "layers": len(checkpoint.bert.encoder.layer),
    "missing": sorted(set(loaded) - set(stored)),
    "unused": sorted(set(stored) - set(loaded)),
    "changed": [k for k in stored if k in loaded and not torch.equal(stored[k], loaded[k])],
    "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    home = tmp_path_factory.mktemp("home")
    return prepare(CheckpointSpec(dim=96), base=home, home=home)


@pytest.fixture(scope="module")
def loaded(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What colbert-ai says of the loaded checkpoint, and what it wrote to stderr."""
    python = PREFIX / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no environment at {PREFIX}: set REPORTLIB_TEST_PREFIX to one with colbert-ai")
    environment = {
        # The prefix first: colbert-ai compiles an extension with its ninja.
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "TORCH_EXTENSIONS_DIR": str(tmp_path_factory.mktemp("extensions")),
        "HOME": str(tmp_path_factory.mktemp("nobody")),
        "HF_HUB_OFFLINE": "1",
        "PYTHONNOUSERSITE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [str(python), "-c", SCRIPT, str(checkpoint.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_weight_is_the_prepared_one(loaded: tuple[dict[str, Any], str]) -> None:
    found, stderr = loaded
    assert (found["missing"], found["unused"], found["changed"]) == ([], [], [])
    assert "newly initialized" not in stderr
    assert "not used when initializing" not in stderr


def test_it_is_the_bert_that_was_described(checkpoint: Checkpoint, loaded: tuple[dict[str, Any], str]) -> None:
    found, _ = loaded
    assert found["class"] == "BertModel"
    assert found["layers"] == checkpoint.layers == 6
    assert found["parameters"] == checkpoint.parameters
    assert found["dim"] == checkpoint.dim == 96
    assert found["similarity"] == "cosine"


def test_it_encodes_passages_and_queries(loaded: tuple[dict[str, Any], str]) -> None:
    found, _ = loaded
    # [CLS], [D], the words and [SEP]; the comma and the exclamation mark are masked.
    assert found["shapes"] == [[5, 96], [5, 96]]
    assert found["norms"] == [1.0] * 10
    assert found["query"] == [1, 32, 96]


def test_loading_leaves_the_folder_as_it_was(checkpoint: Checkpoint, loaded: tuple[dict[str, Any], str]) -> None:
    assert loaded
    checkpoint.verify()
