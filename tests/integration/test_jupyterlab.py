"""Pick a kernel, run it: the notebooks in a real JupyterLab, opened in headless Chromium."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reportlib.store import Capture
from reportlib.workflow.run import host_variables

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.integration, pytest.mark.browser]
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "capture.ipynb"
CHROMIUM = Path("/usr/bin/chromium")
#: A minute on an idle machine.
PATIENCE_S = 300


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """The capture notebook as a user leaves it who changes these parameters and no other."""
    content = json.loads(NOTEBOOK.read_text())
    changed = {"passages": "16", "k": "0", "output": json.dumps(str(tmp_path / "out"))}
    cell = next(c for c in content["cells"] if "parameters" in c["metadata"].get("tags", []))
    source = "".join(cell["source"])
    for name, value in changed.items():
        source = re.sub(rf"(?m)^({name}: \w+ = )\S+", rf"\g<1>{value}", source)
    cell["source"] = source
    path = tmp_path / "capture.ipynb"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def lab(notebook: Path, home: Path) -> Iterator[str]:
    """The address of a JupyterLab that has the project's kernels, up to the name of a notebook in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={notebook.parent}")  # fmt: skip
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    with (notebook.parent / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=host_variables(home), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not answers(port):
                assert server.poll() is None, (notebook.parent / "lab.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/lab/tree/"
        finally:
            server.terminate()
            server.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def run_all(page: Any) -> None:
    """Run every cell, once the kernel answers: what is run before that is lost without a word."""
    indicator = page.locator(".jp-Notebook-ExecutionIndicator").first
    sync_api.expect(indicator).to_have_attribute("data-status", "idle", timeout=1000 * PATIENCE_S)
    page.get_by_text("Run", exact=True).first.click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()


def test_a_kernel_that_is_picked_and_run_names_the_capture(lab: str, tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(f"{lab}capture.ipynb?reset")
        page.locator(".jp-KernelName").first.click()
        page.locator(".jp-Dialog select").select_option(label="torch210 (torch 2.1.0)")
        page.locator(".jp-Dialog .jp-mod-accept").last.click()
        sync_api.expect(page.locator(".jp-KernelName").first).to_have_text("torch210 (torch 2.1.0)")
        run_all(page)
        page.locator(".jp-OutputArea-output", has_text=re.compile("sha256|Error: ")).first.wait_for()
        said = "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())
        browser.close()
    assert "Error" not in said, said[-3000:]
    made = Capture.open(tmp_path / "out")
    assert (made.arm["name"], made.arm["environment"]) == ("torch210-float32", "torch210")
    assert made.provenance["torch"]["version"].partition("+")[0] == "2.1.0"


def test_the_page_shows_itself_in_the_compare_notebook_as_it_opens(lab: str, tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    content = json.loads(NOTEBOOK.with_name("compare.ipynb").read_text())
    study = NOTEBOOK.parents[1] / "reports" / "torch-2.0.1-vs-2.1.0" / "study.toml"
    cell = next(c for c in content["cells"] if "parameters" in c["metadata"].get("tags", []))
    cell["source"] = re.sub(r'(?m)^(study: str = )"[^"]+"', rf'\1"{study}"', "".join(cell["source"]))
    (tmp_path / "compare.ipynb").write_text(json.dumps(content))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(f"{lab}compare.ipynb?reset")
        sync_api.expect(page.locator(".jp-KernelName").first).to_contain_text("Python 3", timeout=1000 * PATIENCE_S)
        run_all(page)
        headline = page.locator(".jp-OutputArea-output header.opening h1").first
        headline.wait_for(state="attached")
        assert headline.text_content().endswith(".")
        assert page.locator(".jp-OutputArea-output .bar").count() >= 8
        browser.close()
