"""Programs in the place of `papermill` and `reportlib` that a study's steps call: they make what the real ones make.

Each writes its arguments to ``calls.jsonl`` beside itself.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

_HEAD = """#!{python}
import json, sys
from pathlib import Path
import yaml
with open({calls!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
def value(name, arguments=sys.argv):
    return arguments[arguments.index(name) + 1]
"""
_PAPERMILL = """
notebook, executed = sys.argv[1:3]
Path(executed.format()).write_text("{}")  # papermill formats the names of notebooks
if "-f" in sys.argv:
    given = yaml.safe_load(Path(value("-f")).read_text())
    for folder in (Path(given["output"], name) for name in given.get("swaps", "").split() or [""]):
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
else:
    assert Path(value("study")).is_file() and Path(value("captures")).is_file() and Path(value("roots")).is_file()
    Path(value("report")).write_text("{}")
"""
_REPORTLIB = """
if sys.argv[1] == "publish":
    page = Path(sys.argv[3])
    page.with_name("partial").write_text(Path(sys.argv[2]).read_text())
    page.with_name("partial").replace(page)
elif sys.argv[1] == "env":
    from reportlib.environments.record import EnvironmentRecord
    from reportlib.store import project_home
    record = EnvironmentRecord(sys.argv[3], str(project_home() / "envs" / sys.argv[3]), "uv", "digest")
    record.python_program.parent.mkdir(parents=True)
    record.python_program.touch()
    record.write(project_home())
elif sys.argv[1] == "roots":
    assert Path(value("--study")).is_file()
    Path(value("--output")).mkdir(parents=True)
"""


def write_stubs(folder: Path) -> Path:
    """Write both programs into `folder`; return the file that their arguments go to."""
    folder.mkdir()
    calls = folder / "calls.jsonl"
    for name, body in (("papermill", _PAPERMILL), ("reportlib", _REPORTLIB)):
        program = folder / name
        program.write_text(_HEAD.format(python=sys.executable, calls=str(calls)) + body)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return calls
