"""What an environment's torch and compilers can do on this machine.

``python -m reportlib.capture.preflight --device cuda`` runs inside an environment and prints JSON; with ``--compile``
it compiles colbert-ai's C++ extensions ahead of time, and has colbert-ai encode a text. colbert-ai compiles them at
first use, through `torch.utils.cpp_extension`: where no compiler works, or colbert-ai does not go with the transformers
that is there, that is an error deep inside an index run; here it is one before any work, once an environment. torch is
imported only where something is measured or compiled, so that the host can use the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reportlib.errors import CheckpointError, CompilerError, DeviceError, ReportlibError

#: Instruction sets that change how fast, and in which order, matrix products are summed.
_SETS = re.compile(r"sse4_2|fma|f16c|avx\w*|amx\w*|asimd\w*|bf16|sve\w*")
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
_RELEASE = re.compile(r"release (\d+)\.(\d+)")
#: Rows and columns of the matrices that time bfloat16, and how often each product is timed.
_SIZE, _REPEATS = 512, 7
_MEND = "install a C++ compiler (Debian, Ubuntu: apt-get install g++) and make the environment again"
#: How the process ends where the extensions compile and colbert-ai cannot encode.
CANNOT_ENCODE = 3
#: A flag of a compiler that names a folder, as torch writes it.
_FOLDER_FLAG = re.compile(r"(-I|-L|-isystem )([/'].*)", re.DOTALL)


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it: its name, compute capability, and memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes
    ----------
    torch : str
        Version of torch.
    cpu_capability : str
        The instruction set that torch's own kernels use: ``AVX2``, ``AVX512``, ``DEFAULT``.
    instruction_sets : tuple of str
        Of the CPU, as the operating system names them.
    bfloat16_ratio : float
        Time of a bfloat16 matrix product on the CPU over that of a float32 one of the same size.
    bfloat16 : str
        ``native`` when bfloat16 is the faster, ``emulated`` otherwise.
    cuda_build : str
        CUDA version that torch is built for; empty for a CPU build.
    architectures : tuple of str
        GPU kernels in this build: ``sm_80``, ``compute_90``.
    nvcc : str
        CUDA version of the compiler that colbert-ai's GPU extensions would use; empty when there is none.
    gpus : tuple of Gpu
        Those that torch can see.
    """

    torch: str
    cpu: str
    cpu_capability: str
    instruction_sets: tuple[str, ...]
    threads: int
    bfloat16_ratio: float
    bfloat16: str
    cuda_build: str
    architectures: tuple[str, ...]
    nvcc: str
    gpus: tuple[Gpu, ...]


