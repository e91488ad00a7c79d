"""A study.toml says what is compared; what it says wrongly is named before anything runs."""

from pathlib import Path

import pytest

from reportlib.artifacts import SWAPPABLE
from reportlib.errors import StudyError
from reportlib.study import Arm, load
from reportlib.study_toml import study_text

MINIMAL = 'title = "t"\nenvironments = ["a", "b"]\n'


def study(folder: Path, text: str = MINIMAL, **options: str):
    path = folder / "slug" / "study.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load(path, **options)


def test_the_default_study_is_valid_and_has_these_arms():
    found = load(Path(__file__).parents[2] / "reports" / "torch-2.0.1-vs-2.1.0")
    assert found.slug == "torch-2.0.1-vs-2.1.0"
    names = [arm.name for arm in found.arms()]
    assert names[:4] == ["torch201-float32", "torch210-float32", "torch201-autocast", "torch210-autocast"]
    assert "torch201-float32-repeat" in names
    assert "torch210-autocast-observer" in names
    assert "torch210-autocast-swap-local_sample_embs+embs-from-torch201" in names
    assert "torch201-autocast-swap-local_sample_embs+embs-from-torch210" in names
    assert len(names) == len(set(names))


def test_the_default_sets_have_every_swap_point_alone(tmp_path):
    points = study(tmp_path).swaps.points
    assert [each[0] for each in points if len(each) == 1] == list(SWAPPABLE)
    assert len(set(map(frozenset, points))) == len(points)
    assert all(list(each) == sorted(each, key=SWAPPABLE.index) for each in points)


def test_controls_are_on_unless_a_study_says_otherwise(tmp_path):
    kinds = {arm.control for arm in study(tmp_path).arms()}
    assert kinds == {"", "repeat", "observer"}
    kinds = {arm.control for arm in study(tmp_path, MINIMAL + "[controls]\nobserver = false").arms()}
    assert kinds == {"", "repeat"}


def test_every_series_is_of_one_environment_and_one_donor(tmp_path):
    found = study(tmp_path, MINIMAL + '[swaps]\npoints = [["embs", "centroids"], ["ivf"]]').series()
    assert [(s[0].environment, s[0].donor, s[0].precision) for s in found] == [
        ("b", "a", "float32"), ("a", "b", "float32"), ("b", "a", "autocast"), ("a", "b", "autocast"),
    ]  # fmt: skip
    assert [arm.swap for arm in found[0]] == [("centroids", "embs"), ("ivf",)], "in pipeline order"


def test_a_study_may_ask_for_one_direction(tmp_path):
    text = MINIMAL + '[precision.float32]\n[swaps]\npoints = [["embs"]]\ndirections = ["b into a"]'
    assert [arm.name for series in study(tmp_path, text).series() for arm in series] == ["a-float32-swap-embs-from-b"]
    assert study(tmp_path, MINIMAL + "[swaps]\npoints = []").series() == []


def test_a_minimal_study_takes_defaults(tmp_path):
    found = study(tmp_path)
    assert found.collection.source == "numpy-docstrings"
    assert set(found.passages) == {"float32", "autocast"}


def test_with_three_environments_the_first_is_a_for_both_others(tmp_path):
    found = study(
        tmp_path,
        'title = "t"\nenvironments = ["a", "b", "c"]\n[swaps]\npoints = [["embs"]]\nprecisions = ["float32"]',
    )
    swapped = [arm for arm in found.arms() if arm.swap]
    ways = [("b", "a"), ("a", "b"), ("c", "a"), ("a", "c")]
    assert swapped == [Arm(into, "float32", "cpu", 0, ("embs",), donor) for into, donor in ways]
    assert len({arm.name for arm in swapped}) == len(ways)


