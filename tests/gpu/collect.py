"""Collects what a GPU machine without a registry lacks, in pieces that can be carried there.

    python tests/gpu/collect.py INPUTS [FOLDER]

INPUTS is the folder that `reportlib prepare` filled (``.reportlib/inputs``). FOLDER (``.gpu``, which git ignores) gets
``wheels``, for Python 3.12, and the inputs in parts, each piece below 64 MiB. On the GPU machine ``tests/gpu/there.sh``
puts them in place and runs the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

LIMIT = 48 << 20
WHEELS = Path(__file__).with_name("wheels.txt")
PLATFORMS = ("2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2014")


def wheels(folder: Path) -> None:
    """Download the wheels of ``wheels.txt`` for Python 3.12 on x86-64."""
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [f"manylinux{'' if tag == '2014' else '_'}{tag}_x86_64" for tag in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp"]
    command += [word for each in platforms for word in ("--platform", each)]
    subprocess.run([*command, "-d", str(folder), "-r", str(WHEELS)], check=True)


def inputs(source: Path, folder: Path) -> None:
    """Copy the collection, and the checkpoint with its weights cut into parts."""
    for old in folder.glob("part-*"):
        shutil.rmtree(old)
    first = folder / "part-1"
    shutil.copytree(source / "collection", first / "collection")
    shutil.copytree(source / "checkpoint", first / "checkpoint", ignore=shutil.ignore_patterns("*.safetensors"))
    weights = (source / "checkpoint" / "model.safetensors").read_bytes()
    room = LIMIT - sum(f.stat().st_size for f in first.rglob("*") if f.is_file())
    for number, start in enumerate(range(0, len(weights), room), start=1):
        part = folder / f"part-{number}"
        part.mkdir(exist_ok=True)
        (part / f"model.{number}").write_bytes(weights[start : start + room])


def main() -> None:
    """Collect, and say how large each piece is; one that cannot be carried is an error."""
    source = Path(sys.argv[1])
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else ".gpu")
    folder.mkdir(exist_ok=True)
    wheels(folder / "wheels")
    inputs(source, folder)
    for piece in sorted(folder.iterdir()):
        size = sum(f.stat().st_size for f in piece.rglob("*") if f.is_file())
        print(f"{piece}: {size / (1 << 20):.1f} MiB")
        if size > LIMIT + (1 << 20):
            sys.exit(f"{piece} is larger than {LIMIT >> 20} MiB: it cannot be carried")


if __name__ == "__main__":
    main()
