"""Runs a notebook's cells in one process, where there is no papermill: ``cells.py NOTEBOOK PARAMETERS.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run every code cell in order; the parameters take the place of those in the parameters cell."""
    notebook, parameters = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)  # noqa: S102 the project's own notebook
        if "parameters" in cell["metadata"].get("tags", []):
            unknown = set(parameters) - set(names)
            if unknown:
                sys.exit(f"{notebook} has no parameter {sorted(unknown)[0]}")
            names |= parameters


if __name__ == "__main__":
    main()
