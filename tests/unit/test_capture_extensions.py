"""torch's lines for ninja and the shell, with the paths in them quoted; a module stands in for torch's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reportlib.capture.preflight import quote_paths, quoted_flag


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
