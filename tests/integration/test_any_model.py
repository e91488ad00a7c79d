"""Any module of torch: its root operations between two environments, with nothing of ColBERT."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reportlib.environments import by_prefix, load_record, process_environment
from reportlib.errors import EnvironmentCreationError

pytestmark = pytest.mark.integration
MODULES = Path(__file__).parents[2] / "docs" / "how-to" / "modules"


@pytest.fixture(scope="module")
def roots(run, tmp_path_factory):
    """Return what `reportlib roots A B --model FILE --json` prints."""

    def look(file: Path, *options: str, a: str = "torch201", b: str = "torch210") -> dict:
        output = tmp_path_factory.mktemp("roots") / "found"
        command = ["reportlib", "roots", a, b, "--model", str(file), "--output", str(output), "--json", *options]
        return json.loads(run(*command).stdout)

    return look


def names(found: dict) -> set[str]:
    return {cause["name"] for cause in found["causes"]}


def test_a_convolutional_net_from_its_file_to_mechanisms_and_reproductions(roots):
    found = roots(MODULES / "convolutions.py")
    if found["a"]["torch"]["cpu_capability"] != found["b"]["torch"]["cpu_capability"]:
        assert found["verdict"] == "root"
        assert {"aten::gelu", "aten::_softmax"} <= names(found), "as in BERT, where these versions take other kernels"
    for cause in found["causes"]:
        assert cause["first"]["module"] in {"2", "10"} | {str(layer) for layer in range(11)}
        assert cause["truth"] is not None
        assert cause["reproduction"]["ran"] == {"a": "a", "b": "b"}


def test_a_decoder_names_its_own_lines_and_the_attention_that_was_replaced(roots):
    found = roots(MODULES / "decoder.py")
    (only,) = found["passes"]
    assert only["description"] == "Decoder of decoder.py"
    attention = [entry for entry in only["unmatched"] if entry["name"].startswith("aten::_scaled_dot_product")]
    assert {entry["side"] for entry in attention} == {"B"}, "2.0.1 computes it in single steps"
    for cause in found["causes"]:
        assert "decoder.py:" in cause["first"]["source"]


def test_autocast(roots):
    found = roots(MODULES / "convolutions.py", "--precision", "autocast", a="torch210")
    assert found["verdict"] == "identical"
    assert found["precision"] == "autocast"


PLANTED = """
import torch
class Planted(torch.nn.Module):
    def forward(self, *, x, scale):
        return {"y": (x * x if torch.__version__ < "2.1" else x.square()) * scale, "kept": (x > 0,)}
def model():
    return Planted(), {"x": torch.linspace(-1, 1, 64).view(8, 8), "scale": 3.0}
"""


def test_a_planted_replacement_is_named(roots, tmp_path):
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    (only,) = roots(file)["passes"]
    assert {(entry["side"], entry["name"]) for entry in only["unmatched"]} == {("A", "aten::mul"), ("B", "aten::pow")}


def test_a_virtual_environment_of_the_users_is_named_by_its_path(roots, home, tmp_path):
    """It has what torch210 has, and neither a file nor a name here."""
    prefix = tmp_path / "nightly" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    with pytest.raises(EnvironmentCreationError, match="lacks blake3, numpy, safetensors, torch"):
        by_prefix(prefix, home)
    (site,) = Path(load_record("torch210", home).prefix).glob("lib/python*/site-packages")
    (own,) = prefix.glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{site}\n")
    try:
        found = roots(MODULES / "convolutions.py", a=str(prefix), b="torch210")
    finally:
        (home / "envs" / "nightly.json").unlink()
    assert found["verdict"] == "identical"
    assert found["a"]["arm"]["environment"] == "nightly"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no function model"),
        ("def model(): return 1 / 0", "fails: ZeroDivisionError: division by zero"),
        ("import torch\ndef model(): return torch.nn.Linear(2, 2)", "returns a Linear"),
        ("import torch\ndef model(): return torch.ones(1), torch.ones(1)", "returns a tuple of Tensor, Tensor"),
        ("import torch\ndef model(): return torch.nn.Linear(2, 2), (1, 2)", "no tensor as its input"),
        ("import torch\ndef model(): return torch.nn.Linear(2, 2), torch.ones(3)", "shapes cannot be multiplied"),
    ],
)
def test_a_file_that_gives_no_module_is_refused(home, tmp_path, text, says):
    file = tmp_path / "bad.py"
    file.write_text(text)
    record = load_record("torch210", home)
    command = [str(record.python_program), "-m", "reportlib.trace", "record", "--model", str(file)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "trace")],
        env=process_environment(record, home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "trace").exists()


def test_other_weights_in_one_environment_are_refused_by_name(run, tmp_path):
    file = tmp_path / "weights.py"
    file.write_text(
        "import torch\ndef model():\n torch.manual_seed(int(torch.__version__[2]))\n"
        " return torch.nn.Linear(2, 2, bias=False), torch.ones(1, 2)"
    )
    done = run("reportlib", "roots", "torch201", "torch210", "--model", str(file), check=False)
    assert done.returncode == 2
    assert "weight is not the same bytes in both" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_or_other_inputs_beside_it(run, tmp_path):
    done = run("reportlib", "roots", "torch201", "torch210", "--model", str(tmp_path / "none.py"), check=False)
    assert (done.returncode, "there is no file" in done.stderr) == (2, True)
    given = ["--model", str(MODULES / "decoder.py"), "--passages", "3"]
    done = run("reportlib", "roots", "torch201", "torch210", *given, check=False)
    assert (done.returncode, "inputs of its own" in done.stderr) == (2, True)
