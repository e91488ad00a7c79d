"""Run every benchmark, print its rows and keep them in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import capturing, comparing, indexes, recording
from benchmarks.figure import Figure
from reportlib.capture.preflight import cpu_name
from reportlib.environments.record import load_record
from reportlib.store import project_home

PAGE = Path("docs/benchmarks.md")
_HEAD = """# Benchmarks

What `make bench` printed last, on {cpu} ({cores} cores). Both columns are of one run, each the fastest of several:
ratios carry over to other machines, seconds do not.

| figure | ours | beside | ratio | at most |
|---|--:|--:|--:|--:|
"""


def main() -> None:
    """Run what is asked for, write the page, and fail where a ratio is beyond its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--environment", default="torch210", help="made already: `reportlib env create NAME`")
    parser.add_argument("--small", action="store_true", help="with little data, only to see that everything runs")
    parser.add_argument("--large", action="store_true", help="also two indexes of 10 GB and 100 million codes")
    chosen = parser.parse_args()
    record = load_record(chosen.environment, project_home())
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="reportlib-bench-", dir=project_home()) as folder:
        for benchmark in (comparing.run, partial(indexes.run, large=chosen.large), recording.run, capturing.run):
            for figure in benchmark(record, Path(folder), small=chosen.small):
                print(figure.line(), flush=True)
                figures.append(figure)
    if not chosen.small:
        cores = len(os.sched_getaffinity(0))
        lines = [_HEAD.format(cpu=cpu_name(), cores=cores), *(f"{figure.line()}\n" for figure in figures)]
        PAGE.write_text("".join(lines), encoding="utf-8")
    if slow := [figure.name for figure in figures if not (chosen.small or figure.holds)]:
        raise SystemExit(f"beyond the limit: {', '.join(slow)}")


if __name__ == "__main__":
    main()
