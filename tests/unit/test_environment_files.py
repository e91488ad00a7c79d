"""Environment files and their locks: what is read, what is refused and how."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from reportlib.environments.backends import conda_name
from reportlib.environments.spec import load_spec, parse, read_lock, spec_names
from reportlib.errors import EnvironmentFileError

REPOSITORY = Path(__file__).parents[2]
GOOD = """
name: torch9
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11.11
  - gxx=11.4.0
  - pip:
      - torch==2.0.1
      - Some_Package == 1.5
"""


def write(folder: Path, text: str, name: str = "torch9") -> Path:
    path = folder / f"environment-{name}.yml"
    path.write_text(text)
    return path


def test_a_file_is_read_as_conda_reads_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    spec = load_spec("torch9", tmp_path)
    assert spec.channels == ("conda-forge", "nodefaults")
    assert spec.conda == ("python=3.11.11", "gxx=11.4.0")
    assert (spec.python, spec.python_minor) == ("3.11.11", "3.11")
    assert spec.pins == {"torch": "2.0.1", "some-package": "1.5"}
    assert spec.lock_path == tmp_path / "environments" / "environment-torch9.lock.txt"


def test_only_what_the_file_asks_for_counts_not_how_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    first = load_spec("torch9", tmp_path)
    write(tmp_path, "# a comment\n" + GOOD.replace("1.5", "1.5  # why"))
    assert load_spec("torch9", tmp_path).digest == first.digest
    write(tmp_path, GOOD.replace("gxx=11.4.0", "gxx=12.4.0"))
    changed = load_spec("torch9", tmp_path)
    assert changed.digest != first.digest
    assert changed.pip_digest == first.pip_digest  # so its lock still fits


def test_a_missing_file_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "torch8")
    write(tmp_path, GOOD, "torch9")
    assert spec_names(tmp_path) == ["torch8", "torch9"]
    with pytest.raises(EnvironmentFileError, match=r"(?s)environment-torch7\.yml.*torch8, torch9"):
        load_spec("torch7", tmp_path)


@pytest.mark.parametrize("name", ["../torch9", "a/b", "", ".hidden", "with space"])
def test_a_name_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match="cannot be the name"):
        load_spec(name, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("channels: [", "channels: [[", "is not YAML"),
        (GOOD, "- just\n- a list\n", "holds no environment"),
        (GOOD, "", "holds no environment"),
        ("name: torch9", "name: torch8", "the file's own name says 'torch9'"),
        ("channels:", "chanels:", "chanels: is not a key"),
        ("[conda-forge, nodefaults]", "conda-forge", "channels: must be a list of strings"),
        ("      - torch==2.0.1\n", "", "torch is not pinned"),
        ("torch==2.0.1", "torch>=2.0.1", "torch is not pinned"),
        ("torch==2.0.1", "torch==2.0.*", "torch is not pinned"),
        ("torch==2.0.1", "torch==2.0.1\n      - TORCH==2.1.0", "names torch twice"),
        ("torch==2.0.1", "-r requirements.txt", "'-r requirements.txt' is not a requirement"),
        ("torch==2.0.1", "--index-url http://example.org", "is not a requirement"),
        ("torch==2.0.1", "2.0", "must be a list of strings"),
        ("python=3.11.11", "python", "Python is not pinned"),
        ("python=3.11.11", "python>=3.11", "Python is not pinned"),
        ("pip:", "pipp:", "its only key is 'pip'"),
    ],
)
def test_what_makes_no_sense_is_named(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(EnvironmentFileError, match=re.escape(complaint)) as caught:
        load_spec("torch9", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("pin", ["python=3.11.11", "python==3.11.11", "python 3.11.11", "python=3.11.11=h9e_0_cpython"])
def test_python_is_pinned_in_any_of_condas_ways(pin: str, tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("python=3.11.11", pin))
    assert load_spec("torch9", tmp_path).python == "3.11.11"


def test_other_packages_than_torch_can_be_required(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("torch==2.0.1", "other==1.0"))
    assert load_spec("torch9", tmp_path, required=("other",)).pins["other"] == "1.0"
    with pytest.raises(EnvironmentFileError, match="elsewhere is not pinned"):
        load_spec("torch9", tmp_path, required=("elsewhere",))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python=3.11.11", "python"),
        ("conda-forge::gxx=11.4.0", "gxx"),
        ("nvidia/label/cuda-11.7.1::cuda-nvcc=11.7.99", "cuda-nvcc"),
        ("cuda-nvcc >=11.7,<12", "cuda-nvcc"),
        ("NumPy", "numpy"),
    ],
)
def test_a_conda_spec_has_a_name(text: str, name: str) -> None:
    assert conda_name(text) == name


# -- locks ----------------------------------------------------------------------------------------


def locked(tmp_path: Path, *, torch: str = "2.0.1", header: str | None = None, extra: str = "") -> None:
    spec = load_spec("torch9", tmp_path)
    made_for = f"# environment: sha256:{spec.pip_digest}\n" if header is None else header
    hashes = f" \\\n    --hash=sha256:{'0' * 64}\n"
    pins = f"torch=={torch}{hashes}some-package==1.5{hashes}transitive==0.1 ; python_version < '3.12'{hashes}"
    spec.lock_path.parent.mkdir(exist_ok=True)
    spec.lock_path.write_text(made_for + pins + extra)


def test_a_file_is_found_beside_the_locks_too_and_keeps_its_lock_there(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    locked(tmp_path)
    here = load_spec("torch9", tmp_path)
    here.path.rename(tmp_path / "environments" / here.path.name)
    moved = load_spec("torch9", tmp_path)
    assert (moved.digest, moved.lock_path, read_lock(moved)) == (here.digest, here.lock_path, read_lock(here))
    assert spec_names(tmp_path) == ["torch9"]
    write(tmp_path, GOOD)
    with pytest.raises(EnvironmentFileError, match=r"(?s)both there.*remove one"):
        load_spec("torch9", tmp_path)


def test_a_lock_that_fits_is_taken(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    locked(tmp_path)
    lock = read_lock(load_spec("torch9", tmp_path))
    assert lock.pins == {"torch": "2.0.1", "some-package": "1.5", "transitive": "0.1"}
    assert lock.digest == parse("# other comment\n" + lock.text).digest
    assert lock.digest != parse(lock.text.replace("0" * 64, "1" * 64)).digest


def test_a_lock_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(EnvironmentFileError, match=r"(?s)no lock.*reportlib env lock torch9.*--no-lock"):
        read_lock(load_spec("torch9", tmp_path))


def test_a_lock_that_no_longer_fits_says_where(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    locked(tmp_path)
    write(tmp_path, GOOD.replace("2.0.1", "2.1.0") + "      - new==1\n")
    with pytest.raises(EnvironmentFileError) as caught:
        read_lock(load_spec("torch9", tmp_path))
    assert "the file asks for torch==2.1.0, the lock has 2.0.1; new is not in the lock" in str(caught.value)


def test_a_lock_for_a_file_with_more_in_it_no_longer_fits(tmp_path: Path) -> None:
    """What was taken out of the file is still in the lock, and would be installed."""
    write(tmp_path, GOOD)
    locked(tmp_path)
    write(tmp_path, GOOD.replace("      - Some_Package == 1.5\n", ""))
    with pytest.raises(EnvironmentFileError, match="made from another environment file"):
        read_lock(load_spec("torch9", tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "--find-links /somewhere",
        "other @ https://example.org/other-1.0-py3-none-any.whl",
        "other @ file:///somewhere/other-1.0-py3-none-any.whl",
        "other>=1.0",
        "-e .",
    ],
)
def test_a_lock_cannot_bring_in_packages_from_elsewhere(line: str, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    locked(tmp_path, extra=line + "\n")
    with pytest.raises(EnvironmentFileError, match=r"line \d+: .* has no place in a lock"):
        read_lock(load_spec("torch9", tmp_path))


def test_a_lock_for_another_platform_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    locked(tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(EnvironmentFileError, match=r"(?s)aarch64.*--no-lock"):
        read_lock(load_spec("torch9", tmp_path))


# -- the files that come with the project -----------------------------------------------------------

TORCH = {"torch201": "2.0.1", "torch210": "2.1.0", "torch222": "2.2.2", "torch271": "2.7.1", "torch280": "2.8.0"}
#: What `reportlib init --vary` made for a published study: its lock is held against its file as the others' are.
VARIED = {"torch210-avx512": "2.1.0", "torch222-transformers4576": "2.2.2"}


def brought_by_torch(name: str) -> bool:
    # triton 2.0.0 lists cmake and lit, NVIDIA's cu11 packages list wheel.
    return name.startswith("nvidia-") or name in ("torch", "triton", "cmake", "lit", "wheel")


def test_every_environment_file_of_the_project_is_looked_at_here() -> None:
    """Those that git carries: `reportlib init` may have made others since."""
    done = subprocess.run(
        ["git", "ls-files", "*environment-*.yml"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    default, further = (f"environment-{n}.yml" for n in ("torch201", "torch210")), [n for n in TORCH if n > "torch210"]
    varied = [f"environments/environment-{name}.yml" for name in VARIED]
    assert done.stdout.split() == [
        *default,
        *sorted([*(f"environments/environment-{n}.yml" for n in further), *varied]),
    ]
    assert set(spec_names(REPOSITORY)) >= set(TORCH)


@pytest.mark.parametrize("name", TORCH)
def test_the_projects_files_are_exact_and_their_locks_fit(name: str) -> None:
    spec = load_spec(name, REPOSITORY)
    assert spec.pins["torch"] == TORCH[name]
    assert len(spec.pins) == len(spec.pip)
    assert all("=" in text for text in spec.conda)
    lock = read_lock(spec)
    assert {package: lock.pins[package] for package in spec.pins} == spec.pins
    assert "sentence-transformers" not in lock.pins


@pytest.mark.parametrize("name", [name for name in TORCH if name != "torch201"])
def test_the_projects_environments_differ_in_torch_and_in_what_torch_brings_only(name: str) -> None:
    """Whatever else differed would be a rival explanation of every difference that a study finds."""
    first, second = load_spec("torch201", REPOSITORY), load_spec(name, REPOSITORY)
    assert set(first.pip) ^ set(second.pip) == {"torch==2.0.1", f"torch=={TORCH[name]}"}
    differing = {conda_name(text) for text in set(first.conda) ^ set(second.conda)}
    assert differing == {"cuda-nvcc", "cuda-libraries-dev"}
    assert set(first.channels) ^ set(second.channels) == {first.channels[0], second.channels[0]}
    pins = [read_lock(spec).pins for spec in (first, second)]
    common = [{k: v for k, v in found.items() if not brought_by_torch(k)} for found in pins]
    assert common[0] == common[1]
    assert len(common[0]) > 80


@pytest.mark.parametrize("name", [*TORCH, *VARIED])
def test_the_cuda_compiler_is_of_the_version_that_torch_brings(name: str) -> None:
    spec = load_spec(name, REPOSITORY)
    runtime = next(v for k, v in read_lock(spec).pins.items() if k.startswith("nvidia-cuda-runtime-"))
    nvcc = next(text.partition("=")[2] for text in spec.conda if conda_name(text) == "cuda-nvcc")
    assert nvcc.split(".")[:2] == runtime.split(".")[:2]


@pytest.mark.parametrize("name", [*TORCH, *VARIED])
def test_conda_env_create_can_read_the_projects_files(name: str) -> None:
    content = yaml.safe_load(load_spec(name, REPOSITORY).path.read_text())
    assert set(content) == {"name", "channels", "dependencies"}
    # conda refuses a pip part without pip itself.
    assert any(isinstance(d, str) and d.startswith("pip=") for d in content["dependencies"])
    cuda = next(d for d in content["dependencies"] if str(d).startswith("cuda-libraries-dev"))
    assert content["channels"][0] == f"nvidia/label/cuda-{cuda.partition('=')[2]}"
