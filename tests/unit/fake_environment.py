"""Stands in for an environment's Python: answers every verb with what lies ready in a folder.

``python fake_environment.py READY -m reportlib.trace VERB ...``, or ``python fake_environment.py READY reproduce.py``.
What is to go wrong is in ``READY/faults.json``: by ``NAME VERB`` or ``NAME SWITCH``, ``die`` or what to fail with.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path


def main(ready: Path, given: list[str]) -> None:
    with (ready / "log").open("a") as log:
        log.write(" ".join(given) + "\n")
    faults = json.loads((ready / "faults.json").read_text()) if (ready / "faults.json").exists() else {}
    if given[0] == "reproduce.py":
        assert "PYTHONPATH" not in os.environ
        print("behaves like", os.environ["FAKE_BEHAVES"])
        return
    verb, options = given[2], {}
    for index, part in enumerate(given):
        if part.startswith("--"):
            following = given[index + 1] if index + 1 < len(given) else "--"
            options[part[2:]] = True if following.startswith("--") else following
    name, output = options["environment"], options.get("output")
    print("a library warns of something", file=sys.stderr)
    print(f"{name}-float32 · {verb}", file=sys.stderr, flush=True)
    fault(faults.get(f"{name} {verb}"))
    VERBS[verb](ready, name, options, output, faults)


def fault(what: str | None) -> None:
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what:
        sys.exit(what)


def record(ready, name, _options, output, _faults):
    shutil.copytree(ready / "traces" / name, output)


def send(_ready, _name, _options, _output, _faults):
    try:
        for _ in range(64):
            sys.stdout.buffer.write(bytes(1 << 16))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit("nobody reads (Broken pipe)")


def replay(ready, _name, _options, output, _faults):
    if len(sys.stdin.buffer.read()) != 64 << 16:
        sys.exit("the stream stops in the middle")
    shutil.copytree(ready / "replay", output)


def truth(_ready, _name, _options, output, _faults):
    Path(output).mkdir()


def attempt(ready, name, options, output, faults):
    known = json.loads((ready / f"try-{name}.json").read_text())
    answers = {}
    for switch in options["switches"].split(","):
        entry = known.get(switch, known["none"])
        failed = faults.get(f"{name} {switch}")
        if failed and switch == "none":
            sys.exit(failed)
        answers[switch] = {"failed": failed, "cases": {} if failed else entry["cases"], "passes": entry["passes"]}
    Path(output).write_text(json.dumps(answers))


VERBS = {"record": record, "send": send, "replay": replay, "truth": truth, "try": attempt}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
