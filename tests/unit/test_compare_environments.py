"""A capture is of the environment that it names, and a page says what its environments differ in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import bs4
import pytest
from captures import Settings, captures, plant_stable_sort, study_of

from reportlib import render
from reportlib.compare.roots.causes import operations
from reportlib.compare.study import compare_listed, compare_study, write
from reportlib.errors import ComparisonError
from reportlib.study import OwnSettings, SearchSpec, Study, SwapSpec
from reportlib.words.terms import beyond_torch, labels, subject

ROOT = Path(__file__).parents[2]
BERT = {"transformers": "4.38.2", "tokenizers": "0.15.2", "tqdm": "4.66.1"}


def small(folder: Path, **kept: Any) -> Study:
    """A study of plain arms and controls, in a project of its own."""
    return study_of(folder / "project" / "reports", swaps=SwapSpec(()), search=SearchSpec(k=0), **kept)


def project(folder: Path, *names: str, **pins: str) -> None:
    """Make the folder of `small` a project with the environment files of these names."""
    root = folder / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "capture.ipynb").touch()
    for name in names:
        shutil.copy(ROOT / f"environment-{name}.yml", root)
        file = root / f"environment-{name}.yml"
        text = file.read_text()
        for package, (old, new) in {key: value.split(">") for key, value in pins.items()}.items():
            text = text.replace(f"- {package}=={old}", f"- {package}=={new}")
        file.write_text(text)


def compared(folder: Path, study: Study, **settings: Settings) -> dict[str, Any]:
    return compare_study(study, captures(folder / "captures", study, plant_stable_sort, settings))


def page(report: dict[str, Any], *names: str) -> str:
    parts = [getattr(render, name)(report)._repr_html_() for name in names]
    return bs4.BeautifulSoup("".join(parts), "html.parser").get_text(" ", strip=True)


# -- what is refused ------------------------------------------------------------------------------


def test_a_capture_that_holds_another_torch_than_its_file_pins_is_refused(tmp_path: Path) -> None:
    project(tmp_path, "torch201", "torch210")
    study = small(tmp_path)
    compared(tmp_path / "right", study)
    with pytest.raises(ComparisonError) as told:
        compared(tmp_path / "wrong", study, torch201=Settings(packages={"torch": "2.1.0+cu121"}))
    assert told.value.what == (
        "the capture of torch201-float32 is not of what environment-torch201.yml asks for: torch is 2.1.0+cu121, the"
        " file pins 2.0.1"
    )
    assert "run torch201-float32 again, in the kernel torch201" in str(told.value.mend)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(packages={"transformers": "4.40.1"}), r"transformers is 4\.40\.1, the file pins 4\.38\.2"),
        (Settings(python="3.12.1"), r"python is 3\.12\.1, the file pins 3\.11\.11"),
        (Settings(packages={"huggingface_hub": "1.0"}), r"huggingface-hub is 1\.0"),
    ],
)
def test_any_pin_counts(tmp_path: Path, settings: Settings, said: str) -> None:
    project(tmp_path, "torch210")
    with pytest.raises(ComparisonError, match=rf"torch210-float32 .* environment-torch210\.yml asks for: {said}"):
        compared(tmp_path, small(tmp_path), torch210=settings)


def test_the_torch_that_was_imported_counts_beside_the_one_installed(tmp_path: Path) -> None:
    project(tmp_path, "torch210")
    study = small(tmp_path)
    made = captures(tmp_path / "captures", study)
    name = "torch210-float32"
    provenance = {**made[name].provenance, "torch": {"version": "2.0.1+cu117"}}
    made[name] = replace(made[name], provenance=provenance)
    with pytest.raises(ComparisonError, match=r"torch is 2\.0\.1\+cu117, the file pins 2\.1\.0"):
        compare_study(study, made)


def test_without_files_two_names_of_one_environment_are_noticed(tmp_path: Path) -> None:
    study = small(tmp_path)
    same = Settings(packages={"torch": "2.1.0+cu121"})
    with pytest.raises(ComparisonError, match="torch201 and torch210 are one environment under two names"):
        compared(tmp_path, study, torch201=same)


def test_one_environment_under_two_names_with_two_settings_is_a_study_of_the_setting(tmp_path: Path) -> None:
    study = replace(small(tmp_path), settings={"torch201": OwnSettings(index_bsize=8)})
    report = compared(tmp_path, study, torch201=Settings(packages={"torch": "2.1.0+cu121"}))
    a, b = "index_bsize 8", "index_bsize 32"
    assert labels(report["environments"]) == {"torch201": a, "torch210": b}
    assert "index_bsize 8 → 32" in page(report, "first_screen")
    said = " ".join(f["sentence"] for f in report["findings"])
    assert "Both have PyTorch 2.1.0+cu121; index_bsize 8 becomes 32." in said
    assert "torch201" not in said
    assert not page(report, "first_screen").count("upgrade")
    assert "index_bsize = 8 and 32" in page(report, "measured_on")
    assert study.explained() == [], "no operation reads the same shapes"
    assert any("but a batch: two sizes cannot be set side by side" in f["sentence"] for f in report["findings"])
    assert "No operation can be named: in batches of two sizes each reads other shapes." in said


def test_what_a_study_varies_is_no_rival_of_itself(tmp_path: Path) -> None:
    own = {"torch210": OwnSettings(threads=4, variables={"MKL_CBWR": "AVX2"})}
    study = replace(small(tmp_path), settings=own)
    made = captures(tmp_path / "captures", study)
    for name, capture in made.items():
        threads, variables = ({"torch": 4}, {"MKL_CBWR": "AVX2"}) if name.startswith("torch210") else ({"torch": 1}, {})
        changed = {"threads": threads, "environment_variables": {"OMP_NUM_THREADS": str(threads["torch"]), **variables}}
        made[name] = replace(capture, provenance={**capture.provenance, **changed}, arm={**capture.arm})
    report = compare_study(study, made)
    kinds = {d["kind"] for d in report["pairs"][0]["environment_differences"]}
    assert {"threads", "environment variable"} <= kinds
    assert "1 and 4" in page(report, "measured_on")
    rivals = page(report, "trust").partition("Rival explanations")[2]
    assert "threads" not in rivals
    assert "environment variables" not in rivals


def test_one_arm_of_another_environment_is_noticed(tmp_path: Path) -> None:
    study = small(tmp_path)
    made = captures(tmp_path / "captures", study)
    name = "torch201-float32-repeat"
    made[name] = replace(made[name], provenance=made["torch210-float32"].provenance)
    with pytest.raises(ComparisonError, match=r"torch201-float32-repeat and torch201-float32 are of two environments"):
        compare_study(study, made)


def test_a_study_elsewhere_is_held_against_the_project_that_it_is_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, "torch201", "torch210")
    study = study_of(tmp_path / "elsewhere", swaps=SwapSpec(()), search=SearchSpec(k=0))
    wrong = {"torch201": Settings(packages={"torch": "2.1.0+cu121"})}
    made = captures(tmp_path / "captures", study, None, wrong)
    listed = tmp_path / "captures.json"
    listed.write_text(json.dumps({name: str(capture.path) for name, capture in made.items()}))
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ComparisonError, match=r"environment-torch201\.yml"):
        compare_listed(study, str(listed), "")


def test_listed_captures_lie_in_the_project_wherever_a_notebook_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, "torch201", "torch210")
    study = small(tmp_path)
    root = tmp_path / "project"
    made = captures(root / "home" / "captures", study)
    listed = root / "home" / "runs" / "captures.json"
    listed.parent.mkdir()
    listed.write_text(json.dumps({name: str(capture.path.relative_to(root)) for name, capture in made.items()}))
    monkeypatch.chdir(tmp_path)
    write(compare_listed(study, str(listed), ""), str(listed), "", str(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text())["environments"]


def test_operations_of_another_torch_than_the_captures_are_refused(tmp_path: Path) -> None:
    study = small(tmp_path)
    made = captures(tmp_path / "captures", study)
    sides = [made["torch201-float32"], made["torch210-float32"]]
    told = {
        side: {"arm": {"environment": name}, "torch": {"version": version}}
        for side, name, version in (("a", "torch201", "2.1.0+cu121"), ("b", "torch210", "2.1.0+cu121"))
    }
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "roots.json").write_text(json.dumps({"schema_version": 1, **told, "causes": []}))
    with pytest.raises(ComparisonError, match=r"operations of 2\.1\.0\+cu121, the capture torch201-float32 is of 2\.0"):
        operations(tmp_path / "roots", *sides)


# -- what is said ---------------------------------------------------------------------------------


def test_where_more_than_torch_differs_title_first_screen_and_findings_say_so(tmp_path: Path) -> None:
    project(tmp_path, "torch201", "torch210", transformers="4.38.2>4.40.1")
    shutil.copy(ROOT / "environment-torch201.yml", tmp_path / "project")
    newer = Settings(packages={**BERT, "transformers": "4.40.1", "tqdm": "4.67.0"}, python="3.11.9")
    report = compared(tmp_path, small(tmp_path), torch201=Settings(packages=BERT), torch210=newer)
    assert (
        report["study"]["title"] == "A made-up study, with transformers 4.38.2 and 4.40.1 and Python 3.11.7 and 3.11.9"
    )
    (finding,) = (f for f in report["findings"] if f["id"] == "torch210/environments")
    assert finding["sentence"] == (
        "PyTorch 2.0.1 and PyTorch 2.1.0 differ in more than PyTorch: transformers 4.38.2 becomes 4.40.1 and Python "
        "3.11.7 becomes 3.11.9. So no difference is PyTorch's alone unless it is shown to be."
    ), "tqdm is pinned by no file: it follows from what is"
    assert report["findings"][0] == finding
    assert report["environments"][1]["pins"]["transformers"] == "4.40.1"
    screen = page(report, "first_screen")
    assert "differ in more than PyTorch: transformers 4.38.2 becomes 4.40.1 and Python 3.11.7 becomes 3.11.9" in screen


def test_a_title_that_says_it_is_left_alone(tmp_path: Path) -> None:
    study = small(tmp_path, title="PyTorch and Transformers, upgraded")
    newer = Settings(packages={"transformers": "4.40.1"})
    report = compared(tmp_path, study, torch201=Settings(packages={"transformers": "4.38.2"}), torch210=newer)
    assert report["study"]["title"] == study.title


def test_torch_and_what_it_brings_is_not_more_than_torch(tmp_path: Path) -> None:
    older = Settings(packages={"triton": "2.0.0", "nvidia-nccl-cu11": "2.14.3", "cmake": "4.4.4", "wheel": "0.48.0"})
    newer = Settings(packages={"triton": "2.1.0", "nvidia-nccl-cu12": "2.18.1"})
    study = small(tmp_path)
    report = compared(tmp_path, study, torch201=older, torch210=newer)
    assert report["study"]["title"] == study.title
    assert not any(f["id"].endswith("/environments") for f in report["findings"])


def test_environments_of_one_torch_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    both = {"torch": "2.1.0+cu121"}
    report = compared(
        tmp_path,
        small(tmp_path),
        torch201=Settings(packages={**both, "transformers": "4.38.2"}),
        torch210=Settings(packages={**both, "transformers": "4.40.1"}),
    )
    a, b = "transformers 4.38.2", "transformers 4.40.1"
    assert labels(report["environments"]) == {"torch201": a, "torch210": b}
    said = " ".join(f["sentence"] for f in report["findings"])
    assert "Both have PyTorch 2.1.0+cu121; transformers 4.38.2 becomes 4.40.1." in said
    assert "torch201" not in said
    screen = page(report, "first_screen")
    assert "transformers 4.38.2 → 4.40.1" in screen
    assert "PyTorch 2.1.0+cu121" in screen, "what it ran on"
    assert "PyTorch 2.1.0 " not in screen


def test_a_tokenizer_that_makes_the_same_tokens_is_ruled_out(tmp_path: Path) -> None:
    versions = [("4.38.2", "0.15.2"), ("4.57.6", "0.22.2")]
    older, newer = (
        Settings(packages={"torch": "2.1.0+cu121", "transformers": t, "tokenizers": k}) for t, k in versions
    )
    report = compared(tmp_path, small(tmp_path), torch201=older, torch210=newer)
    (said,) = [f["sentence"] for f in report["findings"] if f["id"].endswith("/environments")]
    assert said.endswith("tokenizers 0.15.2 becomes 0.22.2. The tokens are the same, so tokenizers is not why.")


def test_settings_come_before_packages_in_what_an_environment_is_called() -> None:
    two = [environment("a", "2.1.0", numpy="1"), environment("b", "2.1.0", numpy="2")]
    two[0]["settings"], two[1]["settings"] = {"MKL_CBWR": "AVX2"}, {"MKL_CBWR": "not set"}
    assert list(beyond_torch(two)) == ["MKL_CBWR", "numpy"]
    assert labels(two) == {"a": "MKL_CBWR AVX2", "b": "MKL_CBWR not set"}


def environment(name: str, torch: str, python: str = "3.11.7", pins: Any = None, **packages: str) -> dict[str, Any]:
    return {"name": name, "torch": {"version": torch}, "python": python, "packages": packages, "pins": pins}


def test_labels_are_no_longer_than_they_must_be() -> None:
    three = [
        environment("a", "2.1.0+cu121", transformers="4.38.2", tokenizers="0.15.2"),
        environment("b", "2.1.0+cu121", transformers="4.38.2", tokenizers="0.19.1"),
        environment("c", "2.2.2+cu121", transformers="4.40.1", tokenizers="0.15.2"),
    ]
    assert labels(three) == {
        "a": "PyTorch 2.1.0 with tokenizers 0.15.2",
        "b": "PyTorch 2.1.0 with tokenizers 0.19.1",
        "c": "PyTorch 2.2.2",
    }
    builds = [environment("a", "2.1.0+cu121", numpy="1"), environment("b", "2.1.0+cu118", numpy="2")]
    assert labels(builds) == {"a": "PyTorch 2.1.0+cu121", "b": "PyTorch 2.1.0+cu118"}
    pythons = [environment("a", "2.1.0"), environment("b", "2.1.0", "3.10.13")]
    assert labels(pythons) == {"a": "Python 3.11.7", "b": "Python 3.10.13"}
    pinned = {"flash-attn": "2.5"}
    one = [environment("a", "2.1.0", pins={}), environment("b", "2.1.0", pins=pinned, flash_attn="2.5")]
    assert labels(one) == {"a": "PyTorch 2.1.0 without flash-attn", "b": "PyTorch 2.1.0 with flash-attn 2.5"}
    unknown = [environment("a", "2.1.0"), environment("b", "2.1.0"), environment("c", "")]
    assert labels(unknown) == {"a": "a", "b": "b", "c": "c"}


def test_what_differs_beside_torch_is_in_a_readers_order() -> None:
    a = environment("a", "2.0.1", numpy="1", transformers="4.38.2", colbert="1")
    b = environment("b", "2.1.0", "3.12.1", numpy="2", transformers="4.40.1", colbert="1")
    assert list(beyond_torch([a, b])) == ["transformers", "Python", "numpy"]


@pytest.mark.parametrize("file", sorted(ROOT.glob("reports/*/report.json")), ids=lambda file: file.parent.name)
def test_in_the_published_studies_one_thing_differs(file: Path) -> None:
    environments = json.loads(file.read_text())["environments"]
    package = file.parent.name.partition("-")[0]
    brought = {"torch": [], "transformers": ["transformers", "tokenizers"]}
    assert list(beyond_torch(environments)) == brought.get(package, [package])
    assert subject(environments) == {"torch": "PyTorch"}.get(package, package)
