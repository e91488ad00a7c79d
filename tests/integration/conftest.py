"""Both real environments, made once; captures of a few passages in them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reportlib.store import Capture, project_home
from reportlib.study import SwapSpec
from reportlib.workflow.run import host_variables

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "studies" / "small" / "study.toml"
ENVIRONMENTS = ("torch201", "torch210")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def home() -> Path:
    return project_home()


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a program as `reportlib run` does: the host's programs first, the project's kernels known.

    It does not ask for `home`, which some files replace by an empty one of their own.
    """

    def start(*command: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**host_variables(project_home()), **extra},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    return start


@pytest.fixture(scope="session", autouse=True)
def environments(run: Run) -> None:
    """Make both environments from their files, unless they are made: minutes on a fresh machine."""
    for name in ENVIRONMENTS:
        run("reportlib", "env", "create", name)
    run("reportlib", "prepare", str(SMALL))


@pytest.fixture(scope="session")
def capture(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Capture]:
    """Capture 16 passages with the real notebook; the same parameters give the same capture back."""
    folder = tmp_path_factory.mktemp("captures")
    known: dict[str, Capture] = {}

    def make(environment: str, **parameters: str) -> Capture:
        parameters = {name: value for name, value in parameters.items() if value}
        name = "-".join([environment, *(f"{k}={Path(v).name}" for k, v in sorted(parameters.items()))])
        if name not in known:
            output = folder / name
            given = {"environment": environment, "passages": "16", "output": str(output), **parameters}
            options = [part for key, value in given.items() for part in ("-p", key, value)]
            executed = str(folder / f"{name}.ipynb")
            run("papermill", "notebooks/capture.ipynb", executed, "-k", environment, *options)
            known[name] = Capture.open(output)
        return known[name]

    return make


@pytest.fixture(scope="session")
def swaps(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Swap with the real notebook, as `capture` captures: each set's capture by name, or how a refused run ended."""
    folder = tmp_path_factory.mktemp("swaps")
    known: dict[str, Any] = {}

    def make(environment: str, precision: str, given: Capture, own: Capture, *, check: bool = True,
             again: str = "", **parameters: str) -> Any:  # fmt: skip
        name = "-".join([environment, precision, given.path.name, own.path.name, again, *parameters.values()])
        if name not in known:
            number = f"series-{len(known)}"
            chosen = {"environment": environment, "precision": precision, "passages": "16",
                      "donor": given.arm["environment"], "swap_from": str(given.path), "replay_from": str(own.path),
                      "output": str(folder / number), **parameters}  # fmt: skip
            options = [part for key, value in chosen.items() for part in ("-p", key, value)]
            executed = str(folder / f"{number}.ipynb")
            done = run("papermill", "notebooks/swaps.ipynb", executed, "-k", environment, *options, check=check)
            if done.returncode:
                return done
            sets = chosen["swaps"].split() if "swaps" in chosen else ["+".join(points) for points in SwapSpec().points]
            known[name] = {each: Capture.open(Path(chosen["output"]) / each) for each in sets}
        return known[name]

    return make
