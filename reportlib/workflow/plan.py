"""Resolve a study: which environments, captures and reports it needs, for the Snakefile.

`reportlib.workflow.addresses` says where each capture goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from reportlib import checkpoints, kmeans
from reportlib.collections import sources
from reportlib.collections.folder import Collection
from reportlib.collections.reading import queries_within, read_passages
from reportlib.environments import EnvironmentSpec, load_spec
from reportlib.environments.record import find_record
from reportlib.errors import CollectionError, StudyError
from reportlib.kmeans import counter
from reportlib.notebooks import CAPTURE_NOTEBOOK, SEARCH_NOTEBOOK, SWAPS_NOTEBOOK, find_project
from reportlib.store import MANIFEST, canonical_json, digest, digest_file, link_folder
from reportlib.study import Study
from reportlib.workflow.addresses import Inputs, Planner, code_digest, plan_search, write_unless_there

COMPARE_NOTEBOOK = Path("notebooks/compare.ipynb")
#: What a report's bytes depend on.
_REPORT_CODE = ("compare", "findings", "words", "render", "store.py", "artifacts.py", "floats.py", "study.py")

Progress = Callable[[str], None]


def find_root(start: Path) -> Path:
    """Return the project that a study belongs to: the nearest folder above it with the notebooks.

    Raises
    ------
    StudyError
        When there is none.
    """
    project = find_project(start.parent)
    if project is None:
        raise StudyError(
            f"no folder above {start} has {CAPTURE_NOTEBOOK}", "keep studies inside the project: reports/<name>/"
        )
    return project


def prepare_inputs(study: Study, home: Path, progress: Progress) -> Inputs:
    """Check and fetch what every arm reads, and link it as what notebooks take by default.

    Raises
    ------
    CollectionError, CheckpointError
        When an input cannot be used, the checkpoint's width does not fit ``nbits``, or the passages are too few.
    """
    progress("preparing the checkpoint")
    checkpoint = checkpoints.prepare(study.checkpoint, base=study.folder, home=home)
    checkpoints.check_dim(checkpoint.dim, study.colbert.nbits)
    progress("preparing the collection")
    collection = sources.prepare(study.collection, base=study.folder, home=home)
    for precision, wanted in study.passages.items():
        if wanted > collection.passages:
            raise CollectionError(
                f"{study.path}: precision.{precision}.passages is {wanted:,}, but there are {collection.passages:,}",
                "ask for fewer (0 means all)",
            )
    _check_amount(study, collection, checkpoint, progress)
    asked, notes = _asked(study, collection)
    link_folder(home / "inputs" / "collection", collection.path)
    link_folder(home / "inputs" / "checkpoint", checkpoint.path)
    return Inputs(collection, checkpoint, asked, (*collection.notes, *notes))


def _asked(study: Study, collection: Collection) -> tuple[dict[str, str], list[str]]:
    """Return a hash of the queries that each precision is searched for, and what to say of where there are none."""
    asked: dict[str, str] = {}
    notes = []
    for precision, limit in study.passages.items() if study.search.k and collection.queries else ():
        queries = queries_within(collection.path, limit)[: study.search.queries or None]
        asked[precision] = digest(canonical_json([[query.id, query.text] for query in queries]).encode())
        if limit and not queries:
            notes.append(
                f"precision.{precision}: no query has a relevant passage among the first {limit:,}, so nothing is "
                "searched for there: take more passages."
            )
    return asked, notes


def _check_amount(study: Study, collection: Collection, checkpoint: checkpoints.Checkpoint, progress: Progress) -> None:
    """Refuse a precision whose passages are too few for k-means, which would show only after all the long work."""
    longest = study.colbert.doc_maxlen
    count = counter(checkpoint.path, longest)
    for precision, wanted in study.passages.items():
        number = wanted or collection.passages
        if kmeans.always_enough(number):
            continue
        texts = [passage.text for passage in read_passages(collection.path, number)]
        if unknown := kmeans.check(f"{study.path}: precision.{precision}", texts, longest, count):
            progress(unknown)


def make_plan(study: Study, root: Path, home: Path, progress: Progress) -> Path:
    """Write the plan of a study, for the Snakefile.

    Parameters
    ----------
    study : Study
        Already read and checked.
    root : Path
        The project; every path in the plan is relative to it where it can be.
    home : Path
        Folder for environments, inputs and captures.
    progress : callable
        Told what is being prepared.

    Returns
    -------
    Path
        ``<home>/runs/<slug>/plan.json``. Neither it nor a parameter file is touched when it already says the same.

    Raises
    ------
    ReportlibError
        When an environment file, the collection, the checkpoint or a notebook cannot be used.
    """
    specs = {name: load_spec(name, root) for name in study.environments}
    inputs = prepare_inputs(study, home, progress)
    for note in inputs.notes:
        progress(note)
    folder = home / "runs" / study.slug
    folder.mkdir(parents=True, exist_ok=True)
    environments = {name: _environment_digest(spec, home) for name, spec in specs.items()}
    planner = Planner(study, root, home, folder, inputs, environments)
    arms = {arm.name: planner.arm(arm) for arm in study.arms() if not (arm.swap or arm.searching)}
    searches = {arm.name: plan_search(planner, arm) for arm in study.arms() if arm.searching}
    series = [planner.series(swapped) for swapped in study.series()]
    roots = {f"{b.environment}/{b.precision}": planner.roots(a, b) for a, b in study.explained()}
    reports = study.folder / "notebooks"
    reports.mkdir(exist_ok=True)  # papermill does not make folders
    ready = {name: home / "ready" / f"{name}-{planner.environments[name][:16]}" for name in specs}
    for name, marker in ready.items():
        if find_record(name, home) is None:
            marker.unlink(missing_ok=True)  # the environment was removed since
    listed = {name: arm.capture for name, arm in arms.items()}
    for one in series:
        listed |= one.captures
        if not all((root / capture / MANIFEST).is_file() for capture in one.captures.values()):
            (root / one.done).unlink(missing_ok=True)  # a capture was removed since
    listed |= {name: search.capture for name, search in searches.items()}
    captures = folder / "captures.json"
    write_unless_there(captures, json.dumps(listed, indent=1))
    # A file, and no parameter of a rule: what two studies share would be made again for each of them.
    code = folder / "code"
    write_unless_there(code, digest((code_digest(_REPORT_CODE) + digest_file(root / COMPARE_NOTEBOOK)).encode()))
    explained = folder / "roots.json"
    write_unless_there(explained, json.dumps({name: pair.folder for name, pair in roots.items()}, indent=1))
    pending = [*listed.values(), *(pair.folder for pair in roots.values())]
    plain = [arm.capture for arm in arms.values() if arm.plain]
    # Where only a step or two is left, the whole page is there as soon as an early one would be.
    waits = sum(not (root / path).exists() for path in pending if path not in plain)
    early = planner.relative(folder / "early.ipynb") if waits > len(plain) else ""
    links = planner.links()
    for target, link in links.items():
        link_folder(root / link, root / target)
    plan = {
        "study": planner.relative(study.path),
        "threads": study.threads,
        "home": planner.relative(home),
        "environments": {name: planner.relative(marker) for name, marker in ready.items()},
        "arms": {name: asdict(arm) for name, arm in arms.items()},
        "swaps": {one.name: asdict(one) for one in series},
        "searches": {name: asdict(search) for name, search in searches.items()},
        "roots": {name: asdict(pair) for name, pair in roots.items()},
        "captures": planner.relative(captures),
        "explained": planner.relative(explained),
        "report": planner.relative(study.folder / "report.json"),
        "notebook": planner.relative(reports / "compare.ipynb"),
        "page": planner.relative(study.folder / "index.html"),
        "early": early,
        "capture_notebook": str(CAPTURE_NOTEBOOK),
        "swaps_notebook": str(SWAPS_NOTEBOOK),
        "search_notebook": str(SEARCH_NOTEBOOK),
        "compare_notebook": str(COMPARE_NOTEBOOK),
        "code": planner.relative(code),
        "links": links,
    }
    path = folder / "plan.json"
    write_unless_there(path, json.dumps(plan, indent=1))
    return path


def _environment_digest(spec: EnvironmentSpec, home: Path) -> str:
    """Hash what an environment is made from; for one that the user made, what is in it."""
    record = find_record(spec.name, home)
    if record is not None and record.backend == "adopted":
        return digest(canonical_json([record.python, dict(record.packages), dict(record.conda_packages)]).encode())
    lock = digest_file(spec.lock_path) if spec.lock_path.exists() else ""
    return digest((spec.digest + lock).encode())
