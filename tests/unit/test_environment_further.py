"""Environment files for further versions of torch: the pins of the nearest, and what the version itself needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reportlib.environments import further as module
from reportlib.environments import spec as spec_module
from reportlib.environments.further import environment_name, full_version, further, varied, wheel_cuda, with_cuda
from reportlib.environments.spec import (
    EnvironmentSpec,
    Lock,
    UvFailedError,
    load_spec,
    parse,
    read_lock,
    resolve,
    write_lock,
)
from reportlib.errors import EnvironmentCreationError, EnvironmentFileError, PinsConflictError

REPOSITORY = Path(__file__).parents[2]
HASH = f" \\\n    --hash=sha256:{'0' * 64}\n"


class Registry:
    """Stands in for the package registry: resolves what is pinned, and what is not to ``99``."""

    def __init__(self, cuda: str = "12.4.127", refuses: str = "") -> None:
        self.cuda, self.refuses = cuda, refuses
        self.asked: list[EnvironmentSpec] = []
        self.preferred: Lock | None = None

    def __call__(self, spec: EnvironmentSpec, *, prefer: Lock | None = None, progress: Any = None) -> Lock:
        del progress
        self.asked.append(spec)
        self.preferred = prefer
        if self.refuses and self.refuses in spec.pins:
            raise PinsConflictError(f"{spec.path} asks for versions that do not go together")
        pins = {name.split("==")[0].strip(): "99" for name in spec.pip} | spec.pins
        return parse("".join(f"{name}=={version}{HASH}" for name, version in pins.items()) + self._runtime())

    def _runtime(self) -> str:
        return f"nvidia-cuda-runtime-cu12=={self.cuda}{HASH}" if self.cuda else ""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(module, "resolve", made)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that the repository itself carries, whatever else lies beside them by now."""
    (tmp_path / "environments").mkdir()
    for number in ("201", "210", "222", "271", "280"):
        spec = load_spec(f"torch{number}", REPOSITORY)
        for file in (spec.path, spec.lock_path):
            (tmp_path / file.relative_to(REPOSITORY)).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("version", "full", "name"),
    [
        ("2.6.0", "2.6.0", "torch260"),
        ("2.6", "2.6.0", "torch260"),
        ("1.13.1", "1.13.1", "torch1131"),
        ("2.10.0", "2.10.0", "torch2100"),
        ("v2.6.0", "2.6.0", "torch260"),
        ("2.6rc1", "2.6.0rc1", "torch260rc1"),
        ("2.9.0.dev20250810", "2.9.0.dev20250810", "torch290dev20250810"),
    ],
)
def test_a_version_has_a_name(version: str, full: str, name: str) -> None:
    assert (full_version(version), environment_name(version)) == (full, name)


@pytest.mark.parametrize("version", ["", "new", "2.6.0.post1", "2.6.0+cpu", "2.6.0.1", "1!2.6", ">=2.6"])
def test_only_released_versions_are_taken(version: str) -> None:
    with pytest.raises(EnvironmentFileError, match="is not a released version of torch"):
        environment_name(version)


@pytest.mark.parametrize("version", ["2.6.0", "1.13.1", "2.2.1", "2.15.0"])
def test_the_new_file_differs_in_torch_and_cuda_only(project: Path, registry: Registry, version: str) -> None:
    made = further(version, project)
    assert [path.name for path in made.write(project)] == [
        f"environment-{made.name}.yml",
        f"environment-{made.name}.lock.txt",
    ]
    new, base = load_spec(made.name, project), load_spec(made.base, project)
    old = base.pins["torch"]
    assert set(new.pip) ^ set(base.pip) == {f"torch=={version}", f"torch=={old}"}
    assert new.python == base.python
    assert {text for text in (*new.conda, *base.conda) if "cuda" not in text} == {
        text for text in base.conda if "cuda" not in text
    }
    assert [c for c in new.channels if "nvidia" not in c] == [c for c in base.channels if "nvidia" not in c]
    read_lock(new)
    assert registry.preferred is not None
    assert registry.preferred.pins == read_lock(base).pins, "what the base has is kept where it fits"


