"""Compare all captures of a study: the content of its `report.json`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from reportlib.compare import provenance
from reportlib.compare.chunks import doclens
from reportlib.compare.margins import compare_margins
from reportlib.compare.order import compare_order, compare_probes
from reportlib.compare.pipeline import (
    compare_artifacts,
    compare_layers,
    compare_swap,
    compare_weights,
    first_difference,
    post_of,
    summary,
    swap_summary,
)
from reportlib.compare.provenance import check, describe, environment_files, missing_arms
from reportlib.compare.rankings import compare_rankings
from reportlib.compare.roots.causes import ROOTS_FILE, copy_reproductions, durations, operations
from reportlib.compare.search import compare_search
from reportlib.errors import ComparisonError
from reportlib.findings import findings
from reportlib.notebooks import find_project
from reportlib.shape import SCHEMA_VERSION, Report
from reportlib.store import MANIFEST, Artifact, Capture, project_home, write_text
from reportlib.study import DIRECTIONS, Arm, Study

# Controls: what differs although nothing should. Where one fails, nothing that rests on its arm can be claimed.

Record = dict[str, Any]
#: What a repeated capture leaves out, since no other artifact is computed from it.
_NOT_REPEATED = ("rankings", "sort_probes")


def compare_control(arm: Arm, plain: Capture, control: Capture) -> Record:
    """Compare a control with the plain arm, by the hashes of their manifests.

    Parameters
    ----------
    arm : Arm
        The control. A ``repeat`` must have every artifact of the plain arm, search and probes aside, byte for byte;
        an ``observer`` the final ones.
    plain, control : Capture
        The plain arm's capture, and the control's.

    Returns
    -------
    dict
        One of ``controls`` in ``docs/schema.md``. An artifact that one side lacks is not identical.
    """
    left, right = (_compared(arm.control, capture) for capture in (plain, control))
    names = [*left, *(name for name in right if name not in left)]
    differing = [name for name in names if _bytes(left.get(name)) != _bytes(right.get(name))]
    return {
        "kind": arm.control,
        "environment": arm.environment,
        "arm": arm.name,
        "compared": len(names),
        "identical": len(names) - len(differing),
        "not_identical": differing,
        "passed": bool(names) and not differing,
    }


def conclusive(expected: int, controls: Sequence[Record]) -> bool | None:
    """Return whether what is compared can be told from noise.

    Parameters
    ----------
    expected : int
        How many controls the study asks for.
    controls : sequence of dict
        Those that were captured.

    Returns
    -------
    bool or None
        False when one failed; True when all that were asked for passed; None when none failed, but some or all were
        not run: then nothing is known of the noise.
    """
    if not all(control["passed"] for control in controls):
        return False
    return True if controls and len(controls) == expected else None


def _compared(kind: str, capture: Capture) -> Mapping[str, Artifact]:
    if kind == "observer":
        return {name: line for name, line in capture.artifacts.items() if name.startswith("index/")}
    return {name: line for name, line in capture.artifacts.items() if name not in _NOT_REPEATED}


def _bytes(line: Artifact | None) -> tuple[Any, ...] | None:
    return None if line is None else (line.sha256, line.dtype, line.shape)


def compare_study(
    study: Study,
    captures: Mapping[str, Capture],
    roots: Mapping[str, Path] | None = None,
    *,
    root: Path | None = None,
    allow_missing: bool = False,
    verify: bool = False,
) -> Report:
    """Compare the study's first environment with each further one.

    Parameters
    ----------
    study : Study
        Says which arms there are.
    captures : mapping of str to Capture
        By arm name.
    roots : mapping of str to Path
        Folders that `reportlib roots` wrote, by ``<environment B>/<precision>``.
    root : Path, optional
        The folder with the environment files; by default the project that the study lies in.
    allow_missing : bool
        Report what there is, and name the arms and kinds of evidence that are not there, instead of refusing.
    verify : bool
        Read every artifact and compare it with its hash first.

    Returns
    -------
    dict
        What ``docs/schema.md`` describes: plain values only, the same for the same captures.

    Raises
    ------
    ComparisonError
        When captures are missing, damaged, or of different collections, checkpoints, settings or
        devices, or not of the environments that they are named after.
    EnvironmentFileError
        When the file of one of the environments makes no sense.
    StoreError
        When an artifact cannot be read.
    """
    missing = missing_arms(study, captures)
    if missing and (not allow_missing or len(missing) == len(study.arms())):
        raise ComparisonError(
            f"no capture of {', '.join(missing)}",
            "run these arms first, or leave them out of the study",
        )
    specs = environment_files(study, root or find_project(study.folder))
    check(study, captures, specs, verify=verify)
    present = {arm.name: captures[arm.name] for arm in study.arms() if arm.name in captures}
    environments = [
        provenance.environment(name, capture, specs.get(name), study.varied(name))
        for name in study.environments
        if (capture := _any_of(study, present, name)) is not None
    ]
    content: Record = {
        "schema_version": SCHEMA_VERSION,
        "study": describe(study, present, environments),
        "platform": provenance.platform(study, present, environments),
        "environments": environments,
        "pairs": [_pair(study, present, other, roots or {}) for other in study.environments[1:]],
        "missing_arms": missing,
        "findings": [],
    }
    if allow_missing and (pending := _pending(study, missing, roots or {})):
        content["pending"] = pending
    # What each part returns is a plain dict; that all of it has this shape is what the schema's tests check.
    report = cast(Report, content)
    content["findings"] = findings(report)
    return report


def _pending(study: Study, missing: Sequence[str], roots: Mapping[str, Path]) -> list[str]:
    """Return which kinds of evidence are not there yet."""
    arms = [arm for arm in study.arms() if arm.name in missing]
    kinds = {
        "controls": any(arm.control for arm in arms),
        "swaps": any(arm.swap for arm in arms),
        "operations": any(f"{b.environment}/{b.precision}" not in roots for _, b in study.explained()),
        "searches": any(arm.searching for arm in arms),
    }
    return [kind for kind, waits in kinds.items() if waits]


def _any_of(study: Study, captures: Mapping[str, Capture], environment: str) -> Capture | None:
    """Return an environment's first capture, plain arms before swapped ones."""
    arms = (arm for arm in study.arms() if arm.environment == environment)
    return next((captures[arm.name] for arm in arms if arm.name in captures), None)


