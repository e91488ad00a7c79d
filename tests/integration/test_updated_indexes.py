"""Indexes that colbert-ai's own `IndexUpdater` changed, and others that people have, made in a real environment."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportlib.compare.indexes import compare_indexes
from reportlib.indexes import IndexFolder
from reportlib.store import Capture, project_home

pytestmark = pytest.mark.integration

ENVIRONMENT = "torch201"
ADDED, REMOVED = ("A passage that is added later.", "Another one, about sorting integers."), (3, 5)
#: Runs in the environment: changes an index folder in place, with colbert-ai's and torch's own functions.
CHANGE = """
import json, sys, pathlib, torch
from colbert import IndexUpdater, Searcher
from colbert.infra import ColBERTConfig
from colbert.indexing.utils import optimize_ivf
index, change, added, removed = pathlib.Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
ivf, lengths = torch.load(index / "ivf.pid.pt")
total = int(lengths.sum())
if change in ("add", "remove"):
    config = ColBERTConfig.load_from_index(str(index))
    searcher = Searcher(index=index.name, index_root=str(index.parent), checkpoint=config.checkpoint,
                        collection=["a passage"] * 16, config=config)
    updater = IndexUpdater(config, searcher, config.checkpoint)
    if change == "add":
        # What colbert-ai 0.2.22 pads an ivf with, its own updater cannot add to (ColBERT#369).
        updater.curr_ivf = updater.curr_ivf[:total]
        updater.add(added)
    updater.remove(removed)
    updater.persist_to_disk()
elif change == "trim":
    torch.save((ivf[:total], lengths), index / "ivf.pid.pt")
elif change == "renumber":
    centroids, codes = torch.load(index / "centroids.pt"), torch.load(index / "0.codes.pt")
    order = torch.randperm(len(centroids), generator=torch.Generator().manual_seed(1))
    torch.save(torch.empty_like(centroids).index_copy(0, order, centroids), index / "centroids.pt")
    codes = order[codes.long()]
    torch.save(codes.to(torch.int32), index / "0.codes.pt")
    optimize_ivf(codes.sort().indices, torch.bincount(codes, minlength=len(centroids)), str(index))
"""


@pytest.fixture(scope="module")
def original(capture: Callable[..., Capture]) -> Path:
    return capture(ENVIRONMENT).index_folder


@pytest.fixture(scope="module")
def changed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a copy of the original index that a change was made to."""
    known: dict[str, Path] = {}
    variables = json.loads((project_home() / "jupyter" / "kernels" / ENVIRONMENT / "kernel.json").read_text())["env"]

    def make(change: str) -> Path:
        if change not in known:
            known[change] = tmp_path_factory.mktemp(change) / "index"
            shutil.copytree(original, known[change])
            prefix = project_home() / "envs" / ENVIRONMENT / "bin"
            arguments = [str(known[change]), change, json.dumps(ADDED), json.dumps(REMOVED)]
            done = subprocess.run(
                [str(prefix / "python"), "-W", "ignore", "-c", CHANGE, *arguments],
                env={**variables, "PATH": f"{prefix}:/usr/bin:/bin"},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr[-3000:]
        return known[change]

    return make


def record(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(record for record in found["artifacts"] if record["name"] == name)


def counted(index: Path) -> tuple[int, int]:
    """Return how many token embeddings metadata.json counts, and how many there are."""
    folder = IndexFolder.open(index)
    return folder.metadata["num_embeddings"], int(np.concatenate(folder.doclens()).sum())


def test_a_fresh_index_contradicts_nothing_and_has_nothing_to_note(original):
    found = compare_indexes(original, original)
    assert (found["verdict"], found["problems"], found["a"]["notes"]) == ("identical", [], [])


@pytest.mark.parametrize("change", ["add", "remove"])
def test_an_updated_index_is_compared_and_its_metadata_noted(changed, original, change):
    index = changed(change)
    said, real = counted(index)
    assert said != real
    counts = (
        f"metadata.json counts {said:,} token embeddings, the tensors have {real:,}; colbert-ai's IndexUpdater leaves "
        "such a count"
    )
    total = 16 + len(ADDED) * (change == "add")
    removed = f"2 of {total} passages (3 and 5) have no token embeddings; so colbert-ai's IndexUpdater leaves those"
    found = compare_indexes(original, index)
    assert (found["verdict"], found["problems"]) == ("different", [])
    assert (found["a"]["notes"], found["b"]["notes"]) == ([], [counts, f"{removed} it removes"])
    assert found["b"]["passages"] == total
    for name in ("centroids", "avg_residual", "bucket_cutoffs", "bucket_weights"):
        assert record(found, name)["verdict"] == "identical"
    again = compare_indexes(index, index)
    assert (again["verdict"], again["problems"], again["a"]["notes"]) == ("identical", [], found["b"]["notes"])


def test_the_command_says_what_the_updater_left(changed, run):
    index = changed("add")
    done = run("reportlib", "compare", str(index), str(index))
    said, real = counted(index)
    assert f"Note on A: metadata.json counts {said:,} token embeddings, the tensors have {real:,}" in done.stdout
    assert "All 9 artifacts are identical." in done.stdout


def test_an_ivf_from_before_passages_were_added_is_noted(changed, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(changed("add"), index)
    shutil.copy(changed("remove") / "ivf.pid.pt", index / "ivf.pid.pt")
    found = compare_indexes(index, index)
    assert (found["verdict"], found["problems"]) == ("identical", [])
    assert (
        "2 of 18 passages (16 and 17) are in no list of the ivf, so no search reaches them" in found["a"]["notes"][-1]
    )


def test_an_ivf_from_before_passages_were_removed_contradicts_the_others(changed, original, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(changed("remove"), index)
    shutil.copy(original / "ivf.pid.pt", index / "ivf.pid.pt")
    found = compare_indexes(index, index)
    assert found["verdict"] == "inconclusive"
    assert "lists of the ivf are not those that codes and doclens give" in found["problems"][0]["what"]


def test_an_ivf_without_padding_is_the_same_set(changed, original):
    found = compare_indexes(changed("trim"), original)
    ivf = record(found, "ivf")
    (plain,), (padded,) = ivf["a"]["shape"], ivf["b"]["shape"]
    assert plain < padded
    assert (ivf["verdict"], ivf["different"], ivf["elements"]) == ("same set", 0, plain)
    assert f"the padding after the last: 0 zeros in A, {padded - plain} zeros in B." in ivf["text"]
    assert (found["summary"]["identical"], found["problems"]) == (8, [])


def test_renumbered_centroids_are_only_renumbered(changed, original):
    found = compare_indexes(original, changed("renumber"))
    known = found["renumbering"]
    assert known["by_bytes"] == known["centroids"] == found["a"]["centroids"]
    assert (known["codes_different"], known["lists_equal"], known["only"]) == (0, known["centroids"], True)
    assert known["moved"] > 0
    assert (found["verdict"], found["problems"]) == ("different", [])