def test_the_text_of_the_new_file_speaks_of_itself(project: Path, registry: Registry) -> None:
    assert registry
    text = further("2.6.0", project).text
    assert text.startswith("# torch 2.6.0 with everything it runs beside.")
    assert "conda env create -f environments/environment-torch260.yml" in text
    assert "reportlib env adopt torch260 PREFIX" in text
    assert "torch271" not in text
    # What a comment says of other versions stays true of them.
    assert "# torch 2.0.1 imports pkg_resources.packaging" in text
    assert max(map(len, text.splitlines())) <= 130
    assert yaml.safe_load(text)["name"] == "torch260"


@pytest.mark.parametrize(
    ("version", "base"),
    [
        ("2.6.0", "torch271"),
        ("2.3.0", "torch222"),
        ("2.1.2", "torch210"),
        ("1.13.1", "torch201"),
        ("2.15.0", "torch280"),
    ],
)
def test_the_nearest_version_gives_its_pins(project: Path, registry: Registry, version: str, base: str) -> None:
    assert registry
    assert further(version, project).base == base


def test_a_version_that_has_its_file_is_left_alone(project: Path, registry: Registry) -> None:
    made = further("2.1", project)
    assert (made.name, made.text, made.write(project), registry.asked) == ("torch210", "", [], [])


@pytest.mark.usefixtures("registry")
def test_a_file_of_that_name_for_another_version_is_not_taken_for_it(project: Path, registry: Registry) -> None:
    assert registry
    theirs = (project / "environment-torch210.yml").read_text().replace("name: torch210", "name: torch260")
    (project / "environment-torch260.yml").write_text(theirs)
    with pytest.raises(
        EnvironmentFileError, match=r"environment-torch260.yml is there, and is for torch 2.1.0, not 2.6"
    ):
        further("2.6.0", project)


def test_nothing_is_written_over(project: Path, registry: Registry) -> None:
    assert registry
    made = further("2.6.0", project)
    made.write(project)
    with pytest.raises(FileExistsError):
        made.write(project)