def supports(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether a build with kernels for `architectures` runs on a GPU.

    Compiled kernels (``sm_XY``) run on the same major version from their own minor version on; intermediate code
    (``compute_XY``) is compiled by the driver for anything from XY on. A trailing ``a`` ties either to exactly XY, an
    ``f`` ties it to its major version (NVIDIA, CUDA C++ Programming Guide, "Compute capabilities").
    """
    for name in architectures:
        match = _ARCHITECTURE.fullmatch(name)
        if match is None:
            continue
        kind, major, minor, bound = match[1], int(match[2]), int(match[3]), match[4]
        if bound == "a":
            fits = capability == (major, minor)
        elif kind == "sm" or bound == "f":
            fits = capability[0] == major and capability[1] >= minor
        else:
            fits = capability >= (major, minor)
        if fits:
            return True
    return False


def device_error(measured: Preflight, device: str) -> ReportlibError | None:
    """Return why `device` cannot be used with what was measured, or None when it can.

    Returns
    -------
    DeviceError
        No GPU, a CPU build of torch, or a GPU that the build has no kernels for.
    CompilerError
        A GPU that works, but no CUDA compiler that fits for colbert-ai's GPU extensions.
    """
    if device == "cpu":
        return None
    if not measured.cuda_build:
        return DeviceError(
            f"torch {measured.torch} is a build without CUDA",
            "use --device cpu, or a CUDA build of torch",
        )
    if not measured.gpus:
        return DeviceError(
            f"torch {measured.torch} sees no CUDA GPU here",
            "use --device cpu; if there is a GPU, look at nvidia-smi (driver) and at CUDA_VISIBLE_DEVICES",
        )
    gpu = measured.gpus[0]
    if not supports(gpu.capability, measured.architectures):
        return DeviceError(
            f"torch {measured.torch} has no kernels for the {gpu.name} (compute capability"
            f" {gpu.capability[0]}.{gpu.capability[1]}); it has {', '.join(measured.architectures)}",
            "use --device cpu, a GPU that this torch knows, or a newer torch",
        )
    if measured.nvcc.split(".")[0] != measured.cuda_build.split(".")[0]:
        there = f"nvcc is of CUDA {measured.nvcc}" if measured.nvcc else "there is no nvcc"
        return CompilerError(
            f"on a GPU colbert-ai compiles CUDA kernels; torch {measured.torch} is built for CUDA"
            f" {measured.cuda_build}, and {there}",
            f"install CUDA {measured.cuda_build} and set CUDA_HOME; the rattler backend and conda install it from the"
            " environment file",
        )
    return None


def instruction_sets() -> tuple[str, ...]:
    """Return the CPU's instruction sets that matter here, sorted; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return tuple(sorted(w for w in set(line[1].split()) if _SETS.fullmatch(w))) if line else ()


def cpu_name() -> str:
    """Return the CPU's name as the operating system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    line = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return line[1].strip() if line else platform.processor() or platform.machine()


def cpu_capability(config: str) -> str:
    """Return the instruction set that torch's own kernels use, by its configuration; empty where that is silent."""
    usage = re.search(r"CPU capability usage: (\S+)", config)
    return usage[1] if usage else ""


def nvcc_version() -> str:
    """Return the CUDA version of the nvcc that torch's extensions would use; empty when there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    program = str(Path(home, "bin", "nvcc")) if home else shutil.which("nvcc")
    if not program:
        return ""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    match = _RELEASE.search(done.stdout)
    return f"{match[1]}.{match[2]}" if match else ""


def measure() -> Preflight:
    """Measure what torch can do here; takes about a second beside importing torch."""
    import torch

    ratio = _bfloat16_ratio(torch)
    gpus = []
    architectures: list[str] = []
    if torch.version.cuda:
        # torch.cuda.get_arch_list() is empty where no GPU is visible; the build's own list is what is asked for.
        architectures = (torch._C._cuda_getArchFlags() or "").split()
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(index)
            gpus.append(Gpu(seen.name, (seen.major, seen.minor), seen.total_memory))
    return Preflight(
        torch=torch.__version__,
        cpu=cpu_name(),
        cpu_capability=cpu_capability(torch.__config__.show()),
        instruction_sets=instruction_sets(),
        threads=torch.get_num_threads(),
        bfloat16_ratio=round(ratio, 3),
        bfloat16="native" if ratio < 1 else "emulated",
        cuda_build=torch.version.cuda or "",
        architectures=tuple(architectures),
        nvcc=nvcc_version(),
        gpus=tuple(gpus),
    )


def _bfloat16_ratio(torch: Any) -> float:
    times = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(_SIZE, _SIZE, dtype=dtype)
        # A linear layer, because BERT is made of them and each version of torch has its own path for it.
        torch.nn.functional.linear(matrix, matrix)
        taken = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            torch.nn.functional.linear(matrix, matrix)
            taken.append(time.perf_counter() - start)
        times[dtype] = min(taken)
    return float(times[torch.bfloat16] / times[torch.float32])


def report(measured: Preflight, device: str) -> dict[str, Any]:
    """Return what was found and whether `device` can be used, ready for JSON."""
    error = device_error(measured, device)
    return {
        **asdict(measured),
        "device": device,
        "usable": error is None,
        "error": "" if error is None else type(error).__name__,
        "what": "" if error is None else error.what,
        "mend": "" if error is None else error.mend,
    }


def check_compiler() -> None:
    """Raise `CompilerError` when there is no C++ compiler, or no ninja, for torch's extensions to use."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise CompilerError(f"colbert-ai compiles C++ extensions, and there is no compiler ({compiler}) on PATH", _MEND)
    if shutil.which("ninja") is None:
        raise CompilerError(
            "colbert-ai compiles C++ extensions with ninja, and ninja is not on PATH",
            "run inside the environment's kernel, which puts the environment's bin folder on PATH",
        )


def quote_paths() -> None:
    """Have torch quote the paths in the lines that it gives ninja, and ninja a shell.

    Older versions (2.0.1, 2.1.0) write them as they are: a space in the environment's path ends a flag, and a semicolon
    begins a command. Newer ones (2.7.1, 2.8.0) quote them, and leave a dollar to ninja. A plain path stays as it is.
    """
    from torch.utils import cpp_extension

    original = cpp_extension._write_ninja_file
    if getattr(original, "quotes_paths", False):
        return

    def write(*args: Any, **kwargs: Any) -> Any:
        quoted = {
            name: list(map(quoted_flag, value)) if name.endswith("flags") and isinstance(value, list) else value
            for name, value in kwargs.items()
        }
        if "sources" in quoted:
            quoted["sources"] = [source.replace("$", "$$") for source in quoted["sources"]]
        return original(*args, **quoted)

    write.quotes_paths = True  # type: ignore[attr-defined]
    cpp_extension._write_ninja_file = write


def quoted_flag(flag: str) -> str:
    """Return a compiler's flag with the folder in it quoted for a shell, unless torch did that, and for ninja."""
    match = _FOLDER_FLAG.fullmatch(flag)
    if match is None:
        return flag
    folder = match[2] if match[2].startswith("'") else shlex.quote(match[2])
    return match[1] + folder.replace("$", "$$")


def compile_extensions() -> None:
    """Compile what indexing and searching on this machine's device need."""
    check_compiler()
    quote_paths()
    import torch
    from colbert.indexing.codecs.residual import ResidualCodec
    from colbert.modeling.colbert import ColBERT
    from colbert.search.index_storage import IndexScorer
    from colbert.search.strided_tensor import StridedTensor

    use_gpu = torch.cuda.is_available()
    try:
        for owner in (ColBERT, ResidualCodec, IndexScorer, StridedTensor):
            owner.try_load_torch_extensions(use_gpu)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        tail = "\n".join(str(error).strip().splitlines()[-12:])
        raise CompilerError(f"colbert-ai's extensions do not compile here:\n{tail}", _MEND) from error


def encode_once() -> None:
    """Have colbert-ai load a checkpoint of a few random numbers and encode a text with it."""
    try:
        from colbert.infra import ColBERTConfig
        from colbert.modeling.checkpoint import Checkpoint
        from transformers import BertConfig, BertModel

        with TemporaryDirectory() as folder:
            words = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *string.punctuation]
            Path(folder, "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
            sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
            BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
            Path(folder, "artifact.metadata").write_text(json.dumps({"dim": 8, "doc_maxlen": 8}), encoding="utf-8")
            Checkpoint(folder, colbert_config=ColBERTConfig(), verbose=0).docFromText(["a"])
    except Exception as error:
        held = " and ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "torch"))
        raise CheckpointError(
            f"colbert-ai {metadata.version('colbert-ai')} cannot encode with {held}: {type(error).__name__}: {error}"
        ) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report of this process's torch as JSON, or compile colbert-ai's extensions and see that it encodes."""
    parser = argparse.ArgumentParser(prog="python -m reportlib.capture.preflight")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--compile", action="store_true", help="compile colbert-ai's extensions, and see that it encodes"
    )
    chosen = parser.parse_args(arguments)
    if chosen.compile:
        compile_extensions()
        try:
            encode_once()
        except CheckpointError as error:
            sys.stderr.write(f"\n{error.what}\n")
            sys.exit(CANNOT_ENCODE)
        return
    json.dump(report(measure(), chosen.device), sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    try:
        main()
    except ReportlibError as error:
        sys.exit(f"{type(error).__name__}: {error}")
