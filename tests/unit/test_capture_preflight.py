"""What a torch and its compilers can do on a machine, judged without torch."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from reportlib.capture import preflight
from reportlib.capture.preflight import Gpu, Preflight, device_error, quote_paths, quoted_flag, supports
from reportlib.errors import CompilerError, DeviceError

#: As `torch._C._cuda_getArchFlags()` gives them in PyPI's wheels.
TORCH_201 = ("sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86")
TORCH_210 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((8, 0), TORCH_201, True),  # A100
        ((8, 9), TORCH_201, True),  # L4: kernels for 8.6 run on a later minor version
        ((9, 0), TORCH_201, False),  # H100, H200
        ((9, 0), TORCH_210, True),
        ((10, 0), TORCH_210, False),  # B200
        ((12, 0), TORCH_210, False),
        ((3, 5), TORCH_201, False),  # older than the oldest
        ((3, 7), TORCH_210, False),
        ((7, 2), ("sm_75",), False),  # not backwards within a major version
        ((8, 9), ("sm_90",), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # intermediate code is compiled by the driver
        ((12, 0), ("compute_90",), True),
        ((8, 0), ("compute_90",), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((10, 0), ("compute_90a",), False),
        ((10, 3), ("sm_100f",), True),
        ((11, 0), ("sm_100f",), False),
        ((10, 0), ("sm_100",), True),
        ((12, 1), ("sm_120",), True),
        ((9, 0), (), False),
        ((9, 0), ("gfx90a",), False),  # ROCm's names
    ],
)
def test_which_gpus_a_build_runs_on(
    capability: tuple[int, int], architectures: tuple[str, ...], expected: bool
) -> None:
    assert supports(capability, architectures) is expected


FOUND = Preflight(
    torch="2.0.1+cu117",
    cpu="a CPU",
    cpu_capability="AVX2",
    instruction_sets=("avx2",),
    threads=2,
    bfloat16_ratio=30.0,
    bfloat16="emulated",
    cuda_build="11.7",
    architectures=TORCH_201,
    nvcc="11.7",
    gpus=(Gpu("NVIDIA L4", (8, 9), 24 * 1024**3),),
)


def test_a_cpu_always_does() -> None:
    assert device_error(replace(FOUND, gpus=(), nvcc="", cuda_build=""), "cpu") is None


def test_a_gpu_that_fits_does() -> None:
    assert device_error(FOUND, "cuda") is None
    assert device_error(replace(FOUND, nvcc="11.8"), "cuda") is None  # torch only warns of a minor version


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (replace(FOUND, gpus=()), DeviceError, ("sees no CUDA GPU", "CUDA_VISIBLE_DEVICES")),
        (replace(FOUND, cuda_build=""), DeviceError, ("without CUDA", "--device cpu")),
        (
            replace(FOUND, gpus=(Gpu("NVIDIA H200", (9, 0), 1),)),
            DeviceError,
            ("no kernels for the NVIDIA H200", "9.0", "sm_86", "newer torch"),
        ),
        (replace(FOUND, nvcc=""), CompilerError, ("there is no nvcc", "CUDA 11.7")),
        (
            replace(FOUND, nvcc="12.1"),
            CompilerError,
            ("nvcc is of CUDA 12.1", "built for CUDA 11.7"),
        ),
    ],
)
def test_a_gpu_that_cannot_be_used_is_explained(
    found: Preflight, kind: type[Exception], words: tuple[str, ...]
) -> None:
    error = device_error(found, "cuda")
    assert type(error) is kind
    assert all(word in str(error) for word in words)


def test_the_report_is_json_with_the_verdict_in_it() -> None:
    good = json.loads(json.dumps(preflight.report(FOUND, "cuda")))
    assert (good["usable"], good["error"], good["gpus"][0]["capability"]) == (True, "", [8, 9])
    bad = preflight.report(replace(FOUND, gpus=()), "cuda")
    assert (bad["usable"], bad["error"]) == (False, "DeviceError")
    assert "sees no CUDA GPU" in bad["what"]


def test_instruction_sets_are_those_of_this_cpu() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("only Linux says")
    found = preflight.instruction_sets()
    words = set(Path("/proc/cpuinfo").read_text().split())
    assert found
    assert set(found) <= words
    assert ("avx2" in words) == ("avx2" in found)
    assert "fpu" not in found


@pytest.mark.parametrize(
    ("said", "expected"),
    [("Cuda compilation tools, release 11.7, V11.7.99", "11.7"), ("something else", "")],
)
def test_nvcc_is_asked_for_its_version(
    said: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvcc"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert preflight.nvcc_version() == expected
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert preflight.nvcc_version() == ""


def test_it_imports_neither_torch_nor_anything_else_that_environments_lack() -> None:
    """The host uses its pure half; environments have none of the host's packages."""
    script = (
        "import sys; before = set(sys.modules); import reportlib.capture.preflight;"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ast.literal_eval(done.stdout)) <= {"reportlib", "numpy", "safetensors"}


def write_ninja_file(path: Path, cflags: list[str], sources: list[str], ldflags: list[str], with_cuda: bool) -> None:
    """Do what torch's own does, as far as paths go: every flag as it is, spaces alone escaped in a source."""
    assert not with_cuda
    escaped = " ".join(source.replace(" ", "$ ") for source in sources)
    path.write_text("\n".join([" ".join(cflags), escaped, " ".join(ldflags)]))


def run_as_ninja_does(path: Path) -> list[str]:
    """Return the arguments that a compiler is given: ninja undoes its own escapes, and quotes the names of inputs."""
    cflags, source, ldflags = (re.sub(r"\$([$ ])", r"\1", line) for line in path.read_text().split("\n"))
    line = f"printf '%s\\n' {cflags} -c {shlex.quote(source)} {ldflags}"
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S602


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("torch.utils.cpp_extension")
    module._write_ninja_file = write_ninja_file  # type: ignore[attr-defined]
    utils = ModuleType("torch.utils")
    utils.cpp_extension = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "torch.utils", utils)
    monkeypatch.setitem(sys.modules, "torch.utils.cpp_extension", module)
    return module


@pytest.mark.parametrize("name", ["plain", "a b", "a;touch hacked;b", "[1] {x}", "$HOME `x`", 'it\'s "so"', "-é*?"])
def test_any_folder_reaches_the_compiler_as_it_is(
    torch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    monkeypatch.chdir(tmp_path)
    quote_paths()
    quote_paths()  # once is enough
    torch._write_ninja_file(
        path=tmp_path / "build.ninja",
        cflags=["-DNAME=x", f"-I{folder}", f"-isystem {folder}", "-fPIC"],
        sources=[str(folder / "x.cpp")],
        ldflags=[f"-L{folder}", "-lc10"],
        with_cuda=False,
    )
    parts = ["-DNAME=x", f"-I{folder}", "-isystem", str(folder), "-fPIC", "-c", str(folder / "x.cpp"), f"-L{folder}"]
    assert run_as_ninja_does(tmp_path / "build.ninja") == [*parts, "-lc10"]
    assert not list(tmp_path.rglob("hacked"))


def test_what_torch_has_quoted_is_only_escaped_for_ninja() -> None:
    assert quoted_flag("-isystem '/a $HOME b'") == "-isystem '/a $$HOME b'"


def test_a_flag_that_needs_no_quotes_is_left_as_it_was() -> None:
    for flag in ("-I/usr/include", "-isystem /usr/include", "-O3", "-D_GLIBCXX_USE_CXX11_ABI=0", "-isystem '/a b'"):
        assert quoted_flag(flag) == flag
