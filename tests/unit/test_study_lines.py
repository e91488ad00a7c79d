"""A complaint about a study.toml names the line, and what was probably meant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportlib.errors import StudyError
from reportlib.study import ColbertSettings, key_of, load
from reportlib.study_toml import KEYS, Lines

HEAD = 'title = "t"\nenvironments = ["a", "b"]\n'


def refused(folder: Path, text: str) -> str:
    """Read a study that must be refused, and return what is said of it after the file's name."""
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    return said.removeprefix(str(path))


SPREAD = """\
# a comment
title = "t"

environments = [
  "a",   # the old one
  "b",
]

[collection]
source = "numpy-docstrings"
[swaps]
# another comment
points = [

  ["embs"],
  # and one inside
  ["ivf"],
]
"""


def test_the_line_is_where_the_statement_starts() -> None:
    lines = Lines(SPREAD)
    assert lines.find(("title",)) == 2
    assert lines.find(("environments",)) == 4
    assert lines.find(("collection",)) == 9
    assert lines.find(("collection", "source")) == 10
    assert lines.find(("swaps", "points")) == 13


def test_of_a_value_on_several_lines_the_one_with_the_word_is_named() -> None:
    lines = Lines(SPREAD)
    assert lines.find(("environments",), "b") == 6
    assert lines.find(("swaps", "points"), "ivf") == 17
    assert lines.find(("swaps", "points"), "not there") == 13
    assert Lines("x = ['a',\n'b']").find(("x",), "b") == 2


def test_a_key_that_is_not_there_has_the_line_of_its_table() -> None:
    assert Lines(SPREAD).find(("collection", "path")) == 9
    assert Lines(SPREAD).find(("checkpoint", "dim")) is None


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\ncolbert.nbits = 3", ("colbert", "nbits"), 2),
        ("colbert = {ndocs = 9,\tnbits = 3}\nb = 1", ("colbert", "nbits"), 1),
        ('a = """\n[colbert]\nnbits = 3\n"""\n[colbert]\nnbits = 4', ("colbert", "nbits"), 6),
        ("[precision.float32]\n[precision.autocast]\npassages = 1", ("precision", "autocast", "passages"), 3),
        ('["pre cision"."a.b"]\nc = 1', ("pre cision", "a.b", "c"), 2),
        ("a = '\u2028'\nb = 1", ("b",), 2),
    ],
)
def test_every_way_of_toml_to_write_a_key_is_found(text: str, path: tuple[str, ...], line: int) -> None:
    assert Lines(text).find(path) == line