def test_the_device_can_be_given(tmp_path):
    assert study(tmp_path, device="cuda").device == "cuda"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('environments = ["a", "b"]', "title"),
        ('title = "t"', "environments"),
        ('title = "t"\nenvironments = ["a"]', "at least two"),
        ('title = "t"\nenvironments = ["a", "a"]', "twice"),
        ('title = "t"\nenvironments = "ab"', "list of strings"),
        (MINIMAL + 'device = "tpu"', "tpu"),
        (MINIMAL + "threads = 0", "threads"),
        (MINIMAL + "threads = true", "threads"),
        (MINIMAL + "thread = 2", "thread"),
        (MINIMAL + "[colbert]\nnbit = 4", r"colbert\.nbit"),
        (MINIMAL + '[colbert]\nnbits = "4"', "type int"),
        (MINIMAL + "[colbert]\nnbits = -1", "negative"),
        (MINIMAL + "[precision.float16]\npassages = 3", "float16"),
        (MINIMAL + "[precision.float32]\npassages = -3", "negative"),
        (MINIMAL + '[swaps]\npoints = [["rankings"]]', "rankings"),
        (MINIMAL + "[swaps]\npoints = [[]]", "empty list"),
        (MINIMAL + '[swaps]\npoints = [["embs", "codes"], ["codes", "embs"]]', "a set twice"),
        (MINIMAL + '[swaps]\ndirections = ["b to a"]', "b to a"),
        (MINIMAL + "[controls]\nrepeat = 1", "type bool"),
        (MINIMAL + "[controls]\nrepeats = true", r"controls\.repeats"),
        (MINIMAL + '[swaps]\npoints = ["embs"]', "list of strings"),
        (MINIMAL + '[precision.float32]\n[swaps]\nprecisions = ["autocast"]', "autocast"),
        (MINIMAL + '[collection]\npath = "x"\nfolder = "y"', r"collection\.folder"),
        (MINIMAL + '[variables]\nHOME = "x"', "HOME"),
        (MINIMAL + "[variables]\nATEN_CPU_CAPABILITY = 2", "string"),
        ("title = ", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, names):
    with pytest.raises(StudyError, match=names) as caught:
        study(tmp_path, text)
    assert "study.toml" in str(caught.value)


def test_a_missing_study_says_where_it_looked(tmp_path):
    with pytest.raises(StudyError, match="nowhere"):
        load(tmp_path / "nowhere" / "study.toml")


def test_a_study_may_set_variables_that_torch_reads(tmp_path):
    found = study(tmp_path, MINIMAL + '[variables]\nATEN_CPU_CAPABILITY = "avx2"')
    assert found.variables == {"ATEN_CPU_CAPABILITY": "avx2"}


def test_an_environment_may_have_settings_of_its_own(tmp_path):
    found = study(
        tmp_path,
        MINIMAL + "threads = 3\n[colbert]\nindex_bsize = 8\n[variables]\nMKL_CBWR = 'AVX2'\n[settings.b]\nthreads = 4\n"
        "index_bsize = 16\n[settings.b.variables]\nATEN_CPU_CAPABILITY = 'avx2'",
    )
    assert [found.threads_in(name) for name in "ab"] == [3, 4]
    assert [found.colbert_in(name).index_bsize for name in "ab"] == [8, 16]
    assert found.variables_in("a") == {"MKL_CBWR": "AVX2"}
    assert found.variables_in("b") == {"MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    assert found.varied("a") == {"threads": "3", "index_bsize": "8", "ATEN_CPU_CAPABILITY": "not set"}
    assert found.varied("b") == {"threads": "4", "index_bsize": "16", "ATEN_CPU_CAPABILITY": "avx2"}
    assert found.most_threads == 4
    assert study(tmp_path, study_text(found)).settings == found.settings


def test_a_setting_that_all_environments_have_is_not_varied(tmp_path):
    found = study(tmp_path, MINIMAL + "threads = 2\n[settings.a]\nthreads = 2\n[settings.b]\nindex_bsize = 32")
    assert (found.varied("a"), found.varied("b")) == ({}, {})


def test_a_byte_order_mark_is_no_matter(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('\ufefftitle = "t"\nenvironments = ["a", "b"]\n[search]\nk = "x"\n', encoding="utf-8")
    with pytest.raises(StudyError, match=r"study.toml, line 4: search.k"):
        load(path)
    path.write_text('\ufefftitle = "t"\nenvironments = ["a", "b"]\n', encoding="utf-8")
    assert load(path).title == "t"


def test_leaving_a_passage_out_needs_one_more(tmp_path):
    path = tmp_path / "study.toml"
    text = 'title = "t"\nenvironments = ["a", "b"]\n[colbert]\nndocs = 40\n[search]\nk = 10\n'
    path.write_text(text)
    assert load(path).search.ignore_identical_ids is False
    path.write_text(text + "ignore_identical_ids = true\n")
    with pytest.raises(StudyError, match=r"k is 10, one more with ignore_identical_ids\n.*at least 44"):
        load(path)
