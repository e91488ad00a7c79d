"""Notebook parameters: find the ones that a notebook does not have before it does any work.

papermill only warns of an unknown ``-p`` name, and runs on with the default. Both the workflow and the notebooks
themselves check with the functions here instead.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reportlib.errors import NotebookParameterError

CAPTURE_NOTEBOOK = Path("notebooks/capture.ipynb")
SWAPS_NOTEBOOK = Path("notebooks/swaps.ipynb")
SEARCH_NOTEBOOK = Path("notebooks/search.ipynb")
#: What IPython itself puts into a notebook's namespace.
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def find_project(start: Path) -> Path | None:
    """Return the project that `start` lies in: the nearest folder, upwards, that has the notebooks."""
    start = start.absolute()
    return next((folder for folder in (start, *start.parents) if (folder / CAPTURE_NOTEBOOK).is_file()), None)


def enter_project() -> None:
    """Make the project's folder the current one, wherever in it a notebook was opened.

    JupyterLab starts a kernel in the notebook's folder and papermill where it was called; paths in parameters are
    relative to the project. Outside a project nothing changes.
    """
    project = find_project(Path.cwd())
    if project is not None:
        os.chdir(project)


def check_parameters(namespace: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise when a notebook was given a parameter that it does not have.

    Call it in the first cell after the parameters with ``globals()``: all plain values defined by then are
    parameters.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``.
    known : iterable of str
        The parameters that the notebook has.

    Raises
    ------
    NotebookParameterError
        Naming each unknown one, and the known one that is spelled most like it.
    """
    given = [
        name
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _IPYTHON and isinstance(value, _PLAIN)
    ]
    refuse_unknown(given, known)


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `NotebookParameterError` when `given` has a name that is not in `known`."""
    names = sorted(known)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise NotebookParameterError(
                f"the notebook has no parameter {name!r}",
                f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}",
            )


def parameter_names(notebook: Path) -> list[str]:
    """Return the names that a notebook's ``parameters`` cell assigns."""
    import ast

    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError) as error:
        raise NotebookParameterError(f"{notebook} is not a notebook: {error}") from error
    for cell in cells:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            tree = ast.parse("".join(cell["source"]))
            targets = [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
            return [target.id for target in targets if isinstance(target, ast.Name)]
    raise NotebookParameterError(f"{notebook} has no cell tagged 'parameters'")