def _pair(study: Study, captures: Mapping[str, Capture], other: str, roots: Mapping[str, Path]) -> Record:
    first = study.environments[0]
    left, right = (_any_of(study, captures, name) for name in (first, other))
    plain = [_plain(study, precision, first, other) for precision in study.passages]
    return {
        "a": first,
        "b": other,
        "environment_differences": provenance.differences(left, right) if left and right else [],
        "precisions": [
            _precision(study, captures, *arms, roots.get(f"{other}/{arms[0].precision}"))
            for arms in plain
            if all(arm.name in captures for arm in arms)
        ],
        "sort_probes": _probes(study, captures, first, other),
    }


def _plain(study: Study, precision: str, first: str, other: str) -> tuple[Arm, Arm]:
    passages = study.passages[precision]
    return Arm(first, precision, study.device, passages), Arm(other, precision, study.device, passages)


def _precision(study: Study, captures: Mapping[str, Capture], first: Arm, other: Arm, traced: Path | None) -> Record:
    a, b = captures[first.name], captures[other.name]
    versions = [str(c.provenance.get("torch", {}).get("version", "")) for c in (a, b)]
    artifacts = compare_artifacts(a, b, post=post_of(*versions))
    layers = compare_layers(a, b)
    counts = summary(artifacts)
    final = counts["final"]
    lengths = doclens(a)
    controls = _controls(study, captures, first, other)
    searches = [captures.get(replace(arm, searching=True).name) for arm in (first, other)]
    searched: Record = {"k": study.search.k, "ignore_identical_ids": study.search.ignore_identical_ids}
    return {
        "precision": first.precision,
        "passages": len(lengths) or None,
        "embeddings": sum(lengths) or None,
        "controls": controls,
        "conclusive": conclusive(2 * len(study.controls.kinds), controls),
        "artifacts": artifacts,
        "summary": counts,
        "first_difference": first_difference(artifacts, layers),
        "layers": layers,
        "weights": compare_weights(a, b),
        "order": compare_order(a, b),
        "swaps": (swaps := _swaps(study, captures, first, other, artifacts)),
        "swap_summary": swap_summary(swaps, plain_identical=0 < final["identical"] == final["total"]),
        "rankings": compare_rankings(a, b),
        "search": compare_search(first, other, captures, **searched),
        "margins": compare_margins(a, b, *searches, **searched),
        "operations": None if traced is None else operations(traced, a, b),
    }


def _controls(study: Study, captures: Mapping[str, Capture], *plain: Arm) -> list[Record]:
    return [
        compare_control(arm, captures[arm.plain.name], captures[arm.name])
        for arm in study.arms()
        if arm.control and arm.plain in plain and arm.name in captures
    ]


def _swaps(
    study: Study, captures: Mapping[str, Capture], first: Arm, other: Arm, artifacts: Sequence[Record]
) -> list[Record]:
    before = {record["artifact"]: record["verdict"] for record in artifacts}
    # A into B stands first, whatever order the study gives the directions.
    ways = [(DIRECTIONS[0], first, other), (DIRECTIONS[1], other, first)]
    return [
        compare_swap(arm, direction, captures[given.name], captures[arm.name], before)
        for direction, given, into in ways
        for arm in study.arms()
        if arm.swap and (arm.given, arm.plain) == (given, into) and arm.name in captures
    ]