def test_a_pin_that_the_version_does_not_go_with_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.15 asks for a setuptools that 2.8 does not: another difference between the environments."""
    monkeypatch.setattr(module, "resolve", Registry(refuses="setuptools"))
    made = further("2.15.0", project)
    assert made.other_pins == ("setuptools 69.5.1 -> 99",)
    made.write(project)
    new = load_spec("torch2150", project)
    assert new.pins["setuptools"] == "99"
    assert "# torch 2.15.0 does not go with 69.5.1, which torch280 has." in made.text
    assert len(new.pins) == len(new.pip), "every package is pinned"
    read_lock(new)


def test_what_computes_is_never_unpinned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(refuses="transformers")
    monkeypatch.setattr(module, "resolve", registry)
    with pytest.raises(PinsConflictError, match="environment-torch260"):
        further("2.6.0", project)
    for spec in registry.asked:
        assert {"torch", "colbert-ai", "faiss-cpu", "transformers", "tokenizers", "numpy", "safetensors"} <= set(
            spec.pins
        )


def test_without_a_registry_the_file_has_no_lock_and_says_what_it_does_not_know(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> Lock:
        raise EnvironmentCreationError("the package registry cannot be reached")

    monkeypatch.setattr(module, "resolve", unreachable)
    made = further("2.6.0", project)
    assert made.lock is None
    assert "cannot be reached" in made.asked
    assert [path.name for path in made.write(project)] == ["environment-torch260.yml"]
    spec = load_spec("torch260", project)
    assert not [text for text in (*spec.conda, *spec.channels) if "cuda" in text]
    assert "CUDA version that could not be looked up" in made.text


def test_a_version_that_does_not_exist_is_refused_with_its_neighbours(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "no solution: Because there is no version of torch==2.6.7 and you require torch==2.6.7, we conclude"

    def uv(*_: Any, **__: Any) -> str:
        raise UvFailedError(said)

    monkeypatch.setattr(spec_module, "run_uv", uv)
    monkeypatch.setattr("reportlib.environments.spec._nearest", lambda *_: "2.6.0 and 2.7.0")
    with pytest.raises(EnvironmentFileError, match=r"(?s)torch267.yml: torch has no version 2.6.7.*2.6.0 and 2.7.0"):
        further("2.6.7", project)
    assert not (project / "environment-torch267.yml").exists()


def test_a_project_without_environment_files_has_nothing_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match="no environment file to start from"):
        further("2.6.0", tmp_path)


# -- the CUDA compiler -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pins", "version"),
    [
        ({"nvidia-cuda-runtime-cu11": "11.7.99"}, "11.7"),
        ({"nvidia-cuda-runtime-cu12": "12.4.127"}, "12.4"),
        ({"nvidia-cuda-runtime": "13.2.86"}, "13.2"),
        ({"nvidia-cuda-nvrtc-cu12": "12.4.127", "torch": "2.6.0"}, ""),
    ],
)
def test_the_wheels_say_their_cuda_version(pins: dict[str, str], version: str) -> None:
    assert wheel_cuda(pins) == version


def test_a_compiler_that_another_file_has_is_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resolve", Registry(cuda="11.7.99"))
    made = further("2.8.1", project)
    made.write(project)
    spec = load_spec("torch281", project)
    assert spec.channels[0] == "nvidia/label/cuda-11.7.1"
    assert {"cuda-nvcc=11.7.99", "cuda-libraries-dev=11.7.1"} <= set(spec.conda)
    assert made.base == "torch280"
    assert "# torch 2.8.1 from PyPI is built for CUDA 11.7" in made.text
    assert "12.8.93" not in made.text


def test_a_compiler_that_none_has_is_left_out_with_a_comment(project: Path, registry: Registry) -> None:
    assert registry
    made = further("2.6.0", project)
    made.write(project)
    spec = load_spec("torch260", project)
    assert not [text for text in (*spec.conda, *spec.channels) if "cuda" in text or "nvidia" in text]
    assert "# torch 2.6.0 from PyPI is built for CUDA 12.4. For a GPU add a CUDA compiler" in made.text


def test_a_file_without_a_compiler_stays_without() -> None:
    text = "name: mine\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11.11\n"
    assert with_cuda(text, "2.6.0", "12.1", [(REPOSITORY / "environment-torch210.yml").read_text()]) == text


# -- resolving beside another lock ---------------------------------------------------------------------


def test_a_preferred_lock_is_what_uv_finds_in_its_place(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def uv(arguments: list[Any], **_: Any) -> str:
        output = Path(arguments[arguments.index("--output-file") + 1])
        if output.name == "pylock.toml":
            output.write_text(PYLOCK)
            return ""
        found.append(output.read_text() if output.exists() else "")
        output.write_text("torch==2.1.0")
        return "what uv prints does not count"

    monkeypatch.setattr(spec_module, "run_uv", uv)
    spec = load_spec("torch210", project)
    preferred = parse(f"torch==2.0.1{HASH}")
    assert resolve(spec).pins == resolve(spec, prefer=preferred).pins == {"torch": "2.1.0", "old": "1.0"}
    assert found == ["", preferred.text]


#: What uv says of a package's files: a wheel for here, one for another platform, and the source.
PYLOCK = """
[[packages]]
name = "torch"
version = "2.1.0"
sdist = { url = "https://x/torch-2.1.0.tar.gz", hashes = { sha256 = "%s" } }
wheels = [
  { url = "https://x/torch-2.1.0-cp311-cp311-manylinux1_x86_64.whl", hashes = { sha256 = "%s" } },
  { url = "https://x/torch-2.1.0-cp311-none-macosx_11_0_arm64.whl", hashes = { sha256 = "%s" } },
  { url = "https://x/torch-2.1.0-cp312-cp312-manylinux1_x86_64.whl", hashes = { sha256 = "%s" } },
]
[[packages]]
name = "old"
version = "1.0"
sdist = { url = "https://x/old-1.0.tar.gz", hashes = { sha256 = "%s" } }
""" % tuple(digit * 64 for digit in "abcde")  # noqa: UP031  (braces are TOML's)


def test_a_lock_keeps_the_hashes_of_what_can_be_installed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def uv(arguments: list[Any], **_: Any) -> str:
        Path(arguments[arguments.index("--output-file") + 1]).write_text(PYLOCK)
        return ""

    monkeypatch.setattr(spec_module, "run_uv", uv)
    text = spec_module._hashed(project / "pins.txt", "3.11")
    assert text.split() == [
        "old==1.0", "\\", f"--hash=sha256:{'e' * 64}", "torch==2.1.0", "\\", f"--hash=sha256:{'b' * 64}",
    ]  # fmt: skip
    assert "x/" not in text, "no address"


def test_a_lock_made_like_another_keeps_what_fits(project: Path, registry: Registry, monkeypatch: Any) -> None:
    monkeypatch.setattr(spec_module, "resolve", registry)
    spec, other = load_spec("torch222", project), load_spec("torch210", project)
    write_lock(spec, like=other)
    assert registry.preferred is not None
    assert registry.preferred.pins == read_lock(other).pins
    write_lock(spec)
    assert registry.preferred is None
    read_lock(spec)


# Another package than torch.


def test_a_varied_file_differs_in_its_package_and_in_what_that_cannot_keep(project: Path, registry: Registry) -> None:
    registry.refuses = "tokenizers"
    made = varied("Transformers", "4.57.6", "torch222", project)
    made.write(project)
    new, base = load_spec("torch222-transformers4576", project), load_spec("torch222", project)
    changed = {name: version for name, version in new.pins.items() if base.pins[name] != version}
    assert changed["transformers"] == "4.57.6"
    assert changed["tokenizers"] == "99"
    assert "torch" not in changed
    assert "colbert-ai" not in changed
    assert "tokenizers 0.15.2 -> 99" in made.other_pins
    assert (new.conda, new.channels) == (base.conda, base.channels)
    read_lock(new)
    assert registry.preferred is not None
    assert registry.preferred.pins == read_lock(base).pins, "what the base has is kept where it fits"
    text = new.path.read_text()
    assert "# It is torch222 with another transformers, and with what that brings." in text
    assert "# torch222 has 4.38.2." in text


def test_a_varied_file_that_goes_with_every_pin_keeps_them(project: Path, registry: Registry) -> None:
    made = varied("faiss-cpu", "1.8.0", "torch210", project)
    assert made.other_pins == ()
    assert len(registry.asked) == 1


def test_a_version_that_is_there_needs_no_file(project: Path, registry: Registry) -> None:
    assert (made := varied("transformers", "4.38.2", "torch210", project)).name == "torch210"
    assert not made.text
    varied("transformers", "4.40.1", "torch210", project).write(project)
    again = varied("transformers", "4.40.1", "torch210", project)
    assert (again.name, again.text) == ("torch210-transformers4401", "")
    assert len(registry.asked) == 1


@pytest.mark.parametrize(
    ("package", "version", "says"),
    [
        ("torch", "2.2.0", "its own option"),
        ("flask", "3.0", "does not pin flask"),
        ("transformers", "newest", "is no version of transformers"),
    ],
)
def test_what_cannot_be_varied_is_said(
    project: Path, registry: Registry, package: str, version: str, says: str
) -> None:
    with pytest.raises(EnvironmentFileError, match=says):
        varied(package, version, "torch210", project)
    assert not registry.asked


def test_what_goes_with_no_pins_is_said(project: Path, registry: Registry) -> None:
    registry.refuses = "torch"
    with pytest.raises(PinsConflictError):
        varied("transformers", "4.57.6", "torch210", project)


@pytest.mark.usefixtures("registry")
def test_a_file_of_that_name_for_another_version_is_left_alone(project: Path) -> None:
    varied("transformers", "4.40.1", "torch210", project).write(project)
    with pytest.raises(EnvironmentFileError, match=r"is for transformers 4\.40\.1, not 44\.01"):
        varied("transformers", "44.01", "torch210", project)