@given(st.lists(st.sampled_from(["", "# key7 = 7", "   ", "\t# x"]), max_size=4), st.integers(0, 8))
def test_blank_lines_and_comments_move_the_line_and_nothing_else(between: list[str], number: int) -> None:
    lines: list[str] = []
    wanted = 0
    for n in range(9):
        lines += between
        wanted = len(lines) + 1 if n == number else wanted
        lines.append(f"key{n} = [{n},\n {n}]")
        lines = "\n".join(lines).split("\n")
    assert Lines("\n".join(lines)).find((f"key{number}",)) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + '\n[colbert]\n# bits\nnbits = "4"', ", line 6: colbert.nbits: must be of type int"),
        (HEAD + "[colbert]\ncentroid_score_threshold = true", ", line 4: colbert.centroid_score_threshold: must be"),
        (HEAD + 'device = "tpu"', ", line 3: device: 'tpu' is not known"),
        ('title = "t"\nenvironments = [\n"a",\n"b",\n"a"]', ", line 3: environments: names 'a' twice"),
        ('title = "t"\n\nenvironments = ["a"]', ", line 3: environments: a comparison needs at least two"),
        (HEAD + "threads = 0", ", line 3: threads: must be at least 1"),
        (HEAD + '[swaps]\npoints = [\n["embs"],\n["rankings"]]', ", line 6: swaps.points: 'rankings' is not known"),
        (HEAD + "[precision.float32]\npassages = -3", ", line 4: precision.float32.passages: must not be negative"),
        (HEAD + "[precision]\nfloat32 = 3", ", line 4: precision.float32: must be a table"),
        (HEAD + "[precision]", ", line 3: precision: must have at least one table"),
        (HEAD + "layers = 3", ", line 3: layers: must be a table"),
        (HEAD + "swaps = 3", ", line 3: swaps: must be a table"),
        (HEAD + "[variables]\nOMP_NUM_THREADS = 2", ", line 4: variables.OMP_NUM_THREADS: must be a string"),
        (HEAD + "settings = 1", ", line 3: settings: must be a table"),
        (HEAD + "[settings.c]\nthreads = 2", ", line 3: settings.c: is no environment of the study"),
        (HEAD + "[settings]\nb = 2", ", line 4: settings.b: must be a table"),
        (HEAD + "[settings.b]\nnbits = 2", ", line 4: settings.b.nbits: is not a key"),
        (HEAD + "[settings.b]\nthreads = -1", ", line 4: settings.b.threads: must not be negative"),
        (HEAD + "[settings.b.variables]\nHOME = 2", ", line 4: settings.b.variables.HOME: is not a key"),
        (
            HEAD + "[settings.b.variables]\nOMP_NUM_THREADS = '2'",
            ", line 4: settings.b.variables.OMP_NUM_THREADS: every",
        ),
        (HEAD + "[settings.b.variables]\nMKL_CBWR = 2", ", line 4: settings.b.variables.MKL_CBWR: must be a string"),
        (HEAD + '[collection]\nsource = "tsv"', ", line 3: collection.path: is missing; the source is 'tsv'"),
        (HEAD + '[collection]\nsource = "beir"', ", line 3: collection.path: is missing; the source is 'beir'"),
        (HEAD + '[collection]\nsource = "huggingface"', ", line 3: collection.name: is missing"),
        (HEAD + '[collection]\nsource = "msmarco"', ", line 4: collection.source: 'msmarco' is not known"),
        ('environments = ["a", "b"]', ": title: is missing"),
        ('title = ""', ", line 1: title: must be a sentence"),
        ('title = "t"', ": environments: is missing"),
        ('title = "t"\nenvironments = "ab"', ", line 2: environments: must be a list of strings"),
        (HEAD + "[operations]\nindex = 1", ", line 4: operations.index: must be of type bool"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text).startswith(said)


def test_what_is_not_toml_has_its_line_too(tmp_path: Path) -> None:
    assert re.match(r" is not TOML: .*line 3", refused(tmp_path, HEAD + "threads = \n"))


@pytest.mark.parametrize(
    ("text", "line", "mend"),
    [
        (HEAD + "[colbert]\nnbit = 4", 4, "did you mean 'nbits'?"),
        (HEAD + "[colbert]\nkmeans_iters = 4", 4, "did you mean 'kmeans_niters'?"),
        (HEAD + "[colbert]\ndim = 64", 4, "it stands under [checkpoint]"),
        (HEAD + '[colbert]\ndevice = "cuda"', 4, "it stands above the first table"),
        (HEAD + "nbits = 2", 3, "it stands under [colbert]"),
        (HEAD + "thread = 2", 3, "did you mean 'threads'?"),
        (HEAD + "[operation]", 3, "did you mean 'operations'?"),
        (HEAD + "[search]\nseed = 2", 4, "did you mean 'seeds'?"),
        (HEAD + "[layers]\ntext = []", 4, "did you mean 'texts'?"),
        (HEAD + '[variables]\nOMP_THREADS = "1"', 4, "did you mean 'OMP_NUM_THREADS'?"),
        (HEAD + "[precision.float32]\npasages = 3", 4, "did you mean 'passages'?"),
        (HEAD + "[search]\nzzz = 2", 4, "use one of ['ignore_identical_ids', 'k', 'queries', 'seeds']"),
    ],
)
def test_a_misspelt_key_is_answered_with_what_was_meant(tmp_path: Path, text: str, line: int, mend: str) -> None:
    said = refused(tmp_path, text)
    assert said.startswith(f", line {line}: ")
    assert "is not a key" in said
    assert mend in said


