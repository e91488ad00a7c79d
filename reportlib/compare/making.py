"""From a study's captures to its report: what the cells of ``compare.ipynb`` call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportlib.compare.operations import copy_reproductions
from reportlib.compare.report import write_report
from reportlib.compare.study import compare_study
from reportlib.errors import ComparisonError
from reportlib.notebooks import find_project
from reportlib.store import Capture, project_home
from reportlib.study import Study


def places(study: Study, captures: str, roots: str, report: str) -> tuple[str, str, str]:
    """Return where a study's captures and operations are listed, and where its report goes.

    Parameters
    ----------
    study : Study
        What is compared.
    captures, roots, report : str
        As `compare_listed` and `write` take them; an empty one is what `reportlib run` has for this study, in the
        project's home and beside the study.
    """
    folder = project_home() / "runs" / study.slug
    listed = folder / "roots.json"
    return (
        captures or str(folder / "captures.json"),
        roots or (str(listed) if listed.is_file() else ""),
        report or str(study.folder / "report.json"),
    )


def compare_listed(study: Study, captures: str, roots: str) -> dict[str, Any]:
    """Compare a study's captures.

    Parameters
    ----------
    study : Study
        What is compared.
    captures : str
        Path of a JSON file: arm name to capture folder.
    roots : str
        Path of a JSON file: ``<environment B>/<precision>`` to the folder that `reportlib roots` wrote. Empty where no
        operations were looked into.

    Returns
    -------
    dict
        See `reportlib.compare.study.compare_study`.

    Raises
    ------
    ReportlibError
        When a file, a capture or such a folder cannot be used.
    """
    opened = {arm: Capture.open(folder) for arm, folder in _listed(captures).items()}
    root = find_project(study.folder) or find_project(Path.cwd())
    return compare_study(study, opened, _listed(roots), root=root)


def write(result: Mapping[str, Any], roots: str, report: str) -> None:
    """Write ``report.json``, and the reproductions beside it.

    Parameters
    ----------
    result : mapping
        What `compare_listed` returned.
    roots : str
        As for `compare_listed`.
    report : str
        Path of the file to write.
    """
    path = Path(report)
    write_report(result, path)
    copy_reproductions(_listed(roots), path.parent)


def _listed(file: str) -> dict[str, Path]:
    if not file:
        return {}
    try:
        return {name: Path(folder) for name, folder in json.loads(Path(file).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ComparisonError(
            f"{file} lists no folders: {error}", "run `reportlib run STUDY`, which writes it"
        ) from error
