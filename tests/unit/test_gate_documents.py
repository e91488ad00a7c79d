"""What `reports/COMPARE.md` tells people to type and to expect."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from reportlib.compare import indexes
from reportlib.errors import RequirementError
from reportlib.gate import parse
from reportlib.gate.vocabulary import KINDS, QUANTITIES, SETS

DOCUMENT = (Path(__file__).parents[2] / "reports" / "COMPARE.md").read_text()


def test_every_requirement_in_the_document_is_understood():
    written = re.findall(r'--require "([^"]+)"', DOCUMENT)
    assert len(written) >= 3
    for text in written:
        assert parse(text)


def test_every_row_of_the_table_is_understood_for_some_artifact():
    table = DOCUMENT.split("| requirement | holds where |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert len(cells) == 7
    for cell in cells:
        first = re.findall(r"`([^`]+)`", cell)[0]
        artifact = "centroids" if re.search("close|max_", first) else "ivf"
        assert parse(first.replace("ARTIFACT", artifact))


def test_every_word_of_the_language_is_in_the_document():
    for word in (*KINDS, *SETS, *QUANTITIES):
        assert f"`{word}`" in DOCUMENT or f" {word} " in DOCUMENT, word


def test_the_mistake_in_the_document_is_pointed_at_as_shown():
    shown = re.search(r"Error: (.*?)\n```", DOCUMENT, re.DOTALL)
    assert shown is not None
    with pytest.raises(RequirementError) as caught:
        parse("ivf identical, codes differing > 0.01")
    assert str(caught.value) == shown[1]


def test_the_workflow_is_yaml_whose_gate_would_run():
    block = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    workflow = yaml.safe_load(block[1])
    steps = workflow["jobs"]["gate"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("reportlib compare")]
    words = shlex.split(command)
    assert words[:4] == ["reportlib", "compare", "index-approved", "index-new"]
    assert len(parse(words[words.index("--require") + 1])) == 4
    written = {words[words.index(option) + 1] for option in ("--junit", "--sarif")}
    assert written == {"gate.xml", "gate.sarif"}


def test_every_key_of_the_json_is_described():
    schema = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())
    described = DOCUMENT.split("## `--json`")[1]
    for key in (
        *schema["properties"],
        *schema["$defs"]["index"]["properties"],
        *schema["$defs"]["problem"]["properties"],
    ):
        assert f"`{key}`" in described, key