# -- what colbert-ai would only trip over later ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[colbert]\nnbits = 3", ", line 4: colbert.nbits: 3 bits do not pack into bytes"),
        ("[colbert]\ndoc_maxlen = 513", ", line 4: colbert.doc_maxlen: all-minilm-l6-v2 has 512 positions"),
        ("[colbert]\ncentroid_score_threshold = nan", ", line 4: colbert.centroid_score_threshold: must be a finite"),
        # `k` is left to its default and so has no line.
        ("[colbert]\nndocs = 39", ": search.k: colbert-ai returns at most a quarter of ndocs, 9 passages, and k is 10"),
        ("[colbert]\nndocs = 39\n[search]\nqueries = 4\nk = 10", ", line 7: search.k: colbert-ai returns"),
        ("[checkpoint]\ndim = 100", ", line 4: checkpoint.dim: a dim of 100 does not fit nbits 4"),
        ("[colbert]\nnbits = 8", ", line 4: colbert.nbits: a dim of 96 does not fit nbits 8"),
        ("[checkpoint]\ndim = 416", ", line 4: checkpoint.dim: all-minilm-l6-v2 is 384 wide"),
        ('[checkpoint]\ndim = 96\nsource = "a/b"', ", line 4: checkpoint.dim: belongs to all-minilm-l6-v2; a/b brings"),
        ('[checkpoint]\nprojection = "tuned"', ", line 4: checkpoint.projection: is 'tuned'"),
        ('[checkpoint]\nprojection = "trained"\ndim = 64', ", line 5: checkpoint.dim: a trained projection has 96"),
        ('[checkpoint]\nprojection = "trained"\nsource = "a/b"', ", line 4: checkpoint.projection: belongs to all-"),
        ('[checkpoint]\nsource = ""', ", line 4: checkpoint.source: is empty"),
    ],
)
def test_a_value_that_would_fail_after_hours_is_refused_now(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, HEAD + text).startswith(said)


LEAST = {f.name: key_of(f) for f in fields(ColbertSettings) if key_of(f).least}


@pytest.mark.parametrize("name", LEAST)
def test_a_number_too_small_to_do_anything_is_refused(tmp_path: Path, name: str) -> None:
    key = LEAST[name]
    text = HEAD + f"[search]\nk = 1\n[colbert]\n{name} = "
    said = refused(tmp_path, f"{text}{key.least - 1}")
    assert said.startswith(f", line 6: colbert.{name}: must be at least {key.least}")
    assert (key.why or key.about) in said
    (tmp_path / "study.toml").write_text(f"{text}{key.least}")
    assert getattr(load(tmp_path).colbert, name) == key.least


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_every_number_of_bits_that_packs_is_taken(tmp_path: Path, nbits: int) -> None:
    (tmp_path / "study.toml").write_text(HEAD + f"[colbert]\nnbits = {nbits}\n[checkpoint]\ndim = 64")
    assert load(tmp_path).colbert.nbits == nbits


def test_no_search_needs_no_candidates(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(HEAD + "[colbert]\nndocs = 4\n[search]\nk = 0")
    assert load(tmp_path).search.k == 0


def test_a_checkpoint_of_ones_own_may_have_more_positions(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(HEAD + '[colbert]\ndoc_maxlen = 600\n[checkpoint]\nsource = "a/b"')
    assert load(tmp_path).colbert.doc_maxlen == 600


def test_a_device_from_the_command_line_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(HEAD + 'device = "cpu"')
    with pytest.raises(StudyError, match=r"^there is no device 'tpu'"):
        load(tmp_path, device="tpu")


@pytest.mark.parametrize("command", [("prepare",), ("run",)])
def test_the_command_line_says_it_before_anything_runs(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "study.toml").write_text(HEAD + "[colbert]\nnbits = 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "reportlib.cli", *command, str(tmp_path / "study.toml")],
        cwd=tmp_path,
        env={**os.environ, "REPORTLIB_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "study.toml, line 4: colbert.nbits: 3 bits do not pack into bytes" in done.stderr
    assert "To mend it: use 1, 2, 4 or 8" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_every_setting_that_the_records_have_is_a_key() -> None:
    assert set(KEYS["colbert"]) == {f.name for f in fields(ColbertSettings)}
    assert {"nbits", "doc_maxlen", "index_bsize", "kmeans_niters", "ncells"} <= set(KEYS["colbert"])
    assert "dim" in KEYS["checkpoint"]
    assert set(KEYS) - {""} <= set(KEYS[""])
