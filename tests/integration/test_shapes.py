"""Encodings of many shapes in a real environment: few of them, and the same twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reportlib.compare.shapes import Shapes, between, read_shapes, require_alike
from reportlib.environments import load_record, process_environment

pytestmark = pytest.mark.integration
#: The verb's own command line, with a few shapes in the place of 165.
FEW = """
from reportlib.trace import __main__ as command
settle = command.PassRequest.settle
def settled(*given, **more):
    request = settle(*given, **more)
    from reportlib.trace import shapes
    shapes.TOKENS, shapes.PASSAGES, shapes.FEW_TOKENS, shapes.FEW_PASSAGES = (4, 16), (1, 4, 8), (4,), (1, 4)
    return request
command.PassRequest.settle = settled
command.main()
"""


@pytest.fixture(scope="module")
def folders(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the verb leaves in torch210, twice, and in torch201, under autocast."""
    root, made = tmp_path_factory.mktemp("shapes"), {}
    for name, environment, precision in (
        ("once", "torch210", "float32"), ("again", "torch210", "float32"), ("half", "torch201", "autocast"),
    ):  # fmt: skip
        record = load_record(environment, home)
        inputs = [part for kind in ("checkpoint", "collection") for part in (f"--{kind}", home / "inputs" / kind)]
        options = ["shapes", *map(str, inputs), "--precision", precision, "--passages", "8", "--output", root / name]
        done = subprocess.run(
            [str(record.python_program), "-c", FEW, *map(str, options)],
            env=process_environment(record, home), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        made[name] = root / name
    return made


def test_the_same_shapes_have_the_same_bytes_again(folders: dict[str, Path]) -> None:
    once, again = (read_shapes(folders[name]) for name in ("once", "again"))
    require_alike(once, again)
    assert not any(between(once["encodings"], again["encodings"]).values())
    assert once["products"] == again["products"]


@pytest.mark.parametrize("name", ["once", "half"])
def test_every_shape_is_there_and_the_rows_foretell_which_differ(folders: dict[str, Path], name: str) -> None:
    content = read_shapes(folders[name])
    found = Shapes.of(content)
    assert len(found.differing) == 6
    assert {place: count for place, count in found.differing.items() if place[1] == 8} == {(4, 8): 0, (16, 8): 0}
    assert {row["rows"] for row in content["products"]["output.dense"]} == {4, 16, 32, 64, 128}
    assert set(found.ablations) >= {"feed-forward", "layer norm", "every linear layer"}


def test_modules_that_were_taken_out_change_the_embeddings(folders: dict[str, Path]) -> None:
    content = read_shapes(folders["once"])
    whole = [cell["rows"] for cell in content["encodings"] if (cell["tokens"], cell["passages"]) == (4, 4)]
    for name, cells in content["ablations"].items():
        assert [cell["rows"] for cell in cells if cell["passages"] == 4] != whole, name
