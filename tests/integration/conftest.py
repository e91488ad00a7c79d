"""Both real environments, made once; captures of a few passages in them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reportlib.store import Capture, project_home
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

    def make(environment: str, *, again: int = 0, **parameters: str) -> Capture:
        name = "-".join([environment, str(again), *(f"{k}={Path(v).name}" for k, v in sorted(parameters.items()))])
        if name not in known:
            output = folder / name
            given = {"environment": environment, "passages": "16", "output": str(output), **parameters}
            options = [part for key, value in given.items() for part in ("-p", key, value)]
            executed = str(folder / f"{name}.ipynb")
            run("papermill", "notebooks/capture.ipynb", executed, "-k", environment, *options)
            known[name] = Capture.open(output)
        return known[name]

    return make