def _probes(study: Study, captures: Mapping[str, Capture], first: str, other: str) -> Record | None:
    """Compare the sort probes of the first precision in which both environments have them."""
    for precision in study.passages:
        names = [arm.name for arm in _plain(study, precision, first, other)]
        sides = [captures.get(name) for name in names]
        if all(side is not None and "sort_probes" in side.artifacts for side in sides):
            lists = [side.value("sort_probes") for side in sides if side is not None]
            return {"arm_a": names[0], "arm_b": names[1], **compare_probes(*lists)}
    return None


# Write `report.json`: the same bytes from the same captures.

SCHEMA = Path(__file__).with_name("report.schema.json")


def render(report: Mapping[str, Any]) -> str:
    """Return a report as JSON text.

    Keys keep the order of ``docs/schema.md``, which the code builds them in; floats are written
    as the shortest text that reads back as the same number.

    Raises
    ------
    ComparisonError
        When a number in it is NaN or infinite: a report says ``null`` and why.
    """
    try:
        return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ComparisonError(f"the report holds a number that JSON has not: {error}") from error


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report to `path`, at once: a reader sees the old file or the whole new one."""
    text = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


# From a study's captures to its report: what the cells of ``compare.ipynb`` call.


def places(study: Study, captures: str, roots: str, report: str) -> tuple[str, str, str]:
    """Return where a study's captures and operations are listed, and where its report goes.

    Parameters
    ----------
    study : Study
        What is compared.
    captures, roots, report : str
        As `compare_listed` and `write` take them; an empty one is what `reportlib run` has for this study, in the
        project's home and beside the study.

    Returns
    -------
    tuple of str
        The three of them. None of the first two and no place for a report where none of the study's captures was made
        here and its report was published all the same: `compare_listed` takes that, and `write` leaves it as it is.
    """
    folder = project_home() / "runs" / study.slug
    made, listed, published = folder / "captures.json", folder / "roots.json", study.folder / "report.json"
    if not captures and not made.is_file() and published.is_file():
        return "", "", report
    return captures or str(made), roots or (str(listed) if listed.is_file() else ""), report or str(published)


def compare_listed(study: Study, captures: str, roots: str, *, early: bool = False) -> Report:
    """Compare a study's captures.

    Parameters
    ----------
    study : Study
        What is compared.
    captures : str
        Path of a JSON file: arm name to capture folder. Empty for the report that is beside the study, as it is.
    roots : str
        Path of a JSON file: ``<environment B>/<precision>`` to the folder that `reportlib roots` wrote. Empty where no
        operations were looked into.
    early : bool
        Compare what is there already, and name what is pending.

    Returns
    -------
    dict
        See `reportlib.compare.study.compare_study`.

    Raises
    ------
    ReportlibError
        When a file, a capture or such a folder cannot be used.
    """
    if not captures:
        published = study.folder / "report.json"
        warnings.warn(f"no captures of this study are here: {published} is shown as it was published", stacklevel=2)
        return cast(Report, json.loads(published.read_text(encoding="utf-8")))
    made = _listed(captures, MANIFEST if early else "")
    opened = {arm: Capture.open(folder) for arm, folder in made.items()}
    root = find_project(study.folder) or find_project(Path.cwd())
    explained = _listed(roots, ROOTS_FILE if early else "")
    return compare_study(study, opened, explained, root=root, allow_missing=early)


#: What took how long, beside a report: in a file of its own, so that the same study gives the same report again.
DURATIONS = "durations.json"


def write(result: Mapping[str, Any], captures: str, roots: str, report: str) -> None:
    """Write ``report.json``, and beside it the reproductions and how long everything took.

    Parameters
    ----------
    result : mapping
        What `compare_listed` returned.
    captures, roots : str
        As for `compare_listed`.
    report : str
        Path of the file to write; empty to write nothing.
    """
    if not report:
        return
    path = Path(report)
    write_report(result, path)
    if result.get("pending"):
        return
    copy_reproductions(_listed(roots), path.parent)
    made = {arm: Capture.open(folder).provenance.get("durations") for arm, folder in _listed(captures).items()}
    explained = {name: durations(folder) for name, folder in _listed(roots).items()}
    write_report({"captures": made, "operations": explained}, path.with_name(DURATIONS))


def _listed(file: str, holding: str = "") -> dict[str, Path]:
    """Return the folders that a JSON file lists; with `holding` only those that hold a file of this name.

    They are relative to the project that the file lies in: a notebook may have been started anywhere.
    """
    if not file:
        return {}
    root = find_project(Path(file).parent) or Path()
    try:
        folders = {name: root / folder for name, folder in json.loads(Path(file).read_text(encoding="utf-8")).items()}
        return {name: folder for name, folder in folders.items() if not holding or (folder / holding).is_file()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ComparisonError(
            f"{file} lists no folders: {error}", "run `reportlib run STUDY`, which writes it"
        ) from error
