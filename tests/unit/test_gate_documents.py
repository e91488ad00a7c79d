"""What `docs/compare.md` tells people to type and to expect."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from searches import NAMES, estimate, plain, search, still, upgraded, with_measure

from reportlib.compare import indexes
from reportlib.errors import RequirementError
from reportlib.gate import judge, parse
from reportlib.gate.requirements import CHANGES, KINDS, MEASURES, QUANTITIES, RESEEDING, SETS, STAYS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()


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


def test_every_row_of_the_table_on_search_is_understood():
    table = DOCUMENT.split("| requirement | what is held against the limit |")[1].split("\n\n")[0]
    firsts = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    found = [parse(first)[0] for first, *_ in firsts]
    assert {requirement.claim for requirement in found} == {"drop", *STAYS, *CHANGES, RESEEDING}
    assert all(parse(f"{name} drop < 0.01") for name in firsts[0][1:4])
    assert {word.partition("@")[0] for word in (firsts[0][0].split()[0], *firsts[0][1:4])} == set(MEASURES)


def test_the_lines_in_the_document_are_what_the_gate_says():
    shown = DOCUMENT.split("With made-up numbers:\n\n```\n")[1].split("\n```")[0].splitlines()
    record = with_measure(search(6), "Recall@10", right=0.822, difference=estimate(-0.02, -0.03, -0.011))
    record = with_measure(record, "nDCG@10", left=0.8, right=0.797, difference=estimate(-0.003, -0.007, 0.001))
    text = "recall@10 drop < 0.01, ndcg@10 drop < 0.01, rbo > 0.97"
    judged = judge(parse(text), {"artifacts": [], "search": record})
    assert shown == [f"torch201 and torch210, float32: {plain(judgement.text)}." for judgement in judged]


def test_as_many_queries_as_the_document_says_are_enough_where_none_changed():
    table = DOCUMENT.split("| limit | queries |")[1].split("\n\n")[0]
    rows = re.findall(r"\| (.+) \| ([0-9]+) \|", table)
    assert len(rows) == 3
    for cell, number in rows:
        for limit in re.findall(r"`([^`]+)`", cell):
            text = f"ndcg@10 {limit}" if limit.startswith("drop") else limit
            for queries, expected in ((int(number), "holds"), (int(number) - 1, "inconclusive")):
                same = {"queries": queries, "same_order": queries, "same_set": queries}
                record = upgraded(search(0), **same, measures=[still(name, queries) for name in NAMES])
                (judgement,) = judge(parse(text), {"artifacts": [], "search": record})
                assert judgement.outcome == expected, (text, queries)


def test_every_word_of_the_language_is_in_the_document():
    for word in (*KINDS, *SETS, *QUANTITIES, *STAYS, *CHANGES, RESEEDING):
        assert re.search(rf"[` ]{word}[`@ ]", DOCUMENT), word


def test_the_mistake_in_the_document_is_pointed_at_as_shown():
    shown = re.search(r"Error: (.*?)\n```", DOCUMENT, re.DOTALL)
    assert shown is not None
    with pytest.raises(RequirementError) as caught:
        parse("ivf identical, codes differing > 0.01")
    assert str(caught.value) == shown[1]


@pytest.mark.parametrize(
    ("job", "command", "search"),
    [("search", "reportlib check reports/upgrade/study.toml", True),
     ("indexes", "reportlib compare index-approved index-new", False)],
)  # fmt: skip
def test_the_workflow_is_yaml_whose_gates_would_run(job, command, search):
    block = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    steps = yaml.safe_load(block[1])["jobs"][job]["steps"]
    (line,) = [step["run"] for step in steps if "--require" in step.get("run", "")]
    words = shlex.split(line)
    assert words[: len(command.split())] == command.split()
    requirements = parse(words[words.index("--require") + 1])
    assert len(requirements) == 4
    assert all(bool(r.artifacts) is not search for r in requirements)
    written = {words[words.index(option) + 1] for option in ("--junit", "--sarif")}
    assert written == {"gate.xml", "gate.sarif"}
    uploads = [step["with"] for step in steps if "upload-sarif" in step.get("uses", "")]
    assert [each["sarif_file"] for each in uploads] == ["gate.sarif"]


def test_every_key_of_the_json_is_described():
    schema = json.loads((Path(indexes.__file__).parent / "indexes.schema.json").read_text())
    described = DOCUMENT.split("## `--json`")[1]
    for key in (
        *schema["properties"],
        *schema["$defs"]["index"]["properties"],
        *schema["$defs"]["problem"]["properties"],
    ):
        assert f"`{key}`" in described, key
